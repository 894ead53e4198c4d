"""Help of every protocol, its parameters and its references."""

import json
import os
import unittest
from configparser import RawConfigParser

import pyworkflow

pyworkflow.Config.setDomain("pwem")

from pwem import Domain  # noqa: E402
from pyworkflow.protocol import params  # noqa: E402

import apbc_scipion  # noqa: E402
from apbc.models.architecture import ARCHITECTURES, CLASSIFIERS, architecture  # noqa: E402
from apbc_scipion import bibtex  # noqa: E402
from apbc_scipion.protocols import ApbcProtTrain  # noqa: E402

HEADINGS = ("*What it is for.*", "*Input.*", "*Output.*", "*If the result is poor.*")
INFORMATION = ("_validate", "_warnings", "_summary", "_methods", "_citations")
# What Scipion adds to every form, with its own help.
OF_SCIPION = {"runName", "runMode", "hostName"}
SHORTEST_HELP = 40
# Where users look for a protocol: sections of Scipion's tree, and groups in them.
PLACES = {
    "Imports": ("apbc simulation",),
    "Particles": ("Picking", "Preprocess"),
    "3D": ("Preprocess", "Analysis"),
}
CONF = os.path.join(os.path.dirname(apbc_scipion.__file__), "protocols.conf")


def places(tree, path=()):
    """Yield the class names of a tree of protocols.conf, each with the texts above it."""
    for item in tree:
        if item["tag"] == "protocol":
            yield item["value"], path
        else:
            for found in places(item["children"], (*path, item["text"])):
                yield found


def read_conf():
    """Read where each protocol stands."""
    parser = RawConfigParser()
    parser.optionxform = str
    parser.read(CONF)
    return dict(places(json.loads(parser.get("PROTOCOLS", "Protocols SPA"))))


class TestHelp(unittest.TestCase):
    """What a user reads in the forms."""

    @classmethod
    def setUpClass(cls):
        known = Domain.getProtocols()
        cls.classes = {name: known[name] for name in known if name.startswith("Apbc")}
        assert cls.classes, "the domain knows no protocol of the plugin"

    def parameters(self):
        """Yield class name, name and parameter of all that the plugin's forms show."""
        for name, protocolClass in self.classes.items():
            for section in protocolClass().getDefinition().iterSections():
                for key, param in section.iterParams():
                    if key not in OF_SCIPION:
                        yield name, key, param

    def test_a_field_of_a_number_that_was_emptied_is_told(self):
        emptied = 0
        for name, key, param in self.parameters():
            if isinstance(param, (params.FloatParam, params.IntParam)):
                # One that may be empty says in its help what that means.
                may = any(getattr(one, "_allowsNull", False) for one in param.validators)
                if may:
                    self.assertIn("Empty:", param.help.get(), key)
                for validator in param.validators:
                    with self.subTest(name, parameter=key):
                        self.assertEqual(len(validator(None)), 0 if may else 1)
                        emptied += 1
        self.assertGreater(emptied, 30)

    def test_protocols_conf_has_every_protocol_where_users_look(self):
        found = read_conf()
        self.assertEqual(set(found), set(self.classes))
        for name, path in found.items():
            self.assertIn(path[0], PLACES, name)
            self.assertIn(path[1], PLACES[path[0]], name)

    def test_every_protocol_has_a_help_with_the_same_parts(self):
        for name, protocolClass in self.classes.items():
            text = protocolClass.__dict__.get("__doc__") or ""
            positions = [text.find(heading) for heading in HEADINGS]
            with self.subTest(name):
                self.assertNotIn(-1, positions)
                self.assertEqual(positions, sorted(positions))
                parts = [text[a:b] for a, b in zip(positions, [*positions[1:], None])]
                for heading, part in zip(HEADINGS, parts):
                    self.assertGreater(len(part), len(heading) + SHORTEST_HELP, heading)

    def test_the_help_names_every_output(self):
        for name, protocolClass in self.classes.items():
            possible = protocolClass._possibleOutputs
            names = (
                possible
                if isinstance(possible, dict)
                else {output.value.__name__ for output in possible}
            )
            text = protocolClass.__doc__.partition("*Output.*")[2]
            for output in names:
                with self.subTest(name, output=output):
                    self.assertIn(output, text)

    def test_every_parameter_has_help(self):
        for name, key, param in self.parameters():
            with self.subTest(name, parameter=key):
                self.assertGreaterEqual(len(param.help.get() or ""), SHORTEST_HELP)

    def test_numbers_tell_their_unit_or_range(self):
        for name, key, param in self.parameters():
            number = isinstance(param, (params.IntParam, params.FloatParam))
            if number and not isinstance(param, params.EnumParam):
                with self.subTest(name, parameter=key):
                    self.assertRegex(param.getLabel() + (param.help.get() or ""), r"\d|Å")

    def test_defaults_that_the_help_tells_are_those_of_the_engine(self):
        form = ApbcProtTrain().getDefinition()
        epochs, rate = (form.getParam(name).help.get() for name in ("epochs", "learningRate"))
        for name in (*ARCHITECTURES, *CLASSIFIERS):
            network = architecture(name)
            self.assertIn("%d for _%s_" % (network.epochs, name), epochs)
            learning = ("%f" % network.learning_rate).rstrip("0")
            self.assertIn("%s for _%s_" % (learning, name), rate)

    def test_every_protocol_tells_what_it_does_and_checks_its_input(self):
        for name, protocolClass in self.classes.items():
            own = [c for c in protocolClass.__mro__ if c.__module__.startswith("apbc_scipion.")]
            for method in INFORMATION:
                with self.subTest(name, method=method):
                    self.assertTrue(any(method in vars(c) for c in own))
            self.assertIn("_possibleOutputs", vars(protocolClass))

    def test_what_is_cited_is_in_the_references(self):
        entries = bibtex.__doc__
        keys = set(apbc_scipion._references)
        for protocolClass in self.classes.values():
            keys.update(protocolClass()._citations())
        plain, train = set(ApbcProtTrain()._citations()), ApbcProtTrain(feedback=1, unlabelled=1)
        self.assertEqual(set(train._citations()) - plain, {"Bekker2019", "Kiryo2017"})
        keys.update(train._citations())
        for key in sorted(keys):
            with self.subTest(key):
                self.assertRegex(entries, r"(?m)^@\w+\{%s,$" % key)
