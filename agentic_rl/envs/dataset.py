"""Answer questions of any data set, character by character, for an exact match.

The prompt holds the question's characters, and the only action the answer's. One episode of the
default pairs, which are sums of two digits:

>>> from agentic_rl.rollout.transcript import transcript
>>> print(transcript(Dataset(), problem=0))
7+3=
-> 10
success, return 1.0

`python -m experiments.train grpo dataset --data FILE.jsonl` trains on pairs of your own, and
`--data reasoning_gym:NAME` on those of a generator of the reasoning-gym package (2505.24760).
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
# the token of the first character: the 61 characters use up the vocabulary after END
FIRST = tokens.END + 1


class UnknownCharacters(UserWarning):
    """Warns, in one sentence, of characters of a data set that have no token."""


class Pairs(tuple):
    """A tuple of pairs (question, answer) whose `repr` is short."""

    def __repr__(self) -> str:
        return f"<{len(self)} pairs>"


SUMS = Pairs((f"{a}+{b}=", str(a + b)) for a in range(10) for b in range(10))


def encode(text: str) -> list[int]:
    """Returns the tokens of a text's characters.

    Letters lose their case, and characters without a token become question marks.

    >>> decode(encode("What is 2 ^ 3?"))
    'what is 2 ? 3?'
    """
    unknown = CHARACTERS.index("?")
    return [FIRST + (CHARACTERS.index(c) if c in CHARACTERS else unknown) for c in text.lower()]


def decode(token) -> str:
    """Returns the text of tokens, without those that stand for no character."""
    return "".join(CHARACTERS[t - FIRST] for t in token if t >= FIRST)


def _warn(pairs: Pairs) -> None:
    """Warns of characters without a token, which `experiments.own_data.qa_data` refuses earlier."""
    odd = sorted(set("".join(text for pair in pairs for text in pair).lower()) - set(CHARACTERS))
    if odd:
        sentence = f"have no token and become question marks: {odd[:8]}."
        warnings.warn(
            f"{len(odd)} characters of a dataset {sentence}", UnknownCharacters, stacklevel=1
        )


@lru_cache
def _table(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Returns the tokens of all questions [pairs, P] and of all answers [pairs, A].

    Questions begin with BOS and are padded on the left; answers end with END and are padded on the
    right.
    """
    _warn(pairs)
    questions = [encode(question) for question, _ in pairs]
    answers = [encode(answer) for _, answer in pairs]
    width, room = max(map(len, questions)), max(map(len, answers)) + 1
    question = [[tokens.BOS] + [tokens.PAD] * (width - len(q)) + q for q in questions]
    answer = [a + [tokens.END] + [tokens.PAD] * (room - len(a) - 1) for a in answers]
    return np.array(question, np.int32), np.array(answer, np.int32)


class State(NamedTuple):
    """The pair, and the turn, which is 1 once the question is answered."""

    question: Int[Array, " P"]
    answer: Int[Array, " A"]
    turn: Int[Array, ""]


@config
class Dataset(OneTurn):
    """Write exactly the characters of the answer, then END: 1 if they match."""

    pairs: Pairs = SUMS  # (question, answer) of each instance
    name: str = ""  # the data set's name in tables and figures

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
        name = f"{self.name}, " if self.name else ""
        return f"dataset({name}{len(self.pairs):,} pairs)"

    @property
    def num_instances(self) -> int:
        """The number of pairs."""
        return len(self.pairs)

    def instances(self) -> UInt[np.ndarray, "pairs words"]:
        """Returns each instance's state as the words that `problems` hashes."""
        question, answer = _table(self.pairs)
        turn = np.zeros((len(question), 1))
        return np.concatenate([question, answer, turn], axis=1).astype(np.uint32)

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
        """Returns the success rate of uniformly random characters, as a mean over the pairs."""
        length = (_table(self.pairs)[1] != tokens.PAD).sum(1)
        return float(np.mean(len(self.spec.choices) ** -length.astype(float)))

    def render_prompt(self, prompt) -> str:
        return decode(prompt).replace("\n", " / ")

    def render_turn(self, observation, action) -> str:
        return f"-> {decode(action)}"
