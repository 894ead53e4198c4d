"""Pick particles with a trained model."""

import os

import pyworkflow.utils as pwutils
from pwem.objects import SetOfCoordinates
from pwem.protocols import ProtParticlePickingAuto
from pyworkflow.object import Integer
from pyworkflow.protocol import params
from pyworkflow.protocol.constants import STEPS_PARALLEL

from apbc.geometry import box_size_for
from apbc_scipion import convert, engine
from apbc_scipion.constants import CLASSIFIER
from apbc_scipion.protocols.protocol_base import model_problem, read_json_or_none, set_problem
from apbc_scipion.protocols.protocol_stream_base import ApbcProtStreamBase
from apbc_scipion.validators import NOT_BOTH, within

PARALLEL_HELP = {
    "streamingWarning": "Picking follows micrographs, and CTFs if they are given, that are still "
    "being made, and ends when their protocols have ended.",
    "streamingSleepOnWait": "Seconds between looks for new micrographs, 0 to 60 or so; with 0 "
    "Scipion looks every few seconds.",
    "streamingBatchSize": "Micrographs that one process of the engine picks, 1 to some hundreds. "
    "Every process needs some seconds to start. Where each batch takes one GPU (see the threads) "
    "there must be more batches than GPUs. 0: all that are there.",
    "numberOfThreads": "Batches that are picked at the same time, plus one. 1: one batch after the "
    "other, each shared out among all _GPU IDs_, a process a GPU; the simplest for several GPUs. "
    "One more than GPUs: each batch takes one GPU; better where batches are small, as while "
    "micrographs arrive. On the CPU leave it at 1: one process uses all cores.",
}
# The threshold that promises the precision asked for; the first batch writes it.
PROMISE = "threshold.json"
ROUNDING = 1e-3


class ApbcProtPick(ApbcProtStreamBase):
    """Pick particles on micrographs with a model that learned from good and bad particles.

    *What it is for.* To go over every micrograph again once a model is trained, and over those
    that are still to come: it works in streaming.

    *Input.* Micrographs (they may still be arriving) and a model. The pixel size need not be that
    of the training micrographs. Give CTFs if, and only if, the model was trained with CTFs.

    *Output.* _outputCoordinates_: the candidates above the threshold, with their score in the
    column apbcScore. Scores are calibrated: of the candidates with a score near 0.7, about 70 %
    are particles. If the model is an ensemble, the column apbcDisagreement tells how far its
    networks differ about a pick; if it is an alexnet, whose scores are not calibrated, apbcShape
    tells what it takes it for. _boxSize_ (1.5 diameters, in pixels): link it to the box size of
    an extraction protocol. Files: all candidates in extra/candidates, so that another threshold
    later costs nothing; picks at the threshold in extra/picks (star and box); score maps in
    extra/maps. The viewer (_Analyze results_) shows picks, candidates and score maps.

    *If the result is poor.* Open the viewer and move the threshold: up where false picks
    disturb, down where particles are missed; "Create coordinates" makes a set of it. If no
    threshold is good, the model needs better examples: see _create training set_. If picks sit
    beside particles or several on one, the particle diameter is wrong.

    *Failures.* A micrograph that cannot be read or picked, or has no CTF where CTFs are given, is
    left out, named in the summary with the reason, and makes the run fail at its end, unless the
    share of such micrographs is one you tolerate. The coordinates of the others are there in any
    case. _Continue_ picks what failed again, and nothing else. A micrograph without particles is
    no failure.
    """

    _label = "pick particles"
    _possibleOutputs = {"outputCoordinates": SetOfCoordinates, "boxSize": Integer}
    stepsExecutionMode = STEPS_PARALLEL

    # -------------------------- parameters -----------------------------------
    def _defineParams(self, form):
        ProtParticlePickingAuto._defineParams(self, form)
        self._defineGpuParams(form)
        form.addParam(
            "inputModel",
            params.PointerParam,
            pointerClass="ApbcModel",
            important=True,
            label="Model",
            help="A model from _apbc - train classifier_ or _apbc - import model_.",
        )
        form.addParam(
            "inputCTF",
            params.PointerParam,
            pointerClass="SetOfCTF",
            allowsNull=True,
            label="CTF (optional)",
            help="Needed for a model that was trained on phase-flipped micrographs, and of no use "
            "to others. A micrograph is picked when its CTF has arrived.",
        )
        form.addParam(
            "threshold",
            params.FloatParam,
            default=-1.0,
            validators=[within(-1, 1, "must lie between 0 and 1, or be -1.")],
            label="Threshold (0 to 1)",
            help="Candidates with a score below it are not exported. -1 takes the threshold "
            "on the model's card: that of the best F1, or what was asked for in the training. "
            "0.5 means that something is as likely a particle as not. Raise it for "
            "cleaner particles (0.7 to 0.9), lower it for more (0.2 to 0.4). Another threshold "
            "later costs nothing: see the viewer. The wizard shows the histogram of "
            "scores of earlier runs of the model, or of its report.",
        )
        self._definePrecision(
            form,
            "Instead of a threshold: the lowest one that promises this share of particles "
            "among the picks, by their scores; 0.9 gives clean picks, 0.7 more of them. Between 0 "
            "and 1; -1: off. The first batch that is done fixes the threshold for the whole run, "
            "also after _Continue_; a larger batch size makes it surer. The summary tells it.",
        )
        form.addParam(
            "wantedBoxSize",
            params.IntParam,
            default=-1,
            expertLevel=params.LEVEL_ADVANCED,
            label="Box size (px)",
            help="Box size of the coordinates, and the output boxSize, in pixels of the "
            "micrographs; -1 takes 1.5 particle diameters, made even. It changes neither the "
            "picking nor where the picks are.",
        )
        self._defineMaxFailed(form)
        self._defineWorkers(
            form,
            "Processes among which the engine shares out each batch, with the cores and the "
            "memory; for a CPU with many cores. 1 to 8 or so. On GPUs it uses one for each anyway; "
            "with a larger number several share a GPU.",
        )
        self._defineGpuWizard(form)
        form.addParallelSection(threads=1, mpi=0)
        self._defineBatches(form, 32, PARALLEL_HELP)

    # -------------------------- steps -----------------------------------------
    def _doBatch(self, mics, labels, folder):
        failed = self._pickBatch(mics, labels, folder)
        for mic in mics:
            label = labels[mic.getObjId()]
            candidates = os.path.join(folder, "candidates", label + ".csv")
            if label not in failed and not os.path.exists(candidates):
                failed[label] = "the engine wrote no candidates for it"
            if label not in failed:
                self._moveIn(candidates, "candidates")
                self._moveIn(os.path.join(folder, "maps", label + ".png"), "maps")
                for extension in (".star", ".box"):
                    self._moveIn(os.path.join(folder, label + extension), "picks")
        return failed

    def _pickBatch(self, present, labels, folder):
        """Run the engine on a batch.

        Returns
        -------
        dict of str to str
            Reason of failure by label.
        """
        told = os.path.join(folder, "failed.csv")
        # That of an earlier attempt must not speak if the engine stops before it writes its own.
        pwutils.cleanPath(told)
        failed = {}
        if not present:
            return failed
        listing = os.path.join(folder, "micrographs.txt")
        star = os.path.join(folder, "micrographs_ctf.star")
        if self.inputCTF.get() is not None:
            known = self._writeCtfs(present, star)
            for mic in present:
                if labels[mic.getObjId()] not in known:
                    failed[labels[mic.getObjId()]] = "it has no CTF"
            present = [mic for mic in present if labels[mic.getObjId()] in known]
            if not present:
                return failed
        convert.write_micrograph_list(present, labels, os.path.join(folder, "links"), listing)
        arguments = [
            self.inputModel.get().getPath(),
            "--micrographs",
            listing,
            "--out",
            folder,
            "--pixel-size",
            self.getInputMicrographs().getSamplingRate(),
            "--format",
            "star,box",
            "--max-failed",
            1,
            "--resume",
        ]
        if self.workers.get() != 1:
            arguments += ["--workers", self.workers.get()]
        if self.inputCTF.get() is not None:
            arguments += ["--ctf", star]
        try:
            self._exportBatch(arguments, folder)
        except engine.EngineError as error:
            reason = str(error)
            self.error("A batch of %d micrographs failed: %s" % (len(present), reason))
            for mic in present:
                label = labels[mic.getObjId()]
                # What was picked before a threshold was promised is picked up by Continue.
                if self._wantsPromise() or not os.path.exists(
                    os.path.join(folder, "candidates", label + ".csv")
                ):
                    failed[label] = reason
        failed.update(convert.read_failed(told))
        return failed

    def _exportBatch(self, arguments, folder):
        """Run the engine on a batch, at the threshold of the run or one that is to be fixed."""
        if not self._wantsPromise() or self._readPromise():
            self._runEngine(
                "pick", [*arguments, "--threshold", self.getThreshold()], gpus=self.usesGpu()
            )
            return
        precision = self.precision.get()
        self._runEngine("pick", [*arguments, "--precision", precision], gpus=self.usesGpu())
        run = convert.read_json(os.path.join(folder, "run.json"))
        if not any(count["candidates"] for count in run["counts"].values()):
            return  # nothing was found to tell a threshold by
        fixed = self._fixPromise(
            {
                "threshold": run["threshold"],
                "precision": precision,
                "expected": run["precision_expected"],
            }
        )
        if fixed["threshold"] != run["threshold"]:
            self.info("Another batch was faster: its threshold is taken for this one, too.")
            self._runEngine(
                "pick", [*arguments, "--threshold", fixed["threshold"]], gpus=self.usesGpu()
            )

    def _fixPromise(self, promise):
        """Keep the threshold of the first batch.

        Returns
        -------
        dict
            What is kept: this promise, or that of a batch that was faster.
        """
        with self._lock:
            if self._readPromise() is None:
                convert.write_json(self._getExtraPath(PROMISE), promise)
            return self._readPromise()

    def _writeCtfs(self, mics, path):
        """Write the CTFs of a batch.

        Returns
        -------
        set of str
            Labels that have a CTF.
        """
        # A copy, since another thread adds the micrographs that arrive. Labels are those of all.
        index = convert.MicrographIndex(list(self.micDict.values()))
        left = {mic.getMicName() for mic in mics}
        ctfs = []
        with self._lock:
            for ctf in self.inputCTF.get().iterItems():
                name = ctf.getMicrograph().getMicName()
                if name in left:
                    ctfs.append(ctf.clone())
                    left.remove(name)
                    if not left:
                        break
        return convert.write_ctf_star(ctfs, index, path)

    def createOutputStep(self):
        """Fail at the end if more micrographs failed than the user tolerates."""
        self._tellFailures()

    # -------------------------- streaming ----------------------------------------
    def _loadInputList(self):
        """Micrographs that are ready: those with a CTF, if CTFs are given.

        Once no CTF can come any more the others follow, and their step marks them as failed.
        """
        mics, closed = self._loadMics(self.getInputMicrographs())
        if self.inputCTF.get() is not None:
            ctfs, ctfsClosed = self._loadCTFs(self.inputCTF.get())
            closed = closed and ctfsClosed
            if not closed:
                mics = type(mics)((name, mic) for name, mic in mics.items() if name in ctfs)
        return mics, closed

    def _createSetOfCoordinates(self, micSet, suffix=""):
        coordinates = ProtParticlePickingAuto._createSetOfCoordinates(self, micSet, suffix=suffix)
        coordinates.setBoxSize(self._getBoxSize())
        if not self.hasAttribute("boxSize"):
            self._defineOutputs(boxSize=Integer(self._getBoxSize()))
        return coordinates

    def readCoordsFromMics(self, outputDir, micDoneList, outputCoords):
        """Append the picks of micrographs that are done."""
        labels = self._getLabels()
        for mic in micDoneList:
            path = self._getCandidates(labels[mic.getObjId()])
            picks, disagreement = convert.read_picks(path), convert.read_disagreement(path)
            shapes = convert.read_shapes(path)
            convert.append_picks(
                picks, mic, outputCoords, self.getThreshold(), disagreement, shapes
            )

    # -------------------------- information ------------------------------------
    def _validate(self):
        errors = []
        if self._wantsPromise() and self._isGiven(self.threshold):
            errors.append(NOT_BOTH)
        if self._wantsPromise() and self.inputModel.get() is not None:
            if self.inputModel.get().isClassifier():
                errors.append(
                    "The scores of an %s model are not calibrated, so that no threshold can "
                    "promise a precision: give a threshold, or leave both at -1." % CLASSIFIER
                )
        problem = set_problem("micrographs", self._ifClosed(self.getInputMicrographs()))
        if problem:
            errors.append(problem)
        model = self.inputModel.get()
        if model is not None:
            problem = model_problem(model)
            if problem:
                errors.append(problem)
            elif model.isPhaseFlipped() and self.inputCTF.get() is None:
                errors.append("The model was trained on phase-flipped micrographs: give CTFs.")
        ctfs = self.inputCTF.get()
        micrographs = self.getInputMicrographs()
        if (
            ctfs is not None
            and micrographs is not None
            and ctfs.isStreamClosed()
            and micrographs.isStreamClosed()
        ):
            known = {ctf.getMicrograph().getMicName() for ctf in ctfs.iterItems()}
            if not any(mic.getMicName() in known for mic in micrographs.iterItems()):
                errors.append("No micrograph has a CTF: the CTFs are of other micrographs.")
        return errors

    def _warnings(self):
        warnings = []
        model, ctfs = self.inputModel.get(), self.inputCTF.get()
        if model is not None and ctfs is not None and not model.isPhaseFlipped():
            warnings.append(
                "CTFs are given, but the model was trained without: they are not used, and "
                "micrographs without one fail."
            )
        micrographs = self.getInputMicrographs()
        if (
            model is not None
            and micrographs is not None
            and model.getPixelSize()
            and micrographs.getSamplingRate() > model.getPixelSize()
        ):
            warnings.append(
                "The micrographs have %0.2f Å/px, coarser than the %0.2f Å/px at "
                "which the model looks." % (micrographs.getSamplingRate(), model.getPixelSize())
            )
        return warnings

    def _summary(self):
        lines = []
        coordinates = getattr(self, "outputCoordinates", None)
        if coordinates is None:
            lines.append("No coordinates yet.")
        else:
            lines.append(
                "*%d* particles at threshold %g, box of %d px"
                % (coordinates.getSize(), self.getThreshold(), coordinates.getBoxSize())
            )
        lines += self._promiseLines()
        if self.inputModel.get() is not None:
            lines += self.inputModel.get().getLossLines()
        devices = {run["device"] for run in self._iterRuns() if run.get("device")}
        for device in sorted(devices):
            lines += self._deviceLines(device)
        lines += self._failureLines()
        return lines

    def _methods(self):
        coordinates = getattr(self, "outputCoordinates", None)
        if coordinates is None:
            return []
        return [
            "%d particles were picked with apbc [AutopickBC] at a threshold of %g."
            % (coordinates.getSize(), self.getThreshold())
        ]

    def getSummary(self, coordSet):
        """One line for the output's comment."""
        return "%d particles, box of %d px" % (coordSet.getSize(), coordSet.getBoxSize())

    # -------------------------- utilities ----------------------------------------
    def getThreshold(self):
        """Threshold in force: that of the form or that of its promise, else that of the model.

        The promise counts once the first batch is done.
        """
        promise = self._readPromise() if self._wantsPromise() else None
        if promise:
            return promise["threshold"]
        if self._isGiven(self.threshold):
            return self.threshold.get()
        return self.inputModel.get().getThreshold()

    def _wantsPromise(self):
        """Tell whether the threshold is to promise a precision."""
        return self._isGiven(self.precision)

    def _isGiven(self, field):
        """Tell whether a field says more than -1; one that was emptied says nothing."""
        return field.get() is not None and field.get() >= 0

    def _readPromise(self):
        """Threshold that the first batch has fixed, with its promise, or None."""
        return read_json_or_none(self._getExtraPath(PROMISE))

    def _promiseLines(self):
        """Tell of the threshold that the first batch has fixed."""
        promise = self._readPromise() if self._wantsPromise() else None
        if promise is None:
            return []
        asked, expected = promise["precision"], promise["expected"]
        if expected is None:
            promised = "above which it has no candidate"
        else:
            promised = "which promised a precision of %0.2f there" % expected
        if expected is not None and expected > asked - ROUNDING:
            return ["The first batch fixed the threshold, %s (asked for: %g)." % (promised, asked)]
        return [
            "*No threshold promised a precision of %g* for the first batch: that of the model is "
            "taken, %s." % (asked, promised)
        ]

    def _getBoxSize(self):
        """Box size in pixels of the micrographs."""
        if self.wantedBoxSize.get() > 0:
            return self.wantedBoxSize.get()
        return box_size_for(
            self.inputModel.get().getDiameter(), self.getInputMicrographs().getSamplingRate()
        )

    def _getCandidates(self, label):
        return self._getExtraPath("candidates", label + ".csv")

    def _iterRuns(self):
        """Yield what the engine wrote about each batch."""
        folder = self._getExtraPath("batches")
        if os.path.isdir(folder):
            for name in sorted(os.listdir(folder)):
                run = read_json_or_none(os.path.join(folder, name, "run.json"))
                if run is not None:
                    yield run
