"""What the protocols that simulate share: which structures, and running the engine again."""

import os

import numpy as np
from pyworkflow.object import Float, Integer
from pyworkflow.protocol import params
from pyworkflow.utils import cleanPath

from apbc_scipion import convert, simulation
from apbc_scipion.protocols.protocol_base import read_json_or_none
from apbc_scipion.validators import POSITIVE, at_least, within

MOST_NAMED = 6  # structures in a summary
TWO_STATES, HINGE, ANTIBODY, MIXTURE, NAMES = range(5)
MOLECULES = ("globule", "tetramer", "channel", "barrel", "cage", "hinge-open", "antibody")
VIEWS = ["uniform", "preferred", "side"]
HINGE_ANGLES = (-15, 55)  # degrees, from closed to open


class SimulatedStructures:
    """Structures of the project, or the engine's own molecules."""

    def _defineStructureParams(self, form):
        """Add the fields that tell which structures are simulated."""
        form.addParam(
            "inputStructures",
            params.MultiPointerParam,
            pointerClass=simulation.STRUCTURE_CLASSES,
            allowsNull=True,
            minNumObjects=0,
            important=True,
            label="Structures (optional)",
            help="Atomic structures, volumes, or sets of either, in any mix: each structure is a "
            "class of particles, numbered from 1 in this order. Volumes must be cubic, of one "
            "box and one pixel size, white on black. Empty: the built-in molecules.",
        )
        form.addParam(
            "builtin",
            params.EnumParam,
            choices=[
                "two states",
                "motion of a hinge",
                "turn of an antibody's arm",
                "mixture of molecules",
                "names",
            ],
            default=TWO_STATES,
            condition="not (inputStructures or hasStructures)",
            label="Built-in molecules",
            help="_two states_: a body with an arm, closed and open (190 kDa).\n"
            "_motion of a hinge_: the arm from closed to open, in equal steps.\n"
            "_turn of an antibody's arm_: one arm turned about itself by 360 degrees, in equal "
            "steps (150 kDa).\n"
            "_mixture of molecules_: %s.\n"
            "_names_: molecules that you name." % ", ".join(MOLECULES),
        )
        form.addParam(
            "conformations",
            params.IntParam,
            default=10,
            validators=[within(2, 1000)],
            condition="builtin in (%d, %d) and not (inputStructures or hasStructures)"
            % (HINGE, ANTIBODY),
            label="Conformations",
            help="Steps of the motion, 2 to 1000; each is a structure, that is, a class.",
        )
        form.addParam(
            "builtinNames",
            params.StringParam,
            default="hinge-closed hinge-open",
            condition="builtin == %d and not (inputStructures or hasStructures)" % NAMES,
            label="Names",
            help="Names with blanks between: globule (39 kDa), antibody and hinge (also with an "
            "angle in degrees, as in hinge:20 or antibody:90), hinge-closed, hinge-open, tetramer "
            "(D2), channel (C4), barrel (C7), cage (T), capsid (I). _apbc simulate particles "
            "--help_ describes them.",
        )
        form.addParam(
            "weights",
            params.StringParam,
            default="",
            label="Abundances",
            help="Share of the particles that each structure gets, one number a structure with "
            "blanks between, such as 3 1 for three quarters and one quarter. Only their ratio "
            "counts. Empty: equal shares.",
        )

    def _defineViewParams(self, form):
        """Add the fields that tell from where the particles are seen."""
        form.addParam(
            "views",
            params.EnumParam,
            choices=VIEWS,
            default=0,
            label="Views",
            help="_uniform_: all orientations equally often.\n"
            "_preferred_: mostly along the z axis of the structures (top views).\n"
            "_side_: mostly across it.",
        )
        form.addParam(
            "viewConcentration",
            params.FloatParam,
            default=10.0,
            validators=[POSITIVE],
            condition="views != 0",
            label="Concentration of the views",
            help="How strongly views are preferred: 1 is hardly, 10 clearly, 100 nearly only. It "
            "is kappa of a von Mises-Fisher (preferred) or a Watson (side) distribution.",
        )

    def _defineDefocus(self, form, condition="True"):
        """Add the two fields between which the defocus lies."""
        line = form.addLine(
            "Defocus (Å)",
            condition=condition,
            help="Underfocus in Å, any value between the two equally often. Usual are 5,000 to "
            "30,000.",
        )
        for name, default, label in (
            ("defocusMin", 8000.0, "from"),
            ("defocusMax", 25000.0, "to"),
        ):
            line.addParam(
                name,
                params.FloatParam,
                default=default,
                validators=[POSITIVE],
                label=label,
                help="Limit of the underfocus in Å; usual are 5,000 to 30,000.",
            )

    def _defineSeed(self, form, what):
        """Add the field of the seed; `what` is simulated."""
        form.addParam(
            "seed",
            params.IntParam,
            default=0,
            validators=[at_least(0)],
            label="Seed",
            help="Any whole number from 0 on; it starts every random choice. The same seed makes "
            "the same %s." % what,
        )

    def _defocusProblems(self):
        """Tell in a sentence if the defocus falls rather than rises; a list."""
        if self.defocusMin.get() <= self.defocusMax.get():
            return []
        return [
            "The least defocus (%g Å) is above the largest (%g Å)."
            % (self.defocusMin.get(), self.defocusMax.get())
        ]

    def _viewArguments(self):
        """Options of the engine that tell the views."""
        views = self.getEnumText("views")
        return ["--views", views if self.views == 0 else "%s:%g" % (views, self.viewConcentration)]

    # -------------------------- what is simulated -------------------------------
    def hasAtoms(self):
        """Tell whether one of the structures is a model of atoms; the form asks."""
        return simulation.has_atoms(self.inputStructures)

    def hasStructures(self):
        """Tell whether the form names a structure; the conditions of the form ask."""
        return len(self.inputStructures) > 0

    def needsGrid(self):
        """Tell whether box and pixel size must be given, since no volume brings them."""
        return not self.hasStructures() or simulation.grid_of(self.inputStructures) is None

    def _moleculeNames(self):
        """Names of the built-in molecules that the form chooses."""
        kind, count = self.builtin.get(), self.conformations.get()
        if kind == TWO_STATES:
            return ["hinge-closed", "hinge-open"]
        if kind == HINGE:
            return ["hinge:%g" % angle for angle in np.linspace(*HINGE_ANGLES, count).round(2)]
        if kind == ANTIBODY:
            return ["antibody:%g" % round(360 * n / count, 2) for n in range(count)]
        if kind == MIXTURE:
            return list(MOLECULES)
        return self.builtinNames.get("").replace(",", " ").split()

    def _structureCount(self):
        """Return the number of structures."""
        if self.hasStructures():
            return sum(1 for _ in simulation.expand(self.inputStructures))
        return len(self._moleculeNames())

    def _weights(self):
        """Abundances of the form, as numbers; an empty list for equal ones."""
        return [float(word) for word in self.weights.get("").replace(",", " ").split()]

    def _linkStructures(self):
        """Put the structures where the engine reads them; paths in order."""
        return simulation.link_structures(self.inputStructures, self._getExtraPath("structures"))

    def _structureArguments(self):
        """Options of the engine that name the structures."""
        if self.hasStructures():
            arguments = ["--structures", *self._linkStructures()]
        else:
            arguments = ["--builtin", *self._moleculeNames()]
        weights = self._weights()
        return arguments + (["--weights", *weights] if weights else [])

    def _simulate(self, kind, options, adds=()):
        """Let the engine simulate; it goes on where it was cut off, if asked for the same.

        Parameters
        ----------
        kind : str
        options : list of str
            But for structures, threads and folder.
        adds : tuple of str
            Options of a number, with which the engine adds to what is there if it has grown.
        """
        words = [str(word) for word in self._structureArguments()] + options
        request, numbers = list(words), []
        for option in adds:
            if option in request:
                place = request.index(option)
                numbers.append(int(request[place + 1]))
                del request[place : place + 2]
        told = self._getExtraPath("request.json")
        known = read_json_or_none(told)
        if known is None or known[0] != request or known[1] > numbers:
            cleanPath(self._getSimulationPath())
        convert.write_json(told, [request, numbers])
        words += ["--threads", self.numberOfThreads.get(), "--out", self._getSimulationPath()]
        self._runEngine("simulate", [kind, *words])

    # -------------------------- information ------------------------------------
    def _isFilled(self):
        """Tell whether no number is missing of the fields that are shown; validators name it."""
        return not any(
            isinstance(value, (Integer, Float))
            and value.get() is None
            and self.evalParamCondition(name)
            for name, value in self.iterDefinitionAttributes()
        )

    def _structureProblems(self):
        """Tell what is wrong with structures and abundances, a sentence each."""
        if any(pointer.get() is None for pointer in self.inputStructures):
            return ["A structure of the form is not there (any more): choose it again."]
        errors = simulation.structure_problems(self.inputStructures)
        count = self._structureCount()
        if not count:
            errors.append("No built-in molecule is named.")
        try:
            weights = self._weights()
        except ValueError:
            return [*errors, "The abundances must be numbers with blanks between, such as 3 1."]
        if weights and len(weights) != count:
            errors.append(
                "There are %d abundances for %d structures: give one for each, or none."
                % (len(weights), count)
            )
        elif any(not weight >= 0 for weight in weights) or (weights and not sum(weights) > 0):
            errors.append("Abundances must not be below 0, and not all 0.")
        return errors

    def _relateToStructures(self, output):
        """Tell the project which structures an output is made of."""
        for pointer in self.inputStructures:
            self._defineSourceRelation(pointer, output)

    def _citations(self):
        citations = ["Jeon2024"]
        if simulation.has_atoms(self.inputStructures):
            citations.append("Wojdyr2022")
        return citations

    def _insertSimulation(self):
        """Insert the steps that simulate and make the outputs.

        Continue runs a step again only if its own arguments are others: so they get the request.
        """
        request = [self._inputSignature(), *(str(word) for word in self._getOptions())]
        self._insertFunctionStep(self.simulateStep, request, needsGPU=False)
        self._insertFunctionStep(self.createOutputStep, request, needsGPU=False)

    def _inputSignature(self):
        """Text that changes with the structures and abundances of the form."""
        if self.hasStructures():
            names = [
                "%s=%s" % (simulation.name_of(item), simulation.file_of(item))
                for item in simulation.expand(self.inputStructures)
            ]
        else:
            names = self._moleculeNames()
        return " ".join(names + ["%g" % weight for weight in self._weights()])

    def _getSimulationPath(self):
        """Folder that the engine writes to."""
        return self._getExtraPath("simulation")

    def _readRecord(self):
        """Return what the engine tells of a simulation, or None before it is done."""
        return read_json_or_none(os.path.join(self._getSimulationPath(), simulation.RECORD))

    def _structureLines(self, record):
        """Lines of a summary that name the structures, a few of them."""
        lines = [
            "class %d: %s (%d)" % (one["class"], one["name"], one[self.COUNTED])
            for one in record["structures"][:MOST_NAMED]
        ]
        left = len(record["structures"]) - len(lines)
        return lines + (["and %d more structures" % left] if left else [])
