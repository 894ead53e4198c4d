"""Particle star files of Relion 3.0 (one block) and of 3.1 and later (with optics groups)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.io.star import StarFile, StarTable, read_star, write_star
from apbc.io.tables import check_finite

FloatArray = npt.NDArray[np.float64]

PARTICLE_LABELS = ("rlnImageName", "rlnCoordinateX", "rlnMicrographName")
MICROGRAPH_PIXEL_LABELS = ("rlnMicrographPixelSize", "rlnMicrographOriginalPixelSize")
ANGSTROM_PER_MICROMETRE = 1e4
PIXEL_SIZES_AGREE = 0.01
STAR_AGREES = 0.02

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MicrographPixelSize:
    """What a star file tells of the pixel size of its micrographs.

    Attributes
    ----------
    value : float
        Å per pixel.
    certain : bool
        False for ``rlnMicrographOriginalPixelSize``, which is that of the movie and
        differs where motion correction binned.
    """

    value: float
    certain: bool


def compare_pixel_sizes(told: MicrographPixelSize, pixel_size: float, path: str | Path) -> None:
    """Raise, or warn where the star file is not certain, if pixel sizes differ by over 2 %.

    Parameters
    ----------
    told : MicrographPixelSize
    pixel_size : float
        Å per pixel of the micrographs in use.
    path : str or Path
        The star file, for the sentence.

    Raises
    ------
    ApbcError
    """
    if abs(told.value / pixel_size - 1) <= STAR_AGREES:
        return
    sentence = (
        f"{path} was made on micrographs of {told.value:.4g} Å/px and those given have "
        f"{pixel_size:.4g} Å/px"
    )
    if told.certain:
        raise ApbcError(f"{sentence}; give the micrographs that it was made on")
    logger.warning("%s; if its movies were binned, all is well", sentence)


@dataclass(frozen=True)
class ParticleTable:
    """The particles of a star file, with whatever else the file holds.

    Attributes
    ----------
    star : StarFile
        All blocks.
    block : str
        Name of the block of the particles.
    """

    star: StarFile
    block: str

    @property
    def path(self) -> Path:
        """The star file."""
        return self.star.path

    @property
    def table(self) -> StarTable:
        """The block of the particles."""
        return self.star.tables[self.block]

    @property
    def n(self) -> int:
        """Number of particles."""
        return len(self.table)

    @cached_property
    def coordinates(self) -> FloatArray | None:
        """x, y in pixels of the micrograph, shape (n, 2); None without them."""
        if not ("rlnCoordinateX" in self.table and "rlnCoordinateY" in self.table):
            return None
        columns = [self.table.numbers(label) for label in ("rlnCoordinateX", "rlnCoordinateY")]
        return np.stack(columns, axis=1)

    @cached_property
    def micrograph_names(self) -> list[str] | None:
        """Micrograph of each particle as the file names it; None without the column."""
        return self.table.text("rlnMicrographName") if "rlnMicrographName" in self.table else None

    @cached_property
    def classes(self) -> FloatArray | None:
        """Class of each particle, shape (n,); None without the column."""
        return self.table.numbers("rlnClassNumber") if "rlnClassNumber" in self.table else None

    @cached_property
    def shifts(self) -> FloatArray | None:
        """How far each particle lies from the middle of its image, shape (n, 2); None if not told.

        x and y in Å. Relion's files hold the negative of it, the shift that centres the particle:
        ``rlnOriginXAngst``, before version 3.1 ``rlnOriginX`` in pixels of the image.

        Raises
        ------
        ApbcError
            If the shifts are in pixels whose size is not known, or a value is no finite number.
        """
        angstroms, pixels = ([f"rlnOrigin{axis}{unit}" for axis in "XY"] for unit in ("Angst", ""))
        if angstroms[0] in self.table:
            labels, scale = angstroms, np.ones(self.n)
        elif pixels[0] in self.table:
            if self.pixel_sizes is None:
                raise ApbcError(
                    f"{self.path} has shifts in pixels (_rlnOriginX) and no pixel size; add "
                    "_rlnDetectorPixelSize and _rlnMagnification, or convert it with Relion"
                )
            labels, scale = pixels, self.pixel_sizes
        else:
            return None
        values = np.stack([self.table.numbers(label) for label in labels], axis=1)
        check_finite(self.path, values, names=labels)
        return -values * scale[:, None]

    @cached_property
    def images(self) -> tuple[npt.NDArray[np.int64], list[Path]]:
        """Where the image of each particle is.

        Returns
        -------
        index : ndarray of int, shape (n,)
            Place in the stack, counted from 0.
        stack : list of Path, length n
            As Relion does, names are sought from the working folder; then from
            the folder of the star file and the folders above it.

        Raises
        ------
        ApbcError
            If the file has no images or a stack is not found.
        """
        places = np.zeros(self.n, np.int64)
        stacks = []
        found: dict[str, Path] = {}
        for row, name in enumerate(self.table.text("rlnImageName")):
            number, at, stack = name.rpartition("@")
            if at and not (number.isdecimal() and int(number) > 0):
                raise ApbcError(
                    f"row {row + 1} of {self.path} names the image {name}, which is not "
                    "NUMBER@STACK; write the file again with Relion"
                )
            places[row] = int(number) - 1 if at else 0
            if stack not in found:
                found[stack] = self._find(stack)
            stacks.append(found[stack])
        return places, stacks

    @cached_property
    def pixel_sizes(self) -> FloatArray | None:
        """Å per pixel of the image of each particle, shape (n,); None where not told."""
        if self._has("rlnImagePixelSize"):
            return self._checked("rlnImagePixelSize", self._values("rlnImagePixelSize"))
        if self._has("rlnDetectorPixelSize") and self._has("rlnMagnification"):
            detector = self._checked("rlnDetectorPixelSize", self._values("rlnDetectorPixelSize"))
            magnification = self._checked("rlnMagnification", self._values("rlnMagnification"))
            return detector * ANGSTROM_PER_MICROMETRE / magnification
        return None

    @cached_property
    def micrograph_pixel_sizes(self) -> FloatArray | None:
        """Å per pixel of the micrograph of each particle, shape (n,); None where not told.

        ``rlnMicrographPixelSize``, in whose pixels the coordinates are, goes
        before ``rlnMicrographOriginalPixelSize``, which is that of the movie.
        """
        for label in MICROGRAPH_PIXEL_LABELS:
            if self._has(label):
                return self._checked(label, self._values(label))
        return None

    @property
    def pixel_size(self) -> float | None:
        """Å per pixel of the images; None where not told.

        Raises
        ------
        ApbcError
            If the particles differ in it by more than 1 %.
        """
        return self._one(self.pixel_sizes, "image")

    @property
    def micrograph_pixel_size(self) -> float | None:
        """Å per pixel of the micrographs; None where not told.

        Raises
        ------
        ApbcError
            If the particles differ in it by more than 1 %.
        """
        return self._one(self.micrograph_pixel_sizes, "micrograph")

    @property
    def told_micrograph_pixel_size(self) -> MicrographPixelSize | None:
        """Pixel size of the micrographs as told by the file; None where it is not.

        Raises
        ------
        ApbcError
            If the particles differ in it by more than 1 %.
        """
        value = self.micrograph_pixel_size
        if value is None:
            return None
        return MicrographPixelSize(value, certain=self._has(MICROGRAPH_PIXEL_LABELS[0]))

    def subset(self, mask: npt.NDArray[np.bool_]) -> ParticleTable:
        """Particles where `mask`, shape (n,), is true; all else stays."""
        return self._with(self.table.subset(mask))

    def with_column(self, label: str, values: Sequence[str | float]) -> ParticleTable:
        """Particles with one column more, or with new values of a column.

        Parameters
        ----------
        label : str
            Name without the leading underscore.
        values : sequence of str or float, length n
            Numbers are written with six decimals.
        """
        texts = [v if isinstance(v, str) else f"{v:.6f}" for v in values]
        return self._with(self.table.with_column(label, texts))

    def write(self, path: str | Path) -> None:
        """Write a star file with all blocks, columns and values as they were read.

        Parameters
        ----------
        path : str or Path

        Raises
        ------
        ApbcError
            If the folder cannot be written or the disk is full.
        """
        write_star(path, list(self.star.tables.values()), self.star.version)

    def _with(self, table: StarTable) -> ParticleTable:
        tables = {**self.star.tables, self.block: table}
        return ParticleTable(replace(self.star, tables=tables), self.block)

    def _has(self, label: str) -> bool:
        optics = self.star.tables.get("optics")
        return label in self.table or (optics is not None and label in optics)

    def _values(self, label: str) -> FloatArray:
        return self.star.per_row(self.table, label)

    def _checked(self, label: str, values: FloatArray) -> FloatArray:
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise ApbcError(f"column _{label} of {self.path} holds a value that is not above 0")
        return values

    def _one(self, sizes: FloatArray | None, what: str) -> float | None:
        if sizes is None or not len(sizes):
            return None
        smallest, largest = float(sizes.min()), float(sizes.max())
        if largest / smallest - 1 > PIXEL_SIZES_AGREE:
            raise ApbcError(
                f"the optics groups of {self.path} differ in {what} pixel size ({smallest:.4g} "
                f"and {largest:.4g} Å/px); give the groups one by one"
            )
        return float(np.median(sizes))

    def _find(self, name: str) -> Path:
        folder = self.path.absolute().parent
        for base in (Path(), folder, *folder.parents):
            if (base / name).is_file():
                return base / name
        raise ApbcError(
            f"{self.path} names the stack {name}, which is neither in the working folder nor "
            "beside or above the star file; run from the Relion project folder"
        )


def read_particles(path: str | Path) -> ParticleTable:
    """Read the particles of a Relion star file.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    ParticleTable

    Raises
    ------
    ApbcError
        If the file is missing, no star file of particles, damaged, or without
        particles.
    """
    star = read_star(path)
    names = ["particles", *(name for name in star.tables if name not in ("particles", "optics"))]
    for name in names:
        table = star.tables.get(name)
        if table is not None and any(label in table for label in PARTICLE_LABELS):
            if not len(table):
                raise ApbcError(f"{star.path} holds no particles; give a file with some")
            return ParticleTable(star, name)
    raise ApbcError(
        f"{star.path} holds no particles: no block has a column _rlnImageName or _rlnCoordinateX; "
        "give a particle star file"
    )
