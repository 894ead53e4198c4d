"""A full disk, played by the limit on the size of a file (the kernel's own error, no mock)."""

import subprocess
import sys

import pytest

pytest.importorskip("tensorflow")
resource = pytest.importorskip("resource")

CODE = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
from apbc.commands.main import main
sys.exit(main(sys.argv[2:]))
"""


def run_with_room(size, *arguments):
    """Run a verb that may write files of `size` bytes at most; give status and errors."""
    # -B: Python would leave the compiled modules cut short, and everything after would fail.
    done = subprocess.run(
        [sys.executable, "-B", "-c", CODE, str(size), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("apbc: error:")]
    return done.returncode, errors


def test_data_set_on_a_full_disk(demo_data, demo_diameter, tmp_path):
    out = tmp_path / "out" / "data.h5"
    status, errors = run_with_room(
        300_000,
        *("dataset", "--micrographs", demo_data / "micrographs", "--good", demo_data / "good"),
        *("--bad", demo_data / "bad", "--diameter", demo_diameter, "--out", out),
    )
    assert status == 1
    assert len(errors) == 1 and "the disk is full" in errors[0] and str(out) in errors[0]
    assert list(out.parent.iterdir()) == []


def test_picking_on_a_full_disk_resumes_later(demo_data, demo_model, tmp_path):
    out = tmp_path / "picks"
    call = ["pick", demo_model, "--micrographs", demo_data / "micrographs", "--out", out]
    call += ["--gpu", ""]
    status, errors = run_with_room(200, *call)
    assert status == 1
    assert len(errors) == 1 and "the disk is full" in errors[0]
    assert not list((out / "candidates").glob("*.csv"))
    status, errors = run_with_room(100_000_000, *call, "--resume")
    assert status == 0 and errors == []
    assert len(list((out / "candidates").glob("*.csv"))) == 6
