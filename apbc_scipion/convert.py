"""Scipion's sets to the engine's files, and the engine's files back.

The engine knows micrographs by the stem of their file. Scipion knows them by id and name, and two
folders of one data collection may hold the same name twice. So every micrograph gets a *label*, a
stem that is unique in its set, and the engine sees links that are called by it.
"""

import csv
import json
import math
import os
import re
from contextlib import contextmanager

import numpy as np
import pyworkflow.utils as pwutils
from pwem.constants import ALIGN_2D, ALIGN_PROJ
from pwem.objects import Coordinate
from pyworkflow.object import Float, String

from apbc_scipion.constants import (
    BAD,
    DISAGREEMENT,
    GOOD,
    NO_PARTICLE,
    QUALITY,
    REASON,
    SCORE,
    SHAPE,
    TRUTH,
)

IMAGE_EXTENSIONS = (
    ".mrc",
    ".mrcs",
    ".tif",
    ".tiff",
    ".eer",
    ".dm3",
    ".dm4",
    ".hdf",
    ".em",
    ".spi",
    ".img",
    ".png",
    ".jpg",
    ".jpeg",
    ".xmp",
    ".raw",
    ".ser",
)
STACK_EXTENSIONS = (".mrc", ".mrcs", ".st")


@contextmanager
def new_file(path, **options):
    """Open a text file to write; it gets its name once it is complete.

    After an error the temporary file is removed, and what had the name before is as it was.

    Parameters
    ----------
    path : str
    **options
        Of `open`.

    Yields
    ------
    file
    """
    part = path + ".part"
    try:
        with open(part, "w", **options) as handle:
            yield handle
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.remove(part)


# ------------------------------- names -------------------------------------


def stem_of(name):
    """Stem of a micrograph name: no folder, no image extension, nothing a star file breaks at.

    Parameters
    ----------
    name : str
        Name or path. Only extensions of images are taken off, since names of micrographs are
        full of dots.

    Returns
    -------
    str
    """
    stem = os.path.basename(name)
    root, extension = os.path.splitext(stem)
    if extension.lower() in IMAGE_EXTENSIONS:
        stem = root
    return re.sub(r"[\s\"'#$]+", "_", stem) or "micrograph"


def unique_labels(names):
    """Give every micrograph a stem of its own.

    The first micrograph (lowest id) of a name keeps the plain stem, later ones get their id
    behind it, so that labels stay as they are when a streaming set grows.

    Parameters
    ----------
    names : dict of int to str
        Name of every micrograph by its id.

    Returns
    -------
    dict of int to str
        Label by id.
    """
    labels, taken = {}, set()
    for micId in sorted(names):
        label = stem = stem_of(names[micId])
        while label in taken:
            label = "%s_%d" % (stem if label == stem else label, micId)
        taken.add(label)
        labels[micId] = label
    return labels


def labels_of(micrographs):
    """Label of each micrograph of a set or list, by id."""
    return unique_labels(
        {mic.getObjId(): mic.getMicName() or mic.getFileName() for mic in micrographs}
    )


# ----------------------------- micrographs ---------------------------------


def link_micrograph(mic, label, folder):
    """Link a micrograph's file under its label.

    Parameters
    ----------
    mic : Micrograph
    label : str
    folder : str
        Where the link goes; made if missing.

    Returns
    -------
    str
        Path of the link.

    Raises
    ------
    FileNotFoundError
        If the micrograph's file is not there.
    """
    source = mic.getFileName()
    if not os.path.exists(source):
        raise FileNotFoundError(
            "The file of micrograph '%s' is missing: %s. Restore it or "
            "import the micrographs again." % (mic.getMicName(), source)
        )
    pwutils.makePath(folder)
    link = os.path.join(folder, label + os.path.splitext(source)[1])
    if os.path.lexists(link):
        os.remove(link)
    os.symlink(os.path.abspath(source), link)
    return link


def write_micrograph_list(mics, labels, folder, path):
    """Link micrographs and write the list the engine reads, one path a line.

    Parameters
    ----------
    mics : iterable of Micrograph
    labels : dict of int to str
        Label by id.
    folder : str
        Where the links go.
    path : str
        Text file to write.

    Returns
    -------
    list of str
        Labels written, in order.

    Raises
    ------
    FileNotFoundError
        If a micrograph's file is not there.
    """
    written = []
    lines = []
    for mic in mics:
        label = labels[mic.getObjId()]
        lines.append(link_micrograph(mic, label, folder))
        written.append(label)
    with new_file(path) as handle:
        handle.writelines(line + "\n" for line in lines)
    return written


# ----------------------------- coordinates ---------------------------------


def write_coordinates(points, folder, labels=()):
    """Write coordinates as one CSV a micrograph.

    Parameters
    ----------
    points : dict of str to list of tuple
        By label, ``(x, y)`` or ``(x, y, score)`` in pixels of the micrograph. Scores are
        written when every coordinate has one.
    folder : str
        Made if missing.
    labels : iterable of str, optional
        Micrographs that get a file even when they hold no coordinate.

    Returns
    -------
    int
        Number of coordinates written.
    """
    pwutils.makePath(folder)
    count = 0
    lengths = {len(row) for rows in points.values() for row in rows}
    scored = lengths == {3}
    for label in sorted(set(points) | set(labels)):
        with new_file(os.path.join(folder, label + ".csv"), newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(("x", "y", "score") if scored else ("x", "y"))
            for row in points.get(label, ()):
                score = ["%0.6f" % row[2]] if scored else []
                writer.writerow(["%0.3f" % value for value in row[:2]] + score)
                count += 1
    return count


def write_reference(reference, folder):
    """Write known particles as one CSV a micrograph, with what is known of them.

    Parameters
    ----------
    reference : dict of str to list of dict
        By label, as `collect_reference` gives it. A column is written where all particles of
        all micrographs have it.
    folder : str
        Made if missing.

    Returns
    -------
    list of str
        Columns beside x and y.
    """
    pwutils.makePath(folder)
    rows = [row for found in reference.values() for row in found]
    columns = [name for name in TRUTH if rows and all(name in row for row in rows)]
    for label, found in reference.items():
        with new_file(os.path.join(folder, label + ".csv"), newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["x", "y", *columns])
            for row in found:
                writer.writerow(
                    ["%0.3f" % row["x"], "%0.3f" % row["y"]]
                    + ["%0.8g" % row[name] for name in columns]
                )
    return columns


def read_reference(path):
    """Places of known particles in a file that `write_reference` wrote.

    Returns
    -------
    visible, hidden : list of (float, float)
    """
    visible, hidden = [], []
    with open(path, newline="") as handle:
        for row in csv.DictReader(handle):
            kind = hidden if float(row.get("visible", 1)) == 0 else visible
            if float(row.get("class", 1)) != 0:
                kind.append((float(row["x"]), float(row["y"])))
    return visible, hidden


def read_picks(path):
    """Read coordinates and scores the engine wrote.

    Parameters
    ----------
    path : str
        ``NAME.csv`` with columns ``x,y,score``.

    Returns
    -------
    list of (float, float, float)

    Raises
    ------
    ValueError
        If a column is missing or a line is no row of numbers.
    """
    with open(path, newline="") as handle:
        reader = csv.DictReader(handle)
        missing = {"x", "y", "score"} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(
                "%s has no column %s. Delete the file and continue the run."
                % (path, ", ".join(sorted(missing)))
            )
        try:
            return [(float(row["x"]), float(row["y"]), float(row["score"])) for row in reader]
        except (TypeError, ValueError) as error:
            raise ValueError(
                "%s, line %d: not a row of three numbers. Delete the file and "
                "continue the run." % (path, reader.line_num)
            ) from error


def read_disagreement(path):
    """Read how much the networks of an ensemble disagree about the candidates of a micrograph.

    Parameters
    ----------
    path : str
        As of `read_picks`.

    Returns
    -------
    list of float or None
        In the order of the picks; None where one network has scored them.
    """
    values = _read_column(path, "disagreement")
    return values and [float(value) for value in values]


def read_shapes(path):
    """Read what a classifier of shapes takes the candidates of a micrograph for.

    Parameters
    ----------
    path : str
        As of `read_picks`.

    Returns
    -------
    list of str or None
        In the order of the picks; None where another network has scored them.
    """
    return _read_column(path, "shape")


def _read_column(path, name):
    """Return the words of a column of a CSV file, or None where it has no such column."""
    with open(path, newline="") as handle:
        reader = csv.DictReader(handle)
        if name not in (reader.fieldnames or ()):
            return None
        return [row[name] for row in reader]


def read_failed(path):
    """Micrographs that failed, with the reasons.

    Parameters
    ----------
    path : str
        ``failed.csv``; absent when nothing failed.

    Returns
    -------
    dict of str to str
        Reason by label.
    """
    if not os.path.exists(path):
        return {}
    with open(path, newline="") as handle:
        return {stem_of(row["micrograph"]): row["reason"] for row in csv.DictReader(handle)}


def nearest(value):
    """Nearest whole number, halves up (pwem's coordinates are whole pixels)."""
    return math.floor(value + 0.5)


def append_picks(picks, mic, coordinates, threshold, disagreement=None, shapes=None):
    """Append picks of one micrograph to a set.

    Parameters
    ----------
    picks : list of (float, float, float)
        ``x, y, score`` in pixels of the micrograph.
    mic : Micrograph
    coordinates : SetOfCoordinates
        Each new coordinate carries its score as ``_apbcScore``.
    threshold : float or None
        Picks with a lower score are left out; None takes all. A score that is no number is
        not written.
    disagreement : sequence of float, optional
        Of every pick; each new coordinate carries it as ``_apbcDisagreement``. All coordinates
        of a set need it, or none.
    shapes : sequence of str, optional
        Of every pick; each new coordinate carries it as ``_apbcShape``. As above.

    Returns
    -------
    int
        Number appended.
    """
    count = 0
    coordinate = Coordinate()
    setattr(coordinate, SCORE, Float())
    if disagreement is not None:
        setattr(coordinate, DISAGREEMENT, Float())
    if shapes is not None:
        setattr(coordinate, SHAPE, String())
    for number, (x, y, score) in enumerate(picks):
        if threshold is not None and score < threshold:
            continue
        coordinate.setObjId(None)
        coordinate.setMicrograph(mic)
        coordinate.setPosition(nearest(x), nearest(y))
        getattr(coordinate, SCORE).set(None if math.isnan(score) else score)
        if disagreement is not None:
            doubt = disagreement[number]
            getattr(coordinate, DISAGREEMENT).set(None if math.isnan(doubt) else doubt)
        if shapes is not None:
            getattr(coordinate, SHAPE).set(shapes[number])
        coordinates.append(coordinate)
        count += 1
    return count


def read_examples(path):
    """Read what was found on a micrograph without labels.

    Parameters
    ----------
    path : str
        ``NAME.csv`` of ``apbc bootstrap``, with columns ``x,y,shape,good,reason`` and others.

    Returns
    -------
    list of (float, float, str, bool, str)
        x and y in pixels of the micrograph, shape, whether it is a good example, and why not.

    Raises
    ------
    ValueError
        If a column is missing or a line is no example.
    """
    with open(path, newline="") as handle:
        reader = csv.DictReader(handle)
        missing = {"x", "y", "shape", "good", "reason"} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(
                "%s has no column %s. Delete the file and continue the run."
                % (path, ", ".join(sorted(missing)))
            )
        try:
            return [
                (
                    float(row["x"]),
                    float(row["y"]),
                    row["shape"],
                    bool(int(row["good"])),
                    row["reason"],
                )
                for row in reader
            ]
        except (TypeError, ValueError) as error:
            raise ValueError(
                "%s, line %d: not an example. Delete the file and continue the run."
                % (path, reader.line_num)
            ) from error


def append_examples(examples, mic, coordinates):
    """Append what was found on one micrograph without labels to a set.

    Parameters
    ----------
    examples : list of (float, float, str, bool, str)
        As `read_examples` gives them.
    mic : Micrograph
    coordinates : SetOfCoordinates
        Each new coordinate carries ``_apbcShape``, ``_apbcQuality`` (good or bad) and
        ``_apbcReason``, empty for a good one.
    """
    coordinate = Coordinate()
    for name in (SHAPE, QUALITY, REASON):
        setattr(coordinate, name, String())
    for x, y, shape, good, reason in examples:
        coordinate.setObjId(None)
        coordinate.setMicrograph(mic)
        coordinate.setPosition(nearest(x), nearest(y))
        getattr(coordinate, SHAPE).set(shape)
        getattr(coordinate, QUALITY).set(GOOD if good else BAD)
        getattr(coordinate, REASON).set(reason)
        coordinates.append(coordinate)


class MicrographIndex:
    """Find micrographs of one or several sets by name, else by id.

    Parameters
    ----------
    *sets : iterable of Micrograph
        A micrograph whose name an earlier set holds too is taken from the earlier set.
    """

    def __init__(self, *sets):
        self.micrographs = {}
        for micrographs in sets:
            known = {mic.getMicName() for mic in self.micrographs.values()}
            for mic in micrographs:
                if mic.getMicName() in known:
                    continue
                mic = mic.clone()
                if mic.getObjId() in self.micrographs:
                    mic.setObjId(max(self.micrographs) + 1)
                self.micrographs[mic.getObjId()] = mic
        first = next(iter(self.micrographs.values()), None)
        self.pixelSize = first.getSamplingRate() if first is not None else None
        self.labels = labels_of(self.micrographs.values())
        self._idByName = {}
        ambiguous = set()
        for micId, mic in self.micrographs.items():
            name = mic.getMicName()
            if name in self._idByName:
                ambiguous.add(name)
            self._idByName[name] = micId
        for name in ambiguous:
            del self._idByName[name]

    def find(self, coordinate):
        """Return the id of a coordinate's micrograph, or None.

        A name that is there once decides; the id is asked when the coordinate has no name or
        when several micrographs share it.
        """
        return self._find(coordinate.getMicName(), coordinate.getMicId())

    def findMicrograph(self, mic):
        """Return the id of the micrograph that is the same as one of another set, or None."""
        return self._find(mic.getMicName(), mic.getObjId())

    def _find(self, name, micId):
        if name in self._idByName:
            return self._idByName[name]
        mic = self.micrographs.get(micId)
        if mic is not None and (not name or mic.getMicName() == name):
            return micId
        return None


def collect_points(coordinates, scale, index, score=False, columns=(SCORE,)):
    """Coordinates by label, in pixels of the micrographs of an index.

    Parameters
    ----------
    coordinates : iterable of Coordinate
    scale : float
        Pixels of the micrographs per pixel of the coordinates.
    index : MicrographIndex
    score : bool, optional
        Take the score along where it is there.
    columns : sequence of str, optional
        Attributes that may hold a score; the first that a coordinate has is taken.

    Returns
    -------
    points : dict of str to list of tuple
    lost : int
        Number of coordinates whose micrograph is not in the index.
    """
    points, lost = {}, 0
    for coordinate in coordinates:
        micId = index.find(coordinate)
        if micId is None:
            lost += 1
            continue
        row = (coordinate.getX() * scale, coordinate.getY() * scale)
        name = next((name for name in columns if hasattr(coordinate, name)), None)
        known = getattr(coordinate, name).get() if name is not None else None
        if score and known is not None:
            row += (known,)
        points.setdefault(index.labels[micId], []).append(row)
    return points, lost


UNKNOWN_VIEW = -1


def shift_of(particle, alignment):
    """Tell how far a particle lies from the middle of its image, by its alignment.

    The plugins of Relion and cryoSPARC put the shift that centres the image into the last column
    of a 2D matrix, and turn a projection matrix round; so does pwem when it extracts coordinates.

    Parameters
    ----------
    particle : Particle
    alignment : str
        Kind of the alignment of its set.

    Returns
    -------
    (float, float)
        x and y in Å; 0 without an alignment.
    """
    if alignment not in (ALIGN_2D, ALIGN_PROJ) or not particle.hasTransform():
        return 0.0, 0.0
    matrix = np.array(particle.getTransform().getMatrix(), float)
    moved = -matrix[:2, 3] if alignment == ALIGN_2D else np.linalg.inv(matrix)[:2, 3]
    x, y = moved * particle.getSamplingRate()
    return float(x), float(y)


def is_mirrored(particle, alignment):
    """Tell whether the 2D alignment of a particle mirrors it, as those of Xmipp and EMAN do."""
    if alignment != ALIGN_2D or not particle.hasTransform():
        return False
    return bool(np.linalg.det(np.array(particle.getTransform().getMatrix(), float)[:2, :2]) < 0)


def collect_labels(particles, scale, index, alignment, view=None):
    """Places of particles by label, with their 2D class and the shift of their alignment.

    Parameters
    ----------
    particles : iterable of Particle
        With coordinates.
    scale : float
        Pixels of the micrographs per pixel of the coordinates.
    index : MicrographIndex
    alignment : str
        Kind of the alignment of their set.
    view : int, optional
        Their class; without it, what each particle says.

    Returns
    -------
    labels : dict of str to list of tuple
        ``(x, y, view, shift_x, shift_y)``: pixels of the micrograph, id of the class (-1 where
        it is not known), and Å.
    lost : int
        Number of particles whose micrograph is not in the index.
    mirrored : int
        Number of particles whose alignment mirrors them.
    """
    labels, lost, mirrored = {}, 0, 0
    for particle in particles:
        coordinate = particle.getCoordinate()
        micId = index.find(coordinate)
        if micId is None:
            lost += 1
            continue
        known = view if view is not None else particle.getClassId()
        mirrored += is_mirrored(particle, alignment)
        labels.setdefault(index.labels[micId], []).append(
            (
                coordinate.getX() * scale,
                coordinate.getY() * scale,
                UNKNOWN_VIEW if known is None else known,
                *shift_of(particle, alignment),
            )
        )
    return labels, lost, mirrored


def write_labels(labels, folder):
    """Write places of particles as one CSV a micrograph, with what is known of any of them.

    Parameters
    ----------
    labels : dict of str to list of tuple
        As `collect_labels` gives them.
    folder : str
        Made if missing.

    Returns
    -------
    int
        Number of labels written.
    """
    pwutils.makePath(folder)
    rows = [row for found in labels.values() for row in found]
    columns = [("x", "%0.3f"), ("y", "%0.3f"), ("view", "%d"), ("shift_x", "%0.3f")]
    columns.append(("shift_y", "%0.3f"))
    kept = [0, 1]
    kept += [2] if any(row[2] > 0 for row in rows) else []
    kept += [3, 4] if any(row[3] or row[4] for row in rows) else []
    for label, found in labels.items():
        with new_file(os.path.join(folder, label + ".csv"), newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow([columns[i][0] for i in kept])
            writer.writerows([columns[i][1] % row[i] for i in kept] for row in found)
    return len(rows)


def collect_reference(coordinates, scale, index):
    """Known particles by label, with what the simulator tells of them.

    Parameters
    ----------
    coordinates : iterable of Coordinate
        Attributes such as ``_gtClass`` are taken along (see `constants.TRUTH`). Bad examples of
        `append_examples` count as not visible: in doubt, so that they need not be found, and
        picks on them are not false. Those that are no particles (`constants.NO_PARTICLE`) are
        left out, so that picks on them are false.
    scale : float
        Pixels of the micrographs per pixel of the coordinates.
    index : MicrographIndex

    Returns
    -------
    reference : dict of str to list of dict
        ``x``, ``y`` and what is known besides, all numbers.
    lost : int
        Number of coordinates whose micrograph is not in the index.
    """
    reference, lost = {}, 0
    for coordinate in coordinates:
        micId = index.find(coordinate)
        if micId is None:
            lost += 1
            continue
        reason = getattr(coordinate, REASON, None)
        if reason is not None and reason.get() in NO_PARTICLE:
            continue
        row = {"x": coordinate.getX() * scale, "y": coordinate.getY() * scale}
        for name, attribute in TRUTH.items():
            known = getattr(coordinate, attribute, None)
            if known is not None and known.get() is not None:
                row[name] = float(known.get())
        quality = getattr(coordinate, QUALITY, None)
        if quality is not None:
            row["visible"] = float(quality.get() != BAD)
        reference.setdefault(index.labels[micId], []).append(row)
    return reference, lost


def particle_scale(particles, micrographs):
    """Pixels of the micrographs per pixel of the coordinates of particles.

    In Scipion the coordinates of a particle are in its own pixels. Those of particles that were
    scaled down in Relion and imported are in pixels of the micrographs all the same. They tell
    themselves apart: taken as pixels of the particles they leave the micrograph.

    Parameters
    ----------
    particles : SetOfParticles
    micrographs : SetOfMicrographs

    Returns
    -------
    float
    """
    scale = particles.getSamplingRate() / micrographs.getSamplingRate()
    first = particles.getFirstItem()
    if scale < 1.01 or first is None or not first.hasCoordinate():
        return scale
    columns, rows = micrographs.getFirstItem().getDim()[:2]
    x, y = (particles.aggregate(["MAX"], "_coordinate." + axis)[0]["MAX"] for axis in ("_x", "_y"))
    inside = x < columns and y < rows
    return 1.0 if inside and (x * scale >= columns or y * scale >= rows) else scale


# --------------------------------- CTF --------------------------------------


def write_ctf_star(ctfs, index, path):
    """Write CTFs as a Relion 3.1 micrographs star.

    Parameters
    ----------
    ctfs : iterable of CTFModel
    index : MicrographIndex
        Micrographs that are wanted; CTFs of others are left out.
    path : str

    Returns
    -------
    set of str
        Labels that have a CTF.
    """
    groups, rows, done = {}, [], set()
    for ctf in ctfs:
        mic = ctf.getMicrograph()
        if mic is None:
            continue
        micId = index.find(_NameAndId(mic))
        if micId is None:
            continue
        mic = index.micrographs[micId]
        group = groups.setdefault(_optics_of(mic), len(groups) + 1)
        label = index.labels[micId]
        rows.append(
            (
                label + os.path.splitext(mic.getFileName())[1],
                ctf.getDefocusU(),
                ctf.getDefocusV(),
                ctf.getDefocusAngle(),
                ctf.getPhaseShift() if ctf.hasPhaseShift() else 0.0,
                group,
            )
        )
        done.add(label)
    labels = (
        "rlnMicrographName",
        "rlnDefocusU",
        "rlnDefocusV",
        "rlnDefocusAngle",
        "rlnPhaseShift",
        "rlnOpticsGroup",
    )
    write_star(path, groups, "micrographs", labels, rows)
    return done


def write_micrographs_star(index, path):
    """Write micrographs as a Relion 3.1 star, with their paths in the project as names.

    Parameters
    ----------
    index : MicrographIndex
    path : str
        A column ``apbcLabel`` tells the engine the labels.
    """
    groups, rows = {}, []
    for micId, mic in index.micrographs.items():
        group = groups.setdefault(_optics_of(mic), len(groups) + 1)
        rows.append((mic.getFileName(), group, index.labels[micId]))
    write_star(
        path, groups, "micrographs", ("rlnMicrographName", "rlnOpticsGroup", "apbcLabel"), rows
    )


def write_star(path, groups, name, labels, rows):
    """Write a Relion 3.1 star file of one table.

    Parameters
    ----------
    path : str
    groups : dict of tuple to int
        Number of the optics group by voltage (kV), spherical aberration (mm), amplitude contrast
        and pixel size (Å).
    name : str
        Of the table.
    labels : sequence of str
    rows : iterable of tuple
    """
    with new_file(path) as handle:
        _write_optics(handle, groups)
        _write_table(handle, name, labels, rows)


def _optics_of(mic):
    """Return voltage, aberration, contrast and pixel size of a micrograph."""
    acquisition = mic.getAcquisition()
    return (
        acquisition.getVoltage(),
        acquisition.getSphericalAberration(),
        acquisition.getAmplitudeContrast(),
        mic.getSamplingRate(),
    )


def _write_optics(handle, groups):
    """Write the optics groups of micrographs."""
    _write_table(
        handle,
        "optics",
        (
            "rlnOpticsGroupName",
            "rlnOpticsGroup",
            "rlnVoltage",
            "rlnSphericalAberration",
            "rlnAmplitudeContrast",
            "rlnMicrographPixelSize",
        ),
        (("opticsGroup%d" % group, group, *optics) for optics, group in groups.items()),
    )


class _NameAndId:
    """What `MicrographIndex.find` asks of a coordinate, taken from a micrograph."""

    def __init__(self, mic):
        self._mic = mic

    def getMicName(self):
        return self._mic.getMicName()

    def getMicId(self):
        return self._mic.getObjId()


# ------------------------------- particles ----------------------------------


def write_particles(particles, path, index=None, scale=1.0, folder=None):
    """Write particles as a Relion 3.1 star, a row a particle in the order of the iteration.

    Parameters
    ----------
    particles : iterable of Particle
        Of one pixel size and box.
    path : str
        Star file; image paths are relative to the working folder, as Scipion's are.
    index : MicrographIndex, optional
        With it, rows carry coordinates and the label of their micrograph.
    scale : float, optional
        Pixels of the micrographs per pixel of the particles' coordinates.
    folder : str, optional
        Where stacks that are not MRC are converted to; without it they raise.

    Returns
    -------
    rows : int
    lost : int
        Particles whose micrograph is not in `index` (they are written with no name).

    Raises
    ------
    ValueError
        If a particle's stack is not MRC and no folder is given.
    """
    groups, rows, lost = {}, [], 0
    converted = {}
    for particle in particles:
        number, stack = particle.getLocation()
        if not stack.lower().endswith(STACK_EXTENSIONS):
            stack = _as_mrc(stack, folder, converted)
        acquisition = particle.getAcquisition()
        optics = (particle.getSamplingRate(),)
        if acquisition is not None:
            optics += (
                acquisition.getVoltage(),
                acquisition.getSphericalAberration(),
                acquisition.getAmplitudeContrast(),
            )
        else:
            optics += (300.0, 2.7, 0.1)
        if index is not None:
            optics += (index.pixelSize,)
        group = groups.setdefault(optics, len(groups) + 1)
        row = ("%06d@%s" % (number or 1, stack), group)
        if index is not None:
            coordinate = particle.getCoordinate()
            micId = index.find(coordinate) if coordinate is not None else None
            if micId is None:
                lost += 1
                row += ("none", 0.0, 0.0)
            else:
                mic = index.micrographs[micId]
                row += (
                    index.labels[micId] + os.path.splitext(mic.getFileName())[1],
                    coordinate.getX() * scale,
                    coordinate.getY() * scale,
                )
        rows.append(row)
    columns = ("rlnImageName", "rlnOpticsGroup")
    if index is not None:
        columns += ("rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY")
    with new_file(path) as handle:
        labels = (
            "rlnOpticsGroupName",
            "rlnOpticsGroup",
            "rlnImagePixelSize",
            "rlnVoltage",
            "rlnSphericalAberration",
            "rlnAmplitudeContrast",
        )
        if index is not None:
            labels += ("rlnMicrographPixelSize",)
        _write_table(
            handle,
            "optics",
            (*labels, "rlnImageDimensionality"),
            (("opticsGroup%d" % group, group, *optics, 2) for optics, group in groups.items()),
        )
        _write_table(handle, "particles", columns, rows)
    return len(rows), lost


def _as_mrc(stack, folder, converted):
    """Return the MRC twin of a stack, converting it once."""
    if folder is None:
        raise ValueError("%s is not an MRC stack." % stack)
    if stack not in converted:
        from pwem.emlib.image import ImageHandler

        pwutils.makePath(folder)
        converted[stack] = os.path.join(folder, "%s_%d.mrcs" % (stem_of(stack), len(converted) + 1))
        ImageHandler().convertStack(stack, converted[stack])
    return converted[stack]


def read_scores(path, expected):
    """Scores of screened particles.

    Parameters
    ----------
    path : str
        ``scores.csv`` with columns ``row,score``.
    expected : int
        Number of particles that were written.

    Returns
    -------
    list of float
        In the order of the particles.

    Raises
    ------
    ValueError
        If a particle has no score.
    """
    scores = [None] * expected
    with open(path, newline="") as handle:
        for row in csv.DictReader(handle):
            scores[int(row["row"])] = float(row["score"])
    missing = sum(score is None for score in scores)
    if missing:
        raise ValueError("%s lacks scores of %d of %d particles." % (path, missing, expected))
    return scores


# --------------------------------- text -------------------------------------


def _write_table(handle, name, columns, rows):
    """Write one star table."""
    handle.write("\ndata_%s\n\nloop_\n" % name)
    handle.writelines("_%s #%d\n" % (column, n) for n, column in enumerate(columns, 1))
    for row in rows:
        handle.write(
            " ".join("%0.6f" % value if isinstance(value, float) else str(value) for value in row)
            + "\n"
        )
    handle.write("\n")


def read_json(path):
    """Read a JSON file the engine wrote."""
    with open(path) as handle:
        return json.load(handle)


def write_json(path, values):
    """Write a JSON file, which gets its name once it is complete."""
    with new_file(path) as handle:
        json.dump(values, handle, indent=1)


def parse_ids(text):
    """Class ids from "1,3-5".

    Parameters
    ----------
    text : str
        Whole numbers and ranges, separated by commas or blanks.

    Returns
    -------
    set of int

    Raises
    ------
    ValueError
        If a part is no number and no range.
    """
    ids = set()
    for part in re.split(r"[,;\s]+", re.sub(r"\s*-\s*", "-", text or "").strip()):
        if not part:
            continue
        match = re.match(r"^(\d+)(?:-(\d+))?$", part)
        if match is None:
            raise ValueError("'%s' is not a class id or a range of ids such as 3-5." % part)
        first, last = int(match.group(1)), int(match.group(2) or match.group(1))
        if last < first:
            raise ValueError("The range '%s' runs backwards." % part)
        ids.update(range(first, last + 1))
    return ids
