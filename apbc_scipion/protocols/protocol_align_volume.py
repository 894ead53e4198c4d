"""Volumes brought onto a reference, hand included."""

import os

from pwem.objects import SetOfVolumes, Volume
from pwem.protocols import EMProtocol
from pyworkflow.object import Boolean, Float
from pyworkflow.protocol import params
from pyworkflow.protocol.constants import STEPS_SERIAL

from apbc_scipion import convert, truth_tables
from apbc_scipion.constants import SCORE
from apbc_scipion.protocols.protocol_base import ApbcProtBase, set_problem
from apbc_scipion.protocols.protocol_metrics_base import (
    MIRRORED,
    copies_of,
    grid_problem,
    told,
)
from apbc_scipion.truth_tables import TRUE_CLASS

ALIGNED_FOLDER = "aligned"
UNDECIDED = 0.02  # scores of both hands that differ by less than this say nothing
LOW = 0.6  # scores of right places are above, unless there is much noise


class ApbcProtAlignVolume(ApbcProtBase, EMProtocol):
    """Rotate and shift volumes onto a reference, and mirror those of the other hand.

    *What it is for.* Volumes that were reconstructed from nothing lie in frames of their own, and
    half of them are of the wrong hand, since images do not tell it. Before volumes of two programs
    are compared, looked at side by side or averaged, they are brought onto one.

    *Input.* A volume or a set, and the reference. All rotations, shifts and both hands are tried,
    from coarse to fine; no start is needed. The reference must have the box and the pixel size
    of the volumes.

    *Output.* _outputVolume_ of a volume, _outputVolumes_ of a set: the aligned volumes with the
    pixel size of the reference. Each carries the score of its place (attribute __apbcScore_: the
    correlation after all resolutions were given the same weight; 1 is perfect) and whether it was
    mirrored (__apbcMirrored_). The summary tells both, for both hands.

    *If the result is poor.* A score below about 0.6 says that the volumes are of two structures, or
    noisy; two states of a molecule may come to lie the wrong way round. Scores of both hands that
    are nearly the same say that the volumes have no hand at their resolution, or have nothing in
    common. Noise round the structure hurts: mask the volumes first. To see how much of the
    reference is there, take _FSC with ground truth_.
    """

    _label = "align volume with hand"
    _possibleOutputs = {"outputVolume": Volume, "outputVolumes": SetOfVolumes}
    stepsExecutionMode = STEPS_SERIAL

    # -------------------------- parameters -----------------------------------
    def _defineParams(self, form):
        form.addSection(label="Input")
        form.addParam(
            "inputVolumes",
            params.PointerParam,
            pointerClass="Volume, SetOfVolumes, SetOfVolumesFlex",
            important=True,
            label="Volumes to align",
            help="One volume or a set; each is aligned by itself.",
        )
        form.addParam(
            "reference",
            params.PointerParam,
            pointerClass="Volume",
            important=True,
            label="Reference",
            help="The volume that the others are brought onto. One volume of a set can be chosen, "
            "too.",
        )
        form.addParam(
            "tryHand",
            params.BooleanParam,
            default=True,
            label="Try the other hand, too?",
            help="Yes: the mirrored volume is tried as well, and taken if it fits better. No: only "
            "rotations and shifts, for volumes whose hand is known.",
        )
        form.addParallelSection(threads=0, mpi=0)

    # -------------------------- steps -----------------------------------------
    def _insertAllSteps(self):
        form = self._formValues()
        for volume in self._volumes():
            self._insertFunctionStep(self.alignStep, volume.getObjId(), form, needsGPU=False)
        self._insertFunctionStep(self.createOutputStep, form, needsGPU=False)

    def alignStep(self, one, form):
        """Let the engine align one volume."""
        volume = next(v for v in self._volumes() if v.getObjId() == one)
        reference = self._getReference()
        arguments = [
            "align",
            truth_tables.mrc_of(volume, self._getTmpPath("volumes"), "volume_%s" % one),
            truth_tables.mrc_of(reference, self._getTmpPath("reference"), "reference"),
            "--pixel-size",
            reference.getSamplingRate(),
            "--out",
            self._getAlignedPath(one, ".mrc"),
            "--json",
            self._getAlignedPath(one, ".json"),
        ]
        if not self.tryHand:
            arguments += ["--no-mirror"]
        self._runEngine("metrics", arguments)

    def createOutputStep(self, form):
        """Register the aligned volumes."""
        given = self.inputVolumes.get()
        aligned = [self._readAligned(volume) for volume in self._volumes()]
        if isinstance(given, Volume):
            aligned[0].setObjId(None)
            output = {"outputVolume": aligned[0]}
        else:
            volumes = self._createSetOfVolumes()
            volumes.setSamplingRate(self._getReference().getSamplingRate())
            for volume in aligned:
                volumes.append(volume)
            output = {"outputVolumes": volumes}
        self._defineOutputs(**output)
        for pointer in (self.inputVolumes, self.reference):
            self._defineSourceRelation(pointer, next(iter(output.values())))

    # -------------------------- input ------------------------------------------
    def _volumes(self):
        """Return copies of the volumes to align."""
        given = self.inputVolumes.get()
        return copies_of([given] if isinstance(given, Volume) else given.iterItems())

    def _getReference(self):
        """Return a copy of the reference, which may be of the set that is aligned."""
        return self.reference.get().clone()

    def _getAlignedPath(self, one, extension):
        return self._getExtraPath(ALIGNED_FOLDER, "volume_%s%s" % (one, extension))

    def _readAligned(self, given):
        """Make the aligned volume of one that was given."""
        figures = convert.read_json(self._getAlignedPath(given.getObjId(), ".json"))
        volume = Volume(self._getAlignedPath(given.getObjId(), ".mrc"))
        volume.setObjId(given.getObjId())
        volume.setObjLabel(given.getObjLabel())
        volume.setSamplingRate(self._getReference().getSamplingRate())
        setattr(volume, SCORE, Float(figures["score"]))
        setattr(volume, MIRRORED, Boolean(figures["mirrored"]))
        label = truth_tables.value_of(given, TRUE_CLASS)
        if label is not None:
            setattr(volume, TRUE_CLASS, truth_tables.label_object(label))
        return volume

    # -------------------------- information ------------------------------------
    def _validate(self):
        given, reference = self.inputVolumes.get(), self.reference.get()
        if given is None or reference is None:
            return []
        problem = None if isinstance(given, Volume) else set_problem("volumes", given)
        problem = problem or grid_problem(given, reference, "volumes", "reference")
        return [problem] if problem else []

    def _warnings(self):
        return []

    def _summary(self):
        if not self.hasAttribute("outputVolume") and not self.hasAttribute("outputVolumes"):
            return ["The volumes are not aligned yet."]
        lines = []
        for volume in self._volumes():
            path = self._getAlignedPath(volume.getObjId(), ".json")
            if not os.path.exists(path):
                continue
            figures = convert.read_json(path)
            other = figures["score_other_hand"]
            lines.append(
                "%s: *score %0.3f*%s, turned by %0.1f°, shifted by %0.1f Å%s"
                % (
                    volume.getObjLabel() or "Volume %s" % volume.getObjId(),
                    figures["score"],
                    " (other hand %s)" % told(other) if other is not None else "",
                    truth_tables.turn_of(figures["rotation"]),
                    truth_tables.length_of(figures["shift_angstrom"]),
                    ", *mirrored*" if figures["mirrored"] else "",
                )
            )
            if figures["score"] < LOW:
                lines.append(
                    "This score is low: the structures differ, or there is much noise; look at "
                    "both volumes before you trust rotation and hand."
                )
            if other is not None and figures["score"] - other < UNDECIDED:
                lines.append("Both hands fit as well: the volumes do not tell the hand.")
        return lines

    def _methods(self):
        if not self.hasAttribute("outputVolume") and not self.hasAttribute("outputVolumes"):
            return []
        return [
            "Volumes were aligned with the reference by a search over all rotations and shifts%s."
            % (" and both hands" if self.tryHand else "")
        ]

    def _citations(self):
        return []
