"""Turning, mirroring, shifting and rescaling of training crops, inside the compiled graph."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

FloatImage = npt.NDArray[np.float32]


def placements(
    turns: npt.NDArray[np.floating],
    mirrored: npt.NDArray[np.bool_],
    shifts: npt.NDArray[np.floating],
    stored: int,
    side: int,
) -> FloatImage:
    """Where each pixel of training images comes from in the stored crops.

    Parameters
    ----------
    turns : ndarray, shape (n,)
        Angles in turns; quarters move pixels onto pixels.
    mirrored : ndarray of bool, shape (n,)
    shifts : ndarray, shape (n, 2)
        ``x, y`` in working pixels; whole numbers move pixels onto pixels.
    stored, side : int
        Sides of the stored crop, whose middle pixel is ``stored // 2``, and of the
        training image.

    Returns
    -------
    ndarray of float32, shape (n, 2, 3)
        Affine maps from pixel ``x, y`` of the training image to that of the crop.
    """
    angle = 2 * np.pi * turns
    cos, sin = np.cos(angle), np.sin(angle)
    flip = np.where(mirrored, -1.0, 1.0)
    turn = np.stack([np.stack([cos * flip, -sin], 1), np.stack([sin * flip, cos], 1)], 1)
    turn = np.where(np.abs(turn - np.rint(turn)) < 1e-9, np.rint(turn), turn)
    centre = (side - 1) / 2
    target = stored // 2 - side // 2 + centre + shifts
    offset = target - turn.sum(axis=2) * centre
    return np.concatenate([turn, offset[:, :, None]], axis=2).astype(np.float32)


def carry(placement: npt.NDArray[np.floating], points: npt.NDArray[np.floating]) -> Any:
    """Places in the crops, shape (n, m, 2), of points ``x, y`` of training images, shape (m, 2)."""
    return points @ placement[:, :, :2].transpose(0, 2, 1) + placement[:, None, :, 2]


@keras.saving.register_keras_serializable(package="apbc")
class Augment(keras.layers.Layer):
    """Cut training images out of stored crops: an affine map, bilinear, then gain and offset.

    Parameters
    ----------
    side : int
        Of the training images, in pixels.

    Notes
    -----
    Inputs are crops ``(n, stored, stored)``, maps ``(n, 2, 3)`` as `placements` makes
    them, and levels ``(n, 2)``: what grey values are multiplied by and what is added.
    What lies outside of a crop takes the value of its border.
    """

    def __init__(self, side: int, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.side = side
        grid = np.mgrid[:side, :side].reshape(2, -1)[::-1]
        self._points = np.concatenate([grid, np.ones((1, side * side))]).astype(np.float32)

    def call(self, inputs: Any) -> Any:
        """Images, shape (n, side, side, 1)."""
        crops, placement, levels = inputs
        stored = crops.shape[1]
        flat = ops.reshape(ops.cast(crops, "float32"), (-1, stored * stored))
        places = ops.clip(ops.matmul(placement, self._points), 0.0, stored - 1.0)
        low = ops.floor(places)
        part = places - low
        first = ops.cast(low, "int32")
        second = ops.minimum(first + 1, stored - 1)

        def at(rows: Any, columns: Any) -> Any:
            return ops.take_along_axis(flat, rows * stored + columns, axis=1)

        (x0, y0), (x1, y1) = (first[:, 0], first[:, 1]), (second[:, 0], second[:, 1])
        fx, fy = part[:, 0], part[:, 1]
        values = (at(y0, x0) * (1 - fx) + at(y0, x1) * fx) * (1 - fy)
        values += (at(y1, x0) * (1 - fx) + at(y1, x1) * fx) * fy
        values = values * levels[:, :1] + levels[:, 1:]
        return ops.reshape(values, (-1, self.side, self.side, 1))

    def get_config(self) -> dict[str, Any]:
        """Tell the settings, for checkpoints."""
        config = super().get_config()
        config.pop("dtype", None)
        return {**config, "side": self.side}
