import json
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcgan_mx.commands import train_cli
from dcgan_mx.runs import rundir
from dcgan_mx.runs.rundir import RunDirError
from dcgan_mx.training.workers import Workers

LINES = [{"epoch": 0, "step": step, "acc": 0.5, "d_entropy": 0.1 + 0.2, "g_entropy": None,
          "images_per_s": 1e-5, "seconds": step / 3} for step in (10, 20, 30)]
TEXT = "".join(json.dumps(line) + "\n" for line in LINES).encode()


def config():
    args = train_cli.make_train_parser().parse_args(["--dataset", "mnist", "--gpu", "1", "--show"])
    return train_cli.make_config(args, ["cpu(0)"], Workers())


def test_flags_come_back_as_they_were(tmp_path):
    rundir.write_config(tmp_path, config())
    args = train_cli.parse_saved(rundir.read_config(tmp_path)["flags"], tmp_path)
    assert train_cli.make_config(args, ["cpu(0)"], Workers()) == config()


def test_log_is_read_and_cut(tmp_path):
    path = tmp_path / "log.jsonl"
    assert rundir.read_log(tmp_path) == []
    path.write_bytes(TEXT)
    assert rundir.read_log(tmp_path) == LINES
    path.write_bytes(TEXT[:-20])
    assert rundir.read_log(tmp_path) == LINES[:2]
    assert rundir.cut_log(tmp_path, 15) == 10 / 3
    assert path.read_bytes() == TEXT.splitlines(keepends=True)[0]
    assert rundir.cut_log(tmp_path, 9) == 0
    assert path.read_bytes() == b""


def test_a_line_in_the_middle_is_named(tmp_path):
    (tmp_path / "log.jsonl").write_bytes(TEXT.replace(b'"step": 20', b'"step": x'))
    with pytest.raises(RunDirError, match="log.jsonl, line 2,"):
        rundir.read_log(tmp_path)


def test_one_process_at_a_time(tmp_path):
    """Another process has it, until it is killed."""
    code = ("import sys, time; from dcgan_mx import rundir; "
            "f = rundir.lock(sys.argv[1]); print('locked', flush=True); time.sleep(100)")
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(RunDirError, match=f"process {other.pid} is at work"):
            rundir.lock(tmp_path)
    finally:
        other.kill()
        other.communicate()
    with rundir.lock(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
        with pytest.raises(RunDirError):
            rundir.lock(tmp_path)
    rundir.lock(tmp_path).close()


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / "checkpoints" / ".step-00000001.7.tmp" / "deep").mkdir(parents=True)
    (tmp_path / "checkpoints" / "step-00000001").mkdir()
    (tmp_path / "grids").mkdir()
    (tmp_path / "grids" / ".gout-00000010.png.7.tmp").write_bytes(b"")
    (tmp_path / ".log.jsonl.7.tmp").symlink_to("/")
    rundir.lock(tmp_path).close()
    assert sorted(os.listdir(tmp_path)) == ["checkpoints", "grids", "lock"]
    assert os.listdir(tmp_path / "checkpoints") == ["step-00000001"]
    assert os.listdir(tmp_path / "grids") == []


def mutate(content, changes):
    """Replace, insert or cut bytes at relative places."""
    for at, junk, drop in changes:
        i = int(at * len(content))
        content = content[:i] + junk + content[i + drop:]
    return content


CHANGES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True),
                             st.one_of(st.binary(max_size=8), st.sampled_from(
                                 [b"[" * 5000, b"NaN", b"1e999", b"null", b'"', b"{}", b"-1"])),
                             st.integers(0, 30)), min_size=1, max_size=4)


@pytest.mark.usefixtures("bounded_memory")
@settings(max_examples=2000, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES)
def test_mutations_of_config_json(tmp_path_factory, changes):
    run_dir = tmp_path_factory.getbasetemp()
    (run_dir / "config.json").write_bytes(mutate(json.dumps(config()).encode(), changes))
    try:
        args = train_cli.parse_saved(rundir.read_config(run_dir)["flags"], run_dir)
    except ValueError as error:
        assert "config.json" in str(error)
    else:
        assert 0 < args.lr < float("inf") and args.batch_size >= 1


@pytest.mark.usefixtures("bounded_memory")
@settings(max_examples=2000, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES)
def test_mutations_of_log_jsonl(tmp_path_factory, changes):
    run_dir = tmp_path_factory.getbasetemp()
    (run_dir / "log.jsonl").write_bytes(mutate(TEXT, changes))
    try:
        records = rundir.read_log(run_dir)
    except RunDirError as error:
        assert "log.jsonl" in str(error)
    else:
        assert all(type(record["step"]) is int for record in records)


FLAGS = sorted(f"--{name.replace('_', '-')}"
               for name in vars(train_cli.make_train_parser().parse_args([])))
VALUES = st.one_of(st.text(max_size=12), st.integers().map(str), st.floats().map(str),
                   st.sampled_from(["mnist", "synthetic", "64", "1e400", "nan", "lr,seed", "--"]))


@pytest.mark.usefixtures("bounded_memory")
@settings(max_examples=2000, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.one_of(
    st.sampled_from(FLAGS), VALUES,
    st.tuples(st.sampled_from(FLAGS), VALUES).map("=".join)), max_size=6))
def test_any_flags_are_settings_or_one_error(words, tmp_path_factory, monkeypatch_cwd):
    monkeypatch_cwd(tmp_path_factory.getbasetemp())
    try:
        args = train_cli.parse_train_args([w for w in words if w not in ("-h", "--show")])
    except (ValueError, OSError):
        return
    assert args.dataset in ("mnist", "synthetic") and args.batch_size >= 1 and args.lr > 0


@pytest.fixture(scope="module")
def monkeypatch_cwd():
    """Run where there are no runs; back at the end."""
    before = os.getcwd()
    yield os.chdir
    os.chdir(before)
