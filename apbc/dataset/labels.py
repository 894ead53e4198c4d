"""Good and bad particles as positions on micrographs."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from apbc.dataset.views import UNKNOWN
from apbc.errors import ApbcError
from apbc.io.coordinates import read_coordinate_folder, read_label_columns
from apbc.io.particles import MicrographPixelSize, ParticleTable

logger = logging.getLogger(__name__)

BAD, GOOD, UNLABELLED = 0, 1, -1
KIND_NAMES = {GOOD: "good", BAD: "bad", UNLABELLED: "unlabelled"}
FEWEST_OF_A_CLASS = 20
GOOD_ALONE = (
    "good labels alone: places without a label are taken to be mostly no particles, and background "
    "drawn away from the labels is all that teaches what to leave out; bad labels teach more"
)

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Places:
    """Labels of one kind on one micrograph.

    Attributes
    ----------
    xy : ndarray, shape (n, 2)
        Pixels of the micrograph.
    view : ndarray of int, shape (n,)
        2D class of each, 1 or more; -1 where it is not known.
    shift : ndarray, shape (n, 2)
        How far the particle lies from `xy` by the alignment that it carries, in Å; 0 without.
    """

    xy: FloatArray
    view: IntArray
    shift: FloatArray

    @classmethod
    def of(
        cls,
        xy: FloatArray,
        view: IntArray | None = None,
        shift: FloatArray | None = None,
    ) -> Places:
        """Labels with what is known of them; a shift that is NaN is not known."""
        n = len(xy)
        known = np.zeros((n, 2)) if shift is None else shift
        return cls(
            np.asarray(xy, float)[:, :2],
            np.full(n, UNKNOWN) if view is None else view,
            np.where(np.isfinite(known).all(axis=1, keepdims=True), known, 0.0),
        )

    def __len__(self) -> int:
        """Count the labels."""
        return len(self.xy)

    def some(self, rows: IntArray) -> Places:
        """Labels of some rows."""
        return Places(self.xy[rows], self.view[rows], self.shift[rows])

    def and_those_of(self, other: Places) -> Places:
        """Join labels with others of the same micrograph."""
        return Places(
            np.concatenate([self.xy, other.xy]),
            np.concatenate([self.view, other.view]),
            np.concatenate([self.shift, other.shift]),
        )


NOWHERE = Places(np.empty((0, 2)), np.empty(0, np.int64), np.empty((0, 2)))


@dataclass
class Labels:
    """Labelled positions, by micrograph.

    Attributes
    ----------
    positions : dict
        ``{name of micrograph: {GOOD: Places, BAD: Places}}``.
    sources : dict
        ``{path: sha256}`` of the files read.
    pixel_sizes : dict
        What particle stars tell of the micrographs that the positions are on.
    good_alone : bool
        No bad labels were given, and none are missed.
    doubtful : dict
        ``{name of micrograph: positions, shape (n, 2)}``, in pixels of the micrograph: places
        that are labelled neither good nor bad, and that background keeps away from.
    """

    positions: dict[str, dict[int, Places]] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    pixel_sizes: dict[str, MicrographPixelSize] = field(default_factory=dict)
    good_alone: bool = False
    doubtful: dict[str, FloatArray] = field(default_factory=dict)

    def add(self, kind: int, by_micrograph: dict[str, Places]) -> None:
        """Add labels of one kind."""
        for name, places in by_micrograph.items():
            kinds = self.positions.setdefault(name, {})
            kinds[kind] = kinds.get(kind, NOWHERE).and_those_of(places)

    def of(self, name: str, kind: int) -> Places:
        """Labels of one kind on one micrograph."""
        return self.positions.get(name, {}).get(kind, NOWHERE)

    def number_on(self, name: str) -> int:
        """Count the labels of all kinds on one micrograph."""
        return sum(map(len, self.positions.get(name, {}).values()))

    def total(self, kind: int) -> int:
        """Count the labels of one kind."""
        return sum(len(kinds.get(kind, NOWHERE)) for kinds in self.positions.values())


def check_counts(good: int, bad: int | None) -> None:
    """Raise if a class has too few examples to learn from.

    Parameters
    ----------
    good : int
    bad : int or None
        None where there are to be no bad ones: what that assumes is logged.

    Raises
    ------
    ApbcError
    """
    for kind, count in (("good", good), ("bad", bad)):
        if count is not None and count < FEWEST_OF_A_CLASS:
            found = f"only {count}" if count else "no"
            raise ApbcError(
                f"there are {found} {kind} particles and training needs at least "
                f"{FEWEST_OF_A_CLASS}; give more {kind} ones"
            )
    if bad is None:
        logger.warning(GOOD_ALONE)


def from_folders(good: Path, bad: Path | None, shifts: bool = True) -> Labels:
    """Labels from two folders of coordinate files.

    Parameters
    ----------
    good, bad : Path
        Folders of ``NAME.csv``, ``NAME.box`` or ``NAME.star``, or one star file
        with ``rlnMicrographName``. None for no bad labels.
    shifts : bool, optional
        Take along the shifts of the alignment that the labels carry.

    Returns
    -------
    Labels

    Raises
    ------
    ApbcError
        If a folder is missing or holds no coordinates.
    """
    labels = Labels(good_alone=bad is None)
    for kind, folder in ((GOOD, good), (BAD, bad)):
        if folder is None:
            continue
        coordinates, columns = read_coordinate_folder(folder), read_label_columns(folder)
        labels.add(
            kind,
            {
                name: Places.of(
                    xy,
                    views_of(columns[name].get("view"), len(xy), folder),
                    columns[name].get("shift") if shifts else None,
                )
                for name, xy in coordinates.items()
            },
        )
        files = sorted(folder.iterdir()) if folder.is_dir() else [folder]
        labels.sources |= {str(path): sha256_of(path) for path in files if path.is_file()}
    return labels


def from_particles(good: ParticleTable, bad: ParticleTable | None, shifts: bool = True) -> Labels:
    """Labels from the coordinates of Relion particle stars.

    Parameters
    ----------
    good, bad : ParticleTable
        None for no bad labels.
    shifts : bool, optional
        Take along the shifts of the alignment that the labels carry.

    Returns
    -------
    Labels
        By the stem of ``rlnMicrographName``.

    Raises
    ------
    ApbcError
        If a star file has no coordinates or micrograph names.
    """
    labels = Labels(good_alone=bad is None)
    for kind, table in ((GOOD, good), (BAD, bad)):
        if table is None:
            continue
        coordinates, names = table.coordinates, table.micrograph_names
        if coordinates is None or names is None:
            raise ApbcError(
                f"{table.path} has no rlnCoordinateX, rlnCoordinateY and rlnMicrographName, so its "
                "particles cannot be found on micrographs; leave --micrographs out to read stacks"
            )
        told = _shifts_of(table) if shifts else None
        places = Places.of(coordinates, views_of(table.classes, table.n, table.path), told)
        stems = np.array([Path(name).stem for name in names])
        order = np.argsort(stems, kind="stable")
        unique, first = np.unique(stems[order], return_index=True)
        groups = np.split(order, first[1:])
        labels.add(kind, {str(s): places.some(g) for s, g in zip(unique, groups, strict=True)})
        labels.sources[str(table.path)] = sha256_of(table.path)
        pixel_size = table.told_micrograph_pixel_size
        if pixel_size:
            labels.pixel_sizes[str(table.path)] = pixel_size
    return labels


def views_of(numbers: FloatArray | None, n: int, path: str | Path) -> IntArray:
    """Give the views of labels, from the classes that a file tells.

    Parameters
    ----------
    numbers : ndarray, shape (n,), or None
        NaN where the file does not tell.
    n : int
    path : str or Path
        The file, for a sentence.

    Returns
    -------
    ndarray of int, shape (n,)
        -1 where nothing is told, and for numbers below 1, which are no classes.

    Raises
    ------
    ApbcError
        If a class is no whole number.
    """
    told = np.full(n, UNKNOWN) if numbers is None else np.nan_to_num(numbers, nan=UNKNOWN)
    if not ((told == np.round(told)) & (np.abs(told) < 2**31)).all():
        raise ApbcError(f"a class of {path} is no whole number; mend the file")
    return np.where(told >= 1, told, UNKNOWN).astype(np.int64)


def _shifts_of(table: ParticleTable) -> FloatArray | None:
    try:
        return table.shifts
    except ApbcError as error:
        raise ApbcError(
            f"{error}; or leave the labels where they were picked with --no-recentre"
        ) from error


def sha256_of(path: Path) -> str:
    """Hash of a file, read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
