"""Wizard of the box size."""

from apbc_scipion.protocols import ApbcProtCreateCoordinates, ApbcProtPick
from apbc_scipion.wizards.wizard_base import ApbcWizard

PARAMETER = "wantedBoxSize"


class ApbcBoxSizeWizard(ApbcWizard):
    """Draw the box over a micrograph of the input."""

    _targets = [(ApbcProtPick, [PARAMETER]), (ApbcProtCreateCoordinates, [PARAMETER])]

    def makeWindow(self, form):
        """Make the window; tell what is missing."""
        from apbc_scipion.pick_sources import SourceError
        from apbc_scipion.wizards.places import thumbnail_folder
        from apbc_scipion.wizards.size_window import BoxSizeWindow
        from apbc_scipion.wizards.wizard_window import tell

        protocol = form.protocol
        try:
            if isinstance(protocol, ApbcProtPick):
                source, reason = picking_source(protocol)
            else:
                source, reason = picks_source(protocol)
        except SourceError as error:
            tell(form, str(error))
            return None
        return BoxSizeWindow(
            form,
            PARAMETER,
            source,
            protocol.wantedBoxSize.get(),
            source.diameter,
            reason % source.diameter,
            thumbnail_folder(protocol),
        )


def picking_source(protocol):
    """Micrographs of *pick particles*, with the picks of an earlier run, and a reason's format."""
    from apbc_scipion.pick_sources import CandidateSource, SourceError
    from apbc_scipion.wizards.places import EmptyPlaces

    micrographs, model = protocol.getInputMicrographs(), protocol.inputModel.get()
    if micrographs is None or model is None:
        raise SourceError(
            "Choose the micrographs and the model first, or wait until they are there."
        )
    if micrographs.getSize() == 0:
        raise SourceError("The set of micrographs is empty: there is nothing to show.")
    if not model.getDiameter():
        raise SourceError("The model does not tell its particle diameter: import it again.")
    earlier = CandidateSource(protocol)
    source = earlier if earlier.getLabels() else EmptyPlaces(micrographs, model.getDiameter(), 0)
    return source, "The model's particle has a diameter of %.0f Å (circle); 1.5 of it is usual:"


def picks_source(protocol):
    """Micrographs and picks of *create coordinates*, and a reason's format."""
    from apbc_scipion.pick_sources import SourceError, source_of

    picks = protocol.inputPicks.get()
    if picks is None:
        raise SourceError(
            "There are no picks yet: choose them, or wait until their protocol has made them."
        )
    source = source_of(picks, protocol.getProject())
    return source, "The picks have a particle diameter of %.0f Å (circle); 1.5 of it is usual:"
