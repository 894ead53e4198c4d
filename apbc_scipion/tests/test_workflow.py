"""The whole path in a real project, with the real Relion.

On crops of the benchmark's real micrographs, or on simulated ones where these are not there.
"""

import os
import shutil
import tempfile
import unittest

from pwem.objects import SetOfClasses2D
from pyworkflow.tests import BaseTest, setupTestProject

from apbc_scipion import headless, workflow
from apbc_scipion.constants import SCORE
from apbc_scipion.tests import workflow_data


class TestImports(unittest.TestCase):
    """Files that go into a project."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def test_links_of_an_earlier_data_set_go(self):
        for names in (("old_1.mrc", "shared.mrc"), ("new_1.mrc", "shared.mrc")):
            data = os.path.join(self.folder, names[0])
            os.makedirs(data)
            paths = [os.path.join(data, name) for name in names]
            for path in paths:
                with open(path, "w") as handle:
                    handle.write(path)
            settings = workflow.Settings(micrographs=paths, pixelSize=1.0, diameter=100.0)
            flow = workflow.Workflow(None, settings, os.path.join(self.folder, "imports"))
            links = flow.linkMicrographs("all micrographs", [workflow.stem_of(p) for p in paths])
        self.assertEqual(sorted(os.listdir(links)), ["new_1.mrc", "shared.mrc"])
        for path in paths:
            self.assertEqual(
                os.path.realpath(os.path.join(links, os.path.basename(path))),
                os.path.realpath(path),
            )
            self.assertTrue(os.path.exists(path), "the micrograph itself stays")

    def test_coordinates_that_cannot_be_read_are_told(self):
        path = os.path.join(self.folder, "mic.csv")
        for text, words in (
            ("x,score\n1,2\n", "no column y"),
            ("", "no column x"),
            ("1,2\n3,4\n", "no column x"),
            ("x,y\n1,2\n3\n", "line 3"),
            ("x,y\n1,two\n", "line 2"),
        ):
            with open(path, "w") as handle:
                handle.write(text)
            with self.assertRaises(workflow.WorkflowError) as caught:
                workflow.read_coordinates(self.folder)
            self.assertIn("mic.csv", str(caught.exception))
            self.assertIn(words, str(caught.exception))
        with open(path, "w", encoding="utf-8-sig") as handle:
            handle.write("x, y\n1, 2.5\n")
        self.assertEqual(workflow.read_coordinates(self.folder), {"mic": [(1.0, 2.5)]})


class TestWorkflow(BaseTest):
    """Micrographs, LoG, extraction, 2D classes, training set, training, picking, evaluation."""

    @classmethod
    def setUpClass(cls):
        problem = headless.relion_problem()
        if problem:
            raise unittest.SkipTest("SKIPPED: the workflow needs Relion, but %s" % problem)
        setupTestProject(cls)
        cls.folder = tempfile.mkdtemp(prefix="apbc-workflow-")
        cls.data = workflow_data.prepare(cls.folder)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def test_workflow(self):
        settings = workflow.Settings(
            **self.data,
            training=[workflow.stem_of(path) for path in self.data["micrographs"][:3]],
            classes=8,
            iterations=8,
            epochs=8,
            edge=self.data["diameter"] / 2,
        )
        done = workflow.Workflow(self.proj, settings, os.path.join(self.folder, "imports")).run()

        self.assertIsInstance(done["classes"].outputClasses, SetOfClasses2D)
        good, bad = done["dataset"].outputDataset.getCounts()
        self.assertGreater(good, 100)
        self.assertGreater(bad, 20)
        self.assertEqual(done["dataset"].outputDataset.getMicrographs(), 3)

        coordinates = done["picks"].outputCoordinates
        self.assertEqual(len(coordinates.getUniqueValues("_micName")), workflow_data.COUNT)
        particles = done["particles"].outputParticles
        self.assertEqual(particles.getDim()[0], done["picks"].boxSize.get())
        self.assertGreater(particles.getSize(), 0.8 * coordinates.getSize())
        first = particles.getFirstItem().getCoordinate()
        self.assertTrue(hasattr(first, SCORE), "extraction keeps the score of a pick")

        # One micrograph was held out, and only that one is scored.
        evaluation = done["evaluation"]
        self.assertIn("means over 1 micrographs", evaluation.summary()[0])
        self.assertGreater(evaluation.f1.get(), 0.6, "F1")
