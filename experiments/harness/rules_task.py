"""A task of old rules and a new one, for the study of forgetting: small enough for exact measures.

A prompt names a rule and a word. An old rule has one right answer to each word. Under the new rule,
every answer of the word's parity is right.

>>> import jax
>>> state, _ = Rules().reset(jax.random.key(0))
>>> Rules().render_prompt(Rules().prompt(state))
'rule 3, n3'
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from agentic_rl import tokens
from agentic_rl.config import config
from agentic_rl.config.ranges import Probability
from agentic_rl.envs.parts.one_turn import OneTurn
from agentic_rl.rollout.actors import Expert
from agentic_rl.types import Spec, TimeStep

WORDS, OLD = 16, 3  # words, and old rules; the new one is the last


class State(NamedTuple):
    """The question, and whether it was answered."""

    rule: Int[Array, ""]
    word: Int[Array, ""]
    salt: Int[Array, ""]  # nothing depends on it: with it, both splits hold every question
    turn: Int[Array, ""]


@config
class Rules(OneTurn):
    """Answer a word by a rule: 1 for a right answer."""

    new: Probability = 1.0  # how often the new rule is asked about

    @property
    def spec(self) -> Spec:
        return Spec(3, 1, 1, 1, tuple(range(tokens.VALUE, tokens.VALUE + WORDS)))

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        chosen, old, word, salt = (jax.random.fold_in(key, i) for i in range(4))
        is_new = jax.random.bernoulli(chosen, self.new)
        rule = jnp.where(is_new, OLD, jax.random.randint(old, (), 0, OLD))
        word = jax.random.randint(word, (), 0, WORDS)
        salt = jax.random.randint(salt, (), 0, 2**16)
        return self._begin(State(rule, word, salt, jnp.int32(0)))

    def prompt(self, state: State) -> Int[Array, " P"]:
        rule, word = tokens.VERB + state.rule, tokens.entity(state.word)
        return jnp.stack([jnp.int32(tokens.BOS), rule, word])

    def _judge(self, state: State, action: Int[Array, " A"]) -> Bool[Array, " A"]:
        number = action - tokens.VALUE
        fits = (number >= 0) & (number < WORDS) & (number % 2 == state.word % 2)
        return jnp.where(state.rule == OLD, fits, action == self.expert(state))

    def expert(self, state: State) -> Int[Array, " A"]:
        return tokens.value(jnp.asarray(answers())[state.rule, state.word])[None]

    def render_prompt(self, prompt) -> str:
        return f"rule {prompt[1] - tokens.VERB}, {tokens.text(prompt[2:])}"

    def render_turn(self, observation, action) -> str:
        return f"-> {tokens.text(action)}"


def answers() -> Int[np.ndarray, "rules words"]:
    """Returns the expert's answers, which are the same in every run."""
    random, word = np.random.default_rng(0), np.arange(WORDS)
    old = [random.permutation(WORDS) for _ in range(OLD)]
    return np.stack([*old, 2 * random.integers(0, WORDS // 2, WORDS) + word % 2])


@config
class Teacher(Expert):
    """The expert, who under the new rule may answer by habit instead.

    A habitual answer is any of the right ones with probability `right`, else any of the wrong ones.
    """

    habit: Probability = 0.0  # share of the answers under the new rule that are habitual
    right: Probability = 0.7  # share of the habitual answers that are right

    def act(self, task: Rules, key: PRNGKeyArray, state: State) -> Int[Array, " A"]:
        """Returns the demonstrated answer."""
        half, errs, habit = (jax.random.fold_in(key, i) for i in range(2, 5))
        parity = (state.word + ~jax.random.bernoulli(errs, self.right)) % 2
        habitual = tokens.value(2 * jax.random.randint(half, (1,), 0, WORDS // 2) + parity)
        is_habitual = (state.rule == OLD) & jax.random.bernoulli(habit, self.habit)
        return jnp.where(is_habitual, habitual, super().act(task, key, state))
