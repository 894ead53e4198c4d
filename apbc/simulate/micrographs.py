"""A set of simulated micrographs with their truth, laid out as a RELION project folder."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from apbc import __version__
from apbc.errors import ApbcError
from apbc.io.coordinates import read_coordinate_folder, read_coordinates, read_truth_columns
from apbc.io.ctf import Ctf, write_ctf
from apbc.io.files import plain, read_json, write_json
from apbc.io.volumes import write_volume
from apbc.progress import track
from apbc.simulate.contamination import Carbon
from apbc.simulate.detector import KINDS as DETECTORS
from apbc.simulate.exposure import Exposure, expose
from apbc.simulate.field import (
    Contamination,
    Crowd,
    Field,
    Particles,
    check_crowd,
    draw_debris,
    draw_particles,
    draw_things,
    heights,
)
from apbc.simulate.optics import Optics, random_ctf
from apbc.simulate.particle_model import ParticleModel, Projectors
from apbc.simulate.placement import Places
from apbc.simulate.structures import Structure
from apbc.simulate.truth import in_frame, visible, write_micrograph, write_truth
from apbc.simulate.views import draw_angles, parse_views

FloatArray = npt.NDArray[np.float64]

logger = logging.getLogger(__name__)

CTF_STAR = "micrographs_ctf.star"
SUMMARY = "simulation.json"
PARTIAL = "simulation.partial.json"
STREAMS = (
    "ctf",
    "particles",
    "image",
    "carbon",
    "ice_blobs",
    "crystals",
    "ethane",
    "gold",
    "broken",
    "aggregates",
)
"""Purposes with random numbers of their own, by their place here: new ones go to the end."""
LEAST_SIDE = 64
DEFAULT_PIXEL_SIZE = 1.5
"""Å, for built-in molecules where none is given."""


@dataclass(frozen=True)
class Settings:
    """What makes a set of micrographs, beside the structures.

    Attributes
    ----------
    pixel_size : float
        Å.
    shape : (int, int)
        Rows and columns.
    seed : int
    crowd : Crowd
    optics : Optics
    exposure : Exposure
    contamination : Contamination
    """

    pixel_size: float
    shape: tuple[int, int] = (4096, 4096)
    seed: int = 0
    crowd: Crowd = field(default_factory=Crowd)
    optics: Optics = field(default_factory=Optics)
    exposure: Exposure = field(default_factory=Exposure)
    contamination: Contamination = field(default_factory=Contamination)


@dataclass(frozen=True)
class Given:
    """Particles of one micrograph whose places are given.

    Attributes
    ----------
    centres : ndarray, shape (n, 2)
        x, y in pixels.
    structures : ndarray of int, shape (n,), or None
        Index of the structure; drawn by weight without.
    angles : ndarray, shape (n, 3), or None
        rot, tilt, psi in degrees; drawn without.
    """

    centres: FloatArray
    structures: npt.NDArray[np.int64] | None = None
    angles: FloatArray | None = None


def simulate_micrographs(
    out: Path,
    structures: Sequence[Structure],
    settings: Settings,
    micrographs: int = 10,
    given: dict[str, Given] | None = None,
    threads: int = 1,
) -> dict[str, Any]:
    """Write micrographs, their CTF, the truth and masks.

    Micrograph `i` depends on the settings, the structures and `i` alone. What is
    finished in `out` is kept, so that a run that was cut off goes on, and a larger
    number of micrographs adds to those that are there.

    Parameters
    ----------
    out : Path
        Folder to make or to go on with.
    structures : sequence of Structure
    settings : Settings
    micrographs : int, optional
        How many; with `given`, as many as it has.
    given : dict of str to Given, optional
        Particles by the name of their micrograph.
    threads : int, optional

    Returns
    -------
    dict
        What ``simulation.json`` holds.

    Raises
    ------
    ApbcError
        If a number is out of its range, the particles cannot be placed, or `out`
        holds a simulation with other parameters.
    """
    check_settings(settings, micrographs, threads)
    models = [ParticleModel(structure, settings.pixel_size) for structure in structures]
    diameters = np.array([model.diameter for model in models])
    weights = np.array([model.weight for model in models])
    crowd = settings.crowd if given is None else Crowd(number=0)
    check_crowd(crowd, settings.shape, settings.pixel_size, diameters, weights)
    names = (
        list(given)
        if given
        else [f"sim{settings.seed}_{index + 1:04d}" for index in range(micrographs)]
    )

    request = describe(settings, structures, given)
    check_request(out, request)
    check_number(out, names)
    projectors = Projectors(models)
    volumes = [f"volumes/{model.name}.mrc" for model in models]
    ctfs: list[Ctf] = []
    counts: list[dict[str, Any]] = []
    for index, name in enumerate(track(names, len(names), "micrographs")):
        streams = named_streams(settings.seed, index)
        ctf = random_ctf(settings.optics, np.random.default_rng(streams("ctf")))
        ctfs.append(ctf)
        files = files_of(out, name)
        if not all(path.is_file() for path in files):
            scene = draw(settings, diameters, weights, given[name] if given else None, streams)
            if index == 0:
                # Not before, so that what cannot be placed leaves nothing behind.
                write_json(out / PARTIAL, request)
                for kind, (model, volume) in enumerate(zip(models, volumes, strict=True)):
                    if not (out / volume).is_file():
                        potential = model.volume()
                        write_volume(out / volume, potential.data, potential.pixel_size)
                        projectors.of(kind)
            write_one(files, scene, models, projectors, ctf, settings, streams("image"), threads)
        counts.append(count(name, files[1]))

    write_ctf(
        out / CTF_STAR, [f"micrographs/{name}.mrc" for name in names], ctfs, settings.pixel_size
    )
    summary = {
        **request,
        "diameter": round(float(diameters.max()), 1),
        "structures": [
            {
                **told,
                "class": number,
                "volume": volume,
                "diameter": round(model.diameter, 1),
                "particles": sum(entry["classes"].get(str(number), 0) for entry in counts),
            }
            for number, (told, model, volume) in enumerate(
                zip(request["structures"], models, volumes, strict=True), start=1
            )
        ],
        "particles": sum(entry["particles"] for entry in counts),
        "visible": sum(entry["visible"] for entry in counts),
        "micrographs": counts,
        "versions": {
            "apbc": __version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
        },
    }
    write_json(out / SUMMARY, summary)
    (out / PARTIAL).unlink(missing_ok=True)
    logger.info(
        "wrote %d micrographs with %d particles, %d of them visible, to %s",
        len(names),
        summary["particles"],
        summary["visible"],
        out,
    )
    return summary


def check_settings(settings: Settings, micrographs: int, threads: int) -> None:
    """Refuse numbers out of their range.

    Parameters
    ----------
    settings : Settings
    micrographs, threads : int

    Raises
    ------
    ApbcError
    """
    crowd, optics, exposure = settings.crowd, settings.optics, settings.exposure
    if micrographs < 1:
        raise ApbcError(f"cannot simulate {micrographs} micrographs; ask for 1 or more")
    if threads < 1:
        raise ApbcError(f"the number of threads must be 1 or more, not {threads}")
    if settings.seed < 0:
        raise ApbcError(f"the seed must be 0 or more, not {settings.seed}")
    if min(settings.shape) < LEAST_SIDE:
        raise ApbcError(
            f"micrographs of {settings.shape[1]} x {settings.shape[0]} pixels are too small; ask "
            f"for {LEAST_SIDE} or more along both sides"
        )
    if crowd.number is not None and crowd.number < 0:
        raise ApbcError(f"the number of particles must be 0 or more, not {crowd.number}")
    positive = {
        "pixel size": settings.pixel_size,
        "dose": exposure.dose,
        "ice thickness": exposure.thickness,
        "voltage": optics.voltage,
        "DQE": exposure.detector.dqe,
    }
    not_negative = {
        "particle density": crowd.density or 0.0,
        "height": crowd.height,
        "astigmatism": optics.astigmatism,
        "Cs": optics.cs,
        "noise of the ice": exposure.ice_noise,
        "B factor": exposure.envelope_b,
        "drift": exposure.drift,
        "contrast of the particles": exposure.particle_contrast,
    }
    shares = {
        "overlap": crowd.overlap,
        "share of clusters": crowd.clusters,
        "amplitude contrast": optics.amplitude_contrast,
        "DQE": exposure.detector.dqe,
        "thickness gradient": exposure.gradient,
    }
    for name, value in positive.items():
        if not (np.isfinite(value) and value > 0):
            raise ApbcError(f"the {name} must be above 0, not {value:g}")
    for name, value in not_negative.items():
        if not (np.isfinite(value) and value >= 0):
            raise ApbcError(f"the {name} must be 0 or more, not {value:g}")
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise ApbcError(f"the {name} must lie between 0 and 1, not {value:g}")
    if crowd.overlap + crowd.clusters > 1:
        raise ApbcError("the shares of overlapping and clustered particles exceed 1 together")
    if not 0 <= crowd.tilt < 80:
        raise ApbcError(f"the tilt must lie between 0 and 80 degrees, not {crowd.tilt:g}")
    low, high = optics.defocus
    if not (np.isfinite([low, high]).all() and 0 <= low <= high):
        raise ApbcError(
            f"the defocus must rise from 0 or more, not from {low:g} to {high:g}; give the least "
            "and the largest underfocus in Å"
        )
    if not np.isfinite(optics.phase_shift):
        raise ApbcError("the phase shift must be a number of degrees")
    parse_views(crowd.views)
    if exposure.detector.kind not in DETECTORS:
        raise ApbcError(
            f"there is no detector {exposure.detector.kind!r}; give one of {', '.join(DETECTORS)}"
        )


def read_given(path: Path, shape: tuple[int, int], structures: int) -> dict[str, Given]:
    """Read the places of the particles of micrographs.

    Parameters
    ----------
    path : Path
        Folder with a file a micrograph; ``class``, ``rot``, ``tilt`` and ``psi`` of CSV
        files are used. Rows of class 0 (junk) are left out.
    shape : (int, int)
        Rows and columns of the micrographs.
    structures : int
        How many there are.

    Returns
    -------
    dict of str to Given
        By the stem of the file.

    Raises
    ------
    ApbcError
        If a file cannot be used, a particle lies outside, or a class is not known.
    """
    given = {}
    columns = read_truth_columns(path)
    for name, rows in read_coordinate_folder(path).items():
        centres, known = rows[:, :2], columns.get(name, {})
        inside = in_frame(centres, shape)
        if not inside.all():
            first = int(np.argmin(inside))
            x, y = centres[first]
            raise ApbcError(
                f"{np.count_nonzero(~inside)} of {len(centres)} coordinates of {name} in {path} "
                f"lie outside of a micrograph of {shape[1]} x {shape[0]} pixels (the first is row "
                f"{first + 1}: {x:g}, {y:g}); give the --size that they are of"
            )
        kept = np.ones(len(centres), bool)
        kinds = angles = None
        if "class" in known:
            classes = known["class"]
            wrong = (classes < 0) | (classes > structures) | (classes != np.rint(classes))
            if wrong.any():
                raise ApbcError(
                    f"row {int(np.argmax(wrong)) + 1} of {name} in {path} has class "
                    f"{classes[wrong][0]:g} and there are {structures} structures; number them "
                    "from 1 in the order in which they are given"
                )
            kept = classes > 0
            kinds = classes[kept].astype(np.int64) - 1
        if all(angle in known for angle in ("rot", "tilt", "psi")):
            angles = np.stack([known[a] for a in ("rot", "tilt", "psi")], axis=1)[kept]
        given[name] = Given(centres[kept], kinds, angles)
    return given


def named_streams(seed: int, index: int) -> Callable[[str], np.random.SeedSequence]:
    """Seeds of one micrograph by what they are for.

    Parameters
    ----------
    seed, index : int

    Returns
    -------
    callable
        From one of `STREAMS` to its SeedSequence.
    """
    return lambda name: np.random.SeedSequence(seed, spawn_key=(index, STREAMS.index(name)))


def draw(
    settings: Settings,
    diameters: FloatArray,
    weights: FloatArray,
    given: Given | None,
    streams: Callable[[str], np.random.SeedSequence],
) -> Field:
    """Field of view of one micrograph.

    Parameters
    ----------
    settings : Settings
    diameters, weights : ndarray, shape (k,)
        Of the structures; Å.
    given : Given or None
    streams : callable
        As of `named_streams`.

    Returns
    -------
    Field

    Raises
    ------
    ApbcError
        If the particles cannot be placed.
    """
    shape, pixel_size = settings.shape, settings.pixel_size

    def stream(name: str) -> np.random.Generator:
        return np.random.default_rng(streams(name))

    things = draw_things(settings.contamination, shape, pixel_size, stream)
    carbon = next((thing for thing in things if isinstance(thing, Carbon)), None)
    rng = stream("particles")
    if given is None:
        particles, places = draw_particles(
            settings.crowd, shape, pixel_size, diameters, weights, carbon, rng
        )
    else:
        particles, places = complete(given, settings, diameters, weights, rng)
    debris = draw_debris(
        settings.contamination, particles, places, shape, pixel_size, diameters, carbon, stream
    )
    return Field(particles, things, debris)


def complete(
    given: Given,
    settings: Settings,
    diameters: FloatArray,
    weights: FloatArray,
    rng: np.random.Generator,
) -> tuple[Particles, Places]:
    """Draw what is not given of particles whose places are.

    Parameters
    ----------
    given : Given
    settings : Settings
    diameters, weights : ndarray, shape (k,)
        Of the structures; Å.
    rng : numpy.random.Generator

    Returns
    -------
    particles : Particles
    places : Places
    """
    number = len(given.centres)
    kinds = rng.choice(len(weights), size=number, p=weights / weights.sum())
    angles = draw_angles(number, settings.crowd.views, rng)
    if given.structures is not None:
        kinds = given.structures
    if given.angles is not None:
        angles = given.angles
    offsets = heights(given.centres, settings.crowd, settings.shape, settings.pixel_size, rng)
    places = Places(float(diameters.max()) / settings.pixel_size)
    for (x, y), kind in zip(given.centres, kinds, strict=True):
        places.add(float(x), float(y), float(diameters[kind]) / settings.pixel_size)
    return Particles(given.centres, kinds, angles, offsets), places


def files_of(out: Path, name: str) -> tuple[Path, Path, Path]:
    """Micrograph, truth and mask of a name.

    Parameters
    ----------
    out : Path
    name : str

    Returns
    -------
    (Path, Path, Path)
    """
    return (
        out / "micrographs" / f"{name}.mrc",
        out / "truth" / f"{name}.csv",
        out / "masks" / f"{name}.mrc",
    )


def write_one(
    files: tuple[Path, Path, Path],
    scene: Field,
    models: list[ParticleModel],
    projectors: Projectors,
    ctf: Ctf,
    settings: Settings,
    seed: np.random.SeedSequence,
    threads: int,
) -> None:
    """Expose one field of view and write its files, the micrograph last.

    Parameters
    ----------
    files : (Path, Path, Path)
        As of `files_of`.
    scene : Field
    models : list of ParticleModel
    projectors : Projectors
    ctf : Ctf
    settings : Settings
    seed : numpy.random.SeedSequence
    threads : int

    Raises
    ------
    ApbcError
        If a file cannot be written.
    """
    shape, pixel_size = settings.shape, settings.pixel_size
    image, mask = expose(
        scene, models, projectors, ctf, shape, pixel_size, settings.exposure, seed, threads
    )
    particles = scene.particles
    sizes = np.array([model.diameter / pixel_size for model in models])
    shown = visible(particles.centres, sizes[particles.structures], mask)
    inside = in_frame(particles.centres, shape)
    micrograph, truth, labels = files
    write_truth(
        truth,
        particles.centres[inside],
        particles.structures[inside] + 1,
        particles.angles[inside],
        shown[inside],
        particles.offsets[inside],
    )
    write_micrograph(labels, mask, pixel_size)
    write_micrograph(micrograph, image, pixel_size)


def count(name: str, truth: Path) -> dict[str, Any]:
    """Particles of one micrograph in numbers, from its file.

    Parameters
    ----------
    name : str
    truth : Path

    Returns
    -------
    dict
        ``name``, ``particles``, ``visible``, and ``classes`` (class -> number).
    """
    particles = len(read_coordinates(truth))
    columns = read_truth_columns(truth)[truth.stem]
    classes, numbers = np.unique(columns["class"].astype(int), return_counts=True)
    return {
        "name": name,
        "particles": particles,
        "visible": int(columns["visible"].sum()),
        "classes": {str(c): int(n) for c, n in zip(classes, numbers, strict=True)},
    }


def describe(
    settings: Settings, structures: Sequence[Structure], given: dict[str, Given] | None
) -> dict[str, Any]:
    """Everything that a micrograph depends on, as JSON.

    Parameters
    ----------
    settings : Settings
    structures : sequence of Structure
    given : dict of str to Given, or None

    Returns
    -------
    dict
    """
    told: dict[str, Any] = plain(asdict(settings))
    told["coordinates"] = None if given is None else digest_of(given)
    told["structures"] = [
        {
            "name": structure.name,
            "file": None if structure.file is None else str(structure.file),
            "sha256": None if structure.file is None else file_digest(structure.file),
            "pixel_size": structure.pixel_size,
            "box_size": structure.box_size,
            "symmetry": structure.symmetry,
            "weight": structure.weight,
            **structure.made_from,
        }
        for structure in structures
    ]
    return told


def file_digest(path: Path) -> str:
    """SHA-256 of a file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    str
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def digest_of(given: dict[str, Given]) -> str:
    """SHA-256 of given particles.

    Parameters
    ----------
    given : dict of str to Given

    Returns
    -------
    str
    """
    digest = hashlib.sha256()
    for name, particles in given.items():
        digest.update(name.encode())
        for values in (particles.centres, particles.structures, particles.angles):
            digest.update(b"-" if values is None else np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def check_request(out: Path, request: dict[str, Any]) -> None:
    """Refuse a folder that holds something else than a part of what is asked for.

    Parameters
    ----------
    out : Path
    request : dict
        As of `describe`.

    Raises
    ------
    ApbcError
    """
    for name in (PARTIAL, SUMMARY):
        if not (out / name).is_file():
            continue
        before = read_json(out / name)
        if before.get("kind") == "particles":
            raise ApbcError(f"{out} holds simulated particles; choose another folder")
        changed = [
            change for key, value in request.items() for change in changes(key, before, value)
        ]
        if changed:
            raise ApbcError(
                f"{out} holds micrographs that were simulated with other parameters "
                f"({'; '.join(changed[:3])}); choose another folder"
            )
        return
    if (out / "micrographs").exists():
        raise ApbcError(
            f"{out / 'micrographs'} exists already and is of no simulation; choose another folder"
        )


def check_number(out: Path, names: Sequence[str]) -> None:
    """Refuse a folder that holds finished micrographs beyond those asked for.

    Parameters
    ----------
    out : Path
    names : sequence of str
        Of the micrographs.

    Raises
    ------
    ApbcError
    """
    there = {path.stem for path in (out / "micrographs").glob("*.mrc")}
    if there - set(names):
        raise ApbcError(
            f"{out} holds {len(there)} micrographs, {len(there - set(names))} more than are asked "
            "for; ask for as many or more, or choose another folder"
        )


def changes(key: str, before: Any, now: Any) -> list[str]:
    """Parameters that differ, in words.

    Parameters
    ----------
    key : str
        Name of the parameter, dots between its parts.
    before : dict
        That should hold its last part.
    now : object
        Its value now.

    Returns
    -------
    list of str
    """
    short = key.rpartition(".")[2]
    old = before.get(short) if isinstance(before, dict) else None
    if isinstance(now, dict):
        return [c for k, v in now.items() for c in changes(f"{key}.{k}", old, v)]
    if short == "structures" and isinstance(old, list):
        # The path is not among them: a folder may have moved.
        told = [{n: v for n, v in entry.items() if n != "file"} for entry in now]
        same = len(old) == len(told) and all(
            {name: entry.get(name) for name in new} == new
            for entry, new in zip(old, told, strict=True)
        )
        return [] if same else ["structures"]
    return [] if old == now else [f"{key} was {old} and is {now}"]
