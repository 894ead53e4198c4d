"""Score picks against known particles.

A pick is right when it lies within half a diameter of a particle that no other
pick has claimed, the closest pair first. Precision, recall and F1 are means over
the micrographs of TRUTH. Average precision and the best F1 take all scored picks
together, the best first; give the folder candidates/ of apbc pick for them, which
holds the picks below the threshold, too. Where a CSV of TRUTH has a column visible,
particles with a 0 there need not be found, and picks on them do not count; those with
a 0 in a column class are junk, no particles. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apbc.errors import ApbcError
from apbc.geometry import angstrom_to_pixels

if TYPE_CHECKING:
    from apbc.evaluation.authors import AuthorsFigures
    from apbc.evaluation.figures import Figures

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``apbc evaluate``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    files = "folder of .csv, .box or .star files, or one star file"
    parser.add_argument("picks", type=Path, metavar="PICKS", help=files)
    parser.add_argument("truth", type=Path, metavar="TRUTH", help=f"known particles: {files}")
    parser.add_argument(
        "--diameter", type=float, required=True, metavar="A", help="particle diameter in Å"
    )
    parser.add_argument(
        "--pixel-size",
        type=float,
        metavar="A",
        help="Å per pixel of the coordinates; default: run.json beside the picks, else 1",
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
        help="pixels of the micrographs; default: run.json beside the picks",
    )
    parser.add_argument(
        "--threshold", type=float, metavar="P", help="count only picks of at least this score"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="micrographs to score; default: all of TRUTH"
    )
    parser.add_argument(
        "--authors-rule",
        action="store_true",
        help="also count as the authors of DeepCryoPicker do: every pick on a particle is right, "
        "also a second one, and missed is the difference of particles and right picks",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    parser.add_argument(
        "--curve", type=Path, metavar="CSV", help="write precision and recall by threshold here"
    )
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the curves here")


def check_sizes(args: argparse.Namespace) -> None:
    """Refuse a diameter, a pixel size or an edge that cannot be.

    Parameters
    ----------
    args : argparse.Namespace
        With ``diameter``, ``pixel_size`` and ``edge``.

    Raises
    ------
    ApbcError
    """
    for name, value in (("--diameter", args.diameter), ("--pixel-size", args.pixel_size)):
        if value is not None and not value > 0:
            raise ApbcError(f"{name} {value:g} is not a size; give Å above 0")
    if args.edge < 0:
        raise ApbcError(f"--edge {args.edge:g} is below 0; give Å from the border inwards")


def run(args: argparse.Namespace) -> int:
    """Run ``apbc evaluate``.

    Parameters
    ----------
    args : argparse.Namespace

    Returns
    -------
    int
        0.
    """
    # Here, so that the help of the command needs neither scipy nor Matplotlib.
    from apbc.evaluation.authors import authors_dict, score_as_authors
    from apbc.evaluation.figures import score_picks
    from apbc.evaluation.reference import particles_of
    from apbc.io.coordinates import read_coordinate_folder, read_truth_columns
    from apbc.io.files import plain, write_json
    from apbc.io.runs import pixel_size_beside, run_beside

    check_sizes(args)
    known = run_beside(args.picks)
    pixel_size = pixel_size_beside(args.pixel_size, [args.picks])
    picks, columns = read_coordinate_folder(args.picks), read_truth_columns(args.truth)
    truth = {
        name: particles_of(points, columns.get(name))
        for name, points in read_coordinate_folder(args.truth).items()
    }
    names = sorted(truth if args.only is None else args.only)
    _check_names(names, picks, args)
    if args.threshold is not None and not _any_scored(picks):
        raise ApbcError(f"{args.picks} has no scores; leave --threshold out")
    shapes = None
    if args.shape:
        shapes = dict.fromkeys(names, tuple(args.shape))
    elif args.edge:
        shapes = {name: tuple(shape) for name, shape in (known.get("shapes") or {}).items()}
    radius = angstrom_to_pixels(args.diameter, pixel_size) / 2
    figures = score_picks(
        picks,
        truth,
        radius,
        shapes=shapes,
        edge=angstrom_to_pixels(args.edge, pixel_size),
        threshold=args.threshold,
        only=args.only,
    )
    _write_curves(figures, args)
    table, result = _table(figures), figures.as_dict(pixel_size)
    if args.authors_rule:
        rows = score_as_authors(figures, truth, radius)
        table += _authors_table(rows)
        result["authors_rule"] = authors_dict(rows)
    result = plain(result)
    if args.json:
        write_json(args.json, result)
    sys.stdout.write(table + json.dumps(result, ensure_ascii=False) + "\n")
    return 0


def _check_names(names: list[str], picks: Mapping[str, Any], args: argparse.Namespace) -> None:
    without = [name for name in names if name not in picks]
    if names and len(without) == len(names):
        raise ApbcError(
            f"{args.picks} has picks for none of the {len(names)} micrographs of {args.truth} "
            f"(such as {names[0]}); name the files alike"
        )
    if without:
        logger.warning(
            "%d of %d micrographs have no picks and count as recall 0: %s; --only NAME leaves "
            "them out",
            len(without),
            len(names),
            ", ".join(without[:3]) + (", ..." if len(without) > 3 else ""),
        )


def _any_scored(picks: Mapping[str, Any]) -> bool:
    """Tell whether a pick has a score; a set without picks counts as scored."""
    scores = [score for c in picks.values() for score in c[:, 2]]
    return not scores or any(score == score for score in scores)


def _write_curves(figures: Figures, args: argparse.Namespace) -> None:
    if not (args.curve or args.plot):
        return
    if figures.curve is None:
        logger.warning("%s has no picks with scores, so no curve is written", args.picks)
        return
    from apbc.display.curves import draw_curve
    from apbc.io.files import write_text

    if args.curve:
        curve = figures.curve
        columns = zip(curve.threshold, curve.precision, curve.recall, curve.f1, strict=True)
        rows = [f"{t:.6f},{p:.6f},{r:.6f},{f:.6f}\n" for t, p, r, f in columns]
        write_text(args.curve, "threshold,precision,recall,f1\n" + "".join(rows))
    if args.plot:
        draw_curve(args.plot, figures.curve)


def _table(figures: Figures) -> str:
    width = max(10, *(len(m.name) for m in figures.per_micrograph))
    head = f"{'micrograph':{width}}  truth  picks   hits  precision  recall     F1\n"
    rows = [
        f"{m.name:{width}} {m.truth:6d} {m.picks:6d} {m.hits:6d}  {m.precision:9.3f}  "
        f"{m.recall:6.3f}  {m.f1:5.3f}\n"
        for m in figures.per_micrograph
    ]
    truth, picks, hits = (
        sum(getattr(m, key) for m in figures.per_micrograph) for key in ("truth", "picks", "hits")
    )
    mean = (
        f"{'sum, mean':{width}} {truth:6d} {picks:6d} {hits:6d}  {figures.precision:9.3f}  "
        f"{figures.recall:6.3f}  {figures.f1:5.3f}\n"
    )
    return head + "".join(rows) + mean


def _authors_table(rows: list[AuthorsFigures]) -> str:
    width = max(10, *(len(row.name) for row in rows))
    head = (
        f"{'as authors':{width}}  truth     TP     FP     FN  precision  recall  accuracy     F1\n"
    )
    return head + "".join(
        f"{row.name:{width}} {row.truth:6d} {row.true:6d} {row.false:6d} {row.missed:6d}  "
        f"{row.precision:9.3f}  {row.recall:6.3f}  {row.accuracy:8.3f}  {row.f1:5.3f}\n"
        for row in rows
    )
