"""A run with damaged files is restored or refused in one sentence, and nothing is erased."""

import json
import os
import shutil
import warnings
from pathlib import Path

import pytest

from agentic_rl.budgets import Budget
from agentic_rl.config import ConfigError
from agentic_rl.records.disk_errors import DiskNotice
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.training.train import BUDGET
from tests.damage import CASES, DAMAGE, VIEW
from tests.runs import CONFIG, contents, learner, write_run


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("damage") / "run"
    write_run(path, range(4))
    with RunDirectory.create(path, CONFIG) as run:
        run.finish({"success": 0.5})
    return path


@pytest.fixture
def run_path(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "run"))


def attempt(act) -> str:
    """Returns the sentence with which `act` is refused, or "" if it is not."""
    try:
        act()
    except ConfigError as error:
        assert str(error).endswith(".") and "\n" not in str(error)
        return str(error)
    return ""


def read(path: Path) -> None:
    """Asks a run directory for everything that a program may ask."""
    run = RunDirectory.open(path)
    for what in (
        lambda: run.metrics,
        lambda: run.episodes,
        lambda: run.result,
        lambda: run.restore(learner(0)),
    ):
        attempt(what)


def resume(path: Path) -> None:
    with RunDirectory.open(path) as run:
        run.resume(learner(0))
        run.log({"step": 4, "loss": 0.0})


def lines(files: dict[str, bytes], *names: str) -> set[bytes]:
    return {line for name in names for line in files.get(name, b"").split(b"\n")}


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::agentic_rl.records.disk_errors.DiskNotice",
)
@pytest.mark.parametrize("file, how", CASES)
def test_a_damaged_file_is_one_sentence_or_restored_and_nothing_is_erased(run_path, file, how):
    DAMAGE[how](run_path / file)
    before = contents(run_path)
    attempt(lambda: read(run_path))
    assert contents(run_path) == before
    refused = attempt(lambda: resume(run_path))
    after = contents(run_path)
    for name in ("metrics.jsonl", "episodes.jsonl"):
        again = {
            line
            for line in lines(before, name)
            if b'"step": 3' in line and file.startswith("checkpoints/3")
        }  # from 2 on
        assert lines(before, name) - again <= lines(after, name, f"{name}.damaged")
    kept = {
        name: x for name, x in before.items() if "jsonl" not in name and not name.startswith(VIEW)
    }
    moved = {name.replace("checkpoints.damaged", "checkpoints"): x for name, x in after.items()}
    assert {name: moved.get(name) for name in kept} == kept
    if file == "config.json":
        assert "config.json is damaged" in refused or "is not the directory of a run" in refused
    if refused:
        assert after == before


def test_a_log_behind_its_checkpoint_gets_the_entry_back(run_path):
    log = run_path / "metrics.jsonl"
    entries = log.read_text().splitlines(keepends=True)
    log.write_text("".join(entries[:2]))
    with (
        RunDirectory.open(run_path) as run,
        pytest.warns(DiskNotice, match="behind the checkpoint of update 3"),
    ):
        run.resume(learner(0))
        assert [entry["step"] for entry in run.entries()] == [0, 1, 3]
    assert log.read_text().splitlines()[-1] == entries[3].strip()


@pytest.mark.parametrize("content", [None, b"", bytes(100), b"garbage"])
def test_an_empty_log_begins_with_the_entry_of_the_checkpoint(run_path, content):
    log = run_path / "metrics.jsonl"
    last = log.read_text().splitlines()[-1]
    log.unlink() if content is None else log.write_bytes(content)
    with (
        RunDirectory.open(run_path) as run,
        pytest.warns(DiskNotice, match="behind the checkpoint of update 3"),
    ):
        run.resume(learner(0))
    assert log.read_text() == last + "\n"
    assert (run_path / "metrics.jsonl.damaged").exists() == bool(content)


def test_entries_are_put_in_order_and_damaged_lines_kept_aside(
    run_path,
):
    log = run_path / "metrics.jsonl"
    entries = log.read_text().splitlines()
    foreign = ["garbage", '{"step": "1"}', '{"step": 9, "time": 0.0, "loss": "low"}', "\0\0"]
    log.write_text(
        "\n".join(
            [
                entries[0],
                entries[2],
                foreign[0],
                entries[1],
                foreign[1],
                entries[2],
                *foreign[2:],
                entries[3],
            ]
        )
    )  # no end of line
    with pytest.warns(DiskNotice, match="5 lines that are damaged or out of place"):
        assert [json.dumps(entry) for entry in RunDirectory.open(run_path).entries()] == entries
    with (
        RunDirectory.open(run_path) as run,
        pytest.warns(DiskNotice, match="is in metrics.jsonl.damaged"),
    ):
        run.resume(learner(0))
    assert log.read_text().splitlines() == entries
    assert sorted((run_path / "metrics.jsonl.damaged").read_text().splitlines()) == sorted(
        [*foreign, entries[2]]
    )


def test_an_entry_without_a_number_for_each_seed_is_damaged(tmp_path):
    lists = [[0.1, 0.2], [0.1], [], [0.1, 0.2, 0.3]]
    with RunDirectory.create(tmp_path / "run", {"seeds": 2}) as run:
        for step, values in enumerate(lists):
            run.log({"step": step, "loss": values})
    with pytest.warns(DiskNotice, match="3 lines that are damaged"):
        assert [entry["step"] for entry in run.entries()] == [0]


def test_an_entry_without_its_costs_is_refused():
    entry = {name: [1, 2] for name in BUDGET} | {"step": 5}
    assert Budget.from_entry(entry, 1) == {name: [1] for name in BUDGET}
    sentence = "The entry of update 5 in metrics.jsonl lacks flops; put that file back from a copy"
    with pytest.raises(ConfigError, match=sentence):
        Budget.from_entry({name: x for name, x in entry.items() if name != "flops"}, 1)


def test_a_sound_log_is_not_written_anew(run_path):
    log = run_path / "metrics.jsonl"
    before, file = log.read_bytes(), log.stat().st_ino
    with warnings.catch_warnings():
        warnings.simplefilter("error", DiskNotice)
        with RunDirectory.open(run_path) as run:
            run.log({"step": 4, "loss": 0.0})
        with RunDirectory.open(run_path) as run:
            run.resume(learner(0))
    assert (log.read_bytes(), log.stat().st_ino) == (before, file)


def test_an_entry_that_the_disk_refuses_leaves_no_part_of_it(run_path, monkeypatch):
    log = run_path / "metrics.jsonl"
    before = log.read_bytes()

    class Full:
        def __init__(self, file):
            self.file = file

        def write(self, data):
            if len(data) < 20:
                raise OSError(28, os.strerror(28))
            return self.file.write(data[:10])

        def __getattr__(self, name):
            return getattr(self.file, name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

    with RunDirectory.open(run_path) as run:
        with monkeypatch.context() as patch:
            patch.setattr(
                "agentic_rl.records.log.open", lambda *a, **k: Full(open(*a, **k)), raising=False
            )
            with pytest.raises(ConfigError, match=r"No space left on device\); make room there"):
                run.log({"step": 4, "loss": 0.123456789})
        assert log.read_bytes() == before
        run.log({"step": 4, "loss": 0.5})


def test_episodes_played_again_after_a_kill_are_logged_once(run_path):
    before, file = RunDirectory.open(run_path).episodes, run_path / "episodes.jsonl"
    with RunDirectory.open(run_path) as run:
        run.resume(learner(0))
        run.log_episodes(3, ["the same, played again"])
        run.log_episodes(4, ["new"])
    assert (
        RunDirectory.open(run_path).episodes[:-1] == before
        and len(file.read_text().splitlines()) == len(before) + 1
    )
    assert RunDirectory.open(run_path).episodes[-1]["episodes"] == ["new"]
