"""A save replaces the file as a whole, or raises OSError that names it and changes nothing."""

import errno
import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nn_io import FileFormatError, load_state_dict_from_file, save_model_parameters

STATE = {"w": np.arange(5_000, dtype=np.float32), "__metadata__": {"a": 1}}
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
not_root = pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() == 0, reason="root bypasses file permissions"
)


@pytest.fixture(params=["unnamed", "named"])
def staging(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Temporary files without a name, as on Linux, and with one, as elsewhere."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    elif not hasattr(os, "O_TMPFILE"):
        pytest.skip("this system has no files without a name")
    return str(request.param)


@pytest.fixture
def path(suffix: str, tmp_path: Path) -> Path:
    path = tmp_path / f"model{suffix}"
    save_model_parameters({"old": np.ones(1)}, path)
    return path


@pytest.mark.usefixtures("staging")
def test_replacing(path: Path) -> None:
    before = path.stat().st_ino
    save_model_parameters(STATE, path)
    assert path.stat().st_ino != before
    assert list(load_state_dict_from_file(path)) == list(STATE)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


class Failing:
    """Fails at the nth call, with the error that the system would give, or a bare one."""

    def __init__(self, real: Callable[..., Any], call: int, error: OSError) -> None:
        self.real, self.left, self.error = real, call, error

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            raise self.error
        return self.real(*arguments, **options)


def _save_and_catch(path: Path) -> OSError | None:
    try:
        save_model_parameters(STATE, path)
    except OSError as error:
        return error
    return None


@pytest.mark.parametrize("event", ["stat", "open", "fchmod", "fsync", "link", "replace"])
@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), OSError("injected")], ids=str
)
def test_failing_events(
    event: str,
    call: int,
    error: OSError,
    path: Path,
    staging: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = path.read_bytes()
    failing = Failing(getattr(os, event), call, error)
    with monkeypatch.context() as patch:
        patch.setattr(os, event, failing)
        caught = _save_and_catch(path)
    if caught is None:
        # Either it did not happen so often, or only a file without a name could not be had.
        assert failing.left > 0 or (event in ("open", "stat") and staging == "unnamed")
    else:
        assert caught.filename == str(path)
        assert caught.errno == (error.errno or errno.EIO)
        assert str(path) in str(caught)
    # The last event is the flush of the directory, when the new file is there.
    if failing.left > 0 or event in ("fsync", "open", "stat"):
        assert list(load_state_dict_from_file(path)) in (["old"], list(STATE))
    else:
        assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.usefixtures("staging")
@pytest.mark.parametrize("limit", [0, 1, 100, 5_000, 15_000, 20_000])
def test_full_disks(limit: int, path: Path) -> None:
    resource = pytest.importorskip("resource", reason="needs limits on the size of files")
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            save_model_parameters(STATE, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.usefixtures("staging")
def test_other_failures_leave_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_model_parameters(STATE, path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_file_is_flushed_before_the_rename_and_the_directory_after(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, os.replace

    def watch_fsync(descriptor: int) -> None:
        kind = os.fstat(descriptor).st_mode
        events.append("flush folder" if stat.S_ISDIR(kind) else "flush file")
        fsync(descriptor)

    def watch_replace(source: Any, target: Any) -> None:
        assert os.path.dirname(source) == os.path.dirname(target)
        events.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watch_fsync)
    monkeypatch.setattr(os, "replace", watch_replace)
    save_model_parameters(STATE, path)
    assert events == ["flush file", "rename", "flush folder"]


def test_missing_folders(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "missing" / f"m{suffix}"
    with pytest.raises(FileNotFoundError) as caught:
        save_model_parameters(STATE, path)
    assert caught.value.filename == str(path)
    with pytest.raises(FileNotFoundError) as caught:
        load_state_dict_from_file(path)
    assert caught.value.filename == str(path)


def test_a_directory_in_the_way(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"m{suffix}"
    path.mkdir()
    with pytest.raises(OSError, match="directory") as caught:
        save_model_parameters(STATE, path)
    assert caught.value.filename == str(path)
    with pytest.raises(OSError, match=str(path)):
        load_state_dict_from_file(path)


def test_a_file_as_a_folder(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        save_model_parameters(STATE, tmp_path / "file" / f"m{suffix}")


@posix
def test_names_as_long_as_the_system_allows(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / ("x" * (255 - len(suffix)) + suffix)
    save_model_parameters(STATE, path)
    assert list(load_state_dict_from_file(path)) == list(STATE)
    with pytest.raises(OSError, match="too long"):
        save_model_parameters(STATE, tmp_path / ("x" * 255 + suffix))


@posix
def test_pipes_and_devices_are_left_alone(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"m{suffix}"
    os.mkfifo(path)
    with pytest.raises(OSError, match="Not a regular file") as caught:
        save_model_parameters(STATE, path)
    assert caught.value.filename == str(path)
    with pytest.raises(OSError, match="Not a regular file") as caught:
        load_state_dict_from_file(path)
    assert caught.value.filename == str(path)
    assert stat.S_ISFIFO(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o027, 0o077], ids=oct)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@posix
@pytest.mark.usefixtures("staging", "_umask")
def test_permissions_are_those_of_open(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    path = tmp_path / f"m{suffix}"
    save_model_parameters(STATE, path)
    expected = stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    assert stat.S_IMODE(path.stat().st_mode) == expected
    path.chmod(0o640)
    save_model_parameters(STATE, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@posix
@not_root
def test_a_read_only_file_is_not_replaced(path: Path) -> None:
    before = path.read_bytes()
    path.chmod(0o444)
    with pytest.raises(PermissionError) as caught:
        save_model_parameters(STATE, path)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == before


@posix
@not_root
def test_a_read_only_folder(path: Path) -> None:
    path.parent.chmod(0o555)
    try:
        with pytest.raises(PermissionError) as caught:
            save_model_parameters(STATE, path)
    finally:
        path.parent.chmod(0o755)
    assert caught.value.filename == str(path)


@posix
@pytest.mark.usefixtures("staging")
def test_links_are_followed(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    link = folder / f"link{path.suffix}"
    link.symlink_to(path)
    save_model_parameters(STATE, link)
    assert link.is_symlink()
    assert not path.is_symlink()
    assert list(load_state_dict_from_file(path)) == list(STATE)
    assert list(folder.iterdir()) == [link]

    dangling = folder / f"dangling{path.suffix}"
    dangling.symlink_to(folder / f"new{path.suffix}")
    save_model_parameters(STATE, dangling)
    assert dangling.is_symlink()
    assert list(load_state_dict_from_file(folder / f"new{path.suffix}")) == list(STATE)

    loop = folder / f"loop{path.suffix}"
    loop.symlink_to(loop)
    with pytest.raises(OSError, match="Too many levels") as caught:
        save_model_parameters(STATE, loop)
    assert caught.value.filename == str(loop)
    assert loop.is_symlink()


KILLED_WRITER = """
import os, sys
from nn_io import save_model_parameters
os.replace = lambda *_: os._exit(9)
save_model_parameters({"w": 1.0}, sys.argv[1])
"""


@pytest.mark.skipif(
    not Path("/proc/sys/kernel/random/boot_id").exists(), reason="needs the identity of the system"
)
def test_stale_temporary_files_are_removed_and_locked_ones_are_not(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = path.parent
    # A writer that is killed before the rename leaves its temporary file.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    killed = subprocess.run([sys.executable, "-c", KILLED_WRITER, path], env=environment)
    assert killed.returncode == 9
    (stale,) = set(folder.iterdir()) - {path}
    # One of another machine, and one that has just been created.
    prefix, identity, token = stale.name.split("-")
    other = folder / f"{prefix}-{'0' * len(identity)}-{token}"
    other.write_bytes(b"x")
    new = folder / stale.name.replace(token, "0" * 16 + ".tmp")
    new.touch()

    # A writer that waits before the rename, while another saves.
    waiting, resume = threading.Event(), threading.Event()
    replace, second = os.replace, folder / f"second{path.suffix}"

    def wait_and_replace(source: Any, target: Any) -> None:
        if os.path.basename(target) == second.name:
            waiting.set()
            resume.wait(60)
        replace(source, target)

    monkeypatch.setattr(os, "replace", wait_and_replace)
    writer = threading.Thread(target=save_model_parameters, args=(STATE, second))
    writer.start()
    assert waiting.wait(60)
    (locked,) = set(folder.iterdir()) - {path, stale, other, new}
    save_model_parameters(STATE, path)
    assert set(folder.iterdir()) == {path, locked, new, other}
    resume.set()
    writer.join()
    assert set(folder.iterdir()) == {path, second, new, other}
    assert list(load_state_dict_from_file(second)) == list(STATE)


@pytest.mark.usefixtures("staging")
def test_threads_write_one_file_at_once(path: Path) -> None:
    errors: list[BaseException] = []

    def work(value: int) -> None:
        try:
            for _ in range(10):
                save_model_parameters({"w": np.full(1_000, value)}, path)
                loaded = load_state_dict_from_file(path)["w"]
                assert (loaded == loaded[0]).all()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(value,)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_failing_reads_name_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", fail)
        with pytest.raises(OSError, match="Input/output error") as caught:
            load_state_dict_from_file(path)
    assert caught.value.filename == str(path)


def test_lack_of_memory_is_an_error_of_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(np, "empty", fail)
        with pytest.raises(FileFormatError, match=f"^{re.escape(str(path))}: .*memory"):
            load_state_dict_from_file(path)
