import os

import pytest
from helpers.common import run_code

CODE = """
import os
from dcgan_mx.system.{module} import *
import cv2
print(os.environ.get("LD_LIBRARY_PATH"), "cv2" in vars() and cv2.__version__ > "4")
"""


@pytest.mark.parametrize("module, path", [
    ("opencv", None), ("opencv", ""), ("opencv", "/nowhere:/elsewhere"), ("runtime", None)])
def test_opencv_does_not_change_the_library_path(module, path):
    env = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    if path is not None:
        env["LD_LIBRARY_PATH"] = path
    assert run_code(CODE.format(module=module), env=env).stdout == f"{path} True\n"
