"""Tables of a latent space and of the truth that it is held against."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.io.cryodrgn import read_array_pickle
from apbc.io.poses import PICKLES, image_names
from apbc.io.star import read_star
from apbc.io.tables import ID_COLUMNS, Table, check_finite, read_table

FloatArray = npt.NDArray[np.float64]

ARRAYS = (".npy", *PICKLES)


@dataclass(frozen=True)
class Latents:
    """Points of a latent space.

    Attributes
    ----------
    path : Path
    ids : list of str or None
        Identifiers of the images; None where they are told by their order.
    values : ndarray, shape (n, dimensions)
    """

    path: Path
    ids: list[str] | None
    values: FloatArray


def read_latents(path: str | Path) -> Latents:
    """Read latent coordinates of images.

    Parameters
    ----------
    path : str or Path
        ``.csv`` with a column ``id`` (or ``image``) and numbers in all others, ``.npy``, or a
        pickle such as cryoDRGN's ``z.pkl``; arrays have a row an image, in the order of the
        truth.

    Returns
    -------
    Latents

    Raises
    ------
    ApbcError
        If the file is missing, has no rows, or holds what is no finite number; the row is named.
    """
    path = Path(path)
    if path.suffix.lower() == ".csv":
        table = read_table(path)
        names = [name for name in table.columns if name not in ID_COLUMNS]
        if not names:
            raise ApbcError(f"{path} has no column beside its identifiers; add the latent's")
        return Latents(path, table.ids, table.numbers(*names))
    if path.suffix.lower() not in ARRAYS:
        raise ApbcError(f"{path} is no table of latents; give a .csv, .npy or .pkl file")
    values = _read_array(path)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or not values.size:
        raise ApbcError(
            f"{path} is an array of shape {values.shape}; give one with a row an image and a "
            "column a dimension"
        )
    check_finite(path, values)
    return Latents(path, None, values)


def _read_array(path: Path) -> FloatArray:
    """Read a .npy or a pickle."""
    if path.suffix.lower() in PICKLES:
        return read_array_pickle(path)
    try:
        return np.asarray(np.load(path, allow_pickle=False), np.float64)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ApbcError(f"there is no file {path}; check the path") from error
    except (ValueError, TypeError, EOFError) as error:
        raise ApbcError(f"{path} is no array of numbers ({error}); write it again") from error


def read_truth(path: str | Path) -> Table:
    """Read the truth of images.

    Parameters
    ----------
    path : str or Path
        ``.csv``, or an array (``.npy``, CryoBench's ``gt_latents.pkl``) of the index of the
        structure of each image, from 0; below 0 is junk.

    Returns
    -------
    Table
        An array becomes the columns ``id``, from 1, and ``class``, from 1 with junk as 0.

    Raises
    ------
    ApbcError
        If the file is missing, or is an array of anything but whole numbers.
    """
    path = Path(path)
    if path.suffix.lower() not in ARRAYS:
        return read_table(path)
    values = np.squeeze(_read_array(path))
    if values.ndim != 1 or not np.array_equal(values, np.round(values)):
        raise ApbcError(
            f"{path} is an array of shape {values.shape} and not of one whole number an image, "
            "the index of its structure; give these, or a CSV table with an id and columns"
        )
    classes = np.maximum(values.astype(np.int64) + 1, 0)
    ids = [str(row + 1) for row in range(len(classes))]
    return Table(path, {"id": ids, "class": [str(label) for label in classes]})


def read_labels(path: str | Path) -> tuple[list[str] | None, list[str]]:
    """Read class labels of images, such as those of a 2D or 3D classification.

    Parameters
    ----------
    path : str or Path
        ``.csv`` with ``id`` (or ``image``) and ``class``, a RELION star file with
        ``rlnClassNumber``, or an array, see `read_truth`.

    Returns
    -------
    ids : list of str or None
    labels : list of str

    Raises
    ------
    ApbcError
        If the file is missing or has no such column.
    """
    path = Path(path)
    if path.suffix.lower() == ".star":
        table = read_star(path).table_with("rlnClassNumber")
        return image_names(table), table.text("rlnClassNumber")
    csv_table = read_truth(path)
    labels = csv_table.text("class")
    if "" in labels:
        raise ApbcError(f"row {labels.index('') + 1} of {path} has no class; mend the file")
    return csv_table.ids, labels
