"""What a stack of simulated particles shows: its options, and what is drawn from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.simulate.ctf_sources import choose_ctfs, microscope_ctfs
from apbc.simulate.junk import KINDS as JUNK_KINDS
from apbc.simulate.optics import Optics
from apbc.simulate.particle_files import Particles
from apbc.simulate.views import disturb_angles, draw_angles, parse_views

IntArray = npt.NDArray[np.int64]

SMALLEST_BOX = 8
LARGEST_SEED = 2**63
WEAKEST = 0.1
"""Least factor of the signal, however its contrast varies."""


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
    normalise : bool
        Whether to bring the noise to a standard deviation of 1, by one factor for all images.
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
    normalise: bool = True
    clean: bool = False
    seed: int = 0


def check_options(options: ParticleOptions, native: int) -> None:
    """Refuse options that make no sense.

    Parameters
    ----------
    options : ParticleOptions
    native : int
        Box of the structures, pixels.

    Raises
    ------
    ApbcError
        One sentence.
    """
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
            raise ApbcError(f"the {name.replace('_', ' ')} must be 0 or more, not {value:g}")
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
    if not 0 <= options.optics.astigmatism < np.inf:
        raise ApbcError(f"the astigmatism must be 0 or more, not {options.optics.astigmatism:g}")
    for name, value in (("Cs", options.optics.cs), ("phase shift", options.optics.phase_shift)):
        if not np.isfinite(value):
            raise ApbcError(f"the {name} must be a number, not {value:g}")
    if not (0 < options.optics.voltage < np.inf and 0 <= options.optics.amplitude_contrast < 1):
        raise ApbcError("the voltage must be above 0, and the amplitude contrast from 0 to below 1")
    parse_views(options.views)


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
    purposes = map(np.random.default_rng, np.random.SeedSequence(options.seed).spawn(10))
    order, poses, moves, lens, strength, kinds, split, of_pose, of_shift, of_defocus = purposes

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
        told_ctfs[:, :2] += of_defocus.normal(0, 1, (n, 1)) * options.defocus_error
    contrast = np.maximum(1 + options.contrast_variation * strength.standard_normal(n), WEAKEST)
    return Particles(
        classes=np.where(is_junk, 0, sources),
        sources=sources,
        angles=angles,
        told_angles=disturb_angles(angles, options.pose_error, of_pose),
        shifts=shifts,
        told_shifts=shifts + of_shift.normal(0, 1, (n, 2)) * options.shift_error,
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
