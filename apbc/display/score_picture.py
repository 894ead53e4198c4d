"""The score map of a micrograph as a small grey picture: black is 0, white is 1.

Row 0 of the picture is row 0 of the micrograph's MRC; the PNG's text ``extent``
tells which part of the micrograph it covers, in pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Tuple

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from apbc.errors import ApbcError
from apbc.io.files import atomic_path

FloatImage = npt.NDArray[np.float32]
Extent = Tuple[float, float, float, float]

KEY = "extent"


def write_score_picture(
    path: str | Path, probabilities: npt.NDArray[np.floating], extent: Extent
) -> None:
    """Write a score map.

    Parameters
    ----------
    path : str or Path
        ``NAME.png``.
    probabilities : ndarray, shape (rows, columns)
        0 to 1.
    extent : (float, float, float, float)
        Left, right, bottom and top edge in pixels of the micrograph.
    """
    grey = np.rint(255 * np.clip(probabilities, 0, 1)).astype(np.uint8)
    told = PngImagePlugin.PngInfo()
    told.add_text(KEY, " ".join(f"{edge:.3f}" for edge in extent))
    with atomic_path(path) as temporary:
        Image.fromarray(grey).save(temporary, format="png", pnginfo=told)


def read_score_picture(path: str | Path) -> tuple[FloatImage, Extent]:
    """Read what `write_score_picture` wrote.

    Returns
    -------
    probabilities : ndarray of float32, shape (rows, columns)
        In steps of 1/255.
    extent : (float, float, float, float)
        Left, right, bottom and top edge in pixels of the micrograph.

    Raises
    ------
    ApbcError
        If the file is missing, or no score map of ours.
    """
    try:
        with Image.open(path) as picture:
            grey = np.asarray(picture, np.float32)
            edges = [float(word) for word in str(picture.info.get(KEY, "")).split()]
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise ApbcError(f"{path} cannot be read as a score map; pick again to make it") from error
    if grey.ndim != 2 or len(edges) != 4:
        raise ApbcError(f"{path} is no score map of apbc; pick again to make it")
    return grey / 255, (edges[0], edges[1], edges[2], edges[3])
