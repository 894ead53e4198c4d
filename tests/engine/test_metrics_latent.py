"""Neighbourhood similarity, information imbalance, clusters and pictures of latent spaces."""

import csv
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from apbc.errors import ApbcError
from apbc.io.cryodrgn import write_array_pickle
from apbc.io.latents import read_labels, read_latents
from apbc.io.tables import read_table
from apbc.metrics.clusters import agreement
from apbc.metrics.imbalance import (
    distinct_rows,
    information_imbalance,
    measure_imbalance,
    perfect_imbalance,
    smeared,
)
from apbc.metrics.neighbours import neighbourhood_similarity, similarity_of_subsets
from apbc.metrics.ranks import Neighbours
from apbc.metrics.record import read_record
from conftest import run_apbc


def noise(n, dimensions, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dimensions))


def nearest(points, count):
    """Neighbours by the plain way: all distances, a stable argsort a point."""
    found = []
    for i, point in enumerate(points):
        squared = ((points - point) ** 2).sum(axis=1)
        squared[i] = np.inf
        found.append(np.argsort(squared, kind="stable")[:count])
    return np.array(found)


def all_blocks(neighbours):
    return np.concatenate([neighbours.block(rows) for rows in neighbours.blocks()])


def test_neighbours_are_those_of_the_plain_way(monkeypatch):
    monkeypatch.setattr("apbc.metrics.ranks.BLOCK_VALUES", 7000)
    points = 50 + noise(600, 5)
    found = all_blocks(Neighbours(points, 40, 0))
    assert (found == nearest(points, 40)).mean() > 0.9999
    # Whole numbers have exact distances, and ties go by order.
    grid = np.random.default_rng(1).integers(0, 4, (300, 2)).astype(float)
    np.testing.assert_array_equal(all_blocks(Neighbours(grid, 299, None)), nearest(grid, 299))


def test_ties_are_broken_at_random():
    labels = np.repeat(np.eye(3), 40, axis=0)
    first, again = (all_blocks(Neighbours(labels, 10, seed)) for seed in (0, 1))
    assert (first // 40 == np.arange(120)[:, None] // 40).all()
    assert (first != np.arange(120)[:, None]).all()
    assert all(len(set(row)) == 10 for row in first)
    # Every image of the class is met about as often.
    counts = np.bincount(np.concatenate([first, again]).ravel(), minlength=120)
    assert counts.min() > 4
    np.testing.assert_array_equal(first, all_blocks(Neighbours(labels, 10, 0)))


def test_similarity_of_a_space_with_itself_and_with_noise():
    n, sizes = 1000, [10, 50, 200, 999 // 2]
    points = noise(n, 3)
    same = neighbourhood_similarity(points, points * 5 + 3, sizes)
    np.testing.assert_array_equal(same.similarity, 100)
    np.testing.assert_array_equal(same.ceiling, 100)
    # Images are not independent of each other, so the spread is that of many draws.
    few = points[:300]
    draws = [neighbourhood_similarity(few, noise(300, 8, i), [3, 15, 60]) for i in range(20)]
    shares = np.array([draw.similarity for draw in draws]) / 100
    expected = draws[0].counts / 299
    error = shares.std(axis=0, ddof=1) / np.sqrt(len(draws))
    assert (np.abs(shares.mean(axis=0) - expected) < 3 * error).all()
    np.testing.assert_allclose(draws[0].random, 100 * expected)


def test_similarity_equals_the_plain_count():
    truth, latents = noise(300, 2), noise(300, 2) + 0.3 * noise(300, 2, 5)
    found = neighbourhood_similarity(truth, latents, [5, 20, 100])
    for place, k in enumerate(found.counts):
        pairs = zip(nearest(truth, k), nearest(latents, k), strict=True)
        shared = [len(set(a) & set(b)) / k for a, b in pairs]
        np.testing.assert_allclose(found.per_point[:, place], 100 * np.array(shared), rtol=1e-6)
    assert found.similarity[0] == pytest.approx(found.per_point[:, 0].mean())


def test_ties_of_the_truth_lower_the_ceiling():
    size, classes = 100, 5
    labels = np.repeat(np.eye(classes), size, axis=0)
    found = neighbourhood_similarity(labels, labels + 0.01 * noise(500, classes), [10, 50, 99])
    expected = 100 * found.counts / (size - 1)
    np.testing.assert_allclose(found.similarity, expected, atol=1.5)
    np.testing.assert_allclose(found.ceiling, expected, atol=1.5)
    assert found.similarity[-1] == found.ceiling[-1] == 100
    # A latent space with the same ties is no better than that.
    tied = neighbourhood_similarity(labels, labels, [10, 50, 99])
    np.testing.assert_allclose(tied.similarity, expected, atol=1.5)
    scores = similarity_of_subsets(labels, labels + 0.01 * noise(500, classes), subsets=2).scores()
    np.testing.assert_allclose(scores, 1, atol=0.05)


def test_compat_counts_oneself_and_goes_by_order():
    labels = np.repeat(np.eye(5), 20, axis=0)
    found = neighbourhood_similarity(labels, labels, [1, 7, 20], compat=True)
    np.testing.assert_array_equal(found.similarity, 100)
    np.testing.assert_allclose(found.random, [1, 7, 20])
    apart = neighbourhood_similarity(noise(500, 2), noise(500, 2, 1), [1, 10], compat=True)
    assert apart.similarity[0] == 100
    assert apart.similarity[1] == pytest.approx(10 + 90 * 9 / 499, abs=1)


def test_subsets_and_too_few_points():
    truth = np.repeat(noise(5, 2), 40, axis=0)
    # Images that take turns leave one structure to a subset, unless they are shuffled.
    turns = np.arange(200).reshape(5, 40).T.ravel()
    found = similarity_of_subsets(truth[turns], truth[turns] + 0.01 * noise(200, 2, 3))
    assert len(found.parts) == 5
    assert sorted(np.concatenate(found.rows)) == list(range(200))
    assert (found.mean("ceiling")[:3] < 90).all()
    with pytest.raises(ApbcError, match="99 images in 5 subsets make 19 each"):
        similarity_of_subsets(noise(99, 2), noise(99, 2))
    with pytest.raises(ApbcError, match="the neighbourhoods need 51"):
        similarity_of_subsets(noise(200, 2), noise(200, 2), [50])
    with pytest.raises(ApbcError, match="neighbourhoods of 30 of 30 points"):
        neighbourhood_similarity(noise(30, 2), noise(30, 2), [30])


def test_imbalance_of_equal_and_of_foreign_spaces():
    n, counts = 1000, np.array([1, 3, 10, 30, 100, 300])
    points = noise(n, 4)
    there, back = information_imbalance(points, points @ np.diag([2, 2, 2, 2]), counts)
    np.testing.assert_allclose(there, (counts + 1) / n)
    np.testing.assert_allclose(back, (counts + 1) / n)
    there, back = information_imbalance(points, noise(n, 4, 1), counts)
    np.testing.assert_allclose(there, 1, atol=0.05)
    np.testing.assert_allclose(back, 1, atol=0.05)
    # A space with a dimension more tells this one better than the other way round.
    there, back = information_imbalance(points, points[:, :2], counts)
    assert (there < back).all()


def test_imbalance_equals_its_definition():
    first, second = noise(150, 3), noise(150, 2) + noise(150, 3)[:, :2]
    found, _ = information_imbalance(first, second, [1, 7])
    order = nearest(second, 149)
    ranks = np.zeros((150, 150))
    for i, row in enumerate(order):
        ranks[i, row] = np.arange(1, 150)
    for value, k in zip(found, (1, 7), strict=True):
        mean = np.mean([ranks[i, row].mean() for i, row in enumerate(nearest(first, k))])
        assert value == pytest.approx(2 / 150 * mean)


def test_imbalance_over_subsets():
    points = noise(650, 3)
    result = measure_imbalance(points, points, subset=200)
    assert result.from_latent.shape == (3, 5)
    assert result.size == 200
    np.testing.assert_array_equal(result.counts, [1, 3, 10, 30, 100])
    np.testing.assert_allclose(result.corrected(result.from_latent), 0, atol=1e-9)
    posteriors = np.eye(30)[np.random.default_rng(0).integers(0, 30, 650)]
    few = measure_imbalance(posteriors, points)
    assert (few.retained, few.given, few.size) == (30, 650, 30)
    with pytest.raises(ApbcError, match="only 3 of 650 images have rows of their own"):
        measure_imbalance(np.eye(3)[np.arange(650) % 3], points)
    with pytest.raises(ApbcError, match="200 points are too few for neighbourhoods of 200"):
        measure_imbalance(points, points, [200], subset=200)
    np.testing.assert_array_equal(distinct_rows(np.array([[1.0], [1], [2], [3]])), [0, 2, 3])


def test_a_truth_of_classes_has_no_order_within_them():
    labels = np.repeat(np.eye(4), 150, axis=0)
    perfect = perfect_imbalance(labels)
    measured = measure_imbalance(labels + 0.01 * noise(600, 4), smeared(labels))
    # The k nearest images are anywhere in their class: ranks of 1 to 149 of 600.
    expected = (2 / 600 * 75 - perfect.floor) / (1 - perfect.floor)
    for found in (perfect, measured):
        np.testing.assert_allclose(
            found.corrected(found.from_latent)[0, :4], expected[:4], atol=0.03
        )
    continuous = noise(300, 2)
    found = perfect_imbalance(continuous)
    np.testing.assert_allclose(found.corrected(found.from_latent), 0, atol=1e-9)


def test_the_smear_keeps_structures_apart():
    labels = np.repeat(np.arange(100.0)[:, None], 20, axis=0)
    spread = smeared(labels)
    assert len(np.unique(spread, axis=0)) == 2000
    assert np.abs(spread - labels).max() < 0.1
    assert smeared(noise(50, 2)) is not None
    points = noise(50, 2)
    assert smeared(points) is points


# --------------------------------- command line --------------------------------


def write_csv(path, heading, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([heading, *rows])
    return path


@pytest.fixture
def study(tmp_path):
    """Latents of three structures along an angle, pose and CTF, with junk, in another order."""
    rng = np.random.default_rng(0)
    n = 330
    classes = np.where(np.arange(n) < 300, 1 + np.arange(n) % 3, 0)
    angle = 120.0 * classes + rng.normal(0, 15, n)
    rows = [
        (i + 1, classes[i], f"{angle[i]:.4f}" if classes[i] else "", *rng.uniform(0, 180, 3))
        + (10000 + 100 * rng.normal(), 9000 + 100 * rng.normal(), 300)
        for i in range(n)
    ]
    heading = ("image", "class", "angle", "rot", "tilt", "psi", "defocus_u", "defocus_v", "voltage")
    truth = write_csv(tmp_path / "truth.csv", heading, rows)
    z = np.stack([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))], axis=1)
    z = np.hstack([z, 0.02 * rng.normal(size=(n, 2))])
    order = rng.permutation(n)
    latent = write_csv(
        tmp_path / "z.csv", ("id", "z1", "z2", "z3", "z4"), [(i + 1, *z[i]) for i in order]
    )
    np.save(tmp_path / "z.npy", z)
    (tmp_path / "z.pkl").write_bytes(pickle.dumps(z.astype(np.float32)))
    return tmp_path, truth, latent


def test_neighbours_verb(study, capsys):
    folder, truth, latent = study
    out = folder / "out"
    words = ["metrics", "neighbours", latent, "--truth", truth, "--name", "drgn", "--out", out]
    run_apbc([*words, "--subsets", 2])
    figures = read_record(out).figures
    assert figures["score"] > 0.95
    assert figures["images"] == 300
    assert figures["junk_left_out"] == 30
    assert '"metric": "neighbours"' in capsys.readouterr().out
    assert len(read_table(out / "points.csv")) == 300
    curve = read_table(out / "neighbours.csv")
    assert list(curve.columns) == ["k", "similarity", "sd", "ceiling", "random"]
    assert (out / "neighbours.png").is_file()
    by_id = figures["similarity_10pct"]
    for other in ("z.npy", "z.pkl"):
        words[2] = folder / other
        run_apbc([*words, "--subsets", 2])
        assert read_record(out).figures["similarity_10pct"] == pytest.approx(by_id, abs=8)
    run_apbc([*words, "--subsets", 2, "--circular", "angle"])
    figures = read_record(out).figures
    assert figures["ceiling_5pct"] == 100
    assert figures["similarity_5pct"] > 60
    run_apbc([*words, "--subsets", 3, "--k", 5, 10, "--compat"])
    assert read_table(out / "neighbours.csv").text("k") == ["5", "10"]


def test_imbalance_verb(study, caplog, capsys):
    folder, truth, latent = study
    out = folder / "out"
    words = ["metrics", "imbalance", latent, "--truth", truth, "--out", out]
    run_apbc([*words, "--circular", "angle", "--poses", truth, "--ctf", truth])
    figures = read_record(out).figures
    assert figures["latent_to_truth"] < 0.2
    assert figures["latent_to_pose"] == pytest.approx(1, abs=0.1)
    assert figures["latent_to_ctf"] == pytest.approx(1, abs=0.1)
    assert figures["truth_images_retained"] == 300
    table = read_table(out / "imbalance.csv")
    assert set(table.text("to")) == {"latent", "truth", "pose", "ctf"}
    assert set(table.text("k")) == {"1", "3", "10", "30", "100"}
    run_apbc([*words, "--subset-size", 19], expect=1)
    assert "--subset-size 19 is too few" in capsys.readouterr().err
    run_apbc([*words, "--subset-size", 100, "--k", 3])
    figures = read_record(out).figures
    assert figures["truth_subsets"] == 3
    assert figures["latent_to_truth_se"] < 0.1


def test_embedding_verb(study, monkeypatch, caplog):
    folder, truth, latent = study
    out = folder / "out"
    words = ["metrics", "embedding", latent, "--truth", truth, "--name", "drgn", "--out", out]
    run_apbc([*words, "--method", "pca", "--circular", "angle"])
    record = read_record(out)
    figures = record.figures
    assert record.parameters["method"] == "PCA"
    for name in ("ami", "ari", "accuracy", "purity"):
        assert figures[f"kmeans_{name}"] > 0.95
    assert figures["neighbour_purity"] > 0.95
    assert figures["neighbour_purity_random"] == pytest.approx(99 / 299)
    assert figures["trustworthiness"] > 0.9
    assert figures["junk_left_out"] == 30
    points = read_table(out / "embedding.csv")
    assert list(points.columns) == ["id", "x", "y", "class", "kmeans"]
    assert len(points) == 300
    assert all((out / name).is_file() for name in (*record.tables, *record.pictures))
    # Without umap-learn PCA takes its place, loudly.
    monkeypatch.setitem(sys.modules, "umap", None)
    run_apbc([*words, "--points", 100])
    assert "umap-learn cannot be imported" in caplog.text
    assert read_record(out).parameters["method"] == "PCA"
    assert len(read_table(out / "embedding.csv")) == 100


def test_given_clusters(study):
    folder, truth, _ = study
    classes = read_table(truth).text("class")
    # As a 3D classification of 4 classes would: one structure is split in two.
    numbers = [4 if one == "3" and i % 2 else int(one) for i, one in enumerate(classes)]
    rows = "".join(f"{i + 1:06d}@a/b.mrcs {c}\n" for i, c in enumerate(numbers))
    star = folder / "run_it025_data.star"
    star.write_text("data_particles\n\nloop_\n_rlnImageName #1\n_rlnClassNumber #2\n" + rows)
    words = ["metrics", "embedding", "--truth", truth, "--clusters", star]
    run_apbc([*words, "--out", folder / "out"])
    record = read_record(folder / "out")
    figures = record.figures
    assert record.pictures == ("clusters.png",)
    assert figures["clusters_found"] == 4
    assert figures["clusters_purity"] == 1
    assert figures["clusters_accuracy"] == pytest.approx(250 / 300)
    assert 0.7 < figures["clusters_ami"] < 1
    assert "kmeans_ami" not in figures
    table = read_table(folder / "out" / "clusters.csv")
    assert table.text("class_1") == ["100", "0", "0", "0"]
    assert sorted(table.text("stands_for")) == ["", "1", "2", "3"]
    words += [folder / "z.csv", "--method", "pca"]
    run_apbc([*words, "--out", folder / "both"])
    assert {"clusters_ami", "kmeans_ami"} <= read_record(folder / "both").figures.keys()
    run_apbc(["metrics", "embedding", "--truth", truth, "--out", folder / "none"], expect=1)


def test_chance_and_perfect_clusters():
    rng = np.random.default_rng(0)
    classes = [str(c) for c in rng.integers(0, 4, 4000)]
    perfect = agreement([{"0": "b", "1": "a", "2": "d", "3": "c"}[c] for c in classes], classes)
    assert (perfect.ami, perfect.ari, perfect.accuracy) == (1, 1, 1)
    chance = agreement([str(c) for c in rng.integers(0, 4, 4000)], classes)
    assert chance.ami == pytest.approx(0, abs=0.01)
    assert chance.ari == pytest.approx(0, abs=0.01)
    assert chance.accuracy == pytest.approx(0.26, abs=0.03)


def test_umap_is_seeded_and_needs_no_tensorflow():
    """In a process of its own, as compiling UMAP and hiding TensorFlow should touch no other."""
    pytest.importorskip("numba", reason="NO UMAP: umap-learn is missing")
    code = (
        "import sys, numpy as np\n"
        "from apbc.metrics.embedding import embed\n"
        "z = np.random.default_rng(0).normal(size=(60, 4))\n"
        "z[:30, 0] += 20\n"
        "first, again = embed(z, seed=3), embed(z, seed=3)\n"
        "assert first.method == 'UMAP'\n"
        "assert (first.points == again.points).all()\n"
        "assert not (first.points == embed(z, seed=4).points).all()\n"
        "apart = np.linalg.norm(first.points[:30].mean(0) - first.points[30:].mean(0))\n"
        "assert apart > 2 * first.points[:30].std(0).max()\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    # Compiling is most of the time, so it is told not to optimise.
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "NUMBA_OPT": "0"})


def told(capsys):
    text = capsys.readouterr().err
    assert text.count("apbc: error:") == 1
    return text


@pytest.mark.parametrize("verb", ["neighbours", "imbalance", "embedding"])
def test_bad_input_is_told(study, capsys, verb):
    folder, truth, latent = study

    def fails(latents, table, *more):
        words = ["metrics", verb, latents, "--truth", table, *more, "--out", folder / "bad"]
        run_apbc(words, expect=1)
        assert not (folder / "bad").exists()
        return told(capsys)

    rows = [line.split(",") for line in latent.read_text().splitlines()[1:]]
    one = write_csv(folder / "one.csv", ("id", "class"), [(row[0], 1) for row in rows])
    assert "all 330 images of" in fails(latent, one)
    rows[6][2] = "nan"
    broken = write_csv(folder / "nan.csv", ("id", "z1", "z2", "z3", "z4"), rows)
    assert f"row 7 (id {rows[6][0]})" in fails(broken, truth)
    rows[6][2] = "0"
    fewer = write_csv(folder / "fewer.csv", ("id", "z1", "z2", "z3", "z4"), rows[2:])
    text = fails(fewer, truth)
    assert "2 images (" in text
    assert str(min(int(rows[0][0]), int(rows[1][0]))) in text
    other = write_csv(folder / "other.csv", ("id", "z1"), [(999, 1.0), (1, 2.0)])
    assert "image 999 of" in fails(other, truth)
    np.save(folder / "short.npy", np.zeros((12, 2)))
    assert "has 12 rows and" in fails(folder / "short.npy", truth)
    empty = write_csv(folder / "empty.csv", ("id", "z1"), [])
    assert "no rows" in fails(empty, truth)
    assert "no column phase" in fails(latent, truth, "--columns", "phase")
    assert "is the same for all" in fails(latent, truth, "--columns", "voltage")
    (folder / "z.txt").write_text("1 2\n")
    assert "no table of latents" in fails(folder / "z.txt", truth)
    few = write_csv(folder / "few_truth.csv", ("id", "class"), [(i, i % 2 + 1) for i in range(9)])
    tiny = write_csv(folder / "tiny.csv", ("id", "z"), [(i, i) for i in range(9)])
    assert "9 " in fails(tiny, few)
    assert "--seed -1 is no seed" in fails(latent, truth, "--seed", "-1")
    if verb == "imbalance":
        assert "needs too much memory" in fails(latent, truth, "--subset-size", 20_000)


def test_parts_of_the_truth_are_measured_when_asked(study):
    folder, truth, latent = study
    lines = latent.read_text().splitlines()
    (folder / "part.csv").write_text("\n".join(lines[:200]) + "\n")
    words = ["metrics", "neighbours", folder / "part.csv", "--truth", truth, "--subsets", 2]
    run_apbc([*words, "--out", folder / "out"], expect=1)
    run_apbc([*words, "--subset", "--out", folder / "out"])
    figures = read_record(folder / "out").figures
    assert figures["images"] + figures["junk_left_out"] == 199


def test_truth_of_cryobench(study):
    folder, truth, _ = study
    classes = np.array(read_table(truth).text("class"), int)
    write_array_pickle(folder / "gt_latents.pkl", classes - 1)
    words = ["metrics", "neighbours", folder / "z.pkl", "--subsets", 2, "--out", folder / "out"]
    run_apbc([*words, "--truth", truth])
    figures = read_record(folder / "out").figures
    run_apbc([*words, "--truth", folder / "gt_latents.pkl"])
    assert read_record(folder / "out").figures == figures
    np.save(folder / "angles.npy", np.linspace(0, 360, 330))
    run_apbc([*words, "--truth", folder / "angles.npy"], expect=1)


def test_files_of_latents_and_labels(tmp_path):
    np.save(tmp_path / "z.npy", np.arange(5.0))
    assert read_latents(tmp_path / "z.npy").values.shape == (5, 1)
    np.save(tmp_path / "z.npy", np.array([1, None], object))
    with pytest.raises(ApbcError, match="no array of numbers"):
        read_latents(tmp_path / "z.npy")
    (tmp_path / "run_data.star").write_text(
        "data_particles\n\nloop_\n_rlnImageName #1\n_rlnClassNumber #2\n1@a.mrcs 3\n2@a.mrcs 1\n"
    )
    assert read_labels(tmp_path / "run_data.star") == (["1@a.mrcs", "2@a.mrcs"], ["3", "1"])
    write_csv(tmp_path / "c.csv", ("id", "class"), [(1, 2), (2, "")])
    with pytest.raises(ApbcError, match="row 2 of"):
        read_labels(tmp_path / "c.csv")
