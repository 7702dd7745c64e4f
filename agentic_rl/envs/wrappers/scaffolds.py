"""Asks a policy to reach the goal of a to-do list in three ways.

`Once` asks for a list and carries it out, `Question` asks a single question, and `BabyAGI` runs the
outer loop of that agent. Each wraps `Todo`, keeps its prompt, observations and actions, and is a
task itself, so that any policy runs in any of them, whether it was trained there or not. (The loop
of AutoGPT over its whole history, with an answer to every action, is `Todo` itself.)

>>> from agentic_rl.envs.todo import Todo
>>> from agentic_rl.rollout.transcript import transcript
>>> print(transcript(Once(Todo()), problem=0))
make n1, where n0 needs nothing; n1 needs n0; n2 needs n0; n3 needs n0; n4 needs n3
the list? -> n0 n1
success, return 1.0
>>> print(transcript(Question(Todo()), problem=1))
make n0, where n0 needs n1 n3; n1 needs n4; n2 needs n3; n3 needs nothing; n4 needs n3
ok, done: n3 n4, the list? -> n1 n0
success, return 1.0
>>> print(transcript(BabyAGI(Todo()), problem=0))
make n1, where n0 needs nothing; n1 needs n0; n2 needs n0; n3 needs n0; n4 needs n3
the list? -> n0 n1
ok, done: nothing, next: n0 -> n0
ok, done: n0, the list? -> n1
ok, done: n0, next: n1 -> n1
ok, done: n0 n1, the list? -> nothing
success, return 1.0
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from agentic_rl import tokens
from agentic_rl.config import check, config
from agentic_rl.envs import todo
from agentic_rl.envs.parts.identity import identity
from agentic_rl.envs.todo import Todo
from agentic_rl.types import Spec, State, TimeStep, restart


@config
class Scaffold:
    """The base of the scaffolds, which keep the prompt and the words of the inner task."""

    task: Todo = Todo()  # the list and its items

    def __post_init__(self):
        mode = self.task.plan_mode
        sentence = f"In a scaffold the policy writes the list: use plan_mode free, not {mode}."
        check(mode == "free", sentence)

    def prompt(self, state: State) -> Int[Array, " P"]:
        return self.task.prompt(self._inner(state))

    def _inner(self, state: State) -> todo.State:
        """Returns the inner task's state."""
        return state

    def expert(self, state: State) -> Int[Array, " A"]:
        return self.task.expert(self._inner(state))

    def anchor(self, state: State) -> Int[Array, ""]:
        return self.task.anchor(self._inner(state))

    def potential(self, state: State) -> Float[Array, ""]:
        """Returns the expert's return from the state on, if the episode is not over."""
        return self.task.potential(self._inner(state))

    def is_key(self, state: State) -> Bool[Array, ""]:
        """Returns True, since every answer counts."""
        return jnp.bool_(True)

    def longer(self, factor: int) -> Any:
        """Returns the scaffold around items that take `factor` times the work."""
        return type(self)(self.task.longer(factor))

    def bounds(self) -> tuple[float, float]:
        """Returns the returns of failure and success."""
        return 0.0, 1.0

    def render_prompt(self, prompt) -> str:
        return self.task.render_prompt(prompt)

    def render_turn(self, observation, action) -> str:
        return self.task.render_turn(observation, action)


@config
class Once(Scaffold):
    """Prompts once: the policy writes the list, which is then carried out as it stands."""

    @property
    def spec(self) -> Spec:
        return self.task.spec._replace(num_turns=1)

    def reset(self, key: PRNGKeyArray) -> tuple[todo.State, TimeStep]:
        return self.task.reset(key)

    def step(
        self, key: PRNGKeyArray, state: todo.State, action: Int[Array, " A"]
    ) -> tuple[todo.State, TimeStep]:
        state, step = self.task.step(key, state, action)
        items = jnp.append(jnp.repeat(state.plan, self.task.steps), self.task.num_items)

        def work(carry, item):
            state, step = carry
            word = jnp.where(item < self.task.num_items, tokens.entity(item), tokens.DONE)
            after = self.task.step(key, state, self.task.single_word(word))
            return jax.tree.map(lambda new, old: jnp.where(step.done, old, new), after, carry), None

        (state, step), _ = jax.lax.scan(work, (state, step), items)
        return state, step._replace(done=jnp.bool_(True))


class QuestionState(NamedTuple):
    """A question about a state of the inner task, and the turn, which is 1 once it is answered."""

    inner: todo.State
    lists: Bool[Array, ""]  # is the remaining list asked for, and not the next action?
    turn: Int[Array, ""]


@config
class Question(Scaffold):
    """Asks a single question, in a context of its own, about a state that the expert came through.

    The question is what is left to do, or what to do next. The answer is right if it is the
    expert's.
    """

    @property
    def spec(self) -> Spec:
        return self.task.spec._replace(num_turns=1)

    def _inner(self, state: QuestionState) -> todo.State:
        return state.inner

    def reset(self, key: PRNGKeyArray) -> tuple[QuestionState, TimeStep]:
        start, count, kind = (jax.random.fold_in(key, i) for i in range(3))
        count = jax.random.randint(count, (), 0, self.task.spec.num_turns - 1)

        def play(carry, i):
            state, _ = carry
            after, step = self.task.step(key, state, self.task.expert(state))
            goes_on = (i < count) & ~step.done
            return jax.tree.map(
                lambda new, old: jnp.where(goes_on, new, old), (after, step), carry
            ), None

        turns = jnp.arange(self.task.spec.num_turns)
        (inner, step), _ = jax.lax.scan(play, self.task.reset(start), turns)
        lists = (inner.turn == 0) | jax.random.bernoulli(kind)
        state, observation = QuestionState(inner, lists, jnp.int32(0)), step.observation
        return state, restart(prompt_for(observation, lists))

    def expert(self, state: QuestionState) -> Int[Array, " A"]:
        rest, action = remaining_items(self.task, state.inner), self.task.expert(state.inner)
        return jnp.where(state.lists, rest, action)

    def step(
        self, key: PRNGKeyArray, state: QuestionState, action: Int[Array, " A"]
    ) -> tuple[QuestionState, TimeStep]:
        answer = self.expert(state)
        counts = jnp.cumsum(answer == tokens.END) - (answer == tokens.END) == 0
        right = jnp.all((action == answer) | ~counts) & (state.turn == 0)
        _, step = self.task.step(key, state.inner, action)
        return state._replace(turn=state.turn + 1), TimeStep(
            step.observation, right.astype(jnp.float32), jnp.bool_(True), right
        )

    def anchor(self, state: QuestionState) -> Int[Array, ""]:
        return identity(self.task.anchor(state.inner), state.lists, state.turn)

    def potential(self, state: QuestionState) -> Float[Array, ""]:
        """Returns the expert's return from the state on."""
        return jnp.where(state.turn == 0, 1.0, 0.0)

    def is_key(self, state: QuestionState) -> Bool[Array, ""]:
        """Returns True until the only question is answered."""
        return state.turn == 0


class LoopState(NamedTuple):
    """The inner task's state, and the outer loop's own memory."""

    inner: todo.State
    queue: Int[Array, " M"]  # items to do, in order; M: none
    lists: Bool[Array, ""]  # does the next prompt ask for a list, and not for an action?
    created: Int[Array, ""]  # number of items that lists after the first one added


@config
class BabyAGI(Scaffold):
    """Runs the loop of BabyAGI (Nakajima 2023), which works on one item and then asks for new ones.

    The policy writes a list. It is prompted with the first item until that is done or fails, which
    takes it off the list. Then the policy is asked again what is left: the items that it names come
    first, in its order, followed by what the list still held. The loop ends with an empty list.
    Only actions take turns of the inner task. A markov context gives each prompt a fresh context.
    """

    @property
    def spec(self) -> Spec:
        spec = self.task.spec
        return spec._replace(num_turns=2 * spec.num_turns)

    def _inner(self, state: LoopState) -> todo.State:
        return state.inner

    def reset(self, key: PRNGKeyArray) -> tuple[LoopState, TimeStep]:
        inner, step = self.task.reset(key)
        return LoopState(inner, inner.plan, jnp.bool_(True), jnp.int32(0)), step

    def step(
        self, key: PRNGKeyArray, state: LoopState, action: Int[Array, " A"]
    ) -> tuple[LoopState, TimeStep]:
        moves = ~state.lists | (state.inner.turn == 0)
        inner, step = self.task.step(key, state.inner, action)
        inner = jax.tree.map(lambda new, old: jnp.where(moves, new, old), inner, state.inner)
        M, first = self.task.num_items, state.queue[0]
        is_done = inner.work[jnp.minimum(first, M - 1)] >= self.task.steps
        leaves = is_done | (inner.status == tokens.ERR)
        rest = jnp.where(leaves, jnp.append(state.queue[1:], M), state.queue)
        queue = jnp.where(state.lists, self._merge(action, state.queue), rest)
        created = (queue < M).sum() - (state.queue < M).sum()
        created = state.created + jnp.where(state.lists & (state.inner.turn > 0), created, 0)
        over = step.done & moves | state.lists & (queue[0] == M)
        after = LoopState(inner, queue, ~state.lists & leaves, created)
        success = over & (inner.work[inner.order[-1]] >= self.task.steps)
        return after, TimeStep(self._observe(after), success.astype(jnp.float32), over, success)

    def _merge(self, action: Int[Array, " A"], queue: Int[Array, " M"]) -> Int[Array, " M"]:
        """Returns the items that the action lists, then those that were queued.

        An action that is no list adds nothing.
        """
        M = self.task.num_items
        counts = jnp.cumsum(action == tokens.END) == 0
        item = action - tokens.ENTITY
        readable = jnp.all(~counts | (item >= 0) & (item < M))
        both = jnp.concatenate([jnp.where(counts & readable, item, M), queue])
        is_at = both == jnp.arange(M)[:, None]
        place = jnp.where(is_at.any(1), jnp.argmax(is_at, axis=1), len(both))
        order = jnp.argsort(place)
        return jnp.where(place[order] < len(both), order, M)

    def _observe(self, state: LoopState) -> Int[Array, " O"]:
        M = self.task.num_items
        seen = self.task.observe(state.inner._replace(plan=jnp.full_like(state.queue, M)))
        first = jnp.where(state.queue[0] < M, tokens.entity(state.queue[0]), tokens.EMPTY)
        return prompt_for(seen.at[2].set(jnp.where(state.lists, tokens.EMPTY, first)), state.lists)

    def expert(self, state: LoopState) -> Int[Array, " A"]:
        follows_queue = state.inner._replace(plan=state.queue, replans=jnp.int32(0))
        rest = remaining_items(self.task, state.inner)
        return jnp.where(state.lists, rest, self.task.expert(follows_queue))

    def anchor(self, state: LoopState) -> Int[Array, ""]:
        return identity(self.task.anchor(state.inner), state.queue, state.lists)


def remaining_items(task: Todo, state: todo.State) -> Int[Array, " A"]:
    """Returns the list of all items that are known to be needed and not done."""
    known = jnp.where(state.finished >= state.event, state.needed, state.needed_at_first)
    return task.list_items(state, known & (state.work < task.steps))[: task.num_items]


def prompt_for(observation: Int[Array, " O"], lists: Bool[Array, ""]) -> Int[Array, " O"]:
    """Returns the observation as a prompt for a list, which names no item, or for an action."""
    prompt = observation.at[0].set(tokens.THINK).at[2].set(tokens.EMPTY)
    return jnp.where(lists, prompt, observation)
