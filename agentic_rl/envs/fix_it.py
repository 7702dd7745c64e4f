"""Write by a rule with a hand that slips, look for slips, mend them: self-correction, and when looking is worth its price.

One episode at the default knobs in which a write slips; an observation shows the next place to write, the first place not known to
be right, and how many turns are left:

>>> from agentic_rl.rollout.transcript import transcript
>>> print(transcript(FixIt(), problem=0))
write 4 digits from 0 in steps of 5, modulo 10
13 turns left, n0 is next, n0 is unchecked -> 0
12 turns left, n1 is next, n0 is unchecked -> 5
11 turns left, n2 is next, n0 is unchecked -> 0
10 turns left, n3 is next, n0 is unchecked -> 5
9 turns left, all is written, n0 is unchecked -> CHECK
8 turns left, all is written, n0 is wrong -> FIX n0 0
7 turns left, all is written, n1 is unchecked -> CHECK
6 turns left, all is written, all is right -> SUBMIT
success, return 0.96

After the gap between finding and correcting one's own errors (2310.01798, 2409.12917). Demonstrations of `slip=0.0` hold no FIX.
"""

from dataclasses import replace
from typing import Annotated, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from agentic_rl import tokens
from agentic_rl.config import check, config
from agentic_rl.config.ranges import NonNegative, OneToken, Range
from agentic_rl.envs.parts.identity import identity
from agentic_rl.types import Spec, TimeStep, restart


class State(NamedTuple):
    """The instance (rule, slips), what was written, and what of it is known."""

    start: Int[Array, ""]
    stride: Int[Array, ""]
    slip: Bool[Array, " L"]  # writing this place goes wrong, unseen; False once it is fixed
    wrong: Bool[Array, " L"]  # another digit than the rule's was meant for this place
    written: Int[Array, ""]  # places, from the first on
    known: Int[Array, ""]  # places known to be right, from the first on
    error_found: Bool[Array, ""]  # and the place after them is known to be wrong
    turn: Int[Array, ""]


@config
class FixIt:
    """Write digit after digit, `start + i * stride` modulo `modulus` in place i, then SUBMIT: 1 if all are right, less the checks.

    A digit is written to the next place, where it goes wrong unseen with probability `slip`. CHECK costs `check_cost` and tells the
    first place so far that is wrong, or OK; FIX, a place and a digit, is legal at the place that CHECK has found, and never slips.

    What slips is hidden, so the expert may only guess from its own actions and what CHECK said. Of all such ways to play its own is
    the best in expectation: write, fix what was found, and CHECK for as long as anything may be wrong and could still be mended in
    time (`__post_init__` holds the knobs to where a look is worth its cost; no look is needed before all is written, since a later
    one tells no less). The potential is what the expert will get, in hindsight: who guesses may get more, on average nobody does.
    """

    hidden: ClassVar[bool] = True
    num_digits: Annotated[int, Range(1, 16, why="a place is one token")] = 4
    modulus: OneToken = 10
    slip: Annotated[float, Range(0, below=1)] = 0.15
    check_cost: NonNegative = 0.02

    def __post_init__(self):
        most = self._worth_of_a_look()
        check(
            0 <= self.check_cost <= most,
            f"check_cost must be 0 to {most:.3g} (a look is worth no more), not {self.check_cost}.",
        )

    def _worth_of_a_look(self) -> float:
        """The least that CHECK and one FIX can be worth: that exactly one of m writes has slipped, or that no other one has."""
        count, right = range(1, self.num_digits + 1), 1 - self.slip
        one_slip = [m * self.slip * right ** (m - 1) for m in count] if self.slip > 0 else []
        no_other = [right ** (self.num_digits - w) / w for w in count]
        return min(one_slip + no_other)

    @property
    def spec(self) -> Spec:
        digits = tuple(range(tokens.VALUE, tokens.VALUE + self.modulus))
        places = tuple(range(tokens.ENTITY, tokens.ENTITY + self.num_digits))
        choices = (*digits, *places, tokens.CHECK, tokens.FIX, tokens.SUBMIT, tokens.END)
        return Spec(3, 4, 3, 3 * self.num_digits + 1, choices)

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        rule, slip = (jax.random.fold_in(key, i) for i in range(2))
        start, stride = jax.random.randint(rule, (2,), 0, self.modulus)
        slip, zero = jax.random.bernoulli(slip, self.slip, (self.num_digits,)), jnp.int32(0)
        state = State(start, stride, slip, jnp.zeros_like(slip), zero, zero, jnp.bool_(False), zero)
        return state, restart(self._observe(state))

    def prompt(self, state: State) -> Int[Array, " P"]:
        return jnp.stack(
            [jnp.int32(tokens.BOS), tokens.value(state.start), tokens.value(state.stride)]
        )

    def _turns_left(self, state: State) -> Int[Array, ""]:
        return self.spec.num_turns - state.turn

    def _observe(self, state: State) -> Int[Array, " O"]:
        place = jnp.stack([state.written, state.known])
        place = jnp.where(place < self.num_digits, tokens.entity(place), tokens.DONE)
        clock = tokens.value(jnp.clip(self._turns_left(state), 0, 15))
        return jnp.stack([jnp.where(state.error_found, tokens.FAIL, tokens.OK), *place, clock])

    def _digit(self, state: State, place: Int[Array, ""]) -> Int[Array, ""]:
        """The token that belongs there."""
        return tokens.value((state.start + place * state.stride) % self.modulus)

    def step(
        self, key: PRNGKeyArray, state: State, action: Int[Array, " A"]
    ) -> tuple[State, TimeStep]:
        verb, short = action[0], (action[1] == tokens.END) & (action[2] == tokens.PAD)
        fixes = state.error_found & (verb == tokens.FIX) & (action[1] == tokens.entity(state.known))
        digit = jnp.where(fixes, action[2], verb)
        is_digit = (digit >= tokens.VALUE) & (digit < tokens.VALUE + self.modulus)
        fixes, writes = fixes & is_digit, short & is_digit & (state.written < self.num_digits)
        checks, submits = short & (verb == tokens.CHECK), short & (verb == tokens.SUBMIT)

        place = jnp.where(fixes, state.known, state.written)
        here, right = jnp.arange(self.num_digits) == place, digit == self._digit(state, place)
        wrong = jnp.where(here & (fixes | writes), ~right, state.wrong)
        slip, written, mends = state.slip & ~(here & fixes), state.written + writes, fixes & right
        bad = (wrong | slip) & (jnp.arange(self.num_digits) < written)
        known = jnp.where(
            checks, jnp.where(bad.any(), jnp.argmax(bad), written), state.known + mends
        )
        error_found = jnp.where(checks, bad.any(), state.error_found & ~mends)
        turn = jnp.where(submits, self.spec.num_turns, state.turn + 1)
        state = state._replace(
            slip=slip, wrong=wrong, written=written, known=known, error_found=error_found, turn=turn
        )
        success = submits & (written == self.num_digits) & ~bad.any()
        reward = (success - self.check_cost * checks).astype(jnp.float32)
        return state, TimeStep(self._observe(state), reward, turn >= self.spec.num_turns, success)

    def expert(self, state: State) -> Int[Array, " A"]:
        """Knows what it meant to write and what CHECK said, not what slips."""
        fix = jnp.stack(
            [jnp.int32(tokens.FIX), tokens.entity(state.known), self._digit(state, state.known)]
        )
        num_wrong = jnp.sum(state.wrong)
        doubts = (state.known < self.num_digits) & ((num_wrong > 0) | (self.slip > 0))
        mendable = (
            self._turns_left(state) - 1
        ) // 2  # each takes CHECK and FIX, and SUBMIT is last
        ending = jnp.where(
            doubts & (mendable >= jnp.maximum(num_wrong, 1)), tokens.CHECK, tokens.SUBMIT
        )
        verb = jnp.where(state.written < self.num_digits, self._digit(state, state.written), ending)
        return jnp.where(
            state.error_found, fix, jnp.stack([verb, jnp.int32(tokens.END), jnp.int32(tokens.PAD)])
        )

    def anchor(self, state: State) -> Int[Array, ""]:
        """All that changes, slips aside, which are hidden."""
        return identity(state.turn, state.written, state.known, state.error_found, state.wrong)

    def potential(self, state: State) -> Float[Array, ""]:
        """What the expert will get from here, slips to come and still unseen included."""
        place, known = jnp.arange(self.num_digits), state.known + state.error_found
        left = (
            self._turns_left(state) - (self.num_digits - state.written) - state.error_found
        )  # once all is written and what is found fixed
        mendable = (left - 1) // 2
        wrong, bad = state.wrong & (place >= known), (state.wrong | state.slip) & (place >= known)
        due = jnp.cumsum(wrong[::-1])[
            ::-1
        ]  # the mistakes that the expert knows of from here on, which must still be mendable
        goes_on = ~bad | (mendable - (jnp.cumsum(bad) - bad) >= jnp.maximum(due, 1))
        reached = jnp.cumprod(goes_on)
        fixed, success = jnp.sum(bad & (reached > 0)), (reached[-1] > 0) & (left > 0)
        last_look = (
            success & (known < self.num_digits) & ~bad[-1] & (mendable > fixed) & (self.slip > 0)
        )
        return success - jnp.float32(self.check_cost) * (fixed + last_look)

    def is_key(self, state: State) -> Bool[Array, ""]:
        """Some action loses against the expert's: a wrong digit, written or as a FIX, a look, SUBMIT or a turn lost."""
        write, fix = (
            tokens.value((self._digit(state, p) - tokens.VALUE + 1) % self.modulus)
            for p in (state.written, state.known)
        )
        words = [
            (write,),
            (tokens.FIX, tokens.entity(state.known), fix),
            (tokens.CHECK,),
            (tokens.SUBMIT,),
            (tokens.PAD,),
        ]
        actions = jnp.array([(*word, tokens.END, tokens.PAD)[:3] for word in words])
        after, step = jax.vmap(lambda action: self.step(jax.random.key(0), state, action))(actions)
        values = step.reward + jnp.where(step.done, 0.0, jax.vmap(self.potential)(after))
        return (values.min() < self.potential(state) - 1e-6) & (self._turns_left(state) > 0)

    def longer(self, factor: int) -> "FixIt":
        """The same task with `factor` times as many digits, and turns to mend them all."""
        return replace(self, num_digits=self.num_digits * factor)

    def bounds(self) -> tuple[float, float]:
        """Checks in every turn, and success on trust."""
        return -self.check_cost * self.spec.num_turns, 1.0

    def render_prompt(self, prompt) -> str:
        start, stride = prompt[1:] - tokens.VALUE
        return f"write {self.num_digits} digits from {start} in steps of {stride}, modulo {self.modulus}"

    def render_turn(self, observation, action) -> str:
        status, written, known = (tokens.text([word]) for word in observation[:3])
        place = "all is written" if written == "DONE" else f"{written} is next"
        doubt = (
            f"{known} is wrong"
            if status == "FAIL"
            else "all is right"
            if known == "DONE"
            else f"{known} is unchecked"
        )
        done = (
            tokens.text(t for t in action if t != tokens.PAD).removesuffix(" END").replace("v", "")
        )
        return f"{observation[3] - tokens.VALUE} turns left, {place}, {doubt} -> {done}"
