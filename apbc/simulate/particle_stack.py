"""Making the images of a stack and writing them, so that a run that was cut off goes on."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.io.files import atomic_path, read_json, write_json
from apbc.progress import track
from apbc.simulate.imaging import Camera
from apbc.simulate.noise import Noise, image_generator, moments, variance
from apbc.simulate.particle_files import CLEAN_STACK, STACK, Particles, StackFile
from apbc.simulate.particle_plan import ParticleOptions
from apbc.simulate.slices import SliceProjector

FloatArray = npt.NDArray[np.float64]
FloatImage = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
R = TypeVar("R")

STATE = "state.json"
STATISTICS = "statistics.npy"
BLOCKS_A_THREAD = 2
SECONDS_BETWEEN_STATES = 5.0
# Columns of the statistics of an image: moments of the signal and of the noise, and sigma.
CLEAN, NOISE, SIGMA = slice(0, 3), slice(3, 6), 6
COLUMNS = 7

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measurement:
    """The signal at the native box, and the noise that it asks for.

    Attributes
    ----------
    images : int
        How many were measured.
    signal : ndarray, shape (structures + 1,)
        Variance of the images of each structure; of all images at place 0. NaN where none was
        measured.
    sigma : ndarray, shape (structures + 1,)
        Standard deviation of the noise, at the same places.
    """

    images: int
    signal: FloatArray
    sigma: FloatArray


class Crew:
    """Threads that work on blocks of images.

    Parameters
    ----------
    pool : Executor
    threads, block : int
        How many threads, and how many images a block has.
    """

    def __init__(self, pool: Executor, threads: int, block: int) -> None:
        self._pool = pool
        self._window = threads * BLOCKS_A_THREAD
        self._block = block

    def map(self, work: Callable[[IntArray], R], images: IntArray) -> Iterator[tuple[IntArray, R]]:
        """Yield blocks of images, in order, with what was made of them.

        Only a few blocks are under way at a time, so that memory does not grow.
        """
        blocks = (images[i : i + self._block] for i in range(0, len(images), self._block))
        while window := list(islice(blocks, self._window)):
            yield from zip(window, self._pool.map(work, window), strict=True)


def signal_moments(
    camera: Camera, projector: SliceProjector, n: int, seed: int
) -> tuple[float, ...]:
    """Count, sum and sum of squares of the pixels of an image where its signal is measured.

    Parameters
    ----------
    camera : Camera
    projector : SliceProjector
        Of the structure that the image is made of.
    n : int
        Number of the image, from 0.
    seed : int

    Returns
    -------
    (float, float, float)
    """
    return moments(*camera.image(projector, n, image_generator(seed, n)))


class PartialStack:
    """The images on their way to the disk.

    Images are made structure by structure, and written to their places in the stack. A folder
    holds the stack, the statistics of its images, and how far it is; a run of the same request
    goes on from there.

    Parameters
    ----------
    folder : Path
        Made when the first image is.
    request : dict
        All that decides the result, as JSON keeps it.
    camera, native_camera : Camera
        For the images, and for the signal at the native box; they may be one.
    particles : Particles
    options : ParticleOptions
    restart : bool
        Whether to throw away what another request has left in the folder.

    Raises
    ------
    ApbcError
        If the folder holds images of another request.
    """

    def __init__(
        self,
        folder: Path,
        request: dict[str, Any],
        camera: Camera,
        native_camera: Camera,
        particles: Particles,
        options: ParticleOptions,
        restart: bool,
    ) -> None:
        self._folder = folder
        self._request = request
        self._camera = camera
        self._native = native_camera
        self._particles = particles
        self._options = options
        self._names = [STACK, CLEAN_STACK] if options.clean else [STACK]
        self._noise = Noise(camera.box, native_camera.box, options.noise_color)
        # Images of one structure after another.
        self._order = np.argsort(particles.sources, kind="stable")
        self._done = self._find_done(restart)

    def make(self, measurement: Measurement, crew: Crew) -> FloatArray:
        """Make all images that are not there yet.

        Parameters
        ----------
        measurement : Measurement
        crew : Crew

        Returns
        -------
        ndarray, shape (n, 7)
            Statistics of all images, before they are normalised: `CLEAN`, `NOISE` and `SIGMA`.

        Raises
        ------
        ApbcError
            If the disk is full.
        """
        n, started = len(self._particles), self._done > 0
        scale = np.float32(image_scale(measurement, self._noise, self._options))
        if not started:
            self._begin()
        statistics = np.lib.format.open_memmap(self._folder / STATISTICS, "r+")
        if self._done < n:
            stacks = [
                StackFile(
                    self._folder / name, n, self._camera.box, self._camera.pixel_size, started
                )
                for name in self._names
            ]
            try:
                made = self._make_rest(measurement, crew, stacks, statistics, scale)
                for _ in track(made, n - self._done, "images"):
                    pass
                self._save(stacks, statistics)
            finally:
                for stack in stacks:
                    stack.close()
        return np.array(statistics)

    def publish(self, out: Path) -> None:
        """Move the finished stacks to a folder.

        Parameters
        ----------
        out : Path
        """
        for name in self._names:
            if (self._folder / name).exists():
                os.replace(self._folder / name, out / name)

    def remove(self) -> None:
        """Remove the folder, which is not needed any more."""
        shutil.rmtree(self._folder)

    def _find_done(self, restart: bool) -> int:
        """Count the images that are there already."""
        state = self._folder / STATE
        if not state.is_file():
            return 0
        found = read_json(state)
        differing = differences(found["request"], self._request)
        if differing and found["done"] and not restart:
            raise ApbcError(
                f"{self._folder} holds an unfinished simulation that differs in {differing[0]}; "
                "give --restart to throw it away, or another --out"
            )
        # Stacks that were finished may lie in their final place.
        places = (self._folder, self._folder.parent)
        there = all(any((place / name).is_file() for place in places) for name in self._names)
        if differing or not there:
            return 0
        logger.info("going on after %d images", found["done"])
        return int(found["done"])

    def _begin(self) -> None:
        n, box = len(self._particles), self._camera.box
        if (self._folder / STATE).is_file():
            shutil.rmtree(self._folder)
        write_json(self._folder / STATE, {"request": self._request, "done": 0})
        needed = len(self._names) * 4 * n * box**2
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise ApbcError(
                f"{n} images of {box} pixels take {needed / 1e9:.1f} GB and {self._folder.parent} "
                f"has {free / 1e9:.1f} GB left; free some space or ask for fewer"
            )
        with atomic_path(self._folder / STATISTICS) as temporary:
            np.save(temporary, np.zeros((n, COLUMNS)))

    def _make_rest(
        self,
        measurement: Measurement,
        crew: Crew,
        stacks: list[StackFile],
        statistics: FloatArray,
        scale: np.float32,
    ) -> Iterator[None]:
        """Make and write what is left, and yield for each image."""
        todo = self._order[self._done :]
        sources = self._particles.sources[todo]
        saved = time.monotonic()
        for source in np.unique(sources):
            work = self._worker(int(source), measurement)
            for images, made in crew.map(work, todo[sources == source]):
                for n, (pixels, clean, numbers) in zip(images.tolist(), made, strict=True):
                    stacks[0].write(n, pixels * scale)
                    if self._options.clean:
                        stacks[1].write(n, clean * scale)
                    statistics[n] = numbers
                self._done += len(images)
                if time.monotonic() - saved > SECONDS_BETWEEN_STATES:
                    self._save(stacks, statistics)
                    saved = time.monotonic()
                yield from (None for _ in images)

    def _worker(
        self, source: int, measurement: Measurement
    ) -> Callable[[IntArray], list[tuple[FloatImage, FloatImage, list[float]]]]:
        """Give the function that makes images of a structure: noisy, clean, statistics."""
        projector = self._camera.projector(source)
        by_image = self._options.snr_definition == "image" and np.isfinite(self._options.snr)
        native = self._native.projector(source) if by_image else None
        seed, classes = self._options.seed, self._particles.classes
        sigma = measurement.sigma[source if self._options.snr_definition == "structure" else 0]

        def one(n: int) -> tuple[FloatImage, FloatImage, list[float]]:
            own = float(sigma)
            if native is not None and classes[n] > 0:
                sums = np.array([signal_moments(self._native, native, n, seed)])
                own = float(np.sqrt(variance(sums) / self._options.snr))
            rng = image_generator(seed, n)
            clean, region = self._camera.image(projector, n, rng)
            noise = self._noise.draw(own, rng)
            return clean + noise, clean, [*moments(clean, region), *moments(noise, None), own]

        return lambda images: [one(int(n)) for n in images]

    def _save(self, stacks: list[StackFile], statistics: npt.NDArray) -> None:
        for stack in stacks:
            stack.sync()
        if isinstance(statistics, np.memmap):
            statistics.flush()
        write_json(self._folder / STATE, {"request": self._request, "done": self._done})


def image_scale(measurement: Measurement, noise: Noise, options: ParticleOptions) -> float:
    """Give the number with which all images are multiplied.

    Relion expects noise with a standard deviation of 1. One number for all images keeps their
    grey values comparable.

    Parameters
    ----------
    measurement : Measurement
    noise : Noise
        Of the images.
    options : ParticleOptions

    Returns
    -------
    float
        1 for images without noise, and where `options` do not ask for it.
    """
    sigma = float(measurement.sigma[0] * np.sqrt(noise.kept))
    return 1 / sigma if options.normalise and sigma > 0 else 1.0


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names, in plain words, of what two requests do not share.

    Parameters
    ----------
    one, other : dict

    Returns
    -------
    list of str
    """
    keys = [*other, *(key for key in one if key not in other)]
    return [key.replace("_", " ") for key in keys if one.get(key) != other.get(key)]
