"""Clustering of grey values: which pixels of a prepared micrograph are particle.

Al-Azzawi et al. 2019, BMC Bioinformatics 20:326 (intensity-based clustering, k-means and
fuzzy c-means) and Genes 10:666 (the same on superpixels, for irregular particles). Labels
count from the darkest cluster, 0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .stages import Stages

FloatArray = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]

BINS = 256
METHODS = ("icb", "kmeans", "fcm", "sp-icb", "sp-kmeans", "sp-fcm")
CLUSTERS = {"icb": 4, "kmeans": 4, "fcm": 3, "sp-icb": 5, "sp-kmeans": 5, "sp-fcm": 4}
"""Clusters of each method, the authors' numbers."""
SUPERPIXELS_PER_DIAMETER = 4.0
"""Superpixels side by side along one particle diameter."""
LEAST_PART = 0.03
"""Where the darkest cluster of superpixels covers less of the image, the next one joins it."""


def dark_mask(
    stages: Stages, method: str = "icb", diameter: float | None = None, select: str = "dark"
) -> Mask:
    """Pixels of one cluster of a prepared micrograph: the particles'.

    Parameters
    ----------
    stages : Stages
        Of a micrograph with dark protein.
    method : {"icb", "kmeans", "fcm", "sp-icb", "sp-kmeans", "sp-fcm"}, optional
        Intensity-based clustering, k-means or fuzzy c-means; with "sp-", on superpixels.
    diameter : float, optional
        Particle diameter in pixels of the stages; superpixels need it.
    select : {"dark", "smallest"}, optional
        Take the darkest cluster, or (as the authors' program for superpixels) the one of
        the fewest pixels, which often is the background.

    Returns
    -------
    ndarray of bool, shape (rows, columns)
        All False where the micrograph has one grey value.

    Raises
    ------
    ValueError
        If `method` or `select` is unknown, or superpixels are asked for without a diameter.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
    if select not in ("dark", "smallest"):
        raise ValueError(f"select must be dark or smallest, not {select!r}")
    image, k = stages.final, CLUSTERS[method]
    if not stages.normalised.any():
        return np.zeros(image.shape, bool)
    superpixels = method.startswith("sp-")
    if superpixels:
        if diameter is None:
            raise ValueError("superpixels need the particle diameter")
        per_area = (SUPERPIXELS_PER_DIAMETER / diameter) ** 2
        image = superpixel_means(image, max(k, round(image.size * per_area)))
    cluster = method.split("-")[-1]
    if cluster == "icb":
        labels = intensity_clusters(image, k)
    elif cluster == "kmeans":
        labels = k_means(image, k)
    else:
        labels = fuzzy_c_means(image, k)
    counts = np.bincount(labels.ravel(), minlength=k)
    if select == "smallest":
        return np.asarray(labels == np.argmin(np.where(counts, counts, image.size + 1)), bool)
    present = np.flatnonzero(counts)
    chosen = present[:1]
    if superpixels and counts[chosen[0]] < LEAST_PART * image.size:
        chosen = present[:2]
    return np.asarray(np.isin(labels, chosen), bool)


def intensity_clusters(
    image: FloatArray,
    k: int,
    include_zero: bool = True,
    legacy: bool = False,
    iterative: bool = False,
) -> Labels:
    """Intensity-based clustering: the nearest of k evenly spaced grey values.

    Parameters
    ----------
    image : ndarray
    k : int
        Clusters.
    include_zero : bool, optional
        False leaves out pixels that are exactly 0, as the authors' program does by accident;
        it breaks the outlines of very dark particles.
    legacy : bool, optional
        Count the grey values from 0 instead of from the image's least, as the authors do; they
        differ where that is not 0.
    iterative : bool, optional
        Move each cluster's grey value to the mean of its pixels until nothing changes, as the
        papers' text (not the program) says.

    Returns
    -------
    ndarray of int
        0 (darkest) to k - 1; -1 for pixels left out.
    """
    low, high = float(image.min()), float(image.max())
    step = (high - low) / k
    centres = (0.0 if legacy else low) + step * np.arange(1, k + 1)
    if iterative:
        centres = _settle(image, centres)
    # The lower of two centres wins where both are as near.
    labels = np.searchsorted((centres[1:] + centres[:-1]) / 2, image, side="left")
    return labels if include_zero else np.where(image == 0, -1, labels)


def _settle(image: FloatArray, centres: FloatArray) -> FloatArray:
    """Lloyd's iteration of one-dimensional k-means from the given centres."""
    ordered = np.sort(image, axis=None)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    while True:
        cuts = np.searchsorted(ordered, (centres[1:] + centres[:-1]) / 2, side="right")
        edges = np.concatenate([[0], cuts, [len(ordered)]])
        counts = np.diff(edges)
        moved = np.where(counts, np.diff(sums[edges]) / np.maximum(counts, 1), centres)
        if np.abs(moved - centres).max() < 1e-6:
            return moved
        centres = moved


def _histogram(image: FloatArray) -> tuple[Labels, FloatArray, FloatArray]:
    """Bin of each pixel, the grey values of the bins and their pixels."""
    index = np.floor((BINS - 1) * np.clip(image, 0, 1) + 0.5).astype(np.intp)
    weights = np.bincount(index.ravel(), minlength=BINS).astype(float)
    return index, np.arange(BINS) / (BINS - 1), weights


def k_means(image: FloatArray, k: int, seed: int = 0) -> Labels:
    """K-means of the grey values, on their histogram of 256 bins.

    Parameters
    ----------
    image : ndarray
        Values from 0 to 1.
    k : int
        Clusters; fewer where the image has fewer grey values.
    seed : int, optional
        Of the three starts.

    Returns
    -------
    ndarray of int
        0 (darkest) to k - 1.
    """
    from sklearn.cluster import KMeans

    index, values, weights = _histogram(image)
    there = weights > 0
    model = KMeans(min(k, int(there.sum())), n_init=3, random_state=seed)
    model.fit(values[there, None], sample_weight=weights[there])
    nearest = np.abs(values[:, None] - np.sort(model.cluster_centers_.ravel())).argmin(axis=1)
    return nearest[index]


def fuzzy_c_means(image: FloatArray, k: int, seed: int = 0) -> Labels:
    """Fuzzy c-means of the grey values (exponent 2), on their histogram of 256 bins.

    Parameters
    ----------
    image : ndarray
        Values from 0 to 1.
    k : int
        Clusters.
    seed : int, optional
        Of the memberships that it starts from.

    Returns
    -------
    ndarray of int
        The cluster of greatest membership, 0 (darkest) to k - 1.
    """
    index, values, weights = _histogram(image)
    member = np.random.default_rng(seed).random((BINS, k))
    member /= member.sum(axis=1, keepdims=True)
    for _ in range(100):
        power = weights[:, None] * member**2
        centres = power.T @ values / power.sum(axis=0)
        distance = np.maximum((values[:, None] - centres) ** 2, 1e-12)
        before, member = member, 1 / distance
        member /= member.sum(axis=1, keepdims=True)
        if np.abs(member - before).max() < 1e-3:
            break
    return member[:, np.argsort(centres)].argmax(axis=1)[index]


def superpixel_means(image: FloatArray, n: int) -> FloatArray:
    """Replace every pixel by the mean of its superpixel (SLIC0, ten iterations).

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
    n : int
        Superpixels to aim at.

    Returns
    -------
    ndarray, shape (rows, columns)
    """
    from skimage.segmentation import slic

    # With the usual compactness of 10 grey values from 0 to 1 would only give square tiles.
    segments = slic(
        image,
        n_segments=n,
        compactness=0.1,
        max_num_iter=10,
        slic_zero=True,
        channel_axis=None,
        start_label=0,
    ).ravel()
    counts = np.maximum(np.bincount(segments), 1)
    means = np.bincount(segments, weights=image.ravel()) / counts
    return means[segments].reshape(image.shape)
