"""One process at a time writes in a folder, and no process that ended keeps another from it."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from agentic_rl import parallel
from agentic_rl.config import ConfigError
from agentic_rl.records.disk_errors import DiskNotice
from agentic_rl.records.lock import Lock
from experiments import sl_vs_rl
from experiments.cli import console
from experiments.pages import tasks_page

HOLDS = """
import sys, time
from pathlib import Path
from agentic_rl.records.lock import Lock

lock = Lock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
time.sleep(100)
"""


@pytest.fixture
def other(tmp_path):
    """Starts a process that holds the lock of `tmp_path`."""
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=root
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_second_process_is_told_who_writes_and_what_to_do(tmp_path, other):
    with pytest.raises(ConfigError) as refused:
        Lock(tmp_path).acquire()
    assert f"Process {other.pid} on {socket.gethostname()} writes in {tmp_path}; " in str(
        refused.value
    )
    assert f"kill {other.pid}" in str(refused.value)


def test_a_process_that_was_killed_keeps_nobody_out(tmp_path, other):
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert (tmp_path / "lock").exists()
    with Lock(tmp_path):
        assert (tmp_path / "lock").read_text().split() == [str(os.getpid()), socket.gethostname()]
    assert not (tmp_path / "lock").exists()


def test_the_same_process_is_told_that_it_writes_already(tmp_path):
    with (
        Lock(tmp_path),
        pytest.raises(ConfigError, match=r"This process .* close the other object first\."),
    ):
        Lock(tmp_path).acquire()
    with Lock(tmp_path):
        pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_said_and_used(tmp_path, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.warns(DiskNotice, match="file system without locks"):
        Lock(tmp_path).acquire()


def test_a_folder_that_cannot_be_written_to_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="Cannot write to .*Not a directory"):
        Lock(tmp_path / "file" / "folder").acquire()


@pytest.mark.parametrize(
    "program, flags",
    [(sl_vs_rl, []), (tasks_page, ["--measure", "key_door"])],
    ids=["sl_vs_rl", "tasks_page"],
)
def test_a_program_is_refused_a_locked_folder_before_it_measures(
    tmp_path, monkeypatch, program, flags
):
    monkeypatch.setattr(parallel, "prepare", lambda devices: None)
    monkeypatch.setattr(console, "keep_compiled_programs", lambda: None)
    monkeypatch.setattr(program, "measure", lambda *_: pytest.fail("measured"))
    with Lock(tmp_path), pytest.raises(ConfigError, match=f"already writes in {tmp_path}"):
        program.main([*flags, "--out", str(tmp_path)])
