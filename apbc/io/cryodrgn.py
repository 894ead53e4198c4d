"""The pickles of cryoDRGN and CryoBench: CTF, poses, latents.

Layouts (cryoDRGN 1 to 4): ``ctf.pkl`` one array (n, 9); ``poses.pkl`` a tuple of rotations
(n, 3, 3) and translations (n, 2) in fractions of the box, or the rotations alone;
``z.pkl`` and ``gt_latents.pkl`` one array, a row an image.

A pickle can run any code when Python reads it. Here nothing of the file is called: arrays,
tuples, lists and numbers are put together from what the file describes, and a file that asks
for anything else is refused.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.io.files import atomic_path

FloatArray = npt.NDArray[np.float64]

CTF_COLUMNS = (
    "box size (px)",
    "pixel size (Å)",
    "defocus U (Å)",
    "defocus V (Å)",
    "defocus angle (deg)",
    "voltage (kV)",
    "spherical aberration (mm)",
    "amplitude contrast",
    "phase shift (deg)",
)
# Read by every version of Python 3, and by cryoDRGN's oldest environment.
PROTOCOL = 4
ORTHONORMAL_TO = 1e-3
MALFORMED = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    TypeError,
    ValueError,
)


class _Refused(pickle.UnpicklingError):
    """The file asks for more than arrays and numbers."""


class _Type:
    """Stand-in for the ``numpy.dtype`` of a pickle: numbers and truth values only."""

    def __init__(self, name: str, *_: object) -> None:
        self.dtype = np.dtype(name) if isinstance(name, str) else np.dtype("O")
        if self.dtype.kind not in "biuf":
            raise _Refused(f"values of type {name}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])

    def read(self, raw: bytes, shape: tuple[int, ...], order: str) -> npt.NDArray[Any]:
        """Array of these bytes, in the machine's byte order."""
        values = np.frombuffer(raw, self.dtype).reshape(shape, order=order)  # type: ignore[call-overload]
        return values.astype(self.dtype.newbyteorder("="))


class _Array:
    """Stand-in for the ``numpy.ndarray`` of a pickle."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, by_columns, raw = state
        if not (isinstance(kind, _Type) and isinstance(raw, bytes)):
            raise _Refused("an array of objects")
        self.values = kind.read(raw, shape, "F" if by_columns else "C")


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _from_buffer(raw: bytes, kind: _Type, shape: tuple[int, ...], order: str) -> npt.NDArray[Any]:
    return kind.read(raw, shape, order)


def _scalar(kind: _Type, raw: bytes) -> Any:
    return kind.read(raw, (), "C")[()]


def _encode(text: str, encoding: str) -> bytes:
    """Stand-in for ``_codecs.encode``, by which old pickles write bytes."""
    if encoding != "latin1":
        raise _Refused(f"the text encoding {encoding}")
    return text.encode("latin1")


KNOWN: dict[str, Callable[..., Any] | type] = {
    "multiarray._reconstruct": _reconstruct,
    "multiarray.scalar": _scalar,
    "numeric._frombuffer": _from_buffer,
}


class _Reader(pickle.Unpickler):
    """Unpickler that knows arrays and numbers, and calls nothing that the file names."""

    def find_class(self, module: str, name: str) -> Any:
        """Stand-in for what the file names, or a refusal."""
        if (module, name) == ("numpy", "ndarray"):
            return _Array
        if (module, name) == ("numpy", "dtype"):
            return _Type
        if (module, name) == ("_codecs", "encode"):
            return _encode
        package, _, last = module.rpartition(".")
        known = KNOWN.get(f"{last}.{name}")
        if package in ("numpy.core", "numpy._core") and known is not None:
            return known
        raise _Refused(f"{module}.{name}")


def _plain(value: Any) -> Any:
    """Turn stand-ins into arrays, and refuse what is neither array, tuple, list nor number."""
    if isinstance(value, _Array):
        return value.values
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, (int, float, np.ndarray, np.generic)):
        return value
    raise _Refused(f"a value of type {type(value).__name__}")


def _read(path: Path) -> Any:
    """Content of a pickle: arrays, numbers, and lists of them (tuples become lists)."""
    try:
        with path.open("rb") as file:
            return _plain(_Reader(file).load())
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ApbcError(f"there is no file {path}; check the path") from error
    except _Refused as error:
        raise ApbcError(
            f"{path} holds {error}, and only arrays, tuples, lists and numbers are read from "
            "pickles, because others can run code; write it again as one array"
        ) from error
    except (*MALFORMED, RecursionError) as error:
        raise ApbcError(f"{path} is no complete pickle ({error}); write it again") from error


def read_array_pickle(path: str | Path) -> FloatArray:
    """Read a pickle of one array, such as latents or class numbers.

    Of a file with several pickles one after another (cryoDRGN's ``z.N.pkl``: means, then
    variances) the first is read. A list of numbers or of rows counts as an array.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    ndarray
        float64, of the shape of the file.

    Raises
    ------
    ApbcError
        If the file is missing, is no pickle, or holds anything but numbers in equal rows.
    """
    path = Path(path)
    content = _read(path)
    try:
        return np.asarray(content, np.float64)
    except (TypeError, ValueError) as error:
        raise ApbcError(
            f"{path} holds several arrays of different shapes; give a pickle of one array"
        ) from error


def write_array_pickle(path: str | Path, values: npt.ArrayLike) -> None:
    """Write a pickle of one array.

    Parameters
    ----------
    path : str or Path
    values : array_like
        Numbers; their type is kept.

    Raises
    ------
    ApbcError
        If the file cannot be written.
    """
    _write(Path(path), np.ascontiguousarray(values))


def read_ctf_pickle(path: str | Path) -> FloatArray:
    """Read cryoDRGN's ``ctf.pkl``.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    ndarray, shape (n, 9)
        Columns as `CTF_COLUMNS`: box size (px), pixel size (Å), defocus U and V (Å), angle
        of astigmatism (deg), voltage (kV), spherical aberration (mm), amplitude contrast,
        phase shift (deg).

    Raises
    ------
    ApbcError
        If the file is no such table, or holds what is no finite number.
    """
    path = Path(path)
    rows = read_array_pickle(path)
    if rows.ndim != 2 or rows.shape[1] != len(CTF_COLUMNS):
        raise ApbcError(
            f"{path} is an array of shape {rows.shape} and no CTF table; give a ctf.pkl of "
            f"cryoDRGN, with {len(CTF_COLUMNS)} columns"
        )
    _check_finite(path, rows, "a CTF parameter")
    return rows


def write_ctf_pickle(path: str | Path, rows: npt.ArrayLike) -> None:
    """Write cryoDRGN's ``ctf.pkl``, as float32.

    Parameters
    ----------
    path : str or Path
    rows : array_like, shape (n, 9)
        Columns as `CTF_COLUMNS`.

    Raises
    ------
    ApbcError
        If the file cannot be written.
    """
    values = np.asarray(rows, np.float32)
    if values.ndim != 2 or values.shape[1] != len(CTF_COLUMNS):
        raise ValueError(f"a CTF table has 9 columns, not the shape {values.shape}")
    _write(Path(path), values)


def read_poses(path: str | Path) -> tuple[FloatArray, FloatArray | None]:
    """Read cryoDRGN's ``poses.pkl``.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    rotations : ndarray, shape (n, 3, 3)
        RELION's Euler matrices: a point r of the volume is seen at ``R r``.
    translations : ndarray, shape (n, 2), or None
        The shift x, y that centres the particle again, in fractions of the box; None where
        the file has rotations only.

    Raises
    ------
    ApbcError
        If the file is no such pickle, its parts differ in length, or a matrix is no rotation.
    """
    path = Path(path)
    content = _read(path)
    parts = [content] if isinstance(content, np.ndarray) else content
    if not isinstance(parts, list) or not 1 <= len(parts) <= 2:
        raise ApbcError(
            f"{path} holds no rotations (n, 3, 3), with or without translations (n, 2); give a "
            "poses.pkl of cryoDRGN"
        )
    rotations = _part(path, parts[0], (3, 3), "rotations")
    _check_finite(path, rotations.reshape(len(rotations), 9), "a rotation")
    product = rotations @ rotations.transpose(0, 2, 1)
    wrong = (np.abs(product - np.eye(3)).max(axis=(1, 2)) > ORTHONORMAL_TO) | (
        np.linalg.det(rotations) < 0
    )
    if wrong.any():
        raise ApbcError(
            f"matrix {int(wrong.argmax()) + 1} of {len(wrong)} in {path} is no rotation; give a "
            "poses.pkl of cryoDRGN"
        )
    if len(parts) == 1:
        return rotations, None
    translations = _part(path, parts[1], (2,), "translations")
    _check_finite(path, translations, "a translation")
    if len(translations) != len(rotations):
        raise ApbcError(
            f"{path} has {len(rotations)} rotations and {len(translations)} translations; write "
            "it again with as many of both"
        )
    return rotations, translations


def write_poses(
    path: str | Path, rotations: npt.ArrayLike, translations: npt.ArrayLike | None = None
) -> None:
    """Write cryoDRGN's ``poses.pkl``, as float32.

    Parameters
    ----------
    path : str or Path
    rotations : array_like, shape (n, 3, 3)
    translations : array_like, shape (n, 2), optional
        As `read_poses` gives them. Without them, the file is the array of rotations.

    Raises
    ------
    ApbcError
        If the file cannot be written.
    """
    matrices = np.asarray(rotations, np.float32)
    if matrices.ndim != 3 or matrices.shape[1:] != (3, 3):
        raise ValueError(f"rotations have the shape (n, 3, 3), not {matrices.shape}")
    if translations is None:
        _write(Path(path), matrices)
        return
    shifts = np.asarray(translations, np.float32)
    if shifts.shape != (len(matrices), 2):
        raise ValueError(f"{len(matrices)} rotations, but translations of shape {shifts.shape}")
    _write(Path(path), (matrices, shifts))


def _part(path: Path, value: Any, shape: tuple[int, ...], what: str) -> FloatArray:
    try:
        values = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.ndim != 1 + len(shape) or values.shape[1:] != shape:
        sides = ", ".join(map(str, shape))
        raise ApbcError(
            f"the {what} of {path} are not of shape (n, {sides}); give a poses.pkl of cryoDRGN"
        )
    return values


def _check_finite(path: Path, rows: FloatArray, what: str) -> None:
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        raise ApbcError(
            f"row {int(bad.argmax()) + 1} of {path} has {what} that is no finite number; mend "
            "the file"
        )


def _write(path: Path, value: Any) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        pickle.dump(value, file, protocol=PROTOCOL)
