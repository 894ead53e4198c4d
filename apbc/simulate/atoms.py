"""Atoms of mmCIF and PDB files, and their density for electrons (both through gemmi)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError

FloatArray = npt.NDArray[np.float64]
FloatVolume = npt.NDArray[np.float32]

SUFFIXES = (".cif", ".mmcif", ".pdb", ".ent")
DISPLACED = {1: 5.15, 6: 16.44, 7: 2.49, 8: 9.13, 12: 17.16, 15: 5.73, 16: 19.86, 20: 31.89}
"""Å³ of solvent that an atom displaces, by atomic number (Fraser, MacRae and Suzuki, J. Appl.
Cryst. 11:693, 1978; Svergun, Barberato and Koch, J. Appl. Cryst. 28:768, 1995)."""
DISPLACED_BY_OTHERS = 9.0
"""Å³, about what transition metals displace."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Atoms:
    """Atoms of a molecule.

    Attributes
    ----------
    positions : ndarray, shape (n, 3)
        x, y, z in Å.
    elements : ndarray of int, shape (n,)
        Atomic numbers.
    """

    positions: FloatArray
    elements: npt.NDArray[np.int64]

    @property
    def volumes(self) -> FloatArray:
        """Ice displaced by each, Å³, shape (n,)."""
        return np.array([DISPLACED.get(int(z), DISPLACED_BY_OTHERS) for z in self.elements])

    @property
    def centre_of_mass(self) -> FloatArray:
        """x, y, z in Å."""
        masses = _masses(self.elements)
        centre: FloatArray = masses @ self.positions / masses.sum()
        return centre

    def moved(self, by: FloatArray) -> Atoms:
        """Atoms shifted by a vector in Å."""
        return Atoms(self.positions + by, self.elements)


def is_atoms_file(path: str | Path) -> bool:
    """Tell by its name whether a file holds atoms: mmCIF or PDB, compressed or not."""
    name = str(path).lower().removesuffix(".gz")
    return name.endswith(SUFFIXES)


def read_atoms(path: str | Path) -> Atoms:
    """Read the first model of an mmCIF or PDB file.

    Chains are taken as they stand in the file (its asymmetric unit; give the file of the
    biological assembly where that is another). Waters are left out, and of alternate
    conformations all but the first; each atom counts fully, whatever its occupancy.
    Hydrogens are taken where the file has them; against ice they hardly show, since their
    potential is that of the ice they displace.

    Parameters
    ----------
    path : str or Path
        ``.cif``, ``.pdb`` or ``.ent``, also with ``.gz``.

    Returns
    -------
    Atoms

    Raises
    ------
    ApbcError
        If the file is missing, cannot be read, or holds no atoms.
    """
    import gemmi

    path = Path(path)
    if not path.is_file():
        raise ApbcError(f"there is no file {path}; check the path")
    try:
        structure = gemmi.read_structure(str(path))
    except (RuntimeError, ValueError, OSError, IndexError) as error:
        # An empty file is an IndexError of gemmi's, which tells nothing.
        empty = isinstance(error, IndexError) or not str(error)
        reason = "it is empty" if empty else str(error).splitlines()[0]
        raise ApbcError(
            f"{path} cannot be read as mmCIF or PDB ({reason}); export it again"
        ) from error
    if len(structure) > 1:
        logger.warning("%s holds %d models; the first is taken", path, len(structure))
    structure.remove_waters()
    structure.remove_alternative_conformations()
    atoms = [site.atom for site in structure[0].all()] if len(structure) else []
    places = np.array([atom.pos.tolist() for atom in atoms], float).reshape(-1, 3)
    found = Atoms(places, np.array([atom.element.atomic_number for atom in atoms], int))
    known = found.elements > 0
    if not known.any():
        raise ApbcError(f"{path} holds no atoms besides water; give a file with a molecule")
    if not known.all():
        logger.warning("%s has %d atoms of no element; they are left out", path, (~known).sum())
    if not np.isfinite(found.positions).all():
        raise ApbcError(f"{path} has an atom whose place is no finite number; mend the file")
    return Atoms(found.positions[known], found.elements[known])


def electron_density(
    atoms: Atoms, length: float, side: int, blur: float, centre: float
) -> FloatVolume:
    """Sum of the atoms' electron scattering factors in real space.

    Parameters
    ----------
    atoms : Atoms
    length : float
        Side of the periodic cube, Å.
    side : int
        Voxels along a side.
    blur : float
        B factor of every atom, Å².
    centre : float
        x, y and z of the origin of the atoms in the cube, Å.

    Returns
    -------
    ndarray of float32, shape (side, side, side)
        z, y, x; 1/Å².
    """
    import gemmi

    calculator = gemmi.DensityCalculatorE()
    calculator.grid.set_unit_cell(gemmi.UnitCell(length, length, length, 90, 90, 90))
    calculator.grid.spacegroup = gemmi.SpaceGroup("P 1")
    calculator.grid.set_size(side, side, side)
    known = {int(number): gemmi.Element(int(number)) for number in np.unique(atoms.elements)}
    atom = gemmi.Atom()
    atom.occ = 1
    atom.b_iso = blur
    places = atoms.positions + centre
    for place, element in zip(places.tolist(), atoms.elements.tolist(), strict=True):
        atom.pos = gemmi.Position(*place)
        atom.element = known[element]
        calculator.add_atom_density_to_grid(atom)
    # gemmi's axes are x, y, z.
    return np.array(calculator.grid, copy=False).transpose(2, 1, 0).astype(np.float32, order="C")


def _masses(elements: npt.NDArray[np.int64]) -> FloatArray:
    import gemmi

    kinds, of_atom = np.unique(elements, return_inverse=True)
    masses = np.array([gemmi.Element(int(kind)).weight for kind in kinds])
    weights: FloatArray = masses[of_atom]
    return weights
