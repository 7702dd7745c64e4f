"""Write a to-do list, then do its items, while events may overtake the plan.

The task separates planning from execution. The first action is the list, and each later one works
on an item. An observation shows the list's next item, how the last action went, and what is done.
Below are an episode at the default knobs, and one in which an event adds a prerequisite that no
recipe has named:

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

After the task lists of BabyAGI and plan-and-solve prompting (2305.04091). Who writes the list
(`plan_mode`) tells whether planning or execution fails.
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
    """The instance (order, recipes and event), the list, and what is done. M stands for no item."""

    order: Int[Array, " M"]  # the items in an order that works; the last is the goal
    recipe: Int[Array, "M 3"]  # items that each item needs; the third one is hidden, of the goal
    needed_at_first: Bool[Array, " M"]  # items on the way to the goal, and the goal, by the prompt
    needed: Bool[Array, " M"]  # the same, with the hidden prerequisite
    event: Int[Array, ""]  # comes when this many items have been finished; 0: never
    turn: Int[Array, ""]
    plan: Int[Array, " M"]  # the list
    replans: Int[Array, ""]  # how often the list may still be rewritten
    work: Int[Array, " M"]  # turns spent on each item
    finished: Int[Array, ""]  # number of finished items, including one that came undone
    status: Int[Array, ""]  # token that says how the last action went


@config
class Todo:
    """Do the items that the goal needs, each after its prerequisites, then the goal, then say DONE.

    The reward is 1 if the goal is done by then. `n3 END` works on an item, which fails (ERR) if the
    item is done or a prerequisite is not. `REPLAN n3 n5 END` rewrites the list and works on its
    first item. Tokens after END are not read. The list need not be followed: observations show its
    first item that is not done, which saves the policy from working out what comes next.
    """

    num_items: Annotated[int, Range(2, 8)] = 5  # items, the goal included
    steps: Count = 1  # turns of work that an item takes
    slack: Natural = 2  # turns to spare
    # once per episode, an item just finished comes undone, or the goal needs one more item, which
    # observations show from then on
    events: bool = False
    # how often the list may be rewritten
    max_replan: Annotated[int, Range(0, 15, why="it is shown as one token")] = 2
    turn_cost: NonNegative = 0.0  # subtracted from the reward in each turn
    # who writes the list: the policy in the first turn (`free`), the expert (`given`), chance
    # (`random`), or nobody (`none`, and then it cannot be rewritten)
    plan_mode: Literal["free", "given", "random", "none"] = "free"

    def __post_init__(self):
        most = 1 / self.spec.num_turns
        allowed = f"0 to 1 / turns ({most:.3g}: success is worth it)"
        check(0 <= self.turn_cost <= most, f"turn_cost must be {allowed}, not {self.turn_cost}.")

    @property
    def spec(self) -> Spec:
        M, plans = self.num_items, self.plan_mode == "free"
        num_turns = plans + M * self.steps + self.events + 1 + self.slack
        items = tuple(range(tokens.ENTITY, tokens.ENTITY + M))
        choices = items + (tokens.END, tokens.REPLAN, tokens.DONE)
        return Spec(2 + 3 * M, 5 + M, M, num_turns, choices)

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        M, keys = self.num_items, [jax.random.fold_in(key, i) for i in range(7)]
        order = jax.random.permutation(keys[0], M)
        recipe, goal = self._draw_recipes(keys[1], keys[2], order), order[-1]
        needed_at_first = self._ancestors(recipe, goal)
        spare = ~needed_at_first & self.events & jax.random.bernoulli(keys[4])
        chosen = jnp.argmax(spare * jax.random.uniform(keys[3], (M,), minval=0.5))
        recipe = recipe.at[goal, 2].set(jnp.where(spare.any(), chosen, M))
        event = jnp.int32(0)
        if self.events:
            event = jax.random.randint(keys[5], (), 1, needed_at_first.sum())
        state = State(
            order,
            recipe,
            needed_at_first,
            self._ancestors(recipe, goal),
            event,
            turn=jnp.int32(0),
            plan=jnp.full(M, M),
            replans=jnp.int32(self.max_replan * (self.plan_mode != "none")),
            work=jnp.zeros(M, jnp.int32),
            finished=jnp.int32(0),
            status=jnp.int32(tokens.EMPTY),
        )
        state = state._replace(plan=self._first_plan(state, keys[6]))
        return state, restart(self.observe(state))

    def _draw_recipes(
        self, needs_key: PRNGKeyArray, second_key: PRNGKeyArray, order: Int[Array, " M"]
    ) -> Int[Array, "M 3"]:
        """Returns recipes in which all items but the first need one or two earlier ones."""
        M = self.num_items
        place = jnp.arange(M)[:, None]
        earlier = jnp.floor(jax.random.uniform(needs_key, (M, 2)) * place).astype(jnp.int32)
        is_same = earlier[:, 0] == earlier[:, 1]
        lacks_second = jax.random.bernoulli(second_key, 0.5, (M,)) | is_same
        absent = (place == 0) | jnp.stack([jnp.zeros(M, bool), lacks_second], 1)
        return jnp.full((M, 3), M).at[order, :2].set(jnp.where(absent, M, order[earlier]))

    def _first_plan(self, state: State, key: PRNGKeyArray) -> Int[Array, " M"]:
        """Returns the list with which an episode begins."""
        M = self.num_items
        if self.plan_mode == "given":
            given = self.list_items(state, state.needed_at_first)[:M] - tokens.ENTITY
            return jnp.where(given >= 0, given, M)
        return jax.random.permutation(key, M) if self.plan_mode == "random" else state.plan

    def _ancestors(self, recipe: Int[Array, "M 3"], goal: Int[Array, ""]) -> Bool[Array, " M"]:
        """Returns the items that `goal` needs by `recipe`, itself included."""
        item = jnp.arange(self.num_items)
        needs = (recipe[:, :, None] == item).any(axis=1)
        is_needed = item == goal
        for _ in range(self.num_items - 1):
            is_needed |= (is_needed[:, None] & needs).any(axis=0)
        return is_needed

    def list_items(self, state: State, items: Bool[Array, " M"]) -> Int[Array, " L"]:
        """Returns the tokens of `items` in an order that works, then END."""
        is_listed, place = items[state.order], jnp.arange(self.num_items + 1)
        first = state.order[jnp.argsort(~is_listed, stable=True)]
        rest = jnp.where(place == is_listed.sum(), tokens.END, tokens.PAD)
        return jnp.where(place < is_listed.sum(), tokens.entity(jnp.append(first, 0)), rest)

    def prompt(self, state: State) -> Int[Array, " P"]:
        items = jnp.concatenate([jnp.arange(self.num_items)[:, None], state.recipe[:, :2]], axis=1)
        head = jnp.stack([jnp.int32(tokens.BOS), tokens.entity(state.order[-1])])
        return jnp.concatenate([head, self._token(items.ravel())])

    def _token(self, item: Int[Array, "..."]) -> Int[Array, "..."]:
        return jnp.where(item < self.num_items, tokens.entity(item), tokens.EMPTY)

    def _plans(self, state: State) -> Bool[Array, ""]:
        """Returns whether it is the turn to write the list."""
        return (state.turn == 0) & (self.plan_mode == "free")

    def _is_done(self, state: State) -> Bool[Array, " L"]:
        """Returns whether each item is done, and True for no item."""
        return jnp.append(state.work >= self.steps, True)

    def _next(self, state: State) -> Int[Array, ""]:
        """Returns the first item of the list that is not done."""
        left = ~self._is_done(state)[state.plan]
        return jnp.where(left.any(), state.plan[jnp.argmax(left)], self.num_items)

    def observe(self, state: State) -> Int[Array, " O"]:
        """Returns marker, status, next item, replans left, extra prerequisite, and what is done."""
        marker = jnp.where(self._plans(state), tokens.THINK, tokens.ACT)
        hidden = state.recipe[state.order[-1], 2]
        extra = self._token(jnp.where(state.finished >= state.event, hidden, self.num_items))
        following = self._token(self._next(state))
        head = jnp.stack([marker, state.status, following, tokens.value(state.replans), extra])
        is_done = jnp.where(self._is_done(state)[:-1], tokens.OK, tokens.EMPTY)
        return jnp.concatenate([head, is_done])

    def step(
        self, key: PRNGKeyArray, state: State, action: Int[Array, " A"]
    ) -> tuple[State, TimeStep]:
        return self._move(state, action)

    def _move(self, state: State, action: Int[Array, " A"]) -> tuple[State, TimeStep]:
        plans, is_done, M = self._plans(state), self._is_done(state), self.num_items
        new_list = jnp.where(plans, action, jnp.append(action[1:], tokens.END))
        before_end = jnp.cumsum(new_list == tokens.END) == 0
        is_list = jnp.all(self._is_item(new_list) | ~before_end) & before_end[0]
        replans = ~plans & (action[0] == tokens.REPLAN) & is_list & (state.replans > 0)
        is_word = ~plans & (action[1] == tokens.END)
        acts = replans | is_word & self._is_item(action[0])
        stops = is_word & (action[0] == tokens.DONE)

        item = jnp.clip(jnp.where(replans, new_list[0], action[0]) - tokens.ENTITY, 0, M - 1)
        works = acts & ~is_done[item] & is_done[state.recipe[item]].all()
        finishes = works & (state.work[item] == self.steps - 1)
        undone = finishes & (state.finished + 1 == state.event) & ~self._has_hidden(state)
        verdict = jnp.where(works | plans & is_list, tokens.OK, tokens.ERR)
        status = jnp.where(undone, tokens.UNDO, verdict)
        new_plan = jnp.where(before_end, new_list - tokens.ENTITY, M)
        plan = jnp.where(replans | plans & is_list, new_plan, state.plan)
        turn = jnp.where(stops, self.spec.num_turns, state.turn + 1)
        after = state._replace(
            turn=turn,
            plan=plan,
            replans=state.replans - replans,
            work=state.work.at[item].add(works & ~undone),
            finished=state.finished + finishes,
            status=status,
        )
        success = stops & is_done[state.order[-1]]
        reward = (success - self.turn_cost).astype(jnp.float32)
        return after, TimeStep(self.observe(after), reward, turn >= self.spec.num_turns, success)

    def _is_item(self, token: Int[Array, "..."]) -> Bool[Array, "..."]:
        return (token >= tokens.ENTITY) & (token < tokens.ENTITY + self.num_items)

    def _has_hidden(self, state: State) -> Bool[Array, ""]:
        return state.recipe[state.order[-1], 2] < self.num_items

    def _turns_needed(self, state: State) -> Int[Array, ""]:
        """Returns the least number of turns to success.

        An event costs the same whatever is done, so that knowing it in advance would not help.
        """
        work = jnp.sum((self.steps - state.work) * state.needed)
        will_undo = (state.finished < state.event) & ~self._has_hidden(state)
        return self._plans(state) + work + will_undo + 1

    def expert(self, state: State) -> Int[Array, " A"]:
        """Returns the list's next item if it is right.

        Otherwise the expert rewrites the list while it may, or names the next item itself. It gives
        up with DONE when it is too late for success.
        """
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
        rewritten = jnp.append(tokens.REPLAN, listed)[: self.num_items]
        says_word = over | follows | (state.replans == 0)
        action = jnp.where(says_word, self.single_word(word), rewritten)
        return jnp.where(self._plans(state), listed[: self.num_items], action)

    def single_word(self, word: Int[Array, ""]) -> Int[Array, " A"]:
        """Returns the action of one word, then END."""
        words = jnp.stack([word, jnp.int32(tokens.END)])
        return jnp.full(self.num_items, tokens.PAD).at[:2].set(words)

    def anchor(self, state: State) -> Int[Array, ""]:
        return identity(state.turn, state.finished, state.replans, state.work, state.plan)

    def potential(self, state: State) -> Float[Array, ""]:
        """Returns the expert's return from the state on."""
        need, left = self._turns_needed(state), self.spec.num_turns - state.turn
        value = jnp.where(need <= left, 1.0 - self.turn_cost * need, -self.turn_cost)
        return jnp.where(left > 0, value, 0.0).astype(jnp.float32)

    def is_key(self, state: State) -> Bool[Array, ""]:
        """Returns whether stopping now or losing a turn costs; a bad list never does."""
        none, word = jnp.full(self.num_items, tokens.PAD), jnp.array([tokens.DONE, tokens.END])
        outcomes = [self._move(state, action) for action in (none, none.at[:2].set(word))]
        worst = jnp.minimum(*(step.reward + self.potential(after) for after, step in outcomes))
        return self.potential(state) > worst + 1e-6

    def longer(self, factor: int) -> "Todo":
        """Returns the task with items that take `factor` times the work.

        The number of items stays, since an action has no room for many more.
        """
        return replace(self, steps=self.steps * factor)

    def bounds(self) -> tuple[float, float]:
        """Returns the returns of playing in vain, and of a goal with a single prerequisite."""
        least = (self.plan_mode == "free") + 2 * self.steps + 1
        return -self.turn_cost * self.spec.num_turns, 1.0 - self.turn_cost * least

    def render_prompt(self, prompt) -> str:
        recipes = prompt[2:].reshape(-1, 3)
        needs = "; ".join(f"{_names(recipe[:1])} needs {_names(recipe[1:])}" for recipe in recipes)
        return f"make {tokens.text(prompt[1:2])}, where {needs}"

    def render_turn(self, observation, action) -> str:
        marker, status, following, _, extra, *done = observation
        verdicts = {tokens.OK: "ok, ", tokens.ERR: "failed, ", tokens.UNDO: "came undone, "}
        more = "" if extra == tokens.EMPTY else f"the goal needs {_names([extra])} too, "
        have = _names(tokens.entity(i) for i, token in enumerate(done) if token == tokens.OK)
        head = f"{verdicts.get(int(status), '')}{more}done: {have}, "
        asks_list = marker == tokens.THINK
        head = "" if asks_list and have == "nothing" else head
        question = "the list?" if asks_list else f"next: {_names([following])}"
        words = tokens.text(t for t in action if t not in (tokens.END, tokens.PAD))
        return f"{head}{question} -> {words or 'nothing'}"


def _names(ids) -> str:
    """Returns the names of items, and `nothing` if there are none."""
    return tokens.text(i for i in ids if i != tokens.EMPTY) or "nothing"
