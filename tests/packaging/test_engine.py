"""Which Python the plugin runs the engine with, and what it says when that goes wrong."""

import json
import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest

pwem = pytest.importorskip("pwem")

import apbc  # noqa: E402
from apbc_scipion import engine  # noqa: E402
from apbc_scipion.constants import APBC_ENV_ACTIVATION  # noqa: E402


@pytest.fixture
def scipion(tmp_path, monkeypatch):
    """Scipion with an empty folder for binaries; sets the variable as its configuration would."""
    monkeypatch.setattr(pwem.Config, "EM_ROOT", str(tmp_path / "em"))
    engine.engine_version.cache_clear()

    def configure(activation):
        monkeypatch.setitem(pwem.Plugin._vars, APBC_ENV_ACTIVATION, activation)

    configure(engine.DEFAULT_ACTIVATION)
    return configure


def install(activation):
    flag = Path(engine.software_folder(engine.FLAG_FILE))
    flag.parent.mkdir(parents=True)
    flag.write_text(activation + "\n")


def copy_engine(folder, version):
    """Copy the engine with another version; return the command that activates it."""
    source = Path(apbc.__file__).parent
    shutil.copytree(source, folder / "apbc", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "apbc" / "__init__.py").write_text(f'__version__ = "{version}"\n')
    python = shlex.quote(str(Path(sys.executable).parent))
    return f"export PYTHONPATH={shlex.quote(str(folder))} PATH={python}:$PATH"


def test_embedded_when_nothing_is_installed(scipion):
    assert engine.get_command() == shlex.quote(sys.executable) + " -m apbc"
    assert engine.version_problem() is None


def test_embedded_when_the_variable_is_empty_even_if_installed(scipion):
    install("conda activate other")
    scipion("")
    assert engine.get_command() == shlex.quote(sys.executable) + " -m apbc"


def test_the_installed_environment_comes_first(scipion):
    install(". /somewhere/bin/activate")
    assert engine.get_command() == ". /somewhere/bin/activate && python -m apbc"


def test_the_users_own_environment(scipion, monkeypatch):
    install(". /somewhere/bin/activate")
    scipion("source /mine/bin/activate")
    assert engine.get_command() == "source /mine/bin/activate && python -m apbc"
    monkeypatch.setenv("PYTHONPATH", "/scipion/python")
    assert "PYTHONPATH" not in engine.environment()
    scipion("")
    assert engine.environment()["PYTHONPATH"] == "/scipion/python"


def test_versions_that_differ_are_told_apart(scipion, tmp_path):
    scipion(copy_engine(tmp_path / "old one", "0.0.1"))
    problem = engine.version_problem()
    assert f"The plugin is apbc {apbc.__version__}" in problem
    assert "is apbc 0.0.1" in problem and "scipion3 installb apbc" in problem
    assert APBC_ENV_ACTIVATION in problem
    # Mended while the process goes on.
    shutil.rmtree(tmp_path / "old one")
    copy_engine(tmp_path / "old one", apbc.__version__)
    assert engine.version_problem() is None


def test_an_engine_that_does_not_start(scipion):
    scipion(". /no/such/environment/activate")
    problem = engine.version_problem()
    assert "does not start" in problem and "/no/such/environment/activate" in problem
    assert "\n" not in problem


def test_arguments_survive_the_shell():
    words = ["--out", "my folder/a'b%(GPU)s$HOME", "--threshold", 0.5]
    line = engine.format_arguments("pick", words, gpu="")
    assert shlex.split(line) == ["pick", *[str(w) for w in words], "--gpu", ""]
    assert "--gpu" not in engine.format_arguments("pick", words)


def test_the_last_sentence_of_a_log(tmp_path):
    log = tmp_path / "run.stderr"
    assert engine.last_sentence(str(log)) == ""
    log.write_bytes(b"apbc: error: first\n\xff noise\napbc: error: there is no file a.mrc\nend\n")
    assert engine.last_sentence(str(log)) == "there is no file a.mrc"


@pytest.mark.parametrize(
    ("device", "wanted", "words"),
    [
        ("cpu", False, "Computed on the CPU."),
        ("cpu", True, "although the form asks for a GPU"),
        ("NVIDIA T4", True, "Computed on NVIDIA T4."),
    ],
)
def test_the_device_in_the_summary(tmp_path, device, wanted, words):
    path = tmp_path / "run.json"
    assert engine.device_note(str(path), wanted) == ""
    path.write_text(json.dumps({"device": device}))
    assert words in engine.device_note(str(path), wanted)


def test_a_folder_of_the_project_does_not_hide_the_engine(scipion, tmp_path, monkeypatch):
    if sys.version_info < (3, 11):
        pytest.skip("PYTHONSAFEPATH is of Python 3.11")
    (tmp_path / "apbc").mkdir()
    (tmp_path / "apbc" / "__init__.py").write_text("raise SystemExit('wrong one')\n")
    monkeypatch.chdir(tmp_path)
    assert engine.version_problem() is None
    assert os.path.exists("apbc")
