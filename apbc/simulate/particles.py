"""Stacks of simulated particles of which everything is known.

An image is made in one pass: a slice of the volume's Fourier transform (a projection), cropped
to the box of the images; phases for the shift; CTF and envelope; one inverse transform; noise.
It is the chain of CryoBench (Jeon et al., NeurIPS 2024), whose images are made at the native box
and cropped at last: all but the noise is linear, and noise that is white before the crop is so
after it. Each image has random numbers of its own, so that the stack does not depend on the
number of threads, on the order of the work, or on an interruption.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from apbc import __version__
from apbc.errors import ApbcError
from apbc.io.files import atomic_path, plain, read_json, write_json
from apbc.io.volumes import Volume, write_volume
from apbc.preprocess.binning import fourier_resample_centred, workers
from apbc.progress import track
from apbc.simulate.ctf_sources import choose_ctfs, microscope_ctfs
from apbc.simulate.imaging import Camera, ImageModel
from apbc.simulate.junk import KINDS as JUNK_KINDS
from apbc.simulate.noise import (
    DEFINITIONS,
    REGIONS,
    Noise,
    image_generator,
    moments,
    variance,
    variances,
)
from apbc.simulate.optics import Optics
from apbc.simulate.particle_files import (
    CLEAN_STACK,
    STACK,
    STAR,
    TRUTH,
    Particles,
    StackFile,
    write_pickles,
    write_star,
    write_truth,
)
from apbc.simulate.slices import SliceProjector
from apbc.simulate.structures import Structure, molecule_mask
from apbc.simulate.views import disturb_angles, draw_angles, parse_views

FloatArray = npt.NDArray[np.float64]
FloatImage = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
R = TypeVar("R")

SUMMARY = "simulation.json"
VOLUMES = "volumes"
MASK = "mask.mrc"
PARTIAL = "partial"
STATE = "state.json"
STATISTICS = "statistics.npy"

MEASURED = 2000
"""Images from whose variance the noise is told; all where there are no more."""
MEASURED_OF_STRUCTURE = 200
BLOCK = 16
"""Images that a thread makes at a time."""
BLOCKS_A_THREAD = 2
SECONDS_BETWEEN_STATES = 5.0
MASK_MARGIN = 6.0
MASK_EDGE = 12.0
"""Å: how far the mask goes round the molecules, and the width of its soft edge."""
SMALLEST_BOX = 8
LARGEST_SEED = 2**63
WEAKEST = 0.1
"""Least factor of the signal, however its contrast varies."""
# Columns of the statistics of an image: moments of the signal and of the noise, and sigma.
CLEAN, NOISE, SIGMA = slice(0, 3), slice(3, 6), 6
COLUMNS = 7

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ParticleOptions:
    """What to simulate; lengths in Å, angles in degrees.

    Attributes
    ----------
    images : int
        Number of images, junk included.
    output_box : int or None
        Pixels; None for the box of the structures.
    snr : float
        At the native box, see `apbc.simulate.noise`; infinite for no noise.
    snr_definition, snr_region : str
        Keys of `DEFINITIONS` and `REGIONS`.
    noise_color : float
        The power of the noise is 1 / frequency to this exponent.
    envelope_b : float
        B factor, Å²: amplitudes fall by ``exp(-B s²/4)``.
    shift : float
        Largest shift along x and along y.
    ctf : bool
        Whether images have a CTF.
    ctf_file : Path or None
        CTFs to choose from; without it those of `optics`.
    ctf_replace : bool
        Whether to take CTFs of the file again where there are too few.
    optics : Optics
    pose_error, shift_error, defocus_error : float
        Standard deviation of what the files tell programs about the truth: of the angle of a
        turn about a random axis, of the shift along each axis, and of the defocus.
    contrast_variation : float
        Standard deviation of the factor of the signal, about 1.
    junk : float
        Share of the images, 0 to 1.
    views : str
        See `apbc.simulate.views.draw_angles`.
    contrast : str
        ``white`` protein on dark, as RELION has particles, or ``dark``, as CryoBench.
    legacy_shrink : bool
        Whether to shrink the object by (d - 1) / d at a native box d, as CryoBench's projector.
    clean : bool
        Whether to write the images without noise, too.
    seed : int
    """

    images: int
    output_box: int | None = None
    snr: float = 0.05
    snr_definition: str = "pooled"
    snr_region: str = "box"
    noise_color: float = 0.0
    envelope_b: float = 0.0
    shift: float = 10.0
    ctf: bool = True
    ctf_file: Path | None = None
    ctf_replace: bool = False
    optics: Optics = field(default_factory=Optics)
    pose_error: float = 0.0
    shift_error: float = 0.0
    defocus_error: float = 0.0
    contrast_variation: float = 0.0
    junk: float = 0.0
    views: str = "uniform"
    contrast: str = "white"
    legacy_shrink: bool = False
    clean: bool = False
    seed: int = 0


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


def simulate_particles(
    out: str | Path,
    structures: list[Structure],
    options: ParticleOptions,
    threads: int | None = None,
    restart: bool = False,
    block: int = BLOCK,
) -> dict[str, Any]:
    """Write a stack of simulated particles with all that is known of it.

    A run that was cut off goes on where it was when it is asked for the same.

    Parameters
    ----------
    out : str or Path
        Folder for the files that docs/architecture.md lists.
    structures : list of Structure
        On one grid; their classes count from 1.
    options : ParticleOptions
    threads : int, optional
        Default: the cores this process may use.
    restart : bool, optional
        Whether to throw away what another request has left in `out`.
    block : int, optional
        Images that a thread makes at a time; the result does not depend on it.

    Returns
    -------
    dict
        Contents of ``simulation.json``.

    Raises
    ------
    ApbcError
        If an option makes no sense, a structure cannot be used, there are too few CTFs, or the
        folder holds another simulation.
    """
    out = Path(out)
    native = structures[0].box_size
    _check(options, native)
    threads = threads or workers()
    if threads < 1:
        raise ApbcError(f"the threads must be 1 or more, not {threads}")
    request = _request(structures, options)
    if _is_finished(out, request, restart):
        logger.info("%s holds this simulation already", out)
        finished: dict[str, Any] = read_json(out / SUMMARY)
        return finished

    particles = draw_particles(options, [structure.weight for structure in structures])
    model = ImageModel(
        options.envelope_b,
        options.contrast == "dark",
        (native - 1) / native if options.legacy_shrink else 1.0,
        options.snr_region,
    )
    camera = Camera(structures, particles, model, options.output_box or native)
    same = camera.box == native
    native_camera = camera if same else Camera(structures, particles, model, native)
    _write_volumes(out, structures, camera, options.shift)
    with ThreadPoolExecutor(threads) as pool:
        crew = Crew(pool, threads, block)
        measurement = _measure(native_camera, particles, options, len(structures), crew)
        stack = _Stack(out / PARTIAL, request, camera, native_camera, particles, options, restart)
        statistics = stack.make(measurement, crew)
    write_star(
        out / STAR,
        particles,
        camera.pixel_size,
        camera.box,
        (options.optics.voltage, options.optics.cs, options.optics.amplitude_contrast),
    )
    names = [structure.name for structure in structures]
    write_truth(out / TRUTH, particles, names, statistics[:, SIGMA] * camera.box / native)
    write_pickles(out, particles, camera.pixel_size, camera.box)
    stack.publish(out)
    summary = _summary(request, structures, particles, camera, native_camera, options)
    summary["snr"] = _achieved(options, particles, camera, native_camera, measurement, statistics)
    write_json(out / SUMMARY, summary)
    shutil.rmtree(out / PARTIAL)
    _tell(summary, out)
    return summary


def draw_particles(options: ParticleOptions, weights: list[float]) -> Particles:
    """Draw what the images show, and what programs are told of it.

    Parameters
    ----------
    options : ParticleOptions
    weights : list of float
        Of the structures; their numbers of images are in this ratio, to one image.

    Returns
    -------
    Particles

    Raises
    ------
    ApbcError
        If there are too few CTFs.
    """
    n = options.images
    # A generator a purpose, so that an option changes nothing but what it is for.
    purposes = np.random.SeedSequence(options.seed).spawn(8)
    order, poses, moves, lens, strength, told, kinds, split = map(np.random.default_rng, purposes)

    junk_count = round(options.junk * n)
    sources = np.concatenate(
        [_shared_out(n - junk_count, weights), _shared_out(junk_count, weights)]
    )
    is_junk = np.arange(n) >= n - junk_count
    junk = np.full(n, "", dtype=f"U{max(map(len, JUNK_KINDS))}")
    # Kinds of junk take turns among the images of one structure.
    turn = kinds.permutation(junk_count)
    junk[is_junk] = np.array(JUNK_KINDS)[turn % len(JUNK_KINDS)]
    shuffled = order.permutation(n)
    sources, junk, is_junk = sources[shuffled], junk[shuffled], is_junk[shuffled]

    angles = draw_angles(n, options.views, poses)
    shifts = moves.uniform(-1, 1, (n, 2)) * options.shift
    ctfs = told_ctfs = None
    if options.ctf:
        if options.ctf_file is None:
            ctfs = microscope_ctfs(n, options.optics, lens)
        else:
            ctfs = choose_ctfs(options.ctf_file, n, options.ctf_replace, lens)
        told_ctfs = ctfs.copy()
        told_ctfs[:, :2] += told.normal(0, 1, (n, 1)) * options.defocus_error
    contrast = np.maximum(1 + options.contrast_variation * strength.standard_normal(n), WEAKEST)
    return Particles(
        classes=np.where(is_junk, 0, sources),
        sources=sources,
        angles=angles,
        told_angles=disturb_angles(angles, options.pose_error, told),
        shifts=shifts,
        told_shifts=shifts + told.normal(0, 1, (n, 2)) * options.shift_error,
        ctfs=ctfs,
        told_ctfs=told_ctfs,
        contrast=contrast,
        junk=junk,
        halves=split.permutation(np.arange(n) % 2) + 1,
    )


def _shared_out(count: int, weights: list[float]) -> IntArray:
    """Numbers of structures, each as often as its weight says (largest remainders)."""
    exact = count * np.array(weights) / sum(weights)
    counts = np.floor(exact).astype(int)
    largest = np.argsort(counts - exact, kind="stable")
    counts[largest[: count - counts.sum()]] += 1
    return np.repeat(np.arange(1, len(weights) + 1), counts)


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


def _measure(
    camera: Camera, particles: Particles, options: ParticleOptions, structures: int, crew: Crew
) -> Measurement:
    """Measure the signal of some images at the native box."""
    nothing = np.full(structures + 1, np.nan)
    if np.isinf(options.snr):
        return Measurement(0, nothing, np.zeros(structures + 1))
    chosen = _to_measure(particles, options.snr_definition == "structure")
    sums = np.zeros((len(chosen), 3))
    place = np.zeros(len(particles), np.int64)
    place[chosen] = np.arange(len(chosen))

    def done() -> Iterator[None]:
        for source in np.unique(particles.sources[chosen]):
            projector = camera.projector(int(source))

            def work(images: IntArray, projector: SliceProjector = projector) -> FloatArray:
                return np.array([_signal(camera, projector, int(n), options.seed) for n in images])

            for images, found in crew.map(work, chosen[particles.sources[chosen] == source]):
                sums[place[images]] = found
                yield from (None for _ in images)

    for _ in track(done(), len(chosen), "images measured"):
        pass
    signal = nothing.copy()
    signal[0] = variance(sums)
    for source in np.unique(particles.sources[chosen]):
        signal[source] = variance(sums[particles.sources[chosen] == source])
    if not signal[0] > 0:
        raise ApbcError("the images show nothing: the structures are empty; give others")
    return Measurement(len(chosen), signal, np.sqrt(signal / options.snr))


def _to_measure(particles: Particles, by_structure: bool) -> IntArray:
    """Choose images to measure, evenly among those that show a particle."""
    shown = np.flatnonzero(particles.classes > 0)
    if not by_structure:
        return _evenly(shown, MEASURED)
    kinds = np.unique(particles.classes[shown])
    each = max(MEASURED_OF_STRUCTURE, MEASURED // len(kinds))
    chosen = [_evenly(shown[particles.classes[shown] == kind], each) for kind in kinds]
    return np.sort(np.concatenate(chosen))


def _evenly(values: IntArray, most: int) -> IntArray:
    if len(values) <= most:
        return values
    return values[np.linspace(0, len(values) - 1, most).astype(int)]


def _signal(camera: Camera, projector: SliceProjector, n: int, seed: int) -> tuple[float, ...]:
    return moments(*camera.image(projector, n, image_generator(seed, n)))


class _Stack:
    """The images on their way to the disk; a run that was cut off is taken up again.

    Images are made structure by structure, and written to their places in the stack. The
    folder `folder` holds the stack, the statistics of its images, and how far it is.
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
        self._noise = Noise(camera.box, native_camera.box, options.noise_color)
        self._order = np.argsort(particles.sources, kind="stable")
        self._done = self._take_up(restart)

    def make(self, measurement: Measurement, crew: Crew) -> FloatArray:
        """Make all images that are not there yet; returns statistics (n, `COLUMNS`)."""
        n, box = len(self._particles), self._camera.box
        started = self._done > 0
        path = self._folder / STATISTICS
        if not started:
            with atomic_path(path) as temporary:
                np.lib.format.open_memmap(temporary, "w+", np.float64, (n, COLUMNS)).flush()
        statistics = np.lib.format.open_memmap(path, "r+")
        if self._done < n:
            names = [STACK, CLEAN_STACK] if self._options.clean else [STACK]
            stacks = [
                StackFile(self._folder / name, n, box, self._camera.pixel_size, started)
                for name in names
            ]
            try:
                left = self._left(measurement, crew, stacks, statistics)
                for _ in track(left, n - self._done, "images"):
                    pass
                self._save(stacks, statistics)
            finally:
                for stack in stacks:
                    stack.close()
        return np.array(statistics)

    def publish(self, out: Path) -> None:
        """Move the stacks to their final place."""
        for name in (STACK, CLEAN_STACK):
            if (self._folder / name).exists():
                os.replace(self._folder / name, out / name)

    def _left(
        self,
        measurement: Measurement,
        crew: Crew,
        stacks: list[StackFile],
        statistics: FloatArray,
    ) -> Iterator[None]:
        """Make and write what is left, and yield for each image."""
        todo = self._order[self._done :]
        saved = time.monotonic()
        for source in np.unique(self._particles.sources[todo]):
            work = self._worker(int(source), measurement)
            for images, made in crew.map(work, todo[self._particles.sources[todo] == source]):
                for n, (pixels, clean, numbers) in zip(images.tolist(), made, strict=True):
                    for stack, picture in zip(stacks, (pixels, clean), strict=False):
                        stack.write(n, picture)
                    statistics[n] = numbers
                self._done += len(images)
                if time.monotonic() - saved > SECONDS_BETWEEN_STATES:
                    self._save(stacks, statistics)
                    saved = time.monotonic()
                yield from (None for _ in images)

    def _worker(
        self, source: int, measurement: Measurement
    ) -> Callable[[IntArray], list[tuple[FloatImage, FloatImage, list[float]]]]:
        projector = self._camera.projector(source)
        by_image = self._options.snr_definition == "image" and np.isfinite(self._options.snr)
        native = self._native.projector(source) if by_image else None
        seed, kinds = self._options.seed, self._particles.classes
        sigma = measurement.sigma[source if self._options.snr_definition == "structure" else 0]

        def one(n: int) -> tuple[FloatImage, FloatImage, list[float]]:
            own = float(sigma)
            if native is not None and kinds[n] > 0:
                sums = np.array([_signal(self._native, native, n, seed)])
                own = float(np.sqrt(variance(sums) / self._options.snr))
            rng = image_generator(seed, n)
            clean, region = self._camera.image(projector, n, rng)
            noise = self._noise.draw(own, rng)
            return clean + noise, clean, [*moments(clean, region), *moments(noise, None), own]

        return lambda images: [one(int(n)) for n in images]

    def _take_up(self, restart: bool) -> int:
        """Images that are there already; makes the folder where there are none."""
        state = self._folder / STATE
        if state.is_file():
            found = read_json(state)
            differing = _differing(found["request"], self._request)
            if not differing:
                logger.info("going on after %d images", found["done"])
                return int(found["done"])
            if not restart:
                raise ApbcError(
                    f"{self._folder} holds an unfinished simulation with another "
                    f"{differing[0]}; give --restart to throw it away, or another --out"
                )
        shutil.rmtree(self._folder, ignore_errors=True)
        write_json(state, {"request": self._request, "done": 0})
        return 0

    def _save(self, stacks: Iterable[StackFile], statistics: FloatArray) -> None:
        for stack in stacks:
            stack.sync()
        if isinstance(statistics, np.memmap):
            statistics.flush()
        write_json(self._folder / STATE, {"request": self._request, "done": self._done})


def _check(options: ParticleOptions, native: int) -> None:
    """Refuse options that make no sense."""
    if options.images < 1:
        raise ApbcError(f"the number of images must be 1 or more, not {options.images}")
    if not options.snr > 0:
        raise ApbcError(
            f"the signal-to-noise ratio must be above 0, not {options.snr:g}; for images without "
            "noise give inf"
        )
    box = options.output_box
    if box is not None and not SMALLEST_BOX <= box <= native:
        raise ApbcError(
            f"the output box must be from {SMALLEST_BOX} pixels to the {native} of the "
            f"structures, not {box}"
        )
    for name in (
        "envelope_b",
        "shift",
        "pose_error",
        "shift_error",
        "defocus_error",
        "contrast_variation",
    ):
        value = getattr(options, name)
        if not 0 <= value < np.inf:
            raise ApbcError(f"the {name.replace('_', ' ')} must not be below 0, as {value:g} is")
    if not np.isfinite(options.noise_color):
        raise ApbcError(f"the colour of the noise must be a number, not {options.noise_color}")
    if not 0 <= options.junk < 1 or round(options.junk * options.images) == options.images:
        raise ApbcError(
            f"a share of junk of {options.junk:g} leaves no particles; give one from 0 to below 1"
        )
    if not 0 <= options.seed < LARGEST_SEED:
        raise ApbcError(f"the seed must be from 0 to {LARGEST_SEED - 1}, not {options.seed}")
    least, most = options.optics.defocus
    if not (np.isfinite([least, most]).all() and least <= most):
        raise ApbcError(
            f"the defocus must go from a smaller to a larger value, not {least:g} {most:g}"
        )
    if not options.optics.astigmatism >= 0:
        raise ApbcError("the astigmatism must not be below 0")
    if not (options.optics.voltage > 0 and 0 <= options.optics.amplitude_contrast < 1):
        raise ApbcError("the voltage must be above 0, and the amplitude contrast from 0 to below 1")
    parse_views(options.views)


def _request(structures: list[Structure], options: ParticleOptions) -> dict[str, Any]:
    """All that decides the result, as JSON keeps it."""
    kept = asdict(options)
    if np.isinf(options.snr):
        kept["snr"] = "inf"
    kept["output_box"] = options.output_box or structures[0].box_size
    kept["ctf_file"] = _stamp(options.ctf_file)
    kept["apbc_version"] = __version__
    kept["structures"] = [
        {
            "name": structure.name,
            "file": _stamp(structure.file),
            "weight": structure.weight,
            "symmetry": structure.symmetry,
            "pixel_size": structure.pixel_size,
            "box_size": structure.box_size,
            **structure.made_from,
        }
        for structure in structures
    ]
    request: dict[str, Any] = plain(kept)
    return request


def _stamp(path: Path | None) -> list[Any] | None:
    """Path, size and time of a file, which tell whether it is the same later."""
    if path is None:
        return None
    if not path.is_file():
        raise ApbcError(f"there is no file {path}; check the path")
    status = path.stat()
    return [str(path.absolute()), status.st_size, status.st_mtime_ns]


def _differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    keys = [*other, *(key for key in one if key not in other)]
    return [key.replace("_", " ") for key in keys if one.get(key) != other.get(key)]


def _is_finished(out: Path, request: dict[str, Any], restart: bool) -> bool:
    """Whether the folder holds this simulation; another one is refused, or undone on `restart`."""
    path = out / SUMMARY
    if not path.is_file():
        return False
    found = read_json(path)
    differing = _differing(found.get("parameters", {}), request)
    if not differing and (out / STACK).is_file():
        return True
    if differing and not restart:
        raise ApbcError(
            f"{out} holds a simulation with another {differing[0]}; give --restart to replace it, "
            "or another --out"
        )
    path.unlink()
    for structure in found.get("structures", []):
        (out / structure["volume"]).unlink(missing_ok=True)
    return False


def _write_volumes(
    out: Path, structures: list[Structure], camera: Camera, largest_shift: float
) -> None:
    """Write the true volumes at the box of the images, and a soft mask round all of them."""
    union = np.zeros((camera.box,) * 3, bool)
    length = camera.box * camera.pixel_size
    for structure in track(structures, len(structures), "structures"):
        data = fourier_resample_centred(structure.volume.data, camera.box, 3)
        write_volume(out / _volume_path(structure), data, camera.pixel_size)
        union |= molecule_mask(Volume(data, camera.pixel_size, structure.name))
        if structure.diameter / 2 + largest_shift > length / 2:
            logger.warning(
                "%s is %.0f Å across and shifted by up to %g Å in a box of %.0f Å: what leaves "
                "the box on one side comes back on the other; take a larger box or smaller shifts",
                structure.name,
                structure.diameter,
                largest_shift,
                length,
            )
        structure.release()
    away = distance_transform_edt(~union) * camera.pixel_size - MASK_MARGIN
    soft = 0.5 + 0.5 * np.cos(np.pi * np.clip(away / MASK_EDGE, 0, 1))
    write_volume(out / MASK, soft, camera.pixel_size)


def _volume_path(structure: Structure) -> str:
    return f"{VOLUMES}/{structure.name}.mrc"


def _summary(
    request: dict[str, Any],
    structures: list[Structure],
    particles: Particles,
    camera: Camera,
    native_camera: Camera,
    options: ParticleOptions,
) -> dict[str, Any]:
    """Contents of simulation.json but for the noise."""
    kinds, counts = np.unique(particles.junk[particles.junk != ""], return_counts=True)
    return {
        "kind": "particles",
        "apbc_version": __version__,
        "images": options.images,
        "seed": options.seed,
        "pixel_size": camera.pixel_size,
        "box_size": camera.box,
        "native_pixel_size": native_camera.pixel_size,
        "native_box_size": native_camera.box,
        "structures": [
            {
                "class": number,
                "name": structure.name,
                "file": structure.file and str(structure.file.absolute()),
                "volume": _volume_path(structure),
                "weight": structure.weight,
                "symmetry": structure.symmetry,
                "diameter": round(structure.diameter, 1),
                "images": int((particles.classes == number).sum()),
            }
            for number, structure in enumerate(structures, 1)
        ],
        "junk": dict(zip(kinds.tolist(), counts.tolist(), strict=True)),
        "parameters": request,
    }


def _achieved(
    options: ParticleOptions,
    particles: Particles,
    camera: Camera,
    native_camera: Camera,
    measurement: Measurement,
    statistics: FloatArray,
) -> dict[str, Any]:
    """Tell what was asked of the noise, and what came of it at both boxes."""
    shown = particles.classes > 0
    clean, noise, sigma = (statistics[shown, part] for part in (CLEAN, NOISE, SIGMA))
    groups = {
        "pooled": np.zeros(len(clean), np.int64),
        "structure": particles.classes[shown],
        "image": np.arange(len(clean)),
    }[options.snr_definition]
    ratio = native_ratio = None
    if np.isfinite(options.snr):
        drawn = variances(noise, groups)
        ratio = float(np.mean(variances(clean, groups) / drawn))
        native_ratio = ratio
        if native_camera.box != camera.box:
            # The native signal is what the noise was told from; the native noise is that of the
            # images, of whose variance the crop has kept a known share.
            asked = np.bincount(groups, sigma**2) / np.maximum(np.bincount(groups), 1)
            share = Noise(camera.box, native_camera.box, options.noise_color).kept
            native_ratio = float(np.mean(options.snr * asked[asked > 0] * share / drawn))
    return {
        "requested": "inf" if np.isinf(options.snr) else options.snr,
        "meaning": "var(clean) / sigma**2 at the native box; clean: with CTF, without noise",
        "definition": options.snr_definition,
        "definition_meaning": DEFINITIONS[options.snr_definition],
        "region": options.snr_region,
        "region_meaning": REGIONS[options.snr_region],
        "images_measured": measurement.images,
        "native": {
            "box_size": native_camera.box,
            "signal_variance": measurement.signal[0],
            "sigma": measurement.sigma[0],
            "sigma_of_structures": measurement.sigma[1:],
            "achieved": native_ratio,
        },
        "output": {
            "box_size": camera.box,
            "signal_variance": variance(clean),
            "sigma": float(np.sqrt(variance(noise))),
            "achieved": ratio,
        },
    }


def _tell(summary: dict[str, Any], out: Path) -> None:
    logger.info("wrote %d images of %d pixels to %s", summary["images"], summary["box_size"], out)
    snr = summary["snr"]
    if snr["output"]["achieved"] is not None:
        logger.info(
            "signal-to-noise ratio %.4g at the native box of %d pixels (asked: %g, %s), %.4g in "
            "the images; sigma %.4g and %.4g",
            snr["native"]["achieved"],
            snr["native"]["box_size"],
            snr["requested"],
            snr["definition"],
            snr["output"]["achieved"],
            snr["native"]["sigma"],
            snr["output"]["sigma"],
        )
