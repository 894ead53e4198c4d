"""The contrast transfer function of the microscope, and its undoing by phase flipping."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.fft

from apbc.io.ctf import Ctf

FloatArray = npt.NDArray[np.float32]

ANGSTROM_PER_MM = 1e7


def wavelength(voltage: float) -> float:
    """Wavelength of the electrons of a microscope.

    The relativistic de Broglie wavelength (Reimer and Kohl, "Transmission
    Electron Microscopy", 5th edition, 2008, equation 2.12) with the constants
    put in.

    Parameters
    ----------
    voltage : float
        kV.

    Returns
    -------
    float
        Å; 0.0197 at 300 kV.
    """
    volt = voltage * 1e3
    return 12.2643247 / float(np.sqrt(volt * (1 + 0.978466e-6 * volt)))


def ctf_2d(shape: tuple[int, int], pixel_size: float, ctf: Ctf) -> FloatArray:
    """Contrast transfer function at the frequencies of ``rfft2``.

    Formula of Rohou and Grigorieff (J. Struct. Biol. 192:216, 2015, equations
    2 to 5)::

        chi(s) = pi l Df(a) s^2 - pi/2 l^3 Cs s^4 + phase shift
        Df(a)  = (U + V)/2 + (U - V)/2 cos(2 (a - angle))
        CTF(s) = sin(chi + asin(w))

    with the wavelength l, the direction a of the frequency (counted from x
    towards y) and the amplitude contrast w. The sign is RELION's: `w` at the
    origin and above zero up to the first zero, so that an image in which protein
    is dark is one minus the filtered projection, and phase flipping leaves
    protein dark.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the image.
    pixel_size : float
        Å per pixel.
    ctf : Ctf
        `defocus_u`, `defocus_v` in Å (underfocus above zero), `defocus_angle`
        and `phase_shift` in degrees, `voltage` in kV, `cs` in mm,
        `amplitude_contrast` from 0 to 1.

    Returns
    -------
    ndarray of float32, shape (rows, columns // 2 + 1)
    """
    rows, columns = shape
    y = scipy.fft.fftfreq(rows, pixel_size)[:, None]
    x = scipy.fft.rfftfreq(columns, pixel_size)[None, :]
    s2 = x**2 + y**2
    mean = (ctf.defocus_u + ctf.defocus_v) / 2
    half_difference = (ctf.defocus_u - ctf.defocus_v) / 2
    twice = 2 * np.deg2rad(ctf.defocus_angle)
    # cos(2 (a - angle)) s^2, without the angle a itself
    turned = (x**2 - y**2) * np.cos(twice) + 2 * x * y * np.sin(twice)
    length = wavelength(ctf.voltage)
    chi = np.pi * length * (mean * s2 + half_difference * turned)
    chi -= np.pi / 2 * length**3 * ctf.cs * ANGSTROM_PER_MM * s2**2
    chi += np.deg2rad(ctf.phase_shift) + np.arcsin(ctf.amplitude_contrast)
    return np.sin(chi).astype(np.float32)


def phase_flip(image: npt.NDArray[Any], pixel_size: float, ctf: Ctf) -> FloatArray:
    """Turn the sign of the frequencies that the microscope inverted.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
    pixel_size : float
        Å per pixel of `image`.
    ctf : Ctf
        As for `ctf_2d`.

    Returns
    -------
    ndarray of float32, shape (rows, columns)
        The mean and the sign of the contrast are those of `image`.
    """
    rows, columns = image.shape
    spectrum = scipy.fft.rfft2(image.astype(np.float32, copy=False))
    spectrum[ctf_2d((rows, columns), pixel_size, ctf) < 0] *= -1
    flipped: FloatArray = scipy.fft.irfft2(spectrum, s=(rows, columns))
    return flipped
