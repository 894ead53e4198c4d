"""Small sets of micrographs, particles and classes in a project, for the tests."""

import os
import shutil
import time

import mrcfile
import numpy as np
from pwem.objects import Coordinate, Particle, SetOfParticles
from pwem.protocols import ProtImportCoordinates, ProtImportMicrographs, ProtImportParticles
from pyworkflow.object import Pointer
from pyworkflow.protocol import isProtocolUpToDate
from scipy import ndimage

from apbc_scipion import workflow

PIXEL_SIZE = 4.0
DIAMETER = 120.0
SHAPE = (384, 320)  # rows, columns: rectangular


def write_micrographs(folder, count=5, seed=7, particles=24, bad=24, shape=SHAPE):
    """Write noisy micrographs with dark discs (good) and dark rings of twice the size (bad).

    Returns
    -------
    dict
        ``{"good": {stem: [(x, y)]}, "bad": {stem: [(x, y)]}}``
    """
    os.makedirs(folder, exist_ok=True)
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    truth = {"good": {}, "bad": {}}
    radius = DIAMETER / PIXEL_SIZE / 2
    for number in range(count):
        stem = "mic_%02d" % number
        image = rng.normal(0, 1, shape)
        cells = [(x, y) for y in range(24, shape[0] - 24, 44) for x in range(24, shape[1] - 24, 44)]
        rng.shuffle(cells)
        places = [(x + rng.integers(-2, 3), y + rng.integers(-2, 3)) for x, y in cells]
        chosen = {"good": places[:particles], "bad": places[particles : particles + bad]}
        for kind, centres in chosen.items():
            for x, y in centres:
                distance = np.hypot(columns - x, rows - y)
                if kind == "good":
                    image -= 3.0 * np.exp(-((distance / (0.6 * radius)) ** 2))
                else:
                    image += 3.0 * np.exp(-(((distance - radius) / 3) ** 2))
            truth[kind][stem] = [(int(x), int(y)) for x, y in centres]
        with mrcfile.new(os.path.join(folder, stem + ".mrc"), overwrite=True) as handle:
            handle.set_data(image.astype(np.float32))
            handle.voxel_size = PIXEL_SIZE
    return truth


BARE_DIAMETER = 160.0


def write_bare_micrographs(folder, count=4, seed=3, particles=24, shape=(416, 384)):
    """Write noisy micrographs with dark discs alone, on which nothing is labelled.

    Returns
    -------
    dict of str to list of (float, float)
        Where they are, for scores only.
    """
    os.makedirs(folder, exist_ok=True)
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    radius = BARE_DIAMETER / PIXEL_SIZE / 2
    truth = {}
    for number in range(count):
        image = ndimage.gaussian_filter(rng.normal(0, 1, shape), 0.7)
        step = round(3.2 * radius)
        cells = [
            (x, y)
            for y in range(step // 2, shape[0] - step // 2, step)
            for x in range(step // 2, shape[1] - step // 2, step)
        ]
        rng.shuffle(cells)
        places = [tuple(np.add(cell, rng.integers(-5, 6, 2))) for cell in cells[:particles]]
        for x, y in places:
            image -= 0.5 - 0.5 * np.tanh((np.hypot(columns - x, rows - y) - radius) / 1.5)
        stem = "mic_%02d" % number
        truth[stem] = [(float(x), float(y)) for x, y in places]
        with mrcfile.new(os.path.join(folder, stem + ".mrc"), overwrite=True) as handle:
            handle.set_data(image.astype(np.float32))
            handle.voxel_size = PIXEL_SIZE
    return truth


def import_micrographs(test, pattern, pixelSize=PIXEL_SIZE, label="import micrographs"):
    """Import micrographs into the project of a test."""
    protocol = test.newProtocol(
        ProtImportMicrographs,
        filesPath=os.path.dirname(pattern),
        filesPattern=os.path.basename(pattern),
        samplingRate=pixelSize,
        voltage=300,
        sphericalAberration=2.7,
        amplitudeContrast=0.1,
        objLabel=label,
    )
    test.launchProtocol(protocol)
    return protocol


def wait_for(test, protocol, condition, seconds=120):
    """Wait until a running protocol fulfils a condition, and return it updated."""
    end = time.time() + seconds
    while time.time() < end:
        test.proj._updateProtocol(protocol)
        # The project takes a run that ends while it looks for one that has died.
        if protocol.isFailed() and not isProtocolUpToDate(protocol):
            test.proj._updateProtocol(protocol)
        if condition(protocol):
            return protocol
        test.assertFalse(protocol.isFailed(), protocol.getErrorMessage())
        time.sleep(1)
    raise AssertionError("%s took longer than %d s" % (protocol, seconds))


def launch_on_stream(test, mics, folder, make, first=2):
    """Launch a protocol on micrographs that arrive while it runs, and check its coordinates.

    Parameters
    ----------
    test : BaseTest
    mics : str
        Folder of all micrographs.
    folder : str
        Where they arrive; made here.
    make : callable
        Given the import, makes the protocol.
    first : int
        Micrographs that are there at the beginning.

    Returns
    -------
    Protocol
        Finished.
    """
    os.makedirs(folder)
    names = sorted(os.listdir(mics))
    source = test.newProtocol(
        ProtImportMicrographs,
        filesPath=folder,
        filesPattern="*.mrc",
        samplingRate=PIXEL_SIZE,
        voltage=300,
        sphericalAberration=2.7,
        amplitudeContrast=0.1,
        dataStreaming=True,
        timeout=600,
        fileTimeout=2,
    )
    for name in names[:first]:
        shutil.copyfile(os.path.join(mics, name), os.path.join(folder, name))
    test.proj.launchProtocol(source, wait=False)
    source = wait_for(test, source, lambda prot: prot.hasAttribute("outputMicrographs"))
    test.assertTrue(source.outputMicrographs.isStreamOpen())
    protocol = make(source)
    test.proj.launchProtocol(protocol, wait=False)
    protocol = wait_for(test, protocol, lambda prot: prot.hasAttribute("outputCoordinates"))
    test.assertTrue(protocol.outputCoordinates.isStreamOpen())
    for name in names[first:]:
        shutil.copyfile(os.path.join(mics, name), os.path.join(folder, name))
    source = wait_for(test, source, lambda prot: prot.outputMicrographs.getSize() == len(names))
    source.stopImport(None)
    protocol = wait_for(test, protocol, lambda prot: not prot.isActive())
    test.assertTrue(protocol.isFinished(), protocol.getErrorMessage())
    test.assertTrue(protocol.outputCoordinates.isStreamClosed())
    return protocol


def import_coordinates(test, protMics, points, path, label):
    """Import coordinates on imported micrographs; `points` is ``{stem: [(x, y)]}``."""
    sqlite = workflow.write_coordinates(protMics.outputMicrographs, points, path, box=46)
    protocol = test.newProtocol(
        ProtImportCoordinates,
        importFrom=ProtImportCoordinates.IMPORT_FROM_SCIPION,
        filesPath=sqlite,
        boxSize=46,
        objLabel=label,
    )
    protocol.inputMicrographs.set(protMics)
    protocol.inputMicrographs.setExtended("outputMicrographs")
    test.launchProtocol(protocol)
    return protocol


def pointer(protocol, output):
    """Pointer to an output, as the form makes it."""
    return Pointer(protocol, extended=output)


def crop_particles(protMics, points, path, box=46, scale=1):
    """Cut particles out of micrographs into a stack and a particles.sqlite with coordinates.

    The particles are white, as extraction makes them.

    Returns
    -------
    str
        Path of the sqlite, for an import of particles.
    """
    mics = {workflow.stem_of(mic.getMicName()): mic.clone() for mic in protMics.outputMicrographs}
    half = box // 2
    images, coordinates = [], []
    for stem, places in sorted(points.items()):
        with mrcfile.open(
            os.path.join(protMics.getProject().getPath(), mics[stem].getFileName())
        ) as handle:
            image = -np.pad(handle.data, half, mode="reflect")
        for x, y in places:
            images.append(image[y : y + box, x : x + box])
            coordinates.append((mics[stem], x, y))
    stack = os.path.splitext(path)[0] + ".mrcs"
    with mrcfile.new(stack, overwrite=True) as handle:
        handle.set_data(np.stack(images).astype(np.float32))
        handle.voxel_size = PIXEL_SIZE
    if os.path.exists(path):
        os.remove(path)
    particles = SetOfParticles(filename=path)
    particles.copyInfo(protMics.outputMicrographs)
    particles.setSamplingRate(PIXEL_SIZE)
    for number, (mic, x, y) in enumerate(coordinates, 1):
        particle = Particle()
        particle.setLocation(number, stack)
        particle.setSamplingRate(PIXEL_SIZE)
        particle.setAcquisition(mic.getAcquisition())
        coordinate = Coordinate(x=x, y=y)
        coordinate.setMicrograph(mic)
        particle.setCoordinate(coordinate)
        particle.setMicId(mic.getObjId())
        particles.append(particle)
    particles.write()
    particles.close()
    return path


def import_particles(test, sqlite, label):
    """Import particles from a particles.sqlite."""
    protocol = test.newProtocol(
        ProtImportParticles,
        importFrom=ProtImportParticles.IMPORT_FROM_SCIPION,
        sqliteFile=sqlite,
        samplingRate=PIXEL_SIZE,
        voltage=300,
        sphericalAberration=2.7,
        amplitudeContrast=0.1,
        objLabel=label,
    )
    test.launchProtocol(protocol)
    return protocol
