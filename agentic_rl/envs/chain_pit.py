"""Follow a chain of symbols without a mistake, or recover from one.

The task shows how errors compound over a horizon (after Ross & Bagnell 2010).

An observation shows a symbol and whether the policy is on track; the action names the symbol's
value. The first episode below has the default knobs but three turns. In the second one the chain
slips by itself, and the expert recovers:

>>> from agentic_rl.rollout.transcript import transcript
>>> print(transcript(ChainPit(num_turns=3), problem=0))
follow the chain
n6 OK -> v0
n3 OK -> v2
n1 OK -> v2
success, return 1.0
>>> print(transcript(ChainPit(num_turns=5, mode="demoed_recover"), problem=0))
follow the chain
n6 OK -> v0
n3 FAIL -> WAIT
n1 FAIL -> WAIT
n12 OK -> v2
n2 OK -> v3
success, return 1.0
"""

from dataclasses import replace
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from agentic_rl import tokens
from agentic_rl.config import check, config
from agentic_rl.config.ranges import Count, OneToken
from agentic_rl.types import Spec, TimeStep, restart

SYMBOLS = 16
# the rule to be learned: symbol -> value, modulo num_values
SCRAMBLED = (11, 2, 7, 14, 4, 9, 0, 13, 5, 8, 3, 15, 6, 1, 12, 10)


class State(NamedTuple):
    """The instance (symbols, rule, slip) and the position in it."""

    symbol: Int[Array, " T"]
    rule: Int[Array, "16"]  # symbol -> value
    slip: Int[Array, ""]  # turn at which the chain is off track, whatever was done; 0: never
    turn: Int[Array, ""]
    off: Int[Array, ""]  # number of WAITs in a row that lead back on track; 0: on track


@config
class ChainPit:
    """On track, the only right action is the symbol's value under the rule; others lead off track.

    The mode says what follows when the policy is off track:

    - `pit`: the episode is over.
    - `drift`: there is no way back, and the symbols mean nothing.
    - `unseen_recover`: `recovery_turns` WAITs in a row lead back. The expert never leaves the
      track, so its demonstrations show no recovery.
    - `demoed_recover`: the same, but each episode slips off track once, at a turn drawn with the
      instance, so that demonstrations show the recovery.

    Success is to be on track at the end. Where turns off track cost, the pit charges all the turns
    that it cuts off.
    """

    num_turns: Count = 12  # symbols of the chain
    num_values: OneToken = 4  # values that a symbol can have
    # what follows a mistake, as described above
    mode: Literal["pit", "drift", "unseen_recover", "demoed_recover"] = "pit"
    recovery_turns: Count = 2  # WAITs that lead back on track, in the modes that recover
    # `weights`: one rule for all episodes; `prompt`: each prompt states its own rule
    rule: Literal["weights", "prompt"] = "weights"
    # `terminal`: 1 for success; `per_step_cost`: -1 for each turn that ends off track
    reward: Literal["terminal", "per_step_cost"] = "terminal"

    def __post_init__(self):
        has_room = self.num_turns > self.recovery_turns or self.mode != "demoed_recover"
        least = f"num_turns above recovery_turns ({self.recovery_turns})"
        check(has_room, f"demoed_recover needs {least}, not {self.num_turns}.")

    @property
    def _recovers(self) -> bool:
        return self.mode in ("unseen_recover", "demoed_recover")

    @property
    def _depth(self) -> int:
        """The WAITs it takes to recover from a mistake: more than there are turns if none does."""
        return self.recovery_turns if self._recovers else self.num_turns + 1

    @property
    def spec(self) -> Spec:
        prompt_length = 1 + 2 * SYMBOLS * (self.rule == "prompt")
        choices = tuple(range(tokens.VALUE, tokens.VALUE + self.num_values))
        choices += (tokens.WAIT,) * (self.mode != "pit")
        return Spec(prompt_length, 3, 1, self.num_turns, choices, limited=False)

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        symbol, rule, slip = (jax.random.fold_in(key, i) for i in range(3))
        symbol = jax.random.randint(symbol, (self.num_turns,), 0, SYMBOLS)
        random_rule = jax.random.randint(rule, (SYMBOLS,), 0, self.num_values)
        fixed_rule = jnp.array(SCRAMBLED) % self.num_values
        rule = random_rule if self.rule == "prompt" else fixed_rule
        last_slip = self.num_turns - self.recovery_turns
        if self.mode == "demoed_recover":
            slip = jax.random.randint(slip, (), 1, last_slip + 1)
        else:
            slip = jnp.int32(0)
        state = State(symbol, rule, slip, jnp.int32(0), jnp.int32(0))
        return state, restart(self._observe(state))

    def prompt(self, state: State) -> Int[Array, " P"]:
        pairs = jnp.stack([tokens.entity(jnp.arange(SYMBOLS)), tokens.value(state.rule)], axis=1)
        return jnp.concatenate([jnp.array([tokens.BOS]), pairs.ravel()])[: self.spec.prompt_length]

    def _symbol(self, state: State) -> Int[Array, ""]:
        return state.symbol[jnp.minimum(state.turn, self.num_turns - 1)]

    def _observe(self, state: State) -> Int[Array, " O"]:
        verdict = jnp.where(state.off > 0, tokens.FAIL, tokens.OK)
        return jnp.stack([jnp.int32(tokens.OBS), tokens.entity(self._symbol(state)), verdict])

    def step(
        self, key: PRNGKeyArray, state: State, action: Int[Array, " A"]
    ) -> tuple[State, TimeStep]:
        return self._move(state, action)

    def _move(self, state: State, action: Int[Array, " A"]) -> tuple[State, TimeStep]:
        turn, right = state.turn + 1, (action == self.expert(state))[0]
        back = jnp.maximum(state.off - 1, 0) if self._recovers else state.off
        off = jnp.where(right, back, self._depth)
        off = jnp.where(turn == state.slip, self._depth, off)
        after = state._replace(turn=turn, off=off)
        pit = (off > 0) & (self.mode == "pit")
        done = (turn >= self.num_turns) | pit
        success = done & (off == 0)
        lost = jnp.where(pit, self.num_turns - state.turn, off > 0)
        reward = -lost if self.reward == "per_step_cost" else success
        return after, TimeStep(self._observe(after), reward.astype(jnp.float32), done, success)

    def expert(self, state: State) -> Int[Array, " A"]:
        """Returns the symbol's value, and WAIT off track.

        It is WAIT in `drift` too, where no action matters and the label should teach nothing.
        """
        value = tokens.value(state.rule[self._symbol(state)])
        return jnp.where(state.off > 0, tokens.WAIT, value)[None]

    def anchor(self, state: State) -> Int[Array, ""]:
        return (state.turn * (self._depth + 1) + state.off) * SYMBOLS + self._symbol(state)

    def potential(self, state: State) -> Float[Array, ""]:
        """Returns the expert's return from the state on."""
        left = jnp.maximum(self.num_turns - state.turn, 0)
        if self.mode == "pit":
            left = jnp.where(state.off > 0, 0, left)
        if self.reward == "terminal":
            return jnp.where((left > 0) & (state.off <= left), 1.0, 0.0)
        will_slip = state.slip > state.turn
        until_slip = jnp.where(will_slip, state.slip - state.turn - 1, left)
        still_off = jnp.minimum(jnp.maximum(state.off - 1, 0), jnp.minimum(left, until_slip))
        return (-still_off - will_slip * self.recovery_turns).astype(jnp.float32)

    def is_key(self, state: State) -> Bool[Array, ""]:
        """Returns whether a mistake at this turn lowers the expert's return."""
        good, bad = (self._move(state, a) for a in (self.expert(state), jnp.array([tokens.PAD])))
        return good[1].reward + self.potential(good[0]) > bad[1].reward + self.potential(bad[0])

    def longer(self, factor: int) -> "ChainPit":
        """Returns the task with `factor` times as many turns."""
        return replace(self, num_turns=self.num_turns * factor)

    def bounds(self) -> tuple[float, float]:
        """Returns the returns of failure and success, or of being off track always and never."""
        if self.reward == "terminal":
            return 0.0, 1.0
        return -float(self.num_turns), -float(self.recovery_turns * (self.mode == "demoed_recover"))

    def chance(self) -> float:
        """Returns the success rate of uniformly random actions.

        They succeed if the last ones are right: as many as it takes to get back on track.
        """
        return len(self.spec.choices) ** -min(self.num_turns, self._depth)

    def render_prompt(self, prompt) -> str:
        pairs = ["=".join(tokens.text([t]) for t in pair) for pair in prompt[1:].reshape(-1, 2)]
        return f"follow the chain{', where ' if pairs else ''}{', '.join(pairs)}"

    def render_turn(self, observation, action) -> str:
        return f"{tokens.text(observation[1:])} -> {tokens.text(action)}"
