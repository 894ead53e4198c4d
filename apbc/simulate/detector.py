"""The camera: how it blurs, and how it counts electrons.

The image that falls on the detector is multiplied by the modulation transfer function (MTF),
electrons are drawn from a Poisson distribution, and the noise is passed on with the noise transfer
function (NTF), so that the detective quantum efficiency is ``DQE = DQE(0) MTF² / NTF²`` (Vulović
et al., J. Struct. Biol. 183:19, 2013). Two limits are offered:

- *counting*: each electron is put on one pixel, so the noise is white (NTF 1) and
  ``DQE = DQE(0) MTF²``;
- *integrating*: the signal of each electron is spread as the image is (NTF = MTF), so that the
  noise loses its high frequencies too and the DQE is ``DQE(0)`` at all of them.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.fft

from apbc.errors import ApbcError
from apbc.io.star import read_star
from apbc.simulate.optics import radial

FloatArray = npt.NDArray[np.float64]
FloatImage = npt.NDArray[np.float32]

KINDS = ("counting", "integrating", "perfect")
SPREAD = 0.3
"""Standard deviation in pixels of the blur of the parametric MTF, beside the pixel itself: 0.8 at
half and 0.4 at the full Nyquist frequency, about what direct detectors have at 300 kV (McMullan
et al., Ultramicroscopy 147:156, 2014)."""
DQE = 0.8
BLOCK_ROWS = 256
"""Rows that share a generator of random numbers, so that threads do not change the image."""


@dataclass(frozen=True)
class Detector:
    """A camera.

    Attributes
    ----------
    kind : str
        One of `KINDS`; *perfect* counts every electron and has an MTF of 1.
    dqe : float
        DQE at frequency 0: the share of the electrons that is counted.
    frequencies, values : tuple of float
        Measured MTF over 1/pixel; empty for the parametric one.
    """

    kind: str = "counting"
    dqe: float = DQE
    frequencies: tuple[float, ...] = ()
    values: tuple[float, ...] = ()

    def mtf(self, frequency: npt.ArrayLike) -> FloatArray:
        """Modulation transfer function.

        Without a measured curve, a square pixel and a Gaussian blur of `SPREAD`::

            MTF(f) = sinc(f) exp(-2 (pi spread f)²)

        Parameters
        ----------
        frequency : array_like
            1/pixel.

        Returns
        -------
        ndarray
        """
        f = np.asarray(frequency, float)
        if self.kind == "perfect":
            return np.ones_like(f)
        if self.frequencies:
            return np.interp(f, self.frequencies, self.values)
        return np.sinc(f) * np.exp(-2 * (np.pi * SPREAD * f) ** 2)

    @property
    def blurs_noise(self) -> bool:
        """Whether the MTF acts after counting rather than before."""
        return self.kind == "integrating"

    def count(
        self, expected: FloatImage, seed: np.random.SeedSequence, threads: Executor
    ) -> FloatImage:
        """Draw the electrons that are counted.

        Parameters
        ----------
        expected : ndarray of float32, shape (rows, columns)
            Mean of the electrons that fall on each pixel; below 0 counts as 0. For all
            kinds but *integrating* blurred by the MTF already. It is overwritten.
        seed : numpy.random.SeedSequence
        threads : concurrent.futures.Executor

        Returns
        -------
        ndarray of float32, shape (rows, columns)
        """
        efficiency = np.float32(1.0 if self.kind == "perfect" else self.dqe)
        starts = range(0, len(expected), BLOCK_ROWS)

        def draw(start: int, child: np.random.SeedSequence) -> None:
            block = expected[start : start + BLOCK_ROWS]
            np.maximum(block, 0, out=block)
            block *= efficiency
            block[:] = np.random.default_rng(child).poisson(block)

        list(threads.map(draw, starts, seed.spawn(len(starts))))
        if not self.blurs_noise:
            return expected
        rows, columns = expected.shape
        spectrum = scipy.fft.rfft2(expected)
        spectrum *= radial((rows, columns), 1.0, self.mtf)
        blurred: FloatImage = scipy.fft.irfft2(spectrum, s=(rows, columns))
        return blurred


def read_mtf(path: str | Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Read the MTF of a detector from a star file as RELION uses it.

    Parameters
    ----------
    path : str or Path
        With the columns ``rlnResolutionInversePixel`` (1/pixel) and ``rlnMtfValue``.

    Returns
    -------
    frequencies, values : tuple of float

    Raises
    ------
    ApbcError
        If the file is missing, lacks a column, or is no MTF up to Nyquist.
    """
    table = read_star(path).table_with("rlnResolutionInversePixel", "rlnMtfValue")
    frequencies = table.numbers("rlnResolutionInversePixel")
    values = table.numbers("rlnMtfValue")
    if (
        len(values) < 2
        or not np.isfinite(frequencies).all()
        or (np.diff(frequencies) <= 0).any()
        or frequencies[0] > 0.05
        or frequencies[-1] < 0.49
    ):
        raise ApbcError(
            f"{path} is no MTF: rlnResolutionInversePixel must rise from 0 to 0.5 (1/pixel); give "
            "the file of the detector"
        )
    if not ((values >= 0) & (values <= 1.5)).all():
        raise ApbcError(f"{path} is no MTF: rlnMtfValue must lie between 0 and 1; mend the file")
    return tuple(frequencies.tolist()), tuple(values.tolist())
