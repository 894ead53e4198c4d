"""Score several pickers against one reference.

Every picker is scored as apbc evaluate scores one, on the micrographs of the reference. DIR gets
compare.json, tables (compare.csv, per_micrograph.csv, agreement.csv, curves.csv), pictures, and
report.html with all of it. Give folders candidates/ of apbc pick with --threshold NAME=P for
curves that go on below the threshold.

Where the CSV files of the reference have columns class, or rot and tilt, recall is told by class
and by view, and so is what a picker loses. Particles with a 0 in a column visible need not be
found, and picks on them do not count. With masks, contamination.csv tells where false picks fall.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apbc.commands.evaluate import check_sizes
from apbc.errors import ApbcError
from apbc.geometry import angstrom_to_pixels

if TYPE_CHECKING:
    from apbc.evaluation.compare import Comparison, Picker
    from apbc.evaluation.reference import Particles
    from apbc.io.mrc import MrcLayout

logger = logging.getLogger(__name__)

MOST_NAMED = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``apbc compare``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    files = "folder of .csv, .box or .star files, or one star file"
    parser.add_argument(
        "pickers",
        nargs="+",
        metavar="NAME=PICKS",
        help=f"what the picker is called, and its picks: {files}",
    )
    parser.add_argument(
        "--reference", type=Path, required=True, metavar="DIR", help=f"known particles: {files}"
    )
    parser.add_argument(
        "--diameter", type=float, required=True, metavar="A", help="particle diameter in Å"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the report"
    )
    parser.add_argument(
        "--pixel-size",
        type=float,
        metavar="A",
        help="Å per pixel of the coordinates; default: run.json beside picks, else 1",
    )
    parser.add_argument(
        "--edge",
        type=float,
        default=0.0,
        metavar="A",
        help="leave out picks and particles nearer to the border than this (Å), default 0",
    )
    parser.add_argument(
        "--shape",
        type=int,
        nargs=2,
        metavar=("ROWS", "COLS"),
        help="pixels of the micrographs; default: those of the masks, or run.json beside picks",
    )
    parser.add_argument(
        "--threshold",
        action="append",
        default=[],
        metavar="NAME=P",
        help="count only picks of that picker of at least this score; may be given for each",
    )
    parser.add_argument(
        "--masks",
        type=Path,
        metavar="DIR",
        help="contamination: an MRC image a micrograph, as apbc simulate micrographs writes them",
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="micrographs to score; default: all of DIR"
    )


def run(args: argparse.Namespace) -> int:
    """Run ``apbc compare``.

    Parameters
    ----------
    args : argparse.Namespace

    Returns
    -------
    int
        0.
    """
    # Here, so that the help of the command needs neither scipy nor Matplotlib.
    from apbc.display.comparison_report import write_report
    from apbc.evaluation.compare import compare, sentences
    from apbc.evaluation.contamination import find_masks
    from apbc.io.runs import pixel_size_beside

    check_sizes(args)
    places = {name: Path(path) for name, path in _pairs(args.pickers, "NAME=PICKS").items()}
    pixel_size = pixel_size_beside(args.pixel_size, list(places.values()))
    pickers = _read_pickers(places, args.threshold)
    reference = _read_reference(args, pickers)
    masks = None if args.masks is None else find_masks(args.masks, sorted(reference))
    if masks is not None and len(masks) < len(reference):
        without = [name for name in reference if name not in masks]
        logger.warning(
            "%d of %d micrographs have no mask (%s); their false picks are not sorted",
            len(without),
            len(reference),
            _named(without),
        )
    comparison = compare(
        pickers,
        reference,
        angstrom_to_pixels(args.diameter, pixel_size) / 2,
        pixel_size,
        _shapes(args, reference, places, masks),
        angstrom_to_pixels(args.edge, pixel_size),
        masks,
    )
    parameters = {
        "reference": args.reference,
        "picks": places,
        "diameter": args.diameter,
        "pixel_size": pixel_size,
        "edge": args.edge,
        "threshold": {name: p.threshold for name, p in pickers.items() if p.threshold is not None},
        "masks": args.masks,
    }
    write_report(args.out, comparison, parameters)
    sys.stdout.write(_table(comparison) + "".join(f"{told}\n" for told in sentences(comparison)))
    logger.info("the report is %s", args.out / "report.html")
    return 0


def _pairs(words: list[str], form: str) -> dict[str, str]:
    """Split NAME=VALUE words; every name once."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = (part.strip() for part in word.partition("="))
        if not (name and equals and value):
            raise ApbcError(f"'{word}' is not {form}; put a name and = before it")
        if name in found:
            raise ApbcError(f"the picker {name} is given twice; give every one a name of its own")
        found[name] = value
    return found


def _read_pickers(places: Mapping[str, Path], thresholds: list[str]) -> dict[str, Picker]:
    from apbc.evaluation.compare import Picker
    from apbc.io.coordinates import read_coordinate_folder

    told = _pairs(thresholds, "NAME=P")
    limits: dict[str, float] = {}
    for name, text in told.items():
        if name not in places:
            raise ApbcError(
                f"--threshold {name}={text} is of no picker; there are {', '.join(places)}"
            )
        try:
            limits[name] = float(text)
        except ValueError as error:
            raise ApbcError(f"--threshold {name}={text} is no number; give a score") from error
        if limits[name] != limits[name]:
            raise ApbcError(f"--threshold {name}={text} is no number; give a score")
    pickers = {}
    for name, path in places.items():
        picks = read_coordinate_folder(path)
        scores = [score for points in picks.values() for score in points[:, 2]]
        if name in limits and scores and all(score != score for score in scores):
            raise ApbcError(f"{path} has no scores; leave --threshold {name}=... out")
        pickers[name] = Picker(picks, limits.get(name))
    return pickers


def _read_reference(
    args: argparse.Namespace, pickers: Mapping[str, Picker]
) -> dict[str, Particles]:
    """Known particles of the micrographs that are compared."""
    from apbc.evaluation.reference import particles_of
    from apbc.io.coordinates import read_coordinate_folder, read_truth_columns

    known, columns = read_coordinate_folder(args.reference), read_truth_columns(args.reference)
    for name in args.only or ():
        if name not in known:
            raise ApbcError(f"micrograph {name} has no known particles; check the name")
    names = args.only or [name for name in known if any(name in p.picks for p in pickers.values())]
    left_out = sorted(set(known) - set(names))
    if not names:
        raise ApbcError(
            f"there are picks on none of the {len(known)} micrographs of {args.reference} "
            f"(such as {next(iter(known))}); name the files alike"
        )
    if left_out and not args.only:
        logger.warning(
            "%d of %d micrographs of the reference have picks of no picker and are left out: %s",
            len(left_out),
            len(known),
            _named(left_out),
        )
    for picker, found in pickers.items():
        without = [name for name in names if name not in found.picks]
        if without:
            logger.warning(
                "%s has no file of picks for %d of %d micrographs, which count as recall 0: %s; "
                "--only NAME leaves them out",
                picker,
                len(without),
                len(names),
                _named(without),
            )
    return {name: particles_of(known[name], columns.get(name)) for name in names}


def _shapes(
    args: argparse.Namespace,
    reference: Mapping[str, Any],
    places: Mapping[str, Path],
    masks: Mapping[str, MrcLayout] | None,
) -> dict[str, tuple[int, int]] | None:
    """Sizes of the micrographs, where an edge is left out."""
    from apbc.io.runs import run_beside

    if args.shape:
        return dict.fromkeys(reference, tuple(args.shape))
    if not args.edge:
        return None
    shapes: dict[str, tuple[int, int]] = {}
    for path in places.values():
        for name, (rows, columns) in (run_beside(path).get("shapes") or {}).items():
            shapes[name] = (int(rows), int(columns))
    shapes.update({name: (mask.rows, mask.columns) for name, mask in (masks or {}).items()})
    return shapes


def _named(names: list[str]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (", ..." if len(names) > MOST_NAMED else "")


def _table(comparison: Comparison) -> str:
    width = max(10, *(len(name) for name in comparison.figures))
    head = f"{'picker':{width}}  picks   hits  precision  recall     F1  average precision\n"
    rows = []
    for name in comparison.ranking:
        figures = comparison.figures[name]
        picks, hits = (
            sum(getattr(m, key) for m in figures.per_micrograph) for key in ("picks", "hits")
        )
        average = figures.average_precision
        rows.append(
            f"{name:{width}} {picks:6d} {hits:6d}  {figures.precision:9.3f}  "
            f"{figures.recall:6.3f}  {figures.f1:5.3f}  "
            f"{'-' if average is None else f'{average:.3f}':>17}\n"
        )
    return head + "".join(rows)
