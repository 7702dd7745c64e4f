"""The demo says what it stands for, takes further flags, and its success visibly rises."""

import json
from dataclasses import replace

import pytest

from agentic_rl.training.train import train as run_training
from experiments import train
from experiments.cli.flags import parse


def test_the_demo_prints_its_command_and_takes_further_flags(capsys):
    assert train.main(["demo", "--seed", "3", "--updates", "200", "--print-config"]) == 0
    said, _, config = capsys.readouterr().out.partition("\n")
    config = json.loads(config[: config.rindex("}") + 1])
    assert (
        said.startswith("demo stands for: ")
        and f"grpo running_sum {train.DEMO.partition('running_sum ')[2]} --seed 3" in said
    )
    assert (
        config["seed"],
        config["updates"],
        config["task"]["modulus"],
        config["policy"]["layers"],
    ) == (3, 200, 6, 1)


def test_only_the_first_word_is_the_demo():
    assert train.spell_out_demo(["grpo", "demo"]) == ["grpo", "demo"]


@pytest.mark.slow
def test_the_demos_success_rises_from_a_tenth_to_nearly_all():
    run = replace(parse(train.Command, train.DEMO.split()).run, seeds=2, devices=1, eval_every=100)
    entries = run_training(run).entries
    assert all(x < 0.3 for x in entries[0]["eval_success"]) and all(
        x > 0.9 for x in entries[-1]["eval_success"]
    )
