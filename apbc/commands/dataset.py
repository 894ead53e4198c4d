"""Turn good and bad particles into a data set for training.

Good and bad come as folders of coordinate files on micrographs (--good, --bad) or
as Relion particle stars (--good-particles, --bad-particles). With --micrographs
the crops are cut out of the micrographs, after the preprocessing that picking
uses; without, they are read from the particle stacks.

Bad particles may be left out where there are micrographs: places without a label are
then taken to be mostly no particles. Labels that tell their 2D class (rlnClassNumber, or
a column view of a CSV) are learnt from evenly over the classes. Labels that carry an
alignment (rlnOriginXAngst and rlnOriginYAngst, or rlnOriginX and rlnOriginY; columns
shift_x and shift_y of a CSV, in Å to the particle) are moved onto their particles.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from apbc.errors import ApbcError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``apbc dataset``."""
    parser.add_argument(
        "--micrographs",
        nargs="+",
        metavar="GLOB",
        help="micrographs: a glob in quotes, a folder, files, or a .txt list with a path a line",
    )
    parser.add_argument("--good", type=Path, metavar="DIR", help="coordinates of good particles")
    parser.add_argument(
        "--bad", type=Path, metavar="DIR", help="coordinates of bad particles (optional)"
    )
    parser.add_argument("--good-particles", type=Path, metavar="STAR", help="good particle star")
    parser.add_argument(
        "--bad-particles",
        type=Path,
        metavar="STAR",
        help="bad particle star (optional with --micrographs)",
    )
    parser.add_argument("--diameter", type=float, required=True, metavar="Å", help="of a particle")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="HDF5 file to write"
    )
    parser.add_argument(
        "--ctf",
        type=Path,
        metavar="STAR",
        help="star file with the CTF of the micrographs; phases are flipped when it is given",
    )
    parser.add_argument(
        "--pixel-size",
        type=float,
        metavar="Å",
        help="of the micrographs (or of the stacks without them); default: what the files say",
    )
    parser.add_argument(
        "--contrast",
        choices=("dark", "light"),
        default="dark",
        help="protein in the micrographs is darker or lighter than ice (default: dark)",
    )
    parser.add_argument(
        "--stack-contrast",
        choices=("white", "dark"),
        default="white",
        help="protein in the stacks; Relion's extraction makes it white (default)",
    )
    parser.add_argument(
        "--split-by",
        choices=("micrograph", "particle"),
        default="micrograph",
        help="unit of the 64/16/20 split into training, validation and test (default: micrograph)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the split (default: 0)")
    parser.add_argument(
        "--max-particles",
        type=int,
        default=10_000,
        metavar="N",
        help="crop at most N good and N bad particles, spread over all micrographs and 2D classes "
        "(default: 10000)",
    )
    parser.add_argument(
        "--no-recentre",
        action="store_true",
        help="leave labels where they were picked, whatever alignment they carry",
    )


def run(args: argparse.Namespace) -> int:
    """Make the data set."""
    from apbc.dataset import build, labels
    from apbc.io.images import find_micrographs
    from apbc.io.particles import read_particles
    from apbc.preprocess.working import Preprocessing

    if args.seed < 0:
        raise ApbcError(f"--seed is {args.seed}; give 0 or more")
    if args.max_particles < labels.FEWEST_OF_A_CLASS:
        raise ApbcError(
            f"--max-particles is {args.max_particles}; give {labels.FEWEST_OF_A_CLASS} or more"
        )
    folders = (args.good, args.bad)
    stars = (args.good_particles, args.bad_particles)
    if any(folders) and any(stars):
        raise ApbcError("give either --good and --bad or --good-particles and --bad-particles")
    if not (args.good or args.good_particles):
        raise ApbcError(
            "there are no good particles to learn from; give --good or --good-particles"
        )
    if args.good and not args.micrographs:
        raise ApbcError("coordinates need the micrographs they were picked on; give --micrographs")
    options = build.DatasetOptions(
        preprocessing=Preprocessing(diameter=args.diameter, contrast=args.contrast),
        split_by=args.split_by,
        seed=args.seed,
        most_of_a_class=args.max_particles,
        pixel_size=args.pixel_size,
        stack_contrast=args.stack_contrast,
        ctf_file=args.ctf,
    )
    if args.good_particles:
        good = read_particles(args.good_particles)
        bad = read_particles(args.bad_particles) if args.bad_particles else None
        if not args.micrographs:
            build.from_stacks(good, bad, options, args.out)
            logger.info("wrote %s", args.out)
            return 0
        found = labels.from_particles(good, bad, not args.no_recentre)
    else:
        found = labels.from_folders(args.good, args.bad, not args.no_recentre)
    build.from_micrographs(find_micrographs(args.micrographs), found, options, args.out)
    logger.info("wrote %s", args.out)
    return 0
