"""Error of the angles and shifts of particles."""

from pwem.constants import ALIGN_PROJ
from pwem.protocols import EMProtocol
from pyworkflow.object import Float
from pyworkflow.protocol import params
from pyworkflow.protocol.constants import STEPS_SERIAL

from apbc_scipion import truth_tables
from apbc_scipion.objects import ApbcMetrics
from apbc_scipion.protocols.protocol_base import set_problem
from apbc_scipion.protocols.protocol_metrics_base import (
    OUTPUT_METRICS,
    ApbcProtMetricsBase,
    told,
)
from apbc_scipion.truth_tables import POSE_COLUMNS, TRUE_CLASS

FRAMES = ("class", "common", "fixed")
# Output and the engine's figure.
FIGURES = {"rotationError": "angle_deg_median", "shiftError": "shift_angstrom_median"}


class ApbcProtPoseError(ApbcProtMetricsBase, EMProtocol):
    """Measure the errors of angles and shifts against the true ones.

    *What it is for.* To tell how well a refinement found the orientations of simulated particles,
    whatever frame and hand its map has, or how far two refinements of real particles agree.

    *Input.* Particles with a 3D alignment, and the truth: simulated particles carry the pose they
    were made with (attributes __gtRot_, __gtTilt_, __gtPsi_, __gtShiftX_, __gtShiftY_) through
    Scipion's refinements, so that one set is enough. If they do not, give a second set: its true
    poses, or else its own alignment, are the truth. Particles are matched by id, or by their
    images; those in one set only stop the run and are named. Junk (class 0) does not count.

    *Output.* _rotationError_: median angle that is left between predicted and true orientation in
    degrees, after the best common rotation and hand. _shiftError_: median distance that is left
    between the centres in Å, after the best common offset. _outputMetrics_: for a report of several
    methods. Errors of each particle and each class are in extra/metrics/pose; _Analyze results_
    shows them.

    *If the result is poor.* A median near that of random angles (the summary has it) says that
    nothing was found, or that the particles of the sets are not the same ones. If the structure
    is symmetric, say so: equivalent views count as errors otherwise. If structures were refined
    one by one, each lies in a frame of its own: align each class by itself.
    """

    _label = "pose error"
    _possibleOutputs = {"rotationError": Float, "shiftError": Float, OUTPUT_METRICS: ApbcMetrics}
    stepsExecutionMode = STEPS_SERIAL

    # -------------------------- parameters -----------------------------------
    def _defineParams(self, form):
        form.addSection(label="Input")
        form.addParam(
            "inputParticles",
            params.PointerParam,
            pointerClass="SetOfParticles",
            pointerCondition="hasAlignmentProj",
            important=True,
            label="Particles",
            help="Particles with the angles and shifts of a 3D refinement or classification, whose "
            "errors are asked for.",
        )
        form.addParam(
            "truthParticles",
            params.PointerParam,
            pointerClass="SetOfParticles",
            allowsNull=True,
            label="True particles (optional)",
            help="Particles that know the true poses, such as outputParticles of _apbc - simulate "
            "particles_, or the result of another refinement to compare with. Empty: the first "
            "set carries the true poses as attributes.",
        )
        self._defineMatching(form)
        form.addParam(
            "symmetry",
            params.StringParam,
            default="C1",
            label="Symmetry",
            help="Point group of the structures, with Relion's axes: C1, C4, D2, T, O, I1 to I4. "
            "Views that are equivalent by it count as the same. Where structures differ in it, one "
            "for each true class, separated by blanks: 1:C1 2:D7 (each class is aligned by itself "
            "then).",
        )
        form.addParam(
            "frames",
            params.EnumParam,
            choices=["each class", "all together", "none"],
            default=1,
            label="Align to the truth",
            help="What shares a frame.\n_each class_: every true class (attribute _gtClass) is "
            "aligned by itself, for structures that were refined one by one.\n_all together_: one "
            "rotation and offset for all, for a common refinement.\n_none_: poses are compared as "
            "they are, for refinements that started from the true map or angles.",
        )
        form.addParam(
            "tryHand",
            params.BooleanParam,
            default=True,
            condition="frames!=2",
            label="Try the other hand, too?",
            help="Yes: poses of the mirrored structure are as good, since images do not tell the "
            "hand. No: they count as wrong.",
        )
        self._defineMethodParam(form)
        form.addParallelSection(threads=0, mpi=0)

    def _methodPointer(self):
        return self.inputParticles

    # -------------------------- steps -----------------------------------------
    def _insertAllSteps(self):
        form = self._formValues()
        self._insertFunctionStep(self.writeInputStep, form, needsGPU=False)
        self._insertFunctionStep(self.measureStep, form, needsGPU=False)
        self._insertFunctionStep(self.createOutputStep, form, needsGPU=False)

    def writeInputStep(self, form):
        """Write both tables of poses."""
        given, source = self.inputParticles.get(), self._truthSet()
        key = truth_tables.image_name if self._byImage() else truth_tables.object_id
        poses = truth_tables.collect_alignment(given, "particles", key)
        truth_tables.write_table(self._getPosesPath(), ("id", *POSE_COLUMNS), _rows(poses, {}))
        if truth_tables.has_true_pose(source):
            poses = truth_tables.collect_true_poses(source, key)
        else:
            poses = truth_tables.collect_alignment(source, "true particles", key)
        labels = {}
        if truth_tables.has_attribute(source, TRUE_CLASS):
            labels = truth_tables.collect_labels(source, TRUE_CLASS, key)
        truth_tables.write_table(
            self._getTruthPath(),
            ("id", *POSE_COLUMNS, *(["class"] if labels else [])),
            _rows(poses, labels),
        )

    def measureStep(self, form):
        """Let the engine measure."""
        arguments = [
            self._getPosesPath(),
            self._getTruthPath(),
            "--frames",
            FRAMES[self.frames.get()],
        ]
        groups = self._symmetryOfClasses()
        if groups:
            path = self._getExtraPath("symmetry.csv")
            arguments += [
                "--symmetry-table",
                truth_tables.write_table(path, ("class", "symmetry"), groups),
            ]
        else:
            arguments += ["--symmetry", self.symmetry.get().strip()]
        if not self.tryHand:
            arguments += ["--fixed-hand"]
        if self.allowPart:
            arguments += ["--subset"]
        self._measure("pose", arguments)

    def createOutputStep(self, form):
        """Register the figures."""
        figures = {name: self.getFigure("pose", key) for name, key in FIGURES.items()}
        outputs = {name: Float(value) for name, value in figures.items() if value is not None}
        outputs[OUTPUT_METRICS] = self._defineMetrics(["pose"])
        self._defineOutputs(**outputs)

    # -------------------------- input ------------------------------------------
    def _truthSet(self):
        """Particles that know the truth."""
        return self.truthParticles.get() or self.inputParticles.get()

    def _symmetryOfClasses(self):
        """Class and point group of each, if the form tells several."""
        words = self.symmetry.get().replace(",", " ").split()
        return [word.split(":", 1) for word in words] if ":" in self.symmetry.get() else []

    def _getPosesPath(self):
        return self._getExtraPath("poses.csv")

    def _getTruthPath(self):
        return self._getExtraPath("true_poses.csv")

    # -------------------------- information ------------------------------------
    def _validate(self):
        errors = []
        given, truth = self.inputParticles.get(), self.truthParticles.get()
        for name, items in (("particles", given), ("true particles", truth)):
            problem = set_problem(name, items)
            if problem:
                errors.append(problem)
        if errors or given is None:
            return errors
        if given.getAlignment() != ALIGN_PROJ:
            errors.append(
                "The particles have no angles of a 3D alignment; take the output of a 3D "
                "refinement."
            )
        if any(len(pair) != 2 for pair in self._symmetryOfClasses()):
            errors.append("Symmetry is one point group, or class:group of each, as 1:C1 2:D7.")
        if self._symmetryOfClasses() and FRAMES[self.frames.get()] == "common":
            errors.append(
                "Structures of different symmetry cannot share one frame; align each class by "
                "itself, or none."
            )
        if not truth_tables.has_true_pose(self._truthSet()):
            if truth is None:
                errors.append(
                    "The particles do not carry the poses they were simulated with (%s); give the "
                    "true particles." % ", ".join(truth_tables.TRUE_POSE)
                )
            elif truth.getAlignment() != ALIGN_PROJ:
                errors.append(
                    "The true particles have neither true poses nor a 3D alignment; give particles "
                    "that have."
                )
        return errors

    def _tellFigures(self):
        figures = self.getRecord("pose")["figures"]
        lines = [
            "*Rotation error %s* (median of %d particles; %s of random angles)"
            % (
                told(figures["angle_deg_median"], "%0.2f°"),
                figures["images"],
                told(figures["angle_deg_random"], "%0.0f°"),
            ),
            "Viewing direction alone %s" % told(figures["direction_deg_median"], "%0.2f°"),
        ]
        if figures.get("shift_angstrom_median") is not None:
            lines.append("Shift error %0.2f Å (median)" % figures["shift_angstrom_median"])
        if figures["mirrored_classes"]:
            lines.append(
                "The poses are of the other hand in %d of %d classes."
                % (figures["mirrored_classes"], figures["classes"])
            )
        if figures["junk_left_out"]:
            lines.append("%d junk particles do not count." % figures["junk_left_out"])
        return lines

    def _methods(self):
        if self.getRecord("pose") is None:
            return []
        return [
            "Orientations were compared with the true ones up to symmetry %s%s."
            % (
                self.symmetry.get().strip(),
                ""
                if FRAMES[self.frames.get()] == "fixed"
                else ", after the best rotation and offset of %s%s"
                % (
                    "each class" if FRAMES[self.frames.get()] == "class" else "all particles",
                    " and with the better hand" if self.tryHand else "",
                ),
            )
        ]

    def _citations(self):
        return ["Jeon2024"]


def _rows(poses, labels):
    """Rows of a table: id, pose and, where it is known, the class."""
    for one, pose in poses.items():
        yield [one, *map(float, pose)] + ([labels[one]] if labels else [])
