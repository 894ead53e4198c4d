"""Micrographs of a form's inputs, and where particles lie on them."""

import os

from pwem.objects import SetOfCoordinates
from pyworkflow.object import PointerList

from apbc_scipion.pick_sources import NO_PICKS, PickSource, SetSource, SourceError

THUMBNAILS = os.path.join("Tmp", "apbc_thumbnails")
BOX_RATIO = 1.5


class EmptyPlaces(PickSource):
    """Micrographs on which nothing is picked yet.

    Parameters
    ----------
    micrographs : SetOfMicrographs
    diameter : float
        Å.
    """

    def getLabels(self):
        """Labels of all micrographs."""
        return list(self.micrographs)

    def getPicks(self, label):
        """Give no picks."""
        return NO_PICKS


def thumbnail_folder(protocol):
    """Folder of a project where thumbnails are kept."""
    return os.path.join(protocol.getProject().getPath(), THUMBNAILS)


def training_sets(protocol):
    """Give the good (else bad) particles or coordinates in the form of *create training set*.

    Parameters
    ----------
    protocol : ApbcProtCreateTrainingSet

    Returns
    -------
    list of SetOfParticles or SetOfCoordinates

    Raises
    ------
    SourceError
        If none is chosen, or all are empty.
    """
    for kind in ("good", "bad"):
        sets = list(protocol._iterSets(kind))
        filled = [items for items in sets if items.getSize()]
        if filled:
            return filled
        if sets:
            raise SourceError(
                "The sets of %s particles are empty: there is nothing to show." % kind
            )
    raise SourceError(
        "There are no %s yet: choose them, or wait until their protocol has made them."
        % protocol.getEnumText("inputType")
    )


def evaluated_sets(protocol):
    """Set of the reference, else of picks, in a form that scores picks; see above."""
    picks = protocol.inputCoordinates
    pointers = picks if isinstance(picks, PointerList) else [picks]
    for items in (protocol.referenceCoordinates.get(), *(pointer.get() for pointer in pointers)):
        if items is not None and items.getSize():
            return [items]
    if protocol.referenceCoordinates.get() is not None:
        raise SourceError("The set of reference coordinates is empty: there is nothing to show.")
    raise SourceError("Choose the picks or the reference first.")


def places_on(sets, micrographs=None):
    """Places of the particles of sets.

    Parameters
    ----------
    sets : list of SetOfParticles or SetOfCoordinates
    micrographs : SetOfMicrographs, optional
        Default: those of the first set.

    Returns
    -------
    SetSource

    Raises
    ------
    SourceError
        If the micrographs, or the coordinates of the particles, are not known.
    """
    first = sets[0]
    if not isinstance(first, SetOfCoordinates) and not first.getFirstItem().hasCoordinate():
        raise SourceError("The particles have no coordinates, so there is no micrograph to show.")
    return SetSource(sets, micrographs)


def box_diameter(sets):
    """Diameter that goes with the box of coordinates or particles.

    Returns
    -------
    diameter : float or None
        Å.
    box : int
        Pixels; 0 where there is none.
    """
    first = sets[0]
    if isinstance(first, SetOfCoordinates):
        box, micrographs = first.getBoxSize() or 0, first.getMicrographs()
        rate = micrographs.getSamplingRate() if micrographs is not None else None
    else:
        dimensions = first.getDim()
        box, rate = (dimensions[0] if dimensions else 0), first.getSamplingRate()
    return (box * rate / BOX_RATIO if box and rate else None), box
