"""Keep a running sum over many turns.

Knowledge and plan are given; only long execution is hard (after Sinha et al., 2509.09677). An
observation shows the policy's own last answer and the next number; the action is the new sum. One
episode at the default knobs but three turns:

>>> from agentic_rl.rollout.transcript import transcript
>>> print(transcript(RunningSum(num_turns=3), problem=0))
start with 0
0 + 1 -> 1
1 + 4 -> 5
5 + 5 -> 0
success, return 1.0
"""

from dataclasses import replace
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from agentic_rl import tokens
from agentic_rl.config import config
from agentic_rl.config.ranges import Count, OneToken, Range
from agentic_rl.types import Spec, TimeStep, restart


class State(NamedTuple):
    """The instance (start, numbers, dictionary), and the answers so far."""

    start: Int[Array, ""]
    number: Int[Array, "T K"]  # the numbers to add at each turn
    dictionary: Int[Array, "16"]  # entity -> number; the identity if there is no dictionary
    turn: Int[Array, ""]
    last: Int[Array, ""]  # the policy's last answer; at first the start
    total: Int[Array, ""]  # the true sum so far
    num_right: Int[Array, ""]
    was_right: Bool[Array, ""]  # the judge's verdict on the last answer


@config
class RunningSum:
    """Each turn, add `numbers_per_turn` numbers to the last answer, modulo `modulus`.

    By default all answers must be right. With reward `all`, both judges give the same success.
    """

    num_turns: Count = 8  # answers of an episode
    modulus: OneToken = 10  # numbers and sums are 0 to modulus - 1
    numbers_per_turn: Annotated[int, Range(1, 8)] = 1  # numbers to add in each turn
    dictionary: bool = False  # numbers come as entities, to be looked up in a table in the prompt
    feedback: bool = False  # each observation says whether the last answer was right
    # `all`: 1 at the end if every answer was right; `final`: 1 if the last one is the true sum;
    # `per_turn`: 1 / num_turns for each right answer
    reward: Literal["all", "final", "per_turn"] = "all"
    # `local`: an answer is right if it follows from the policy's own last answer, which measures
    # the skill of a single turn; `global`: if it is the true sum
    judge: Literal["local", "global"] = "local"

    @property
    def spec(self) -> Spec:
        choices = tuple(range(tokens.VALUE, tokens.VALUE + self.modulus))
        prompt_length = 2 + 32 * self.dictionary
        shown = 1 + self.numbers_per_turn + self.feedback
        return Spec(prompt_length, shown, 1, self.num_turns, choices, limited=False)

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        start, number, dictionary = (jax.random.fold_in(key, i) for i in range(3))
        start = jax.random.randint(start, (), 0, self.modulus)
        size = 16 if self.dictionary else self.modulus
        number = jax.random.randint(number, (self.num_turns, self.numbers_per_turn), 0, size)
        table = jnp.arange(16)
        if self.dictionary:
            table = jax.random.randint(dictionary, (16,), 0, self.modulus)
        zero = jnp.int32(0)
        state = State(start, number, table, zero, start, start, zero, jnp.bool_(True))
        return state, restart(self._observe(state))

    def prompt(self, state: State) -> Int[Array, " P"]:
        head = jnp.stack([jnp.int32(tokens.BOS), tokens.value(state.start)])
        pairs = jnp.stack([tokens.entity(jnp.arange(16)), tokens.value(state.dictionary)], axis=1)
        return jnp.concatenate([head, pairs.ravel()]) if self.dictionary else head

    def _observe(self, state: State) -> Int[Array, " O"]:
        shown = state.number[jnp.minimum(state.turn, self.num_turns - 1)]
        shown = tokens.entity(shown) if self.dictionary else tokens.value(shown)
        seen = jnp.concatenate([tokens.value(state.last)[None], shown])
        verdict = jnp.where(state.was_right, tokens.OK, tokens.FAIL)
        marker = jnp.where(state.turn > 0, verdict, tokens.OBS)
        return jnp.concatenate([marker[None], seen]) if self.feedback else seen

    def step(
        self, key: PRNGKeyArray, state: State, action: Int[Array, " A"]
    ) -> tuple[State, TimeStep]:
        answer = action[0] - tokens.VALUE
        legal = (answer >= 0) & (answer < self.modulus)
        total = (state.total + self._increment(state)) % self.modulus
        right = legal & (action[0] == self._right_answer(state))
        state = state._replace(
            turn=state.turn + 1,
            last=jnp.where(legal, answer, state.last),
            total=total,
            num_right=state.num_right + right,
            was_right=right,
        )
        done, all_right = state.turn >= self.num_turns, state.num_right == self.num_turns
        success = done & (legal & (answer == total) if self.reward == "final" else all_right)
        reward = right / self.num_turns if self.reward == "per_turn" else success
        return state, TimeStep(self._observe(state), reward.astype(jnp.float32), done, success)

    def _increment(self, state: State) -> Int[Array, ""]:
        return state.dictionary[state.number[jnp.minimum(state.turn, self.num_turns - 1)]].sum()

    def _right_answer(self, state: State) -> Int[Array, ""]:
        before = state.total if self.judge == "global" else state.last
        return tokens.value((before + self._increment(state)) % self.modulus)

    def expert(self, state: State) -> Int[Array, " A"]:
        if self.reward == "final":
            return tokens.value((state.total + self._increment(state)) % self.modulus)[None]
        return self._right_answer(state)[None]

    def anchor(self, state: State) -> Int[Array, ""]:
        right = state.num_right == state.turn
        return ((state.turn * 2 + right) * 16 + state.last) * 16 + state.total

    def potential(self, state: State) -> Float[Array, ""]:
        """Returns the expert's return from the state on."""
        if self.reward == "per_turn":
            return jnp.maximum(1.0 - state.turn / self.num_turns, 0.0)
        if self.reward == "final":
            return jnp.where(state.turn < self.num_turns, 1.0, 0.0)
        return jnp.where((state.num_right == state.turn) & (state.turn < self.num_turns), 1.0, 0.0)

    def is_key(self, state: State) -> Bool[Array, ""]:
        """Returns whether a wrong answer at this turn lowers the return.

        With `final` that is the last turn; with `all`, every turn until the first error.
        """
        if self.reward == "final":
            return state.turn == self.num_turns - 1
        return (state.num_right == state.turn) if self.reward == "all" else jnp.bool_(True)

    def longer(self, factor: int) -> "RunningSum":
        """Returns the task with `factor` times as many turns."""
        return replace(self, num_turns=self.num_turns * factor)

    def bounds(self) -> tuple[float, float]:
        """Returns the returns of failure and success."""
        return 0.0, 1.0

    def chance(self) -> float:
        """Returns the success rate of uniformly random answers."""
        return self.modulus ** -(1 if self.reward == "final" else self.num_turns)

    def render_prompt(self, prompt) -> str:
        start = f"start with {prompt[1] - tokens.VALUE}"
        if not self.dictionary:
            return start
        pairs = prompt[2:].reshape(-1, 2)
        table = ", ".join(f"{_show(entity)}={_show(number)}" for entity, number in pairs)
        return f"{start}, where {table}"

    def render_turn(self, observation, action) -> str:
        verdicts = {tokens.OK: "right; ", tokens.FAIL: "wrong; "}
        verdict = verdicts.get(int(observation[0]), "") if self.feedback else ""
        numbers = " + ".join(_show(token) for token in observation[self.feedback :])
        return f"{verdict}{numbers} -> {_show(action[0])}"


def _show(token) -> str:
    """Returns a value as a number, and any other token by its name."""
    is_value = tokens.VALUE <= token < tokens.ENTITY
    return str(token - tokens.VALUE) if is_value else tokens.text([token])
