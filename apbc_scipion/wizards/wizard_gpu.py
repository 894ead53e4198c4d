"""Wizard of the list of GPUs."""

from apbc_scipion.protocols import ApbcProtPick, ApbcProtScreen, ApbcProtSearch, ApbcProtTrain
from apbc_scipion.protocols.protocol_base import GPU_WIZARD
from apbc_scipion.wizards.wizard_base import ApbcWizard


class ApbcGpuWizard(ApbcWizard):
    """List the GPUs of the machine."""

    # Scipion draws its own fields for GPUs, with no place for a wizard: this one has a line.
    _targets = [
        (protocol, [GPU_WIZARD])
        for protocol in (ApbcProtPick, ApbcProtScreen, ApbcProtSearch, ApbcProtTrain)
    ]

    def makeWindow(self, form):
        """Make the window."""
        from apbc_scipion.wizards.gpu_window import GpuWindow
        from apbc_scipion.wizards.gpus import list_gpus, read_ids

        gpus, problem = list_gpus()
        protocol = form.protocol
        return GpuWindow(
            form, gpus, problem, read_ids(protocol.gpuList.get()), protocol.useGpu.get()
        )
