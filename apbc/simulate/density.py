"""Potential maps of molecules, from their atoms or from point scatterers.

Values are the potential over that of the vitreous ice which the molecule displaces, in V, so
that the contrast against ice is that of the real specimen.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import scipy.fft

from apbc.preprocess.binning import crop_spectrum
from apbc.simulate.atoms import Atoms, electron_density
from apbc.simulate.molecule import Molecule
from apbc.system.cores import workers

FloatArray = npt.NDArray[np.float64]
FloatVolume = npt.NDArray[np.float32]
ComplexVolume = npt.NDArray[np.complex64]

VOLT = 47.878
"""V Å² by which a density of electron scattering factors (in Å) becomes a potential (Kirkland,
"Advanced Computing in Electron Microscopy", 2nd edition, 2010, section 5.2)."""

ICE_POTENTIAL = 4.6
"""V, mean inner potential of vitreous ice: water at 0.93 g/cm³ with the scattering factors of
neutral atoms."""

ICE_BLUR = 81.0
"""B factor in Å² of the displaced ice round an atom: a Gaussian of the volume of a carbon atom
(Fraser, MacRae and Suzuki, J. Appl. Cryst. 11:693, 1978)."""

DECAY = 2.63
"""Times 1/resolution: the frequency at which a blurred map has 1/1000 of its amplitude left."""


def blur_of(resolution: float) -> float:
    """B factor in Å² of a Gaussian whose transform falls to 1/e at `resolution` (in Å)."""
    return 4 * resolution**2


def atoms_to_potential(
    atoms: Atoms, pixel_size: float, box_size: int, resolution: float
) -> FloatVolume:
    """Potential of atoms over that of the ice they displace.

    Electron scattering factors of neutral atoms (International Tables C, table 4.3.2.2, as
    gemmi has them) give the atoms; the ice displaced by each is a Gaussian of its volume
    (Fraser, MacRae and Suzuki, J. Appl. Cryst. 11:693, 1978). The B factors of the model are
    not used: all is blurred to one resolution.

    Parameters
    ----------
    atoms : Atoms
        The origin comes to lie at voxel ``box_size // 2``.
    pixel_size : float
        Å per voxel.
    box_size : int
        Voxels along a side.
    resolution : float
        Å at which amplitudes have fallen to 1/e.

    Returns
    -------
    ndarray of float32, shape (box_size, box_size, box_size)
        z, y, x; V.
    """
    # gemmi's time goes with the cube of an atom's radius, so it does as much of the blur as the
    # sampling needs, and the Fourier transform the rest.
    direct = min(resolution, DECAY * pixel_size)
    side = _fine_side(box_size, pixel_size, direct)
    length = box_size * pixel_size
    centre = (box_size // 2) * pixel_size
    density = electron_density(atoms, length, side, blur_of(direct), centre)
    spectrum = scipy.fft.rfftn(density * np.float32(VOLT), workers=workers())
    del density
    displaced = _scatter(atoms.positions + centre, atoms.volumes, length, side)
    ice = scipy.fft.rfftn(displaced, workers=workers())
    del displaced
    _filter(ice, side, length, ICE_BLUR + blur_of(direct), sampled=True)
    spectrum -= np.float32(ICE_POTENTIAL) * ice
    del ice
    _filter(spectrum, side, length, blur_of(resolution) - blur_of(direct))
    return _cropped(spectrum, side, box_size)


def points_to_potential(
    molecule: Molecule, pixel_size: float, box_size: int, resolution: float
) -> FloatVolume:
    """Potential of point scatterers, each a Gaussian.

    Parameters
    ----------
    molecule : Molecule
        Its origin comes to lie at voxel ``box_size // 2``.
    pixel_size : float
        Å per voxel.
    box_size : int
        Voxels along a side.
    resolution : float
        Å at which amplitudes have fallen to 1/e, were the scatterers points.

    Returns
    -------
    ndarray of float32, shape (box_size, box_size, box_size)
        z, y, x; V over that of ice.
    """
    side = _fine_side(box_size, pixel_size, resolution)
    length = box_size * pixel_size
    centre = (box_size // 2) * pixel_size
    weights = np.full(len(molecule.positions), molecule.potential)
    points = _scatter(molecule.positions + centre, weights, length, side)
    spectrum = scipy.fft.rfftn(points, workers=workers())
    own = 8 * np.pi**2 * molecule.blur**2
    _filter(spectrum, side, length, own + blur_of(resolution), sampled=True)
    return _cropped(spectrum, side, box_size)


def _fine_side(box_size: int, pixel_size: float, resolution: float) -> int:
    """Voxels along a side of a grid so fine that nothing folds into the frequencies kept."""
    finest = DECAY / resolution + 0.5 / pixel_size
    return int(scipy.fft.next_fast_len(math.ceil(box_size * max(1.0, pixel_size * finest))))


def _scatter(positions: FloatArray, weights: FloatArray, length: float, side: int) -> FloatVolume:
    """Weights per Å³ on a periodic grid, each shared among the eight voxels round its place."""
    place = positions * (side / length)
    low = np.floor(place).astype(np.int64)
    fraction = place - low
    grid = np.zeros(side**3)
    for corner in range(8):
        step = np.array([corner & 1, corner >> 1 & 1, corner >> 2])
        x, y, z = ((low + step) % side).T
        share = np.prod(np.where(step, fraction, 1 - fraction), axis=1)
        grid += np.bincount((z * side + y) * side + x, weights * share, side**3)
    density = grid.reshape(side, side, side) * (side / length) ** 3
    return density.astype(np.float32)


def _filter(
    spectrum: ComplexVolume, side: int, length: float, blur: float, sampled: bool = False
) -> None:
    """Multiply ``rfftn`` of a cube by ``exp(-blur s²/4)``, in place; undo `_scatter` if asked."""
    for axis in range(3):
        count = scipy.fft.rfftfreq(side) if axis == 2 else scipy.fft.fftfreq(side)
        factor = np.exp(-blur / 4 * (count * side / length) ** 2)
        if sampled:
            factor /= np.sinc(count) ** 2
        shape = [1, 1, 1]
        shape[axis] = len(factor)
        spectrum *= factor.astype(np.float32).reshape(shape)


def _cropped(spectrum: ComplexVolume, side: int, box_size: int) -> FloatVolume:
    """Volume of a spectrum at fewer voxels over the same length."""
    if side != box_size:
        spectrum = crop_spectrum(spectrum, (side,) * 3, (box_size,) * 3)
    volume: FloatVolume = scipy.fft.irfftn(spectrum, s=(box_size,) * 3, workers=workers())
    return volume.astype(np.float32, copy=False)
