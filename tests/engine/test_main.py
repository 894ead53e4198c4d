import os
import signal
import subprocess
import sys

import pytest

from apbc import __version__
from apbc.commands import main as cli
from apbc.commands.main import main


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"apbc {__version__}\n"


def test_help_names_every_verb_and_imports_nothing_heavy():
    code = (
        "import sys; from apbc.commands.main import build_parser, VERBS\n"
        "told = build_parser(None).format_help()\n"
        "assert all(verb in told for verb in VERBS), told\n"
        "heavy = {'numpy', 'scipy', 'matplotlib', 'tensorflow', 'keras'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("verb", ["show", "evaluate"])
def test_the_help_of_a_verb_is_the_docstring_of_its_module(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert sys.modules[f"apbc.commands.{verb}"].__doc__.strip() in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["nonsense"], ["show", "--nonsense"], ["evaluate"]])
def test_a_wrong_command_line_exits_with_2(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage: apbc" in capsys.readouterr().err


def test_an_error_is_one_line_without_traceback(tmp_path, capsys):
    words = ["show", str(tmp_path / "no.mrc"), "--picks", "p.csv", "--out", "o.png"]
    assert main(words) == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and told[0].startswith("apbc: error: there is no micrograph")


def test_an_old_python_is_told(monkeypatch, capsys):
    monkeypatch.setattr(cli, "OLDEST_PYTHON", (99, 0))
    assert main(["--version"]) == 1
    assert "apbc needs Python" in capsys.readouterr().err


def test_a_reader_that_leaves_early_is_no_fault(tmp_path):
    for folder in ("picks", "truth"):
        (tmp_path / folder).mkdir()
        for i in range(2000):
            (tmp_path / folder / f"m{i}.csv").write_text("x,y\n1,1\n")
    command = f"{sys.executable} -m apbc evaluate picks truth --diameter 9 --pixel-size 1 | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=tmp_path, capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr and "micrograph" in done.stdout


def test_an_interruption_exits_with_130(tmp_path):
    os.mkfifo(tmp_path / "picks.csv")
    (tmp_path / "truth.csv").write_text("x,y\n")
    command = [sys.executable, "-m", "apbc", "evaluate", "picks.csv", "truth.csv"]
    command += ["--diameter", "9", "--pixel-size", "1"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        # Opening the pipe waits until the command reads from it; it then waits for us.
        with (tmp_path / "picks.csv").open("w"):
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.startswith("apbc: interrupted after") and len(told.splitlines()) == 1
