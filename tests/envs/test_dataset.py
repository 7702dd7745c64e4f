"""Questions and answers as a task: characters, padding, exact match, and the split into pairs to train and to test on."""

import json

import jax
import jax.numpy as jnp
import pytest

from agentic_rl import problems, tokens
from agentic_rl.config import from_json, to_json
from agentic_rl.envs.dataset import (
    CHARACTERS,
    FIRST,
    SUMS,
    Dataset,
    Pairs,
    UnknownCharacters,
    decode,
    encode,
)
from agentic_rl.envs.wrappers.renamed import Renamed
from agentic_rl.rollout.actors import Expert
from agentic_rl.rollout.rollout import rollout
from experiments.reports.display_names import task_name

TWO = Dataset(Pairs([("Who?", "me"), ("a longer question", "you")]))


def test_the_characters_fill_the_vocabulary_behind_end():
    assert FIRST + len(CHARACTERS) == tokens.VOCABULARY and len(set(CHARACTERS)) == len(CHARACTERS)
    assert decode(encode(CHARACTERS)) == CHARACTERS and min(encode(CHARACTERS)) > tokens.END


def test_questions_are_padded_on_the_left_and_answers_on_the_right():
    state = jax.vmap(lambda i: TWO.reset(jax.random.key(i))[0])(jnp.arange(32))
    found = {(tuple(q), tuple(a)) for q, a in zip(state.question.tolist(), state.answer.tolist())}
    short = (
        (tokens.BOS, *[tokens.PAD] * 13, *encode("who?")),
        (*encode("me"), tokens.END, tokens.PAD),
    )
    assert found == {
        short,
        ((tokens.BOS, *encode("a longer question")), (*encode("you"), tokens.END)),
    }


def test_only_the_whole_answer_and_its_end_count():
    state, _ = Dataset(Pairs([("q", "12")])).reset(jax.random.key(0))

    def reward(text, then=(tokens.END,)):
        action = jnp.array((encode(text) + list(then) + [tokens.PAD] * 3)[:3])
        return float(Dataset(Pairs([("q", "12")])).step(jax.random.key(0), state, action)[1].reward)

    assert (reward("12"), reward("1"), reward("21"), reward("12", encode("3"))) == (1, 0, 0, 0)


def test_training_and_test_problems_are_different_pairs():
    def questions(split):
        return {
            tuple(p)
            for p in rollout(Dataset(), Expert(), jax.random.key(0), jnp.arange(512), split=split)
            .prompt[:, 0]
            .tolist()
        }

    train, test = questions("train"), questions("test")
    assert not train & test and len(train | test) == 100 and len(test) > 10


def test_the_pairs_are_part_of_the_stored_config():
    assert from_json(json.loads(json.dumps(to_json(TWO)))) == TWO


def test_a_run_written_before_data_had_names_still_loads():
    stored = to_json(TWO)
    del stored["name"]
    assert from_json(stored) == TWO


def test_a_data_set_is_called_by_its_name_and_size_wherever_tasks_are_named():
    many = Dataset(Pairs((f"question {i}", str(i)) for i in range(1234)), "mine.jsonl")
    assert (
        task_name(many) == "dataset(mine.jsonl, 1,234 pairs)"
        and task_name(TWO) == "dataset(2 pairs)"
    )
    assert (
        task_name({"dataset": many, "other": TWO})
        == "dataset(mine.jsonl, 1,234 pairs) + dataset(2 pairs)"
    )
    assert len(repr(many)) < 100


def test_characters_without_a_token_are_warned_of():
    with pytest.warns(
        UnknownCharacters,
        match="2 characters of a dataset have no token and become question marks: .*é",
    ):
        assert Dataset(Pairs([("é µ", "1")])).spec.prompt_length == 4


def test_the_split_is_known_before_anything_is_drawn():
    one = Dataset(SUMS)
    state = jax.vmap(lambda i: one.reset(jax.random.key(i))[0])(jnp.arange(500))
    found = {
        tuple(q): bool(problems.instance_hash(jax.tree.map(lambda x: x[n], state)) % 4 == 0)
        for n, q in enumerate(state.question.tolist())
    }
    held_out = problems.is_test(one.instances())
    known = {
        tuple(words[: one.spec.prompt_length].tolist()): bool(test)
        for words, test in zip(one.instances(), held_out)
    }
    assert len(found) > 90 and all(known[question] == test for question, test in found.items())


def rare() -> Dataset:
    """Many pairs, of which one is held out."""
    every = Dataset(Pairs((f"{i:03d}", "1") for i in range(400)))
    test = problems.is_test(every.instances())
    chosen = [pair for pair, held_out in zip(every.pairs, test) if not held_out][:200] + [
        every.pairs[int(test.argmax())]
    ]
    return Dataset(Pairs(chosen))


@pytest.mark.parametrize("wrap", [lambda task: task, Renamed], ids=["itself", "renamed"])
def test_training_pairs_are_never_drawn_as_unseen_however_rare_the_others_are(wrap):
    task = rare()
    state, _ = jax.jit(jax.vmap(lambda key: problems.draw(wrap(task), "test", key)))(
        jax.random.split(jax.random.key(0), 64)
    )
    assert {tuple(q) for q in state.question.tolist()} == {(tokens.BOS, *encode(task.pairs[-1][0]))}
