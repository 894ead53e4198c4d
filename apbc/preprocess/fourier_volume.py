"""The Fourier transform of a volume, read between the frequencies of its grid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.fft

from apbc.system.cores import workers

FloatArray = npt.NDArray[np.floating]
ComplexArray = npt.NDArray[np.complexfloating]

PADDING = 2


class FourierVolume:
    """Transform of a volume whose centre, voxel ``d // 2``, is the origin.

    The volume is padded to twice its box, divided by the transform of the linear
    interpolation (a squared sinc) and transformed; what lies between two frequencies is
    interpolated linearly (Penczek, Renka and Schomberg, J. Opt. Soc. Am. A 21:499, 2004, discuss
    the error).

    Parameters
    ----------
    volume : ndarray, shape (d, d, d)
        z, y, x.
    highest : float, optional
        No frequency beyond this is asked for, in cycles per box; default: up to `reach`.

    Attributes
    ----------
    reach : float
        The length of the longest frequency that `at` can give, in cycles per box.
    nbytes : int
        Memory that it keeps.

    Raises
    ------
    ValueError
        If the volume is no cube.
    """

    def __init__(self, volume: npt.NDArray, highest: float | None = None) -> None:
        box = volume.shape[0]
        if volume.shape != (box, box, box):
            raise ValueError(f"the volume must be a cube, not {volume.shape}")
        padded = PADDING * box
        correction = (np.sinc((np.arange(box) - box // 2) / padded) ** 2).astype(np.float32)
        cube = np.zeros((padded, padded, padded), np.float32)
        inner = slice(padded // 2 - box // 2, padded // 2 - box // 2 + box)
        cube[inner, inner, inner] = volume
        for axis in range(3):
            shape = [1, 1, 1]
            shape[axis] = box
            cube[inner, inner, inner] /= correction.reshape(shape)
        # The centre goes to voxel 0, so that the transform has no phase of its own.
        spectrum = scipy.fft.rfftn(scipy.fft.ifftshift(cube), workers=workers())
        del cube
        middle = padded // 2 - 1
        if highest is not None:
            # One more, to interpolate.
            middle = min(middle, int(np.ceil(PADDING * highest)) + 1)
        keep = np.arange(-middle, middle + 1)
        self._values: npt.NDArray[np.complex64] = np.ascontiguousarray(
            spectrum[keep[:, None], keep[None, :], : middle + 1]
        )
        self._middle = middle
        self.reach = (middle - 1) / PADDING
        self.nbytes = self._values.nbytes

    def at(self, x: FloatArray, y: FloatArray, z: FloatArray) -> ComplexArray:
        """Give the transform at some frequencies.

        Several times as fast as SciPy's ``map_coordinates``.

        Parameters
        ----------
        x, y, z : ndarray
            Cycles per box, of one shape; no frequency longer than `reach`.

        Returns
        -------
        ndarray of complex64, of that shape
        """
        # The transform of a real volume at -k is the conjugate of that at k.
        flip = x < 0
        sign = np.where(flip, -PADDING, PADDING)
        place = np.stack([z * sign + self._middle, y * sign + self._middle, x * sign])
        left = place.astype(np.int64)
        fz, fy, fx = (place - left).astype(np.float32)
        _, rows, columns = self._values.shape
        values = self._values.ravel()
        corner = (left[0] * rows + left[1]) * columns + left[2]
        result = np.zeros(corner.shape, np.complex64)
        for plane, z_share in ((0, 1 - fz), (1, fz)):
            for row, y_share in ((0, 1 - fy), (1, fy)):
                start = corner + (plane * rows + row) * columns
                near, far = values.take(start), values.take(start + 1)
                result += z_share * y_share * (near + fx * (far - near))
        return np.where(flip, np.conj(result), result)
