"""Import a model folder."""

import hashlib
import os
import shutil
from enum import Enum

from pwem.protocols import EMProtocol
from pyworkflow.protocol import params
from pyworkflow.protocol.constants import STEPS_SERIAL

from apbc_scipion import convert
from apbc_scipion.constants import MODEL_CARD, MODEL_FOLDER, MODEL_WEIGHTS
from apbc_scipion.objects import ApbcModel
from apbc_scipion.protocols.protocol_base import ApbcProtBase

NEEDED = ("format", "apbc_version", "architecture", "diameter", "pixel_size", "weights_sha256")


class outputs(Enum):
    """What the protocol gives."""

    outputModel = ApbcModel


class ApbcProtImportModel(EMProtocol, ApbcProtBase):
    """Import a model that was trained in another project or on the command line.

    *What it is for.* To pick or screen with a model that exists already: of an earlier session
    with the same sample, of a colleague, or from _apbc train_.

    *Input.* The folder of a model: the weights (_model.keras_), the card (_card.json_: particle
    diameter, pixel size, network, figures, training micrographs) and the report. In a Scipion
    project it is extra/model in the folder of the training run.

    *Output.* One _ApbcModel_, a copy of the folder in this project. It is checked against its
    card: weights that are not those the card was written for are refused.

    *If the result is poor.* A model knows the sample, the diameter and the imaging it was trained
    on (the summary tells them). The pixel size may differ. If its picks are poor on your
    micrographs, make a small training set of yours and give this model to _train classifier_ to
    continue from. If the folder is refused, copy it again, whole.
    """

    _label = "import model"
    _possibleOutputs = outputs
    stepsExecutionMode = STEPS_SERIAL

    # -------------------------- parameters -----------------------------------
    def _defineParams(self, form):
        form.addSection(label="Import")
        form.addParam(
            "modelPath",
            params.FolderParam,
            important=True,
            label="Model folder",
            help="Folder that holds card.json and model.keras: extra/model of a training run, or "
            "what _apbc train --out_ wrote.",
        )
        form.addParallelSection(threads=0, mpi=0)

    # -------------------------- steps -----------------------------------------
    def _insertAllSteps(self):
        self._insertFunctionStep(self.importStep, needsGPU=False)
        self._insertFunctionStep(self.createOutputStep, needsGPU=False)

    def importStep(self):
        """Copy the folder, then check the copy against its card."""
        target = self._getExtraPath(MODEL_FOLDER)
        if os.path.exists(target):
            shutil.rmtree(target)
        shutil.copytree(self.modelPath.get().strip(), target)
        problem = folder_problem(target)
        if problem:
            shutil.rmtree(target)
            raise ValueError(problem)

    def createOutputStep(self):
        """Register the model."""
        path = self._getExtraPath(MODEL_FOLDER)
        model = ApbcModel(path=path)
        model.fillFromCard(convert.read_json(os.path.join(path, MODEL_CARD)))
        self._defineOutputs(**{outputs.outputModel.name: model})

    # -------------------------- information ------------------------------------
    def _validate(self):
        path = (self.modelPath.get() or "").strip()
        if not path:
            return ["Give the model folder."]
        problem = folder_problem(path)
        return [problem] if problem else []

    def _warnings(self):
        return []

    def _summary(self):
        model = getattr(self, outputs.outputModel.name, None)
        if model is None:
            return ["No model was imported yet."]
        figures = model.getHeldOutFigures()
        return [
            "Imported from %s" % self.modelPath.get(),
            "Network: %s, particle of %g Å at %0.2f Å/px"
            % (model.getArchitecture(), model.getDiameter(), model.getPixelSize()),
            "On the labels kept aside: "
            + (", ".join("%s *%0.3f*" % item for item in figures.items()) or "no figures"),
            *model.getLossLines(),
            *model.getTrainingLines(),
        ]

    def _methods(self):
        model = getattr(self, outputs.outputModel.name, None)
        return (
            ["A model of apbc [AutopickBC] (%s) was imported." % model.getArchitecture()]
            if model is not None
            else []
        )

    def _citations(self):
        return ["AutopickBC"]


def folder_problem(path):
    """Tell in one sentence why a folder is no model that can be trusted, or return None.

    Parameters
    ----------
    path : str

    Returns
    -------
    str or None
    """
    card = os.path.join(path, MODEL_CARD)
    weights = os.path.join(path, MODEL_WEIGHTS)
    for needed in (card, weights):
        if not os.path.isfile(needed):
            return "%s is no model folder: it holds no %s." % (path, os.path.basename(needed))
    try:
        content = convert.read_json(card)
    except ValueError as error:
        return "%s is no JSON file (%s): the model cannot be trusted." % (card, error)
    missing = [key for key in NEEDED if not isinstance(content, dict) or key not in content]
    if missing:
        return "%s lacks %s: it is no card of a model of this program." % (card, ", ".join(missing))
    if sha256_of(weights) != content["weights_sha256"]:
        return (
            "%s is not the file its card was written for (the check sum differs): get the "
            "model again from where it came." % weights
        )
    return None


def sha256_of(path):
    """Check sum of a file, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        for piece in iter(lambda: handle.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()
