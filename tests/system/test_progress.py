import re
import sys
import warnings

import pytest
from helpers.processes import wait_until

from dcgan_mx.system import progress


@pytest.mark.parametrize("seconds, expected", [(1000, ["5/5"]), (0, ["1/5", "2/5", "3/5", "4/5",
                                                                     "5/5", "5/5"])])
def test_a_log_gets_lines_and_the_last_state(seconds, expected, capfd, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", seconds)
    with progress.make_bar("reading", 5, "file") as bar:
        for _ in range(5):
            bar.update()
    shown = capfd.readouterr().err
    assert "\r" not in shown and shown.endswith("\n")
    assert [line.split()[2] for line in shown.splitlines()] == expected


def test_a_terminal_gets_a_bar_in_one_line(capfd, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with progress.make_bar("reading", 5, "file") as bar:
        bar.update(5)
    shown = capfd.readouterr().err
    assert shown.count("\n") == 1 and "5/5" in shown.rpartition("\r")[2]


def test_a_long_computation_shows_its_duration(capfd, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0)
    shown = []

    def shows_line():
        shown.append(capfd.readouterr().err)
        return "\n" in shown[-1]

    with progress.show_time("computing"):
        wait_until(shows_line)
    assert re.match(r"computing: (?!00:00)\d\d:\d\d\n", "".join(shown))


def test_warnings_of_other_threads_are_shown_while_a_bar_is_made(monkeypatch):
    class Finder:
        def find_spec(self, name, *_):
            if name == "tqdm.auto":
                warnings.warn("from elsewhere", RuntimeWarning, stacklevel=1)

    monkeypatch.delitem(sys.modules, "tqdm.auto", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.warns(RuntimeWarning, match="from elsewhere"):
        progress.make_bar("reading", 5, "file", quiet=True)
