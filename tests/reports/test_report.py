import json
import os
import re
import time

import numpy as np
import pytest
from helpers.browser import check_page, views
from helpers.markup import attributes, captions, count_points, decode, polylines, shown

from dcgan_mx.reports.report import write_report
from dcgan_mx.runs.run import Run
from dcgan_mx.visual import save_image

CONFIG = {"flags": {"dataset": "mnist", "lr": 2e-4, "gpu": None, "require_gpu": False},
          "device": "cpu(0)", "versions": {"mxnet": "1.9.1"}, "data": None}


def line(step, **others):
    """A line of a log."""
    return {"epoch": step // 937, "step": step, "acc": 0.75, "d_entropy": 0.5, "g_entropy": 2.0,
            "images_per_s": 100.0, "seconds": step * 0.64, **others}


@pytest.fixture
def make_run(tmp_path):
    """Make the folder of a run: its log lines, the steps of its grids, a grid's (height, width)."""
    def make(lines=(), grids=None, name="run", config=CONFIG, shape=(20, 30, 3)):
        run_dir = tmp_path / name
        (run_dir / "grids").mkdir(parents=True)
        Run(run_dir).write_config(config)
        (run_dir / "log.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
        for kind, steps in (grids or {}).items():
            for i, step in enumerate(steps):
                save_image(run_dir / "grids" / f"{kind}-{step:08d}.png",
                         np.full(shape, 40 * i % 256, np.uint8))
        return run_dir
    return make


def test_report_has_curves_images_and_settings(make_run):
    steps = range(10, 130, 10)
    warning = {"epoch": 0, "step": 90, "seconds": 58.0, "warning": "mode_collapse",
               "message": "mode collapse: try a lower --lr-g"}
    run_dir = make_run([*map(line, steps[:9]), warning, *map(line, steps[9:])],
                       dict.fromkeys(("gout", "fixed", "diff", "data"), steps))
    path = write_report(run_dir)
    text = path.read_text(encoding="utf-8")
    assert path == run_dir / "report.html"
    assert sorted(os.listdir(run_dir)) == ["config.json", "grids", "log.jsonl", "report.html"]
    assert "<h1>mnist, step 120</h1>" in text
    assert "<strong>Warning, step 90:</strong> mode collapse: try a lower --lr-g</p>" in text
    assert count_points(text) == [[12], [12, 12], [12]]
    for cells in (("step", "120"), ("accuracy of D", "0.750"),
                  ("cross-entropy of G, nats", "2.000"),
                  ("minutes", "1.3"), ("--lr", "0.0002"), ("--gpu", "–"), ("device", "cpu(0)"),
                  ("--require-gpu", "no"), ("versions: mxnet", "1.9.1")):
        assert "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>" in text
    every = [f"step {step}" for step in steps]
    gout, fixed, diff, data = captions(text)
    assert gout == fixed == every
    assert diff == data and len(diff) == 8 and (diff[0], diff[-1]) == (every[0], every[-1])
    for uri, caption in zip(attributes(text, "src"), gout):
        assert (decode(uri)[0] == 40 * every.index(caption) % 256).all()
    assert f"dcgan-mx train --resume --run-dir {run_dir}<" in text
    assert f"dcgan-mx sample {run_dir}<" in text


def test_live_page_reloads_itself_and_important_parts_come_first(make_run):
    config = {**CONFIG, "flags": {"nz": 100, "lr": 0.001, "beta1": 0.5, "ngf": 8}}
    run_dir = make_run([line(10)], {"gout": [10]}, config=config)
    text = write_report(run_dir).read_text()
    parts = [text.index(part) for part in (
        "<h2>Images", "<h2>Training curves", "--lr<", "--ngf<", "--nz<", "--beta1<")]
    assert parts == sorted(parts)
    assert "reload()" not in text and "reload()" in write_report(run_dir, True).read_text()


@pytest.mark.parametrize("hours, delay", [(-1, 30_000), (0.01, 30_000), (1, 360_000), (25, None)])
def test_live_page_of_a_killed_run_stops_reloading(hours, delay, browser, make_run):
    script = re.search(r"<script>(\{.*?\})</script>", write_report(make_run([line(10)]), True)
                       .read_text(), re.DOTALL)[1]
    browser.get("about:blank")
    assert browser.execute_script(
        f"let delay = null; const now = {1000 * time.time() + 3.6e6 * hours}, "
        "Date = {now: () => now}, setTimeout = (_, ms) => { delay = ms; };"
        f"{script} return delay;") == (delay and pytest.approx(delay, abs=1000))


def test_images_are_spread_over_the_run_and_a_long_log_is_averaged(make_run):
    """8 lines per point: one speed of 900 among seven of 100 gives a mean of 200."""
    lines = [line(10 * i, images_per_s=900.0 if i == 100 else 100.0,
                  g_entropy=None if i <= 1600 else 2.0) for i in range(1, 3201)]
    steps = [10 * i for i in range(1, 101)]
    text = write_report(make_run(lines, {"gout": steps, "data": steps})).read_text()
    gout, data = captions(text)
    for found, n in ((gout, 24), (data, 8)):
        numbers = [int(caption[5:]) for caption in found]
        assert len(numbers) == n and (numbers[0], numbers[-1]) == (10, 1000)
        assert np.ptp(np.diff(numbers)) <= 10 and set(numbers) <= set(steps)
    assert "Each point is the mean of 8 log lines." in text
    assert count_points(text) == [[400], [400, 200], [400]]
    speeds = polylines(text)[-1][0][:, 1]
    assert len({*speeds}) == 2 and speeds.argmin() == 12
    assert ">200</text>" in text and ">900</text>" not in text


def test_large_images_are_scaled_and_fewer(make_run, tmp_path):
    """With noise, which compresses worst: a slider stays below 2.4 MB."""
    run_dir = make_run()
    noise = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), np.uint8)
    save_image(run_dir / "grids" / "gout-00000000.png", noise)
    for i in range(1, 9):
        os.link(run_dir / "grids" / "gout-00000000.png", run_dir / "grids" / f"gout-{i:08d}.png")
    path = write_report(run_dir)
    text = path.read_text()
    sizes = {decode(uri)[0].shape for uri in attributes(text, "src")}
    assert sizes == {(600, 800, 3)}
    assert 2 <= len(captions(text)[0]) < 9 and captions(text)[0][-1] == "step 8"
    assert path.stat().st_size < 2_500_000


def test_missing_parts_are_named(make_run):
    text = write_report(make_run([line(10)])).read_text()
    assert "<h1>mnist, step 10</h1>" in text
    assert "There are no grids yet." in text and 'class="slider"' not in text
    text = write_report(make_run(grids={"gout": [20]}, name="other")).read_text()
    assert "<h1>mnist, step 20</h1>" in text
    assert "log.jsonl has no lines yet." in text and 'class="plot"' not in text
    lines = [line(step, g_entropy=2.0 if step in (20, 40, 50) else None)
             for step in range(10, 70, 10)]
    text = write_report(make_run(lines, name="third")).read_text()
    assert count_points(text) == [[6], [6, 3], [6]] and text.count("stroke-width: 6") == 1
    assert "<td>cross-entropy of G, nats</td><td>–</td>" in text


def test_other_files_are_ignored_and_gray_stays_gray(make_run):
    run_dir = make_run(grids={"gout": [10], "data": [100_000_000, 5]}, shape=(20, 30, 1))
    for name in ("gout-1.png", "gout-00000020.jpg", ".gout-00000030.png.7.tmp", "mine.png"):
        (run_dir / "grids" / name).write_text("not an image")
    text = write_report(run_dir).read_text()
    assert captions(text) == [["step 10"], ["step 5", "step 100000000"]]
    assert decode(attributes(text, "src")[0])[0].shape == (20, 30, 1)


def test_rejects_empty_runs_damaged_grids_and_links(make_run, tmp_path):
    run_dir = make_run()
    with pytest.raises(ValueError, match="neither a log line nor a grid: train at least one step"):
        write_report(run_dir)
    grid = run_dir / "grids" / "gout-00000010.png"
    grid.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(32))
    with pytest.raises(ValueError, match=f"{grid} is .*PNG file"):
        write_report(run_dir)
    save_image(tmp_path / "secret.png", np.zeros((2, 2, 3), np.uint8))
    grid.unlink()
    grid.symlink_to(tmp_path / "secret.png")
    with pytest.raises(OSError, match="gout-00000010.png"):
        write_report(run_dir)
    assert not (run_dir / "report.html").exists()


def test_texts_of_a_run_are_escaped(make_run):
    evil = "<script>alert(1)</script>"
    config = {"flags": {"dataset": evil, f"data_path{evil}": "\ud800" + evil}, evil: {evil: evil}}
    lines = [line(10, epoch=evil), {"step": 2**53 - 1, "seconds": 1.0, "swd": evil},
             {"step": 10, "seconds": 1.0, "warning": [evil], "message": evil}]
    run_dir = make_run(lines, name=f"a {evil[:8]} 'b'", config=config)
    text = write_report(run_dir).read_text(encoding="utf-8")
    assert "<script>alert" not in text and text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 8
    assert "&lt;script&gt;" in text.split("--run-dir ")[1]


def test_report_in_browser(make_run, request):
    """A run with long names and all parts."""
    flags = {**CONFIG["flags"], "data_path": "/a" * 300, "run_dir": "x" * 300}
    steps = range(10, 60, 10)
    quality = {"step": 50, "epoch": 0, "seconds": 9.0, "frechet": 3.5, "swd": 20.0}
    warning = {"step": 50, "seconds": 9.0, "warning": "oscillation", "message": "try again " * 30}
    run_dir = make_run([*map(line, steps), quality, warning], {"gout": steps, "diff": steps},
                       name="a very " + "long" * 50 + " name", shape=(900, 900, 3),
                       config={**CONFIG, "flags": flags, "data": {"sha256": "ab" * 32}})
    Run(run_dir).write_evaluation(
        {"step": 50, "images": 100, "frechet": 3.5, "class_counts": [9, 91],
         "svm_errors": {"D": 0.05},
         "baseline": {"frechet": 0.25, "class_counts": [50, 50]}}, np.zeros((40, 80, 1), np.uint8))
    path = write_report(run_dir)
    text = path.read_text(encoding="utf-8")
    for cells in (("Fréchet distance", "3.500", "0.250"), ("share of 1, %", "91.0", "50.0"),
                  ("error of a linear SVM on D, %", "5.00", "")):
        assert "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>" in text
    assert "The best evaluated step is 50." in text
    browser = request.getfixturevalue("browser")  # here, because the checks above run without it
    check_page(browser, path)
    boxes = set()
    for _ in views(browser, path):
        box = browser.find_element("class name", "warning")
        boxes.add(box.value_of_css_property("background-color"))
        assert box.is_displayed() and box.rect["y"] < 500
    assert len(boxes) == 2  # light and dark
    assert shown(browser) == [("step 50", 4), ("step 50", 4)]
    for drawing in browser.find_elements("css selector", ".plot [role=img]"):
        assert drawing.size["width"] > 400 and drawing.aria_role == "image"
