"""Good and bad particles to a training set."""

import csv
import json
import os
from enum import Enum

from pwem.constants import ALIGN_2D
from pwem.protocols import EMProtocol
from pyworkflow.protocol import params
from pyworkflow.protocol.constants import STEPS_SERIAL

from apbc_scipion import convert
from apbc_scipion.choose_classes import choose_classes, describe_classes
from apbc_scipion.constants import DATASET_FILE
from apbc_scipion.objects import ApbcDataset
from apbc_scipion.protocols.protocol_base import (
    ApbcProtBase,
    diameter_problem,
    read_json_or_none,
)
from apbc_scipion.validators import POSITIVE, at_least

PARTICLES, COORDINATES, CLASSES = range(3)
SMALLEST_CLASS = 20
KINDS = ("good", "bad")
GOOD_ALONE = (
    "Good labels alone: places without a label are taken to be mostly no particles, and background "
    "drawn away from the labels is all that teaches what to leave out. Bad labels teach more."
)
# Packages whose 2D alignments turn first and shift then.
SHIFT_LAST = ("xmipp3", "eman2")


class outputs(Enum):
    """What the protocol gives."""

    outputDataset = ApbcDataset


class ApbcProtCreateTrainingSet(EMProtocol, ApbcProtBase):
    """Make a training set from good and bad particles.

    *What it is for.* After 2D classification the particles of bad classes are usually thrown
    away. They are worth as much as the good ones: they show a picker what looks like a particle
    and is none. This protocol takes both and cuts them out of the micrographs. It is the first
    step; _apbc - train classifier_ is the next.

    *Input.* Good and bad particles come from one 2D classification of any program (the wizard of
    the two lists shows the averages; leave out the classes you doubt), from sets of particles, or
    from sets of coordinates. At least 20 of each are needed, some hundreds are better. Good labels
    should be clean; they need not be complete. The micrographs are found through the coordinates
    of the particles. Give a set of micrographs to cut the particles from others, for example
    denoised ones: they are matched by name, and coordinates are scaled when the pixel size
    differs. Particles with no coordinates are read from their stacks. Bad particles may be
    missing: then places without a label are taken to be mostly no particles, which works but
    picks more contamination. Particles that carry an alignment of Relion or cryoSPARC are cut
    out where it finds their middle. The class of each is kept, so that the training can learn
    rare views as well as common ones.

    *Output.* One _ApbcDataset_ (the file extra/data.h5), split into training, validation and test
    part by micrograph. The summary tells how many particles it holds and, if a rule chose the
    classes, which.

    *If the result is poor.* Whether it is, the training tells: look at its doubtful crops. Mixed
    classes are the usual reason: leave them out, or classify again into more classes. If bad
    particles are few, pick blindly with a lower threshold before the classification, so that what
    is no particle gets classes of its own. If the crops show half a particle or several, the
    diameter is wrong.
    """

    _label = "create training set"
    _possibleOutputs = outputs
    stepsExecutionMode = STEPS_SERIAL

    # -------------------------- parameters -----------------------------------
    def _defineParams(self, form):
        form.addSection(label="Input")
        form.addParam(
            "inputType",
            params.EnumParam,
            default=CLASSES,
            choices=["particles", "coordinates", "2D classes"],
            display=params.EnumParam.DISPLAY_HLIST,
            label="Good and bad come as",
            help="Where the labels come from: sets of particles, sets of coordinates, or one set "
            "of 2D classes with the ids of good and bad classes. 2D classes are the usual way.",
        )
        for kind, what, optional in (
            ("good", "are particles", ""),
            ("bad", "are not particles", " May be empty: then good labels alone are learnt from."),
        ):
            form.addParam(
                kind + "Particles",
                params.MultiPointerParam,
                pointerClass="SetOfParticles",
                condition="inputType == %d" % PARTICLES,
                allowsNull=True,
                minNumObjects=1,
                important=True,
                label="%s particles" % kind.capitalize(),
                help="One or several sets of particles that %s, such as subsets of classes. They "
                "are looked up on their micrographs. At least 20 in all, some hundreds are better."
                "%s" % (what, optional),
            )
            form.addParam(
                kind + "Coordinates",
                params.MultiPointerParam,
                pointerClass="SetOfCoordinates",
                condition="inputType == %d" % COORDINATES,
                allowsNull=True,
                minNumObjects=1,
                important=True,
                label="%s coordinates" % kind.capitalize(),
                help="One or several sets of coordinates that %s, picked by hand or by a program. "
                "At least 20 in all, some hundreds are better.%s" % (what, optional),
            )
        form.addParam(
            "inputClasses",
            params.PointerParam,
            pointerClass="SetOfClasses2D",
            condition="inputType == %d" % CLASSES,
            allowsNull=True,
            important=True,
            label="2D classes",
            help="A 2D classification of any program (Relion, cryoSPARC, Xmipp). Its particles "
            "must know their coordinates, or else they are read from their stacks.",
        )
        form.addParam(
            "goodClasses",
            params.StringParam,
            default="",
            condition="inputType == %d" % CLASSES,
            label="Good classes",
            help="Ids of classes that show the particle, for example 1,3-5. The wizard shows the "
            "averages: a click marks a class. Take clear ones only.",
        )
        form.addParam(
            "badClasses",
            params.StringParam,
            default="",
            condition="inputType == %d" % CLASSES,
            label="Bad classes",
            help="Ids of classes that show something else: ice, carbon, edges, pairs, noise. "
            "Classes in neither list are left out; leave out those you doubt. The wizard shows the "
            "averages. May be empty beside a list of good classes: then good labels alone are "
            "learnt from.",
        )
        form.addParam(
            "chooseByRule",
            params.BooleanParam,
            default=False,
            condition="inputType == %d" % CLASSES,
            label="Choose classes by the rule?",
            help="With yes, and both lists empty, the run itself chooses good and bad classes, "
            "by the rule whose suggestion the wizard of the lists shows: so a workflow can run "
            "to its end with nobody there. The summary tells what was chosen. Look at it: where "
            "you see it otherwise, write the lists and run this protocol again.",
        )
        form.addParam(
            "particleDiameter",
            params.FloatParam,
            validators=[POSITIVE],
            important=True,
            label="Particle diameter (Å)",
            help="Longest extent of the particle in Å (the diameter, not the radius, and not the "
            "box size, which is about 1.5 times as large). It sets the pixel size at which the "
            "network looks and the size of the crops. The wizard measures it on the averages, and "
            "draws it on a micrograph.",
        )
        form.addParam(
            "inputMicrographs",
            params.PointerParam,
            pointerClass="SetOfMicrographs",
            allowsNull=True,
            label="Micrographs (optional)",
            help="Micrographs from which the particles are cut. Empty: those on which they were "
            "picked. Others, such as denoised ones, are matched by name; coordinates are scaled "
            "to their pixel size. Pick on micrographs of the same kind.",
        )
        form.addParam(
            "inputCTF",
            params.PointerParam,
            pointerClass="SetOfCTF",
            allowsNull=True,
            label="CTF (optional)",
            help="With a CTF for every micrograph the phases are flipped before particles are "
            "cut out. Picking must then be given CTFs too. It helps at high defocus only.",
        )
        form.addSection(label="Options")
        form.addParam(
            "splitBy",
            params.EnumParam,
            choices=["micrograph", "particle"],
            default=0,
            label="Split by",
            help="How training, validation and test parts (64, 16 and 20 %) are told apart. By "
            "micrograph the test part is honest about micrographs the model has never "
            "seen; with fewer than 5 micrographs the engine splits by particle.",
        )
        form.addParam(
            "seed",
            params.IntParam,
            default=1,
            validators=[at_least(0)],
            expertLevel=params.LEVEL_ADVANCED,
            label="Seed",
            help="Any whole number from 0 on; it decides which micrographs go into which part. The "
            "same seed gives the same split.",
        )
        form.addParam(
            "recentre",
            params.BooleanParam,
            default=True,
            condition="inputType != %d" % COORDINATES,
            expertLevel=params.LEVEL_ADVANCED,
            label="Re-centre particles?",
            help="Particles of a classification or refinement carry an alignment: how far from "
            "the place where they were picked they lie. With yes, good and bad ones are cut out "
            "where they lie, unless they are said to lie more than half a diameter away. The log "
            "tells how many were moved, and by how much. Alignments of Relion and cryoSPARC are "
            "used; those of Xmipp and EMAN, which turn and mirror first, are not.",
        )
        form.addParam(
            "stackContrast",
            params.EnumParam,
            choices=["white", "dark"],
            default=0,
            condition="inputType != %d" % COORDINATES,
            expertLevel=params.LEVEL_ADVANCED,
            label="Particles in the stacks are",
            help="Matters only for particles that are read from their stacks because no "
            "micrographs are known. Extraction for Relion and Xmipp makes them white.",
        )
        form.addParallelSection(threads=0, mpi=0)

    # -------------------------- steps -----------------------------------------
    def _insertAllSteps(self):
        if self._ruleChooses():
            self._insertFunctionStep(self.chooseClassesStep, needsGPU=False)
        self._insertFunctionStep(self.writeInputStep, needsGPU=False)
        self._insertFunctionStep(self.datasetStep, needsGPU=False)
        self._insertFunctionStep(self.createOutputStep, needsGPU=False)

    def chooseClassesStep(self):
        """Choose good and bad classes by the rule, and write down which."""
        classes = self.inputClasses.get()
        described = describe_classes(classes, self.particleDiameter.get())
        # Nobody is there to ask.
        chosen = choose_classes(described, unattended=True)
        sizes = {item.classId: item.size for item in described}
        for classId, size in sizes.items():
            self.info(
                "Class %d, %d particles, %s: %s"
                % (classId, size, chosen.word(classId), chosen.reasons[classId])
            )
        for kind, ids in (("good", chosen.good), ("bad", chosen.bad)):
            count = sum(sizes[classId] for classId in ids)
            if count < SMALLEST_CLASS:
                raise ValueError(
                    "The rule found %d %s classes with %d particles; at least %d particles are "
                    "needed. Look at the classes and write the lists of good and bad ones "
                    "yourself." % (len(ids), kind, count, SMALLEST_CLASS)
                )
        with convert.new_file(self._getChosenPath()) as handle:
            json.dump(
                {
                    "good": chosen.good,
                    "bad": chosen.bad,
                    "sizes": sizes,
                    "doubt": chosen.doubt,
                },
                handle,
            )

    def writeInputStep(self):
        """Write the coordinates, or the particles, the engine reads."""
        if self._fromStacks():
            for kind in KINDS:
                count, _ = convert.write_particles(
                    self._iterParticles(kind),
                    self._getInputPath(kind + ".star"),
                    folder=self._getTmpPath("stacks"),
                )
                self.info("%d %s particles are read from their stacks." % (count, kind))
            return
        index = convert.MicrographIndex(*self._getMicrographSets())
        used = set()
        for kind in self._getKinds():
            if self.inputType == COORDINATES:
                points, lost = self._collectCoordinates(kind, index)
                written = convert.write_coordinates(points, self._getInputPath(kind))
            else:
                points, lost = self._collectParticles(kind, index)
                written = convert.write_labels(points, self._getInputPath(kind))
            used.update(points)
            self.info("%d %s particles on %d micrographs." % (written, kind, len(points)))
            if lost:
                self.warning(
                    "%d %s particles lie on micrographs that are not in the set and "
                    "are left out." % (lost, kind)
                )
        mics = [mic for micId, mic in index.micrographs.items() if index.labels[micId] in used]
        convert.write_micrograph_list(
            mics,
            index.labels,
            self._getInputPath("micrographs"),
            self._getInputPath("micrographs.txt"),
        )
        if self.inputCTF.get() is not None:
            known = convert.write_ctf_star(self.inputCTF.get(), index, self._getCtfStar())
            missing = used - known
            if missing:
                raise ValueError(
                    "%d micrographs with particles have no CTF, for example %s. "
                    "Give a CTF for all of them or for none." % (len(missing), min(missing))
                )

    def datasetStep(self):
        """Let the engine cut the crops."""
        if self._fromStacks():
            arguments = [
                "--good-particles",
                self._getInputPath("good.star"),
                "--bad-particles",
                self._getInputPath("bad.star"),
                "--stack-contrast",
                self.getEnumText("stackContrast"),
            ]
        else:
            arguments = [
                "--micrographs",
                self._getInputPath("micrographs.txt"),
                "--pixel-size",
                self._getMicrographs().getSamplingRate(),
            ]
            for kind in self._getKinds():
                arguments += ["--" + kind, self._getInputPath(kind)]
            if not self.recentre.get():
                arguments += ["--no-recentre"]
            if self.inputCTF.get() is not None:
                arguments += ["--ctf", self._getCtfStar()]
        arguments += [
            "--diameter",
            self.particleDiameter.get(),
            "--split-by",
            self.getEnumText("splitBy"),
            "--seed",
            self.seed.get(),
            "--out",
            self._getDatasetPath(),
        ]
        self._runEngine("dataset", arguments)

    def createOutputStep(self):
        """Register the data set."""
        dataset = ApbcDataset(path=self._getDatasetPath())
        if self._fromStacks():
            pixelSize = next(iter(self._iterSets("good"))).getSamplingRate()
            micrographs, views = 0, 0
            good, bad = (sum(1 for _ in self._iterParticles(kind)) for kind in KINDS)
        else:
            pixelSize = self._getMicrographs().getSamplingRate()
            with open(self._getInputPath("micrographs.txt")) as handle:
                micrographs = sum(1 for _ in handle)
            counts = {kind: _countRows(self._getInputPath(kind)) for kind in self._getKinds()}
            good, bad = (counts.get(kind, 0) for kind in KINDS)
            views = _countViews(self._getInputPath("good"))
        dataset.fill(
            good,
            bad,
            micrographs,
            self.particleDiameter.get(),
            pixelSize,
            self.inputCTF.get() is not None and micrographs > 0,
            views,
        )
        self._defineOutputs(**{outputs.outputDataset.name: dataset})
        for pointer in self._iterInputPointers():
            self._defineSourceRelation(pointer, dataset)

    # -------------------------- information ------------------------------------
    def _validate(self):
        errors = []
        if self.inputType == CLASSES:
            errors += self._validateClasses()
        else:
            for kind in KINDS:
                sets = list(self._iterSets(kind))
                if not sets and kind == "good":
                    errors.append(
                        "There are no good %s: give at least one set."
                        % self.getEnumText("inputType")
                    )
                elif sets and sum(items.getSize() for items in sets) == 0:
                    errors.append(
                        "The sets of %s %s are empty." % (kind, self.getEnumText("inputType"))
                    )
        if errors:
            return errors
        for kind in () if self._ruleChooses() else self._getKinds():
            count = self._count(kind)
            if count < SMALLEST_CLASS:
                errors.append(
                    "There are only %d %s particles; at least %d are needed."
                    % (count, kind, SMALLEST_CLASS)
                )
        if not self._hasBad() and self._fromStacks():
            errors.append(
                "There are no bad %s, and particles from stacks show no background to tell good "
                "ones from: give bad ones, or the micrographs." % self.getEnumText("inputType")
            )
        micrographs = self._getMicrographs()
        if micrographs is not None:
            errors += self._validateMicrographs(micrographs)
        elif self.inputCTF.get() is not None:
            errors.append(
                "CTFs are of no use here: the micrographs of the particles are not "
                "known. Give the micrographs too."
            )
        pixelSize = (
            (micrographs or next(iter(self._iterSets("good")))).getSamplingRate()
            if self.inputType != COORDINATES or micrographs is not None
            else None
        )
        problem = diameter_problem(self.particleDiameter.get(), pixelSize)
        if problem:
            errors.append(problem)
        return errors

    def _validateClasses(self):
        """Check the lists of classes."""
        classes = self.inputClasses.get()
        if classes is None:
            return ["Give the set of 2D classes."]
        if self._ruleChooses():
            return ["The set of 2D classes is empty."] if classes.getSize() == 0 else []
        errors, ids = [], {}
        known = {item.getObjId() for item in classes.iterItems()}
        for kind, text in (("good", self.goodClasses.get()), ("bad", self.badClasses.get())):
            try:
                ids[kind] = convert.parse_ids(text)
            except ValueError as error:
                errors.append("%s classes: %s" % (kind.capitalize(), error))
                continue
            if not ids[kind] and kind == "good":
                errors.append("There are no good classes: give the id of at least one.")
            unknown = sorted(ids[kind] - known)
            if unknown:
                errors.append(
                    "%s classes: there is no class %s in the set (it has %s)."
                    % (
                        kind.capitalize(),
                        ", ".join(map(str, unknown)),
                        ", ".join(map(str, sorted(known))),
                    )
                )
        both = sorted(ids.get("good", set()) & ids.get("bad", set()))
        if both:
            errors.append("A class cannot be good and bad at once: %s." % ", ".join(map(str, both)))
        return errors

    def _validateMicrographs(self, micrographs):
        """Check the micrographs against each other and against the CTFs."""
        errors = []
        if micrographs.getSize() == 0:
            errors.append("The set of micrographs is empty.")
        rates = {round(item.getSamplingRate(), 4) for item in self._getMicrographSets()}
        if len(rates) > 1:
            errors.append(
                "Good and bad were picked on micrographs of different pixel sizes "
                "(%s Å). Give the micrographs from which all should be cut."
                % ", ".join("%g" % rate for rate in sorted(rates))
            )
        return errors

    def _warnings(self):
        warnings = []
        if self._fromStacks() and any(self._iterSets("good")):
            warnings.append(
                "The micrographs of the particles are not known, so the particles "
                "are read from their stacks. Training pixels then differ somewhat "
                "from picking pixels; give the micrographs if you have them."
            )
        if not self._hasBad():
            warnings.append(GOOD_ALONE)
        return warnings

    def _summary(self):
        dataset = getattr(self, outputs.outputDataset.name, None)
        if dataset is None:
            return ["The training set is not ready yet."]
        good, bad = dataset.getCounts()
        lines = ["*%d* good and *%d* bad particles of %g Å" % (good, bad, dataset.getDiameter())]
        if dataset.getMicrographs():
            lines.append(
                "Cut from *%d* micrographs at %g Å/px%s"
                % (
                    dataset.getMicrographs(),
                    dataset.getPixelSize(),
                    ", phases flipped" if dataset.isPhaseFlipped() else "",
                )
            )
        else:
            lines.append("*Read from stacks*, since their micrographs are not known.")
        if dataset.getViews():
            lines.append("Views: the good particles are of *%d* 2D classes." % dataset.getViews())
        if bad == 0:
            lines.append(GOOD_ALONE)
        lines += self._chosenLines()
        lines.append("Data set: %s" % self.getFileTag(dataset.getPath()))
        return lines

    def _methods(self):
        dataset = getattr(self, outputs.outputDataset.name, None)
        if dataset is None:
            return []
        good, bad = dataset.getCounts()
        return [
            "%d good and %d bad particles were collected as training data with apbc "
            "[AutopickBC]." % (good, bad)
        ]

    def _chosenLines(self):
        """Tell what the rule chose, if it did."""
        chosen = read_json_or_none(self._getChosenPath()) if self._ruleChooses() else None
        if chosen is None:
            return []
        lines = [
            "*Classes chosen by the rule*: good %s; bad %s; left out: the other %d."
            % (
                ", ".join(map(str, chosen["good"])),
                ", ".join(map(str, chosen["bad"])),
                len(chosen["sizes"]) - len(chosen["good"]) - len(chosen["bad"]),
            ),
            "Please check them. Where you see it otherwise, write the lists (their wizard shows "
            "the class averages) and run this again.",
        ]
        return lines + ([chosen["doubt"]] if chosen["doubt"] else [])

    def _citations(self):
        return ["AutopickBC"]

    # -------------------------- utilities ----------------------------------------
    def _ruleChooses(self):
        """Tell whether the classes are chosen by the rule: it was allowed to, and no list is."""
        return (
            self.inputType == CLASSES
            and self.chooseByRule.get()
            and not (self.goodClasses.get() or "").strip()
            and not (self.badClasses.get() or "").strip()
        )

    def _hasBad(self):
        """Tell whether there are to be bad particles."""
        if self.inputType == CLASSES:
            return self._ruleChooses() or bool((self.badClasses.get() or "").strip())
        return any(True for _ in self._iterSets("bad"))

    def _getKinds(self):
        """Kinds of labels that there are to be."""
        return KINDS if self._hasBad() else KINDS[:1]

    def _getChosenPath(self):
        return self._getExtraPath("chosen_classes.json")

    def _getClassIds(self, kind):
        """Ids of the good or bad classes: those in the list, or those that the rule chose."""
        if self._ruleChooses():
            return set(convert.read_json(self._getChosenPath())[kind])
        return convert.parse_ids(getattr(self, kind + "Classes").get())

    def _getInputPath(self, *names):
        folder = self._getExtraPath("input")
        os.makedirs(folder, exist_ok=True)
        return os.path.join(folder, *names)

    def _getCtfStar(self):
        return self._getInputPath("micrographs_ctf.star")

    def _getDatasetPath(self):
        return self._getExtraPath(DATASET_FILE)

    def _iterInputPointers(self):
        """Pointers that are in use."""
        if self.inputType == CLASSES:
            yield self.inputClasses
        else:
            what = "Particles" if self.inputType == PARTICLES else "Coordinates"
            for kind in KINDS:
                for pointer in getattr(self, kind + what):
                    yield pointer
        for pointer in (self.inputMicrographs, self.inputCTF):
            if pointer.get() is not None:
                yield pointer

    def _iterSets(self, kind):
        """Yield the sets of good or bad; the set of all particles for 2D classes."""
        if self.inputType == CLASSES:
            classes = self.inputClasses.get()
            if classes is not None and classes.getImages() is not None:
                yield classes.getImages()
            return
        what = "Particles" if self.inputType == PARTICLES else "Coordinates"
        for pointer in getattr(self, kind + what):
            if pointer.get() is not None:
                yield pointer.get()

    def _iterClasses(self, kind):
        """Return the good or bad classes."""
        ids = self._getClassIds(kind)
        for item in self.inputClasses.get().iterItems():
            if item.getObjId() in ids:
                yield item

    def _iterParticles(self, kind):
        """Good or bad particles."""
        groups = self._iterClasses(kind) if self.inputType == CLASSES else self._iterSets(kind)
        for group in groups:
            for particle in group.iterItems():
                yield particle

    def _count(self, kind):
        groups = self._iterClasses(kind) if self.inputType == CLASSES else self._iterSets(kind)
        return sum(group.getSize() for group in groups)

    def _getMicrographSets(self):
        """List the sets of micrographs to cut from; empty if they are not known."""
        if self.inputMicrographs.get() is not None:
            return [self.inputMicrographs.get()]
        found = {}
        for kind in KINDS:
            for items in self._iterSets(kind):
                micrographs = _micrographsOf(items)
                if micrographs is not None:
                    found.setdefault(micrographs.getFileName(), micrographs)
        return list(found.values())

    def _getMicrographs(self):
        """Return the first of the sets of micrographs, or None if there are none."""
        return next(iter(self._getMicrographSets()), None)

    def _fromStacks(self):
        """Tell whether particles must be read from their stacks."""
        if self.inputType == COORDINATES:
            return False
        if self._getMicrographs() is None:
            return True
        for kind in KINDS:
            for items in self._iterSets(kind):
                first = items.getFirstItem()
                if first is not None and not first.hasCoordinate():
                    return True
        return False

    def _collectCoordinates(self, kind, index):
        """Good or bad coordinates by label, scaled to the micrographs; and how many are lost."""
        points, lost = {}, 0
        target = self._getMicrographs().getSamplingRate()
        for items in self._iterSets(kind):
            scale = items.getMicrographs().getSamplingRate() / target
            found, missed = convert.collect_points(items.iterItems(), scale, index)
            _join(points, found)
            lost += missed
        return points, lost

    def _collectParticles(self, kind, index):
        """Good or bad particles by label, as `convert.collect_labels` gives them; and the lost."""
        micrographs = self._getMicrographs()
        scales = [convert.particle_scale(items, micrographs) for items in self._iterSets(kind)]
        if self.inputType == CLASSES:
            groups = ((it, scales[0], it.getObjId()) for it in self._iterClasses(kind))
        else:
            groups = ((it, scale, None) for it, scale in zip(self._iterSets(kind), scales))
        labels, lost, foreign = {}, 0, False
        for group, scale, view in groups:
            alignment = group.getAlignment()
            found, missed, mirrored = convert.collect_labels(
                group.iterItems(), scale, index, alignment, view
            )
            _join(labels, found)
            lost += missed
            foreign |= alignment == ALIGN_2D and (mirrored > 0 or self._shiftsComeLast(kind))
        if foreign and self.recentre.get():
            self.warning(
                "The %s particles stay where they were picked: their 2D alignment is one of Xmipp "
                "or EMAN, which turns (and mirrors) before it shifts." % kind
            )
        if foreign:
            labels = {
                label: [(*row[:3], 0.0, 0.0) for row in rows] for label, rows in labels.items()
            }
        return labels, lost

    def _shiftsComeLast(self, kind):
        """Tell whether a program made the particles whose 2D alignments turn before they shift."""
        pointers = [self.inputClasses]
        if self.inputType == PARTICLES:
            pointers = getattr(self, kind + "Particles")
        makers = {type(pointer.getObjValue()).__module__.split(".")[0] for pointer in pointers}
        return bool(makers & set(SHIFT_LAST))


def _join(points, found):
    """Add places by label to others."""
    for label, rows in found.items():
        points.setdefault(label, []).extend(rows)


def _micrographsOf(items):
    """Micrographs on which a set of coordinates or particles was picked, or None."""
    coordinates = items.getCoordinates() if hasattr(items, "getCoordinates") else items
    return coordinates.getMicrographs() if coordinates is not None else None


def _countRows(folder):
    """Return the number of coordinates in a folder of CSV files."""
    count = 0
    for name in os.listdir(folder):
        with open(os.path.join(folder, name)) as handle:
            count += sum(1 for _ in handle) - 1
    return count


def _countViews(folder):
    """Return the number of 2D classes that a folder of CSV files tells."""
    views = set()
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), newline="") as handle:
            views.update(int(row.get("view") or 0) for row in csv.DictReader(handle))
    return sum(view > 0 for view in views)
