"""What training and picking need to know of a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from apbc.errors import ApbcError

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Architecture:
    """A fully convolutional network that scores every place of a working image.

    Attributes
    ----------
    name : str
        As in ``apbc train --architecture``.
    build : callable
        Makes the Keras model: images ``(batch, rows, cols, 1)`` to logits
        ``(batch, cells, cells, 1)``.
    window : int
        Pixels that one logit sees; an image of this side gives one logit.
    stride : int
        Working pixels from one logit to the next.
    training_crop : int
        Side of the training crops in working pixels: the window and a whole number
        of strides, so that turned and mirrored crops keep their logits in place.
    learning_rate : float
    decays : bool
        Whether the learning rate falls to zero along a cosine.
    epochs : int
        Default number of epochs.
    patience : int
        Epochs without a better validation loss before training stops.
    continuous_rotation : float
        Random rotation up to this fraction of a turn; 0 turns by quarters alone,
        which leaves the pixels as they are.
    most_shift : int
        Random shift of training crops in working pixels.
    outputs : int
        Logits of a place: 1, that of a particle, or one a class.
    """

    name: str
    build: Callable[[], keras.Model]
    window: int
    stride: int
    training_crop: int
    learning_rate: float
    decays: bool
    epochs: int
    patience: int
    continuous_rotation: float
    most_shift: int
    outputs: int = 1

    @property
    def first_cell(self) -> float:
        """Working pixel that the first logit of an image is centred on."""
        return (self.window - 1) / 2

    def cells(self, size: int) -> int:
        """Logits along a side of `size` working pixels."""
        return (size - self.window) // self.stride + 1


def architecture(name: str) -> Architecture:
    """Architecture of a name; that of a classifier with its default settings.

    Raises
    ------
    ApbcError
        If there is none of that name.
    """
    from apbc.models.alexnet import alexnet
    from apbc.models.autopick_bc import AUTOPICK_BC
    from apbc.models.dense import DENSE

    known = {a.name: a for a in (DENSE, AUTOPICK_BC, alexnet())}
    if name not in known:
        raise ApbcError(f"there is no architecture {name!r}; choose one of {', '.join(known)}")
    return known[name]


ARCHITECTURES = ("dense", "autopick-bc")  # learn good from bad, and from places without label
CLASSIFIERS = ("alexnet",)  # learn the shapes of particles from the patches of apbc bootstrap
