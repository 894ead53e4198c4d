"""Simulate particles of which everything is known."""

import os

from pwem.objects import SetOfParticles, SetOfVolumes, VolumeMask
from pwem.protocols import EMProtocol
from pyworkflow.protocol import params
from pyworkflow.protocol.constants import STEPS_SERIAL

from apbc_scipion import simulation
from apbc_scipion.protocols.protocol_base import ApbcProtBase, set_problem
from apbc_scipion.protocols.protocol_simulate_base import SimulatedStructures
from apbc_scipion.validators import GIVEN, POSITIVE, at_least, within

PARAMETRIC, CTFS, PARTICLES, FILE, NO_CTF = range(5)
PARTICLES_OUT, CLEAN_OUT = "outputParticles", "outputCleanParticles"
VOLUMES_OUT, MASK_OUT = "outputVolumes", "outputMask"
SNR_DEFINITIONS = ["pooled", "structure", "image"]
SNR_REGIONS = ["box", "circle", "mask"]
CONTRASTS = ["white", "dark"]


class ApbcProtSimulateParticles(SimulatedStructures, ApbcProtBase, EMProtocol):
    """Simulate particle images whose class, pose, shift and CTF are known.

    *What it is for.* To measure a classification, a refinement or a method for heterogeneity
    against the truth, and to try out a workflow before the real data are there. The images are
    made as CryoBench makes its data sets.

    *Input.* Nothing is needed: without structures, built-in molecules are taken. Or give atomic
    structures, volumes, or sets of either; each structure is a class. The CTF comes from a
    microscope that you describe, or is that of a set of CTFs or particles, or of a file.

    *Output.* _outputParticles_: the images, with CTF and projection alignment; the truth is in
    the columns gtClass (from 1; 0 is junk), gtVolId, gtRot, gtTilt, gtPsi (degrees), gtShiftX,
    gtShiftY (Å) and gtJunk. _outputVolumes_: the true volumes, whose ids are the classes, with
    box and pixel size of the images. _outputMask_: a mask round all of them.
    _outputCleanParticles_: the same images without noise, if you ask for them. Files in
    extra/simulation: particles.star and stack for Relion, ctf.pkl, poses.pkl and gt_latents.pkl
    for cryoDRGN, truth.csv, and simulation.json with every parameter and the noise that was added.

    *If the result is poor.* If classes cannot be told apart at all, raise the signal-to-noise
    ratio or the number of images. If everything is found at once, lower it, and add errors of
    pose and CTF, junk and a spread of contrast. Where images look empty, the box is too large or
    the resolution too low for the molecule.
    """

    _label = "simulate particles"
    _possibleOutputs = {
        PARTICLES_OUT: SetOfParticles,
        VOLUMES_OUT: SetOfVolumes,
        MASK_OUT: VolumeMask,
        CLEAN_OUT: SetOfParticles,
    }
    stepsExecutionMode = STEPS_SERIAL
    COUNTED = "images"  # key of the engine: what it counts by structure

    # -------------------------- parameters -----------------------------------
    def _defineParams(self, form):
        form.addSection(label="Structures")
        self._defineStructureParams(form)
        self._defineGridParams(form)
        form.addSection(label="Images")
        self._defineImageParams(form)
        form.addSection(label="CTF")
        self._defineCtfParams(form)
        form.addSection(label="Noise and errors")
        self._defineNoiseParams(form)
        self._defineErrorParams(form)
        form.addParallelSection(threads=4, mpi=0)
        form.getParam("numberOfThreads").help.set(
            "Threads of the engine, 1 to the number of cores. The images do not depend on it."
        )

    def _defineGridParams(self, form):
        form.addParam(
            "pixelSize",
            params.FloatParam,
            default=3.0,
            validators=[POSITIVE],
            condition="inputStructures or needsGrid",
            label="Pixel size (Å)",
            help="Å per pixel on which the molecules are projected, 1 to 4 or so. Cropping to a "
            "smaller output box makes the pixels of the images larger.",
        )
        form.addParam(
            "boxSize",
            params.IntParam,
            default=0,
            validators=[at_least(0)],
            condition="inputStructures or needsGrid",
            label="Box size (px)",
            help="Pixels along a side of the box on which the molecules are projected, 16 to 512 "
            "or so. It must hold the molecule with the shifts. 0 takes 1.5 diameters of the "
            "largest molecule.",
        )
        form.addParam(
            "resolution",
            params.FloatParam,
            default=0.0,
            validators=[at_least(0)],
            condition="hasAtoms or not (inputStructures or hasStructures)",
            label="Resolution of the structures (Å)",
            help="Atoms and built-in molecules are blurred to this resolution, in Å; not below two "
            "pixels. 0 takes three pixels.",
        )
        form.addParam(
            "sharedCentre",
            params.BooleanParam,
            default=False,
            condition="hasAtoms",
            label="Keep atomic structures as they lie on one another?",
            help="Yes, for conformations of one molecule that are aligned already: all are moved "
            "by one vector to the middle of the box. No: each has its centre of mass there.",
        )
        form.addParam(
            "legacyShrink",
            params.BooleanParam,
            default=False,
            expertLevel=params.LEVEL_ADVANCED,
            label="Shrink as the original CryoBench?",
            help="Yes repeats a fault of CryoBench's projector, which makes the object smaller by "
            "one pixel in the box (0.4 % at 256). Choose it only to compare with its figures.",
        )

    def _defineImageParams(self, form):
        form.addParam(
            "numberOfImages",
            params.IntParam,
            default=2000,
            validators=[POSITIVE],
            important=True,
            label="Images",
            help="Number of images in all, 1 to some millions. Disk: 4 bytes a pixel.",
        )
        form.addParam(
            "outputBox",
            params.IntParam,
            default=0,
            validators=[at_least(0)],
            label="Box size of the images (px)",
            help="Images are cropped in Fourier space to this box, which makes their pixels "
            "larger: CryoBench goes from 256 to 128. 0: as they were projected.",
        )
        form.addParam(
            "shift",
            params.FloatParam,
            default=10.0,
            validators=[at_least(0)],
            label="Largest shift (Å)",
            help="Particles lie up to this many Å from the centre of the box along x and along y, "
            "all shifts equally often. 0: centred.",
        )
        self._defineViewParams(form)
        self._defineSeed(form, "images")
        form.addParam(
            "contrast",
            params.EnumParam,
            choices=CONTRASTS,
            default=0,
            display=params.EnumParam.DISPLAY_HLIST,
            expertLevel=params.LEVEL_ADVANCED,
            label="Contrast of the particles",
            help="_white_ on dark, as Relion, Xmipp and cryoSPARC expect extracted particles; "
            "_dark_ on white, as CryoBench has them.",
        )
        form.addParam(
            "clean",
            params.BooleanParam,
            default=False,
            expertLevel=params.LEVEL_ADVANCED,
            label="Keep the images without noise, too?",
            help="Yes gives another set, with the same particles before noise was added; it takes "
            "as much disk as the images.",
        )

    def _defineCtfParams(self, form):
        form.addParam(
            "ctfSource",
            params.EnumParam,
            choices=["microscope", "set of CTFs", "set of particles", "file", "none"],
            default=PARAMETRIC,
            label="CTF",
            help="_microscope_: random defocus of a microscope that you describe.\n"
            "_set of CTFs_, _set of particles_: drawn from those of the project.\n"
            "_file_: drawn from a star file, or a ctf.pkl of cryoDRGN.\n"
            "_none_: the images are projections, as if the microscope were perfect.",
        )
        form.addParam(
            "inputCTF",
            params.PointerParam,
            pointerClass="SetOfCTF",
            allowsNull=True,
            condition="ctfSource == %d" % CTFS,
            label="CTFs",
            help="Defocus, astigmatism and phase shift of real micrographs; each image takes "
            "those of one of them.",
        )
        form.addParam(
            "inputParticles",
            params.PointerParam,
            pointerClass="SetOfParticles",
            pointerCondition="hasCTF",
            allowsNull=True,
            condition="ctfSource == %d" % PARTICLES,
            label="Particles with CTF",
            help="Defocus, astigmatism and phase shift of real particles; each image takes those "
            "of one of them.",
        )
        form.addParam(
            "ctfFile",
            params.FileParam,
            default="",
            condition="ctfSource == %d" % FILE,
            label="File of CTFs",
            help="A star file of Relion with defocus columns, or a ctf.pkl as cryoDRGN and "
            "CryoBench write it (9 columns).",
        )
        form.addParam(
            "ctfReplace",
            params.BooleanParam,
            default=False,
            condition="ctfSource in (%d, %d, %d)" % (CTFS, PARTICLES, FILE),
            label="Take CTFs again if there are too few?",
            help="No: each CTF serves one image, and there must be at least as many as images. "
            "Yes: where there are fewer, some are taken again with another defocus (by a "
            "standard deviation of 300 Å).",
        )
        microscope = "ctfSource == %d" % PARAMETRIC
        self._defineDefocus(form, microscope)
        form.addParam(
            "astigmatism",
            params.FloatParam,
            default=300.0,
            validators=[at_least(0)],
            condition=microscope,
            label="Largest astigmatism (Å)",
            help="Difference of the two defoci in Å, from 0 to this; its direction is random.",
        )
        for name, default, label, text in (
            ("voltage", 300.0, "Voltage (kV)", "Of the microscope in kV; usual are 200 and 300."),
            (
                "sphericalAberration",
                2.7,
                "Spherical aberration (mm)",
                "Of the objective lens in mm; usual are 2.7, 2.0 and 0.01.",
            ),
            (
                "amplitudeContrast",
                0.1,
                "Amplitude contrast",
                "Share of the contrast that is no phase contrast, 0 to 1; usual are 0.07 to 0.1.",
            ),
            (
                "phaseShift",
                0.0,
                "Phase shift (degrees)",
                "Of a phase plate in degrees, 0 to 180; 0 without one.",
            ),
        ):
            form.addParam(
                name,
                params.FloatParam,
                default=default,
                validators=[at_least(0)],
                condition=microscope,
                expertLevel=params.LEVEL_ADVANCED,
                label=label,
                help=text,
            )
        form.addParam(
            "envelopeB",
            params.FloatParam,
            default=0.0,
            validators=[at_least(0)],
            label="B factor of the envelope (Å²)",
            help="Amplitudes fall as exp(-B/4 s²) with the spatial frequency s: 0 for none, 50 to "
            "200 for what movement and the microscope take away.",
        )

    def _defineNoiseParams(self, form):
        form.addParam(
            "snr",
            params.FloatParam,
            default=0.05,
            validators=[GIVEN],
            important=True,
            label="Signal-to-noise ratio",
            help="Variance of the signal over that of the noise, above 0, at the pixel size of "
            "the projection. CryoBench has 0.01; 0.1 is easy. Cropping to a smaller box raises "
            "it, by about 4 for half the box.",
        )
        form.addParam(
            "snrDefinition",
            params.EnumParam,
            choices=SNR_DEFINITIONS,
            default=0,
            expertLevel=params.LEVEL_ADVANCED,
            label="Noise is the same for",
            help="_pooled_: all images, so that the noise does not betray the class.\n"
            "_structure_: the images of a structure, as in CryoBench.\n"
            "_image_: the ratio holds for every image by itself.",
        )
        form.addParam(
            "snrRegion",
            params.EnumParam,
            choices=SNR_REGIONS,
            default=0,
            expertLevel=params.LEVEL_ADVANCED,
            label="Signal is measured in",
            help="_box_: the whole image, as in CryoBench; a small molecule in a large box then "
            "gets little noise.\n_circle_: the circle in the box.\n_mask_: where the molecule is.",
        )
        form.addParam(
            "noiseColor",
            params.FloatParam,
            default=0.0,
            validators=[within(0, 4)],
            expertLevel=params.LEVEL_ADVANCED,
            label="Colour of the noise (0 to 4)",
            help="Power of the noise falls as 1 / frequency to this power: 0 for white noise, 1 "
            "for the noise of ice, or so; the ratio of signal to noise stays as asked for.",
        )
        form.addParam(
            "normalise",
            params.BooleanParam,
            default=True,
            expertLevel=params.LEVEL_ADVANCED,
            label="Normalise the images?",
            help="Yes multiplies all images by one number, so that their noise has a standard "
            "deviation of 1, as Relion wants it. No keeps the grey values of the structures.",
        )

    def _defineErrorParams(self, form):
        form.addParam(
            "contrastVariation",
            params.FloatParam,
            default=0.0,
            validators=[within(0, 1)],
            label="Spread of the contrast",
            help="Standard deviation of the factor by which particles are stronger or weaker than "
            "the mean, 0 to 1; 0.2 is what ice of uneven thickness gives.",
        )
        for name, label, text in (
            (
                "poseError",
                "Error of the angles (degrees)",
                "Standard deviation in degrees of the rotation by which the angles in the output "
                "differ from the true ones. 0: the true ones.",
            ),
            (
                "shiftError",
                "Error of the shifts (Å)",
                "Standard deviation in Å by which the shifts in the output differ from the true "
                "ones. 0: the true ones.",
            ),
            (
                "defocusError",
                "Error of the defocus (Å)",
                "Standard deviation in Å by which the defocus in the output differs from the true "
                "one. 0: the true one.",
            ),
        ):
            form.addParam(
                name,
                params.FloatParam,
                default=0.0,
                validators=[at_least(0)],
                expertLevel=params.LEVEL_ADVANCED,
                label=label,
                help=text,
            )
        form.addParam(
            "junk",
            params.FloatParam,
            default=0.0,
            validators=[within(0, 1)],
            label="Share of junk (0 to 1)",
            help="Share of the images that show no whole particle: noise, broken particles, "
            "several at once, edges. Their class is 0. 0.3 is usual after picking.",
        )

    # -------------------------- steps -----------------------------------------
    def _insertAllSteps(self):
        # Continue runs a step again only if its own arguments are others.
        if self._ctfSet() is not None:
            signature = "%s %s" % (self.ctfSource.get(), self._ctfSet())
            self._insertFunctionStep(self.writeCtfStep, signature, needsGPU=False)
        self._insertSimulation()

    def writeCtfStep(self, signature):
        """Write the CTFs that images are given."""
        simulation.write_ctfs(self._ctfSet(), self._getCtfStar())

    def simulateStep(self, request):
        """Let the engine make the images."""
        self._simulate("particles", request[1:])

    def _getOptions(self):
        """Options of the engine, but for the structures and the threads."""
        arguments = []
        if self.needsGrid():
            arguments += ["--pixel-size", self.pixelSize.get()]
            if self.boxSize.get():
                arguments += ["--box", self.boxSize.get()]
        arguments += ["--images", self.numberOfImages.get()]
        for option, value in (
            ("--resolution", self.resolution.get()),
            ("--output-box", self.outputBox.get()),
            ("--envelope-b", self.envelopeB.get()),
            ("--contrast-variation", self.contrastVariation.get()),
            ("--junk", self.junk.get()),
            ("--pose-error", self.poseError.get()),
            ("--shift-error", self.shiftError.get()),
            ("--defocus-error", self.defocusError.get()),
            ("--noise-color", self.noiseColor.get()),
        ):
            if value:
                arguments += [option, value]
        arguments += ["--shift", self.shift.get()]
        arguments += ["--snr", self.snr.get()]
        arguments += ["--snr-definition", self.getEnumText("snrDefinition")]
        arguments += ["--snr-region", self.getEnumText("snrRegion")]
        arguments += ["--contrast", self.getEnumText("contrast")]
        arguments += self._viewArguments()
        arguments += ["--seed", self.seed.get()]
        if self.sharedCentre and self.hasAtoms():
            arguments.append("--shared-centre")
        if not self.normalise:
            arguments.append("--no-normalise")
        if self.legacyShrink:
            arguments.append("--legacy-shrink")
        if self.clean:
            arguments.append("--clean")
        return arguments + self._ctfArguments()

    def _ctfArguments(self):
        """Options of the engine that tell the CTF."""
        if self.ctfSource == NO_CTF:
            return ["--no-ctf"]
        if self.ctfSource != PARAMETRIC:
            path = self._getCtfFile() if self.ctfSource == FILE else self._getCtfStar()
            return ["--ctf", path] + (["--ctf-replace"] if self.ctfReplace else [])
        return [
            "--defocus",
            self.defocusMin.get(),
            self.defocusMax.get(),
            "--astigmatism",
            self.astigmatism.get(),
            "--voltage",
            self.voltage.get(),
            "--cs",
            self.sphericalAberration.get(),
            "--amplitude-contrast",
            self.amplitudeContrast.get(),
            "--phase-shift",
            self.phaseShift.get(),
        ]

    def createOutputStep(self, request):
        """Register images, volumes and mask."""
        folder = self._getSimulationPath()
        volumes = self._createSetOfVolumes()
        simulation.fill_volumes(volumes, folder)
        particles = self._createSetOfParticles()
        simulation.fill_particles(particles, folder)
        outputs = {
            PARTICLES_OUT: particles,
            VOLUMES_OUT: volumes,
            MASK_OUT: simulation.read_mask(folder),
        }
        if self.clean:
            outputs[CLEAN_OUT] = self._createSetOfParticles("_clean")
            simulation.fill_particles(outputs[CLEAN_OUT], folder, "particles_clean.mrcs")
        self._defineOutputs(**outputs)
        for output in outputs.values():
            self._relateToStructures(output)
        if self._ctfSet() is not None:
            self._defineSourceRelation(self._ctfPointer(), particles)

    # -------------------------- information ------------------------------------
    def _validate(self):
        if not self._isFilled():
            return []
        errors = self._structureProblems()
        if not self.snr.get() > 0:
            errors.append(
                "The signal-to-noise ratio must be above 0, not %s; for images without noise keep "
                "the clean ones, too." % self.snr.get()
            )
        if self.ctfSource == PARAMETRIC:
            errors += self._defocusProblems()
        errors += self._ctfProblems()
        box = self._nativeBox()
        if box and self.outputBox.get() > box:
            errors.append(
                "The box of the images (%d px) must not be larger than that of the projections "
                "(%d px): images are cropped to it." % (self.outputBox.get(), box)
            )
        return errors

    def _ctfProblems(self):
        """Tell what is wrong with CTFs that are given, a sentence each."""
        if self.ctfSource == FILE:
            path = self._getCtfFile()
            if not os.path.isfile(path):
                return ["There is no file of CTFs '%s'." % path if path else "Name a file of CTFs."]
            return []
        if self.ctfSource not in (CTFS, PARTICLES):
            return []
        items, name = self._ctfSet(), "CTFs" if self.ctfSource == CTFS else "particles"
        if items is None:
            return ["Choose the set of %s that the CTFs are drawn from." % name]
        problem = set_problem(name, items)
        if problem:
            return [problem]
        if items.getSize() < self.numberOfImages.get() and not self.ctfReplace:
            return [
                "There are %d CTFs for %d images: ask for fewer images, or let CTFs be taken again."
                % (items.getSize(), self.numberOfImages.get())
            ]
        return []

    def _warnings(self):
        warnings = []
        box = self._nativeBox()
        if box and self.shift.get() * 2 > box * self._nativePixelSize() / 4:
            warnings.append(
                "Shifts of %g Å are large for a box of %g Å: particles may leave it."
                % (self.shift.get(), box * self._nativePixelSize())
            )
        if self._structureCount() > self.numberOfImages.get():
            warnings.append("There are more structures than images: some will not be seen.")
        return warnings

    def _summary(self):
        record = self._readRecord()
        if record is None or not hasattr(self, PARTICLES_OUT):
            return ["The particles are not simulated yet."]
        particles = getattr(self, PARTICLES_OUT)
        lines = [
            "*%d* images of %d px at %0.3f Å/px, %d structures"
            % (
                particles.getSize(),
                record["box_size"],
                record["pixel_size"],
                len(record["structures"]),
            )
        ]
        return lines + self._structureLines(record)

    def _methods(self):
        record = self._readRecord()
        if record is None:
            return []
        return [
            "%d images of %d structures were simulated with apbc as in CryoBench [Jeon2024]: "
            "projection, shift, CTF and Gaussian noise at a signal-to-noise ratio of %g (%s)."
            % (
                self.numberOfImages.get(),
                len(record["structures"]),
                self.snr.get(),
                self.getEnumText("snrDefinition"),
            )
        ]

    # -------------------------- utilities ----------------------------------------
    def _ctfPointer(self):
        """Pointer to the set that the CTFs are drawn from, or None."""
        return {CTFS: self.inputCTF, PARTICLES: self.inputParticles}.get(self.ctfSource.get())

    def _ctfSet(self):
        """Set that the CTFs are drawn from, or None."""
        pointer = self._ctfPointer()
        return pointer.get() if pointer is not None else None

    def _getCtfFile(self):
        return (self.ctfFile.get() or "").strip()

    def _getCtfStar(self):
        return self._getExtraPath("ctfs.star")

    def _nativeBox(self):
        """Box of the projections in pixels; 0 where the engine chooses it."""
        grid = simulation.grid_of(self.inputStructures)
        return grid[0] if grid else self.boxSize.get()

    def _nativePixelSize(self):
        """Å per pixel of the projections."""
        grid = simulation.grid_of(self.inputStructures)
        return grid[1] if grid else self.pixelSize.get()
