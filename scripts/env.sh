# Source this from the repository's root (". scripts/env.sh") in bash, for the virtual environment, with
# Scipion's home in .scipion and Scipion's own Python as the engine.

# Another Scipion that the caller uses must not lend this one its settings.
unset "${!SCIPION@}" PYTHONPATH
APBC_ROOT=$PWD
export PATH="$APBC_ROOT/.venv/bin:$PATH"
export SCIPION_HOME="$APBC_ROOT/.scipion"
export SCIPION_USER_DATA="$SCIPION_HOME/data"
export SCIPION_LOCAL_CONFIG="$SCIPION_HOME/config/scipion.conf"
export SCIPION_LOGS="$SCIPION_HOME/logs"
export SCIPION_TESTS="$SCIPION_USER_DATA/tests"
export SCIPION_TESTS_OUTPUT="$SCIPION_TESTS/output"
export SCIPION_DOMAIN=pwem
export SCIPION_NOTIFY=False
export SCIPION_TEST_NOSYNC=1
export APBC_ENV_ACTIVATION=
export TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-3}"
mkdir -p "$SCIPION_TESTS_OUTPUT" "$SCIPION_LOGS" "$SCIPION_USER_DATA/projects"
# Relion's plugin wants the programs in a folder whose name tells their version.
RELION_HOME="${RELION_HOME:-$(python -c '
import runpy, sys
link = runpy.run_path("apbc_scipion/headless.py")["link_relion"]
sys.stdout.write(link(sys.argv[1]))' "$SCIPION_HOME/software/em/relion-4.0")}"
if [ -n "$RELION_HOME" ]; then export RELION_HOME; else unset RELION_HOME; fi
