"""Volumes (maps) in MRC files: cubic, with a pixel size, centred at voxel ``D // 2``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.io.files import atomic_path
from apbc.io.mrc import mrc_layout

FloatVolume = npt.NDArray[np.float32]

SUFFIXES = (".mrc", ".map", ".mrcs", ".ccp4", ".vol")
SAME_PIXEL_SIZE = 1e-3
"""Pixel sizes that differ by less than this share are the same: headers round."""


@dataclass(frozen=True)
class Volume:
    """A map on a cubic grid.

    Attributes
    ----------
    data : ndarray of float32, shape (d, d, d)
        z, y, x; the centre is voxel ``d // 2`` along each axis.
    pixel_size : float
        Å per voxel.
    name : str
        To tell it from others: the stem of its file.
    """

    data: FloatVolume
    pixel_size: float
    name: str = "volume"

    @property
    def box_size(self) -> int:
        """Voxels along a side."""
        return int(self.data.shape[0])


def read_volume(path: str | Path, pixel_size: float | None = None) -> Volume:
    """Read a map.

    A header whose machine stamp or map identifier is wrong is read all the same,
    when its sizes make sense and the file is as long as they say: maps of some
    published sets have such headers.

    Parameters
    ----------
    path : str or Path
        MRC or CCP4.
    pixel_size : float, optional
        Å per voxel; goes before the header's.

    Returns
    -------
    Volume

    Raises
    ------
    ApbcError
        If the file is missing, no MRC file, cut short, not cubic, without a
        pixel size, or holds values that are no finite numbers.
    """
    volume = open_volume(path, pixel_size)
    data = np.ascontiguousarray(volume.data, dtype=np.float32)
    if not np.isfinite(data).all():
        raise ApbcError(
            f"{path} holds values that are no finite numbers (NaN or infinity), or its byte order "
            "is not what its header says; export it again"
        )
    return Volume(data, volume.pixel_size, volume.name)


def open_volume(path: str | Path, pixel_size: float | None = None) -> Volume:
    """Check the header of a map and leave its values in the file.

    Parameters
    ----------
    path : str or Path
        MRC or CCP4.
    pixel_size : float, optional
        Å per voxel; goes before the header's.

    Returns
    -------
    Volume
        Its data are a read-only memory map of the type of the file.

    Raises
    ------
    ApbcError
        If the file is missing, no MRC file, cut short, not cubic, or without a
        pixel size.
    """
    layout = mrc_layout(path)
    shape = (layout.sections, layout.rows, layout.columns)
    if len(set(shape)) != 1:
        raise ApbcError(
            f"{path} is {layout.columns} x {layout.rows} x {layout.sections} voxels and volumes "
            "must be cubic; pad or crop it to a cube"
        )
    size = pixel_size or layout.pixel_size
    if not size:
        raise ApbcError(f"{path} has no pixel size in its header; give one with --pixel-size")
    return Volume(layout.map(), float(size), Path(path).stem)


def write_volume(path: str | Path, data: npt.NDArray, pixel_size: float) -> None:
    """Write a map as MRC, mode 2, under its final name only when it is complete.

    Parameters
    ----------
    path : str or Path
    data : ndarray, shape (d, d, d)
        z, y, x.
    pixel_size : float
        Å per voxel.

    Raises
    ------
    ApbcError
        If the folder cannot be written or the disk is full.
    """
    with (
        atomic_path(path) as temporary,
        mrcfile.new(temporary, np.asarray(data, np.float32)) as mrc,
    ):
        mrc.set_volume()
        mrc.voxel_size = pixel_size
        # Instead of the date, so that the same call gives the same bytes.
        mrc.header.label[0] = "Written by apbc"


def check_same_grid(volumes: Sequence[Volume]) -> None:
    """Refuse volumes that do not lie on one grid.

    Parameters
    ----------
    volumes : sequence of Volume

    Raises
    ------
    ApbcError
        If box or pixel size differ; both volumes are named.
    """
    for other in volumes[1:]:
        first = volumes[0]
        if other.box_size != first.box_size:
            raise ApbcError(
                f"{first.name} has a box of {first.box_size} voxels and {other.name} one of "
                f"{other.box_size}; bring them to one box (apbc downsample)"
            )
        if abs(other.pixel_size / first.pixel_size - 1) > SAME_PIXEL_SIZE:
            raise ApbcError(
                f"{first.name} has {first.pixel_size:g} Å per voxel and {other.name} "
                f"{other.pixel_size:g}; bring them to one pixel size (apbc downsample), or correct "
                "the header"
            )
