import mrcfile
import numpy as np
import pytest

from apbc.errors import ApbcError
from apbc.io.stacks import ParticleStack


def write_stack(path, data, pixel_size=2.0):
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(data)
        mrc.voxel_size = pixel_size
    return path


def test_images_come_in_the_order_asked_for(tmp_path):
    data = np.random.default_rng(0).normal(size=(20, 6, 6)).astype(np.float32)
    stack = ParticleStack(write_stack(tmp_path / "s.mrcs", data))
    assert (stack.n, stack.box_size) == (20, 6)
    assert stack.pixel_size == pytest.approx(2.0)
    for wanted in ([], [19], [3, 4, 5], [7, 2, 2, 19, 0, 3, 8, 7]):
        images = stack.read(wanted)
        assert images.dtype == np.float32
        np.testing.assert_array_equal(images, data[np.array(wanted, int)])


def test_one_particle_as_a_plain_image(tmp_path):
    data = np.arange(16, dtype=np.int16).reshape(4, 4)
    stack = ParticleStack(write_stack(tmp_path / "s.mrcs", data))
    assert stack.n == 1
    np.testing.assert_array_equal(stack.read([0]), data[None])


def test_bad_stacks_are_told_in_one_sentence(tmp_path):
    path = write_stack(tmp_path / "s.mrcs", np.ones((5, 4, 4), np.float32))
    with pytest.raises(ApbcError, match=r"particle 6 is asked for and .*s\.mrcs holds 5"):
        ParticleStack(path).read([0, 5])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ApbcError, match="cut short"):
        ParticleStack(path)
    with pytest.raises(ApbcError, match="square"):
        ParticleStack(write_stack(tmp_path / "r.mrcs", np.ones((5, 4, 6), np.float32)))
    with pytest.raises(ApbcError, match="there is no file"):
        ParticleStack(tmp_path / "none.mrcs")
