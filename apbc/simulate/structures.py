"""What a simulation shows: maps, atomic models and built-in molecules, on one grid."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy.ndimage import gaussian_filter, label
from skimage.filters import threshold_otsu

from apbc.errors import ApbcError
from apbc.io.mrc import mrc_layout
from apbc.io.volumes import SAME_PIXEL_SIZE, SUFFIXES, Volume, read_volume
from apbc.simulate.atoms import Atoms, is_atoms_file, read_atoms
from apbc.simulate.builtin import DEFAULT, builtin_molecule
from apbc.simulate.density import atoms_to_potential, points_to_potential
from apbc.simulate.molecule import Molecule

FloatArray = npt.NDArray[np.float64]
FloatVolume = npt.NDArray[np.float32]
BoolVolume = npt.NDArray[np.bool_]

BUILTIN_PIXEL_SIZE = 3.0
"""Å per voxel of built-in molecules where none is given."""
DEFAULT_RESOLUTION = 3.0
"""Pixels."""
FINEST_RESOLUTION = 2.0
"""Pixels."""
BOX_OVER_DIAMETER = 1.5
MOLECULE_OVER_ICE = 3.5
"""V, mean potential of protein over that of the ice in its place."""
MASK_BLUR = 4.0
"""Å, standard deviation of the Gaussian by which a map is smoothed before its outline is sought."""
SPECK = 0.05
"""Parts of a map smaller than this share of its largest part are noise."""

logger = logging.getLogger(__name__)


@dataclass
class Structure:
    """One molecule, or one conformation of it.

    Its volume is made or read when it is first asked for, and kept until `release`: a set of a
    hundred structures need not lie in memory at once.

    Attributes
    ----------
    name : str
        Unique among the structures loaded with it, and fit for a file name.
    pixel_size : float
        Å per voxel.
    box_size : int
        Voxels along a side.
    symmetry : str
        Point group.
    file : Path or None
        Where it comes from; None for built-in molecules.
    weight : float
        Share of the particles is this over the sum of all weights.
    in_volts : bool
        Whether its values are a potential over ice in V; those of maps are arbitrary where there
        are nothing but maps.
    made_from : dict
        What else decides how it looks, for records.
    """

    name: str
    pixel_size: float
    box_size: int
    make_data: Callable[[], FloatVolume] = field(repr=False)
    symmetry: str = "C1"
    file: Path | None = None
    weight: float = 1.0
    in_volts: bool = False
    known_diameter: float | None = None
    made_from: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def volume(self) -> Volume:
        """The map.

        Raises
        ------
        ApbcError
            If the file cannot be read any more, or shows no molecule.
        """
        return Volume(self.make_data(), self.pixel_size, self.name)

    @cached_property
    def diameter(self) -> float:
        """Diameter in Å of the sphere round the centre that holds the molecule."""
        if self.known_diameter is not None:
            return self.known_diameter
        return _diameter(molecule_mask(self.volume), self.pixel_size)

    def release(self) -> None:
        """Forget the volume; it is made again when asked for."""
        self.__dict__.pop("volume", None)


def load_structures(
    files: Sequence[str | Path] = (),
    builtin: Sequence[str] = (),
    pixel_size: float | None = None,
    box_size: int | None = None,
    resolution: float | None = None,
    weights: Sequence[float] = (),
    symmetries: Sequence[str] = (),
    shared_centre: bool = False,
    seed: int = 0,
) -> list[Structure]:
    """Structures of a simulation, on one grid.

    Maps bring their box and pixel size, and keep their grey values where there are nothing but
    maps; beside atomic models or built-in molecules they become potentials (`potential_of`), so
    that all are of one strength. Atomic models (mmCIF, PDB) become maps at the
    resolution asked for, with their centre of mass at the centre of the box; of several models
    of one molecule that lie on one another already, `shared_centre` keeps it so: all are moved
    by the mean of their centres. Without files and names the built-in two-state molecule is
    taken.

    Parameters
    ----------
    files : sequence of str or Path, optional
        Maps and atomic models, in the order of their classes.
    builtin : sequence of str, optional
        Names of built-in molecules (`apbc.simulate.builtin`); their classes follow.
    pixel_size : float, optional
        Å per voxel. Needed for atomic models; goes before the header of maps; 3 for built-in
        molecules alone.
    box_size : int, optional
        Voxels. Default: the box of the maps, else 1.5 diameters of the largest molecule.
    resolution : float, optional
        Of atomic models and built-in molecules, Å at which amplitudes have fallen to 1/e.
        Default 3 pixels.
    weights : sequence of float, optional
        One a structure, not below 0; all alike without.
    symmetries : sequence of str, optional
        Point groups, one a structure or one for all; without them C1, and that of the built-in
        molecules.
    shared_centre : bool, optional
    seed : int, optional
        Of the built-in molecules.

    Returns
    -------
    list of Structure
        Files first.

    Raises
    ------
    ApbcError
        If a file cannot be used, boxes or pixel sizes differ, a molecule is larger than the
        box, a name is not known, or numbers do not match.
    """
    paths = [Path(file) for file in files]
    builtin = list(builtin) if builtin or paths else list(DEFAULT)
    names = _unique_names([_stem(file) for file in paths] + [_fit(name) for name in builtin])
    shares = _one_each(weights, len(names), "weights")
    if any(not (np.isfinite(w) and w >= 0) for w in shares) or not sum(shares) > 0:
        raise ApbcError("the weights of structures must not be below 0, and not all of them 0")
    groups = _symmetries(symmetries, len(names))

    spheres = _spheres([path for path in paths if is_atoms_file(path)], shared_centre)
    if seed < 0:
        raise ApbcError(f"the seed of built-in molecules must be 0 or more, not {seed}")
    molecules = {name: builtin_molecule(name, seed) for name in builtin}
    maps = [path for path in paths if path not in spheres]
    for path in maps:
        if path.suffix.lower() not in SUFFIXES:
            raise ApbcError(
                f"{path} is no map or atomic model by its name; give .mrc, .map, .ccp4, .cif, .pdb "
                "or .ent"
            )
    box_size, pixel_size = _grid(
        maps,
        pixel_size,
        box_size,
        [diameter for _, diameter in spheres.values()]
        + [molecule.diameter for molecule, _ in molecules.values()],
        needs_pixel_size=bool(spheres),
    )
    if resolution is None:
        resolution = DEFAULT_RESOLUTION * pixel_size
    elif not (np.isfinite(resolution) and resolution > 0):
        raise ApbcError(f"the resolution must be above 0 Å, not {resolution:g}")
    if (spheres or molecules) and resolution < FINEST_RESOLUTION * pixel_size:
        raise ApbcError(
            f"a resolution of {resolution:g} Å needs pixels of {resolution / 2:g} Å or less and "
            f"they are of {pixel_size:g} Å; give a coarser resolution or finer pixels"
        )
    structures = []
    for index, name in enumerate(names):
        file = paths[index] if index < len(paths) else None
        symmetry, diameter = groups[index], None
        made_from: dict[str, Any] = {}
        if file is None:
            molecule, own = molecules[builtin[index - len(paths)]]
            symmetry = symmetry or own
            diameter = molecule.diameter
            make = _of_points(molecule, pixel_size, box_size, resolution)
            made_from = {"builtin": builtin[index - len(paths)], "seed": seed}
        elif file in spheres:
            centre, diameter = spheres[file]
            make = _of_atoms(file, centre, pixel_size, box_size, resolution)
            made_from = {"shared_centre": shared_centre}
        else:
            make = _of_map(file, pixel_size, as_potential=bool(spheres or molecules))
        if diameter is not None:
            _check_fits(name, diameter, pixel_size, box_size, "give a box of {} pixels")
            made_from["resolution"] = resolution
        structures.append(
            Structure(
                name,
                pixel_size,
                box_size,
                make,
                symmetry or "C1",
                file,
                shares[index],
                in_volts=bool(spheres or molecules),
                known_diameter=diameter,
                made_from=made_from,
            )
        )
    return structures


def potential_of(structure: Structure) -> Volume:
    """Potential of a structure over that of the ice in its place.

    Parameters
    ----------
    structure : Structure

    Returns
    -------
    Volume
        V. As it is for atomic models and built-in molecules; a map of arbitrary values is
        shifted and scaled so that what surrounds its molecule is 0 and the molecule's mean is
        3.5 V, that of protein.

    Raises
    ------
    ApbcError
        If the map shows no molecule.
    """
    volume = structure.volume
    return volume if structure.in_volts else _as_potential(volume)


def _as_potential(volume: Volume) -> Volume:
    mask = molecule_mask(volume)
    outside = float(np.median(volume.data[~mask])) if not mask.all() else 0.0
    scale = MOLECULE_OVER_ICE / (float(volume.data[mask].mean()) - outside)
    return Volume((volume.data - outside) * np.float32(scale), volume.pixel_size, volume.name)


def molecule_mask(volume: Volume) -> BoolVolume:
    """Outline of the molecule in a map.

    The map is smoothed and cut at Otsu's threshold (IEEE Trans. Syst. Man Cybern. 9:62, 1979);
    specks beside the molecule are left out.

    Parameters
    ----------
    volume : Volume

    Returns
    -------
    ndarray of bool, shape (d, d, d)

    Raises
    ------
    ApbcError
        If the map is empty: one value everywhere.
    """
    smooth = gaussian_filter(volume.data, MASK_BLUR / volume.pixel_size)
    if np.ptp(smooth) <= 1e-6 * np.abs(smooth).max():
        raise ApbcError(
            f"the volume {volume.name} is empty: it has one value everywhere; give another"
        )
    parts, count = label(smooth > threshold_otsu(smooth))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    mask: BoolVolume = (sizes >= SPECK * sizes.max())[parts] & (parts > 0)
    return mask


def _diameter(mask: BoolVolume, pixel_size: float) -> float:
    """Diameter in Å of the sphere round voxel ``d // 2`` that holds a mask."""
    places = np.argwhere(mask) - mask.shape[0] // 2
    return 2 * pixel_size * float(np.sqrt((places.astype(float) ** 2).sum(axis=1).max()))


def _of_points(
    molecule: Molecule, pixel_size: float, box_size: int, resolution: float
) -> Callable[[], FloatVolume]:
    return lambda: points_to_potential(molecule, pixel_size, box_size, resolution)


def _of_atoms(
    path: Path, centre: FloatArray, pixel_size: float, box_size: int, resolution: float
) -> Callable[[], FloatVolume]:
    # Read again when needed: the atoms of many models take much memory.
    return lambda: atoms_to_potential(
        read_atoms(path).moved(-centre), pixel_size, box_size, resolution
    )


def _of_map(path: Path, pixel_size: float, as_potential: bool) -> Callable[[], FloatVolume]:
    def read() -> FloatVolume:
        volume = read_volume(path, pixel_size)
        diameter = _diameter(molecule_mask(volume), pixel_size)
        _check_fits(str(path), diameter, pixel_size, volume.box_size, "pad it to {} voxels")
        return _as_potential(volume).data if as_potential else volume.data

    return read


def _check_fits(name: str, diameter: float, pixel_size: float, box_size: int, advice: str) -> None:
    if diameter <= box_size * pixel_size:
        return
    needed = _box_for(diameter, pixel_size)
    raise ApbcError(
        f"{name} is {diameter:.0f} Å across and its box {box_size * pixel_size:.0f} Å, so that "
        f"turned views would be cut; {advice.format(needed)}"
    )


def _box_for(diameter: float, pixel_size: float) -> int:
    """Even box that holds a molecule with room round it, quick to transform."""
    half = int(np.ceil(BOX_OVER_DIAMETER * diameter / pixel_size / 2))
    return 2 * int(scipy.fft.next_fast_len(half, real=True))


def _grid(
    maps: Sequence[Path],
    pixel_size: float | None,
    box_size: int | None,
    diameters: Sequence[float],
    needs_pixel_size: bool,
) -> tuple[int, float]:
    """Box and pixel size of all structures; only the headers of maps are read."""
    if pixel_size is not None and not (np.isfinite(pixel_size) and pixel_size > 0):
        raise ApbcError(f"the pixel size must be above 0 Å, not {pixel_size:g}")
    if box_size is not None and box_size < 8:
        raise ApbcError(f"the box must be of 8 pixels or more, not {box_size}")
    first: tuple[Path, int, float] | None = None
    for path in maps:
        layout = mrc_layout(path)
        if len({layout.sections, layout.rows, layout.columns}) != 1:
            read_volume(path, pixel_size)
        size = pixel_size or layout.pixel_size
        if not size:
            raise ApbcError(f"{path} has no pixel size in its header; give one with --pixel-size")
        if first is None:
            first = (path, layout.rows, size)
        elif layout.rows != first[1]:
            raise ApbcError(
                f"{first[0]} has a box of {first[1]} voxels and {path} one of {layout.rows}; bring "
                "them to one box (apbc downsample)"
            )
        elif abs(size / first[2] - 1) > SAME_PIXEL_SIZE:
            raise ApbcError(
                f"{first[0]} has {first[2]:g} Å per voxel and {path} {size:g}; bring them to one "
                "pixel size (apbc downsample), or correct the header"
            )
    if first is not None:
        if box_size is not None and box_size != first[1]:
            raise ApbcError(
                f"a box of {box_size} is asked for and {first[0]} has one of {first[1]} voxels; "
                "leave the box out, or bring the volumes to it (apbc downsample)"
            )
        return first[1], first[2]
    if pixel_size is None:
        if needs_pixel_size:
            raise ApbcError("atomic models need a pixel size; give one with --pixel-size")
        pixel_size = BUILTIN_PIXEL_SIZE
    return box_size or _box_for(max(diameters), pixel_size), pixel_size


def _spheres(paths: Sequence[Path], shared: bool) -> dict[Path, tuple[FloatArray, float]]:
    """Centre of atomic models, or the centre of all, and diameter of the sphere round it."""
    centres, lengths = {}, {}
    for path in dict.fromkeys(paths):
        atoms = read_atoms(path)
        centres[path] = atoms.centre_of_mass
        if not shared:
            lengths[path] = _diameter_round(atoms, centres[path])
    if shared and centres:
        middle = np.mean(list(centres.values()), axis=0)
        for path in centres:
            centres[path] = middle
            lengths[path] = _diameter_round(read_atoms(path), middle)
    return {path: (centres[path], lengths[path]) for path in centres}


def _diameter_round(atoms: Atoms, centre: FloatArray) -> float:
    return 2 * float(np.linalg.norm(atoms.positions - centre, axis=1).max())


def _symmetries(symmetries: Sequence[str], count: int) -> list[str]:
    """Point group of each structure; empty where none is given."""
    from apbc.metrics.symmetry import symmetry_matrices

    for name in symmetries:
        symmetry_matrices(name)
    if not symmetries:
        return [""] * count
    if len(symmetries) == 1:
        return [symmetries[0].upper()] * count
    if len(symmetries) != count:
        raise ApbcError(
            f"there are {len(symmetries)} symmetries for {count} structures; give one for each, "
            "or one for all"
        )
    return [name.upper() for name in symmetries]


def _one_each(weights: Sequence[float], count: int, what: str) -> list[float]:
    if not len(weights):
        return [1.0] * count
    if len(weights) != count:
        raise ApbcError(
            f"there are {len(weights)} {what} for {count} structures; give one for each"
        )
    return [float(w) for w in weights]


def _stem(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).stem


def _fit(name: str) -> str:
    """Name of a built-in molecule as part of a file name."""
    return name.replace(":", "-")


def _unique_names(names: Sequence[str]) -> list[str]:
    """Names, numbered where they are the same."""
    unique: dict[str, None] = {}
    for name in names:
        candidate, number = name, 1
        while candidate in unique:
            number += 1
            candidate = f"{name}_{number}"
        unique[candidate] = None
    return list(unique)
