"""Ways to put the goal of a to-do list before a policy: asked once, one question at a time, or in the outer loop of BabyAGI.

Each wraps `Todo`, keeps its prompt, observations and actions, and is a task itself, so that any policy runs in any of them, trained
there or not. (AutoGPT's loop over its whole history, in which the world answers every action, is the task as it is.)

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
from agentic_rl.types import Spec, State, TimeStep


@config
class Scaffold:
    """What the scaffolds share: the inner task, its prompt and its words."""

    task: Todo = Todo()

    def __post_init__(self):
        check(
            self.task.plan_mode == "free",
            f"In a scaffold the policy writes the list: use plan_mode free, not {self.task.plan_mode}.",
        )

    def prompt(self, state: State) -> Int[Array, " P"]:
        return self.task.prompt(self._inner(state))

    def _inner(self, state: State) -> todo.State:
        """The inner task's state."""
        return state

    def expert(self, state: State) -> Int[Array, " A"]:
        return self.task.expert(self._inner(state))

    def anchor(self, state: State) -> Int[Array, ""]:
        return self.task.anchor(self._inner(state))

    def potential(self, state: State) -> Float[Array, ""]:
        """The expert's return from here, if it is not over."""
        return self.task.potential(self._inner(state))

    def is_key(self, state: State) -> Bool[Array, ""]:
        """Every answer counts."""
        return jnp.bool_(True)

    def longer(self, factor: int) -> Any:
        """The same scaffold around items that take `factor` times the work."""
        return type(self)(self.task.longer(factor))

    def bounds(self) -> tuple[float, float]:
        """Failure and success."""
        return 0.0, 1.0

    def render_prompt(self, prompt) -> str:
        return self.task.render_prompt(prompt)

    def render_turn(self, observation, action) -> str:
        return self.task.render_turn(observation, action)


@config
class Once(Scaffold):
    """Prompted once: the list is all that the policy says, and somebody carries it out as it stands."""

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
            after = self.task.step(key, state, single_word(self.task, word))
            return jax.tree.map(lambda new, old: jnp.where(step.done, old, new), after, carry), None

        (state, step), _ = jax.lax.scan(work, (state, step), items)
        return state, step._replace(done=jnp.bool_(True))


class Asked(NamedTuple):
    """A question: a state of the world, and whether the remaining list is asked for, or the next action."""

    inner: todo.State
    lists: Bool[Array, ""]
    turn: Int[Array, ""]


@config
class Question(Scaffold):
    """A single question, in a context of its own, about a state that the expert came through: what is left to do, or what to do next?

    The answer is right if it is the expert's.
    """

    @property
    def spec(self) -> Spec:
        return self.task.spec._replace(num_turns=1)

    def _inner(self, state: Asked) -> todo.State:
        return state.inner

    def reset(self, key: PRNGKeyArray) -> tuple[Asked, TimeStep]:
        start, count, kind = (jax.random.fold_in(key, i) for i in range(3))
        count = jax.random.randint(count, (), 0, self.task.spec.num_turns - 1)

        def play(carry, i):
            state, _ = carry
            after, step = self.task.step(key, state, self.task.expert(state))
            return jax.tree.map(
                lambda new, old: jnp.where((i < count) & ~step.done, new, old), (after, step), carry
            ), None

        (inner, step), _ = jax.lax.scan(
            play, self.task.reset(start), jnp.arange(self.task.spec.num_turns)
        )
        lists = (inner.turn == 0) | jax.random.bernoulli(kind)
        return Asked(inner, lists, jnp.int32(0)), step._replace(
            observation=prompt_for(step.observation, lists), reward=jnp.float32(0)
        )

    def expert(self, state: Asked) -> Int[Array, " A"]:
        return jnp.where(
            state.lists, remaining_items(self.task, state.inner), self.task.expert(state.inner)
        )

    def step(
        self, key: PRNGKeyArray, state: Asked, action: Int[Array, " A"]
    ) -> tuple[Asked, TimeStep]:
        answer = self.expert(state)
        counts = jnp.cumsum(answer == tokens.END) - (answer == tokens.END) == 0
        right = jnp.all((action == answer) | ~counts) & (state.turn == 0)
        _, step = self.task.step(key, state.inner, action)
        return state._replace(turn=state.turn + 1), TimeStep(
            step.observation, right.astype(jnp.float32), jnp.bool_(True), right
        )

    def anchor(self, state: Asked) -> Int[Array, ""]:
        return identity(self.task.anchor(state.inner), state.lists, state.turn)

    def potential(self, state: Asked) -> Float[Array, ""]:
        """The expert's return from here."""
        return jnp.where(state.turn == 0, 1.0, 0.0)

    def is_key(self, state: Asked) -> Bool[Array, ""]:
        """The one question there is."""
        return state.turn == 0


class Loop(NamedTuple):
    """The world, and the outer loop's own memory."""

    inner: todo.State
    queue: Int[Array, " M"]  # items to be done, first things first; M: nothing
    lists: Bool[Array, ""]  # the next prompt asks for a list, not for an action
    created: Int[Array, ""]  # items that lists after the first one added


@config
class BabyAGI(Scaffold):
    """The loop of BabyAGI (Nakajima 2023): the first item of a list is done, each prompt in a fresh context; then new tasks are asked for.

    The policy writes a list, whose first item is put before it until it is done or fails, which takes it off the list. Then it is asked
    again what is left: what it names comes first, in its order, then what the list still held. When the list is empty, the loop ends.
    Only actions take the world's time. For fresh contexts give the policy a markov context.
    """

    @property
    def spec(self) -> Spec:
        spec = self.task.spec
        return spec._replace(num_turns=2 * spec.num_turns)

    def _inner(self, state: Loop) -> todo.State:
        return state.inner

    def reset(self, key: PRNGKeyArray) -> tuple[Loop, TimeStep]:
        inner, step = self.task.reset(key)
        return Loop(inner, inner.plan, jnp.bool_(True), jnp.int32(0)), step

    def step(
        self, key: PRNGKeyArray, state: Loop, action: Int[Array, " A"]
    ) -> tuple[Loop, TimeStep]:
        moves = ~state.lists | (state.inner.turn == 0)
        inner, step = self.task.step(key, state.inner, action)
        inner = jax.tree.map(lambda new, old: jnp.where(moves, new, old), inner, state.inner)
        first = state.queue[0]
        leaves = (inner.work[jnp.minimum(first, self.task.num_items - 1)] >= self.task.steps) | (
            inner.status == tokens.ERR
        )
        rest = jnp.where(leaves, jnp.append(state.queue[1:], self.task.num_items), state.queue)
        queue = jnp.where(state.lists, self._merge(action, state.queue), rest)
        created = (queue < self.task.num_items).sum() - (state.queue < self.task.num_items).sum()
        created = state.created + jnp.where(state.lists & (state.inner.turn > 0), created, 0)
        over = step.done & moves | state.lists & (queue[0] == self.task.num_items)
        after = Loop(inner, queue, ~state.lists & leaves, created)
        success = over & (inner.work[inner.order[-1]] >= self.task.steps)
        return after, TimeStep(self._observe(after), success.astype(jnp.float32), over, success)

    def _merge(self, action: Int[Array, " A"], queue: Int[Array, " M"]) -> Int[Array, " M"]:
        """What the action lists, then what else was queued; an unreadable action lists nothing."""
        M = self.task.num_items
        counts = jnp.cumsum(action == tokens.END) == 0
        item = action - tokens.ENTITY
        readable = jnp.all(~counts | (item >= 0) & (item < M))
        both = jnp.concatenate([jnp.where(counts & readable, item, M), queue])
        place = jnp.argmax(both == jnp.arange(M)[:, None], axis=1)
        place = jnp.where((both == jnp.arange(M)[:, None]).any(1), place, len(both))
        order = jnp.argsort(place)
        return jnp.where(place[order] < len(both), order, M)

    def _observe(self, state: Loop) -> Int[Array, " O"]:
        seen = self.task.observe(
            state.inner._replace(plan=jnp.full_like(state.queue, self.task.num_items))
        )
        first = jnp.where(
            state.queue[0] < self.task.num_items, tokens.entity(state.queue[0]), tokens.EMPTY
        )
        return prompt_for(seen.at[2].set(jnp.where(state.lists, tokens.EMPTY, first)), state.lists)

    def expert(self, state: Loop) -> Int[Array, " A"]:
        return jnp.where(
            state.lists,
            remaining_items(self.task, state.inner),
            self.task.expert(state.inner._replace(plan=state.queue, replans=jnp.int32(0))),
        )

    def anchor(self, state: Loop) -> Int[Array, ""]:
        return identity(self.task.anchor(state.inner), state.queue, state.lists)


def single_word(task: Todo, word: Int[Array, ""]) -> Int[Array, " A"]:
    """The action of one word."""
    return jnp.full(task.num_items, tokens.PAD).at[:2].set(jnp.stack([word, jnp.int32(tokens.END)]))


def remaining_items(task: Todo, state: todo.State) -> Int[Array, " A"]:
    """The list of what is known to be needed and not done."""
    known = jnp.where(state.finished >= state.event, state.needed, state.needed_at_first) & (
        state.work < task.steps
    )
    return task.list_items(state, known)[: task.num_items]


def prompt_for(observation: Int[Array, " O"], lists: Bool[Array, ""]) -> Int[Array, " O"]:
    """The observation as a prompt for a list, or for an action; that for a list names no item."""
    return jnp.where(
        lists, observation.at[0].set(tokens.THINK).at[2].set(tokens.EMPTY), observation
    )
