"""Errors of poses after the best common rotation, hand and offset.

A method that refines from nothing puts its map in a frame of its own, perhaps of the other
hand. With truth B and prediction A (RELION's Euler matrices: a point r is seen at ``A r``) a
perfect method gives ``A_i = B_i s_i g``: g is the rotation between the frames and s_i any
rotation of the structure's point group. The mirrored map gives ``A_i = P B_i s_i g`` with
``P = diag(1, 1, -1)`` and g a rotation times a mirror: mirroring a volume and looking from the
other side leaves its projection as it is.

Differs from CryoBench (metrics/pose_error), which takes g from one of 30 images: here the best
of those candidates, and of the Procrustes solution (Schönemann, Psychometrika 31:1, 1966) where
there is no symmetry, is refined on all images near it; point groups are known; and the offset
between the frames is solved in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

MIRROR = np.diag([1.0, 1.0, -1.0])
CANDIDATES = 30
ROUNDS = 30
CONVERGED = 1e-12
# Images within this many medians of the fit take part in the next one.
INLIER_MEDIANS = 2.5
FEWEST_IMAGES = 4
"""Fewer images than this follow any frame, and their errors mean nothing."""


@dataclass(frozen=True)
class Frame:
    """How the frame of a prediction lies in the frame of the truth.

    Attributes
    ----------
    rotation : ndarray, shape (3, 3)
        g of ``A_i = B_i s_i g``; its determinant is -1 where the hand is the other one.
    mirrored : bool
    median : float
        Median squared Frobenius norm that is left.
    """

    rotation: FloatArray
    mirrored: bool
    median: float


@dataclass(frozen=True)
class PoseErrors:
    """Errors of the images of one structure.

    Attributes
    ----------
    frame : Frame
    frobenius : ndarray, shape (n,)
        Squared Frobenius norm of the difference, 0 to 8.
    angle : ndarray, shape (n,)
        Rotation that is left, degrees.
    direction : ndarray, shape (n,)
        Angle between viewing directions, degrees: the error without the in-plane rotation.
    shift : ndarray, shape (n,), or None
        What is left of the translation, in the unit of the input.
    offset : ndarray, shape (3,), or None
        Centre of the predicted map in the frame of the truth, in that unit.
    """

    frame: Frame
    frobenius: FloatArray
    angle: FloatArray
    direction: FloatArray
    shift: FloatArray | None = None
    offset: FloatArray | None = None


def find_frame(
    predicted: FloatArray,
    true: FloatArray,
    symmetry: FloatArray | None = None,
    hand: bool = True,
    seed: int = 0,
) -> Frame:
    """Rotation, and hand, that bring a prediction closest to the truth.

    Parameters
    ----------
    predicted, true : ndarray, shape (n, 3, 3)
        Poses of the same images.
    symmetry : ndarray, shape (m, 3, 3), optional
        Point group of the structure in the frame of the truth, the identity first.
    hand : bool, optional
        Try the mirrored structure, too, and keep the hand of the lower median.
    seed : int, optional
        Chooses the candidates.

    Returns
    -------
    Frame

    Raises
    ------
    ApbcError
        If there are fewer than four images.
    """
    if len(predicted) < FEWEST_IMAGES:
        raise ApbcError(
            f"{len(predicted)} images are too few to find the frame of a structure; give at "
            f"least {FEWEST_IMAGES}, or compare the poses as they are (--frames fixed)"
        )
    group = np.eye(3)[None] if symmetry is None else symmetry
    chosen = np.random.default_rng(seed).permutation(len(predicted))[:CANDIDATES]
    found = [_fit(predicted, true, group, False, chosen)]
    if hand:
        found.append(_fit(predicted, true, group, True, chosen))
    return min(found, key=lambda frame: frame.median)


def pose_errors(
    predicted: FloatArray,
    true: FloatArray,
    frame: Frame,
    symmetry: FloatArray | None = None,
    shifts: tuple[FloatArray, FloatArray] | None = None,
    align_shifts: bool = True,
) -> PoseErrors:
    """Errors of poses in a given frame.

    Parameters
    ----------
    predicted, true : ndarray, shape (n, 3, 3)
    frame : Frame
        See `find_frame`; the identity compares the poses as they are.
    symmetry : ndarray, shape (m, 3, 3), optional
    shifts : (ndarray, ndarray), optional
        Places of the centre in the images, x and y, shape (n, 2), predicted and true.
    align_shifts : bool, optional
        Take out the one 3-D offset that lies between the centres of the maps.

    Returns
    -------
    PoseErrors
    """
    group = np.eye(3)[None] if symmetry is None else symmetry
    seen = MIRROR @ true if frame.mirrored else true
    moved = group @ frame.rotation
    best = _overlap(seen, predicted, moved).argmax(axis=1)
    difference = seen @ moved[best] - predicted
    frobenius = np.einsum("nij,nij->n", difference, difference)
    # The angle from its sine: exact near 0, where the cosine is not.
    angle = 2 * np.rad2deg(np.arcsin(np.clip(np.sqrt(frobenius / 8), 0, 1)))
    # Rows 0 and 1 turn with the particle in its plane; row 2 is the direction of view.
    closest = _overlap(seen[:, 2:], predicted[:, 2:], moved).argmax(axis=1)
    views = np.einsum("ni,nij->nj", seen[:, 2], moved[closest])
    chord = np.linalg.norm(views - predicted[:, 2], axis=1)
    direction = 2 * np.rad2deg(np.arcsin(np.clip(chord / 2, 0, 1)))
    if shifts is None:
        return PoseErrors(frame, frobenius, angle, direction)
    offset = np.zeros(3)
    rows = (seen @ group[best])[:, :2]
    if align_shifts:
        offset = fit_offset(rows, shifts[0] - shifts[1])
    left = shifts[0] - shifts[1] - rows @ offset
    return PoseErrors(frame, frobenius, angle, direction, np.linalg.norm(left, axis=1), offset)


def fit_offset(rows: FloatArray, difference: FloatArray) -> FloatArray:
    """3-D offset o that explains shifts best: least squares of ``difference - rows o``.

    Parameters
    ----------
    rows : ndarray, shape (n, 2, 3)
        First two rows of the poses.
    difference : ndarray, shape (n, 2)
        Predicted less true shift.

    Returns
    -------
    ndarray, shape (3,)
    """
    solution: FloatArray = np.linalg.lstsq(rows.reshape(-1, 3), difference.reshape(-1), rcond=None)[
        0
    ]
    return solution


def random_angle(symmetry: FloatArray | None = None, samples: int = 4000) -> float:
    """Mean angle between random poses, the least over a point group: what guessing gives.

    Parameters
    ----------
    symmetry : ndarray, shape (m, 3, 3), optional
    samples : int, optional

    Returns
    -------
    float
        Degrees; 126.5 without symmetry.
    """
    from scipy.spatial.transform import Rotation

    random = Rotation.random(samples, random_state=0).as_matrix()
    group = np.eye(3)[None] if symmetry is None else symmetry
    cosine = (np.einsum("nij,mij->nm", random, group).max(axis=1) - 1) / 2
    return float(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))).mean())


def _overlap(true: FloatArray, predicted: FloatArray, moved: FloatArray) -> FloatArray:
    """Sum of products of ``true_i moved_m`` and ``predicted_i``, shape (n, m)."""
    products = true.transpose(0, 2, 1) @ predicted
    overlap: FloatArray = products.reshape(-1, 9) @ moved.reshape(-1, 9).T
    return overlap


def _fit(
    predicted: FloatArray,
    true: FloatArray,
    group: FloatArray,
    mirrored: bool,
    chosen: npt.NDArray[np.int64],
) -> Frame:
    """Best frame of one hand: the best start, then Procrustes on the images near it."""
    seen = MIRROR @ true if mirrored else true
    products = seen.transpose(0, 2, 1) @ predicted
    starts = list(products[chosen])
    if len(group) == 1:
        starts.append(_nearest(products.sum(axis=0), mirrored))
    flat = products.reshape(-1, 9)

    def left(rotation: FloatArray) -> tuple[FloatArray, npt.NDArray[np.int64]]:
        """Squared norms that a rotation leaves, and the element of the group for each."""
        overlap = flat @ (group @ rotation).reshape(-1, 9).T
        best = overlap.argmax(axis=1)
        return 6 - 2 * overlap[np.arange(len(best)), best], best

    rotation = min(starts, key=lambda start: float(np.median(left(start)[0])))
    for _ in range(ROUNDS):
        norms, best = left(rotation)
        # Angles rather than squares: an angle so many medians away is an outlier.
        near = norms <= max(INLIER_MEDIANS**2 * float(np.median(norms)), CONVERGED)
        turned = group[best[near]].transpose(0, 2, 1) @ products[near]
        new = _nearest(turned.sum(axis=0), mirrored)
        change = float(np.abs(new - rotation).max())
        rotation = new
        if change < CONVERGED:
            break
    return Frame(rotation, mirrored, max(0.0, float(np.median(left(rotation)[0]))))


def _nearest(matrix: FloatArray, mirrored: bool) -> FloatArray:
    """Rotation, or mirrored rotation, nearest to a matrix."""
    left, _, right = np.linalg.svd(matrix)
    wanted = -1.0 if mirrored else 1.0
    sign = wanted * np.sign(np.linalg.det(left) * np.linalg.det(right))
    rotation: FloatArray = left @ np.diag([1.0, 1.0, sign]) @ right
    return rotation
