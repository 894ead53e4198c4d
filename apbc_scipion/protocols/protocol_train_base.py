"""What the protocols that train share: fields of the model, its output, and what is told of it."""

import os

from pyworkflow.protocol import params

from apbc_scipion import convert
from apbc_scipion.constants import MODEL_CARD
from apbc_scipion.objects import ApbcModel
from apbc_scipion.protocols.protocol_base import ApbcProtBase
from apbc_scipion.validators import POSITIVE, at_least, within

OUTPUT_MODEL = "outputModel"
FEW_PARTICLES = 100
MOST_FEEDBACK = 5


class ApbcProtTrainBase(ApbcProtBase):
    """Makes a model of a training set; `_getModelPath` tells where."""

    # -------------------------- parameters -----------------------------------
    def _defineDataset(self, form):
        """Add the field of the training set."""
        form.addParam(
            "inputDataset",
            params.PointerParam,
            pointerClass="ApbcDataset",
            important=True,
            label="Training set",
            help="Good and bad particles from _apbc - create training set_, or the examples of "
            "_apbc - bootstrap training set_.",
        )

    def _defineModelParams(self, form, condition=None):
        """Add the fields of how the delivered model is trained.

        Parameters
        ----------
        form : pyworkflow.protocol.params.Form
        condition : str, optional
            When those are shown that a classifier of shapes does not have.
        """
        form.addParam(
            "ensemble",
            params.IntParam,
            condition=condition,
            default=1,
            validators=[POSITIVE],
            label="Networks in the ensemble",
            help="Several networks, whose scores are averaged. They differ by their seed and by "
            "the part of the training micrographs that each leaves out. Picks get a column "
            "apbcDisagreement: where it is large, look twice. Training and picking take as many "
            "times longer. 1 to 5.",
        )
        form.addParam(
            "feedback",
            params.IntParam,
            condition=condition,
            default=0,
            validators=[within(0, MOST_FEEDBACK)],
            label="Rounds of feedback (at most)",
            help="In each round the network picks the training micrographs and is trained again: "
            "confident picks without a label are no negatives any more, and those beside bad "
            "labels become negatives. It ends by itself when the figure on validation micrographs "
            "does not rise, and the best round is kept. Every round is another training. 0 to 5; "
            "0: none.",
        )
        form.addParam(
            "balanceViews",
            params.BooleanParam,
            condition=condition,
            default=True,
            label="Balance the views?",
            help="Yes: good particles of a rare 2D class are drawn more often, so that the network "
            "sees all views alike. No: as they come. It needs a training set that knows the 2D "
            "classes of its particles, as the summary of the set tells.",
        )
        self._definePrecision(
            form,
            "The model's own threshold, which picking takes by default, is the lowest one "
            "that promises this share of particles among the picks: 0.9 gives clean picks, 0.7 "
            "more of them. Between 0 and 1; -1 takes the threshold with the best F1. If no "
            "threshold promises it, that is taken as well, and the summary says so.",
            condition,
        )
        form.addParam(
            "refit",
            params.BooleanParam,
            condition=condition,
            default=True,
            label="Train on all labels at the end?",
            help="The figures always come from the split. With yes, the delivered weights are "
            "trained once more on all labels, the held-out ones too. Choose no to score "
            "the model on micrographs of the test part later.",
        )
        form.addParam(
            "seed",
            params.IntParam,
            default=1,
            validators=[at_least(0)],
            label="Seed",
            help="Any whole number from 0 on; it starts every random choice. Train with another to "
            "see how much the figures depend on chance.",
        )
        form.addParam(
            "batchSize",
            params.IntParam,
            default=0,
            validators=[at_least(0)],
            expertLevel=params.LEVEL_ADVANCED,
            label="Batch size",
            help="Crops in one step of training; 0 leaves it to the engine (32). Usual are 8 to "
            "128. Smaller numbers need less memory.",
        )

    # -------------------------- steps -----------------------------------------
    def _modelArguments(self):
        """Options and values for the engine that all trainings have."""
        arguments = ["--ensemble", self.ensemble.get(), "--seed", self.seed.get()]
        if self.batchSize.get():
            arguments += ["--batch-size", self.batchSize.get()]
        if not self.refit:
            arguments.append("--no-refit")
        if self.feedback.get():
            arguments += ["--feedback", self.feedback.get()]
        if not self.balanceViews:
            arguments.append("--no-balance-views")
        if self.precision.get() != -1:
            arguments += ["--precision", self.precision.get()]
        return arguments

    def _registerModel(self, *sources):
        """Register the model that the engine has left, made of the inputs behind pointers."""
        model = ApbcModel(path=self._getModelPath())
        model.fillFromCard(convert.read_json(os.path.join(self._getModelPath(), MODEL_CARD)))
        self._defineOutputs(**{OUTPUT_MODEL: model})
        for pointer in sources:
            self._defineSourceRelation(pointer, model)

    # -------------------------- information ------------------------------------
    def _datasetErrors(self):
        dataset = self.inputDataset.get()
        if dataset is not None and not os.path.exists(dataset.getPath()):
            return ["The file of the training set has gone: %s. Make it again." % dataset.getPath()]
        return []

    def _datasetWarnings(self):
        dataset = self.inputDataset.get()
        if dataset is not None:
            good, bad = dataset.getCounts()
            if min(good, bad or good) < FEW_PARTICLES:
                return [
                    "There are %d good and %d bad particles; with fewer than %d of "
                    "either the model will be poor." % (good, bad, FEW_PARTICLES)
                ]
        return []

    def _modelLines(self):
        """Tell what the summary says of the model."""
        model = getattr(self, OUTPUT_MODEL, None)
        if model is None:
            return ["The model is not ready yet."]
        lines = self._deviceLines(model.getDevice())
        figures = model.getHeldOutFigures()
        if figures:
            lines.append(
                "On the labels kept aside: "
                + ", ".join("%s *%0.3f*" % (name, value) for name, value in figures.items())
            )
        else:
            lines.append("The card holds no figures of labels kept aside.")
        lines += model.getClassLines()
        lines += model.getLossLines()
        lines += model.getTrainingLines()
        lines.append(
            "The delivered weights were trained on all labels."
            if model.isRefitted()
            else "The delivered weights were trained on the training part only."
        )
        lines.append(
            "Network: %s, particle of %g Å at %0.2f Å/px"
            % (model.getArchitecture(), model.getDiameter(), model.getPixelSize())
        )
        lines.append("Report: %s" % self.getFileTag(os.path.join(model.getPath(), "report.html")))
        return lines

    def _methods(self):
        model = getattr(self, OUTPUT_MODEL, None)
        if model is None:
            return []
        good, bad = self.inputDataset.get().getCounts()
        return [
            "A %s network was trained with apbc [AutopickBC] on %d good and %d bad "
            "particles." % (model.getArchitecture(), good, bad)
        ]

    def _citations(self):
        # Scores are calibrated with decoys (or by Platt's method), for the best F1.
        cited = [*ApbcProtBase._citations(self), "Elias2007", "Storey2002", "duPlessis2015"]
        cited += ["Platt1999", "Lipton2014"]
        if self.feedback.get():
            cited.append("Bekker2019")
        if self._usesMixture():
            cited.append("Kiryo2017")
        return cited

    def _usesMixture(self):
        """Tell whether places without a label are (or may be) learnt as a mixture."""
        raise NotImplementedError
