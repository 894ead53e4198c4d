"""What ``scipion installb apbc`` does: an environment of its own for the engine.

With conda the environment is ``apbc-<version>`` (from conda-forge, never the ``defaults``
channel); without it a virtual environment beside Scipion's other binaries. Everything but Python
itself comes as wheels. ``apbc doctor`` comes last, and only if it is content the flag file is
written, which holds the command that activates the environment.
"""

import importlib.metadata
import json
import os
import shlex
import shutil
import sys

import pyworkflow

from apbc import __version__
from apbc_scipion import engine

DISTRIBUTION = "scipion-em-apbc"
PYTHON_VERSION = "3.11"
# Pythons that TensorFlow has wheels for, the preferred one first.
PYTHONS = ("python3.11", "python3.12", "python3.13", "python3.10")
ENVIRONMENT_FOLDER = "env"


def engine_source(extras):
    """Give pip words that install the engine from where this plugin came from.

    Parameters
    ----------
    extras : str
        Such as ``"engine,cuda"``.

    Returns
    -------
    str
        Shell words: an editable checkout if the plugin is one; the same file,
        folder or commit if pip installed it from there; else the same version
        from the package index.
    """
    checkout = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if os.path.exists(os.path.join(checkout, "setup.py")):
        return "-e " + shlex.quote("%s[%s]" % (checkout, extras))
    name = "%s[%s]" % (DISTRIBUTION, extras)
    record = importlib.metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    if record is None:
        return shlex.quote("%s==%s" % (name, __version__))
    origin = json.loads(record)
    url = origin["url"]
    if "vcs_info" in origin:
        url = "%s+%s@%s" % (origin["vcs_info"]["vcs"], url, origin["vcs_info"]["commit_id"])
    return shlex.quote("%s @ %s" % (name, url))


def has_conda():
    """Whether conda can be used: Scipion was told how, or it is on the PATH."""
    return bool(pyworkflow.Config.CONDA_ACTIVATION_CMD) or shutil.which("conda") is not None


def find_python():
    """Path of a Python for the virtual environment, or None if no fitting one is there."""
    for name in PYTHONS:
        path = shutil.which(name)
        if path:
            return path
    return sys.executable if sys.version_info >= engine.OLDEST_ENGINE_PYTHON else None


def create_with_conda():
    """Shell command that makes the conda environment."""
    return "%sconda create -y -n %s -c conda-forge --override-channels python=%s pip" % (
        engine.conda_hook(),
        engine.ENVIRONMENT_NAME,
        PYTHON_VERSION,
    )


def create_with_venv(folder):
    """Shell command that makes the virtual environment.

    Debian leaves ``ensurepip`` out of Python; then Scipion's own pip is the one
    that puts pip in.
    """
    python = find_python()
    if python is None:
        return (
            "echo 'apbc: error: no conda, and no Python 3.10 to 3.13 on the PATH: "
            "install one of them and try again' >&2 && false"
        )
    python, folder = shlex.quote(python), shlex.quote(folder)
    return (
        "{ %(python)s -m venv --clear %(folder)s || "
        "{ %(python)s -m venv --clear --without-pip %(folder)s && "
        "%(scipion)s -m pip --python %(folder)s/bin/python install pip; }; }"
        % {"python": python, "folder": folder, "scipion": shlex.quote(sys.executable)}
    )


def install_command():
    """Give the whole installation as one shell command.

    Returns
    -------
    str
        Each part runs only if the one before succeeded; Scipion runs it in the
        engine's folder and looks for the flag file afterwards.
    """
    if has_conda():
        create, activation = create_with_conda(), engine.DEFAULT_ACTIVATION
    else:
        folder = engine.software_folder(ENVIRONMENT_FOLDER)
        create = create_with_venv(folder)
        activation = ". " + shlex.quote(os.path.join(folder, "bin", "activate"))
    pip = "python -m pip install "
    flag = shlex.quote(engine.FLAG_FILE)
    return " && ".join(
        [
            "unset PYTHONPATH PYTHONHOME; export PYTHONNOUSERSITE=1 PYTHONSAFEPATH=1; "
            "rm -f " + flag,
            create,
            activation,
            "if nvidia-smi > /dev/null 2>&1; then %s; else %s; fi"
            % (pip + engine_source("engine,cuda"), pip + engine_source("engine")),
            "python -m apbc doctor",
            "printf '%%s\\n' %s > %s" % (shlex.quote(activation), flag),
        ]
    )


def define_binaries(plugin, env):
    """Tell Scipion's installer about the engine.

    Parameters
    ----------
    plugin : type
        The plugin's class.
    env : scipion.install.funcs.Environment
    """
    env.addPackage(
        engine.PACKAGE,
        version=__version__,
        # There is nothing to download: Scipion's empty archive is only ever looked for, never
        # unpacked, so a file that is here already does as well.
        tar="void.tgz",
        url="file:" + shlex.quote(os.path.abspath(__file__)),
        # Under bash, since conda's hook and the activation scripts are written for it.
        commands=[("bash -c " + shlex.quote(install_command()), engine.FLAG_FILE)],
        neededProgs=["bash"],
        default=True,
    )
