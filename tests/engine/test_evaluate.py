import json

import numpy as np
import pytest

from apbc.commands.main import main
from apbc.io.coordinates import write_coordinates


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Picks and truth of two micrographs; one hit of two picks, one hit of one."""
    monkeypatch.chdir(tmp_path)
    write_coordinates("truth/a.csv", [[10, 10], [50, 50]])
    write_coordinates("truth/b.csv", [[20, 20]])
    write_coordinates("picks/a.csv", [[13, 14], [80, 80]], [0.9, 0.4])
    write_coordinates("picks/b.box", [[20, 20]], [0.6], 10)
    return tmp_path


def evaluate(capsys, *words):
    status = main(["evaluate", "picks", "truth", *map(str, words)])
    told = capsys.readouterr()
    return status, told.out, told.err


def test_table_json_curve_and_plot(folder, capsys):
    words = ["--diameter", 40, "--pixel-size", 2, "--json", "o.json", "--curve", "o.csv"]
    status, out, _ = evaluate(capsys, *words, "--plot", "o.png")
    assert status == 0
    lines = out.splitlines()
    assert len(lines) == 5 and lines[1].split() == "a 2 2 1 0.500 0.500 0.500".split()
    result = json.loads(lines[-1])
    assert result == json.loads((folder / "o.json").read_text())
    assert result["precision"] == 0.75 and result["recall"] == 0.75 and result["f1"] == 0.75
    assert result["localisation_error"] == 5.0
    assert result["average_precision"] == round(2 / 3, 4)
    assert (result["best_f1"], result["best_threshold"]) == (0.8, 0.6)
    assert [m["hits"] for m in result["per_micrograph"]] == [1, 1]
    assert (folder / "o.csv").read_text().splitlines()[1] == "0.900000,1.000000,0.333333,0.500000"
    assert (folder / "o.png").read_bytes()[:4] == b"\x89PNG"


def test_diameter_in_angstrom_decides_what_is_a_hit(folder, capsys):
    assert (
        json.loads(evaluate(capsys, "--diameter", 9.9, "--pixel-size", 1)[1].splitlines()[-1])[
            "per_micrograph"
        ][0]["hits"]
        == 0
    )
    assert (
        json.loads(evaluate(capsys, "--diameter", 10, "--pixel-size", 1)[1].splitlines()[-1])[
            "per_micrograph"
        ][0]["hits"]
        == 1
    )


def test_the_run_beside_the_picks_gives_pixel_size_and_shapes(folder, capsys, caplog):
    run = {"pixel_size": 2.0, "shapes": {"a": [100, 100], "b": [100, 30]}}
    (folder / "picks" / "run.json").write_text(json.dumps(run))
    status, out, _ = evaluate(capsys, "--diameter", 40, "--edge", 21)
    assert status == 0 and not caplog.records
    rows = json.loads(out.splitlines()[-1])["per_micrograph"]
    assert [(m["truth"], m["picks"]) for m in rows] == [(1, 2), (0, 0)]
    _, out, _ = evaluate(capsys, "--diameter", 40, "--edge", 21, "--shape", 100, 100)
    assert json.loads(out.splitlines()[-1])["per_micrograph"][1]["truth"] == 1


def test_without_pixel_size_a_warning(folder, capsys, caplog):
    assert evaluate(capsys, "--diameter", 20)[0] == 0
    assert "1 Å per pixel is taken" in caplog.text


def test_threshold_and_only(folder, capsys):
    words = ["--diameter", 20, "--pixel-size", 1, "--threshold", 0.5, "--only", "a"]
    result = json.loads(evaluate(capsys, *words)[1].splitlines()[-1])
    assert result["micrographs"] == 1 and result["precision"] == 1.0 and result["recall"] == 0.5


def test_micrographs_without_picks_are_warned_about(folder, capsys, caplog):
    write_coordinates("truth/c.csv", [[20, 20]])
    assert evaluate(capsys, "--diameter", 20, "--pixel-size", 1)[0] == 0
    assert "1 of 3 micrographs have no picks" in caplog.text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--diameter", 0], "--diameter 0 is not a size"),
        (["--diameter", 9, "--pixel-size", -1], "--pixel-size -1 is not a size"),
        (["--diameter", 9, "--edge", -1], "--edge -1 is below 0"),
        (["--diameter", 9, "--edge", 5], "give it with --shape"),
        (["--diameter", 9, "--only", "a", "z"], "micrograph z has no known"),
        (["--diameter", 9, "--only", "z"], "none of the 1 micrographs"),
    ],
)
def test_what_is_wrong_is_told(folder, capsys, words, told):
    status, out, err = evaluate(capsys, *words)
    assert status == 1 and told in err.splitlines()[-1] and not out


def test_picks_without_scores(folder, capsys, caplog):
    for name in ("a.csv", "b.box"):
        write_coordinates(f"picks/{name}", np.array([[20, 20]]), None, 10)
    assert "has no scores" in evaluate(capsys, "--diameter", 9, "--threshold", 0.5)[2]
    status, _, _ = evaluate(capsys, "--diameter", 9, "--curve", "o.csv", "--plot", "o.png")
    assert status == 0 and "no curve is written" in caplog.text
    assert not (folder / "o.png").exists()
    assert not (folder / "o.csv").exists()
    result = json.loads(evaluate(capsys, "--diameter", 9)[1].splitlines()[-1])
    assert result["average_precision"] is None


def test_the_authors_count_a_second_pick_as_right_and_let_it_hide_a_missed_particle(folder, capsys):
    twice = [[10, 13], [10, 7], [80, 80]]
    write_coordinates("picks/a.csv", twice, [0.9, 0.8, 0.1])
    write_coordinates("picks/b.box", [[20, 20], [22, 20], [18, 20]], [0.9, 0.8, 0.7], 10)
    words = ["--diameter", 10, "--pixel-size", 1, "--authors-rule"]
    status, out, _ = evaluate(capsys, *words)
    result = json.loads(out.splitlines()[-1])
    assert status == 0
    first, second = result["authors_rule"]["per_micrograph"]
    # two picks on one of two particles: TP 2, FN |2 - 2|; by our rule one of two is found
    assert [first[key] for key in ("truth", "true", "false", "missed")] == [2, 2, 1, 0]
    assert first["recall"] == 1 and result["per_micrograph"][0]["recall"] == 0.5
    # three picks on the only particle: TP 3, FN |1 - 3|
    assert [second[key] for key in ("truth", "true", "false", "missed")] == [1, 3, 0, 2]
    assert second["precision"] == 1 and second["recall"] == second["accuracy"] == 0.6
    assert result["authors_rule"]["accuracy"] == round((2 / 3 + 0.6) / 2, 4)
    line = next(text for text in out.splitlines() if text.startswith("a  ") and "0.667" in text)
    assert line.split()[1:5] == ["2", "2", "1", "0"]
    assert "authors_rule" not in json.loads(evaluate(capsys, *words[:-1])[1].splitlines()[-1])


def test_the_authors_round_picks_to_pixels_and_hidden_particles_count_neither_way(folder, capsys):
    (folder / "truth" / "a.csv").write_text("x,y,visible\n10,10,1\n50,50,0\n")
    write_coordinates("picks/a.csv", [[15.4, 10], [10, 15.6], [51, 50]], [0.9, 0.8, 0.7])
    words = ["--diameter", 10, "--pixel-size", 1, "--authors-rule", "--only", "a"]
    result = json.loads(evaluate(capsys, *words)[1].splitlines()[-1])
    (row,) = result["authors_rule"]["per_micrograph"]
    assert [row[key] for key in ("truth", "true", "false", "missed")] == [1, 1, 1, 0]


def test_without_picks_the_authors_rule_misses_all(folder, capsys):
    (folder / "picks" / "a.csv").write_text("x,y,score\n")
    words = ["--diameter", 10, "--pixel-size", 1, "--authors-rule", "--only", "a"]
    result = json.loads(evaluate(capsys, *words)[1].splitlines()[-1])["authors_rule"]
    assert result["precision"] == result["f1"] == 0 and result["per_micrograph"][0]["missed"] == 2
