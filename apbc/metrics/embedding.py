"""Pictures of a latent space in two dimensions, coloured by the truth."""

from __future__ import annotations

import importlib
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from apbc.metrics.clusters import Agreement
from apbc.metrics.pictures import (
    INK,
    PALE,
    class_colours,
    new_figure,
    save_figure,
    style_axes,
)

FloatArray = npt.NDArray[np.float64]

FEWEST_POINTS = 20
TRUSTED_POINTS = 3000
"""Trustworthiness compares all pairs of at most so many points."""
MOST_IN_LEGEND = 20
MOST_CELLS_TOLD = 15
CYCLIC_MAP, CONTINUOUS_MAP = "hsv", "viridis"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Embedding:
    """Points in two dimensions.

    Attributes
    ----------
    points : ndarray, shape (n, 2)
    method : str
        ``"UMAP"``, ``"PCA"``, or ``"latent"`` where the latent space has two dimensions or one.
    """

    points: FloatArray
    method: str


@dataclass(frozen=True)
class Colouring:
    """What the colours of a picture tell.

    Attributes
    ----------
    title : str
    labels : list of str or None
        Classes of the points, or
    values : ndarray, shape (n,), or None
        numbers of the points.
    circular : bool
        Whether the numbers are degrees that go round.
    """

    title: str
    labels: list[str] | None = None
    values: FloatArray | None = None
    circular: bool = False


def embed(latents: FloatArray, method: str = "umap", seed: int = 0) -> Embedding:
    """Bring a latent space to two dimensions.

    UMAP (McInnes et al., arXiv:1802.03426) with the defaults that CryoBench uses: 15 neighbours,
    least distance 0.1, Euclidean; seeded. Spaces of two dimensions are taken as they are. Without
    umap-learn it is PCA, and a warning says so.

    Parameters
    ----------
    latents : ndarray, shape (n, dimensions)
    method : {"umap", "pca"}, optional
    seed : int, optional

    Returns
    -------
    Embedding
    """
    if latents.shape[1] == 1:
        return Embedding(np.hstack([latents, np.zeros_like(latents)]), "latent")
    if latents.shape[1] == 2:
        return Embedding(latents, "latent")
    umap = _umap() if method == "umap" else None
    if umap is None:
        return Embedding(_principal(latents), "PCA")
    logger.info("UMAP of %d points of %d dimensions", *latents.shape)
    reducer = umap.UMAP(random_state=seed, n_jobs=1)
    return Embedding(np.asarray(reducer.fit_transform(latents), np.float64), "UMAP")


def _umap():  # type: ignore[no-untyped-def]
    """Import umap-learn; None, with a warning, where it is not installed.

    It also imports TensorFlow where there is one, which takes half a minute, for a variant that
    is not used here; so TensorFlow is hidden from it.
    """
    hidden = "tensorflow" not in sys.modules
    if hidden:
        sys.modules["tensorflow"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("umap")
    except ImportError as error:
        logger.warning(
            "umap-learn cannot be imported (%s), so the picture shows PCA, which is linear and "
            "shows less; install it with: pip install umap-learn",
            error,
        )
        return None
    finally:
        if hidden:
            del sys.modules["tensorflow"]


def _principal(latents: FloatArray) -> FloatArray:
    """First two principal components; the largest weight of each is positive."""
    centred = latents - latents.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    chosen = axes[:2] * np.sign(axes[:2][[0, 1], np.abs(axes[:2]).argmax(axis=1)])[:, None]
    points: FloatArray = centred @ chosen.T
    return points


def trustworthiness_of(latents: FloatArray, embedding: Embedding, seed: int = 0) -> float:
    """Tell how far neighbours in the picture are neighbours in the latent space.

    Venna and Kaski, Neural Networks 14:889, 2001; of at most 3000 points.

    Parameters
    ----------
    latents : ndarray, shape (n, dimensions)
    embedding : Embedding
    seed : int, optional

    Returns
    -------
    float
        1 is perfect.
    """
    from sklearn.manifold import trustworthiness

    chosen = np.random.default_rng(seed).permutation(len(latents))[:TRUSTED_POINTS]
    neighbours = min(15, (len(chosen) - 1) // 2)
    return float(trustworthiness(latents[chosen], embedding.points[chosen], n_neighbors=neighbours))


def draw_embedding(
    path: Path, embedding: Embedding, colourings: list[Colouring], name: str, seed: int = 0
) -> None:
    """Draw the points once for each colouring.

    Parameters
    ----------
    path : Path
    embedding : Embedding
    colourings : list of Colouring
    name : str
        Of the method.
    seed : int, optional
        Order of drawing, so that no class hides the others.

    Raises
    ------
    ApbcError
        If the file cannot be written.
    """
    figure = new_figure(7.6 * len(colourings), 6.2)
    order = np.random.default_rng(seed).permutation(len(embedding.points))
    for place, colouring in enumerate(colourings):
        axes = figure.add_subplot(1, len(colourings), place + 1)
        _draw_points(figure, axes, embedding, colouring, order)
        style_axes(axes, f"{embedding.method} of {name}: {colouring.title}")
        axes.grid(False)
        axes.set_xticks([])
        axes.set_yticks([])
    save_figure(figure, path)


def _draw_points(
    figure: Figure,
    axes: Axes,
    embedding: Embedding,
    colouring: Colouring,
    order: npt.NDArray[np.int64],
) -> None:
    points = embedding.points[order]
    size = float(np.clip(20_000 / len(points), 1.5, 25))
    alpha = float(np.clip(2_000 / len(points), 0.25, 0.85))
    if colouring.labels is None:
        map_name = CYCLIC_MAP if colouring.circular else CONTINUOUS_MAP
        values = np.asarray(colouring.values)[order]
        limits = (0, 360) if colouring.circular else (float(values.min()), float(values.max()))
        shown = axes.scatter(
            points[:, 0],
            points[:, 1],
            s=size,
            c=values % 360 if colouring.circular else values,
            cmap=map_name,
            vmin=limits[0],
            vmax=limits[1],
            alpha=alpha,
            linewidths=0,
        )
        bar = figure.colorbar(shown, ax=axes, shrink=0.8)
        if bar.solids is not None:
            bar.solids.set_alpha(1)
        return
    names, numbers = np.unique(colouring.labels, return_inverse=True)
    places = sorted(range(len(names)), key=lambda place: (len(names[place]), names[place]))
    rank = np.empty(len(names), np.int64)
    rank[places] = np.arange(len(names))
    colours = class_colours(len(names))
    axes.scatter(
        points[:, 0],
        points[:, 1],
        s=size,
        c=colours[rank[numbers]][order],
        alpha=alpha,
        linewidths=0,
    )
    if len(names) <= MOST_IN_LEGEND:
        for place in places:
            axes.scatter([], [], s=40, color=colours[rank[place]], label=names[place])
        axes.legend(frameon=False, labelcolor=INK, loc="center left", bbox_to_anchor=(1, 0.5))


def draw_agreement(path: Path, found: Agreement, title: str) -> None:
    """Draw how many images of each class each cluster holds.

    Parameters
    ----------
    path : Path
    found : Agreement
    title : str

    Raises
    ------
    ApbcError
        If the file cannot be written.
    """
    rows, columns = found.table.shape
    # Clusters in the order of the classes that they stand for, those left over last.
    order = sorted(range(rows), key=lambda row: (found.partner[row] < 0, found.partner[row]))
    table = found.table[order]
    shares = table / np.maximum(table.sum(axis=0), 1)
    figure = new_figure(max(5.5, min(14, 2.5 + 0.6 * columns)), max(3.5, min(12, 2 + 0.45 * rows)))
    axes = figure.add_subplot()
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    figure.colorbar(shown, ax=axes, label="share of the class")
    axes.set_xticks(range(columns), found.classes, rotation=90 if columns > MOST_CELLS_TOLD else 0)
    axes.set_yticks(range(rows), [found.clusters[row] for row in order])
    if max(rows, columns) <= MOST_CELLS_TOLD:
        for row in range(rows):
            for column in range(columns):
                dark = shares[row, column] > 0.6
                axes.text(
                    column,
                    row,
                    f"{table[row, column]}",
                    ha="center",
                    va="center",
                    fontsize=9,
                    color="white" if dark else INK if table[row, column] else PALE,
                )
    style_axes(axes, title, "true class", "cluster")
    axes.grid(False)
    save_figure(figure, path)
