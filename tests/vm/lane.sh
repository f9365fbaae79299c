#!/bin/bash
# lane.sh DIRECTORY COMMAND: runs COMMAND as root in a small Debian VM with a stock kernel and pure cgroup v2.
#
# The lane is for what the machine at hand does not have: another kernel, cgroup v2. It boots Debian's cloud kernel by
# QEMU's software emulation (works anywhere; code runs 3 to 13 times slower), with a copy of DIRECTORY at /work.
# COMMAND's output comes to stdout, its exit status is ours. First use makes the VM's disk, about a minute.
#
#   lane.cache/root.ext4   root file system by mmdebstrap; every run writes to a snapshot that is thrown away
#   lane.cache/vmlinuz     Debian's kernel, and `initrd` that loads the disk's drivers and mounts it
#
#       here                                   the VM
#   DIRECTORY -> tar -> /dev/vdb   --------->  unpacked at /work
#   COMMAND   -> tar -> /dev/vdc   --------->  bash -c
#   stdout    <- virtio-serial `out`  <------  its output
#   status    <- virtio-serial `status` <----  its exit status, then power off
#
# Environment: LANE_CACHE (default target/lane.cache), LANE_MEMORY (MiB, 1024), LANE_TIMEOUT (seconds, 600).
set -euo pipefail

directory=$(realpath "$1")
shift
cache=${LANE_CACHE:-$(realpath "$(dirname "$0")/../..")/target/lane.cache}
packages=linux-image-cloud-amd64,busybox-static,procps,util-linux

need() {
    local missing=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    echo "lane: installing ${missing[*]}" >&2
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >&2
}

make_initrd() { # ROOT
    local root=$1 kernel tree module file number=0
    kernel=$(basename "$root"/lib/modules/*)
    tree=$(mktemp -d "$cache/initrd.XXXX")
    mkdir -p "$tree"/{dev,root,bin,modules}
    cp "$root/bin/busybox" "$tree/bin/"
    for module in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk; do
        file=$(find "$root/lib/modules/$kernel" -name "$module.ko*" -print -quit)
        if [ -n "$file" ]; then cp "$file" "$tree/modules/$((number++))-$module.ko"; fi
    done
    cat > "$tree/init" <<'INIT'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
for module in /modules/*; do $b insmod $module; done
tries=0
while [ ! -b /dev/vda ] && [ $tries -lt 500 ]; do $b usleep 10000; tries=$((tries + 1)); done
$b mount -t ext4 -o noatime /dev/vda /root
$b mount --move /dev /root/dev
exec $b switch_root /root /lane-init
INIT
    chmod +x "$tree/init"
    (cd "$tree" && find . | LC_ALL=C sort | cpio -o -H newc --quiet) > "$cache/initrd"
    rm -rf "$tree"
}

make_guest_init() { # ROOT
    cat > "$1/lane-init" <<'INIT'
#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 -o nsdelegate cgroup /sys/fs/cgroup
mount -t tmpfs run /run
mkdir -p /dev/pts /dev/shm /work
mount -t devpts -o ptmxmode=666 pts /dev/pts
mount -t tmpfs shm /dev/shm
ln -sf pts/ptmx /dev/ptmx
ln -sfn /proc/self/fd /dev/fd
for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
    echo "+$controller" > /sys/fs/cgroup/cgroup.subtree_control
done
modprobe -aq virtio_console overlay 2> /dev/null
hostname lane
port() {
    local tries=0 port
    while [ $tries -lt 500 ]; do
        for port in /sys/class/virtio-ports/*; do
            [ "$(cat "$port/name" 2> /dev/null)" = "$1" ] && { echo "/dev/${port##*/}"; return; }
        done
        sleep 0.02
        tries=$((tries + 1))
    done
}
tar -C /work -xf /dev/vdb
command=$(tar -xOf /dev/vdc command)
cd /work
exec 3> "$(port status)"
bash -c "$command" < /dev/null > "$(port out)" 2>&1
echo $? >&3
exec 3>&-
sync
sleep 0.05
echo o > /proc/sysrq-trigger
sleep 9
INIT
    chmod +x "$1/lane-init"
}

make_disk() {
    need qemu-system-x86 mmdebstrap cpio e2fsprogs
    echo "lane: making the VM's disk in $cache" >&2
    mkdir -p "$cache"
    local root
    root=$(mktemp -d "$cache/root.XXXX")
    mmdebstrap --quiet --variant=minbase --include="$packages" --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        bookworm "$cache/root.tar" >&2
    tar -C "$root" -xf "$cache/root.tar"
    rm "$cache/root.tar"
    cp "$root"/boot/vmlinuz-* "$cache/vmlinuz"
    rm -rf "$root"/boot/*
    make_initrd "$root"
    make_guest_init "$root"
    mke2fs -q -t ext4 -O ^has_journal -d "$root" "$cache/root.new" 4G
    rm -rf "$root"
    mv "$cache/root.new" "$cache/root.ext4"
}

[ -s "$cache/root.ext4" ] || make_disk
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '%s' "$*" > "$work/command"
tar -C "$work" -cf "$work/command.tar" command
tar -C "$directory" -cf "$work/work.tar" .
: > "$work/status"
mkfifo "$work/out"
cat "$work/out" &
timeout "${LANE_TIMEOUT:-600}" qemu-system-x86_64 -M q35 -accel tcg -cpu max,-la57 -m "${LANE_MEMORY:-1024}" -smp 2 \
    -nodefaults -no-reboot -display none -kernel "$cache/vmlinuz" -initrd "$cache/initrd" \
    -serial "file:$work/console" \
    -append "console=ttyS0 loglevel=4 panic=-1 mitigations=off cgroup_no_v1=all random.trust_cpu=on 8250.nr_uarts=1" \
    -drive "file=$cache/root.ext4,format=raw,if=none,id=a,snapshot=on,cache=unsafe" -device virtio-blk-pci,drive=a \
    -drive "file=$work/work.tar,format=raw,if=none,id=b,readonly=on" -device virtio-blk-pci,drive=b \
    -drive "file=$work/command.tar,format=raw,if=none,id=c,readonly=on" -device virtio-blk-pci,drive=c \
    -device virtio-serial-pci -chardev "file,id=out,path=$work/out" -device virtserialport,chardev=out,name=out \
    -chardev "file,id=status,path=$work/status" -device virtserialport,chardev=status,name=status < /dev/null || true
wait
status=$(cat "$work/status")
if [ -z "$status" ]; then
    echo "lane: the VM ended without a status; its console said:" >&2
    tail -20 "$work/console" >&2
    exit 125
fi
exit "$status"
