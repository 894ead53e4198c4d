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
# Two groups at a time, since the plugin's tests wait for Scipion's processes half of the time: the
# engine's, and four of the plugin's, so that both cores have work to the end. Those that need a
# model make one group, because a process trains it but once.
mapfile -t model < <(grep -l ModelTest apbc_scipion/tests/test_*.py)
groups=("${model[*]}" "" "" "")
number=0
for file in $(grep -L ModelTest apbc_scipion/tests/test_*.py); do
    groups[1 + number++ % 3]+=" $file"
done
set -m # without job control what runs in the background ignores interrupts, which some tests send
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
python -m pytest tests < /dev/null &
running=($!)
trap 'kill "${running[@]}" 2> /dev/null; exit 130' INT TERM
for number in "${!groups[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge 2 ]; do sleep 1; done
    read -ra files <<< "${groups[number]}"
    python -m pytest "${files[@]}" > "$logs/$number" 2>&1 < /dev/null &
    running+=($!)
done
status=0
for pid in "${running[@]}"; do
    wait "$pid" || status=$?
done
cat "$logs"/*
exit "$status"
