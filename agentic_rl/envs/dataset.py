"""Any set of questions and answers: the prompt is a question's characters, the one action its answer's. Exact match is the reward.

One episode at the default pairs, sums of two digits:

>>> from agentic_rl.rollout.transcript import transcript
>>> print(transcript(Dataset(), problem=0))
7+3=
-> 10
success, return 1.0

`python -m experiments.train grpo dataset --data FILE.jsonl` brings one's own pairs, `--data reasoning_gym:NAME` those of a generator
of the reasoning-gym package (2505.24760).
"""

import warnings
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, UInt

from agentic_rl import tokens
from agentic_rl.config import check, config
from agentic_rl.envs.parts.one_turn import OneTurn
from agentic_rl.types import Spec, TimeStep

CHARACTERS = " abcdefghijklmnopqrstuvwxyz0123456789\n.,:;?!'\"()[]+-*/=<>_|#%"
FIRST = (
    tokens.END + 1
)  # the token of the first character; the 61 characters take all that is left of the vocabulary


class UnknownCharacters(UserWarning):
    """Characters of a data set that have no token, said in one sentence."""


class Pairs(tuple):
    """(question, answer), (question, answer), ..."""

    def __repr__(self) -> str:
        return f"<{len(self)} pairs>"


SUMS = Pairs((f"{a}+{b}=", str(a + b)) for a in range(10) for b in range(10))


def encode(text: str) -> list[int]:
    """The tokens of a text's characters: letters lose their case, and characters that have no token become question marks.

    >>> decode(encode("What is 2 ^ 3?"))
    'what is 2 ? 3?'
    """
    return [
        FIRST + max(CHARACTERS.find(c), CHARACTERS.find("?") * (c not in CHARACTERS))
        for c in text.lower()
    ]


def decode(token) -> str:
    """The text of tokens; those that stand for no character are left out."""
    return "".join(CHARACTERS[t - FIRST] for t in token if t >= FIRST)


def _warn(pairs: Pairs) -> None:
    """Warns of characters that only a question mark stands for; `experiments.own_data.qa_data` refuses them before."""
    odd = sorted(set("".join(text for pair in pairs for text in pair).lower()) - set(CHARACTERS))
    if odd:
        warnings.warn(
            f"{len(odd)} characters of a dataset have no token and become question marks: {odd[:8]}.",
            UnknownCharacters,
            stacklevel=1,
        )


@lru_cache
def _table(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Questions behind BOS, padded on the left, and answers before END, padded on the right: [pairs, P] and [pairs, A]."""
    _warn(pairs)
    questions, answers = ([encode(text) for text in column] for column in zip(*pairs))
    width, room = max(map(len, questions)), max(map(len, answers)) + 1
    question = [[tokens.BOS] + [tokens.PAD] * (width - len(q)) + q for q in questions]
    answer = [a + [tokens.END] + [tokens.PAD] * (room - len(a) - 1) for a in answers]
    return np.array(question, np.int32), np.array(answer, np.int32)


class State(NamedTuple):
    """The pair, and whether it was answered."""

    question: Int[Array, " P"]
    answer: Int[Array, " A"]
    turn: Int[Array, ""]


@config
class Dataset(OneTurn):
    """Answer with exactly the characters of the answer, then END."""

    pairs: Pairs = SUMS
    name: str = ""  # what it is called in tables and figures

    def __post_init__(self):
        check(len(self.pairs) > 0, "A dataset needs at least one pair of question and answer.")

    @property
    def spec(self) -> Spec:
        question, answer = _table(self.pairs)
        used = np.unique(answer[answer != tokens.PAD])
        return Spec(question.shape[1], 1, answer.shape[1], 1, tuple(used.tolist()))

    @property
    def title(self) -> str:
        """The task in a few words, for tables and figures."""
        return (
            f"dataset({', '.join([self.name] * bool(self.name) + [f'{len(self.pairs):,} pairs'])})"
        )

    @property
    def num_instances(self) -> int:
        """One for each pair."""
        return len(self.pairs)

    def instances(self) -> UInt[np.ndarray, "pairs words"]:
        """Returns the words of each instance's state, as `problems` hashes them."""
        question, answer = _table(self.pairs)
        return np.concatenate([question, answer, np.zeros((len(question), 1))], axis=1).astype(
            np.uint32
        )

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        question, answer = _table(self.pairs)
        index = jax.random.randint(key, (), 0, len(question))
        state = State(jnp.asarray(question)[index], jnp.asarray(answer)[index], jnp.int32(0))
        return self._begin(state)

    def prompt(self, state: State) -> Int[Array, " P"]:
        return state.question

    def expert(self, state: State) -> Int[Array, " A"]:
        return state.answer

    def chance(self) -> float:
        """Success of uniformly random characters, a mean over the pairs."""
        length = (_table(self.pairs)[1] != tokens.PAD).sum(1)
        return float(np.mean(len(self.spec.choices) ** -length.astype(float)))

    def render_prompt(self, prompt) -> str:
        return decode(prompt).replace("\n", " / ")

    def render_turn(self, observation, action) -> str:
        return f"-> {decode(action)}"
