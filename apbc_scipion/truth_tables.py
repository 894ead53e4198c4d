"""Sets of Scipion to the tables that ``apbc metrics`` reads.

A row is known by an *id*: the object id of a particle or volume. What belongs together and does
not match is named, never skipped.
"""

import csv
import math
import os
import re
from collections import Counter, defaultdict

import numpy as np
import pyworkflow.utils as pwutils
from pwem.constants import ALIGN_PROJ
from pwem.objects import SetOfClasses
from pyworkflow.object import Integer, String

from apbc.geometry import matrix_to_euler
from apbc_scipion.convert import new_file

# Attributes that simulated particles and volumes carry.
TRUE_CLASS = "_gtClass"
TRUE_VOLUME = "_gtVolId"
TRUE_POSE = ("_gtRot", "_gtTilt", "_gtPsi", "_gtShiftX", "_gtShiftY")
POSE_COLUMNS = ("rot", "tilt", "psi", "shift_x", "shift_y")

JUNK = 0  # class of what is no particle

MRC_EXTENSIONS = (".mrc", ".map", ".mrcs", ".ccp4", ".rec")
WHOLE = re.compile(r"-?\d+$")
MOST_NAMED = 8  # ids that a sentence names


# ---------------------------------- ids ---------------------------------------


def name_ids(ids):
    """Name ids in a sentence: ``"3, 7 and 12 more"``.

    Parameters
    ----------
    ids : iterable

    Returns
    -------
    str
    """
    ids = sorted(ids, key=lambda value: (isinstance(value, str), value))
    text = ", ".join(str(value) for value in ids[:MOST_NAMED])
    return text + (" and %d more" % (len(ids) - MOST_NAMED) if len(ids) > MOST_NAMED else "")


def object_id(item):
    """Object id of an item."""
    return item.getObjId()


def image_name(item):
    """Name the image of an item as RELION does: ``"000012@FOLDER/STACK.mrcs"``."""
    index, path = item.getLocation()
    return "%06d@%s" % (index or 1, path)


# ------------------------------- attributes -----------------------------------


def particles_of(items):
    """Items of a set of particles, or of all classes of a classification.

    Yields
    ------
    Particle
        The same object again and again, as sets give their items.
    """
    for item in items.iterItems():
        if isinstance(items, SetOfClasses):
            for particle in item.iterItems():
                yield particle
        else:
            yield item


def value_of(item, name):
    """Value of an attribute of an item of a set.

    Parameters
    ----------
    item : pyworkflow.object.Object
    name : str
        With dots for an attribute of an attribute, as ``"_ctfModel._defocusU"``.

    Returns
    -------
    object or None
        None where there is no such attribute or it has no value.
    """
    for part in name.split("."):
        item = getattr(item, part, None)
        if item is None:
            return None
    return item.get() if hasattr(item, "get") else item


def collect_values(items, names, key=object_id):
    """Values of attributes of each item of a set.

    Parameters
    ----------
    items : EMSet
        A set of particles or volumes, or classes of particles.
    names : sequence of str
        Attributes, as of `value_of`.
    key : callable, optional
        Gives the id of an item: `object_id` or `image_name`.

    Returns
    -------
    dict of dict
        By attribute: value by id; None where an item has none. Whole numbers are int.

    Raises
    ------
    ValueError
        If no item has an attribute; the attributes there are are named.
    """
    values = {name: {} for name in names}
    for item in particles_of(items):
        one = key(item)
        for name in names:
            values[name][one] = as_whole(value_of(item, name))
    for name in names:
        if all(value is None for value in values[name].values()):
            raise ValueError(
                "The items have no attribute '%s', which should tell the truth; they have %s. "
                "Name one of these, or give a set that knows the truth."
                % (name, attributes_of(items))
            )
    return values


def collect_labels(items, name, key=object_id):
    """Collect the true label of each item of a set, which all must have.

    Parameters
    ----------
    items, key
        As of `collect_values`.
    name : str
        Attribute.

    Returns
    -------
    dict
        Label by id.

    Raises
    ------
    ValueError
        If an item has none.
    """
    labels = collect_values(items, [name], key)[name]
    check_complete(labels, name)
    return labels


def check_complete(labels, name):
    """Refuse labels of which some are missing; `name` is their attribute.

    Raises
    ------
    ValueError
        Names the items.
    """
    without = [one for one, label in labels.items() if label is None]
    if without:
        raise ValueError(
            "Items without a value of '%s': %s. Leave them out of the set."
            % (name, name_ids(without))
        )


def check_several(labels):
    """Refuse labels of one class only; junk is no class.

    Parameters
    ----------
    labels : dict
        By id.

    Raises
    ------
    ValueError
        If there are not two classes or more.
    """
    classes = set(labels.values()) - {JUNK}
    if len(classes) < 2:
        raise ValueError(
            "All particles are of %s, so that no way to sort them is better than another; give "
            "particles of several true classes, or name a continuous truth."
            % ("class %s" % classes.pop() if classes else "no class, but junk")
        )


def has_attribute(items, name):
    """Whether the items of a set have an attribute (the first may have no value in it)."""
    item = next(particles_of(items), None)
    for part in name.split("."):
        item = getattr(item, part, None)
    return item is not None


def attributes_of(items):
    """Names of the attributes of the items of a set, for a sentence."""
    first = next(particles_of(items), None)
    return ", ".join(name for name, _ in first.getAttributesToStore()) if first else "none"


def as_whole(value):
    """Return a number without fraction, or a text of one, as an int; anything else as it is."""
    if isinstance(value, str) and WHOLE.match(value):
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def label_object(label):
    """Scipion's object for a class, to be an attribute of an item."""
    return Integer(label) if isinstance(as_whole(label), int) else String(label)


# ---------------------------------- poses -------------------------------------


def collect_alignment(particles, told, key=object_id):
    """Poses of particles from their projection alignment, in RELION's convention.

    Parameters
    ----------
    particles : SetOfParticles
    told : str
        What they are, for a sentence.
    key : callable, optional
        Gives the id of a particle: `object_id` or `image_name`.

    Returns
    -------
    dict of ndarray
        By id: rot, tilt and psi in degrees, and the displacement of the particle's
        content from the centre of the box along x and y in Å, shape (5,). RELION's star files
        hold the negative of this displacement (``rlnOriginXAngst``).

    Raises
    ------
    ValueError
        If the set has no projection alignment.
    """
    if particles.getAlignment() != ALIGN_PROJ:
        raise ValueError(
            "The %s have no angles of a 3D alignment; take the output of a 3D refinement." % told
        )
    ids, matrices = [], []
    for particle in particles.iterItems():
        ids.append(key(particle))
        matrices.append(np.array(particle.getTransform().getMatrix(), float))
    # Scipion's matrix takes the image to the volume. Its inverse turns the volume first and then
    # shifts it, as relion.convert writes it.
    inverse = np.linalg.inv(np.array(matrices).reshape(-1, 4, 4))
    mirrored = [one for one, m in zip(ids, inverse) if np.linalg.det(m[:3, :3]) < 0]
    if mirrored:
        raise ValueError(
            "The alignment of the %s mirrors images: %s; there is no such rotation."
            % (told, name_ids(mirrored))
        )
    shifts = inverse[:, :2, 3] * particles.getSamplingRate()
    poses = np.hstack([matrix_to_euler(inverse[:, :3, :3]), shifts])
    return dict(zip(ids, poses))


def turn_of(rotation):
    """Angle of a rotation matrix, in degrees."""
    return float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))


def length_of(vector):
    """Euclidean length of a vector."""
    return float(np.linalg.norm(vector))


def has_true_pose(particles):
    """Whether the particles of a set carry the pose they were simulated with."""
    first = next(particles_of(particles), None)
    return first is not None and all(hasattr(first, name) for name in TRUE_POSE)


def collect_true_poses(particles, key=object_id):
    """Poses that particles were simulated with.

    Parameters
    ----------
    particles : SetOfParticles
        See `has_true_pose`.
    key : callable, optional
        Gives the id of a particle: `object_id` or `image_name`.

    Returns
    -------
    dict of ndarray
        As of `collect_alignment`; zeros for junk, which has no pose.

    Raises
    ------
    ValueError
        If a particle that is no junk has none.
    """
    poses, without = {}, []
    for particle in particles_of(particles):
        pose = [value_of(particle, name) for name in TRUE_POSE]
        if None in pose:
            if value_of(particle, TRUE_CLASS) != JUNK:
                without.append(key(particle))
            pose = [0.0] * len(pose)
        poses[key(particle)] = np.array(pose, float)
    if without:
        raise ValueError("Particles without a true pose: %s." % name_ids(without))
    return poses


# --------------------------------- latents ------------------------------------


def has_latents(items):
    """Whether the items of a set carry coordinates of a latent space."""
    first = items.getFirstItem()
    return first is not None and hasattr(first, "getZFlex")


def collect_latents(items, names=(), key=object_id):
    """Latent coordinates of the items of a set.

    Parameters
    ----------
    items : EMSet
    names : sequence of str, optional
        Attributes with a number each; without them the items' own (``getZFlex``).
    key : callable, optional
        Gives the id of an item: `object_id` or `image_name`.

    Returns
    -------
    dict of ndarray, shape (dimensions,)
        By id.

    Raises
    ------
    ValueError
        If items have none, or not all as many, or one that is no number.
    """
    if not names and not has_latents(items):
        raise ValueError(
            "The particles have no latent coordinates; name the attributes that hold them, of %s."
            % attributes_of(items)
        )
    latents = {}
    for item in items.iterItems():
        z = [value_of(item, name) for name in names] if names else item.getZFlex()
        without = [name for name, value in zip(names, z) if not isinstance(value, (int, float))]
        if without:
            raise ValueError(
                "Particle %s has no number in the attribute '%s'; the particles have the "
                "attributes %s." % (key(item), "', '".join(without), attributes_of(items))
            )
        latents[key(item)] = np.asarray(z, float)
    sizes = Counter(len(z) for z in latents.values())
    usual = sizes.most_common(1)[0][0] if sizes else 0
    odd = [one for one, z in latents.items() if len(z) != usual]
    if odd:
        raise ValueError(
            "Particles with other than %d latent coordinates: %s." % (usual, name_ids(odd))
        )
    if not usual:
        raise ValueError("The particles have no latent coordinates: those there are are empty.")
    broken = [one for one, z in latents.items() if not np.isfinite(z).all()]
    if broken:
        raise ValueError(
            "Latent coordinates that are no numbers (NaN or infinity): particles %s. Leave them "
            "out, or run the program again." % name_ids(broken)
        )
    return latents


# --------------------------------- classes ------------------------------------


def collect_members(classes, key=object_id):
    """Class of each particle of a classification.

    Parameters
    ----------
    classes : SetOfClasses
    key : callable, optional
        Gives the id of a particle: `object_id` or `image_name`.

    Returns
    -------
    dict of int
        Id of the class by id of the particle.

    Raises
    ------
    ValueError
        If a particle is in two classes.
    """
    members, twice = {}, set()
    for one in classes.iterItems():
        for particle in one.iterItems():
            if key(particle) in members:
                twice.add(key(particle))
            members[key(particle)] = one.getObjId()
    if twice:
        raise ValueError("Particles that are in two classes: %s." % name_ids(twice))
    return members


def count_images(members, labels):
    """Count the images of each true label in each class.

    Parameters
    ----------
    members, labels : dict
        Class and true label, by id of the particle.

    Returns
    -------
    dict of Counter
        By true label: images by class.
    """
    found = defaultdict(Counter)
    for one, label in labels.items():
        if one in members:
            found[label][members[one]] += 1
    return found


def most_common(counts):
    """Class with most images, the first of several; and how many."""
    return min(counts.items(), key=lambda pair: (-pair[1], pair[0]))


# --------------------------------- volumes ------------------------------------


def mrc_of(volume, folder, label):
    """File of a volume, converted to MRC where it is something else.

    Parameters
    ----------
    volume : Volume
    folder : str
        Where a converted volume goes; made if needed.
    label : str
        Stem of a converted volume.

    Returns
    -------
    str

    Raises
    ------
    FileNotFoundError
        If the file is missing.
    ValueError
        If it cannot be converted.
    """
    index, path = volume.getLocation()
    path = path[: -len(":mrc")] if path.endswith(":mrc") else path
    if not os.path.exists(path):
        raise FileNotFoundError(
            "The file of volume %s is missing: %s. Restore it, or run again what made it."
            % (volume.getObjId() or label, path)
        )
    if index in (0, 1) and path.lower().endswith(MRC_EXTENSIONS):
        return path
    from pwem.emlib.image import ImageHandler

    pwutils.makePath(folder)
    converted = os.path.join(folder, label + ".mrc")
    try:
        ImageHandler().convert(volume, converted)
    except Exception as error:  # of any reader; what they raise is not written down
        raise ValueError(
            "Volume %s cannot be converted to MRC (%s); convert it with the program that made it."
            % (path, error)
        ) from error
    return converted


# ---------------------------------- tables ------------------------------------


def write_table(path, columns, rows):
    """Write a CSV table.

    Parameters
    ----------
    path : str
    columns : sequence of str
    rows : iterable of sequence
        Cells; None and NaN are left empty.

    Returns
    -------
    str
        `path`.
    """
    with new_file(path, newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_cell(value) for value in row] for row in rows)
    return path


def _cell(value):
    """Text of a cell."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return "%.9g" % value if isinstance(value, float) else value


def read_table(path):
    """Read a CSV table.

    Parameters
    ----------
    path : str

    Returns
    -------
    list of dict
        Text by heading, a dict a row.
    """
    with open(path, newline="") as handle:
        return list(csv.DictReader(handle))
