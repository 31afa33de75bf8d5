#!/bin/sh
# Keeps one Kafka node for a test process: keeper.sh DATA LOG CLUSTER_ID CONFIG JAVA...
#
# Each line on stdin starts the node once; what becomes of it is told on stdout as `started PID` and `exited CODE`. The
# end of stdin means that the owner is gone, however it died: the kernel closes the pipe of a killed process too. Then
# the node is killed and its data are removed, so that no test run leaves anything behind.
trap '' PIPE
data=$1
log=$2
cluster=$3
config=$4
shift 4
exec 2>>"$log"

# Runs one process to its end, where the loop below can find and kill it: child WORD COMMAND...
child() {
    word=$1
    shift
    if [ -f "$data/closed" ]; then
        return 1
    fi
    "$@" >>"$log" 2>&1 &
    echo $! >"$data/pid"
    echo "$word $!"
    wait $!
    code=$?
    rm -f "$data/pid"
    return $code
}

run() {
    code=0
    if [ ! -f "$data/log/meta.properties" ]; then
        child formatting "$@" kafka.tools.StorageTool format -t "$cluster" -c "$config" || code=$?
    fi
    if [ $code -eq 0 ]; then
        child started "$@" kafka.Kafka "$config" || code=$?
    fi
    rm -f "$data/running"
    echo "exited $code"
}

while read -r _; do
    : >"$data/running"
    run "$@" </dev/null &
done
: >"$data/closed"
while [ -f "$data/running" ]; do
    if [ -s "$data/pid" ]; then
        kill -9 "$(cat "$data/pid")"
    fi
    sleep 0.05
done
rm -rf "$data"
