"""A window that shows the report of a run: its pictures, its tables, and its page in a browser."""

import os
import tkinter as tk
import webbrowser
from tkinter import filedialog, font, ttk

from PIL import Image, ImageTk

from apbc.errors import ApbcError
from apbc_scipion.viewers.report_record import (
    ReportRecord,
    read_picture,
    read_table,
    write_report_picture,
)
from apbc_scipion.viewers.window import ERROR, INK, ApbcWindow

POLL_MILLISECONDS = 2000
PREFIX = "apbc - "  # which default labels of runs have already
TABLES, FINDINGS = "Tables", "Findings"
MOST_SENTENCES = 6  # above the tabs; more have a tab of their own
MOST_ROWS = 5000  # of a table; more are in its file
MARGIN = 8
WIDEST_COLUMN = 320
HINTS = {TABLES: "Click the head of a column to sort by it; again, to turn the order round."}


class ReportWindow(ApbcWindow):
    """Pictures and tables of a report, which appear when the run has written them.

    Parameters
    ----------
    title : str
        Of the run.
    path : str
        JSON record of the report; see `report_record.ReportRecord`.
    master : pyworkflow.gui.Window, optional
    state : callable, optional
        Tells in a sentence what the run does while there is no record.
    """

    def __init__(self, title, path, master=None, state=None):
        title = title if title.startswith(PREFIX) else PREFIX + title
        ApbcWindow.__init__(self, title, master, (1000, 700))
        self.path, self._state = path, state
        self.record, self._seen = None, None
        self.pictures, self.findings = {}, None
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
        self.told = tk.Label(head, anchor="w", justify=tk.LEFT, fg=INK, wraplength=700)
        self.told.grid(row=0, column=0, sticky="ew")
        head.bind("<Configure>", lambda e: self.told.configure(wraplength=max(200, e.width - 300)))
        self.openButton = ttk.Button(head, text="Open page", command=self.openPage)
        self.openButton.grid(row=0, column=1, padx=6, sticky="n")
        ttk.Button(head, text="Save picture ...", command=self._askPicture).grid(
            row=0, column=2, sticky="n"
        )
        self.tabs = ttk.Notebook(self.content)
        self.tabs.grid(row=1, column=0, sticky="nsew")
        self.tabs.bind("<<NotebookTabChanged>>", self._onTab)
        self.root.bind("<Escape>", lambda event: self._onClosing())

    def refresh(self):
        """Look whether the run has written its report, and show it."""
        seen = os.path.getmtime(self.path) if os.path.exists(self.path) else None
        if seen is None:
            sentence = self._state() if self._state is not None else "There is no report yet."
            self.told.configure(text=sentence, fg=INK)
            self.openButton.state(["disabled"])
            return
        if seen == self._seen:
            return
        self._seen = seen
        for tab in self.tabs.tabs():
            self.tabs.forget(tab)
        self.pictures, self.findings = {}, None
        try:
            self.record = ReportRecord(self.path)
        except ApbcError as error:
            self.told.configure(text=str(error), fg=ERROR)
            return
        self._tell()
        self.openButton.state(["!disabled" if self.record.page else "disabled"])
        for title, path in self.record.pictures:
            self._addPicture(title, path)
        if len(self.record.told) > MOST_SENTENCES:
            self._addFindings()
        if self.record.tables:
            self._addTables()

    def _tell(self):
        """Write the sentences, or the first of many, above the tabs."""
        told = self.record.told
        if len(told) > MOST_SENTENCES:
            shown = told[: MOST_SENTENCES - 1]
            told = [*shown, "%d more: see %s." % (len(told) - len(shown), FINDINGS)]
        self.told.configure(text="\n".join(told), fg=INK)

    def _addFindings(self):
        page = tk.Frame(self.tabs, bg="white")
        self.tabs.add(page, text=FINDINGS)
        text = tk.Text(page, wrap=tk.WORD, bd=0, padx=14, pady=10, spacing3=7, fg=INK, bg="white")
        bar = ttk.Scrollbar(page, command=text.yview)
        text.configure(yscrollcommand=bar.set, font=font.nametofont("TkDefaultFont"))
        bar.pack(side=tk.RIGHT, fill=tk.Y)
        text.pack(side=tk.LEFT, fill=tk.BOTH, expand=True)
        text.insert("1.0", "\n".join(self.record.told))
        text.configure(state=tk.DISABLED)
        self.findings = text

    def _addPicture(self, title, path):
        frame = tk.Frame(self.tabs, bg="white")
        self.tabs.add(frame, text=title)
        try:
            self.pictures[title] = PicturePane(frame, read_picture(path))
        except ApbcError as error:
            tk.Label(frame, text=str(error), bg="white", fg=ERROR, wraplength=600).pack(expand=True)

    def _addTables(self):
        page = ttk.Frame(self.tabs)
        self.tabs.add(page, text=TABLES)
        page.rowconfigure(1, weight=1)
        page.columnconfigure(0, weight=1)
        choices = ttk.Frame(page, padding=(8, 4))
        choices.grid(row=0, column=0, sticky="w")
        self.table = tk.StringVar(self.root, self.record.tables[0][0])
        for title, _ in self.record.tables:
            ttk.Radiobutton(
                choices,
                text=title,
                value=title,
                variable=self.table,
                command=lambda: self.showTable(self.table.get()),
            ).pack(side=tk.LEFT, padx=6)
        self.grid = TablePane(page)
        self.grid.frame.grid(row=1, column=0, sticky="nsew", padx=8, pady=(0, 6))
        self.showTable(self.table.get())

    # ------------------------------- what is shown ------------------------------------
    def showTable(self, title):
        """Show a table.

        Parameters
        ----------
        title : str
            As `report_record.title_of` makes it of the file's name.
        """
        self.table.set(title)
        try:
            header, rows = read_table(dict(self.record.tables)[title])
        except ApbcError as error:
            self.grid.fill([], [])
            self.say(str(error), error=True)
            return
        self.grid.fill(header, rows[:MOST_ROWS])
        if len(rows) > MOST_ROWS:
            path = dict(self.record.tables)[title]
            self.say("The first %d of %d rows; all are in %s" % (MOST_ROWS, len(rows), path))

    def openPage(self):
        """Open the page of the report in the browser."""
        path = os.path.abspath(self.record.page)
        if webbrowser.open("file://" + path):
            self.say("Opened %s" % path)
        else:
            self.say("No browser was found; open %s" % path, error=True)

    def _onTab(self, event=None):
        if self.tabs.tabs():
            self.say(HINTS.get(self.tabs.tab(self.tabs.select(), "text"), ""))

    def _askPicture(self):
        path = filedialog.asksaveasfilename(
            parent=self.root,
            defaultextension=".png",
            filetypes=[("PNG", "*.png")],
            initialfile="report.png",
        )
        if path:
            self.savePicture(path)

    def savePicture(self, path):
        """Write all pictures as one PNG."""
        if self.record is None:
            self.say("There is no report yet, so no picture was written.", error=True)
            return
        try:
            write_report_picture(self.record, path)
        except ApbcError as error:
            self.say("The picture was not written: %s." % error, error=True)
            return
        self.say("Wrote %s" % path)


class PicturePane:
    """A picture that is as large as its frame allows, and no larger than it is.

    Parameters
    ----------
    frame : tkinter.Frame
    picture : PIL.Image.Image
    """

    def __init__(self, frame, picture):
        self.picture = picture
        self.label = tk.Label(frame, bg="white", bd=0)
        self.label.pack(fill=tk.BOTH, expand=True)
        self.shown = None
        self.size = (0, 0)
        self.label.bind("<Configure>", self._fit)

    def _fit(self, event):
        """Scale the picture to the label."""
        room = max(1, event.width - 2 * MARGIN), max(1, event.height - 2 * MARGIN)
        scale = min(1.0, room[0] / self.picture.width, room[1] / self.picture.height)
        size = (
            max(1, int(self.picture.width * scale)),
            max(1, int(self.picture.height * scale)),
        )
        if size == self.size:
            return
        self.size = size
        # The label keeps no reference of its own, and a picture without one is not drawn.
        self.shown = ImageTk.PhotoImage(self.picture.resize(size, Image.LANCZOS), master=self.label)
        self.label.configure(image=self.shown)


class TablePane:
    """A table that can be sorted by its columns.

    Parameters
    ----------
    parent : tkinter.Widget
    """

    def __init__(self, parent):
        # A table that is wider than the screen must not make the window so.
        self.frame = ttk.Frame(parent, width=600, height=300)
        self.frame.grid_propagate(False)
        self.frame.rowconfigure(0, weight=1)
        self.frame.columnconfigure(0, weight=1)
        self.tree = ttk.Treeview(self.frame, show="headings", selectmode="browse")
        down = ttk.Scrollbar(self.frame, command=self.tree.yview)
        across = ttk.Scrollbar(self.frame, command=self.tree.xview, orient=tk.HORIZONTAL)
        self.tree.configure(yscrollcommand=down.set, xscrollcommand=across.set)
        self.tree.grid(row=0, column=0, sticky="nsew")
        down.grid(row=0, column=1, sticky="ns")
        across.grid(row=1, column=0, sticky="ew")
        self.header, self.rows, self._order = [], [], (None, False)

    def fill(self, header, rows):
        """Show rows under a header.

        Parameters
        ----------
        header : list of str
        rows : list of list of str
        """
        self.header, self.rows, self._order = header, rows, (None, False)
        self.tree.configure(columns=list(range(len(header))))
        measure = font.nametofont("TkDefaultFont").measure
        measure_head = font.nametofont("TkHeadingFont").measure
        for number, name in enumerate(header):
            wanted = [measure(row[number]) for row in rows[:200]] + [measure_head(name + "  ")]
            width = min(WIDEST_COLUMN, max(wanted) + 24)
            right = all(_number(row[number]) is not None for row in rows if row[number])
            self.tree.heading(number, text=name, command=lambda number=number: self.sortBy(number))
            self.tree.column(
                number,
                width=width,
                minwidth=40,
                stretch=False,
                anchor=tk.E if right and rows else tk.W,
            )
        self._show()

    def sortBy(self, number):
        """Sort by a column; again, the other way round. Empty cells stay at the end."""
        turned = self._order == (number, False)
        self._order = (number, turned)
        filled = [row for row in self.rows if row[number]]
        empty = [row for row in self.rows if not row[number]]
        numbers = all(_number(row[number]) is not None for row in filled)
        filled.sort(
            key=lambda row: _number(row[number]) if numbers else row[number], reverse=turned
        )
        self.rows = filled + empty
        self._show()

    def getRows(self):
        """Rows as they are shown."""
        return [list(map(str, self.tree.item(item, "values"))) for item in self.tree.get_children()]

    def _show(self):
        self.tree.delete(*self.tree.get_children())
        for row in self.rows:
            self.tree.insert("", tk.END, values=row)


def _number(text):
    """Value of a cell, or None if it is no number."""
    try:
        return float(text)
    except ValueError:
        return None
