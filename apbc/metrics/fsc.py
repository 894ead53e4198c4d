"""Fourier shell correlation of a volume with its ground truth.

Two rules say which coefficients belong to a shell. ``"nearest"``, the default:
shell i holds the frequencies whose length rounds to i, for i from 1 to half the
box, and the mean of the volume (frequency 0) belongs to none. ``"cryobench"``:
shell i holds lengths from i - 1 up to i but is drawn at i, the last shell is
missing, and a point of value 1 is set at frequency 0; so the published figures of
CryoBench were made (Jeon et al., NeurIPS 2024, arXiv:2408.05526), whose first two
points are therefore always about 1. Fourier shell correlation: Harauz and van
Heel, Optik 73:146, 1986.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.integrate import trapezoid

from apbc.system.cores import workers

FloatArray = npt.NDArray[np.float64]

RULES = ("nearest", "cryobench")
THRESHOLDS = (0.5, 0.143)
"""The truth has no noise, so 0.5 is the level with a meaning; 0.143 is that of half maps."""
NEVER_BELOW = 2.0
"""Resolution in pixels that CryoBench writes where the curve never falls below the threshold."""


@dataclass(frozen=True)
class Resolution:
    """Where a curve falls below a threshold.

    Attributes
    ----------
    angstrom : float
        Å; NaN where the curve does not cross the threshold.
    beyond_nyquist : bool
        Whether the curve stays above the threshold up to its end.
    """

    angstrom: float
    beyond_nyquist: bool


@dataclass(frozen=True)
class FscCurve:
    """Fourier shell correlation of two volumes.

    Attributes
    ----------
    values : ndarray, shape (shells,)
        From -1 to 1, signed.
    box_size : int
        Voxels along a side.
    pixel_size : float
        Å.
    rule : {"nearest", "cryobench"}
    """

    values: FloatArray
    box_size: int
    pixel_size: float
    rule: str = "nearest"

    @property
    def cycles_per_pixel(self) -> FloatArray:
        """Frequency of each shell, 0.5 at Nyquist, shape (shells,)."""
        first = 1 if self.rule == "nearest" else 0
        return np.arange(first, first + len(self.values)) / self.box_size

    @property
    def frequency(self) -> FloatArray:
        """Frequency of each shell in 1/Å, shape (shells,)."""
        return self.cycles_per_pixel / self.pixel_size

    @property
    def auc(self) -> float:
        """Area under the curve over cycles per pixel.

        Values below 0 count as 0; under the rule ``"cryobench"`` they count with
        their absolute value, as in its per-image script.
        """
        positive = np.abs(self.values) if self.rule == "cryobench" else self.values.clip(min=0)
        return float(trapezoid(positive, self.cycles_per_pixel))

    @property
    def ceiling(self) -> float:
        """Largest area there can be: that of a curve of ones (63/128 for a box of 128)."""
        frequency = self.cycles_per_pixel
        return float(frequency[-1] - frequency[0])

    @property
    def auc_over_ceiling(self) -> float:
        """Area under the curve as a share of the largest there can be."""
        return self.auc / self.ceiling

    @property
    def auc_per_angstrom(self) -> float:
        """Area under the curve over 1/Å."""
        return self.auc / self.pixel_size

    def resolution(self, threshold: float) -> Resolution:
        """Resolution at a threshold, where the curve first falls below it.

        Parameters
        ----------
        threshold : float
            0.5 or 0.143, say.

        Returns
        -------
        Resolution
            Interpolated between the last shell above and the first below. Under the
            rule ``"cryobench"`` that of the first shell below, and two pixels where
            there is none.
        """
        frequency = self.frequency
        below = np.flatnonzero(self.values < threshold)
        if self.rule == "cryobench":
            if not len(below):
                return Resolution(NEVER_BELOW * self.pixel_size, True)
            return Resolution(float(1 / frequency[below[0]]), False)
        if not len(below):
            return Resolution(float("nan"), True)
        first = int(below[0])
        if first == 0:
            return Resolution(float("nan"), False)
        above, under = self.values[first - 1], self.values[first]
        share = (above - threshold) / (above - under)
        step = frequency[first] - frequency[first - 1]
        return Resolution(float(1 / (frequency[first - 1] + share * step)), False)


class VolumeTransform:
    """Fourier transform of a volume, with the power of its shells.

    Make one for a reference that serves many volumes.

    Parameters
    ----------
    volume : ndarray, shape (d, d, d)
        z, y, x.
    mask : ndarray, shape (d, d, d), optional
        Multiplied with the volume.

    Attributes
    ----------
    box_size : int
        d.
    half : ndarray of complex, shape (d, d, d // 2 + 1)
        ``rfftn`` of the volume.

    Raises
    ------
    ValueError
        If the volume is no cube, or the mask has another shape.
    """

    def __init__(self, volume: npt.NDArray, mask: npt.NDArray | None = None) -> None:
        if volume.ndim != 3 or len(set(volume.shape)) != 1:
            raise ValueError(f"a volume must be a cube, not {volume.shape}")
        if mask is not None:
            if mask.shape != volume.shape:
                raise ValueError(f"the mask is {mask.shape} and the volume {volume.shape}")
            volume = volume * mask
        self.box_size = int(volume.shape[0])
        self.half = fft.rfftn(np.asarray(volume, float), workers=workers())
        self._power: dict[str, FloatArray] = {}

    def power(self, rule: str) -> FloatArray:
        """Power of each shell under a rule, shape (shells,)."""
        if rule not in self._power:
            self._power[rule] = _shell_sums(self, self, rule)
        return self._power[rule]


def shell_correlation(a: VolumeTransform, b: VolumeTransform, rule: str = "nearest") -> FloatArray:
    """Fourier shell correlation of two transforms.

    Parameters
    ----------
    a, b : VolumeTransform
        Of one box size.
    rule : {"nearest", "cryobench"}, optional

    Returns
    -------
    ndarray, shape (shells,)
        ``Re<a, b> / sqrt(<a, a> <b, b>)``. A shell in which a volume has no power at
        all is 0 (under ``"cryobench"`` 1): nothing of the other is found there.

    Raises
    ------
    ValueError
        If the boxes differ or the rule is not known.
    """
    if rule not in RULES:
        raise ValueError(f"the rule must be one of {RULES}, not {rule!r}")
    if a.box_size != b.box_size:
        raise ValueError(f"boxes of {a.box_size} and {b.box_size} voxels cannot be compared")
    power = np.sqrt(a.power(rule) * b.power(rule))
    empty = power == 0
    values = _shell_sums(a, b, rule) / np.where(empty, 1, power)
    if rule == "nearest":
        return np.where(empty, 0.0, values)
    return np.concatenate([[1.0], np.where(empty, 1.0, values)])


def fourier_shell_correlation(
    volume: npt.NDArray,
    reference: npt.NDArray,
    pixel_size: float,
    mask: npt.NDArray | None = None,
    rule: str = "nearest",
) -> FscCurve:
    """Fourier shell correlation of two volumes.

    Parameters
    ----------
    volume, reference : ndarray, shape (d, d, d)
    pixel_size : float
        Å.
    mask : ndarray, shape (d, d, d), optional
        Multiplied with both.
    rule : {"nearest", "cryobench"}, optional

    Returns
    -------
    FscCurve

    Raises
    ------
    ValueError
        If shapes differ, are no cubes, or the rule is not known.
    """
    a, b = VolumeTransform(volume, mask), VolumeTransform(reference, mask)
    return FscCurve(shell_correlation(a, b, rule), a.box_size, pixel_size, rule)


@lru_cache(maxsize=4)
def _shell_of_squared_length(box: int, rule: str) -> npt.NDArray[np.intp]:
    """Shell of each squared length of a frequency: 0 and the last number are no shells."""
    lengths = np.sqrt(np.arange(3 * (box // 2) ** 2 + 1))
    if rule == "nearest":
        return np.minimum(np.rint(lengths), box // 2 + 1).astype(np.intp)
    return np.minimum(np.floor(lengths) + 1, box // 2).astype(np.intp)


def _shell_sums(a: VolumeTransform, b: VolumeTransform, rule: str) -> FloatArray:
    """``Re sum a conj(b)`` over each shell, shape (shells,).

    Plane by plane, so that no array of the volume's size is made beside the
    transforms.
    """
    box = a.box_size
    shell_of = _shell_of_squared_length(box, rule)
    outside = int(shell_of[-1])
    along = np.rint(fft.fftfreq(box, 1 / box)).astype(np.intp)
    columns = np.arange(box // 2 + 1)
    in_plane = along[:, None] ** 2 + columns**2
    # The half transform holds one of each pair of conjugates, but for x = 0 and Nyquist.
    twice = np.full(len(columns), 2.0)
    twice[0] = 1
    if box % 2 == 0:
        twice[-1] = 1
    sums = np.zeros(outside + 1)
    for z, plane_a, plane_b in zip(along, a.half, b.half, strict=True):
        products = (plane_a.real * plane_b.real + plane_a.imag * plane_b.imag) * twice
        shells = shell_of[in_plane + z * z]
        sums += np.bincount(shells.ravel(), products.ravel(), minlength=outside + 1)
    return sums[1:outside]
