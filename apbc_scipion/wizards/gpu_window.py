"""Window that lists the GPUs of the machine."""

import tkinter as tk
from tkinter import ttk

from apbc_scipion.wizards.wizard_window import WizardWindow

COLUMNS = ("GPU", "Name", "Memory used", "Load")
NOTE = (
    "These are the GPUs of the machine on which Scipion's window runs; on a cluster the queue "
    "may start the work elsewhere."
)


class GpuWindow(WizardWindow):
    """Choose the GPUs that a run uses.

    Parameters
    ----------
    form : pyworkflow.gui.form.FormWindow
    gpus : list of apbc_scipion.wizards.gpus.Gpu
    problem : str
        Why there is none.
    chosen : set of int
        Ids in the form.
    useGpu : bool
        Whether the form says yes to GPUs.
    """

    def __init__(self, form, gpus, problem, chosen, useGpu):
        WizardWindow.__init__(self, "GPUs", form, minsize=(640, 220))
        self.gpus = gpus
        self.boxes = {}
        self.useCpu = tk.BooleanVar(self.root, value=not gpus or not useGpu)
        frame = ttk.Frame(self.body)
        frame.pack(fill=tk.BOTH, expand=True, padx=12, pady=8)
        if gpus:
            for column, title in enumerate(COLUMNS):
                ttk.Label(frame, text=title, font="TkHeadingFont").grid(
                    row=0, column=column, sticky="w", padx=8
                )
            for row, gpu in enumerate(gpus, 1):
                self._addRow(frame, row, gpu, gpu.index in chosen)
        else:
            ttk.Label(frame, text=problem, wraplength=600).grid(row=0, column=0, sticky="w")
        self.cpuButton = ttk.Checkbutton(
            frame,
            text="Use the CPU only (sets 'Use GPU' to No)",
            variable=self.useCpu,
        )
        self.cpuButton.grid(row=len(gpus) + 1, column=0, columnspan=4, sticky="w", pady=8)
        self.say(NOTE)

    def _addRow(self, frame, row, gpu, chosen):
        """Add a line of the table."""
        self.boxes[gpu.index] = variable = tk.BooleanVar(self.root, value=chosen)
        box = ttk.Checkbutton(
            frame,
            text=str(gpu.index),
            variable=variable,
            command=lambda: variable.get() and self.useCpu.set(False),
        )
        box.grid(row=row, column=0, sticky="w", padx=8)
        memory = (
            "%.1f of %.1f GiB" % (gpu.used / 1024, gpu.total / 1024)
            if gpu.used is not None and gpu.total is not None
            else "not known"
        )
        load = "%d %%" % gpu.load if gpu.load is not None else "not known"
        for column, text in enumerate((gpu.name, memory, load), 1):
            ttk.Label(frame, text=text).grid(row=row, column=column, sticky="w", padx=8)

    def getChosen(self):
        """Ids of the GPUs that are ticked, in order."""
        return [gpu.index for gpu in self.gpus if self.boxes[gpu.index].get()]

    def problem(self):
        """Tell why the choice cannot be taken."""
        if not self.useCpu.get() and not self.getChosen():
            return "Tick a GPU, or the CPU."
        return None

    def apply(self):
        """Write the choice into the form."""
        self.form.useGpuVar.set(0 if self.useCpu.get() else 1)
        if self.getChosen():
            self.form.gpuListVar.set(",".join(map(str, self.getChosen())))
