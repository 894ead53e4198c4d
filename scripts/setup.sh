#!/usr/bin/env bash
# Set everything up in this folder: Relion from apt (where that is allowed), a virtual environment
# with Scipion, its Relion plugin and this package, and Scipion's configuration.
# May be run again at any time; PYTHON=path chooses the Python.
set -euo pipefail
cd "$(dirname "$0")/.."

SCIPION_APP="scipion-app==3.8.3"
RELION_PLUGIN="scipion-em-relion==5.0.2"
# Their converters are tried in the tests (apbc_scipion/tests/test_interoperation.py).
OTHER_PLUGINS=("scipion-em-xmipp==29.0.1" "scipion-em-cryosparc2==5.0.1" "scipion-em-eman2==3.7.0")
VENV=.venv

say() { printf '\n==> %s\n' "$*" >&2; }
stop() {
    printf 'setup: error: %s\n' "$*" >&2
    exit 1
}

case "$PWD" in
*[[:space:]]*) stop "Scipion does not work in a folder with blanks in its path ($PWD); move it" ;;
esac

# --- Packages of the system -----------------------------------------------------------------
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}
may_install() {
    command -v apt-get > /dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2> /dev/null; }
}

find_python() {
    local name
    for name in ${PYTHON:-python3.11 python3.12 python3.10 python3}; do
        if "$name" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' \
            2> /dev/null; then
            command -v "$name"
            return
        fi
    done
    return 1
}
python=$(find_python) || stop "no Python 3.10 to 3.12 found; install one (apt-get install python3.11) or name it with PYTHON=path"

packages=()
command -v relion_refine > /dev/null || packages+=(relion)
# A screen for the tests of windows and for the screenshots.
command -v Xvfb > /dev/null || packages+=(xvfb)
command -v openbox > /dev/null || packages+=(openbox)
command -v xdotool > /dev/null || packages+=(xdotool)
# Only Debian's own Python takes its Tk from apt; Scipion's windows need it.
if [ "$(dirname "$python")" = /usr/bin ] && ! "$python" -c 'import tkinter' 2> /dev/null; then
    packages+=(python3-tk)
fi
if [ ${#packages[@]} -gt 0 ]; then
    if may_install; then
        say "installing from apt: ${packages[*]}"
        export DEBIAN_FRONTEND=noninteractive
        as_root apt-get update -q < /dev/null || say "apt-get update FAILED; going on"
        for package in "${packages[@]}"; do
            as_root apt-get install -q -y "$package" < /dev/null \
                || say "SKIPPED: apt could not install $package; what needs it is left out"
        done
    else
        say "SKIPPED: ${packages[*]} (neither root nor passwordless sudo, or no apt);" \
            "what needs them is left out of the demo and the tests." \
            "To have it: sudo apt-get install ${packages[*]}, then: rm $VENV/ready"
    fi
fi

# --- Virtual environment ----------------------------------------------------------------------
if ! "$VENV/bin/python" -m pip --version > /dev/null 2>&1; then
    say "making $VENV with $python"
    rm -rf "$VENV"
    if "$python" -c 'import ensurepip' 2> /dev/null; then
        "$python" -m venv "$VENV"
    else
        # Debian keeps ensurepip in a package of its own; virtualenv brings its own pip.
        helper=$(mktemp -d)
        trap 'rm -rf "$helper"' EXIT
        "$python" -m pip install -q --target "$helper" virtualenv \
            || stop "$python has neither venv nor pip; apt-get install python3-venv"
        PYTHONPATH="$helper" "$python" -m virtualenv -q "$VENV"
    fi
fi
say "installing Scipion, its Relion plugin and apbc (a few minutes the first time)"
pip=("$VENV/bin/python" -m pip --disable-pip-version-check --no-input)
"${pip[@]}" install -q "$SCIPION_APP" "$RELION_PLUGIN"
# What Scipion pins is told to pip as a constraint: it would spend many minutes to find it out.
"${pip[@]}" freeze \
    | grep -iE '^(numpy|scipy|scikit-image|matplotlib|pillow|tifffile|mrcfile)==' \
    > "$VENV/scipion-pins.txt"
"${pip[@]}" install -q -c "$VENV/scipion-pins.txt" -e ".[engine,dev]"
# The tests need the converters of these plugins, but neither their dependencies nor the plugins in
# Scipion: so they lie beside the environment, without the metadata by which Scipion finds plugins.
others="$VENV/interop"
if [ "$(cat "$others/versions.txt" 2> /dev/null)" != "${OTHER_PLUGINS[*]}" ]; then
    say "fetching the plugins of other programs for the tests: ${OTHER_PLUGINS[*]}"
    rm -rf "$others"
    if "${pip[@]}" install -q --no-deps --target "$others" "${OTHER_PLUGINS[@]}"; then
        rm -rf "$others"/*.dist-info
        echo "${OTHER_PLUGINS[*]}" > "$others/versions.txt"
    else
        say "SKIPPED: ${OTHER_PLUGINS[*]} could not be fetched; the tests of their converters are left out"
    fi
fi

# --- Scipion's configuration ------------------------------------------------------------------
say "configuring Scipion in .scipion"
mkdir -p .scipion/config .scipion/software/em .scipion/software/log
rm -f .scipion/config/scipion.conf .scipion/config/hosts.conf
# shellcheck source=scripts/env.sh
. scripts/env.sh
log=.scipion/config.log
python -m scipion config --notify > "$log" 2>&1 < /dev/null || {
    cat "$log" >&2
    stop "Scipion could not be configured"
}
sed -i 's/^SCIPION_NOTIFY *=.*/SCIPION_NOTIFY = False/' .scipion/config/scipion.conf

touch "$VENV/ready"
say "ready"
