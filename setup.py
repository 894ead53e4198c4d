"""All metadata of the distribution: the plugin `apbc_scipion` and the engine `apbc`."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent
VERSION = re.search(
    r'^__version__ = "(.+)"$', (HERE / "apbc" / "__init__.py").read_text(encoding="utf-8"), re.M
).group(1)

# Nothing is required unconditionally, because one distribution lives in two kinds of places.
# Scipion installs it beside a `scipion-em` that is there already (the plugin needs no more than
# that), and the engine's own environment, or the machine of someone who only uses Relion, must
# not receive Scipion. What a place does need is an extra.
EXTRAS = {
    "scipion": ["scipion-em>=3.11,<4"],
    # The lower ends are what Scipion's own pins leave (numpy 1.26.1, scipy 1.10.0,
    # mrcfile<=1.4.3, pillow 10.1, matplotlib 3.8.1); an environment of its own gets newer ones.
    "engine": [
        "tensorflow>=2.18,<3",
        "keras>=3.6,<4",
        "onnx>=1.17,<2",
        "onnxruntime>=1.20,<2",
        "numpy>=1.26,<3",
        "scipy>=1.10,<2",
        "h5py>=3.11,<4",
        "mrcfile>=1.4.3,<2",
        "tifffile>=2023.9.26",
        "imagecodecs>=2023.9.18",
        "pillow>=10.1",
        "scikit-image>=0.22,<1",
        "scikit-learn>=1.3,<2",
        "gemmi>=0.7,<0.8",
        "umap-learn>=0.5.7,<0.6",
        "starfile>=0.5.8,<0.6",
        "pandas>=2.1.1,<3",
        "matplotlib>=3.8,<4",
        "tqdm>=4.60,<5",
    ],
    # Beside [engine] where there is an NVIDIA driver: brings CUDA as wheels.
    "cuda": ["tensorflow[and-cuda]>=2.18,<3"],
    # Pinned, so that a check that passes today passes tomorrow.
    "dev": ["pytest>=8,<10", "ruff==0.17.5", "mypy==2.4.1", "vermin>=1.6,<2"],
}

setup(
    name="scipion-em-apbc",
    version=VERSION,
    description="Learn from good and bad cryo-EM particles, and pick every micrograph again",
    long_description=(HERE / "README.md").read_text(encoding="utf-8")
    if (HERE / "README.md").exists()
    else "",
    long_description_content_type="text/markdown",
    license="GPL-3.0-or-later",
    license_files=["LICENSE"],
    keywords="cryo-EM particle picking Scipion Relion 2D classification",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    # The plugin runs in Scipion's Python (3.8 by default); the engine needs 3.10, which its own
    # dependencies see to.
    python_requires=">=3.8",
    packages=find_packages(include=["apbc", "apbc.*", "apbc_scipion", "apbc_scipion.*"]),
    package_data={
        "apbc_scipion": ["protocols.conf", "*.png", "templates/*"],
    },
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": ["apbc = apbc.commands.main:main"],
        "pyworkflow.plugin": ["apbc_scipion = apbc_scipion"],
    },
)
