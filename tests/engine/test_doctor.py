"""The doctor, and the choice of the device."""

import json
import os
import subprocess
import sys

import pytest

from apbc import __version__
from apbc.errors import ApbcError
from apbc.system import devices, doctor

FINE = {
    "apbc": __version__,
    "python": "3.11.4",
    "executable": "python",
    "packages": {"numpy": "2.0.0"},
    "driver": None,
    "driver_gpus": [],
    "tensorflow": "2.21.0",
    "keras": "3.15.1",
    "backend": "tensorflow",
    "gpus": [],
    "training": {"loss": 0.7, "good": True, "seconds": 1.0},
    "failure": None,
    "hints": [],
}
DRIVER = [
    devices.parse_driver_line("0, GPU-aa, NVIDIA A100, 40960, 550.54"),
    devices.parse_driver_line("1, GPU-bb, NVIDIA T4, 15360, 550.54"),
]
GPU = {"index": 0, "name": "NVIDIA A100", "memory_mib": 40960, "error": None}


def run_doctor(*options, **environment):
    return subprocess.run(
        [sys.executable, "-m", "apbc", "doctor", *options],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", **environment},
    )


def test_doctor_trains_and_predicts_here(tmp_path):
    report = tmp_path / "doctor.json"
    done = run_doctor("--json", str(report))
    assert done.returncode == 0, done.stderr
    assert "everything works" in done.stdout
    assert "CPU only" in done.stderr
    found = json.loads(report.read_text())
    assert found["apbc"] == __version__
    assert found["training"]["good"]
    assert found["tensorflow"] and found["keras"]
    assert found["problems"] == []


def test_doctor_fails_loudly_when_tensorflow_does_not_import(tmp_path):
    broken = tmp_path / "tensorflow"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('libfoo.so.1: cannot open')\n")
    done = run_doctor(PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    problems = [line for line in done.stderr.splitlines() if "problem:" in line]
    assert len(problems) == 1
    assert "importing TensorFlow failed" in problems[0] and "libfoo.so.1" in problems[0]


def test_doctor_survives_a_tensorflow_that_kills_the_process(tmp_path):
    broken = tmp_path / "tensorflow"
    broken.mkdir()
    (broken / "__init__.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    done = run_doctor(PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "importing TensorFlow failed: killed by signal 4" in done.stderr


def test_a_gpu_can_be_required():
    done = run_doctor("--require-gpu")
    assert done.returncode == 1
    assert "a GPU is required" in done.stderr


def test_a_fine_installation_has_no_problems():
    assert doctor.find_problems(FINE) == []
    assert doctor.find_problems({**FINE, "gpus": [GPU], "driver": "550.54"}, True) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"packages": {"numpy": None, "h5py": "3.1"}}, "missing packages numpy"),
        ({"backend": "torch"}, "unset KERAS_BACKEND"),
        ({"failure": "importing Keras failed: no"}, "importing Keras failed"),
        ({"training": {"loss": float("nan"), "good": False, "seconds": 1}}, "nonsense"),
        ({"gpus": [{**GPU, "error": "no kernel image"}]}, "cannot compute: no kernel image"),
        ({"driver": "550.54", "driver_gpus": ["NVIDIA T4"]}, "sees no GPU"),
    ],
)
def test_each_problem_is_one_sentence(change, words, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    problems = doctor.find_problems({**FINE, **change})
    assert len(problems) == 1
    assert words in problems[0] and "\n" not in problems[0]


def test_what_the_probe_tells_is_gathered(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    told = "\n".join(
        [
            "noise",
            '{"stage": "importing TensorFlow"}',
            '{"tensorflow": "2.21.0"}',
            '{"gpu": {"index": 0, "name": "NVIDIA T4", "error": null}}',
            '{"stage": "a training step and an inference"}',
        ]
    )
    facts = doctor.gather(told, "W Cannot dlopen some GPU libraries\nlast\n", 1, DRIVER)
    assert facts["tensorflow"] == "2.21.0"
    assert facts["gpus"] == [{"index": 0, "name": "NVIDIA T4", "error": None, "memory_mib": 15360}]
    assert facts["failure"] == "a training step and an inference failed: last"
    assert facts["hints"] == ["W Cannot dlopen some GPU libraries"]
    assert "15.0 GiB, matrix product ran" in doctor.describe({**FINE, **facts})


@pytest.mark.parametrize(
    ("text", "numbers"), [("", []), ("0,1", [0, 1]), ("0 1", [0, 1]), (" 2, 2 ", [2])]
)
def test_gpu_lists(text, numbers):
    assert devices.parse_gpu_list(text) == numbers


def test_a_gpu_list_that_is_none():
    with pytest.raises(ApbcError, match="is not a GPU number"):
        devices.parse_gpu_list("0,all")


@pytest.mark.parametrize(
    ("gpus", "visible", "expected"),
    [
        ([0, 1], None, "0,1"),
        ([], None, "-1"),
        ([0], "3", "3"),
        ([1, 0], "4,GPU-bb", "GPU-bb,4"),
        ([2], "4,5", "-1"),
        ([0], "", "-1"),
    ],
)
def test_numbers_count_within_what_is_visible(gpus, visible, expected):
    assert devices.visible_devices(gpus, visible) == expected


@pytest.mark.parametrize(
    ("asked", "found", "driver", "words"),
    [
        (None, 0, False, None),
        (None, 1, True, None),
        ([], 0, True, None),
        ([0], 1, True, None),
        (None, 0, True, "FALLING BACK TO THE CPU"),
        ([0], 0, False, "FALLING BACK TO THE CPU"),
        ([0, 1], 1, True, "only 1"),
    ],
)
def test_a_fallback_is_told(asked, found, driver, words):
    sentence = devices.fallback(asked, found, driver)
    assert sentence is None if words is None else words in sentence


def test_select_on_the_cpu_and_the_loud_fallback():
    code = (
        "import logging, os; logging.basicConfig(level='INFO')\n"
        "from apbc.system.devices import select\n"
        "print(select(''), os.environ['CUDA_VISIBLE_DEVICES'])\n"
        "print(select('97', mixed_precision=True))\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Device(name='cpu', kind='cpu', count=1)") == 2
    assert "-1\n" in done.stdout
    assert "WARNING:apbc.system.devices:FALLING BACK TO THE CPU" in done.stderr
