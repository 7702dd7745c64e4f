"""Follow pointers through a hidden table with a tool that fails at times: tool calls and partial observability.

One episode at the default knobs, and one that asks for a sum; an observation shows the last result of the tool, behind
`error` if the action just taken failed or was no call:

>>> from agentic_rl.rollout.transcript import transcript
>>> print(transcript(ToolChase(), problem=0))
what does n5 lead to? LOOKUP asks, ANSWER answers
nothing yet -> LOOKUP n5
n0 -> LOOKUP n0
error; n0 -> LOOKUP n0
14 -> ANSWER 14
success, return 1.0
>>> print(transcript(ToolChase(question="sum"), problem=1))
what does n0 lead to, plus 10? LOOKUP asks, ANSWER answers
nothing yet -> LOOKUP n0
n7 -> LOOKUP n7
6 -> CALC 6 PLUS 10
0 -> ANSWER 0
success, return 1.0

After the agents that interleave calls and reasoning (ReAct, 2210.03629) and verifiable rewards for their turns (2505.11821).
"""

from dataclasses import replace
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from agentic_rl import tokens
from agentic_rl.config import check, config
from agentic_rl.config.ranges import Count, NonNegative, OneToken, Probability
from agentic_rl.envs.parts.identity import identity
from agentic_rl.types import Spec, TimeStep, restart

VALUES = 16
PROCESS = 0.1  # with process_reward, what a new step along the chain earns and what a malformed action costs


class State(NamedTuple):
    """The instance (table, chain, when the tool fails) and what the tool has shown."""

    entry: Int[Array, " N"]  # the table: what each key leads to, an entity or a value token
    chain: Int[Array, " D"]  # the keys from the start to the value
    addend: Int[Array, ""]  # the answer is the value plus this, modulo 16
    fails: Bool[Array, " T"]  # the tool fails at this turn
    turn: Int[Array, ""]
    seen: Bool[Array, " N"]  # entries
    summed: Bool[Array, ""]  # the tool has shown the sum
    shown: Int[Array, "3"]  # the observation: OBS or ERR, the last result's tool and the result


@config
class ToolChase:
    """`LOOKUP n3` shows a key's entry, `CALC v3 PLUS v9` a sum modulo 16, `ANSWER v12` ends: 1 if it is right. END closes each.

    The table is hidden: the expert asks for what it has not seen and never guesses. A lucky guess can do better, so that the
    potential, its return given table and failures, is no bound. A policy that sees one turn only (`markov`) has enough on the
    expert's path; after another look-up it must start the chain anew.
    """

    hidden: ClassVar[bool] = True  # what the best action is can depend on what nobody was shown

    num_entries: OneToken = 8
    depth: Count = 2  # look-ups from the start to the value
    num_turns: Count = 6
    question: Literal["value", "sum"] = "value"
    failure: Probability = 0.1  # probability that the tool fails at a turn, which never happens more often than there are turns to spare
    call_cost: NonNegative = 0.0
    process_reward: bool = False  # turns have rewards of their own: a new step along the chain (or the sum), a malformed action
    renamed: bool = False  # LOOKUP and ANSWER have changed places, as the prompt says

    def __post_init__(self):
        check(
            1 <= self.depth < self.num_entries,
            f"depth must be at least 1, below num_entries ({self.num_entries}), not {self.depth}.",
        )
        least = self._num_calls + 1
        check(
            self.num_turns >= least,
            f"num_turns must be at least {least} (the calls and the answer), not {self.num_turns}.",
        )
        most = 0.5 * PROCESS
        check(
            0 <= self.call_cost <= most,
            f"call_cost must be 0 to {most} (calls are worth it), not {self.call_cost}.",
        )

    @property
    def _num_calls(self) -> int:
        """The fewest that find the answer."""
        return self.depth + (self.question == "sum")

    @property
    def _verbs(self) -> tuple[int, int]:
        """What looks up, and what answers."""
        return (tokens.ANSWER, tokens.LOOKUP) if self.renamed else (tokens.LOOKUP, tokens.ANSWER)

    @property
    def spec(self) -> Spec:
        keys = range(tokens.ENTITY, tokens.ENTITY + self.num_entries)
        values = range(tokens.VALUE, tokens.VALUE + VALUES)
        sums = (tokens.CALC, tokens.PLUS) * (self.question == "sum")
        choices = (*keys, *values, tokens.LOOKUP, tokens.ANSWER, *sums, tokens.WAIT, tokens.END)
        return Spec(4 + (self.question == "sum"), 3, 4, self.num_turns, choices)

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        chain, pointer, value, kind, addend, fails = (jax.random.fold_in(key, i) for i in range(6))
        chain = jax.random.permutation(chain, self.num_entries)[: self.depth]
        pointer = tokens.entity(
            jax.random.randint(pointer, (self.num_entries,), 0, self.num_entries)
        )
        value = tokens.value(jax.random.randint(value, (self.num_entries,), 0, VALUES))
        entry = jnp.where(
            jax.random.bernoulli(kind, 0.5, (self.num_entries,)), pointer, value
        )  # the distractors'
        entry = entry.at[chain].set(jnp.append(tokens.entity(chain[1:]), value[0]))
        fails = jax.random.bernoulli(fails, self.failure, (self.num_turns,))
        fails &= jnp.cumsum(fails) <= self.num_turns - self._num_calls - 1
        addend = jax.random.randint(addend, (), 0, VALUES) * (self.question == "sum")
        shown = jnp.stack([jnp.int32(tokens.OBS), jnp.int32(tokens.EMPTY), tokens.entity(chain[0])])
        state = State(
            entry,
            chain,
            addend,
            fails,
            jnp.int32(0),
            jnp.zeros(self.num_entries, bool),
            jnp.bool_(False),
            shown,
        )
        return state, restart(shown)

    def prompt(self, state: State) -> Int[Array, " P"]:
        words = [
            jnp.int32(tokens.BOS),
            tokens.entity(state.chain[0]),
            *map(jnp.int32, self._verbs),
            tokens.value(state.addend),
        ]
        return jnp.stack(words)[: self.spec.prompt_length]

    def _value(self, state: State) -> Int[Array, ""]:
        return state.entry[state.chain[-1]] - tokens.VALUE

    def _calls_needed(self, state: State) -> Int[Array, ""]:
        """How many calls must yet work before the answer is known."""
        return (
            self._num_calls
            - state.seen[state.chain].sum()
            - (state.summed & (self.question == "sum"))
        )

    def step(
        self, key: PRNGKeyArray, state: State, action: Int[Array, " A"]
    ) -> tuple[State, TimeStep]:
        verb, first, second, third = action
        look_up, answer = self._verbs
        number, closed = first - tokens.VALUE, second == tokens.END
        is_key = (first >= tokens.ENTITY) & (first < tokens.ENTITY + self.num_entries)
        is_value, is_addend = (
            (x >= tokens.VALUE) & (x < tokens.VALUE + VALUES) for x in (first, third)
        )
        looks_up, answers = (
            (verb == look_up) & is_key & closed,
            (verb == answer) & is_value & closed,
        )
        sums = (
            (verb == tokens.CALC)
            & is_value
            & (second == tokens.PLUS)
            & is_addend
            & (self.question == "sum")
        )
        waits = (verb == tokens.WAIT) & (first == tokens.END)

        works = (looks_up | sums) & ~state.fails[jnp.minimum(state.turn, self.num_turns - 1)]
        slot = jnp.clip(first - tokens.ENTITY, 0, self.num_entries - 1)
        result = jnp.where(
            looks_up, state.entry[slot], tokens.value((number + third - tokens.VALUE) % VALUES)
        )
        shown = jnp.where(
            works,
            jnp.stack([tokens.OBS, jnp.where(looks_up, look_up, tokens.CALC), result]),
            state.shown,
        )
        shown = shown.at[0].set(jnp.where(works | waits, tokens.OBS, tokens.ERR))
        right_sum = (number == self._value(state)) & (third - tokens.VALUE == state.addend)
        after = state._replace(
            turn=jnp.where(answers, self.num_turns, state.turn + 1), shown=shown,
            seen=state.seen.at[slot].max(works & looks_up), summed=state.summed | works & sums & right_sum,
        )  # fmt: skip
        success = answers & (number == (self._value(state) + state.addend) % VALUES)
        reward = success - self.call_cost * (looks_up | sums)
        if self.process_reward:
            malformed = ~(looks_up | sums | answers | waits)
            reward += PROCESS * (self._calls_needed(state) - self._calls_needed(after) - malformed)
        return after, TimeStep(
            shown, reward.astype(jnp.float32), after.turn >= self.num_turns, success
        )

    def _calls(self, turn: Int[Array, "..."], need: Int[Array, "..."]) -> Bool[Array, "..."]:
        """Whether the expert calls: while there is time for the answer too, or a reward for the step."""
        return (need > 0) & (self.process_reward | (need < self.num_turns - turn))

    def expert(self, state: State) -> Int[Array, " A"]:
        """The call that shows what is not yet seen; the answer once it is known; WAIT where it is too late."""
        need, links = self._calls_needed(state), state.seen[state.chain]
        value, addend = state.entry[state.chain[-1]], tokens.value(state.addend)
        look_up, answer = self._verbs
        call = self._action(look_up, tokens.entity(state.chain[jnp.argmin(links)]), tokens.END)
        if self.question == "sum":
            call = jnp.where(
                links.all(), self._action(tokens.CALC, value, tokens.PLUS, addend), call
            )
        total = tokens.value((self._value(state) + state.addend) % VALUES)
        idle = jnp.where(
            need == 0,
            self._action(answer, total, tokens.END),
            self._action(tokens.WAIT, tokens.END),
        )
        return jnp.where(self._calls(state.turn, need), call, idle)

    def _action(self, *words) -> Int[Array, " A"]:
        return jnp.stack([jnp.int32(word) for word in (*words, *[tokens.PAD] * (4 - len(words)))])

    def anchor(self, state: State) -> Int[Array, ""]:
        return identity(state.turn, state.seen, state.summed)

    def potential(self, state: State) -> Float[Array, ""]:
        """The expert's return from here, given the table and when the tool will fail (of which the expert knows nothing)."""
        turn = jnp.arange(self.num_turns)
        ahead = turn >= state.turn
        works = ahead & ~state.fails
        need = jnp.maximum(
            self._calls_needed(state) - (jnp.cumsum(works) - works), 0
        )  # before each turn to come
        calls = ahead & self._calls(turn, need)
        steps = PROCESS * jnp.sum(calls & works) if self.process_reward else 0.0
        return (jnp.any(ahead & (need == 0)) + steps - self.call_cost * jnp.sum(calls)).astype(
            jnp.float32
        )

    def is_key(self, state: State) -> Bool[Array, ""]:
        """Where a wrong answer, a useless call or a malformed action lowers the expert's return."""
        later = self.potential(state._replace(turn=state.turn + 1))
        waste = jnp.maximum(self.call_cost, PROCESS * self.process_reward)
        return self.potential(state) > jnp.minimum(0.0, later - waste) + 1e-6

    def longer(self, factor: int) -> "ToolChase":
        """The same task with a chain `factor` times as long, as many more turns, and a table that holds it."""
        depth = self.depth * factor
        return replace(
            self,
            depth=depth,
            num_turns=self.num_turns * factor,
            num_entries=max(self.num_entries, depth + 1),
        )

    def other_rule(self) -> "ToolChase":
        """The same task with the verbs LOOKUP and ANSWER exchanged, as the prompt says."""
        return replace(self, renamed=not self.renamed)

    def bounds(self) -> tuple[float, float]:
        """Failing calls or malformed actions to the end, and no call but those needed."""
        worst = max(self.call_cost, PROCESS * self.process_reward)
        steps = self._num_calls * (PROCESS * self.process_reward - self.call_cost)
        return -self.num_turns * worst, 1.0 + max(steps, 0.0)

    def render_prompt(self, prompt) -> str:
        start, look_up, answer = (tokens.text([t]) for t in prompt[1:4])
        question = f"what does {start} lead to" + (
            f", plus {prompt[4] - tokens.VALUE}" if self.question == "sum" else ""
        )
        return f"{question}? {look_up} asks, {answer} answers"

    def render_turn(self, observation, action) -> str:
        status, tool, result = observation
        said = "nothing yet" if tool == tokens.EMPTY else _text([result])
        words = _text(t for t in action if t not in (tokens.END, tokens.PAD))
        return f"{'error; ' if status == tokens.ERR else ''}{said} -> {words}"


def _text(ids) -> str:
    """As `tokens.text`, but values as numbers."""
    return " ".join(
        str(t - tokens.VALUE) if tokens.VALUE <= t < tokens.ENTITY else tokens.text([t])
        for t in ids
    )
