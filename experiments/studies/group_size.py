"""Are large groups and outcomes enough, or does fine credit still win?

    python -m experiments.studies.group_size
    python -m experiments.studies.group_size --tasks key_door --attempts 8 32 128 --seeds 10

Every arm takes one gradient step on each batch, from the same clones, and as many environment steps. Outcome-only credit (RLOO) and
GiGPO's, which also compares equal states, divide them among few large groups or many small ones; a critic needs no group, and forks of
every state leave room for an eighth of the episodes.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from agentic_rl.algorithms import RLOO, Algorithm, swap
from agentic_rl.config import check
from agentic_rl.config.ranges import Count, Positive, Several
from agentic_rl.credit.anchors import Gigpo
from agentic_rl.credit.turns import TurnGAE
from agentic_rl.envs.chain_pit import ChainPit
from agentic_rl.envs.key_door import KeyDoor
from agentic_rl.optimizer import Adam
from agentic_rl.values.critic import Critic
from agentic_rl.values.forks import Forks
from experiments.cli import console
from experiments.cli.flags import look_up
from experiments.harness import study, training_study
from experiments.reports import figures, sweep
from experiments.reports.display_names import words
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, distinct, select
from experiments.reports.verdicts import above_zero

EPISODES = 256  # of a batch, but for the forks'
FORKS = 2  # of every state
TURNS = 6  # of every episode, whatever is done
TASKS = {"key_door": KeyDoor(delay=TURNS - 2), "chain_pit": ChainPit(num_turns=TURNS, mode="drift")}
NOISE = {
    "key_door": 0.7,
    "chain_pit": 0.4,
}  # of the demonstrations, so that the clones succeed now and then
OUTCOME, STATES, CRITIC, VINE = "rloo", "gigpo", "critic", "forks"
FINE = (STATES, CRITIC, VINE)
MARGIN = 0.05  # of success, within which outcomes are enough


@dataclass(frozen=True)
class GroupSize(training_study.TrainingStudy):
    """Are large groups and outcomes enough, or does fine credit still win?

    Compares both at matched environment steps.
    """

    tasks: tuple[str, ...] = tuple(TASKS)
    attempts: tuple[Several, ...] = (2, 4, 16, 64)  # at each problem
    updates: Count = 60
    clone_updates: Count = 60  # of cloning
    learning_rate: Positive = 1e-3  # of all arms

    claim: ClassVar[str] = (
        "CANOPY (2609.01245): credit by outcomes alone is enough, if groups are large and every "
        "step is on-policy. Predicted: at a fixed number of episodes larger groups learn more; "
        "whether the best of them ties fine credit is open."
    )
    legend: ClassVar[dict[str, str]] = training_study.LEGEND | {
        "credit": "rloo: outcomes; gigpo: and equal states of the group; critic: GAE over "
        "turns; forks: 2 of every state, charged",
        "attempts": "at each problem, of 256 episodes a batch; forks: of 32",
        "env steps": "of the RL",
    }
    tiny: ClassVar[dict[str, Any]] = dict(
        tasks=("key_door",), attempts=(2,), clone_updates=1, updates=1, problems=64, seeds=2
    )

    def __post_init__(self):
        super().__post_init__()
        for name in self.tasks:
            look_up("task", name, TASKS)
        fits = all(EPISODES % g == 0 for g in self.attempts)
        check(bool(self.attempts) and fits, f"attempts are divisors of {EPISODES}, one or more.")

    def cells(self) -> list[Record]:
        credits = [(credit, g) for credit in (OUTCOME, STATES) for g in self.attempts] + [
            (CRITIC, 1),
            (VINE, 1),
        ]
        return [
            dict(task=task, credit=credit, attempts=g)
            for task in self.tasks
            for credit, g in credits
        ]

    def records(self, cell: Record) -> list[Record]:
        task = TASKS[cell["task"]]
        start = training_study.clone_policies(
            task, self.policy_config, self.seeds, self.clone_updates, noise=NOISE[cell["task"]]
        )
        chosen = swap(
            algorithm_for(cell["credit"], cell["attempts"]),
            optimizer=Adam(learning_rate=self.learning_rate),
        )
        policies, rows = training_study.train_policies(
            start, task, self.policy_config, chosen, self.updates, self.problems
        )
        steps = np.subtract(policies.budget["env_steps"], start.budget["env_steps"])
        return training_study.records(
            {
                "began": rows[0]["eval_success"],
                "success": rows[-1]["eval_success"],
                "env_steps": steps,
            }
        )

    def lines(self, records: list[Record]) -> list[Record]:
        found = []
        for cell in self.cells():
            own = select(records, **cell)
            success = {
                name: sweep.cell(sweep.by_seed(own, column), ".2f")
                for name, column in (("start", "began"), ("success", "success"))
            }
            found.append(
                cell | success | {"env steps": f"{np.mean(sweep.by_seed(own, 'env_steps')):,.0f}"}
            )
        return found

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"group_size": plot_results(records)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        judged = []
        for task in self.tasks:
            own = select(records, task=task)
            judged.append(enough(own, task))
            if len(self.attempts) > 1:
                least, most = (
                    sweep.by_seed(own, "success", credit=OUTCOME, attempts=f(self.attempts))
                    for f in (min, max)
                )
                what = (
                    f"RLOO's success with {max(self.attempts)} attempts at a problem minus that "
                    f"with {min(self.attempts)}"
                )
                judged.append(
                    above_zero(
                        f"On {task}, larger groups learn more from as many episodes",
                        what,
                        most - least,
                    )
                )
        return judged


def algorithm_for(credit: str, attempts: int) -> Algorithm:
    """RLOO, or with another credit, on as many environment steps; from each turn a fork plays to the end."""
    step = TurnGAE(lambda_=0.0, whiten=False)
    parts = {
        OUTCOME: {}, STATES: dict(credit=Gigpo()), CRITIC: dict(credit=TurnGAE(whiten=False), values=Critic()),
        VINE: dict(credit=step, values=Forks(FORKS), problems=EPISODES // (1 + FORKS * (TURNS + 1) // 2)),
    }  # fmt: skip
    return swap(
        RLOO,
        **dict(problems=EPISODES // attempts, attempts=attempts, minibatches=1) | parts[credit],
    )


def best(
    records: list[Record], credits: tuple[str, ...]
) -> tuple[str, Float[np.ndarray, " seeds"]]:
    """The arm with the highest mean success of those with such a credit: what it is, and its success."""
    arms_ = dict.fromkeys((r["credit"], r["attempts"]) for r in records if r["credit"] in credits)
    each = {
        f"{c}, {g} attempts" if g > 1 else c: sweep.by_seed(
            records, "success", credit=c, attempts=g
        )
        for c, g in arms_
    }
    return max(each.items(), key=lambda item: item[1].mean())


def enough(records: list[Record], task: str) -> Verdict:
    """Whether outcomes tie or beat fine credit."""
    (plain, ours), (fine, theirs) = best(records, (OUTCOME,)), best(records, FINE)
    what = (
        f"{MARGIN} of success plus that of RLOO minus that of fine credit ({', '.join(FINE)}), "
        "each at its best arm by the mean over seeds"
    )
    more = f"{plain} minus {fine}: {np.mean(ours - theirs):+.3f}."
    verdict = above_zero(
        f"On {task}, credit by outcomes alone is enough", what, MARGIN + ours - theirs, more
    )
    room = 1 - ours.mean()
    rule = f"{verdict.rule} Inconclusive if RLOO leaves less room than that below 1."
    if room >= MARGIN:
        return verdict._replace(rule=rule)
    return verdict._replace(
        rule=rule,
        outcome="inconclusive",
        evidence=f"{verdict.evidence} The room is {room:.3f}.",
        p=None,
    )


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record]) -> Figure:
    """Success against the attempts at a problem, a panel for each task; what has no groups is a level."""
    tasks, credits = distinct(records, "task"), distinct(records, "credit")
    groups, looks = (
        sorted(set(distinct(records, "attempts")) - {1}),
        {c: figures.styles(credits)[c] for c in credits},
    )
    figure, panels = figures.page(1, len(tasks), height=2.8, sharey=True)
    for panel, task in zip(panels[0], tasks, strict=True):
        for i, credit in enumerate(credits):
            own = select(records, task=task, credit=credit)
            at = groups if set(groups) <= set(distinct(own, "attempts")) else [1] * len(groups)
            each = [sweep.by_seed(own, "success", attempts=g) for g in at]
            figures.bars(panel, groups, each, looks[credit], "share", (i, len(credits)))
        panel.set_xscale("log", base=2)
        figures.ticks(panel, groups)
        panel.set(title=words(task), xlabel="attempts at a problem")
    figures.fit(panels[0], "share")
    panels[0][0].set_ylabel("success (not from 0)")
    return figures.legend(
        figure, [*figures.entries(looks), figures.interval_legend(len(distinct(records, "seed")))]
    )


if __name__ == "__main__":
    console.main(partial(study.run, GroupSize()))
