"""Error of poses after the best common rotation, hand and offset.

PREDICTED and TRUE are .star files (angles, origins), .csv tables (image or id, rot, tilt, psi,
shift_x, shift_y: truth.csv of apbc simulate particles) or cryoDRGN's poses.pkl. Images match by
identifier, and tables without identifiers by their order. A structure refined from nothing lies
in a frame of its own, so with --labels every class is aligned by itself.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from apbc.commands.metrics import add_output_arguments, add_seed_argument
from apbc.errors import ApbcError

if TYPE_CHECKING:
    from apbc.io.poses import PoseTable
    from apbc.metrics.pose_error import FloatArray
    from apbc.metrics.pose_table import Poses

NO_SYMMETRY = "C1"
SIMULATION = "simulation.json"

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``apbc metrics pose``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument("predicted", type=Path, metavar="PREDICTED", help="poses to measure")
    parser.add_argument("true", type=Path, metavar="TRUE", help="poses that are right")
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="CSV",
        help="class of each image (image or id, class); default: TRUE, if it has a column class",
    )
    parser.add_argument(
        "--frames",
        choices=("class", "common", "fixed"),
        help="align each class by itself (default with --labels), all images together (default "
        "without), or nothing",
    )
    parser.add_argument(
        "--symmetry",
        default=NO_SYMMETRY,
        metavar="GROUP",
        help="point group of all structures, Relion's "
        "axes: C1 (default), Cn, Dn, T, O, I, I1 to I4",
    )
    parser.add_argument(
        "--symmetry-table",
        type=Path,
        metavar="CSV",
        help="point group of each structure (class, symmetry) instead; or simulation.json",
    )
    parser.add_argument(
        "--fixed-hand", action="store_true", help="do not try the mirrored structure"
    )
    parser.add_argument(
        "--box-length",
        type=float,
        metavar="A",
        help="side of the box, which translations of poses.pkl are fractions of; default: "
        "simulation.json beside the file, else translations of pickles are left out",
    )
    parser.add_argument("--subset", action="store_true", help="PREDICTED may lack images of TRUE")
    add_seed_argument(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run ``apbc metrics pose``.

    Parameters
    ----------
    args : argparse.Namespace

    Returns
    -------
    int
        0.
    """
    # Here, so that the help of the command needs neither scipy nor Matplotlib.
    from apbc.metrics.catalogue import tell_record
    from apbc.metrics.pose_table import (
        CLASSES_TABLE,
        IMAGES_TABLE,
        PICTURE,
        draw_poses,
        measure_poses,
        pose_figures,
        write_pose_tables,
    )
    from apbc.metrics.record import Record, write_record

    if args.box_length is not None and not args.box_length > 0:
        raise ApbcError(f"--box-length {args.box_length:g} is not a size; give Å above 0")
    poses, left_out = _matched(args)
    frames = args.frames or ("class" if args.labels else "common")
    symmetry = _symmetry_table(args.symmetry_table) if args.symmetry_table else args.symmetry
    if symmetry == NO_SYMMETRY:
        _warn_of_symmetry(args.true)
    measured = measure_poses(poses, frames, symmetry, not args.fixed_hand, args.seed)
    write_pose_tables(args.out, measured)
    draw_poses(args.out / PICTURE, measured, args.name)
    record = Record(
        "pose",
        args.name,
        {
            "predicted": args.predicted,
            "true": args.true,
            "labels": args.labels,
            "frames": frames,
            "symmetry": symmetry,
            "fixed_hand": args.fixed_hand,
            "seed": args.seed,
        },
        {**pose_figures(measured), "junk_left_out": left_out},
        (IMAGES_TABLE, CLASSES_TABLE),
        (PICTURE,),
    )
    write_record(args.out, record)
    tell_record(record)
    return 0


def _matched(args: argparse.Namespace) -> tuple[Poses, int]:
    """Poses of the images of both tables, and how many junk images were left out."""
    import numpy as np

    from apbc.io.poses import read_pose_table
    from apbc.io.tables import ids_of, match_rows
    from apbc.metrics.pose_table import Poses
    from apbc.metrics.truth import JUNK, is_junk

    box = args.box_length
    predicted = read_pose_table(args.predicted, box or _box_length(args.predicted, args.true))
    true = read_pose_table(args.true, box or _box_length(args.true))
    rows, others = match_rows(
        predicted.ids,
        true.ids,
        (len(predicted.rotations), len(true.rotations)),
        (str(args.predicted), str(args.true)),
        args.subset,
    )
    ids = ids_of(predicted.ids, true.ids, rows, others)
    labels = ["all"] * len(rows)
    label_file = args.labels or _label_file(args.true)
    if label_file:
        from apbc.io.latents import read_labels

        label_ids, given = read_labels(label_file)
        _, places = match_rows(
            ids, label_ids, (len(ids), len(given)), (str(args.true), str(label_file)), subset=True
        )
        labels = [given[place] for place in places]
    kept = np.flatnonzero([not is_junk(label) for label in labels])
    if not len(kept):
        raise ApbcError(f"{label_file} calls every image junk (class {JUNK}); nothing is left")
    rows, others = rows[kept], others[kept]
    shifts = _shifts(predicted, true)
    return (
        Poses(
            [ids[row] for row in kept],
            predicted.rotations[rows],
            true.rotations[others],
            None if shifts is None else (shifts[0][rows], shifts[1][others]),
            [labels[row] for row in kept],
        ),
        len(labels) - len(kept),
    )


def _shifts(predicted: PoseTable, true: PoseTable) -> tuple[FloatArray, FloatArray] | None:
    if predicted.shifts is not None and true.shifts is not None:
        return predicted.shifts, true.shifts
    without = predicted if predicted.shifts is None else true
    if (predicted.shifts is None) != (true.shifts is None):
        logger.warning("%s has no translations, so their error is not measured", without.path)
    return None


def _label_file(true: Path) -> Path | None:
    """Return the table of the true poses, if it tells classes, too."""
    from apbc.io.tables import read_table

    return true if true.suffix.lower() == ".csv" and "class" in read_table(true) else None


def _symmetry_table(path: Path) -> dict[str, str]:
    from apbc.io.files import read_json
    from apbc.io.tables import read_table

    if path.suffix.lower() == ".json":
        values = read_json(path)
        try:
            return {str(one["class"]): str(one["symmetry"]) for one in values["structures"]}
        except (KeyError, TypeError) as error:
            raise ApbcError(
                f"{path} does not tell the symmetry of structures; give the simulation.json of "
                "apbc simulate particles, or a CSV table (class, symmetry)"
            ) from error
    table = read_table(path)
    return dict(zip(table.text("class"), table.text("symmetry"), strict=True))


def _warn_of_symmetry(true: Path) -> None:
    """Tell of symmetry that the simulator wrote beside the true poses and that is not heeded."""
    from apbc.io.files import read_json

    record = true.parent / SIMULATION
    if not record.is_file():
        return
    structures = read_json(record).get("structures", [])
    symmetric = [s for s in structures if s.get("symmetry", NO_SYMMETRY) != NO_SYMMETRY]
    if symmetric:
        logger.warning(
            "%s tells that %s has the symmetry %s, and equivalent poses count as wrong; give "
            "--symmetry-table %s",
            record,
            symmetric[0].get("name", "a structure"),
            symmetric[0]["symmetry"],
            record,
        )


def _box_length(*files: Path) -> float | None:
    """Side of the box in Å that the simulator wrote beside the first of these files."""
    from apbc.io.files import read_json

    for file in files:
        record = file.parent / SIMULATION
        if record.is_file():
            values = read_json(record)
            if {"box_size", "pixel_size"} <= values.keys():
                return float(values["box_size"]) * float(values["pixel_size"])
    return None
