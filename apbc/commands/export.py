"""Hand picks to Relion, EMAN and other programs.

Run it in the project folder of Relion. The files lie in DIR as the micrographs lie
in their project, so that the other program finds them:

  relion  Raw/x_apbc.star for each micrograph. Give Relion's Extract as coordinates:
          DIR/coords_suffix_apbc.star (Relion 3.1), DIR/autopick.star (4 and 5).
          To go through Relion's Import instead, write with --out . and import
          Raw/*_apbc.star: Import keeps the path of the files as it is.
  eman    Raw/x.box: lower left corner, width and height in pixels.
  star    coordinates.star: all picks with the names of their micrographs.
  csv     Raw/x.csv: x,y,score.

Picks whose micrographs have another pixel size in the star file of Relion are scaled
to it.
"""

from __future__ import annotations

import argparse
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apbc.errors import ApbcError

if TYPE_CHECKING:
    from apbc.io.export import Coordinates, MicrographName

logger = logging.getLogger(__name__)

FORMATS = ("relion", "eman", "star", "csv")
SIZES_AGREE = 0.01


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``apbc export``."""
    parser.add_argument(
        "picks",
        type=Path,
        metavar="PICKS",
        help="folder of apbc pick, folder of .csv, .box or .star files, or one star file",
    )
    parser.add_argument(
        "--micrographs",
        nargs="+",
        required=True,
        metavar="STAR",
        help="star file of the micrographs in Relion, such as CtfFind/job003/micrographs_ctf.star; "
        "or a glob in quotes, a folder, files, a .txt list",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--format",
        default="relion",
        metavar="LIST",
        help=f"of {', '.join(FORMATS)}, with commas (default: relion)",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="picks from this score on, 0 for all candidates (default: what apbc pick exported)",
    )
    parser.add_argument(
        "--box-size",
        type=int,
        metavar="N",
        help="side of EMAN's boxes in pixels of the micrographs (default: that of run.json beside "
        "the picks)",
    )
    parser.add_argument(
        "--pixel-size",
        type=float,
        metavar="Å",
        help="of the picked micrographs (default: run.json beside the picks)",
    )
    parser.add_argument(
        "--suffix",
        default="apbc",
        metavar="NAME",
        help="Relion's files are called MICROGRAPH_NAME.star (default: apbc)",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write here what was exported and left out"
    )


def run(args: argparse.Namespace) -> int:
    """Export."""
    from apbc.geometry import even
    from apbc.io import export
    from apbc.io.files import write_json
    from apbc.io.runs import run_beside

    formats = [word.strip() for word in args.format.split(",") if word.strip()]
    if not formats or set(formats) - set(FORMATS):
        raise ApbcError(f"--format {args.format}: give some of {','.join(FORMATS)}")
    if not re.fullmatch(r"[\w.-]+", args.suffix):
        raise ApbcError(f"--suffix {args.suffix!r}: give letters, digits, '-' and '.'")
    for name in ("pixel_size", "box_size"):
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise ApbcError(f"--{name.replace('_', '-')} is {value}; give a size above 0")
    known = run_beside(args.picks)
    micrographs = export.micrograph_names(args.micrographs)
    pixel_size = args.pixel_size or known.get("pixel_size")
    coordinates, missing, scale = _coordinates(args, micrographs, pixel_size)
    told_size = known.get("box_size")
    box_size = args.box_size or (even(told_size * scale) if told_size else 0)
    if "eman" in formats and not box_size:
        raise ApbcError(f"no run.json beside {args.picks} tells the box size; give --box-size")
    if "relion" in formats:
        export.write_relion(coordinates, args.out, args.micrographs[0], args.suffix)
    if "eman" in formats:
        export.write_boxes(coordinates, args.out, box_size)
    if "star" in formats:
        export.write_one_star(coordinates, args.out)
    if "csv" in formats:
        export.write_csvs(coordinates, args.out)
    count = sum(len(found) for found in coordinates.values())
    if args.json:
        told = {"picks": count, "micrographs": len(coordinates), "left_out": missing}
        write_json(args.json, {**told, "scale": scale, "box_size": box_size, "formats": formats})
    logger.info(
        "exported %d picks on %d micrographs (%s); wrote %s",
        count,
        len(coordinates),
        ", ".join(formats),
        args.out,
    )
    return 0


def _coordinates(
    args: argparse.Namespace, micrographs: Mapping[str, MicrographName], pixel_size: float | None
) -> tuple[Coordinates, list[str], float]:
    """Return picks by the other program's name of their micrograph, what is left out, the scale."""
    from apbc.geometry import rescale
    from apbc.io.coordinates import read_coordinate_folder

    picks = read_coordinate_folder(_folder(args))
    missing = sorted(set(picks) - set(micrographs))
    if len(missing) == len(picks):
        raise ApbcError(
            f"none of the picked micrographs (such as {missing[0]}) is in "
            f"{' '.join(args.micrographs)}; give the micrographs that were picked"
        )
    if missing:
        logger.warning(
            "%d picked micrographs are left out, such as %s: they are not in %s",
            len(missing),
            missing[0],
            " ".join(args.micrographs),
        )
    scale = 1.0
    found: dict[str, Any] = {}
    for label, micrograph in micrographs.items():
        if label not in picks:
            continue
        rows = _above(picks[label], args)
        scale = _scale(micrograph, pixel_size)
        rows[:, :2] = rescale(rows[:, :2], scale)
        found[micrograph.name] = rows
    if scale != 1:
        logger.info("coordinates are scaled by %.4g to the pixels of the micrographs", scale)
    return found, missing, scale


def _folder(args: argparse.Namespace) -> Path:
    """Return where the picks are: with a threshold of its own, among all candidates."""
    candidates: Path = args.picks / "candidates"
    return candidates if args.threshold is not None and candidates.is_dir() else args.picks


def _above(rows: Any, args: argparse.Namespace) -> Any:
    """Leave out what is below the threshold."""
    if args.threshold is None or not len(rows):
        return rows.copy()
    if (rows[:, 2] != rows[:, 2]).any():
        raise ApbcError(f"{args.picks} holds picks without scores; leave --threshold out")
    return rows[rows[:, 2] >= args.threshold]


def _scale(micrograph: MicrographName, pixel_size: float | None) -> float:
    if not pixel_size or not micrograph.pixel_size:
        return 1.0
    scale = pixel_size / micrograph.pixel_size
    return 1.0 if abs(scale - 1) < SIZES_AGREE else scale
