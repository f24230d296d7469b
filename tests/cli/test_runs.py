import json
import os

from dcgan_mx.runs.run import Run
from dcgan_mx.runs.stop_reason import StopReason


def test_runs_that_are_being_created_are_not_listed(call, one_line_error, tmp_path):
    (tmp_path / ".new.7.tmp").mkdir()
    (tmp_path / ".new.7.tmp" / "config.json").write_text("{}")
    one_line_error(call("runs", tmp_path), "there is no run in")


def test_runs_are_listed_with_state_step_and_metrics(succeed, call, one_line_error, tmp_path):
    one_line_error(call("runs", cwd=tmp_path), "there is no run in runs: give a folder")
    config = {"flags": {"dataset": "mnist"}}
    for i, name in enumerate(("new", "killed", "done", "active", "\x1b[2J")):
        run = Run.create(tmp_path / "runs" / name, config)
        os.utime(run.path / "config.json", (i, i))
        run.log({"step": 20, "seconds": 1.0, "acc": 0.51236, "g_entropy": None,
                 "images_per_s": 97.0})
        run.log({"step": 20, "seconds": 2.0, "swd": 12.5})
        run.log({"step": 20, "seconds": 2.0, "warning": "mode_collapse", "message": "all\talike"})
    os.truncate(tmp_path / "runs" / "new" / "log.jsonl", 0)
    Run(tmp_path / "runs" / "done").write_result(StopReason("max_steps", 20, 0, 20))
    (tmp_path / "runs" / "\x1b[2J" / "result.json").write_text(json.dumps([]))
    (tmp_path / "runs" / "other").mkdir()
    with Run(tmp_path / "runs" / "active").lock():
        lines = succeed("runs", cwd=tmp_path).stdout.splitlines()
    numbers = "  step 20, acc 0.5124, images_per_s 97, swd 12.5", "  warning, step 20: all alike"
    assert lines[:11] == [
        "runs/new: not running, ended without a result", "  no log line yet",
        "runs/killed: not running, ended without a result", *numbers,
        "runs/done: finished: step 20 of 20, because of --max-steps 20", *numbers,
        "runs/active: running", *numbers]
    assert len(lines) == 12 and lines[11].startswith(r"runs/\x1b[2J: unreadable: ")
    assert "result.json" in lines[11]
