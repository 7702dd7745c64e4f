"""Dataset: characters, padding, exact match, and the split into training and test pairs."""

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
from experiments.reports.config_names import task_name

TWO = Dataset(Pairs([("Who?", "me"), ("a longer question", "you")]))


def test_the_characters_fill_the_vocabulary_after_end():
    assert FIRST + len(CHARACTERS) == tokens.VOCABULARY and len(set(CHARACTERS)) == len(CHARACTERS)
    assert decode(encode(CHARACTERS)) == CHARACTERS and min(encode(CHARACTERS)) > tokens.END


def test_questions_are_padded_on_the_left_and_answers_on_the_right():
    state = jax.vmap(lambda i: TWO.reset(jax.random.key(i))[0])(jnp.arange(32))
    pairs = zip(state.question.tolist(), state.answer.tolist())
    question = (tokens.BOS, *[tokens.PAD] * 13, *encode("who?"))
    answer = (*encode("me"), tokens.END, tokens.PAD)
    longer = ((tokens.BOS, *encode("a longer question")), (*encode("you"), tokens.END))
    assert {(tuple(q), tuple(a)) for q, a in pairs} == {(question, answer), longer}


def test_only_the_whole_answer_and_its_end_count():
    state, _ = Dataset(Pairs([("q", "12")])).reset(jax.random.key(0))

    def reward(text, then=(tokens.END,)):
        action = jnp.array((encode(text) + list(then) + [tokens.PAD] * 3)[:3])
        return float(Dataset(Pairs([("q", "12")])).step(jax.random.key(0), state, action)[1].reward)

    assert (reward("12"), reward("1"), reward("21"), reward("12", encode("3"))) == (1, 0, 0, 0)


def test_training_and_test_problems_are_different_pairs():
    def questions(split):
        problems = jnp.arange(512)
        episodes = rollout(Dataset(), Expert(), jax.random.key(0), problems, split=split)
        return {tuple(prompt) for prompt in episodes.prompt[:, 0].tolist()}

    train, test = questions("train"), questions("test")
    assert not train & test and len(train | test) == 100 and len(test) > 10


def test_the_pairs_are_part_of_the_stored_config():
    assert from_json(json.loads(json.dumps(to_json(TWO)))) == TWO


def test_a_run_written_before_data_had_names_still_loads():
    stored = to_json(TWO)
    del stored["name"]
    assert from_json(stored) == TWO


def test_a_data_set_is_called_by_its_name_and_size():
    many = Dataset(Pairs((f"question {i}", str(i)) for i in range(1234)), "mine.jsonl")
    assert task_name(many) == "dataset(mine.jsonl, 1,234 pairs)"
    assert task_name(TWO) == "dataset(2 pairs)"
    both = "dataset(mine.jsonl, 1,234 pairs) + dataset(2 pairs)"
    assert task_name({"dataset": many, "other": TWO}) == both
    assert len(repr(many)) < 100


def test_a_warning_names_characters_without_a_token():
    sentence = "2 characters of a dataset have no token and become question marks: .*é"
    with pytest.warns(UnknownCharacters, match=sentence):
        assert Dataset(Pairs([("é µ", "1")])).spec.prompt_length == 4


def test_the_split_is_known_before_anything_is_drawn():
    one = Dataset(SUMS)
    state = jax.vmap(lambda i: one.reset(jax.random.key(i))[0])(jnp.arange(500))
    is_test = jax.vmap(problems.instance_hash)(state) % 4 == 0
    drawn = {tuple(q): bool(t) for q, t in zip(state.question.tolist(), is_test.tolist())}
    held_out = problems.is_test(one.instances())
    known = {
        tuple(words[: one.spec.prompt_length].tolist()): bool(test)
        for words, test in zip(one.instances(), held_out)
    }
    assert len(drawn) > 90 and all(known[question] == test for question, test in drawn.items())


def with_a_rare_test_pair() -> Dataset:
    """Returns a task of many pairs, of which one is held out."""
    every = Dataset(Pairs((f"{i:03d}", "1") for i in range(400)))
    test = problems.is_test(every.instances())
    train = [pair for pair, held_out in zip(every.pairs, test) if not held_out]
    return Dataset(Pairs([*train[:200], every.pairs[int(test.argmax())]]))


@pytest.mark.parametrize("wrap", [lambda task: task, Renamed], ids=["itself", "renamed"])
def test_no_training_pair_is_drawn_for_a_test_however_rare_test_pairs_are(wrap):
    task = with_a_rare_test_pair()
    draw = jax.jit(jax.vmap(lambda key: problems.draw(wrap(task), "test", key)))
    state, _ = draw(jax.random.split(jax.random.key(0), 64))
    question, _ = task.pairs[-1]
    assert {tuple(q) for q in state.question.tolist()} == {(tokens.BOS, *encode(question))}
