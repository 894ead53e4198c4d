"""Files of a simulated particle stack: images, star file, table of the truth, pickles."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.geometry import euler_to_matrix
from apbc.io.cryodrgn import write_array_pickle, write_ctf_pickle, write_poses
from apbc.io.files import FULL, atomic_path
from apbc.io.mrc import HEADER_BYTES
from apbc.simulate.ctf_sources import COLUMNS as CTF_COLUMNS

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

STACK = "particles.mrcs"
CLEAN_STACK = "particles_clean.mrcs"
STAR = "particles.star"
TRUTH = "truth.csv"
CTF_PICKLE = "ctf.pkl"
POSES_PICKLE = "poses.pkl"
LATENTS_PICKLE = "gt_latents.pkl"

STAR_VERSION = "# version 30001"
DEFOCUS_LABELS = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle", "rlnPhaseShift")
DEFOCUS_COLUMNS = (0, 1, 2, 6)
OPTICS_LABELS = ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")
OPTICS_COLUMNS = (3, 4, 5)
TRUTH_COLUMNS = (
    "image",
    "class",
    "structure",
    "rot",
    "tilt",
    "psi",
    "shift_x",
    "shift_y",
    *CTF_COLUMNS,
    "contrast",
    "junk",
    "sigma",
)


@dataclass(frozen=True)
class Particles:
    """All that is known of the images of a stack, and what programs are told of them.

    Attributes
    ----------
    classes : ndarray of int, shape (n,)
        Number of the structure, from 1; 0 for junk.
    sources : ndarray of int, shape (n,)
        Number of the structure that the image is made of, also for junk, from 1.
    angles, told_angles : ndarray, shape (n, 3)
        rot, tilt, psi in degrees: the truth, and what the files tell programs.
    shifts, told_shifts : ndarray, shape (n, 2)
        Where the particle lies from the centre of the box, x and y in Å.
    ctfs, told_ctfs : ndarray, shape (n, 7), or None
        Columns as `apbc.simulate.ctf_sources.COLUMNS`; None without a CTF.
    contrast : ndarray, shape (n,)
        Factor of the signal.
    junk : ndarray of str, shape (n,)
        Kind of junk; empty for a particle.
    halves : ndarray of int, shape (n,)
        1 or 2, for refinements of two halves.
    """

    classes: IntArray
    sources: IntArray
    angles: FloatArray
    told_angles: FloatArray
    shifts: FloatArray
    told_shifts: FloatArray
    ctfs: FloatArray | None
    told_ctfs: FloatArray | None
    contrast: FloatArray
    junk: npt.NDArray[np.str_]
    halves: IntArray

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.classes)


class StackFile:
    """MRC stack of known size, filled in any order.

    Made at its full length; images are written to their places without being kept in memory.

    Parameters
    ----------
    path : Path
    n, box : int
        Images, and pixels along a side.
    pixel_size : float
        Å.
    go_on : bool
        Whether to keep the images of a file that is there already.
    """

    def __init__(self, path: Path, n: int, box: int, pixel_size: float, go_on: bool) -> None:
        self.path = path
        self._bytes = 4 * box * box
        if not go_on:
            with mrcfile.new_mmap(path, (n, box, box), mrc_mode=2, overwrite=True) as mrc:
                mrc.set_image_stack()
                mrc.voxel_size = pixel_size
                # Instead of the date, so that the same call gives the same bytes.
                mrc.header.label[0] = "Simulated by apbc"
        self._file = os.open(path, os.O_WRONLY)

    def write(self, image: int, pixels: npt.NDArray[np.float32]) -> None:
        """Write one image, counted from 0.

        Raises
        ------
        ApbcError
            If the disk is full.
        """
        raw = memoryview(pixels.astype("<f4").tobytes())
        place = HEADER_BYTES + image * self._bytes
        try:
            while raw:
                written = os.pwrite(self._file, raw, place)
                raw, place = raw[written:], place + written
        except OSError as error:
            if error.errno in FULL:
                raise ApbcError(
                    f"cannot write {self.path}: the disk is full; free some space and run again, "
                    "which goes on from here"
                ) from error
            raise

    def sync(self) -> None:
        """Bring what was written to the disk."""
        os.fsync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def write_star(
    path: Path,
    particles: Particles,
    pixel_size: float,
    box: int,
    microscope: tuple[float, float, float],
) -> None:
    """Write ``particles.star`` of RELION 3.1, with what programs are told.

    Images of another voltage, aberration or amplitude contrast are another optics group.

    Parameters
    ----------
    path : Path
    particles : Particles
    pixel_size : float
        Å per pixel of the images.
    box : int
        Pixels.
    microscope : (float, float, float)
        Voltage (kV), spherical aberration (mm) and amplitude contrast to tell of images without
        a CTF.

    Raises
    ------
    ApbcError
        If the file cannot be written.
    """
    told = particles.told_ctfs
    labels = ["rlnImageName", "rlnOpticsGroup", "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
    labels += ["rlnOriginXAngst", "rlnOriginYAngst", "rlnRandomSubset", "apbcGtClass"]
    if told is None:
        optics, groups = np.array([microscope]), np.zeros(len(particles), np.int64)
    else:
        optics, groups = np.unique(told[:, OPTICS_COLUMNS], axis=0, return_inverse=True)
        groups = groups.reshape(-1)
        labels += DEFOCUS_LABELS
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(f"\n{STAR_VERSION}\n\ndata_optics\n\nloop_\n")
        names = ["rlnOpticsGroupName", "rlnOpticsGroup", *OPTICS_LABELS]
        names += ["rlnImagePixelSize", "rlnImageSize", "rlnImageDimensionality"]
        names += ["rlnCtfDataAreCtfPremultiplied"]
        file.writelines(f"_{name} #{number}\n" for number, name in enumerate(names, 1))
        for number, row in enumerate(optics, 1):
            lens = " ".join(f"{value:g}" for value in row)
            file.write(f"opticsGroup{number} {number} {lens} {pixel_size:.6f} {box} 2 0\n")
        file.write(f"\n\n{STAR_VERSION}\n\ndata_particles\n\nloop_\n")
        file.writelines(f"_{name} #{number}\n" for number, name in enumerate(labels, 1))
        for n in range(len(particles)):
            angles = " ".join(f"{value:.6f}" for value in particles.told_angles[n])
            # RELION keeps the shift that centres the particle. Adding 0 takes the sign off -0.
            origin = " ".join(f"{value:.6f}" for value in 0.0 - particles.told_shifts[n])
            row = f"{n + 1:06d}@{STACK} {groups[n] + 1} {angles} {origin}"
            row += f" {particles.halves[n]} {particles.classes[n]}"
            if told is not None:
                row += "".join(f" {told[n, column]:.6f}" for column in DEFOCUS_COLUMNS)
            file.write(f"{row}\n")
        file.write("\n")


def write_truth(path: Path, particles: Particles, names: Sequence[str], sigmas: FloatArray) -> None:
    """Write ``truth.csv``, one row an image, with the columns `TRUTH_COLUMNS`.

    Parameters
    ----------
    path : Path
    particles : Particles
    names : sequence of str
        Of the structures, in the order of their classes.
    sigmas : ndarray, shape (n,)
        Standard deviation of the noise in each image.

    Raises
    ------
    ApbcError
        If the file cannot be written.
    """
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        file.write(",".join(TRUTH_COLUMNS) + "\n")
        file.writelines(f"{row}\n" for row in _truth_rows(particles, names, sigmas))


def _truth_rows(particles: Particles, names: Sequence[str], sigmas: FloatArray) -> Iterator[str]:
    quoted = [
        "",
        *('"' + name.replace('"', '""') + '"' if set(name) & set(',"') else name for name in names),
    ]
    for n in range(len(particles)):
        kind = int(particles.classes[n])
        pose = [*particles.angles[n], *particles.shifts[n]]
        ctf = [""] * len(CTF_COLUMNS)
        if particles.ctfs is not None:
            ctf = [f"{value:.6f}" for value in particles.ctfs[n]]
        yield ",".join(
            [
                str(n + 1),
                str(kind),
                quoted[kind],
                *(f"{value:.6f}" for value in pose),
                *ctf,
                f"{particles.contrast[n]:.6f}",
                str(particles.junk[n]),
                f"{sigmas[n]:.8g}",
            ]
        )


def write_pickles(folder: Path, particles: Particles, pixel_size: float, box: int) -> None:
    """Write ``ctf.pkl`` (where there is a CTF), ``poses.pkl`` and ``gt_latents.pkl``.

    As the star file, poses and CTF are what programs are told. The latent is the number of the
    class from 0, -1 for junk.

    Parameters
    ----------
    folder : Path
    particles : Particles
    pixel_size : float
        Å per pixel of the images.
    box : int
        Pixels.

    Raises
    ------
    ApbcError
        If a file cannot be written.
    """
    if particles.told_ctfs is not None:
        grid = np.tile([float(box), pixel_size], (len(particles), 1))
        write_ctf_pickle(folder / CTF_PICKLE, np.hstack([grid, particles.told_ctfs]))
    rotations = euler_to_matrix(particles.told_angles)
    write_poses(folder / POSES_PICKLE, rotations, -particles.told_shifts / (box * pixel_size))
    write_array_pickle(folder / LATENTS_PICKLE, particles.classes - 1)
