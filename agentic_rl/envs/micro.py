"""Three tasks of one turn with closed forms. Each shows one bias or one limit of learning.

- `two_prompt`: an easy and a hard prompt, for the bias of dividing by a group's standard deviation
  (Dr. GRPO, 2503.20783);
- `memorize`: how many bits an episode tells (LoRA Without Regret);
- `noisy_verifier`: rewards that are sometimes wrong (2506.10947).

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
    """The problem, and the turn, which is 1 once it is answered."""

    problem: Int[Array, ""]
    salt: Int[Array, ""]  # has no effect, except that both splits hold every problem
    turn: Int[Array, ""]


class _Named(OneTurn):
    """The base of tasks whose prompt only names the problem, so that answers are learned by heart.

    A task's `_size` holds the number of problems, the number of tokens of an answer, and the number
    of tokens to choose from.
    """

    @property
    def spec(self) -> Spec:
        _, length, base = self._size
        return Spec(2, 1, length, 1, tuple(range(tokens.VALUE, tokens.VALUE + base)))

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        problem = jax.random.randint(jax.random.fold_in(key, 0), (), 0, self._size[0])
        salt = jax.random.randint(jax.random.fold_in(key, 1), (), 0, 2**16)
        return self._begin(State(problem, salt, jnp.int32(0)))

    def prompt(self, state: State) -> Int[Array, " P"]:
        return jnp.stack([jnp.int32(tokens.BOS), tokens.entity(state.problem)])

    def render_prompt(self, prompt) -> str:
        return f"problem {tokens.text(prompt[1:])}"

    def render_turn(self, observation, action) -> str:
        return f"-> {tokens.text(t for t in action if t != tokens.PAD)}"


@config
class TwoPrompt(_Named):
    """Two bandits, n0 and n1, each of which has `num_choices` arms and pays 1 for its right ones.

    A uniform policy succeeds with probability easy / num_choices and hard / num_choices.
    """

    num_choices: OneToken = 16  # arms of each bandit
    easy: Count = 8  # right arms of n0: its first ones
    hard: Count = 1  # right arms of n1: its last ones

    def __post_init__(self):
        allowed = f"1 to num_choices ({self.num_choices})"
        for name in ("easy", "hard"):
            arms = getattr(self, name)
            check(arms <= self.num_choices, f"{name} must be {allowed}, not {arms}.")

    @property
    def _size(self) -> tuple[int, int, int]:
        return 2, 1, self.num_choices

    def _judge(self, state: State, action: Int[Array, " A"]) -> Bool[Array, " A"]:
        arm = action - tokens.VALUE
        easy = (arm >= 0) & (arm < self.easy)
        hard = (arm < self.num_choices) & (arm >= self.num_choices - self.hard)
        return jnp.where(state.problem == 0, easy, hard)

    def expert(self, state: State) -> Int[Array, " A"]:
        return tokens.value(state.problem * (self.num_choices - 1))[None]

    def chance(self) -> float:
        """Returns the success rate of uniformly random answers."""
        return (self.easy + self.hard) / (2 * self.num_choices)


@config
class Memorize(_Named):
    """Each of `num_problems` prompts has a fixed answer of `num_digits` digits that follow no rule.

    A success tells at most one bit per episode, a demonstration num_digits · log2(base) bits.
    """

    num_digits: Count = 3  # digits of an answer
    base: OneToken = 4  # digits are 0 to base - 1
    # prompts, each with an answer of its own
    num_problems: Annotated[int, Range(1, 16, why="its name is one token")] = 16
    # `exact`: 1 if all digits are right; `share`: the share of right digits
    reward: Literal["exact", "share"] = "exact"

    @property
    def judges_tokens(self) -> bool:
        """Whether each token is rewarded on its own, whatever the others are."""
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
        """Returns the task with `factor` times as many digits."""
        return replace(self, num_digits=self.num_digits * factor)

    def chance(self) -> float:
        """Returns the success rate of uniformly random digits."""
        return self.base**-self.num_digits


@config
class NoisyVerifier(_Named):
    """Each of `num_modes` prompts has one right mode. The success is the truth, the reward may err.

    The reward is the verdict of a noisy verifier. A policy that is right with probability p earns
    p · true_positive + (1 - p) · false_positive, so it learns the right mode only if
    true_positive > false_positive. The expert is always right.
    """

    num_modes: OneToken = 4  # prompts, and modes to choose from
    true_positive: Probability = 1.0  # probability of reward 1 for the right mode
    false_positive: Probability = 0.0  # probability of reward 1 for any other mode

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
        """Returns the only outcome, with the mean of the verifier's reward."""
        later, step = self.step(jax.random.key(0), state, action)
        step = step._replace(reward=self._rate(self._judge(state, action)))
        return jnp.ones(1), *jax.tree.map(lambda x: x[None], (later, step))

    def expert(self, state: State) -> Int[Array, " A"]:
        return tokens.value(self.num_modes - 1 - state.problem)[None]

    def potential(self, state: State) -> Float[Array, ""]:
        """Returns the expert's expected return from the state on."""
        return jnp.where(state.turn == 0, jnp.float32(self.true_positive), 0.0)

    def is_key(self, state: State) -> Bool[Array, ""]:
        """Returns True at the only turn, if the verifier prefers the truth."""
        return (state.turn == 0) & (self.true_positive > self.false_positive)

    def chance(self) -> float:
        """Returns the success rate of uniformly random answers."""
        return 1 / self.num_modes
