"""Rigid search for the rotation, shift and hand that bring one volume onto another.

The score is the correlation of the two volumes after every Fourier shell of both
was given the same power: the mean over coefficients of the Fourier shell
correlation. Coarsely, all rotations of a grid over SO(3) are tried with the
lowest shells, and for each of them all shifts at once, by a Fourier transform of
the product (and both hands, since the mirrored volume has the conjugate
transform). The best of them are refined with more and more shells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.ndimage import affine_transform, gaussian_filter
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from apbc.geometry import even
from apbc.preprocess.binning import fourier_resample_centred
from apbc.preprocess.fourier_volume import FourierVolume
from apbc.system.cores import workers

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
FloatVolume = npt.NDArray[np.float32]
ComplexArray = npt.NDArray[np.complexfloating]

SEARCH_BOX = 64
"""Volumes are searched with no more voxels along a side than this."""
FINE_BOX = 128
"""The same for the last refinement."""
COARSE_SHELLS = 6
STAGES = ((6, 10, 500), (10, 3, 1500), (16, 1, 3000))
"""Shells, poses of each hand, most coefficients of each refinement."""
AGREEMENT = 0.1
"""Fourier shell correlation down to which shells are looked at in the last refinement."""
COARSE_ROTATIONS = 4608
"""As many as a grid of 15 degrees has."""
SHIFT_BOX = 16
"""Places along an axis at which shifts are tried in the coarse search."""
CANDIDATES = STAGES[0][1]
APART = 20.0
"""Degrees by which candidates of one hand differ at least."""
LAST_POINTS = 6_000
"""Most coefficients that the last refinement looks at."""
SMALLEST_BOX = 8
PARTICLE = 0.25
"""Share of the largest density, smoothed, that belongs to the particle."""
MARGIN = 1.4
"""Side of the cube that is searched, in diameters of the particle."""
ROOM = 1.5
"""Side of the cube of the last refinement, in sides of that which is searched."""
WORTH_CUTTING = 0.9
"""Share of the box up to which a cube is cut out."""
BATCH = 256
"""Rotations tried at once."""
STEP = 0.02
"""Of finite differences, in steps that change the last phases by about 1 rad."""
SPLINE = 5
MIRROR = np.diag([1.0, 1.0, -1.0])


@dataclass(frozen=True)
class Alignment:
    """How a volume is brought onto another.

    A point r of the moving volume, in voxels from its centre (x, y, z), comes to
    ``R r + shift``; of a mirrored one, to ``R diag(1, 1, -1) r + shift``.

    Attributes
    ----------
    rotation : ndarray, shape (3, 3)
        R, a proper rotation.
    shift_px : ndarray, shape (3,)
        x, y, z in voxels of the reference.
    mirrored : bool
        Whether the hand of the moving volume was changed.
    score : float
        Correlation after whitening: 1 for volumes that are alike, up to interpolation.
    score_other_hand : float
        The best of the other hand; NaN where it was not tried.
    """

    rotation: FloatArray
    shift_px: FloatArray
    mirrored: bool
    score: float
    score_other_hand: float

    @property
    def matrix(self) -> FloatArray:
        """Rotation and hand in one matrix, shape (3, 3)."""
        return self.rotation @ MIRROR if self.mirrored else self.rotation


def rotation_grid(count: int) -> FloatArray:
    """Rotations spread evenly over SO(3).

    Super-Fibonacci spirals (Alexa, CVPR 2022).

    Parameters
    ----------
    count : int

    Returns
    -------
    ndarray, shape (count, 3, 3)
    """
    phi, psi = np.sqrt(2.0), 1.533751168755204288118041
    s = np.arange(count) + 0.5
    inner, outer = np.sqrt(s / count), np.sqrt(1 - s / count)
    alpha, beta = 2 * np.pi * s / phi, 2 * np.pi * s / psi
    quaternions = np.stack(
        [inner * np.sin(alpha), inner * np.cos(alpha), outer * np.sin(beta), outer * np.cos(beta)],
        axis=1,
    )
    matrices: FloatArray = Rotation.from_quat(quaternions).as_matrix()
    return matrices


def align_volume(moving: npt.NDArray, reference: npt.NDArray, mirror: bool = True) -> Alignment:
    """Find the rotation, shift and hand that bring a volume onto another.

    Parameters
    ----------
    moving, reference : ndarray, shape (d, d, d)
        z, y, x, on grids of the same pixel size; the centre is voxel ``d // 2``.
    mirror : bool, optional
        Try the other hand, too.

    Returns
    -------
    Alignment

    Raises
    ------
    ValueError
        If the shapes differ or are no cubes of at least 8 voxels along a side.
    """
    if moving.shape != reference.shape or len(set(moving.shape)) != 1 or moving.ndim != 3:
        raise ValueError(f"cubes of one size are aligned, not {moving.shape} and {reference.shape}")
    box = int(moving.shape[0])
    if box < SMALLEST_BOX:
        raise ValueError(f"a box of {box} voxels is too small; it needs {SMALLEST_BOX}")
    side, moving_centre, reference_centre = _window(moving, reference)

    def spectra_of(size: int, most: int) -> _Spectra:
        cubes = (_cut(moving, size, moving_centre), _cut(reference, size, reference_centre))
        return _Spectra(*cubes, min(size, most))

    spectra = spectra_of(side, SEARCH_BOX)
    hands = _coarse_search(spectra, mirror)
    for shells, kept, most in STAGES:
        points = _Points(spectra, shells, most)
        hands = [
            sorted((points.refine(pose) for pose in hand[:kept]), key=_by_score) for hand in hands
        ]
    # With more room round the particle interpolation is more exact.
    wide = min(box, even(ROOM * side))
    starts = [replace(hand[0], shift=hand[0].shift * side / wide) for hand in hands]
    # Volumes may lie on one another already: of two states of a molecule, shells of equal power
    # can favour a pose that brings other details together.
    starts.append(_Pose(np.eye(3), (moving_centre - reference_centre) / wide, -np.inf))
    spectra = spectra_of(wide, FINE_BOX)
    *poses, here = _refine_where_they_agree(spectra, starts)
    points = _Points(spectra, spectra.last_shell, LAST_POINTS)
    best, *others = sorted(poses, key=_by_score)
    if points.correlation(here) > points.correlation(best):
        others = [pose for pose in poses if np.linalg.det(pose.matrix) < 0]
        best = here
    mirrored = bool(np.linalg.det(best.matrix) < 0)
    return Alignment(
        best.matrix @ MIRROR if mirrored else best.matrix,
        best.shift * wide + reference_centre - best.matrix @ moving_centre,
        mirrored,
        best.score,
        others[0].score if others else float("nan"),
    )


def apply_alignment(volume: npt.NDArray, alignment: Alignment) -> FloatVolume:
    """Volume brought onto the grid of the reference it was aligned with.

    Parameters
    ----------
    volume : ndarray, shape (d, d, d)
    alignment : Alignment

    Returns
    -------
    ndarray of float32, shape (d, d, d)
        By spline interpolation; 0 where the volume does not reach.
    """
    centre = volume.shape[0] // 2
    # Of axes z, y, x rather than x, y, z.
    inverse = alignment.matrix.T[::-1, ::-1]
    offset = centre - inverse @ (centre + alignment.shift_px[::-1])
    moved: FloatVolume = affine_transform(
        np.asarray(volume, np.float32), inverse, offset, order=SPLINE, mode="constant"
    )
    return moved


def _window(moving: npt.NDArray, reference: npt.NDArray) -> tuple[int, IntArray, IntArray]:
    """Side of a cube that holds either particle, and where to cut it out of each volume.

    The particle is where the smoothed volume is above a quarter of its maximum. A small
    one in a large box is cut out, since the low shells of the box tell little of it.

    Returns
    -------
    side : int
        Voxels, at most the box.
    moving_centre, reference_centre : ndarray of int, shape (3,)
        x, y, z of the cube's centre from the box's; 0 where the whole box is kept.
    """
    box = moving.shape[0]
    centres, radius = [], 0.0
    for volume in (moving, reference):
        smooth = gaussian_filter(np.asarray(volume, np.float32), box / 32)
        smooth -= np.median(smooth)
        places = np.argwhere(smooth > PARTICLE * smooth.max())[:, ::-1] - box // 2
        if not len(places):
            return box, np.zeros(3, int), np.zeros(3, int)
        centre = np.rint(places.mean(axis=0)).astype(int)
        centres.append(centre)
        radius = max(radius, float(np.linalg.norm(places - centre, axis=1).max()))
    side = max(even(2 * MARGIN * radius), SMALLEST_BOX)
    if side > WORTH_CUTTING * box:
        return box, np.zeros(3, int), np.zeros(3, int)
    return side, centres[0], centres[1]


def _cut(volume: npt.NDArray, side: int, centre: IntArray) -> FloatVolume:
    """Cube out of a volume; 0 beyond its border.

    Parameters
    ----------
    volume : ndarray, shape (d, d, d)
    side : int
    centre : ndarray of int, shape (3,)
        x, y, z from the centre of the volume.

    Returns
    -------
    ndarray of float32, shape (side, side, side)
    """
    box = volume.shape[0]
    cube = np.zeros((side, side, side), np.float32)
    first = box // 2 + centre[::-1] - side // 2
    inside = tuple(slice(max(f, 0), min(f + side, box)) for f in first)
    there = tuple(slice(s.start - f, s.stop - f) for s, f in zip(inside, first, strict=True))
    cube[there] = volume[inside]
    return cube


@dataclass(frozen=True)
class _Pose:
    """A guess: orthogonal matrix, shift as a share of the box, score."""

    matrix: FloatArray
    shift: FloatArray
    score: float


def _by_score(pose: _Pose) -> float:
    return -pose.score


class _Spectra:
    """Transforms of both volumes at a box size.

    Attributes
    ----------
    moving : FourierVolume
    reference : ndarray of complex64, shape (box, box, box // 2 + 1)
        Frequency 0 first.
    """

    def __init__(self, moving: npt.NDArray, reference: npt.NDArray, box: int) -> None:
        self.box = box
        self.last_shell = box // 2 - 1
        small = [
            fourier_resample_centred(np.asarray(v, np.float32), box, 3) for v in (moving, reference)
        ]
        self.moving = FourierVolume(small[0])
        self.reference = fft.rfftn(fft.ifftshift(small[1]), workers=workers())


class _Points:
    """Coefficients of the first shells, at which the volumes are compared.

    Parameters
    ----------
    spectra : _Spectra
    shells : int
        Shells 1 to this, as far as the box has them.
    most : int
        Look at no more coefficients than this, chosen by chance.
    importance : ndarray, shape (shells + 1,), optional
        Weight of each shell, by its number; 1 by default.
    """

    def __init__(
        self, spectra: _Spectra, shells: int, most: int, importance: FloatArray | None = None
    ) -> None:
        shells = min(shells, spectra.last_shell)
        self._spectra = spectra
        self._shells = shells
        reach = np.arange(-shells, shells + 1)
        z, y, x = np.meshgrid(reach, reach, reach[shells:], indexing="ij")
        length2 = x * x + y * y + z * z
        # One of each pair of conjugates, and not frequency 0.
        kept = (length2 <= shells**2) & ((x > 0) | (y > 0) | ((y == 0) & (z > 0)))
        chosen = np.flatnonzero(kept)
        if len(chosen) > most:
            chosen = np.sort(np.random.default_rng(0).permutation(chosen)[:most])
        self.frequencies = np.stack([axis.ravel()[chosen] for axis in (x, y, z)])
        self.shell = np.rint(np.sqrt(length2.ravel()[chosen])).astype(int)
        x, y, z = self.frequencies
        self._reference = reference = spectra.reference[z, y, x]
        self.count = np.bincount(self.shell, minlength=shells + 1)
        power = np.bincount(self.shell, np.abs(reference) ** 2)
        power *= np.bincount(self.shell, np.abs(self.sample(np.eye(3))) ** 2)
        weight = np.ones(shells + 1) if importance is None else importance[: shells + 1]
        weight = weight / (weight * self.count).sum()
        weight = np.divide(weight * self.count, np.sqrt(power), where=power > 0, out=0 * weight)
        self._weighted = np.conj(reference) * weight[self.shell]

    def sample(self, matrices: FloatArray) -> ComplexArray:
        """Transform of the moved volume, ``F(M^T k)``.

        Parameters
        ----------
        matrices : ndarray, shape (..., 3, 3)
            Orthogonal.

        Returns
        -------
        ndarray of complex64, shape (..., points)
        """
        k = np.swapaxes(matrices, -1, -2) @ self.frequencies
        return self._spectra.moving.at(*np.moveaxis(k, -2, 0))

    def weigh(self, values: ComplexArray) -> ComplexArray:
        """Terms of the score, shape (..., points), of the moved volume's coefficients."""
        terms: ComplexArray = self._weighted * values
        return terms

    def correlation(self, pose: _Pose) -> float:
        """Plain correlation of the volumes at a pose, all coefficients as strong as they are."""
        moved = self.sample(pose.matrix) * self._phases(pose.shift)
        product = float(np.vdot(self._reference, moved).real)
        return product / float(np.linalg.norm(self._reference) * np.linalg.norm(moved))

    def shell_correlation(self, pose: _Pose) -> FloatArray:
        """Fourier shell correlation at a pose, shape (shells + 1,); for weights of 1."""
        terms = self.weigh(self.sample(pose.matrix)) * self._phases(pose.shift)
        sums = np.bincount(self.shell, terms.real)
        return sums * self.count.sum() / np.maximum(self.count, 1)

    def _phases(self, shift: FloatArray) -> ComplexArray:
        phases: ComplexArray = np.exp(-2j * np.pi * (shift @ self.frequencies))
        return phases

    def refine(self, start: _Pose) -> _Pose:
        """Climb to the best pose near by.

        Parameters
        ----------
        start : _Pose

        Returns
        -------
        _Pose
        """
        # A step of 1 changes the phases in the last shell by about 1 rad.
        turn, move = 1 / self._shells, 1 / (2 * np.pi * self._shells)
        trials = STEP * turn * np.vstack([np.zeros(3), np.eye(3)])

        def score(parameters: FloatArray) -> tuple[float, FloatArray]:
            turned = Rotation.from_rotvec(parameters[:3] * turn).as_matrix()
            matrices = Rotation.from_rotvec(trials).as_matrix() @ turned @ start.matrix
            shift = start.shift + parameters[3:] * move
            terms = self.weigh(self.sample(matrices)) * self._phases(shift)
            values = terms.real.sum(axis=1)
            by_turn = (values[1:] - values[0]) / STEP
            by_move = 2 * np.pi * move * (self.frequencies @ terms[0].imag)
            return -float(values[0]), -np.concatenate([by_turn, by_move])

        found = minimize(score, np.zeros(6), jac=True, method="L-BFGS-B", options={"maxiter": 40})
        matrix = Rotation.from_rotvec(found.x[:3] * turn).as_matrix() @ start.matrix
        return _Pose(matrix, start.shift + found.x[3:] * move, -float(found.fun))


def _refine_where_they_agree(spectra: _Spectra, poses: list[_Pose]) -> list[_Pose]:
    """Refine one pose of each hand with shells weighted by their correlation.

    Shells of noise would only blur the score. Both hands get the same weights, so
    that their scores can be compared.
    """
    points = _Points(spectra, spectra.last_shell, 5 * LAST_POINTS)
    correlation = np.max([points.shell_correlation(pose) for pose in poses], axis=0)
    below = np.flatnonzero(correlation[COARSE_SHELLS + 1 :] < AGREEMENT)
    shells = COARSE_SHELLS + int(below[0]) if len(below) else spectra.last_shell
    points = _Points(spectra, shells, LAST_POINTS, correlation.clip(min=AGREEMENT))
    return [points.refine(pose) for pose in poses]


def _coarse_search(spectra: _Spectra, mirror: bool) -> list[list[_Pose]]:
    """Best rotations of a grid with the best shift of each, apart from one another, by hand."""
    points = _Points(spectra, COARSE_SHELLS, STAGES[0][2])
    grid = rotation_grid(COARSE_ROTATIONS)
    x, y, z = points.frequencies
    signs = (1, -1) if mirror else (1,)
    scores = np.empty((len(signs), len(grid)))
    places = np.empty((len(signs), len(grid)), int)
    for first in range(0, len(grid), BATCH):
        values = points.sample(grid[first : first + BATCH])
        for hand, sign in enumerate(signs):
            # The volume inverted through its centre has the conjugate transform.
            products = points.weigh(values if sign == 1 else np.conj(values))
            half = np.zeros((len(values), SHIFT_BOX, SHIFT_BOX, SHIFT_BOX // 2 + 1), np.complex64)
            half[:, z, y, x] = np.conj(products)
            maps = fft.irfftn(half, s=(SHIFT_BOX,) * 3, axes=(1, 2, 3), workers=workers())
            maps = maps.reshape(len(values), -1)
            places[hand, first : first + BATCH] = maps.argmax(axis=1)
            scores[hand, first : first + BATCH] = maps.max(axis=1)
    shifts = np.stack(np.unravel_index(places, (SHIFT_BOX,) * 3)[::-1], axis=-1) / SHIFT_BOX
    shifts -= np.rint(shifts)
    return [
        _apart(sign * grid, shift, score)
        for sign, shift, score in zip(signs, shifts, scores, strict=True)
    ]


def _apart(matrices: FloatArray, shifts: FloatArray, scores: FloatArray) -> list[_Pose]:
    """Best poses, none near a better one."""
    poses: list[_Pose] = []
    near = 1 + 2 * np.cos(np.deg2rad(APART))
    for i in np.argsort(-scores):
        # The trace of M1^T M2 is 1 + 2 cos of the angle between them.
        if all(np.sum(pose.matrix * matrices[i]) < near for pose in poses):
            poses.append(_Pose(matrices[i], shifts[i], float(scores[i])))
        if len(poses) == CANDIDATES:
            break
    return poses
