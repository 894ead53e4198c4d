"""Which Python runs the engine, and running it.

Three places are possible, and the user need not choose:

1. the environment that ``scipion installb apbc`` made (conda, or a plain virtual environment on a
   machine without conda); its activation command stands in the installer's flag file;
2. an environment of the user's own, named in the variable ``APBC_ENV_ACTIVATION``;
3. Scipion's own Python, if the variable is set but empty, or nothing was installed, and TensorFlow
   is there ("embedded").
"""

import importlib.util
import json
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import lru_cache

import pwem
import pyworkflow
import pyworkflow.utils as pwutils

from apbc import __version__
from apbc_scipion.constants import APBC_ENV_ACTIVATION

logger = logging.getLogger(__name__)

PACKAGE = "apbc"
ENVIRONMENT_NAME = "apbc-" + __version__
DEFAULT_ACTIVATION = "conda activate " + ENVIRONMENT_NAME
# Written by the installer as its very last step; holds the activation command.
FLAG_FILE = "apbc-installed.txt"
OLDEST_ENGINE_PYTHON = (3, 10)
VERSION_SECONDS = 300
LOG_TAIL_BYTES = 65536
ERROR_PREFIX = "apbc: error: "


class EngineError(Exception):
    """The engine failed.

    Parameters
    ----------
    message : str
        One sentence for the user.
    status : int
        Exit status of the engine (3: `pick` ended, but too many micrographs failed).
    """

    def __init__(self, message, status=1):
        super().__init__(message)
        self.status = status


def software_folder(*names):
    """Path within the folder of the engine among Scipion's binaries."""
    return os.path.join(os.path.abspath(pwem.Config.EM_ROOT), ENVIRONMENT_NAME, *names)


def installed_activation():
    """Command that activates the installer's environment, or "" where there is none."""
    flag = software_folder(FLAG_FILE)
    if not os.path.exists(flag):
        return ""
    with open(flag, encoding="utf-8") as stream:
        return stream.read().strip()


def can_embed():
    """Whether Scipion's own Python can run the engine (nothing is imported to find out)."""
    return (
        sys.version_info >= OLDEST_ENGINE_PYTHON
        and importlib.util.find_spec("tensorflow") is not None
    )


def get_activation():
    """Command that activates the engine's environment.

    Returns
    -------
    str
        "" where Scipion's own Python runs the engine.
    """
    wanted = pwem.Plugin.getVar(APBC_ENV_ACTIVATION, DEFAULT_ACTIVATION).strip()
    if not wanted:
        return "" if can_embed() else installed_activation() or DEFAULT_ACTIVATION
    if wanted != DEFAULT_ACTIVATION:
        return wanted
    installed = installed_activation()
    if not installed and can_embed():
        logger.info("apbc: no environment was installed; Scipion's own Python runs the engine")
        return ""
    return installed or wanted


def conda_hook():
    """Shell words, with ``&&`` at their end, that make ``conda activate`` work."""
    if pyworkflow.Config.CONDA_ACTIVATION_CMD:
        return pwem.Plugin.getCondaActivationCmd() + " "
    return 'eval "$(conda shell.bash hook)" && ' if shutil.which("conda") else ""


def get_command():
    """Shell command that the engine's verb and options are appended to."""
    activation = get_activation()
    if not activation:
        return shlex.quote(sys.executable) + " -m apbc"
    hook = conda_hook() if activation.split()[0] == "conda" else ""
    return hook + activation + " && python -m apbc"


def get_shell():
    """Path of bash, which knows ``source`` and conda's hook; None for the system's shell."""
    return shutil.which("bash")


def environment():
    """Environment variables for the engine.

    Returns
    -------
    pyworkflow.utils.Environ
        Without Scipion's PYTHONPATH and the user's site-packages, unless the
        engine runs in Scipion's own Python; these do not fit another Python.
    """
    environ = pwutils.Environ(os.environ)
    if get_activation():
        environ.pop("PYTHONPATH", None)
        environ.pop("PYTHONHOME", None)
        environ["PYTHONNOUSERSITE"] = "1"
    # A folder of the project that is named as a Python package must not hide it.
    environ["PYTHONSAFEPATH"] = "1"
    environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return environ


def format_arguments(verb, arguments, gpu=None):
    """Write the verb and its arguments as shell words.

    Parameters
    ----------
    verb : str
    arguments : iterable
        Words; numbers and paths are turned into text and quoted.
    gpu : str, optional
        Value of ``--gpu``; the option is left out if None.

    Returns
    -------
    str
    """
    words = [verb] + [str(a) for a in arguments]
    if gpu is not None:
        words += ["--gpu", gpu]
    return " ".join(shlex.quote(word) for word in words)


def gpu_option(protocol, gpus):
    """Value of ``--gpu`` for a step of a protocol.

    Parameters
    ----------
    protocol : pyworkflow.protocol.Protocol
        A running one.
    gpus : bool, str or None
        None: the verb has no such option, or may use what there is. False: the
        CPU. True: the GPUs that Scipion has set aside for this step. A string:
        those GPUs.

    Returns
    -------
    str or None
    """
    if gpus is None or isinstance(gpus, str):
        return gpus
    if not gpus:
        return ""
    # Asking the executor reserves them, as the placeholder %(GPU)s would; but that one separates
    # the numbers with blanks and stumbles over a path with a "%".
    mine = protocol._stepsExecutor.getGpuList() or []
    return ",".join(str(gpu) for gpu in mine) if mine else None


def run(protocol, verb, arguments, gpus=None):
    """Run a verb of the engine as a job of a protocol.

    Parameters
    ----------
    protocol : pyworkflow.protocol.Protocol
        The protocol whose step this is; its host configuration decides whether
        the job goes to a queue.
    verb : str
        Such as ``"pick"``.
    arguments : iterable
        Options and values, one word each.
    gpus : bool, str or None
        See `gpu_option`.

    Raises
    ------
    EngineError
        With the engine's own sentence, if it failed.
    """
    words = format_arguments(verb, arguments, gpu_option(protocol, gpus))
    log = protocol.getStderrLog()
    # Earlier steps and attempts have told their own errors there.
    begin = os.path.getsize(log) if os.path.exists(log) else 0
    try:
        protocol.runJob(
            get_command(),
            words,
            env=environment(),
            executable=get_shell(),
            numberOfMpi=1,
            numberOfThreads=1,
        )
    except subprocess.CalledProcessError as error:
        sentence = last_sentence(log, begin) or (
            "it ended with status %d; see the error log of the run" % error.returncode
        )
        raise EngineError("apbc %s: %s" % (verb, sentence), error.returncode) from error


def last_sentence(log, begin=0):
    """Last error sentence that the engine wrote to a log.

    Parameters
    ----------
    log : str
    begin : int, optional
        Size of the log before the engine was started; what stands before is not read.

    Returns
    -------
    str
        "" if there is none.
    """
    if not os.path.exists(log):
        return ""
    with open(log, "rb") as stream:
        stream.seek(max(begin, os.path.getsize(log) - LOG_TAIL_BYTES))
        lines = stream.read().decode("utf-8", "replace").splitlines()
    told = [line for line in lines if line.startswith(ERROR_PREFIX)]
    return told[-1][len(ERROR_PREFIX) :] if told else ""


@lru_cache(maxsize=None)
def engine_version(command):
    """Ask an engine for its version; asked once per process and command.

    Parameters
    ----------
    command : str
        Result of `get_command`.

    Returns
    -------
    str

    Raises
    ------
    EngineError
        If it does not start.
    """
    try:
        answer = subprocess.run(
            command + " --version",
            shell=True,
            executable=get_shell(),
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            timeout=VERSION_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError("no answer after %d s" % VERSION_SECONDS) from error
    found = re.search(r"^apbc (\S+)$", answer.stdout, re.M)
    if answer.returncode != 0 or not found:
        lines = [line for line in answer.stderr.splitlines() if line.strip()]
        raise EngineError(lines[-1].strip() if lines else "status %d" % answer.returncode)
    return found.group(1)


def version_problem():
    """Tell whether the engine starts and is of the plugin's version.

    Returns
    -------
    str or None
        One sentence that says what is wrong and what to do, or None.
    """
    command = get_command()
    remedy = (
        "run 'scipion3 installb apbc' and leave %s out of scipion.conf, or let it activate an "
        "environment where 'apbc --version' answers %s" % (APBC_ENV_ACTIVATION, __version__)
    )
    try:
        version = engine_version(command)
    except EngineError as error:
        return "The apbc engine does not start with '%s' (%s): %s." % (command, error, remedy)
    if version == __version__:
        return None
    # The user may mend it while this process (the project window) runs on.
    engine_version.cache_clear()
    return "The plugin is apbc %s but the engine of '%s' is apbc %s: %s." % (
        __version__,
        command,
        version,
        remedy,
    )


def device_note(json_path, gpu_wanted=False):
    """Sentence for a summary that says what the engine computed on.

    Parameters
    ----------
    json_path : str
        A ``run.json`` or ``card.json`` with the key ``device``.
    gpu_wanted : bool
        Whether the form asked for GPUs.

    Returns
    -------
    str
        "" while there is no such file.
    """
    if not os.path.exists(json_path):
        return ""
    with open(json_path, encoding="utf-8") as stream:
        device = json.load(stream).get("device")
    if not device:
        return ""
    if device != "cpu":
        return "Computed on %s." % device
    if gpu_wanted:
        return (
            "*Computed on the CPU*, although the form asks for a GPU: "
            "'apbc doctor' tells why TensorFlow sees none."
        )
    return "Computed on the CPU."
