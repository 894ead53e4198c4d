"""Micrographs without any label to a training set."""

import os

import pyworkflow.utils as pwutils
from pwem.objects import SetOfCoordinates
from pwem.protocols import ProtParticlePickingAuto
from pyworkflow.object import Float
from pyworkflow.protocol import params
from pyworkflow.protocol.constants import STEPS_SERIAL

from apbc.geometry import box_size_for
from apbc_scipion import convert, engine
from apbc_scipion.constants import BAD, BOOTSTRAP_FOLDER, BOOTSTRAP_RECORD, DATASET_FILE, GOOD
from apbc_scipion.objects import ApbcDataset
from apbc_scipion.protocols.protocol_base import diameter_problem, read_json_or_none, set_problem
from apbc_scipion.protocols.protocol_stream_base import ApbcProtStreamBase
from apbc_scipion.validators import at_least

# Choices of the form, and what the engine calls them.
SHAPES = {
    "any: look which there are": "auto",
    "round (top views)": "top",
    "oblong (side views)": "side",
    "round and oblong": "top,side",
    "irregular": "irregular",
}
NEGATIVES = {"background": "background", "background and bad examples": "bad"}
SMALLEST_ACROSS = 20  # pixels; shapes cannot be told of smaller particles
FEW_MICROGRAPHS = 5
ANOTHER_FOLDER = "give another --out"  # words of the engine
PARALLEL_HELP = {
    "streamingWarning": "The run follows micrographs that are still being made; when their "
    "protocol has ended it makes the training set of what it has found, and ends.",
    "streamingSleepOnWait": "Seconds between looks for new micrographs, 0 to 60 or so; with 0 "
    "Scipion looks every few seconds.",
    "streamingBatchSize": "Micrographs that one process of the engine searches, 1 to some "
    "hundreds. The first ones of the first batch settle what holds for all: the diameter if it is "
    "not given, the shapes, and whether particles are dark; so take 5 or more. 0: all that are "
    "there.",
}


class ApbcProtBootstrap(ApbcProtStreamBase):
    """Make a training set from bare micrographs, where there is no label at all.

    *What it is for.* To start a project: no picking, no 2D classification and no model are
    needed. It looks for what is dark and has the shape of a particle, tells good examples from
    bad ones, and cuts a training set of them for _apbc - train classifier_. The model then finds
    what this search misses. The method is that of DeepCryoPicker.

    *Input.* Micrographs with dark particles (they may still be arriving). Give the diameter if
    you know it; else it is estimated, and the summary says between which limits it lies. Give the
    shape if you know it, too: round ones are found as circles, oblong ones as rectangles, and
    irregular ones as connected areas. Nothing else has to be set.

    *Output.* _outputCoordinates_: all examples, with their shape (column apbcShape) and whether
    they are good or bad (apbcQuality), and why a bad one is bad (apbcReason): at the border,
    merged with a neighbour, overlapping, out of round, unlike the others, faint, too small, too
    large, off centre, or contamination. A bad example is mostly a particle all the same: one that
    is not shown well; so give the set neither whole nor its bad ones as negatives to another
    protocol, but a subset of the good ones. _outputDataset_: an _ApbcDataset_
    (extra/bootstrap/data.h5) of the good examples and those that merely touch others, with
    balanced patches of each class of shape and of background, for every network of the training.
    _diameter_: that of the particle in Å; link it where another form asks for one. The viewer
    (_Analyze results_) shows how it came to them, stage by stage.

    *If the result is poor.* Look at the stages in the viewer: the mask must cover particles and
    little else. If circles are too small or too large, the diameter is wrong; the summary warns
    when sizes do not agree with it. If the mask covers what is between the particles, they are
    bright: say so in the form. If side views are taken for circles, give the shape. With fewer
    than 50 good examples there is no training set: give more micrographs.
    """

    _label = "bootstrap training set"
    _possibleOutputs = {
        "outputCoordinates": SetOfCoordinates,
        "outputDataset": ApbcDataset,
        "diameter": Float,
    }
    stepsExecutionMode = STEPS_SERIAL

    # -------------------------- parameters -----------------------------------
    def _defineParams(self, form):
        ProtParticlePickingAuto._defineParams(self, form)
        form.getParam("inputMicrographs").help.set(
            "Micrographs, not denoised and with no label. Their pixel size is that of the set. "
            "Some with many particles on clean ice are best; 5 or more, so that training and "
            "test can be told apart by micrograph."
        )
        form.addParam(
            "particleDiameter",
            params.FloatParam,
            default=None,
            allowsNull=True,
            important=True,
            label="Particle diameter (Å; empty: estimated)",
            help="Longest extent of the particle in Å: of a disc its diameter, of oblong side "
            "views the longer side (not the radius, and not the box size, which is about 1.5 "
            "times as large). Empty: it is estimated on the first "
            "micrographs (0 does the same); the summary tells it with its uncertainty, "
            "and extra/bootstrap/diameter.png shows what it was read from. The wizard draws it on "
            "a micrograph.",
        )
        form.addParam(
            "shapes",
            params.EnumParam,
            choices=list(SHAPES),
            default=0,
            label="Shape of the particles",
            help="What they look like on the micrographs. _Round_: discs and rings, found as "
            "circles. _Oblong_: barrels and bars that lie on their side, found as rectangles. "
            "_Irregular_: anything else, found as connected dark areas.",
        )
        form.addParam(
            "brightParticles",
            params.BooleanParam,
            default=False,
            label="Are the particles bright?",
            help="Yes: particles are brighter than the ice, as in negative stain or on "
            "micrographs whose contrast was inverted. The run stops and says so if this does not "
            "agree with what it sees.",
        )
        form.addParam(
            "samples",
            params.IntParam,
            default=1500,
            validators=[at_least(10)],
            expertLevel=params.LEVEL_ADVANCED,
            label="Patches of each class",
            help="So many patches are drawn of every shape and of background, turned and mirrored "
            "where there are fewer examples; the summary tells how often one is repeated. Only "
            "the network _alexnet_ learns from them. 1500 is what DeepCryoPicker takes.",
        )
        form.addParam(
            "negatives",
            params.EnumParam,
            choices=list(NEGATIVES),
            default=0,
            expertLevel=params.LEVEL_ADVANCED,
            label="What is no particle",
            help="Classes of patches beside the shapes. _Background_: places away from all "
            "examples. _Background and bad examples_: a class of bad examples, too; most of them "
            "are particles that overlap or touch the border, so that the picker learns to leave "
            "such out.",
        )
        form.addParam(
            "seed",
            params.IntParam,
            default=0,
            validators=[at_least(0)],
            expertLevel=params.LEVEL_ADVANCED,
            label="Seed",
            help="Any whole number from 0 on; it decides which examples are drawn, and which "
            "micrographs go into which part. The same seed gives the same training set.",
        )
        form.addParam(
            "keepStages",
            params.IntParam,
            default=8,
            validators=[at_least(0)],
            expertLevel=params.LEVEL_ADVANCED,
            label="Micrographs whose stages are kept",
            help="The viewer shows how the first so many micrographs were treated, stage by "
            "stage. 0: none; every one takes some MB.",
        )
        self._defineMaxFailed(form)
        self._defineWorkers(
            form,
            "Processes among which the engine shares out each batch; as many as there are "
            "cores is fastest, and each needs the memory for one micrograph. 1 to 64 or so.",
        )
        self._defineBatches(form, 16, PARALLEL_HELP)
        form.addParallelSection(threads=0, mpi=0)

    # -------------------------- steps -----------------------------------------
    def _insertFinalSteps(self, micSteps):
        form = self._formValues()
        dataset = self._insertFunctionStep(
            self.datasetStep,
            self._attempt.get(),
            form,
            prerequisites=micSteps,
            wait=True,
            needsGPU=False,
        )
        self._insertFunctionStep(
            self.createOutputStep, form, prerequisites=[dataset], needsGPU=False
        )

    def _getFirstJoinStepName(self):
        return self.datasetStep.__name__

    def _doBatch(self, mics, labels, folder):
        if not mics:
            return {}
        listing = self._listMicrographs(mics, labels, folder)
        failed = {}
        try:
            self._bootstrap(listing, "--examples-only")
        except engine.EngineError as error:
            if self._readRecord() is None:
                raise  # what is wrong with the first batch is wrong with all, such as the contrast
            failed = {
                label: str(error) for label in self._labelsOf(mics) if not self._isSearched(label)
            }
        told = self._readRecord()["failed"]
        for label in self._labelsOf(mics):
            if label in told:
                failed[label] = told[label]
            elif not self._isSearched(label):
                failed.setdefault(label, "the engine wrote no examples of it")
        return failed

    def datasetStep(self, attempt, form):
        """Let the engine make the training set of the examples of all micrographs."""
        labels = self._getLabels()
        done = [mic for mic in self.micDict.values() if self._micIsReady(mic)]
        if not done:
            self._tellFailures()
            raise RuntimeError("No micrograph could be searched: there is no training set.")
        folder = self._getExtraPath("batches", "all")
        self._bootstrap(self._listMicrographs(done, labels, folder))

    def _listMicrographs(self, mics, labels, folder):
        """Write the list of micrographs that the engine reads."""
        pwutils.makePath(folder)
        listing = os.path.join(folder, "micrographs.txt")
        convert.write_micrograph_list(mics, labels, self._getExtraPath("micrographs"), listing)
        return listing

    def _bootstrap(self, listing, *options):
        """Run the engine; what is done is left out."""
        arguments = [
            "--micrographs",
            listing,
            "--out",
            self._getFolder(),
            "--pixel-size",
            self.getInputMicrographs().getSamplingRate(),
            "--shape",
            SHAPES[self.getEnumText("shapes")],
            "--negatives",
            NEGATIVES[self.getEnumText("negatives")],
            "--samples",
            self.samples.get(),
            "--seed",
            self.seed.get(),
            "--keep-stages",
            self.keepStages.get(),
            "--workers",
            self.workers.get(),
            "--max-failed",
            1,
        ]
        if self._isGiven():
            arguments += ["--diameter", self.particleDiameter.get()]
        if self.brightParticles:
            arguments.append("--invert")
        try:
            self._runEngine("bootstrap", [*arguments, *options])
        except engine.EngineError as error:
            if ANOTHER_FOLDER not in str(error):
                raise
            raise engine.EngineError(
                "%s. In Scipion: copy the protocol and run the copy." % str(error).rstrip("."),
                error.status,
            ) from error

    def createOutputStep(self, form):
        """Register the training set; fail if more micrographs failed than the user tolerates."""
        record = self._readRecord()
        dataset = ApbcDataset(path=self._getFolder(DATASET_FILE))
        dataset.fill(
            *(record["labels"][kind] for kind in (GOOD, BAD)),
            len(record["micrographs"]),
            record["diameter"],
            record["pixel_size"],
            False,
            views=sum(count["good"] > 0 for count in record["shapes"].values()),
            classes=list(record["classes"]),
        )
        self._defineOutputs(outputDataset=dataset, diameter=Float(record["diameter"]))
        self._defineSourceRelation(self.getInputMicrographsPointer(), dataset)
        self._tellFailures()

    # -------------------------- streaming ----------------------------------------
    def _createSetOfCoordinates(self, micSet, suffix=""):
        coordinates = ProtParticlePickingAuto._createSetOfCoordinates(self, micSet, suffix=suffix)
        coordinates.setBoxSize(self._getBoxSize())
        return coordinates

    def readCoordsFromMics(self, outputDir, micDoneList, outputCoords):
        """Append the examples of micrographs that are done."""
        labels = self._getLabels()
        for mic in micDoneList:
            examples = convert.read_examples(self._getExamples(labels[mic.getObjId()]))
            convert.append_examples(examples, mic, outputCoords)

    # -------------------------- information ------------------------------------
    def _validate(self):
        errors, micrographs = [], self.getInputMicrographs()
        problem = set_problem("micrographs", self._ifClosed(micrographs))
        if problem:
            errors.append(problem)
        if self._isGiven():
            problem = diameter_problem(
                self.particleDiameter.get(),
                micrographs.getSamplingRate() if micrographs is not None else None,
            )
            if problem:
                errors.append(problem + " Leave it empty to have it estimated.")
        return errors

    def _warnings(self):
        warnings, micrographs = [], self.getInputMicrographs()
        if micrographs is None:
            return warnings
        closed, diameter = self._ifClosed(micrographs), self.particleDiameter.get()
        if closed is not None and closed.getSize() < FEW_MICROGRAPHS:
            warnings.append(
                "There are %d micrographs; with fewer than %d, training and test cannot well be "
                "told apart by micrograph." % (closed.getSize(), FEW_MICROGRAPHS)
            )
        if closed is None and self.streamingBatchSize.get() < FEW_MICROGRAPHS:
            warnings.append(
                "Micrographs are still arriving, and the first batch settles diameter and shapes "
                "for all of them; with a batch size of %d it may be too small for that: take %d "
                "or more." % (self.streamingBatchSize.get(), FEW_MICROGRAPHS)
            )
        if diameter and diameter < SMALLEST_ACROSS * micrographs.getSamplingRate():
            warnings.append(
                "A particle of %g Å is only %0.0f pixels across: its shape can hardly be told. "
                "Take micrographs that are less binned."
                % (diameter, diameter / micrographs.getSamplingRate())
            )
        return warnings

    def _summary(self):
        record = self._readRecord()
        coordinates = getattr(self, "outputCoordinates", None)
        if record is None or coordinates is None:
            return ["No micrograph is searched yet.", *self._failureLines()]
        lines = ["*%d* examples on the micrographs so far" % coordinates.getSize()]
        if getattr(self, "outputDataset", None) is not None:
            lines = [
                "*%d* good examples and *%d* bad ones on %d micrographs"
                % (*_sums(record["shapes"]), len(record["micrographs"]))
            ]
        lines += [
            "%s: *%d* good, *%d* bad" % (shape.capitalize(), count["good"], count["bad"])
            for shape, count in record["shapes"].items()
        ]
        lines += self._diameterLines(record)
        lines += ["*WARNING:* %s." % sentence for sentence in record["warnings"]]
        return lines + self._failureLines()

    def _diameterLines(self, record):
        """Tell the diameter; the warnings tell how sure an estimate is."""
        if not record["diameter_estimated"]:
            return ["Diameter: %g Å, as given" % record["diameter"]]
        lines = ["Diameter: *%0.0f Å, estimated*" % record["diameter"]]
        picture = self._getFolder("diameter.png")
        if os.path.exists(picture):
            lines.append("What it was read from: %s" % self.getFileTag(picture))
        return lines

    def _methods(self):
        record = self._readRecord()
        if record is None or getattr(self, "outputDataset", None) is None:
            return []
        return [
            "%d good and %d bad examples were found on %d micrographs without labels, by "
            "clustering and shape as in DeepCryoPicker [DeepCryoPicker2020], with apbc."
            % (*_sums(record["shapes"]), len(record["micrographs"]))
        ]

    def _citations(self):
        return [
            "DeepCryoPicker2020",
            "SuperCryoEMPicker2019",
            "AutoCryoPicker2019",
        ]

    def getSummary(self, coordSet):
        """One line for the output's comment."""
        return "%d examples, box of %d px" % (coordSet.getSize(), coordSet.getBoxSize())

    # -------------------------- utilities ----------------------------------------
    def getDiameter(self):
        """Diameter in Å: that of the form, else that of the first batch, else None."""
        if self._isGiven():
            return self.particleDiameter.get()
        return (self._readRecord() or {}).get("diameter")

    def _isGiven(self):
        """Tell whether the form says the diameter; an empty field and 0 do not."""
        return bool(self.particleDiameter.get())

    def getStagesFolder(self):
        """Folder of what the viewer shows, a file a micrograph."""
        return self._getFolder("stages")

    def _getBoxSize(self):
        """Box size in pixels of the micrographs."""
        record = self._readRecord() or {}
        if record.get("box_size"):
            return record["box_size"]
        # Nothing was found out before every micrograph failed.
        rate = self.getInputMicrographs().getSamplingRate()
        return box_size_for(self.getDiameter() or 0, rate)

    def _readRecord(self):
        """Read what the engine tells of its last run, or None."""
        return read_json_or_none(self._getFolder(BOOTSTRAP_RECORD))

    def _labelsOf(self, mics):
        labels = self._getLabels()
        return [labels[mic.getObjId()] for mic in mics]

    def _isSearched(self, label):
        return os.path.exists(self._getExamples(label))

    def _getExamples(self, label):
        return self._getFolder("examples", label + ".csv")

    def _getFolder(self, *names):
        return self._getExtraPath(BOOTSTRAP_FOLDER, *names)


def _sums(shapes):
    """Count good and bad examples of all shapes."""
    return tuple(sum(count[kind] for count in shapes.values()) for kind in (GOOD, BAD))
