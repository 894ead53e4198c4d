"""Micrographs: finding them, their headers, their pixels.

Rows come in MRC row order, see `read_micrograph`. Formats: MRC (modes 0, 1,
2, 6, 12), TIFF, PNG and JPEG. TIFF goes through tifffile, and through Pillow
where tifffile has no codec of its own for the compression (LZW).
"""

from __future__ import annotations

import glob
import logging
import re
import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image, UnidentifiedImageError

from apbc.errors import ApbcError
from apbc.io.mrc import mrc_layout

logger = logging.getLogger(__name__)

FloatImage = npt.NDArray[np.float32]

TIFF_SUFFIXES = (".tif", ".tiff")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
SUFFIXES = (".mrc", *TIFF_SUFFIXES, *PICTURE_SUFFIXES)
# codecs (imagecodecs) raise RuntimeError
TIFF_ERRORS = (
    tifffile.TiffFileError,
    ValueError,
    TypeError,
    IndexError,
    RuntimeError,
    OSError,
    struct.error,
    zlib.error,
)
PILLOW_ERRORS = (OSError, SyntaxError, ValueError, zlib.error, struct.error)

HEADERS_AGREE = 0.01
OVERRIDE_AGREES = 0.02


@dataclass(frozen=True)
class MicrographInfo:
    """What the header of a micrograph tells.

    Attributes
    ----------
    path : Path
    name : str
        The stem of the file, by which coordinates belong to it.
    shape : (int, int)
        Rows and columns.
    pixel_size : float or None
        Å per pixel; None where the file does not say (always for TIFF, PNG and
        JPEG, whose resolution tags programs fill with print sizes).
    """

    path: Path
    name: str
    shape: tuple[int, int]
    pixel_size: float | None


def micrograph_info(path: str | Path) -> MicrographInfo:
    """Shape and pixel size of a micrograph, from its header alone.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    MicrographInfo

    Raises
    ------
    ApbcError
        If the file is missing, unreadable, cut short or not a single image.
    """
    path = Path(path)
    suffix = _suffix(path)
    pixel_size = None
    if suffix == ".mrc":
        layout = mrc_layout(path)
        _require_one_frame(path, layout.sections)
        shape, pixel_size = (layout.rows, layout.columns), layout.pixel_size
    elif suffix in TIFF_SUFFIXES:
        shape = _tiff_shape(path)
    else:
        shape = _picture_shape(path)
    if 0 in shape:
        raise ApbcError(f"{path} holds an image of zero size; export it again")
    return MicrographInfo(path, path.stem, shape, pixel_size)


def read_micrograph(path: str | Path) -> FloatImage:
    """Pixels of a micrograph.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    ndarray of float32, shape (rows, columns)
        In MRC row order: as the file stores them, but for TIFF, whose first row is
        the last one of the MRC, as Relion, IMOD and MotionCor have it.

    Raises
    ------
    ApbcError
        If the file is missing, unreadable, cut short, not a single image,
        constant, or holds values that are no finite numbers.
    """
    path = Path(path)
    micrograph_info(path)
    suffix = path.suffix.lower()
    if suffix == ".mrc":
        image = mrc_layout(path).map()[0].astype(np.float32)
    elif suffix in TIFF_SUFFIXES:
        image = _read_tiff(path)[::-1]
    else:
        image = _read_picture(path)
    _check_values(path, image)
    return image


def find_micrographs(spec: str | Path | Sequence[str | Path]) -> list[Path]:
    """Micrographs that a glob, a folder, a file, or a ``.txt`` list names.

    Parameters
    ----------
    spec : str, Path, or sequence of them
        Paths in a list are relative to the working folder.

    Returns
    -------
    list of Path
        In natural order (``m2`` before ``m10``), each file once.

    Raises
    ------
    ApbcError
        If nothing is found, or two files share their name without suffix.
    """
    specs = [spec] if isinstance(spec, (str, Path)) else list(spec)
    found = [path for one in specs for path in _find(str(one))]
    if not found:
        told = " ".join(str(one) for one in specs) or "an empty list"
        raise ApbcError(
            f"no micrographs found for {told}; give a folder, a glob or a .txt list of "
            f"{', '.join(SUFFIXES)} files"
        )
    by_stem: dict[str, Path] = {}
    for path in sorted(dict.fromkeys(found), key=natural_key):
        other = by_stem.setdefault(path.stem, path)
        if other.absolute() != path.absolute():
            raise ApbcError(
                f"{other} and {path} share the name {path.stem}, by which coordinates find their "
                "micrograph; rename one or leave it out"
            )
    return list(by_stem.values())


def natural_key(path: str | Path) -> list[tuple[int, int, str]]:
    """Key to sort names with numbers the way people count: ``m2`` before ``m10``."""
    parts = re.split(r"([0-9]+)", str(path))
    return [(0, int(p), p) if p.isdecimal() else (1, 0, p) for p in parts if p]


def pixel_size_of(infos: Sequence[MicrographInfo], override: float | None) -> float:
    """One pixel size for a set of micrographs.

    Parameters
    ----------
    infos : sequence of MicrographInfo
    override : float or None
        Å per pixel as the user gave it; it wins over the headers.

    Returns
    -------
    float
        Å per pixel.

    Raises
    ------
    ApbcError
        If no override is given and the headers have no pixel size or
        contradict each other by more than 1 %.
    """
    known = [info for info in infos if info.pixel_size]
    if override is not None:
        if not (np.isfinite(override) and override > 0):
            raise ApbcError(f"--pixel-size {override} is not a size; give Å per pixel above 0")
        for info in known:
            assert info.pixel_size
            if abs(info.pixel_size / override - 1) > OVERRIDE_AGREES:
                logger.warning(
                    "the header of %s says %.4g Å/px; --pixel-size %.4g is used instead",
                    info.path,
                    info.pixel_size,
                    override,
                )
                break
        return float(override)
    if not known:
        where = infos[0].path if infos else "the micrographs"
        raise ApbcError(
            f"the header of {where} has no pixel size; give it in Å per pixel with --pixel-size"
        )
    smallest = min(known, key=lambda info: info.pixel_size or 0)
    largest = max(known, key=lambda info: info.pixel_size or 0)
    assert smallest.pixel_size and largest.pixel_size
    if largest.pixel_size / smallest.pixel_size - 1 > HEADERS_AGREE:
        raise ApbcError(
            f"{smallest.path} has {smallest.pixel_size:.4g} Å/px and {largest.path} has "
            f"{largest.pixel_size:.4g} Å/px; give one with --pixel-size or leave some out"
        )
    return float(np.median([info.pixel_size for info in known if info.pixel_size]))


def _suffix(path: Path) -> str:
    """Lower-case suffix of an existing image file of a format that is read."""
    if not path.is_file():
        raise ApbcError(f"there is no micrograph {path}; check the path")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ApbcError(
            f"{path} is of no format that apbc reads; give one of {', '.join(SUFFIXES)}"
        )
    return suffix


def _require_one_frame(path: Path, frames: int) -> None:
    if frames != 1:
        raise ApbcError(
            f"{path} holds {frames} frames and a micrograph is one image; give the sum of the "
            "aligned movie"
        )


def _tiff_shape(path: Path) -> tuple[int, int]:
    try:
        with tifffile.TiffFile(path) as tiff:
            pages = len(tiff.pages)
            if pages == 0:
                raise ApbcError(f"{path} is cut short: it holds no image; copy it again")
            shape = tiff.series[0].shape
            page = tiff.pages.first
            grey = page.samplesperpixel == 1
            ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts)]
    except TIFF_ERRORS as error:
        raise ApbcError(
            f"{path} is cut short or not a TIFF image; copy or export it again"
        ) from error
    if grey and len(shape) > 2:
        _require_one_frame(path, int(np.prod(shape[:-2])))
    if len(shape) != 2:
        raise ApbcError(f"{path} is not a grey image (its shape is {shape}); export it as grey")
    if max(ends, default=0) > path.stat().st_size:
        raise ApbcError(f"{path} is cut short: pixels are missing at its end; copy it again")
    return int(shape[0]), int(shape[1])


def _read_tiff(path: Path) -> FloatImage:
    try:
        return np.asarray(tifffile.imread(path)).astype(np.float32)
    except TIFF_ERRORS as error:
        if "imagecodecs" in str(error):
            return _read_picture(path)
        raise ApbcError(f"{path} is damaged: {error}; copy or export it again") from error


def _picture_shape(path: Path) -> tuple[int, int]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                frames = getattr(picture, "n_frames", 1)
                columns, rows = picture.size
    except PILLOW_ERRORS as error:
        raise ApbcError(
            f"{path} is cut short or not a {path.suffix[1:].upper()} image; copy or export it again"
        ) from error
    except Image.DecompressionBombError as error:
        raise ApbcError(
            f"{path} is too large for a {path.suffix[1:].upper()} image; convert it to MRC"
        ) from error
    _require_one_frame(path, frames)
    return rows, columns


def _read_picture(path: Path) -> FloatImage:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                picture.load()
                single = len(picture.getbands()) == 1 and picture.mode not in ("P", "1")
                return np.asarray(picture if single else picture.convert("L")).astype(np.float32)
    except UnidentifiedImageError as error:
        raise ApbcError(
            f"{path} has a compression that apbc does not read; save it without compression"
        ) from error
    except PILLOW_ERRORS as error:
        raise ApbcError(
            f"{path} is damaged or cut short ({error}); copy or export it again"
        ) from error


def _check_values(path: Path, image: FloatImage) -> None:
    """Raise if the pixels cannot be those of a micrograph."""
    lowest, highest = float(image.min()), float(image.max())
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise ApbcError(
            f"{path} holds pixels that are no finite numbers (NaN or infinite); make it again or "
            "leave it out"
        )
    if lowest == highest:
        what = "zero" if lowest == 0 else f"the same value {lowest:g}"
        raise ApbcError(f"all pixels of {path} are {what}; make it again or leave it out")


def _find(spec: str) -> list[Path]:
    """Micrographs named by one specification; empty where a glob or a folder has none."""
    path = Path(spec)
    if path.is_dir():
        return [p for p in path.iterdir() if _is_micrograph(p)]
    if path.is_file():
        if path.suffix.lower() == ".txt":
            return _listed(path)
        _suffix(path)
        return [path]
    if not glob.has_magic(spec):
        raise ApbcError(f"there is no file or folder {spec}; check the path")
    return [p for p in map(Path, glob.glob(spec, recursive=True)) if _is_micrograph(p)]


def _is_micrograph(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.name[0] != "." and path.is_file()


def _listed(path: Path) -> list[Path]:
    """Micrographs of a ``.txt`` list."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ApbcError(f"{path} is not a text file; give a list with a path a line") from error
    found = []
    for number, line in enumerate(lines, start=1):
        if name := line.strip():
            if not Path(name).is_file():
                raise ApbcError(f"line {number} of {path} names {name}, which is not there")
            _suffix(Path(name))
            found.append(Path(name))
    return found
