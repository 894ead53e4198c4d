"""A workflow template, filled and run in a project, for tests."""

import json
import os

from pyworkflow.template import TemplateList
from pyworkflow.tests import BaseTest


def template(name):
    """Find a template of the plugin as Scipion does, with its fields told apart."""
    found = TemplateList()
    found.addPluginTemplates("apbc-" + name)
    if len(found.templates) != 1:
        raise AssertionError("Scipion finds %d templates %s" % (len(found.templates), name))
    found.templates[0].replaceEnvVariables()
    found.templates[0].parseContent()
    return found.templates[0]


def fill(name, **values):
    """Fill the fields of a template, each of which must accept its value.

    Returns
    -------
    list of dict
        The workflow.
    """
    filled = template(name)
    for alias, value in values.items():
        if filled.setParamValue(alias, str(value)) != 1:
            raise AssertionError("%s has no field %s" % (name, alias))
    for field in filled.getParams().values():
        problem = field.validate()
        if problem:
            raise AssertionError("%s: %s" % (field.getTitle(), problem))
    path = filled.createTemplateFile()
    try:
        with open(path) as handle:
            return json.load(handle)
    finally:
        os.remove(path)


class TemplateTest(BaseTest):
    """Runs templates in its project."""

    @classmethod
    def run_template(cls, name, values):
        """Load a template into the project and run it to its end.

        Returns
        -------
        dict
            Protocols by the label that the template gives them (pyworkflow 3.11.7 drops it).
        """
        flow = fill(name, **values)
        loaded = cls.proj.loadProtocols(jsonStr=json.dumps(flow))
        if len(loaded) != len(flow):
            raise AssertionError("protocols of %s are not known" % name)
        protocols = [loaded[told["object.id"]] for told in flow]
        # No GPU is asked for, so that the test is the same on every machine.
        for protocol in protocols:
            if hasattr(protocol, "useGpu"):
                protocol.useGpu.set(False)
            cls.launchProtocol(protocol)
        return {told["object.label"]: loaded[told["object.id"]] for told in flow}
