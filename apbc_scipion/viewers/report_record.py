"""What the engine left of a report: one JSON file, and the pictures, tables and page beside it."""

import csv
import os

from apbc.errors import ApbcError
from apbc.io.files import atomic_path, read_json

PAGE = "report.html"
SPELLED = {"fsc": "FSC", "kmeans": "k-means clusters", "clusters": "Given clusters"}
GAP = 24  # pixels between the pictures of one file


class ReportRecord:
    """Files of a report.

    Parameters
    ----------
    path : str
        JSON file whose ``pictures`` and ``tables`` name PNG and CSV files of its folder, and
        whose ``told``, if it is there, is a list of sentences; ``page`` names the page where
        that is not ``report.html``.

    Attributes
    ----------
    path : str
    values : dict
        Contents of the file.
    pictures, tables : list of (str, str)
        Title and path of each file that is there.
    page : str or None
        Path of the page.
    told : list of str
        Sentences for the head of a window; those about files that have gone at the end.

    Raises
    ------
    ApbcError
        If the JSON file is missing or damaged.
    """

    def __init__(self, path):
        self.path = path
        self.values = read_json(path)
        if not isinstance(self.values, dict):
            raise ApbcError("%s is not the record of a report; run the protocol again" % path)
        folder = os.path.dirname(path)
        self.told = [str(sentence) for sentence in self.values.get("told") or ()]
        self.pictures = self._find(folder, "pictures")
        self.tables = self._find(folder, "tables")
        page = os.path.join(folder, str(self.values.get("page") or PAGE))
        self.page = page if os.path.exists(page) else None

    def _find(self, folder, key):
        """Title and path of the files that the record names; tells of those that have gone."""
        found = []
        for name in self.values.get(key) or ():
            path = os.path.join(folder, str(name))
            if os.path.exists(path):
                found.append((title_of(name), path))
            else:
                self.told.append("The file %s has gone; run the protocol again." % path)
        return found


def title_of(name):
    """Title of a file: ``per_view.csv`` is *Per view*."""
    words = os.path.splitext(os.path.basename(name))[0].replace("_", " ").strip()
    return SPELLED.get(words, words[:1].upper() + words[1:])


def read_table(path):
    """Read a CSV table.

    Returns
    -------
    header : list of str
    rows : list of list of str
        Each as long as the header.

    Raises
    ------
    ApbcError
        If it cannot be read.
    """
    try:
        with open(path, newline="", encoding="utf-8") as handle:
            rows = list(csv.reader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ApbcError("%s cannot be read (%s); run the protocol again" % (path, error)) from error
    if not rows:
        return [], []
    width = len(rows[0])
    return rows[0], [(row + [""] * width)[:width] for row in rows[1:]]


def read_picture(path):
    """Read a picture as a PIL image.

    Raises
    ------
    ApbcError
        If it is damaged.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, SyntaxError) as error:  # PIL's answer to a broken PNG
        raise ApbcError("%s cannot be read (%s); run the protocol again" % (path, error)) from error


def write_report_picture(record, path):
    """Write all pictures of a report below each other, as one PNG.

    Parameters
    ----------
    record : ReportRecord
    path : str

    Raises
    ------
    ApbcError
        If there are no pictures or the file cannot be written.
    """
    from PIL import Image

    pictures = [read_picture(one) for _, one in record.pictures]
    if not pictures:
        raise ApbcError("the report %s has no pictures; run the protocol again" % record.path)
    width = max(picture.width for picture in pictures)
    height = sum(picture.height for picture in pictures) + GAP * (len(pictures) - 1)
    sheet = Image.new("RGB", (width, height), "white")
    top = 0
    for picture in pictures:
        sheet.paste(picture, ((width - picture.width) // 2, top))
        top += picture.height + GAP
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")
