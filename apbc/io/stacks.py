"""Particle stacks in MRC files, read and written a few particles at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import mrcfile
import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.io.files import atomic_path
from apbc.io.mrc import HEADER_BYTES, mrc_layout


class ParticleStack:
    """Memory-mapped stack of square particle images.

    Attributes
    ----------
    path : Path
    n : int
        Number of particles.
    box_size : int
        Side of an image in pixels.
    pixel_size : float or None
        Å per pixel of the header; None where it has none.

    Parameters
    ----------
    path : str or Path
        A ``.mrcs`` or ``.mrc`` file. One particle may be stored as a plain image.

    Raises
    ------
    ApbcError
        If the file is missing, no MRC file, cut short, or its images are not
        square.
    """

    def __init__(self, path: str | Path) -> None:
        layout = mrc_layout(path)
        if layout.rows != layout.columns:
            raise ApbcError(
                f"the images of {path} are {layout.columns} x {layout.rows} pixels and particles "
                "are square; give a particle stack"
            )
        self.path = layout.path
        self.n = layout.sections
        self.box_size = layout.rows
        self.pixel_size = layout.pixel_size
        self._map = layout.map()

    def read(self, indices: Sequence[int] | npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """Images of some particles, read from the file in its own order.

        Parameters
        ----------
        indices : sequence of int
            Counted from 0, in any order; repetition is allowed.

        Returns
        -------
        ndarray of float32, shape (len(indices), box_size, box_size)
            In the order of `indices`.

        Raises
        ------
        ApbcError
            If an index is outside the stack.
        """
        wanted = np.asarray(indices, np.int64).reshape(-1)
        if len(wanted) and not (0 <= wanted.min() and wanted.max() < self.n):
            outside = wanted[(wanted < 0) | (wanted >= self.n)][0]
            raise ApbcError(
                f"particle {outside + 1} is asked for and {self.path} holds {self.n}; give the "
                "stack that belongs to the particles"
            )
        images = np.empty((len(wanted), self.box_size, self.box_size), np.float32)
        order = np.argsort(wanted, kind="stable")
        images[order] = self._map[wanted[order]]
        return images


def write_stack(
    path: str | Path, parts: Iterable[npt.NDArray], n: int, box_size: int, pixel_size: float
) -> None:
    """Write a particle stack part by part, under its final name only when it is complete.

    Parameters
    ----------
    path : str or Path
    parts : iterable of ndarray, shape (m, box_size, box_size)
        Together `n` images.
    n, box_size : int
    pixel_size : float
        Å per pixel.

    Raises
    ------
    ValueError
        If the parts are of another size.
    ApbcError
        If the folder cannot be written or the disk is full.
    """
    with atomic_path(path) as temporary:
        with mrcfile.new_mmap(temporary, (n, box_size, box_size), mrc_mode=2) as mrc:
            mrc.set_image_stack()
            mrc.voxel_size = pixel_size
            # Instead of the date, so that the same call gives the same bytes.
            mrc.header.label[0] = "Written by apbc"
        written = 0
        # Not through the memory map: on a full disk that ends the process.
        with temporary.open("r+b") as file:
            file.seek(HEADER_BYTES)
            for part in parts:
                if part.shape[1:] != (box_size, box_size):
                    raise ValueError(f"images of {part.shape[1:]} in a stack of {box_size}")
                file.write(np.ascontiguousarray(part, "<f4").data)
                written += len(part)
        if written != n:
            raise ValueError(f"{written} images for a stack of {n}")
