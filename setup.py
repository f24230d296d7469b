"""Packaging; tools are configured in pyproject.toml."""
import os
import re
import runpy
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.*)"', (HERE / "dcgan_mx" / "__init__.py").read_text())[1]
BUILDS = runpy.run_path(str(HERE / "dcgan_mx" / "machine" / "cuda.py"))
GPU = os.environ.get("DCGAN_MX_GPU", "")
# Python 3.13 has no ml_dtypes for NumPy below 2 that a newer onnx could work with; and an onnx that
# cannot be imported takes MXNet with it.
ONNX = ["onnx; python_version < '3.13'", "onnx<1.19; python_version >= '3.13'"]
if GPU not in ("", "0", "1"):
    raise ValueError(f"DCGAN_MX_GPU is {GPU!r}: give 1 for MXNet's build for CUDA, or unset it")

setup(
    name="dcgan-mx",
    version=VERSION,
    description="DCGAN on MXNet's Module API: exact, fast, and at home on today's Python",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["dcgan_mx", "dcgan_mx.*"]),
    package_data={"dcgan_mx": ["py.typed", "pages/*.html", "pretrained/*"]},
    entry_points={"console_scripts": ["dcgan-mx = dcgan_mx.commands.main:main"]},
    python_requires=">=3.8",
    install_requires=[
        # Two builds of one package: an extra could add one, but not take the other away.
        *BUILDS["GPU_REQUIREMENTS" if GPU == "1" else "CPU_REQUIREMENTS"],
        "numpy<2",
        "opencv-python-headless",
        "jinja2",
        "matplotlib",
        "pillow>=9.1",
        "tqdm",
        # distutils, which MXNet imports and Python 3.12 no longer has
        "setuptools<81; python_version >= '3.12'",
    ],
    extras_require={
        "test": [*ONNX, "google-crc32c", "hypothesis", "onnxruntime", "pytest", "pytest-xdist",
                 "scikit-image", "scikit-learn", "selenium", "nbclient", "nbformat", "ipykernel",
                 "ipywidgets", "tensorboardX"],
        "tensorboard": ["google-crc32c"],
        "features": ["scipy"],
        "export": ONNX,
        "check": ["ruff==0.17.6", "mypy"],
        "docs": ["sphinx", "numpydoc", "myst-parser", "furo"],
    },
)
