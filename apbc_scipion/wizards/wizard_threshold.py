"""Wizard of the threshold."""

from apbc_scipion.protocols import ApbcProtCreateCoordinates, ApbcProtPick, ApbcProtScreen
from apbc_scipion.wizards.wizard_base import ApbcWizard

PARAMETER = "threshold"


class ApbcThresholdWizard(ApbcWizard):
    """Choose the threshold on the histogram of scores."""

    _targets = [
        (ApbcProtPick, [PARAMETER]),
        (ApbcProtScreen, [PARAMETER]),
        (ApbcProtCreateCoordinates, [PARAMETER]),
    ]

    def makeWindow(self, form):
        """Make the window; tell what is missing."""
        from apbc_scipion.pick_sources import SourceError
        from apbc_scipion.wizards.threshold_window import ThresholdWindow
        from apbc_scipion.wizards.wizard_window import tell

        try:
            scores = find_scores(form.protocol)
        except (SourceError, ValueError, OSError) as error:
            tell(form, str(error))
            return None
        return ThresholdWindow(form, PARAMETER, scores, form.protocol.threshold.get())


def find_scores(protocol):
    """Scores for the histogram.

    Parameters
    ----------
    protocol : Protocol

    Returns
    -------
    Scores

    Raises
    ------
    SourceError
        If an input is missing or has no scores.
    """
    from apbc_scipion.pick_sources import SourceError, source_of
    from apbc_scipion.protocols.protocol_base import model_problem
    from apbc_scipion.wizards.score_sources import scores_for, source_scores

    if isinstance(protocol, ApbcProtCreateCoordinates):
        picks = protocol.inputPicks.get()
        if picks is None:
            raise SourceError(
                "There are no picks yet: choose them, or wait until their protocol has made them."
            )
        scores = source_scores(source_of(picks, protocol.getProject()))
        if not len(scores.values) and not scores.calibrated:
            raise SourceError("The picks have no scores: there is no threshold to choose.")
        return scores
    model = protocol.inputModel.get()
    if model is None:
        raise SourceError("There is no model yet: choose one, or wait until it is trained.")
    problem = model_problem(model)
    if problem:
        raise SourceError(problem)
    return scores_for(protocol, model, protocol.getProject())
