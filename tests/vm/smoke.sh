#!/bin/bash
# smoke.sh: skep where the machine at hand cannot test it: cgroup v2 and Debian 12's own kernel (6.1).
# Runs inside the lane (see lane.sh), with the release binary beside it as ./skep. Prints a line each check.
set -u
export SKEP_ROOT=/root/skep-data SKEP_RUN=/run/skep-run
passed=0 failed=0
check() { # NAME EXPECTED ACTUAL
    if [[ "$3" == $2 ]]; then
        passed=$((passed + 1)) && echo "ok      $1"
    else
        failed=$((failed + 1)) && printf 'FAILED  %s\n  expected %s\n  got      %s\n' "$1" "$2" "$3"
    fi
}

root=/root/busybox
mkdir -p $root/bin $root/proc $root/sys $root/dev $root/etc $root/tmp
cp /bin/busybox $root/bin/
for applet in sh ps id cat echo sleep true dd hostname ls stat touch mount head tr; do ln -s busybox $root/bin/$applet; done
printf 'root:x:0:0:root:/root:/bin/sh\n' > $root/etc/passwd
tar -C $root -cf /root/image.tar .

check "import" 'sha256:*' "$(./skep import /root/image.tar lane:1 2>&1)"
check "run from an image" 'hello' "$(./skep run --rm lane:1 echo hello 2>&1)"
check "pid 1" '1' "$(./skep run --rm lane:1 sh -c 'echo $$' 2>&1)"
check "ids are its own" '*0 [1-9]*65536*' "$(./skep run --rm lane:1 cat /proc/self/uid_map 2>&1 | tr -s ' ')"
check "files keep their ids" '0 0' "$(./skep run --rm lane:1 sh -c 'touch /x && stat -c "%u %g" /x' 2>&1)"
check "run from a directory" 'hello' "$(./skep run --rm rootfs:$root echo hello 2>&1)"
check "memory limit" '67108864' "$(./skep run --rm -m 64m lane:1 cat /sys/fs/cgroup/memory.max 2>&1)"
check "processor limit" '50000 100000' "$(./skep run --rm --cpus 0.5 lane:1 cat /sys/fs/cgroup/cpu.max 2>&1)"
check "pids limit" '20' "$(./skep run --rm --pids-limit 20 lane:1 cat /sys/fs/cgroup/pids.max 2>&1)"
./skep run --name hog -m 64m --memory-swap 64m lane:1 sh -c 'x=$(head -c 80000000 /dev/zero | tr "\0" a); echo $x' > /dev/null 2>&1
check "out of memory: exit code" '137' "$?"
check "out of memory: said" 'true' "$(./skep inspect --format '{{.State.OOMKilled}}' hog 2>&1)"
./skep rm hog > /dev/null
check "detached" '????????????*' "$(./skep run -d --name one lane:1 sleep 1000 2>&1)"
check "exec" 'root' "$(./skep exec one id -un 2>&1)"
check "exec is in the cgroup" '0::/' "$(./skep exec one cat /proc/self/cgroup 2>&1)"
check "pause" 'paused' "$(./skep pause one > /dev/null; ./skep inspect --format '{{.State.Status}}' one 2>&1)"
check "unpause" 'running' "$(./skep unpause one > /dev/null; ./skep inspect --format '{{.State.Status}}' one 2>&1)"
check "stats" '*one*' "$(./skep stats --no-stream 2>&1 | tail -1)"
check "devices: a privileged container may" 'ok' "$(./skep run --rm --privileged lane:1 sh -c 'head -c 1 /dev/zero > /dev/null && echo ok' 2>&1)"
check "devices: host ids, default rules" 'ok' "$(./skep run --rm --userns host lane:1 sh -c 'head -c 1 /dev/zero > /dev/null && echo ok' 2>&1)"
check "remove" 'one' "$(./skep rm -f one 2>&1)"
check "nothing is left: cgroups" '' "$(ls -d /sys/fs/cgroup/skep/*/ 2> /dev/null)"
check "nothing is left: mounts" '' "$(grep skep /proc/self/mountinfo)"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
