"""What the tests of the engine share."""

import json
import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def find_bench() -> Path | None:
    """Folder of the benchmark: ``$APBC_BENCH_DATA``, or ``shared/bench`` beside the repository."""
    told = os.environ.get("APBC_BENCH_DATA")
    folder = Path(told) if told else REPOSITORY.parent / "shared" / "bench"
    return folder if (folder / "score.py").is_file() else None


@pytest.fixture(scope="session")
def bench_folder() -> Path:
    """Folder of the benchmark (``score.py``, ``data/``); tests that need it are skipped without."""
    folder = find_bench()
    if folder is None:
        pytest.skip("NO BENCHMARK DATA: set APBC_BENCH_DATA to the folder that holds score.py")
    return folder


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small simulated micrographs with labels, made once."""
    from apbc.simulate.demo import simulate_demo

    out = tmp_path_factory.mktemp("demo") / "data"
    simulate_demo(out, micrographs=6, seed=7, shape=(640, 640))
    return out


@pytest.fixture(scope="session")
def demo_diameter(demo_data: Path) -> float:
    """Particle diameter of the simulated micrographs in Å."""
    return float(json.loads((demo_data / "simulation.json").read_text())["diameter"])


@pytest.fixture(scope="session")
def demo_dataset(demo_data: Path, demo_diameter: float) -> Path:
    """Data set of the simulated micrographs."""
    out = demo_data.parent / "data.h5"
    run_apbc(
        ["dataset", "--micrographs", demo_data / "micrographs", "--good", demo_data / "good"]
        + ["--bad", demo_data / "bad", "--diameter", demo_diameter, "--out", out]
    )
    return out


@pytest.fixture(scope="session")
def demo_model(demo_dataset: Path) -> Path:
    """Model trained for a few epochs on the simulated micrographs."""
    out = demo_dataset.parent / "model"
    run_apbc(["train", demo_dataset, "--out", out, "--epochs", 4, "--gpu", ""])
    return out


def run_apbc(arguments: list[object], expect: int = 0) -> None:
    """Run the command line in this process and check its exit status."""
    from apbc.commands.main import main

    assert main([str(argument) for argument in arguments]) == expect
