"""Simulate micrographs of which everything is known."""

import os

from pwem.objects import SetOfCoordinates, SetOfCTF, SetOfMicrographs, SetOfVolumes
from pwem.protocols import EMProtocol
from pyworkflow.object import Pointer
from pyworkflow.protocol import params
from pyworkflow.protocol.constants import STEPS_SERIAL

from apbc.geometry import box_size_for
from apbc_scipion import simulation
from apbc_scipion.protocols.protocol_base import ApbcProtBase, set_problem
from apbc_scipion.protocols.protocol_simulate_base import SimulatedStructures
from apbc_scipion.validators import POSITIVE, at_least, within

MICROGRAPHS_OUT, CTF_OUT = "outputMicrographs", "outputCTF"
COORDINATES_OUT, VOLUMES_OUT = "outputCoordinates", "outputVolumes"
COVERED, NUMBER, DENSITY = range(3)
DETECTORS = ["counting", "integrating", "perfect"]
# Pixels (Å) beyond which the first rings of hexagonal ice do not show.
LARGEST_FOR_ICE = 1.95
# Field of the form, default, label, help.
CONTAMINATION = (
    (
        "carbon",
        0.25,
        "Carbon edge (share of micrographs)",
        "Share of the micrographs, 0 to 1, that show the edge of the carbon film, with its own "
        "texture. Particles lie in the hole only. 0: none.",
    ),
    (
        "iceBlobs",
        8.0,
        "Ice blobs (per µm²)",
        "Mean number per µm² of pieces of thick ice, most of about the size of particles. 0: none.",
    ),
    (
        "crystals",
        0.6,
        "Crystalline ice (per µm²)",
        "Mean number per µm² of patches of hexagonal ice, which give spots at 3.9 to 3.4 Å in the "
        "power spectrum where pixels are small enough. 0: none.",
    ),
    (
        "ethane",
        0.2,
        "Ethane (per µm²)",
        "Mean number per µm² of fields of ethane that was left on the grid. 0: none.",
    ),
    (
        "gold",
        0.0,
        "Gold beads (per µm²)",
        "Mean number per µm² of gold beads, as they are used for tomography. 0: none.",
    ),
    (
        "aggregates",
        1.0,
        "Aggregates (per µm²)",
        "Mean number per µm² of clumps of particles that stick together. 0: none.",
    ),
    (
        "broken",
        0.05,
        "Broken particles (share)",
        "Broken particles as a share of the whole ones, 0 to 1. They are no particles of the "
        "truth. 0: none.",
    ),
)


class ApbcProtSimulateMicrographs(SimulatedStructures, ApbcProtBase, EMProtocol):
    """Simulate micrographs with the exact place, class and pose of every particle.

    *What it is for.* To measure pickers where the truth is complete, which hand-picked
    references never are, and to try out a whole workflow before there are data.

    *Input.* Nothing is needed: without structures, built-in molecules are taken. Or give atomic
    structures, volumes, or sets of either; each structure is a class. Coordinates, if you give
    them, tell where particles lie, with the size and names of their micrographs.

    *Output.* _outputMicrographs_: dark particles in ice, with contamination; the path of the mask
    of each is in the column apbcMask (0 clean, 1 carbon, 2 ice blob, 3 crystalline ice or ethane,
    4 gold, 5 broken particles and aggregates). _outputCTF_: their true CTF. _outputCoordinates_:
    every particle whose centre is in the frame, with gtClass, gtRot, gtTilt, gtPsi, and gtVisible,
    which is no where more than half of the particle lies under others or on contamination.
    _outputVolumes_: the true structures. Files in extra/simulation: micrographs_ctf.star for
    Relion, truth, masks, and simulation.json with every parameter. The viewer (_Analyze results_)
    shows the particles on the micrographs.

    *If the result is poor.* If particles do not show, raise the dose or the defocus, or take a
    larger molecule. If they lie too densely or overlap, lower their number. To see what a picker
    stumbles over, switch contamination off one by one.
    """

    _label = "simulate micrographs"
    _possibleOutputs = {
        MICROGRAPHS_OUT: SetOfMicrographs,
        CTF_OUT: SetOfCTF,
        COORDINATES_OUT: SetOfCoordinates,
        VOLUMES_OUT: SetOfVolumes,
    }
    stepsExecutionMode = STEPS_SERIAL
    COUNTED = "particles"  # key of the engine: what it counts by structure

    # -------------------------- parameters -----------------------------------
    def _defineParams(self, form):
        form.addSection(label="Structures")
        self._defineStructureParams(form)
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
        form.addSection(label="Micrographs")
        self._defineMicrographParams(form)
        form.addSection(label="Particles")
        self._defineParticleParams(form)
        form.addSection(label="Microscope")
        self._defineMicroscopeParams(form)
        form.addSection(label="Contamination")
        for name, default, label, text in CONTAMINATION:
            form.addParam(
                name,
                params.FloatParam,
                default=default,
                validators=[at_least(0)],
                label=label,
                help=text,
            )
        form.addParallelSection(threads=4, mpi=0)
        form.getParam("numberOfThreads").help.set(
            "Threads of the engine, 1 to the number of cores. The micrographs do not depend on it."
        )

    def _defineMicrographParams(self, form):
        form.addParam(
            "inputCoordinates",
            params.PointerParam,
            pointerClass="SetOfCoordinates",
            allowsNull=True,
            label="Places of the particles (optional)",
            help="Coordinates, for example of a picker on real micrographs: particles are put "
            "there, on micrographs of the same names, size and pixel size. Classes and angles are "
            "taken from gtClass, gtRot, gtTilt and gtPsi where coordinates have them. Empty: "
            "random places.",
        )
        form.addParam(
            "numberOfMicrographs",
            params.IntParam,
            default=10,
            validators=[POSITIVE],
            important=True,
            condition="inputCoordinates is None",
            label="Micrographs",
            help="Number of micrographs, 1 to some thousands. One of 4096 x 4096 px takes some ten "
            "seconds and 80 MB on disk. A run that is continued with more adds to them.",
        )
        line = form.addLine(
            "Size (px)",
            condition="inputCoordinates is None",
            help="Columns and rows of the micrographs in pixels; those of usual cameras are 4096 x "
            "4096 (Falcon) and 5760 x 4092 (K3).",
        )
        for name, label in (("columns", "columns"), ("rows", "rows")):
            line.addParam(
                name,
                params.IntParam,
                default=4096,
                validators=[at_least(64)],
                label=label,
                help="Pixels of the micrographs along this side, 64 to 12,000.",
            )
        form.addParam(
            "pixelSize",
            params.FloatParam,
            default=1.5,
            validators=[POSITIVE],
            important=True,
            condition="inputCoordinates is None",
            label="Pixel size (Å)",
            help="Å per pixel of the micrographs, 0.5 to 4 or so. Volumes of another pixel size "
            "are brought to it.",
        )
        self._defineSeed(form, "micrographs")

    def _defineParticleParams(self, form):
        random = "inputCoordinates is None"
        form.addParam(
            "crowding",
            params.EnumParam,
            choices=["share of the area", "number", "density"],
            default=COVERED,
            condition=random,
            label="Number of particles",
            help="_share of the area_: particles cover 15 % of the micrograph, some more and some "
            "less from one to the next.\n_number_, _density_: what you say.",
        )
        form.addParam(
            "particlesPerMicrograph",
            params.IntParam,
            default=200,
            validators=[at_least(0)],
            condition="crowding == %d and %s" % (NUMBER, random),
            label="Particles in a micrograph",
            help="Number of particles in a micrograph without carbon, 0 to as many as fit side by "
            "side; with carbon, the hole holds its share of them.",
        )
        form.addParam(
            "density",
            params.FloatParam,
            default=600.0,
            validators=[at_least(0)],
            condition="crowding == %d and %s" % (DENSITY, random),
            label="Particles per µm²",
            help="Number of particles per µm²; 100 is sparse and 2000 crowded for a molecule of "
            "120 Å.",
        )
        for name, default, label, text in (
            (
                "overlap",
                0.03,
                "Overlapping particles (share)",
                "Share of the particles, 0 to 1, that lie partly on another, as seen along the "
                "beam.",
            ),
            (
                "clusters",
                0.1,
                "Touching particles (share)",
                "Share of the particles, 0 to 1, that touch another, so that clusters grow.",
            ),
        ):
            form.addParam(
                name,
                params.FloatParam,
                default=default,
                validators=[within(0, 1)],
                condition=random,
                label=label,
                help=text,
            )
        self._defineViewParams(form)
        form.addParam(
            "tilt",
            params.FloatParam,
            default=0.0,
            validators=[within(0, 79, "must lie between 0 and 79 degrees.")],
            expertLevel=params.LEVEL_ADVANCED,
            label="Tilt of the specimen (degrees)",
            help="0 to 79 degrees about a random axis: particles then differ in height, and so in "
            "defocus.",
        )
        form.addParam(
            "height",
            params.FloatParam,
            default=0.0,
            validators=[at_least(0)],
            expertLevel=params.LEVEL_ADVANCED,
            label="Spread of the height (Å)",
            help="Particles lie at random heights within this many Å in the ice, and their "
            "defocus differs by as much. 0: all in one plane.",
        )
        form.addParam(
            "particleContrast",
            params.FloatParam,
            default=0.8,
            validators=[at_least(0)],
            expertLevel=params.LEVEL_ADVANCED,
            label="Strength of the particles",
            help="Factor of the potential of the particles: 1 is what theory says, 0.8 what real "
            "micrographs have, 2 makes them very clear, 0 leaves micrographs without any.",
        )

    def _defineMicroscopeParams(self, form):
        self._defineDefocus(form)
        for name, default, label, expert, text in (
            (
                "dose",
                40.0,
                "Dose (electrons per Å²)",
                False,
                "Electrons per Å² that make the micrograph; usual are 20 to 60.",
            ),
            (
                "thickness",
                350.0,
                "Thickness of the ice (Å)",
                False,
                "Mean thickness in Å; usual are 200 to 800. Thick ice costs electrons and gives "
                "more structural noise.",
            ),
            (
                "gradient",
                0.3,
                "Gradient of the thickness (share)",
                True,
                "Largest change of the thickness across a micrograph, as a share of the mean, 0 "
                "to 1.",
            ),
            (
                "iceNoise",
                1.0,
                "Structural noise of the ice",
                True,
                "Factor of the noise that the molecules of the ice make: 1 is physical, 0 is none.",
            ),
            (
                "envelopeB",
                100.0,
                "B factor of the envelope (Å²)",
                False,
                "Amplitudes fall as exp(-B/4 s²) with the spatial frequency s: 0 for none, 50 to "
                "200 for what movement and the microscope take away.",
            ),
            (
                "drift",
                0.0,
                "Drift (Å)",
                True,
                "Steady movement in Å that is left in the sum of the frames, in a random "
                "direction; 0 for none.",
            ),
            (
                "astigmatism",
                300.0,
                "Largest astigmatism (Å)",
                True,
                "Difference of the two defoci in Å, from 0 to this; its direction is random.",
            ),
            ("voltage", 300.0, "Voltage (kV)", True, "Of the microscope in kV; usual: 200, 300."),
            (
                "sphericalAberration",
                2.7,
                "Spherical aberration (mm)",
                True,
                "Of the objective lens in mm; usual are 2.7, 2.0 and 0.01.",
            ),
            (
                "amplitudeContrast",
                0.1,
                "Amplitude contrast",
                True,
                "Share of the contrast that is no phase contrast, 0 to 1; usual are 0.07 to 0.1.",
            ),
            (
                "phaseShift",
                0.0,
                "Phase shift (degrees)",
                True,
                "Of a phase plate in degrees, 0 to 180; 0 without one.",
            ),
        ):
            form.addParam(
                name,
                params.FloatParam,
                default=default,
                validators=[at_least(0)],
                expertLevel=params.LEVEL_ADVANCED if expert else params.LEVEL_NORMAL,
                label=label,
                help=text,
            )
        form.addParam(
            "detector",
            params.EnumParam,
            choices=DETECTORS,
            default=0,
            expertLevel=params.LEVEL_ADVANCED,
            label="Detector",
            help="_counting_: each electron is counted in one pixel (noise is white).\n"
            "_integrating_: the charge of each electron is blurred, and the noise with it.\n"
            "_perfect_: every electron is counted where it falls.",
        )
        form.addParam(
            "dqe",
            params.FloatParam,
            default=0.8,
            validators=[within(0.01, 1)],
            condition="detector != %d" % DETECTORS.index("perfect"),
            expertLevel=params.LEVEL_ADVANCED,
            label="DQE at frequency 0",
            help="Share of the electrons that the detector counts, 0.01 to 1; direct detectors "
            "have about 0.8.",
        )
        form.addParam(
            "mtf",
            params.FileParam,
            default="",
            condition="detector != %d" % DETECTORS.index("perfect"),
            expertLevel=params.LEVEL_ADVANCED,
            label="Measured MTF (optional)",
            help="Star file of the modulation transfer function of the detector, as Relion's "
            "post-processing takes it (rlnResolutionInversePixel, rlnMtfValue). Empty: a "
            "typical one.",
        )

    # -------------------------- steps -----------------------------------------
    def _insertAllSteps(self):
        # Continue runs a step again only if its own arguments are others.
        if self.inputCoordinates.get() is not None:
            signature = str(self.inputCoordinates.get())
            self._insertFunctionStep(self.writePlacesStep, signature, needsGPU=False)
        self._insertSimulation()

    def writePlacesStep(self, signature):
        """Write the places of the particles."""
        simulation.write_places(self.inputCoordinates.get(), self._getPlaces())

    def simulateStep(self, request):
        """Let the engine make the micrographs; those that are there already stay."""
        self._simulate("micrographs", request[1:], adds=("--micrographs",))

    def _getOptions(self):
        """Options of the engine, but for the structures and the threads."""
        columns, rows, pixelSize = self._getFrame()
        arguments = ["--size", rows, columns, "--pixel-size", pixelSize]
        if self.inputCoordinates.get() is not None:
            arguments += ["--coordinates", self._getPlaces()]
        else:
            arguments += ["--micrographs", self.numberOfMicrographs.get()]
            if self.crowding == NUMBER:
                arguments += ["--particles", self.particlesPerMicrograph.get()]
            elif self.crowding == DENSITY:
                arguments += ["--density", self.density.get()]
            arguments += ["--overlap", self.overlap.get(), "--clusters", self.clusters.get()]
        if self.resolution.get():
            arguments += ["--resolution", self.resolution.get()]
        arguments += self._viewArguments()
        for option, value in (
            ("--tilt", self.tilt),
            ("--height", self.height),
            ("--particle-contrast", self.particleContrast),
            ("--dose", self.dose),
            ("--ice-thickness", self.thickness),
            ("--thickness-gradient", self.gradient),
            ("--ice-noise", self.iceNoise),
            ("--envelope-b", self.envelopeB),
            ("--drift", self.drift),
            ("--astigmatism", self.astigmatism),
            ("--voltage", self.voltage),
            ("--cs", self.sphericalAberration),
            ("--amplitude-contrast", self.amplitudeContrast),
            ("--phase-shift", self.phaseShift),
            ("--carbon", self.carbon),
            ("--ice-blobs", self.iceBlobs),
            ("--crystals", self.crystals),
            ("--ethane", self.ethane),
            ("--gold", self.gold),
            ("--aggregates", self.aggregates),
            ("--broken", self.broken),
            ("--seed", self.seed),
        ):
            arguments += [option, value.get()]
        arguments += ["--detector", self.getEnumText("detector"), "--dqe", self.dqe.get()]
        if self._getMtf():
            arguments += ["--mtf", self._getMtf()]
        return [*arguments, "--defocus", self.defocusMin.get(), self.defocusMax.get()]

    def createOutputStep(self, request):
        """Register micrographs, CTF, coordinates and volumes."""
        folder = self._getSimulationPath()
        record = simulation.read_record(folder)
        micrographs, ctfs = self._createSetOfMicrographs(), self._createSetOfCTF()
        simulation.fill_micrographs(micrographs, ctfs, folder)
        volumes = self._createSetOfVolumes()
        simulation.fill_volumes(volumes, folder)
        self._defineOutputs(**{MICROGRAPHS_OUT: micrographs, VOLUMES_OUT: volumes})
        pointer = Pointer(self, extended=MICROGRAPHS_OUT)
        ctfs.setMicrographs(pointer)
        coordinates = self._createSetOfCoordinates(pointer)
        coordinates.setBoxSize(box_size_for(record["diameter"], micrographs.getSamplingRate()))
        simulation.fill_coordinates(coordinates, micrographs, folder)
        self._defineOutputs(**{CTF_OUT: ctfs, COORDINATES_OUT: coordinates})
        self._defineCtfRelation(pointer, ctfs)
        self._defineSourceRelation(pointer, coordinates)
        for output in (micrographs, volumes):
            self._relateToStructures(output)
        if self.inputCoordinates.get() is not None:
            self._defineSourceRelation(self.inputCoordinates, micrographs)

    # -------------------------- information ------------------------------------
    def _validate(self):
        if not self._isFilled():
            return []
        errors = self._structureProblems()
        errors += self._defocusProblems()
        coordinates = self.inputCoordinates.get()
        problem = set_problem("coordinates", coordinates)
        if problem:
            errors.append(problem)
        elif coordinates is not None and coordinates.getMicrographs() is None:
            errors.append("The micrographs of the coordinates are not known.")
        if coordinates is None and self.overlap.get() + self.clusters.get() > 1:
            errors.append(
                "The shares of overlapping and touching particles are more than 1 together."
            )
        mtf = self._getMtf()
        if mtf and not os.path.isfile(mtf):
            errors.append("There is no file '%s' with the MTF." % mtf)
        for name, word in (("carbon", "carbon edges"), ("broken", "broken particles")):
            if getattr(self, name).get() > 1:
                errors.append("The share of %s must lie between 0 and 1." % word)
        return errors

    def _warnings(self):
        warnings = []
        if self.crystals.get() > 0 and self._getFrame()[2] > LARGEST_FOR_ICE:
            warnings.append(
                "At %g Å/px the spots of crystalline ice (3.7 Å) lie beyond the Nyquist frequency."
                % self._getFrame()[2]
            )
        return warnings

    def _summary(self):
        record = self._readRecord()
        if record is None or not hasattr(self, COORDINATES_OUT):
            return ["The micrographs are not simulated yet."]
        lines = [
            "*%d* micrographs with *%d* particles, %d of them visible"
            % (len(record["micrographs"]), record["particles"], record["visible"]),
            "Diameter: %g Å; box of the coordinates: %d px"
            % (record["diameter"], getattr(self, COORDINATES_OUT).getBoxSize()),
        ]
        return lines + self._structureLines(record)

    def _methods(self):
        record = self._readRecord()
        if record is None:
            return []
        return [
            "%d micrographs with %d particles of %d structures were simulated with apbc: ice, "
            "contamination, CTF (defocus %g to %g Å), and counting noise at %g electrons per Å²."
            % (
                len(record["micrographs"]),
                record["particles"],
                len(record["structures"]),
                self.defocusMin.get(),
                self.defocusMax.get(),
                self.dose.get(),
            )
        ]

    # -------------------------- utilities ----------------------------------------
    def _getMtf(self):
        """File of the MTF; empty if there is none, or the detector needs none."""
        isPerfect = self.getEnumText("detector") == "perfect"
        return "" if isPerfect else (self.mtf.get() or "").strip()

    def _getPlaces(self):
        return self._getExtraPath("places")

    def _getFrame(self):
        """Columns, rows and pixel size (Å) of the micrographs."""
        coordinates = self.inputCoordinates.get()
        if coordinates is None:
            return self.columns.get(), self.rows.get(), self.pixelSize.get()
        micrographs = coordinates.getMicrographs()
        columns, rows = micrographs.getFirstItem().getDim()[:2]
        return columns, rows, micrographs.getSamplingRate()
