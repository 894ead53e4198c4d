"""Tell how pure the classes are that the written rule calls good and bad.

    . scripts/env.sh
    python benchmarks/classes.py demo/project --truth demo/data/truth --diameter 173.7

For every set of 2D classes in a Scipion project (such as the demo's), prints the share of
particles within half a diameter of a true one: of all, of the good and bad classes that the rule
suggests, and of those it calls so unattended. The truth is a folder of CSV files with columns x
and y, one a micrograph.
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np


def purity_by_class(classes, truth, diameter):
    """Count particles, and those on a true particle, by class.

    Returns
    -------
    dict of int to (int, int)
    """
    from scipy.spatial import cKDTree

    from apbc_scipion import convert
    from apbc_scipion.pick_sources import micrographs_of

    micrographs = micrographs_of(classes.getImages())
    scale = convert.particle_scale(classes.getImages(), micrographs)
    radius = diameter / 2 / micrographs.getSamplingRate()
    trees = {stem: cKDTree(np.asarray(points)) for stem, points in truth.items() if points}
    counts = {}
    for item in classes.iterItems():
        total = right = 0
        for particle in item.iterItems():
            coordinate = particle.getCoordinate()
            tree = trees.get(convert.stem_of(coordinate.getMicName()))
            place = np.array(coordinate.getPosition()) * scale
            total += 1
            right += tree is not None and tree.query(place)[0] <= radius
        counts[item.getObjId()] = total, right
    return counts


def share(counts, ids):
    """Purity of some classes, with their number of particles."""
    total = sum(counts[i][0] for i in ids)
    right = sum(counts[i][1] for i in ids)
    return f"{right / total:.3f} ({total})" if total else "none"


def main():
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("project", type=Path)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--diameter", type=float, required=True, metavar="A")
    arguments = parser.parse_args()
    import pyworkflow

    pyworkflow.Config.setDomain("pwem")
    from pwem.objects import SetOfClasses2D
    from pyworkflow.project import Project

    from apbc_scipion.choose_classes import choose_classes, describe_classes
    from apbc_scipion.workflow import read_coordinates

    truth = read_coordinates(os.path.abspath(arguments.truth))
    domain = pyworkflow.Config.getDomain()
    domain.getProtocols()
    project = Project(domain, str(arguments.project.resolve()))
    project.load()
    for run in project.getRuns():
        for _, classes in run.iterOutputAttributes(SetOfClasses2D):
            counts = purity_by_class(classes, truth, arguments.diameter)
            described = describe_classes(classes, arguments.diameter)
            sys.stdout.write(f"{run.getObjLabel()}: all {share(counts, counts)}\n")
            for word, choice in (
                ("suggested", choose_classes(described)),
                ("unattended", choose_classes(described, unattended=True)),
            ):
                good, bad = share(counts, choice.good), share(counts, choice.bad)
                sys.stdout.write(f"  {word:10}  good {good}, bad {bad}\n")


if __name__ == "__main__":
    main()
