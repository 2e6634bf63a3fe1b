#!/usr/bin/env bash
# Runs the tests. The simulator's need a core and nothing else, and the others often wait for
# something, so the two run side by side; what the simulator's printed comes after the others'.
# With arguments, which go to pytest, there is one run.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="${1:?usage: scripts/tests.sh PYTHON [ARGUMENT...]}"
shift
if [[ $# -gt 0 ]]; then
    exec "$python" -m pytest "$@"
fi

printed="$(mktemp)"
simulator=
trap 'rm -f "$printed"; [[ -z $simulator ]] || kill "$simulator" 2>/dev/null' EXIT
trap 'exit 130' INT TERM

"$python" -m pytest -p no:cacheprovider tests/sim >"$printed" 2>&1 &
simulator=$!
"$python" -m pytest --ignore=tests/sim
others=$?
wait "$simulator"
simulated=$?
simulator=
cat "$printed"
exit $((others > simulated ? others : simulated))
