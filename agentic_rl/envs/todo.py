"""Write the to-do list, then tackle each item: planning and execution apart, and plans that the world overtakes.

One episode at the default knobs, and one in which an event adds a prerequisite that no recipe told; the first action is the
list, each later one does an item, and an observation shows the list's next item, how the last action went and what is done:

>>> from agentic_rl.rollout.transcript import transcript
>>> print(transcript(Todo(), problem=0))
make n1, where n0 needs nothing; n1 needs n0; n2 needs n0; n3 needs n0; n4 needs n3
the list? -> n0 n1
ok, done: nothing, next: n0 -> n0
ok, done: n0, next: n1 -> n1
ok, done: n0 n1, next: nothing -> DONE
success, return 1.0
>>> print(transcript(Todo(events=True), problem=1))
make n2, where n0 needs nothing; n1 needs n0; n2 needs n1; n3 needs n0; n4 needs n0 n1
the list? -> n0 n1 n2
ok, done: nothing, next: n0 -> n0
ok, the goal needs n3 too, done: n0, next: n1 -> n1
ok, the goal needs n3 too, done: n0 n1, next: n2 -> REPLAN n3 n2
ok, the goal needs n3 too, done: n0 n1 n3, next: n2 -> n2
ok, the goal needs n3 too, done: n0 n1 n2 n3, next: nothing -> DONE
success, return 1.0

After the task lists of BabyAGI and plan-and-solve prompting (2305.04091): whether planning or execution fails is told apart by
who writes the list (`plan_mode`).
"""

from dataclasses import replace
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from agentic_rl import tokens
from agentic_rl.config import check, config
from agentic_rl.config.ranges import Count, Natural, NonNegative, Range
from agentic_rl.envs.parts.identity import identity
from agentic_rl.types import Spec, TimeStep, restart


class State(NamedTuple):
    """The instance (items in an order that works, whose last is the goal; recipes; event), the list and what is done."""

    order: Int[Array, " M"]
    recipe: Int[
        Array, "M 3"
    ]  # what each item needs; M: nothing; the third is the goal's hidden prerequisite
    needed_at_first: Bool[
        Array, " M"
    ]  # what the goal needs by the recipes told in the prompt, the goal included
    needed: Bool[Array, " M"]  # what it needs in truth
    event: Int[Array, ""]  # comes when this many items have been finished; 0: never
    turn: Int[Array, ""]
    plan: Int[Array, " M"]  # the list; M: nothing
    replans: Int[Array, ""]  # left
    work: Int[Array, " M"]  # turns spent on each item
    finished: Int[Array, ""]  # items, also those that came undone
    status: Int[Array, ""]  # of the last action, a token


@config
class Todo:
    """Do the items that the goal needs, each after its prerequisites, then the goal, then say DONE: 1 if the goal is done then.

    `n3 END` works on an item (ERR if it is done, or a prerequisite is not), `REPLAN n3 n5 END` rewrites the list and works on its
    first item; what stands behind END is not read. Nobody must follow the list: it saves an executor, who sees the first of its
    items that is not done, from finding out what comes next.
    plan_mode: who writes the list: the policy in the first turn (`free`), the expert (`given`), chance (`random`), or nobody
    (`none`: then there is nothing to rewrite).
    """

    num_items: Annotated[int, Range(2, 8)] = 5
    steps: Count = 1  # turns of work that an item takes
    slack: Natural = 2  # turns to spare
    events: bool = False  # once per episode, an item just finished comes undone, or the goal needs one more item (told at once)
    max_replan: Annotated[int, Range(0, 15, why="it is shown as one token")] = 2
    turn_cost: NonNegative = 0.0
    plan_mode: Literal["free", "given", "random", "none"] = "free"

    def __post_init__(self):
        most = 1 / self.spec.num_turns
        check(
            0 <= self.turn_cost <= most,
            f"turn_cost must be 0 to 1 / turns ({most:.3g}: success is worth it), not {self.turn_cost}.",
        )

    @property
    def spec(self) -> Spec:
        items = tuple(range(tokens.ENTITY, tokens.ENTITY + self.num_items))
        turns = (
            (self.plan_mode == "free") + self.num_items * self.steps + self.events + 1 + self.slack
        )
        choices = items + (tokens.END, tokens.REPLAN, tokens.DONE)
        return Spec(2 + 3 * self.num_items, 5 + self.num_items, self.num_items, turns, choices)

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        M = self.num_items
        order, needs, second, hidden, kind, when, plan = (
            jax.random.fold_in(key, i) for i in range(7)
        )
        order = jax.random.permutation(order, M)
        place = jnp.arange(M)[:, None]
        needs = jnp.floor(jax.random.uniform(needs, (M, 2)) * place).astype(
            jnp.int32
        )  # of earlier places
        absent = (place == 0) | jnp.stack(
            [
                jnp.zeros(M, bool),
                jax.random.bernoulli(second, 0.5, (M,)) | (needs[:, 0] == needs[:, 1]),
            ],
            1,
        )
        recipe = jnp.full((M, 3), M).at[order, :2].set(jnp.where(absent, M, order[needs]))
        goal, told = order[-1], self._ancestors(recipe, order[-1])
        spare = ~told & self.events & jax.random.bernoulli(kind)
        extra = jnp.where(
            spare.any(), jnp.argmax(spare * jax.random.uniform(hidden, (M,), minval=0.5)), M
        )
        recipe = recipe.at[goal, 2].set(extra)
        event = jax.random.randint(when, (), 1, told.sum()) if self.events else jnp.int32(0)
        none, zero = jnp.full(M, M), jnp.int32(0)
        state = State(
            order, recipe, told, self._ancestors(recipe, goal), event, turn=zero, plan=none, work=jnp.zeros(M, jnp.int32),
            replans=jnp.int32(self.max_replan * (self.plan_mode != "none")), finished=zero, status=jnp.int32(tokens.EMPTY),
        )  # fmt: skip
        given = self.list_items(state, told)[:M] - tokens.ENTITY
        plans = {
            "given": jnp.where(given >= 0, given, M),
            "random": jax.random.permutation(plan, M),
        }
        state = state._replace(plan=plans.get(self.plan_mode, none))
        return state, restart(self.observe(state))

    def _ancestors(self, recipe: Int[Array, "M 3"], goal: Int[Array, ""]) -> Bool[Array, " M"]:
        """What `goal` needs by `recipe`, itself included."""
        item = jnp.arange(self.num_items)
        needs = (recipe[:, :, None] == item).any(axis=1)
        found = item == goal
        for _ in range(self.num_items - 1):
            found |= (found[:, None] & needs).any(axis=0)
        return found

    def list_items(self, state: State, items: Bool[Array, " M"]) -> Int[Array, " L"]:
        """The tokens of `items` in an order that works, then END."""
        listed, place = items[state.order], jnp.arange(self.num_items + 1)
        first = state.order[jnp.argsort(~listed, stable=True)]
        rest = jnp.where(place == listed.sum(), tokens.END, tokens.PAD)
        return jnp.where(place < listed.sum(), tokens.entity(jnp.append(first, 0)), rest)

    def prompt(self, state: State) -> Int[Array, " P"]:
        items = jnp.concatenate(
            [jnp.arange(self.num_items)[:, None], state.recipe[:, :2]], axis=1
        ).ravel()
        return jnp.concatenate(
            [jnp.stack([jnp.int32(tokens.BOS), tokens.entity(state.order[-1])]), self._token(items)]
        )

    def _token(self, item: Int[Array, "..."]) -> Int[Array, "..."]:
        return jnp.where(item < self.num_items, tokens.entity(item), tokens.EMPTY)

    def _plans(self, state: State) -> Bool[Array, ""]:
        """It is the turn to write the list."""
        return (state.turn == 0) & (self.plan_mode == "free")

    def _is_done(self, state: State) -> Bool[Array, " L"]:
        """Each item, and True for nothing."""
        return jnp.append(state.work >= self.steps, True)

    def _next(self, state: State) -> Int[Array, ""]:
        """The first item of the list that is not done."""
        left = ~self._is_done(state)[state.plan]
        return jnp.where(left.any(), state.plan[jnp.argmax(left)], self.num_items)

    def observe(self, state: State) -> Int[Array, " O"]:
        marker = jnp.where(self._plans(state), tokens.THINK, tokens.ACT)
        extra = jnp.where(
            state.finished >= state.event, state.recipe[state.order[-1], 2], self.num_items
        )
        head = jnp.stack(
            [
                marker,
                state.status,
                self._token(self._next(state)),
                tokens.value(state.replans),
                self._token(extra),
            ]
        )
        return jnp.concatenate(
            [head, jnp.where(self._is_done(state)[:-1], tokens.OK, tokens.EMPTY)]
        )

    def step(
        self, key: PRNGKeyArray, state: State, action: Int[Array, " A"]
    ) -> tuple[State, TimeStep]:
        return self._move(state, action)

    def _move(self, state: State, action: Int[Array, " A"]) -> tuple[State, TimeStep]:
        plans, is_done, M = self._plans(state), self._is_done(state), self.num_items
        listed = jnp.where(plans, action, jnp.append(action[1:], tokens.END))
        before_end = jnp.cumsum(listed == tokens.END) == 0
        is_list = jnp.all(self._is_item(listed) | ~before_end) & before_end[0]
        replans = ~plans & (action[0] == tokens.REPLAN) & is_list & (state.replans > 0)
        alone = ~plans & (action[1] == tokens.END)
        acts, stops = replans | alone & self._is_item(action[0]), alone & (action[0] == tokens.DONE)

        item = jnp.clip(jnp.where(replans, listed[0], action[0]) - tokens.ENTITY, 0, M - 1)
        works = acts & ~is_done[item] & is_done[state.recipe[item]].all()
        finishes = works & (state.work[item] == self.steps - 1)
        undone = finishes & (state.finished + 1 == state.event) & ~self._has_hidden(state)
        status = jnp.where(
            undone, tokens.UNDO, jnp.where(works | plans & is_list, tokens.OK, tokens.ERR)
        )
        plan = jnp.where(
            replans | plans & is_list, jnp.where(before_end, listed - tokens.ENTITY, M), state.plan
        )
        turn = jnp.where(stops, self.spec.num_turns, state.turn + 1)
        after = state._replace(
            turn=turn, plan=plan, replans=state.replans - replans, work=state.work.at[item].add(works & ~undone),
            finished=state.finished + finishes, status=status,
        )  # fmt: skip
        success = stops & is_done[state.order[-1]]
        reward = (success - self.turn_cost).astype(jnp.float32)
        return after, TimeStep(self.observe(after), reward, turn >= self.spec.num_turns, success)

    def _is_item(self, token: Int[Array, "..."]) -> Bool[Array, "..."]:
        return (token >= tokens.ENTITY) & (token < tokens.ENTITY + self.num_items)

    def _has_hidden(self, state: State) -> Bool[Array, ""]:
        return state.recipe[state.order[-1], 2] < self.num_items

    def _turns_needed(self, state: State) -> Int[Array, ""]:
        """The least number of turns to success. An event costs the same whatever is done, so knowing it would not help."""
        work = jnp.sum((self.steps - state.work) * state.needed)
        return (
            self._plans(state)
            + work
            + ((state.finished < state.event) & ~self._has_hidden(state))
            + 1
        )

    def expert(self, state: State) -> Int[Array, " A"]:
        """Follows the list where its next item is right, else rewrites it while it may; gives up with DONE where it is too late."""
        is_done, following = self._is_done(state), self._next(state)
        known = (
            jnp.where(state.finished >= state.event, state.needed, state.needed_at_first)
            & ~is_done[:-1]
        )
        listed = self.list_items(state, known)
        ready = known & is_done[state.recipe].all(axis=1)
        follows = jnp.append(ready, False)[following]
        over = is_done[state.order[-1]] | (
            self._turns_needed(state) > self.spec.num_turns - state.turn
        )
        word = jnp.where(over, tokens.DONE, jnp.where(follows, tokens.entity(following), listed[0]))
        alone = (
            jnp.full(self.num_items, tokens.PAD)
            .at[:2]
            .set(jnp.stack([word, jnp.int32(tokens.END)]))
        )
        rewritten = jnp.append(tokens.REPLAN, listed)[: self.num_items]
        action = jnp.where(over | follows | (state.replans == 0), alone, rewritten)
        return jnp.where(self._plans(state), listed[: self.num_items], action)

    def anchor(self, state: State) -> Int[Array, ""]:
        return identity(state.turn, state.finished, state.replans, state.work, state.plan)

    def potential(self, state: State) -> Float[Array, ""]:
        """The expert's return from here."""
        need, left = self._turns_needed(state), self.spec.num_turns - state.turn
        value = jnp.where(need <= left, 1.0 - self.turn_cost * need, -self.turn_cost)
        return jnp.where(left > 0, value, 0.0).astype(jnp.float32)

    def is_key(self, state: State) -> Bool[Array, ""]:
        """Where stopping too early or losing a turn costs; which list is written never does."""
        none, word = jnp.full(self.num_items, tokens.PAD), jnp.array([tokens.DONE, tokens.END])
        outcomes = [self._move(state, action) for action in (none, none.at[:2].set(word))]
        worst = jnp.minimum(*(step.reward + self.potential(after) for after, step in outcomes))
        return self.potential(state) > worst + 1e-6

    def longer(self, factor: int) -> "Todo":
        """The same task with items that take `factor` times the work (an action has no room for that many more items)."""
        return replace(self, steps=self.steps * factor)

    def bounds(self) -> tuple[float, float]:
        """Playing on to no avail, and a goal with a single prerequisite."""
        least = (self.plan_mode == "free") + 2 * self.steps + 1
        return -self.turn_cost * self.spec.num_turns, 1.0 - self.turn_cost * least

    def render_prompt(self, prompt) -> str:
        recipes = [
            f"{tokens.text([n])} needs {_names(needs)}" for n, *needs in prompt[2:].reshape(-1, 3)
        ]
        return f"make {tokens.text(prompt[1:2])}, where {'; '.join(recipes)}"

    def render_turn(self, observation, action) -> str:
        marker, status, following, _, extra, *done = observation
        verdict = {tokens.OK: "ok, ", tokens.ERR: "failed, ", tokens.UNDO: "came undone, "}.get(
            int(status), ""
        )
        more = "" if extra == tokens.EMPTY else f"the goal needs {_names([extra])} too, "
        have = _names(tokens.entity(i) for i, token in enumerate(done) if token == tokens.OK)
        head = (
            f"{verdict}{more}done: {have}, " if have != "nothing" or marker != tokens.THINK else ""
        )
        asks = "the list?" if marker == tokens.THINK else f"next: {_names([following])}"
        return f"{head}{asks} -> {tokens.text(t for t in action if t not in (tokens.END, tokens.PAD)) or 'nothing'}"


def _names(ids) -> str:
    return tokens.text(i for i in ids if i != tokens.EMPTY) or "nothing"
