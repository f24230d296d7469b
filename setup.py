"""Packaging; tools are configured in pyproject.toml."""
import os
import re
import runpy
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.*)"', (HERE / "dcgan_mx" / "__init__.py").read_text())[1]
BUILDS = runpy.run_path(str(HERE / "dcgan_mx" / "system" / "cuda.py"))
GPU = os.environ.get("DCGAN_MX_GPU", "")
if GPU not in ("", "0", "1"):
    raise ValueError(f"DCGAN_MX_GPU: invalid value {GPU!r}: expected 1 for MXNet's GPU build, 0 or "
                     "nothing for its CPU build")

setup(
    name="dcgan-mx",
    version=VERSION,
    description="DCGAN on MXNet's Module API: exact, fast, for current Python and NumPy",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    keywords="dcgan gan mxnet generative-adversarial-network mnist image-generation",
    packages=find_packages(include=["dcgan_mx", "dcgan_mx.*"]),
    package_data={"dcgan_mx": ["py.typed", "templates/*.html", "pretrained/*"]},
    entry_points={"console_scripts": ["dcgan-mx = dcgan_mx.cli.main:main"]},
    python_requires=">=3.8",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Environment :: GPU :: NVIDIA CUDA :: 11.7",
        "Intended Audience :: Developers",
        "Intended Audience :: Education",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(8, 15)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Processing",
        "Typing :: Typed",
    ],
    install_requires=[
        # Two builds of one package: an extra can add one, but cannot remove the other. MXNet's
        # metadata requires NumPy below 2, which has no wheels from Python 3.13 on: users there
        # install MXNet separately, with `pip install --no-deps mxnet==1.9.1`.
        f"{BUILDS['GPU_BUILD' if GPU == '1' else 'CPU_BUILD']}=={BUILDS['VERSION']}"
        "; python_version < '3.13'",
        "requests; python_version >= '3.13'",  # MXNet imports it
        *(BUILDS["GPU_REQUIREMENTS"] if GPU == "1" else ()),
        "numpy",
        "packaging",
        "opencv-python-headless",
        "jinja2",
        "matplotlib",
        "pillow>=10.1",
        "tqdm",
    ],
    extras_require={
        "test": ["build", "hypothesis", "ipykernel", "ipywidgets", "nbclient", "nbformat", "onnx",
                 "onnxruntime", "pytest", "pytest-xdist", "scikit-image", "scikit-learn",
                 "selenium", "setuptools>=64", "tensorboardX", "twine", "wheel"],
        "tensorboard": ["tensorboardX"],
        "features": ["scipy"],
        "features-model": ["onnxruntime"],
        "export": ["onnx"],
        "check": ["codespell[toml]", "import-linter", "mypy", "ruff==0.17.6"],
        "docs": ["sphinx", "numpydoc", "myst-parser", "furo"],
    },
)
