"""Search training settings."""

import json
import os
from enum import Enum

import pyworkflow.utils as pwutils
from pwem.protocols import EMProtocol
from pyworkflow.protocol import params
from pyworkflow.protocol.constants import STEPS_SERIAL

from apbc_scipion import convert
from apbc_scipion.constants import ARCHITECTURES, MODEL_FOLDER
from apbc_scipion.objects import ApbcModel
from apbc_scipion.protocols.protocol_base import read_json_or_none
from apbc_scipion.protocols.protocol_train_base import OUTPUT_MODEL, ApbcProtTrainBase
from apbc_scipion.validators import POSITIVE, at_least

SEARCH_FOLDER = "search"
SEARCH_RECORD = "search.json"
SEARCHED = "searched.json"
FEWEST_MICROGRAPHS = 5  # with fewer the engine splits particles, and a search has nothing to rank


class outputs(Enum):
    """What the protocol gives."""

    outputModel = ApbcModel


class ApbcProtSearch(ApbcProtTrainBase, EMProtocol):
    """Try a few settings of the training, and train a classifier with the best.

    *What it is for.* The settings of _apbc - train classifier_ suit most samples. Where picks stay
    poor although the labels are right, this protocol tries others: learning rate, handling of
    unlabelled background, number of epochs, and network. Every trial is a training, so it takes
    about as many times longer as there are trials.

    *Input.* A training set from _apbc - create training set_, from at least 5 micrographs. The
    settings are compared on its validation micrographs: the better ones find more of the good
    labels, and fewer of the bad ones, in the same number of picks. That holds although most
    particles carry no label. The test part chooses nothing.

    *Output.* One _ApbcModel_, a folder (extra/search/model), as _apbc - train classifier_ gives it.
    Other settings than the usual ones are taken only where they are better beyond noise; the
    table tells how much chance alone does. _Analyze results_ on the run shows the table and the
    curves, also while the search runs; on the model, its training. _Continue_ goes on with
    what is missing, and after a time limit.

    *If the result is poor.* If all settings lie within the noise, other settings will not
    help, and more labels from more micrographs will: the noise falls with them, too. A working
    size of the particle is not searched; make training sets with other ones to compare them.
    """

    _label = "search training settings"
    _possibleOutputs = outputs
    stepsExecutionMode = STEPS_SERIAL

    # -------------------------- parameters -----------------------------------
    def _defineParams(self, form):
        form.addSection(label="Input")
        self._defineGpuParams(form)
        self._defineDataset(form)
        form.addParam(
            "trials",
            params.IntParam,
            default=8,
            validators=[POSITIVE],
            label="Settings to try",
            help="The usual ones included: these come first, then every change of one setting, "
            "then those together that helped. The usual ones and the best are trained twice, with "
            "two seeds, to tell what chance does. 2 to 16; with 1 nothing is searched.",
        )
        form.addParam(
            "timeLimit",
            params.FloatParam,
            default=0.0,
            validators=[at_least(0)],
            label="Time limit (minutes)",
            help="No trial is begun that would end later; the model is trained after that, with "
            "the best settings so far. _Continue_ with another limit goes on. 0: no limit.",
        )
        form.addParam(
            "epochs",
            params.IntParam,
            default=0,
            validators=[at_least(0)],
            label="Epochs",
            help="Largest number of passes over the data. 0: the engine's own and twice that are "
            "tried. Above 0: this number, for all trials.",
        )
        form.addParam(
            "tryNetworks",
            params.BooleanParam,
            default=False,
            label="Try the network of Autopick-BC, too?",
            help="Yes: both networks are tried. It takes several times as long as the other "
            "trials. No: dense, the usual one, for all trials.",
        )
        form.addSection(label="Model")
        self._defineModelParams(form)
        self._defineGpuWizard(form)
        form.addParallelSection(threads=0, mpi=0)

    # -------------------------- steps -----------------------------------------
    def _insertAllSteps(self):
        self._insertFunctionStep(self.searchStep, self._formValues(), needsGPU=self.usesGpu())
        self._insertFunctionStep(self.createOutputStep, self._formValues(), needsGPU=False)

    def searchStep(self, form):
        """Let the engine search; it keeps what an earlier attempt has finished."""
        searched = self._getExtraPath(SEARCHED)
        dataset = [self.inputDataset.getUniqueId(), self.inputDataset.get().getPath()]
        if read_json_or_none(searched) != dataset:
            pwutils.cleanPath(self._getSearchFolder())
            with convert.new_file(searched) as handle:
                json.dump(dataset, handle)
        self._runEngine("search", self._getArguments(), gpus=self.usesGpu())

    def _getArguments(self):
        """Options and values for the engine."""
        arguments = [self.inputDataset.get().getPath(), "--out", self._getSearchFolder()]
        arguments += ["--trials", self.trials.get(), *self._modelArguments()]
        if not self.tryNetworks:
            arguments += ["--architecture", ARCHITECTURES[0]]
        for option, value in (
            ("--time-limit", self.timeLimit.get()),
            ("--epochs", self.epochs.get()),
        ):
            if value:
                arguments += [option, value]
        return arguments

    def createOutputStep(self, form):
        """Register the model."""
        self._registerModel(self.inputDataset)

    # -------------------------- information ------------------------------------
    def _validate(self):
        errors = self._datasetErrors()
        dataset = self.inputDataset.get()
        if dataset is not None and dataset.getMicrographs() < FEWEST_MICROGRAPHS:
            errors.append(
                "The training set is of %d micrographs; a search needs labels of at least %d, to "
                "keep whole ones aside." % (dataset.getMicrographs(), FEWEST_MICROGRAPHS)
            )
        return errors

    def _warnings(self):
        warnings = self._datasetWarnings()
        if self.trials.get() == 1:
            warnings.append("With 1 setting to try, nothing is searched: the usual one is taken.")
        return warnings

    def _summary(self):
        record = read_json_or_none(self.getReportPath())
        found = record["told"] if record else ["The search has no results yet."]
        if getattr(self, OUTPUT_MODEL, None) is None:
            return found
        return [*found, *self._modelLines()]

    def _methods(self):
        record = read_json_or_none(self.getReportPath())
        methods = ApbcProtTrainBase._methods(self)
        if record and methods:
            methods.append(
                "The settings of the training were the best of %d on validation micrographs: %s."
                % (len(record["trials"]), record["chosen"])
            )
        return methods

    # -------------------------- utilities ----------------------------------------
    def _usesMixture(self):
        return True  # the search tries it

    def getReportPath(self):
        """Path of the record that the viewer shows."""
        return os.path.join(self._getSearchFolder(), SEARCH_RECORD)

    def _getSearchFolder(self):
        return self._getExtraPath(SEARCH_FOLDER)

    def _getModelPath(self):
        return os.path.join(self._getSearchFolder(), MODEL_FOLDER)
