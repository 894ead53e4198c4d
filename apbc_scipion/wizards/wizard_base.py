"""What the wizards share: they open a window, if there is something to show."""

from pyworkflow.wizard import Wizard


class ApbcWizard(Wizard):
    """Base of the wizards."""

    def show(self, form, *params):
        """Open the window; where there is nothing to show the user was told why."""
        window = self.makeWindow(form)
        if window is not None:
            window.open()

    def makeWindow(self, form):
        """Make the window.

        Parameters
        ----------
        form : pyworkflow.gui.form.FormWindow

        Returns
        -------
        WizardWindow or None
            None where there is nothing to show; the user was told why.
        """
        raise NotImplementedError
