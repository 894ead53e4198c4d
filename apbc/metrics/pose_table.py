"""Pose errors of tables of images: matched, class by class, with figures, CSV and pictures."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from apbc.errors import ApbcError
from apbc.metrics.pictures import INK, SERIES, new_figure, save_figure, style_axes
from apbc.metrics.pose_error import (
    FEWEST_IMAGES,
    Frame,
    PoseErrors,
    find_frame,
    pose_errors,
    random_angle,
)
from apbc.metrics.record import write_table
from apbc.metrics.symmetry import symmetry_matrices

FloatArray = npt.NDArray[np.float64]

FRAMES = ("class", "common", "fixed")
WITHIN_DEGREES = (5.0, 10.0)
IMAGES_TABLE, CLASSES_TABLE, PICTURE = "images.csv", "classes.csv", "pose_error.png"
MOST_BARS = 40

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Poses:
    """Poses of the same images, predicted and true.

    Attributes
    ----------
    ids : list of str
    predicted, true : ndarray, shape (n, 3, 3)
    shifts : (ndarray, ndarray) or None
        Places of the centre in the box, Å, shape (n, 2), predicted and true.
    labels : list of str
        Class of each image.
    """

    ids: list[str]
    predicted: FloatArray
    true: FloatArray
    shifts: tuple[FloatArray, FloatArray] | None
    labels: list[str]


@dataclass(frozen=True)
class MeasuredPoses:
    """Errors of all images, class by class.

    Attributes
    ----------
    poses : Poses
    classes : dict of str to PoseErrors
    rows : dict of str to ndarray of int
        Images of each class, in the order of its errors.
    symmetry : dict of str to str
        Point group of each class.
    """

    poses: Poses
    classes: dict[str, PoseErrors]
    rows: dict[str, npt.NDArray[np.int64]]
    symmetry: dict[str, str]

    def per_image(self, name: str) -> FloatArray:
        """Errors of all images, shape (n,); `name` is an attribute of `PoseErrors`."""
        values = np.empty(len(self.poses.ids))
        for label, rows in self.rows.items():
            values[rows] = getattr(self.classes[label], name)
        return values


def measure_poses(
    poses: Poses,
    frames: str,
    symmetry: str | Mapping[str, str] = "C1",
    hand: bool = True,
    seed: int = 0,
) -> MeasuredPoses:
    """Errors of poses, each class, all classes, or none brought to the frame of the truth.

    Parameters
    ----------
    poses : Poses
    frames : {"class", "common", "fixed"}
        Which images share a frame; ``"fixed"`` compares the poses as they are.
    symmetry : str or mapping of str to str
        Point group of all structures, or of each class.
    hand : bool, optional
        Allow the mirrored structure.
    seed : int, optional

    Returns
    -------
    MeasuredPoses

    Raises
    ------
    ApbcError
        If a class has too few images for a frame, or no symmetry is given for it.
    """
    labels = np.array(poses.labels)
    names = sorted(set(poses.labels), key=_in_order)
    groups = _groups(names, symmetry)
    rows = {name: np.flatnonzero(labels == name) for name in names}
    matrices = {name: symmetry_matrices(groups[name]) for name in names}
    if frames == "class":
        small = [name for name in names if len(rows[name]) < FEWEST_IMAGES]
        if small:
            raise ApbcError(
                f"class {small[0]} has {len(rows[small[0]])} images, too few to find its frame; "
                f"give at least {FEWEST_IMAGES} of every class, or --frames common"
            )
        found = {
            name: find_frame(
                poses.predicted[rows[name]], poses.true[rows[name]], matrices[name], hand, seed
            )
            for name in names
        }
    elif frames == "common":
        if len(set(groups.values())) > 1:
            raise ApbcError(
                "structures of different symmetry cannot share one frame; give --frames class"
            )
        shared = find_frame(poses.predicted, poses.true, matrices[names[0]], hand, seed)
        found = dict.fromkeys(names, shared)
    elif frames == "fixed":
        found = dict.fromkeys(names, Frame(np.eye(3), False, 0.0))
    else:
        raise ValueError(f"frames are one of {FRAMES}, not {frames}")
    classes = {}
    for name in names:
        chosen = rows[name]
        shifts = (
            None if poses.shifts is None else (poses.shifts[0][chosen], poses.shifts[1][chosen])
        )
        classes[name] = pose_errors(
            poses.predicted[chosen],
            poses.true[chosen],
            found[name],
            matrices[name],
            shifts,
            align_shifts=frames != "fixed",
        )
    return MeasuredPoses(poses, classes, rows, groups)


def pose_figures(measured: MeasuredPoses) -> dict[str, float | None]:
    """Figures of a measurement: over images, and over the means of classes.

    Parameters
    ----------
    measured : MeasuredPoses

    Returns
    -------
    dict of str to float or None
    """
    classes = measured.classes
    shown = [("angle", "deg"), ("direction", "deg"), ("frobenius", None), ("shift", "angstrom")]
    figures: dict[str, float | None] = {
        "images": len(measured.poses.ids),
        "classes": len(classes),
    }
    for name, unit in shown:
        key = name if unit is None else f"{name}_{unit}"
        if name == "shift" and measured.poses.shifts is None:
            continue
        values = measured.per_image(name)
        per_class = [np.asarray(getattr(errors, name)) for errors in classes.values()]
        figures[f"{key}_mean"] = float(values.mean())
        figures[f"{key}_median"] = float(np.median(values))
        figures[f"{key}_class_mean"] = float(np.mean([v.mean() for v in per_class]))
        figures[f"{key}_class_median"] = float(np.mean([np.median(v) for v in per_class]))
    angles = measured.per_image("angle")
    for limit in WITHIN_DEGREES:
        figures[f"within_{limit:g}_deg"] = float((angles <= limit).mean())
    figures["mirrored_classes"] = sum(errors.frame.mirrored for errors in classes.values())
    chance = {
        group: random_angle(symmetry_matrices(group)) for group in set(measured.symmetry.values())
    }
    of_image = [len(rows) * chance[measured.symmetry[name]] for name, rows in measured.rows.items()]
    figures["angle_deg_random"] = float(sum(of_image) / len(angles))
    return figures


def write_pose_tables(folder: Path, measured: MeasuredPoses) -> None:
    """Write ``images.csv`` and ``classes.csv``.

    Parameters
    ----------
    folder : Path
    measured : MeasuredPoses

    Raises
    ------
    ApbcError
        If a file cannot be written.
    """
    poses, classes = measured.poses, measured.classes
    shifted = poses.shifts is not None
    write_table(
        folder / IMAGES_TABLE,
        {
            "id": poses.ids,
            "class": poses.labels,
            "angle_deg": measured.per_image("angle").tolist(),
            "direction_deg": measured.per_image("direction").tolist(),
            "frobenius": measured.per_image("frobenius").tolist(),
            **({"shift_angstrom": measured.per_image("shift").tolist()} if shifted else {}),
        },
    )
    means = {
        f"{key}_{what}": [float(function(getattr(errors, name))) for errors in classes.values()]
        for name, key in (
            ("angle", "angle_deg"),
            ("direction", "direction_deg"),
            ("frobenius", "frobenius"),
            *((("shift", "shift_angstrom"),) if shifted else ()),
        )
        for what, function in (("mean", np.mean), ("median", np.median))
    }
    offsets = {
        f"offset_{axis}_angstrom": [
            None if errors.offset is None else float(errors.offset[place])
            for errors in classes.values()
        ]
        for place, axis in enumerate("xyz")
    }
    rotations = {
        f"frame_{row}{column}": [
            float(errors.frame.rotation[row, column]) for errors in classes.values()
        ]
        for row in range(3)
        for column in range(3)
    }
    write_table(
        folder / CLASSES_TABLE,
        {
            "class": list(classes),
            "images": [len(rows) for rows in measured.rows.values()],
            "symmetry": [measured.symmetry[name] for name in classes],
            "mirrored": [int(errors.frame.mirrored) for errors in classes.values()],
            **means,
            **(offsets if shifted else {}),
            **rotations,
        },
    )


def draw_poses(path: Path, measured: MeasuredPoses, name: str) -> None:
    """Draw the errors: how many images have which, and the spread within each class.

    Parameters
    ----------
    path : Path
    measured : MeasuredPoses
    name : str
        Of the method.

    Raises
    ------
    ApbcError
        If the file cannot be written.
    """
    shifted = measured.poses.shifts is not None
    figure = new_figure(16 if shifted else 11, 4.6)
    columns = 3 if shifted else 2
    axes = [figure.add_subplot(1, columns, place + 1) for place in range(columns)]
    angles, directions = measured.per_image("angle"), measured.per_image("direction")
    edges = _edges(angles)
    for values, colour, label in (
        (angles, SERIES[0], "rotation"),
        (directions, SERIES[1], "viewing direction alone"),
    ):
        axes[0].hist(
            np.minimum(values, edges[-1]),
            edges.tolist(),
            color=colour,
            alpha=0.55,
            label=f"{label}: median {np.median(values):.2f}°",
        )
    axes[0].legend(frameon=False, labelcolor=INK)
    style_axes(
        axes[0], f"Rotation error of {name}", "degrees (the last bar holds the rest)", "images"
    )
    _draw_classes(axes[1], measured)
    if shifted:
        shifts = measured.per_image("shift")
        edges = _edges(shifts)
        axes[2].hist(np.minimum(shifts, edges[-1]), edges.tolist(), color=SERIES[2], alpha=0.7)
        style_axes(
            axes[2],
            f"Translation error: median {np.median(shifts):.2f} Å",
            "Å (the last bar holds the rest)",
            "images",
        )
    save_figure(figure, path)


def _edges(errors: FloatArray) -> FloatArray:
    """Edges of bars from 0 on, which nearly all errors lie within."""
    return np.linspace(0, max(1.0, float(np.percentile(errors, 99.5))), 61)


def _draw_classes(axes: Axes, measured: MeasuredPoses) -> None:
    names = list(measured.classes)
    shown = names[:MOST_BARS]
    axes.boxplot(
        [measured.classes[name].angle for name in shown],
        positions=range(len(shown)),
        widths=0.6,
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": SERIES[5], "edgecolor": SERIES[0]},
        medianprops={"color": INK},
    )
    axes.set_ylim(0, max(1.0, 1.05 * axes.get_ylim()[1]))
    mirrored = [measured.classes[name].frame.mirrored for name in shown]
    ticks = [f"{name}*" if flip else name for name, flip in zip(shown, mirrored, strict=True)]
    axes.set_xticks(range(len(shown)), ticks, rotation=90 if len(shown) > 12 else 0)
    title = "Rotation error by class"
    if len(names) > len(shown):
        title += f" (first {len(shown)} of {len(names)})"
    style_axes(axes, title, "class" + (" (* other hand)" if any(mirrored) else ""), "degrees")


def _groups(names: list[str], symmetry: str | Mapping[str, str]) -> dict[str, str]:
    if isinstance(symmetry, str):
        return dict.fromkeys(names, symmetry)
    missing = [name for name in names if name not in symmetry]
    if missing:
        raise ApbcError(
            f"the symmetry table has no row for class {missing[0]}; give one for each class "
            f"({', '.join(names)})"
        )
    return {name: symmetry[name] for name in names}


def _in_order(name: str) -> tuple[bool, float, str]:
    """Key that sorts numbers by their size and puts names behind them."""
    try:
        return False, float(name), name
    except ValueError:
        return True, 0.0, name
