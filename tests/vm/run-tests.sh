#!/bin/bash
# run-tests.sh TEMPORARY SECONDS [FILTER]: runs the test binaries that test-v2.sh has sent, inside the VM, one after the other.
#
# A binary's tests print only if they fail; each binary ends in one line `NAME: N passed, M failed, K ignored (S s)`.
# A binary that takes longer than SECONDS, or dies, counts as a failure. Last come the lines of all again, and what
# the tests left behind: mounts, cgroups and processes.
set -u
temporary=$1 patience=$2 filter=${3:-}
export SKEP_BIN=$PWD/skep PATH=$PATH:/usr/sbin:/sbin
mkdir -p "$temporary"
# As most machines have it; the lane's own choice would be every mount's.
mount -o remount,relatime /
status=0 summary=

skips() { # BINARY: the tests of it that the file `skipped` names, as options
    awk -v binary="$1" '$1 == binary { printf " --skip %s", $2 }' skipped
}

for name in $(cat order); do
    log=/tmp/$name.log began=$SECONDS
    # shellcheck disable=SC2046 # Words are meant.
    timeout "$patience" "tests/$name" --color=never ${filter:+"$filter"} $(skips "$name") > "$log" 2>&1
    code=$?
    result=$(grep '^test result' "$log" | sed 's/.* \([0-9]*\) passed; \([0-9]*\) failed; \([0-9]*\) ignored.*/\1 passed, \2 failed, \3 ignored/')
    # The engine's cases have a runner of their own.
    [ -n "$result" ] || [ $code -gt 1 ] || result="$(grep -c '^ok ' "$log") passed, $(grep -c '^FAILED ' "$log") failed, 0 ignored"
    line="$name: ${result:-no result, ended with $code} ($((SECONDS - began)) s)"
    if [ $code -ne 0 ]; then
        status=1
        # The tests that had finished say which one had not.
        tail -n 400 "$log"
    fi
    echo "$line"
    summary+="$line"$'\n'
done

echo
echo "== summary"
printf '%s' "$summary"
left=$(
    awk '$5 ~ /skep|skt-/ { print "mount " $5 }' /proc/self/mountinfo
    find /sys/fs/cgroup -mindepth 2 -path '*/skep/*' -type d | sed 's/^/cgroup /'
    pgrep -x skep | sed 's/^/process /'
)
if [ -n "$left" ]; then
    echo "left by the tests:"
    echo "$left"
    status=1
fi
exit $status
