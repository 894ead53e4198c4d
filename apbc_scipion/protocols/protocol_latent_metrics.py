"""How well a latent space, or a classification, tells the true structures apart."""

from pwem.objects import SetOfClasses
from pwem.protocols import EMProtocol
from pyworkflow.protocol import params
from pyworkflow.protocol.constants import STEPS_SERIAL
from pyworkflow.utils import cleanPath

from apbc_scipion import truth_tables
from apbc_scipion.objects import ApbcMetrics
from apbc_scipion.protocols.protocol_base import set_problem
from apbc_scipion.protocols.protocol_metrics_base import (
    OUTPUT_METRICS,
    ApbcProtMetricsBase,
    told,
)
from apbc_scipion.truth_tables import POSE_COLUMNS, TRUE_CLASS
from apbc_scipion.validators import POSITIVE, at_least

CLUSTER_FIGURES = ("ami", "ari", "accuracy", "purity")
PICTURES = ("umap", "pca")
METRICS = ("neighbours", "imbalance", "embedding")
CTF_COLUMNS = {
    "defocus_u": "_ctfModel._defocusU",
    "defocus_v": "_ctfModel._defocusV",
    "defocus_angle": "_ctfModel._defocusAngle",
}


class ApbcProtLatentMetrics(ApbcProtMetricsBase, EMProtocol):
    """Measure whether a latent space or a classification tells the true structures apart.

    *What it is for.* Programs for heterogeneous data sort particles: into classes, or along
    coordinates of a latent space. With simulated particles, whose structure is known, this
    protocol says how well.

    *Input.* Particles with latent coordinates (SetOfParticlesFlex of any program, or particles
    with attributes that hold a number each), or the classes of a 2D or 3D classification. The truth
    is an attribute of the same particles (simulated ones carry __gtClass_), or of a second set
    that is matched by id or image; particles that do not match are named. Junk (class 0) does not
    count.

    *Output.* _outputMetrics_: for the viewer and for a report of several methods. The figures are
    in the summary, tables and pictures in extra/metrics. _Neighbours_: how many of the nearest
    neighbours of an image in the latent space are its neighbours in truth, too. _Information
    imbalance_: whether latent tells truth and truth tells latent (0: all of it, 1: nothing), and
    whether the latent tells angles and defocus, which it should not. _Embedding_: a UMAP picture
    coloured by truth, and how well clusters agree with the true classes (AMI, ARI, accuracy,
    purity: 1 is perfect, and 0 is chance for AMI and ARI).

    *If the result is poor.* Look at the picture first. Neighbours no better than chance, with a
    latent that tells angles or defocus: the program sorted by what it should not see; check poses
    and CTF. Good neighbours with poor clusters: the truth is continuous, or the clusters are of
    uneven size; compare neighbours then. Latents with NaN are refused: run the program again.
    """

    _label = "latent metrics"
    _possibleOutputs = {OUTPUT_METRICS: ApbcMetrics}
    stepsExecutionMode = STEPS_SERIAL

    # -------------------------- parameters -----------------------------------
    def _defineParams(self, form):
        form.addSection(label="Input")
        form.addParam(
            "inputSet",
            params.PointerParam,
            pointerClass="SetOfParticles, SetOfClasses2D, SetOfClasses3D, SetOfClassesFlex",
            important=True,
            label="Particles or classes",
            help="Particles with latent coordinates, such as the output of a program for "
            "heterogeneity, or classes of particles, which are compared with the truth as "
            "clusters.",
        )
        form.addParam(
            "latentAttributes",
            params.StringParam,
            default="",
            label="Latent attributes (optional)",
            help="Attributes of the particles that hold one latent coordinate each, separated by "
            "blanks, such as _z1 _z2. Empty: the latent coordinates of a SetOfParticlesFlex.",
        )
        form.addParam(
            "truthParticles",
            params.PointerParam,
            pointerClass="SetOfParticles",
            allowsNull=True,
            label="Particles with the truth (optional)",
            help="Particles that know the truth, such as outputParticles of _apbc - simulate "
            "particles_. Empty: the particles of the first set know it themselves.",
        )
        self._defineMatching(form)
        form.addParam(
            "classAttribute",
            params.StringParam,
            default=TRUE_CLASS,
            label="True class",
            help="Attribute with the true class of a particle; simulated ones have _gtClass. May "
            "be empty if there is a continuous truth.",
        )
        form.addParam(
            "continuousAttributes",
            params.StringParam,
            default="",
            expertLevel=params.LEVEL_ADVANCED,
            label="Continuous truth (optional)",
            help="Attributes that tell the true conformation as numbers, separated by blanks. They "
            "are the truth for neighbours and imbalance instead of the class.",
        )
        form.addParam(
            "circularAttributes",
            params.StringParam,
            default="",
            expertLevel=params.LEVEL_ADVANCED,
            label="Angles of the truth (optional)",
            help="Attributes that tell the true conformation as an angle in degrees that goes "
            "round (359° is next to 0°), separated by blanks.",
        )
        self._defineMethodParam(form)
        form.addSection(label="Metrics")
        form.addParam(
            "doNeighbours",
            params.BooleanParam,
            default=True,
            label="Neighbours?",
            help="Share of the nearest neighbours in the latent space that are nearest in truth, "
            "for neighbourhoods of growing size (not for classes).",
        )
        form.addParam(
            "subsets",
            params.IntParam,
            default=5,
            condition="doNeighbours",
            expertLevel=params.LEVEL_ADVANCED,
            validators=[POSITIVE],
            label="Subsets for neighbours",
            help="Neighbours are counted in so many random parts of the images, whose spread is "
            "the error bar; 5 is usual. Each needs 20 images: take 1 for fewer than 100 images.",
        )
        form.addParam(
            "doImbalance",
            params.BooleanParam,
            default=True,
            label="Information imbalance?",
            help="Whether near in the latent space means near in truth, and the other way round; "
            "and the same for angles and defocus, where particles have them (not for classes).",
        )
        form.addParam(
            "doEmbedding",
            params.BooleanParam,
            default=True,
            label="Clusters and picture?",
            help="Clusters of the latent space (or the given classes) against the true classes, "
            "and a UMAP picture of the latent space. Takes half a minute at least.",
        )
        form.addParam(
            "picture",
            params.EnumParam,
            choices=["UMAP", "principal components"],
            default=0,
            condition="doEmbedding",
            expertLevel=params.LEVEL_ADVANCED,
            label="Picture of the latent space",
            help="_UMAP_ keeps neighbours together and tells little of distances. _principal "
            "components_ are quick, and show distances as they are in two directions.",
        )
        form.addParam(
            "seed",
            params.IntParam,
            default=0,
            expertLevel=params.LEVEL_ADVANCED,
            validators=[at_least(0)],
            label="Random seed",
            help="The same seed, 0 or above, gives the same subsets, clusters and picture again.",
        )
        form.addParallelSection(threads=0, mpi=0)

    def _methodPointer(self):
        return self.inputSet

    # -------------------------- steps -----------------------------------------
    def _insertAllSteps(self):
        form = self._formValues()
        self._insertFunctionStep(self.writeInputStep, form, needsGPU=False)
        for metric in self._chosen():
            self._insertFunctionStep(self.measureStep, metric, form, needsGPU=False)
        self._insertFunctionStep(self.createOutputStep, form, needsGPU=False)

    def writeInputStep(self, form):
        """Write latents or clusters, and the truth."""
        cleanPath(self.getMetricsPath())
        given = self.inputSet.get()
        key = truth_tables.image_name if self._byImage() else truth_tables.object_id
        if self._isClasses():
            members = truth_tables.collect_members(given, key)
            truth_tables.write_table(self._getLatentsPath(), ("id", "class"), members.items())
        else:
            latents = truth_tables.collect_latents(given, self._latentNames(), key)
            size = len(next(iter(latents.values())))
            truth_tables.write_table(
                self._getLatentsPath(),
                ("id", *("z%d" % (number + 1) for number in range(size))),
                ([one, *map(float, z)] for one, z in latents.items()),
            )
        self._writeTruth(key)

    def measureStep(self, metric, form):
        """Let the engine measure one thing."""
        latents, truth = self._getLatentsPath(), self._getTruthPath()
        arguments = ["--clusters", latents] if self._isClasses() else [latents]
        arguments += ["--truth", truth, "--seed", self.seed.get()]
        for option, names in (
            ("--columns", self._continuousNames()),
            ("--circular", self._circularNames()),
        ):
            arguments += [option, *names] if names else []
        if metric == "embedding":
            arguments += ["--method", PICTURES[self.picture.get()]]
        if metric == "neighbours":
            arguments += ["--subsets", self.subsets.get()]
        if metric == "imbalance":
            arguments += ["--poses", truth] if self._tellsPose() else []
            arguments += ["--ctf", truth] if self._tellsCtf() else []
        if self.truthParticles.get() is not None and self.allowPart:
            arguments += ["--subset"]
        self._measure(metric, arguments)

    def createOutputStep(self, form):
        """Register what was measured."""
        self._defineOutputs(**{OUTPUT_METRICS: self._defineMetrics(self._chosen())})

    # -------------------------- input ------------------------------------------
    def _isClasses(self):
        """Whether classes are measured, not a latent space."""
        return isinstance(self.inputSet.get(), SetOfClasses)

    def _truthSet(self):
        """Particles, or classes of them, that know the truth."""
        return self.truthParticles.get() or self.inputSet.get()

    def _latentNames(self):
        return self.latentAttributes.get("").split()

    def _continuousNames(self):
        return self.continuousAttributes.get("").split()

    def _circularNames(self):
        return self.circularAttributes.get("").split()

    def _chosen(self):
        """Metrics to compute."""
        if self._isClasses():
            return ["embedding"]
        asked = (self.doNeighbours, self.doImbalance, self.doEmbedding)
        return [metric for metric, wanted in zip(METRICS, asked) if wanted]

    def _writeTruth(self, key):
        """Write the truth of each particle, with pose and CTF where it has them."""
        source = self._truthSet()
        name = self.classAttribute.get("").strip()
        continuous = self._continuousNames() + self._circularNames()
        headings = {"class": name} if name else {}
        headings.update({attribute: attribute for attribute in continuous})
        headings.update(CTF_COLUMNS if self._tellsCtf() else {})
        values = truth_tables.collect_values(source, list(headings.values()), key)
        columns = {heading: values[attribute] for heading, attribute in headings.items()}
        if name:
            truth_tables.check_complete(columns["class"], name)
            if not continuous:
                truth_tables.check_several(columns["class"])
        if self._tellsPose():
            poses = truth_tables.collect_true_poses(source, key)
            for place, column in enumerate(POSE_COLUMNS):
                columns[column] = {one: float(pose[place]) for one, pose in poses.items()}
        ids = next(iter(columns.values()))
        truth_tables.write_table(
            self._getTruthPath(),
            ("id", *columns),
            ([one, *(column[one] for column in columns.values())] for one in ids),
        )

    def _tellsPose(self):
        """Whether the truth tells poses."""
        return truth_tables.has_true_pose(self._truthSet())

    def _tellsCtf(self):
        """Whether the truth tells the CTF."""
        source = self._truthSet()
        return all(truth_tables.has_attribute(source, name) for name in CTF_COLUMNS.values())

    def _getLatentsPath(self):
        return self._getExtraPath("clusters.csv" if self._isClasses() else "latents.csv")

    def _getTruthPath(self):
        return self._getExtraPath("truth.csv")

    # -------------------------- information ------------------------------------
    def _validate(self):
        errors = []
        given, truth = self.inputSet.get(), self.truthParticles.get()
        for name, items in (("particles", given), ("particles with the truth", truth)):
            problem = set_problem(name, items)
            if problem:
                errors.append(problem)
        if errors or given is None:
            return errors
        if not self._chosen():
            errors.append("No metric is chosen; choose one.")
        if (
            not self._isClasses()
            and not self._latentNames()
            and not truth_tables.has_latents(given)
        ):
            errors.append(
                "The particles have no latent coordinates; name the attributes that hold them, of "
                "%s." % truth_tables.attributes_of(given)
            )
        name = self.classAttribute.get("").strip()
        wanted = ([name] if name else []) + self._continuousNames() + self._circularNames()
        if not wanted:
            errors.append("Nothing tells the truth; name the attribute with the true class.")
        lost = [one for one in wanted if not truth_tables.has_attribute(self._truthSet(), one)]
        if lost:
            errors.append(
                "The particles that should know the truth have no attribute '%s'; they have %s."
                % ("', '".join(lost), truth_tables.attributes_of(self._truthSet()))
            )
        if self._isClasses() and not name:
            errors.append("Classes are compared with true classes; name the attribute with them.")
        return errors

    def _tellFigures(self):
        lines = []
        for metric, tell in (
            ("neighbours", self._tellNeighbours),
            ("imbalance", self._tellImbalance),
            ("embedding", self._tellClusters),
        ):
            record = self.getRecord(metric)
            if record is not None:
                lines += tell(record["figures"])
        left_out = self.getFigure(self._chosen()[0], "junk_left_out")
        if left_out:
            lines.append("%d junk images do not count." % left_out)
        return lines

    def _tellNeighbours(self, figures):
        """Tell the figures of neighbours."""
        return [
            "*Neighbours %s* on the way from random (0) to perfect (1); of the nearest 5 %% of %d "
            "images %0.1f %% are shared with the truth (perfect %0.1f %%, random %0.1f %%)"
            % (
                told(figures["score"]),
                figures["images"],
                figures["similarity_5pct"],
                figures["ceiling_5pct"],
                figures["random_5pct"],
            )
        ]

    def _tellImbalance(self, figures):
        """Tell the figures of the information imbalance."""
        lines = [
            "*Information imbalance: latent tells truth %s*, truth tells latent %s (0: all, 1: "
            "nothing)" % (told(figures["latent_to_truth"]), told(figures["truth_to_latent"]))
        ]
        others = [
            "%s %s" % (words, told(figures["latent_to_" + space]))
            for space, words in (("pose", "the angles"), ("ctf", "the CTF"))
            if figures.get("latent_to_" + space) is not None
        ]
        if others:
            lines.append("Latent tells %s (1 is right)" % ", ".join(others))
        return lines

    def _tellClusters(self, figures):
        """Tell the figures of clusters."""
        kind = "clusters" if self._isClasses() else "kmeans"
        if kind + "_ami" not in figures:
            return ["There is a picture, but no class to compare clusters with."]
        return [
            "*%s: AMI %s*, ARI %s, accuracy %s, purity %s"
            % (
                "Classes" if self._isClasses() else "Clusters (k-means)",
                *(told(figures.get("%s_%s" % (kind, name))) for name in CLUSTER_FIGURES),
            )
        ]

    def _warnings(self):
        return []

    def _methods(self):
        done = [metric for metric in self._chosen() if self.getRecord(metric)]
        words = {
            "neighbours": "shared nearest neighbours",
            "imbalance": "information imbalance",
            "embedding": "agreement of clusters with the true classes",
        }
        if not done:
            return []
        return [
            "The %s measured against the truth by %s."
            % (
                "classes were" if self._isClasses() else "latent space was",
                ", ".join(words[metric] for metric in done),
            )
        ]

    def _citations(self):
        return ["Jeon2024", "Glielmo2022", "McInnes2018"]
