"""The report of several methods, and the bootstrap that compares them."""

import csv
import json
import re

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from apbc.geometry import matrix_to_euler
from apbc.io.tables import read_table
from apbc.metrics.bootstrap import paired_bootstrap
from apbc.metrics.catalogue import MEANINGS, meaning_of
from apbc.metrics.record import Record, read_record, write_record
from conftest import run_apbc

N = 120


def write_csv(path, heading, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([heading, *rows])
    return path


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Records of a good and of a poor method."""
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    true = Rotation.random(N, random_state=0)
    classes = 1 + np.arange(N) % 3
    heading = ("id", "class", "rot", "tilt", "psi")
    angles = matrix_to_euler(true.as_matrix())
    truth = write_csv(
        folder / "truth.csv",
        heading,
        [(i + 1, classes[i], *angles[i]) for i in range(N)],
    )
    for name, wrong, spread in (("good <1>", 2.0, 0.1), ("poor", 15.0, 1.5)):
        out = folder / name[:4]
        noise = Rotation.from_rotvec(np.deg2rad(wrong) * rng.normal(size=(N, 3)))
        angles = matrix_to_euler((noise * true).as_matrix())
        poses = write_csv(
            folder / f"{name[:4]}.csv",
            ("id", "rot", "tilt", "psi"),
            [(i + 1, *angles[i]) for i in range(N)],
        )
        z = np.eye(3)[classes - 1] + spread * rng.normal(size=(N, 3))
        latent = write_csv(
            folder / f"{name[:4]}_z.csv",
            ("id", "z1", "z2", "z3"),
            [(i + 1, *z[i]) for i in range(N)],
        )
        words = ["--name", name, "--out"]
        run_apbc(["metrics", "pose", poses, truth, *words, out / "pose"])
        of_latent = [latent, "--truth", truth]
        run_apbc(["metrics", "neighbours", *of_latent, "--subsets", 2, *words, out / "neighbours"])
        run_apbc(["metrics", "imbalance", *of_latent, *words, out / "imbalance"])
        run_apbc(["metrics", "embedding", *of_latent, "--method", "pca", *words, out / "embedding"])
    return folder


def test_report(measured, tmp_path, capsys):
    run_apbc(["metrics", "report", measured / "good", measured / "poor", "--out", tmp_path])
    assert "Pose error: good <1>, poor" in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "good &lt;1&gt;" in page
    assert "<1>" not in page
    # The page needs no other file: all pictures are inside.
    assert not re.search(r"(src|href)='(?!data:)", page)
    assert page.count("data:image/png;base64,") == 1 + 2 * (1 + 1 + 1 + 2)
    assert "random poses have 126.5°" in page
    for metric in ("Pose error", "Neighbourhood similarity", "Information imbalance"):
        assert f"<h2>{metric}</h2>" in page
    table = read_table(tmp_path / "report.csv")
    rows = dict(zip(table.text("figure"), range(len(table)), strict=True))
    row = rows["angle_deg_median"]
    good, poor = (float(table.text(f"method {m}")[row]) for m in ("good <1>", "poor"))
    assert good < 5 < poor
    board = json.loads((tmp_path / "leaderboard.json").read_text())
    assert board["methods"] == ["good <1>", "poor"]
    pose = next(m for m in board["metrics"] if m["metric"] == "pose")
    figure = pose["figures"]["angle_deg_median"]
    assert figure["ranking"] == ["good <1>", "poor"]
    assert figure["values"]["poor"] == pytest.approx(poor, rel=1e-5)
    assert figure["headline"] and figure["better"] == "lower"
    neighbours = next(m for m in board["metrics"] if m["metric"] == "neighbours")
    assert neighbours["figures"]["score"]["ranking"] == ["good <1>", "poor"]
    assert neighbours["figures"]["images"]["ranking"] == []
    found = {one["metric"]: one for one in board["significance"]}
    assert found.keys() == {"pose", "neighbours"}
    assert found["pose"]["winner"] == "good <1>"
    assert found["pose"]["items"] == N
    assert found["pose"]["high"] < 0
    record = json.loads((tmp_path / "report.json").read_text())
    assert record["pictures"] == ["comparison.png"]
    assert record["tables"] == ["report.csv", "significance.csv"]
    assert any("good <1> is better than poor" in sentence for sentence in record["told"])
    assert (tmp_path / "comparison.png").read_bytes()[:4] == b"\x89PNG"


def test_a_report_of_one_method_and_of_single_folders(measured, tmp_path):
    run_apbc(["metrics", "report", measured / "good" / "pose", "--out", tmp_path])
    board = json.loads((tmp_path / "leaderboard.json").read_text())
    assert board["methods"] == ["good <1>"]
    assert board["significance"] == []
    assert not (tmp_path / "significance.csv").exists()


def test_different_options_are_told(measured, tmp_path):
    folder = measured
    run_apbc(
        ["metrics", "pose", folder / "poor.csv", folder / "truth.csv", "--symmetry", "C2"]
        + ["--name", "poor", "--out", tmp_path / "pose"]
    )
    run_apbc(
        ["metrics", "report", folder / "good" / "pose", tmp_path / "pose", "--out", tmp_path / "r"]
    )
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert "symmetry: good &lt;1&gt; C1, poor C2" in page


def told(capsys):
    text = capsys.readouterr().err
    assert text.count("apbc: error:") == 1
    return text


def test_bad_folders_are_told(measured, tmp_path, capsys):
    out = tmp_path / "out"

    def fails(*folders):
        run_apbc(["metrics", "report", *folders, "--out", out], expect=1)
        assert not out.exists()
        return told(capsys)

    (tmp_path / "empty").mkdir()
    assert "no metrics.json in" in fails(tmp_path / "empty")
    assert "there is no file" in fails(tmp_path / "none")
    good = measured / "good" / "pose"
    copy = tmp_path / "copy"
    write_record(copy, read_record(good))
    text = fails(good, copy)
    assert "both measure pose of a method called good <1>" in text
    # The copy has no tables and pictures.
    assert "has gone; run apbc metrics pose again" in fails(copy)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "metrics.json").write_text('{"a": 1}')
    assert "not the record of a metric" in fails(tmp_path / "broken")


def test_metrics_of_other_kinds_have_a_place(tmp_path):
    """Volumes have two kinds of figures; what is not known is shown by its name."""
    frequency, values = [0.01, 0.02, 0.03], {}
    for method, level in (("a", 0.9), ("b", 0.7)):
        for kind in ("image", "conformation"):
            folder = tmp_path / method / kind
            folder.mkdir(parents=True)
            figures = {"auc_over_ceiling_mean": level, "something_new": None}
            rng = np.random.default_rng(0)
            areas = level + 0.01 * rng.normal(size=20)
            rows = [(f"{method}/{i}.mrc", f"gt/{i % 4}.mrc", i % 4, i, areas[i]) for i in range(20)]
            write_csv(
                folder / "pairs.csv",
                ("volume", "reference", "class", "image", "auc_over_ceiling"),
                rows,
            )
            write_csv(
                folder / "curves.csv", ("frequency_1_A", "1_x"), [(f, level) for f in frequency]
            )
            tables = ("pairs.csv", "curves.csv")
            write_record(folder, Record("fsc", method, {"kind": kind}, figures, tables))
            values[method, kind] = areas.mean()
    run_apbc(["metrics", "report", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "out"])
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "something new" in page
    assert "(conformation)" in page
    pairs = read_table(tmp_path / "out" / "significance.csv")
    assert pairs.text("variant") == ["conformation", "image"]
    assert pairs.text("better") == ["a", "a"]
    np.testing.assert_allclose(pairs.numbers("difference")[:, 0], 0.2, rtol=1e-6)


def test_bootstrap():
    rng = np.random.default_rng(0)
    items = rng.normal(size=400)
    # The same items make the spread between them no matter.
    found = paired_bootstrap(items + 0.1 + 0.05 * rng.normal(size=400), items)
    assert 0.09 < found.low < 0.1 < found.high < 0.11
    assert found.p == 1 / 2000
    # Intervals of equal methods hold 0 in about 38 of 40 cases.
    held = 0
    for i in range(40):
        draw = np.random.default_rng(i).normal(size=(2, 40))
        found = paired_bootstrap(*draw, seed=i)
        held += found.low <= 0 <= found.high
    assert 34 <= held <= 40
    same = paired_bootstrap(items, items)
    assert (same.difference, same.low, same.high, same.p) == (0, 0, 0, 1)
    assert paired_bootstrap(items[:4], items[:4]) is None


def test_every_figure_is_explained(measured):
    for metric in ("pose", "neighbours", "imbalance", "embedding"):
        for key in read_record(measured / "good" / metric).figures:
            label = meaning_of(metric, key).label
            assert label and "_" not in label
            if not re.search("_s[de]$", key):
                assert label != key.replace("_", " ") or len(key) < 8, key
    for meanings in MEANINGS.values():
        assert all(m.better in ("", "higher", "lower") for m in meanings.values())


def test_methods_are_not_ranked_by_a_figure_that_one_of_them_lacks(tmp_path):
    for name, trust in (("lacks it", None), ("has it", 0.9)):
        figures = {"clusters_ami": 0.4, "trustworthiness": trust}
        write_record(tmp_path / name, Record("embedding", name, {}, figures))
    run_apbc(["metrics", "report", tmp_path / "lacks it", tmp_path / "has it", "--out", tmp_path])
    board = json.loads((tmp_path / "leaderboard.json").read_text())
    ranked = board["metrics"][0]["figures"]
    assert ranked["trustworthiness"]["better"] == "higher"
    assert ranked["trustworthiness"]["ranking"] == []
    assert len(ranked["clusters_ami"]["ranking"]) == 2
