"""Follow pointers through a hidden table with a tool that sometimes fails.

The task tests tool calls under partial observability. An observation shows the tool's last result,
after `error` if the last action failed or was no call. Below are an episode at the default knobs,
and one that asks for a sum:

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

After agents that interleave calls and reasoning (ReAct, 2210.03629), and verifiable rewards for
their turns (2505.11821).
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
PROCESS = 0.1  # with process_reward, the reward of a step along the chain, and cost of an error


class State(NamedTuple):
    """The instance (table, chain, failures of the tool), and what the tool has shown."""

    entry: Int[Array, " N"]  # the table: the entity or value token that each key leads to
    chain: Int[Array, " D"]  # the keys from the start to the value
    addend: Int[Array, ""]  # the answer is the value plus this, modulo 16
    fails: Bool[Array, " T"]  # does the tool fail at this turn?
    turn: Int[Array, ""]
    seen: Bool[Array, " N"]  # has the tool shown this entry?
    summed: Bool[Array, ""]  # has the tool shown the sum?
    shown: Int[Array, "3"]  # the observation: OBS or ERR, and tool and value of the last result


@config
class ToolChase:
    """Look up the value that the prompt's key leads to, and answer with it: 1 if it is right.

    `LOOKUP n3` shows a key's entry, `CALC v3 PLUS v9` shows a sum modulo 16, and `ANSWER v12` ends
    the episode. Each action ends with END.

    The table is hidden: the expert looks up what it has not seen, and never guesses. A lucky guess
    can beat it, so that the potential, which is its return given table and failures, is no upper
    bound. A policy that sees a single turn (`markov`) knows enough on the expert's path; after any
    other look-up it must start the chain again.
    """

    hidden: ClassVar[bool] = True  # the expert may not see the table

    num_entries: OneToken = 8  # keys of the table
    depth: Count = 2  # look-ups from the start to the value
    num_turns: Count = 6  # turns before the episode is cut off
    question: Literal["value", "sum"] = "value"  # the value, or its sum with a number in the prompt
    # probability that the tool fails at a turn; it never fails more often than there are turns to
    # spare
    failure: Probability = 0.1
    call_cost: NonNegative = 0.0  # subtracted from the reward for each call
    # each turn is rewarded: 0.1 for a new step along the chain (or the sum), -0.1 for a malformed
    # action
    process_reward: bool = False
    renamed: bool = False  # LOOKUP and ANSWER have changed places, as the prompt says

    def __post_init__(self):
        allowed = f"at least 1 and below num_entries ({self.num_entries})"
        check(1 <= self.depth < self.num_entries, f"depth must be {allowed}, not {self.depth}.")

        least = self._num_calls + 1
        allowed = f"at least {least} (the calls and the answer)"
        check(self.num_turns >= least, f"num_turns must be {allowed}, not {self.num_turns}.")

        most = 0.5 * PROCESS
        allowed = f"0 to {most} (calls are worth it)"
        check(0 <= self.call_cost <= most, f"call_cost must be {allowed}, not {self.call_cost}.")

    @property
    def _num_calls(self) -> int:
        """The least number of calls that find the answer."""
        return self.depth + (self.question == "sum")

    @property
    def _verbs(self) -> tuple[int, int]:
        """The tokens that look up and that answer."""
        return (tokens.ANSWER, tokens.LOOKUP) if self.renamed else (tokens.LOOKUP, tokens.ANSWER)

    @property
    def spec(self) -> Spec:
        keys = range(tokens.ENTITY, tokens.ENTITY + self.num_entries)
        values = range(tokens.VALUE, tokens.VALUE + VALUES)
        sums = (tokens.CALC, tokens.PLUS) * (self.question == "sum")
        choices = (*keys, *values, tokens.LOOKUP, tokens.ANSWER, *sums, tokens.WAIT, tokens.END)
        return Spec(4 + (self.question == "sum"), 3, 4, self.num_turns, choices)

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        N, keys = self.num_entries, [jax.random.fold_in(key, i) for i in range(6)]
        chain = jax.random.permutation(keys[0], N)[: self.depth]
        pointer = tokens.entity(jax.random.randint(keys[1], (N,), 0, N))
        value = tokens.value(jax.random.randint(keys[2], (N,), 0, VALUES))
        distractor = jnp.where(jax.random.bernoulli(keys[3], 0.5, (N,)), pointer, value)
        entry = distractor.at[chain].set(jnp.append(tokens.entity(chain[1:]), value[0]))
        addend = jax.random.randint(keys[4], (), 0, VALUES) * (self.question == "sum")
        fails = jax.random.bernoulli(keys[5], self.failure, (self.num_turns,))
        fails &= jnp.cumsum(fails) <= self.num_turns - self._num_calls - 1
        shown = jnp.stack([jnp.int32(tokens.OBS), jnp.int32(tokens.EMPTY), tokens.entity(chain[0])])
        seen, no = jnp.zeros(N, bool), jnp.bool_(False)
        state = State(entry, chain, addend, fails, jnp.int32(0), seen, no, shown)
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
        """Returns how many calls must still work before the answer is known."""
        num_seen, has_sum = state.seen[state.chain].sum(), state.summed & (self.question == "sum")
        return self._num_calls - num_seen - has_sum

    def _parse(self, action: Int[Array, " A"]) -> tuple[Bool[Array, ""], ...]:
        """Returns whether an action looks up, sums, answers, or waits; else it is malformed."""
        verb, first, second, third = action
        look_up, answer = self._verbs
        closed = second == tokens.END
        is_key = (first >= tokens.ENTITY) & (first < tokens.ENTITY + self.num_entries)
        looks_up = (verb == look_up) & is_key & closed
        answers = (verb == answer) & _is_value(first) & closed
        are_numbers = _is_value(first) & (second == tokens.PLUS) & _is_value(third)
        sums = (verb == tokens.CALC) & are_numbers & (self.question == "sum")
        waits = (verb == tokens.WAIT) & (first == tokens.END)
        return looks_up, sums, answers, waits

    def step(
        self, key: PRNGKeyArray, state: State, action: Int[Array, " A"]
    ) -> tuple[State, TimeStep]:
        looks_up, sums, answers, waits = self._parse(action)
        _, first, _, third = action
        number = first - tokens.VALUE
        works = (looks_up | sums) & ~state.fails[jnp.minimum(state.turn, self.num_turns - 1)]
        slot = jnp.clip(first - tokens.ENTITY, 0, self.num_entries - 1)
        total = tokens.value((number + third - tokens.VALUE) % VALUES)
        tool = jnp.where(looks_up, self._verbs[0], tokens.CALC)
        result = jnp.where(looks_up, state.entry[slot], total)
        shown = jnp.where(works, jnp.stack([tokens.OBS, tool, result]), state.shown)
        shown = shown.at[0].set(jnp.where(works | waits, tokens.OBS, tokens.ERR))
        right_sum = (number == self._value(state)) & (third - tokens.VALUE == state.addend)
        after = state._replace(
            turn=jnp.where(answers, self.num_turns, state.turn + 1),
            seen=state.seen.at[slot].max(works & looks_up),
            summed=state.summed | works & sums & right_sum,
            shown=shown,
        )
        success = answers & (number == (self._value(state) + state.addend) % VALUES)
        reward = success - self.call_cost * (looks_up | sums)
        if self.process_reward:
            malformed = ~(looks_up | sums | answers | waits)
            reward += PROCESS * (self._calls_needed(state) - self._calls_needed(after) - malformed)
        done = after.turn >= self.num_turns
        return after, TimeStep(shown, reward.astype(jnp.float32), done, success)

    def _calls(self, turn: Int[Array, "..."], need: Int[Array, "..."]) -> Bool[Array, "..."]:
        """Returns whether the expert calls: if it can still answer, or the call itself pays."""
        return (need > 0) & (self.process_reward | (need < self.num_turns - turn))

    def expert(self, state: State) -> Int[Array, " A"]:
        """Returns a call for what is not yet seen, or the answer, or WAIT if it is too late."""
        need, links = self._calls_needed(state), state.seen[state.chain]
        value, addend = state.entry[state.chain[-1]], tokens.value(state.addend)
        look_up, answer = self._verbs
        call = self._action(look_up, tokens.entity(state.chain[jnp.argmin(links)]), tokens.END)
        if self.question == "sum":
            call = jnp.where(
                links.all(), self._action(tokens.CALC, value, tokens.PLUS, addend), call
            )
        total = tokens.value((self._value(state) + state.addend) % VALUES)
        answers = self._action(answer, total, tokens.END)
        waits = self._action(tokens.WAIT, tokens.END)
        return jnp.where(self._calls(state.turn, need), call, jnp.where(need == 0, answers, waits))

    def _action(self, *words) -> Int[Array, " A"]:
        return jnp.stack([jnp.int32(word) for word in (*words, *[tokens.PAD] * (4 - len(words)))])

    def anchor(self, state: State) -> Int[Array, ""]:
        return identity(state.turn, state.seen, state.summed)

    def potential(self, state: State) -> Float[Array, ""]:
        """Returns the expert's return from the state on, given table and failures.

        The expert itself knows neither of them.
        """
        turn = jnp.arange(self.num_turns)
        ahead = turn >= state.turn
        works = ahead & ~state.fails
        worked_before = jnp.cumsum(works) - works
        need = jnp.maximum(self._calls_needed(state) - worked_before, 0)  # before each turn
        calls = ahead & self._calls(turn, need)
        steps = PROCESS * jnp.sum(calls & works) if self.process_reward else 0.0
        succeeds = jnp.any(ahead & (need == 0))
        return (succeeds + steps - self.call_cost * jnp.sum(calls)).astype(jnp.float32)

    def is_key(self, state: State) -> Bool[Array, ""]:
        """Returns whether a wrong answer, a useless call or an error lowers the return."""
        later = self.potential(state._replace(turn=state.turn + 1))
        waste = jnp.maximum(self.call_cost, PROCESS * self.process_reward)
        return self.potential(state) > jnp.minimum(0.0, later - waste) + 1e-6

    def longer(self, factor: int) -> "ToolChase":
        """Returns the task with chain and turns `factor` times as long, and a table that fits."""
        depth, num_turns = self.depth * factor, self.num_turns * factor
        num_entries = max(self.num_entries, depth + 1)
        return replace(self, depth=depth, num_turns=num_turns, num_entries=num_entries)

    def other_rule(self) -> "ToolChase":
        """Returns the task with the verbs LOOKUP and ANSWER exchanged, as the prompt says."""
        return replace(self, renamed=not self.renamed)

    def bounds(self) -> tuple[float, float]:
        """Returns the returns of errors to the end, and of only the calls that are needed."""
        worst = max(self.call_cost, PROCESS * self.process_reward)
        steps = self._num_calls * (PROCESS * self.process_reward - self.call_cost)
        return -self.num_turns * worst, 1.0 + max(steps, 0.0)

    def render_prompt(self, prompt) -> str:
        start, look_up, answer = (tokens.text([t]) for t in prompt[1:4])
        addend = f", plus {prompt[4] - tokens.VALUE}" if self.question == "sum" else ""
        return f"what does {start} lead to{addend}? {look_up} asks, {answer} answers"

    def render_turn(self, observation, action) -> str:
        status, tool, result = observation
        last = "nothing yet" if tool == tokens.EMPTY else _text([result])
        words = _text(t for t in action if t not in (tokens.END, tokens.PAD))
        return f"{'error; ' if status == tokens.ERR else ''}{last} -> {words}"


def _is_value(token):
    return (token >= tokens.VALUE) & (token < tokens.VALUE + VALUES)


def _text(ids) -> str:
    """Returns the names of tokens, with values as numbers."""
    return " ".join(str(t - tokens.VALUE) if _is_value(t) else tokens.text([t]) for t in ids)
