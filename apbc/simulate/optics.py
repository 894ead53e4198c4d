"""The microscope: random CTFs, the strength of the phase, and what is lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

from apbc.io.ctf import Ctf
from apbc.preprocess.ctf import ctf_2d, wavelength
from apbc.simulate.projection import frequencies_squared

FloatArray = npt.NDArray[np.float64]
FloatImage = npt.NDArray[np.float32]
ComplexArray = npt.NDArray[np.complex64]

REST_ENERGY = 510.99895
"""Of the electron, keV."""
TABLE = 1 << 15


@dataclass(frozen=True)
class Optics:
    """Microscope, and the spread of the defocus among micrographs.

    Attributes
    ----------
    defocus : (float, float)
        Least and most underfocus, Å.
    astigmatism : float
        Largest difference between the two defoci, Å.
    voltage : float
        kV.
    cs : float
        mm.
    amplitude_contrast : float
    phase_shift : float
        Of a phase plate, degrees.
    """

    defocus: tuple[float, float] = (8_000.0, 25_000.0)
    astigmatism: float = 300.0
    voltage: float = 300.0
    cs: float = 2.7
    amplitude_contrast: float = 0.1
    phase_shift: float = 0.0


def random_ctf(optics: Optics, rng: np.random.Generator) -> Ctf:
    """CTF of one micrograph, rounded as star files keep it.

    Parameters
    ----------
    optics : Optics
    rng : numpy.random.Generator

    Returns
    -------
    Ctf
    """
    defocus = rng.uniform(*optics.defocus)
    difference = rng.uniform(0, optics.astigmatism)
    return Ctf(
        defocus_u=round(defocus + difference / 2, 1),
        defocus_v=round(defocus - difference / 2, 1),
        defocus_angle=round(rng.uniform(0, 180), 2),
        voltage=optics.voltage,
        cs=optics.cs,
        amplitude_contrast=optics.amplitude_contrast,
        phase_shift=optics.phase_shift,
    )


def interaction(voltage: float) -> float:
    """Phase that a projected potential gives the electron wave.

    Kirkland, "Advanced Computing in Electron Microscopy", 2nd edition, 2010,
    equation 5.6.

    Parameters
    ----------
    voltage : float
        kV.

    Returns
    -------
    float
        rad per V Å; 6.526e-4 at 300 kV.
    """
    relativity = (REST_ENERGY + voltage) / (2 * REST_ENERGY + voltage)
    return float(2 * np.pi / (wavelength(voltage) * voltage * 1e3) * relativity)


def envelope(shape: tuple[int, int], pixel_size: float, b_factor: float) -> FloatImage:
    """Share ``exp(-B/4 s²)`` of the contrast that is left, at the frequencies of ``rfft2``.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    pixel_size : float
        Å.
    b_factor : float
        Å².

    Returns
    -------
    ndarray of float32, shape (rows, columns // 2 + 1)
    """
    left: FloatImage = np.exp(-b_factor / 4 * frequencies_squared(shape, pixel_size))
    return left


def drift(
    shape: tuple[int, int], pixel_size: float, length: float, angle: float
) -> npt.NDArray[np.float64]:
    """Share of the contrast that a steady motion in one direction leaves.

    The image is the mean along a line of that length: a sinc in Fourier space.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    pixel_size, length : float
        Å.
    angle : float
        Direction in rad, from x towards y.

    Returns
    -------
    ndarray, shape (rows, columns // 2 + 1)
    """
    y = scipy.fft.fftfreq(shape[0], pixel_size)[:, None]
    x = scipy.fft.rfftfreq(shape[1], pixel_size)[None, :]
    return np.sinc(length * (x * np.cos(angle) + y * np.sin(angle)))


def contrast_spectrum(
    phase: npt.NDArray, pixel_size: float, ctf: Ctf, workers: int | None = None
) -> ComplexArray:
    """Phase behind a specimen, as the lens passes it on: ``CTF F[phase]``.

    Parameters
    ----------
    phase : ndarray, shape (rows, columns)
        rad.
    pixel_size : float
        Å.
    ctf : Ctf
    workers : int, optional
        Threads of the Fourier transform.

    Returns
    -------
    ndarray of complex64, shape (rows, columns // 2 + 1)
    """
    rows, columns = phase.shape
    spectrum: ComplexArray = scipy.fft.rfft2(phase.astype(np.float32, copy=False), workers=workers)
    spectrum *= ctf_2d((rows, columns), pixel_size, ctf)
    return spectrum


def radial(
    shape: tuple[int, int], pixel_size: float, function: Callable[[FloatArray], npt.NDArray]
) -> FloatImage:
    """Values of a function of the spatial frequency, at the frequencies of ``rfft2``.

    The function is called for `TABLE` frequencies, and the nearest is taken.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    pixel_size : float
        Å; with 1 the frequencies are in 1/pixel.
    function : callable
        From frequencies in 1/Å, shape (n,), to values, shape (n,).

    Returns
    -------
    ndarray of float32, shape (rows, columns // 2 + 1)
    """
    largest = float(np.sqrt(0.5) / pixel_size)
    table = np.asarray(function(np.linspace(0, largest, TABLE)), np.float32)
    steps = np.sqrt(frequencies_squared(shape, pixel_size))
    steps *= (TABLE - 1) / largest
    return table[np.rint(steps, out=steps).astype(np.int32)]
