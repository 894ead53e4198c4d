import csv
import json

import numpy as np
import pytest
from density import chain
from scipy.spatial.transform import Rotation

from apbc.commands.main import main
from apbc.errors import ApbcError
from apbc.io.volumes import Volume, read_volume, write_volume
from apbc.metrics.fsc import (
    RULES,
    FscCurve,
    VolumeTransform,
    fourier_shell_correlation,
    shell_correlation,
)
from apbc.metrics.fsc_pairs import choose_pairs, pairs_by_order, read_pairs, stratified_choice
from apbc.metrics.mask import difference_mask, soft_mask
from apbc.metrics.record import read_record
from conftest import run_apbc


def noise(seed, box=32):
    return np.random.default_rng(seed).normal(size=(box, box, box)).astype(np.float32)


def literal(a, b, shells):
    """FSC by a loop over shells, each a function of the length of the frequency."""
    box = len(a)
    z, y, x = np.meshgrid(*[np.fft.fftshift(np.fft.fftfreq(box, 1 / box))] * 3, indexing="ij")
    length = np.sqrt(x**2 + y**2 + z**2)
    a, b = (np.fft.fftshift(np.fft.fftn(v.astype(float))) for v in (a, b))
    found = []
    for shell in shells(length):
        one, two = a[shell], b[shell]
        found.append((np.vdot(one, two) / np.sqrt(np.vdot(one, one) * np.vdot(two, two))).real)
    return np.array(found)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("box", [31, 32])
def test_a_volume_agrees_with_itself(rule, box):
    curve = fourier_shell_correlation(noise(0, box), noise(0, box), 2.0, rule=rule)
    np.testing.assert_allclose(curve.values, 1, atol=1e-12)
    assert curve.auc_over_ceiling == pytest.approx(1)
    assert fourier_shell_correlation(noise(0), -noise(0), 2.0).auc == 0


def test_independent_noise_does_not_agree():
    box, pairs = 32, 20
    z, y, x = np.meshgrid(*[np.fft.fftfreq(box, 1 / box)] * 3, indexing="ij")
    sizes = np.bincount(np.rint(np.sqrt(x**2 + y**2 + z**2)).astype(int).ravel())
    found = [
        fourier_shell_correlation(noise(2 * i), noise(2 * i + 1), 2.0).values for i in range(pairs)
    ]
    # In deviations: half of the coefficients of a shell are independent, each with two parts.
    deviations = np.array(found) * np.sqrt(sizes[1 : box // 2 + 1])
    assert np.all(np.abs(deviations.mean(axis=0)) < 3 / np.sqrt(pairs))
    assert deviations.std() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("box", [31, 32])
def test_both_rules_equal_a_literal_loop_over_shells(box):
    a = noise(3, box)
    b = a + noise(4, box)

    def nearest(length):
        return (np.rint(length) == i for i in range(1, box // 2 + 1))

    def cryobench(length):
        return ((length >= i - 1) & (length < i) for i in range(1, box // 2))

    curve = fourier_shell_correlation(a, b, 1.0)
    np.testing.assert_allclose(curve.values, literal(a, b, nearest), atol=1e-6)
    np.testing.assert_allclose(curve.cycles_per_pixel, np.arange(1, box // 2 + 1) / box)
    compat = fourier_shell_correlation(a, b, 1.0, rule="cryobench")
    assert compat.values[0] == 1
    np.testing.assert_allclose(compat.values[1:], literal(a, b, cryobench), atol=1e-6)
    np.testing.assert_allclose(compat.cycles_per_pixel, np.arange(box // 2) / box)


@pytest.mark.parametrize("rule", RULES)
def test_the_largest_area_at_128_is_63_of_128(rule):
    transform = VolumeTransform(noise(5, 128))
    curve = FscCurve(shell_correlation(transform, transform, rule), 128, 3.0, rule)
    assert curve.auc == pytest.approx(63 / 128) == pytest.approx(0.4922, abs=5e-5)
    assert curve.ceiling == pytest.approx(63 / 128)
    assert curve.auc_per_angstrom == pytest.approx(63 / 128 / 3)


def test_negative_values_are_kept_and_count_as_the_rule_says():
    values = np.array([1.0, 0.5, -0.5, -0.5])
    assert FscCurve(values, 8, 1.0).auc == pytest.approx((0.75 + 0.25) / 8)
    assert FscCurve(values, 8, 1.0, "cryobench").auc == pytest.approx((0.75 + 0.5 + 0.5) / 8)


def test_resolution_is_interpolated_or_that_of_a_shell():
    # Frequencies 1/16 to 8/16 cycles per pixel of 2 Å; 0.5 is crossed in the middle of 3 and 4.
    values = np.array([1, 0.9, 0.8, 0.2, 0.1, 0.1, 0.1, 0.1])
    found = FscCurve(values, 16, 2.0).resolution(0.5)
    assert found.angstrom == pytest.approx(2 * 16 / 3.5) and not found.beyond_nyquist
    above = FscCurve(np.full(8, 0.6), 16, 2.0).resolution(0.5)
    assert np.isnan(above.angstrom) and above.beyond_nyquist
    below = FscCurve(np.full(8, 0.4), 16, 2.0).resolution(0.5)
    assert np.isnan(below.angstrom) and not below.beyond_nyquist
    compat = FscCurve(np.array([1, 1, 0.9, 0.4, 0.1, 0, 0, 0]), 16, 2.0, "cryobench")
    assert compat.resolution(0.5).angstrom == pytest.approx(2 * 16 / 3)
    never = FscCurve(np.ones(8), 16, 2.0, "cryobench").resolution(0.5)
    assert never.angstrom == pytest.approx(4) and never.beyond_nyquist


def test_shells_without_power_agree_with_nothing():
    wave = np.cos(2 * np.pi * 3 * np.arange(16) / 16) * np.ones((16, 16, 1))
    curve = fourier_shell_correlation(wave, noise(0, 16), 1.0)
    assert np.all(np.isfinite(curve.values)) and abs(curve.values[6]) < 1
    assert not fourier_shell_correlation(np.zeros((16, 16, 16)), noise(0, 16), 1.0).values.any()


def test_one_mask_is_put_on_both():
    inside = np.zeros((32, 32, 32), np.float32)
    inside[10:22, 10:22, 10:22] = 1
    a, b = noise(6), noise(7)
    b[inside > 0] = a[inside > 0]
    assert fourier_shell_correlation(a, b, 1.0).auc_over_ceiling < 0.3
    assert fourier_shell_correlation(a, b, 1.0, inside).auc_over_ceiling == pytest.approx(1)


def test_the_difference_mask_holds_what_moves_and_not_what_stays():
    still = chain(0, 32, spread=0.08, shift=(-8, 0, 0))
    volumes = [Volume(still + chain(1, 32, spread=0.04, shift=(7, y, 0)), 1.0) for y in (-4, 0, 4)]
    mask = difference_mask(volumes)
    assert mask[16, 16, 23] == mask[16, 12, 23] == mask[16, 20, 23] == 1
    assert mask[16, 16, 5] == 0
    assert mask.min() == 0 and 0 < np.mean((mask > 0) & (mask < 1))
    with pytest.raises(ApbcError, match="there is 1"):
        difference_mask(volumes[:1])
    with pytest.raises(ApbcError, match="all the same"):
        difference_mask([volumes[0], volumes[0]])


def test_a_soft_mask_falls_as_a_cosine():
    core = np.zeros((21, 21, 21), bool)
    core[10, 10, 10] = True
    line = soft_mask(core, margin=2, edge=4)[10, 10, 10:]
    np.testing.assert_allclose(line[:8], [1, 1, 1, 0.853553, 0.5, 0.146447, 0, 0], atol=1e-5)


def test_the_choice_keeps_the_shares_of_classes_and_every_class():
    classes = ["a"] * 600 + ["b"] * 300 + ["c"] * 97 + ["d"] * 3
    chosen = stratified_choice(classes, 100, seed=3)
    assert len(set(chosen)) == 100
    counts = {name: sum(classes[i] == name for i in chosen) for name in "abcd"}
    assert counts["d"] == 1 and counts["c"] in (9, 10)
    assert abs(counts["a"] - 60) <= 1 and abs(counts["b"] - 30) <= 1
    np.testing.assert_array_equal(chosen, stratified_choice(classes, 100, seed=3))
    assert set(chosen) != set(stratified_choice(classes, 100, seed=4))
    # 16 classes of 100 images, 100 of them: 101 in the original, and the first of each class.
    assert len(stratified_choice(np.repeat(np.arange(16), 100), 100)) == 100
    np.testing.assert_array_equal(stratified_choice(["x", "y"], 10), [0, 1])
    assert len(stratified_choice(["x", "y", "z"], 2)) == 2


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory):
    """Ground truth of two conformations, three noisy volumes of the first, one of the second."""
    folder = tmp_path_factory.mktemp("ensemble")
    rows = ["volume,reference,class,image,weight"]
    still = chain(0, 32, spread=0.1)
    for number, (y, strengths) in enumerate([(-4, (0.1, 0.2, 0.3)), (5, (0.4,))], start=1):
        truth = still + chain(1, 32, spread=0.04, shift=(9, y, 0))
        write_volume(folder / f"truth_{number}.mrc", truth, 3.0)
        for strength in strengths:
            name = f"volume_{len(rows)}.mrc"
            noisy = truth + strength * truth.std() * noise(len(rows))
            write_volume(folder / name, noisy, 3.0)
            weight = 10 if number == 1 else 90
            rows.append(f"{name},truth_{number}.mrc,{number},{len(rows)},{weight}")
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    return folder


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_command_measures_every_pair(ensemble, tmp_path, capsys):
    words = ["metrics", "fsc", ensemble / "pairs.csv", "--kind", "image", "--local"]
    run_apbc([*words, "--name", "mine", "--out", tmp_path])
    record = read_record(tmp_path)
    assert (record.metric, record.name, record.tables[0]) == ("fsc", "mine", "pairs.csv")
    assert (tmp_path / record.pictures[0]).read_bytes()[:4] == b"\x89PNG"
    rows = rows_of(tmp_path / "pairs.csv")
    assert [row["class"] for row in rows] == ["1", "1", "1", "2"]
    assert {row["status"] for row in rows} == {"ok"}
    areas = np.array([float(row["auc"]) for row in rows])
    assert np.all(np.diff(areas) < 0)
    for row, area in zip(rows, areas, strict=True):
        a, b = (read_volume(row[key]) for key in ("volume", "reference"))
        curve = fourier_shell_correlation(a.data, b.data, 3.0)
        assert area == pytest.approx(curve.auc, rel=1e-5)
        assert float(row["res_0.5"]) == pytest.approx(curve.resolution(0.5).angstrom, rel=1e-5)
        compat = fourier_shell_correlation(a.data, b.data, 3.0, rule="cryobench")
        assert float(row["auc_cryobench"]) == pytest.approx(compat.auc, rel=1e-5)
    figures = record.figures
    assert figures["auc_mean"] == pytest.approx(areas.mean(), rel=1e-5)
    assert figures["auc_sd"] == pytest.approx(areas.std(ddof=1), rel=1e-4)
    assert figures["auc_median"] == pytest.approx(np.median(areas), rel=1e-5)
    assert figures["auc_image_weighted"] == pytest.approx(areas @ [10, 10, 10, 90] / 120, rel=1e-5)
    balanced = (areas[:3].mean() + areas[3]) / 2
    assert figures["auc_class_balanced"] == pytest.approx(balanced, rel=1e-5)
    assert 0 < figures["auc_local_mean"] < 0.5
    curves = rows_of(tmp_path / "curves.csv")
    assert len(curves) == 16 and list(curves[0])[:2] == ["frequency_1_A", "1_volume_1"]
    assert float(curves[-1]["frequency_1_A"]) == pytest.approx(1 / 6)
    assert "auc_mean" in capsys.readouterr().out


def test_the_local_area_sees_a_blurred_domain_that_the_whole_hides(tmp_path):
    still = chain(0, 48, spread=0.1, shift=(-9, 0, 0))
    truths = [still + 0.4 * chain(1, 48, spread=0.05, shift=(14, y, 0)) for y in (-6, 6)]
    for number, truth in enumerate(truths):
        write_volume(tmp_path / f"truth_{number}.mrc", truth, 3.0)
        write_volume(tmp_path / f"blurred_{number}.mrc", np.mean(truths, axis=0), 3.0)
    volumes = [tmp_path / "blurred_0.mrc", tmp_path / "blurred_1.mrc"]
    references = [tmp_path / "truth_0.mrc", tmp_path / "truth_1.mrc"]
    words = ["metrics", "fsc", "--volumes", *volumes, "--references", *references, "--local"]
    run_apbc([*words, "--out", tmp_path / "out"])
    figures = read_record(tmp_path / "out").figures
    assert figures["auc_over_ceiling_mean"] > 0.9
    assert figures["auc_local_over_ceiling_mean"] < figures["auc_over_ceiling_mean"] - 0.1


def test_some_images_stand_for_all(ensemble, tmp_path, capsys):
    pairs = read_pairs(ensemble / "pairs.csv")
    chosen = choose_pairs(pairs, 2, seed=3)
    assert [pair.label for pair in chosen] == ["1", "2"]
    # Class 1 has three images of weight 10, of which one is left.
    assert [pair.weight for pair in chosen] == [30, 90]
    assert choose_pairs(pairs, 9) == pairs
    assert {choose_pairs(pairs, 2, seed)[0].image for seed in range(20)} == {"1", "2", "3"}
    words = ["metrics", "fsc", ensemble / "pairs.csv", "--images", 2, "--out", tmp_path / "out"]
    run_apbc([*words, "--kind", "image", "--seed", 3])
    images = [row["image"] for row in rows_of(tmp_path / "out" / "pairs.csv")]
    assert images == [pair.image for pair in chosen]
    assert "add --kind image" in refused(words, capsys)
    words[4] = 0
    assert "--images 0 leaves nothing" in refused([*words, "--kind", "image"], capsys)


def test_one_volume_is_measured_as_cryobench_does(ensemble, tmp_path):
    words = ["metrics", "fsc", "--volumes", ensemble / "volume_1.mrc"]
    words += ["--references", ensemble / "truth_1.mrc", "--compat", "--out", tmp_path]
    run_apbc(words)
    figures = json.loads((tmp_path / "metrics.json").read_text())["figures"]
    assert figures["pairs"] == 1 and figures["auc_sd"] is None
    assert figures["auc_mean"] == figures["auc_cryobench_mean"]
    assert len(rows_of(tmp_path / "curves.csv")) == 16


def test_unaligned_volumes_are_told_and_aligned_on_request(tmp_path, caplog):
    rotation = Rotation.random(random_state=4).as_matrix()
    write_volume(tmp_path / "truth.mrc", chain(4, 48), 3.0)
    turned = chain(4, 48, rotation=rotation, shift=(3, -2, 1), mirror=True)
    write_volume(tmp_path / "turned.mrc", turned, 3.0)
    words = ["metrics", "fsc", "--volumes", tmp_path / "turned.mrc"]
    words += ["--references", tmp_path / "truth.mrc", "--out", tmp_path / "out"]
    run_apbc(words)
    assert rows_of(tmp_path / "out" / "pairs.csv")[0]["status"] == "may not be aligned"
    assert "may not be aligned" in caplog.text
    run_apbc([*words, "--align", "--mirror", "--keep-aligned"])
    (row,) = rows_of(tmp_path / "out" / "pairs.csv")
    assert (row["status"], row["aligned"], row["mirrored"]) == ("ok", "1", "1")
    assert float(row["auc_unaligned"]) < 0.06 < 0.4 < float(row["auc"])
    aligned = read_volume(tmp_path / "out" / "aligned" / "turned.mrc")
    truth = read_volume(tmp_path / "truth.mrc")
    assert fourier_shell_correlation(aligned.data, truth.data, 3.0).auc > 0.4


def test_a_map_without_anything_is_told(ensemble, tmp_path, caplog):
    """Relion writes such for a class that has lost all its images."""
    write_volume(tmp_path / "lost.mrc", np.zeros((32, 32, 32)), 3.0)
    words = ["metrics", "fsc", "--volumes", tmp_path / "lost.mrc"]
    run_apbc([*words, "--references", ensemble / "truth_1.mrc", "--out", tmp_path / "out"])
    (row,) = rows_of(tmp_path / "out" / "pairs.csv")
    assert (row["status"], float(row["auc"])) == ("empty", 0)
    assert "0 everywhere" in caplog.text and "--align" not in caplog.text
    assert read_record(tmp_path / "out").figures["perhaps_not_aligned"] == 0


def refused(words, capsys):
    assert main([str(word) for word in words]) == 1
    (line,) = [one for one in capsys.readouterr().err.splitlines() if "apbc: error" in one]
    return line


def test_volumes_without_a_partner_are_named(ensemble, tmp_path, capsys):
    volumes = [ensemble / "volume_1.mrc", ensemble / "volume_2.mrc"]
    with pytest.raises(ApbcError, match=r"volume_2\.mrc has no partner"):
        pairs_by_order(volumes, volumes[:1])
    table = tmp_path / "pairs.csv"
    table.write_text("volume,reference\na.mrc,\n")
    with pytest.raises(ApbcError, match=r"row 1 .*a\.mrc\) has no reference"):
        read_pairs(table)
    table.write_text("volume,truth\na.mrc,b.mrc\n")
    with pytest.raises(ApbcError, match="no column reference"):
        read_pairs(table)
    table.write_text(f"volume,reference\n{volumes[0]},missing.mrc\n")
    told = refused(["metrics", "fsc", table, "--out", tmp_path / "out"], capsys)
    assert f"there is no file {tmp_path / 'missing.mrc'}" in told
    table.write_text(f"volume,reference,weight\n{volumes[0]},{volumes[1]},0\n")
    with pytest.raises(ApbcError, match=r"row 1 .* weight of 0"):
        read_pairs(table)
    assert "nothing to compare" in refused(["metrics", "fsc", "--out", tmp_path / "out"], capsys)
    assert not (tmp_path / "out").exists()


def test_grids_that_differ_are_named(ensemble, tmp_path, capsys):
    good = ensemble / "truth_1.mrc"
    cases = {
        "has a box of": (noise(0, 24), 3.0),
        "bring them to one pixel size": (noise(0, 32), 3.3),
        "must be cubic": (np.zeros((32, 32, 30), np.float32), 3.0),
        "finite": (np.full((32, 32, 32), np.nan), 3.0),
    }
    for told, (data, pixel_size) in cases.items():
        write_volume(tmp_path / "odd.mrc", data, pixel_size)
        words = ["metrics", "fsc", "--volumes", tmp_path / "odd.mrc", "--references", good]
        line = refused([*words, "--out", tmp_path / "out"], capsys)
        assert told in line and "odd.mrc" in line
        assert not (tmp_path / "out" / "metrics.json").exists()


def test_a_mask_of_another_kind_is_refused(ensemble, tmp_path, capsys):
    words = ["metrics", "fsc", ensemble / "pairs.csv", "--out", tmp_path / "out", "--mask"]
    mask = tmp_path / "mask.mrc"
    write_volume(mask, np.full((32, 32, 32), 5.0), 3.0)
    assert "a mask goes from 0 to 1" in refused([*words, mask], capsys)
    write_volume(mask, np.zeros((32, 32, 32)), 3.0)
    assert "0 everywhere" in refused([*words, mask], capsys)
    write_volume(mask, np.ones((24, 24, 24)), 3.0)
    assert "box of" in refused([*words, mask], capsys)
    write_volume(mask, np.ones((32, 32, 32)), 3.0)
    run_apbc([*words, mask])
