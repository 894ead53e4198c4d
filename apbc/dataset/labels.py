"""Good and bad particles as positions on micrographs."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.io.coordinates import read_coordinate_folder
from apbc.io.particles import MicrographPixelSize, ParticleTable

logger = logging.getLogger(__name__)

BAD, GOOD, UNLABELLED = 0, 1, -1
KIND_NAMES = {GOOD: "good", BAD: "bad", UNLABELLED: "unlabelled"}
FEWEST_OF_A_CLASS = 20

FloatArray = npt.NDArray[np.float64]


@dataclass
class Labels:
    """Labelled positions, by micrograph.

    Attributes
    ----------
    positions : dict
        ``{name of micrograph: {GOOD: (n, 2), BAD: (m, 2)}}``, pixels of the micrograph.
    sources : dict
        ``{path: sha256}`` of the files read.
    pixel_sizes : dict
        What particle stars tell of the micrographs that the positions are on.
    """

    positions: dict[str, dict[int, FloatArray]] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    pixel_sizes: dict[str, MicrographPixelSize] = field(default_factory=dict)

    def add(self, kind: int, by_micrograph: dict[str, FloatArray]) -> None:
        """Add positions of one kind."""
        for name, xy in by_micrograph.items():
            kinds = self.positions.setdefault(name, {})
            old = kinds.get(kind, np.empty((0, 2)))
            kinds[kind] = np.concatenate([old, np.asarray(xy, float)[:, :2]])

    def of(self, name: str, kind: int) -> FloatArray:
        """Positions of one kind on one micrograph, shape (n, 2)."""
        return self.positions.get(name, {}).get(kind, np.empty((0, 2)))

    def total(self, kind: int) -> int:
        """Count the positions of one kind."""
        return sum(len(kinds.get(kind, ())) for kinds in self.positions.values())


def check_counts(good: int, bad: int) -> None:
    """Raise if a class has too few examples to learn from.

    Raises
    ------
    ApbcError
    """
    for kind, count in (("good", good), ("bad", bad)):
        if count < FEWEST_OF_A_CLASS:
            found = f"only {count}" if count else "no"
            raise ApbcError(
                f"there are {found} {kind} particles and training needs at least "
                f"{FEWEST_OF_A_CLASS}; give more {kind} ones"
            )


def from_folders(good: Path, bad: Path) -> Labels:
    """Labels from two folders of coordinate files.

    Parameters
    ----------
    good, bad : Path
        Folders of ``NAME.csv``, ``NAME.box`` or ``NAME.star``, or one star file
        with ``rlnMicrographName``.

    Returns
    -------
    Labels

    Raises
    ------
    ApbcError
        If a folder is missing or holds no coordinates.
    """
    labels = Labels()
    for kind, folder in ((GOOD, good), (BAD, bad)):
        labels.add(kind, read_coordinate_folder(folder))
        files = sorted(folder.iterdir()) if folder.is_dir() else [folder]
        labels.sources |= {str(path): sha256_of(path) for path in files if path.is_file()}
    return labels


def from_particles(good: ParticleTable, bad: ParticleTable) -> Labels:
    """Labels from the coordinates of Relion particle stars.

    Parameters
    ----------
    good, bad : ParticleTable

    Returns
    -------
    Labels
        By the stem of ``rlnMicrographName``.

    Raises
    ------
    ApbcError
        If a star file has no coordinates or micrograph names.
    """
    labels = Labels()
    for kind, table in ((GOOD, good), (BAD, bad)):
        coordinates, names = table.coordinates, table.micrograph_names
        if coordinates is None or names is None:
            raise ApbcError(
                f"{table.path} has no rlnCoordinateX, rlnCoordinateY and rlnMicrographName, so its "
                "particles cannot be found on micrographs; leave --micrographs out to read stacks"
            )
        stems = np.array([Path(name).stem for name in names])
        order = np.argsort(stems, kind="stable")
        unique, first = np.unique(stems[order], return_index=True)
        groups = np.split(coordinates[order], first[1:])
        labels.add(kind, dict(zip(unique.tolist(), groups, strict=True)))
        labels.sources[str(table.path)] = sha256_of(table.path)
        told = table.told_micrograph_pixel_size
        if told:
            labels.pixel_sizes[str(table.path)] = told
    return labels


def sha256_of(path: Path) -> str:
    """Hash of a file, read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
