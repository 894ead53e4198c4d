"""The benchmark of a start without labels: what it counts, and what its tables say."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from apbc.bootstrap.examples import Examples
from apbc.dataset.split import NAMES
from apbc.dataset.store import Dataset

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def programs(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.syspath_prepend(ROOT / "tests" / "engine")


def found(shape, places):
    n = len(places)
    places = np.array(places, float).reshape(n, 2)
    return Examples.of_shape(shape, places, np.ones((n, 2)), np.ones(n), [""] * n)


def test_what_was_found_is_held_against_the_marks_of_a_person():
    bench = importlib.import_module("bootstrap")
    marked = bench.MARKED
    whole = Examples.join([found(shape, places) for shape, places in marked.items()])
    counts = bench.against_marks(whole)
    assert {shape: counts[shape] for shape in marked} == {"top": 7, "side": 10}
    assert counts["false"] == counts["side as another shape"] == 0

    some = [found("side", marked["top"][:2]), found("top", [bench.DOUBTFUL[0], (20, 20)])]
    counts = bench.against_marks(Examples.join([*some, found("side", marked["side"][:1] * 2)]))
    assert counts["top"] == counts["top as another shape"] == 2
    assert (counts["side"], counts["on doubtful objects"], counts["false"]) == (1, 1, 2)


def test_patches_of_several_sets_are_split_by_micrograph(tmp_path):
    mix, patch_data = (importlib.import_module(n) for n in ("bootstrap_mix", "patch_data"))
    sources = {}
    for name, squares in (("discs", False), ("both", True)):
        sources[name], *_ = patch_data.make_patches(tmp_path / name, 4, squares, samples=40)
    told = mix.mix(sources, tmp_path / "mixed.h5", 40, seed=0)
    with Dataset(tmp_path / "mixed.h5") as dataset:
        patches, names = dataset.patches, dataset.micrograph_names
    assert patches.classes == ["top", "side", "background"]
    assert told["originals"]["discs"]["side"] == 0 < told["originals"]["both"]["side"]
    assert names == [f"{name}: mic{i}" for name in ("discs", "both") for i in range(4)]
    for micrograph in np.unique(patches.micrograph):
        assert len(np.unique(patches.split[patches.micrograph == micrograph])) == 1
    owners = patches.micrograph[patches.draws.row] // 4
    assert {len(np.unique(owners[patches.drawn(part)])) for part in range(len(NAMES))} == {2}


def test_a_target_that_is_missed_is_told():
    report = importlib.import_module("bootstrap_report")
    parts = [{"name": f"m{i}", "f1": f1} for i, f1 in enumerate((0.98, 0.96))]
    detection = {"runs": {"diameter given": {"found": {"all": {"per_micrograph": parts}}}}}
    seconds = {"picking, `dense`": 0.942, "picking, `alexnet`": 94.2}
    rows = {label: {"median": {"seconds": value}} for label, value in seconds.items()}
    time = {"rows": rows, "paper_minutes_on_a_cpu": 15.7}
    lines = "\n".join(report._targets({"detection": detection, "time": time}))
    assert "| 0.97 each | 0.9800, 0.9600: **missed** |" in lines
    assert "| 100 | 1000 |" in lines
    assert "| 100 | 10: **missed** |" in lines


def test_the_tables_in_the_documentation_are_those_of_the_record():
    sections, report = (importlib.import_module(n) for n in ("sections", "bootstrap_report"))
    begin, end = sections.markers(report.TARGET)
    page = sections.PAGE.read_text(encoding="utf-8")
    body = page[page.index(begin) + len(begin) : page.index(end)].strip()
    file = ROOT / "benchmarks" / "bootstrap.json"
    record = json.loads(file.read_text()) if file.is_file() else {}
    assert body == "\n".join(report.tables(record)).strip()
