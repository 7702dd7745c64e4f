"""Write digits by a rule with a hand that slips, check for slips, and fix them.

The task tests self-correction, and when a check is worth its price. An observation shows the next
place to write, the first place that is not known to be right, and how many turns are left. One
episode at the default knobs, in which a write slips:

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

After the gap between finding and correcting one's own errors (2310.01798, 2409.12917).
Demonstrations at `slip=0.0` contain no FIX.
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
    """The instance (rule and slips), what is written, and what is known about it."""

    start: Int[Array, ""]
    stride: Int[Array, ""]
    slip: Bool[Array, " L"]  # does writing at this place go wrong, unseen? False once it is fixed
    wrong: Bool[Array, " L"]  # was a digit other than the rule's meant for this place?
    written: Int[Array, ""]  # number of places written, from the first on
    known: Int[Array, ""]  # number of places known to be right, from the first on
    error_found: Bool[Array, ""]  # is the place after those known to be wrong?
    turn: Int[Array, ""]


@config
class FixIt:
    """Write `start + i * stride` modulo `modulus` in place i, digit after digit, then SUBMIT.

    The reward is 1 if all digits are right, less the cost of the checks. A digit goes to the next
    place, where it turns out wrong, unseen, with probability `slip`. CHECK names the first wrong
    place so far, or says OK. FIX, followed by a place and a digit, is legal at the place that
    CHECK has found, and never slips.

    Slips are hidden: the expert knows only its own actions and the results of its checks. It plays
    best in expectation: it writes, fixes what a check has found, and goes on checking while
    something may be wrong that could still be fixed in time. (Knobs at which a check is not worth
    its cost are refused. No check is needed before all is written, since a later one says no less.)
    The potential is the expert's return in hindsight. A lucky guess can beat it, but no policy does
    on average.
    """

    hidden: ClassVar[bool] = True  # the expert may not see the slips
    num_digits: Annotated[int, Range(1, 16, why="a place is one token")] = 4  # digits to write
    modulus: OneToken = 10  # digits are 0 to modulus - 1
    slip: Annotated[float, Range(0, below=1)] = 0.15  # probability that a write goes wrong, unseen
    check_cost: NonNegative = 0.02  # subtracted from the reward for each CHECK

    def __post_init__(self):
        most = self._value_of_a_check()
        allowed = f"0 to {most:.3g} (a check is worth no more)"
        check(0 <= self.check_cost <= most, f"check_cost must be {allowed}, not {self.check_cost}.")

    def _value_of_a_check(self) -> float:
        """Returns the least that a CHECK and one FIX can be worth.

        It is the probability that exactly one of m writes has slipped, or that no other one has.
        """
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
        """Returns the token that belongs in a place."""
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
        is_place, right = jnp.arange(self.num_digits) == place, digit == self._digit(state, place)
        wrong = jnp.where(is_place & (fixes | writes), ~right, state.wrong)
        slip = state.slip & ~(is_place & fixes)
        written, mends = state.written + writes, fixes & right
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
        """Returns the best action of those who do not see the slips."""
        place, digit = tokens.entity(state.known), self._digit(state, state.known)
        fix = jnp.stack([jnp.int32(tokens.FIX), place, digit])
        num_wrong = jnp.sum(state.wrong)
        doubts = (state.known < self.num_digits) & ((num_wrong > 0) | (self.slip > 0))
        fixable = (self._turns_left(state) - 1) // 2  # CHECK and FIX for each, and SUBMIT is last
        checks = doubts & (fixable >= jnp.maximum(num_wrong, 1))
        ending = jnp.where(checks, tokens.CHECK, tokens.SUBMIT)
        verb = jnp.where(state.written < self.num_digits, self._digit(state, state.written), ending)
        short = jnp.stack([verb, jnp.int32(tokens.END), jnp.int32(tokens.PAD)])
        return jnp.where(state.error_found, fix, short)

    def anchor(self, state: State) -> Int[Array, ""]:
        """Returns an id of all that changes but the slips, which are hidden."""
        return identity(state.turn, state.written, state.known, state.error_found, state.wrong)

    def potential(self, state: State) -> Float[Array, ""]:
        """Returns the expert's return from the state on, given all slips, seen or not."""
        place, known = jnp.arange(self.num_digits), state.known + state.error_found
        # turns left once all is written and the error that was found is fixed
        left = self._turns_left(state) - (self.num_digits - state.written) - state.error_found
        fixable = (left - 1) // 2
        wrong, bad = state.wrong & (place >= known), (state.wrong | state.slip) & (place >= known)
        # mistakes from each place on that the expert knows of; it goes on while it can fix them all
        due = jnp.cumsum(wrong[::-1])[::-1]
        goes_on = ~bad | (fixable - (jnp.cumsum(bad) - bad) >= jnp.maximum(due, 1))
        reached = jnp.cumprod(goes_on)
        fixed, success = jnp.sum(bad & (reached > 0)), (reached[-1] > 0) & (left > 0)
        doubts = (known < self.num_digits) & ~bad[-1] & (fixable > fixed) & (self.slip > 0)
        return success - jnp.float32(self.check_cost) * (fixed + (success & doubts))

    def is_key(self, state: State) -> Bool[Array, ""]:
        """Returns whether some action has a lower return than the expert's.

        It tries a wrong digit, a wrong FIX, a CHECK, SUBMIT, and a lost turn.
        """
        fix = (tokens.FIX, tokens.entity(state.known), self._wrong_digit(state, state.known))
        write = (self._wrong_digit(state, state.written),)
        words = [write, fix, (tokens.CHECK,), (tokens.SUBMIT,), (tokens.PAD,)]
        actions = jnp.array([(*word, tokens.END, tokens.PAD)[:3] for word in words])
        after, step = jax.vmap(lambda action: self.step(jax.random.key(0), state, action))(actions)
        values = step.reward + jnp.where(step.done, 0.0, jax.vmap(self.potential)(after))
        return (values.min() < self.potential(state) - 1e-6) & (self._turns_left(state) > 0)

    def _wrong_digit(self, state: State, place: Int[Array, ""]) -> Int[Array, ""]:
        return tokens.value((self._digit(state, place) - tokens.VALUE + 1) % self.modulus)

    def longer(self, factor: int) -> "FixIt":
        """Returns the task with `factor` times as many digits, and the turns to fix them all."""
        return replace(self, num_digits=self.num_digits * factor)

    def bounds(self) -> tuple[float, float]:
        """Returns the returns of checking in every turn, and of success without a check."""
        return -self.check_cost * self.spec.num_turns, 1.0

    def render_prompt(self, prompt) -> str:
        start, stride = prompt[1:] - tokens.VALUE
        steps = f"in steps of {stride}, modulo {self.modulus}"
        return f"write {self.num_digits} digits from {start} {steps}"

    def render_turn(self, observation, action) -> str:
        status, written, known = (tokens.text([word]) for word in observation[:3])
        place = "all is written" if written == "DONE" else f"{written} is next"
        doubt = "all is right" if known == "DONE" else f"{known} is unchecked"
        doubt = f"{known} is wrong" if status == "FAIL" else doubt
        words = tokens.text(t for t in action if t != tokens.PAD).removesuffix(" END")
        turns_left = observation[3] - tokens.VALUE
        return f"{turns_left} turns left, {place}, {doubt} -> {words.replace('v', '')}"
