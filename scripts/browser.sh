#!/usr/bin/env bash
# Puts in place what the page's tests need besides the environment: Debian's Chromium and Playwright.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="${1:?usage: scripts/browser.sh PYTHON}"

if [[ ! -x /usr/bin/chromium ]]; then
    if [[ "$(id -u)" != 0 ]] || ! command -v apt-get >/dev/null; then
        echo "test-web: /usr/bin/chromium is missing. Install it:" >&2
        echo "  Debian:  sudo apt-get update && sudo apt-get install -y chromium" >&2
        exit 1
    fi
    echo "test-web: installing chromium" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends chromium >/dev/null
fi
if ! "$python" -c 'import playwright' 2>/dev/null; then
    echo "test-web: installing playwright" >&2
    "$python" -m pip install --quiet --no-deps -r requirements/test-web.txt
fi
