"""Draw how a training set comes out of bare micrographs: all stages, examples, the diameter.

    . scripts/env.sh
    python scripts/bootstrap_pictures.py                                    # docs/images, simulated
    python scripts/bootstrap_pictures.py --micrographs M.mrc --diameter 110 \
        --name mine --out screenshots                                       # yours

Without --micrographs one micrograph each of a ring, of side views of a barrel and of an irregular
particle is simulated. ``make bench-bootstrap ARGS="--only pictures"``
draws those of the real sets.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageColor

from apbc.display.bootstrap import (
    BAD,
    EXAMPLES,
    GOOD,
    SHAPE_COLOURS,
    StageRecord,
    read_stages,
    stage_figure,
    stage_sheet,
)
from apbc.io.files import atomic_path

REPOSITORY = Path(__file__).resolve().parents[1]
WORK = REPOSITORY / "screenshots" / "bootstrap"
IMAGES = REPOSITORY / "docs" / "images"
GREYS, TINTS = 40, 5  # in the palette: noise hardly compresses, and fewer colours are smaller files
ACCENTS = (GOOD, BAD, *SHAPE_COLOURS.values())
WIDEST = 1600  # pixels

# Name of a picture: options of the simulation, diameter in Å, shapes that are looked for. Side
# views and irregular particles are seen with a phase plate; without, their inside is striped.
PHASE_PLATE = ["--phase-shift", "90", "--defocus", "3000", "5000"]
SIMULATED: dict[str, tuple[list[str], float, str]] = {
    "ring": (
        ["--builtin", "barrel", "--views", "preferred:1000", "--defocus", "12000", "15000"],
        120.0,
        "auto",
    ),
    "barrel": (["--builtin", "barrel", "--views", "side", *PHASE_PLATE], 125.0, "side"),
    "irregular": (["--builtin", "tetramer", *PHASE_PLATE], 140.0, "auto"),
}
ESTIMATED = "ring"  # of which the diameter is estimated, too
SCENE = ["--micrographs", "1", "--size", "1024", "1024", "--pixel-size", "3.3", "--seed", "5"]
SCENE += ["--carbon", "0", "--overlap", "0", "--no-crystals", "--no-ethane"]


def run(*words: object) -> None:
    """Run a verb of the engine."""
    subprocess.run([sys.executable, "-m", "apbc", *map(str, words)], check=True)


def simulated(name: str, folder: Path) -> Path:
    """Simulate a micrograph."""
    words, *_ = SIMULATED[name]
    run("simulate", "micrographs", "--out", folder, *words, *SCENE)
    return next((folder / "micrographs").glob("*.mrc"))


def draw(
    micrograph: Path,
    diameter: float | None,
    name: str,
    out: Path,
    shape: str = "auto",
    invert: bool = False,
) -> None:
    """Run a bootstrap on a micrograph, and draw its stages and examples.

    Writes ``bootstrap_NAME.png``, ``bootstrap_NAME_examples.png`` and, where the diameter had to be
    estimated, ``bootstrap_NAME_diameter.png``.
    """
    with tempfile.TemporaryDirectory() as folder:
        record = found(micrograph, diameter, Path(folder), shape, invert)
        save(stage_sheet(record), out / f"bootstrap_{name}.png")
        save(stage_figure(record, EXAMPLES), out / f"bootstrap_{name}_examples.png")
        if diameter is None:
            shrink(Path(folder) / "diameter.png", out / f"bootstrap_{name}_diameter.png")


def draw_simulated(out: Path) -> None:
    """Draw the pictures of the documentation."""
    with tempfile.TemporaryDirectory() as temporary:
        for name, (_, diameter, shape) in SIMULATED.items():
            folder = Path(temporary) / name
            micrograph = simulated(name, folder)
            record = found(micrograph, diameter, folder / "found", shape)
            save(stage_sheet(record), out / f"bootstrap_{name}.png")
            if name == ESTIMATED:
                found(micrograph, None, folder / "estimated")
                shrink(folder / "estimated" / "diameter.png", out / "bootstrap_diameter.png")


def found(
    micrograph: Path,
    diameter: float | None,
    folder: Path,
    shape: str = "auto",
    invert: bool = False,
) -> StageRecord:
    """Run a bootstrap on a micrograph; give its stages."""
    words = ["--shape", shape, *["--invert"] * invert]
    words += [] if diameter is None else ["--diameter", str(diameter)]
    run("bootstrap", "--micrographs", micrograph, *words, "--examples-only", "--out", folder)
    return read_stages(folder / "stages" / f"{micrograph.stem}.npz")


def save(figure: Figure, target: Path) -> None:
    """Write a figure, small."""
    with tempfile.TemporaryDirectory() as folder:
        figure.savefig(Path(folder) / "drawn.png")
        shrink(Path(folder) / "drawn.png", target)


def shrink(source: Path, target: Path) -> None:
    """Copy a picture, narrower and with few colours: greys, and tints of those that mark."""
    picture = Image.open(source).convert("RGB")
    if picture.width > WIDEST:
        height = round(picture.height * WIDEST / picture.width)
        picture = picture.resize((WIDEST, height), Image.Resampling.LANCZOS)
    few = picture.quantize(palette=palette(), dither=Image.Dither.NONE)
    with atomic_path(target) as temporary:
        few.save(temporary, format="png", optimize=True)
    sys.stdout.write(f"wrote {target}\n")


def palette() -> Image.Image:
    """Greys, and the colours of the marks mixed with black and with white."""
    greys = [(value, value, value) for value in np.linspace(0, 255, GREYS).round().astype(int)]
    shares = np.linspace(0, 1, TINTS + 1)[1:, None]
    colours = [np.array(ImageColor.getrgb(name), float) for name in ACCENTS]
    tints = [share * c + (1 - share) * end for c in colours for end in (0, 255) for share in shares]
    few = np.unique(np.concatenate([greys, np.rint(tints).astype(int)]), axis=0)
    holder = Image.new("P", (1, 1))
    holder.putpalette(few.astype(np.uint8).ravel().tolist())
    return holder


def main() -> None:
    """Draw them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--micrographs", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--diameter", type=float, metavar="A", help="default: estimated")
    parser.add_argument(
        "--shape", default="auto", metavar="LIST", help="as of apbc bootstrap (default: auto)"
    )
    parser.add_argument("--invert", action="store_true", help="particles are brighter than the ice")
    parser.add_argument("--name", default="mine", help="in the names of the pictures")
    parser.add_argument("--out", type=Path, help="default: screenshots/bootstrap, or docs/images")
    args = parser.parse_args()
    if args.micrographs:
        for i, path in enumerate(args.micrographs):
            name = args.name if i == 0 else f"{args.name}_{i + 1}"
            draw(path, args.diameter, name, args.out or WORK, args.shape, args.invert)
        return
    draw_simulated(args.out or IMAGES)


if __name__ == "__main__":
    main()
