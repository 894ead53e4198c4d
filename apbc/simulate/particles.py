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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from apbc import __version__
from apbc.errors import ApbcError
from apbc.io.files import plain, read_json, write_json
from apbc.io.volumes import Volume, write_volume
from apbc.preprocess.binning import fourier_resample_centred
from apbc.progress import track
from apbc.simulate.imaging import Camera, ImageModel
from apbc.simulate.noise import DEFINITIONS, REGIONS, Noise, variance, variances
from apbc.simulate.particle_files import (
    STACK,
    STAR,
    TRUTH,
    Particles,
    write_pickles,
    write_star,
    write_truth,
)
from apbc.simulate.particle_plan import ParticleOptions, check_options, draw_particles
from apbc.simulate.particle_stack import (
    CLEAN,
    NOISE,
    SIGMA,
    Crew,
    Measurement,
    PartialStack,
    differences,
    image_scale,
    signal_moments,
)
from apbc.simulate.slices import SliceProjector
from apbc.simulate.structures import Structure, molecule_mask
from apbc.system.cores import workers

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolVolume = npt.NDArray[np.bool_]

SUMMARY = "simulation.json"
VOLUMES = "volumes"
MASK = "mask.mrc"
PARTIAL = "particles.partial"

MEASURED = 2000
"""Images from whose variance the noise is told; all where there are no more."""
MEASURED_OF_STRUCTURE = 200
BLOCK = 16
"""Images that a thread makes at a time."""
WEAK = 30.0
"""Times the variance of the signal of one structure may be that of another without a warning."""
MASK_MARGIN = 6.0
MASK_EDGE = 12.0
"""Å: how far the mask goes round the molecules, and the width of its soft edge."""

logger = logging.getLogger(__name__)


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
        Folder for ``particles.mrcs``, ``particles.star``, ``truth.csv``, ``ctf.pkl``,
        ``poses.pkl``, ``gt_latents.pkl``, ``volumes/``, ``mask.mrc``, ``simulation.json`` and, if
        asked for, ``particles_clean.mrcs``.
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
    check_options(options, native)
    threads = workers() if threads is None else threads
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
    stack = PartialStack(out / PARTIAL, request, camera, native_camera, particles, options, restart)
    with ThreadPoolExecutor(threads) as pool:
        crew = Crew(pool, threads, block)
        measurement = _prepare(out, structures, camera, native_camera, particles, options, crew)
        statistics = stack.make(measurement, crew)
    write_star(
        out / STAR,
        particles,
        camera.pixel_size,
        camera.box,
        (options.optics.voltage, options.optics.cs, options.optics.amplitude_contrast),
    )
    names = [structure.name for structure in structures]
    noise = Noise(camera.box, native, options.noise_color)
    scale = image_scale(measurement, noise, options)
    sigmas = statistics[:, SIGMA] * np.sqrt(noise.kept) * scale
    write_truth(out / TRUTH, particles, names, sigmas)
    write_pickles(out, particles, camera.pixel_size, camera.box)
    stack.publish(out)
    summary = _summary(request, structures, particles, camera, native_camera, options)
    # Of a cropped box: the sums of the native volume have more voxels along the beam.
    summary["image_scale"] = scale * native / camera.box
    summary["snr"] = _achieved(options, particles, camera, native_camera, measurement, statistics)
    write_json(out / SUMMARY, summary)
    stack.remove()
    _tell(summary, out)
    return summary


def _prepare(
    out: Path,
    structures: list[Structure],
    camera: Camera,
    native_camera: Camera,
    particles: Particles,
    options: ParticleOptions,
    crew: Crew,
) -> Measurement:
    """Write the true volumes and the mask, and measure the signal at the native box.

    Both are done for one structure after another, so that each is read or made once.
    """
    chosen = np.zeros(0, np.int64)
    if np.isfinite(options.snr):
        chosen = _to_measure(particles, options.snr_definition == "structure")
    sources = particles.sources[chosen]
    sums = np.zeros((len(chosen), 3))
    union = np.zeros((camera.box,) * 3, bool)
    for number, structure in enumerate(track(structures, len(structures), "structures"), 1):
        union |= _write_volume(out, structure, camera, options.shift)
        images = chosen[sources == number]
        if len(images):
            projector = native_camera.projector(number)

            def work(block: IntArray, projector: SliceProjector = projector) -> FloatArray:
                signals = [
                    signal_moments(native_camera, projector, int(n), options.seed) for n in block
                ]
                return np.array(signals)

            sums[sources == number] = np.concatenate([found for _, found in crew.map(work, images)])
        structure.release()
    _write_mask(out / MASK, union, camera.pixel_size)
    signal = np.full(len(structures) + 1, np.nan)
    if not len(chosen):
        return Measurement(0, signal, np.zeros(len(structures) + 1))
    signal[0] = variance(sums)
    for number in np.unique(sources):
        signal[number] = variance(sums[sources == number])
    if not signal[0] > 0:
        raise ApbcError("the images show nothing: the structures are empty; give others")
    if options.snr_definition == "pooled":
        _warn_of_weak(structures, signal[1:])
    sigma = np.sqrt(signal / options.snr)
    # Junk may be made of a structure of which no particle is seen.
    return Measurement(len(chosen), signal, np.where(np.isnan(sigma), sigma[0], sigma))


def _warn_of_weak(structures: list[Structure], signal: FloatArray) -> None:
    """Tell of structures that drown in noise which is told from others."""
    if np.nanmin(signal) * WEAK >= np.nanmax(signal):
        return
    weak, strong = structures[int(np.nanargmin(signal))], structures[int(np.nanargmax(signal))]
    logger.warning(
        "the signal of %s has %.2g times the variance of that of %s, and both get the same noise; "
        "give --snr-definition structure, or bring the maps to one scale, if that is not meant",
        weak.name,
        np.nanmin(signal) / np.nanmax(signal),
        strong.name,
    )


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


def _write_volume(
    out: Path, structure: Structure, camera: Camera, largest_shift: float
) -> BoolVolume:
    """Write the true volume at the box of the images, and return the outline of the molecule."""
    data = fourier_resample_centred(structure.volume.data, camera.box, 3)
    write_volume(out / _volume_path(structure), data, camera.pixel_size)
    length = camera.box * camera.pixel_size
    if structure.diameter / 2 + largest_shift > length / 2:
        logger.warning(
            "%s is %.0f Å across and shifted by up to %g Å in a box of %.0f Å: what leaves the box "
            "on one side comes back on the other; take a larger box or smaller shifts",
            structure.name,
            structure.diameter,
            largest_shift,
            length,
        )
    return molecule_mask(Volume(data, camera.pixel_size, structure.name))


def _write_mask(path: Path, union: BoolVolume, pixel_size: float) -> None:
    """Write a mask with a soft edge, some Å round the molecules."""
    away = distance_transform_edt(~union) * pixel_size - MASK_MARGIN
    soft = 0.5 + 0.5 * np.cos(np.pi * np.clip(away / MASK_EDGE, 0, 1))
    write_volume(path, soft, pixel_size)


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


def _is_finished(out: Path, request: dict[str, Any], restart: bool) -> bool:
    """Whether the folder holds this simulation; another one is refused, or undone on `restart`."""
    path = out / SUMMARY
    if not path.is_file():
        return False
    found = read_json(path)
    if found.get("kind") != "particles":
        raise ApbcError(f"{out} holds another kind of simulation; give another --out")
    differing = differences(found["parameters"], request)
    if not differing and (out / STACK).is_file():
        return True
    if differing and not restart:
        raise ApbcError(
            f"{out} holds a simulation that differs in {differing[0]}; give --restart to replace "
            "it, or another --out"
        )
    path.unlink()
    for structure in found.get("structures", []):
        (out / structure["volume"]).unlink(missing_ok=True)
    return False


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
