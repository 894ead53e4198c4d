"""Draw picks over a micrograph.

Circles are coloured by score; with --truth by hits, missed particles and false
picks. Row 0 of the micrograph is at the bottom of the picture, as Relion and
EMAN show it.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.geometry import angstrom_to_pixels

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``apbc show``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument("micrograph", type=Path, metavar="MICROGRAPH")
    parser.add_argument(
        "--picks",
        type=Path,
        required=True,
        metavar="FILE",
        help="coordinates: .csv, .box or .star, or a folder with a file of the micrograph's name",
    )
    parser.add_argument(
        "--truth", type=Path, metavar="FILE", help="known particles, in the same formats"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="PNG", help="picture to write")
    parser.add_argument(
        "--diameter",
        type=float,
        metavar="A",
        help="particle diameter in Å; default: run.json beside the picks, else the size of boxes",
    )
    parser.add_argument(
        "--pixel-size",
        type=float,
        metavar="A",
        help="Å per pixel; default: the micrograph's header",
    )
    parser.add_argument(
        "--threshold", type=float, metavar="P", help="draw only picks of at least this score"
    )


def run(args: argparse.Namespace) -> int:
    """Run ``apbc show``.

    Parameters
    ----------
    args : argparse.Namespace

    Returns
    -------
    int
        0.
    """
    # Here, so that the help of the command needs neither Matplotlib nor scipy.
    from apbc.display.overlay import Overlay, draw_overlay
    from apbc.io.images import micrograph_info, pixel_size_of, read_micrograph
    from apbc.io.runs import run_beside

    if args.out.suffix.lower() != ".png":
        raise ApbcError(f"the picture {args.out} is a PNG; give a name that ends in .png")
    info = micrograph_info(args.micrograph)
    picks = coordinates_of(info.name, args.picks)
    given = len(picks)
    if args.threshold is not None:
        if len(picks) and np.isnan(picks[:, 2]).all():
            raise ApbcError(f"{args.picks} has no scores; leave --threshold out")
        picks = picks[picks[:, 2] >= args.threshold]
    truth = None if args.truth is None else coordinates_of(info.name, args.truth)
    known = run_beside(args.picks)
    pixel_size = args.pixel_size
    if pixel_size is not None or info.pixel_size:
        pixel_size = pixel_size_of([info], pixel_size)
    elif known.get("pixel_size"):
        pixel_size = float(known["pixel_size"])
    diameter = args.diameter if args.diameter is not None else known.get("diameter")
    if diameter is not None:
        if not diameter > 0:
            raise ApbcError(f"--diameter {diameter:g} is not a size; give Å above 0")
        if pixel_size is None:
            raise ApbcError(
                f"the header of {info.path} has no pixel size, which the diameter needs; give it "
                "with --pixel-size"
            )
        width: float | None = angstrom_to_pixels(float(diameter), pixel_size)
    else:
        width = None if args.truth else _box_width(info.name, args.picks)
    if width is None:
        raise ApbcError(f"the particle diameter is not told beside {args.picks}; give --diameter")
    outside = _count_outside(picks, info.shape)
    if outside:
        logger.warning(
            "%d of %d picks of %s lie outside the micrograph: are they of this micrograph and in "
            "its pixels?",
            outside,
            len(picks),
            args.picks,
        )
    if args.truth is not None and truth is not None:
        picks, truth = _without_hidden(info.name, args.truth, picks, truth, width / 2)
    image = read_micrograph(info.path)
    draw_overlay(args.out, Overlay(info.name, image, picks, width, pixel_size, truth))
    logger.info("%s: %d of %d picks drawn", args.out, len(picks), given)
    return 0


def _without_hidden(
    name: str,
    path: Path,
    picks: npt.NDArray[np.float64],
    truth: npt.NDArray[np.float64],
    radius: float,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Leave out hidden particles, which need not be found, and the picks that are on them."""
    from apbc.evaluation.matching import NONE, match_closest_first
    from apbc.evaluation.reference import particles_of
    from apbc.io.coordinates import read_truth_columns

    columns = read_truth_columns(path)
    known = particles_of(truth, columns.get(path.stem if path.is_file() else name))
    seen, hidden = known.xy[known.visible], known.xy[~known.visible]
    astray = match_closest_first(picks, seen, radius) == NONE
    astray[astray] = match_closest_first(picks[astray], hidden, radius) != NONE
    return picks[~astray], seen


def coordinates_of(name: str, path: Path) -> npt.NDArray[np.float64]:
    """Coordinates of one micrograph.

    Parameters
    ----------
    name : str
        Stem of the micrograph.
    path : Path
        A folder of coordinate files, a star file of many micrographs, or one
        coordinate file of any name.

    Returns
    -------
    ndarray, shape (n, 3)
        x, y in pixels, score or NaN.

    Raises
    ------
    ApbcError
        If the micrograph is not there.
    """
    from apbc.io.coordinates import read_coordinate_folder

    found = read_coordinate_folder(path)
    if path.is_file() and list(found) == [path.stem]:
        return found[path.stem]
    if name not in found:
        raise ApbcError(f"{path} has no coordinates of the micrograph {name}; check the names")
    return found[name]


def _box_width(name: str, picks: Path) -> float | None:
    """Width in pixels of the boxes drawn, where the picks are boxes."""
    from apbc.io.coordinates import box_size_of

    return box_size_of(picks / f"{name}.box" if picks.is_dir() else picks)


def _count_outside(picks: npt.NDArray[np.float64], shape: tuple[int, int]) -> int:
    x, y = picks[:, 0], picks[:, 1]
    return int(((x < 0) | (y < 0) | (x >= shape[1]) | (y >= shape[0])).sum())
