"""Packaging; tools are configured in pyproject.toml."""
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
VERSION = (HERE / "dcgan_mx" / "version.py").read_text().split('"')[-2]

setup(
    name="dcgan-mx",
    version=VERSION,
    description="DCGAN on MXNet's Module API: exact, fast, and at home on today's Python",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=["dcgan_mx"],
    python_requires=">=3.8",
    install_requires=[
        "mxnet==1.9.1",
        "numpy<2",
        "opencv-python-headless",
        "matplotlib",
        "pillow>=9.1",
        "tqdm",
        # distutils, which MXNet imports and Python 3.12 no longer has
        "setuptools<81; python_version >= '3.12'",
    ],
    extras_require={
        "test": ["pytest", "hypothesis", "scikit-image", "selenium", "tensorboardX"],
        "tensorboard": ["tensorboardX"],
        "check": ["ruff==0.17.6", "mypy"],
    },
)
