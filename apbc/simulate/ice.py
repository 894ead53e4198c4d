"""Vitreous ice: its thickness, its structural noise, and what it keeps from the image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.fft

from apbc.simulate.optics import interaction, radial

FloatArray = npt.NDArray[np.float64]
FloatImage = npt.NDArray[np.float32]

WATER_DENSITY = 0.0313
"""Molecules per Å³ of amorphous ice, 0.94 g/cm³."""
WATER_POTENTIAL = 146.0
"""V Å³, the potential of a water molecule, integrated: 47.88 V Å² times the scattering factors at
0 of an oxygen and two hydrogen atoms (1.98 and 0.53 Å each; Peng et al., Acta Cryst. A52:257,
1996)."""
FREE_PATH = 3950.0
"""Å of ice at 300 kV after which 1/e of the electrons is left in the image, with an energy filter
(Rice et al., J. Struct. Biol. 204:38, 2018)."""
DIFFUSION = 1.0
"""Å² per e/Å² by which irradiated water moves, mean square in 3-D (McMullan, Vinothkumar and
Henderson, Ultramicroscopy 158:26, 2015)."""
RING = 3.7
"""Å, the distance of the first diffuse ring of amorphous ice."""
COMPRESSIBILITY = 0.06
"""Structure factor of water at frequency 0."""


def structure_factor(frequency: FloatArray) -> FloatArray:
    """Sketch of the structure factor of amorphous ice.

    Parameters
    ----------
    frequency : ndarray
        1/Å.

    Returns
    -------
    ndarray
        `COMPRESSIBILITY` at 0, a ring at `RING` Å and 1 far beyond.
    """
    ring = 1.5 * np.exp(-(((frequency - 1 / RING) / 0.045) ** 2))
    far = 1 / (1 + np.exp((1 / 2.8 - frequency) / 0.03))
    return COMPRESSIBILITY + ring + (1 - COMPRESSIBILITY) * far


def lasting_share(frequency: FloatArray, dose: float) -> FloatArray:
    """Share of the power of moving water that an exposure keeps.

    Water diffuses while it is looked at, so that its picture is averaged: with a mean
    square motion that grows with the dose, frequency s keeps ``2 (e^-u - 1 + u) / u²``
    of its power, ``u = 2 pi² s² <x²>`` with the motion along one axis over the dose.

    Parameters
    ----------
    frequency : ndarray
        1/Å.
    dose : float
        Electrons per Å².

    Returns
    -------
    ndarray
    """
    u = np.maximum(2 * np.pi**2 * frequency**2 * DIFFUSION / 3 * dose, 1e-4)
    return 2 * (np.expm1(-u) + u) / u**2


def structural_noise(
    shape: tuple[int, int],
    pixel_size: float,
    dose: float,
    voltage: float,
    rng: np.random.Generator,
    workers: int | None = None,
) -> FloatImage:
    """Phase of ice 1 Å thick: the grain that gives real micrographs their Thon rings.

    Water molecules at random places with `structure_factor`, moved by the beam
    (`lasting_share`). For ice of thickness t multiply by the square root of t.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    pixel_size : float
        Å.
    dose : float
        Electrons per Å².
    voltage : float
        kV.
    rng : numpy.random.Generator
    workers : int, optional
        Threads of the Fourier transform.

    Returns
    -------
    ndarray of float32, shape `shape`
        rad.
    """
    rows, columns = shape
    alone = (interaction(voltage) * WATER_POTENTIAL) ** 2 * WATER_DENSITY

    def amplitude(frequency: FloatArray) -> FloatArray:
        power = alone * structure_factor(frequency) * lasting_share(frequency, dose)
        # Of half a complex number of the transform of an image whose power is that per Å⁻².
        return np.sqrt(power * rows * columns / 2) / pixel_size

    # Drawn in Fourier space, which spares one transform.
    halves = rng.standard_normal((rows, columns // 2 + 1, 2), dtype=np.float32)
    spectrum = halves.view(np.complex64)[..., 0]
    spectrum *= radial(shape, pixel_size, amplitude)
    spectrum[0, 0] = 0
    noise: FloatImage = scipy.fft.irfft2(spectrum, s=shape, workers=workers)
    return noise


def thickness_map(
    rows: FloatArray, columns: FloatArray, mean: float, gradient: float, rng: np.random.Generator
) -> FloatImage:
    """Thickness of the ice: a wedge with slow waves.

    Parameters
    ----------
    rows, columns : ndarray, shape (r, 1) and (1, c)
        Places as shares of the sides of the micrograph, 0 to 1 within it.
    mean : float
        Å.
    gradient : float
        Largest change from one side to the other, as a share of the mean; how much
        of it there is, and where to, is random.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape (r, c)
        Å; nowhere below a fifth of the mean.
    """
    slope, angle = rng.uniform(0, gradient), rng.uniform(0, 2 * np.pi)
    thickness = (1 + slope * np.sin(angle) * (rows - 0.5)).astype(np.float32)
    thickness = thickness + (slope * np.cos(angle) * (columns - 0.5)).astype(np.float32)
    for waves in (1.0, 2.0):
        swing = gradient / 10 * rng.uniform(-1, 1)
        phases = rng.uniform(0, 2 * np.pi, 2)
        down = np.cos(np.pi * waves * rows + phases[0])
        across = np.cos(np.pi * waves * columns + phases[1])
        thickness += (swing * down).astype(np.float32) * across.astype(np.float32)
    np.maximum(thickness, np.float32(0.2), out=thickness)
    thickness *= np.float32(mean)
    return thickness
