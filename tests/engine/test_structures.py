"""Maps, atomic models and built-in molecules as structures of a simulation."""

import gzip

import numpy as np
import pytest

from apbc.errors import ApbcError
from apbc.geometry import euler_to_matrix
from apbc.io.volumes import read_volume, write_volume
from apbc.metrics.symmetry import symmetry_matrices
from apbc.simulate.atoms import Atoms, read_atoms
from apbc.simulate.builtin import ALIASES, MOLECULES, builtin_molecule, describe
from apbc.simulate.density import VOLT, atoms_to_potential
from apbc.simulate.structures import load_structures, molecule_mask, potential_of

ATOM = "ATOM  {:5d}  {:<3} {:<3} A{:4d}    {:8.3f}{:8.3f}{:8.3f}  1.00 20.00          {:>2}\n"


def write_pdb(path, residues, spacing=6.0):
    """Glycines (N, CA, C, O) along x, one `spacing` after another, and a water far away."""
    lines, serial = [], 0
    places = {"N": (0, 0, 0), "CA": (1.4, 0, 0), "C": (2.0, 1.4, 0), "O": (1.2, 2.3, 0)}
    for residue in range(residues):
        for name, (x, y, z) in places.items():
            serial += 1
            x_of = x + spacing * residue
            lines.append(ATOM.format(serial, name, "GLY", residue + 1, x_of, y, z, name[0]))
    lines.append(ATOM.format(serial + 1, "O", "HOH", residues + 1, 500.0, 0.0, 0.0, "O"))
    path.write_text("".join(lines) + "END\n")
    return path


def ball(box, radius, centre=(0, 0, 0)):
    z, y, x = np.indices((box,) * 3) - box // 2
    a, b, c = centre
    return ((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2 < radius**2).astype(np.float32)


def test_atoms_are_read_without_water(tmp_path):
    plain = write_pdb(tmp_path / "gly.pdb", 3)
    packed = tmp_path / "gly.ent.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for path in (plain, packed):
        atoms = read_atoms(path)
        assert atoms.positions[:, 0].max() < 20
        assert sorted(set(atoms.elements)) == [6, 7, 8] and len(atoms.elements) == 12


def test_the_first_model_is_taken(tmp_path, caplog):
    one = write_pdb(tmp_path / "one.pdb", 2).read_text().removesuffix("END\n")
    path = tmp_path / "two.pdb"
    path.write_text(f"MODEL        1\n{one}ENDMDL\nMODEL        2\n{one}ENDMDL\nEND\n")
    assert len(read_atoms(path).elements) == 8
    assert "2 models" in caplog.text


def test_an_atom_has_its_scattering_power_less_the_ice():
    carbon = Atoms(np.array([[4.0, -6.0, 2.0]]), np.array([6]))
    potential = atoms_to_potential(carbon, 2.0, 32, 6.0)
    # Scattering factor of carbon at 0: 2.51 Å.
    expected = 2.51 * VOLT - 4.6 * 16.44
    assert potential.sum() * 2.0**3 == pytest.approx(expected, rel=0.01)
    top = np.unravel_index(potential.argmax(), potential.shape)
    assert np.array(top)[::-1] - 16 == pytest.approx([2, -3, 1])
    # At 1/resolution the blur leaves 1/e of what the scattering factor has.
    coarse = atoms_to_potential(carbon, 2.0, 32, 20.0)
    assert coarse.sum() == pytest.approx(potential.sum(), rel=0.01)
    assert coarse.max() < potential.max() / 5


def test_the_map_of_a_model_fits_the_real_one(bench_folder):
    models = bench_folder / "data" / "models"
    real = read_volume(models / "betaGal.mrc").data
    [structure] = load_structures([models / "5a1a.cif"], (), 3.54, 100, 15.0)
    made = structure.volume.data

    def correlation(volume):
        return np.corrcoef(volume.ravel(), real.ravel())[0, 1]

    # The map has its two-fold axes in another order; turning the axes round keeps the hand.
    turned = [made, made.transpose(1, 2, 0), made.transpose(2, 0, 1)]
    best = max(correlation(volume) for volume in turned)
    assert best > 0.93
    mirrored = [v.transpose(0, 2, 1) for v in turned]
    assert max(correlation(volume) for volume in mirrored) < best - 0.1
    # 465 kDa of protein, at 1.21 Å³ a Da and 3.4 V over the ice.
    assert made.sum() * 3.54**3 == pytest.approx(465e3 * 1.21 * 3.4, rel=0.1)
    assert structure.diameter == pytest.approx(182, abs=2)


def test_conformations_may_share_a_centre(tmp_path):
    write_pdb(tmp_path / "short.pdb", 4)
    write_pdb(tmp_path / "long.pdb", 8)
    files = [tmp_path / "short.pdb", tmp_path / "long.pdb"]

    def shift(shared):
        made = load_structures(files, (), 2.0, 48, 6.0, shared_centre=shared)
        grid = np.arange(48) - 24
        return [
            2.0 * float((s.volume.data.sum(axis=(0, 1)) * grid).sum() / s.volume.data.sum())
            for s in made
        ]

    assert shift(False) == pytest.approx([0, 0], abs=0.5)
    short, long = shift(True)
    # Half of four residues of 6 Å, shared between both.
    assert (short, long) == pytest.approx((-6, 6), abs=0.5)


def test_maps_bring_their_grid_and_their_potential_is_that_of_protein(tmp_path):
    write_volume(tmp_path / "a.mrc", 5 + 20 * ball(32, 8), 4.0)
    [structure] = load_structures([tmp_path / "a.mrc"], weights=[2.0])
    assert (structure.box_size, structure.pixel_size, structure.weight) == (32, 4.0, 2.0)
    assert structure.symmetry == "C1" and not structure.in_volts
    assert structure.volume.data.max() == 25
    assert structure.diameter == pytest.approx(2 * 8 * 4, abs=8)
    potential = potential_of(structure)
    assert potential.data[molecule_mask(structure.volume)].mean() == pytest.approx(3.5, abs=0.01)
    assert np.median(potential.data) == pytest.approx(0, abs=0.01)


def test_maps_beside_models_become_potentials(tmp_path):
    write_volume(tmp_path / "a.mrc", 500 + 1000 * ball(64, 8), 4.0)
    made, _ = load_structures([tmp_path / "a.mrc"], ["globule"])
    assert made.in_volts and potential_of(made) is made.volume
    assert made.volume.data[molecule_mask(made.volume)].mean() == pytest.approx(3.5, abs=0.01)


def test_specks_are_no_part_of_a_molecule(tmp_path):
    data = ball(48, 8) + ball(48, 1.5, (18, 18, 18))
    write_volume(tmp_path / "a.mrc", data, 4.0)
    [structure] = load_structures([tmp_path / "a.mrc"])
    assert structure.diameter < 2 * 10 * 4


def test_a_volume_is_forgotten_and_made_again():
    [structure] = load_structures((), ["globule"])
    data = structure.volume.data
    assert structure.volume.data is data
    structure.release()
    assert structure.volume.data is not data
    assert np.array_equal(structure.volume.data, data)


def test_without_files_there_are_two_states_that_share_a_body():
    one, two = load_structures()
    assert (one.name, two.name) == ("hinge-closed", "hinge-open")
    assert one.box_size % 2 == 0 and one.box_size * one.pixel_size > max(one.diameter, two.diameter)
    a, b = one.volume.data, two.volume.data
    correlation = np.corrcoef(a.ravel(), b.ravel())[0, 1]
    assert 0.5 < correlation < 0.9
    assert potential_of(one) is one.volume


@pytest.mark.parametrize("name", sorted([*MOLECULES, *ALIASES, "antibody:90"]))
def test_built_in_molecules_have_the_symmetry_they_tell(name):
    molecule, symmetry = builtin_molecule(name, seed=2)
    again, _ = builtin_molecule(name, seed=2)
    assert np.array_equal(molecule.positions, again.positions)
    assert not np.array_equal(molecule.positions, builtin_molecule(name, seed=3)[0].positions)

    def histogram(positions):
        return np.sort(np.round(positions @ np.array([1.0, 0.37, 0.11]), 5))

    for operator in symmetry_matrices(symmetry)[:8]:
        turned = molecule.positions @ operator.T
        assert histogram(turned) == pytest.approx(histogram(molecule.positions), abs=1e-4)
    other = molecule.positions @ euler_to_matrix([[20, 30, 0]])[0].T
    assert not np.allclose(histogram(other), histogram(molecule.positions), atol=1e-2)


def test_the_help_names_every_molecule():
    text = describe()
    assert all(name in text for name in [*MOLECULES, *ALIASES])


def test_names_are_made_unique(tmp_path):
    (tmp_path / "other").mkdir()
    for path in (tmp_path / "a.mrc", tmp_path / "other" / "a.mrc"):
        write_volume(path, ball(16, 4), 4.0)
    files = [tmp_path / "a.mrc", tmp_path / "other" / "a.mrc"]
    names = [s.name for s in load_structures(files, symmetries=["c2"])]
    assert names == ["a", "a_2"]


def test_what_cannot_be_simulated_is_refused_in_one_sentence(tmp_path):
    small, large = tmp_path / "small.mrc", tmp_path / "large.mrc"
    write_volume(small, ball(16, 4), 4.0)
    write_volume(large, ball(24, 4), 4.0)
    with pytest.raises(ApbcError, match=r"small.mrc has a box of 16 voxels and .*large.mrc"):
        load_structures([small, large])
    fine = tmp_path / "fine.mrc"
    write_volume(fine, ball(16, 4), 2.0)
    with pytest.raises(ApbcError, match=r"4 Å per voxel and .*fine.mrc 2"):
        load_structures([small, fine])
    with pytest.raises(ApbcError, match="box of 20 is asked for"):
        load_structures([small], box_size=20)
    write_volume(small, np.ones((16, 16, 16)), 4.0)
    with pytest.raises(ApbcError, match="one value everywhere"):
        _ = load_structures([small])[0].diameter
    write_volume(small, ball(16, 20) - ball(16, 5), 4.0)
    with pytest.raises(ApbcError, match="turned views would be cut; pad it to"):
        _ = load_structures([small])[0].volume
    protein = write_pdb(tmp_path / "p.pdb", 20)
    with pytest.raises(ApbcError, match="need a pixel size"):
        load_structures([protein])
    with pytest.raises(ApbcError, match=r"p is 1\d\d Å across and its box 64 Å.*give a box of"):
        load_structures([protein], (), 2.0, 32)
    for resolution in (0.0, float("nan")):
        with pytest.raises(ApbcError, match=f"resolution must be above 0 Å, not {resolution:g}"):
            load_structures([protein], (), 2.0, 128, resolution)
    with pytest.raises(ApbcError, match=r"resolution of 3 Å needs pixels of 1\.5 Å"):
        load_structures([protein], (), 2.0, 128, 3.0)
    (tmp_path / "water.pdb").write_text(write_pdb(tmp_path / "w.pdb", 0).read_text())
    with pytest.raises(ApbcError, match="no atoms besides water"):
        load_structures([tmp_path / "water.pdb"], (), 2.0)
    (tmp_path / "empty.cif").write_text("")
    with pytest.raises(
        ApbcError, match=r"empty\.cif cannot be read as mmCIF or PDB \(it is empty\)"
    ):
        load_structures([tmp_path / "empty.cif"], (), 2.0)
    with pytest.raises(ApbcError, match=r"notes.txt is no map or atomic model by its name"):
        load_structures([tmp_path / "notes.txt"])
    with pytest.raises(ApbcError, match="no built-in molecule 'ribosome'"):
        load_structures((), ["ribosome"])
    with pytest.raises(ApbcError, match="write antibody:90"):
        load_structures((), ["antibody:x"])
    with pytest.raises(ApbcError, match="1 weights for 2 structures"):
        load_structures(weights=[1.0])
    with pytest.raises(ApbcError, match="not be below 0"):
        load_structures(weights=[1.0, -1.0])
    with pytest.raises(ApbcError, match="no point group"):
        load_structures(symmetries=["Q5"])
