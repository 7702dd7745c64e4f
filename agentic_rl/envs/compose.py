"""Apply known functions one after the other, to compose new skills from old ones.

The action is the resulting string. Below are an episode at the default knobs, and one that writes a
line for each function:

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

Pairs of functions that training never shows (`other_rule`) and greater depths (`longer`) tell a
skill from its parts, after "From f(x) and g(x) to f(g(x))" (2509.25123). Without scratch lines
there is one turn with one right answer. So its probability p takes a single teacher-forced pass
over the expert's action, and pass@k is exactly 1 - (1 - p)^k.
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
# the place from which each function takes the symbol that it puts at place i of n
MOVES = {
    "rotate left": lambda i, n: (i + 1) % n,
    "rotate right": lambda i, n: (i - 1) % n,
    "reverse": lambda i, n: n - 1 - i,
    "swap neighbours": lambda i, n: np.minimum(i ^ 1, n - 1),
    "swap halves": lambda i, n: (i + n // 2) % n,
    "swap ends": lambda i, n: np.where(i % (n - 1) == 0, n - 1 - i, i),
    "double the first": lambda i, n: np.maximum(i - 1, 0),
    "double the last": lambda i, n: np.minimum(i + 1, n - 1),
}
# what each function makes of the symbol x
MAPS = {
    "add 1": lambda x: (x + 1) % SYMBOLS,
    "subtract 1": lambda x: (x - 1) % SYMBOLS,
    "add 4": lambda x: (x + 4) % SYMBOLS,
    "times 3": lambda x: 3 * x % SYMBOLS,
    "complement": lambda x: SYMBOLS - 1 - x,
    "halve": lambda x: x // 2,
    "double": lambda x: 2 * x % SYMBOLS,
    "replace 0 by 7": lambda x: np.where(x == 0, SYMBOLS - 1, x),
}
NAMES = [*MOVES, *MAPS]
F, G = np.indices((len(NAMES), len(NAMES)))
# [first, second]: each function is followed by four of the held-out ones, and preceded by four
HELD_OUT = ((2 * F + 1) * G + 7 * F) % 16 < 4


class State(NamedTuple):
    """The instance (functions and strings) and the last line written."""

    function: Int[Array, " D"]
    string: Int[Array, "D+1 L"]  # the input, then what each function makes of it
    turn: Int[Array, ""]
    line: Int[Array, " L"]


@config
class Compose:
    """Answer with the result of applying the prompt's `depth` functions to its string, in order.

    The reward is 1 if every symbol is right. With `scratch` there is one turn per function, whose
    observation shows the last line; only the last answer counts.
    """

    depth: Count = 2  # number of functions
    length: Annotated[int, Range(2, 8)] = 4  # symbols of the string; below 4 some functions agree
    scratch: bool = False  # one turn per function, instead of a single one
    # neighbouring functions are pairs from a fixed quarter of all pairs; otherwise they never are
    held_out: bool = False

    def __post_init__(self):
        has_pairs = self.depth > 1 or not self.held_out
        check(has_pairs, f"depth must be at least 2 for pairs to be held out, not {self.depth}.")

    @property
    def spec(self) -> Spec:
        choices = tuple(range(tokens.VALUE, tokens.VALUE + SYMBOLS))
        shown, turns = (1 + self.length, self.depth) if self.scratch else (1, 1)
        return Spec(1 + self.depth + self.length, shown, self.length, turns, choices, limited=False)

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        allowed = jnp.where(HELD_OUT == self.held_out, 0.0, -jnp.inf)
        first, rest, string = (jax.random.fold_in(key, i) for i in range(3))
        function = [jax.random.randint(first, (1,), 0, len(NAMES))[0]]
        string = [jax.random.randint(string, (self.length,), 0, SYMBOLS)]
        for d in range(1, self.depth):
            next_key = jax.random.fold_in(rest, d)
            function.append(jax.random.categorical(next_key, allowed[function[-1]]))
        for f in function:
            string.append(self._apply(f, string[-1]))
        state = State(jnp.stack(function), jnp.stack(string), jnp.int32(0), string[0])
        return state, restart(self._observe(state))

    def _apply(self, function: Int[Array, ""], string: Int[Array, " L"]) -> Int[Array, " L"]:
        """Returns what a function makes of a string.

        Each function moves symbols and then maps them; one of the two is always the identity.
        """
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
        """Returns the true string, also after a wrong line."""
        line = jnp.minimum(state.turn + 1, self.depth) if self.scratch else self.depth
        return tokens.value(state.string[line])

    def anchor(self, state: State) -> Int[Array, ""]:
        """Returns a number made of the turn and the last line."""
        line = jnp.sum(state.line * SYMBOLS ** jnp.arange(self.length))
        return state.turn * SYMBOLS**self.length + line

    def potential(self, state: State) -> Float[Array, ""]:
        """Returns the expert's return: 1 as long as it can still answer."""
        return (state.turn < self.spec.num_turns).astype(jnp.float32)

    def is_key(self, state: State) -> Bool[Array, ""]:
        """Returns True at the last turn, which alone is judged."""
        return state.turn == self.spec.num_turns - 1

    def longer(self, factor: int) -> "Compose":
        """Returns the task with `factor` times as many functions."""
        return replace(self, depth=self.depth * factor)

    def other_rule(self) -> "Compose":
        """Returns the task with the pairs of functions that training never shows."""
        return replace(self, held_out=not self.held_out)

    def bounds(self) -> tuple[float, float]:
        """Returns the returns of a wrong and of the right answer."""
        return 0.0, 1.0

    def chance(self) -> float:
        """Returns the success rate of uniformly random symbols."""
        return float(SYMBOLS) ** -self.length

    def render_prompt(self, prompt) -> str:
        function = prompt[1 : 1 + self.depth] - tokens.ENTITY
        names = ", then ".join(NAMES[f] for f in function)
        return f"{names}: {self._show(prompt[1 + self.depth :])}"

    def render_turn(self, observation, action) -> str:
        answer = f"-> {self._show(action)}"
        if not self.scratch:
            return answer
        return f"{NAMES[observation[0] - tokens.ENTITY]}: {self._show(observation[1:])} {answer}"

    def _show(self, string) -> str:
        return tokens.text(string).replace("v", "")
