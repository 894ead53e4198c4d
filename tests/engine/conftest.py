"""What the tests of the engine share."""

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
