"""The model folder: the network, its card, and their check."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apbc.errors import ApbcError
from apbc.io.files import atomic_path, write_json
from apbc.models import alexnet
from apbc.models.architecture import CLASSIFIERS, Architecture, architecture
from apbc.models.calibration import Calibration
from apbc.preprocess.working import Preprocessing

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)

FORMAT = "apbc model 1"
NETWORK_FILE = "model.keras"
CARD_FILE = "card.json"
REQUIRED = (
    "format",
    "apbc_version",
    "architecture",
    "members",
    "preprocessing",
    "calibration",
    "threshold",
    "weights_sha256",
    "training_micrographs",
    "metrics",
)


@dataclass(frozen=True)
class Model:
    """A model folder that was loaded and checked.

    Attributes
    ----------
    folder : Path
    network : keras.Model
        Images ``(batch, rows, cols, 1)`` to logits ``(batch, cells, cells, members)``, of
        a classifier ``(batch, cells, cells, classes)``;
        for scoring alone it may be one of `apbc.models.inference`.
    architecture : Architecture
    preprocessing : Preprocessing
    calibration : Calibration
    card : dict
        All of ``card.json``.
    sliding : callable, optional
        Of a classifier that `apbc.models.inference` loaded, the network of
        `apbc.models.sliding`.
    """

    folder: Path
    network: Any
    architecture: Architecture
    preprocessing: Preprocessing
    calibration: Calibration
    card: dict[str, Any]
    sliding: Any = None

    @property
    def threshold(self) -> float:
        """Probability from which candidates are exported unless the user says otherwise."""
        return float(self.card["threshold"])


def join(members: list[keras.Model], arch: Architecture, precision: str = "float32") -> keras.Model:
    """One network of an ensemble: a channel of logits a member.

    The members are built anew, in float32 unless another policy is told, so that a
    network trained in half precision on a GPU runs anywhere.
    """
    from keras import Input, config, layers
    from keras import Model as KerasModel

    policy = config.dtype_policy()
    config.set_dtype_policy(precision)
    try:
        image = Input((None, None, 1), name="image")
        logits = []
        for i, member in enumerate(members):
            copy = arch.build()
            copy.set_weights(member.get_weights())
            copy.name = f"member_{i + 1}"
            logits.append(copy(image))
    finally:
        config.set_dtype_policy(policy)
    joined = (
        layers.Concatenate(name="logits", dtype="float32")(logits) if len(logits) > 1 else logits[0]
    )
    return KerasModel(image, joined, name=arch.name.replace("-", "_"))


def members_of(network: keras.Model) -> list[keras.Model]:
    """Take apart what `join` put together, for further training."""
    return [layer for layer in network.layers if layer.name.startswith("member_")]


def save_network(network: keras.Model, path: Path) -> str:
    """Write the network and return the hash of its file."""
    with atomic_path(path) as temporary:
        network.save(temporary)
    return _sha256(path)


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Write ``card.json``, which makes the folder complete."""
    write_json(folder / CARD_FILE, {"format": FORMAT, **card})


def read_card(folder: Path) -> dict[str, Any]:
    """Card of a model folder.

    Raises
    ------
    ApbcError
        If the folder is no model, or its card is incomplete.
    """
    path = folder / CARD_FILE
    if not path.is_file():
        raise ApbcError(
            f"{folder} is no apbc model: it has no {CARD_FILE}; give a folder of apbc train"
        )
    try:
        card = json.loads(path.read_text())
    except ValueError as error:
        raise ApbcError(f"{path} is damaged; copy the model again") from error
    missing = [key for key in REQUIRED if key not in card] if isinstance(card, dict) else REQUIRED
    if missing:
        raise ApbcError(f"{path} lacks {', '.join(missing)}; copy the model again")
    if card["format"] != FORMAT:
        raise ApbcError(
            f"{path} is of format {card['format']!r} and this version of apbc reads {FORMAT!r}; "
            "use the version that the card names or train again"
        )
    return card


def check_folder(folder: Path) -> Model:
    """Read and check all of a model folder but its network, which is None.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    Model

    Raises
    ------
    ApbcError
        If the folder is no model, or the network's file was changed.
    """
    folder = Path(folder)
    card = read_card(folder)
    path = folder / NETWORK_FILE
    if not path.is_file():
        raise ApbcError(f"{folder} has no {NETWORK_FILE}; copy the model again")
    if _sha256(path) != card["weights_sha256"]:
        raise ApbcError(
            f"{path} is not the file that its card describes (its hash differs): it was changed or "
            "damaged; copy the model again"
        )
    arch = _architecture_of(card, folder)
    preprocessing = Preprocessing.from_dict(card["preprocessing"])
    return Model(folder, None, arch, preprocessing, _calibration_of(card, folder), card)


def refuse_classifier(card: dict[str, Any], folder: Path, verb: str) -> None:
    """Refuse a classifier of shapes where only models that score good against bad will do.

    Parameters
    ----------
    card : dict
    folder : Path
        Of the model.
    verb : str
        What was to be done, as the command is called.

    Raises
    ------
    ApbcError
    """
    if card["architecture"] in CLASSIFIERS:
        raise ApbcError(
            f"{folder} is an {card['architecture']} model, a classifier of shapes that apbc pick "
            f"alone can use; train a dense model on the same data set for apbc {verb}"
        )


def load_model(folder: Path) -> Model:
    """Load a model folder, and refuse what does not match its card.

    Keras runs in safe mode: a model is data and brings no code.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    Model

    Raises
    ------
    ApbcError
        If the folder is no model, the network's file was changed, or the network
        is not the one of the card.
    """
    model = check_folder(folder)
    arch, card = model.architecture, model.card
    path = model.folder / NETWORK_FILE

    import keras

    try:
        network = keras.models.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise ApbcError(f"Keras cannot load {path}; train the model again") from error
    expected = arch.build().count_params() * int(card["members"])
    logits = arch.outputs * int(card["members"])
    if network.output_shape[-1] != logits or network.count_params() != expected:
        raise ApbcError(
            f"{path} is not the network that its card describes ({card['members']} x "
            f"{arch.name}); copy the model again"
        )
    return replace(model, network=network)


def _architecture_of(card: dict[str, Any], folder: Path) -> Architecture:
    """Architecture that a card names, with the settings that it tells."""
    if card["architecture"] == alexnet.NAME:
        return alexnet.alexnet_of(card, str(folder / CARD_FILE))
    return architecture(card["architecture"])


def _calibration_of(card: dict[str, Any], folder: Path) -> Calibration:
    """Calibration and threshold of a card, checked; sizes must agree with each other."""
    try:
        calibration = Calibration(**card["calibration"])
        numbers = [
            float(calibration.slope),
            float(calibration.offset),
            float(card["threshold"]),
            float(calibration.ceiling),
        ]
        sizes = [float(card["diameter"]), float(card["preprocessing"]["diameter"])]
    except (TypeError, ValueError, KeyError) as error:
        raise ApbcError(
            f"{folder / CARD_FILE} holds values of another kind than it should ({error}); copy the "
            "model again"
        ) from error
    slope, _, threshold, ceiling = numbers
    possible = slope > 0 and 0 <= threshold <= 1 and 0 < ceiling <= 1
    if not all(map(math.isfinite, numbers)) or not possible:
        raise ApbcError(f"the calibration in {folder / CARD_FILE} is impossible; train again")
    if sizes[0] != sizes[1] or card.get("phase_flipped") != card["preprocessing"]["phase_flipped"]:
        raise ApbcError(f"{folder / CARD_FILE} contradicts itself; copy the model again")
    return calibration


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
