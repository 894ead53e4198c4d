#!/usr/bin/env bash
# All checks, in the order of their cost. Words are passed on to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
export TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-3}"

ruff check .
ruff format --check .
mypy
# Scipion's Python may be 3.8; the engine's is newer.
vermin --no-tips --violations -t=3.8- --eval-annotations apbc_scipion setup.py apbc/__init__.py
python -m pytest "$@" < /dev/null
