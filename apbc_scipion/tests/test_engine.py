import os
import subprocess
import tempfile
import unittest
from unittest import mock

from apbc_scipion import engine


class Job:
    """What `engine.run` asks of a protocol; its job writes to the log and fails."""

    def __init__(self, log, text):
        self.log, self.text = log, text

    def getStderrLog(self):
        return self.log

    def runJob(self, command, arguments, **options):
        with open(self.log, "a") as stream:
            stream.write(self.text)
        raise subprocess.CalledProcessError(9, command)


class TestErrors(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.log = os.path.join(folder.name, "run.stderr")

    def told(self, text):
        """Sentence of a run that fails and writes a text to the log."""
        with mock.patch.object(engine, "get_command", return_value="apbc"):
            with self.assertRaises(engine.EngineError) as caught:
                engine.run(Job(self.log, text), "pick", [])
        return str(caught.exception)

    def test_only_errors_of_this_run_are_told(self):
        first = self.told("working\napbc: error: the disk is full\n")
        self.assertEqual(first, "apbc pick: the disk is full")
        second = self.told("Killed\n")
        self.assertIn("status 9", second)
        self.assertNotIn("disk", second)

    def test_a_long_log_is_read_from_its_end(self):
        sentence = self.told("x" * 70 * 1024 + "\napbc: error: late\n")
        self.assertEqual(sentence, "apbc pick: late")
