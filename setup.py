"""The package's only metadata; tool settings live in pyproject.toml."""

import os
import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
APP = Path("apps/meddenoise")
NOT_SHIPPED = {"model", "logs", "bin", "__pycache__"}
"""Folders that a running server makes inside the app, and byte code."""

SERVER = [
    "monailabel==0.8.5",
    "monai>=1.6,<1.7",
    "numpy<2",  # numpymaxflow and pydicom-seg, both required by monailabel 0.8.5, stop before 2
    "setuptools",  # monailabel imports distutils, which Python 3.12 has from here only
    "starlette>=0.49.1",
    "python-multipart>=0.0.18",
    "uvicorn>=0.29",
    "fastapi>=0.110.2",
    "requests>=2.31",
    "dicomweb-client>=0.60,<0.61",
    "psutil>=5.9",
]
TEST = [
    *SERVER,
    "pytest>=8",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "scikit-image>=0.22",
    "httpx>=0.27",
    "nibabel>=5",
    "cryptography>=41",
    "slicer-core==5.12.4.0",  # the scene of the current stable 3D Slicer
    "PySide6-Essentials>=6.8,<6.12",  # 6.12.0 takes a reference from None at every call on Python 3.11
    "vermin>=1.6",
]
EXPORT = ["onnx>=1.18", "onnxscript>=0.5"]
BENCH = ["bm3d>=4", "scikit-image>=0.22", "matplotlib>=3.8"]
RAY = ["ray>=2.40"]
DEV = ["ruff>=0.12", "mypy>=1.15", "pre-commit>=4", "build>=1.2"]


def version() -> str:
    """The version in ``meddenoise/__init__.py``, read without importing it."""
    text = (ROOT / "models/meddenoise/__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    assert match is not None, 'models/meddenoise/__init__.py must hold a line __version__ = "..."'
    return match[1]


def app_files() -> list[tuple[str, list[str]]]:
    """The server app, folder by folder, for share/meddenoise: an installed `meddenoise serve` copies it from there."""
    found = []
    for folder, folders, files in os.walk(ROOT / APP):
        folders[:] = sorted(set(folders) - NOT_SHIPPED)
        inside = Path(folder).relative_to(ROOT).as_posix()
        shown = sorted(name for name in files if not name.startswith("."))
        found.append((f"share/meddenoise/{inside}", [f"{inside}/{name}" for name in shown]))
    return found


setup(
    name="meddenoise",
    version=version(),
    description="Takes the noise out of CT, MR, PET and X-ray images. Research use, not a medical device.",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.13",
    package_dir={"": "models"},
    packages=find_packages("models"),
    package_data={"meddenoise": ["py.typed"], "meddenoise.weights": ["*.safetensors", "*.json", "meters/*"]},
    data_files=app_files(),
    install_requires=[
        "torch>=2.10",
        "numpy>=1.26",
        "SimpleITK>=2.3",
        "pydicom>=2.4.4,<3",  # monailabel 0.8.5 does not start with 3
        "dicom-anonymizer>=2.1,<3",
        "safetensors>=0.4",
        "pillow>=10.1",
        "filelock>=3.12",  # torch brings it
    ],
    extras_require={"server": SERVER, "test": TEST, "bench": BENCH, "export": EXPORT, "ray": RAY, "dev": DEV},
    entry_points={"console_scripts": ["meddenoise = meddenoise.cli:main"]},
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
        "Typing :: Typed",
    ],
)
