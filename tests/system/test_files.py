import contextlib
import errno
import fcntl
import os
import pwd

import pytest

from dcgan_mx.runs.run import Run
from dcgan_mx.system import files


def fail(number):
    def call(*_):
        raise OSError(number, os.strerror(number))
    return call


def test_folders_that_cannot_be_synced_cause_one_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_warned", set())
    monkeypatch.setattr(os, "fsync", fail(errno.EINVAL))
    with pytest.warns(RuntimeWarning, match=f"{tmp_path.parent}: .*cannot sync folders") as caught:
        files.sync_directory(tmp_path)
        files.sync_directory(tmp_path)
    assert len(caught) == 1
    monkeypatch.setattr(os, "fsync", fail(errno.EIO))
    with pytest.raises(OSError, match=f"{tmp_path}") as error:
        files.sync_directory(tmp_path)
    assert error.value.errno == errno.EIO


def test_atomic_write_follows_no_link_and_names_only_its_file(tmp_path):
    link = tmp_path / f".file.{os.getpid()}.tmp"
    link.symlink_to(tmp_path / "elsewhere")
    files.write_atomic(tmp_path / "file", b"mine")
    assert (tmp_path / "file").read_bytes() == b"mine" and os.listdir(tmp_path) == ["file"]
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=f"Is a directory: '{tmp_path}/folder'$"):
        files.write_atomic(tmp_path / "folder", b"")


@pytest.mark.parametrize("name", ["ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def test_a_run_works_on_a_file_system_without_locks(name, tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", fail(getattr(errno, name)))
    with pytest.warns(RuntimeWarning, match=f"{tmp_path}: .*no locks"), Run(tmp_path).lock():
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_nested_json_is_rejected_however_deep_the_caller_is():
    def call(depth):
        return call(depth - 1) if depth else files.parse_json(b"[" * 495 + b"]" * 495)

    with contextlib.suppress(ValueError):  # or Python has another limit
        call(700)


def test_data_sets_have_one_place(tmp_path, monkeypatch):
    """Without a writable home directory, as in some containers, they are stored here."""
    def unknown(_):
        raise KeyError

    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    for folder, expected in (("a", "/cache/dcgan_mx/data"), ("a/dcgan_mx", "data"),
                             ("b/data", "data")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "__init__.py").touch()
        monkeypatch.chdir(tmp_path / folder[0])
        assert str(files.data_folder()) == expected
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "here"))
    folder = tmp_path / "here/.cache/dcgan_mx/data"
    assert files.data_folder() == folder
    files._warn_of_no_home.cache_clear()  # an earlier test may have caused the warning
    with monkeypatch.context() as patch:  # as for a user without permissions; root has them all
        patch.setattr(os, "access", lambda path, mode: False)
        with pytest.warns(RuntimeWarning, match="no writable home directory"):
            assert str(files.data_folder()) == "data"
        folder.mkdir(parents=True)  # to read, a data set that is there already needs no permission
        assert files.data_folder() == folder
    files._warn_of_no_home.cache_clear()
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.warns(RuntimeWarning, match="home directory.* set XDG_CACHE_HOME") as caught:
        assert {str(files.data_folder()) for _ in range(2)} == {"data"}
    assert len(caught) == 1
