"""Where the pixels of an MRC file lie, read from its header alone.

The header is parsed by mrcfile; the pixels are memory-mapped, so that a caller
reads just what it needs (Cheng et al. 2015, J. Struct. Biol. 192, 146-150).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import numpy.typing as npt
from mrcfile.utils import data_dtype_from_header

from apbc.errors import ApbcError

HEADER_BYTES = 1024
MODES = (0, 1, 2, 6, 12)
LARGEST_SIDE = 1_000_000


@dataclass(frozen=True)
class MrcLayout:
    """Shape, type and place of the pixels of an MRC file.

    Attributes
    ----------
    path : Path
    sections, rows, columns : int
    dtype : numpy.dtype
        With the byte order of the file.
    offset : int
        Bytes before the first pixel.
    pixel_size : float or None
        Å per pixel along x; None where the header has none.
    """

    path: Path
    sections: int
    rows: int
    columns: int
    dtype: np.dtype
    offset: int
    pixel_size: float | None

    def map(self) -> npt.NDArray:
        """Pixels as a read-only memory map, shape (sections, rows, columns)."""
        shape = (self.sections, self.rows, self.columns)
        return np.memmap(self.path, dtype=self.dtype, mode="r", offset=self.offset, shape=shape)


def mrc_layout(path: str | Path) -> MrcLayout:
    """Read the header of an MRC file and check that the file is whole.

    Files without the MRC identifier, as old programs write them, are accepted
    when their sizes and mode make sense.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    MrcLayout

    Raises
    ------
    ApbcError
        If the file is missing, no MRC file, of an unsupported mode, or shorter
        than its header says.
    """
    path = Path(path)
    if not path.is_file():
        raise ApbcError(f"there is no file {path}; check the path")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            with mrcfile.open(path, header_only=True, permissive=True) as mrc:
                header = mrc.header.copy()
    except ValueError as error:
        raise ApbcError(
            f"{path} is cut short or not an MRC file; copy or export it again"
        ) from error
    columns, rows, sections = int(header.nx), int(header.ny), int(header.nz)
    mode, extended = int(header.mode), int(header.nsymbt)
    if not all(0 <= n <= LARGEST_SIDE for n in (columns, rows, sections)) or extended < 0:
        raise ApbcError(f"{path} is not an MRC file; give an MRC, TIFF, PNG or JPEG image")
    if 0 in (columns, rows, sections):
        raise ApbcError(f"{path} holds an image of zero size; export it again")
    if mode not in MODES:
        raise ApbcError(
            f"{path} has MRC mode {mode}, which apbc does not read; convert it to mode 2 (float)"
        )
    dtype = data_dtype_from_header(header)
    offset = HEADER_BYTES + extended
    expected = offset + sections * rows * columns * dtype.itemsize
    found = path.stat().st_size
    if found < expected:
        raise ApbcError(
            f"{path} is cut short: its header tells of {expected} bytes and it has {found}; "
            "copy it again"
        )
    size = float(header.cella.x) / int(header.mx) if int(header.mx) > 0 else 0.0
    pixel_size = size if np.isfinite(size) and size > 0 else None
    return MrcLayout(path, sections, rows, columns, dtype, offset, pixel_size)
