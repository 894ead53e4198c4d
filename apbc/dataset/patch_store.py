"""The patches of a data set: what a classifier of shapes learns from, in the same HDF5 file.

The group ``patches`` holds every original patch once, ``pixels`` (n, stages, stored, stored),
and the table ``draw`` tells which of them, how turned, mirrored and shifted, make up the
balanced set: as many rows of every class.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.io.files import LastWriteCounts

GROUP = "patches"
FORMAT = "apbc patches 1"
COLUMNS = {
    "class": np.int8,
    "micrograph": np.int32,
    "coordinates": np.float32,
    "split": np.int8,
}
DRAW_COLUMNS = {"row": np.int32, "turn": np.int8, "mirrored": np.bool_, "shift": np.int8}

HalfImages = npt.NDArray[np.float16]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Draws:
    """Which patches, and how placed, make up the balanced set.

    Attributes
    ----------
    row : ndarray of int, shape (m,)
        Original patch.
    turn : ndarray of int, shape (m,)
        Quarter turns, 0 to 3.
    mirrored : ndarray of bool, shape (m,)
        Left and right change places before the turn.
    shift : ndarray of int, shape (m, 2)
        ``x, y`` by which the window is moved, in pixels of the patch.
    """

    row: IntArray
    turn: IntArray
    mirrored: npt.NDArray[np.bool_]
    shift: IntArray

    def __len__(self) -> int:
        """Count the draws."""
        return len(self.row)

    def some(self, which: npt.NDArray[Any]) -> Draws:
        """Choose some of the draws, by index or boolean."""
        return Draws(self.row[which], self.turn[which], self.mirrored[which], self.shift[which])


def place(stored: npt.NDArray[Any], draws: Draws, side: int) -> npt.NDArray[Any]:
    """Cut the windows of draws out of stored patches.

    Parameters
    ----------
    stored : ndarray, shape (n, stored, stored)
        Patch of each draw, the particle in the middle, with a margin on all sides.
    draws : Draws
        Of length n.
    side : int
        Of the window; as odd or even as the stored side.

    Returns
    -------
    ndarray, shape (n, side, side)
    """
    out = np.empty((len(draws), side, side), stored.dtype)
    margin = (stored.shape[1] - side) // 2
    for i, ((x, y), turn, mirrored) in enumerate(
        zip(draws.shift, draws.turn, draws.mirrored, strict=True)
    ):
        window = stored[i, margin + y : margin + y + side, margin + x : margin + x + side]
        out[i] = np.rot90(window[:, ::-1] if mirrored else window, turn)
    return out


class PatchWriter:
    """Adds patches to the file of a data set, some at a time.

    The file must not yet be under its final name: a run that is cut off leaves it
    incomplete.

    Parameters
    ----------
    path : Path
        File of `apbc.dataset.store.DatasetWriter`, finished, without patches.
    side, margin : int
        Of the window, and round it, in pixels.
    stages : sequence of str
        What the images of one patch are; the last one is what a network is to see.
    """

    def __init__(self, path: Path, side: int, margin: int, stages: tuple[str, ...]) -> None:
        self._raw = LastWriteCounts(path, "r+b")
        self._file = h5py.File(self._raw, "r+")
        self._group = self._file.create_group(GROUP)
        shape = (len(stages), side + 2 * margin, side + 2 * margin)
        self._pixels = self._group.create_dataset(
            "pixels", (0, *shape), np.float16, maxshape=(None, *shape), chunks=(1, *shape)
        )
        self._group.attrs["side"] = side
        self._group.attrs["margin"] = margin
        self._group.attrs["stages"] = json.dumps(list(stages))
        self._hash = hashlib.sha256()

    def add(self, pixels: npt.NDArray[np.floating]) -> None:
        """Append patches, shape (n, stages, stored, stored)."""
        n = len(self._pixels)
        values = pixels.astype(np.float16)
        self._pixels.resize(n + len(values), axis=0)
        self._pixels[n:] = values
        self._hash.update(values.tobytes())

    def finish(
        self, columns: dict[str, npt.NDArray[Any]], draws: Draws, facts: dict[str, Any]
    ) -> None:
        """Write the tables and close the file.

        Parameters
        ----------
        columns : dict
            One array per column of the patches; see `Patches`.
        draws : Draws
        facts : dict
            Attributes of the group: numbers and texts as they are, others as JSON.
        """
        table = {name: np.asarray(columns[name], dtype) for name, dtype in COLUMNS.items()}
        for name, dtype in DRAW_COLUMNS.items():
            table[f"draw/{name}"] = np.asarray(getattr(draws, name), dtype)
        for name, values in table.items():
            self._group.create_dataset(name, data=values)
            self._hash.update(values.tobytes())
        for name, value in facts.items():
            plain = isinstance(value, (int, float, str))
            self._group.attrs[name] = value if plain else json.dumps(value)
            self._hash.update(json.dumps([name, value]).encode())
        self._group.attrs["data_hash"] = self._hash.hexdigest()
        self._group.attrs["format"] = FORMAT
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._raw.close()


class Patches:
    """Patches of a data set; the pixels stay on disk until asked for.

    Attributes
    ----------
    classes : list of str
        Names of the classes, which `label` counts along.
    label : ndarray of int8, shape (n,)
    micrograph : ndarray of int32, shape (n,)
        Index into the names of the data set's micrographs.
    coordinates : ndarray of float32, shape (n, 2)
        ``x, y`` in pixels of the micrograph.
    split : ndarray of int8, shape (n,)
        0 training, 1 validation, 2 test; of the original, and so of all its turns.
    draws : Draws
        The balanced set.
    stages : list of str
    side, margin : int
        Of the window, and round it, in pixels.
    box : float
        Side of the window in Å.
    pixel_size : float
        Å per pixel of a patch.
    detection : dict
        How the micrographs were prepared; the card of a model tells it on.
    samples : int
        Draws of each class, all splits together.
    repeated : dict
        ``{class: draws that repeat an original beyond its four turns}``.
    data_hash : str

    Raises
    ------
    ApbcError
        If they are incomplete or of another version.
    """

    def __init__(self, group: h5py.Group, path: Path) -> None:
        if group.attrs.get("format") != FORMAT:
            raise ApbcError(
                f"the patches of {path} are incomplete or of another version of apbc; make them "
                "again with apbc bootstrap"
            )
        self._pixels = group["pixels"]
        attrs = group.attrs
        self.classes: list[str] = json.loads(attrs["classes"])
        self.stages: list[str] = json.loads(attrs["stages"])
        self.detection: dict[str, Any] = json.loads(attrs["detection"])
        self.repeated: dict[str, int] = json.loads(attrs["repeated"])
        self.side, self.margin = int(attrs["side"]), int(attrs["margin"])
        self.samples = int(attrs["samples"])
        self.box, self.pixel_size = float(attrs["box"]), float(attrs["pixel_size"])
        self.data_hash = str(attrs["data_hash"])
        self.label, self.micrograph, self.coordinates, self.split = (
            group[name][:] for name in COLUMNS
        )
        draw = {name: group["draw"][name][:] for name in DRAW_COLUMNS}
        self.draws = Draws(
            draw["row"].astype(np.int64),
            draw["turn"].astype(np.int64),
            draw["mirrored"],
            draw["shift"].astype(np.int64),
        )

    def drawn(self, split: int) -> IntArray:
        """Find the draws of a split, by index."""
        return np.flatnonzero(self.split[self.draws.row] == split)

    def stored(self, rows: IntArray, stages: IntArray) -> HalfImages:
        """Read stored patches with their margin, one stage of each.

        Parameters
        ----------
        rows, stages : ndarray of int, shape (n,)
            Original, and index into `stages`.

        Returns
        -------
        ndarray of float16, shape (n, side + 2 margin, side + 2 margin)
        """
        size = self.side + 2 * self.margin
        out = np.empty((len(rows), size, size), np.float16)
        for i, (row, stage) in enumerate(zip(rows, stages, strict=True)):
            out[i] = self._pixels[row, stage]
        return out
