"""Apply known functions one after the other: new skills out of old ones, with success probabilities that need no sampling.

One episode at the default knobs, and one with a line for each function; the action is the resulting string:

>>> from agentic_rl.rollout.transcript import transcript
>>> print(transcript(Compose(), problem=2))
rotate right, then add 1: 7 7 3 5
-> 6 0 0 4
success, return 1.0
>>> print(transcript(Compose(scratch=True), problem=2))
rotate right, then add 1: 7 7 3 5
rotate right: 7 7 3 5 -> 5 7 7 3
add 1: 5 7 7 3 -> 6 0 0 4
success, return 1.0

Pairs of functions that training never shows (`other_rule`) and greater depths (`longer`) tell a skill from its parts, after "From
f(x) and g(x) to f(g(x))" (2509.25123). Without scratch lines one answer of one turn is right, so that its probability is one
teacher-forced pass over the expert's action, and pass@k is 1 - (1 - p)^k exactly.
"""

from dataclasses import replace
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from agentic_rl import tokens
from agentic_rl.config import check, config
from agentic_rl.config.ranges import Count, Range
from agentic_rl.types import Spec, TimeStep, restart

SYMBOLS = 8
MOVES = {
    "rotate left": lambda i, n: (i + 1) % n,
    "rotate right": lambda i, n: (i - 1) % n,
    "reverse": lambda i, n: n - 1 - i,
    "swap neighbours": lambda i, n: np.minimum(i ^ 1, n - 1),
    "swap halves": lambda i, n: (i + n // 2) % n,
    "swap ends": lambda i, n: np.where(i % (n - 1) == 0, n - 1 - i, i),
    "double the first": lambda i, n: np.maximum(i - 1, 0),
    "double the last": lambda i, n: np.minimum(i + 1, n - 1),
}  # from which place the symbol at place i of n comes
MAPS = {
    "add 1": lambda x: (x + 1) % SYMBOLS,
    "subtract 1": lambda x: (x - 1) % SYMBOLS,
    "add 4": lambda x: (x + 4) % SYMBOLS,
    "times 3": lambda x: 3 * x % SYMBOLS,
    "complement": lambda x: SYMBOLS - 1 - x,
    "halve": lambda x: x // 2,
    "double": lambda x: 2 * x % SYMBOLS,
    "replace 0 by 7": lambda x: np.where(x == 0, SYMBOLS - 1, x),
}  # what becomes of symbol x
NAMES = [*MOVES, *MAPS]
F, G = np.indices((len(NAMES), len(NAMES)))
HELD_OUT = (
    (2 * F + 1) * G + 7 * F
) % 16 < 4  # of the functions that follow or precede a function, four each


class State(NamedTuple):
    """The instance (functions; the input and what each of them makes of it) and the last line written."""

    function: Int[Array, " D"]
    string: Int[Array, "D+1 L"]
    turn: Int[Array, ""]
    line: Int[Array, " L"]


@config
class Compose:
    """Answer with what the `depth` functions of the prompt, in their order, make of its string: 1 if every symbol is right.

    With `scratch` there is a turn for each function, whose observation shows the last line; only the last answer counts.
    """

    depth: Count = 2
    length: Annotated[int, Range(2, 8)] = 4  # of the string; under 4, some functions coincide
    scratch: bool = False
    held_out: bool = (
        False  # neighbouring functions are pairs out of a fixed quarter; else they never are
    )

    def __post_init__(self):
        check(
            self.depth > 1 or not self.held_out,
            f"depth must be at least 2 for pairs to be held out, not {self.depth}.",
        )

    @property
    def spec(self) -> Spec:
        choices = tuple(range(tokens.VALUE, tokens.VALUE + SYMBOLS))
        shown, turns = (1 + self.length, self.depth) if self.scratch else (1, 1)
        return Spec(1 + self.depth + self.length, shown, self.length, turns, choices, limited=False)

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        allowed = jnp.where(HELD_OUT == self.held_out, 0.0, -jnp.inf)
        first, rest, string = (jax.random.fold_in(key, i) for i in range(3))
        first = jax.random.randint(first, (1,), 0, len(NAMES))
        function, string = [first[0]], [jax.random.randint(string, (self.length,), 0, SYMBOLS)]
        for d in range(1, self.depth):
            function.append(
                jax.random.categorical(jax.random.fold_in(rest, d), allowed[function[-1]])
            )
        for f in function:
            string.append(self._apply(f, string[-1]))
        state = State(jnp.stack(function), jnp.stack(string), jnp.int32(0), string[0])
        return state, restart(self._observe(state))

    def _apply(self, function: Int[Array, ""], string: Int[Array, " L"]) -> Int[Array, " L"]:
        """Every function moves symbols, then maps them; one of the two is always the identity."""
        place, symbol = np.arange(self.length), np.arange(SYMBOLS)
        source = np.array([f(place, self.length) for f in MOVES.values()] + [place] * len(MAPS))
        image = np.array([symbol] * len(MOVES) + [f(symbol) for f in MAPS.values()])
        return jnp.array(image)[function, string[jnp.array(source)[function]]]

    def prompt(self, state: State) -> Int[Array, " P"]:
        return jnp.concatenate(
            [jnp.array([tokens.BOS]), tokens.entity(state.function), tokens.value(state.string[0])]
        )

    def _observe(self, state: State) -> Int[Array, " O"]:
        if not self.scratch:
            return jnp.array([tokens.ACT])
        function = state.function[jnp.minimum(state.turn, self.depth - 1)]
        return jnp.concatenate([tokens.entity(function)[None], tokens.value(state.line)])

    def step(
        self, key: PRNGKeyArray, state: State, action: Int[Array, " A"]
    ) -> tuple[State, TimeStep]:
        symbol = action - tokens.VALUE
        legal = ((symbol >= 0) & (symbol < SYMBOLS)).all()
        state = state._replace(turn=state.turn + 1, line=jnp.where(legal, symbol, state.line))
        done = state.turn >= self.spec.num_turns
        success = done & (symbol == state.string[-1]).all()
        return state, TimeStep(self._observe(state), success.astype(jnp.float32), done, success)

    def expert(self, state: State) -> Int[Array, " A"]:
        """The true string, also after a wrong line."""
        line = jnp.minimum(state.turn + 1, self.depth) if self.scratch else self.depth
        return tokens.value(state.string[line])

    def anchor(self, state: State) -> Int[Array, ""]:
        """Turn and last line."""
        return state.turn * SYMBOLS**self.length + jnp.sum(
            state.line * SYMBOLS ** jnp.arange(self.length)
        )

    def potential(self, state: State) -> Float[Array, ""]:
        """The expert's return from here: it can always still answer."""
        return (state.turn < self.spec.num_turns).astype(jnp.float32)

    def is_key(self, state: State) -> Bool[Array, ""]:
        """The answer, which scratch lines only prepare."""
        return state.turn == self.spec.num_turns - 1

    def longer(self, factor: int) -> "Compose":
        """The same task with `factor` times as many functions."""
        return replace(self, depth=self.depth * factor)

    def other_rule(self) -> "Compose":
        """The same functions in the pairs that training never shows."""
        return replace(self, held_out=not self.held_out)

    def bounds(self) -> tuple[float, float]:
        """A wrong answer and the right one."""
        return 0.0, 1.0

    def chance(self) -> float:
        """Success of uniformly random symbols."""
        return float(SYMBOLS) ** -self.length

    def render_prompt(self, prompt) -> str:
        function = prompt[1 : 1 + self.depth] - tokens.ENTITY
        return (
            f"{', then '.join(NAMES[f] for f in function)}: {self._show(prompt[1 + self.depth :])}"
        )

    def render_turn(self, observation, action) -> str:
        done = (
            f"{NAMES[observation[0] - tokens.ENTITY]}: {self._show(observation[1:])} "
            if self.scratch
            else ""
        )
        return f"{done}-> {self._show(action)}"

    def _show(self, string) -> str:
        return tokens.text(string).replace("v", "")
