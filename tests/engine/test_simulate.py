"""The CTF, its undoing, and the simulated data set."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from scipy.spatial import cKDTree

from apbc.commands.main import main
from apbc.errors import ApbcError
from apbc.io.coordinates import read_coordinates
from apbc.io.ctf import Ctf, read_ctf
from apbc.io.star import read_star
from apbc.preprocess.ctf import ctf_2d, phase_flip, wavelength
from apbc.simulate.demo import simulate_demo
from apbc.simulate.molecule import Molecule, barrel
from apbc.simulate.projection import project, random_rotations

SHAPE = (320, 384)
ASTIGMATIC = Ctf(
    defocus_u=15000.0,
    defocus_v=12000.0,
    defocus_angle=25.0,
    voltage=300.0,
    cs=2.7,
    amplitude_contrast=0.1,
    phase_shift=0.0,
)


def round_ctf(defocus: float, phase_shift: float = 0.0, amplitude_contrast: float = 0.0) -> Ctf:
    """CTF without astigmatism or spherical aberration."""
    return Ctf(
        defocus_u=defocus,
        defocus_v=defocus,
        defocus_angle=0.0,
        voltage=300.0,
        cs=0.0,
        amplitude_contrast=amplitude_contrast,
        phase_shift=phase_shift,
    )


def read_points(path: Path) -> np.ndarray:
    """Coordinates of one file."""
    assert path.read_text().splitlines()[0] == "x,y"
    return np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small micrographs, the second with carbon."""
    out = tmp_path_factory.mktemp("demo") / "set"
    simulate_demo(out, 2, seed=5, shape=SHAPE)
    return out


def test_wavelength_at_300_and_200_kv() -> None:
    """Textbook values."""
    assert wavelength(300) == pytest.approx(0.019687, abs=1e-6)
    assert wavelength(200) == pytest.approx(0.025079, abs=1e-6)


def test_ctf_zeros_are_where_theory_puts_them() -> None:
    """Without Cs and amplitude contrast the zeros lie at l Df s² = 1, 2, 3."""
    pixel_size = 1.0
    columns = 4096
    row = ctf_2d((2, columns), pixel_size, round_ctf(10000.0))[0]
    crossings = np.flatnonzero(np.diff(np.sign(row[1:]))) + 1.5
    expected = np.sqrt(np.arange(1, 6) / (wavelength(300) * 10000)) * columns * pixel_size
    np.testing.assert_allclose(crossings[:5], expected, atol=0.6)


def test_ctf_at_the_origin() -> None:
    """Amplitude contrast and phase plate act at the origin, with RELION's sign."""
    assert ctf_2d((8, 8), 1.0, round_ctf(1e4, 0.0, 0.1))[0, 0] == pytest.approx(0.1)
    assert ctf_2d((8, 8), 1.0, round_ctf(1e4, 90.0, 0.0))[0, 0] == pytest.approx(1.0)


def test_ctf_values_of_relion() -> None:
    """Row 3 of what RELION 3.1.3 computes for a box of 256 at 3.5 Å."""
    relion = [0.10864455, 0.11028016, 0.11412986, 0.12019064, 0.12845743, 0.1389226]
    values = ctf_2d((256, 256), 3.5, ASTIGMATIC)[3, :6]
    np.testing.assert_allclose(values, relion, atol=1e-6)


@pytest.mark.skipif(shutil.which("relion_ctf_toolbox") is None, reason="needs RELION")
def test_ctf_equals_relions_everywhere(tmp_path: Path) -> None:
    """Sign, astigmatism and its direction, phase shift."""
    words = "--angpix 3.5 --box 128 --kV 300 --Cs 2.7 --Q0 0.1 --defU 15000 --defV 12000"
    subprocess.run(
        [
            "relion_ctf_toolbox",
            "--simulate",
            tmp_path / "ctf.mrc",
            *words.split(),
            "--defAng",
            "25",
            "--phase_shift",
            "60",
        ],
        check=True,
        capture_output=True,
    )
    relion = np.fft.ifftshift(mrcfile.read(tmp_path / "ctf.mrc"))
    ours = ctf_2d((128, 128), 3.5, Ctf(**{**vars(ASTIGMATIC), "phase_shift": 60.0}))
    np.testing.assert_allclose(ours[:, :64], relion[:, :64], atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "parameters"), [((63, 95), ASTIGMATIC), ((64, 96), round_ctf(15000.0, 0.0, 0.1))]
)
def test_phase_flip_leaves_the_modulus_of_the_ctf(shape: tuple[int, int], parameters: Ctf) -> None:
    """A point seen through the CTF becomes a point seen through its modulus."""
    ctf = ctf_2d(shape, 3.5, parameters)
    image = 7 + np.fft.irfft2(ctf, s=shape)
    flipped = phase_flip(image, 3.5, parameters)
    assert flipped.dtype == np.float32
    assert flipped.mean() == pytest.approx(image.mean(), abs=1e-5)
    np.testing.assert_allclose(flipped - 7, np.fft.irfft2(abs(ctf), s=shape), atol=1e-5)


def test_projection_follows_the_rotation() -> None:
    """A scatterer lands where the first two rows of the rotation put it."""
    molecule = Molecule(np.array([[30.0, -20.0, 40.0]]))
    rotation = random_rotations(1, np.random.default_rng(1))
    image = project(molecule, rotation, np.array([[40.0, 30.0]]), (60, 80), 2.0)
    y, x = np.mgrid[:60, :80]
    centroid = np.array([(x * image).sum(), (y * image).sum()]) / image.sum()
    expected = (rotation[0] @ molecule.positions[0])[:2] / 2.0 + (40.0, 30.0)
    np.testing.assert_allclose(centroid, expected, atol=0.01)


def test_rotations_are_uniform() -> None:
    """The mean of uniform rotations is 0, and all are proper."""
    rotations = random_rotations(4000, np.random.default_rng(0))
    assert np.abs(rotations.mean(axis=0)).max() < 0.04
    np.testing.assert_allclose(np.linalg.det(rotations), 1)


def test_particle_has_the_size_that_it_claims() -> None:
    """The demo's particle is 150 to 180 Å wide, and the same each time."""
    molecule = barrel()
    assert 150 < molecule.diameter < 180
    assert np.linalg.norm(molecule.positions, axis=1).max() * 2 < molecule.diameter
    np.testing.assert_array_equal(molecule.positions, barrel().positions)


def test_demo_files(demo: Path) -> None:
    """Every file of the contract is there and agrees with the others."""
    summary = json.loads((demo / "simulation.json").read_text())
    assert summary["seed"] == 5 and summary["pixel_size"] == 3.5
    tables = read_star(demo / "micrographs_ctf.star").tables
    assert tables["optics"].text("rlnMicrographPixelSize") == ["3.5"]
    micrographs = tables["micrographs"]
    assert (micrographs.numbers("rlnDefocusU") >= micrographs.numbers("rlnDefocusV")).all()
    assert sorted(read_ctf(demo / "micrographs_ctf.star")) == ["demo_001", "demo_002"]
    total = 0
    for name in micrographs.text("rlnMicrographName"):
        with mrcfile.open(demo / name) as mrc:
            assert mrc.data.shape == SHAPE and mrc.data.dtype == np.float32
            assert float(mrc.voxel_size.x) == pytest.approx(3.5)
        stem = Path(name).stem
        truth = read_points(demo / "truth" / f"{stem}.csv")
        good = read_points(demo / "good" / f"{stem}.csv")
        bad = read_points(demo / "bad" / f"{stem}.csv")
        diameter = summary["diameter"] / summary["pixel_size"]
        assert (truth >= 0).all() and (truth <= (SHAPE[1] - 1, SHAPE[0] - 1)).all()
        assert 0.2 < len(good) / len(truth) < 0.4
        distance, _ = cKDTree(truth).query(good)
        assert distance.max() < 0.2 * diameter and distance.min() > 0
        assert len(bad) and cKDTree(truth).query(bad)[0].min() > 0.89 * diameter
        total += len(truth)
    assert total == summary["particles"]


def test_demo_depends_on_seed_and_index_alone(demo: Path, tmp_path: Path) -> None:
    """Fewer micrographs leave the first as it is; another seed changes it."""
    simulate_demo(tmp_path / "same", 1, seed=5, shape=SHAPE)
    simulate_demo(tmp_path / "other", 1, seed=6, shape=SHAPE)
    name = "micrographs/demo_001.mrc"
    first = mrcfile.read(demo / name)
    assert (demo / name).read_bytes() == (tmp_path / "same" / name).read_bytes()
    assert (first != mrcfile.read(tmp_path / "other" / name)).any()
    for folder in ("truth", "good", "bad"):
        same = tmp_path / "same" / folder / "demo_001.csv"
        assert same.read_text() == (demo / folder / "demo_001.csv").read_text()


def test_particles_are_dark_and_noise_is_counted(demo: Path) -> None:
    """The mean particle is darker than its surroundings; pixels are whole electrons."""
    image = mrcfile.read(demo / "micrographs" / "demo_001.mrc")
    assert (image == np.rint(image)).all()
    truth = np.rint(read_points(demo / "truth" / "demo_001.csv")).astype(int)
    half = 36
    crops = [
        image[y - half : y + half, x - half : x + half]
        for x, y in truth
        if half <= x < SHAPE[1] - half and half <= y < SHAPE[0] - half
    ]
    mean = np.mean(crops, axis=0)
    y, x = np.mgrid[-half:half, -half:half]
    radius = np.hypot(x, y) * 3.5
    ring = mean[(radius > 95) & (radius < 120)]
    assert mean[radius < 65].mean() < ring.mean() * 0.99


def test_demo_refuses_bad_input(demo: Path, tmp_path: Path) -> None:
    """One sentence for each fault, and nothing overwritten."""
    with pytest.raises(ApbcError, match="exists already"):
        simulate_demo(demo, 1)
    (tmp_path / "file").touch()
    with pytest.raises(ApbcError, match="not a folder"):
        simulate_demo(tmp_path / "file", 1, shape=(256, 256))
    with pytest.raises(ApbcError, match="too small"):
        simulate_demo(tmp_path / "a", 1, shape=(64, 1024))
    with pytest.raises(ApbcError, match="1 or more"):
        simulate_demo(tmp_path / "a", 0)
    with pytest.raises(ApbcError, match="seed"):
        simulate_demo(tmp_path / "a", 1, seed=-1)
    assert not (tmp_path / "a").exists()


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The verb writes the folder, and a second time refuses."""
    words = ["simulate", "demo", "--out", str(tmp_path / "d"), "--micrographs", "1"]
    words += ["--size", "256", "256", "--seed", "3"]
    assert main(words) == 0
    assert mrcfile.read(tmp_path / "d" / "micrographs" / "demo_001.mrc").shape == (256, 256)
    assert main(words) == 1
    assert "exists already" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("relion_autopick") is None, reason="needs RELION")
def test_relion_reads_it_and_blob_picking_is_fair(tmp_path: Path) -> None:
    """RELION's blob finder finds many particles, not all, and false ones too."""
    simulate_demo(tmp_path / "set", 2, seed=1)
    words = "--i micrographs_ctf.star --odir picks/ --pickname log --LoG --LoG_diam_min 140"
    subprocess.run(
        ["relion_autopick", *words.split(), "--LoG_diam_max", "190", "--lowpass", "20"],
        cwd=tmp_path / "set",
        check=True,
        capture_output=True,
    )
    hits = picks = particles = 0
    for path in sorted((tmp_path / "set" / "truth").glob("*.csv")):
        truth = read_points(path)
        picked = tmp_path / "set" / "picks" / "micrographs" / f"{path.stem}_log.star"
        found = read_coordinates(picked)[:, :2]
        hits += np.sum(cKDTree(found).query(truth)[0] < 12)
        picks += len(found)
        particles += len(truth)
    assert 0.5 < hits / particles < 0.97
    assert 0.3 < hits / picks < 0.85
