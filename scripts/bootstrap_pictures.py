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

from matplotlib.figure import Figure
from PIL import Image

from apbc.display.bootstrap import EXAMPLES, StageRecord, read_stages, stage_figure, stage_sheet
from apbc.io.files import atomic_path

REPOSITORY = Path(__file__).resolve().parents[1]
WORK = REPOSITORY / "screenshots" / "bootstrap"
IMAGES = REPOSITORY / "docs" / "images"
COLOURS = 96  # of a picture: noise hardly compresses, and fewer colours are smaller files
WIDEST = 1600  # pixels

# Name of a picture: options of the simulation, diameter in Å.
SIMULATED: dict[str, tuple[list[str], float]] = {
    "ring": (["--builtin", "barrel", "--pixel-size", "2.5", "--views", "preferred:100"], 120.0),
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
    """Run a bootstrap on a micrograph, and draw its stages and examples.

    Writes ``bootstrap_NAME.png``, ``bootstrap_NAME_examples.png`` and, where the diameter had to be
    estimated, ``bootstrap_NAME_diameter.png``.
    """
    with tempfile.TemporaryDirectory() as folder:
        record = found(micrograph, diameter, Path(folder))
        save(stage_sheet(record), out / f"bootstrap_{name}.png")
        save(stage_figure(record, EXAMPLES), out / f"bootstrap_{name}_examples.png")
        if diameter is None:
            shrink(Path(folder) / "diameter.png", out / f"bootstrap_{name}_diameter.png")


def draw_simulated(out: Path) -> None:
    """Draw the pictures of the documentation."""
    with tempfile.TemporaryDirectory() as folder:
        for name, (_, diameter) in SIMULATED.items():
            record = found(simulated(name), diameter, Path(folder) / name)
            save(stage_sheet(record), out / f"bootstrap_{name}.png")
        found(simulated("ring"), None, Path(folder))
        shrink(Path(folder) / "diameter.png", out / "bootstrap_diameter.png")


def found(micrograph: Path, diameter: float | None, folder: Path) -> StageRecord:
    """Run a bootstrap on a micrograph; give its stages."""
    words = [] if diameter is None else ["--diameter", diameter]
    run("bootstrap", "--micrographs", micrograph, *words, "--examples-only", "--out", folder)
    return read_stages(folder / "stages" / f"{micrograph.stem}.npz")


def save(figure: Figure, target: Path) -> None:
    """Write a figure, small."""
    with tempfile.TemporaryDirectory() as folder:
        figure.savefig(Path(folder) / "drawn.png")
        shrink(Path(folder) / "drawn.png", target)


def shrink(source: Path, target: Path) -> None:
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
    draw_simulated(args.out or IMAGES)


if __name__ == "__main__":
    main()
