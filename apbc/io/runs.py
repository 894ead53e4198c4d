"""What ``apbc pick`` wrote about its run beside the picks."""

from __future__ import annotations

import fcntl
import logging
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, Sequence

from apbc.errors import ApbcError
from apbc.io.files import make_folder_of, read_json

NAME = "run.json"
LOCK = ".run.lock"

logger = logging.getLogger(__name__)


def run_beside(picks: str | Path) -> dict[str, Any]:
    """Content of the ``run.json`` that belongs to picks.

    Parameters
    ----------
    picks : str or Path
        A coordinate file or a folder of them; ``candidates/`` belongs to the run
        in the folder above it.

    Returns
    -------
    dict
        Empty where there is no ``run.json``.

    Raises
    ------
    ApbcError
        If it cannot be read.
    """
    picks = Path(picks)
    folder = picks if picks.is_dir() else picks.parent
    folders = [folder, folder.parent] if folder.name == "candidates" else [folder]
    for place in folders:
        if (place / NAME).is_file():
            run = read_json(place / NAME)
            if not isinstance(run, dict):
                raise ApbcError(f"{place / NAME} was not written by apbc pick; remove it")
            return run
    return {}


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from a run's record while it is read and written again.

    Several processes may pick into one folder; without a lock one would overwrite
    what another has just added.

    Parameters
    ----------
    folder : Path
        Folder of the run; made where it is missing.

    Raises
    ------
    ApbcError
        If the folder cannot be written.
    """
    path = folder / LOCK
    make_folder_of(path)
    try:
        handle = path.open("a")
    except OSError as error:
        raise ApbcError(f"cannot write {path} ({error.strerror}); choose another place") from error
    with handle:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX)
        except OSError as error:
            logger.warning(
                "%s cannot be locked (%s): do not let several runs write to it at once",
                folder,
                error.strerror,
            )
        yield


def pixel_size_beside(told: float | None, picks: Sequence[str | Path]) -> float:
    """Pixel size of coordinates: as told, or else that of the run that picked them.

    Parameters
    ----------
    told : float or None
        Å, as the user gives it.
    picks : sequence of str or Path
        Coordinate files or folders; the first with a ``run.json`` decides.

    Returns
    -------
    float
        Å per pixel; 1, with a warning, where nobody tells.

    Raises
    ------
    ApbcError
        If a ``run.json`` cannot be read.
    """
    if told is not None:
        return float(told)
    for place in picks:
        known = run_beside(place).get("pixel_size")
        if known:
            return float(known)
    logger.warning(
        "no --pixel-size, and no run.json beside %s: 1 Å per pixel is taken, so --diameter and "
        "--edge count pixels",
        ", ".join(str(place) for place in picks),
    )
    return 1.0
