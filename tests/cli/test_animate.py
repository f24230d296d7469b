import numpy as np

from dcgan_mx.runs.run import Run


def test_animate_rejects_invalid_runs(call, one_line_error, tmp_path):
    run = Run(tmp_path)
    for step, kind, side in ((25, "fixed", 81), (50, "fixed", 81), (25, "gout", 32)):
        run.draw(kind, step, np.zeros((1, 3, side, side), np.float32))
    one_line_error(call("animate", tmp_path / "nothing"), "nothing is not a directory")
    one_line_error(call("animate", tmp_path, "--kind", "diff"), "has no diff-*.png")
    one_line_error(call("animate", tmp_path, "--seconds", 0), "--seconds: invalid value '0'")
    one_line_error(call("animate", tmp_path, "--width", 8), "--width", ">= 16 and < 16384")
    path = tmp_path / "grids" / "fixed-00000050.png"
    path.write_bytes(path.read_bytes()[:20])
    one_line_error(call("animate", tmp_path), path, "is not a valid PNG file")
    done = call("animate", tmp_path, "--kind", "gout", "--out", tmp_path / "o.gif")
    assert done.returncode == 0 and done.stdout.splitlines()[0] == str(tmp_path / "o.gif")
