"""The record of the picking benchmark and its tables in the documentation."""

import importlib
import json
from pathlib import Path

import pytest

from apbc.errors import ApbcError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def programs(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")


@pytest.fixture
def report():
    return importlib.import_module("picking_report")


@pytest.fixture
def sections():
    return importlib.import_module("sections")


def section(figures, **others):
    return {
        "date": "2026-01-01",
        "machine": {"class": "x86_64", "cpu_cores": 2, "memory_gib": 24, "gpu": "none"},
        "versions": {"apbc": "0.1.0", "relion": None},
        "not_measured": {},
        "figures": figures,
        **others,
    }


def test_a_section_is_replaced_and_the_others_stay(sections, tmp_path):
    record = tmp_path / "picking.json"
    sections.merge(record, {"timing": section({"x": 1}), "gpu": section({"x": 2})})
    sections.merge(record, {"timing": section({"x": 3})})
    known = json.loads(record.read_text())
    assert {name: part["figures"]["x"] for name, part in known.items()} == {"timing": 3, "gpu": 2}


def test_what_could_not_be_measured_does_not_replace_figures(sections, tmp_path):
    record = tmp_path / "picking.json"
    sections.merge(record, {"gpu": section(None)})
    assert json.loads(record.read_text())["gpu"]["figures"] is None
    sections.merge(record, {"gpu": section({"x": 2})})
    sections.merge(record, {"gpu": section(None)})
    assert json.loads(record.read_text())["gpu"]["figures"] == {"x": 2}


def test_tables_take_the_place_of_those_between_the_markers(sections, tmp_path):
    page = tmp_path / "page.md"
    begin, end = sections.markers("bench-picking")
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    sections.write_tables(page, "bench-picking", ["| new |"])
    sections.write_tables(page, "bench-picking", ["| newer |"])
    assert page.read_text() == f"before\n{begin}\n\n| newer |\n\n{end}\nafter\n"


@pytest.mark.parametrize("text", ["", "{end}\n{begin}", "{begin}\n{begin}\n{end}", "{begin}\n"])
def test_a_page_without_its_markers_is_refused_and_left_alone(sections, tmp_path, text):
    page = tmp_path / "page.md"
    begin, end = sections.markers("bench-picking")
    page.write_text(text.format(begin=begin, end=end))
    before = page.read_text()
    with pytest.raises(ApbcError, match="bench-picking"):
        sections.write_tables(page, "bench-picking", ["| new |"])
    assert page.read_text() == before


def test_a_table_tells_its_figures_and_what_is_missing(report):
    costs = {"seconds": 4.0, "cpu_seconds": 5.0, "peak_gb": 1.5}
    median = {**costs, "start_seconds": 30.0}
    steps = {"device": "cpu", "seconds": {"reading": 0.05, "network": 0.25}}
    figures = {"pickers": {"ours": {"median": median}}, "steps": steps}
    record = {"timing": section(figures, not_measured={"Topaz": "no index"})}
    lines = report.tables(record, {})
    assert "| ours | 4.0 s | 5.0 s | 30 s | 1.50 GB |" in lines
    assert "Not measured: Topaz (no index)." in lines
    assert any("apbc 0.1.0" in line and "None" not in line for line in lines)


def test_the_tables_in_the_documentation_are_those_of_the_record(report, sections):
    """Figures of sections that are no programs of their own come from the record alone."""
    known = json.loads((ROOT / "benchmarks" / "picking.json").read_text())
    known = {name: part for name, part in known.items() if name in report.OWN}
    body = told_on_the_page(sections, "bench-picking")
    for line in report.tables(known, {}):
        assert line in body


def told_on_the_page(sections, target):
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    begin, end = sections.markers(target)
    return page[page.index(begin) : page.index(end)]
