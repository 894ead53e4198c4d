"""``scipion installb apbc``, run as a user runs it, with conda and without."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from apbc import __version__

pytest.importorskip("scipion")

FIXTURES = Path(__file__).parents[1] / "fixtures"
NAME = f"apbc-{__version__}"


def path_without_conda():
    """Folders of the PATH in which there is no conda."""
    folders = os.environ["PATH"].split(os.pathsep)
    return [f for f in folders if not shutil.which("conda", path=f)]


@pytest.fixture
def scipion(tmp_path):
    """An empty Scipion: its variables, and a function that runs its commands."""
    home = tmp_path / "scipion"
    for folder in ("config", "software/em", "software/log"):
        (home / folder).mkdir(parents=True)
    variables = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("SCIPION", "CONDA", "APBC", "EM_ROOT"))
    }
    variables.update(
        SCIPION_HOME=str(home),
        SCIPION_LOCAL_CONFIG=str(home / "config" / "scipion.conf"),
        SCIPION_USER_DATA=str(tmp_path / "data"),
        APBC_TEST_CONDA=str(tmp_path / "conda"),
        APBC_TEST_PYTHON=sys.executable,
        CUDA_VISIBLE_DEVICES="-1",
    )
    bin_folder = str(Path(sys.executable).parent)
    own = [str(FIXTURES / "python"), bin_folder, *path_without_conda()]
    variables["PATH"] = os.pathsep.join(own)

    def run(*words, **more):
        return subprocess.run(
            [sys.executable, "-m", "scipion", *words],
            env={**variables, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    run.flag = home / "software" / "em" / NAME / "apbc-installed.txt"
    run.calls = tmp_path / "conda" / "calls.txt"
    run.with_conda = {"PATH": os.pathsep.join([str(FIXTURES / "conda"), *own])}
    run.variables = variables
    return run


def engine_answer(scipion, **more):
    """What the plugin says in a Scipion process: the engine's command and its problem."""
    code = (
        "import pyworkflow as pw; pw.Config.setDomain('pwem'); pw.Config.getDomain().getPlugins()\n"
        "from apbc_scipion import engine\n"
        "print('\\n'.join(['ANSWER', engine.get_command(), str(engine.version_problem())]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**scipion.variables, **more},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    return lines[lines.index("ANSWER") + 1 :]


def test_with_conda(scipion):
    done = scipion("installb", "apbc", **scipion.with_conda)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "everything works" in done.stdout
    assert scipion.flag.read_text() == f"conda activate {NAME}\n"
    created = [line for line in scipion.calls.read_text().splitlines() if "create" in line]
    assert created == [f"create -y -n {NAME} -c conda-forge --override-channels python=3.11 pip"]

    variables = {"APBC_ENV_ACTIVATION": f"conda activate {NAME}", **scipion.with_conda}
    command, problem = engine_answer(scipion, **variables)
    assert command.endswith(f"conda activate {NAME} && python -m apbc")
    assert problem == "None"

    again = scipion("installb", "apbc", **scipion.with_conda)
    assert again.returncode == 0
    assert "All targets exist, skipping" in again.stdout


def test_without_conda(scipion):
    done = scipion("installb", "apbc")
    assert done.returncode == 0, done.stdout + done.stderr
    python = scipion.flag.parent / "env" / "bin" / "python"
    assert python.exists()
    # Nothing is configured by the user, and the plugin finds it.
    command, problem = engine_answer(scipion, APBC_ENV_ACTIVATION=f"conda activate {NAME}")
    assert command == f". {python.parent / 'activate'} && python -m apbc"
    assert problem == "None"


def test_no_flag_file_when_the_doctor_is_not_content(scipion):
    done = scipion("installb", "apbc", KERAS_BACKEND="no-such-backend")
    assert done.returncode != 0
    assert "Unable to import backend : no-such-backend" in done.stderr
    assert scipion.flag.parent.exists()
    assert not scipion.flag.exists()


def test_no_flag_file_when_conda_fails(scipion):
    done = scipion("installb", "apbc", CONDA_ACTIVATION_CMD="echo no conda here >&2; false")
    assert done.returncode != 0
    assert not scipion.flag.exists()


def test_the_binaries_are_listed(scipion):
    done = scipion("installb", "--help")
    assert f"apbc {__version__}".split() == next(
        line.replace("[", " ").split()[:2]
        for line in done.stdout.splitlines()
        if line.startswith("apbc ")
    )


def test_the_plugin_manager_finds_the_plugin(scipion):
    code = (
        "import pyworkflow as pw; pw.Config.setDomain('pwem')\n"
        "from scipion.install.plugin_funcs import PluginInfo\n"
        "info = PluginInfo(pipName='scipion-em-apbc', remote=False)\n"
        "print(type(info.getPluginClass()).__module__, info.binVersions)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=scipion.variables, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == f"apbc_scipion ['{NAME}']", done.stderr
