import errno
import json

import numpy as np
import pytest

from apbc.errors import ApbcError
from apbc.io.files import atomic_path, read_json, write_json, write_text
from apbc.io.runs import LOCK, locked


def test_the_file_appears_only_when_complete(tmp_path):
    path = tmp_path / "new" / "out.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
        assert temporary.parent == path.parent and temporary.suffix == ".txt"
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_after_an_error_the_old_file_stays_and_nothing_else(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_names_the_file(tmp_path):
    path = tmp_path / "out.txt"
    with pytest.raises(ApbcError, match=r"out\.txt: the disk is full"), atomic_path(path) as tmp:
        tmp.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_other_errors_of_the_system_pass_through(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "out.txt"):
        (tmp_path / "not there").read_text()


def test_a_file_or_folder_in_the_way_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ApbcError, match="file is not a folder"):
        write_text(tmp_path / "file" / "out.txt", "text")
    with pytest.raises(ApbcError, match="it is a folder"):
        write_text(tmp_path, "text")


def test_json_is_what_other_programs_read(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": np.float32(0.5), "b": np.arange(2), "c": float("nan"), "d": tmp_path})
    assert json.loads(path.read_text()) == {"a": 0.5, "b": [0, 1], "c": None, "d": str(tmp_path)}
    assert read_json(path)["a"] == 0.5


def test_json_that_is_none_is_one_sentence(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ApbcError, match=r"a\.json is not a JSON file"):
        read_json(tmp_path / "a.json")
    with pytest.raises(ApbcError, match=r"there is no file .*b\.json"):
        read_json(tmp_path / "b.json")


def test_a_run_that_cannot_be_locked_is_told(tmp_path):
    (tmp_path / LOCK).mkdir()
    with pytest.raises(ApbcError, match=r"cannot write .*\.run\.lock"), locked(tmp_path):
        pass
