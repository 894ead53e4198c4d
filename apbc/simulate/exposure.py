"""From a field of view to the electrons that the camera counts.

The specimen is a phase object that absorbs: with the phase of everything in it, the intensity is
``D exp(-absorption) (1 - 2 F'[CTF E F[phase]])``, the image of a weak phase (Kirkland, "Advanced
Computing in Electron Microscopy", 2nd edition, 2010, section 3.1), with the dose D, the envelope
E and the sign of `apbc.preprocess.ctf.ctf_2d`, so that particles are dark.

A particle at another height has another defocus. Its phase turns by ``d = pi l dz s²``, and
``sin(chi + d) = sin(chi) cos(d) + cos(chi) sin(d)``: its projection, times cos(d) and times sin(d)
at each frequency, goes to two canvases with a CTF each, and each particle has its own defocus for
the price of one more Fourier transform.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import scipy.fft

from apbc.io.ctf import Ctf
from apbc.preprocess.ctf import ctf_2d, wavelength
from apbc.simulate.contamination import Window
from apbc.simulate.detector import Detector
from apbc.simulate.field import Debris, Field, Thing
from apbc.simulate.ice import FREE_PATH, structural_noise, thickness_map
from apbc.simulate.optics import drift, interaction, radial
from apbc.simulate.particle_model import ParticleModel, Projectors
from apbc.simulate.projection import frequencies_squared
from apbc.simulate.slices import SliceProjector
from apbc.simulate.truth import Label, Mask

FloatArray = npt.NDArray[np.float64]
FloatImage = npt.NDArray[np.float32]

OUTLINE = 0.2
"""Share of the largest projected potential above which debris is marked."""
PARTICLE_CONTRAST = 0.8
"""With this the power spectrum of simulated apoferritin (a shell of its mass, 40 e/Å²) is that of
EMPIAR-10146 at the same defocus and number of particles, where particles rule it."""
TOGETHER = 64
"""Particles projected before they are added, so that memory stays bounded."""


@dataclass(frozen=True)
class Exposure:
    """Conditions that all micrographs share.

    Attributes
    ----------
    dose : float
        Electrons per Å².
    thickness : float
        Mean of the ice, Å.
    gradient : float
        Largest change of the thickness across a micrograph, as a share of the mean.
    ice_noise : float
        Amplitude of the structural noise of the ice over the physical one.
    envelope_b : float
        B factor in Å² of all that dims fine detail: motion, incoherence, damage.
    drift : float
        Å of steady motion that is left in the sum of frames.
    particle_contrast : float
        Of the contrast that the potential of a structure makes, the share that is
        seen. Real images have less than theory; see `PARTICLE_CONTRAST`.
    detector : Detector
    """

    dose: float = 40.0
    thickness: float = 350.0
    gradient: float = 0.3
    ice_noise: float = 1.0
    envelope_b: float = 100.0
    drift: float = 0.0
    particle_contrast: float = PARTICLE_CONTRAST
    detector: Detector = field(default_factory=Detector)


class Canvas:
    """Phase and absorption of a specimen somewhat larger than its micrograph.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the micrograph.
    margin : int
        Pixels beyond its border, so that nothing wraps round into it.
    """

    def __init__(self, shape: tuple[int, int], margin: int) -> None:
        rows, columns = (int(scipy.fft.next_fast_len(n + 2 * margin, real=True)) for n in shape)
        self.shape = (rows, columns)
        self.margin = margin
        self.frame = (
            slice(margin, margin + shape[0]),
            slice(margin, margin + shape[1]),
        )
        self.x = np.arange(-margin, columns - margin, dtype=np.float32)[None, :]
        self.y = np.arange(-margin, rows - margin, dtype=np.float32)[:, None]
        self.phase = np.zeros(self.shape, np.float32)
        self.quarter: FloatImage | None = None
        self.absorption = np.zeros(self.shape, np.float32)
        self.mask = np.zeros(self.shape, np.int8)

    def slices(self, x: float, y: float, before: float, after: float) -> tuple[slice, slice] | None:
        """Part of the canvas round a place, or None where it lies outside.

        Parameters
        ----------
        x, y : float
            Pixels of the micrograph.
        before, after : float
            Pixels to include on either side.

        Returns
        -------
        (slice, slice) or None
        """
        parts = []
        for centre, length in ((y, self.shape[0]), (x, self.shape[1])):
            low = max(0.0, np.floor(centre - before) + self.margin)
            high = min(float(length), np.ceil(centre + after) + 1 + self.margin)
            if low >= high:
                return None
            parts.append(slice(int(low), int(high)))
        return parts[0], parts[1]

    def add(self, x: int, y: int, patch: FloatImage, target: FloatImage) -> None:
        """Add a patch whose pixel ``box // 2`` comes to lie on a pixel of the micrograph.

        Parameters
        ----------
        x, y : int
            Pixel of the micrograph.
        patch : ndarray, shape (box, box)
            What lies beyond the canvas is left out.
        target : ndarray, shape of the canvas
        """
        inside, part = self._overlap(x, y, len(patch))
        target[inside] += patch[part]

    def mark(self, x: int, y: int, outline: npt.NDArray[np.bool_], label: Label) -> None:
        """Write a label into the mask, where `add` would add a patch.

        Parameters
        ----------
        x, y : int
            Pixel of the micrograph.
        outline : ndarray of bool, shape (box, box)
        label : Label
        """
        inside, part = self._overlap(x, y, len(outline))
        self.mask[inside][outline[part]] = label

    def _overlap(self, x: int, y: int, box: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Part of the canvas under a patch, and that part of the patch; empty if there is none."""
        inside, part = [], []
        for place, length in ((y, self.shape[0]), (x, self.shape[1])):
            start = place - box // 2 + self.margin
            low, high = max(0, start), max(0, min(length, start + box))
            low = min(low, high)
            inside.append(slice(low, high))
            part.append(slice(max(0, low - start), max(0, high - start)))
        return (inside[0], inside[1]), (part[0], part[1])


def expose(
    scene: Field,
    models: list[ParticleModel],
    projectors: Projectors,
    ctf: Ctf,
    shape: tuple[int, int],
    pixel_size: float,
    exposure: Exposure,
    seed: np.random.SeedSequence,
    threads: int = 1,
) -> tuple[FloatImage, Mask]:
    """Image and mask of a field of view.

    Parameters
    ----------
    scene : Field
    models : list of ParticleModel
    projectors : Projectors
    ctf : Ctf
    shape : (int, int)
        Rows and columns.
    pixel_size : float
        Å.
    exposure : Exposure
    seed : numpy.random.SeedSequence
        Of ice, textures and electrons.
    threads : int, optional
        The result is the same with any number.

    Returns
    -------
    image : ndarray of float32, shape `shape`
        Electrons per pixel.
    mask : ndarray of int8, shape `shape`
        `Label` of each pixel.
    """
    ice_seed, paint_seed, shot_seed, wedge_seed = seed.spawn(4)
    phase_per_volt = interaction(ctf.voltage)
    canvas = Canvas(shape, max([64, *(model.box for model in models)]))
    wedge = np.random.default_rng(wedge_seed)

    thickness = thickness_map(
        canvas.y / shape[0], canvas.x / shape[1], exposure.thickness, exposure.gradient, wedge
    )
    np.divide(thickness, FREE_PATH, out=canvas.absorption)
    if exposure.ice_noise > 0:
        canvas.phase = structural_noise(
            canvas.shape,
            pixel_size,
            exposure.dose,
            ctf.voltage,
            np.random.default_rng(ice_seed),
            threads,
        )
        canvas.phase *= np.sqrt(thickness, out=thickness)
        canvas.phase *= np.float32(exposure.ice_noise)
    del thickness

    strength = np.float32(phase_per_volt * exposure.particle_contrast)
    with ThreadPoolExecutor(threads) as pool:
        add_particles(canvas, scene, models, projectors, ctf, strength, pool)
        add_debris(canvas, scene.debris, models, projectors, strength, pool)
        paint(canvas, scene.things, pixel_size, phase_per_volt, paint_seed, threads)
        expected = intensity(canvas, ctf, pixel_size, exposure, wedge, threads)
        image = exposure.detector.count(expected, shot_seed, pool)
    return image, np.ascontiguousarray(canvas.mask[canvas.frame])


def add_particles(
    canvas: Canvas,
    scene: Field,
    models: list[ParticleModel],
    projectors: Projectors,
    ctf: Ctf,
    strength: np.float32,
    pool: ThreadPoolExecutor,
) -> None:
    """Add the phase of the particles to a canvas, of those of one structure after another.

    Parameters
    ----------
    canvas : Canvas
    scene : Field
    models : list of ParticleModel
    projectors : Projectors
    ctf : Ctf
        For the wavelength.
    strength : float
        rad per V Å.
    pool : ThreadPoolExecutor
    """
    particles = scene.particles
    turned = bool(np.any(particles.offsets))
    if turned:
        canvas.quarter = np.zeros(canvas.shape, np.float32)
    for kind, model in enumerate(models):
        members = np.flatnonzero(particles.structures == kind)
        if not len(members):
            continue
        projector = projectors.of(kind)
        shape = (model.box, model.box)
        per_angstrom = np.pi * wavelength(ctf.voltage)
        squares = frequencies_squared(shape, model.pixel_size) * np.float32(per_angstrom)

        def patch(
            index: int,
            model: ParticleModel = model,
            projector: SliceProjector = projector,
            squares: FloatImage = squares,
        ) -> tuple[FloatImage, FloatImage | None]:
            centre = particles.centres[index]
            fraction = centre - np.rint(centre)
            turn = squares * np.float32(particles.offsets[index]) if turned else None
            return model.patch(projector, particles.angles[index], (fraction[0], fraction[1]), turn)

        for start in range(0, len(members), TOGETHER):
            some = members[start : start + TOGETHER]
            for index, (image, quarter) in zip(some, pool.map(patch, some), strict=True):
                x, y = np.rint(particles.centres[index]).astype(int)
                canvas.add(x, y, strength * image, canvas.phase)
                if quarter is not None and canvas.quarter is not None:
                    canvas.add(x, y, strength * quarter, canvas.quarter)


def add_debris(
    canvas: Canvas,
    debris: list[Debris],
    models: list[ParticleModel],
    projectors: Projectors,
    strength: np.float32,
    pool: ThreadPoolExecutor,
) -> None:
    """Add broken particles and aggregates, and mark them.

    Parameters
    ----------
    canvas : Canvas
    debris : list of Debris
    models : list of ParticleModel
    projectors : Projectors
    strength : float
        rad per V Å.
    pool : ThreadPoolExecutor
    """
    for kind, model in enumerate(models):
        pieces = [piece for piece in debris if piece.structure == kind]
        if not pieces:
            continue
        projector = projectors.of(kind)

        def patch(
            piece: Debris, model: ParticleModel = model, projector: SliceProjector = projector
        ) -> FloatImage:
            fraction = (piece.x - np.rint(piece.x), piece.y - np.rint(piece.y))
            image, _ = model.patch(projector, piece.angles, fraction)
            return image if piece.cut is None else break_off(image, piece.cut, model)

        for start in range(0, len(pieces), TOGETHER):
            some = pieces[start : start + TOGETHER]
            for piece, image in zip(some, pool.map(patch, some), strict=True):
                x, y = int(np.rint(piece.x)), int(np.rint(piece.y))
                canvas.add(x, y, strength * image, canvas.phase)
                canvas.mark(x, y, image > OUTLINE * image.max(), Label.DEBRIS)


def break_off(image: FloatImage, cut: tuple[float, float], model: ParticleModel) -> FloatImage:
    """Leave a part of a projection: what lies on one side of a soft line.

    Parameters
    ----------
    image : ndarray, shape (box, box)
    cut : (float, float)
        Direction in rad and distance in radii of the molecule, as of `Debris`.
    model : ParticleModel

    Returns
    -------
    ndarray of float32, shape (box, box)
    """
    angle, distance = cut
    radius = model.diameter / model.pixel_size / 2
    place = np.arange(model.box) - model.box // 2
    along = place[None, :] * np.cos(angle) + place[:, None] * np.sin(angle)
    soft = max(2.0, 8 / model.pixel_size)
    left: FloatImage = image * np.clip((distance * radius - along) / soft + 0.5, 0, 1)
    return left.astype(np.float32)


def paint(
    canvas: Canvas,
    things: list[Thing],
    pixel_size: float,
    phase_per_volt: float,
    seed: np.random.SeedSequence,
    threads: int,
) -> None:
    """Paint contamination on a canvas, each in its own part of it.

    Parameters
    ----------
    canvas : Canvas
    things : list
    pixel_size : float
        Å.
    phase_per_volt : float
        rad per V Å.
    seed : numpy.random.SeedSequence
    threads : int
    """
    for thing, child in zip(things, seed.spawn(len(things)), strict=True):
        part = canvas.slices(thing.x, thing.y, thing.reach, thing.reach)
        if part is None:
            continue
        rows, columns = part
        window = Window(
            phase=canvas.phase[part],
            absorption=canvas.absorption[part],
            mask=canvas.mask[part],
            x=canvas.x[:, columns],
            y=canvas.y[rows],
            pixel_size=pixel_size,
            interaction=phase_per_volt,
            workers=threads,
        )
        if min(window.mask.shape) > 2:
            thing.paint(window, np.random.default_rng(child))


def intensity(
    canvas: Canvas,
    ctf: Ctf,
    pixel_size: float,
    exposure: Exposure,
    rng: np.random.Generator,
    threads: int,
) -> FloatImage:
    """Mean number of electrons on each pixel of the frame.

    Parameters
    ----------
    canvas : Canvas
        Its phase is given up, to save memory.
    ctf : Ctf
    pixel_size : float
        Å.
    exposure : Exposure
    rng : numpy.random.Generator
        For the direction of the drift.
    threads : int

    Returns
    -------
    ndarray of float32, shape of the frame
    """
    spectrum = scipy.fft.rfft2(canvas.phase, workers=threads)
    canvas.phase = np.zeros((0, 0), np.float32)
    spectrum *= ctf_2d(canvas.shape, pixel_size, ctf)
    if canvas.quarter is not None:
        other = scipy.fft.rfft2(canvas.quarter, workers=threads)
        canvas.quarter = None
        other *= ctf_2d(canvas.shape, pixel_size, replace(ctf, phase_shift=ctf.phase_shift + 90))
        spectrum += other
        del other
    detector = exposure.detector

    def left(frequency: FloatArray) -> FloatArray:
        share = np.exp(-exposure.envelope_b / 4 * frequency**2)
        return share if detector.blurs_noise else share * detector.mtf(frequency * pixel_size)

    spectrum *= radial(canvas.shape, pixel_size, left)
    if exposure.drift > 0:
        angle = rng.uniform(0, np.pi)
        spectrum *= drift(canvas.shape, pixel_size, exposure.drift, angle).astype(np.float32)
    contrast = scipy.fft.irfft2(spectrum, s=canvas.shape, workers=threads)[canvas.frame]
    expected = np.exp(-canvas.absorption[canvas.frame])
    expected *= np.float32(exposure.dose * pixel_size**2)
    expected *= 1 - 2 * contrast
    return np.ascontiguousarray(expected, np.float32)
