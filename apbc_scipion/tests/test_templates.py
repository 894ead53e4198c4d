"""The workflow templates: found, filled, loaded into a project, and run with the real Relion."""

import glob
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

from pwem.objects import SetOfParticles
from pyworkflow.template import TemplateList
from pyworkflow.tests import setupTestProject

from apbc_scipion import convert, headless
from apbc_scipion.constants import SCORE
from apbc_scipion.tests import workflow_data
from apbc_scipion.tests.template_project import TemplateTest, template

NAMES = (
    "pick_from_2d_classes",
    "pick_from_micrographs",
    "pick_without_labels",
    "screen_particles",
)


class TestFields(unittest.TestCase):
    """What a template asks for."""

    def test_scipion_finds_them(self):
        found = TemplateList()
        found.addPluginTemplates()
        names = sorted(item.name for item in found.templates if item.source == "apbc")
        self.assertEqual(tuple(names), NAMES)
        for item in found.templates:
            if item.source == "apbc":
                self.assertGreater(len(item.description), 50)

    def test_every_field_is_replaced(self):
        # Scipion knows a field by its title, so one that stands twice would be filled once.
        for name in NAMES:
            found = template(name)
            fields = found.getParams()
            self.assertEqual(len(fields), len(found.getContent()) // 2, name)
            aliases = [field.getAlias() for field in fields.values()]
            self.assertEqual(len(set(aliases)), len(aliases), name)
            self.assertNotIn(None, aliases)

    def test_sizes_must_be_given(self):
        for name, aliases in (
            ("pick_from_micrographs", ("folder", "pixel", "diameter", "box", "smallest")),
            ("pick_from_2d_classes", ("folder", "star", "pixel", "particlepixel", "diameter")),
            ("pick_without_labels", ("folder", "pixel")),
            ("screen_particles", ("star", "pixel", "model")),
        ):
            fields = {field.getAlias(): field for field in template(name).getParams().values()}
            for alias in aliases:
                self.assertTrue(fields[alias].validate(), "%s: %s" % (name, alias))

    def test_command(self):
        """`scipion template` makes a project of one, without a window when all is given."""
        folder = tempfile.mkdtemp(prefix="apbc-template-")
        self.addCleanup(shutil.rmtree, folder)
        star = os.path.join(folder, "particles.star")
        open(star, "w").close()
        project = "apbc_template_test"
        values = dict(star=star, pixel=3.54, kv=300, cs=2.7, ac=0.1, model=folder)
        done = subprocess.run(
            [sys.executable, "-m", "scipion", "template", "apbc-screen_particles", "--nogui"]
            + ["--noschedule", "project_name=" + project]
            + ["%s=%s" % item for item in values.items()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
        )
        made = os.path.join(os.environ["SCIPION_USER_DATA"], "projects", project)
        self.addCleanup(shutil.rmtree, made, ignore_errors=True)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertTrue(os.path.exists(os.path.join(made, "project.sqlite")), done.stdout)


class TestTemplates(TemplateTest):
    """From micrographs to re-picked particles; the other two start from what that made."""

    @classmethod
    def setUpClass(cls):
        problem = headless.relion_problem()
        if problem:
            raise unittest.SkipTest("SKIPPED: the templates need Relion, but %s" % problem)
        setupTestProject(cls)
        cls.folder = tempfile.mkdtemp(prefix="apbc-templates-")
        cls.data = workflow_data.prepare(cls.folder)
        cls.done = cls.run_template("pick_from_micrographs", cls.first_values())

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def first_values(cls):
        diameter, pixelSize = cls.data["diameter"], cls.data["pixelSize"]
        return dict(
            folder=os.path.dirname(cls.data["micrographs"][0]),
            pixel=pixelSize,
            box=2 * round(0.75 * diameter / pixelSize),
            smallest=int(0.8 * diameter),
            largest=int(1.2 * diameter),
            image=30,
            classes=8,
            iterations=5,
            threads=2,
            diameter=diameter,
            epochs=3,
        )

    def test_from_micrographs(self):
        dataset = self.done["training set"]
        good, bad = dataset.outputDataset.getCounts()
        self.assertGreater(good, 100)
        self.assertGreater(bad, 20)
        told = "\n".join(dataset.summary())
        self.assertIn("Classes chosen by the rule", told)
        self.assertIn("Please check them", told)
        picks = self.done["picking"]
        self.assertEqual(
            len(picks.outputCoordinates.getUniqueValues("_micName")), workflow_data.COUNT
        )
        particles = self.done["extraction of picks"].outputParticles
        self.assertEqual(particles.getDim()[0], picks.boxSize.get())
        self.assertGreater(particles.getSize(), 0.8 * picks.outputCoordinates.getSize())

    def test_from_classes(self):
        """The classes that Relion made above, through its own files."""
        classes = self.done["2D classification"].outputClasses
        star = glob.glob(
            self.proj.getPath(os.path.dirname(classes.getFileName()), "extra", "*_it005_data.star")
        )
        first = self.first_values()
        done = self.run_template(
            "pick_from_2d_classes",
            dict(
                folder=first["folder"],
                pixel=first["pixel"],
                star=os.path.abspath(star[0]),
                particlepixel=classes.getSamplingRate(),
                diameter=first["diameter"],
                epochs=1,
            ),
        )
        imported = done["import 2D classes"].outputClasses
        self.assertEqual(imported.getSize(), classes.getSize())
        self.assertEqual(
            done["training set"].outputDataset.getCounts(),
            self.done["training set"].outputDataset.getCounts(),
        )
        self.assertGreater(done["extraction of picks"].outputParticles.getSize(), 0)

    def test_screening(self):
        """The particles of the blind picking, and the model, of the first template."""
        source = self.done["extraction for 2D classification"]
        particles = source.outputParticles
        star = os.path.abspath(self.proj.getPath("blind.star"))  # paths in it begin there
        convert.write_particles(
            particles.iterItems(), star, folder=os.path.join(self.folder, "stacks")
        )
        done = self.run_template(
            "screen_particles",
            dict(
                star=star,
                pixel=particles.getSamplingRate(),
                model=os.path.abspath(self.done["training"].outputModel.getPath()),
            ),
        )
        sets = [items for _, items in done["screening"].iterOutputAttributes(SetOfParticles)]
        self.assertEqual(sum(items.getSize() for items in sets), len(particles))
        self.assertTrue(hasattr(sets[0].getFirstItem(), SCORE))
