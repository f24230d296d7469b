from helpers.markup import captions, count_points
from helpers.small import SMALL

from dcgan_mx.runs.run import Run


def test_report_of_a_training(succeed, train, tmp_path):
    run_dir = tmp_path / "my run"
    train(*SMALL, "--max-steps", 4, "--disp-batches", 2, "--run-dir", run_dir)
    assert succeed("report", run_dir).stdout == f"{run_dir / 'report.html'}\n"
    text = (run_dir / "report.html").read_text()
    assert "synthetic, step 4" in text and count_points(text) == [[2], [2, 2], [2]]
    assert set(map(tuple, captions(text))) == {("step 2", "step 4")}
    assert f"&#39;{run_dir}&#39;" in text  # quoted for a shell


def test_report_rejects_invalid_runs(call, one_line_error, tmp_path):
    one_line_error(call("report"), "RUN")
    one_line_error(call("report", tmp_path / "no"), tmp_path / "no" / "config.json",
                   "No such file")
    (tmp_path / "empty").mkdir()
    Run(tmp_path / "empty").write_config({"flags": {}})
    one_line_error(call("report", tmp_path / "empty"), "neither a log line nor a grid")
