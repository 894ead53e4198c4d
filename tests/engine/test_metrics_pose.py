"""Pose error: frames, hands, symmetry, offsets, and tables that do not match."""

import csv
import re
import shutil
import subprocess

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from apbc.errors import ApbcError
from apbc.geometry import matrix_to_euler
from apbc.io.cryodrgn import write_poses
from apbc.io.poses import read_ctf_rows, read_pose_table
from apbc.io.tables import match_rows, read_table
from apbc.metrics.pose_error import Frame, find_frame, pose_errors, random_angle
from apbc.metrics.record import read_record
from apbc.metrics.symmetry import symmetry_matrices
from conftest import run_apbc

MIRROR = np.diag([1.0, 1.0, -1.0])
GROUPS = {"C1": 1, "C4": 4, "D3": 6, "T": 12, "O": 24, "I": 60, "I1": 60, "I3": 60, "I4": 60}


def random_rotations(n, seed=0):
    return Rotation.random(n, random_state=seed).as_matrix()


def turned(n, degrees, seed=1):
    """Rotations by one angle about random axes."""
    axes = np.random.default_rng(seed).normal(size=(n, 3))
    axes /= np.linalg.norm(axes, axis=1)[:, None]
    return Rotation.from_rotvec(np.deg2rad(degrees) * axes).as_matrix()


def errors_of(predicted, true, **options):
    frame = find_frame(predicted, true, options.get("symmetry"))
    return pose_errors(predicted, true, frame, **options)


@pytest.mark.parametrize("name", GROUPS)
def test_groups_are_groups(name):
    group = symmetry_matrices(name)
    assert len(group) == GROUPS[name]
    np.testing.assert_allclose(group[0], np.eye(3))
    np.testing.assert_allclose(np.linalg.det(group), 1)
    products = (group[:, None] @ group[None]).reshape(-1, 1, 9)
    nearest = np.abs(products - group.reshape(1, -1, 9)).max(axis=2).min(axis=1)
    assert nearest.max() < 1e-9


@pytest.mark.skipif(not shutil.which("relion_refine"), reason="NO RELION: relion_refine is missing")
@pytest.mark.parametrize("name", ["C5", "D2", "D7", "T", "O", "I", "I1", "I2", "I3", "I4"])
def test_groups_are_relions(name, tmp_path):
    lines = subprocess.run(
        ["relion_refine", "--sym", name, "--print_symmetry_ops"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    ).stdout.splitlines()
    starts = [i for i, line in enumerate(lines) if re.match(r" R\(\d+\)=", line)]
    theirs = np.array([[row.split() for row in lines[i + 1 : i + 4]] for i in starts], float)
    ours = symmetry_matrices(name)
    assert len(theirs) == len(ours)
    assert np.abs(ours[:, None] - theirs).max(axis=(2, 3)).min(axis=1).max() < 1e-4


def test_unknown_groups_are_told():
    for name in ("X3", "C0", "D", "I5", ""):
        with pytest.raises(ApbcError, match="there is no point group"):
            symmetry_matrices(name)


@pytest.mark.parametrize("mirrored", [False, True])
def test_rotation_and_hand_are_recovered(mirrored):
    true = random_rotations(200)
    frame = random_rotations(1, 7)[0] @ (MIRROR if mirrored else np.eye(3))
    predicted = (MIRROR @ true if mirrored else true) @ frame
    np.testing.assert_allclose(np.linalg.det(predicted), 1)
    errors = errors_of(predicted, true)
    assert errors.frame.mirrored == mirrored
    np.testing.assert_allclose(errors.frame.rotation, frame, atol=1e-9)
    assert errors.angle.max() < 1e-5
    assert errors.direction.max() < 1e-5
    assert errors.frobenius.max() < 1e-12


def test_a_mirrored_map_gives_the_same_images():
    """The model behind the hand: points of the mirrored map land where the true ones do."""
    points = np.random.default_rng(3).normal(size=(3, 20))
    true = random_rotations(1)[0]
    frame = random_rotations(1, 7)[0] @ MIRROR
    predicted = MIRROR @ true @ frame
    of_map = np.linalg.inv(frame) @ points
    np.testing.assert_allclose((predicted @ of_map)[:2], (true @ points)[:2], atol=1e-12)


def test_noise_and_outliers():
    n = 2000
    true = random_rotations(n)
    predicted = turned(n, 10) @ true @ random_rotations(1, 7)[0]
    errors = errors_of(predicted, true)
    assert np.median(errors.angle) == pytest.approx(10, abs=0.3)
    np.testing.assert_allclose(errors.frobenius, 8 * np.sin(np.deg2rad(errors.angle) / 2) ** 2)
    # A third of all poses wrong does not move the frame.
    predicted[::3] = random_rotations(len(predicted[::3]), 9)
    spoiled = errors_of(predicted, true)
    kept = np.arange(n) % 3 > 0
    assert np.median(spoiled.angle[kept]) == pytest.approx(10, abs=0.3)
    assert spoiled.angle[~kept].mean() == pytest.approx(126.5, abs=4)
    # Normal rotation vectors of 4 degrees an axis: the median of Maxwell's distribution.
    noise = Rotation.from_rotvec(np.deg2rad(4) * np.random.default_rng(5).normal(size=(n, 3)))
    errors = errors_of(noise.as_matrix() @ true, true)
    assert np.median(errors.angle) == pytest.approx(4 * 1.5382, rel=0.04)
    # The direction of view turns about two of the three axes: Rayleigh's.
    assert np.median(errors.direction) == pytest.approx(4 * 1.1774, rel=0.05)


def test_in_plane_errors_leave_the_direction():
    true = random_rotations(300)
    in_plane = Rotation.from_euler("z", np.where(np.arange(300) % 4, 0, 30), degrees=True)
    errors = errors_of(in_plane.as_matrix() @ true, true)
    assert errors.direction.max() < 1e-5
    assert errors.angle.max() == pytest.approx(30)
    assert np.median(errors.angle) < 1e-5


@pytest.mark.parametrize("name", ["C4", "D3", "T", "O", "I1", "I4"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_symmetry(name, mirrored):
    n = 300
    group = symmetry_matrices(name)
    true = random_rotations(n)
    chosen = group[np.random.default_rng(2).integers(len(group), size=n)]
    frame = random_rotations(1, 7)[0] @ (MIRROR if mirrored else np.eye(3))
    exact = (MIRROR @ true if mirrored else true) @ chosen @ frame
    errors = errors_of(exact, true, symmetry=group)
    assert errors.angle.max() < 1e-5
    assert errors.direction.max() < 1e-5
    errors = errors_of(turned(n, 3) @ exact, true, symmetry=group)
    assert np.median(errors.angle) == pytest.approx(3, abs=0.35)
    assert np.median(errors_of(exact, true).angle) > 30
    assert random_angle(group) < random_angle() == pytest.approx(126.5, abs=1)


@pytest.mark.parametrize("mirrored", [False, True])
def test_offset_of_the_map_is_exact(mirrored):
    n = 100
    rng = np.random.default_rng(4)
    true, shift = random_rotations(n), rng.normal(size=(n, 2)) * 5
    frame = random_rotations(1, 7)[0] @ (MIRROR if mirrored else np.eye(3))
    predicted = (MIRROR @ true if mirrored else true) @ frame
    offset = np.array([3.0, -2.0, 7.5])
    seen = shift + (true @ offset)[:, :2]
    errors = errors_of(predicted, true, shifts=(seen, shift))
    np.testing.assert_allclose(errors.offset, offset, atol=1e-9)
    assert errors.shift.max() < 1e-9
    fixed = pose_errors(
        true, true, Frame(np.eye(3), False, 0), shifts=(seen, shift), align_shifts=False
    )
    np.testing.assert_allclose(fixed.shift, np.linalg.norm((true @ offset)[:, :2], axis=1))


def test_a_few_images_have_no_frame():
    with pytest.raises(ApbcError, match="3 images are too few"):
        find_frame(random_rotations(3), random_rotations(3, 1))


def write_csv(path, heading, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([heading, *rows])
    return path


def write_star(path, names, rotations, origins):
    angles = matrix_to_euler(rotations)
    rows = [
        f"{name} 1 {' '.join(f'{v:.6f}' for v in (*angle, *origin))}"
        for name, angle, origin in zip(names, angles, origins, strict=True)
    ]
    labels = ["ImageName", "OpticsGroup", "AngleRot", "AngleTilt", "AnglePsi"]
    labels += ["OriginXAngst", "OriginYAngst"]
    path.write_text(
        "data_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnImagePixelSize #2\n_rlnImageSize #3\n"
        "1 2.0 64\n\ndata_particles\n\nloop_\n"
        + "".join(f"_rln{label} #{i}\n" for i, label in enumerate(labels, 1))
        + "\n".join(rows)
        + "\n"
    )
    return path


@pytest.fixture
def study(tmp_path):
    """Truth of two structures and junk, and predictions, each class in a frame of its own."""
    rng = np.random.default_rng(0)
    n = 120
    classes = np.array([1, 2] * 55 + [0] * 10)
    true, shift = random_rotations(n), rng.normal(size=(n, 2)) * 4
    angles = matrix_to_euler(true)
    rows = [
        (i + 1, classes[i], *angles[i], *shift[i], "junk" if classes[i] == 0 else "")
        for i in range(n)
    ]
    heading = ("image", "class", "rot", "tilt", "psi", "shift_x", "shift_y", "junk")
    truth = write_csv(tmp_path / "truth.csv", heading, rows)
    frames = random_rotations(3, 11)
    predicted = true @ frames[classes]
    predicted[classes == 2] = (MIRROR @ true @ MIRROR @ frames[2])[classes == 2]
    offsets = np.array([[0, 0, 0], [5, 0, -3], [1, 2, 3.0]])
    seen = shift + np.einsum("nij,nj->ni", true, offsets[classes])[:, :2]
    order = rng.permutation(n)
    names = [f"{i + 1:06d}@Runs/000007/extra/particles.mrcs" for i in order]
    star = write_star(tmp_path / "refined.star", names, predicted[order], -seen[order])
    write_poses(tmp_path / "poses.pkl", predicted, -seen / 64)
    return tmp_path, truth, star


def test_pose_verb(study):
    folder, truth, star = study
    out = folder / "out"
    run_apbc(["metrics", "pose", star, truth, "--labels", truth, "--name", "refined", "--out", out])
    record = read_record(out)
    assert (record.metric, record.name) == ("pose", "refined")
    figures = record.figures
    assert figures["images"] == 110
    assert figures["junk_left_out"] == 10
    assert figures["classes"] == 2
    assert figures["mirrored_classes"] == 1
    # The star file has six decimals.
    assert figures["angle_deg_mean"] < 1e-4
    assert figures["shift_angstrom_mean"] < 1e-4
    assert figures["angle_deg_random"] == pytest.approx(126.5, abs=1)
    images, classes = read_table(out / "images.csv"), read_table(out / "classes.csv")
    assert len(images) == 110
    assert set(images.text("class")) == {"1", "2"}
    offset = classes.numbers("offset_x_angstrom", "offset_y_angstrom", "offset_z_angstrom")
    np.testing.assert_allclose(offset, [[5, 0, -3], [1, 2, 3]], atol=1e-4)
    assert (out / "pose_error.png").read_bytes()[:4] == b"\x89PNG"
    # One frame for both structures cannot be right.
    run_apbc(["metrics", "pose", star, truth, "--out", out])
    assert read_record(out).figures["angle_deg_class_median"] > 20


def test_pickles_go_by_order(study):
    folder, truth, _ = study
    out = folder / "out"
    words = ["metrics", "pose", folder / "poses.pkl", truth, "--labels", truth, "--out", out]
    run_apbc([*words, "--box-length", 64])
    assert read_record(out).figures["shift_angstrom_median"] < 1e-4
    run_apbc(words)
    assert "shift_angstrom_median" not in read_record(out).figures
    (folder / "simulation.json").write_text('{"box_size": 32, "pixel_size": 2.0}')
    run_apbc(words)
    assert read_record(out).figures["shift_angstrom_median"] < 1e-4


def test_symmetry_of_each_structure(study, caplog):
    folder, truth, star = study
    table = write_csv(folder / "symmetry.csv", ("class", "symmetry"), [(1, "D2"), (2, "C1")])
    out = folder / "out"
    words = ["metrics", "pose", star, truth, "--labels", truth, "--out", out]
    run_apbc([*words, "--symmetry-table", table])
    assert read_record(out).figures["angle_deg_mean"] < 1e-4
    assert read_table(out / "classes.csv").text("symmetry") == ["D2", "C1"]
    run_apbc([*words, "--symmetry-table", table, "--frames", "common"], expect=1)
    (folder / "simulation.json").write_text(
        '{"structures": [{"class": 1, "symmetry": "D2"}, {"class": 2, "symmetry": "C1"}]}'
    )
    run_apbc([*words, "--symmetry-table", folder / "simulation.json"])
    assert read_table(out / "classes.csv").text("symmetry") == ["D2", "C1"]
    assert "equivalent poses" not in caplog.text
    run_apbc(words)
    assert "has the symmetry D2, and equivalent poses count as wrong" in caplog.text
    write_csv(table, ("class", "symmetry"), [(1, "D2")])
    run_apbc([*words, "--symmetry-table", table], expect=1)


def told(capsys):
    text = capsys.readouterr().err
    assert text.count("apbc: error:") == 1
    return text


def test_images_that_do_not_match_are_named(study, capsys):
    folder, truth, star = study
    lines = star.read_text().splitlines()
    (folder / "fewer.star").write_text("\n".join(lines[:-2]) + "\n")
    words = ["--out", folder / "out"]
    run_apbc(["metrics", "pose", folder / "fewer.star", truth, *words], expect=1)
    missing = [int(line.split("@")[0]) for line in lines[-2:]]
    text = told(capsys)
    assert "2 images (" in text
    assert all(re.search(rf"\b{i}\b", text) for i in missing)
    assert "--subset" in text
    run_apbc(["metrics", "pose", folder / "fewer.star", truth, "--subset", *words])
    (folder / "twice.star").write_text("\n".join([*lines, lines[-1]]) + "\n")
    run_apbc(["metrics", "pose", folder / "twice.star", truth, *words], expect=1)
    assert "twice" in told(capsys)
    other = lines[-1].replace(lines[-1].split("@")[0] + "@", "000999@")
    (folder / "other.star").write_text("\n".join([*lines, other]) + "\n")
    run_apbc(["metrics", "pose", folder / "other.star", truth, *words], expect=1)
    assert "image 000999@Runs/000007/extra/particles.mrcs" in told(capsys)


def test_bad_tables_are_told(study, capsys):
    folder, truth, star = study
    words = ["--out", folder / "out"]
    write_csv(folder / "few.csv", ("image", "class"), [(1, 1), (2, 2)])
    run_apbc(["metrics", "pose", star, truth, "--labels", folder / "few.csv", *words], expect=1)
    assert re.search(r"118 images \(\d+, \d+, \d+, \.\.\.\) of .* are not in", told(capsys))
    write_csv(folder / "empty.csv", ("image", "rot", "tilt", "psi"), [])
    run_apbc(["metrics", "pose", star, folder / "empty.csv", *words], expect=1)
    assert "no rows" in told(capsys)
    write_csv(folder / "nan.csv", ("image", "rot", "tilt", "psi"), [(5, 1, "nan", 2)])
    run_apbc(["metrics", "pose", star, folder / "nan.csv", *words], expect=1)
    assert "row 1 (id 5)" in told(capsys)
    rows = [(i + 1, 1 if i < 118 else 2) for i in range(120)]
    write_csv(folder / "rare.csv", ("image", "class"), rows)
    run_apbc(["metrics", "pose", star, truth, "--labels", folder / "rare.csv", *words], expect=1)
    assert "class 2 has 2 images" in told(capsys)
    run_apbc(["metrics", "pose", star, truth, "--symmetry", "Q", *words], expect=1)
    assert "no point group" in told(capsys)


def test_match_rows():
    names = ("A", "B")
    rows, others = match_rows(["2", "1"], ["1@x.mrcs", "000002@y/x.mrcs"], (2, 2), names)
    np.testing.assert_array_equal(others, [1, 0])
    np.testing.assert_array_equal(rows, [0, 1])
    rows, others = match_rows(None, ["a", "b"], (2, 2), names)
    np.testing.assert_array_equal(others, [0, 1])
    with pytest.raises(ApbcError, match="A has 3 rows and B 2"):
        match_rows(None, ["a", "b"], (3, 2), names)
    with pytest.raises(ApbcError, match="2 stacks"):
        match_rows(["1", "2"], ["1@x.mrcs", "1@y.mrcs"], (2, 2), names)
    two = ["1@x.mrcs", "1@y.mrcs"]
    np.testing.assert_array_equal(match_rows(two[::-1], two, (2, 2), names)[1], [1, 0])


def test_ctf_rows_of_all_files(study):
    folder, truth, _ = study
    from apbc.io.cryodrgn import write_ctf_pickle

    rows = np.tile([64, 2.0, 12000, 11800, 15, 300, 2.7, 0.1, 0], (3, 1))
    write_ctf_pickle(folder / "ctf.pkl", rows)
    ids, found = read_ctf_rows(folder / "ctf.pkl")
    assert ids is None
    np.testing.assert_allclose(found, rows[:, 2:], rtol=1e-6)
    write_csv(folder / "ctf.csv", ("id", "defocus_u", "defocus_v"), [(1, 9000, 8000)])
    ids, found = read_ctf_rows(folder / "ctf.csv")
    assert ids == ["1"]
    np.testing.assert_array_equal(found, [[9000, 8000]])
    with pytest.raises(ApbcError, match="no column defocus_u"):
        read_ctf_rows(truth)


def test_poses_of_other_files_are_refused(tmp_path):
    (tmp_path / "poses.txt").write_text("1 2 3\n")
    with pytest.raises(ApbcError, match="no table of poses"):
        read_pose_table(tmp_path / "poses.txt")
