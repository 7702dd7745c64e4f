"""A run from before still loads, and a damaged config is refused in one sentence."""

import json
import shutil
from pathlib import Path

import pytest

from agentic_rl.config import ConfigError
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.training.run import load
from agentic_rl.training.train import BUDGET
from tests.runs import contents

OLD = Path(__file__).parents[1] / "fixtures" / "old_run"  # written before checkpoints kept entries


def test_a_run_from_before_checkpoints_kept_entries_still_loads(tmp_path):
    path = Path(shutil.copytree(OLD, tmp_path / "old"))
    run, state = load(str(path))
    directory = RunDirectory.open(path)
    assert run.updates == 2 and list(state.step) == [2] and directory.made_by["versions"]["python"]
    assert directory.entry(2) == directory.metrics[-1] and set(BUDGET) <= set(directory.entry(2))
    (path / "metrics.jsonl").unlink()
    before = contents(path)
    with (
        directory,
        pytest.raises(ConfigError, match="has no entry of update 2, at which the checkpoint"),
    ):
        directory.resume(state)
    assert contents(path) == before


CONFIGS = {
    "no dict": (lambda c: "x", "config.json is damaged"),
    "no config of a run": (lambda c: c["policy"], "not the config of a run"),
    "no class": (lambda c: {k: v for k, v in c.items() if k != "class"}, "not the config of a run"),
    "a class that is gone": (
        lambda c: c | {"task": {"class": "agentic_rl.envs.running_sum.Gone"}},
        "another version",
    ),
    "a class of others": (lambda c: c | {"task": {"class": "os.system"}}, "not of this package"),
    "a class that is a number": (lambda c: c | {"task": {"class": 3}}, "not of this package"),
    "a task that is none": (lambda c: c | {"task": c["policy"]}, "not the config of a run"),
    "a task that is a text": (lambda c: c | {"task": "running_sum"}, "where the task of Run"),
    "a field that is unknown": (lambda c: c | {"speed": 3}, "another version"),
    "a field that is missing": (
        lambda c: {k: v for k, v in c.items() if k != "task"},
        "another version",
    ),
    "a text for a number": (
        lambda c: c | {"updates": "200"},
        "has '200' where the updates of Run is of the kind int",
    ),
    "a fraction for a whole number": (lambda c: c | {"seeds": 1.5}, "where the seeds of Run"),
    "a number for a choice": (lambda c: c | {"launcher": 3}, "where the launcher of Run"),
    "a number out of range": (lambda c: c | {"updates": -1}, "updates must be 1 or more"),
    "not a number": (
        lambda c: c | {"warm_start": c["warm_start"] | {"noise": float("nan")}},
        "noise",
    ),
    "a list for a part": (lambda c: c | {"policy": []}, "where the policy of Run"),
    "a text for a part": (
        lambda c: c | {"algorithm": c["algorithm"] | {"credit": "gae"}},
        "where the credit of Algorithm",
    ),
    "a dict for a part": (
        lambda c: c | {"algorithm": c["algorithm"] | {"optimizer": {"rate": 3}}},
        "where the optimizer of Algorithm",
    ),
}


@pytest.mark.parametrize("how", CONFIGS)
def test_a_damaged_config_is_one_sentence_with_its_file(tmp_path, how):
    path, (damage, words) = Path(shutil.copytree(OLD, tmp_path / "old")), CONFIGS[how]
    whole = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(whole | {"config": damage(whole["config"])}))
    with pytest.raises(ConfigError) as refused:
        load(str(path))
    assert (
        words in str(refused.value)
        and f"{path}/config.json" in str(refused.value)
        and "\n" not in str(refused.value)
    )


@pytest.mark.parametrize("maker", [{}, {"made_by": None}, {"made_by": ["x"]}], ids=str)
def test_without_its_maker_a_config_still_tells_the_run(tmp_path, maker):
    path = Path(shutil.copytree(OLD, tmp_path / "old"))
    whole = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({"config": whole["config"]} | maker))
    assert load(str(path))[0].updates == 2 and RunDirectory.open(path).made_by == {}
