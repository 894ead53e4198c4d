"""Sort particles into true and false ones."""

import os

from pwem.objects import SetOfParticles
from pwem.protocols import EMProtocol
from pyworkflow.object import Float
from pyworkflow.protocol import params
from pyworkflow.protocol.constants import STEPS_SERIAL

from apbc_scipion import convert
from apbc_scipion.constants import SCORE
from apbc_scipion.protocols.protocol_base import (
    ApbcProtBase,
    model_problem,
    read_json_or_none,
    set_problem,
)
from apbc_scipion.validators import within

STACKS, MICROGRAPHS = range(2)
TRUE, FALSE = "outputParticlesTrue", "outputParticlesFalse"


class ApbcProtScreen(EMProtocol, ApbcProtBase):
    """Sort particles into true and false ones with a model.

    *What it is for.* To clean particles that somebody has picked already, with any picker,
    without picking again, for instance before a long classification.

    *Input.* Particles and a model. By default particles are read from their stacks. Reading them
    from the micrographs shows the model the very pixels it was trained on and is the better
    choice where the micrographs are there.

    *Output.* _outputParticlesTrue_: particles with at least the score of the threshold;
    _outputParticlesFalse_: the others. Nothing else of a particle changes: alignment, CTF,
    acquisition and coordinates are those of the input. The score is in the column apbcScore of
    both sets. A set that would be empty is not made. extra/screened/scores.csv has the score of
    every particle. The viewer (_Analyze results_) shows both sets on the micrographs.

    *If the result is poor.* Read the particles from the micrographs. If the boxes are narrower
    than the particle, or the stacks are white on black the other way round, scores from stacks
    mean little. Move the threshold in the viewer. Screening finds no particle that was not
    picked: where many are missed, use _pick particles_.
    """

    _label = "screen particles"
    _possibleOutputs = {TRUE: SetOfParticles, FALSE: SetOfParticles}
    stepsExecutionMode = STEPS_SERIAL

    # -------------------------- parameters -----------------------------------
    def _defineParams(self, form):
        form.addSection(label="Input")
        self._defineGpuParams(form)
        form.addParam(
            "inputParticles",
            params.PointerParam,
            pointerClass="SetOfParticles",
            important=True,
            label="Particles",
            help="Particles of any picker, extracted by any program.",
        )
        form.addParam(
            "inputModel",
            params.PointerParam,
            pointerClass="ApbcModel",
            important=True,
            label="Model",
            help="A model from _apbc - train classifier_ or _apbc - import model_.",
        )
        form.addParam(
            "source",
            params.EnumParam,
            choices=["stacks", "micrographs"],
            default=STACKS,
            display=params.EnumParam.DISPLAY_HLIST,
            label="Read particles from",
            help="_stacks_: the images of the particles.\n_micrographs_: cut out again at their "
            "coordinates, through the very preprocessing of the training.",
        )
        form.addParam(
            "inputMicrographs",
            params.PointerParam,
            pointerClass="SetOfMicrographs",
            allowsNull=True,
            condition="source == %d" % MICROGRAPHS,
            label="Micrographs (optional)",
            help="Micrographs to cut the particles from; others than those of the picking are "
            "matched by name. Empty: the micrographs on which the particles were picked.",
        )
        form.addParam(
            "inputCTF",
            params.PointerParam,
            pointerClass="SetOfCTF",
            allowsNull=True,
            condition="source == %d" % MICROGRAPHS,
            label="CTF (optional)",
            help="Needed for a model that was trained on phase-flipped micrographs, and of no use "
            "to others.",
        )
        form.addParam(
            "threshold",
            params.FloatParam,
            default=-1.0,
            validators=[within(-1, 1, "must lie between 0 and 1, or be -1.")],
            label="Threshold (0 to 1)",
            help="Particles with at least this score are true. -1 takes the threshold "
            "on the model's card: that of the best F1, or what was asked for in the training. "
            "0.5 means that something is as likely a particle as not. Raise it for "
            "cleaner particles (0.7 to 0.9), lower it for more (0.2 to 0.4). The wizard shows the "
            "histogram of scores of an earlier run.",
        )
        self._defineGpuWizard(form)
        form.addParallelSection(threads=0, mpi=0)

    # -------------------------- steps -----------------------------------------
    def _insertAllSteps(self):
        self._insertFunctionStep(self.writeInputStep, needsGPU=False)
        self._insertFunctionStep(self.screenStep, needsGPU=self.usesGpu())
        self._insertFunctionStep(self.createOutputStep, needsGPU=False)

    def writeInputStep(self):
        """Write the particle star, and the list of micrographs if they are read."""
        particles = self.inputParticles.get()
        index, scale = None, 1.0
        if self.source == MICROGRAPHS:
            micrographs = self._getMicrographs()
            index = convert.MicrographIndex(micrographs)
            scale = convert.particle_scale(particles, micrographs)
        rows, lost = convert.write_particles(
            particles.iterItems(), self._getStar(), index, scale, self._getTmpPath("stacks")
        )
        if lost:
            raise ValueError(
                "%d of %d particles lie on micrographs that are not in the set. "
                "Give the micrographs they were picked on, or read them from their "
                "stacks." % (lost, rows)
            )
        if index is not None:
            names = self._namesInUse(index)
            mics = [mic for micId, mic in index.micrographs.items() if micId in names]
            convert.write_micrograph_list(
                mics,
                index.labels,
                self._getExtraPath("micrographs"),
                self._getExtraPath("micrographs.txt"),
            )
            if self._usesCtf():
                known = convert.write_ctf_star(self.inputCTF.get(), index, self._getCtfStar())
                missing = {index.labels[micId] for micId in names} - known
                if missing:
                    raise ValueError(
                        "%d micrographs with particles have no CTF, for example %s. Give a CTF "
                        "for all of them." % (len(missing), min(missing))
                    )

    def screenStep(self):
        """Let the engine score the particles."""
        arguments = [
            self.inputModel.get().getPath(),
            self._getStar(),
            "--out",
            self._getExtraPath("screened"),
            "--threshold",
            self.getThreshold(),
        ]
        if self.source == MICROGRAPHS:
            arguments += [
                "--micrographs",
                self._getExtraPath("micrographs.txt"),
                "--pixel-size",
                self._getMicrographs().getSamplingRate(),
            ]
            if self._usesCtf():
                arguments += ["--ctf", self._getCtfStar()]
        self._runEngine("screen", arguments, gpus=self.usesGpu())

    def createOutputStep(self):
        """Register the two sets; one that would be empty is left out."""
        particles = self.inputParticles.get()
        scores = convert.read_scores(
            self._getExtraPath("screened", "scores.csv"), particles.getSize()
        )
        threshold = self.getThreshold()
        for name, suffix, wanted in ((TRUE, "_true", True), (FALSE, "_false", False)):
            if not any((score >= threshold) == wanted for score in scores):
                continue
            output = self._createSetOfParticles(suffix)
            output.copyInfo(particles)
            for particle, score in zip(particles.iterItems(), scores):
                if (score >= threshold) != wanted:
                    continue
                item = particle.clone()
                setattr(item, SCORE, Float(score))
                output.append(item)
            self._defineOutputs(**{name: output})
            self._defineTransformRelation(self.inputParticles, output)
            self._defineSourceRelation(self.inputModel, output)

    # -------------------------- information ------------------------------------
    def _validate(self):
        errors = []
        particles, model = self.inputParticles.get(), self.inputModel.get()
        problem = set_problem("particles", particles)
        if problem:
            errors.append(problem)
        if model is not None:
            problem = model_problem(model)
            if problem:
                errors.append(problem)
            elif (
                self.source == MICROGRAPHS
                and model.isPhaseFlipped()
                and self.inputCTF.get() is None
            ):
                errors.append("The model was trained on phase-flipped micrographs: give CTFs.")
        if self.source == MICROGRAPHS and particles is not None and not problem:
            first = particles.getFirstItem()
            if first is not None and not first.hasCoordinate():
                errors.append("The particles have no coordinates: read them from their stacks.")
            elif self._getMicrographs() is None:
                errors.append(
                    "The micrographs of the particles are not known: give them, or "
                    "read the particles from their stacks."
                )
        return errors

    def _warnings(self):
        warnings = []
        model = self.inputModel.get()
        particles = self.inputParticles.get()
        if model is not None and particles is not None and self.source == STACKS:
            dimensions = particles.getDim()
            if dimensions:
                width = dimensions[0] * particles.getSamplingRate()
                if width < model.getDiameter():
                    warnings.append(
                        "The boxes are %0.0f Å wide, less than the particle's %0.0f "
                        "Å: read the particles from their micrographs."
                        % (width, model.getDiameter())
                    )
        if model is not None and model.isPhaseFlipped() and self.source == STACKS:
            warnings.append(
                "The model was trained on phase-flipped micrographs: unless the particles were "
                "phase flipped too, read them from their micrographs, with CTFs."
            )
        if (
            model is not None
            and self.source == MICROGRAPHS
            and self.inputCTF.get() is not None
            and not model.isPhaseFlipped()
        ):
            warnings.append("CTFs are given, but the model was trained without: they are not used.")
        return warnings

    def _summary(self):
        if not os.path.exists(self._getExtraPath("screened", "scores.csv")):
            return ["The particles are not screened yet."]
        lines = []
        for name, word in ((TRUE, "true"), (FALSE, "false")):
            output = getattr(self, name, None)
            if output is not None:
                lines.append("*%d* particles are %s" % (output.getSize(), word))
            else:
                lines.append("No particle is %s, so there is no output _%s_." % (word, name))
        lines.append("Threshold: %g" % self.getThreshold())
        run = read_json_or_none(self._getExtraPath("screened", "run.json"))
        if run is not None:
            lines += self._deviceLines(run.get("device"))
        return lines

    def _methods(self):
        output = getattr(self, TRUE, None)
        if output is None:
            return []
        return [
            "Particles were screened with apbc [AutopickBC]; %d of %d were kept."
            % (output.getSize(), self.inputParticles.get().getSize())
        ]

    # -------------------------- utilities ----------------------------------------
    def getThreshold(self):
        """Threshold in force: that of the form, else that of the model."""
        wanted = self.threshold.get()
        return wanted if wanted >= 0 else self.inputModel.get().getThreshold()

    def _getStar(self):
        return self._getExtraPath("particles.star")

    def _getCtfStar(self):
        return self._getExtraPath("micrographs_ctf.star")

    def _usesCtf(self):
        """Tell whether phases are flipped before the particles are cut out."""
        return self.inputCTF.get() is not None and self.inputModel.get().isPhaseFlipped()

    def _getMicrographs(self):
        """Micrographs to read from, or None if they are not known."""
        if self.inputMicrographs.get() is not None:
            return self.inputMicrographs.get()
        coordinates = self.inputParticles.get().getCoordinates()
        return coordinates.getMicrographs() if coordinates is not None else None

    def _namesInUse(self, index):
        """Ids of the micrographs that hold a particle."""
        return {
            index.find(particle.getCoordinate())
            for particle in self.inputParticles.get().iterItems()
        }
