#!/usr/bin/env bash
# The main job of skep, shown with real commands on a real Debian image. `make demo` builds the binary and runs this.
# Everything happens in a data directory of its own, which is removed at the end, also after ctrl-c or a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

[ "$(id -u)" = 0 ] || { echo "the demo starts containers: run it as root" >&2; exit 1; }

cache=target/demo
work=$(mktemp --directory /var/tmp/skep-demo.XXXXXX)
export SKEP_ROOT=$work/data SKEP_RUN=$work/run
export PATH="$PWD/target:$PATH"
docker_image=

clean_up() {
    status=$?
    trap - EXIT INT TERM
    containers=$(skep ps --all --quiet 2>/dev/null || true)
    [ -z "$containers" ] || skep rm --force $containers >/dev/null || true
    [ -z "$docker_image" ] || docker rmi --force "$docker_image" >/dev/null 2>&1 || true
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi
chapter() { printf '\n%s== %s%s\n' "$bold" "$1" "$plain"; }
say() { printf '%s%s%s\n' "$dim" "$*" "$plain"; }
# Shows a command as it would be typed, then runs it.
show() { printf '%s$ %s%s\n' "$bold" "$*" "$plain"; bash -c "$*"; }
# The same for a command that is expected to fail: prints its exit code.
show_failing() { printf '%s$ %s%s\n' "$bold" "$*" "$plain"; local code=0; bash -c "$*" || code=$?; echo "exit code $code"; }
now() { echo "${EPOCHREALTIME/./}"; }
# The median of nine runs of a command, in milliseconds.
median_ms() {
    for _ in 1 2 3 4 5 6 7 8 9; do
        sleep 0.1
        local start; start=$(now)
        "$@" >/dev/null
        echo $(($(now) - start))
    done | sort -n | awk 'NR == 5 { printf "%.1f", $1 / 1000 }'
}

chapter "A small Debian image, made from Debian's packages"
archive=$cache/debian.tar
if [ ! -s "$archive" ]; then
    say "mmdebstrap takes about a minute; the result is kept in $archive"
    mkdir -p "$cache"
    mmdebstrap --quiet --format=tar --variant=minbase --include=procps bookworm "$archive.new"
    mv "$archive.new" "$archive"
fi
export archive
show 'skep import --change "CMD /bin/bash" '"$archive"' debian:demo'
show 'skep images'
image_kb=$(du -sk "$SKEP_ROOT/layers" | cut -f1)

chapter "A process of its own: PID 1 inside, an ordinary process outside"
show 'skep run --rm debian:demo ps -e -o pid,comm'
show 'skep run -d --name sleeper debian:demo sleep 300'
pid=$(skep inspect --format '{{.State.Pid}}' sleeper)
say "The container's PID 1 is this process of the host, under an unprivileged user id:"
show "ps -o pid,user:12,comm -p $pid"

chapter "Its own host name, files, mounts and users"
show 'skep run --rm --hostname hive debian:demo sh -c "hostname; ls /; id"'
show 'skep run --rm debian:demo sh -c "wc -l < /proc/mounts; grep -E \" / | /proc \" /proc/mounts"'
say "Root inside is not root outside: user ids 0 to 65535 are a private range of the host."
show 'skep exec sleeper cat /proc/self/uid_map'
say "Seven fresh namespaces (time is the host's):"
show "lsns --output TYPE,NS,PID,COMMAND --task $pid"
show 'skep rm -f sleeper'

chapter "A memory limit: 80 MB do not fit into 64"
show_failing "skep run --name hungry -m 64m debian:demo perl -e 'my \$x = \"x\" x (80 * 1024 * 1024); print length(\$x)'"
show 'skep inspect --format "OOMKilled={{.State.OOMKilled}} ExitCode={{.State.ExitCode}}" hungry'
show 'skep rm hungry'

chapter "A CPU limit: a busy loop held to half a core"
show 'skep run -d --name hog --cpus 0.5 debian:demo sh -c "while :; do :; done"'
pid=$(skep inspect --format '{{.State.Pid}}' hog)
ticks() { awk '{ print $14 + $15 }' "/proc/$pid/stat"; }
sleep 1
started=$(now) used=$(ticks)
sleep 4
used=$(($(ticks) - used)) elapsed=$(($(now) - started))
echo "the loop used $((used * 1000000 * 100 / $(getconf CLK_TCK) / elapsed)) % of a core over 4 s"
show 'skep stats --no-stream hog'
show 'skep rm -f hog'

chapter "What a container changed"
show 'skep run --name writer debian:demo sh -c "echo honey > /root/pot; rm /etc/motd; chmod 700 /srv"'
show 'skep diff writer'
show 'skep rm writer'

chapter "Fifty containers from one image"
before=$(du -sk "$SKEP_ROOT" | cut -f1)
started=$(now)
say "for number in 1..50: skep run -d --network none debian:demo sleep 300"
for number in $(seq 50); do skep run -d --network none --name "bee$number" debian:demo sleep 300 >/dev/null; done
elapsed=$(($(now) - started))
after=$(du -sk "$SKEP_ROOT" | cut -f1)
echo "$(skep ps --quiet | wc -l) containers run, started in $((elapsed / 1000)) ms;" \
    "they add $((after - before)) kB to an image of $((image_kb / 1024)) MB"
show 'skep exec bee7 sh -c "echo mine > /note"; skep exec bee8 ls /note || true'
started=$(now)
skep rm -f $(skep ps --quiet) >/dev/null
echo "removed in $((($(now) - started) / 1000)) ms"

chapter "The time one start takes"
echo "skep run --rm:   $(median_ms skep run --rm --network none debian:demo true) ms (median of nine)"
if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
    docker_image=skep-demo:debian
    docker import "$archive" "$docker_image" >/dev/null
    docker run --rm --network none "$docker_image" true
    echo "docker run --rm: $(median_ms docker run --rm --network none "$docker_image" true) ms (median of nine)"
else
    say "docker run: skipped, no Docker engine answers on this machine"
fi

chapter "Done"
say "Every container, the image and the data directory are removed now. Next: README.md, or skep --help"
