"""Turn good and bad particles into a data set for training.

Good and bad come as folders of coordinate files on micrographs (--good, --bad) or
as Relion particle stars (--good-particles, --bad-particles). With --micrographs
the crops are cut out of the micrographs, after the preprocessing that picking
uses; without, they are read from the particle stacks.
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
    parser.add_argument("--bad", type=Path, metavar="DIR", help="coordinates of bad particles")
    parser.add_argument("--good-particles", type=Path, metavar="STAR", help="good particle star")
    parser.add_argument("--bad-particles", type=Path, metavar="STAR", help="bad particle star")
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
        help="crop at most N good and N bad particles, spread over all micrographs "
        "(default: 10000)",
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
    if not (all(folders) or all(stars)):
        missing = "bad" if (args.good or args.good_particles) else "good"
        raise ApbcError(
            f"there are no {missing} particles; apbc learns from both, so give --{missing} or "
            f"--{missing}-particles"
        )
    if all(folders) and not args.micrographs:
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
    if all(stars):
        good, bad = read_particles(stars[0]), read_particles(stars[1])
        if not args.micrographs:
            build.from_stacks(good, bad, options, args.out)
            logger.info("wrote %s", args.out)
            return 0
        found = labels.from_particles(good, bad)
    else:
        found = labels.from_folders(*folders)
    build.from_micrographs(find_micrographs(args.micrographs), found, options, args.out)
    logger.info("wrote %s", args.out)
    return 0
