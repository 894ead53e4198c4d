import pytest

from apbc.errors import ApbcError
from apbc.io.ctf import Ctf, read_ctf

NEW = """
# version 30001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
a 1 300 2.7 0.1
b 2 200 0.01 0.07


# version 30001

data_micrographs

loop_
_rlnMicrographName #1
_rlnOpticsGroup #2
_rlnDefocusU #3
_rlnDefocusV #4
_rlnDefocusAngle #5
_rlnPhaseShift #6
mics/m1.mrc 2 12000 11000 45.5 90
mics/m2.mrc 1 22000 21000 -5 0
"""
OLD = """data_
loop_
_rlnMicrographName
_rlnDefocusU
_rlnDefocusV
_rlnDefocusAngle
_rlnVoltage
_rlnSphericalAberration
_rlnAmplitudeContrast
m1.mrc 12000 11000 45.5 300 2.7 0.1
"""


def test_optics_groups_are_followed(tmp_path):
    (tmp_path / "m.star").write_text(NEW)
    assert read_ctf(tmp_path / "m.star") == {
        "m1": Ctf(12000, 11000, 45.5, 200, 0.01, 0.07, 90),
        "m2": Ctf(22000, 21000, -5, 300, 2.7, 0.1, 0),
    }


def test_files_of_relion_3_0(tmp_path):
    (tmp_path / "m.star").write_text(OLD)
    assert read_ctf(tmp_path / "m.star") == {"m1": Ctf(12000, 11000, 45.5, 300, 2.7, 0.1, 0)}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (NEW.replace("_rlnVoltage", "_rlnOther"), "no column _rlnVoltage"),
        (OLD.replace("_rlnDefocusV", "_rlnOther"), "no column _rlnDefocusV"),
        (NEW.replace("m1.mrc 2", "m1.mrc 3"), "optics group 3"),
        (NEW.replace("m1.mrc", "m2.mrc"), "two micrographs named m2"),
        (OLD.replace("11000", "nan"), "no finite numbers"),
        (OLD.replace("11000", "low"), "no number"),
        (OLD.replace(" 0.1", ""), "line 10 of"),
    ],
)
def test_bad_files_are_told_in_one_sentence(tmp_path, text, told):
    (tmp_path / "m.star").write_text(text)
    with pytest.raises(ApbcError, match=told) as caught:
        read_ctf(tmp_path / "m.star")
    assert "m.star" in str(caught.value) and "\n" not in str(caught.value)
