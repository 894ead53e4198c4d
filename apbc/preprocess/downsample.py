"""Volumes and particle stacks brought to a smaller box over the same field of view.

Spectra are cropped, so that nothing is aliased and grey values keep their unit. The
centre of the box stays its centre, see `fourier_resample_centred`, so shifts in Å and
orientations of particles stay true. White noise loses variance as pixels are joined:
the signal-to-noise ratio of a pixel grows.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.geometry import even
from apbc.io.mrc import mrc_layout
from apbc.io.particles import ParticleTable, read_particles
from apbc.io.stacks import ParticleStack, write_stack
from apbc.io.star import StarTable, write_star
from apbc.io.volumes import open_volume, read_volume, write_volume
from apbc.preprocess.binning import fourier_resample_centred
from apbc.progress import track

logger = logging.getLogger(__name__)


STACK_SUFFIXES = (".mrcs",)
STAR_SUFFIX = ".star"
PIXELS_AT_ONCE = 16_000_000
SMALLEST_BOX = 2
SIZE_LABELS = ("rlnImagePixelSize", "rlnDetectorPixelSize")
SHIFT_LABELS = ("rlnOriginX", "rlnOriginY", "rlnOriginZ")


@dataclass(frozen=True)
class Target:
    """What is wanted: a box, or a pixel size.

    Attributes
    ----------
    box_size : int or None
        Pixels along a side.
    pixel_size : float or None
        Å; the even box that comes nearest to it is taken.
    """

    box_size: int | None = None
    pixel_size: float | None = None

    def box_for(self, path: Path, box_size: int, pixel_size: float) -> int:
        """Choose the new box of an input.

        Parameters
        ----------
        path : Path
            The input, for the sentence.
        box_size : int
            Pixels along a side of the input.
        pixel_size : float
            Å per pixel of the input.

        Returns
        -------
        int

        Raises
        ------
        ApbcError
            If it would not be smaller than the input, or is nothing any more.
        """
        if self.pixel_size is not None:
            if not self.pixel_size > 0:
                raise ApbcError(f"--pixel-size {self.pixel_size:g} is not a size; give Å above 0")
            if self.pixel_size < pixel_size:
                raise ApbcError(
                    f"{path} has {pixel_size:g} Å per pixel, coarser than --pixel-size "
                    f"{self.pixel_size:g}; give a larger one, detail cannot be added"
                )
            return min(even(box_size * pixel_size / self.pixel_size), box_size)
        assert self.box_size is not None
        if self.box_size > box_size:
            raise ApbcError(
                f"{path} has a box of {box_size} pixels, smaller than --box {self.box_size}; give "
                "a smaller one, detail cannot be added"
            )
        if self.box_size < SMALLEST_BOX:
            raise ApbcError(f"--box {self.box_size} is not a box; give {SMALLEST_BOX} or more")
        return self.box_size


def downsample(
    path: str | Path,
    out: str | Path,
    target: Target,
    pixel_size: float | None = None,
    stack: bool = False,
) -> float:
    """Bring a volume, a stack, or the particles of a star file to a smaller box.

    Parameters
    ----------
    path : str or Path
        ``.mrcs`` is a stack, ``.star`` particles, all else a volume.
    out : str or Path
        Of the same kind as `path`. With a star file the images go to a ``.mrcs`` of
        the same name beside it.
    target : Target
    pixel_size : float, optional
        Å per pixel of the input; goes before its header.
    stack : bool, optional
        Take a file of another name for a stack, too.

    Returns
    -------
    float
        New pixel size in Å.

    Raises
    ------
    ApbcError
        If the input cannot be read, has no pixel size, is smaller than what is
        wanted, or `out` is of another kind.
    """
    path, out = Path(path), Path(out)
    if pixel_size is not None and not pixel_size > 0:
        raise ApbcError(f"--from-pixel-size {pixel_size:g} is not a size; give Å above 0")
    if (path.suffix == STAR_SUFFIX) != (out.suffix == STAR_SUFFIX):
        raise ApbcError(f"{path} gives a file of its own kind, and {out} is of another; rename it")
    if out.exists() and path.exists() and out.samefile(path):
        raise ApbcError(f"{out} is the input; give another name to --out")
    if path.suffix == STAR_SUFFIX:
        return _downsample_particles(path, out, target, pixel_size)
    size = pixel_size or mrc_layout(path).pixel_size
    if not size:
        raise ApbcError(f"{path} has no pixel size in its header; give it with --from-pixel-size")
    if stack or path.suffix in STACK_SUFFIXES:
        return _downsample_stack(path, out, target, size)
    return _downsample_volume(path, out, target, size)


def _downsample_volume(path: Path, out: Path, target: Target, pixel_size: float) -> float:
    old = open_volume(path, pixel_size).box_size
    box = target.box_for(path, old, pixel_size)
    small = fourier_resample_centred(read_volume(path, pixel_size).data, box, 3)
    new_size = pixel_size * old / box
    write_volume(out, small, new_size)
    _tell(old, box, pixel_size, new_size)
    return new_size


def _downsample_stack(path: Path, out: Path, target: Target, pixel_size: float) -> float:
    images = ParticleStack(path)
    box = target.box_for(path, images.box_size, pixel_size)
    new_size = pixel_size * images.box_size / box
    rows = _chunks(images.n, images.box_size)
    parts = (fourier_resample_centred(images.read(some), box, 2) for some in rows)
    write_stack(out, track(parts, len(rows), "parts of the stack"), images.n, box, new_size)
    _tell(images.box_size, box, pixel_size, new_size)
    return new_size


def _downsample_particles(path: Path, out: Path, target: Target, pixel_size: float | None) -> float:
    particles = read_particles(path)
    _, stacks = particles.images
    headers = [ParticleStack(stack) for stack in dict.fromkeys(stacks)]
    first = headers[0]
    for other in headers[1:]:
        if other.box_size != first.box_size:
            raise ApbcError(
                f"the images of {first.path} have {first.box_size} pixels and those of "
                f"{other.path} {other.box_size}; downsample them one by one"
            )
    size = pixel_size or particles.pixel_size or first.pixel_size
    if not size:
        raise ApbcError(
            f"neither {path} nor its stacks tell a pixel size; give it with --from-pixel-size"
        )
    box = target.box_for(path, first.box_size, size)
    shrink = box / first.box_size
    stack = out.with_suffix(".mrcs")
    if stack.exists() and any(stack.samefile(one.path) for one in headers):
        raise ApbcError(f"{stack} is a stack of the input; give another name to --out")
    rows = _chunks(particles.n, first.box_size)
    parts = (fourier_resample_centred(_read(particles, some), box, 2) for some in rows)
    write_stack(
        stack, track(parts, len(rows), "parts of the stack"), particles.n, box, size / shrink
    )
    names = [f"{number:06d}@{stack.name}" for number in range(1, particles.n + 1)]
    table = _scaled(particles.table, SHIFT_LABELS, shrink).with_column("rlnImageName", names)
    tables = {**particles.star.tables, particles.block: table}
    for name in {"optics", particles.block} & tables.keys():
        tables[name] = _with_size(_scaled(tables[name], SIZE_LABELS, 1 / shrink), box)
    write_star(out, list(tables.values()), particles.star.version)
    _tell(first.box_size, box, size, size / shrink)
    return size / shrink


def _chunks(n: int, box_size: int) -> list[npt.NDArray[np.int64]]:
    """Rows, some at a time, so that memory does not grow with the stack."""
    count = max(1, PIXELS_AT_ONCE // box_size**2)
    return [np.arange(first, min(first + count, n)) for first in range(0, n, count)]


def _read(particles: ParticleTable, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Images of some particles; stacks are closed again, since there may be thousands."""
    index, stacks = particles.images
    of_stack: dict[Path, list[int]] = {}
    for place, row in enumerate(rows):
        of_stack.setdefault(stacks[row], []).append(place)
    images: npt.NDArray[np.float32] | None = None
    for path, places in of_stack.items():
        found = ParticleStack(path).read(index[rows[places]])
        if images is None:
            images = np.empty((len(rows), *found.shape[1:]), np.float32)
        images[places] = found
    assert images is not None
    return images


def _scaled(table: StarTable, labels: tuple[str, ...], factor: float) -> StarTable:
    """Table with some columns, where it has them, times a factor."""
    for label in labels:
        if label in table:
            values = table.numbers(label) * factor
            table = table.with_column(label, [f"{value:.6f}" for value in values])
    return table


def _with_size(table: StarTable, box: int) -> StarTable:
    if "rlnImageSize" not in table:
        return table
    return table.with_column("rlnImageSize", [str(box)] * len(table))


def _tell(old: int, new: int, old_size: float, new_size: float) -> None:
    logger.info(
        "box %d -> %d pixels, %.6g -> %.6g Å per pixel, the same field of view",
        old,
        new,
        old_size,
        new_size,
    )
