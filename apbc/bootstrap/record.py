"""What ``apbc bootstrap`` keeps beside its examples: the request, and stages for the eye."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from apbc import __version__
from apbc.bootstrap.detect import Detection
from apbc.bootstrap.scale import DetectionScale
from apbc.display.bootstrap import FORMAT as STAGES_FORMAT
from apbc.display.bootstrap import MICROGRAPH
from apbc.display.overlay import SMOOTHING
from apbc.display.thumbnail import grey_limits
from apbc.errors import ApbcError
from apbc.io.files import atomic_path, read_json, write_json

FORMAT = "apbc bootstrap 1"
RECORD = "bootstrap.json"
REQUEST = "request.json"
EXAMPLES, GOOD, BAD, STAGES = "examples", "good", "bad", "stages"
DATA = "data.h5"
DIAMETER_PICTURE = "diameter.png"
LONGEST_SIDE = 1100  # of pictures of stages that are kept


@dataclass(frozen=True)
class Settled:
    """What the first micrographs decided for all.

    Attributes
    ----------
    diameter : float
        Å; as asked for, or estimated.
    low, high : float or None
        Its limits where it was estimated.
    pixel_size : float
        Å per pixel of the micrographs.
    shapes : tuple of str
        Shapes that are looked for.
    dark : bool
        Whether the micrographs told that particles are dark (after an inversion that was asked
        for); False where they could not tell.
    guessed : bool
        Whether the diameter was estimated and nothing stood out.
    other : float or None
        Diameter in Å that round particles have, where that is far from `diameter`.
    unsure : bool
        Whether no micrograph had enough good examples to tell the shapes.
    version : str
        Of this software, by which the first examples were found.
    """

    diameter: float
    low: float | None
    high: float | None
    pixel_size: float
    shapes: tuple[str, ...]
    dark: bool = False
    guessed: bool = False
    other: float | None = None
    unsure: bool = False
    version: str = __version__

    @property
    def final(self) -> bool:
        """Whether the micrographs told everything; else the next ones are asked, too."""
        return self.dark and not self.guessed and not self.unsure


def examples_file(out: Path, name: str) -> Path:
    """Name the table of a micrograph's examples; written last, it tells that all is done."""
    return out / EXAMPLES / f"{name}.csv"


def recall(out: Path, request: Mapping[str, Any]) -> Settled | None:
    """Give what an earlier run of the same request settled.

    Parameters
    ----------
    out : Path
    request : dict
        What decides the examples; plain values.

    Returns
    -------
    Settled or None
        None in a new folder.

    Raises
    ------
    ApbcError
        If the folder holds examples of another request.
    """
    note = out / EXAMPLES / REQUEST
    if not note.is_file():
        return None
    known = read_json(note)
    before = known.get("request", {})
    changed = [
        f"{name.replace('_', ' ')} {_told(before.get(name))} then, {_told(value)} now"
        for name, value in request.items()
        if before.get(name) != value
    ]
    if changed:
        raise ApbcError(
            f"{out} holds examples that were found with other options ({'; '.join(changed)}); give "
            f"another --out, or remove {out / EXAMPLES}"
        )
    settled = dict(known["settled"])
    version = known.get("apbc_version", "unknown")
    return Settled(**{**settled, "shapes": tuple(settled["shapes"]), "version": version})


def keep(out: Path, request: Mapping[str, Any], settled: Settled) -> None:
    """Note what was asked for and settled."""
    note = out / EXAMPLES / REQUEST
    known = read_json(note) if note.is_file() else {"apbc_version": __version__, "stages": []}
    write_json(note, {**known, "request": dict(request), "settled": asdict(settled)})


def claim_stages(out: Path, names: Sequence[str], most: int) -> list[str]:
    """Choose the first micrographs of a run for their stages to be kept, and note them.

    Parameters
    ----------
    out : Path
        Folder for which `keep` was called.
    names : sequence of str
        Micrographs that are to be searched.
    most : int
        Stages to keep of all runs together.

    Returns
    -------
    list of str
    """
    note = out / EXAMPLES / REQUEST
    known = read_json(note)
    others = [name for name in known["stages"] if name not in names]
    claimed = list(names[: max(0, most - len(others))])
    write_json(note, {**known, "stages": [*others, *claimed]})
    return claimed


def _told(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def write_stages(
    path: Path,
    working: npt.NDArray[np.float64],
    scale: DetectionScale,
    detection: Detection,
    settled: Settled,
) -> None:
    """Keep the stages of a micrograph for `apbc.display.bootstrap`, with 8 bits a pixel.

    Parameters
    ----------
    path : Path
        ``NAME.npz``.
    working : ndarray, shape (rows, columns)
        Micrograph at the detection scale.
    scale : DetectionScale
    detection : Detection
    settled : Settled
    """
    factor = -(-max(working.shape) // LONGEST_SIDE)
    sigma = scale.diameter * SMOOTHING
    smooth = ndimage.gaussian_filter(working, sigma, mode="nearest")
    low, high = grey_limits(smooth)
    images = {MICROGRAPH: (smooth - low) / (high - low)}
    images |= {key: np.asarray(value) for key, value in vars(detection.stages).items()}
    found = detection.examples
    about = {
        "format": STAGES_FORMAT,
        "apbc_version": __version__,
        "name": path.stem,
        "pixel_size": settled.pixel_size / scale.factor,
        "diameter": settled.diameter,
        "shape": working.shape,
        "stages": list(images),
        "masks": list(detection.masks),
        "reason": found.reason,
    }
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(
            handle,
            about=np.array(json.dumps(about)),
            **{f"stage_{key}": _binned(image, factor) for key, image in images.items()},
            **{f"mask_{key}": mask[::factor, ::factor] for key, mask in detection.masks.items()},
            positions=found.positions,
            size=found.size,
            shape=found.shape,
            good=found.good,
            angle=found.angle,
            circles=detection.circles,
            rectangles=np.array(
                [[r.x, r.y, r.length, r.width, r.angle] for r in detection.rectangles]
            ).reshape(-1, 5),
        )


def _binned(image: npt.NDArray[np.float64], factor: int) -> npt.NDArray[np.uint8]:
    """Values from 0 to 1 as grey values, means of blocks of pixels."""
    grey = 255 * np.clip(image, 0, 1)
    if factor > 1:
        rows, columns = (n // factor for n in image.shape)
        blocks = grey[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
        grey = blocks.mean(axis=(1, 3))
    return np.rint(grey).astype(np.uint8)
