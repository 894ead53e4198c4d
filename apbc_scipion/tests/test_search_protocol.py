"""The search of training settings, launched in a real project with tiny trainings."""

import json
import os
from unittest import mock

from pyworkflow.config import Config
from pyworkflow.viewer import DESKTOP_TKINTER

from apbc_scipion.protocols import ApbcProtSearch
from apbc_scipion.tests.project import ProtocolTest
from apbc_scipion.viewers.report_record import ReportRecord


class TestSearch(ProtocolTest):
    """One search of a small training set, made once."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.protDataset = cls.datasetFromCoordinates()
        cls.launchProtocol(cls.protDataset)
        cls.protSearch = cls.newSearch(trials=1, epochs=1, batchSize=4)
        cls.launchProtocol(cls.protSearch)

    @classmethod
    def newSearch(cls, **values):
        protocol = cls.newProtocol(ApbcProtSearch, useGpu=False, **values)
        cls.link(protocol, "inputDataset", cls.protDataset, "outputDataset")
        return protocol

    def test_the_output_is_a_model_like_that_of_a_training(self):
        model = self.protSearch.outputModel
        self.assertEqual(model.getDevice(), "cpu")
        self.assertEqual(model.getArchitecture(), "dense")
        self.assertTrue(model.isRefitted())
        self.assertTrue(model.getHeldOutFigures())
        self.assertTrue(os.path.exists(self.proj.getPath(model.getPath(), "report.html")))

    def test_what_is_told(self):
        summary = "\n".join(self.protSearch.summary())
        self.assertIn("The defaults stay", summary)
        self.assertIn("kept aside", summary)
        self.assertIn("best of 1", "\n".join(self.protSearch.methods()))
        waiting = self.newSearch()
        self.assertIn("no results yet", "\n".join(waiting.summary()))

    def test_the_viewer_shows_table_picture_and_page(self):
        found = Config.getDomain().findViewers(self.protSearch, DESKTOP_TKINTER)
        self.assertEqual([viewer.__name__ for viewer in found], ["ApbcSearchViewer"])
        record = ReportRecord(self.proj.getPath(self.protSearch.getReportPath()))
        self.assertEqual([title for title, _ in record.tables], ["Search"])
        self.assertEqual([title for title, _ in record.pictures], ["Search"])
        self.assertTrue(record.page.endswith("search.html"))
        picture = os.path.join(self.folder, "search.png")
        found[0](project=self.proj).writePicture(self.protSearch, picture)
        self.assertGreater(os.path.getsize(picture), 1000)

    def test_what_is_asked_of_the_engine(self):
        words = [str(word) for word in self.newSearch(timeLimit=90)._getArguments()]
        self.assertEqual(words[words.index("--time-limit") + 1], "90.0")
        self.assertEqual(words[words.index("--architecture") + 1], "dense")
        self.assertNotIn("--epochs", words)
        wide = [str(word) for word in self.newSearch(tryNetworks=True, epochs=7)._getArguments()]
        self.assertNotIn("--architecture", wide)
        self.assertEqual(wide[wide.index("--epochs") + 1], "7")

    def test_too_few_micrographs_are_refused(self):
        self.assertEqual(self.protSearch.validate(), [])
        dataset = self.protDataset.outputDataset.clone()
        dataset.fill(100, 100, 3, dataset.getDiameter(), dataset.getPixelSize(), False)
        protocol = self.newProtocol(ApbcProtSearch, useGpu=False)
        protocol.inputDataset.set(dataset)
        self.assertIn("3 micrographs", "\n".join(protocol.validate()))
        self.assertIn("nothing is searched", "\n".join(self.newSearch(trials=1).warnings()))

    def test_another_training_set_begins_anew(self):
        protocol = self.newSearch(trials=1)
        self.saveProtocol(protocol)
        protocol.makePathsAndClean()
        done = os.path.join(protocol._getSearchFolder(), "search.json")
        with mock.patch.object(protocol, "_runEngine") as run:
            for searched, kept in ((None, False), ("same", True), (["other", "o.h5"], False)):
                if searched != "same":
                    with open(protocol._getExtraPath("searched.json"), "w") as handle:
                        json.dump(searched, handle)
                os.makedirs(os.path.dirname(done), exist_ok=True)
                open(done, "w").close()
                protocol.searchStep([])
                self.assertEqual(os.path.exists(done), kept)
        self.assertEqual(run.call_count, 3)
