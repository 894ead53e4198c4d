"""Simulate particle images whose structure, pose, shift and CTF are known.

Structures are maps and atomic models (--structures), or molecules that apbc makes by
itself (--builtin). Files for Relion (particles.star), cryoDRGN (ctf.pkl, poses.pkl,
gt_latents.pkl) and the truth (truth.csv, volumes/, mask.mrc, simulation.json) are written
to --out. The same request gives the same images, whatever the number of threads; one that
was cut off goes on where it was.

The signal-to-noise ratio is var(clean) / sigma^2 at the native box, that of the structures:
the variance of the images with CTF and without noise over that of the noise. Images cropped
to half the box have about four times the ratio; simulation.json tells both.

Built-in molecules:
"""

from __future__ import annotations

import argparse
from pathlib import Path

from apbc.simulate.builtin import DEFAULT, describe
from apbc.simulate.noise import DEFINITIONS, REGIONS

__doc__ = f"{__doc__}{describe()}"


def add_structure_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that tell which structures are simulated.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    group = parser.add_argument_group("structures")
    group.add_argument(
        "--structures",
        nargs="+",
        default=[],
        metavar="FILE",
        help="maps (.mrc, .map) and atomic models (.cif, .pdb, .ent, also .gz), in any mix; "
        "classes count from 1 in this order",
    )
    group.add_argument(
        "--builtin",
        nargs="+",
        default=[],
        metavar="NAME",
        help=f"built-in molecules, see above; default without --structures: {' '.join(DEFAULT)}",
    )
    group.add_argument(
        "--builtin-seed",
        type=int,
        default=0,
        help="of the places of residues in built-in molecules; default 0",
    )
    group.add_argument(
        "--weights",
        nargs="+",
        type=float,
        default=[],
        metavar="W",
        help="share of the particles of each structure, in any unit; default: equal",
    )
    group.add_argument(
        "--symmetry",
        nargs="+",
        default=[],
        metavar="GROUP",
        help="point group of each structure, or one for all, for the record; default C1, and "
        "that of the built-in molecules",
    )
    group.add_argument(
        "--shared-centre",
        action="store_true",
        help="move all atomic models by one vector, so that conformations that lie on one "
        "another stay so; without it each has its centre of mass in the middle",
    )
    group.add_argument(
        "--pixel-size",
        type=float,
        metavar="A",
        help="Å per pixel of the native box; needed for atomic models, goes before the header of "
        "maps, default 3 for built-in molecules",
    )
    group.add_argument(
        "--resolution",
        type=float,
        metavar="A",
        help="of atomic models and built-in molecules, where amplitudes have fallen to 1/e; "
        "default 3 pixels",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``apbc simulate particles``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    parser.add_argument(
        "--images", type=int, required=True, metavar="N", help="number of images, junk included"
    )
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument(
        "--threads", type=int, metavar="N", help="default: the cores of this process"
    )
    parser.add_argument(
        "--restart",
        action="store_true",
        help="throw away what another request has left in the folder",
    )
    add_structure_arguments(parser)
    _add_image_arguments(parser)
    _add_ctf_arguments(parser)
    _add_noise_arguments(parser)
    _add_error_arguments(parser)


def _add_image_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("images")
    group.add_argument(
        "--box",
        type=int,
        metavar="N",
        help="pixels of the native box; default: that of the maps, or 1.5 diameters",
    )
    group.add_argument(
        "--output-box",
        type=int,
        metavar="N",
        help="pixels of the images, Fourier-cropped from the native box; default: the native box",
    )
    group.add_argument(
        "--shift",
        type=float,
        default=10.0,
        metavar="A",
        help="largest shift along x and along y, uniform; default 10 Å",
    )
    group.add_argument(
        "--views",
        default="uniform",
        metavar="VIEWS",
        help="uniform (default), preferred:KAPPA (views along the z axis, von Mises-Fisher) or "
        "side:KAPPA (views across it)",
    )
    group.add_argument(
        "--contrast",
        choices=("white", "dark"),
        default="white",
        help="white protein, as Relion's particles (default), or dark, as CryoBench's",
    )
    group.add_argument(
        "--legacy-shrink",
        action="store_true",
        help="shrink the object by (D-1)/D at a native box D, as CryoBench's projector does",
    )
    group.add_argument(
        "--clean", action="store_true", help="also write particles_clean.mrcs, without noise"
    )


def _add_ctf_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("CTF")
    source = group.add_mutually_exclusive_group()
    source.add_argument(
        "--ctf",
        type=Path,
        metavar="FILE",
        help="take CTFs of real images, each once: star file of particles or micrographs, or "
        "cryoDRGN's ctf.pkl; without it, those of the microscope below",
    )
    group.add_argument(
        "--ctf-replace",
        action="store_true",
        help="where the file has fewer CTFs than images, take some again with the defocus "
        "changed at random (300 Å)",
    )
    source.add_argument("--no-ctf", action="store_true", help="no CTF at all")
    group.add_argument(
        "--defocus",
        nargs=2,
        type=float,
        default=(8000.0, 25000.0),
        metavar=("MIN", "MAX"),
        help="underfocus in Å, uniform; default 8000 25000",
    )
    group.add_argument(
        "--astigmatism",
        type=float,
        default=300.0,
        metavar="A",
        help="largest difference of the two defoci; default 300 Å",
    )
    group.add_argument("--voltage", type=float, default=300.0, metavar="KV", help="default 300")
    group.add_argument("--cs", type=float, default=2.7, metavar="MM", help="default 2.7")
    group.add_argument(
        "--amplitude-contrast", type=float, default=0.1, metavar="W", help="default 0.1"
    )
    group.add_argument(
        "--phase-shift", type=float, default=0.0, metavar="DEG", help="of a phase plate; default 0"
    )
    group.add_argument(
        "--envelope-b",
        type=float,
        default=0.0,
        metavar="B",
        help="amplitudes fall by exp(-B s^2/4); default 0 Å^2",
    )


def _add_noise_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("noise")
    noise = group.add_mutually_exclusive_group()
    noise.add_argument(
        "--snr",
        type=float,
        default=0.05,
        help="signal-to-noise ratio at the native box, above 0, inf for none; default 0.05",
    )
    noise.add_argument(
        "--no-noise", dest="snr", action="store_const", const=float("inf"), help="--snr inf"
    )
    group.add_argument(
        "--no-normalise",
        action="store_true",
        help="keep the grey values of the structures; else all images are multiplied by one "
        "number that brings the noise to a standard deviation of 1, as Relion wants it",
    )
    group.add_argument(
        "--snr-definition",
        choices=tuple(DEFINITIONS),
        default="pooled",
        help="; ".join(f"{name}: {text}" for name, text in DEFINITIONS.items())
        + "; default pooled",
    )
    group.add_argument(
        "--snr-region",
        choices=tuple(REGIONS),
        default="box",
        help="where the signal is measured; "
        + "; ".join(f"{name}: {text}" for name, text in REGIONS.items())
        + "; default box",
    )
    group.add_argument(
        "--noise-color",
        type=float,
        default=0.0,
        metavar="A",
        help="the power of the noise is 1/frequency^A; default 0, white",
    )


def _add_error_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "imperfections", "Errors are in the star file and the pickles; truth.csv has the truth."
    )
    group.add_argument(
        "--pose-error",
        type=float,
        default=0.0,
        metavar="DEG",
        help="standard deviation of the angle of a turn about a random axis",
    )
    group.add_argument(
        "--shift-error", type=float, default=0.0, metavar="A", help="standard deviation, each axis"
    )
    group.add_argument(
        "--defocus-error", type=float, default=0.0, metavar="A", help="standard deviation"
    )
    group.add_argument(
        "--contrast-variation",
        type=float,
        default=0.0,
        metavar="SD",
        help="standard deviation of the strength of the signal, whose mean is 1",
    )
    group.add_argument(
        "--junk",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the images that is noise, broken, off-centre or touching particles, ice; "
        "their class is 0",
    )


def run(args: argparse.Namespace) -> int:
    """Run ``apbc simulate particles``.

    Parameters
    ----------
    args : argparse.Namespace

    Returns
    -------
    int
        0.
    """
    # Here, so that the help of the command needs no gemmi and no scikit-image.
    from apbc.simulate.optics import Optics
    from apbc.simulate.particle_plan import ParticleOptions
    from apbc.simulate.particles import simulate_particles
    from apbc.simulate.structures import load_structures

    structures = load_structures(
        args.structures,
        args.builtin,
        args.pixel_size,
        args.box,
        args.resolution,
        args.weights,
        args.symmetry,
        args.shared_centre,
        args.builtin_seed,
    )
    optics = Optics(
        tuple(args.defocus),
        args.astigmatism,
        args.voltage,
        args.cs,
        args.amplitude_contrast,
        args.phase_shift,
    )
    options = ParticleOptions(
        images=args.images,
        output_box=args.output_box,
        snr=args.snr,
        snr_definition=args.snr_definition,
        snr_region=args.snr_region,
        noise_color=args.noise_color,
        envelope_b=args.envelope_b,
        shift=args.shift,
        ctf=not args.no_ctf,
        ctf_file=args.ctf,
        ctf_replace=args.ctf_replace,
        optics=optics,
        pose_error=args.pose_error,
        shift_error=args.shift_error,
        defocus_error=args.defocus_error,
        contrast_variation=args.contrast_variation,
        junk=args.junk,
        views=args.views,
        contrast=args.contrast,
        legacy_shrink=args.legacy_shrink,
        normalise=not args.no_normalise,
        clean=args.clean,
        seed=args.seed,
    )
    simulate_particles(args.out, structures, options, args.threads, args.restart)
    return 0
