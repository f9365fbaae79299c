#!/bin/bash
# image.sh DIRECTORY: makes what the lane (lane.sh) boots: Debian 12's cloud kernel and a root file system, in half a minute.
#
#   DIRECTORY/root.ext4   root file system by mmdebstrap; nothing writes to it after this
#   DIRECTORY/vmlinuz     Debian's kernel
#   DIRECTORY/initrd      busybox, the drivers of the disk, and a script that mounts it and enters it
#
# There are two personalities, chosen by the kernel's command line (LANE_INIT, an environment variable of the initrd):
#
#   /lane/init     a script that mounts what a program expects, and nothing else: boots in seconds
#   /sbin/init     systemd as process 1 with a system bus, and no unit that nobody asked for
#
# Both end in /lane/command: it unpacks the work, runs the command, hands back its status and turns the machine off.
# The kernel's package is unpacked, not installed: that would bring initramfs-tools, whose image takes longer than all
# the rest. Likewise nothing waits for devices by udev; the few that matter are there when the kernel has booted.
set -euo pipefail

directory=$1
packages=systemd,systemd-sysv,dbus,dbus-user-session,busybox-static,procps,util-linux,kmod,iproute2,iptables,nftables,python3,criu

# A hook of mmdebstrap: the root's path is its argument, and its own apt has the lists of the new system.
write_kernel_hook() { # FILE
    cat > "$1" <<'HOOK'
#!/bin/bash
set -eu
export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
cd "$1"
apt-get -qq download "$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ {print $2}')"
# The root has /lib as a link to usr/lib, which unpacking must not replace.
dpkg-deb --fsys-tarfile linux-image-*.deb | tar -x --keep-directory-symlink
rm linux-image-*.deb
HOOK
    chmod +x "$1"
}

make_root() { # ROOT SCRATCH
    write_kernel_hook "$2/kernel-hook"
    mmdebstrap --quiet --variant=minbase --format=directory --include="$packages" --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt=force-unsafe-io \
        --customize-hook="$2/kernel-hook" bookworm "$1" > "$2/log" 2>&1 || { cat "$2/log" >&2; exit 1; }
    mv "$1"/boot/vmlinuz-* "$2/vmlinuz"
    rm -rf "$1"/boot/*
    chroot "$1" /sbin/depmod "$(basename "$1"/lib/modules/*)"
    echo 6c616e65000000000000000000000001 > "$1/etc/machine-id"
    echo lane > "$1/etc/hostname"
    printf '127.0.0.1 localhost lane\n' > "$1/etc/hosts"
    mkdir -p "$1/work" "$1/lane"
}

make_initrd() { # ROOT SCRATCH
    local kernel tree=$2/initrd.tree module file number=0
    kernel=$(basename "$1"/lib/modules/*)
    mkdir -p "$tree"/{dev,root,bin,modules}
    cp "$1/bin/busybox" "$tree/bin/"
    for module in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk; do
        file=$(find "$1/lib/modules/$kernel" -name "$module.ko*" -print -quit)
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
exec $b switch_root /root "${LANE_INIT:-/lane/init}"
INIT
    chmod +x "$tree/init"
    (cd "$tree" && find . | LC_ALL=C sort | busybox cpio -o -H newc 2> /dev/null) > "$2/initrd"
}

make_script_personality() { # ROOT
    cat > "$1/lane/init" <<'INIT'
#!/bin/bash
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 -o nsdelegate cgroup /sys/fs/cgroup
mount -t tmpfs run /run
mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=666 pts /dev/pts
mount -t tmpfs shm /dev/shm
ln -sf pts/ptmx /dev/ptmx
ln -sfn /proc/self/fd /dev/fd
for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
    echo "+$controller" > /sys/fs/cgroup/cgroup.subtree_control
done
hostname lane
busybox ip link set lo up
exec /lane/command
INIT
    cat > "$1/lane/command" <<'COMMAND'
#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
modprobe -aq virtio_console overlay 2> /dev/null
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
bash -c "$command" < /dev/null > "$(port out)" 2>&1 3>&-
echo $? >&3
exec 3>&-
sync
sleep 0.05
echo o > /proc/sysrq-trigger
sleep 9
COMMAND
    chmod +x "$1/lane/init" "$1/lane/command"
}

# Everything that a boot does by habit and nobody needs here: each unit costs a process start, which is slow in emulation.
masked=(
    systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udev-trigger.service
    systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket systemd-journald-audit.socket
    systemd-journal-flush.service systemd-hwdb-update.service systemd-random-seed.service systemd-update-utmp.service
    systemd-machine-id-commit.service systemd-sysusers.service systemd-boot-system-token.service systemd-pstore.service
    systemd-modules-load.service systemd-sysctl.service systemd-binfmt.service systemd-firstboot.service
    systemd-tmpfiles-setup-dev.service systemd-tmpfiles-clean.timer systemd-ask-password-console.path
    systemd-ask-password-wall.path proc-sys-fs-binfmt_misc.automount sys-kernel-debug.mount sys-kernel-tracing.mount
    sys-kernel-config.mount sys-fs-fuse-connections.mount dev-hugepages.mount kmod-static-nodes.service
    modprobe@configfs.service modprobe@drm.service modprobe@efi_pstore.service modprobe@fuse.service
)

make_systemd_personality() { # ROOT
    local units=$1/etc/systemd/system unit
    mkdir -p "$units" "$1/etc/systemd/system.conf.d"
    for unit in "${masked[@]}"; do ln -sf /dev/null "$units/$unit"; done
    printf '[Manager]\nDefaultStandardOutput=null\nShowStatus=no\n' > "$1/etc/systemd/system.conf.d/lane.conf"
    printf '[Unit]\nRequires=lane.service\n' > "$units/lane.target"
    ln -sf lane.target "$units/default.target"
    cat > "$units/lane.service" <<'UNIT'
[Unit]
Requires=dbus.socket
After=dbus.socket sysinit.target
[Service]
Type=oneshot
ExecStart=/lane/command
StandardInput=null
TimeoutStartSec=infinity
TasksMax=infinity
OOMPolicy=continue
UNIT
}

mkdir -p "$directory"
scratch=$(mktemp -d "$directory/scratch.XXXX")
trap 'rm -rf "$scratch"' EXIT
make_root "$scratch/root" "$scratch"
make_initrd "$scratch/root" "$scratch"
make_script_personality "$scratch/root"
make_systemd_personality "$scratch/root"
mke2fs -q -t ext4 -O ^has_journal -E lazy_itable_init=1,nodiscard -d "$scratch/root" "$scratch/root.ext4" 6G > /dev/null
mv "$scratch/vmlinuz" "$scratch/initrd" "$directory/"
# Last, because its existence says that all is there.
mv "$scratch/root.ext4" "$directory/"
