"""From molecules at random orientations to the phase they give the electron wave."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy.spatial.transform import Rotation

from apbc.simulate.molecule import Molecule

FloatArray = npt.NDArray[np.float64]
FloatImage = npt.NDArray[np.float32]

INTERACTION = 6.526e-4
"""Phase in rad per V Å at 300 kV (Kirkland, "Advanced Computing in Electron Microscopy",
2nd edition, 2010, table 2.1)."""


def random_rotations(count: int, rng: np.random.Generator) -> FloatArray:
    """Rotations drawn uniformly from SO(3).

    Parameters
    ----------
    count : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (count, 3, 3)
    """
    matrices: FloatArray = Rotation.random(count, random_state=rng).as_matrix()
    return matrices


def project(
    molecule: Molecule,
    rotations: FloatArray,
    centres: FloatArray,
    shape: tuple[int, int],
    pixel_size: float,
) -> FloatImage:
    """Phase shift of the wave behind many copies of a molecule, along z.

    The scatterers are shared among the four pixels round each of them and
    blurred by their Gaussian in Fourier space.

    Parameters
    ----------
    molecule : Molecule
    rotations : ndarray, shape (n, 3, 3)
        One a copy.
    centres : ndarray, shape (n, 2)
        x, y of the copies in pixels; parts outside the image are left out.
    shape : (int, int)
        Rows and columns.
    pixel_size : float
        Å.

    Returns
    -------
    ndarray of float32, shape `shape`
        rad.
    """
    rows, columns = shape
    counts = np.zeros(rows * columns)
    for rotation, centre in zip(rotations, centres, strict=True):
        # einsum rather than a matrix product: the same bits with any number of BLAS threads.
        turned = np.einsum("ij,nj->ni", rotation[:2], molecule.positions)
        x, y = (turned / pixel_size + centre).T
        left, lower = np.floor(x).astype(int), np.floor(y).astype(int)
        right_share, upper_share = x - left, y - lower
        for column, x_share in ((left, 1 - right_share), (left + 1, right_share)):
            for row, y_share in ((lower, 1 - upper_share), (lower + 1, upper_share)):
                inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
                where = row[inside] * columns + column[inside]
                np.add.at(counts, where, (x_share * y_share)[inside])
    spectrum = scipy.fft.rfft2(counts.reshape(shape).astype(np.float32))
    s2 = frequencies_squared(shape, pixel_size)
    spectrum *= np.exp(-2 * (np.pi * molecule.blur) ** 2 * s2)
    blurred: FloatImage = scipy.fft.irfft2(spectrum, s=shape)
    return blurred * np.float32(INTERACTION * molecule.potential / pixel_size**2)


def frequencies_squared(shape: tuple[int, int], pixel_size: float) -> FloatImage:
    """Squared spatial frequencies of ``rfft2``.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    pixel_size : float
        Å.

    Returns
    -------
    ndarray of float32, shape (rows, columns // 2 + 1)
        1/Å².
    """
    y = scipy.fft.fftfreq(shape[0], pixel_size)[:, None]
    x = scipy.fft.rfftfreq(shape[1], pixel_size)[None, :]
    return (x**2 + y**2).astype(np.float32)
