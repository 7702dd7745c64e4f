"""Mistakes on the command line end in one sentence, and nothing is written."""

import subprocess
import sys

import pytest

from agentic_rl.policy import layout
from experiments import compare, evaluate, train, watch
from tests.experiments.program_runs import ROOT, assert_one_sentence, contents

pytestmark = pytest.mark.usefixtures("keep_process")

MISTAKES = {
    "an unknown algorithm": (
        "grop running_sum",
        "no algorithm called grop",
        "did you mean grpo?",
        "reinforce",
    ),
    "an unknown task": (
        "grpo runing_sum",
        "no task called runing_sum",
        "did you mean running_sum?",
    ),
    "an unknown task of a mixture": (
        "grpo running_sum+kee_door",
        "no task called kee_door",
        "did you mean key_door?",
    ),
    "a task twice": ("grpo running_sum+running_sum", "names a task twice"),
    "a knob that a mixture's task lacks": (
        "grpo running_sum+key_door --task.key-door.num-turns 3",
        "no flag --task.key-door.num-turns",
    ),
    "problems that a mixture cannot share": (
        "grpo running_sum+key_door --algorithm.problems 33 --devices 1",
        "the 2 tasks of the mixture",
    ),
    "no task": ("grpo --seeds 2", "no task called --seeds"),
    "an unknown flag": (
        "grpo running_sum --task.num-turn 3",
        "no flag --task.num-turn here",
        "--task.num-turns",
    ),
    "a flag of another credit": (
        "grpo running_sum --algorithm.credit.lambda_ 0.9",
        "no flag --algorithm.credit.lambda_",
        "--credit gae",
    ),
    "a learning rate as torch calls it": (
        "grpo running_sum --lr 1e-3",
        "--lr here; write --algorithm.optimizer.learning-rate or --warm",
    ),
    "a flag without its path": (
        "grpo running_sum --attempts=4",
        "no flag --attempts=4 here; write --algorithm.attempts.",
    ),
    "a flag with another path": (
        "grpo running_sum --algorithm.clip-low 1",
        "write --algorithm.surrogate.clip-low.",
    ),
    "a flag with part of its path": (
        "ppo running_sum --values.clip 1",
        "write --algorithm.values.clip.",
    ),
    "TRL's KL coefficient": (
        "grpo running_sum --beta 0.1",
        "--kl reference_kl (in the loss) and --reward kl_reward have a coefficient",
    ),
    "TRL's KL coefficient where there is one": (
        "grpo-trl running_sum --kl reference_kl --beta .1",
        "write --algorithm.kl.coefficient.",
    ),
    "a temperature of training": (
        "grpo running_sum --temperature 0.5",
        "training draws actions at temperature 1",
    ),
    "an unknown credit": (
        "grpo running_sum --credit gea",
        "no credit called gea",
        "did you mean gae?",
    ),
    "a value of another type": ("grpo running_sum --updates many", "--updates", "'many'"),
    "a value that is no choice": (
        "grpo running_sum --policy.context none",
        "--policy.context",
        "history",
    ),
    "a knob out of range": (
        "grpo running_sum --task.modulus 99",
        "--task.modulus must be 2 to 16",
        "99",
    ),
    "a warm start's knob out of range": (
        "grpo running_sum --warm-start.noise 2",
        "--warm-start.noise must be 0 to 1 (a probability), not 2",
    ),
    "no deviation to divide by": (
        "grpo running_sum --algorithm.credit.eps 0",
        "eps must be above 0",
    ),
    "a bound that cuts too much": (
        "grpo running_sum --surrogate dual_clip --algorithm.surrogate.bound 0.5",
        "bound must be above 1",
    ),
    "forks of another reward": (
        "vineppo running_sum --reward shaped",
        "Forks are played for the task's own reward, not for Shaped",
    ),
    "a ratio of what was shown": (
        "sft running_sum --surrogate cispo",
        "Cispo compares with the policy that acted",
    ),
    "a credit without values": (
        "grpo running_sum --credit turn_gae",
        "TurnGAE needs values: add --values critic",
    ),
    "a selection without a group": (
        "ppo running_sum --selection top_spread",
        "set --algorithm.attempts to 2 or more",
    ),
    "a fraction out of range": (
        "grpo running_sum --selection top_spread --algorithm.selection.fraction 2",
        "fraction must be above 0",
    ),
    "a lag of the expert": ("sft running_sum --algorithm.refresh 2", "leave it at 1"),
    "a preset misspelt": ("grpo-ver running_sum", "did you mean grpo-verl?"),
    "a warm start of two kinds": (
        "grpo running_sum --warm-start.checkpoint x --warm-start.noise 0.1",
        "leave out the other --warm-start",
    ),
    "a negative warm start": (
        "grpo running_sum --warm-start.updates -10",
        "--warm-start.updates must be 0 or more, not -10",
    ),
    "a flag without its value": ("grpo running_sum --credit", "--credit needs a value"),
    "problems that devices cannot share": (
        "grpo running_sum --devices 3 --algorithm.problems 32",
        "--algorithm.problems (32)",
        "3 dev",
    ),
    "a minibatch that devices cannot share": (
        "grpo running_sum --devices 4 --algorithm.minibatches 128",
        "--algorithm.minibatches (2)",
    ),
    "a warm start that devices cannot share": (
        "grpo running_sum --devices 3 --algorithm.problems 33 --eval-episodes 33"
        " --algorithm.minibatches 1",
        "warm start's batch (256)",
    ),
    "more devices than there are": (
        "grpo running_sum --devices 64 --algorithm.problems 64",
        "--devices 64",
        "add --devices 4",
    ),
    "a negative number of devices": (
        "grpo running_sum --devices -1",
        "--devices must be 0 or more, not -1",
    ),
    "a group of one for GRPO": (
        "grpo running_sum --algorithm.attempts 1",
        "--algorithm.attempts to 2",
    ),
    "a group of one for RLOO": (
        "rloo running_sum --algorithm.attempts 1",
        "--algorithm.attempts to 2",
    ),
    "a horizon beyond the context": (
        "grpo running_sum --task.num-turns 2000",
        "6002 tokens",
        str(layout.LIMIT),
        "fewer turns",
    ),
    "updates that are no multiple of the chunk": (
        "grpo running_sum --updates 25",
        "--updates (25)",
        "use 20 or 30",
    ),
    "updates below the chunk": (
        "grpo running_sum --updates 3",
        "--updates (3)",
        "use 10, or --chunk 1.",
    ),
    "GAE without a critic": ("grpo running_sum --credit gae", "--values critic"),
    "clipped ratios of an expert": (
        "sft running_sum --surrogate clipped_ratio",
        "--surrogate log_likelihood",
    ),
    "a width that the heads cannot share": (
        "grpo running_sum --policy.width 30",
        "width (30)",
        "heads (4)",
    ),
    "no such run to start from": (
        "grpo running_sum --warm-start.checkpoint nowhere",
        "nowhere is not the directory of a run",
    ),
    "no such run to resume": ("--resume nowhere", "nowhere is not the directory of a run"),
    "a directory that cannot be made": (
        "grpo running_sum --run-dir /proc/nowhere/run",
        "Cannot write to /proc/nowhere/run",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_training_refuses_in_one_sentence_and_writes_nothing(call, tmp_path, mistake):
    line, *words = MISTAKES[mistake]
    assert_one_sentence(call(train, *line.split()), *words)
    assert not contents(tmp_path) and not list((tmp_path / "here").iterdir())


READING = {
    "no run to evaluate": (evaluate, "", "Name the directory of a run"),
    "nothing to compare": (compare, "--out here", "Name the directories"),
    "nothing to watch": (watch, "--episodes 2", "Name a task"),
    "an unknown task": (watch, "key_dor", "did you mean key_door?"),
    "an unknown flag of the task": (
        watch,
        "key_door --task.num-turns 3",
        "no flag --task.num-turns here",
    ),
    "no episodes": (watch, "key_door --episodes 0", "--episodes must be 1 or more"),
    "episodes beyond the context": (watch, "running_sum --task.num-turns 2000", "6002 tokens"),
    "no such run to watch": (watch, "--policy nowhere", "nowhere is not the directory of a run"),
    "no such run to evaluate": (evaluate, "nowhere", "nowhere is not the directory of a run"),
    "no such run to compare": (compare, "nowhere", "nowhere is not the directory of a run"),
    "a horizon that is no number": (
        evaluate,
        "nowhere --horizons 1,two",
        "--horizons are whole numbers",
        "1,two",
    ),
    "devices that cannot share a line's problems": (
        evaluate,
        "nowhere --devices 3",
        "--devices (3) must divide the 128 problems of a line",
    ),
    "an unknown split": (evaluate, "nowhere --splits validation", "--splits are train and test"),
    "episodes that attempts do not divide": (
        evaluate,
        "nowhere --attempts 3",
        "--episodes (1024)",
        "--attempts (3)",
    ),
    "a temperature of zero": (evaluate, "nowhere --temperature 0", "--temperature must be above 0"),
}


@pytest.mark.parametrize("mistake", READING)
def test_watching_evaluating_and_comparing_refuse_in_one_sentence(call, tmp_path, mistake):
    program, line, *words = READING[mistake]
    assert_one_sentence(call(program, *line.split()), *words)
    assert not contents(tmp_path)


def test_a_mistake_on_a_real_command_line_exits_with_2_and_no_traceback(tmp_path):
    command = [sys.executable, "-m", "experiments.train", "grop", "running_sum"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert_one_sentence((done.returncode, done.stdout, done.stderr), "did you mean grpo?")
