"""Links, pictures, parameters and commands in the documentation."""

import re
import shlex
from pathlib import Path

import pytest

from apbc.commands.main import build_parser

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGES.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.S)


def anchors(page):
    """Anchors that GitHub makes of the headings of a page."""
    heads = re.findall(r"(?m)^#+ (.+)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def links(page):
    """Targets of links and pictures of a page that are no web addresses."""
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    return [t for t in LINK.findall(text) if not re.match(r"[a-z]+:", t)]


def commands(page):
    """Command lines of apbc in the indented blocks of a page."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    return [line.split("  #")[0] for line in re.findall(r"(?m)^ {4}(apbc .+)$", text)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_pictures_are_there(page):
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        assert file.is_relative_to(ROOT)
        if anchor:
            assert anchor in anchors(file), f"{page.name} links to {target}"


def test_the_first_picture_of_the_readme_is_the_picks_viewer():
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert pictures[0] == "docs/images/picks_viewer.png"


def test_every_picture_is_shown_somewhere():
    shown = {
        (page.parent / target).resolve()
        for page in PAGES
        for target in links(page)
        if target.endswith(".png")
    }
    assert set((ROOT / "docs" / "images").glob("*.png")) <= shown


def test_every_page_can_be_reached_from_the_readme():
    found, left = set(), [ROOT / "README.md"]
    while left:
        page = left.pop()
        if page not in found:
            found.add(page)
            targets = [(page.parent / t.partition("#")[0]).resolve() for t in links(page)]
            left += [t for t in targets if t.suffix == ".md"]
    assert set(PAGES) <= found


def test_every_protocol_has_a_page():
    sources = (ROOT / "apbc_scipion" / "protocols").glob("protocol_*.py")
    labels = [re.search(r'_label = "(.+)"', s.read_text(encoding="utf-8")) for s in sources]
    names = {found[1].replace(" ", "_") for found in labels if found}
    pages = {page.stem for page in (ROOT / "docs" / "protocols").glob("*.md")}
    assert names and pages - {"README"} == names


def test_commands_are_ones_that_the_program_takes():
    lines = [(page.name, line) for page in PAGES for line in commands(page)]
    assert len(lines) > 15
    for name, line in lines:
        words = shlex.split(re.split(r"\s(?:\|\||&&|\|)\s", line)[0])[1:]
        try:
            build_parser(words[0]).parse_args(words)
        except SystemExit as error:
            assert error.code == 0, f"{name}: {line}"
