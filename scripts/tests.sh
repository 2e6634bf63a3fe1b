#!/usr/bin/env bash
# Runs the tests in two halves side by side: those of pure code, which need a core and nothing else,
# and those of nodes and sandboxes, which often wait. What the first printed comes after the second.
# With arguments, which go to pytest, there is one run.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="${1:?usage: scripts/tests.sh PYTHON [ARGUMENT...]}"
shift
if [[ $# -gt 0 ]]; then
    exec "$python" -m pytest "$@"
fi

pure=(tests/sim tests/gossip tests/protocol tests/swarm)
printed="$(mktemp)"
beside=
trap 'rm -f "$printed"; [[ -z $beside ]] || kill "$beside" 2>/dev/null' EXIT
trap 'exit 130' INT TERM

"$python" -m pytest -p no:cacheprovider "${pure[@]}" >"$printed" 2>&1 &
beside=$!
"$python" -m pytest "${pure[@]/#/--ignore=}"
others=$?
wait "$beside"
purely=$?
beside=
cat "$printed"
exit $((others > purely ? others : purely))
