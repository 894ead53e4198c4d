"""Writing files so that a reader never meets a half-written one."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from apbc.errors import ApbcError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path and rename it over `path` when all went well.

    The temporary file lies in the same folder, is hidden and keeps the suffix,
    so that writers that look at the suffix work. Missing folders are made.
    After an error the temporary file is removed and `path` is as it was.

    Parameters
    ----------
    path : str or Path
        The file to write.

    Yields
    ------
    Path
        Where to write.

    Raises
    ------
    ApbcError
        If the folder cannot be written or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}{path.suffix}")
    if path.is_dir():
        raise ApbcError(f"cannot write {path}: it is a folder; give the name of a file")
    make_folder_of(path)
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in FULL or "No space left" in str(error):
            raise ApbcError(
                f"cannot write {path}: the disk is full; free some space and run again"
            ) from error
        ours = error.filename is None or Path(error.filename).parent in (path.parent, temporary)
        if error.errno in CLOSED and ours:
            raise ApbcError(
                f"cannot write {path}: no permission to write in {path.parent}; change its "
                "rights or choose another place"
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def make_folder_of(path: Path) -> None:
    """Make the folder that a file is to lie in.

    Raises
    ------
    ApbcError
        If that cannot be.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ApbcError(
            f"cannot write {path}: {path.parent} is not a folder; choose another place"
        ) from error
    except OSError as error:
        raise ApbcError(
            f"cannot make the folder {path.parent} ({error.strerror}); choose another place"
        ) from error


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, UTF-8, under its final name only when it is complete.

    Parameters
    ----------
    path : str or Path
    text : str

    Raises
    ------
    ApbcError
        If the folder cannot be written or the disk is full.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def plain(value: Any) -> Any:
    """Value made of what JSON knows: NumPy scalars, arrays and paths converted, NaN as null.

    Parameters
    ----------
    value : object

    Returns
    -------
    object
    """
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file, indented; NaN and infinity become null.

    Parameters
    ----------
    path : str or Path
    value : object
        Anything `plain` turns into what JSON knows.

    Raises
    ------
    ApbcError
        If the folder cannot be written or the disk is full.
    """
    text = json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: str | Path) -> Any:
    """Content of a JSON file.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    object

    Raises
    ------
    ApbcError
        If the file is missing or is no JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ApbcError(f"there is no file {path}; check the path") from error
    except ValueError as error:
        raise ApbcError(f"{path} is not a JSON file ({error}); write it again") from error


class LastWriteCounts(io.FileIO):
    """A file for HDF5 that swallows everything after the first write that failed.

    HDF5 writes again when it is closed, and crashes the process when that fails as
    well. The file of a failed write is thrown away, so nothing is lost.
    """

    failed = False

    def write(self, data: Any, /) -> int:
        """Write all of `data`."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view) and not self.failed:
            try:
                done += super().write(view[done:])
            except OSError:
                self.failed = True
                raise
        return len(view)

    def truncate(self, size: int | None = None, /) -> int:
        """Set the length."""
        return super().truncate(size) if not self.failed else size or 0
