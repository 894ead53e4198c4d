"""Images of structures as the lens passes them on: projection, shift, CTF, envelope."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

from apbc.geometry import euler_to_matrix
from apbc.io.ctf import Ctf
from apbc.preprocess.ctf import ctf_2d
from apbc.simulate.junk import draw_junk
from apbc.simulate.noise import MASK_LEVEL, circle
from apbc.simulate.optics import envelope
from apbc.simulate.particle_files import Particles
from apbc.simulate.slices import SliceProjector, shift_phases
from apbc.simulate.structures import Structure

FloatArray = npt.NDArray[np.float64]
FloatImage = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

CACHE_BYTES = 1 << 30
"""Memory for transforms of structures that may be needed again."""


@dataclass(frozen=True)
class ImageModel:
    """How images come about, apart from the particles.

    Attributes
    ----------
    envelope_b : float
        Å²; amplitudes fall by ``exp(-B s²/4)``.
    dark : bool
        Whether the sign is that of micrographs and CryoBench, with protein dark.
    magnification : float
        1, or what the object is shrunk by.
    region : str
        Where the signal is measured, see `apbc.simulate.noise`.
    """

    envelope_b: float = 0.0
    dark: bool = False
    magnification: float = 1.0
    region: str = "box"


class Camera:
    """Makes the images without noise at one box.

    Parameters
    ----------
    structures : list of Structure
    particles : Particles
    model : ImageModel
    box : int
        Side of the images in pixels; they show the whole box of the structures.
    """

    def __init__(
        self, structures: list[Structure], particles: Particles, model: ImageModel, box: int
    ) -> None:
        self.box = box
        self.pixel_size = structures[0].pixel_size * structures[0].box_size / box
        self._structures = structures
        self._particles = particles
        self._model = model
        self._rotations = euler_to_matrix(particles.angles)
        self._projectors: dict[int, SliceProjector] = {}
        self._envelope: FloatImage | None = None
        if model.envelope_b:
            self._envelope = envelope((box, box), self.pixel_size, model.envelope_b)
        self._circle = circle(box) if model.region == "circle" else None

    def projector(self, source: int) -> SliceProjector:
        """Projector of a structure, kept for later where memory allows it.

        Parameters
        ----------
        source : int
            Number of the structure, from 1.

        Returns
        -------
        SliceProjector
        """
        if source not in self._projectors:
            structure = self._structures[source - 1]
            made = SliceProjector(structure.volume.data, self.box, self._model.magnification)
            structure.release()
            if made.nbytes * (len(self._projectors) + 1) > CACHE_BYTES:
                self._projectors.clear()
            self._projectors[source] = made
        return self._projectors[source]

    def image(
        self, projector: SliceProjector, n: int, rng: np.random.Generator
    ) -> tuple[FloatImage, BoolArray | None]:
        """Image without noise, and the region in which its signal is measured.

        Parameters
        ----------
        projector : SliceProjector
            Of the structure that the image is made of.
        n : int
            Number of the image, from 0.
        rng : numpy.random.Generator
            For junk.

        Returns
        -------
        image : ndarray of float32, shape (box, box)
        region : ndarray of bool, shape (box, box), or None
            None for all of it.
        """
        particles = self._particles
        rotation, square = self._rotations[n], (self.box, self.box)
        if particles.junk[n]:
            diameter = self._structures[particles.sources[n] - 1].diameter / self.pixel_size
            junk = draw_junk(str(particles.junk[n]), projector.project, rotation, diameter, rng)
            spectrum = scipy.fft.rfft2(scipy.fft.ifftshift(junk))
        else:
            spectrum = projector.spectrum(rotation)
        x, y = particles.shifts[n] / self.pixel_size
        spectrum *= shift_phases(square, (float(x), float(y)))
        region = self._circle
        if self._model.region == "mask" and not particles.junk[n]:
            seen = scipy.fft.fftshift(scipy.fft.irfft2(spectrum, s=square))
            region = seen > MASK_LEVEL * seen.max()
        if particles.ctfs is not None:
            ctf = Ctf(*(float(value) for value in particles.ctfs[n]))
            spectrum *= ctf_2d(square, self.pixel_size, ctf)
        if self._envelope is not None:
            spectrum *= self._envelope
        strength = particles.contrast[n] * (-1 if self._model.dark else 1)
        spectrum *= np.float32(strength)
        image: FloatImage = scipy.fft.fftshift(scipy.fft.irfft2(spectrum, s=square))
        return image, region
