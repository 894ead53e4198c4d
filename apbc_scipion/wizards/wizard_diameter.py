"""Wizard of the particle's diameter."""

from apbc_scipion.protocols import (
    ApbcProtBootstrap,
    ApbcProtComparePickers,
    ApbcProtCreateTrainingSet,
    ApbcProtEvaluate,
)
from apbc_scipion.wizards.wizard_base import ApbcWizard

PARAMETER = "particleDiameter"


class ApbcDiameterWizard(ApbcWizard):
    """Draw the diameter over a micrograph of the input."""

    _targets = [
        (protocolClass, [PARAMETER])
        for protocolClass in (
            ApbcProtBootstrap,
            ApbcProtComparePickers,
            ApbcProtCreateTrainingSet,
            ApbcProtEvaluate,
        )
    ]

    def makeWindow(self, form):
        """Make the window; tell what is missing."""
        from pwem.objects import SetOfCoordinates

        from apbc_scipion.pick_sources import SourceError
        from apbc_scipion.wizards import places
        from apbc_scipion.wizards.size_window import DiameterWindow
        from apbc_scipion.wizards.wizard_window import tell

        protocol = form.protocol
        if isinstance(protocol, ApbcProtBootstrap):
            return self._makeBare(form, protocol)
        try:
            if isinstance(protocol, (ApbcProtComparePickers, ApbcProtEvaluate)):
                sets, micrographs = places.evaluated_sets(protocol), None
            else:
                sets, micrographs = places.training_sets(protocol), protocol._getMicrographs()
        except SourceError as error:
            tell(form, str(error))
            return None
        source, problem = None, ""
        try:
            source = places.places_on(sets, micrographs)
        except SourceError as error:
            if isinstance(sets[0], SetOfCoordinates):  # of which pixels, nobody knows
                tell(form, str(error))
                return None
            problem = str(error)
        suggested, reason = suggest(protocol, sets)
        return DiameterWindow(
            form,
            PARAMETER,
            source.pixelSize if source is not None else sets[0].getSamplingRate(),
            protocol.particleDiameter.get(),
            suggested,
            reason,
            source,
            problem,
            places.thumbnail_folder(protocol),
        )

    def _makeBare(self, form, protocol):
        """Make the window for micrographs on which nothing is known."""
        from apbc_scipion.pick_sources import SourceError, source_of
        from apbc_scipion.wizards import places
        from apbc_scipion.wizards.size_window import DiameterWindow
        from apbc_scipion.wizards.wizard_window import tell

        micrographs = protocol.getInputMicrographs()
        diameter = protocol.getDiameter()
        try:
            if micrographs is None:
                raise SourceError("Choose the micrographs first, or wait until they are there.")
            if getattr(protocol, "outputCoordinates", None) is not None:
                source = source_of(protocol.outputCoordinates, protocol.getProject())
            else:
                source = places.EmptyPlaces(micrographs, diameter, 0)
        except SourceError as error:
            tell(form, str(error))
            return None
        return DiameterWindow(
            form,
            PARAMETER,
            source.pixelSize,
            protocol.particleDiameter.get(),
            diameter,
            "This run estimated a diameter:"
            if diameter and not protocol._isGiven()
            else "Make the circle as large as a particle is long.",
            source,
            "",
            places.thumbnail_folder(protocol),
        )


def suggest(protocol, sets):
    """Suggest a diameter, measured on class averages, or else from the box.

    Parameters
    ----------
    protocol : Protocol
    sets : list of SetOfParticles or SetOfCoordinates

    Returns
    -------
    diameter : float or None
        Å.
    reason : str
    """
    from apbc_scipion import convert
    from apbc_scipion.class_averages import ClassesError
    from apbc_scipion.protocols.protocol_create_training_set import CLASSES
    from apbc_scipion.wizards import places
    from apbc_scipion.wizards.particle_sizes import classes_diameter

    note = ""
    if isinstance(protocol, ApbcProtCreateTrainingSet) and protocol.inputType == CLASSES:
        try:
            good = convert.parse_ids(protocol.goodClasses.get())
        except ValueError:
            good = set()  # a list that is half written; the form tells it when it is run
        try:
            diameter, count = classes_diameter(protocol.inputClasses.get(), good)
        except ClassesError as error:
            diameter, note = None, "%s " % error
        if diameter:
            which = "good" if good else "largest"
            return diameter, "Measured on the averages of the %d %s classes:" % (count, which)
    diameter, box = places.box_diameter(sets)
    if diameter:
        return diameter, note + "From the box of %d px, which is usually 1.5 diameters:" % box
    return None, note + "There is no suggestion: neither class averages nor a box size."
