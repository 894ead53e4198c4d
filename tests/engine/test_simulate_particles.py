"""Simulated particle stacks: what the images show, what the files tell, and both agree."""

import csv
import hashlib
import shutil
import subprocess
import time

import mrcfile
import numpy as np
import pytest
import scipy.fft

from apbc.errors import ApbcError
from apbc.geometry import euler_to_matrix
from apbc.io.cryodrgn import read_array_pickle, read_ctf_pickle, read_poses
from apbc.io.files import read_json
from apbc.io.particles import read_particles
from apbc.io.stacks import ParticleStack
from apbc.io.volumes import read_volume, write_volume
from apbc.simulate import particle_stack
from apbc.simulate.ctf_sources import COLUMNS, choose_ctfs, read_ctfs
from apbc.simulate.optics import Optics
from apbc.simulate.particle_plan import ParticleOptions
from apbc.simulate.particles import simulate_particles
from apbc.simulate.structures import load_structures
from apbc.simulate.views import disturb_angles, draw_angles
from conftest import run_apbc

PIXEL = 3.0
NOISELESS = float("inf")


def blob(box, place, width):
    """Gaussian ball at (x, y, z) from the centre, pixels."""
    z, y, x = np.indices((box,) * 3) - box // 2
    a, b, c = place
    squared = (x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2
    return np.exp(-squared / (2 * width**2)).astype(np.float32)


def molecule(box):
    """Several blobs without symmetry."""
    rng = np.random.default_rng(5)
    return sum(blob(box, rng.uniform(-box / 6, box / 6, 3), 2.0) for _ in range(8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("structures")
    write_volume(out / "molecule.mrc", molecule(48), PIXEL)
    write_volume(out / "blob.mrc", blob(48, (9.0, -5.0, 7.0), 2.0), PIXEL)
    point = np.zeros((48, 48, 48))
    point[24, 24, 24] = 1
    write_volume(out / "point.mrc", point, PIXEL)
    return out


def simulate(out, files, images=40, threads=2, block=16, **options):
    return simulate_particles(
        out, load_structures(files), ParticleOptions(images, **options), threads, block=block
    )


def rows_of(out):
    with open(out / "truth.csv", newline="") as file:
        return list(csv.DictReader(file))


def numbers(rows, *columns):
    return np.array([[float(row[column]) for column in columns] for row in rows])


def stack_of(out, name="particles.mrcs"):
    stack = ParticleStack(out / name)
    return stack.read(range(stack.n))


def centroid(image):
    """Place of a lone blob from the image's centre, x and y, from the pixels round its peak."""
    rows, columns = np.indices(image.shape) - image.shape[0] // 2
    r, c = np.unravel_index(image.argmax(), image.shape)
    near = np.hypot(*(np.indices(image.shape) - [[[r]], [[c]]])) <= 8
    weight = np.where(near, image, 0)
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fsc(one, other):
    """Correlation of shells of the nearest whole frequency."""
    box = one.shape[0]
    a, b = scipy.fft.fftn(one), scipy.fft.fftn(other)
    count = scipy.fft.fftfreq(box, 1 / box)
    radius = np.sqrt(count[:, None, None] ** 2 + count[:, None] ** 2 + count**2)
    shell = np.rint(radius).astype(int).ravel()

    def total(values):
        return np.bincount(shell, values.ravel())[: box // 2 + 1]

    power = total(np.abs(a) ** 2) * total(np.abs(b) ** 2)
    return total((a * b.conj()).real) / np.sqrt(power)


# ------------------------------- what images show -------------------------------


def test_a_particle_lies_where_pose_and_shift_put_it(folder, tmp_path):
    simulate(tmp_path, [folder / "blob.mrc"], ctf=False, snr=NOISELESS, shift=6.0)
    truth = rows_of(tmp_path)
    rotations = euler_to_matrix(numbers(truth, "rot", "tilt", "psi"))
    shifts = numbers(truth, "shift_x", "shift_y") / PIXEL
    assert np.abs(shifts).max() <= 2.0
    for image, rotation, shift in zip(stack_of(tmp_path), rotations, shifts, strict=True):
        expected = (rotation @ [9.0, -5.0, 7.0])[:2] + shift
        assert centroid(image) == pytest.approx(expected, abs=0.1)


def test_the_told_shift_centres_the_particle_again(folder, tmp_path):
    simulate(tmp_path, [folder / "blob.mrc"], ctf=False, snr=NOISELESS, shift=6.0)
    star = read_particles(tmp_path / "particles.star")
    origins = np.stack([star.table.numbers(f"rlnOrigin{axis}Angst") for axis in "XY"], axis=1)
    rotations, translations = read_poses(tmp_path / "poses.pkl")
    assert translations * 48 * PIXEL == pytest.approx(origins, abs=1e-4)
    labels = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
    angles = np.stack([star.table.numbers(label) for label in labels], axis=1)
    assert euler_to_matrix(angles) == pytest.approx(rotations, abs=1e-5)
    for n, image in enumerate(stack_of(tmp_path)):
        moved = centroid(image) + origins[n] / PIXEL
        assert moved == pytest.approx((rotations[n] @ [9.0, -5.0, 7.0])[:2], abs=0.1)


@pytest.mark.parametrize("contrast", ["white", "dark"])
def test_the_ctf_is_that_of_the_closed_form(folder, tmp_path, contrast):
    optics = Optics((12_000, 12_000), 2_000.0, phase_shift=20.0)
    options = {"snr": NOISELESS, "shift": 0.0, "envelope_b": 80.0, "contrast": contrast}
    simulate(tmp_path, [folder / "point.mrc"], images=3, optics=optics, **options)
    for image, row in zip(stack_of(tmp_path), rows_of(tmp_path), strict=True):
        # The transform of a point is 1, so that of its image is the CTF.
        found = scipy.fft.fft2(scipy.fft.ifftshift(image)).real
        u, v, angle = (float(row[f"defocus_{name}"]) for name in ("u", "v", "angle"))
        axis = np.deg2rad(angle)
        places = [(0, 0), (5, 0), (0, 9), (7, 7), (-8, 13)]
        places.append((round(15 * np.cos(axis)), round(15 * np.sin(axis))))
        for x, y in places:
            s2 = (x**2 + y**2) / (48 * PIXEL) ** 2
            direction = np.arctan2(y, x)
            # CryoBench's formula; its sign makes protein dark.
            volt = 300e3
            length = 12.2639 / np.sqrt(volt + 0.97845e-6 * volt**2)
            defocus = 0.5 * (u + v + (u - v) * np.cos(2 * (direction - axis)))
            gamma = 2 * np.pi * (-0.5 * defocus * length * s2 + 0.25 * 2.7e7 * length**3 * s2**2)
            gamma -= np.deg2rad(20.0)
            ctf = np.sqrt(1 - 0.1**2) * np.sin(gamma) - 0.1 * np.cos(gamma)
            ctf *= np.exp(-80 * s2 / 4)
            sign = -1 if contrast == "white" else 1
            assert found[y, x] == pytest.approx(sign * ctf, abs=2e-3)
        assert (found[0, 0] > 0) == (contrast == "white")


def test_legacy_shrink_makes_the_object_smaller_by_one_pixel_in_the_box(folder, tmp_path):
    options = {"images": 24, "ctf": False, "snr": NOISELESS, "shift": 0.0}
    slopes = {}
    for shrunk in (False, True):
        out = tmp_path / str(shrunk)
        simulate(out, [folder / "blob.mrc"], legacy_shrink=shrunk, **options)
        rotations = euler_to_matrix(numbers(rows_of(out), "rot", "tilt", "psi"))
        expected = (rotations @ [9.0, -5.0, 7.0])[:, :2].ravel()
        found = np.array([centroid(image) for image in stack_of(out)]).ravel()
        slopes[shrunk] = (found @ expected) / (expected @ expected)
    assert slopes[False] == pytest.approx(1, abs=1e-3)
    assert slopes[True] / slopes[False] == pytest.approx(47 / 48, abs=5e-4)


def test_images_cropped_to_a_smaller_box_show_the_same(folder, tmp_path):
    for name, box in (("fine", None), ("coarse", 24)):
        simulate(
            tmp_path / name, [folder / "molecule.mrc"], images=5, snr=NOISELESS, output_box=box
        )
    fine, coarse = stack_of(tmp_path / "fine"), stack_of(tmp_path / "coarse")
    spectrum = scipy.fft.fft2(fine)
    keep = np.r_[0:12, -11:0]
    small = scipy.fft.fft2(coarse)
    for n in range(5):
        # The centre of both boxes is their pixel n // 2, and grey values are kept.
        same = spectrum[n][np.ix_(keep, keep)] / 4
        inside = np.hypot(*np.meshgrid(*2 * [scipy.fft.fftfreq(48, 1 / 48)[keep]])) < 11
        assert small[n][np.ix_(keep, keep)][inside] == pytest.approx(same[inside], abs=1e-3)
    volume = read_volume(tmp_path / "coarse" / "volumes" / "molecule.mrc")
    assert (volume.box_size, volume.pixel_size) == (24, pytest.approx(2 * PIXEL))
    mask = read_volume(tmp_path / "coarse" / "mask.mrc").data
    assert mask.min() == 0 and mask.max() == 1
    assert volume.data[mask > 0.99].sum() > 0.9 * volume.data.sum()


# ---------------------------------- the noise ----------------------------------


@pytest.mark.parametrize("definition", ["pooled", "structure", "image"])
@pytest.mark.parametrize("region", ["box", "circle", "mask"])
def test_the_signal_to_noise_ratio_is_the_one_asked_for(folder, tmp_path, definition, region):
    files = [folder / "molecule.mrc", folder / "blob.mrc"]
    summary = simulate(
        tmp_path, files, 200, snr=0.1, snr_definition=definition, snr_region=region, clean=True
    )
    clean, noisy = stack_of(tmp_path, "particles_clean.mrcs"), stack_of(tmp_path)
    noise = noisy - clean
    classes = numbers(rows_of(tmp_path), "class")[:, 0]
    tolerance = 0.01 if definition != "image" else 0.02
    assert summary["snr"]["native"]["achieved"] == pytest.approx(0.1, rel=tolerance)
    if region == "box":
        groups = {
            "pooled": [classes > 0],
            "structure": [classes == 1, classes == 2],
            "image": np.eye(200, dtype=bool),
        }[definition]
        ratios = [clean[group].var() / noise[group].var() for group in groups]
        assert np.mean(ratios) == pytest.approx(0.1, rel=tolerance)
    sigmas = numbers(rows_of(tmp_path), "sigma")[:, 0]
    assert len(np.unique(sigmas)) == {"pooled": 1, "structure": 2, "image": 200}[definition]
    assert noise.std() == pytest.approx(np.sqrt(np.mean(sigmas**2)), rel=0.01)


def test_cropping_to_half_the_box_raises_the_ratio_about_fourfold(folder, tmp_path):
    options = {"images": 200, "snr": 0.1, "clean": True, "envelope_b": 400.0, "normalise": False}
    whole = simulate(tmp_path / "whole", [folder / "molecule.mrc"], **options)
    half = simulate(tmp_path / "half", [folder / "molecule.mrc"], output_box=24, **options)
    assert half["snr"]["native"]["achieved"] == pytest.approx(0.1, rel=0.01)
    assert half["snr"]["native"]["sigma"] == whole["snr"]["native"]["sigma"]
    clean = stack_of(tmp_path / "half", "particles_clean.mrcs")
    noise = stack_of(tmp_path / "half") - clean
    assert noise.std() == pytest.approx(whole["snr"]["native"]["sigma"] / 2, rel=0.01)
    assert clean.var() / noise.var() == pytest.approx(0.4, rel=0.05)
    assert half["snr"]["output"]["achieved"] == pytest.approx(clean.var() / noise.var(), rel=1e-3)


def test_coloured_noise_has_its_spectrum_and_the_same_variance(folder, tmp_path):
    options = {"snr": 0.1, "clean": True, "noise_color": 1.0, "normalise": False}
    summary = simulate(tmp_path, [folder / "molecule.mrc"], 200, **options)
    noise = stack_of(tmp_path) - stack_of(tmp_path, "particles_clean.mrcs")
    assert noise.std() == pytest.approx(summary["snr"]["native"]["sigma"], rel=0.05)
    power = (np.abs(scipy.fft.fft2(noise)) ** 2).mean(axis=0)
    assert power[0, 4] / power[0, 16] == pytest.approx(4, rel=0.3)


@pytest.mark.parametrize("box", [48, 24])
def test_noise_has_a_deviation_of_one_as_relion_wants_it(folder, tmp_path, box):
    options = {"snr": 0.1, "clean": True, "output_box": box}
    summary = simulate(tmp_path / "one", [folder / "molecule.mrc"], **options)
    raw = simulate(tmp_path / "raw", [folder / "molecule.mrc"], normalise=False, **options)
    noise = stack_of(tmp_path / "one") - stack_of(tmp_path / "one", "particles_clean.mrcs")
    assert noise.std() == pytest.approx(1, rel=0.01)
    assert numbers(rows_of(tmp_path / "one"), "sigma") == pytest.approx(1)
    assert raw["image_scale"] == pytest.approx(48 / box)
    images = stack_of(tmp_path / "raw") * summary["image_scale"] / raw["image_scale"]
    assert stack_of(tmp_path / "one") == pytest.approx(images, abs=1e-4)


def test_images_without_noise_are_the_clean_ones(folder, tmp_path):
    out = tmp_path / "out"
    run_apbc(
        ["simulate", "particles", "--out", out, "--structures", folder / "molecule.mrc"]
        + ["--images", 10, "--no-noise", "--clean", "--threads", 1]
    )
    assert np.array_equal(stack_of(out), stack_of(out, "particles_clean.mrcs"))
    assert read_json(out / "simulation.json")["snr"]["requested"] == "inf"


# ------------------------------- the same again -------------------------------


def test_the_stack_does_not_depend_on_threads_or_blocks(folder, tmp_path):
    files = [folder / "molecule.mrc", folder / "blob.mrc"]
    options = {"images": 70, "snr": 0.2, "junk": 0.3, "contrast_variation": 0.2, "output_box": 32}
    digests = set()
    for name, threads, block in (("a", 1, 70), ("b", 3, 4), ("c", 2, 1)):
        simulate(tmp_path / name, files, threads=threads, block=block, **options)
        made = [tmp_path / name / file for file in ("particles.mrcs", "truth.csv", "ctf.pkl")]
        digests.add(tuple(digest(path) for path in made))
    assert len(digests) == 1
    simulate(tmp_path / "other", files, seed=1, **options)
    assert digest(tmp_path / "other" / "particles.mrcs") not in next(iter(digests))


def test_a_run_that_was_cut_off_goes_on(folder, tmp_path, monkeypatch, caplog):
    files = [folder / "molecule.mrc", folder / "blob.mrc"]
    simulate(tmp_path / "whole", files, 60, clean=True)
    written = []
    write = particle_stack.StackFile.write

    def cut_off(self, image, pixels):
        if len(written) == 80:
            raise KeyboardInterrupt
        written.append(image)
        write(self, image, pixels)

    with monkeypatch.context() as patch:
        patch.setattr(particle_stack, "SECONDS_BETWEEN_STATES", 0.0)
        patch.setattr(particle_stack.StackFile, "write", cut_off)
        with pytest.raises(KeyboardInterrupt):
            simulate(tmp_path / "cut", files, 60, clean=True, block=8)
    assert not (tmp_path / "cut" / "particles.mrcs").exists()
    with pytest.raises(
        ApbcError, match="unfinished simulation that differs in snr; give --restart"
    ):
        simulate(tmp_path / "cut", files, 60, clean=True, snr=0.5)
    caplog.set_level("INFO")
    simulate(tmp_path / "cut", files, 60, clean=True)
    assert "going on after" in caplog.text
    for name in ("particles.mrcs", "particles_clean.mrcs", "truth.csv", "simulation.json"):
        assert digest(tmp_path / "cut" / name) == digest(tmp_path / "whole" / name)
    assert not (tmp_path / "cut" / "particles.partial").exists()


def test_a_finished_simulation_is_kept_and_another_is_refused(folder, tmp_path):
    files = [folder / "molecule.mrc"]
    first = simulate(tmp_path, files, 10)
    before = (tmp_path / "particles.mrcs").stat().st_mtime_ns
    assert simulate(tmp_path, files, 10) == first
    assert (tmp_path / "particles.mrcs").stat().st_mtime_ns == before
    with pytest.raises(ApbcError, match=r"holds a simulation that differs in seed; give --restart"):
        simulate(tmp_path, files, 10, seed=3)
    structures = load_structures([folder / "blob.mrc"])
    simulate_particles(tmp_path, structures, ParticleOptions(12), 1, restart=True)
    assert len(stack_of(tmp_path)) == 12
    assert [path.name for path in (tmp_path / "volumes").iterdir()] == ["blob.mrc"]


# --------------------------------- the files ---------------------------------


def test_files_tell_programs_what_they_need(folder, tmp_path):
    files = [folder / "molecule.mrc", folder / "blob.mrc"]
    out = tmp_path / "out"
    run_apbc(
        ["simulate", "particles", "--out", out, "--structures", *files, "--weights", 3, 1]
        + ["--images", 50, "--junk", 0.2, "--output-box", 32, "--symmetry", "c1", "d2"]
    )
    summary = read_json(out / "simulation.json")
    assert [s["images"] for s in summary["structures"]] == [30, 10]
    assert [s["symmetry"] for s in summary["structures"]] == ["C1", "D2"]
    assert sum(summary["junk"].values()) == 10 and len(summary["junk"]) == 5
    assert summary["pixel_size"] == pytest.approx(4.5) and summary["box_size"] == 32
    with mrcfile.open(out / "particles.mrcs") as mrc:
        assert mrc.is_image_stack() and mrc.data.shape == (50, 32, 32)
        assert mrc.voxel_size.x == pytest.approx(4.5)
    star = read_particles(out / "particles.star")
    places, stacks = star.images
    assert list(places) == list(range(50)) and stacks[0] == out / "particles.mrcs"
    assert star.pixel_size == pytest.approx(4.5)
    truth = rows_of(out)
    classes = numbers(truth, "class")[:, 0]
    assert star.table.numbers("apbcGtClass") == pytest.approx(classes)
    assert sorted(star.table.numbers("rlnRandomSubset")) == [1] * 25 + [2] * 25
    names = {"0": "", "1": "molecule", "2": "blob"}
    assert all(row["structure"] == names[row["class"]] for row in truth)
    assert all((row["junk"] != "") == (row["class"] == "0") for row in truth)
    assert len(set(row["class"] for row in truth[:15])) > 1
    assert read_array_pickle(out / "gt_latents.pkl") == pytest.approx(classes - 1)
    table = read_ctf_pickle(out / "ctf.pkl")
    assert table[0, :2] == pytest.approx([32, 4.5])
    assert table[:, 2:] == pytest.approx(numbers(truth, *COLUMNS), rel=1e-6)


def test_errors_are_told_to_programs_and_the_truth_is_kept(folder, tmp_path):
    options = {"pose_error": 5.0, "shift_error": 2.0, "defocus_error": 300.0}
    simulate(tmp_path / "a", [folder / "molecule.mrc"], 400, snr=NOISELESS, **options)
    simulate(tmp_path / "b", [folder / "molecule.mrc"], 400, snr=NOISELESS)
    assert digest(tmp_path / "a" / "particles.mrcs") == digest(tmp_path / "b" / "particles.mrcs")
    assert digest(tmp_path / "a" / "truth.csv") == digest(tmp_path / "b" / "truth.csv")
    truth = rows_of(tmp_path / "a")
    rotations, translations = read_poses(tmp_path / "a" / "poses.pkl")
    exact = euler_to_matrix(numbers(truth, "rot", "tilt", "psi"))
    cosine = (np.einsum("nij,nij->n", rotations, exact) - 1) / 2
    error = np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))
    # The median of the size of a normal number is 0.674 standard deviations.
    assert np.median(error) == pytest.approx(0.674 * 5, rel=0.15)
    shifts = -translations * 48 * PIXEL - numbers(truth, "shift_x", "shift_y")
    assert shifts.std() == pytest.approx(2, rel=0.1)
    told = read_ctf_pickle(tmp_path / "a" / "ctf.pkl")[:, 2:4]
    change = told - numbers(truth, "defocus_u", "defocus_v")
    assert change.std() == pytest.approx(300, rel=0.15)
    assert change[:, 0] == pytest.approx(change[:, 1], abs=0.01)


def test_without_a_ctf_no_file_tells_of_one(folder, tmp_path):
    simulate(tmp_path, [folder / "molecule.mrc"], 5, ctf=False)
    assert not (tmp_path / "ctf.pkl").exists()
    assert "rlnDefocusU" not in read_particles(tmp_path / "particles.star").table
    assert rows_of(tmp_path)[0]["defocus_u"] == ""


def test_contrast_varies_and_junk_is_no_particle(folder, tmp_path):
    options = {"contrast_variation": 0.3, "junk": 0.5, "clean": True, "ctf": False, "shift": 0.0}
    options["normalise"] = False
    simulate(tmp_path, [folder / "molecule.mrc"], 200, **options)
    truth = rows_of(tmp_path)
    contrast = numbers(truth, "contrast")[:, 0]
    assert contrast.std() == pytest.approx(0.3, rel=0.2)
    clean = stack_of(tmp_path, "particles_clean.mrcs")
    mass = read_volume(folder / "molecule.mrc").data.sum()
    for image, row, factor in zip(clean, truth, contrast, strict=True):
        if not row["junk"]:
            assert image.sum() == pytest.approx(factor * mass, rel=0.1)
        elif row["junk"] == "noise":
            assert not image.any()
        elif row["junk"] == "broken":
            assert image.sum() < 0.9 * factor * mass


def test_junk_of_a_structure_without_particles_has_noise(folder, tmp_path):
    files = [folder / "molecule.mrc", folder / "blob.mrc"]
    structures = load_structures(files, weights=[1, 0.4])
    options = ParticleOptions(5, junk=0.8, snr_definition="structure")
    simulate_particles(tmp_path, structures, options)
    assert np.isfinite(stack_of(tmp_path)).all() and (stack_of(tmp_path).std(axis=(1, 2)) > 0).all()


# ----------------------------------- the CTF -----------------------------------


def test_ctfs_of_real_images_are_taken_once_each(folder, tmp_path):
    simulate(tmp_path / "a", [folder / "molecule.mrc"], 30, snr=NOISELESS)
    source = numbers(rows_of(tmp_path / "a"), *COLUMNS)
    for n, file in enumerate(["particles.star", "ctf.pkl"]):
        out = tmp_path / str(n)
        path = tmp_path / "a" / file
        simulate(out, [folder / "blob.mrc"], 20, snr=NOISELESS, ctf_file=path, output_box=24)
        taken = numbers(rows_of(out), *COLUMNS)
        assert len(np.unique(taken[:, 0])) == 20
        assert all(np.abs(source - row).max(axis=1).min() < 0.01 for row in taken)
        # Box and pixel size of the table are those of the new images.
        assert read_ctf_pickle(out / "ctf.pkl")[0, :2] == pytest.approx([24, 6.0])


def test_too_few_ctfs_are_refused_or_taken_again(folder, tmp_path, caplog):
    simulate(tmp_path / "a", [folder / "molecule.mrc"], 10, snr=NOISELESS)
    path = tmp_path / "a" / "ctf.pkl"
    with pytest.raises(ApbcError, match=r"has 10 CTFs and 25 images are asked for.*--ctf-replace"):
        simulate(tmp_path / "b", [folder / "molecule.mrc"], 25, ctf_file=path)
    taken = choose_ctfs(path, 25, True, np.random.default_rng(0))
    assert taken.shape == (25, 7) and len(np.unique(taken[:, 0])) == 25
    assert "15 are taken again" in caplog.text
    astigmatism = np.round(read_ctfs(path)[:, 0] - read_ctfs(path)[:, 1], 1)
    assert np.isin(np.round(taken[:, 0] - taken[:, 1], 1), astigmatism).all()


# ---------------------------------- the views ----------------------------------


def test_views_are_uniform_or_preferred():
    rng = np.random.default_rng(0)
    matrices = euler_to_matrix(draw_angles(4000, "uniform", rng))
    assert np.abs(matrices.mean(axis=0)).max() < 0.04
    # Of a rotation drawn uniformly, the trace has the mean 0 and the mean square 1.
    trace = np.trace(matrices, axis1=1, axis2=2)
    assert (trace.mean(), (trace**2).mean()) == pytest.approx((0, 1), abs=0.07)
    cosine = np.cos(np.deg2rad(draw_angles(4000, "preferred:10", rng)[:, 1]))
    assert cosine.mean() == pytest.approx(1 / np.tanh(10) - 1 / 10, abs=0.01)
    cosine = np.cos(np.deg2rad(draw_angles(4000, "side:10", rng)[:, 1]))
    assert cosine.mean() == pytest.approx(0, abs=0.02)
    assert cosine.std() == pytest.approx(np.sqrt(1 / 20), rel=0.05)
    assert disturb_angles(np.zeros((3, 3)), 0.0, rng) == pytest.approx(np.zeros((3, 3)))


# ---------------------------------- bad input ----------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"snr": 0.0}, "signal-to-noise ratio must be above 0, not 0"),
        ({"snr": -1.0}, "signal-to-noise ratio must be above 0, not -1"),
        ({"snr": float("nan")}, "signal-to-noise ratio must be above 0"),
        ({"images": 0}, "number of images must be 1 or more"),
        ({"output_box": 64}, "output box must be from 8 pixels to the 48"),
        ({"junk": 1.0}, "leaves no particles"),
        ({"shift": -1.0}, "shift must be 0 or more, not -1"),
        ({"views": "top"}, "there are no views 'top'"),
        ({"views": "side:-2"}, "there are no views 'side:-2'"),
        ({"seed": -1}, "seed must be from 0"),
        ({"optics": Optics((3e4, 1e4))}, "from a smaller to a larger value"),
        ({"optics": Optics(cs=float("nan"))}, "Cs must be a number, not nan"),
        ({"optics": Optics(phase_shift=float("inf"))}, "phase shift must be a number, not inf"),
        ({"optics": Optics(astigmatism=float("inf"))}, "astigmatism must be 0 or more, not inf"),
        ({"threads": 0}, "threads must be 1 or more, not 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(folder, tmp_path, options, sentence):
    with pytest.raises(ApbcError, match=sentence):
        simulate(tmp_path / "out", [folder / "molecule.mrc"], **options)
    assert not (tmp_path / "out").exists()


def test_empty_structures_and_odd_ctfs_are_refused(folder, tmp_path):
    write_volume(tmp_path / "empty.mrc", np.zeros((48, 48, 48)), PIXEL)
    with pytest.raises(ApbcError, match="volume empty is empty"):
        simulate(tmp_path / "out", [tmp_path / "empty.mrc"])
    assert not (tmp_path / "out" / "particles.mrcs").exists()
    with pytest.raises(ApbcError, match="there is no file"):
        simulate(tmp_path / "out", [folder / "blob.mrc"], ctf_file=tmp_path / "none.star")


def test_a_molecule_that_shifts_out_of_its_box_is_told_of(folder, tmp_path, caplog):
    simulate(tmp_path, [folder / "molecule.mrc"], 2, shift=60.0)
    assert "comes back on the other" in caplog.text


def test_a_structure_that_drowns_in_the_noise_of_another_is_told_of(folder, tmp_path, caplog):
    write_volume(tmp_path / "faint.mrc", 0.1 * molecule(48), PIXEL)
    simulate(tmp_path / "out", [folder / "molecule.mrc", tmp_path / "faint.mrc"])
    assert "the signal of faint has" in caplog.text


# --------------------------------- all together ---------------------------------


def test_ten_conformations_take_less_than_a_minute(tmp_path):
    names = [f"hinge:{angle}" for angle in range(-15, 55, 7)]
    start = time.process_time()
    run_apbc(
        ["simulate", "particles", "--out", tmp_path, "--builtin", *names, "--images", 1000]
        + ["--box", 64, "--pixel-size", 4, "--snr", 0.1]
    )
    assert time.process_time() - start < 60
    assert len(list((tmp_path / "volumes").iterdir())) == 10
    assert {s["images"] for s in read_json(tmp_path / "simulation.json")["structures"]} == {100}


@pytest.mark.skipif(
    shutil.which("relion_reconstruct") is None, reason="NO RELION: relion_reconstruct not on PATH"
)
def test_relion_gets_the_structure_back_from_the_images(tmp_path):
    run_apbc(
        ["simulate", "particles", "--out", tmp_path, "--builtin", "antibody:30", "--images", 600]
        + ["--box", 96, "--pixel-size", 3, "--output-box", 48, "--no-noise", "--shift", 5]
    )
    command = ["relion_reconstruct", "--ctf", "--i", "particles.star", "--o", "map.mrc"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    truth = read_volume(tmp_path / "volumes" / "antibody-30.mrc").data
    found = read_volume(tmp_path / "map.mrc").data
    assert fsc(found, truth)[1 : round(0.8 * 24) + 1].min() > 0.9
    # The sign is that of the volume; cropped images keep the sum over the native voxels.
    assert np.polyfit(truth.ravel(), found.ravel(), 1)[0] == pytest.approx(2, abs=0.1)
