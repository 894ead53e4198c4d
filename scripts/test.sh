#!/usr/bin/env bash
# All checks, in the order of their cost. Words are passed on to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
# The tests make a Scipion of their own; one that the caller uses must not lend it its settings.
unset "${!SCIPION@}" APBC_ENV_ACTIVATION PYTHONPATH
export PATH="$PWD/.venv/bin:$PATH"
export TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-3}"

ruff check .
ruff format --check .
mypy
# Scipion's Python may be 3.8; the engine's is newer, but for the light modules that the viewers use.
vermin --no-tips --violations -t=3.8- --eval-annotations apbc_scipion setup.py apbc/__init__.py
vermin --no-tips --violations -t=3.8- --no-eval-annotations \
    apbc/errors.py apbc/geometry.py apbc/progress.py apbc/display apbc/evaluation \
    apbc/io/files.py apbc/io/images.py apbc/io/mrc.py apbc/io/runs.py apbc/models/calibration.py
if [ $# -gt 0 ]; then
    python -m pytest "$@" < /dev/null
    exit
fi
# The plugin's tests wait for Scipion's processes half of the time, so the engine's run beside them.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
python -m pytest apbc_scipion/tests > "$log" 2>&1 < /dev/null &
plugin=$!
trap 'kill "$plugin" 2> /dev/null; exit 130' INT TERM
status=0
python -m pytest tests < /dev/null || status=$?
wait "$plugin" || status=$?
cat "$log"
exit "$status"
