"""The window of the training viewer."""

import tkinter as tk
from tkinter import filedialog, ttk

from apbc.errors import ApbcError
from apbc_scipion.viewers import training_figure as drawing
from apbc_scipion.viewers.training_source import PlaceError
from apbc_scipion.viewers.window import ERROR, INK, ApbcWindow

POLL_MILLISECONDS = 2000
CURVES, FIGURES, CROPS, TABLES = "Curves", "Figures", "Crops", "Rounds and views"
HINTS = {
    CURVES: "Training that goes on while validation gets worse learns its labels by heart; the "
    "weights of the best epoch are kept.",
    FIGURES: "Judge by the column of the test split, which was kept aside from the training. "
    "Reliability near the dashed line: scores can be read as probabilities.",
    CROPS: "Click a crop to see where it was. Arrows, Tab: next crop   Escape: close. Doubtful "
    "crops and those scored against their label tell about the labels.",
    TABLES: "Rounds of feedback go on while the held-out figure rises. A view that is lost needs "
    "more particles of its 2D class in the training set.",
}
PLACE_HINT = "Click a crop:\nits place on the micrograph is shown here."
STEPS = {"Left": (0, -1), "Right": (0, 1), "Up": (-1, 0), "Down": (1, 0)}


class TrainingWindow(ApbcWindow):
    """Curves, figures and crops of a training; those of a running one grow.

    Parameters
    ----------
    source : TrainingSource
    master : pyworkflow.gui.Window, optional
    cache : str, optional
        Folder for thumbnails of micrographs.
    """

    def __init__(self, source, master=None, cache=None):
        ApbcWindow.__init__(self, "apbc - training: %s" % source.title, master, (1080, 720))
        self.source, self._cache = source, cache
        self.record = None
        self.cells, self.selected, self.circles = [], None, []
        self._sheetAxes = self._marker = None
        self._makeWidgets()
        self.refresh()
        self.every(POLL_MILLISECONDS, self.refresh)

    # ------------------------------- widgets ----------------------------------------
    def _makeWidgets(self):
        self.content.columnconfigure(0, weight=1)
        self.content.rowconfigure(1, weight=1)
        head = ttk.Frame(self.content, padding=(10, 6))
        head.grid(row=0, column=0, sticky="ew")
        head.columnconfigure(0, weight=1)
        self.state = tk.Label(head, anchor="w", justify=tk.LEFT, fg=INK, wraplength=700)
        self.state.grid(row=0, column=0, sticky="ew")
        head.bind("<Configure>", lambda e: self.state.configure(wraplength=max(200, e.width - 330)))
        self.bar = ttk.Progressbar(head, length=170, maximum=1.0)
        ttk.Button(head, text="Save picture ...", command=self._askPicture).grid(row=0, column=2)
        self.tabs = ttk.Notebook(self.content)
        self.tabs.grid(row=1, column=0, sticky="nsew")
        self.curves = self._addTab(CURVES)
        self.figures = self._addTab(FIGURES)
        self._makeCrops()
        self.tablesFigure = None
        self.tabs.bind("<<NotebookTabChanged>>", self._onTab)
        self.root.bind("<Escape>", lambda event: self._onClosing())

    def _addTab(self, name):
        """Add a tab that a figure fills."""
        frame = tk.Frame(self.tabs, bg="white")
        self.tabs.add(frame, text=name)
        return self._addLaidOut(frame, 10.5, 6)

    def _addLaidOut(self, frame, width, height):
        figure = self.addFigure(frame, width, height)
        drawing.lay_out(figure)
        return figure

    def _makeCrops(self):
        page = ttk.Frame(self.tabs)
        self.tabs.add(page, text=CROPS)
        page.rowconfigure(1, weight=1)
        page.columnconfigure(0, weight=3)
        page.columnconfigure(1, weight=2)
        self._choices = ttk.Frame(page, padding=(8, 4))
        self._choices.grid(row=0, column=0, columnspan=2, sticky="w")
        self.row = tk.StringVar(self.root, drawing.OVERVIEW)
        left, right = tk.Frame(page, bg="white"), tk.Frame(page, bg="white")
        left.grid(row=1, column=0, sticky="nsew")
        right.grid(row=1, column=1, sticky="nsew")
        self.told = tk.Label(right, bg="white", fg=INK, justify=tk.LEFT, anchor="w", height=2)
        self.told.pack(side=tk.TOP, fill=tk.X, padx=8, pady=4)
        self.sheet = self._addLaidOut(left, 6.3, 5.4)
        self.place = self._addLaidOut(right, 4.2, 5.4)
        widget = self.sheet.canvas.get_tk_widget()
        widget.configure(takefocus=True)
        self.sheet.canvas.mpl_connect("button_press_event", self._onPress)
        for key in STEPS:
            widget.bind("<%s>" % key, self._onArrow)
        for key, step in (("<Tab>", 1), ("<Shift-Tab>", -1), ("<ISO_Left_Tab>", -1)):
            widget.bind(key, lambda event, step=step: self._onTabKey(step))

    # ------------------------------- following ----------------------------------------
    def refresh(self):
        """Look at the training, and draw what has changed."""
        text, failed, active = self.source.getState()
        self.state.configure(text=text, fg=ERROR if failed else INK)
        record = self.source.getRecord()
        progress = record.progress if active else None
        if progress is not None:
            self.bar.configure(value=progress.getShare())
            self.bar.grid(row=0, column=1, padx=10)
        else:
            self.bar.grid_remove()
        if record is self.record:
            return
        before, self.record = self.record, record
        self._redraw(self.curves, drawing.draw_curves)
        if before is None or before.isComplete() or record.isComplete():
            self._redraw(self.figures, drawing.draw_figures)
            self._fillChoices()
            self.showRow(drawing.OVERVIEW)
            self._showTables()

    def _showTables(self):
        """Add the tab of the tables if there are some."""
        if not drawing.has_tables(self.record):
            return
        if self.tablesFigure is None:
            self.tablesFigure = self._addTab(TABLES)
        self._redraw(self.tablesFigure, drawing.draw_tables)

    def _redraw(self, figure, draw):
        figure.clear()
        drawn = draw(figure, self.record)
        figure.canvas.draw_idle()
        return drawn

    # ------------------------------- crops --------------------------------------------
    def _fillChoices(self):
        for child in self._choices.winfo_children():
            child.destroy()
        rows = self.record.crops["rows"] if self.record.crops else {}
        names = [(drawing.OVERVIEW, drawing.OVERVIEW.capitalize())] if rows else []
        names += [(name, "%s (%d)" % (name.capitalize(), len(rows[name]))) for name in rows]
        for name, text in names:
            ttk.Radiobutton(
                self._choices,
                text=text,
                value=name,
                variable=self.row,
                command=lambda: self.showRow(self.row.get()),
            ).pack(side=tk.LEFT, padx=6)

    def showRow(self, row):
        """Show one row of the sheet, or the beginning of each.

        Parameters
        ----------
        row : str
            Its name, or `training_figure.OVERVIEW`.
        """
        self.row.set(row)
        self._marker, self.selected = None, None
        self._sheetAxes, self.cells = self._redraw(
            self.sheet, lambda figure, record: drawing.draw_crops(figure, record, row)
        )
        self._showSentence(PLACE_HINT if self.cells else "")
        self.told.configure(text="")

    def select(self, index):
        """Select a crop of those shown, and show where it was.

        Parameters
        ----------
        index : int
            Into `cells`.
        """
        self.selected = index
        cell = self.cells[index]
        if self._marker is not None:
            self._marker.remove()
        self._marker = drawing.mark_cell(self._sheetAxes, cell)
        self.sheet.canvas.draw_idle()
        crop = self.getCrop()
        where = (
            "%s, x %0.0f, y %0.0f px" % (crop["micrograph"], crop["x"], crop["y"])
            if crop["micrograph"] is not None
            else "particle of a stack"
        )
        self.told.configure(
            text="%s\nlabelled %s, scored %0.3f" % (where, crop["label"], crop["score"])
        )
        self.later("place", self._showPlace)

    def getCrop(self):
        """Crop that is selected, as ``crops.json`` tells it."""
        return self.record.crops["crops"][self.cells[self.selected].crop]

    def _showPlace(self):
        """Show where the selected crop was."""
        if self.selected is None:
            return
        crop = self.getCrop()
        try:
            path = self.source.getMicrograph(crop["micrograph"])
            diameter = self.record.crops["diameter"] / self.source.getMicrographPixelSize()
            place = drawing.Place(path, crop["x"], crop["y"], diameter, self._cache)
        except (PlaceError, ApbcError) as error:
            self._showSentence(str(error))
            return
        self.circles = self._redraw(
            self.place, lambda figure, record: drawing.draw_place(figure, place)
        )

    def _showSentence(self, sentence):
        self.circles = []
        self._redraw(self.place, lambda figure, record: drawing.draw_sentence(figure, sentence))

    # ------------------------------- events -------------------------------------------
    def _onTab(self, event=None):
        name = self.tabs.tab(self.tabs.select(), "text")
        self.say(HINTS[name])
        if name == CROPS:
            self.sheet.canvas.get_tk_widget().focus_set()

    def _onPress(self, event):
        self.sheet.canvas.get_tk_widget().focus_set()
        if event.inaxes is not self._sheetAxes:
            return
        for index, cell in enumerate(self.cells):
            if cell.holds(event.xdata, event.ydata):
                self.select(index)

    def _onArrow(self, event):
        down, across = STEPS[event.keysym]
        if not self.cells:
            return "break"
        if self.selected is None:
            self.select(0)
            return "break"
        now = self.cells[self.selected]
        wanted = (now.line + down, now.column + across)
        for index, cell in enumerate(self.cells):
            if (cell.line, cell.column) == wanted:
                self.select(index)
        return "break"

    def _onTabKey(self, step):
        if self.cells:
            at = -1 if self.selected is None and step > 0 else self.selected or 0
            self.select((at + step) % len(self.cells))
        return "break"

    # ------------------------------- picture ------------------------------------------
    def _askPicture(self):
        path = filedialog.asksaveasfilename(
            parent=self.root,
            defaultextension=".png",
            filetypes=[("PNG", "*.png")],
            initialfile="training.png",
        )
        if path:
            self.savePicture(path)

    def savePicture(self, path):
        """Write curves, figures and crops as a PNG."""
        try:
            drawing.write_training_picture(
                self.record, self.state.cget("text"), self.source.title, path
            )
        except ApbcError as error:
            self.say("The picture was not written: %s." % error, error=True)
            return
        self.say("Wrote %s" % path)
