"""Three tasks of one turn, with closed forms: one bias of an estimator, or one limit of learning, is all there is to see.

`two_prompt`: an easy and a hard prompt (the bias of dividing by a group's deviation: Dr. GRPO, 2503.20783), `memorize`: how many
bits an episode tells (LoRA Without Regret), `noisy_verifier`: rewards that lie (2506.10947).

>>> from agentic_rl.rollout.transcript import transcript
>>> print(transcript(TwoPrompt(), problem=0))
problem n0
-> v0
success, return 1.0
>>> print(transcript(Memorize(), problem=0))
problem n6
-> v0 v1 v3
success, return 1.0
>>> print(transcript(NoisyVerifier(), problem=0))
problem n2
-> v1
success, return 1.0
"""

from dataclasses import replace
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from agentic_rl import tokens
from agentic_rl.config import check, config
from agentic_rl.config.ranges import Count, OneToken, Probability, Range
from agentic_rl.envs.parts.one_turn import OneTurn
from agentic_rl.types import Spec, TimeStep


class State(NamedTuple):
    """Which of the problems it is, and whether it was answered."""

    problem: Int[Array, ""]
    salt: Int[
        Array, ""
    ]  # nothing depends on it: with it, the train and the test split hold every problem
    turn: Int[Array, ""]


class _Named(OneTurn):
    """What the tasks below share: the prompt is the problem's name, and what is right must be known by heart.

    A task's `_size` is how many problems there are, of how many tokens an answer is, and how many tokens it may choose from.
    """

    @property
    def spec(self) -> Spec:
        _, length, base = self._size
        return Spec(2, 1, length, 1, tuple(range(tokens.VALUE, tokens.VALUE + base)))

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        problem, salt = (
            jax.random.randint(jax.random.fold_in(key, i), (), 0, n)
            for i, n in enumerate((self._size[0], 2**16))
        )
        return self._begin(State(problem, salt, jnp.int32(0)))

    def prompt(self, state: State) -> Int[Array, " P"]:
        return jnp.stack([jnp.int32(tokens.BOS), tokens.entity(state.problem)])

    def render_prompt(self, prompt) -> str:
        return f"problem {tokens.text(prompt[1:])}"

    def render_turn(self, observation, action) -> str:
        return f"-> {tokens.text(t for t in action if t != tokens.PAD)}"


@config
class TwoPrompt(_Named):
    """Two bandits with `num_choices` arms: the first `easy` of them are right for n0, the last `hard` for n1.

    So p = easy / num_choices and hard / num_choices are what a uniform policy succeeds with.
    """

    num_choices: OneToken = 16
    easy: Count = 8
    hard: Count = 1

    def __post_init__(self):
        for name in ("easy", "hard"):
            arms = getattr(self, name)
            check(
                arms <= self.num_choices,
                f"{name} must be 1 to num_choices ({self.num_choices}), not {arms}.",
            )

    @property
    def _size(self) -> tuple[int, int, int]:
        return 2, 1, self.num_choices

    def _judge(self, state: State, action: Int[Array, " A"]) -> Bool[Array, " A"]:
        arm = action - tokens.VALUE
        easy, hard = (
            (arm >= 0) & (arm < self.easy),
            (arm < self.num_choices) & (arm >= self.num_choices - self.hard),
        )
        return jnp.where(state.problem == 0, easy, hard)

    def expert(self, state: State) -> Int[Array, " A"]:
        return tokens.value(state.problem * (self.num_choices - 1))[None]

    def chance(self) -> float:
        """Success of uniformly random answers."""
        return (self.easy + self.hard) / (2 * self.num_choices)


@config
class Memorize(_Named):
    """Each of `num_problems` prompts has an answer of `num_digits` digits, the same for ever and without a rule.

    reward: `exact` (success: at most one bit an episode, while a demonstration tells num_digits · log2(base)), or `share` (of the
    digits that are right).
    """

    num_digits: Count = 3
    base: OneToken = 4
    num_problems: Annotated[int, Range(1, 16, why="its name is one token")] = 16
    reward: Literal["exact", "share"] = "exact"

    @property
    def judges_tokens(self) -> bool:
        """Does a token earn what it earns, whatever the others are?"""
        return self.reward == "share"

    @property
    def _size(self) -> tuple[int, int, int]:
        return self.num_problems, self.num_digits, self.base

    def _reward(self, key: PRNGKeyArray, right: Bool[Array, " A"]) -> Array:
        return right.mean() if self.reward == "share" else right.all()

    def expert(self, state: State) -> Int[Array, " A"]:
        key = jax.random.fold_in(jax.random.key(0), state.problem)
        return tokens.value(jax.random.randint(key, (self.num_digits,), 0, self.base))

    def longer(self, factor: int) -> "Memorize":
        """The same task with `factor` times as many digits."""
        return replace(self, num_digits=self.num_digits * factor)

    def chance(self) -> float:
        """Success of uniformly random digits."""
        return self.base**-self.num_digits


@config
class NoisyVerifier(_Named):
    """Each of `num_modes` prompts has one right mode; the reward is a verifier's word, which errs, the success is the truth.

    A policy that is right with probability p earns p · true_positive + (1 - p) · false_positive, so that it learns what is right
    only where true_positive > false_positive. The expert is right regardless.
    """

    num_modes: OneToken = 4
    true_positive: Probability = 1.0  # probability of reward 1 for the right mode
    false_positive: Probability = 0.0  # and for any other

    @property
    def _size(self) -> tuple[int, int, int]:
        return self.num_modes, 1, self.num_modes

    def _reward(self, key: PRNGKeyArray, right: Bool[Array, " A"]) -> Array:
        return jax.random.bernoulli(key, self._rate(right))

    def _rate(self, right: Bool[Array, " A"]) -> Array:
        return jnp.where(right.all(), jnp.float32(self.true_positive), self.false_positive)

    def outcomes(
        self, state: State, action: Int[Array, " A"]
    ) -> tuple[Float[Array, " M"], State, TimeStep]:
        """The one thing that happens, with the mean of the verifier's word."""
        later, step = self.step(jax.random.key(0), state, action)
        step = step._replace(reward=self._rate(self._judge(state, action)))
        return jnp.ones(1), *jax.tree.map(lambda x: x[None], (later, step))

    def expert(self, state: State) -> Int[Array, " A"]:
        return tokens.value(self.num_modes - 1 - state.problem)[None]

    def potential(self, state: State) -> Float[Array, ""]:
        """The expert's expected return from here."""
        return jnp.where(state.turn == 0, jnp.float32(self.true_positive), 0.0)

    def is_key(self, state: State) -> Bool[Array, ""]:
        """The one turn there is, where the verifier prefers the truth."""
        return (state.turn == 0) & (self.true_positive > self.false_positive)

    def chance(self) -> float:
        """Success of uniformly random answers."""
        return 1 / self.num_modes
