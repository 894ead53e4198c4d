"""Fourier shell correlation of volumes with the ground truth."""

import os
from collections import defaultdict, namedtuple

import numpy as np
from pwem.objects import SetOfClasses, SetOfFSCs, SetOfVolumes, Volume
from pwem.protocols import EMProtocol
from pyworkflow.object import Boolean, Float
from pyworkflow.protocol import Protocol, params
from pyworkflow.protocol.constants import STEPS_SERIAL

from apbc_scipion import truth_tables
from apbc_scipion.objects import ApbcFSC, ApbcMetrics
from apbc_scipion.protocols.protocol_base import set_problem
from apbc_scipion.protocols.protocol_metrics_base import (
    MIRRORED,
    OUTPUT_METRICS,
    ApbcProtMetricsBase,
    copies_of,
    grid_problem,
    told,
)
from apbc_scipion.truth_tables import TRUE_CLASS

CONFORMATION, IMAGE = range(2)
KINDS = ("conformation", "image")
VOLUMES_TABLE = "volumes.csv"
AREA, RESOLUTION = "area", "resolution"
# Heading for people, the engine's, and what it is: areas are told as shares.
VOLUME_COLUMNS = (
    ("area (share of largest)", "auc", AREA),
    ("resolution at 0.5 (Å)", "res_0.5", RESOLUTION),
    ("resolution at 0.143 (Å)", "res_0.143", RESOLUTION),
    ("area where structures differ", "auc_local", AREA),
    ("area before alignment", "auc_unaligned", AREA),
    ("mirrored", "mirrored", None),
    ("images", "weight", None),
    ("status", "status", None),
)
FIGURES = ("auc", "resolution05", "resolution0143")
BY_ID, BY_ATTRIBUTE, BY_ORDER, BY_IMAGE = range(4)
IMAGE_BY_ID, IMAGE_BY_ORDER, IMAGE_BY_LATENT = range(3)


# A volume, the class of the truth that it is compared with, the image that it was decoded for, how
# many images it stands for, and what its curve is called.
Pair = namedtuple("Pair", ("volume", "label", "image", "weight", "told"))


class ApbcProtVolumeFsc(ApbcProtMetricsBase, EMProtocol):
    """Compare volumes with the ground truth by Fourier shell correlation (FSC).

    *What it is for.* To say in figures how well a program recovers the structures of a simulated
    data set, and from how many volumes: one for each structure (_per conformation_), or those
    decoded for many single images (_per image_), which also see that a program gives one mean
    volume for all. The metrics are those of CryoBench, with its mistakes corrected.

    *Input.* The volumes of a program and the true ones, such as outputVolumes of _apbc - simulate
    particles_: same box and pixel size. Each volume is compared with the truth it is paired with.
    A 3D classification needs no pairing: each true structure is compared with the class that
    holds most of its particles, whose attribute __gtClass_ tells their structure. A volume that
    has no partner stops the run, and is named. Volumes of an ab initio reconstruction lie in
    a frame of their own: say _Align volumes first_, or their FSC is about 0.

    *Output.* _outputFSCs_: one curve a volume, in 1/Å, which Scipion's FSC viewer draws. _auc_:
    mean area under the curves, as a share of the largest there can be (1 is perfect).
    _resolution05_ and _resolution0143_: median resolution in Å where the curves fall below 0.5
    and 0.143; there is none where most stay above up to Nyquist. The truth has no noise, so 0.5 is
    the level with a meaning. _outputVolumes_: the aligned volumes, if they were. _outputMetrics_:
    for a report of several methods. Tables and pictures are in extra/metrics/fsc; _Analyze
    results_ shows them.

    *If the result is poor.* An FSC near 0 from the first shells on is a matter of place and not of
    quality: align the volumes, with hand. If the curves fall early for one structure only, look
    whether it has a class of its own (summary). If all curves are good though a moving part looks
    blurred, give a mask around that part: the static rest dominates the FSC of the whole.
    """

    _label = "FSC with ground truth"
    _possibleOutputs = {
        "outputFSCs": SetOfFSCs,
        "auc": Float,
        "resolution05": Float,
        "resolution0143": Float,
        "outputVolumes": SetOfVolumes,
        OUTPUT_METRICS: ApbcMetrics,
    }
    stepsExecutionMode = STEPS_SERIAL

    # -------------------------- parameters -----------------------------------
    def _defineParams(self, form):
        form.addSection(label="Input")
        form.addParam(
            "inputVolumes",
            params.PointerParam,
            pointerClass="SetOfVolumes, SetOfVolumesFlex, Volume, SetOfClasses3D, SetOfClassesFlex",
            important=True,
            label="Volumes",
            help="What a program made: volumes, or the classes of a 3D classification, whose "
            "volumes are taken.",
        )
        form.addParam(
            "truthVolumes",
            params.PointerParam,
            pointerClass="SetOfVolumes, Volume",
            important=True,
            label="Ground truth",
            help="The true volumes. The class of each is its attribute _gtClass, else its id: "
            "class 1 is the first.",
        )
        form.addParam(
            "kind",
            params.EnumParam,
            choices=["per conformation", "per image"],
            default=CONFORMATION,
            label="Volumes are",
            help="_per conformation_: one volume stands for each structure; every structure of "
            "the truth must have one. _per image_: each volume was decoded for one image; there "
            "may be many of one structure. Of a 3D classification, _per image_ compares the "
            "volume of each particle's class with the particle's true structure.",
        )
        form.addParam(
            "pairing",
            params.EnumParam,
            choices=["object id", "class attribute", "order", "particles"],
            default=BY_ID,
            label="Pair with the truth by",
            help="How volumes find their truth (not asked for a 3D classification).\n"
            "_object id_: the id of the volume is the class of the truth. Not for volumes of a "
            "classification, whose numbers say nothing: give its classes.\n"
            "_class attribute_: an attribute of the volume holds the class.\n"
            "_order_: first with first, second with second.\n"
            "_particles_: each volume was decoded for an image, and the particle of that image "
            "knows its true class.",
        )
        form.addParam(
            "pairAttribute",
            params.StringParam,
            default=TRUE_CLASS,
            condition="pairing==%d" % BY_ATTRIBUTE,
            label="Class attribute",
            help="Attribute of the volumes that holds the class of the truth, such as _gtClass "
            "or _gtVolId.",
        )
        form.addParam(
            "inputParticles",
            params.PointerParam,
            pointerClass="SetOfParticles",
            allowsNull=True,
            label="Particles with the true class (optional)",
            help="Particles whose true class is known, such as outputParticles of _apbc - "
            "simulate particles_. Needed to pair by particles, and for a 3D classification whose "
            "own particles have lost the attribute (they are matched by id).",
        )
        form.addParam(
            "imageLink",
            params.EnumParam,
            choices=["object id", "order", "nearest latent"],
            default=IMAGE_BY_ID,
            condition="pairing==%d" % BY_IMAGE,
            label="Image of a volume by",
            help="Which particle a volume was decoded for.\n"
            "_object id_: the particle with the id of the volume.\n"
            "_order_: the first volume is of the first particle; give just the particles that "
            "were decoded.\n"
            "_nearest latent_: the particle whose latent coordinates are nearest to those of the "
            "volume; both sets must have them (SetOfVolumesFlex, SetOfParticlesFlex).",
        )
        form.addParam(
            "classAttribute",
            params.StringParam,
            default=TRUE_CLASS,
            expertLevel=params.LEVEL_ADVANCED,
            label="True class of particles",
            help="Attribute of the particles that holds their true class; simulated ones have "
            "_gtClass.",
        )
        self._defineMethodParam(form)
        form.addSection(label="Comparison")
        form.addParam(
            "alignVolumes",
            params.BooleanParam,
            default=False,
            label="Align volumes first?",
            help="Yes: each volume is rotated and shifted onto its truth, and compared then. No: "
            "the volumes lie in the frame of the truth already, since the true angles were used.",
        )
        form.addParam(
            "alignHand",
            params.BooleanParam,
            default=True,
            condition="alignVolumes",
            label="Try the other hand, too?",
            help="Yes: the mirrored volume is tried as well and taken if it fits better; single "
            "images do not tell the hand.",
        )
        form.addParam(
            "mask",
            params.PointerParam,
            pointerClass="VolumeMask",
            allowsNull=True,
            label="Mask (optional)",
            help="Multiplied with both volumes before they are compared. Of the same box and "
            "pixel size. A tight mask with a sharp edge raises every FSC.",
        )
        form.addParam(
            "localMask",
            params.BooleanParam,
            default=False,
            label="Also where the structures differ?",
            help="Yes: a second figure for the region in which the true volumes differ from each "
            "other, so that the static part does not hide a blurred moving one. Needs two true "
            "volumes or more.",
        )
        form.addParam(
            "cryobenchCompat",
            params.BooleanParam,
            default=False,
            expertLevel=params.LEVEL_ADVANCED,
            label="Figures as CryoBench publishes them?",
            help="Yes: shells, areas and resolutions as the scripts of CryoBench compute them: "
            "the first two points are always about 1, the last shell is missing. Only to compare "
            "with published figures.",
        )
        form.addParallelSection(threads=0, mpi=0)

    def _methodPointer(self):
        return self.inputVolumes

    # -------------------------- steps -----------------------------------------
    def _insertAllSteps(self):
        form = self._formValues()
        self._insertFunctionStep(self.writeInputStep, form, needsGPU=False)
        self._insertFunctionStep(self.compareStep, form, needsGPU=False)
        self._insertFunctionStep(self.createOutputStep, form, needsGPU=False)

    def writeInputStep(self, form):
        """Pair the volumes with the truth, and write the table of pairs."""
        truth = self._readTruth()
        given = self.inputVolumes.get()
        if isinstance(given, SetOfClasses):
            pairs = self._pairClasses(given, truth)
        else:
            pairs = self._pairVolumes(given, truth)
        folder = self._getExtraPath()
        files = {}
        for pair in pairs:
            for kind, volume in (("volume", pair.volume), ("truth", truth[pair.label])):
                key = (kind, volume.getObjId())
                if key not in files:
                    path = truth_tables.mrc_of(
                        volume, self._getTmpPath(kind), "%s_%s" % (kind, volume.getObjId())
                    )
                    files[key] = os.path.relpath(path, folder)
        truth_tables.write_table(
            self._getPairsPath(),
            ("volume", "reference", "class", "image", "weight", "label"),
            (
                (
                    files["volume", pair.volume.getObjId()],
                    files["truth", truth[pair.label].getObjId()],
                    pair.label,
                    pair.image,
                    pair.weight,
                    pair.told,
                )
                for pair in pairs
            ),
        )

    def compareStep(self, form):
        """Let the engine compare."""
        arguments = [
            self._getPairsPath(),
            "--kind",
            KINDS[self.kind.get()],
            "--pixel-size",
            self.truthVolumes.get().getSamplingRate(),
        ]
        if self.mask.get() is not None:
            mask = truth_tables.mrc_of(self.mask.get(), self._getTmpPath("mask"), "mask")
            arguments += ["--mask", mask]
        if self.localMask:
            arguments += ["--local"]
        if self.alignVolumes:
            arguments += ["--align", "--keep-aligned"]
            if self.alignHand:
                arguments += ["--mirror"]
        if self.cryobenchCompat:
            arguments += ["--compat"]
        self._measure("fsc", arguments)

    def createOutputStep(self, form):
        """Register curves, figures and aligned volumes."""
        given = truth_tables.read_table(self._getPairsPath())
        found = truth_tables.read_table(self.getMetricsPath("fsc", "pairs.csv"))
        outputs = {"outputFSCs": self._makeCurves(given, found)}
        for name, key in zip(FIGURES, self._figureKeys()):
            value = self.getFigure("fsc", key)
            if value is not None:
                outputs[name] = Float(value)
        if self.alignVolumes:
            outputs["outputVolumes"] = self._makeAligned(given, found)
        self._writeVolumes(given, found)
        outputs[OUTPUT_METRICS] = self._defineMetrics(["fsc"], {"fsc/pairs.csv": VOLUMES_TABLE})
        self._defineOutputs(**outputs)
        for name in ("outputFSCs", "outputVolumes"):
            if name in outputs:
                self._defineSourceRelation(self.inputVolumes, outputs[name])
                self._defineSourceRelation(self.truthVolumes, outputs[name])

    def _makeCurves(self, given, found):
        """Make a set of curves, one for each pair."""
        curves = truth_tables.read_table(self.getMetricsPath("fsc", "curves.csv"))
        names = list(curves[0])
        frequency = [float(row[names[0]]) for row in curves]
        fscs = self._createSetOfFSCs()
        for row, pair, name in zip(given, found, names[1:]):
            fsc = ApbcFSC()
            fsc.setData(frequency, [float(line[name]) for line in curves])
            fsc.setObjLabel(row["label"])
            setattr(fsc, TRUE_CLASS, truth_tables.label_object(row["class"]))
            fsc._apbcAuc = Float(pair["auc_over_ceiling"])
            fscs.append(fsc)
        return fscs

    def _makeAligned(self, given, found):
        """Make a set of the aligned volumes, each once."""
        volumes = self._createSetOfVolumes()
        pixelSize = self.truthVolumes.get().getSamplingRate()
        volumes.setSamplingRate(pixelSize)
        done = set()
        for row, pair in zip(given, found):
            path = self.getMetricsPath("fsc", "aligned", os.path.basename(pair["aligned_volume"]))
            if path in done:
                continue
            done.add(path)
            volume = Volume(path)
            volume.setSamplingRate(pixelSize)
            volume.setObjLabel(row["label"])
            setattr(volume, TRUE_CLASS, truth_tables.label_object(row["class"]))
            setattr(volume, MIRRORED, Boolean(pair["mirrored"] == "1"))
            volumes.append(volume)
        return volumes

    def _writeVolumes(self, given, found):
        """Write what was found for each volume, for the viewer."""
        ceiling = self.getFigure("fsc", "auc_ceiling")
        columns = [
            (heading, key, unit)
            for heading, key, unit in VOLUME_COLUMNS
            if any(pair[key] not in ("", "1" if key == "weight" else "") for pair in found)
        ]
        rows = []
        for row, pair in zip(given, found):
            cells = [row["label"], row["class"]]
            for _, key, unit in columns:
                text = pair[key]
                if text and unit == AREA:
                    text = "%0.4f" % (float(text) / ceiling)
                elif text and unit == RESOLUTION:
                    text = "%0.2f" % float(text)
                cells.append(text)
            rows.append(cells)
        headings = [heading for heading, _, _ in columns]
        truth_tables.write_table(
            self.getMetricsPath(VOLUMES_TABLE), ("volume", "class", *headings), rows
        )

    def _figureKeys(self):
        """Names that the engine gives the figures of `FIGURES`."""
        area = "image_weighted" if self.kind == IMAGE else "mean"
        return (
            "auc_over_ceiling_" + area,
            "resolution_0.5_median",
            "resolution_0.143_median",
        )

    # -------------------------- pairs ------------------------------------------
    def _readTruth(self):
        """Read the true volume of each class, in the order of the set."""
        given = self.truthVolumes.get()
        if isinstance(given, Volume):
            return {_class_of(given, 1): given.clone()}
        truth, twice = {}, []
        for volume in given.iterItems():
            label = _class_of(volume, volume.getObjId())
            if label in truth:
                twice.append(label)
            truth[label] = volume.clone()
        if twice:
            raise ValueError(
                "Several volumes of the ground truth are of one class: %s. Give one for each."
                % truth_tables.name_ids(twice)
            )
        return truth

    def _pairVolumes(self, given, truth):
        """Pair volumes with classes of the truth."""
        volumes = copies_of([given] if isinstance(given, Volume) else given.iterItems())
        labels, images = self._labelsOf(volumes, truth)
        lost = [v.getObjId() for v, label in zip(volumes, labels) if label not in truth]
        if lost:
            raise ValueError(
                "Volumes without a ground truth: %s (the truth has the classes %s). Pair them in "
                "another way, or give all true volumes."
                % (truth_tables.name_ids(lost), truth_tables.name_ids(truth))
            )
        missing = set(truth) - set(labels)
        if missing and self.kind == CONFORMATION:
            raise ValueError(
                "Structures of the ground truth without a volume: %s. Give a volume for each, or "
                "take those structures out of the ground truth." % truth_tables.name_ids(missing)
            )
        return [
            Pair(v, label, image, 1, "%s, class %s" % (_name_of(v), label))
            for v, label, image in zip(volumes, labels, images)
        ]

    def _labelsOf(self, volumes, truth):
        """Class of the truth, and image, of each volume, by the way that the form says."""
        pairing = self.pairing.get()
        ids = [volume.getObjId() for volume in volumes]
        images = ids if self.kind == IMAGE else [None] * len(volumes)
        if len(volumes) == len(truth) == 1:
            return list(truth), images
        if pairing == BY_ID:
            return ids, images
        if pairing == BY_ATTRIBUTE:
            name = self.pairAttribute.get().strip()
            labels = [truth_tables.as_whole(truth_tables.value_of(v, name)) for v in volumes]
            without = [v.getObjId() for v, label in zip(volumes, labels) if label is None]
            if without:
                raise ValueError(
                    "Volumes without the attribute '%s': %s. Name another one, or pair in "
                    "another way." % (name, truth_tables.name_ids(without))
                )
            return labels, images
        if pairing == BY_ORDER:
            if len(volumes) != len(truth):
                raise ValueError(
                    "There are %d volumes and %d true ones; to be paired by their order they "
                    "must be as many." % (len(volumes), len(truth))
                )
            return list(truth), images
        return self._labelsOfImages(volumes)

    def _labelsOfImages(self, volumes):
        """Class of the truth, and image, of each volume: those of its particle."""
        particles = self.inputParticles.get()
        labels = truth_tables.collect_labels(particles, self.classAttribute.get().strip())
        link = self.imageLink.get()
        if link == IMAGE_BY_ID:
            lost = [v.getObjId() for v in volumes if v.getObjId() not in labels]
            if lost:
                raise ValueError(
                    "Volumes whose id no particle has: %s. Find their images in another way."
                    % truth_tables.name_ids(lost)
                )
            return _labels_and_ids(labels, [volume.getObjId() for volume in volumes])
        if link == IMAGE_BY_ORDER:
            if len(volumes) != len(labels):
                raise ValueError(
                    "There are %d volumes and %d particles; to be matched by their order they "
                    "must be as many: give the particles that were decoded."
                    % (len(volumes), len(labels))
                )
            return _labels_and_ids(labels, list(labels))
        latents = truth_tables.collect_latents(particles)
        ids, points = list(latents), np.array(list(latents.values()))
        found = []
        for volume in volumes:
            z = volume.getZFlex() if hasattr(volume, "getZFlex") else np.array([])
            if len(z) != points.shape[1]:
                raise ValueError(
                    "Volume %s has %d latent coordinates and the particles have %d; find the "
                    "images in another way." % (volume.getObjId(), len(z), points.shape[1])
                )
            found.append(ids[int(np.argmin(((points - z) ** 2).sum(axis=1)))])
        return _labels_and_ids(labels, found)

    def _pairClasses(self, classes, truth):
        """Pair volumes of a 3D classification with classes of the truth."""
        name = self.classAttribute.get().strip()
        members = truth_tables.collect_members(classes)
        particles = self.inputParticles.get()
        if particles is None:
            labels = truth_tables.collect_labels(classes, name)
        else:
            labels = truth_tables.collect_labels(particles, name)
            lost = set(members) - set(labels)
            if lost:
                raise ValueError(
                    "Particles of the classes that are not among the particles with the true "
                    "class: %s." % truth_tables.name_ids(lost)
                )
        labels = {one: labels[one] for one in members}
        strange = set(labels.values()) - set(truth) - {truth_tables.JUNK}
        if strange:
            raise ValueError(
                "Particles are of the true classes %s, which the ground truth does not have (it "
                "has %s)." % (truth_tables.name_ids(strange), truth_tables.name_ids(truth))
            )
        volumes = {}
        for one in classes.iterItems():
            volumes[one.getObjId()] = one.getRepresentative().clone()
            volumes[one.getObjId()].setObjId(one.getObjId())
        counts = truth_tables.count_images(members, labels)
        missing = set(truth) - set(counts)
        if missing:
            raise ValueError(
                "Structures of the ground truth of which the classes hold no particle: %s. Take "
                "them out of the ground truth." % truth_tables.name_ids(missing)
            )
        pairs = []
        for label in truth:
            homes = counts[label].items()
            if self.kind == CONFORMATION:
                homes = [truth_tables.most_common(counts[label])]
            for home, images in sorted(homes):
                told = "class %s by volume %s (%d of %d images)" % (
                    label,
                    home,
                    images,
                    sum(counts[label].values()),
                )
                pairs.append(Pair(volumes[home], label, None, images, told))
        return pairs

    def _getPairsPath(self):
        return self._getExtraPath("pairs.csv")

    # -------------------------- information ------------------------------------
    def _validate(self):
        errors = []
        given, truth, mask = self.inputVolumes.get(), self.truthVolumes.get(), self.mask.get()
        if given is None or truth is None:
            return errors
        for name, items in (("volumes", given), ("true volumes", truth)):
            problem = None if isinstance(items, Volume) else set_problem(name, items)
            if problem:
                errors.append(problem)
        if errors:
            return errors
        isClasses = isinstance(given, SetOfClasses)
        if isClasses:
            given = given.getFirstItem().getRepresentative()
            if not isinstance(given, Volume) or not given.getFileName():
                return ["The classes have no volumes; take the output of a 3D classification."]
        elif self.pairing == BY_IMAGE and self.inputParticles.get() is None:
            errors.append("Give the particles whose images the volumes were decoded for.")
        problem = grid_problem(given, truth, "volumes", "true volumes")
        if problem is None and mask is not None:
            problem = grid_problem(mask, truth, "mask", "true volumes")
        if problem:
            errors.append(problem)
        if self.localMask and (isinstance(truth, Volume) or truth.getSize() < 2):
            errors.append(
                "There is one true volume, and no place where it differs from others; give more, "
                "or ask for no figure where the structures differ."
            )
        return errors

    def _warnings(self):
        warnings = []
        if self.cryobenchCompat:
            warnings.append("Figures as CryoBench publishes them are too high by about 1.5/box.")
        given, source = self.inputVolumes.get(), self.inputVolumes.getObjValue()
        by_number = self.pairing.get() in (BY_ID, BY_ORDER) and isinstance(given, SetOfVolumes)
        if by_number and isinstance(source, Protocol):
            outputs = [output for _, output in source.iterOutputAttributes()]
            if any(isinstance(output, SetOfClasses) for output in outputs):
                warnings.append(
                    "The volumes are of a classification, and the numbers of its classes say "
                    "nothing of the true ones: give its classes instead of its volumes."
                )
        return warnings

    def _tellFigures(self):
        figures = self.getRecord("fsc")["figures"]
        auc, half, low = (figures.get(key) for key in self._figureKeys())
        lines = [
            "*Mean area under the FSC %s* of the largest possible (%s)"
            % (told(auc), _counted(figures["pairs"], KINDS[self.kind.get()]))
        ]
        for threshold, value in (("0.5", half), ("0.143", low)):
            beyond = figures["resolution_%s_beyond_nyquist" % threshold]
            lines.append(
                "Resolution at FSC %s: median %s%s"
                % (
                    threshold,
                    told(value, "%0.2f Å"),
                    ", %d of %d stay above up to Nyquist" % (beyond, figures["pairs"])
                    if beyond
                    else "",
                )
            )
        if figures.get("auc_local_over_ceiling_mean") is not None:
            lines.append(
                "Where the true structures differ: %0.3f" % figures["auc_local_over_ceiling_mean"]
            )
        shared = self._sharedVolumes()
        if shared:
            lines.append(
                "*No volume of their own*: true classes %s, most of whose particles are in one "
                "class with those of others" % truth_tables.name_ids(shared)
            )
        if figures.get("mirrored"):
            lines.append(
                "Of the other hand: %d of %d volumes" % (figures["mirrored"], figures["pairs"])
            )
        if figures["perhaps_not_aligned"]:
            lines.append(
                "*WARNING: %d of %d have nothing in common with their truth.* %s"
                % (
                    figures["perhaps_not_aligned"],
                    figures["pairs"],
                    "Aligning did not help; look whether the pairs are right."
                    if self.alignVolumes
                    else "They may lie in another frame: align them.",
                )
            )
        return lines

    def _sharedVolumes(self):
        """Find true classes that are compared with the same class of a 3D classification."""
        if self.kind != CONFORMATION or not isinstance(self.inputVolumes.get(), SetOfClasses):
            return []
        classes = defaultdict(list)
        for row in truth_tables.read_table(self._getPairsPath()):
            classes[row["volume"]].append(truth_tables.as_whole(row["class"]))
        return [one for several in classes.values() if len(several) > 1 for one in several]

    def _methods(self):
        record = self.getRecord("fsc")
        if record is None:
            return []
        return [
            "Volumes were compared with their ground truth by Fourier shell correlation%s%s%s."
            % (
                ", after each had been aligned with it" if self.alignVolumes else "",
                ", within a mask" if self.mask.get() is not None else "",
                ", as the scripts of CryoBench do" if self.cryobenchCompat else "",
            )
        ]

    def _citations(self):
        return ["Jeon2024", "Harauz1986"]


def _labels_and_ids(labels, ids):
    """Label of each of some particles, and the particles."""
    return [labels[one] for one in ids], ids


def _class_of(volume, otherwise):
    """Class of a true volume: its attribute, if it has one."""
    label = truth_tables.as_whole(truth_tables.value_of(volume, TRUE_CLASS))
    return otherwise if label is None else label


def _counted(pairs, kind):
    """Tell how many curves there are, in words."""
    return "%d %ss" % (pairs, kind) if kind == "conformation" else "%d curves" % pairs


def _name_of(volume):
    """Name of a volume for people."""
    return volume.getObjLabel() or "volume %s" % (volume.getObjId() or 1)
