"""Structures of a project for the simulator, and what it made as Scipion's sets.

The simulator (``apbc simulate``) writes star files, tables of the truth and maps to a folder.
Ground truth becomes attributes of the items: ``_gtClass`` (structures count from 1, junk is 0),
``_gtVolId`` (id of the volume in the set of ground truth), ``_gtRot``, ``_gtTilt``, ``_gtPsi``
(degrees, Relion's convention), ``_gtShiftX``, ``_gtShiftY`` (Å, where the particle lies from the
centre of its box), ``_gtJunk`` (kind of junk, empty for a particle) and ``_gtVisible``.
"""

import csv
import io
import os
from itertools import zip_longest

import numpy as np
import pyworkflow.utils as pwutils
from emtable import Table
from pwem.constants import ALIGN_PROJ
from pwem.convert.headers import Ccp4Header, setMRCSamplingRate
from pwem.emlib.image import ImageHandler
from pwem.objects import (
    Acquisition,
    AtomStruct,
    Coordinate,
    CTFModel,
    EMSet,
    Micrograph,
    Particle,
    SetOfParticles,
    Transform,
    Volume,
    VolumeMask,
)
from pyworkflow.object import Boolean, Float, Integer, String

from apbc.geometry import euler_to_matrix
from apbc_scipion import convert

STRUCTURE_CLASSES = "AtomStruct,SetOfAtomStructs,Volume,SetOfVolumes"
VOLUME_EXTENSIONS = (".mrc", ".map", ".ccp4")
# Pixel sizes that differ by less than this share are the same: headers round.
SAME_PIXEL_SIZE = 1e-3
RECORD = "simulation.json"
# Column of the engine's tables, and attribute of coordinates and particles.
TRUTH = {"class": "_gtClass", "rot": "_gtRot", "tilt": "_gtTilt", "psi": "_gtPsi"}
# Scipion takes an acquisition without one for none at all.
MAGNIFICATION = 10000


# ------------------------------- structures ---------------------------------


def expand(pointers):
    """Structures of a list of pointers, with sets taken apart.

    Parameters
    ----------
    pointers : iterable of Pointer
        To structures, volumes, or sets of either; pointers to nothing are passed over.

    Yields
    ------
    AtomStruct or Volume
        Items of sets are clones.
    """
    for pointer in pointers:
        obj = pointer.get()
        if isinstance(obj, EMSet):
            for item in obj.iterItems():
                yield item.clone()
        elif obj is not None:
            yield obj


def structure_problems(pointers):
    """Tell in a sentence each why structures cannot be simulated together.

    Parameters
    ----------
    pointers : iterable of Pointer

    Returns
    -------
    list of str
        Empty if nothing is known to be wrong.
    """
    problems = []
    first = None
    for item in expand(pointers):
        path = file_of(item)
        if not path or not os.path.exists(path):
            problems.append(
                "The file of the structure '%s' has gone: %s. Import it again."
                % (name_of(item), path)
            )
        elif isinstance(item, Volume):
            columns, rows, sections = item.getDim()
            if not columns == rows == sections:
                problems.append(
                    "The volume '%s' is %d x %d x %d voxels and must be cubic: crop or pad it."
                    % (name_of(item), columns, rows, sections)
                )
                continue
            grid = (columns, item.getSamplingRate())
            if first is None:
                first = (name_of(item), grid)
            elif first[1][0] != grid[0] or not same_pixel_size(first[1][1], grid[1]):
                problems.append(
                    "The volumes '%s' (%d voxels of %g Å) and '%s' (%d voxels of %g Å) lie on "
                    "different grids: bring them to one box and pixel size."
                    % (first[0], *first[1], name_of(item), *grid)
                )
    return problems


def same_pixel_size(one, other):
    """Tell whether two pixel sizes (Å) are the same but for rounding."""
    return abs(one - other) <= SAME_PIXEL_SIZE * other


def grid_of(pointers):
    """Box (px) and pixel size (Å) of the first volume among structures, or None."""
    for item in expand(pointers):
        if isinstance(item, Volume):
            dimensions = item.getDim()
            return (dimensions[0], item.getSamplingRate()) if dimensions else None
    return None


def has_atoms(pointers):
    """Tell whether one of the structures is a model of atoms."""
    return any(isinstance(item, AtomStruct) for item in expand(pointers))


def file_of(item):
    """Path of a structure, without what Scipion hangs on to the names of MRC files."""
    path = item.getFileName()
    return path.rpartition(":")[0] if path and path.endswith((":mrc", ":mrcs")) else path


def name_of(item):
    """Name of a structure: its label, else the stem of its file."""
    stem, extension = os.path.splitext(os.path.basename(file_of(item) or "structure"))
    if extension.lower() == ".gz":
        stem = os.path.splitext(stem)[0]
    return convert.stem_of((item.getObjLabel() or "").strip() or stem)


def link_structures(pointers, folder):
    """Put structures into a folder, each under its name.

    Parameters
    ----------
    pointers : iterable of Pointer
    folder : str
        Emptied, or made. Files are linked; volumes whose format or header is not what the
        engine needs are written anew.

    Returns
    -------
    list of str
        Paths, in order.
    """
    pwutils.cleanPath(folder)
    pwutils.makePath(folder)
    paths, taken = [], set()
    for item in expand(pointers):
        base = name = name_of(item)
        number = 1
        while name in taken:
            number += 1
            name = "%s_%d" % (base, number)
        taken.add(name)
        paths.append(_link_structure(item, os.path.join(folder, name)))
    return paths


def _link_structure(item, base):
    """Link or write one structure, and return its path."""
    source = file_of(item)
    root, extension = os.path.splitext(source)
    if isinstance(item, Volume):
        if _is_plain_map(item, source, extension):
            path = base + extension.lower()
            os.symlink(os.path.abspath(source), path)
            return path
        path = base + ".mrc"
        ImageHandler().convert(item, path)
        setMRCSamplingRate(path, item.getSamplingRate())
        return path
    if extension.lower() == ".gz":
        extension = os.path.splitext(root)[1] + extension
    path = base + extension.lower()
    os.symlink(os.path.abspath(source), path)
    return path


def _is_plain_map(volume, source, extension):
    """Tell whether a file is one MRC map whose header has the volume's pixel size."""
    if extension.lower() not in VOLUME_EXTENSIONS or volume.getIndex() > 1:
        return False
    header = Ccp4Header(source, readHeader=True)
    columns, rows, sections = header.getDims()
    if not columns == rows == sections or 0 in header.getGridSampling():
        return False
    return all(same_pixel_size(size, volume.getSamplingRate()) for size in header.getSampling())


# --------------------------- CTFs and places -----------------------------------


def write_ctfs(items, path):
    """Write the CTFs of a set as a Relion star file, a row a CTF.

    Parameters
    ----------
    items : SetOfCTF or SetOfParticles
    path : str

    Raises
    ------
    ValueError
        If an item has no CTF, or its microscope is not known.
    """
    ofParticles = isinstance(items, SetOfParticles)
    images = items if ofParticles else items.getMicrographs()
    groups, rows = {}, []
    for item in items.iterItems():
        ctf = item.getCTF() if ofParticles else item
        acquisition = _acquisition(item, ctf, ofParticles) or (
            images.getAcquisition() if images is not None else None
        )
        if ctf is None or acquisition is None or acquisition.getVoltage() is None:
            raise ValueError(
                "Item %d of the set that the CTFs are drawn from has no %s."
                % (item.getObjId(), "CTF" if ctf is None else "microscope (voltage)")
            )
        optics = (
            acquisition.getVoltage(),
            acquisition.getSphericalAberration(),
            acquisition.getAmplitudeContrast(),
            items.getSamplingRate() if ofParticles else images.getSamplingRate(),
        )
        group = groups.setdefault(optics, len(groups) + 1)
        phase = ctf.getPhaseShift() if ctf.hasPhaseShift() else 0.0
        rows.append((*(float(value) for value in ctf.getDefocus()), phase, group))
    labels = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle", "rlnPhaseShift", "rlnOpticsGroup")
    convert.write_star(path, groups, "micrographs", labels, rows)


def _acquisition(item, ctf, ofParticles):
    """Acquisition that an item of a set tells by itself, or None."""
    if ofParticles:
        return item.getAcquisition()
    mic = getattr(ctf, "_micObj", None)
    return mic.getAcquisition() if mic is not None else None


def write_places(coordinates, folder):
    """Write where particles are to lie, a CSV file a micrograph.

    Parameters
    ----------
    coordinates : SetOfCoordinates
        With classes and angles where they have ``_gtClass``, ``_gtRot``, ``_gtTilt``, ``_gtPsi``.
    folder : str
        Emptied, or made. Files are called by the label of the micrograph.
    """
    pwutils.cleanPath(folder)
    pwutils.makePath(folder)
    index = convert.MicrographIndex(coordinates.getMicrographs())
    first = coordinates.getFirstItem()
    known = [
        (column, attribute) for column, attribute in TRUTH.items() if hasattr(first, attribute)
    ]
    rows = {label: [] for label in index.labels.values()}
    for coordinate in coordinates.iterItems():
        micId = index.find(coordinate)
        if micId is not None:
            truth = [getattr(coordinate, attribute).get(0) for _, attribute in known]
            rows[index.labels[micId]].append([*coordinate.getPosition(), *truth])
    for label, table in rows.items():
        with convert.new_file(os.path.join(folder, label + ".csv"), newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["x", "y"] + [column for column, _ in known])
            writer.writerows(table)


# ----------------------------- the engine's files -----------------------------

# emtable would guess the types of columns from their first rows.
TYPES = dict.fromkeys(
    (
        "rlnVoltage",
        "rlnSphericalAberration",
        "rlnAmplitudeContrast",
        "rlnDefocusU",
        "rlnDefocusV",
        "rlnDefocusAngle",
        "rlnPhaseShift",
        "rlnAngleRot",
        "rlnAngleTilt",
        "rlnAnglePsi",
        "rlnOriginXAngst",
        "rlnOriginYAngst",
        "rlnImagePixelSize",
        "rlnMicrographPixelSize",
    ),
    float,
)
TYPES.update(rlnOpticsGroup=int, rlnOpticsGroupName=str, rlnMicrographName=str, rlnImageName=str)


def read_rows(path):
    """Yield the rows of a CSV file of the engine, as dictionaries of text."""
    with open(path, newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            yield row


def read_star(path, table):
    """Yield the rows of a table of a star file of the engine."""
    return Table.iterRows(path, tableName=table, types=TYPES)


def read_record(folder):
    """Contents of ``simulation.json``."""
    return convert.read_json(os.path.join(folder, RECORD))


class Optics:
    """Optics groups of a star file of the engine.

    Parameters
    ----------
    star : str
    """

    def __init__(self, star):
        self._star = star
        self._rows = {row.rlnOpticsGroup: row for row in read_star(star, "optics")}

    def of(self, group):
        """Acquisition of the microscope of a group."""
        row = self._rows[group]
        return Acquisition(
            voltage=row.rlnVoltage,
            sphericalAberration=row.rlnSphericalAberration,
            amplitudeContrast=row.rlnAmplitudeContrast,
            magnification=MAGNIFICATION,
        )

    def tell(self, images):
        """Give a set of images the acquisition; several groups as the text Relion's plugin reads.

        Parameters
        ----------
        images : SetOfImages
        """
        images.setAcquisition(self.of(min(self._rows)))
        if len(self._rows) > 1:
            table = Table(fileName=self._star, tableName="optics", types=TYPES)
            text = io.StringIO()
            table.writeStar(text, tableName="optics")
            images.getAcquisition().opticsGroupInfo.set(text.getvalue())


def projection_matrix(angles, origin, pixelSize):
    """Matrix of a Transform of a set with projection alignment.

    Parameters
    ----------
    angles : sequence of 3 float
        rot, tilt, psi in degrees, Relion's.
    origin : sequence of 2 float
        rlnOriginXAngst, rlnOriginYAngst: the shift that centres the particle, Å.
    pixelSize : float
        Å.

    Returns
    -------
    ndarray, shape (4, 4)
        The inverse of "turn, then shift back", as scipion-em-relion reads and writes it.
    """
    turn = euler_to_matrix([angles])[0]
    matrix = np.eye(4)
    matrix[:3, :3] = turn.T
    matrix[:3, 3] = turn.T @ np.array([origin[0], origin[1], 0.0]) / pixelSize
    return matrix


def ctf_of(row):
    """CTF model from a row of a star file."""
    ctf = CTFModel()
    ctf.setStandardDefocus(row.rlnDefocusU, row.rlnDefocusV, row.rlnDefocusAngle)
    if "rlnPhaseShift" in row._fields:
        ctf.setPhaseShift(row.rlnPhaseShift)
    return ctf


def set_truth(item, truth):
    """Tell an item its class and Euler angles from a row of the truth."""
    for column, attribute in TRUTH.items():
        value = Integer(truth[column]) if column == "class" else Float(truth[column])
        setattr(item, attribute, value)


# --------------------------------- particles ---------------------------------


def fill_particles(particles, folder, stack="particles.mrcs"):
    """Fill a set with simulated particles.

    Parameters
    ----------
    particles : SetOfParticles
        An empty one.
    folder : str
        Output of ``apbc simulate particles``.
    stack : str, optional
        The file in the folder that holds the images.

    Raises
    ------
    ValueError
        If the star file and the table of the truth do not tell of the same images.
    """
    star = os.path.join(folder, "particles.star")
    path = os.path.join(folder, stack)
    optics = Optics(star)
    optics.tell(particles)
    pixelSize = float(read_record(folder)["pixel_size"])
    particles.setSamplingRate(pixelSize)
    hasCtf = False
    rows, truths = read_star(star, "particles"), read_rows(os.path.join(folder, "truth.csv"))
    for row, truth in zip_longest(rows, truths):
        number = int(row.rlnImageName.partition("@")[0]) if row is not None else None
        if truth is None or number != int(truth["image"]):
            raise ValueError(
                "%s and the truth.csv beside it do not tell of the same images; run the "
                "simulation again." % star
            )
        particle = Particle()
        particle.setLocation(number, path)
        particle.setSamplingRate(pixelSize)
        particle.setAcquisition(optics.of(row.rlnOpticsGroup))
        hasCtf = "rlnDefocusU" in row._fields
        if hasCtf:
            particle.setCTF(ctf_of(row))
        angles = (row.rlnAngleRot, row.rlnAngleTilt, row.rlnAnglePsi)
        origin = (row.rlnOriginXAngst, row.rlnOriginYAngst)
        particle.setTransform(Transform(projection_matrix(angles, origin, pixelSize)))
        particle._rlnOpticsGroup = Integer(row.rlnOpticsGroup)
        if "rlnRandomSubset" in row._fields:
            particle._rlnRandomSubset = Integer(row.rlnRandomSubset)
        set_truth(particle, truth)
        particle._gtVolId = Integer(truth["class"])
        particle._gtShiftX = Float(truth["shift_x"])
        particle._gtShiftY = Float(truth["shift_y"])
        particle._gtJunk = String(truth["junk"])
        particles.append(particle)
    particles.setHasCTF(hasCtf)
    particles.setAlignment(ALIGN_PROJ)


def fill_volumes(volumes, folder):
    """Fill a set with the volumes of the ground truth; ids are the numbers of the classes.

    Parameters
    ----------
    volumes : SetOfVolumes
        An empty one.
    folder : str
        Output of ``apbc simulate``.
    """
    record = read_record(folder)
    for structure in record["structures"]:
        # Those of micrographs keep the pixel size that they came with.
        pixelSize = float(structure.get("pixel_size", record["pixel_size"]))
        volumes.setSamplingRate(pixelSize)
        volume = Volume(os.path.join(folder, structure["volume"]))
        volume.setSamplingRate(pixelSize)
        volume.setObjId(int(structure["class"]))
        volume.setObjLabel(structure["name"])
        volume.setObjComment(structure["name"])
        volume._gtClass = Integer(structure["class"])
        volumes.append(volume)


def read_mask(folder):
    """Mask round all structures.

    Parameters
    ----------
    folder : str
        Output of ``apbc simulate particles``.

    Returns
    -------
    VolumeMask
    """
    mask = VolumeMask(os.path.join(folder, "mask.mrc"))
    mask.setSamplingRate(float(read_record(folder)["pixel_size"]))
    return mask


# -------------------------------- micrographs --------------------------------


def fill_micrographs(micrographs, ctfs, folder):
    """Fill two sets with simulated micrographs and their CTF.

    Parameters
    ----------
    micrographs : SetOfMicrographs
        An empty one; items carry the path of their contamination mask as ``_apbcMask``.
    ctfs : SetOfCTF
        An empty one.
    folder : str
        Output of ``apbc simulate micrographs``.
    """
    star = os.path.join(folder, "micrographs_ctf.star")
    optics = Optics(star)
    optics.tell(micrographs)
    pixelSize = float(read_record(folder)["pixel_size"])
    micrographs.setSamplingRate(pixelSize)
    for row in read_star(star, "micrographs"):
        path = os.path.join(folder, row.rlnMicrographName)
        mic = Micrograph(path)
        mic.setMicName(os.path.basename(path))
        mic.setSamplingRate(pixelSize)
        mic.setAcquisition(optics.of(row.rlnOpticsGroup))
        mic._rlnOpticsGroup = Integer(row.rlnOpticsGroup)
        mic._apbcMask = String(os.path.join(folder, "masks", os.path.basename(path)))
        micrographs.append(mic)
        ctf = ctf_of(row)
        ctf.setMicrograph(mic)
        ctfs.append(ctf)


def fill_coordinates(coordinates, micrographs, folder):
    """Fill a set with the true places of the particles, in whole pixels.

    Parameters
    ----------
    coordinates : SetOfCoordinates
        An empty one.
    micrographs : SetOfMicrographs
        Of `fill_micrographs`.
    folder : str
        Output of ``apbc simulate micrographs``.
    """
    for mic in micrographs:
        stem = convert.stem_of(mic.getMicName())
        for truth in read_rows(os.path.join(folder, "truth", stem + ".csv")):
            coordinate = Coordinate()
            coordinate.setMicrograph(mic)
            coordinate.setPosition(
                convert.nearest(float(truth["x"])), convert.nearest(float(truth["y"]))
            )
            set_truth(coordinate, truth)
            coordinate._gtVisible = Boolean(truth["visible"] == "1")
            coordinates.append(coordinate)
