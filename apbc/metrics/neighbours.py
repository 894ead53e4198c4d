"""Neighbourhood similarity: how well a latent space keeps like structures together.

For k nearest neighbours, p(k) is the mean share of an image's neighbours in the latent space that
are also its neighbours in the space of the truth (CryoBench's "percentage of matching
neighbours"; Boggust et al. 2022, arXiv:1912.04853). Corrected against the original: an image is
not its own neighbour, and ties of the truth, such as all images of one structure, are broken at
random and not by their order. Since a tie can be broken in many ways even a perfect latent space
does not reach 100 %: its curve, and that of a random one, go with the measured curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.metrics.pictures import INK, PALE, SERIES, new_figure, save_figure, style_axes
from apbc.metrics.ranks import Neighbours
from apbc.metrics.record import write_table
from apbc.progress import track
from apbc.system.cores import workers

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

SUBSETS = 5
SHARES = tuple(range(1, 21))
"""Neighbourhoods in percent of the images of a subset: 200 to 4000 of CryoBench's 20,000."""
SHOWN_SHARES = (1, 5, 10)
FEWEST_POINTS = 20
CURVE_TABLE, POINTS_TABLE, PICTURE = "neighbours.csv", "points.csv", "neighbours.png"


@dataclass(frozen=True)
class Similarity:
    """Neighbourhood similarity of one set of points.

    Attributes
    ----------
    counts : ndarray of int, shape (k,)
        Sizes of the neighbourhood.
    similarity, ceiling, random : ndarray, shape (k,)
        Percent: measured, of a perfect latent space, and of a random one.
    per_point : ndarray, shape (n, k)
        Percent, of each point.
    """

    counts: IntArray
    similarity: FloatArray
    ceiling: FloatArray
    random: FloatArray
    per_point: npt.NDArray[np.float32]


@dataclass(frozen=True)
class SimilarityOfSubsets:
    """Neighbourhood similarity of several subsets.

    Attributes
    ----------
    parts : list of Similarity
    rows : list of ndarray of int
        Images of each subset.
    """

    parts: list[Similarity]
    rows: list[IntArray]

    def mean(self, name: str) -> FloatArray:
        """Mean over subsets of an attribute of `Similarity`, shape (k,)."""
        return np.mean([getattr(part, name) for part in self.parts], axis=0)

    def deviation(self) -> FloatArray:
        """Return the standard deviation of the similarity over subsets, shape (k,)."""
        values = [part.similarity for part in self.parts]
        return (
            np.std(values, axis=0, ddof=1) if len(values) > 1 else np.full(len(values[0]), np.nan)
        )

    def scores(self) -> FloatArray:
        """Similarity of each subset from 0 (random) to 1 (perfect), the mean over k."""
        return np.array([_score(part) for part in self.parts])


def neighbourhood_similarity(
    truth: FloatArray,
    latents: FloatArray,
    counts: Sequence[int],
    seed: int = 0,
    compat: bool = False,
) -> Similarity:
    """Share of neighbours that two spaces have in common, for all sizes at once.

    Parameters
    ----------
    truth, latents : ndarray, shape (n, dimensions)
        The same points in both spaces.
    counts : sequence of int
        Sizes k of the neighbourhood, below n.
    seed : int, optional
        Breaks ties.
    compat : bool, optional
        As CryoBench has it: a point is its own neighbour, ties go by the order of the points.

    Returns
    -------
    Similarity

    Raises
    ------
    ApbcError
        If there are too few points for the largest neighbourhood.
    """
    sizes = np.array(sorted(set(counts)), np.int64)
    n = len(truth)
    if not len(sizes) or sizes[0] < 1 or sizes[-1] >= n:
        raise ApbcError(
            f"neighbourhoods of {sizes[-1] if len(sizes) else 0} of {n} points cannot be compared; "
            f"give more points, or sizes from 1 to {n - 1}"
        )
    largest = int(sizes[-1])
    wide = min(largest, n - 1 + compat)
    seeds: list[int | None] = [None] * 3 if compat else [3 * seed, 3 * seed + 1, 3 * seed + 2]
    true, found, again = (
        Neighbours(points, wide, which, itself=compat)
        for points, which in zip((truth, latents, truth), seeds, strict=True)
    )

    def shared(rows: slice) -> tuple[IntArray, IntArray | None]:
        """Count common neighbours of each point of a block, for each size."""
        nearest = true.block(rows)
        place = np.full((len(nearest), n), wide, np.int32)
        np.put_along_axis(place, nearest, np.arange(wide, dtype=np.int32)[None], axis=1)
        measured = _common(place, found.block(rows), sizes)
        perfect = _common(place, again.block(rows), sizes) if true.tied and not compat else None
        return measured, perfect

    per_point = np.empty((n, len(sizes)), np.float32)
    ceiling = np.zeros(len(sizes))
    blocks = true.blocks()
    with ThreadPoolExecutor(workers()) as pool:
        for rows, (measured, perfect) in zip(blocks, pool.map(shared, blocks), strict=True):
            per_point[rows] = 100 * measured / sizes
            ceiling += 0 if perfect is None else perfect.sum(axis=0)
    ceiling = 100 * ceiling / (n * sizes) if ceiling.any() else np.full(len(sizes), 100.0)
    chance = 100 * sizes / (n if compat else n - 1)
    return Similarity(sizes, per_point.mean(axis=0, dtype=float), ceiling, chance, per_point)


def _common(place: npt.NDArray[np.int32], nearest: IntArray, sizes: IntArray) -> IntArray:
    """Neighbours within both neighbourhoods, shape (rows, sizes)."""
    found = np.take_along_axis(place, nearest, axis=1)
    # A neighbour is shared from the size on at which both spaces have it.
    since = np.maximum(found, np.arange(nearest.shape[1], dtype=np.int32), out=found)
    # The first size that holds it; len(sizes) where none does.
    steps = np.repeat(np.arange(len(sizes)), np.diff(sizes, prepend=0))
    steps = np.append(steps, np.full(nearest.shape[1] + 1 - len(steps), len(sizes)))
    first = steps[since] + (len(sizes) + 1) * np.arange(len(since))[:, None]
    counted = np.bincount(first.ravel(), minlength=len(since) * (len(sizes) + 1))
    common: IntArray = counted.reshape(len(since), -1)[:, :-1].cumsum(axis=1)
    return common


def similarity_of_subsets(
    truth: FloatArray,
    latents: FloatArray,
    counts: Sequence[int] | None = None,
    subsets: int = SUBSETS,
    seed: int = 0,
    compat: bool = False,
) -> SimilarityOfSubsets:
    """Neighbourhood similarity of interleaved subsets.

    Parameters
    ----------
    truth, latents : ndarray, shape (n, dimensions)
    counts : sequence of int, optional
        Sizes of the neighbourhood; default 1 to 20 % of a subset.
    subsets : int, optional
        The images are shuffled first, since images of a simulation often repeat their
        structures in turn; not so with `compat`.
    seed : int, optional
    compat : bool, optional
        See `neighbourhood_similarity`.

    Returns
    -------
    SimilarityOfSubsets

    Raises
    ------
    ApbcError
        If there are too few images.
    """
    n = len(truth)
    smallest = n // subsets
    fewest = FEWEST_POINTS if counts is None else max(counts) + 1
    if smallest < fewest:
        raise ApbcError(
            f"{n} images in {subsets} subsets make {smallest} each, and the neighbourhoods need "
            f"{fewest}; give more images, fewer --subsets, or smaller --k"
        )
    if counts is None:
        counts = [max(1, round(share / 100 * smallest)) for share in SHARES]
    order = np.arange(n) if compat else np.random.default_rng(seed).permutation(n)
    rows = [order[start::subsets] for start in range(subsets)]
    parts = [
        neighbourhood_similarity(truth[chosen], latents[chosen], counts, seed, compat)
        for chosen in track(rows, len(rows), "subsets")
    ]
    return SimilarityOfSubsets(parts, rows)


def _score(part: Similarity) -> float:
    """Mean over sizes of the way from random to perfect."""
    room = part.ceiling - part.random
    able = room > 1e-9
    if not able.any():
        return float("nan")
    return float(np.mean((part.similarity - part.random)[able] / room[able]))


def similarity_figures(measured: SimilarityOfSubsets) -> dict[str, float | None]:
    """Figures of a measurement.

    Parameters
    ----------
    measured : SimilarityOfSubsets

    Returns
    -------
    dict of str to float or None
    """
    scores = measured.scores()
    figures: dict[str, float | None] = {
        "score": float(np.mean(scores)),
        "score_sd": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
    }
    for share, place in _shown(measured).items():
        figures[f"similarity_{share}pct"] = float(measured.mean("similarity")[place])
        figures[f"similarity_{share}pct_sd"] = float(measured.deviation()[place])
        figures[f"ceiling_{share}pct"] = float(measured.mean("ceiling")[place])
        figures[f"random_{share}pct"] = float(measured.mean("random")[place])
    figures["images"] = sum(len(rows) for rows in measured.rows)
    figures["subsets"] = len(measured.rows)
    return figures


def _shown(measured: SimilarityOfSubsets) -> dict[int, int]:
    """Where the sizes nearest to 1, 5 and 10 % of a subset are."""
    counts = measured.parts[0].counts
    n = min(len(rows) for rows in measured.rows)
    return {share: int(np.abs(counts - share / 100 * n).argmin()) for share in SHOWN_SHARES}


def write_similarity_tables(
    folder: Path, measured: SimilarityOfSubsets, ids: Sequence[str]
) -> None:
    """Write ``neighbours.csv`` (curves) and ``points.csv`` (each image).

    Parameters
    ----------
    folder : Path
    measured : SimilarityOfSubsets
    ids : sequence of str
        Identifiers of all images.

    Raises
    ------
    ApbcError
        If a file cannot be written.
    """
    write_table(
        folder / CURVE_TABLE,
        {
            "k": measured.parts[0].counts.tolist(),
            "similarity": measured.mean("similarity").tolist(),
            "sd": measured.deviation().tolist(),
            "ceiling": measured.mean("ceiling").tolist(),
            "random": measured.mean("random").tolist(),
        },
    )
    rows = np.concatenate(measured.rows)
    order = np.argsort(rows)
    values = np.concatenate([part.per_point for part in measured.parts])[order]
    columns = {
        f"similarity_{share}pct": values[:, place].tolist()
        for share, place in _shown(measured).items()
    }
    write_table(folder / POINTS_TABLE, {"id": [ids[row] for row in rows[order]], **columns})


def draw_similarity(path: Path, measured: SimilarityOfSubsets, name: str) -> None:
    """Draw the curve between that of a perfect and that of a random latent space.

    Parameters
    ----------
    path : Path
    measured : SimilarityOfSubsets
    name : str
        Of the method.

    Raises
    ------
    ApbcError
        If the file cannot be written.
    """
    figure = new_figure(7.5, 5)
    axes = figure.add_subplot()
    n = min(len(rows) for rows in measured.rows)
    across = 100 * measured.parts[0].counts / n
    mean, spread = measured.mean("similarity"), np.nan_to_num(measured.deviation())
    axes.plot(across, measured.mean("ceiling"), "--", color=INK, label="perfect latent space")
    axes.plot(across, mean, "o-", color=SERIES[0], markersize=4, label=name)
    axes.fill_between(across, mean - spread, mean + spread, color=SERIES[0], alpha=0.2, lw=0)
    axes.plot(across, measured.mean("random"), ":", color=PALE, label="random")
    axes.set_ylim(0, 103)
    axes.legend(frameon=False, labelcolor=INK)
    style_axes(
        axes,
        f"Neighbourhood similarity, mean and sd of {len(measured.rows)} subsets of {n}",
        "neighbours, % of the images",
        "shared with the truth, %",
    )
    save_figure(figure, path)
