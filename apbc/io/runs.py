"""What ``apbc pick`` wrote about its run beside the picks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from apbc.errors import ApbcError
from apbc.io.files import read_json

NAME = "run.json"


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
