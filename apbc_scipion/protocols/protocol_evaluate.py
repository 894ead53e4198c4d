"""Score picks against a reference."""

import csv
import os

from pwem.protocols import EMProtocol
from pyworkflow.object import Float
from pyworkflow.protocol import params
from pyworkflow.protocol.constants import STEPS_SERIAL

from apbc_scipion import convert
from apbc_scipion.protocols.protocol_base import diameter_problem, set_problem
from apbc_scipion.protocols.protocol_score_base import ApbcProtScoreBase

# Output and the engine's key.
FIGURES = {
    "f1": "f1",
    "precision": "precision",
    "recall": "recall",
    "averagePrecision": "average_precision",
}
COLUMNS = ("name", "truth", "picks", "hits", "precision", "recall", "f1")


class ApbcProtEvaluate(EMProtocol, ApbcProtScoreBase):
    """Score picks against reference coordinates.

    *What it is for.* To tell in figures how good a picker is, or which of two is better, where
    somebody has picked some micrographs carefully by hand.

    *Input.* Picks of any program and a reference. A pick and a reference particle match when they
    are at most half a particle diameter apart; each may match once, and the closest pairs are
    matched first. The sets are compared on the micrographs that both have (by name) and that
    hold at least one reference coordinate. Give the model that made the picks to leave out the
    micrographs it was trained on: figures on those say nothing about new data. Particles of the
    simulator that are not visible need not be found, and picks on them do not count.

    *Output.* _precision_ (share of picks that are right), _recall_ (share of reference particles
    found) and _f1_ (their harmonic mean), each the mean over micrographs. Picks with scores have
    _averagePrecision_, too, which does not depend on the threshold. Files: the table of
    micrographs (extra/evaluation.csv) and, of picks with scores, the precision-recall curve
    (extra/curve.csv) and a plot (extra/evaluation.png). The viewer (_Analyze results_) shows
    hits, missed particles and false picks.

    *If the result is poor.* Look at the false picks in the viewer: a reference that is not
    complete makes good picks false. Low recall with high precision asks for a lower threshold,
    the other way round for a higher one. If nearly nothing matches, the diameter is too small, or
    the reference belongs to other micrographs or another pixel size.
    """

    _label = "evaluate picks"
    _possibleOutputs = {name: Float for name in FIGURES}
    stepsExecutionMode = STEPS_SERIAL

    # -------------------------- parameters -----------------------------------
    def _defineParams(self, form):
        form.addSection(label="Input")
        form.addParam(
            "inputCoordinates",
            params.PointerParam,
            pointerClass="SetOfCoordinates",
            important=True,
            label="Picks",
            help="Coordinates to score, of any picker. With scores there is a curve, too.",
        )
        form.addParam(
            "referenceCoordinates",
            params.PointerParam,
            pointerClass="SetOfCoordinates",
            important=True,
            label="Reference",
            help="Coordinates taken as the truth. They may have been picked on micrographs of "
            "another pixel size.",
        )
        self._defineScoreParams(form)
        form.addParallelSection(threads=0, mpi=0)

    # -------------------------- steps -----------------------------------------
    def _insertAllSteps(self):
        self._insertFunctionStep(self.writeInputStep, needsGPU=False)
        self._insertFunctionStep(self.evaluateStep, needsGPU=False)
        self._insertFunctionStep(self.createOutputStep, needsGPU=False)

    def writeInputStep(self):
        """Write picks and reference of the micrographs that are compared."""
        picks, reference = self.inputCoordinates.get(), self.referenceCoordinates.get()
        index = convert.MicrographIndex(picks.getMicrographs())
        scale = (
            reference.getMicrographs().getSamplingRate() / picks.getMicrographs().getSamplingRate()
        )
        truth, left_out = self._collectReference(reference, scale, index)
        if not truth:
            raise ValueError(
                "There is nothing to compare: the %d micrographs with reference coordinates "
                "all trained the model." % left_out
                if left_out
                else "There is nothing to compare: no micrograph has both reference "
                "coordinates and a place in the picked set. Names of micrographs must agree."
            )
        found, _ = convert.collect_points(picks.iterItems(), 1.0, index, score=True)
        convert.write_reference(truth, self._getExtraPath("reference"))
        convert.write_coordinates(
            {label: found.get(label, []) for label in truth},
            self._getExtraPath("picks"),
            labels=truth,
        )
        self.info(
            "%d micrographs are compared; %d that trained the model are left out."
            % (len(truth), left_out)
        )

    def evaluateStep(self):
        """Let the engine match and count."""
        micrographs = self.inputCoordinates.get().getMicrographs()
        pixelSize = micrographs.getSamplingRate()
        arguments = [
            self._getExtraPath("picks"),
            self._getExtraPath("reference"),
            "--diameter",
            self.particleDiameter.get(),
            "--pixel-size",
            pixelSize,
            "--json",
            self._getJson(),
            "--curve",
            self._getExtraPath("curve.csv"),
            "--plot",
            self._getExtraPath("evaluation.png"),
        ]
        self._runEngine("evaluate", arguments + self._edgeArguments(micrographs))

    def createOutputStep(self):
        """Register the figures and write the table."""
        result = convert.read_json(self._getJson())
        with convert.new_file(self._getExtraPath("evaluation.csv"), newline="") as handle:
            writer = csv.DictWriter(handle, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(result["per_micrograph"])
        self._defineOutputs(
            **{
                name: Float(result[key])
                for name, key in FIGURES.items()
                if result.get(key) is not None
            }
        )

    # -------------------------- information ------------------------------------
    def _validate(self):
        errors = []
        picks, reference = self.inputCoordinates.get(), self.referenceCoordinates.get()
        problem = set_problem("reference coordinates", reference)
        if problem:
            errors.append(problem)
        for name, items in (("picks", picks), ("reference", reference)):
            if items is not None and items.getMicrographs() is None:
                errors.append("The micrographs of the %s are not known." % name)
        if not errors and picks is not None:
            problem = diameter_problem(
                self.particleDiameter.get(), picks.getMicrographs().getSamplingRate()
            )
            if problem:
                errors.append(problem)
        return errors

    def _warnings(self):
        picks = self.inputCoordinates.get()
        if picks is not None and picks.getSize() == 0:
            return ["The set of picks is empty; recall will be 0."]
        return []

    def _summary(self):
        if not os.path.exists(self._getJson()):
            return ["The picks are not evaluated yet."]
        result = convert.read_json(self._getJson())
        lines = [
            "*F1 %0.3f*, precision %0.3f, recall %0.3f (means over %d micrographs)"
            % (result["f1"], result["precision"], result["recall"], result["micrographs"])
        ]
        if result.get("average_precision") is not None:
            lines.append("Average precision %0.3f" % result["average_precision"])
        else:
            lines.append("There are no scores, so no average precision and no curve.")
        if result.get("best_threshold") is not None:
            lines.append(
                "Best F1 %0.3f at threshold %0.2f" % (result["best_f1"], result["best_threshold"])
            )
        if self.excludeModel.get() is not None:
            lines.append("Micrographs that trained the model are left out.")
        for name in ("evaluation.csv", "evaluation.png"):
            if os.path.exists(self._getExtraPath(name)):
                lines.append(self.getFileTag(self._getExtraPath(name)))
        return lines

    def _methods(self):
        if not os.path.exists(self._getJson()):
            return []
        result = convert.read_json(self._getJson())
        return [
            "Picks were matched one to one with reference coordinates within %g Å: "
            "precision %0.3f, recall %0.3f, F1 %0.3f over %d micrographs."
            % (
                self.particleDiameter.get() / 2,
                result["precision"],
                result["recall"],
                result["f1"],
                result["micrographs"],
            )
        ]

    def _citations(self):
        return []

    # -------------------------- utilities ----------------------------------------
    def _getJson(self):
        return self._getExtraPath("evaluation.json")
