#!/bin/bash
# lane.sh [--systemd] DIRECTORY COMMAND: runs COMMAND as root in a small Debian VM with a stock kernel and pure cgroup v2.
#
# The lane is for what the machine at hand does not have: another kernel, cgroup v2, systemd. It boots Debian's cloud
# kernel by QEMU's software emulation (works anywhere; code runs 3 to 13 times slower), with a copy of DIRECTORY at
# /work, where COMMAND is run by bash. Its output comes to stdout, its exit status is ours. With --systemd, systemd is
# process 1 with a system bus, and COMMAND a service of it; without, a small script is, which boots faster.
#
#       here                                   the VM
#   DIRECTORY -> tar -> /dev/vdb   --------->  unpacked at /work
#   COMMAND   -> tar -> /dev/vdc   --------->  bash -c
#   stdout    <- virtio-serial `out`  <------  its output
#   status    <- virtio-serial `status` <----  its exit status, then power off
#
# First use makes the VM's image (image.sh, half a minute); every run writes to a snapshot that is thrown away. An image
# is kept by the digest of its recipe, so that a change of the recipe makes a new one and no run sees half an image.
#
# Environment: LANE_CACHE (default target/lane.cache), LANE_MEMORY (MiB, 2048), LANE_TIMEOUT (seconds, 600),
# LANE_ACCELERATOR (tcg; `kvm` where it is a real one).
# `lane.sh --image` makes the image and no more.
set -euo pipefail

here=$(realpath "$(dirname "$0")")
init=/lane/init
if [ "${1:-}" = --systemd ]; then
    init=/sbin/init
    shift
fi
if [ $# -lt 1 ]; then
    sed -n '2,/^set/p' "$0" | sed -n 's/^# \{0,1\}//p' >&2
    exit 2
fi
cache=${LANE_CACHE:-$(realpath "$here/../..")/target/lane.cache}/$(sha256sum < "$here/image.sh" | cut -c1-12)

mkdir -p "$cache"
if [ ! -s "$cache/root.ext4" ]; then
    exec 9> "$cache/lock"
    flock 9
    if [ ! -s "$cache/root.ext4" ]; then
        "$here/../../xtask/install-packages" qemu-system-x86 mmdebstrap e2fsprogs busybox-static >&2
        echo "lane: making the VM's image in $cache" >&2
        "$here/image.sh" "$cache" 9>&-
    fi
    exec 9>&-
fi
[ "$1" != --image ] || exit 0

directory=$(realpath "$1")
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '%s' "$*" > "$work/command"
tar -C "$work" -cf "$work/command.tar" command
tar -C "$directory" -cf "$work/work.tar" .
: > "$work/status"
mkfifo "$work/out"
cat "$work/out" &
# no_timer_check: on a busy machine the emulated timer may come too late for the kernel's test of it, which is a panic.
timeout "${LANE_TIMEOUT:-600}" qemu-system-x86_64 -M q35 -accel "${LANE_ACCELERATOR:-tcg}" -cpu max,-la57 \
    -m "${LANE_MEMORY:-2048}" -smp 2 \
    -nodefaults -no-reboot -display none -kernel "$cache/vmlinuz" -initrd "$cache/initrd" \
    -serial "file:$work/console" \
    -append "console=ttyS0 loglevel=4 panic=-1 mitigations=off cgroup_no_v1=all random.trust_cpu=on 8250.nr_uarts=1 \
        no_timer_check tsc=reliable LANE_INIT=$init" \
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
