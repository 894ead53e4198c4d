"""Sets of 2D classes as the plugins of Relion, cryoSPARC and Xmipp leave them, for the tests."""

import os

import mrcfile
import numpy as np
from pwem.emlib.image import ImageHandler
from pwem.objects import Class2D, Particle
from pyworkflow.object import Float

from apbc_scipion.tests import common

SIDE = 46
RELION, CRYOSPARC, XMIPP = "relion", "cryosparc", "xmipp"
# Ids and kinds of the particles in the classes; kinds of averages below.
CLASSES = ((1, "good", 60), (3, "bad", 50), (4, "good", 50), (5, "good", 10), (7, "bad", 70))
GOOD_IDS, BAD_IDS = [1, 4, 5], [3, 7]


def averages():
    """Make the averages: spokes for particles, the edge of carbon for the others.

    Returns
    -------
    ndarray of float32, shape (5, SIDE, SIDE)
    """
    rng = np.random.default_rng(3)
    rows, columns = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
    distance, angle = np.hypot(rows, columns), np.arctan2(rows, columns)
    radius = common.DIAMETER / common.PIXEL_SIZE / 2
    images = []
    for _, kind, _ in CLASSES:
        if kind == "good":
            image = np.cos(6 * angle) * np.sin(distance) * (distance < 0.9 * radius)
        else:
            image = np.where(columns < -3, 0.0, 1.0)
        images.append(image + rng.normal(0, 0.03, image.shape))
    return np.array(images, np.float32)


def write_averages(folder, program):
    """Write the averages in the file that a program writes.

    Returns
    -------
    str
        Path of the stack.
    """
    names = {
        RELION: "relion_it025_classes.mrcs",
        CRYOSPARC: "cryosparc_P1_J2_020_class_averages.mrc",
        XMIPP: "level_00_classes.stk",
    }
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, names[program])
    stack = path if program != XMIPP else os.path.splitext(path)[0] + ".mrcs"
    with mrcfile.new(stack, overwrite=True) as handle:
        handle.set_data(averages())
        if program != CRYOSPARC:
            handle.set_image_stack()
        handle.voxel_size = common.PIXEL_SIZE
    if program == XMIPP:
        ImageHandler().convertStack(stack, path)
        os.remove(stack)
    return path


def register(test, protocol, particles, program):
    """Give a finished protocol an output of 2D classes.

    Parameters
    ----------
    test : BaseTest
    protocol : Protocol
        With an output ``outputParticles``.
    particles : dict of str to SetOfParticles
        By kind, "good" and "bad".
    program : str

    Returns
    -------
    str
        Name of the output.
    """
    stack = write_averages(protocol._getExtraPath(program), program)
    classes = protocol._createSetOfClasses2D(
        common.pointer(protocol, "outputParticles"), suffix=program
    )
    waiting = {kind: [item.clone() for item in items] for kind, items in particles.items()}
    for number, (classId, kind, size) in enumerate(CLASSES, 1):
        item = Class2D(objId=classId)
        item.copyInfo(protocol.outputParticles)
        average = Particle()
        average.setLocation(number, stack)
        item.setRepresentative(average)
        if program == CRYOSPARC:
            average.setSamplingRate(common.PIXEL_SIZE)
        if program == RELION:
            item._rlnEstimatedResolution = Float(8.0 + number)
            item._rlnPredictedClassScore = Float(0.9 / number)
            item._rlnClassDistribution = Float(size / 240.0)
        classes.append(item)
        for _ in range(size):
            particle = waiting[kind].pop()
            particle.setObjId(None)
            item.append(particle)
        classes.update(item)
    name = program + "Classes"
    protocol._defineOutputs(**{name: classes})
    protocol._store()
    test.proj.mapper.commit()
    return name
