"""How well clusters agree with true classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

NEIGHBOURS = 15
# k-means starts anew so often; on many points all starts find the same.
STARTS, STARTS_OF_MANY, MANY = 10, 3, 20_000


@dataclass(frozen=True)
class Agreement:
    """Clusters held against classes.

    Attributes
    ----------
    table : ndarray of int, shape (clusters, classes)
        Images of each cluster in each class.
    clusters, classes : list of str
    partner : list of int
        Class that each cluster stands for, one to one as well as can be (Kuhn, Naval Research
        Logistics 2:83, 1955, "Hungarian method"); -1 for clusters left over.
    ami, ari, accuracy, purity : float
        Adjusted mutual information (Vinh et al., JMLR 11:2837, 2010) and adjusted Rand index
        (Hubert and Arabie 1985): 1 perfect, 0 chance. Accuracy: share of images in the cluster
        that stands for their class. Purity: share in a cluster whose most frequent class is
        theirs.
    """

    table: IntArray
    clusters: list[str]
    classes: list[str]
    partner: list[int]
    ami: float
    ari: float
    accuracy: float
    purity: float

    def figures(self, prefix: str) -> dict[str, float | None]:
        """Figures by ``PREFIX_ami`` and so on."""
        names = ("ami", "ari", "accuracy", "purity")
        return {f"{prefix}_{name}": getattr(self, name) for name in names}


def agreement(clusters: list[str], classes: list[str]) -> Agreement:
    """Hold clusters against classes.

    Parameters
    ----------
    clusters, classes : list of str
        Labels of the same images.

    Returns
    -------
    Agreement
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

    names, of_cluster = np.unique(clusters, return_inverse=True)
    true_names, of_class = np.unique(classes, return_inverse=True)
    table = np.zeros((len(names), len(true_names)), np.int64)
    np.add.at(table, (of_cluster, of_class), 1)
    rows, columns = linear_sum_assignment(table, maximize=True)
    partner = np.full(len(names), -1)
    partner[rows] = columns
    n = len(classes)
    return Agreement(
        table,
        names.tolist(),
        true_names.tolist(),
        partner.tolist(),
        float(adjusted_mutual_info_score(of_class, of_cluster)),
        float(adjusted_rand_score(of_class, of_cluster)),
        float(table[rows, columns].sum() / n),
        float(table.max(axis=1).sum() / n),
    )


def k_means(points: FloatArray, count: int, seed: int = 0) -> list[str]:
    """Clusters of a latent space by k-means.

    Parameters
    ----------
    points : ndarray, shape (n, dimensions)
    count : int
        Number of clusters.
    seed : int, optional

    Returns
    -------
    list of str
        Labels from ``"1"``.
    """
    from sklearn.cluster import KMeans

    starts = STARTS if len(points) <= MANY else STARTS_OF_MANY
    labels = KMeans(count, n_init=starts, random_state=seed).fit_predict(points)
    return [str(label + 1) for label in labels]


def neighbour_purity(points: FloatArray, classes: list[str]) -> tuple[float, float]:
    """Share of the nearest neighbours that are of an image's own class, and of any others.

    Parameters
    ----------
    points : ndarray, shape (n, dimensions)
        More than 15.
    classes : list of str

    Returns
    -------
    purity, random : float
        Of the 15 nearest neighbours, and of random images.
    """
    from sklearn.neighbors import NearestNeighbors

    _, labels, counts = np.unique(classes, return_inverse=True, return_counts=True)
    found = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(points).kneighbors(return_distance=False)
    purity = float((labels[found] == labels[:, None]).mean())
    n = len(classes)
    return purity, float((counts * (counts - 1)).sum() / (n * (n - 1)))
