"""Tables of ``bootstrap.py`` in docs/benchmarks.md, from its record ``bootstrap.json``.

The figures of the paper are those of its text (Al-Azzawi et al. 2020, BMC Bioinformatics 21:509,
doi:10.1186/s12859-020-03809-7); bodies of its tables 1 to 9 could not be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sections
from sections import number, spread, table_head, table_row, told_gigabytes, told_seconds

from apbc.picking.windows import scale_factor

PROGRAM, TARGET = "bootstrap.py", "bench-bootstrap"
F1_DETECTION, F1_APOFERRITIN, F1_GALACTOSIDASE, ACCURACY = 0.97, 0.97, 0.80, 0.97
SECONDS, TIMES_FASTER = 3.0, 100.0
KINDS = (
    "all examples, good and bad, since most bad ones are particles (but for those that are said to "
    "be none); all but those called faint, whose evidence is thin; the good ones alone"
)
NOT_HERE = "not measured here"
GALACTOSIDASE = "beta-galactosidase"
PAPER_BOXES = (94, 221, 320)  # pixels: apoferritin, KLH side, ribosome


def tables(record: Mapping[str, Any]) -> list[str]:
    """Tables of all sections of a record, as lines of Markdown.

    Parameters
    ----------
    record : mapping
        Of `sections.merge`.
    """
    lines = sections.tables(PROGRAM, record, TITLES, MAKERS)
    if not lines:
        return []
    figures = {name: part["figures"] for name, part in record.items() if part["figures"]}
    lines += ["### Against the targets of the bootstrap", "", *_targets(figures), ""]
    return [*lines, "### Beside the figures of the paper", "", *_paper(figures), ""]


# --- sections ----------------------------------------------------------------------------------


def _detection(figures: Mapping[str, Any]) -> list[str]:
    told = f"Scored {figures['rule']}. Found: {KINDS}."
    names = ["diameter", "micrograph", "found", "particles", "precision", "recall", "F1"]
    names += ["F1, all but faint", "F1, good alone"]
    names += ["by the authors' rule: precision, recall, F1"]
    lines = [told, "", *table_head(*names)]
    for label, run in figures["runs"].items():
        size = f"{label}: {run['diameter']:.0f} Å"
        if run["low"] is not None:
            size += f" ({run['low']:.0f} to {run['high']:.0f})"
        found = run["found"]
        theirs = found["all"]["authors_rule"]["per_micrograph"]
        others = (found[which]["per_micrograph"] for which in ("all but faint", "good alone"))
        rows = zip(found["all"]["per_micrograph"], *others, theirs, strict=True)
        for part, clear, good, rule in rows:
            counts = [str(part[key]) for key in ("picks", "truth")]
            ours = [number(part[key]) for key in ("precision", "recall", "f1")]
            ours += [number(clear["f1"]), number(good["f1"])]
            rules = ", ".join(number(rule[key]) for key in ("precision", "recall", "f1"))
            lines.append(table_row(size, part["name"], *counts, *ours, rules))
    return [*lines, "", f"By the authors' rule {figures['authors_rule']}."]


def _taught(figures: Mapping[str, Any]) -> list[str]:
    names = ["set", "scored", "labels (precision)", "precision", "recall", "F1"]
    names += ["average precision", "training", "F1 of Relion's LoG"]
    lines = table_head(*names)
    for name, part in figures.items():
        for fold in part["folds"]:
            dense, labels, blobs = fold["dense"], fold["labels"], fold["log"]
            scored = fold["scored"]
            lines.append(
                table_row(
                    name,
                    scored[0] if len(scored) == 1 else f"the last {len(scored)}",
                    f"{labels['picks']} ({number(labels['precision'])})",
                    *[spread(dense.get(key)) for key in ("precision", "recall", "f1")],
                    spread(dense.get("average_precision")),
                    told_seconds(dense.get("training_seconds")),
                    number(blobs and blobs["f1"]),
                )
            )
    lines += ["", "Mean and range of the seeds. Labels are those that the bootstrap makes of the"]
    lines[-1] += " training micrographs; their precision is counted against the truth, of which"
    lines[-1] += " nothing learns."
    known = figures[GALACTOSIDASE]["from_labels"]
    if known:
        lines[-1] += (
            " The same network from the labels of the same seven beta-galactosidase micrographs"
            f" (`picking.py`): F1 {spread(known['f1'])}."
        )
    return lines


def _klh(figures: Mapping[str, Any]) -> list[str]:
    marked = figures["marked"]
    names = [f"{shape} views of {count} marked" for shape, count in marked.items()]
    lines = table_head("found", *names, "told as another shape", "false", "on doubtful objects")
    for label, row in figures["found"].items():
        wrong = sum(row[f"{shape} as another shape"] for shape in marked)
        cells = [row[shape] for shape in marked]
        cells += [wrong, row["false"], row["on doubtful objects"]]
        lines.append(table_row(label, *map(str, cells)))
    told = f"Marked by {figures['marked_by']}; {figures['doubtful']} objects (side views of twice"
    told += " the length, some across one another) count neither as found nor as false. The picture"
    return [*lines, "", f"{told} with examples and marks is `{figures['picture']}`."]


def _alexnet(figures: Mapping[str, Any]) -> list[str]:
    found = figures["classifier"]
    classes, test = found["classes"], found["test"]
    shapes = "; ".join(f"{name} ({told})" for name, told in found["shapes"].items())
    many = ", ".join(f"{count} of {name}" for name, count in found["micrographs"].items())
    lines = [
        f"One classifier of {len(classes)} classes: {shapes}, background from all of them. Patches"
        f" of {many} micrographs, each set split into training, validation and test by micrograph"
        f" before patches are turned; {found['samples']} draws of a class"
        f" ({' '.join(found['training_options'])}; {told_seconds(found['training_seconds'])} of"
        " training). Side views come from simulated micrographs, as there is one micrograph of KLH"
        " alone, which cannot be split. Classes are what the bootstrap calls them, not the truth;"
        " and where a class is of one set alone, sets may be told apart rather than shapes, as in"
        " the paper.",
        "",
        *table_head("true class", *[f"called {name}" for name in classes], "recall"),
    ]
    for name, row in zip(classes, test["confusion"], strict=True):
        lines.append(table_row(name, *map(str, row), number(test["recall"][name])))
    parts = [
        f"{name} {number(part['accuracy'])} of {part['samples']}"
        for name, part in found["by_source"].items()
    ]
    told = f"Accuracy {number(test['accuracy'])} of {test['samples']} patches"
    lines += ["", f"{told} ({'; '.join(parts)}).", ""]
    picked = figures["picking"]
    own = picked["figures"]
    lines += table_head(
        "picking apoferritin", "precision", "recall", "F1", "F1 by the authors' rule", "training"
    )
    lines.append(
        table_row(
            f"{', '.join(picked['scored'])}, trained on the other two",
            *[number(own[key]) for key in ("precision", "recall", "f1")],
            number(own["authors_rule"]["f1"]),
            told_seconds(picked["training_seconds"]),
        )
    )
    return lines


def _time(figures: Mapping[str, Any]) -> list[str]:
    rows, columns = figures["shape"]
    lines = [f"{figures['what'].capitalize()}; {columns} x {rows} pixels.", ""]
    lines += table_head(
        *("what", "a micrograph more", "of CPU time", "start, once a run"),
        *("a micrograph of the longer run, start included", "peak memory"),
        "faster than the paper's CPU",
    )
    for label, row in figures["rows"].items():
        middle = row["median"]
        cells = [told_seconds(middle[k]) for k in ("seconds", "cpu_seconds", "start_seconds")]
        cells.append(f"{told_seconds(middle['whole_seconds'])} (of {row['micrographs'][1]})")
        cells.append(told_gigabytes(middle["peak_gb"]))
        faster = f"{_faster(figures, row):.0f} times" if label.startswith("picking") else "-"
        lines.append(table_row(label, *cells, faster))
    minutes = figures["paper_minutes_on_a_cpu"]
    told = f"The paper tells {minutes:g} minutes a micrograph on a CPU (i7-6900K), the mean of"
    return [*lines, "", f"{told} micrographs of 1240 x 1200 to 4096 x 4096 pixels."]


def _faster(figures: Mapping[str, Any], row: Mapping[str, Any]) -> float:
    """Tell how many times as fast as the paper's a micrograph more is."""
    return float(60 * figures["paper_minutes_on_a_cpu"] / row["median"]["seconds"])


def _pictures(figures: Mapping[str, Any]) -> list[str]:
    return [f"Look at {', '.join(f'`{path}`' for path in figures['pictures'])}."]


# --- all of them together ----------------------------------------------------------------------


def _targets(figures: Mapping[str, Any]) -> list[str]:
    lines = table_head("figure", "target", "measured")

    def add(what: str, target: str, told: str, reached: bool) -> None:
        lines.append(table_row(what, target, told if reached else f"{told}: **missed**"))

    if part := figures.get("detection"):
        rows = part["runs"]["diameter given"]["found"]["all"]["per_micrograph"]
        f1 = [row["f1"] for row in rows]
        told = ", ".join(number(value, 4) for value in f1)
        what = "bootstrap alone (good and bad examples), three apoferritin micrographs, F1"
        add(what, f"{F1_DETECTION} each", told, min(f1) >= F1_DETECTION)
    if part := figures.get("taught"):
        for name, target in (("apoferritin", F1_APOFERRITIN), (GALACTOSIDASE, F1_GALACTOSIDASE)):
            means = [fold["dense"]["f1"]["mean"] for fold in part[name]["folds"]]
            told = ", ".join(spread(fold["dense"]["f1"], 4) for fold in part[name]["folds"])
            what = f"bootstrap, `dense`, pick, no label: {name}, F1"
            add(what, f"{target:.2f}", told, min(means) >= target)
    if part := figures.get("klh"):
        row, clear = part["found"]["all"], part["found"]["all but faint"]
        found = [f"{row[s]} of {n} {s} views" for s, n in part["marked"].items()]
        whole = all(row[s] == n for s, n in part["marked"].items()) and not row["false"]
        told = f"{', '.join(found)}, {row['false']} false ({clear['false']} without faint ones)"
        add("KLH, what a person marks", "every one, no false pick", told, whole)
    if part := figures.get("alexnet"):
        part = part["classifier"]
        accuracy = part["test"]["accuracy"]
        what = (
            f"AlexNet classifier, split by micrograph, {part['samples']} draws a class, side views "
            "simulated, accuracy"
        )
        add(what, str(ACCURACY), number(accuracy), accuracy >= ACCURACY)
    if part := figures.get("time"):
        for label, row in part["rows"].items():
            if label.startswith("bootstrap"):
                spent = row["median"]["whole_seconds"]
                what = f"{label}, a micrograph, start included"
                add(what, f"{SECONDS:g} s", told_seconds(spent), spent < SECONDS)
            else:
                faster = _faster(part, row)
                what = f"{label}, times faster than the paper's CPU, start left out"
                add(what, f"{TIMES_FASTER:.0f}", f"{faster:.0f}", faster >= TIMES_FASTER)
    return lines


def _paper(figures: Mapping[str, Any]) -> list[str]:
    """Set all figures of the paper's text beside ours, and tell where it contradicts itself."""
    lines = [
        "All figures of the text of the paper (the bodies of its tables could not be read). Where"
        " it contradicts itself, it is quoted as printed and the contradiction told.",
        "",
        *table_head("figure", "paper", "here"),
    ]
    for what, theirs, ours in (*_paper_accuracy(figures), *_paper_network(figures)):
        lines.append(table_row(what, theirs, ours))
    return lines


def _paper_accuracy(figures: Mapping[str, Any]) -> Sequence[tuple[str, str, str]]:
    ours = NOT_HERE
    if part := figures.get("taught"):
        means = {
            name: [fold["dense"]["average_precision"]["mean"] for fold in row["folds"]]
            for name, row in part.items()
        }
        told = "; ".join(f"{name} {', '.join(map(number, row))}" for name, row in means.items())
        ours = f"average precision of `dense`: {told}"
    found = NOT_HERE
    if part := figures.get("klh"):
        row = part["found"]["all"]
        found = f"one micrograph: {row['top']} of {part['marked']['top']} top and {row['side']} of"
        found += f" {part['marked']['side']} side views, {row['false']} false"
    peers = "not measured here: its 80 micrographs are not at hand"
    return [
        (
            "overall average precision and recall, apoferritin, KLH top and side, 80S ribosome, "
            "beta-galactosidase",
            "97 %",
            f"{ours}; 80S ribosome not at hand",
        ),
        (
            "KLH benchmark, micrographs",
            '80, "80 %/20 %", which is 60 for training and 20 for test (75 %/25 %)',
            found,
        ),
        (
            "KLH, particles for training",
            "1,587, which is 725 top + 853 side = 1,578",
            peers,
        ),
        ("KLH, particles for test", "545 = 293 top + 252 side", peers),
        (
            "DeepCryoPicker on KLH, average precision and recall; F1",
            "94.5 %; 95.50 % (no harmonic mean exceeds the mean of the same precision and recall: "
            "averages of different kinds)",
            peers,
        ),
        ("RELION-2 on KLH", "94 %; 93.50 %", peers),
        ("DeepEM on KLH", "89 %; 89 %", peers),
        ("PIXER on KLH", "87.5 %; 87 %", peers),
        ("DeepPicker on KLH", "87.5 %; 88 % (as above)", peers),
        (
            "settings of the others",
            "DeepEM 800 + 800 examples, box 272, bound 0.6, at most 500 particles a micrograph; "
            "RELION 100 top + 100 side of the first 10 micrographs, 10 classes, 20 Å; PIXER 5,000 "
            "particles and 10,000 micrographs of 512 x 512; DeepPicker 10,000 TRPV1 particles of "
            "64 x 64, validation 1/9",
            "none of them was run",
        ),
    ]


def _paper_network(figures: Mapping[str, Any]) -> Sequence[tuple[str, str, str]]:
    accuracy = training = NOT_HERE
    if part := figures.get("alexnet"):
        test = part["classifier"]["test"]
        accuracy = f"accuracy {number(test['accuracy'])}, split by micrograph before turning"
        seconds = part["classifier"]["training_seconds"]
        training = f"`alexnet` {told_seconds(seconds)}"
    if part := figures.get("taught"):
        dense = [f["dense"]["training_seconds"] for row in part.values() for f in row["folds"]]
        told = " and ".join(told_seconds(value) for value in (dense[0], dense[-1]))
        training = f"`dense` {told} (apoferritin, {GALACTOSIDASE}); {training}"
    cpu = NOT_HERE
    if part := figures.get("time"):
        cpu = "; ".join(
            f"{label}: {told_seconds(row['median']['seconds'])}"
            for label, row in part["rows"].items()
            if label.startswith("picking")
        )
    scale = "by the rule that is told: " + "; ".join(
        f"{box} px x {scale_factor(box):g} = {box * scale_factor(box):g}" for box in PAPER_BOXES
    )
    return [
        ("classifier, 3 shapes, background and negative", "average precision 98 %", NOT_HERE),
        ("classifier, 3 shapes and negative", "99 %", NOT_HERE),
        ("classifier, 3 shapes and background (best)", "100 %; test accuracy 99.89 %", accuracy),
        (
            "patches of a class",
            "1,500: 960 + 240 + 300; the totals 5,250/2,250 and 4,200/1,800 are 70/30 instead",
            "64/16/20, default 1,500",
        ),
        (
            "scaling of micrographs, boxes",
            "apoferritin 94 px x 2.375 = 224, image 3373 (x 2.375 it is 2945 x 2850); KLH 187 and "
            "221 px, not scaled (187 alone would be, x 1.125: the largest class decides); ribosome "
            "320 px x 0.625 = 212 (it is 200), image 4030 (it is 2560)",
            scale,
        ),
        ("learning rate", "0.0001 at first", "0.0001 (Adam)"),
        ("training", "22 to 144 minutes (GTX 1070)", training),
        ("picking, a micrograph, CPU", "15.7 minutes (i7-6900K)", cpu),
        ("picking, a micrograph, GPU", "1.95 minutes (GTX 1070)", f"{NOT_HERE}: no GPU at hand"),
    ]


TITLES = {
    "detection": "Detection alone",
    "taught": "Taught by what was detected, no label at any point",
    "klh": "KLH, top and side views",
    "alexnet": "The paper's network",
    "time": "Time of bootstrap and picking",
    "pictures": "Pictures of the real sets",
}
MAKERS = {
    "detection": _detection,
    "taught": _taught,
    "klh": _klh,
    "alexnet": _alexnet,
    "time": _time,
    "pictures": _pictures,
}
