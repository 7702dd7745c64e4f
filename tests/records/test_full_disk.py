"""What the disk refuses is one sentence, and leaves nothing half written."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentic_rl.config import ConfigError
from agentic_rl.records.run_directory import RunDirectory
from tests.runs import CONFIG, contents, learner, write_run


def test_a_config_that_the_disk_refuses_leaves_the_run_finished_as_it_was(tmp_path, monkeypatch):
    with RunDirectory.create(tmp_path, CONFIG) as run:
        run.finish({"success": 0.5})

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("agentic_rl.records.atomic_files.write", full)
    with RunDirectory.open(tmp_path) as run, pytest.raises(ConfigError, match="No space left"):
        run.reconfigure({**CONFIG, "updates": 400})
    assert (
        RunDirectory.open(tmp_path).result == {"success": 0.5}
        and "updates" not in RunDirectory.open(tmp_path).config
    )


def test_a_directory_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="Cannot write to .*Not a directory"):
        RunDirectory.create(tmp_path / "file" / "run", CONFIG)


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(ConfigError, match="No space left on device"):
            RunDirectory.create(tmp_path, CONFIG)
    assert contents(tmp_path) == {}

    write_run(tmp_path, range(1, 4))
    RunDirectory.create(tmp_path, CONFIG).log({"step": 4, "loss": 0.5})
    before = contents(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "truncate", full)
        with pytest.raises(ConfigError, match="No space left on device"):
            RunDirectory.create(tmp_path, CONFIG).resume(learner(0))
    assert contents(tmp_path) == before


FULL = """
import resource, signal, sys
sys.path[:0] = [{tests!r}, {root!r}]
from agentic_rl.config import ConfigError
from agentic_rl.records.run_directory import RunDirectory
from tests.runs import CONFIG, learner

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
run = RunDirectory.create({path!r}, CONFIG)
run.save(1, learner(1))
run.wait()
resource.setrlimit(resource.RLIMIT_FSIZE, (6000, resource.RLIM_INFINITY))  # files above 6 kB fail
refused = []
for act in (lambda: run.save(2, learner(2, width=5000)), run.wait):
    try:
        act()
    except ConfigError as error:
        refused.append(str(error))
for step in range(1000):
    try:
        run.log({{"step": step, **{{f"m{{i}}": 0.5 for i in range(300)}}}})
    except ConfigError as error:
        refused.append(str(error))
        break
print(*refused, sep="\\n")
"""


def test_a_disk_that_fills_up_ends_the_run_and_keeps_the_checkpoint(
    tmp_path,
):
    here = Path(__file__).parents[1]
    script = FULL.format(tests=str(here), root=str(here.parent), path=str(tmp_path))
    command = [sys.executable, "-c", script]
    ended = subprocess.run(
        command,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    save, log = ended.stdout.splitlines()
    assert save.startswith(
        f"Cannot write a checkpoint to {tmp_path / 'checkpoints'} (File too large"
    )
    assert log.startswith(f"Cannot write to {tmp_path} (File too large)")
    run = RunDirectory.open(tmp_path)
    assert run.restore(learner(0))[0] == 1
    assert [entry["step"] for entry in run.metrics] == list(range(len(run.metrics))) != []
