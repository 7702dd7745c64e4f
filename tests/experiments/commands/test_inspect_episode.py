"""One episode token by token.

Its numbers are those computed directly, and mistakes are refused in one sentence.
"""

import re
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import algorithms, tokens
from agentic_rl.algorithms import swap
from agentic_rl.config import to_json
from agentic_rl.credit.supervised import Imitation
from agentic_rl.envs.key_door import KeyDoor
from agentic_rl.envs.sort_digits import SortDigits
from agentic_rl.envs.wait_chain import WaitChain
from agentic_rl.exact.true_advantage import true_advantage
from agentic_rl.policy import layout, transformer
from agentic_rl.policy.episode_pass import read_episodes
from agentic_rl.policy.sampler import Sampler
from agentic_rl.policy.transformer import Policy
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.rewards import KlReward
from agentic_rl.rollout.rollout import rollout
from agentic_rl.selection import Informative
from agentic_rl.training import learner
from agentic_rl.training.run import Run, load
from experiments import inspect_episode, train, watch
from experiments.cli import console
from tests.experiments.episode_html import Page, close, one
from tests.experiments.program_runs import assert_one_sentence
from tests.toys import weights

SMALL = Policy(width=16, layers=1, heads=2, mlp=16, context="markov")
DOOR = KeyDoor(delay=4, apple_reward=1.0)
LIKELY = (
    tokens.LEFT,
    tokens.RIGHT,
    tokens.OPEN,
    *map(tokens.entity, range(4)),
)  # so that something is earned


@pytest.fixture(autouse=True)
def no_cache(monkeypatch):
    monkeypatch.setattr(console, "keep_compiled_programs", lambda: None)


@pytest.fixture
def call(monkeypatch, capsys):
    """Returns a function that runs the program, and returns exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["inspect", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            console.main(inspect_episode.main)
        return end.value.code or 0, *capsys.readouterr()

    return run


def stored(path, algorithm, task=DOOR, size=SMALL, reference=None):
    """Returns the directory of a run that was saved before its first update."""
    params = jax.tree.map(lambda x: np.asarray(x)[None], weights(size, likely=LIKELY))
    state = jax.tree.map(np.asarray, jax.vmap(lambda p: learner.init(algorithm, p))(params))
    state = (
        state._replace(reference=jax.tree.map(lambda x: np.asarray(x)[None], reference))
        if reference
        else state
    )
    with RunDirectory.create(path, to_json(Run(task, algorithm, size, devices=1))) as directory:
        directory.save(0, state)
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Returns the directory of a run of PPO."""
    return stored(tmp_path_factory.mktemp("inspect") / "run", algorithms.PPO)


def attempts(task, size, params, seed, problem, count, temperature=1.0):
    play = lambda: rollout(  # noqa: E731
        task,
        Sampler(size, params, temperature),
        jax.random.key(seed),
        jnp.array([problem]),
        count,
        "test",
        keep_states=True,
    )
    return jax.jit(play)()


def standardised_gae(reward, value, alive, lambda_):
    """Returns Σ λᵏ δ of each turn of each attempt [G, T], standardised; turns have one token."""
    credit = np.zeros(reward.shape)
    for g, t in np.argwhere(alive):
        last = alive[g].sum()
        for k in range(t, last):
            following = value[g, k + 1] if k + 1 < last else 0.0
            credit[g, t] += lambda_ ** (k - t) * (reward[g, k] + following - value[g, k])
    return np.where(alive, (credit - credit[alive].mean()) / credit[alive].std(), 0.0)


def test_every_number_on_the_page_is_the_one_computed_directly(call, saved, tmp_path):
    seed, problem, count, episode = 3, 2, 4, 1
    flags = [
        "--seed",
        seed,
        "--problem",
        problem,
        "--attempts",
        count,
        "--episode",
        episode,
        "--html",
        tmp_path / "a.html",
    ]
    code, out, _ = call(saved, *flags)
    assert code == 0
    page = Page((tmp_path / "a.html").read_text())
    run, state = load(str(saved))
    params = jax.tree.map(lambda x: x[0], state.params)
    played = attempts(run.task, run.policy, params, seed, problem, count)
    token, valid = (x[0] for x in layout.tokens(played))
    value = np.asarray(transformer.apply(run.policy, params, run.task.spec, token, valid)[1])[
        ..., 0
    ]
    reward, alive = np.asarray(played.reward[0]), np.asarray(played.mask[0, ..., 0])
    truth = true_advantage(run.task, run.policy, params, played)
    direct = {
        "reward": reward, "value": value, "credit": standardised_gae(reward, value, alive, 0.95),
        "true value": truth.value.before[0, ..., 0], "true advantage": truth.advantage[0, ..., 0],
    }  # fmt: skip
    cells, turns = page.cells(), alive[episode].sum()
    assert len(cells) == len(direct) * turns and truth.method in page.words and truth.method in out
    for (name, t, a), (word, number, error) in cells.items():
        assert (a, word, error) == (0, tokens.text([played.action[0, episode, t, 0]]), 0.0)
        assert number == close(direct[name][episode, t]), (name, t)
    rows = [re.split(r" {2,}", line.strip()) for line in out.splitlines() if "->" in line][1:]
    names = ["reward", "credit", "true advantage", "value", "true value"]
    assert [[float(x) for x in row[3:]] for row in rows] == [
        [cells[name, t, 0][1] for name in names] for t in range(turns)
    ]


def test_true_advantage_is_reward_plus_the_change_of_true_value(call, saved, tmp_path):
    call(saved, "--attempts", 2, "--html", tmp_path / "a.html")
    cells = Page((tmp_path / "a.html").read_text()).cells()
    number = lambda name, t: cells[name, t, 0][1] if (name, t, 0) in cells else 0.0  # noqa: E731
    for t in range(DOOR.spec.num_turns):
        later = number("reward", t) + number("true value", t + 1)
        assert number("true value", t) + number("true advantage", t) == pytest.approx(
            later, abs=0.012
        )
    assert any(abs(number("true advantage", t)) > 0.05 for t in range(DOOR.spec.num_turns))


def test_attempt_0_at_a_problem_is_the_episode_that_watch_shows(call, saved, monkeypatch, capsys):
    assert watch.main(["--policy", str(saved), "--episodes", "3", "--seed", "5"]) == 0
    prompt, *turns, outcome = capsys.readouterr().out.strip().split("\n\n")[2].splitlines()
    _, out, _ = call(saved, "--problem", 2, "--seed", 5, "--attempts", 2)
    assert f"\n{prompt} ({outcome};" in out
    assert [re.split(r" {2,}", line.strip())[1] for line in out.splitlines() if "->" in line][
        1:
    ] == [turn.partition("   (expert")[0] for turn in turns]


@pytest.mark.slow
def test_nothing_but_the_temperature_changes_with_the_temperature(call, saved):
    outs = [call(saved, "--attempts", 3, "--temperature", heat)[1] for heat in (0, 1)]
    returns = re.search(r"returns of all attempts: (.*)\)", outs[0])[1].split()
    assert len(returns) == 3 and len(set(returns)) == 1  # greedy
    assert (
        "drawn at temperature 0; the truth is about the policy at 1" in outs[0]
        and "temperature" not in outs[1]
    )


@pytest.mark.slow
def test_where_the_truth_is_from_forks_it_says_so_with_their_error(call, tmp_path):
    remembers = replace(SMALL, context="history")
    path = stored(tmp_path / "run", algorithms.REINFORCE, size=remembers)
    code, out, err = call(
        path, "--forks", 8, "--attempts", 2, "--episode", 1, "--html", tmp_path / "a.html"
    )
    assert code == 0, err
    assert "8 forks from before each turn" in out and "± is its standard error" in out
    params = jax.tree.map(lambda x: x[0], load(str(path))[1].params)
    truth = true_advantage(
        DOOR, remembers, params, attempts(DOOR, remembers, params, 0, 0, 2), forks=8
    )
    advantage, spread = (np.asarray(x[0, 1]) for x in (truth.advantage, truth.error))
    cells = Page((tmp_path / "a.html").read_text()).cells()
    assert any(error > 0 for _, _, error in cells.values())
    for (name, t, a), (_, number, error) in cells.items():
        assert error == pytest.approx(spread[t, a] if name == "true advantage" else 0.0, rel=0.06)
        assert name != "true advantage" or number == close(advantage[t, a])


EXPERTS = [
    pytest.param(
        algorithms.SFT, DOOR, "trains on its expert's episodes", marks=pytest.mark.slow, id="sft"
    ),
    pytest.param(
        algorithms.DAGGER,
        SortDigits(answer_length=6),
        "trains on the expert's labels",
        marks=pytest.mark.slow,
        id="dagger",
    ),
]


@pytest.mark.parametrize(("algorithm", "task", "said"), EXPERTS)
def test_of_an_experts_run_it_shows_the_policys_own_episode(call, tmp_path, algorithm, task, said):
    path = stored(tmp_path / "run", algorithm, task)
    _, out, _ = call(path, "--attempts", 1, "--forks", 2, "--html", tmp_path / "a.html")
    mine = one(
        attempts(task, SMALL, jax.tree.map(lambda x: x[0], load(str(path))[1].params), 0, 0, 1)
    )
    cells = Page((tmp_path / "a.html").read_text()).cells()
    assert said in out and "value: " not in out.replace("true value: ", "")
    assert [number for (name, *_), (_, number, _) in cells.items() if name == "credit"] == [
        1.0
    ] * mine.mask.sum()
    assert [word for (name, *_), (word, *_) in cells.items() if name == "credit"] == tokens.text(
        mine.action[mine.mask]
    ).split()
    assert (mine.action != mine.label).any() and (
        task is DOOR or (mine.mask != mine.label_mask).any()
    )


def test_an_episode_that_the_selection_leaves_out_has_no_credit(call, tmp_path):
    path = stored(
        tmp_path / "run", swap(algorithms.GRPO, credit=Imitation(), selection=Informative())
    )
    _, out, _ = call(path, "--temperature", 0, "--html", tmp_path / "a.html")
    assert "because the selection (informative) leaves this episode out" in out
    credit = [
        number
        for (name, *_), (_, number, _) in Page((tmp_path / "a.html").read_text()).cells().items()
        if name == "credit"
    ]
    assert credit and not any(credit)


@pytest.mark.slow
def test_a_penalty_for_leaving_the_reference_is_part_of_the_reward(call, tmp_path):
    other = weights(SMALL, seed=7, likely=LIKELY)
    path = stored(tmp_path / "run", swap(algorithms.RLOO, reward=KlReward(0.5)), reference=other)
    _, out, _ = call(path, "--attempts", 2, "--html", tmp_path / "a.html")
    assert "with the run's own reward (kl reward); the truth is about the task's own" in out
    played = attempts(DOOR, SMALL, jax.tree.map(lambda x: x[0], load(str(path))[1].params), 0, 0, 2)
    theirs, _ = read_episodes(SMALL, other, DOOR.spec, played)
    expected = one(played.reward[..., None] - 0.5 * (played.log_prob - theirs))
    found = {
        (t, a): number
        for (name, t, a), (_, number, _) in Page((tmp_path / "a.html").read_text()).cells().items()
        if name == "reward"
    }
    assert len(found) == DOOR.spec.num_turns and all(
        number == close(expected[place]) for place, number in found.items()
    )
    assert np.abs(played.log_prob - theirs).max() > 0.1


def test_the_page_needs_no_other_file_and_fits_a_phone(call, saved, tmp_path):
    code, out, _ = call(saved, "--html", tmp_path / "new" / "a.html")
    text = (tmp_path / "new" / "a.html").read_text()
    page = Page(text)
    assert (
        code == 0
        and f"wrote {tmp_path / 'new' / 'a.html'}" in out
        and [p.name for p in (tmp_path / "new").iterdir()] == ["a.html"]
    )
    assert (
        text.startswith("<!doctype html>")
        and not {"script", "link", "img", "iframe"} & set(page.tags)
        and "http" not in text
    )
    assert not any({"src", "href"} & set(attributes) for attributes in page.attributes)
    assert {"lang": "en"} in page.attributes and any(
        "width=device-width" in a.get("content", "") for a in page.attributes
    )
    assert {"class": "scroll", "tabindex": "0"} in page.attributes
    assert (
        "the forecast is n" in page.words
        and "-largest" in page.words
        and "Written by python -m experiments.inspect_episode" in page.words
    )


@pytest.mark.slow
def test_a_part_of_a_mixture_is_shown_if_it_is_named(call, tmp_path):
    path = stored(tmp_path / "run", algorithms.GRPO, {"key_door": DOOR, "wait_chain": WaitChain()})
    assert_one_sentence(
        call(path), "--part names a task of a mixture, not nothing", "key_door, wait_chain"
    )
    code, out, _ = call(path, "--part", "key_door")
    assert code == 0 and "the forecast is" in out


MISTAKES = {
    "no run": ("", "Name the directory of a run"),
    "a run that is none": ("nowhere", "nowhere is not the directory of a run"),
    "an episode that is not played": ("nowhere --episode 8", "--episode is 0 to 7", "not 8"),
    "an episode before the first": ("nowhere --episode -1", "--episode must be 0 or more, not -1"),
    "no attempts": ("nowhere --attempts 0", "--attempts must be 1 or more, not 0"),
    "a problem before the first": ("nowhere --problem -1", "--problem must be 0 to 2147483647"),
    "a seed that is too large": (
        "nowhere --seed 2147483648",
        "--seed must be 0 to 2147483647, not 2147483648",
    ),
    "a temperature below zero": (
        "nowhere --temperature -0.5",
        "--temperature must be 0 or more, not -0.5",
    ),
    "a single fork": ("nowhere --forks 1", "--forks must be 2 or more"),
    "an unknown flag": ("nowhere --episodes 3", "no flag --episodes here"),
    "a number that is none": ("nowhere --problem first", "--problem", "'first'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_said_in_one_sentence(call, tmp_path, monkeypatch, mistake):
    monkeypatch.chdir(tmp_path)
    line, *words = MISTAKES[mistake]
    assert_one_sentence(call(*line.split()), *words)
    assert not list(tmp_path.iterdir())


def test_a_part_of_a_single_task_and_a_group_of_one_are_refused(call, saved, tmp_path):
    assert_one_sentence(call(saved, "--part", "key_door"), "not key_door", "single task")
    path = stored(tmp_path / "run", algorithms.GRPO)
    assert_one_sentence(
        call(path, "--attempts", 1),
        "GroupRelative compares attempts",
        "set --attempts to 2 or more, not 1",
    )


def test_a_run_without_checkpoint_and_a_folder_as_page_are_refused(call, saved, tmp_path):
    with RunDirectory.create(tmp_path / "run", to_json(Run(DOOR, algorithms.PPO, SMALL))):
        pass
    assert_one_sentence(call(tmp_path / "run"), "holds no checkpoint yet")
    (tmp_path / "folder").mkdir()
    assert_one_sentence(call(saved, "--html", tmp_path / "folder"), "--html names a file", "folder")


def test_without_a_page_no_folder_is_in_its_way(tmp_path, monkeypatch):
    (tmp_path / "page").mkdir()
    monkeypatch.chdir(tmp_path)
    assert inspect_episode.Command("run").html == ""


@pytest.mark.slow
def test_a_run_that_train_made_is_inspected(call, tmp_path, monkeypatch):
    monkeypatch.setattr(train.parallel, "prepare", lambda devices: None)
    sizes = (
        "--policy.context markov --policy.width 16 --policy.layers 1 --policy.heads 2 "
        "--policy.mlp 16 --task.delay 2 --devices 1"
    )
    assert (
        train.main(
            ["ppo", "key_door", "--quick", *sizes.split(), "--run-dir", str(tmp_path / "run")]
        )
        == 0
    )
    code, out, _ = call(tmp_path / "run")
    assert code == 0 and "run after 10 updates" in out and "exact, by enumeration" in out
