#!/usr/bin/env bash
# Three nodes on this machine: writes, kills the leader of a group as a crash would, writes on,
# starts it again, and shows that every node has everything that was acknowledged.
# It needs bash, curl and what a build needs; `demo.sh ENGINE` takes redb, fjall or sled.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
readonly ENGINE=${1:-redb} KEYS=${KEYS:-100}
export CARGO_TERM_PROGRESS_WHEN=never

cargo build --quiet --locked --package kvlogdb-example-kv
KV=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
readonly KV=$KV/debug/kv
DIR=$(mktemp -d)
readonly DIR
# Ports of this run's own, in the range that the system does not hand out.
BASE=$((20000 + $$ % 10000))
readonly BASE
declare -A pids=()

finish() {
    local status=$?
    kill "${pids[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    if ((status != 0)); then cat "$DIR"/*.log >&2; fi
    rm -rf "$DIR"
    exit "$status"
}
trap finish EXIT

http() { echo "127.0.0.1:$((BASE + 10 + $1))"; }

start() {
    local id=$1 peer peers=()
    for peer in 1 2 3; do peers+=(--peer "$peer=127.0.0.1:$((BASE + peer)),$(http "$peer")"); done
    "$KV" --id "$id" --dir "$DIR/node-$id" --engine "$ENGINE" --snapshot-every 50 "${peers[@]}" \
        >>"$DIR/node-$id.log" 2>&1 &
    pids[$id]=$!
}

# put KEY VALUE: until it is acknowledged, by whatever node answers.
put() {
    local try
    for ((try = 0; try < 300; try++)); do
        if curl --silent --fail --location --max-time 6 --output /dev/null \
            --request PUT --data "$2" "http://$(http $((try % 3 + 1)))/keys/$1"; then
            return
        fi
        sleep 0.1
    done
    echo "$1 was never acknowledged" >&2
    return 1
}

# local_keys NODE: how many of the keys a node has with their right values.
local_keys() {
    curl --silent --max-time 6 "http://$(http "$1")/local" | tr '{,}' '\n' |
        sed -n 's/^"key-\([0-9]*\)":"value-\([0-9]*\)"$/\1 \2/p' | awk '$1 == $2' | wc -l
}

leader() {
    local try found
    for ((try = 0; try < 300; try++)); do
        found=$(curl --silent --max-time 6 "http://$(http 1)/status" |
            sed -n 's/^\[{"leader":\([0-9]\).*/\1/p') || true
        if [[ -n $found ]]; then
            echo "$found"
            return
        fi
        sleep 0.1
    done
    return 1
}

expect() {
    local node=$1 try have=0
    for ((try = 0; try < 300; try++)); do
        have=$(local_keys "$node") || true
        if ((have == $2)); then
            echo "node $node has all $2 acknowledged keys"
            return
        fi
        sleep 0.1
    done
    echo "node $node has $have of $2 acknowledged keys" >&2
    return 1
}

echo "three nodes on $ENGINE, four groups on each"
for id in 1 2 3; do start "$id"; done
for ((key = 0; key < KEYS; key++)); do put "key-$key" "value-$key"; done
echo "$KEYS writes acknowledged"
first=$(leader)
kill -KILL "${pids[$first]}"
wait "${pids[$first]}" 2>/dev/null || true
echo "node $first, leader of the first group, is killed"
for ((key = KEYS; key < 2 * KEYS; key++)); do put "key-$key" "value-$key"; done
echo "$KEYS more writes acknowledged without it"
start "$first"
echo "node $first is started again"
for id in 1 2 3; do expect "$id" $((2 * KEYS)); done
