"""Coordinates at another threshold, and with picks added and erased by hand."""

import os
import shutil

import numpy as np
from pwem.objects import SetOfCoordinates
from pwem.protocols import EMProtocol
from pyworkflow.object import Integer
from pyworkflow.protocol import params
from pyworkflow.protocol.constants import STEPS_SERIAL

from apbc.evaluation.expected import threshold_for_precision
from apbc_scipion import convert
from apbc_scipion.pick_sources import SourceError, above, erased_mask, producer_of, source_of
from apbc_scipion.protocols.protocol_base import ApbcProtBase, read_json_or_none, set_problem
from apbc_scipion.protocols.protocol_screen import ApbcProtScreen
from apbc_scipion.validators import NOT_BOTH

EDITS, CREATED = "edits.json", "created.json"


class ApbcProtCreateCoordinates(EMProtocol, ApbcProtBase):
    """Make coordinates of picks at another threshold, or with changes made by hand.

    *What it is for.* _apbc - pick particles_ keeps every candidate with its score. This protocol
    takes those above another threshold, without picking again. The picks viewer runs it when
    "Create coordinates" is pressed; with a known threshold it can be run from its form as well.

    *Input.* The coordinates of a run of _pick particles_ (all its candidates are considered, those
    below its own threshold too), the particles of _screen particles_ (true and false ones
    together), or coordinates of any other picker. A run that still goes on gives what it has
    picked so far.

    *Output.* _outputCoordinates_, with their scores in the column apbcScore (and apbcDisagreement,
    if an ensemble made them), and _boxSize_ (px). A pick made by hand has the score of the score
    map at its place, or none where there is no map.

    *If the result is poor.* Open the viewer on the picks (_Analyze results_), move the threshold
    until what is marked is what you want, and press "Create coordinates" again. If no threshold
    is good, the model needs better examples: see _create training set_.
    """

    _label = "create coordinates"
    _possibleOutputs = {"outputCoordinates": SetOfCoordinates, "boxSize": Integer}
    stepsExecutionMode = STEPS_SERIAL

    # -------------------------- parameters -----------------------------------
    def _defineParams(self, form):
        form.addSection(label="Input")
        form.addParam(
            "inputPicks",
            params.PointerParam,
            pointerClass="SetOfCoordinates,SetOfParticles",
            important=True,
            label="Picks",
            help="Coordinates of _pick particles_ or of another picker, or particles of _screen "
            "particles_.",
        )
        form.addParam(
            "threshold",
            params.FloatParam,
            default=-1.0,
            label="Threshold",
            help="Picks with a lower score are left out. Scores of apbc lie between 0 and 1: 0.5 "
            "means that something is as likely a particle as not; usual are 0.3 (more particles) "
            "to 0.8 (cleaner ones). Other pickers have scales of their own. -1 takes the threshold "
            "of the run that made the picks. The wizard shows the histogram of the scores.",
        )
        self._definePrecision(
            form,
            "Instead of a threshold: the lowest one that promises this share of particles "
            "among the picks, by the scores of all candidates. Between 0 and 1; 0.9 gives clean "
            "picks, 0.7 more of them; -1: off. Only scores of apbc are probabilities and can "
            "promise something.",
        )
        form.addParam(
            "wantedBoxSize",
            params.IntParam,
            default=-1,
            expertLevel=params.LEVEL_ADVANCED,
            label="Box size (px)",
            help="Box size of the coordinates in pixels of the micrographs, about 1.5 particle "
            "diameters. -1 takes that of the picks. The wizard draws it on a micrograph.",
        )
        form.addParam(
            "editsFile",
            params.PathParam,
            default="",
            expertLevel=params.LEVEL_ADVANCED,
            label="Changes made by hand",
            help="File that the picks viewer writes when picks were added or erased in it. Empty: "
            "none.",
        )
        form.addParallelSection(threads=0, mpi=0)

    # -------------------------- steps -----------------------------------------
    def _insertAllSteps(self):
        self._insertFunctionStep(self.keepEditsStep, needsGPU=False)
        self._insertFunctionStep(self.createOutputStep, needsGPU=False)

    def keepEditsStep(self):
        """Copy the changes into the run, so that it can be told later what was done."""
        path = self.editsFile.get("")
        if path and os.path.abspath(path) != os.path.abspath(self._getExtraPath(EDITS)):
            part = self._getExtraPath(EDITS + ".part")
            shutil.copyfile(path, part)
            os.replace(part, self._getExtraPath(EDITS))

    def createOutputStep(self):
        """Write the coordinates."""
        source = self._getSource()
        threshold = self._getThreshold(source)
        edits = self._readEdits()
        micrographs = self._getMicrographs()
        coordinates = self._createSetOfCoordinates(micrographs)
        box = self.wantedBoxSize.get() if self.wantedBoxSize.get() > 0 else source.boxSize
        coordinates.setBoxSize(box)
        for label in dict.fromkeys([*source.getLabels(), *edits["added"]]):
            picks, disagreement = self._select(source, threshold, edits, label)
            convert.append_picks(picks, source.micrographs[label], coordinates, None, disagreement)
        convert.write_json(self._getExtraPath(CREATED), {"threshold": threshold})
        self._defineOutputs(outputCoordinates=coordinates, boxSize=Integer(box))
        self._defineSourceRelation(self.inputPicks, coordinates)

    def _select(self, source, threshold, edits, label):
        """Leave out picks below the threshold and erased ones, and add those made by hand.

        Returns
        -------
        picks : list of tuple
        disagreement : list of float or None
        """
        picks, disagreement = source.getPicks(label), source.getDisagreement(label)
        kept = ~erased_mask(picks, edits["erased"].get(label, ()))
        kept &= above(picks[:, 2], threshold)
        added = [
            (x, y, float("nan") if score is None else score)
            for x, y, score in edits["added"].get(label, ())
        ]
        if disagreement is not None:
            disagreement = [*disagreement[kept], *np.full(len(added), np.nan)]
        return [*map(tuple, picks[kept]), *added], disagreement

    # -------------------------- information ------------------------------------
    def _validate(self):
        picks = self.inputPicks.get()
        problem = set_problem("picks", picks)
        # A threshold below that of an empty output may well find something.
        if problem and not hasattr(self.inputPicks.getObjValue(), "inputModel"):
            return [problem]
        path = self.editsFile.get("")
        if path and not os.path.exists(path):
            return ["The file of changes made by hand has gone: %s. Leave the field empty." % path]
        if picks is None:
            return []
        try:
            source = self._getSource()
        except SourceError as error:
            return [str(error)]
        threshold = self.threshold.get()
        if threshold != -1 and source.threshold is None:
            return ["These picks have no scores, so there is no threshold: leave it at -1."]
        if self._wantsPromise():
            if threshold != -1:
                return [NOT_BOTH]
            if not source.calibrated:
                return [
                    "These scores are not probabilities and promise no precision: leave it at -1."
                ]
        if source.calibrated and not (threshold == -1 or 0 <= threshold <= 1):
            return ["The threshold must lie between 0 and 1, or be -1."]
        return []

    def _warnings(self):
        picks = self.inputPicks.get()
        if picks is not None and not picks.isStreamClosed():
            return ["The picking still goes on: the coordinates are those of what it has so far."]
        return []

    def _summary(self):
        coordinates = getattr(self, "outputCoordinates", None)
        if coordinates is None:
            return ["No coordinates yet."]
        lines = ["*%d* particles, box of %d px" % (coordinates.getSize(), coordinates.getBoxSize())]
        threshold = (read_json_or_none(self._getExtraPath(CREATED)) or {}).get("threshold")
        if threshold is not None:
            promised = ", which promises a precision of %g" % self.precision.get()
            lines.append(
                "Threshold: %0.3f%s" % (threshold, promised if self._wantsPromise() else "")
            )
        edits = self._readEdits()
        added, erased = (sum(map(len, edits[kind].values())) for kind in ("added", "erased"))
        if added or erased:
            lines.append("By hand: %d added, %d erased" % (added, erased))
        return lines

    def _methods(self):
        coordinates = getattr(self, "outputCoordinates", None)
        if coordinates is None:
            return []
        return ["%d particles were kept, see the summary." % coordinates.getSize()]

    def _citations(self):
        return ["AutopickBC"]

    # -------------------------- utilities ----------------------------------------
    def _getSource(self):
        return source_of(self.inputPicks.get(), self.getProject())

    def _getMicrographs(self):
        """Pointer to the micrographs in whose pixels the source gives the picks."""
        picks = self.inputPicks.get()
        if isinstance(picks, SetOfCoordinates):
            return picks.getMicrographs(asPointer=True)
        maker = producer_of(picks, self.getProject())
        # Only screening reads particles from other micrographs than those of their coordinates.
        if isinstance(maker, ApbcProtScreen) and maker.inputMicrographs.get() is not None:
            return maker.inputMicrographs
        return picks.getCoordinates().getMicrographs(asPointer=True)

    def _getThreshold(self, source):
        """Threshold in force; None for picks without scores."""
        if self._wantsPromise():
            wanted, scores = self.precision.get(), source.getScores()
            threshold = threshold_for_precision(scores, wanted)
            if threshold is None:
                best = "the best score is %0.3f" % scores.max() if len(scores) else "there are none"
                raise ValueError(
                    "No threshold promises a precision of %g (%s): ask for less, or give a "
                    "threshold." % (wanted, best)
                )
            return threshold
        wanted = self.threshold.get()
        return source.threshold if wanted == -1 else wanted

    def _wantsPromise(self):
        """Tell whether the threshold is to promise a precision."""
        return self.precision.get() not in (None, -1)

    def _readEdits(self):
        path = self._getExtraPath(EDITS)
        if not os.path.exists(path):
            return {"added": {}, "erased": {}}
        return convert.read_json(path)
