"""Information imbalance: how much one space tells of another.

``D(A -> B) = 2/N <rank in B of the k nearest neighbours in A>`` (Glielmo et al., PNAS Nexus
1:pgac039, 2022): about 0 where neighbours in A are neighbours in B, so that A tells B, and 1
where A tells nothing of B. Its least value is (k + 1)/N and not 0, so
``(D - floor)/(1 - floor)`` is given, too. Rows that are the same in a space are dropped, since
they have no order, and their number is told; a truth of classes is smeared by a small noise.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.metrics.pictures import INK, PALE, SERIES, new_figure, save_figure, style_axes
from apbc.metrics.ranks import Neighbours
from apbc.metrics.record import write_table
from apbc.progress import track

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

COUNTS = (1, 3, 10, 30, 100, 300)
AVERAGED_TO = 30
"""Figures are means over neighbourhoods up to this size."""
SUBSET = 2000
FEWEST_POINTS = 20
MOST_POINTS = 10_000
"""Images in a part; memory grows with the square."""
SMEAR = 0.01
TABLE, PICTURE = "imbalance.csv", "imbalance.png"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Imbalance:
    """Information imbalance of a latent space and another space, both ways.

    Attributes
    ----------
    counts : ndarray of int, shape (k,)
        Sizes of the neighbourhood.
    from_latent, to_latent : ndarray, shape (subsets, k)
        Raw: does the latent space tell the other one, and the other way round.
    size : int
        Images of a subset.
    retained, given : int
        Images with rows of their own, of all.
    """

    counts: IntArray
    from_latent: FloatArray
    to_latent: FloatArray
    size: int
    retained: int
    given: int

    @property
    def floor(self) -> FloatArray:
        """Least value possible, shape (k,)."""
        return (self.counts + 1) / self.size

    def corrected(self, raw: FloatArray) -> FloatArray:
        """Values from 0 (tells all) to 1 (tells nothing)."""
        corrected: FloatArray = (raw - self.floor) / (1 - self.floor)
        return corrected

    def averaged(self, raw: FloatArray) -> FloatArray:
        """Mean over the small neighbourhoods, shape (subsets,)."""
        few = self.counts <= AVERAGED_TO
        mean: FloatArray = raw[:, few if few.any() else slice(None)].mean(axis=1)
        return mean


def information_imbalance(
    first: FloatArray, second: FloatArray, counts: Sequence[int] = COUNTS, seed: int = 0
) -> tuple[FloatArray, FloatArray]:
    """Information imbalance of two spaces of the same points, both ways.

    Parameters
    ----------
    first, second : ndarray, shape (n, dimensions)
    counts : sequence of int, optional
        Sizes k of the neighbourhood, below n.
    seed : int, optional
        Breaks ties.

    Returns
    -------
    forward, backward : ndarray, shape (k,)
        D(first -> second) and D(second -> first), raw.

    Raises
    ------
    ApbcError
        If there are too few points.
    """
    n = len(first)
    sizes = np.asarray(counts, np.int64)
    if sizes.min() < 1 or sizes.max() >= n:
        raise ApbcError(
            f"{n} points are too few for neighbourhoods of {sizes.max()}; give more, or smaller --k"
        )
    orders = []
    for place, points in enumerate((first, second)):
        neighbours = Neighbours(points, n - 1, 2 * seed + place)
        orders.append(np.concatenate([neighbours.block(rows) for rows in neighbours.blocks()]))
    ranks = []
    for order in orders:
        rank = np.zeros((n, n), np.int32)
        np.put_along_axis(rank, order, np.arange(1, n, dtype=np.int32)[None], axis=1)
        ranks.append(rank)
    largest = int(sizes.max())

    def means(order: IntArray, rank: npt.NDArray[np.int32]) -> FloatArray:
        of_neighbour = np.take_along_axis(rank, order[:, :largest], axis=1).mean(axis=0)
        mean: FloatArray = 2 / n * (of_neighbour.cumsum() / np.arange(1, largest + 1))[sizes - 1]
        return mean

    return means(orders[0], ranks[1]), means(orders[1], ranks[0])


def measure_imbalance(
    latents: FloatArray,
    other: FloatArray,
    counts: Sequence[int] | None = None,
    subset: int = SUBSET,
    seed: int = 0,
) -> Imbalance:
    """Information imbalance of a latent space and another space over random subsets.

    Parameters
    ----------
    latents, other : ndarray, shape (n, dimensions)
    counts : sequence of int, optional
        Sizes of the neighbourhood; default 1, 3, 10, 30, 100 and 300, as far as half a subset
        goes.
    subset : int, optional
        Images of a subset; there are as many subsets as fit, at least one.
    seed : int, optional

    Returns
    -------
    Imbalance

    Raises
    ------
    ApbcError
        If too few images have rows of their own.
    """
    kept = distinct_rows(latents, other)
    size = min(subset, len(kept))
    if size < FEWEST_POINTS:
        raise ApbcError(
            f"only {len(kept)} of {len(latents)} images have rows of their own, too few to compare "
            f"neighbours; give a space in which at least {FEWEST_POINTS} images differ"
        )
    if counts is None:
        counts = [k for k in COUNTS if k <= size // 2]
    order = np.random.default_rng(seed).permutation(kept)
    parts = [order[start : start + size] for start in range(0, len(kept) - size + 1, size)]
    found = [
        information_imbalance(latents[rows], other[rows], counts, seed + place)
        for place, rows in enumerate(track(parts, len(parts), "subsets"))
    ]
    return Imbalance(
        np.array(counts, np.int64),
        np.array([forward for forward, _ in found]),
        np.array([backward for _, backward in found]),
        size,
        len(kept),
        len(latents),
    )


def distinct_rows(*spaces: FloatArray) -> IntArray:
    """Rows that are the first of their kind in every space, in order."""
    kept = np.arange(len(spaces[0]))
    for points in spaces:
        first = np.unique(points[kept], axis=0, return_index=True)[1]
        kept = kept[np.sort(first)]
    return kept


def smeared(points: FloatArray, seed: int = 0) -> FloatArray:
    """Points with a small noise, so that images of one structure do not tie.

    The noise is a hundredth of the usual distance of a structure to the nearest other one;
    points that all differ stay as they are.

    Parameters
    ----------
    points : ndarray, shape (n, dimensions)
    seed : int, optional

    Returns
    -------
    ndarray, shape (n, dimensions)
    """
    distinct = np.unique(points, axis=0)
    if len(distinct) == len(points):
        return points
    # Another stream than a simulation of the same seed has.
    rng = np.random.default_rng((seed, len(points)))
    few = distinct[rng.permutation(len(distinct))[:SUBSET]]
    squared = np.square(few[:, None] - few).sum(axis=2) if len(few) <= 200 else None
    if squared is None:
        from scipy.spatial import cKDTree

        nearest = cKDTree(few).query(few, k=2)[0][:, 1]
    else:
        np.fill_diagonal(squared, np.inf)
        nearest = np.sqrt(squared.min(axis=1))
    scale = SMEAR * float(np.median(nearest))
    noise: FloatArray = points + scale * rng.standard_normal(points.shape)
    return noise


def perfect_imbalance(
    truth: FloatArray, counts: Sequence[int] | None = None, subset: int = SUBSET, seed: int = 0
) -> Imbalance:
    """Information imbalance of the truth and the truth with another smear.

    It is what a perfect latent space would have. Of one subset, with no error bar.

    Parameters
    ----------
    truth : ndarray, shape (n, dimensions)
        Not smeared.
    counts, subset, seed
        As of `measure_imbalance`.

    Returns
    -------
    Imbalance
    """
    rows = np.random.default_rng(seed).permutation(len(truth))[:subset]
    first, second = smeared(truth[rows], seed), smeared(truth[rows], seed + 1)
    return measure_imbalance(first, second, counts, subset, seed)


def imbalance_figures(measured: Mapping[str, Imbalance]) -> dict[str, float | None]:
    """Figures of the imbalance of a latent space and other spaces.

    Parameters
    ----------
    measured : mapping of str to Imbalance
        By name of the other space.

    Returns
    -------
    dict of str to float or None
        For each space ``latent_to_NAME`` and ``NAME_to_latent``, corrected, with the standard
        error ``_se`` over subsets, and ``_raw``.
    """
    figures: dict[str, float | None] = {}
    for name, result in measured.items():
        for key, raw in (
            (f"latent_to_{name}", result.from_latent),
            (f"{name}_to_latent", result.to_latent),
        ):
            values = result.averaged(result.corrected(raw))
            figures[key] = float(values.mean())
            figures[f"{key}_se"] = standard_error(values)
            figures[f"{key}_raw"] = float(result.averaged(raw).mean())
        figures[f"{name}_images_retained"] = result.retained
        figures[f"{name}_subsets"] = len(result.from_latent)
    return figures


def standard_error(values: FloatArray) -> float | None:
    """Return the standard error of a mean; None for one value."""
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else None


def write_imbalance_table(folder: Path, measured: Mapping[str, Imbalance]) -> None:
    """Write ``imbalance.csv``: a row a space, direction and size of neighbourhood.

    Parameters
    ----------
    folder : Path
    measured : mapping of str to Imbalance

    Raises
    ------
    ApbcError
        If the file cannot be written.
    """
    rows = [
        (
            start,
            end,
            int(k),
            float(raw[:, place].mean()),
            standard_error(raw[:, place]),
            float(result.corrected(raw)[:, place].mean()),
            standard_error(result.corrected(raw)[:, place]),
            float(result.floor[place]),
            len(raw),
            result.size,
            result.retained,
            result.given,
        )
        for name, result in measured.items()
        for start, end, raw in (
            ("latent", name, result.from_latent),
            (name, "latent", result.to_latent),
        )
        for place, k in enumerate(result.counts)
    ]
    heading = (
        "from", "to", "k", "raw", "raw_se", "corrected", "corrected_se", "floor", "subsets",
        "subset_images", "images_retained", "images",
    )  # fmt: skip
    write_table(folder / TABLE, dict(zip(heading, map(list, zip(*rows, strict=True)), strict=True)))


def draw_imbalance(
    path: Path, measured: Mapping[str, Imbalance], name: str, perfect: float
) -> None:
    """Draw the plane of both directions, and the imbalance by size of the neighbourhood.

    Parameters
    ----------
    path : Path
    measured : mapping of str to Imbalance
    name : str
        Of the method.
    perfect : float
        Imbalance of a perfect latent space to the truth.

    Raises
    ------
    ApbcError
        If the file cannot be written.
    """
    figure = new_figure(12, 5)
    plane, curves = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
    plane.plot([0, 1], [0, 1], ":", color=PALE)
    plane.plot(perfect, perfect, "x", color=INK, markersize=9, label="truth, perfect latent")
    for (other, result), colour in zip(measured.items(), SERIES, strict=False):
        across = result.averaged(result.corrected(result.from_latent))
        up = result.averaged(result.corrected(result.to_latent))
        plane.errorbar(
            across.mean(),
            up.mean(),
            xerr=standard_error(across) or 0,
            yerr=standard_error(up) or 0,
            fmt="o",
            color=colour,
            markersize=9,
            label=other,
        )
        for raw, dashes, way in (
            (result.from_latent, "-", f"latent → {other}"),
            (result.to_latent, "--", f"{other} → latent"),
        ):
            values = result.corrected(raw)
            curves.errorbar(
                result.counts,
                values.mean(axis=0),
                yerr=values.std(axis=0, ddof=1) / len(values) ** 0.5 if len(values) > 1 else None,
                fmt="o",
                linestyle=dashes,
                color=colour,
                markersize=4,
                label=way,
            )
    plane.set_xlim(-0.03, 1.08)
    plane.set_ylim(-0.03, 1.08)
    curves.set_xscale("log")
    curves.set_ylim(-0.03, 1.08)
    plane.legend(frameon=False, labelcolor=INK)
    curves.legend(frameon=False, labelcolor=INK, fontsize=9)
    style_axes(
        plane,
        f"Information imbalance of {name}",
        "latent → other (0 tells all, 1 nothing)",
        "other → latent",
    )
    style_axes(curves, "by size of the neighbourhood", "k", "imbalance, floor taken out")
    save_figure(figure, path)
