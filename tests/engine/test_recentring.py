"""Labels are moved where Relion itself finds the particles, and puts them."""

import shutil
import subprocess

import mrcfile
import numpy as np
import pytest

from apbc.dataset.labels import GOOD, from_particles
from apbc.dataset.recentre import recentre
from apbc.io.particles import read_particles

PIXEL_SIZE = 4.0
SIDE, BOX, STEP = 640, 64, 80
DIAMETER = 140.0
DATA = "Class2D/run_it006_data.star"

pytestmark = pytest.mark.skipif(not shutil.which("relion_refine"), reason="RELION is not installed")


def relion(folder, *arguments):
    """Run a program of Relion in a folder."""
    subprocess.run(
        [str(a) for a in arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=300
    )


def write_micrograph(path, centres, rng):
    """Write lopsided dark particles, each turned about its centre of mass."""
    y, x = np.indices((SIDE, SIDE))
    image = rng.normal(0, 0.5, (SIDE, SIDE))
    blobs = np.array([9, -9 + 0j, 5j - 2])  # in the particle, as x + iy
    widths, heights = np.array([5, 3, 3]), np.array([3, 5, 2])
    masses = heights * widths**2
    blobs -= (masses * blobs).sum() / masses.sum()
    for cx, cy in centres:
        turned = blobs * np.exp(1j * rng.uniform(0, 2 * np.pi)) + complex(cx, cy)
        for blob, width, height in zip(turned, widths, heights, strict=True):
            distance = np.hypot(x - blob.real, y - blob.imag)
            image -= height * np.exp(-(distance**2) / (2 * width**2))
    with mrcfile.new(path) as handle:
        handle.set_data(image.astype(np.float32))
        handle.voxel_size = PIXEL_SIZE


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Particles picked beside their middles, and what Relion's 2D alignment makes of them."""
    folder = tmp_path_factory.mktemp("relion")
    rng = np.random.default_rng(5)
    places = np.arange(STEP, SIDE - STEP + 1, STEP, dtype=float)
    centres = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2)
    picked = centres - rng.integers(-6, 7, centres.shape)
    write_micrograph(folder / "mic.mrc", centres, rng)
    (folder / "mics.star").write_text(
        "# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroupName #1\n_rlnOpticsGroup #2\n"
        "_rlnMicrographPixelSize #3\n_rlnVoltage #4\n_rlnSphericalAberration #5\n"
        f"_rlnAmplitudeContrast #6\nopticsGroup1 1 {PIXEL_SIZE} 300 2.7 0.1\n\n"
        "# version 30001\n\ndata_micrographs\n\nloop_\n_rlnMicrographName #1\n_rlnOpticsGroup #2\n"
        "mic.mrc 1\n"
    )
    rows = "".join(f"{x} {y}\n" for x, y in picked)
    (folder / "mic_picked.star").write_text(
        f"data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n{rows}"
    )
    relion(
        folder,
        *("relion_preprocess", "--i", "mics.star", "--coord_dir", "."),
        *("--coord_suffix", "_picked.star", "--part_dir", "Extract/", "--extract"),
        *("--part_star", "Extract/particles.star", "--extract_size", BOX, "--scale", BOX // 2),
        *("--norm", "--bg_radius", BOX // 4, "--invert_contrast"),
    )
    (folder / "Class2D").mkdir()
    relion(
        folder,
        *("relion_refine", "--i", "Extract/particles.star", "--o", "Class2D/run", "--K", 1),
        *("--iter", 6, "--particle_diameter", 1.4 * DIAMETER, "--psi_step", 10, "--tau2_fudge", 4),
        *(
            "--offset_range",
            5,
            "--offset_step",
            1,
            "--random_seed",
            1,
            "--j",
            1,
            "--flatten_solvent",
        ),
        *("--dont_combine_weights_via_disc", "--norm", "--scale", "--oversampling", 1),
    )
    return folder, centres, picked


def rows_near(places, centres):
    """Index of the centre that is nearest to each place."""
    return np.hypot(*(places[:, None] - centres[None]).transpose(2, 0, 1)).argmin(axis=1)


def test_labels_come_nearer_to_their_particles(project):
    folder, centres, picked = project
    table = read_particles(folder / DATA)
    labels = from_particles(table, None)
    moved, record = recentre(labels, DIAMETER, PIXEL_SIZE, {"mic": (SIDE, SIDE)})
    assert record["moved"] > 0.9 * len(centres) and record["left"] == 0
    mine = rows_near(labels.of("mic", GOOD).xy, centres)
    assert sorted(mine) == list(range(len(centres)))
    before = np.median(np.hypot(*(picked - centres).T))
    away = moved.of("mic", GOOD).xy - centres[mine]
    assert np.median(np.hypot(*away.T)) < 0.75 * before
    # What is left is the same for all, turned with each particle: where the average lies.
    in_class = (away[:, 0] + 1j * away[:, 1]) * np.exp(1j * np.deg2rad(psi_of(table)))
    of_average = np.median(in_class.real) + 1j * np.median(in_class.imag)
    assert np.median(np.abs(in_class - of_average)) < 0.3 * before


def psi_of(table):
    return table.table.numbers("rlnAnglePsi")


def test_relion_puts_them_in_the_same_places(project):
    folder, centres, _ = project
    relion(
        folder,
        *("relion_preprocess", "--i", "mics.star", "--reextract_data_star", DATA, "--recenter"),
        *("--part_dir", "Again/", "--part_star", "Again/particles.star", "--extract"),
        *("--extract_size", BOX),
    )
    again = read_particles(folder / "Again/particles.star")
    labels = from_particles(read_particles(folder / DATA), None)
    moved, _ = recentre(labels, 10 * DIAMETER, PIXEL_SIZE, {"mic": (SIDE, SIDE)})
    ours = moved.of("mic", GOOD).xy
    order = np.argsort(rows_near(again.coordinates, centres))
    mine = np.argsort(rows_near(ours, centres))
    # Relion moves by whole pixels and keeps the rest of the shift.
    assert np.abs(again.coordinates[order] - ours[mine]).max() <= 0.51
    kept, _ = recentre(from_particles(again, None), DIAMETER, PIXEL_SIZE, {"mic": (SIDE, SIDE)})
    np.testing.assert_allclose(kept.of("mic", GOOD).xy[order], ours[mine], atol=0.01)
