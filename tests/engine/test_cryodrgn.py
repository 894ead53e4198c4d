"""Pickles of cryoDRGN: what is written is read again, and nothing of a file is run."""

import collections
import os
import pickle

import numpy as np
import pytest

from apbc.errors import ApbcError
from apbc.io import cryodrgn


def rotations(n, seed=0):
    from scipy.spatial.transform import Rotation

    return Rotation.random(n, random_state=seed).as_matrix()


def dump(path, value, protocol=4):
    path.write_bytes(pickle.dumps(value, protocol))
    return path


def test_ctf_and_poses_come_back(tmp_path):
    rows = np.arange(27, dtype=np.float32).reshape(3, 9)
    cryodrgn.write_ctf_pickle(tmp_path / "ctf.pkl", rows)
    np.testing.assert_array_equal(cryodrgn.read_ctf_pickle(tmp_path / "ctf.pkl"), rows)
    given, shifts = rotations(4), np.linspace(-0.1, 0.1, 8).reshape(4, 2)
    cryodrgn.write_poses(tmp_path / "poses.pkl", given, shifts)
    found, trans = cryodrgn.read_poses(tmp_path / "poses.pkl")
    np.testing.assert_allclose(found, given, atol=1e-6)
    np.testing.assert_allclose(trans, shifts, atol=1e-8)
    cryodrgn.write_poses(tmp_path / "rot.pkl", given)
    found, trans = cryodrgn.read_poses(tmp_path / "rot.pkl")
    assert found.shape == (4, 3, 3)
    assert trans is None
    with (tmp_path / "poses.pkl").open("rb") as file:
        plain = pickle.load(file)
    assert isinstance(plain, tuple)
    assert plain[0].dtype == np.float32


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", ["<f4", ">f8", "<i8", "?", "u1"])
def test_arrays_of_all_protocols(tmp_path, protocol, kind):
    values = np.arange(12).reshape(3, 4).astype(kind)
    for array in (values, np.asfortranarray(values), values[:, 1]):
        found = cryodrgn.read_array_pickle(dump(tmp_path / "z.pkl", array, protocol))
        np.testing.assert_array_equal(found, array)
        assert found.dtype == np.float64


def test_lists_scalars_and_the_first_of_several(tmp_path):
    found = cryodrgn.read_array_pickle(dump(tmp_path / "a.pkl", [np.float32(1.5), 2, 3.0]))
    np.testing.assert_array_equal(found, [1.5, 2, 3])
    (tmp_path / "z.pkl").write_bytes(pickle.dumps(np.ones((2, 3))) + pickle.dumps(np.zeros((2, 3))))
    np.testing.assert_array_equal(cryodrgn.read_array_pickle(tmp_path / "z.pkl"), np.ones((2, 3)))


class Runs:
    def __init__(self, made):
        self.made = made

    def __reduce__(self):
        return os.mkdir, (self.made,)


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1},
        "text",
        None,
        np.array([1, None], object),
        np.array(["a"]),
        collections.OrderedDict(a=1),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f4")]),
        [np.ones(2), {1, 2}],
        np.random.default_rng(0),
    ],
)
def test_anything_else_is_refused(tmp_path, value):
    path = dump(tmp_path / "bad.pkl", value)
    with pytest.raises(ApbcError, match=r"bad\.pkl holds .* only arrays, tuples, lists"):
        cryodrgn.read_array_pickle(path)


def test_a_pickle_runs_nothing(tmp_path):
    made = tmp_path / "made"
    path = dump(tmp_path / "bad.pkl", [np.ones(2), Runs(str(made))])
    with pytest.raises(ApbcError, match=r"mkdir.*can run code"):
        cryodrgn.read_poses(path)
    assert not made.exists()


def test_broken_files_are_named(tmp_path):
    whole = pickle.dumps(np.ones((5, 9)))
    for n in (0, 1, 20, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.pkl").write_bytes(whole[:n])
        with pytest.raises(ApbcError, match=r"cut\.pkl is no complete pickle"):
            cryodrgn.read_ctf_pickle(tmp_path / "cut.pkl")
    (tmp_path / "text.pkl").write_text("id,z1\n1,2\n")
    with pytest.raises(ApbcError, match=r"text\.pkl is no complete pickle"):
        cryodrgn.read_array_pickle(tmp_path / "text.pkl")
    with pytest.raises(ApbcError, match="there is no file"):
        cryodrgn.read_poses(tmp_path / "none.pkl")


def test_wrong_tables_are_told(tmp_path):
    with pytest.raises(ApbcError, match=r"shape \(3, 8\) and no CTF table"):
        cryodrgn.read_ctf_pickle(dump(tmp_path / "ctf.pkl", np.ones((3, 8))))
    rows = np.ones((3, 9))
    rows[1, 4] = np.nan
    with pytest.raises(ApbcError, match=r"row 2 of .* no finite number"):
        cryodrgn.read_ctf_pickle(dump(tmp_path / "ctf.pkl", rows))
    matrices = rotations(4)
    with pytest.raises(ApbcError, match=r"4 rotations and 3 translations"):
        cryodrgn.read_poses(dump(tmp_path / "p.pkl", (matrices, np.zeros((3, 2)))))
    matrices[2] *= -1
    with pytest.raises(ApbcError, match="matrix 3 of 4"):
        cryodrgn.read_poses(dump(tmp_path / "p.pkl", matrices))
    with pytest.raises(ApbcError, match=r"not of shape \(n, 3, 3\)"):
        cryodrgn.read_poses(dump(tmp_path / "p.pkl", (np.ones((4, 9)), np.ones((4, 2)))))
    with pytest.raises(ApbcError, match="holds no rotations"):
        cryodrgn.read_poses(dump(tmp_path / "p.pkl", 3.0))
    with pytest.raises(ApbcError, match="different shapes"):
        cryodrgn.read_array_pickle(dump(tmp_path / "p.pkl", (matrices, np.zeros((3, 2)))))
