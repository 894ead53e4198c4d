"""A micrograph of the demo: a scene of particles, ice and carbon, seen by the microscope.

Its numbers and the order of its random draws are frozen, since figures measured on the demo are
published. `apbc.simulate.field` draws the micrographs of ``apbc simulate micrographs``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy.spatial import cKDTree

from apbc.io.ctf import Ctf
from apbc.simulate.contamination import (
    BLOB_GRAIN,
    Blob,
    BlobRanges,
    Carbon,
    grain,
    random_blobs,
    random_carbon,
)
from apbc.simulate.molecule import Molecule
from apbc.simulate.optics import Optics, contrast_spectrum, envelope
from apbc.simulate.projection import project, random_rotations

FloatArray = npt.NDArray[np.float64]
FloatImage = npt.NDArray[np.float32]

DENSITY = (80, 120)
"""Least and most particles in an area of `DENSITY_AREA`, were all of it a hole."""
BLOBS = (5, 11)
"""Least and most contaminating blobs in the same area."""
DENSITY_AREA = 3584.0**2
"""Å²."""

OPTICS = Optics(defocus=(12_000.0, 28_000.0), astigmatism=300.0)
DOSE = (28.0, 36.0)
"""Electrons per Å²."""
ENVELOPE = 150.0
"""B factor in Å² of what motion and the camera take from the contrast."""

# Strengths chosen by eye, and by how well a blob finder does (see the tests).
ICE_PHASE = 0.06
ICE_GRAIN = 12.0
ICE_ABSORPTION = 0.3
CARBON_PHASE = 0.16
CARBON_GRAIN = 6.0
CARBON_STEP = 0.35
CARBON_ABSORPTION = 0.22
BLOB_RANGES = BlobRanges(
    radius=(55, 90, 280),
    absorption=(0.05, 0.2),
    bright=(0.04, 0.10),
    bright_share=0.2,
    texture=(0.03, 0.15),
    softness=(0.05, 0.5),
)
"""Most round about the size of the particle."""

CLOSE_PAIRS = 0.06
"""Share of the particles that may come as near to another as `CLOSE_DISTANCE`."""
CLOSE_DISTANCE = 0.8
"""Diameters."""
TRIES = 200


@dataclass(frozen=True)
class Scene:
    """What lies in the field of view; coordinates in pixels of the micrograph.

    Attributes
    ----------
    particles : ndarray, shape (n, 2)
        x, y of every particle, those beyond the border and under blobs too.
    blobs : list of Blob
    carbon : Carbon or None
    """

    particles: FloatArray
    blobs: list[Blob]
    carbon: Carbon | None

    def junk_cover(self, points: FloatArray) -> FloatArray:
        """Share from 0 to 1 to which a blob or the carbon covers points.

        Parameters
        ----------
        points : ndarray, shape (n, 2)

        Returns
        -------
        ndarray, shape (n,)
        """
        cover = np.zeros(len(points))
        things: list[Blob | Carbon] = [*self.blobs]
        if self.carbon:
            things.append(self.carbon)
        for thing in things:
            cover = np.maximum(cover, thing.cover(points[:, 0], points[:, 1]))
        return cover

    def visible_particles(self, shape: tuple[int, int]) -> FloatArray:
        """Centres of the particles that lie in the micrograph and under no blob.

        Parameters
        ----------
        shape : (int, int)
            Rows and columns of the micrograph.

        Returns
        -------
        ndarray, shape (n, 2)
        """
        inside = np.all((self.particles >= 0) & (self.particles <= (shape[1] - 1, shape[0] - 1)), 1)
        return self.particles[inside & (self.junk_cover(self.particles) < 0.5)]


def place_particles(
    shape: tuple[int, int],
    diameter: float,
    carbon: Carbon | None,
    count: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Random centres in the hole, one diameter apart save for a few close pairs.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the micrograph; centres lie up to half a diameter
        beyond its border.
    diameter : float
        Pixels.
    carbon : Carbon or None
        Keeps particles half a diameter off.
    count : int
        Particles to try for; those without a place are left out.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (n, 2)
        x, y in pixels.
    """
    low = -diameter / 2
    high = np.array([shape[1], shape[0]]) + diameter / 2
    placed = np.empty((0, 2))
    for _ in range(count):
        least = diameter * (CLOSE_DISTANCE if rng.random() < CLOSE_PAIRS else 1.0)
        for _ in range(TRIES):
            point = rng.uniform(low, high)
            if least < diameter and len(placed):
                # Next to a particle that has its place already.
                angle = rng.uniform(0, 2 * np.pi)
                step = rng.uniform(least, diameter) * np.array([np.cos(angle), np.sin(angle)])
                point = placed[rng.integers(len(placed))] + step
            if carbon and carbon.depth(*point) > -diameter / 2:
                continue
            if len(placed) and np.hypot(*(placed - point).T).min() < least:
                continue
            placed = np.vstack([placed, point])
            break
    return placed


def random_scene(
    shape: tuple[int, int],
    pixel_size: float,
    diameter: float,
    with_carbon: bool,
    rng: np.random.Generator,
) -> Scene:
    """Draw a field of view.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    pixel_size : float
        Å.
    diameter : float
        Of the particles, Å.
    with_carbon : bool
        Whether the carbon film shows.
    rng : numpy.random.Generator

    Returns
    -------
    Scene
    """
    area = shape[0] * shape[1] * pixel_size**2 / DENSITY_AREA
    carbon = random_carbon(shape, pixel_size, rng) if with_carbon else None
    blobs = random_blobs(
        max(1, round(rng.integers(*BLOBS) * area)), shape, pixel_size, rng, BLOB_RANGES
    )
    size = diameter / pixel_size
    wide = (shape[0] + size) * (shape[1] + size) / (shape[0] * shape[1])
    hole = 1.0
    if carbon:
        y, x = np.mgrid[: shape[0] : 16, : shape[1] : 16]
        hole = float(np.mean(carbon.depth(x, y) < 0))
    count = round(rng.uniform(*DENSITY) * area * wide * hole)
    return Scene(place_particles(shape, size, carbon, count, rng), blobs, carbon)


def expose(
    scene: Scene,
    molecule: Molecule,
    ctf: Ctf,
    shape: tuple[int, int],
    pixel_size: float,
    rng: np.random.Generator,
) -> FloatImage:
    """Image of a scene, in counted electrons per pixel.

    The specimen is a weak phase object that absorbs a little: with the absorbed
    share left out, the intensity is ``1 - 2 F'[CTF F[phase]]`` (Kirkland,
    "Advanced Computing in Electron Microscopy", 2nd edition, 2010, section 3.1),
    with the sign of `apbc.preprocess.ctf.ctf_2d`, so that particles are dark.
    Electrons are counted one by one (Poisson).

    Parameters
    ----------
    scene : Scene
    molecule : Molecule
    ctf : Ctf
    shape : (int, int)
        Rows and columns.
    pixel_size : float
        Å.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape `shape`
        Electrons per pixel.
    """
    # A canvas wider than the micrograph, so that nothing wraps round into it.
    margin = round(molecule.diameter / pixel_size) + 16
    rows, columns = (int(scipy.fft.next_fast_len(n + 2 * margin, real=True)) for n in shape)
    canvas = (rows, columns)
    y, x = np.ogrid[-margin : rows - margin, -margin : columns - margin]

    # Thickness of the ice, 1 in the middle.
    slope = rng.uniform(0.1, 0.5)
    angle = rng.uniform(0, 2 * np.pi)
    thickness = 1 + slope * (
        np.cos(angle) * (x / shape[1] - 0.5) + np.sin(angle) * (y / shape[0] - 0.5)
    )
    thickness = np.maximum(thickness + 0.06 * grain(canvas, pixel_size, 2000.0, rng), 0.2)

    rotations = random_rotations(len(scene.particles), rng)
    phase = project(molecule, rotations, scene.particles + margin, canvas, pixel_size)
    phase += ICE_PHASE * np.sqrt(thickness) * grain(canvas, pixel_size, ICE_GRAIN, rng)
    absorption = ICE_ABSORPTION * thickness
    blob_grain = grain(canvas, pixel_size, BLOB_GRAIN, rng)
    for blob in scene.blobs:
        cover = blob.cover(x, y)
        # Thick ice hides what lies under it.
        phase += cover * (blob.texture * blob_grain + blob.absorption - phase)
        absorption += blob.absorption * cover
    if scene.carbon:
        cover = scene.carbon.cover(x, y)
        texture = grain(canvas, pixel_size, CARBON_GRAIN, rng)
        phase += cover * (CARBON_PHASE * texture + CARBON_STEP)
        absorption += CARBON_ABSORPTION * cover

    spectrum = contrast_spectrum(phase, pixel_size, ctf)
    spectrum *= envelope(canvas, pixel_size, ENVELOPE)
    contrast = scipy.fft.irfft2(spectrum, s=canvas)
    electrons = rng.uniform(*DOSE) * pixel_size**2
    expected = electrons * np.exp(-absorption) * (1 - 2 * contrast)
    inner = expected[margin : margin + shape[0], margin : margin + shape[1]]
    return rng.poisson(np.maximum(inner, 0)).astype(np.float32)


def good_examples(
    truth: FloatArray, diameter: float, share: float, rng: np.random.Generator
) -> FloatArray:
    """Incomplete choice of particles with inexact centres, as good 2-D classes give.

    Parameters
    ----------
    truth : ndarray, shape (n, 2)
        Pixels.
    diameter : float
        Pixels; centres are off by a standard deviation of 3 % of it.
    share : float
        Of the particles.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (m, 2)
    """
    chosen = rng.permutation(len(truth))[: max(1, round(share * len(truth)))]
    good: FloatArray = truth[np.sort(chosen)]
    return good + rng.normal(0, 0.03 * diameter, good.shape)


def bad_examples(
    scene: Scene,
    shape: tuple[int, int],
    diameter: float,
    count: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Places without a particle, as bad 2-D classes give: junk first, empty ice for the rest.

    Parameters
    ----------
    scene : Scene
    shape : (int, int)
        Rows and columns.
    diameter : float
        Pixels; no place is nearer to a particle that shows than 0.9 of it, nor to another
        place than half of it.
    count : int
        About six of ten lie on blobs and carbon, where there is room.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (m, 2)
        At most `count`, fewer in a crowded micrograph.
    """
    points = rng.uniform(0, (shape[1] - 1, shape[0] - 1), (40 * count, 2))
    seen = scene.particles[scene.junk_cover(scene.particles) < 0.9]
    if len(seen):
        points = points[cKDTree(seen).query(points)[0] > 0.9 * diameter]
    on_junk = scene.junk_cover(points) > 0.5
    if scene.carbon:
        # The film's inside looks like nothing a picker takes; its edge does.
        depth = scene.carbon.depth(*points.T)
        on_junk &= depth < 1.5 * diameter
        points = points[on_junk | (depth < -diameter / 2)]
        on_junk = scene.junk_cover(points) > 0.5
    junk = apart(points[on_junk], diameter / 2, round(0.6 * count))
    empty = apart(points[~on_junk], diameter / 2, count - len(junk))
    return np.concatenate([junk, empty])


def apart(points: FloatArray, distance: float, count: int) -> FloatArray:
    """First points of a list that keep a distance from one another.

    Parameters
    ----------
    points : ndarray, shape (n, 2)
    distance : float
    count : int
        Points wanted.

    Returns
    -------
    ndarray, shape (m, 2)
    """
    kept: list[FloatArray] = []
    for point in points:
        if len(kept) == count:
            break
        if all(np.hypot(*(point - other)) >= distance for other in kept):
            kept.append(point)
    return np.array(kept).reshape(-1, 2)
