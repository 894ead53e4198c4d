"""Wizard that chooses good and bad 2D classes."""

from apbc_scipion import convert
from apbc_scipion.protocols import ApbcProtCreateTrainingSet
from apbc_scipion.protocols.protocol_create_training_set import SMALLEST_CLASS
from apbc_scipion.wizards.wizard_base import ApbcWizard

GOOD_CLASSES, BAD_CLASSES = "goodClasses", "badClasses"


class ApbcClassesWizard(ApbcWizard):
    """Mark class averages as good, bad or left out; the rule's suggestion is marked first."""

    _targets = [(ApbcProtCreateTrainingSet, [GOOD_CLASSES, BAD_CLASSES])]

    def makeWindow(self, form):
        """Make the window; tell what is missing."""
        from apbc_scipion.class_averages import ClassesError, read_averages
        from apbc_scipion.wizards.class_chooser_marks import ClassMarks
        from apbc_scipion.wizards.class_chooser_window import ClassChooserWindow
        from apbc_scipion.wizards.wizard_window import tell

        protocol = form.protocol
        classes = protocol.inputClasses.get()
        if classes is None:
            tell(form, "Choose the set of 2D classes first.")
            return None
        try:
            averages = read_averages(classes)
        except ClassesError as error:
            tell(form, str(error))
            return None
        marks = ClassMarks(averages, protocol.particleDiameter.get())
        told, error = _mark(marks, protocol.goodClasses.get(), protocol.badClasses.get())
        return ClassChooserWindow(
            form, GOOD_CLASSES, BAD_CLASSES, marks, SMALLEST_CLASS, told, error
        )


def _mark(marks, good, bad):
    """Mark what the form has, else what the rule suggests.

    Returns
    -------
    told : str
        What the user should know.
    error : bool
        Whether it is a problem of the form.
    """
    try:
        good, bad = convert.parse_ids(good), convert.parse_ids(bad)
    except ValueError as error:
        marks.suggest()
        return "%s The suggestion is shown instead of the form's lists." % error, True
    if good or bad:
        unknown = marks.setLists(good, bad)
        if unknown:
            return "There is no class %s in the set." % ", ".join(map(str, unknown)), True
        return "", False
    marks.suggest()
    if marks.guess:
        return (
            "The form has no diameter: the suggestion takes %.0f Å, %s. %s"
            % (marks.diameter, marks.guess, marks.doubt)
        ), True
    return marks.doubt, bool(marks.doubt)
