"""Draw how a training set comes out of bare micrographs: all stages, examples, the diameter.

    . scripts/env.sh
    python scripts/bootstrap_pictures.py                                    # docs/images, simulated
    python scripts/bootstrap_pictures.py --micrographs M.mrc --diameter 110 \
        --name mine --out screenshots                                       # yours

Without --micrographs one micrograph each of a ring, of side views of a barrel and of an irregular
particle is simulated, in screenshots/bootstrap. ``make bench-bootstrap ARGS="--only pictures"``
draws those of the real sets.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from apbc.display.bootstrap import EXAMPLES, read_stages, stage_figure, stage_sheet
from apbc.io.files import atomic_path

REPOSITORY = Path(__file__).resolve().parents[1]
WORK = REPOSITORY / "screenshots" / "bootstrap"
IMAGES = REPOSITORY / "docs" / "images"
COLOURS = 96  # of a picture: noise hardly compresses, and fewer colours are smaller files
WIDEST = 1600  # pixels

# Name of a picture: options of the simulation, diameter in Å.
SIMULATED: dict[str, tuple[list[str], float]] = {
    "ring": (["--builtin", "cage", "--pixel-size", "2.5"], 150.0),
    "barrel": (["--builtin", "barrel", "--pixel-size", "2.5", "--views", "side"], 171.0),
    "irregular": (["--builtin", "tetramer", "--pixel-size", "2.5"], 158.0),
}
SCENE = ["--micrographs", "1", "--size", "1024", "1024", "--carbon", "0", "--seed", "5"]
SCENE += ["--overlap", "0", "--no-crystals", "--no-ethane"]


def run(*words: object) -> None:
    """Run a verb of the engine."""
    subprocess.run([sys.executable, "-m", "apbc", *map(str, words)], check=True)


def simulated(name: str) -> Path:
    """Simulate a micrograph, or take that of an earlier run of the same command."""
    words, _ = SIMULATED[name]
    run("simulate", "micrographs", "--out", WORK / name, *words, *SCENE)
    return next((WORK / name / "micrographs").glob("*.mrc"))


def draw(micrograph: Path, diameter: float | None, name: str, out: Path) -> None:
    """Run a bootstrap on a micrograph, and draw its stages.

    Writes ``bootstrap_NAME.png`` (all stages), ``bootstrap_NAME_examples.png`` and, where the
    diameter had to be estimated, ``bootstrap_NAME_diameter.png``.
    """
    with tempfile.TemporaryDirectory() as folder:
        words = [] if diameter is None else ["--diameter", diameter]
        run("bootstrap", "--micrographs", micrograph, *words, "--examples-only", "--out", folder)
        record = read_stages(Path(folder) / "stages" / f"{micrograph.stem}.npz")
        figures = {"": stage_sheet(record), "_examples": stage_figure(record, EXAMPLES)}
        for suffix, figure in figures.items():
            drawn = Path(folder) / "drawn.png"
            figure.savefig(drawn)
            shrunk(drawn, out / f"bootstrap_{name}{suffix}.png")
        if diameter is None:
            shrunk(Path(folder) / "diameter.png", out / f"bootstrap_{name}_diameter.png")


def shrunk(source: Path, target: Path) -> None:
    """Copy a picture, narrower and with fewer colours."""
    picture = Image.open(source).convert("RGB")
    if picture.width > WIDEST:
        height = round(picture.height * WIDEST / picture.width)
        picture = picture.resize((WIDEST, height), Image.Resampling.LANCZOS)
    with atomic_path(target) as temporary:
        picture.quantize(COLOURS, dither=Image.Dither.NONE).save(
            temporary, format="png", optimize=True
        )
    sys.stdout.write(f"wrote {target}\n")


def main() -> None:
    """Draw them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--micrographs", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--diameter", type=float, metavar="A", help="default: estimated")
    parser.add_argument("--name", default="mine", help="in the names of the pictures")
    parser.add_argument("--out", type=Path, help="default: screenshots/bootstrap, or docs/images")
    parser.add_argument("--fresh", action="store_true", help="simulate anew")
    args = parser.parse_args()
    if args.micrographs:
        for i, path in enumerate(args.micrographs):
            name = args.name if i == 0 else f"{args.name}_{i + 1}"
            draw(path, args.diameter, name, args.out or WORK)
        return
    if args.fresh:
        shutil.rmtree(WORK, ignore_errors=True)
    for name, (_, diameter) in SIMULATED.items():
        draw(simulated(name), diameter, name, args.out or IMAGES)
    draw(simulated("ring"), None, "estimated", args.out or IMAGES)


if __name__ == "__main__":
    main()
