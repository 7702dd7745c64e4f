"""The settings that TensorBoard shows are short and tell runs apart."""

from dataclasses import replace

import pytest

from agentic_rl import algorithms
from agentic_rl.algorithms import swap
from agentic_rl.config import to_json
from agentic_rl.envs.dataset import Dataset, Pairs
from agentic_rl.envs.running_sum import RunningSum
from agentic_rl.optimizer import Adam
from agentic_rl.records.tensorboard.hparams import hparams
from agentic_rl.training.run import Run, WarmStart

TASK = RunningSum(num_turns=4)
GRPO = Run(TASK, algorithms.GRPO, seeds=2)


def test_hparams_are_the_settings_that_are_not_defaults():
    changed = swap(
        algorithms.GRPO,
        optimizer=Adam(learning_rate=1e-3),
        credit=replace(algorithms.GRPO.credit, eps=0.5),
    )
    shown = hparams(to_json(replace(GRPO, algorithm=changed, warm_start=WarmStart(updates=10))))
    assert (shown["learning_rate"], shown["eps"], shown["warm_start.updates"]) == (1e-3, 0.5, 10)
    assert "warm_start.learning_rate" not in shown and "surrogate" not in shown
    custom = hparams(
        to_json(replace(GRPO, algorithm=swap(algorithms.GRPO, credit=algorithms.REINFORCE.credit)))
    )
    assert (custom["algorithm"], custom["credit"], custom["surrogate"]) == (
        "custom",
        "reward_to_go",
        "clipped_ratio",
    )


@pytest.mark.parametrize("name", algorithms.by_name())
def test_an_algorithm_knows_its_name(name):
    assert algorithms.by_name()[name].name == name


def test_hparams_of_a_mixture_of_own_data_and_of_another_version_are_short():
    data = Pairs((f"question {i}", str(i)) for i in range(300))
    mixed = hparams(to_json(replace(GRPO, task={"running_sum": TASK, "dataset": Dataset(data)})))
    assert mixed["task"] == "running_sum + dataset" and mixed["dataset.pairs"] == "<300 pairs>"
    assert (
        hparams(to_json(replace(GRPO, task=Dataset(data, "mine"))))["task"]
        == "dataset(mine, 300 pairs)"
    )
    later = hparams(
        {
            "task": {"class": "agentic_rl.envs.gone.GoneForEver", "size": 3},
            "levels": list(range(50)),
            "limits": {"low": 2},
        }
    )
    assert later == {"task": "gone_for_ever", "size": 3, "levels": "50 values", "limits.low": 2}
