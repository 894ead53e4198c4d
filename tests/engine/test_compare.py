import csv
import json
import re

import mrcfile
import numpy as np
import pytest

from apbc.commands.main import main
from apbc.errors import ApbcError
from apbc.evaluation.agreement import agreements, shared
from apbc.evaluation.compare import Picker, compare, sentences
from apbc.evaluation.figures import score_picks
from apbc.evaluation.recall import mean_interval, recall_of_parts, wilson
from apbc.evaluation.reference import particles_of
from apbc.evaluation.views import SECTORS, VIEWS, folded, view_classes
from apbc.geometry import euler_to_matrix
from apbc.io.coordinates import read_coordinate_folder, read_truth_columns, write_coordinates

DIAMETER = 20.0
SHAPE = (1000, 1000)
NAN = np.nan


# ------------------------------ hidden particles ------------------------------------


def test_hidden_particles_are_neither_missed_nor_traps():
    points = np.array([[10, 10], [50, 50], [90, 90]], float)
    truth = {"a": particles_of(points, {"visible": [1, 0, 0]})}
    picks = {"a": np.array([[11, 10, 0.9], [51, 50, 0.8], [52, 50, 0.7], [10, 90, 0.6]])}
    figures = score_picks(picks, truth, 5)
    row = figures.per_micrograph[0]
    # Of the two picks on one hidden particle the second is false.
    assert (row.truth, row.picks, row.hits) == (1, 3, 1)
    assert row.precision == pytest.approx(1 / 3) and row.recall == 1
    match = figures.matches["a"]
    assert match.hidden.tolist() == [False, True, False, False]
    assert match.false.tolist() == [False, False, True, True]
    np.testing.assert_allclose(figures.curve.threshold, [0.9, 0.7, 0.6])
    np.testing.assert_allclose(figures.curve.precision, [1, 1 / 2, 1 / 3])


def test_a_visible_particle_is_matched_before_a_hidden_one_that_is_nearer():
    truth = {"a": particles_of([[10, 10], [12, 10]], {"visible": [1, 0]})}
    figures = score_picks({"a": [[12, 10, 1.0]]}, truth, 5)
    assert figures.per_micrograph[0].hits == 1 and not figures.matches["a"].hidden.any()


def test_junk_is_no_particle():
    known = particles_of(np.arange(6).reshape(3, 2), {"class": [0, 2, 1], "visible": [1, 1, 0]})
    assert known.xy.tolist() == [[2, 3], [4, 5]]
    assert known.classes.tolist() == [2, 1] and known.visible.tolist() == [True, False]
    assert known.angles is None


def test_evaluate_heeds_hidden_particles(tmp_path, capsys):
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "a.csv").write_text(
        "x,y,class,visible\n10,10,1,1\n50,50,1,0\n80,80,0,1\n"
    )
    write_coordinates(tmp_path / "picks" / "a.csv", [[10, 10], [50, 50], [80, 80]])
    words = ["evaluate", tmp_path / "picks", tmp_path / "truth", "--diameter", 10]
    assert main([*map(str, words), "--pixel-size", "1"]) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[-1])["per_micrograph"][0]
    assert (row["truth"], row["picks"], row["hits"]) == (1, 2, 1)


# ------------------------------ columns of the truth ----------------------------------


def test_columns_of_the_truth(tmp_path):
    (tmp_path / "a.csv").write_text("x,y,class,rot,visible\n1,2,3,4.5,1\n\n5,6,7,-8,0\n")
    (tmp_path / "b.csv").write_text("x,y\n1,2\n")
    (tmp_path / "c.box").write_text("1 2 10 10\n")
    columns = read_truth_columns(tmp_path)
    assert {name: sorted(found) for name, found in columns.items()} == {
        "a": ["class", "rot", "visible"],
        "b": [],
        "c": [],
    }
    assert columns["a"]["rot"].tolist() == [4.5, -8] and columns["a"]["class"].tolist() == [3, 7]
    assert read_coordinate_folder(tmp_path)["a"][:, :2].tolist() == [[1, 2], [5, 6]]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x,y,class\n1,2,\n", "no number"),
        ("x,y,rot\n1,2,nan\n", "rot of particle 1"),
        ("x,y,visible\n1,2,0.5\n", "may hold 1 and 0 alone"),
    ],
)
def test_damaged_columns_of_the_truth_are_told(tmp_path, text, told):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ApbcError, match=told):
        read_truth_columns(tmp_path)


# ----------------------------------- views --------------------------------------------


def random_angles(count, seed=0):
    """Poses without a preferred direction: rot, tilt, psi in degrees."""
    random = np.random.default_rng(seed)
    rot, psi = random.uniform(-180, 180, (2, count))
    return np.stack([rot, np.rad2deg(np.arccos(random.uniform(-1, 1, count))), psi], axis=1)


def test_views_have_equal_areas():
    counts = np.bincount(view_classes(random_angles(170_000)), minlength=len(VIEWS))
    assert len(VIEWS) == sum(SECTORS) == len(counts)
    assert np.abs(counts - 10_000).max() < 5 * 100


def test_a_view_from_behind_is_the_same_view():
    angles = random_angles(500)
    behind = np.stack([angles[:, 0] + 180, 180 - angles[:, 1], angles[:, 2]], axis=1)
    forward, backward = (euler_to_matrix(a)[:, 2] for a in (angles, behind))
    np.testing.assert_allclose(forward, -backward, atol=1e-12)
    assert (view_classes(angles) == view_classes(behind)).all()
    turned = angles + np.array([360, 0, 77])
    assert (view_classes(angles) == view_classes(turned)).all()
    rot, tilt = folded(angles).T
    assert 0 <= rot.min() and rot.max() < 360 and 0 <= tilt.min() and tilt.max() <= 90


def test_views_lie_where_they_say():
    angles = random_angles(2000)
    rot, tilt = folded(angles).T
    for k, (r, t) in zip(view_classes(angles), zip(rot, tilt, strict=True), strict=True):
        assert VIEWS[k].tilt[0] <= t <= VIEWS[k].tilt[1] + 1e-9
        assert VIEWS[k].rot[0] <= r <= VIEWS[k].rot[1]
    assert view_classes([[0, 0], [0, 180], [0, 90], [180, 90], [-170, 90]]).tolist() == [
        0,
        0,
        7,
        7,
        7,
    ]


# ----------------------------------- recall -------------------------------------------


def test_wilson_interval():
    # Newcombe, Statist. Med. 17:857 (1998), table I.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(29, 29)[1] == 1


def test_a_part_is_lost_when_that_is_no_chance_and_no_trifle():
    parts = np.repeat([1, 2, 3, 4], [1000, 100, 4, 1000])
    found = np.zeros(len(parts), bool)
    found[:900] = True  # 0.9 of class 1
    found[1000:1050] = True  # half of class 2
    found[1100:1102] = True  # half of class 3, of which there are four
    found[1104:1954] = True  # 0.85 of class 4: surely less, and not much less
    rows = recall_of_parts(parts, found, found.mean(), 4)
    assert [(r.part, r.particles, r.found, r.lost) for r in rows] == [
        (1, 1000, 900, False),
        (2, 100, 50, True),
        (3, 4, 2, False),
        (4, 1000, 850, False),
    ]


@pytest.mark.parametrize(("count", "chance"), [(1500, 0.8), (100, 0.95)])
def test_of_pickers_that_lose_nothing_few_are_blamed(count, chance):
    random = np.random.default_rng(4)
    parts = view_classes(random_angles(count))
    blamed = 0
    for _ in range(200):
        found = random.uniform(size=len(parts)) < chance
        blamed += any(r.lost for r in recall_of_parts(parts, found, found.mean(), len(VIEWS)))
    assert blamed < 20


def test_interval_of_a_mean():
    random = np.random.default_rng(1)
    held = 0
    for _ in range(100):
        low, high = mean_interval(random.normal(0.5, 0.1, 12))
        held += low < 0.5 < high
    assert 85 <= held <= 99
    assert mean_interval([0.1, 0.2]) is None
    assert mean_interval([0.1, 0.2, 0.4]) == mean_interval([0.1, 0.2, 0.4])


# ---------------------------------- agreement -----------------------------------------


def test_agreement_by_hand():
    picks = {
        "a": {"m": np.array([[0, 0], [10, 0], [20, 0]], float), "n": np.array([[5.0, 5.0]])},
        "b": {"m": np.array([[1, 0]], float), "n": np.empty((0, 2))},
    }
    forth, back = agreements(picks, 3)
    assert (forth.first, forth.second, forth.common) == ("a", "b", 1)
    assert (forth.share, back.share) == (1 / 4, 1.0)
    assert forth.f1 == back.f1 == pytest.approx(2 / 5)
    assert shared(picks["a"]["m"], [picks["b"]["m"], np.array([[1.0, 1], [21, 0]])], 3) == 2


# ---------------------------------- comparison ----------------------------------------


def make_truth(count=1400, micrographs=4, seed=2):
    """Particles of two classes, one rare, seen from all sides, that do not overlap."""
    random = np.random.default_rng(seed)
    truth = {}
    for m in range(micrographs):
        cells = np.stack(np.meshgrid(np.arange(1, 40), np.arange(1, 40)), axis=-1).reshape(-1, 2)
        xy = 25.0 * cells[random.permutation(len(cells))[:count]]
        angles = random_angles(count, seed + m)
        columns = dict(zip(("rot", "tilt", "psi"), angles.T, strict=True))
        columns["class"] = random.choice([1, 2], count, p=[0.9, 0.1])
        columns["visible"] = (random.uniform(size=count) > 0.05).astype(int)
        truth[f"mic_{m}"] = (xy, columns)
    return truth


def pick(truth, chance, seed, false=()):
    """Find each particle with a chance; add false picks. Scores of hits are above 0.5."""
    random = np.random.default_rng(seed)
    picks = {}
    for name, (xy, columns) in truth.items():
        found = random.uniform(size=len(xy)) < chance(columns)
        hits = xy[found] + random.normal(0, 1, (found.sum(), 2))
        wrong = np.array(false, float).reshape(-1, 2)
        scores = np.r_[random.uniform(0.5, 1, len(hits)), random.uniform(0, 0.5, len(wrong))]
        picks[name] = np.c_[np.r_[hits, wrong], scores]
    return picks


def known_of(truth, *without):
    """Reference of the engine, without some of its columns."""
    return {
        name: particles_of(xy, {k: v for k, v in columns.items() if k not in without})
        for name, (xy, columns) in truth.items()
    }


CARBON = [(3.0 + 10 * k, 990.0) for k in range(20)]


@pytest.fixture(scope="module")
def truth():
    return make_truth()


@pytest.fixture(scope="module")
def picks(truth):
    """A picker that finds all alike, and one that loses views from the top and the rare class."""
    return {
        "even": pick(truth, lambda c: np.full(len(c["rot"]), 0.9), 1),
        "biased": pick(
            truth,
            lambda c: (
                np.where(np.abs(np.cos(np.deg2rad(c["tilt"]))) > 16 / 17, 0.1, 0.9)
                * np.where(c["class"] == 2, 0.5, 1)
            ),
            2,
            CARBON,
        ),
    }


def test_lost_views_and_classes_are_found(truth, picks):
    pickers = {name: Picker(found) for name, found in picks.items()}
    comparison = compare(pickers, known_of(truth), 10, 2.0)
    assert comparison.best == "even" and comparison.ranking == ["even", "biased"]
    even, biased = comparison.losses["even"], comparison.losses["biased"]
    assert not [part for part in even.classes if part.lost]
    assert not [part for parts in even.views.values() for part in parts if part.lost]
    assert [part.part for part in biased.classes if part.lost] == [2]
    lost = {of: [part.part for part in parts if part.lost] for of, parts in biased.views.items()}
    assert lost[1] == [0]  # the cap round the pole
    counted = sum(part.particles for part in biased.classes)
    assert counted == comparison.particles
    assert counted == sum(part.particles for parts in biased.views.values() for part in parts)
    told = "\n".join(sentences(comparison))
    assert "biased loses class 2" in told
    assert "biased loses the view tilt 0-20 degrees of class 1" in told
    assert "even loses" not in told
    assert re.search(r"even has the best F1: 0\.9\d\d \(95% interval", told)
    assert f"{comparison.hidden} hidden particles" in told
    # What none, one and both find adds up, and so does what one alone finds.
    assert comparison.found_by.sum() == comparison.particles
    assert sum(comparison.alone.values()) == comparison.found_by[1]


def test_the_figures_are_those_of_evaluate(truth, picks):
    known = known_of(truth)
    comparison = compare({"even": Picker(picks["even"], 0.7)}, known, 10, 2.0)
    alone = score_picks(picks["even"], known, 10, threshold=0.7)
    assert comparison.figures["even"].as_dict(2.0) == alone.as_dict(2.0)
    assert comparison.figures["even"].average_precision > alone.recall
    assert comparison.agreements == [] and comparison.contamination is None


def test_a_reference_without_classes_and_poses(truth, picks):
    known = known_of(truth, "class", "rot", "visible")
    comparison = compare({name: Picker(p) for name, p in picks.items()}, known, 10, 2.0)
    assert not comparison.has_classes and not comparison.has_views and comparison.hidden == 0
    told = "\n".join(sentences(comparison))
    assert "no classes and no poses of the particles" in told and "loses" not in told
    known["mic_0"] = known_of(truth)["mic_0"]
    assert not compare({"even": Picker(picks["even"])}, known, 10, 2.0).has_views


def test_views_of_one_class(truth, picks):
    comparison = compare({"biased": Picker(picks["biased"])}, known_of(truth, "class"), 10, 2.0)
    assert not comparison.has_classes
    (parts,) = comparison.losses["biased"].views.values()
    assert [VIEWS[part.part].name for part in parts if part.lost] == ["tilt 0-20"]


def test_nothing_to_find(truth):
    hidden = {"a": particles_of([[1, 1]], {"visible": [0]})}
    with pytest.raises(ApbcError, match="no particle of the reference is left"):
        compare({"even": Picker({})}, hidden, 10, 2.0)
    with pytest.raises(ApbcError, match="no picker to compare"):
        compare({}, known_of(truth), 10, 2.0)


def test_a_picker_that_finds_nothing(truth, picks):
    pickers = {"even": Picker(picks["even"]), "none": Picker({})}
    comparison = compare(pickers, known_of(truth), 10, 2.0)
    assert comparison.figures["none"].f1 == 0 and comparison.agreements[0].f1 == 0
    assert not [part for part in comparison.losses["none"].classes if part.lost]


# ----------------------------------- the verb -----------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory, truth, picks):
    """Truth with all columns, picks with scores, picks without, and masks with carbon."""
    folder = tmp_path_factory.mktemp("compare")
    (folder / "truth").mkdir()
    (folder / "masks").mkdir()
    for name, (xy, columns) in truth.items():
        with (folder / "truth" / f"{name}.csv").open("w", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["x", "y", *columns])
            writer.writerows(zip(*xy.T, *columns.values(), strict=True))
        for picker, found in picks.items():
            write_coordinates(
                folder / picker / f"{name}.csv", found[name][:, :2], found[name][:, 2]
            )
        write_coordinates(folder / "hand" / f"{name}.csv", xy[:300])
        mask = np.zeros(SHAPE, np.int8)
        mask[980:] = 1
        with mrcfile.new(folder / "masks" / f"{name}.mrc") as handle:
            handle.set_data(mask)
    return folder


def run(folder, *words, pickers=("even", "biased", "hand")):
    named = [f"{name}={folder / name}" for name in pickers]
    words = ["--reference", folder / "truth", "--diameter", DIAMETER * 2, *words]
    return main(["compare", *named, *map(str, words)])


def rows_of(path):
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_the_report(folder, tmp_path, capsys):
    out = tmp_path / "report"
    words = ["--pixel-size", 2, "--masks", folder / "masks", "--threshold", "even=0.6"]
    assert run(folder, *words, "--out", out) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].split()[:3] == ["picker", "picks", "hits"]
    assert "biased loses class 2" in printed
    record = json.loads((out / "compare.json").read_text())
    assert record["format"] == "apbc comparison 1" and record["best"] in record["pickers"]
    assert set(record["told"]) <= set(printed.splitlines())
    for name in (*record["tables"], *record["pictures"], "report.html"):
        assert (out / name).stat().st_size > 100, name
    assert {path.name for path in out.iterdir()} == {
        "compare.json",
        "report.html",
        *record["tables"],
        *record["pictures"],
    }
    assert {"classes.png", "views.png", "contamination.png", "agreement.png"} < set(
        record["pictures"]
    )
    assert record["pickers"]["hand"]["average_precision"] is None
    assert record["pickers"]["even"]["threshold"] == 0.6
    assert record["pickers"]["biased"]["lost_classes"] == [2]
    assert {"class": 1, "view": "tilt 0-20"} in record["pickers"]["biased"]["lost_views"]
    # All 20 false picks of each micrograph lie on the carbon, which is 2 % of the area.
    assert record["contamination_area"]["carbon"] == 0.02
    assert record["pickers"]["biased"]["contamination"]["carbon"] == 80
    assert "of the false picks of biased are on carbon, which covers 2%" in printed
    methods = {row["picker"]: row for row in rows_of(out / "compare.csv")}
    for name, row in methods.items():
        assert float(row["f1"]) == record["pickers"][name]["f1"]
        assert int(row["picks"]) == sum(int(row[key]) for key in ("hits", "false", "on_hidden"))
    assert methods["hand"]["average_precision"] == ""
    assert len(rows_of(out / "per_micrograph.csv")) == 3 * 4
    assert len(rows_of(out / "agreement.csv")) == 6
    views = rows_of(out / "per_view.csv")
    assert sum(int(row["particles"]) for row in views) == 3 * record["particles"]
    assert {row["picker"] for row in rows_of(out / "curves.csv")} == {"even", "biased"}
    page = (out / "report.html").read_text()
    assert "http" not in page and page.count("data:image/png;base64,") == len(record["pictures"])
    # The same again gives the same.
    assert run(folder, *words, "--out", tmp_path / "again") == 0
    for name in record["tables"]:
        assert (out / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_edge_with_sizes_of_masks(folder, tmp_path):
    words = ["--pixel-size", 2, "--edge", 100, "--out", tmp_path]
    assert run(folder, *words, "--masks", folder / "masks", pickers=["biased"]) == 0
    record = json.loads((tmp_path / "compare.json").read_text())
    assert record["pickers"]["biased"]["contamination"]["carbon"] == 0
    assert "agreement.png" not in record["pictures"]


def test_micrographs_that_lack_picks_are_told(folder, tmp_path, caplog):
    for name in ("mic_0", "mic_1"):
        found = read_coordinate_folder(folder / "even")[name]
        write_coordinates(tmp_path / "one" / f"{name}.csv", found[:, :2])
    write_coordinates(tmp_path / "two" / "mic_0.csv", found[:5, :2])
    words = [f"one={tmp_path / 'one'}", f"two={tmp_path / 'two'}", "--reference", folder / "truth"]
    words += ["--diameter", 40, "--pixel-size", 2, "--out", tmp_path / "out"]
    assert main(["compare", *map(str, words)]) == 0
    assert "2 of 4 micrographs of the reference have picks of no picker" in caplog.text
    assert "two has no file of picks for 1 of 2 micrographs" in caplog.text
    record = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert record["micrographs"] == ["mic_0", "mic_1"]
    assert record["pickers"]["one"]["f1_interval"] is None
    assert "too few to tell" in record["told"][1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--diameter", 0], "--diameter 0 is not a size"),
        (["--pixel-size", -1], "--pixel-size -1 is not a size"),
        (["--edge", -1], "--edge -1 is below 0"),
        (["--edge", 5], "size of micrograph mic_0 is not known"),
        (["--threshold", "odd=0.5"], "of no picker; there are even, biased, hand"),
        (["--threshold", "even=high"], "is no number"),
        (["--threshold", "even"], "'even' is not NAME=P"),
        (["--threshold", "hand=0.5"], "has no scores"),
        (["--only", "z"], "micrograph z has no known"),
        (["--masks", "nowhere"], "holds no mask of the 4 micrographs"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_written(folder, tmp_path, capsys, words, told):
    assert run(folder, "--out", tmp_path / "out", "--pixel-size", 2, *words) == 1
    error = capsys.readouterr().err
    assert told in error.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_wrong_pickers_are_told(folder, tmp_path, capsys):
    words = ["--reference", folder / "truth", "--diameter", 40, "--out", tmp_path / "out"]
    for pickers, told in (
        ([str(folder / "even")], "is not NAME=PICKS"),
        ([f"a={folder / 'even'}", f"a={folder / 'hand'}"], "given twice"),
        ([f"a={tmp_path}"], "holds no coordinate files"),
        ([f"a={tmp_path / 'none'}"], "no file or folder"),
        ([f"a={folder / 'even'}", "--threshold", "a=nan"], "is no number"),
    ):
        assert main(["compare", *pickers, *map(str, words)]) == 1
        assert told in capsys.readouterr().err.splitlines()[-1]


def test_a_mask_that_is_none(folder, tmp_path, capsys):
    with mrcfile.new(tmp_path / "mic_0.mrc") as handle:
        handle.set_data(np.full(SHAPE, 7, np.int8))
    status = run(folder, "--out", tmp_path / "out", "--pixel-size", 2, "--masks", tmp_path)
    assert status == 1 and "is no mask" in capsys.readouterr().err
    with mrcfile.new(tmp_path / "mic_0.mrc", overwrite=True) as handle:
        handle.set_data(np.zeros((500, 1000), np.int8))
    status = run(folder, "--out", tmp_path / "out", "--pixel-size", 2, "--masks", tmp_path)
    assert status == 1 and "1000 x 500 pixels and there is a pick" in capsys.readouterr().err


@pytest.mark.parametrize("only", [None, ["Falcon_2012_06_12-14_33_35_0"]])
def test_real_pickers_are_told_as_the_benchmark_tells_them(bench_folder, tmp_path, only):
    data = bench_folder / "data" / "empiar-10017"
    words = [f"{name}={data / 'peers' / name}" for name in ("crYOLO", "topaz", "deepPicker")]
    words += ["--reference", data / "truth", "--diameter", 108, "--edge", 96, "--pixel-size", 1]
    words += ["--shape", 4096, 4096, "--out", tmp_path, *(["--only", *only] if only else [])]
    assert main(["compare", *map(str, words)]) == 0
    record = json.loads((tmp_path / "compare.json").read_text())
    if only:
        assert record["micrographs"] == only
        return
    figures = {
        name: tuple(round(found[k], 3) for k in ("precision", "recall", "f1", "average_precision"))
        for name, found in record["pickers"].items()
    }
    # The table in the README of the benchmark.
    assert figures == {
        "crYOLO": (0.849, 0.946, 0.893, 0.882),
        "topaz": (0.787, 0.870, 0.824, 0.750),
        "deepPicker": (0.500, 0.262, 0.342, 0.134),
    }
    assert len(record["micrographs"]) == 8 and "no classes and no poses" in record["told"][-1]
