"""Merge cards into a target number, and take back merges that lead nowhere.

The task is an arithmetic search under a rule (GeneralPoints, 2501.17161). An observation shows the
numbers that are left. Below are an episode at the default knobs, and one under another rule:

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

The search is that of Countdown, in which demonstrations can teach to take a merge back (Stream of
Search, 2404.03683).
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

BLANK, FACE = -1, 100  # numbers are 0 to 99, and a face card is FACE + its rank (11 to 13)
UNDO, SUBMIT = -2, -1  # indices into the table of actions, whose other entries are merges
# in the order of the tokens' ids
OPERATIONS = {tokens.PLUS: "+", tokens.MINUS: "-", tokens.TIMES: "*", tokens.DIVIDE: "/"}
# how each rule reads in a prompt, and the rule that training under it never shows
RULES = {
    "plain": ("", "op_swap"),
    "face10": (", where J, Q and K count 10", "face_rank"),
    "face_rank": (", where J, Q and K count 11, 12 and 13", "face10"),
    "op_swap": (", where + subtracts and - adds", "plain"),
}


class State(NamedTuple):
    """The instance (target and cards), the merges so far, and the best action after each."""

    target: Int[Array, ""]
    number: Int[Array, "K K"]  # after 0 (the cards), 1, ... merges, with BLANK for missing ones
    best: Int[Array, " K"]  # index of the action that leads to the target; UNDO: none does
    depth: Int[Array, ""]  # merges so far
    turn: Int[Array, ""]
    erred: Bool[Array, ""]  # was the last action illegal?


@config
class Points:
    """Merge two numbers at a time until one is left, then SUBMIT: 1 if it is the target.

    `v0 PLUS v2` replaces the first and the third number by their sum. Results must be whole numbers
    from 0 to 99. UNDO takes the last merge back, and SUBMIT ends the episode. `reset` is slow with
    four cards: it searches 9,216 ways instead of 192. A step searches with one card less.
    """

    num_cards: Annotated[int, Range(3, 4)] = 3  # cards to merge
    num_turns: Natural = 0  # turns before the cut; 0: enough for success after two wrong merges
    # what cards and operations mean: `plain`; `face10` and `face_rank`, J, Q and K count 10, or 11,
    # 12 and 13; `op_swap`, + subtracts and - adds
    rule: Literal["plain", "face10", "face_rank", "op_swap"] = "plain"

    def __post_init__(self):
        is_enough = self.num_turns == 0 or self.num_turns >= self.num_cards
        allowed = f"0 (chosen for you) or at least num_cards ({self.num_cards})"
        check(is_enough, f"num_turns must be {allowed}, not {self.num_turns}.")

    @property
    def spec(self) -> Spec:
        slots = tuple(range(tokens.VALUE, tokens.VALUE + self.num_cards))
        choices = (*slots, *OPERATIONS, tokens.UNDO, tokens.SUBMIT, tokens.END)
        return Spec(4, 1 + 2 * self.num_cards, 3, self.num_turns or self.num_cards + 4, choices)

    @property
    def _merges(self) -> Int[Array, "merges 3"]:
        """All merges as slot, operation, slot.

        Those among the first k slots come first, so that k numbers use a prefix of the table.
        """
        pairs = sorted(permutations(range(self.num_cards), 2), key=max)
        operations = range(len(OPERATIONS))
        return jnp.array([(i, operation, j) for i, j in pairs for operation in operations])

    @property
    def _actions(self) -> Int[Array, "actions 3"]:
        """The tokens of all actions: the merges, then UNDO and SUBMIT."""
        merges = self._merges + jnp.array([tokens.VALUE, tokens.PLUS, tokens.VALUE])
        others = [[verb, tokens.END, tokens.PAD] for verb in (tokens.UNDO, tokens.SUBMIT)]
        return jnp.concatenate([merges, jnp.array(others)])

    def _worth(self, number: Int[Array, ""]) -> Int[Array, ""]:
        """Returns what a number counts, which for face cards depends on the rule."""
        return jnp.where(number > FACE, 10 if self.rule == "face10" else number - FACE, number)

    def _merge(
        self, number: Int[Array, " k"], merge: Int[Array, "3"]
    ) -> tuple[Int[Array, " k-1"], Bool[Array, ""]]:
        """Returns the numbers after a merge, and whether it is legal.

        The result takes the place of the first of the two.
        """
        i, operation, j = merge
        a, b = self._worth(number[i]), self._worth(number[j])
        plus, minus = (a - b, a + b) if self.rule == "op_swap" else (a + b, a - b)
        quotient, rest = jnp.divmod(a, jnp.maximum(b, 1))
        quotient = jnp.where((b > 0) & (rest == 0), quotient, BLANK)
        result = jnp.stack([plus, minus, a * b, quotient])[operation]
        others = jnp.arange(len(number) - 1)
        others += others >= jnp.maximum(i, j)
        after = jnp.where(others == jnp.minimum(i, j), result, number[others])
        are_there = (number[i] != BLANK) & (number[j] != BLANK)
        return after, are_there & (result >= 0) & (result < FACE)

    def _children(self, number: Int[Array, " k"]) -> tuple[Int[Array, "m k-1"], Bool[Array, " m"]]:
        """Returns the numbers after each merge of k numbers, and whether it is legal."""
        k = len(number)
        merges = self._merges[: len(OPERATIONS) * k * (k - 1)]
        return jax.vmap(self._merge, (None, 0))(number, merges)

    def _search(self, number: Int[Array, " k"], target: Int[Array, ""]) -> Int[Array, ""]:
        """Returns the index of the first action that leads to the target, and UNDO if none does."""
        is_target = (self._worth(number[0]) == target) & (number[1:] == BLANK).all()
        if len(number) == 1:
            return jnp.where(is_target, SUBMIT, UNDO)
        after, legal = self._children(number)
        leads = legal & (jax.vmap(self._search, (0, None))(after, target) != UNDO)
        return jnp.where(leads.any(), jnp.argmax(leads), jnp.where(is_target, SUBMIT, UNDO))

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        faces = self.rule in ("face10", "face_rank")
        highest = 13 if faces else 10
        card_key = jax.random.fold_in(key, 0)
        card = jax.random.randint(card_key, (self.num_cards,), 1, highest + 1)
        card = number = jnp.where(card > 10, FACE + card, card)
        for i in range(1, self.num_cards):
            after, legal = self._children(number)
            logits = jnp.where(legal, 0.0, -jnp.inf)
            number = after[jax.random.categorical(jax.random.fold_in(key, i), logits)]
        target = number[0]
        numbers = jnp.full((self.num_cards, self.num_cards), BLANK).at[0].set(card)
        best = jnp.full(self.num_cards, UNDO).at[0].set(self._search(card, target))
        state = State(target, numbers, best, jnp.int32(0), jnp.int32(0), jnp.bool_(False))
        return state, restart(self._observe(state))

    def prompt(self, state: State) -> Int[Array, " P"]:
        rule = jnp.array([tokens.BOS, tokens.entity(list(RULES).index(self.rule))])
        digits = jnp.stack([state.target // 10, state.target % 10])
        return jnp.concatenate([rule, tokens.value(digits)])

    def _observe(self, state: State) -> Int[Array, " O"]:
        """Returns tens and ones of each number; the ones of a face card are its rank."""
        number = state.number[state.depth]
        tens = jnp.where(number > FACE, 0, number // 10)
        digits = tokens.value(jnp.stack([tens, number % FACE - 10 * tens], axis=1))
        shown = jnp.where(number[:, None] == BLANK, tokens.EMPTY, digits)
        return jnp.concatenate([jnp.where(state.erred, tokens.ERR, tokens.OK)[None], shown.ravel()])

    def step(
        self, key: PRNGKeyArray, state: State, action: Int[Array, " A"]
    ) -> tuple[State, TimeStep]:
        same, num_merges = (self._actions == action).all(axis=1), len(self._merges)
        merge = self._merges[jnp.argmax(same[:num_merges])]
        after, can_merge = self._merge(state.number[state.depth], merge)
        merges = same[:num_merges].any() & can_merge
        undoes, submits = same[UNDO] & (state.depth > 0), same[SUBMIT]
        depth = state.depth + merges - undoes
        turn = jnp.where(submits, self.spec.num_turns, state.turn + 1)
        number = jnp.where(merges, jnp.append(after, BLANK), state.number[depth])
        best = jnp.where(merges, self._search(after, state.target), state.best[depth])
        success = submits & (state.best[depth] == SUBMIT)
        erred = ~(merges | undoes | submits)
        numbers, best = state.number.at[depth].set(number), state.best.at[depth].set(best)
        state = State(state.target, numbers, best, depth, turn, erred)
        done = turn >= self.spec.num_turns
        return state, TimeStep(self._observe(state), success.astype(jnp.float32), done, success)

    def expert(self, state: State) -> Int[Array, " A"]:
        """Returns the first merge that leads to the target, SUBMIT on it, or UNDO off the way."""
        return self._actions[state.best[state.depth]]

    def _turns_needed(self, state: State) -> Int[Array, ""]:
        """Returns the least number of turns to success.

        They go back to where the target was last in reach, and on with all merges and SUBMIT.
        """
        back = jnp.sum((state.best == UNDO) & (jnp.arange(self.num_cards) <= state.depth))
        return back + self.num_cards - (state.depth - back)

    def anchor(self, state: State) -> Int[Array, ""]:
        """Returns an id of the turn, the numbers left, and how far away the target is."""
        return identity(state.turn, self._turns_needed(state), state.number[state.depth])

    def potential(self, state: State) -> Float[Array, ""]:
        """Returns the expert's return from the state on."""
        return (self._turns_needed(state) <= self.spec.num_turns - state.turn).astype(jnp.float32)

    def is_key(self, state: State) -> Bool[Array, ""]:
        """Returns whether a wrong action loses a success that is possible.

        Before the target SUBMIT does. On the target a wrong action can be taken back, except in the
        last turns.
        """
        has_time = (state.best[state.depth] == SUBMIT) & (state.turn + 3 <= self.spec.num_turns)
        return (self.potential(state) > 0) & ~has_time

    def longer(self, factor: int) -> "Points":
        """Returns the task with `factor` times as many turns, which allow for more wrong merges."""
        return replace(self, num_turns=self.spec.num_turns * factor)

    def other_rule(self) -> "Points":
        """Returns the task with other values of face cards, or else with + and - exchanged."""
        return replace(self, rule=RULES[self.rule][1])

    def bounds(self) -> tuple[float, float]:
        """Returns the returns of failure and success."""
        return 0.0, 1.0

    def render_prompt(self, prompt) -> str:
        rule, _ = list(RULES.values())[prompt[1] - tokens.ENTITY]
        tens, ones = prompt[2:] - tokens.VALUE
        return f"make {10 * tens + ones}{rule}"

    def render_turn(self, observation, action) -> str:
        pairs = (observation[1:] - tokens.VALUE).reshape(-1, 2).tolist()
        numbers = [_show(tens, ones) for tens, ones in pairs if tens < 10]
        i, operation, j = action.tolist()
        slot = dict(enumerate(numbers, tokens.VALUE))
        if operation in OPERATIONS and i != j and {i, j} <= slot.keys():
            words = f"{slot[i]} {OPERATIONS[operation]} {slot[j]}"
        else:
            words = tokens.text(t for t in action if t != tokens.PAD).removesuffix(" END")
        error = "illegal; " if observation[0] == tokens.ERR else ""
        return f"{error}{' '.join(numbers)} -> {words}"


def _show(tens: int, ones: int) -> str:
    """Returns a number, or a face card's letter, as text."""
    return "JQK"[ones - 11] if ones > 10 else str(10 * tens + ones)
