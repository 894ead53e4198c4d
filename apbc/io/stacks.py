"""Particle stacks in MRC files, read a few particles at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.io.mrc import mrc_layout


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
