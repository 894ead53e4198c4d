"""A structure ready to be seen in a micrograph: its projections as patches of phase."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import numpy.typing as npt
import scipy.fft

from apbc.geometry import euler_to_matrix
from apbc.io.volumes import Volume
from apbc.simulate.slices import SliceProjector
from apbc.simulate.structures import Structure, potential_of

FloatArray = npt.NDArray[np.float64]
FloatImage = npt.NDArray[np.float32]
ComplexArray = npt.NDArray[np.complex64]

ROOM = 1.25
"""Side of the box over the diameter of the molecule."""
SCALE_ERROR = 2e-4
"""By which the size of a molecule may be wrong when its pixel size is changed."""
PROJECTOR_BYTES = 1.5e9
"""Memory that transforms of volumes may take together; those not used for longest go first."""


class ParticleModel:
    """One structure at the pixel size of the micrograph.

    Parameters
    ----------
    structure : Structure
    pixel_size : float
        Of the micrograph, Å. The volume is brought to it in Fourier space.

    Attributes
    ----------
    name : str
    weight : float
    diameter : float
        Å.
    box : int
        Side of the patches in pixels of the micrograph; the molecule's centre is pixel
        ``box // 2``.
    """

    def __init__(self, structure: Structure, pixel_size: float) -> None:
        self.name = structure.name
        self.weight = structure.weight
        self.diameter = structure.diameter
        self.pixel_size = pixel_size
        self._structure = structure
        self._side, self.box = sides(
            self.diameter, structure.pixel_size, pixel_size, structure.box_size
        )

    @property
    def transform_bytes(self) -> int:
        """Memory of the projector, roughly."""
        return 4 * (2 * min(self.box, self._side) + 5) ** 3

    def projector(self) -> SliceProjector:
        """Make the projector of the potential, cut to the box; forgets the volume then."""
        volume = potential_of(self._structure)
        cut = central(volume.data, self._side)
        # The noise round the molecule of a measured map would show as a square.
        cut *= soft_sphere(self._side, self.diameter / volume.pixel_size / 2)
        projector = SliceProjector(cut, output_box=min(self.box, self._side))
        self._structure.release()
        return projector

    def volume(self) -> Volume:
        """Potential over ice in V, on the grid of the structure; kept until `projector`."""
        return potential_of(self._structure)

    def patch(
        self,
        projector: SliceProjector,
        angles: FloatArray,
        fraction: tuple[float, float],
        turn: FloatImage | None = None,
    ) -> tuple[FloatImage, FloatImage | None]:
        """Projected potential of one particle.

        Parameters
        ----------
        projector : SliceProjector
            As of `projector`.
        angles : ndarray, shape (3,)
            rot, tilt, psi in degrees.
        fraction : (float, float)
            x, y in pixels by which the centre is off pixel ``box // 2``.
        turn : ndarray, shape (box, box // 2 + 1), optional
            Phase in rad by which another height turns each frequency.

        Returns
        -------
        patch : ndarray of float32, shape (box, box)
            V Å; with `turn`, times its cosine.
        quarter : ndarray of float32, shape (box, box), or None
            With `turn`: times its sine.
        """
        spectrum = self._at_box(projector.spectrum(euler_to_matrix(angles)[0]))
        middle = self.box // 2
        shift_y = scipy.fft.fftfreq(self.box) * (middle + fraction[1])
        shift_x = scipy.fft.rfftfreq(self.box) * (middle + fraction[0])
        spectrum *= np.exp(-2j * np.pi * shift_y).astype(np.complex64)[:, None]
        spectrum *= np.exp(-2j * np.pi * shift_x).astype(np.complex64)[None, :]
        # Sums over voxels become integrals along z.
        spectrum *= np.float32(self._structure.pixel_size)
        shape = (self.box, self.box)
        if turn is None:
            return scipy.fft.irfft2(spectrum, s=shape), None
        return (
            scipy.fft.irfft2(spectrum * np.cos(turn), s=shape),
            scipy.fft.irfft2(spectrum * np.sin(turn), s=shape),
        )

    def _at_box(self, spectrum: ComplexArray) -> ComplexArray:
        """Spectrum with zeros round it where the micrograph is finer than the volume."""
        small = spectrum.shape[0]
        if small == self.box:
            return spectrum
        larger = np.zeros((self.box, self.box // 2 + 1), np.complex64)
        half = small // 2
        larger[: small - half, : half + 1] = spectrum[: small - half]
        larger[-half:, : half + 1] = spectrum[-half:]
        larger *= np.float32((self.box / small) ** 2)
        return larger


class Projectors:
    """Projectors of the particle models, as many as memory allows.

    Parameters
    ----------
    models : list of ParticleModel
    """

    def __init__(self, models: list[ParticleModel]) -> None:
        self._models = models
        self._kept: OrderedDict[int, SliceProjector] = OrderedDict()

    def of(self, index: int) -> SliceProjector:
        """Projector of a model by its index.

        Parameters
        ----------
        index : int

        Returns
        -------
        SliceProjector
        """
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        needed = self._models[index].transform_bytes
        while self._kept and needed + self._used() > PROJECTOR_BYTES:
            self._kept.popitem(last=False)
        self._kept[index] = self._models[index].projector()
        return self._kept[index]

    def _used(self) -> int:
        return sum(self._models[index].transform_bytes for index in self._kept)


def sides(
    diameter: float, volume_pixel: float, micrograph_pixel: float, volume_box: int
) -> tuple[int, int]:
    """Boxes of the volume and of its patches that span the same length.

    Parameters
    ----------
    diameter, volume_pixel, micrograph_pixel : float
        Å.
    volume_box : int
        Voxels; where the pixel sizes are the same the box is no larger.

    Returns
    -------
    side, box : int
        Voxels of the volume and pixels of the micrograph: the smallest even numbers that hold
        the molecule with room and whose ratio is that of the pixel sizes.
    """
    least = int(np.ceil(ROOM * diameter / volume_pixel / 2)) * 2
    if abs(volume_pixel / micrograph_pixel - 1) < SCALE_ERROR:
        side = min(2 * int(scipy.fft.next_fast_len(least // 2, real=True)), volume_box)
        return side, side
    best = (np.inf, least, least)
    for side in range(least, 2 * least + 2, 2):
        exact = side * volume_pixel / micrograph_pixel
        box = 2 * round(exact / 2)
        error = abs(box / exact - 1)
        if error < best[0]:
            best = (error, side, box)
        if error < SCALE_ERROR:
            break
    return int(best[1]), int(best[2])


def central(volume: npt.NDArray, side: int) -> FloatImage:
    """Cut a volume to a box round its centre, or pad it with 0.

    Parameters
    ----------
    volume : ndarray, shape (d, d, d)
        The centre is voxel ``d // 2``.
    side : int

    Returns
    -------
    ndarray of float32, shape (side, side, side)
        The centre is voxel ``side // 2``.
    """
    box = volume.shape[0]
    cube = np.zeros((side, side, side), np.float32)
    below, above = min(box // 2, side // 2), min(box - box // 2, side - side // 2)
    source = slice(box // 2 - below, box // 2 + above)
    target = slice(side // 2 - below, side // 2 + above)
    cube[target, target, target] = volume[source, source, source]
    return cube


def soft_sphere(side: int, radius: float) -> FloatImage:
    """Mask that is 1 within a sphere and falls to 0 as a cosine towards the faces of the box.

    Parameters
    ----------
    side : int
        Voxels.
    radius : float
        Voxels.

    Returns
    -------
    ndarray of float32, shape (side, side, side)
    """
    squares = (np.arange(side, dtype=np.float32) - side // 2) ** 2
    distance = np.sqrt(squares[:, None, None] + squares[:, None] + squares)
    beyond = np.clip((distance - radius) / max(side / 2 - 1 - radius, 1.0), 0, 1)
    mask: FloatImage = (0.5 + 0.5 * np.cos(np.pi * beyond)).astype(np.float32)
    return mask
