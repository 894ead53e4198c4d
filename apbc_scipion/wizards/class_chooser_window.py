"""The window that marks 2D classes as good, bad or left out."""

import tkinter as tk
from tkinter import ttk

import numpy as np

from apbc_scipion.choose_classes import BAD, GOOD, LEFT_OUT
from apbc_scipion.wizards.class_chooser_figure import (
    INK,
    NAMES,
    PALE,
    STYLES,
    grey_tile,
    summary,
)
from apbc_scipion.wizards.class_chooser_marks import BY_SIZE, caption, format_ids
from apbc_scipion.wizards.wizard_window import WizardWindow

TILE, GAP = 120, 14
HINT = (
    "Left click: good.  Right click: bad.  Again: leave out.     "
    "Keys: arrows; g good, b bad, space leave out; a suggest; Ctrl+Z undo."
)
POINT = "Point at a class to read what the rule thinks of it.  Under each: id: particles (share)."
SELECTED = "#1b1f24"


class ClassChooserWindow(WizardWindow):
    """Mark classes; OK writes the ids into the form.

    Parameters
    ----------
    form : pyworkflow.gui.form.FormWindow
    good, bad : str
        Names of the parameters that hold the ids.
    marks : ClassMarks
    least : int
        Particles that a training set needs of good and of bad.
    told : str, optional
        What to tell first in the status line.
    error : bool, optional
        Whether that is a problem.
    """

    def __init__(self, form, good, bad, marks, least, told="", error=False):
        WizardWindow.__init__(self, "Good and bad 2D classes", form, minsize=(980, 700))
        self.parameters = {GOOD: good, BAD: bad}
        self.marks = marks
        self.marks.settle()
        self.least = least
        self.selected = None
        self._columns = 1
        self._tiles = {}
        self._places = {}
        self._makeBar()
        self._makeFooter()
        self._makeCanvas()
        self._bindKeys()
        self._sort()
        self.say(told, error)
        self._tellClass(None)

    # ------------------------------- widgets --------------------------------------
    def _makeBar(self):
        bar = ttk.Frame(self.body)
        bar.pack(side=tk.TOP, fill=tk.X, padx=8, pady=6)
        ttk.Label(bar, text="Sort by").pack(side=tk.LEFT)
        self.sortBox = ttk.Combobox(
            bar, values=self.marks.orders(), state="readonly", width=11, takefocus=False
        )
        self.sortBox.set(BY_SIZE)
        self.sortBox.pack(side=tk.LEFT, padx=6)
        self.sortBox.bind("<<ComboboxSelected>>", self._sort)
        self.suggestButton = ttk.Button(bar, text="Suggest", command=self.suggest, takefocus=False)
        self.suggestButton.pack(side=tk.LEFT, padx=6)
        self.undoButton = ttk.Button(bar, text="Undo", command=self.undo, takefocus=False)
        self.undoButton.pack(side=tk.LEFT)
        for word in (LEFT_OUT, BAD, GOOD):
            colour, letter, _ = STYLES[word]
            ttk.Label(bar, text=NAMES[word]).pack(side=tk.RIGHT, padx=(3, 8))
            tk.Label(
                bar, text=letter or " ", bg=colour, fg="white", width=2, font=("", 9, "bold")
            ).pack(side=tk.RIGHT)

    def _makeFooter(self):
        footer = ttk.Frame(self.body)
        footer.pack(side=tk.BOTTOM, fill=tk.X, padx=8)
        self.detail = tk.Label(footer, anchor="w", fg=INK)
        self.detail.pack(fill=tk.X)
        line = ttk.Frame(footer)
        line.pack(fill=tk.X)
        self.counts = tk.Label(line, anchor="w", fg=INK, font=("", 10, "bold"))
        self.counts.pack(side=tk.LEFT)
        self.warning = tk.Label(line, anchor="w", fg=STYLES[BAD][0])
        self.warning.pack(side=tk.LEFT, padx=16)
        tk.Label(footer, anchor="w", fg=PALE, text=HINT).pack(fill=tk.X)

    def _makeCanvas(self):
        frame = ttk.Frame(self.body)
        frame.pack(side=tk.TOP, fill=tk.BOTH, expand=True, padx=8, pady=(0, 6))
        self.canvas = tk.Canvas(frame, bg="white", highlightthickness=0, takefocus=True)
        bar = ttk.Scrollbar(frame, command=self.canvas.yview)
        bar.pack(side=tk.RIGHT, fill=tk.Y)
        self.canvas.pack(side=tk.LEFT, fill=tk.BOTH, expand=True)
        self.canvas.configure(yscrollcommand=bar.set, yscrollincrement=20)
        self.canvas.bind("<Configure>", self._laidOut)
        self.canvas.bind("<Button-1>", lambda event: self._clicked(event, GOOD))
        self.canvas.bind("<Button-3>", lambda event: self._clicked(event, BAD))
        # The right button of a Mac's mouse.
        self.canvas.bind("<Button-2>", lambda event: self._clicked(event, BAD))
        self.canvas.bind("<Motion>", self._moved)
        self.canvas.bind("<Leave>", lambda event: self._tellClass(self.selected))
        self.root.bind("<Button-4>", lambda event: self.canvas.yview_scroll(-3, "units"))
        self.root.bind("<Button-5>", lambda event: self.canvas.yview_scroll(3, "units"))
        self.root.bind(
            "<MouseWheel>",
            lambda event: self.canvas.yview_scroll(-3 if event.delta > 0 else 3, "units"),
        )

    def _bindKeys(self):
        for key, step in (("Left", -1), ("Right", 1)):
            self.root.bind("<%s>" % key, lambda event, step=step: self._step(step))
        for key, rows in (("Up", -1), ("Down", 1)):
            self.root.bind("<%s>" % key, lambda event, rows=rows: self._step(rows * self._columns))
        for key, pages in (("Prior", -1), ("Next", 1)):
            self.root.bind(
                "<%s>" % key, lambda event, pages=pages: self.canvas.yview_scroll(pages, "pages")
            )
        for key, word in (("g", GOOD), ("b", BAD), ("space", LEFT_OUT)):
            self.root.bind("<%s>" % key, lambda event, word=word: self._markSelected(word))
        self.root.bind("<a>", self.suggest)
        self.root.bind("<Control-z>", self.undo)
        self.root.bind("<Return>", self.ok)

    # ------------------------------- drawing --------------------------------------
    def _sort(self, event=None):
        self._ids = self.marks.order(self.sortBox.get())
        self._draw()
        self.canvas.yview_moveto(0)
        self.canvas.focus_set()

    def _laidOut(self, event):
        columns = max(1, (event.width - GAP) // (TILE + GAP))
        if columns != self._columns:
            self._columns = columns
            self._draw()

    def _rowHeight(self):
        lines = 2 if any(caption(average)[1] for average in self.marks.averages) else 1
        return TILE + GAP + 6 + 16 * lines

    def _draw(self):
        """Lay all classes out; the tiles are made once."""
        canvas, height = self.canvas, self._rowHeight()
        canvas.delete("all")
        self._places = {}
        for place, classId in enumerate(self._ids):
            row, column = divmod(place, self._columns)
            left, top = GAP + column * (TILE + GAP), GAP + row * height
            self._places[classId] = (left, top)
            average = self.marks.byId[classId]
            if average.image is None:
                canvas.create_rectangle(
                    left, top, left + TILE, top + TILE, fill="#eef1f4", outline=""
                )
                canvas.create_text(left + TILE / 2, top + TILE / 2, text="no average", fill=PALE)
            else:
                canvas.create_image(left, top, image=self._tile(average), anchor="nw")
            lines = [line for line in caption(average) if line]
            canvas.create_text(
                left + TILE / 2,
                top + TILE + 5,
                text="\n".join(lines),
                anchor="n",
                justify="center",
                fill=INK,
                font=("", 9),
            )
            self._drawMark(classId)
        rows = -(-len(self._ids) // self._columns)
        canvas.configure(scrollregion=(0, 0, 1, rows * height + GAP))
        self._drawSelected()
        self._tellCounts()

    def _tile(self, average):
        if average.classId not in self._tiles:
            grey = grey_tile(average.image, TILE)
            header = b"P5 %d %d 255\n" % grey.shape[::-1]
            self._tiles[average.classId] = tk.PhotoImage(
                master=self.root, data=header + np.ascontiguousarray(grey).tobytes()
            )
        return self._tiles[average.classId]

    def _drawMark(self, classId):
        canvas, tag = self.canvas, "mark%d" % classId
        canvas.delete(tag)
        word = self.marks.marks[classId]
        colour, letter, width = STYLES[word]
        left, top = self._places[classId]
        canvas.create_rectangle(
            left - 1,
            top - 1,
            left + TILE,
            top + TILE,
            outline=colour,
            width=width,
            tags=tag,
        )
        if letter:
            canvas.create_rectangle(
                left, top, left + 20, top + 20, fill=colour, outline="", tags=tag
            )
            canvas.create_text(
                left + 10, top + 10, text=letter, fill="white", font=("", 11, "bold"), tags=tag
            )

    def _drawSelected(self):
        """Underline the selected class and show the circle of the diameter on it."""
        self.canvas.delete("selected")
        if self.selected is None:
            return
        left, top = self._places[self.selected]
        average = self.marks.byId[self.selected]
        self.canvas.create_rectangle(
            left - 6, top - 6, left + TILE + 5, top + TILE + 5, outline=SELECTED, tags="selected"
        )
        if average.image is not None:
            longest = max(average.image.shape) * average.pixelSize
            radius = self.marks.diameter / 2 / longest * TILE
            x, y = left + TILE / 2, top + TILE / 2
            self.canvas.create_oval(
                x - radius, y - radius, x + radius, y + radius, outline="#56b4e9", tags="selected"
            )

    def _tellCounts(self):
        counts, warning = summary(self.marks, self.least)
        self.counts.configure(text=counts)
        self.warning.configure(text=warning)

    def _tellClass(self, classId):
        if classId is None:
            self.detail.configure(text=POINT)
            return
        self.detail.configure(
            text="Class %d, suggested %s: %s"
            % (classId, NAMES[self.marks.suggested(classId)], self.marks.reason(classId))
        )

    # ------------------------------- what the user does -----------------------------
    def classAt(self, x, y):
        """Id of the class at a point of the canvas' window, or None."""
        x, y = self.canvas.canvasx(x), self.canvas.canvasy(y)
        for classId, (left, top) in self._places.items():
            if 0 <= x - left <= TILE and 0 <= y - top <= TILE:
                return classId
        return None

    def tileCentre(self, classId):
        """Where a class is in the canvas' window, in pixels; it is scrolled to."""
        self._scrollTo(classId)
        left, top = self._places[classId]
        return left + TILE // 2, int(top + TILE // 2 - self.canvas.canvasy(0))

    def _clicked(self, event, word):
        self.canvas.focus_set()
        classId = self.classAt(event.x, event.y)
        if classId is None:
            return
        self._select(classId)
        self.marks.toggle(classId, word)
        self._drawMark(classId)
        self._tellCounts()

    def _moved(self, event):
        self._tellClass(self.classAt(event.x, event.y) or self.selected)

    def _step(self, step):
        place = self._ids.index(self.selected) + step if self.selected is not None else 0
        if 0 <= place < len(self._ids):
            self._select(self._ids[place])
            self._scrollTo(self.selected)
        return "break"

    def _select(self, classId):
        self.selected = classId
        self._drawSelected()
        self._tellClass(classId)

    def _scrollTo(self, classId):
        top = self._places[classId][1] - GAP
        bottom = top + self._rowHeight()
        first, shown = self.canvas.canvasy(0), self.canvas.winfo_height()
        whole = float(self.canvas.cget("scrollregion").split()[3])
        if top < first:
            self.canvas.yview_moveto(top / whole)
        elif bottom > first + shown:
            self.canvas.yview_moveto((bottom - shown) / whole)

    def _markSelected(self, word):
        if self.selected is not None:
            self.marks.mark(self.selected, word)
            self._drawMark(self.selected)
            self._tellCounts()
        return "break"

    def suggest(self, event=None):
        """Mark all classes as the rule suggests."""
        self.marks.suggest()
        self._redrawMarks()
        self.say(
            self.marks.doubt or "Marked as the rule suggests. Look at the averages, and change it."
        )

    def undo(self, event=None):
        """Take the last change back."""
        if self.marks.undo():
            self._redrawMarks()
        else:
            self.say("There is nothing to undo.")

    def _redrawMarks(self):
        for classId in self._ids:
            self._drawMark(classId)
        self._drawSelected()
        self._tellCounts()

    def problem(self):
        """Tell what is missing, or return None."""
        missing = [NAMES[word] for word in (GOOD, BAD) if not self.marks.ids(word)]
        if len(missing) == 2:
            return "No class is marked: mark good and bad ones, or press Cancel."
        return None

    def apply(self):
        """Write the ids of good and of bad classes into the form."""
        for word, parameter in self.parameters.items():
            self.form.setVar(parameter, format_ids(self.marks.ids(word)))
