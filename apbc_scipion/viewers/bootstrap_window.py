"""The window that shows how examples were found without labels, stage by stage."""

import os
import tkinter as tk
from tkinter import filedialog, ttk

from apbc.display import bootstrap as drawing
from apbc.errors import ApbcError
from apbc.io.files import atomic_path
from apbc_scipion.pick_sources import SourceError
from apbc_scipion.viewers.pan_zoom import PanZoom
from apbc_scipion.viewers.window import ERROR, INK, PALE, ApbcWindow

POLL_MILLISECONDS = 2000
EXTENSION = ".npz"
PANEL_PIXELS, MOST_MICROGRAPHS = 270, 8
HINT = "Up/Down: stage   Left/Right: micrograph   wheel: zoom   drag: move   0: whole"


def stage_names(folder):
    """Names of the micrographs whose stages are kept, in their order.

    Parameters
    ----------
    folder : str

    Returns
    -------
    list of str
    """
    there = os.listdir(folder) if os.path.isdir(folder) else []
    return sorted(name[: -len(EXTENSION)] for name in there if name.endswith(EXTENSION))


class BootstrapWindow(ApbcWindow):
    """Stages of one micrograph after the other; they appear when the run has written them.

    Parameters
    ----------
    title : str
        Of the run.
    folder : str
        Of the stages, a file a micrograph.
    master : pyworkflow.gui.Window, optional
    state : callable, optional
        Tells in a sentence what the run does while there are no stages.
    failure : callable, optional
        Tells in a sentence that the run failed; gives "" while it has not.
    examples : callable, optional
        Opens the window of the examples of all micrographs, or raises `SourceError`.
    """

    def __init__(self, title, folder, master=None, state=None, failure=None, examples=None):
        ApbcWindow.__init__(self, "apbc - stages of %s" % title, master, (1000, 680))
        self.folder, self._state = folder, state
        self._failure, self._examples = failure, examples
        self.names, self.name, self.stage = [], None, drawing.EXAMPLES
        self.record = self._problem = None
        self._makeWidgets()
        self.refresh()
        self.every(POLL_MILLISECONDS, self.refresh)

    # ------------------------------- widgets ----------------------------------------
    def _makeWidgets(self):
        self.content.columnconfigure(0, weight=1)
        self.content.rowconfigure(0, weight=1)
        left = tk.Frame(self.content, bg="white")
        left.grid(row=0, column=0, sticky="nsew")
        self.figure = self.addFigure(left, 8.4, 7.6)
        self.axes = self.figure.add_axes((0.015, 0.065, 0.97, 0.87))
        self.panZoom = PanZoom(self.axes)
        panel = ttk.Frame(self.content, padding=(10, 8))
        panel.grid(row=0, column=1, sticky="ns")
        panel.rowconfigure(3, weight=1)
        tk.Label(panel, text="Micrographs", anchor="w", fg=PALE).grid(row=0, sticky="w")
        self.micrographs = self._addList(panel, 1, MOST_MICROGRAPHS, self._onMicrograph)
        tk.Label(panel, text="Stages", anchor="w", fg=PALE).grid(row=2, sticky="w", pady=(8, 0))
        self.stages = self._addList(panel, 3, len(drawing.TITLES), self._onStage)
        self.told = tk.Label(
            panel, anchor="w", justify=tk.LEFT, fg=INK, wraplength=PANEL_PIXELS, height=5
        )
        self.told.grid(row=4, sticky="ew", pady=6)
        self.buttons = []
        for row, (text, command) in enumerate(
            (
                ("Examples on all micrographs ...", self.openExamples),
                ("Save this stage ...", lambda: self._askPicture(self.stage)),
                ("Save all stages ...", lambda: self._askPicture(None)),
            )
        ):
            button = ttk.Button(panel, text=text, command=command)
            button.grid(row=5 + row, sticky="ew", pady=2)
            self.buttons.append(button)
        for key, act in (
            ("<Left>", lambda event: self.step(-1)),
            ("<Right>", lambda event: self.step(1)),
            ("<Up>", lambda event: self.stepStage(-1)),
            ("<Down>", lambda event: self.stepStage(1)),
            ("0", lambda event: self.showWhole()),
            ("<Escape>", lambda event: self._onClosing()),
        ):
            self.root.bind(key, act)
        self.say(HINT)

    def _addList(self, panel, row, height, command):
        """Add a list with a scroll bar; its keys do what those of the window do."""
        frame = ttk.Frame(panel, width=PANEL_PIXELS)
        frame.grid(row=row, sticky="nsew")
        frame.columnconfigure(0, weight=1)
        frame.rowconfigure(0, weight=1)
        items = tk.Listbox(
            frame,
            height=height,
            width=36,
            exportselection=False,
            activestyle="none",
            takefocus=False,
            fg=INK,
            bg="white",
            highlightthickness=0,
        )
        bar = ttk.Scrollbar(frame, command=items.yview)
        items.configure(yscrollcommand=bar.set)
        items.grid(row=0, column=0, sticky="nsew")
        bar.grid(row=0, column=1, sticky="ns")
        items.bind("<<ListboxSelect>>", command)
        for key in ("<Up>", "<Down>", "<Left>", "<Right>"):
            items.bind(key, self._passOn)
        return items

    def _passOn(self, event):
        """Leave a key of a list to the window."""
        moves = {"Left": (self.step, -1), "Right": (self.step, 1)}
        moves.update(Up=(self.stepStage, -1), Down=(self.stepStage, 1))
        function, by = moves[event.keysym]
        function(by)
        return "break"

    # ------------------------------- following ----------------------------------------
    def refresh(self):
        """Look for micrographs that have come."""
        failure = self._failure() if self._failure is not None else ""
        if failure:
            self.say(failure, error=True)
        names = stage_names(self.folder)
        if names == self.names and self.name is not None:
            return
        if names != self.names:
            self.names = names
            self.micrographs.delete(0, tk.END)
            self.micrographs.insert(tk.END, *names)
        if not names:
            sentence = self._state() if self._state is not None else "There are no stages yet."
            self._tellNothing(sentence)
        elif self.name not in names:
            self.showMicrograph(names[0])
        else:
            self._mark(self.micrographs, names.index(self.name))

    def _tellNothing(self, sentence, error=False):
        """Show a sentence where there is nothing to draw."""
        self.record = None
        self.axes.clear()
        self.axes.set_axis_off()
        self.panZoom.limits = None
        self.axes.text(
            0.5,
            0.5,
            sentence,
            ha="center",
            va="center",
            wrap=True,
            fontsize=12,
            color=ERROR if error else INK,
            transform=self.axes.transAxes,
        )
        self.figure.canvas.draw_idle()
        self.told.configure(text="")
        for button in self.buttons[1:]:
            button.state(["disabled"])

    # ------------------------------- what is shown ------------------------------------
    def showMicrograph(self, name):
        """Show a micrograph, at the stage that is shown.

        Parameters
        ----------
        name : str
            One of `names`.
        """
        self.name = name
        self._mark(self.micrographs, self.names.index(name))
        try:
            self.record = drawing.read_stages(os.path.join(self.folder, name + EXTENSION))
        except ApbcError as error:
            self._tellNothing("%s." % error, error=True)
            return
        for button in self.buttons:
            button.state(["!disabled"])
        self.stages.delete(0, tk.END)
        for number, stage in enumerate(self.record.stages, 1):
            self.stages.insert(tk.END, "%2d  %s" % (number, drawing.TITLES.get(stage, stage)))
        if self.stage not in self.record.stages:
            self.stage = drawing.EXAMPLES
        self._resetLimits()
        self.showStage(self.stage)

    def showStage(self, stage):
        """Show a stage of the micrograph; the part that is shown stays.

        Parameters
        ----------
        stage : str
            One of the stages of the record.
        """
        self.stage = stage
        self._mark(self.stages, self.record.stages.index(stage))
        self.axes.clear()
        (left, right), (bottom, top) = self.panZoom.limits
        drawing.draw_stage(self.axes, self.record, stage)
        self.axes.set_axis_off()
        if (left, right, bottom, top) == self._whole():
            drawing.draw_scale(self.axes, self.record)
        self.axes.set_title(self.name, loc="left", fontsize=13, color=INK, fontweight="bold")
        self.axes.set_aspect("equal")
        handles = drawing.legend_of(self.record, stage)
        if handles:
            self.axes.legend(
                handles=handles,
                loc="upper left",
                bbox_to_anchor=(-0.01, -0.005),
                ncol=len(handles),
                frameon=False,
                fontsize=10.5,
                labelcolor=INK,
            )
        self.panZoom.apply()
        self.told.configure(text=self._sentences())

    def _sentences(self):
        """Say what is shown."""
        record = self.record
        lines = [drawing.told_of(record, self.stage).replace("   ·   ", "\n")]
        lines.append("Shown at %0.2f Å per pixel" % record.pixel_size)
        return "\n".join(lines)

    def _whole(self):
        rows, columns = self.record.shape_of_image
        return -0.5, columns - 0.5, -0.5, rows - 0.5

    def _resetLimits(self):
        left, right, bottom, top = self._whole()
        self.panZoom.set((left, right), (bottom, top))

    def showWhole(self):
        """Zoom out to the whole micrograph."""
        if self.record is not None:
            self._resetLimits()
            self.showStage(self.stage)

    def step(self, by):
        """Go to the next micrograph, or to the one before."""
        if self.name is not None:
            self.showMicrograph(self.names[(self.names.index(self.name) + by) % len(self.names)])

    def stepStage(self, by):
        """Go to the next stage, or to the one before."""
        if self.record is not None:
            stages = self.record.stages
            at = stages.index(self.stage) + by
            self.showStage(stages[min(max(at, 0), len(stages) - 1)])

    def _mark(self, items, number):
        items.selection_clear(0, tk.END)
        items.selection_set(number)
        items.see(number)

    def _onMicrograph(self, event=None):
        chosen = self.micrographs.curselection()
        if chosen and self.names[chosen[0]] != self.name:
            self.showMicrograph(self.names[chosen[0]])

    def _onStage(self, event=None):
        chosen = self.stages.curselection()
        if chosen and self.record is not None:
            self.showStage(self.record.stages[chosen[0]])

    def openExamples(self):
        """Open the window of the examples of all micrographs."""
        try:
            self._examples()
        except SourceError as error:
            self.say(str(error), error=True)

    # ------------------------------- picture ------------------------------------------
    def _askPicture(self, stage):
        path = filedialog.asksaveasfilename(
            parent=self.root,
            defaultextension=".png",
            filetypes=[("PNG", "*.png")],
            initialfile="%s_%s.png" % (self.name, stage or "stages"),
        )
        if path:
            self.savePicture(path, stage)

    def savePicture(self, path, stage=None):
        """Write a stage of the micrograph, or all of them, as a PNG."""
        try:
            write_stages_picture(self.record, path, stage)
        except ApbcError as error:
            self.say("The picture was not written: %s." % error, error=True)
            return
        self.say("Wrote %s" % path)


def write_stages_picture(record, path, stage=None):
    """Write a stage of a micrograph, or all of them on one sheet, as a PNG.

    Parameters
    ----------
    record : apbc.display.bootstrap.StageRecord
    path : str
    stage : str, optional
        Default: all.

    Raises
    ------
    ApbcError
        If it cannot be written.
    """
    figure = drawing.stage_figure(record, stage) if stage else drawing.stage_sheet(record)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
