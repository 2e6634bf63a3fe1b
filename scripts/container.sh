#!/bin/sh
# What a container of the swarm-node image runs: `founder`, `agent`, or any swarm-node command.
#
# founder: founds a swarm on its first start and publishes its address in $SHARED, which holds
#   nothing else, so that agents never see the founder's home and its key.
# agent: takes the first free home on the volume that all replicas share, so that a replica that is
#   made anew goes on with an identity and a history it had before.
set -eu

SHARED=/run/swarm-node
LISTEN=${SWARM_LISTEN:-/ip4/0.0.0.0/tcp/4001}
# The founder writes its address once it listens; importing torch and libp2p comes before.
ADDRESS_LIMIT_S=300

publish_address() {
    waited_s=0
    until [ -s "$SWARM_HOME/address" ]; do
        [ "$waited_s" -lt "$ADDRESS_LIMIT_S" ] || exit 1
        sleep 1
        waited_s=$((waited_s + 1))
    done
    # Renamed into place: a reader finds all of it or nothing.
    cp "$SWARM_HOME/address" "$SHARED/.address"
    mv "$SHARED/.address" "$SHARED/address"
}

founder() {
    # After a crash both files may name a container that is gone.
    rm -f "$SWARM_HOME/address" "$SHARED/address"
    if [ ! -e "$SWARM_HOME/records.sqlite" ]; then
        swarm-node init --home "$SWARM_HOME" --name "${SWARM_NAME:-swarm}" \
            --tier "${SWARM_TIER:-smoke}" --policy "${SWARM_POLICY:-demo}"
    fi
    publish_address &
    exec swarm-node join --home "$SWARM_HOME" --listen "$LISTEN" "$@"
}

agent() {
    slot=1
    while :; do
        # The lock is held by the node itself, through this descriptor, for as long as it lives.
        exec 9>"$SWARM_HOME/$slot.lock"
        flock --nonblock 9 && break
        slot=$((slot + 1))
    done
    SWARM_HOME=$SWARM_HOME/$slot
    export SWARM_HOME
    echo "agent $slot" >&2
    exec swarm-node join --home "$SWARM_HOME" --listen "$LISTEN" \
        --bootstrap "@$SHARED/address" "$@"
}

case ${1:-agent} in
    founder | agent)
        role=${1:-agent}
        [ "$#" -eq 0 ] || shift
        "$role" "$@"
        ;;
    *) exec swarm-node "$@" ;;
esac
