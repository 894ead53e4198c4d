"""Train a classifier."""

import json
from enum import Enum

import pyworkflow.utils as pwutils
from pwem.protocols import EMProtocol
from pyworkflow.protocol import params
from pyworkflow.protocol.constants import STEPS_SERIAL

from apbc_scipion import convert
from apbc_scipion.constants import ARCHITECTURES, CLASSIFIER, MODEL_FOLDER
from apbc_scipion.objects import ApbcModel
from apbc_scipion.protocols.protocol_base import model_problem, read_json_or_none
from apbc_scipion.protocols.protocol_import_model import folder_problem
from apbc_scipion.protocols.protocol_train_base import ApbcProtTrainBase
from apbc_scipion.validators import at_least

# Of fields that a classifier of shapes does not have.
OF_LABELS = "architecture != %d" % ARCHITECTURES.index(CLASSIFIER)
UNLABELLED = ["weak", "pu"]  # of the engine, in the order of the form


class outputs(Enum):
    """What the protocol gives."""

    outputModel = ApbcModel


class ApbcProtTrain(ApbcProtTrainBase, EMProtocol):
    """Train a classifier that tells particles from what only looks like them.

    *What it is for.* It turns a training set into a model for _apbc - pick particles_ and _apbc -
    screen particles_. One model serves all micrographs of a sample, those that are still to come
    included.

    *Input.* A training set from _apbc - create training set_, or _apbc - bootstrap training set_
    where there was no label to start from. Give a model to continue from to
    adapt it to new labels; that takes fewer labels and less time. _dense_ looks at a whole
    micrograph at once and is the network to use; _autopick-bc_ is that of the original
    Autopick-BC, for comparison, and _alexnet_ that of DeepCryoPicker, which learns the shapes of
    the particles from the patches of a bootstrap.

    *Output.* One _ApbcModel_, a folder (extra/model). The figures in the summary come from
    micrographs that were kept aside. Then, unless you say no, the network is trained once more on
    all labels, and that is the model you get. The viewer (_Analyze results_) shows the curves,
    also while the training runs, the figures, and the best, worst and most doubtful crops; the
    same is in extra/model/report.html. _Continue_ goes on from the last finished part of the
    training; a model that is complete stays.

    *If the result is poor.* Look at the doubtful crops, and at those that are scored against
    their label: if the labels are wrong there, mend the lists of classes. If training figures are
    good and test figures are poor, more labels, from more micrographs, help more than any option.
    If both are poor, check the particle diameter. A network that is trained longer than it
    improves does no harm: the best epoch is kept.
    """

    _label = "train classifier"
    _possibleOutputs = outputs
    stepsExecutionMode = STEPS_SERIAL

    # -------------------------- parameters -----------------------------------
    def _defineParams(self, form):
        form.addSection(label="Input")
        self._defineGpuParams(form)
        self._defineDataset(form)
        form.addParam(
            "architecture",
            params.EnumParam,
            choices=ARCHITECTURES,
            default=0,
            label="Network",
            help="_dense_: fully convolutional, scores a whole micrograph at once.\n"
            "_autopick-bc_: the network of the published Autopick-BC, for comparison.\n"
            "_alexnet_: the network of DeepCryoPicker, which tells shapes apart; it learns from "
            "the patches of _apbc - bootstrap training set_, and picking with it is slower.",
        )
        form.addParam(
            "continueFrom",
            params.PointerParam,
            pointerClass="ApbcModel",
            allowsNull=True,
            label="Continue from model (optional)",
            help="Start from the weights of this model, for instance one of the same sample from "
            "another session. Its network is used whatever is chosen above. Empty: start anew.",
        )
        form.addSection(label="Training")
        form.addParam(
            "epochs",
            params.IntParam,
            default=0,
            validators=[at_least(0)],
            label="Epochs",
            help="Largest number of passes over the data; training stops before when the "
            "validation part no longer improves. 0 leaves it to the engine: 8 for _dense_, 50 for "
            "_autopick-bc_, 30 for _alexnet_. A few are enough to try something out.",
        )
        self._defineModelParams(form, OF_LABELS)
        form.addParam(
            "learningRate",
            params.FloatParam,
            default=0.0,
            validators=[at_least(0)],
            expertLevel=params.LEVEL_ADVANCED,
            label="Learning rate",
            help="Length of a step of training; 0 leaves it to the engine, which takes 0.002 for "
            "_dense_, 0.00005 for _autopick-bc_ and 0.0001 for _alexnet_. Halve it if the curves "
            "jump.",
        )
        form.addParam(
            "unlabelled",
            params.EnumParam,
            choices=["as weak negatives", "as a mixture (PU)"],
            default=0,
            condition=OF_LABELS,
            expertLevel=params.LEVEL_ADVANCED,
            label="Take places without a label",
            help="Most particles carry no label, so that background is not all background.\n"
            "_as weak negatives_: negatives that count little.\n"
            "_as a mixture (PU)_: positive and unlabelled learning, which takes 3 % of these "
            "places for centres of particles.",
        )
        self._defineGpuWizard(form)
        form.addParallelSection(threads=0, mpi=0)

    # -------------------------- steps -----------------------------------------
    def _insertAllSteps(self):
        self._insertFunctionStep(self.trainStep, needsGPU=self.usesGpu())
        self._insertFunctionStep(self.createOutputStep, needsGPU=False)

    def trainStep(self):
        """Let the engine train, unless an attempt that was cut off had finished the model."""
        arguments = [str(word) for word in self._getArguments()]
        request = self._getExtraPath("training.json")
        known = read_json_or_none(request)
        if known == arguments and folder_problem(self._getModelPath()) is None:
            self.info("The model is complete already; it is not trained again.")
            return
        pwutils.cleanPath(self._getModelPath())
        with convert.new_file(request) as handle:
            json.dump(arguments, handle)
        self._runEngine("train", arguments, gpus=self.usesGpu())

    def _getArguments(self):
        """Options and values for the engine."""
        arguments = [self.inputDataset.get().getPath(), "--out", self._getModelPath()]
        arguments += self._modelArguments()
        if self.continueFrom.get() is not None:
            arguments += ["--from", self.continueFrom.get().getPath()]
        else:
            arguments += ["--architecture", self.getEnumText("architecture")]
        if self._usesMixture():
            arguments += ["--unlabelled", UNLABELLED[self.unlabelled.get()]]
        for option, value in (
            ("--epochs", self.epochs.get()),
            ("--learning-rate", self.learningRate.get()),
        ):
            if value:
                arguments += [option, value]
        return arguments

    def createOutputStep(self):
        """Register the model."""
        sources = [self.inputDataset]
        if self.continueFrom.get() is not None:
            sources.append(self.continueFrom)
        self._registerModel(*sources)

    # -------------------------- information ------------------------------------
    def _validate(self):
        errors, model = self._datasetErrors(), self.continueFrom.get()
        if model is not None:
            problem = model_problem(model)
            if problem:
                errors.append(problem)
        dataset = self.inputDataset.get()
        if dataset is not None and self._isClassifier() and not dataset.getClasses():
            errors.append(
                "The network %s learns from patches of shapes, and this training set has none: "
                "make it with _apbc - bootstrap training set_, or choose dense." % CLASSIFIER
            )
        return errors

    def _warnings(self):
        warnings = self._datasetWarnings()
        dataset, model = self.inputDataset.get(), self.continueFrom.get()
        if model is not None and dataset is not None:
            ratio = dataset.getDiameter() / model.getDiameter()
            if not 0.9 < ratio < 1.1:
                warnings.append(
                    "The training set is of particles of %g Å, the model to continue "
                    "from of %g Å." % (dataset.getDiameter(), model.getDiameter())
                )
            if dataset.isPhaseFlipped() != model.isPhaseFlipped():
                warnings.append(
                    "Only one of the training set and the model to continue from is phase flipped."
                )
        return warnings

    def _summary(self):
        return self._modelLines()

    # -------------------------- utilities ----------------------------------------
    def _usesMixture(self):
        return UNLABELLED[self.unlabelled.get()] == "pu" and not self._isClassifier()

    def _isClassifier(self):
        """Tell whether a classifier of shapes is trained; with a model to go on from, its kind."""
        model = self.continueFrom.get()
        if model is not None:
            return model.isClassifier()
        return self.getEnumText("architecture") == CLASSIFIER

    def _modelArguments(self):
        if not self._isClassifier():
            return ApbcProtTrainBase._modelArguments(self)
        arguments = ["--seed", self.seed.get()]
        return arguments + (["--batch-size", self.batchSize.get()] if self.batchSize.get() else [])

    def _citations(self):
        cited = ApbcProtTrainBase._citations(self)
        return [*cited, "DeepCryoPicker2020"] if self._isClassifier() else cited

    def _getModelPath(self):
        return self._getExtraPath(MODEL_FOLDER)
