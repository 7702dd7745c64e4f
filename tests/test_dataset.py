"""Questions and answers of one's own, and those of reasoning-gym."""

import json

import jax
import jax.numpy as jnp
import pytest

from agentic_rl import tokens
from agentic_rl.acting import Expert
from agentic_rl.config import ConfigError, from_json, to_json
from agentic_rl.envs.dataset import CHARACTERS, FIRST, Dataset, Pairs, decode, encode
from agentic_rl.rollout import rollout
from experiments import pairs

TWO = Dataset(Pairs([("Who?", "me"), ("a longer question", "you")]))


def test_the_characters_fill_the_vocabulary_behind_end():
    assert FIRST + len(CHARACTERS) == tokens.VOCABULARY and len(set(CHARACTERS)) == len(CHARACTERS)
    assert decode(encode(CHARACTERS)) == CHARACTERS and min(encode(CHARACTERS)) > tokens.END


def test_questions_are_padded_on_the_left_and_answers_on_the_right():
    state = jax.vmap(lambda i: TWO.reset(jax.random.key(i))[0])(jnp.arange(32))
    found = {(tuple(q), tuple(a)) for q, a in zip(state.question.tolist(), state.answer.tolist())}
    short = ((tokens.BOS, *[tokens.PAD] * 13, *encode("who?")), (*encode("me"), tokens.END, tokens.PAD))
    assert found == {short, ((tokens.BOS, *encode("a longer question")), (*encode("you"), tokens.END))}


def test_only_the_whole_answer_and_its_end_count():
    state, _ = Dataset(Pairs([("q", "12")])).reset(jax.random.key(0))

    def reward(text, then=(tokens.END,)):
        action = jnp.array((encode(text) + list(then) + [tokens.PAD] * 3)[:3])
        return float(Dataset(Pairs([("q", "12")])).step(jax.random.key(0), state, action)[1].reward)

    assert (reward("12"), reward("1"), reward("21"), reward("12", encode("3"))) == (1, 0, 0, 0)


def test_training_and_test_problems_are_different_pairs():
    def questions(split):
        return {tuple(p) for p in rollout(Dataset(), Expert(), jax.random.key(0), jnp.arange(512), split=split).prompt[:, 0].tolist()}

    train, test = questions("train"), questions("test")
    assert not train & test and len(train | test) == 100 and len(test) > 10


def test_the_pairs_are_part_of_the_stored_config():
    assert from_json(json.loads(json.dumps(to_json(TWO)))) == TWO


def test_pairs_are_read_from_a_file(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "1+1=", "answer": 2}\n\n{"prompt": "x", "answer": "y"}\n')
    assert pairs.load(str(path)) == (("1+1=", "2"), ("x", "y"))


@pytest.mark.parametrize("text, word", [("", "is empty"), ("not json", "must hold one"), ('{"prompt": "x"}', "answer"), ("3", "must hold")])
def test_a_file_that_holds_no_pairs_is_refused_in_a_sentence(tmp_path, text, word):
    path = tmp_path / "pairs.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigError, match=word):
        pairs.load(str(path))


def test_a_file_that_is_not_there_is_refused_in_a_sentence():
    with pytest.raises(ConfigError, match="There is no file nowhere"):
        pairs.load("nowhere")


def test_the_generators_of_reasoning_gym_become_a_task_that_their_own_scorer_agrees_with():
    gym = pytest.importorskip("reasoning_gym")
    for name in ("chain_sum", "gcd"):
        found, source = pairs.load(f"reasoning_gym:{name}:40"), gym.create_dataset(name, size=40, seed=0)
        episodes = rollout(Dataset(found), Expert(), jax.random.key(0), jnp.arange(16))
        answers = {decode(encode(row["question"])): row for row in source}
        for prompt, action in zip(episodes.prompt[:, 0].tolist(), episodes.action[:, 0, 0].tolist()):
            row = answers[decode(prompt)]
            assert source.score_answer(decode(action), row) == 1.0
        assert episodes.success.all()


def test_an_unknown_generator_is_refused_with_the_names_there_are():
    pytest.importorskip("reasoning_gym")
    with pytest.raises(ConfigError, match="no generator called chain_sums; choose one of: .*chain_sum"):
        pairs.load("reasoning_gym:chain_sums")
    with pytest.raises(ConfigError, match="whole number above 0, not many"):
        pairs.load("reasoning_gym:chain_sum:many")
