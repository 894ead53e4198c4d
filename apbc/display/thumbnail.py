"""Micrographs at the size of a screen: read there, filtered there, and kept for the next time.

Pictures are shown with row 0 at the bottom (``imshow(image, origin="lower",
extent=thumbnail.extent)``), in pixels of the micrograph.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Tuple

import numpy as np
import numpy.typing as npt
from scipy import fft

from apbc.errors import ApbcError
from apbc.io.files import atomic_path
from apbc.io.images import micrograph_info, read_micrograph
from apbc.io.mrc import mrc_layout

logger = logging.getLogger(__name__)

FloatImage = npt.NDArray[np.float32]
Extent = Tuple[float, float, float, float]

LONGEST_SIDE = 1400
STRIP_BYTES = 2**25
KEPT_FILES = 250
DARKEST_SHARE, BRIGHTEST_SHARE = 0.5, 99.5


@dataclass(frozen=True)
class Thumbnail:
    """A micrograph, or a part of it, at display size.

    Attributes
    ----------
    image : ndarray of float32, shape (rows, columns)
        Means of square blocks of pixels.
    extent : (float, float, float, float)
        Left, right, bottom and top edge, in pixels of the micrograph.
    shape : (int, int)
        Rows and columns of the micrograph.
    """

    image: FloatImage
    extent: Extent
    shape: tuple[int, int]

    @property
    def scale(self) -> float:
        """Pixels of the thumbnail per pixel of the micrograph."""
        return self.image.shape[1] / (self.extent[1] - self.extent[0])


def read_thumbnail(
    path: str | Path, cache: str | Path | None = None, longest: int = LONGEST_SIDE
) -> Thumbnail:
    """Read a whole micrograph at display size.

    Parameters
    ----------
    path : str or Path
    cache : str or Path, optional
        Folder where thumbnails are kept; at most 250 of them, the oldest go first. One that
        cannot be written, such as in somebody else's project, is told in the log.
    longest : int, optional
        Longest side of the thumbnail in pixels; micrographs are binned by whole numbers.

    Returns
    -------
    Thumbnail

    Raises
    ------
    ApbcError
        If the micrograph is missing or cannot be read.
    """
    shape = micrograph_info(path).shape
    kept = None if cache is None else Path(cache) / _cache_name(Path(path), longest)
    image = None if kept is None else _read_kept(kept)
    factor = max(1, -(-max(shape) // longest))
    if image is None:
        image = _binned(Path(path), (0, shape[0], 0, shape[1]), factor)
        if kept is not None:
            try:
                _keep(kept, image)
            except (ApbcError, OSError) as error:
                logger.warning("the thumbnail of %s is not kept: %s", path, error)
    return Thumbnail(image, _extent_of(image, factor, 0, 0), shape)


def read_region(path: str | Path, box: Extent, longest: int = LONGEST_SIDE) -> Thumbnail:
    """Read a part of a micrograph at display size.

    Parameters
    ----------
    path : str or Path
    box : (float, float, float, float)
        Left, right, bottom and top in pixels of the micrograph; what lies outside of it is
        left out.
    longest : int, optional
        Longest side of the result in pixels.

    Returns
    -------
    Thumbnail

    Raises
    ------
    ApbcError
        If the micrograph is missing or cannot be read.
    ValueError
        If the box lies outside of the micrograph.
    """
    rows, columns = micrograph_info(path).shape
    left, right = (int(np.clip(round(x), 0, columns)) for x in box[:2])
    bottom, top = (int(np.clip(round(y), 0, rows)) for y in box[2:])
    if right <= left or top <= bottom:
        raise ValueError(f"the box {box} lies outside of {path}")
    factor = max(1, -(-max(right - left, top - bottom) // longest))
    image = _binned(Path(path), (bottom, top, left, right), factor)
    return Thumbnail(image, _extent_of(image, factor, left, bottom), (rows, columns))


def band_pass(
    image: FloatImage, low_pass: float | None = None, high_pass: float | None = None
) -> FloatImage:
    """Smooth an image, and level what varies slowly.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
    low_pass, high_pass : float, optional
        Standard deviations of the Gaussians in pixels of the image: details smaller than the
        first and changes wider than the second go. None or 0: off.

    Returns
    -------
    ndarray of float32, shape (rows, columns)
    """
    if not low_pass and not high_pass:
        return image
    rows, columns = image.shape
    margin = int(min(3 * max(low_pass or 0, min(high_pass or 0, 32)) + 1, min(rows, columns) - 1))
    padded = np.pad(image, margin, mode="reflect")
    shape = [fft.next_fast_len(n, real=True) for n in padded.shape]
    spectrum = fft.rfft2(padded - padded.mean(), shape)
    squared = fft.fftfreq(shape[0])[:, None] ** 2 + fft.rfftfreq(shape[1])[None] ** 2
    weight = np.ones_like(squared)
    if low_pass:
        weight = np.exp(-2 * (np.pi * low_pass) ** 2 * squared)
    if high_pass:
        weight *= 1 - np.exp(-2 * (np.pi * high_pass) ** 2 * squared)
    filtered = fft.irfft2(spectrum * weight.astype(np.float32), shape)
    return filtered[margin : margin + rows, margin : margin + columns].astype(np.float32)


def grey_limits(
    image: FloatImage, darkest: float = DARKEST_SHARE, brightest: float = BRIGHTEST_SHARE
) -> tuple[float, float]:
    """Pixel values to show as black and as white.

    Parameters
    ----------
    image : ndarray
    darkest, brightest : float, optional
        Percentiles.

    Returns
    -------
    (float, float)
        The second is above the first.
    """
    step = max(1, image.size // 250_000)
    low, high = np.percentile(image.ravel()[::step], [darkest, brightest])
    return float(low), float(max(high, np.nextafter(low, np.inf)))


def _binned(path: Path, box: tuple[int, int, int, int], factor: int) -> FloatImage:
    """Block means of rows and columns ``bottom, top, left, right`` of a micrograph."""
    bottom, top, left, right = box
    if path.suffix.lower() == ".mrc":
        pixels = mrc_layout(path).map()[0]
    else:
        pixels = _whole_image(path, path.stat().st_mtime_ns)
    rows, columns = (top - bottom) // factor, (right - left) // factor
    if rows == 0 or columns == 0:
        factor, rows, columns = 1, top - bottom, right - left
    binned = np.empty((rows, columns), np.float32)
    strip = max(1, STRIP_BYTES // (4 * factor * columns * factor))
    for first in range(0, rows, strip):
        last = min(first + strip, rows)
        part = pixels[
            bottom + first * factor : bottom + last * factor, left : left + columns * factor
        ]
        summed = part.reshape(last - first, factor, columns * factor).sum(1, dtype=np.float32)
        binned[first:last] = summed.reshape(last - first, columns, factor).sum(2)
    binned /= factor**2
    if not np.isfinite(binned).all():
        usual = np.median(binned[np.isfinite(binned)]) if np.isfinite(binned).any() else 0.0
        binned[~np.isfinite(binned)] = usual
    return binned


@lru_cache(maxsize=1)
def _whole_image(path: Path, changed: int) -> FloatImage:
    """Pixels of a format that cannot be read in parts; the last one is kept."""
    return read_micrograph(path)


def _extent_of(image: FloatImage, factor: int, left: int, bottom: int) -> Extent:
    """Edges of an image of blocks whose first one begins at a pixel."""
    rows, columns = image.shape
    return (
        left - 0.5,
        left - 0.5 + factor * columns,
        bottom - 0.5,
        bottom - 0.5 + factor * rows,
    )


def _cache_name(path: Path, longest: int) -> str:
    """Name that changes when the file changes."""
    state = path.stat()
    told = f"{path.absolute()} {state.st_size} {state.st_mtime_ns} {longest}"
    return f"{path.stem}_{hashlib.sha256(told.encode()).hexdigest()[:16]}.npy"


def _read_kept(kept: Path) -> FloatImage | None:
    """Thumbnail of an earlier time, or None."""
    try:
        image = np.load(kept, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None  # none there, or one that is damaged: it is made again
    with contextlib.suppress(OSError):  # in a folder of somebody else's, or removed just now
        os.utime(kept)
    return np.asarray(image, np.float32)


def _keep(kept: Path, image: FloatImage) -> None:
    """Write a thumbnail, and remove the oldest ones if there are too many."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    low, high = float(image.min()), float(image.max())
    # Half precision holds values near one best.
    level = (image - low) / max(high - low, 1e-30)
    with atomic_path(kept) as temporary, temporary.open("wb") as handle:
        np.save(handle, level.astype(np.float16), allow_pickle=False)
    others = sorted(kept.parent.glob("*.npy"), key=lambda file: file.stat().st_mtime)
    for file in others[:-KEPT_FILES]:
        file.unlink(missing_ok=True)
