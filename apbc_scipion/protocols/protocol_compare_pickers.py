"""Several pickers against one reference."""

import os

from pwem.protocols import EMProtocol
from pyworkflow.object import Set
from pyworkflow.protocol import params
from pyworkflow.protocol.constants import STEPS_SERIAL
from pyworkflow.utils import cleanPath

from apbc_scipion import convert
from apbc_scipion.constants import COMPARISON_FOLDER, COMPARISON_RECORD, MASK
from apbc_scipion.objects import ApbcComparison
from apbc_scipion.pick_sources import SCORE_COLUMNS
from apbc_scipion.protocols.protocol_base import diameter_problem, read_json_or_none, set_problem
from apbc_scipion.protocols.protocol_score_base import ApbcProtScoreBase

PICKERS, REFERENCE, MASKS = "pickers", "reference", "masks"
PAGE = "report.html"
SAME_FRAME = 0.02  # sides of micrographs that differ by less than this share are the same


class ApbcProtComparePickers(EMProtocol, ApbcProtScoreBase):
    """Score several pickers against one reference, side by side.

    *What it is for.* To choose a picker, or the settings of one, where some micrographs have been
    picked carefully by hand, or were simulated: which finds most, which is cleanest, which
    particles or views it loses, and where pickers agree.

    *Input.* Two or more sets of coordinates of any programs, and a reference. A pick and a
    reference particle match when they are at most half a particle diameter apart; each may match
    once, and the closest pairs are matched first. Sets are compared on the micrographs that all of
    them have (by name) and that hold at least one reference coordinate. The truth of _apbc -
    simulate micrographs_ knows class, pose and visibility of each particle, and masks of
    contamination; a reference picked by hand needs none of these.

    *Output.* _outputComparison_ with the best picker and all figures. Files in extra/comparison:
    report.html, a page that needs nothing else and can be sent by mail, tables (CSV), pictures
    (PNG) and compare.json. They tell precision, recall, F1 and average precision of every picker,
    by micrograph, by class and by view, with what it surely loses, how well its picks are centred,
    on what its false picks fall, and how far every two pickers agree. _Analyze results_ shows them.

    *If the result is poor.* If all pickers have low precision and agree in their false picks, the
    reference lacks particles: look at these picks before judging. If nearly nothing matches, the
    diameter is too small, or the reference belongs to other micrographs. Pickers are compared as
    they deliver; one with a strict threshold has less recall and a shorter curve. So give picks of
    a low threshold where the curves are to be compared.
    """

    _label = "compare pickers"
    _possibleOutputs = {"outputComparison": ApbcComparison}
    stepsExecutionMode = STEPS_SERIAL

    # -------------------------- parameters -----------------------------------
    def _defineParams(self, form):
        form.addSection(label="Input")
        form.addParam(
            "inputCoordinates",
            params.MultiPointerParam,
            pointerClass="SetOfCoordinates",
            minNumObjects=2,
            important=True,
            label="Picks",
            help="Two or more sets of coordinates, of any pickers. Each is called by the label of "
            "the run that made it, so give the runs labels that tell them apart.",
        )
        form.addParam(
            "referenceCoordinates",
            params.PointerParam,
            pointerClass="SetOfCoordinates",
            important=True,
            label="Reference",
            help="Coordinates taken as the truth: of _simulate micrographs_, or picked by hand. "
            "They may have been picked on micrographs of another pixel size.",
        )
        self._defineScoreParams(form)
        form.addParam(
            "useMasks",
            params.BooleanParam,
            default=True,
            label="Sort false picks by contamination?",
            help="Yes: where micrographs of the reference have masks of contamination, as those "
            "of _simulate micrographs_ have, it is told how many false picks of each picker fall "
            "on carbon, ice, gold and aggregates. Without masks nothing changes.",
        )
        form.addParallelSection(threads=0, mpi=0)

    # -------------------------- steps -----------------------------------------
    def _insertAllSteps(self):
        form = self._formValues()
        self._insertFunctionStep(self.writeInputStep, form, needsGPU=False)
        self._insertFunctionStep(self.compareStep, form, needsGPU=False)
        self._insertFunctionStep(self.createOutputStep, form, needsGPU=False)

    def writeInputStep(self, form):
        """Write reference, picks and masks of the micrographs that are compared."""
        for folder in (REFERENCE, PICKERS, MASKS):
            cleanPath(self._getExtraPath(folder))
        reference = self.referenceCoordinates.get()
        micrographs = reference.getMicrographs()
        index = convert.MicrographIndex(micrographs)
        truth, left_out = self._collectReference(reference, 1.0, index)
        there = set(truth)
        for _, picks in self.getPickers():
            there &= {
                index.labels[micId]
                for micId in map(index.findMicrograph, picks.getMicrographs().iterItems())
                if micId is not None
            }
        if not there:
            raise ValueError(
                "There is nothing to compare: the %d micrographs with reference coordinates "
                "all trained the model." % left_out
                if left_out and not truth
                else "There is nothing to compare: no micrograph has reference coordinates and a "
                "place in all sets of picks. Names of micrographs must agree."
            )
        columns = convert.write_reference(
            {label: truth[label] for label in there}, self._getExtraPath(REFERENCE)
        )
        for number, (_, picks) in enumerate(self.getPickers()):
            scale = picks.getMicrographs().getSamplingRate() / micrographs.getSamplingRate()
            found, _ = convert.collect_points(
                picks.iterItems(), scale, index, score=True, columns=SCORE_COLUMNS
            )
            convert.write_coordinates(
                {label: found.get(label, []) for label in there},
                self._getPicksFolder(number),
                labels=there,
            )
        masks = self._linkMasks(index, there)
        self.info(
            "%d micrographs are compared, %d that trained the model are left out, %d of the "
            "reference are not in all sets; the reference tells %s, and %d masks."
            % (
                len(there),
                left_out,
                len(truth) - len(there),
                ", ".join(columns) or "places alone",
                masks,
            )
        )

    def compareStep(self, form):
        """Let the engine match, count, and write the report."""
        micrographs = self.referenceCoordinates.get().getMicrographs()
        pickers = [
            "%s=%s" % (name, self._getPicksFolder(number))
            for number, (name, _) in enumerate(self.getPickers())
        ]
        arguments = [
            *pickers,
            "--reference",
            self._getExtraPath(REFERENCE),
            "--diameter",
            self.particleDiameter.get(),
            "--pixel-size",
            micrographs.getSamplingRate(),
            "--out",
            self._getComparisonFolder(),
        ]
        if os.path.isdir(self._getExtraPath(MASKS)):
            arguments += ["--masks", self._getExtraPath(MASKS)]
        self._runEngine("compare", arguments + self._edgeArguments(micrographs))

    def createOutputStep(self, form):
        """Register the comparison."""
        comparison = ApbcComparison(self._getComparisonFolder())
        comparison.fill(convert.read_json(self.getReportPath()))
        self._defineOutputs(outputComparison=comparison)
        for pointer in (*self.inputCoordinates, self.referenceCoordinates):
            self._defineSourceRelation(pointer, comparison)

    # -------------------------- input ------------------------------------------
    def getPickers(self):
        """Return name and picks of every picker, the names told apart.

        Returns
        -------
        list of (str, SetOfCoordinates)
        """
        found, taken = [], set()
        for pointer in self.inputCoordinates:
            picks = pointer.get()
            if picks is None:
                continue
            plain = self._nameOf(pointer)
            name, number = plain, 1
            while name in taken:
                number += 1
                name = "%s (%d)" % (plain, number)
            taken.add(name)
            found.append((name, picks))
        return found

    def _nameOf(self, pointer):
        """Label of the run that made a set; the engine ends a name at an equals sign."""
        maker, picks = pointer.getObjValue(), pointer.get()
        label = ""
        if maker is not None and not isinstance(maker, Set):
            label = maker.getObjLabel() or maker.getClassLabel()
        elif self.getProject() is not None and picks.getObjParentId() is not None:
            maker = self.getProject().getProtocol(picks.getObjParentId(), fromRuns=True)
            label = maker.getObjLabel() if maker is not None else ""
        label = label or picks.getObjLabel() or "picks"
        return " ".join(label.replace("=", " ").split()) or "picks"

    def _linkMasks(self, index, labels):
        """Link the masks that micrographs name, under the labels; returns how many there are."""
        count = 0
        if not self.useMasks.get():
            return count
        for micId, mic in index.micrographs.items():
            label, mask = index.labels[micId], getattr(mic, MASK, None)
            if label not in labels or mask is None or not mask.get():
                continue
            if not os.path.exists(mask.get()):
                self.warning("The mask of '%s' has gone: %s." % (mic.getMicName(), mask.get()))
                continue
            os.makedirs(self._getExtraPath(MASKS), exist_ok=True)
            link = self._getExtraPath(MASKS, label + ".mrc")
            if os.path.lexists(link):
                os.remove(link)
            os.symlink(os.path.abspath(mask.get()), link)
            count += 1
        return count

    # -------------------------- information ------------------------------------
    def _validate(self):
        reference, sets = self.referenceCoordinates.get(), self.getPickers()
        errors = []
        if len(sets) < 2:
            errors.append("Give two or more sets of picks; _evaluate picks_ scores one.")
        ids = [picks.getObjId() for _, picks in sets]
        if len(set(ids)) < len(ids):
            errors.append("One set of picks is given twice.")
        problem = set_problem("reference coordinates", reference)
        if problem:
            errors.append(problem)
        for name, items in (*sets, ("reference", reference)):
            if items is not None and items.getMicrographs() is None:
                errors.append("The micrographs of '%s' are not known." % name)
        if not errors and reference is not None:
            problem = diameter_problem(
                self.particleDiameter.get(), reference.getMicrographs().getSamplingRate()
            )
            if problem:
                errors.append(problem)
        return errors

    def _warnings(self):
        reference = self.referenceCoordinates.get()
        told = [
            "The set of picks of '%s' is empty; its recall will be 0." % name
            for name, picks in self.getPickers()
            if picks.getSize() == 0
        ]
        if reference is not None:
            told += [
                "The picks of '%s' are the reference, too; they will be perfect." % name
                for name, picks in self.getPickers()
                if picks.getObjId() == reference.getObjId()
            ]
            told += [
                "The micrographs of '%s' measure %d x %d Å and those of the reference %d x %d: "
                "only their names agree, perhaps." % (name, *_frame(picks), *_frame(reference))
                for name, picks in self.getPickers()
                if not _same_frame(picks, reference)
            ]
        return told

    def _summary(self):
        record = read_json_or_none(self.getReportPath())
        if record is None:
            return ["The pickers are not compared yet."]
        found = record["pickers"]
        ranking = sorted(found, key=lambda name: -found[name]["f1"])
        lines = [
            "*%s*: F1 %0.3f, precision %0.3f, recall %0.3f"
            % (name, found[name]["f1"], found[name]["precision"], found[name]["recall"])
            for name in ranking
        ]
        lines += record["told"]
        if self.excludeModel.get() is not None:
            lines.append("Micrographs that trained the model are left out.")
        lines.append(self.getFileTag(os.path.join(self._getComparisonFolder(), PAGE)))
        return lines

    def _methods(self):
        record = read_json_or_none(self.getReportPath())
        if record is None:
            return []
        return [
            "Picks of %s were matched one to one with %d reference particles on %d micrographs "
            "within %g Å. %s"
            % (
                ", ".join(record["pickers"]),
                record["particles"],
                len(record["micrographs"]),
                self.particleDiameter.get() / 2,
                record["told"][0],
            )
        ]

    def _citations(self):
        return []

    # -------------------------- utilities ----------------------------------------
    def getReportPath(self):
        """JSON record of pictures and tables, for the viewer."""
        return os.path.join(self._getComparisonFolder(), COMPARISON_RECORD)

    def _getComparisonFolder(self):
        return self._getExtraPath(COMPARISON_FOLDER)

    def _getPicksFolder(self, number):
        return self._getExtraPath(PICKERS, "%02d" % (number + 1))


def _frame(coordinates):
    """Width and height of the micrographs of coordinates, in Å; None where they are not known."""
    micrographs = coordinates.getMicrographs()
    size = micrographs.getDim() if micrographs is not None else None
    return [side * micrographs.getSamplingRate() for side in size[:2]] if size else None


def _same_frame(one, other):
    """Tell whether micrographs are of one size, but for what binning cuts off."""
    frames = _frame(one), _frame(other)
    return None in frames or all(abs(a - b) <= SAME_FRAME * b for a, b in zip(*frames))
