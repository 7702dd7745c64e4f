"""Merge cards into a target number, and take back what leads nowhere: arithmetic search under a rule (GeneralPoints, 2501.17161).

One episode at the default knobs, and one under another rule; an observation shows the numbers that are left:

>>> from agentic_rl.rollout.transcript import transcript
>>> print(transcript(Points(), problem=2))
make 25
10 5 3 -> 10 * 3
30 5 -> 30 - 5
25 -> SUBMIT
success, return 1.0
>>> print(transcript(Points(rule="face10"), problem=0))
make 23, where J, Q and K count 10
3 10 K -> 3 + 10
13 K -> 13 + K
23 -> SUBMIT
success, return 1.0

The search is Countdown's, where taking back is what demonstrations can teach (Stream of Search, 2404.03683).
"""

from dataclasses import replace
from itertools import permutations
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from agentic_rl import tokens
from agentic_rl.config import check, config
from agentic_rl.config.ranges import Natural, Range
from agentic_rl.envs.parts.identity import identity
from agentic_rl.types import Spec, TimeStep, restart

BLANK, FACE = -1, 100  # numbers are 0 to 99, a face card is FACE + its rank (11 to 13)
UNDO, SUBMIT = -2, -1  # rows of the table of actions; the others are merges
OPERATIONS = {
    tokens.PLUS: "+",
    tokens.MINUS: "-",
    tokens.TIMES: "*",
    tokens.DIVIDE: "/",
}  # the order of the tokens' ids
RULES = {
    "plain": ("", "op_swap"),
    "face10": (", where J, Q and K count 10", "face_rank"),
    "face_rank": (", where J, Q and K count 11, 12 and 13", "face10"),
    "op_swap": (", where + subtracts and - adds", "plain"),
}  # how it reads, and the rule that its training never showed


class State(NamedTuple):
    """The instance (target, cards: the first row of numbers), the merges so far and what is best after each of them."""

    target: Int[Array, ""]
    number: Int[Array, "K K"]  # after 0, 1, ... merges, BLANK at the end of a row
    best: Int[
        Array, " K"
    ]  # the row of the action that leads to the target from there; UNDO: none does
    depth: Int[Array, ""]  # merges so far
    turn: Int[Array, ""]
    erred: Bool[Array, ""]  # the last action was not legal


@config
class Points:
    """Merge two numbers at a time (`v0 PLUS v2` replaces the first and the third by their sum) until one is left, then SUBMIT.

    Results are whole numbers of 0 to 99, UNDO takes the last merge back, and SUBMIT ends the episode: 1 if only the target is left.
    Four cards make `reset` slow, which then looks 9,216 ways ahead instead of 192; a step looks as far as one card less needs.
    """

    num_cards: Annotated[int, Range(3, 4)] = 3
    num_turns: Natural = 0  # 0: as many as two wrong merges leave time for
    rule: Literal["plain", "face10", "face_rank", "op_swap"] = "plain"

    def __post_init__(self):
        enough = self.num_turns == 0 or self.num_turns >= self.num_cards
        check(
            enough,
            f"num_turns must be 0 (chosen for you) or at least num_cards ({self.num_cards}), not {self.num_turns}.",
        )

    @property
    def spec(self) -> Spec:
        slots = tuple(range(tokens.VALUE, tokens.VALUE + self.num_cards))
        choices = (*slots, *OPERATIONS, tokens.UNDO, tokens.SUBMIT, tokens.END)
        return Spec(4, 1 + 2 * self.num_cards, 3, self.num_turns or self.num_cards + 4, choices)

    @property
    def _merges(self) -> Int[Array, "merges 3"]:
        """Slot, operation, slot. Those among the first k slots come first, so that fewer numbers have a shorter table."""
        pairs = sorted(permutations(range(self.num_cards), 2), key=max)
        return jnp.array(
            [(i, operation, j) for i, j in pairs for operation in range(len(OPERATIONS))]
        )

    @property
    def _actions(self) -> Int[Array, "actions 3"]:
        others = [[verb, tokens.END, tokens.PAD] for verb in (tokens.UNDO, tokens.SUBMIT)]
        return jnp.concatenate(
            [self._merges + jnp.array([tokens.VALUE, tokens.PLUS, tokens.VALUE]), jnp.array(others)]
        )

    def _worth(self, number: Int[Array, ""]) -> Int[Array, ""]:
        return jnp.where(number > FACE, 10 if self.rule == "face10" else number - FACE, number)

    def _merge(
        self, number: Int[Array, " k"], merge: Int[Array, "3"]
    ) -> tuple[Int[Array, " k-1"], Bool[Array, ""]]:
        """The numbers afterwards, the result in the place of the first of the two, and whether that is legal."""
        i, operation, j = merge
        a, b = self._worth(number[i]), self._worth(number[j])
        plus, minus = (a - b, a + b) if self.rule == "op_swap" else (a + b, a - b)
        quotient, rest = jnp.divmod(a, jnp.maximum(b, 1))
        result = jnp.stack([plus, minus, a * b, jnp.where((b > 0) & (rest == 0), quotient, BLANK)])[
            operation
        ]
        others = jnp.arange(len(number) - 1)
        others += others >= jnp.maximum(i, j)
        after = jnp.where(others == jnp.minimum(i, j), result, number[others])
        return after, (number[i] != BLANK) & (number[j] != BLANK) & (result >= 0) & (result < FACE)

    def _children(self, number: Int[Array, " k"]) -> tuple[Int[Array, "m k-1"], Bool[Array, " m"]]:
        """What each merge of k numbers makes of them, and whether it is legal."""
        k = len(number)
        return jax.vmap(self._merge, (None, 0))(
            number, self._merges[: len(OPERATIONS) * k * (k - 1)]
        )

    def _search(self, number: Int[Array, " k"], target: Int[Array, ""]) -> Int[Array, ""]:
        """The row of the first action that leads to the target, UNDO if none does."""
        is_target = (self._worth(number[0]) == target) & (number[1:] == BLANK).all()
        if len(number) == 1:
            return jnp.where(is_target, SUBMIT, UNDO)
        after, legal = self._children(number)
        leads = legal & (jax.vmap(self._search, (0, None))(after, target) != UNDO)
        return jnp.where(leads.any(), jnp.argmax(leads), jnp.where(is_target, SUBMIT, UNDO))

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        faces = self.rule in ("face10", "face_rank")
        card = jax.random.randint(
            jax.random.fold_in(key, 0), (self.num_cards,), 1, 14 if faces else 11
        )
        card = number = jnp.where(card > 10, FACE + card, card)
        for i in range(1, self.num_cards):
            after, legal = self._children(number)
            number = after[
                jax.random.categorical(jax.random.fold_in(key, i), jnp.where(legal, 0.0, -jnp.inf))
            ]
        rows = jnp.full((self.num_cards, self.num_cards), BLANK).at[0].set(card)
        best = jnp.full(self.num_cards, UNDO).at[0].set(self._search(card, number[0]))
        state = State(number[0], rows, best, jnp.int32(0), jnp.int32(0), jnp.bool_(False))
        return state, restart(self._observe(state))

    def prompt(self, state: State) -> Int[Array, " P"]:
        rule = jnp.array([tokens.BOS, tokens.entity(list(RULES).index(self.rule))])
        return jnp.concatenate(
            [rule, tokens.value(jnp.stack([state.target // 10, state.target % 10]))]
        )

    def _observe(self, state: State) -> Int[Array, " O"]:
        """Tens and ones of each number; the ones of a face card are its rank."""
        number = state.number[state.depth]
        tens = jnp.where(number > FACE, 0, number // 10)
        digits = tokens.value(jnp.stack([tens, number % FACE - 10 * tens], axis=1))
        shown = jnp.where(number[:, None] == BLANK, tokens.EMPTY, digits)
        return jnp.concatenate([jnp.where(state.erred, tokens.ERR, tokens.OK)[None], shown.ravel()])

    def step(
        self, key: PRNGKeyArray, state: State, action: Int[Array, " A"]
    ) -> tuple[State, TimeStep]:
        same, num_merges = (self._actions == action).all(axis=1), len(self._merges)
        after, can_merge = self._merge(
            state.number[state.depth], self._merges[jnp.argmax(same[:num_merges])]
        )
        merges = same[:num_merges].any() & can_merge
        undoes, submits = same[UNDO] & (state.depth > 0), same[SUBMIT]
        depth = state.depth + merges - undoes
        turn = jnp.where(submits, self.spec.num_turns, state.turn + 1)
        number = jnp.where(merges, jnp.append(after, BLANK), state.number[depth])
        best = jnp.where(merges, self._search(after, state.target), state.best[depth])
        success = submits & (state.best[depth] == SUBMIT)
        erred = ~(merges | undoes | submits)
        state = State(
            state.target,
            state.number.at[depth].set(number),
            state.best.at[depth].set(best),
            depth,
            turn,
            erred,
        )
        return state, TimeStep(
            self._observe(state), success.astype(jnp.float32), turn >= self.spec.num_turns, success
        )

    def expert(self, state: State) -> Int[Array, " A"]:
        """The first merge that leads to the target, SUBMIT on it, and UNDO where it is out of reach."""
        return self._actions[state.best[state.depth]]

    def _turns_needed(self, state: State) -> Int[Array, ""]:
        """The least number of turns to success: back to where the target was in reach last, then all merges and SUBMIT."""
        back = jnp.sum((state.best == UNDO) & (jnp.arange(self.num_cards) <= state.depth))
        return back + self.num_cards - (state.depth - back)

    def anchor(self, state: State) -> Int[Array, ""]:
        """Turn, numbers left, and how far the target is; which merges were made does not matter."""
        return identity(state.turn, self._turns_needed(state), state.number[state.depth])

    def potential(self, state: State) -> Float[Array, ""]:
        """The expert's return from here."""
        return (self._turns_needed(state) <= self.spec.num_turns - state.turn).astype(jnp.float32)

    def is_key(self, state: State) -> Bool[Array, ""]:
        """While success is possible, SUBMIT before the target loses it; on the target, only haste makes the choice matter."""
        has_time = (state.best[state.depth] == SUBMIT) & (state.turn + 3 <= self.spec.num_turns)
        return (self.potential(state) > 0) & ~has_time

    def longer(self, factor: int) -> "Points":
        """The same cards with `factor` times as many turns: room for more wrong merges."""
        return replace(self, num_turns=self.spec.num_turns * factor)

    def other_rule(self) -> "Points":
        """Face cards that count otherwise; where there are none, + and - exchanged."""
        return replace(self, rule=RULES[self.rule][1])

    def bounds(self) -> tuple[float, float]:
        """Failure and success."""
        return 0.0, 1.0

    def render_prompt(self, prompt) -> str:
        says = list(RULES.values())[prompt[1] - tokens.ENTITY][0]
        return f"make {10 * (prompt[2] - tokens.VALUE) + prompt[3] - tokens.VALUE}{says}"

    def render_turn(self, observation, action) -> str:
        pairs = (observation[1:] - tokens.VALUE).reshape(-1, 2).tolist()
        number = [
            "JQK"[ones - 11] if ones > 10 else str(10 * tens + ones)
            for tens, ones in pairs
            if tens < 10
        ]
        i, operation, j = action.tolist()
        slot = dict(enumerate(number, tokens.VALUE))
        merges = operation in OPERATIONS and i != j and {i, j} <= slot.keys()
        done = (
            f"{slot[i]} {OPERATIONS[operation]} {slot[j]}"
            if merges
            else tokens.text(t for t in action if t != tokens.PAD)
        )
        return f"{'illegal; ' if observation[0] == tokens.ERR else ''}{' '.join(number)} -> {done.removesuffix(' END')}"
