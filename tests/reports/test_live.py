from types import SimpleNamespace

import pytest
from helpers.processes import wait_until

from dcgan_mx.hooks.base import Record
from dcgan_mx.reports import live


@pytest.fixture
def written(monkeypatch):
    """The arguments of the reports that are written, each of which fails."""
    calls = []

    def write(path, live):
        calls.append((path, live))
        raise OSError

    monkeypatch.setattr(live, "write_report", write)
    return calls


@pytest.mark.parametrize("kind, pause, count", [
    ("evaluation", 0, 2), ("warning", 0, 2), ("warning", 1000, 1)])
def test_report_follows_checkpoints_evaluations_and_warnings(kind, pause, count, written,
                                                             monkeypatch, tmp_path):
    monkeypatch.setattr(live, "_PAUSE", pause)
    saver = SimpleNamespace(step=4)
    report = live.LiveReport(SimpleNamespace(path=tmp_path), saver)

    report.on_step(None)
    report.log(Record("training", 5, {}, {}))
    report.on_step(None)
    assert written == []
    saver.step = 6
    report.on_step(None)
    report.on_step(None)
    wait_until(lambda: written == [(tmp_path, True)])
    report.log(Record(kind, 7, {}, {}))
    report.on_step(None)
    if count == 2:  # as soon as the thread has ended the first
        wait_until(lambda: report.on_step(None) or len(written) == count)
    report.on_end(None)
    assert written == [(tmp_path, True)] * count
