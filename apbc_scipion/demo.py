"""Run the whole workflow on a folder of micrographs and show what came out.

    python -m apbc_scipion.demo --out DIR [--data DIR] [--no-relion]

Without --data the engine simulates micrographs first. DATA holds micrographs/ and, each as one
CSV a micrograph with columns x and y: good/ and bad/ (labels, used where Relion is not there) and
truth/ (to score against), all but the micrographs optional when Relion is there.
"""

import argparse
import glob
import html
import json
import logging
import os
import shutil
import subprocess
import sys
import time

logger = logging.getLogger("apbc_scipion.demo")

IMAGES = ("*.mrc", "*.tif", "*.tiff")
TRAINING_SHARE = 0.7


def parse_arguments(words=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m apbc_scipion.demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="made; results go here")
    parser.add_argument("--data", metavar="DIR", help="default: simulate")
    parser.add_argument(
        "--pixel-size",
        type=float,
        metavar="A",
        help="Å per pixel; default: simulation.json, else the MRC header",
    )
    parser.add_argument(
        "--diameter",
        type=float,
        metavar="A",
        help="particle diameter in Å; default: simulation.json",
    )
    parser.add_argument(
        "--training",
        type=int,
        metavar="N",
        help="micrographs the labels come from, first by name; the others are "
        "held out (default: %d %% of them)" % (100 * TRAINING_SHARE),
    )
    parser.add_argument(
        "--no-relion", action="store_true", help="use good/ and bad/ even where Relion is there"
    )
    parser.add_argument("--use-gpu", action="store_true", help="train and pick on a GPU")
    parser.add_argument(
        "--epochs", type=int, default=0, metavar="N", help="default: the engine's own"
    )
    parser.add_argument("--classes", type=int, default=12, metavar="N", help="default: 12")
    parser.add_argument(
        "--iterations",
        type=int,
        default=12,
        metavar="N",
        help="of the 2D classification; default: 12",
    )
    parser.add_argument(
        "--log-threshold",
        type=float,
        default=0.0,
        metavar="T",
        help="of the blind LoG picking, in standard deviations; higher picks less; default: 0",
    )
    parser.add_argument(
        "--edge",
        type=float,
        default=0.0,
        metavar="A",
        help="border in Å that does not count in the evaluation; default: 0",
    )
    parser.add_argument(
        "--micrographs", type=int, default=8, metavar="N", help="to simulate; default: 8"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="default: 1")
    return parser.parse_args(words)


def restart_with_scipion(out):
    """Start this program again with an environment in which Scipion runs.

    Scipion reads its configuration when it is imported, which has happened by now.
    """
    from apbc_scipion.headless import prepare

    prepare(os.path.join(out, "scipion"))
    os.execv(sys.executable, [sys.executable, "-m", "apbc_scipion.demo", *sys.argv[1:]])


def engine(*words):
    """Run a verb of the engine outside of a project."""
    from apbc_scipion.engine import environment, format_arguments, get_command, get_shell

    subprocess.run(
        "%s %s" % (get_command(), format_arguments(words[0], words[1:])),
        shell=True,
        executable=get_shell(),
        env=environment(),
        check=True,
    )


def find_data(args, out):
    """Return the folder of the data, simulated first if none was given."""
    if args.data:
        return os.path.abspath(args.data)
    data = os.path.join(out, "data")
    if not os.path.exists(os.path.join(data, "simulation.json")):
        if os.path.exists(data):
            shutil.rmtree(data)
        engine(
            "simulate",
            "demo",
            "--out",
            data,
            "--micrographs",
            args.micrographs,
            "--seed",
            args.seed,
        )
    return data


def read_settings(args, data):
    """Return the settings of the workflow for a folder of data.

    Raises
    ------
    WorkflowError
        If something that is needed is not there.
    """
    from apbc_scipion import headless, workflow

    micrographs = sorted(
        path for pattern in IMAGES for path in glob.glob(os.path.join(data, "micrographs", pattern))
    )
    if not micrographs:
        raise workflow.WorkflowError(
            "There are no micrographs (%s) in %s."
            % (", ".join(IMAGES), os.path.join(data, "micrographs"))
        )
    known = {}
    if os.path.exists(os.path.join(data, "simulation.json")):
        with open(os.path.join(data, "simulation.json")) as handle:
            known = json.load(handle)
    pixelSize = args.pixel_size or known.get("pixel_size") or header_pixel_size(micrographs[0])
    diameter = args.diameter or known.get("diameter")
    for name, value in (("--pixel-size", pixelSize), ("--diameter", diameter)):
        if not value:
            raise workflow.WorkflowError(
                "%s does not tell the %s; give %s." % (data, name[2:].replace("-", " "), name)
            )
    folders = {
        kind: workflow.read_coordinates(os.path.join(data, kind))
        for kind in ("good", "bad", "truth")
    }
    problem = "--no-relion was given" if args.no_relion else headless.relion_problem()
    if problem:
        if not folders["good"] or not folders["bad"]:
            raise workflow.WorkflowError(
                "Relion is not used (%s), so labels are needed: put coordinates in %s and %s."
                % (problem, os.path.join(data, "good"), os.path.join(data, "bad"))
            )
        logger.warning(
            "SKIPPED: LoG picking, extraction and 2D classification by Relion (%s). "
            "The coordinates in good/ and bad/ take their place.",
            problem,
        )
    training = args.training or max(1, round(TRAINING_SHARE * len(micrographs)))
    return workflow.Settings(
        micrographs=micrographs,
        pixelSize=pixelSize,
        diameter=diameter,
        training=[workflow.stem_of(path) for path in micrographs[:training]],
        useRelion=not problem,
        useGpu=args.use_gpu,
        epochs=args.epochs,
        classes=args.classes,
        iterations=args.iterations,
        seed=args.seed,
        edge=args.edge,
        logThreshold=args.log_threshold,
        **folders,
    )


def header_pixel_size(path):
    """Å per pixel from an MRC header, or None."""
    import mrcfile

    if not path.endswith(".mrc"):
        return None
    with mrcfile.open(path, header_only=True, permissive=True) as handle:
        return float(handle.voxel_size.x) or None


def make_project(out):
    """Make the project, in place of one of an earlier demo, and enter it."""
    from pyworkflow.project import Manager

    name = "project"
    manager = Manager()
    link = manager.getProjectPath(name)
    os.makedirs(os.path.dirname(link), exist_ok=True)
    if os.path.islink(link):
        os.remove(link)
    shutil.rmtree(os.path.join(out, name), ignore_errors=True)
    project = manager.createProject(name, location=out)
    os.chdir(project.getPath())
    return project


def draw_overlay(done, settings, out):
    """Draw the picks of one held-out micrograph; with the truth where there is one.

    Returns
    -------
    str
        Path of the picture.
    """
    from apbc_scipion import convert, workflow

    picks = done["picks"]
    held = [
        path for path in settings.micrographs if workflow.stem_of(path) not in settings.training
    ] or settings.micrographs
    stem = workflow.stem_of(held[-1])
    words = [
        "show",
        os.path.abspath(held[-1]),
        "--picks",
        os.path.abspath(picks._getExtraPath("candidates", stem + ".csv")),
        "--threshold",
        picks.getThreshold(),
        "--diameter",
        settings.diameter,
        "--pixel-size",
        settings.pixelSize,
        "--out",
        os.path.join(out, "overlay.png"),
    ]
    if settings.truth and stem in settings.truth:
        truth = os.path.join(out, "truth", stem + ".csv")
        os.makedirs(os.path.dirname(truth), exist_ok=True)
        with convert.new_file(truth) as handle:
            handle.write("x,y\n")
            handle.writelines("%0.2f,%0.2f\n" % row[:2] for row in settings.truth[stem])
        words += ["--truth", truth]
    engine(*words)
    return os.path.join(out, "overlay.png")


STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2933; background: #f5f7f9; margin: 0; }
main { max-width: 60rem; margin: 2rem auto; padding: 0 1rem 2rem; }
section { background: #fff; border-radius: 10px; padding: 1rem 1.5rem; margin: 1.2rem 0;
  box-shadow: 0 1px 3px rgba(0, 0, 0, .12); }
h1 { font-weight: 600; } h2 { font-size: 1.15rem; font-weight: 600; }
.numbers { display: flex; flex-wrap: wrap; gap: 1.2rem; }
.numbers div { flex: 1 1 8rem; } .numbers b { display: block; font-size: 1.9rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid #e4e8ec; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; border-radius: 6px; } code { background: #eef1f4; padding: 0 .3em; }
"""


def write_report(done, settings, seconds, out):
    """Write ``report.html``: figures, table, overlay, and the report of the training.

    Returns
    -------
    str
        Path of the report.
    """
    from apbc_scipion import convert

    folder = os.path.join(out, "report")
    shutil.rmtree(folder, ignore_errors=True)
    model = done["model"].outputModel.getPath()
    shutil.copytree(model, os.path.join(folder, "model"), ignore=shutil.ignore_patterns("*.keras"))
    parts = ["<section><h2>What was picked</h2><div class='numbers'>"]
    numbers = [
        ("%d" % done["picks"].outputCoordinates.getSize(), "particles picked"),
        ("%d" % len(settings.micrographs), "micrographs"),
        ("%g Å" % settings.diameter, "particle diameter"),
    ]
    good, bad = done["dataset"].outputDataset.getCounts()
    numbers += [("%d" % good, "good labels"), ("%d" % bad, "bad labels")]
    parts += ["<div><b>%s</b>%s</div>" % pair for pair in numbers]
    parts.append(
        "</div><p>Labels came from %s.</p></section>"
        % (
            "Relion's 2D classes, chosen by the rule in <code>choose_classes.py</code>"
            if settings.useRelion
            else "the coordinates in <code>good/</code> and <code>bad/</code>"
        )
    )
    if "evaluation" in done:
        figures = os.path.join(folder, "evaluation.json")
        shutil.copyfile(done["evaluation"]._getExtraPath("evaluation.json"), figures)
        with open(figures) as handle:
            parts.append(
                evaluation_section(
                    json.load(handle), len(settings.training) < len(settings.micrographs)
                )
            )
        plot = done["evaluation"]._getExtraPath("evaluation.png")
        if os.path.exists(plot):
            shutil.copyfile(plot, os.path.join(folder, "evaluation.png"))
            parts.append(
                "<section><h2>Precision and recall</h2>"
                "<img src='report/evaluation.png' alt=''></section>"
            )
    parts.append("<section><h2>One micrograph</h2><img src='overlay.png' alt=''></section>")
    report = os.path.join(folder, "model", "report.html")
    if os.path.exists(report):
        parts.append(
            "<section><h2>The training</h2><p><a href='report/model/report.html'>"
            "Report of the training</a>: curves, calibration, best, worst and most "
            "doubtful crops.</p>"
        )
        if os.path.exists(os.path.join(folder, "model", "report.png")):
            parts.append("<img src='report/model/report.png' alt=''>")
        parts.append("</section>")
    rows = "".join(
        "<tr><td>%s</td><td>%0.0f s</td></tr>" % (html.escape(name), spent)
        for name, spent in seconds.items()
    )
    parts.append("<section><h2>Time</h2><table>%s</table></section>" % rows)
    path = os.path.join(out, "report.html")
    with convert.new_file(path, encoding="utf-8") as handle:
        handle.write(
            "<!doctype html><html lang='en'><meta charset='utf-8'>"
            "<meta name='viewport' content='width=device-width'>"
            "<title>apbc</title><style>%s</style><main>"
            "<h1>Good and bad particles, recycled into a picker</h1>%s</main></html>"
            % (STYLE, "\n".join(parts))
        )
    return path


def evaluation_section(result, heldOut):
    """HTML of the figures against the truth."""
    numbers = "".join(
        "<div><b>%0.3f</b>%s</div>" % (result[key], name)
        for key, name in (
            ("f1", "F1"),
            ("precision", "precision"),
            ("recall", "recall"),
            ("average_precision", "average precision"),
        )
        if result.get(key) is not None
    )
    rows = "".join(
        "<tr><td>%s</td><td>%d</td><td>%d</td><td>%d</td><td>%0.3f</td><td>%0.3f</td>"
        "<td>%0.3f</td></tr>"
        % (
            html.escape(row["name"]),
            row["truth"],
            row["picks"],
            row["hits"],
            row["precision"],
            row["recall"],
            row["f1"],
        )
        for row in result["per_micrograph"]
    )
    return (
        "<section><h2>Against the truth, on %s</h2><div class='numbers'>%s</div><table>"
        "<tr><th>micrograph</th><th>truth</th><th>picks</th><th>hits</th><th>precision</th>"
        "<th>recall</th><th>F1</th></tr>%s</table></section>"
        % (
            "micrographs that did not train the model"
            if heldOut
            else "the micrographs that trained the model (no figure for new data)",
            numbers,
            rows,
        )
    )


def main(words=None):
    """Run the demo; the exit status is 0 if all went well."""
    args = parse_arguments(words)
    out = os.path.abspath(args.out)
    os.makedirs(out, exist_ok=True)
    if "SCIPION_HOME" not in os.environ:
        restart_with_scipion(out)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("apbc_scipion").setLevel(logging.INFO)
    import pyworkflow

    pyworkflow.Config.setDomain("pwem")
    from apbc_scipion import workflow

    start = time.time()
    try:
        settings = read_settings(args, find_data(args, out))
        run = workflow.Workflow(make_project(out), settings, os.path.join(out, "imports"))
        done = run.run()
        overlay = draw_overlay(done, settings, out)
        report = write_report(done, settings, run.seconds, out)
    except workflow.WorkflowError as error:
        sys.stderr.write("apbc demo: error: %s\n" % error)
        return 1
    except subprocess.CalledProcessError as error:
        sys.stderr.write(
            "apbc demo: error: the engine ended with status %d, see above\n" % error.returncode
        )
        return 1
    lines = ["", "Done in %0.0f s." % (time.time() - start)]
    if "evaluation" in done:
        lines += [line.replace("*", "") for line in done["evaluation"].summary()[:2]]
    lines += [
        "Overlay: %s" % overlay,
        "Report:  %s" % report,
        "Project: %s" % os.path.join(out, "project"),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
