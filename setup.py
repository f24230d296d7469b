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
    raise ValueError(f"DCGAN_MX_GPU is {GPU!r}: give 1 for MXNet's build for CUDA, or unset it")

setup(
    name="dcgan-mx",
    version=VERSION,
    description="DCGAN on MXNet's Module API: exact, fast, and at home on today's Python",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["dcgan_mx", "dcgan_mx.*"]),
    package_data={"dcgan_mx": ["py.typed", "templates/*.html", "pretrained/*"]},
    entry_points={"console_scripts": ["dcgan-mx = dcgan_mx.cli.main:main"]},
    python_requires=">=3.8",
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX :: Linux",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(8, 15)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    install_requires=[
        # Two builds of one package: an extra could add one, but not take the other away. MXNet's
        # metadata ask for NumPy below 2, which has no wheels for Python 3.13 and newer: there it
        # is installed by a command of its own, `pip install --no-deps mxnet==1.9.1`.
        f"{BUILDS['GPU_BUILD' if GPU == '1' else 'CPU_BUILD']}=={BUILDS['VERSION']}"
        "; python_version < '3.13'",
        "requests; python_version >= '3.13'",  # MXNet imports it
        *(BUILDS["GPU_REQUIREMENTS"] if GPU == "1" else ()),
        "numpy",
        "packaging",
        "opencv-python-headless",
        "jinja2",
        "matplotlib",
        "pillow>=9.1",
        "tqdm",
    ],
    extras_require={
        "test": ["onnx", "hypothesis", "onnxruntime", "pytest", "pytest-xdist",
                 "scikit-image", "scikit-learn", "selenium", "nbclient", "nbformat", "ipykernel",
                 "ipywidgets", "setuptools", "tensorboardX"],
        "tensorboard": ["tensorboardX"],
        "features": ["scipy"],
        "export": ["onnx"],
        "check": ["ruff==0.17.6", "mypy"],
        "docs": ["sphinx", "numpydoc", "myst-parser", "furo"],
    },
)
