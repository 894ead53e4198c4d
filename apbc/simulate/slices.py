"""Projections of a volume as slices of its Fourier transform."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy.ndimage import map_coordinates

from apbc.preprocess.fourier_volume import FourierVolume

FloatArray = npt.NDArray[np.float64]
FloatImage = npt.NDArray[np.float32]
ComplexArray = npt.NDArray[np.complex64]


class SliceProjector:
    """Projects one volume in any direction.

    The central slice theorem: the Fourier transform of a projection is a plane
    through the origin of the volume's transform (`FourierVolume`).

    Rotations are those of `apbc.geometry.euler_to_matrix`: a point r of the volume
    is seen at ``R r``.

    Parameters
    ----------
    volume : ndarray, shape (d, d, d)
        z, y, x; the centre is voxel ``d // 2``.
    output_box : int, optional
        Side of the projections in pixels, at most `d`; they show the whole box at
        a coarser pixel (Fourier cropping). Default `d`.
    magnification : float, optional
        Projections are that many times larger than the volume; 1 is right, and
        ``(d - 1) / d`` is what CryoBench's projector does.

    Raises
    ------
    ValueError
        If the volume is no cube or `output_box` is larger than it.
    """

    def __init__(
        self, volume: npt.NDArray, output_box: int | None = None, magnification: float = 1.0
    ) -> None:
        box = volume.shape[0]
        self.box = box
        self.output_box = box if output_box is None else output_box
        if not 2 <= self.output_box <= box:
            raise ValueError(f"the output box must be from 2 to {box}, not {output_box}")
        self.magnification = magnification
        highest = self.output_box / 2
        self._transform = FourierVolume(volume, highest * max(magnification, 1.0))
        self._sum = float(volume.sum(dtype=np.float64))
        rows, columns = self._grid(self.output_box)
        self._within = np.hypot(rows, columns) <= min(
            highest, self._transform.reach / magnification
        )
        self._points = np.stack([columns[self._within], rows[self._within]])

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the transform takes."""
        return self._transform.nbytes

    @staticmethod
    def _grid(box: int) -> tuple[FloatArray, FloatArray]:
        """Whole frequencies (rows, columns) of ``rfft2`` of a square of side `box`."""
        rows = scipy.fft.fftfreq(box, 1 / box)
        columns = scipy.fft.rfftfreq(box, 1 / box)
        grid = np.meshgrid(rows, columns, indexing="ij")
        return grid[0], grid[1]

    def spectrum(self, rotation: npt.NDArray) -> ComplexArray:
        """``rfft2`` of a projection whose centre is pixel (0, 0).

        Parameters
        ----------
        rotation : ndarray, shape (3, 3)

        Returns
        -------
        ndarray of complex64, shape (output_box, output_box // 2 + 1)
            Frequencies beyond the circle of the Nyquist frequency are 0, and so is the
            volume's own last one. Grey values are sums along z of the volume's, also
            after cropping.
        """
        # In-plane directions of the image in the volume: the first two rows of R. Written out,
        # since a matrix product may round otherwise with another number of BLAS threads.
        right, down = rotation[:2, :, None] * self.magnification
        x, y, z = right * self._points[0] + down * self._points[1]
        slices = np.zeros((self.output_box, self.output_box // 2 + 1), np.complex64)
        # Cropping keeps grey values: fewer pixels share the same sum.
        slices[self._within] = self._transform.at(x, y, z)
        # Read on the grid, where nothing is interpolated, it would be that of the divided volume.
        slices[0, 0] = self._sum
        slices *= np.float32((self.output_box / self.box) ** 2)
        return slices

    def project(self, rotation: npt.NDArray) -> FloatImage:
        """Projection, with the volume's centre at pixel ``output_box // 2``.

        Parameters
        ----------
        rotation : ndarray, shape (3, 3)

        Returns
        -------
        ndarray of float32, shape (output_box, output_box)
        """
        image: FloatImage = scipy.fft.irfft2(
            self.spectrum(rotation), s=(self.output_box, self.output_box)
        )
        return scipy.fft.fftshift(image)


def shift_phases(
    shape: tuple[int, int], shift: tuple[float, float], dtype: type = np.complex64
) -> ComplexArray:
    """Factors by which ``rfft2`` moves an image's content.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the image.
    shift : (float, float)
        x, y in pixels, towards larger columns and rows.

    Returns
    -------
    ndarray of complex, shape (rows, columns // 2 + 1)
    """
    down = np.exp(-2j * np.pi * shift[1] * scipy.fft.fftfreq(shape[0]))
    right = np.exp(-2j * np.pi * shift[0] * scipy.fft.rfftfreq(shape[1]))
    phases: ComplexArray = (down[:, None] * right).astype(dtype)
    return phases


def project_in_real_space(volume: npt.NDArray, rotation: npt.NDArray) -> FloatImage:
    """Projection by turning the volume: linear interpolation, then the sum along z.

    Slow; what `SliceProjector` is compared with.

    Parameters
    ----------
    volume : ndarray, shape (d, d, d)
    rotation : ndarray, shape (3, 3)

    Returns
    -------
    ndarray of float32, shape (d, d)
    """
    box = volume.shape[0]
    axis = np.arange(box) - box // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    seen = np.stack([x.ravel(), y.ravel(), z.ravel()])
    x, y, z = rotation.T @ seen + box // 2
    values = map_coordinates(volume, np.stack([z, y, x]), order=1, mode="constant")
    image: FloatImage = values.reshape(volume.shape).sum(axis=0).astype(np.float32)
    return image
