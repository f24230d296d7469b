from helpers.markup import captions, count_points

from dcgan_mx.runs.run import Run


def test_report_of_a_training(call, tmp_path):
    run_dir = tmp_path / "my run"
    done = call("train", "--dataset", "synthetic", "--size", 16, "--ngf", 4, "--ndf", 4,
                "--batch-size", 8, "--max-steps", 4, "--disp-batches", 2, "--run-dir", run_dir)
    assert done.returncode == 0, done.stderr
    done = call("report", run_dir)
    assert (done.returncode, done.stdout) == (0, f"{run_dir / 'report.html'}\n"), done.stderr
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
