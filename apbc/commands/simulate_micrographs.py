"""Simulate whole micrographs of which every particle is known.

Writes DIR/micrographs/NAME.mrc, DIR/micrographs_ctf.star (DIR is a RELION project folder),
DIR/truth/NAME.csv (x,y,class,rot,tilt,psi,visible,defocus_offset), DIR/masks/NAME.mrc (0 clean, 1
carbon, 2 ice blob, 3 crystalline ice or ethane, 4 gold, 5 broken particle or aggregate),
DIR/volumes/ and DIR/simulation.json; NAME is simSEED_0001 and so on. A run that was cut off goes
on where it was; a larger number of micrographs adds to those that are there. docs/method.md tells
how the images are made.
"""

from __future__ import annotations

import argparse
from pathlib import Path

CONTAMINATION = {
    "carbon": ("SHARE", "of the micrographs show the edge of the carbon film, default 0.25"),
    "ice_blobs": ("N", "pieces of ice per µm², default 8"),
    "crystals": ("N", "patches of hexagonal ice per µm², default 0.6"),
    "ethane": ("N", "fields of frozen ethane per µm², default 0.2"),
    "gold": ("N", "gold beads per µm², default 0"),
    "aggregates": ("N", "clumps of particles per µm², default 1"),
    "broken": ("SHARE", "broken particles over whole ones, default 0.05"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``apbc simulate micrographs``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder to make or to go on with")
    add("--micrographs", type=int, default=10, metavar="N", help="default 10")
    add(
        "--size",
        type=int,
        nargs=2,
        default=(4096, 4096),
        metavar=("ROWS", "COLS"),
        help="pixels, default 4096 4096",
    )
    add(
        "--pixel-size",
        type=float,
        metavar="A",
        help="of the micrographs; default: that of the maps, else 1.5",
    )
    add("--seed", type=int, default=0, help="default 0")
    add("--threads", type=int, metavar="N", help="default: all cores; changes no result")

    group = parser.add_argument_group("structures")
    add = group.add_argument
    add(
        "--structures",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="maps and atomic models (mrc, map, cif, pdb), classes in their order",
    )
    add("--builtin", nargs="+", default=[], metavar="NAME", help="built-in molecules")
    add("--builtin-seed", type=int, default=0, help="of the residues' places in them, default 0")
    add("--resolution", type=float, metavar="A", help="of atomic models, default 3 pixels")
    add("--weights", type=float, nargs="+", default=[], metavar="W", help="one a structure")

    group = parser.add_argument_group("particles")
    add = group.add_argument
    number = group.add_mutually_exclusive_group()
    number.add_argument("--particles", type=int, metavar="N", help="in a micrograph without carbon")
    number.add_argument("--density", type=float, metavar="N", help="particles per µm²")
    number.add_argument(
        "--coordinates",
        type=Path,
        metavar="DIR",
        help="a file a micrograph: its particles (x,y[,class,rot,tilt,psi]) instead of random ones",
    )
    add("--overlap", type=float, default=0.03, metavar="SHARE", help="of them, default 0.03")
    add("--clusters", type=float, default=0.1, metavar="SHARE", help="touching, default 0.1")
    add("--views", default="uniform", help="uniform (default), preferred[:KAPPA], side[:KAPPA]")
    add("--tilt", type=float, default=0.0, metavar="DEG", help="of the specimen, default 0")
    add("--height", type=float, default=0.0, metavar="A", help="range of heights, default 0")

    group = parser.add_argument_group("microscope and camera")
    add = group.add_argument
    add(
        "--defocus",
        type=float,
        nargs=2,
        default=(8000.0, 25000.0),
        metavar=("MIN", "MAX"),
        help="underfocus in Å, default 8000 25000",
    )
    add("--astigmatism", type=float, default=300.0, metavar="A", help="largest, default 300")
    add("--voltage", type=float, default=300.0, metavar="KV", help="default 300")
    add("--cs", type=float, default=2.7, metavar="MM", help="default 2.7")
    add("--amplitude-contrast", type=float, default=0.1, metavar="SHARE", help="default 0.1")
    add("--phase-shift", type=float, default=0.0, metavar="DEG", help="default 0")
    add("--dose", type=float, default=40.0, metavar="E", help="electrons per Å², default 40")
    add("--envelope-b", type=float, default=100.0, metavar="A2", help="B factor, default 100")
    add("--drift", type=float, default=0.0, metavar="A", help="residual motion, default 0")
    add("--particle-contrast", type=float, metavar="SHARE", help="of the theoretical, default 0.8")
    add("--detector", default="counting", help="counting (default), integrating or perfect")
    add("--mtf", type=Path, metavar="STAR", help="measured MTF, as RELION uses it")
    add("--dqe", type=float, default=0.8, metavar="SHARE", help="at frequency 0, default 0.8")

    group = parser.add_argument_group("ice and contamination")
    add = group.add_argument
    add("--ice-thickness", type=float, default=350.0, metavar="A", help="mean, default 350")
    add("--thickness-gradient", type=float, default=0.3, metavar="SHARE", help="default 0.3")
    add("--ice-noise", type=float, default=1.0, metavar="X", help="times the physical, default 1")
    for name, (metavar, text) in CONTAMINATION.items():
        option = name.replace("_", "-")
        either = group.add_mutually_exclusive_group()
        either.add_argument(f"--{option}", dest=name, type=float, metavar=metavar, help=text)
        either.add_argument(f"--no-{option}", dest=name, action="store_const", const=0.0)
    add(
        "--no-contamination",
        dest="clean",
        action="store_true",
        help="none but what is asked for by its option",
    )


def run(args: argparse.Namespace) -> int:
    """Run ``apbc simulate micrographs``.

    Parameters
    ----------
    args : argparse.Namespace

    Returns
    -------
    int
        0.
    """
    # Here, so that the help of the command needs neither scipy nor mrcfile.
    from apbc.errors import ApbcError
    from apbc.io.mrc import mrc_layout
    from apbc.simulate.atoms import is_atoms_file
    from apbc.simulate.detector import Detector, read_mtf
    from apbc.simulate.exposure import PARTICLE_CONTRAST, Exposure
    from apbc.simulate.field import Crowd, contamination
    from apbc.simulate.micrographs import (
        DEFAULT_PIXEL_SIZE,
        Settings,
        read_given,
        simulate_micrographs,
    )
    from apbc.simulate.optics import Optics
    from apbc.simulate.structures import load_structures
    from apbc.system.cores import workers

    if args.pixel_size is not None and not args.pixel_size > 0:
        raise ApbcError(f"the pixel size must be above 0 Å, not {args.pixel_size:g}")
    maps = [file for file in args.structures if not is_atoms_file(file)]
    # Maps keep their own grid and are brought to the pixels of the micrograph later.
    grid = args.pixel_size
    if maps and all(mrc_layout(file).pixel_size for file in maps):
        grid = None
    elif not args.structures:
        grid = args.pixel_size or DEFAULT_PIXEL_SIZE
    structures = load_structures(
        args.structures,
        args.builtin,
        pixel_size=grid,
        resolution=args.resolution,
        weights=args.weights,
        seed=args.builtin_seed,
    )
    amounts = dict.fromkeys(CONTAMINATION, 0.0) if args.clean else {}
    amounts |= {name: v for name in CONTAMINATION if (v := getattr(args, name)) is not None}
    frequencies, values = read_mtf(args.mtf) if args.mtf else ((), ())
    contrast = args.particle_contrast
    settings = Settings(
        pixel_size=args.pixel_size or structures[0].pixel_size,
        shape=(args.size[0], args.size[1]),
        seed=args.seed,
        crowd=Crowd(
            number=args.particles,
            density=args.density,
            overlap=args.overlap,
            clusters=args.clusters,
            views=args.views,
            tilt=args.tilt,
            height=args.height,
        ),
        optics=Optics(
            defocus=(args.defocus[0], args.defocus[1]),
            astigmatism=args.astigmatism,
            voltage=args.voltage,
            cs=args.cs,
            amplitude_contrast=args.amplitude_contrast,
            phase_shift=args.phase_shift,
        ),
        exposure=Exposure(
            dose=args.dose,
            thickness=args.ice_thickness,
            gradient=args.thickness_gradient,
            ice_noise=args.ice_noise,
            envelope_b=args.envelope_b,
            drift=args.drift,
            particle_contrast=PARTICLE_CONTRAST if contrast is None else contrast,
            detector=Detector(args.detector, args.dqe, frequencies, values),
        ),
        contamination=contamination(amounts),
    )
    given = None
    if args.coordinates is not None:
        given = read_given(args.coordinates, settings.shape, len(structures))
    threads = workers() if args.threads is None else args.threads
    simulate_micrographs(args.out, structures, settings, args.micrographs, given, threads)
    return 0
