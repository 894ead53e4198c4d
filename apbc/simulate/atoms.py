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
HYDROGEN = 1
WATER_OF_BOND = 2
"""Hydrogens that a residue loses when it is bound into a chain."""

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
    counts : ndarray, shape (n,)
        How many atoms each stands for: 1, or for hydrogens that the file leaves out their
        share at a heavy atom.
    """

    positions: FloatArray
    elements: npt.NDArray[np.int64]
    counts: FloatArray

    @property
    def volumes(self) -> FloatArray:
        """Ice displaced by each, Å³, shape (n,)."""
        each = [DISPLACED.get(int(z), DISPLACED_BY_OTHERS) for z in self.elements]
        return np.array(each) * self.counts

    @property
    def centre_of_mass(self) -> FloatArray:
        """x, y, z in Å."""
        masses = self.counts * _masses(self.elements)
        centre: FloatArray = masses @ self.positions / masses.sum()
        return centre

    def moved(self, by: FloatArray) -> Atoms:
        """Atoms shifted by a vector in Å."""
        return Atoms(self.positions + by, self.elements, self.counts)


def is_atoms_file(path: str | Path) -> bool:
    """Tell by its name whether a file holds atoms: mmCIF or PDB, compressed or not."""
    name = str(path).lower().removesuffix(".gz")
    return name.endswith(SUFFIXES)


def read_atoms(path: str | Path) -> Atoms:
    """Read the first model of an mmCIF or PDB file.

    Chains are taken as they stand in the file (its asymmetric unit; give the file of the
    biological assembly where that is another). Waters are left out, and of alternate
    conformations all but the first; each atom counts fully, whatever its occupancy.
    Hydrogens that known residues lack are added at the place of their heavy atoms, because a
    third of a protein's contrast against ice is theirs.

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
    places, elements, counts = [], [], []
    for chain in structure[0] if len(structure) else []:
        for residue in chain:
            atoms = [(a.pos.tolist(), a.element.atomic_number) for a in residue]
            heavy = [place for place, element in atoms if element > HYDROGEN]
            places += [place for place, _ in atoms]
            elements += [element for _, element in atoms]
            counts += [1.0] * len(atoms)
            missing = _hydrogens_of(residue.name) - (len(atoms) - len(heavy))
            if heavy and missing > 0:
                places += heavy
                elements += [HYDROGEN] * len(heavy)
                counts += [missing / len(heavy)] * len(heavy)
    found = Atoms(np.array(places, float).reshape(-1, 3), np.array(elements, int), np.array(counts))
    known = found.elements > 0
    if not known.any():
        raise ApbcError(f"{path} holds no atoms besides water; give a file with a molecule")
    if not known.all():
        logger.warning("%s has %d atoms of no element; they are left out", path, (~known).sum())
    if not np.isfinite(found.positions).all():
        raise ApbcError(f"{path} has an atom whose place is no finite number; mend the file")
    return Atoms(found.positions[known], found.elements[known], found.counts[known])


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
    atom.b_iso = blur
    places = atoms.positions + centre
    for place, element, count in zip(
        places.tolist(), atoms.elements.tolist(), atoms.counts.tolist(), strict=True
    ):
        atom.pos = gemmi.Position(*place)
        atom.element = known[element]
        atom.occ = count
        calculator.add_atom_density_to_grid(atom)
    # gemmi's axes are x, y, z.
    return np.array(calculator.grid, copy=False).transpose(2, 1, 0).astype(np.float32, order="C")


def _hydrogens_of(residue: str) -> int:
    """Hydrogens of a residue within its chain, of a ligand as it is; 0 where not known."""
    import gemmi

    known = gemmi.find_tabulated_residue(residue)
    if known.is_amino_acid() or known.is_nucleic_acid():
        return int(known.hydrogen_count) - WATER_OF_BOND
    return int(known.hydrogen_count)


def _masses(elements: npt.NDArray[np.int64]) -> FloatArray:
    import gemmi

    kinds, of_atom = np.unique(elements, return_inverse=True)
    masses = np.array([gemmi.Element(int(kind)).weight for kind in kinds])
    weights: FloatArray = masses[of_atom]
    return weights
