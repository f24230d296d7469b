"""Scripts that measure, without what they measure."""
import runpy

import pytest
from common import ROOT


def load(name):
    return runpy.run_path(str(ROOT / "scripts" / name))


def test_endurance_tells_what_is_growth():
    """5 % of the median of memory and of the disk, any file and any thread."""
    compare = load("endurance.py")["compare"]

    def run(**last):
        first = {"memory": 300.0, "files": 6, "threads": 7, "disk": 2.0}
        return compare([dict.fromkeys(first, 9e9), *[first] * 6, *[{**first, **last}] * 3])

    lines, grows = run(memory=314.9, disk=2.09, threads=6)
    assert not grows and lines[0] == ("memory: 300 to 314.9 MB, the last third less the first: "
                                      "+14.9; growth is more than +15")
    assert lines[2] == "threads: 6 to 7, the last third less the first: -1; growth is more than +0"
    for name, value in (("memory", 315.1), ("files", 7), ("threads", 8), ("disk", 2.11)):
        assert run(**{name: value})[1], name


@pytest.mark.parametrize("flags, words", [
    (("--parts", 3), "--parts 3: give 4 or more"),
    (("--parts", 4, "--steps", 3999), "--steps 3999: give 4000 or more for --parts 4: in shorter")])
def test_endurance_refuses_parts_that_say_nothing(flags, words, script):
    done = script("endurance.py", *flags)
    assert done.returncode == 2 and words in done.stderr.splitlines()[-1]
