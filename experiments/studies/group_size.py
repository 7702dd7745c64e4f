"""Are large groups and outcomes enough, or does fine credit still win?

    python -m experiments.studies.group_size
    python -m experiments.studies.group_size --tasks key_door --attempts 8 32 128 --seeds 10

All arms start from the same clones, take one gradient step on each batch, and use equally many
environment steps. RLOO gives credit by outcomes alone; GiGPO also compares equal states. Both
divide a batch into a few large groups or many small ones. A critic needs no group. Forks of every
state leave room for an eighth of the episodes. Measured is the success at the end. One rule
compares the largest groups with the smallest. Another asks whether the best arm of RLOO is at most
.05 behind the best arm of the others.
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

EPISODES = 256  # of a batch, without forks
FORKS = 2  # of every state
TURNS = 6  # of every episode, whatever the policy does
TASKS = {"key_door": KeyDoor(delay=TURNS - 2), "chain_pit": ChainPit(num_turns=TURNS, mode="drift")}
NOISE = {"key_door": 0.7, "chain_pit": 0.4}  # of demonstrations, so that clones seldom succeed
OUTCOME, STATES, CRITIC, VINE = "rloo", "gigpo", "critic", "forks"
FINE = (STATES, CRITIC, VINE)
MARGIN = 0.05  # of success, by which outcomes may be behind and are still enough


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
        groups = [(credit, g) for credit in (OUTCOME, STATES) for g in self.attempts]
        return [
            dict(task=task, credit=credit, attempts=attempts)
            for task in self.tasks
            for credit, attempts in [*groups, (CRITIC, 1), (VINE, 1)]
        ]

    def records(self, cell: Record) -> list[Record]:
        task = TASKS[cell["task"]]
        start = training_study.clone_policies(
            task, self.policy_config, self.seeds, self.clone_updates, noise=NOISE[cell["task"]]
        )
        algorithm = swap(
            algorithm_for(cell["credit"], cell["attempts"]),
            optimizer=Adam(learning_rate=self.learning_rate),
        )
        policies, entries = training_study.train_policies(
            start, task, self.policy_config, algorithm, self.updates, self.problems
        )
        columns = {
            "began": entries[0]["eval_success"],
            "success": entries[-1]["eval_success"],
            "env_steps": np.subtract(policies.budget["env_steps"], start.budget["env_steps"]),
        }
        return training_study.records(columns)

    def lines(self, records: list[Record]) -> list[Record]:
        lines = []
        for cell in self.cells():
            of_cell = select(records, **cell)
            columns = {
                "start": sweep.cell(sweep.by_seed(of_cell, "began"), ".2f"),
                "success": sweep.cell(sweep.by_seed(of_cell, "success"), ".2f"),
                "env steps": f"{np.mean(sweep.by_seed(of_cell, 'env_steps')):,.0f}",
            }
            lines.append(cell | columns)
        return lines

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"group_size": plot_results(records)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        verdicts = []
        for task in self.tasks:
            of_task = select(records, task=task)
            verdicts.append(judge_outcomes(of_task, task))
            if len(self.attempts) > 1:
                verdicts.append(self.judge_groups(of_task, task))
        return verdicts

    def judge_groups(self, records: list[Record], task: str) -> Verdict:
        """Returns the verdict on whether RLOO learns more with larger groups."""
        fewest, most = min(self.attempts), max(self.attempts)
        of_rloo = select(records, credit=OUTCOME)
        small = sweep.by_seed(of_rloo, "success", attempts=fewest)
        large = sweep.by_seed(of_rloo, "success", attempts=most)
        return above_zero(
            f"On {task}, larger groups learn more from as many episodes",
            f"RLOO's success with {most} attempts at a problem minus that with {fewest}",
            large - small,
        )


def algorithm_for(credit: str, attempts: int) -> Algorithm:
    """Returns RLOO, with another credit if need be, on batches of as many environment steps."""
    if credit == VINE:  # a fork from each turn plays to the end
        problems = EPISODES // (1 + FORKS * (TURNS + 1) // 2)
    else:
        problems = EPISODES // attempts
    parts = {
        OUTCOME: {},
        STATES: dict(credit=Gigpo()),
        CRITIC: dict(credit=TurnGAE(whiten=False), values=Critic()),
        VINE: dict(credit=TurnGAE(lambda_=0.0, whiten=False), values=Forks(FORKS)),
    }
    return swap(RLOO, problems=problems, attempts=attempts, minibatches=1, **parts[credit])


def best(
    records: list[Record], credits: tuple[str, ...]
) -> tuple[str, Float[np.ndarray, " seeds"]]:
    """Returns the arm with the highest mean success among these credits: its name and success."""
    arms = dict.fromkeys((r["credit"], r["attempts"]) for r in records if r["credit"] in credits)
    success = {}
    for credit, attempts in arms:
        name = f"{credit}, {attempts} attempts" if attempts > 1 else credit
        success[name] = sweep.by_seed(records, "success", credit=credit, attempts=attempts)
    return max(success.items(), key=lambda item: item[1].mean())


def judge_outcomes(records: list[Record], task: str) -> Verdict:
    """Returns the verdict on whether credit by outcomes alone ties or beats fine credit."""
    plain, ours = best(records, (OUTCOME,))
    fine, theirs = best(records, FINE)
    what = (
        f"{MARGIN} of success plus that of RLOO minus that of fine credit ({', '.join(FINE)}), "
        "each at its best arm by the mean over seeds"
    )
    verdict = above_zero(
        f"On {task}, credit by outcomes alone is enough",
        what,
        MARGIN + ours - theirs,
        f"{plain} minus {fine}: {np.mean(ours - theirs):+.3f}.",
    )
    room = 1 - ours.mean()
    rule = f"{verdict.rule} Inconclusive if RLOO leaves less room than that below 1."
    if room >= MARGIN:
        return verdict._replace(rule=rule)
    evidence = f"{verdict.evidence} The room is {room:.3f}."
    return verdict._replace(rule=rule, outcome="inconclusive", evidence=evidence, p=None)


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record]) -> Figure:
    """Plots success against the attempts at a problem; an arm without groups is a level line."""
    tasks, credits = distinct(records, "task"), distinct(records, "credit")
    groups = sorted(set(distinct(records, "attempts")) - {1})
    looks = {credit: figures.styles(credits)[credit] for credit in credits}
    figure, panels = figures.page(1, len(tasks), height=2.8, sharey=True)
    for panel, task in zip(panels[0], tasks, strict=True):
        for i, credit in enumerate(credits):
            of_arm = select(records, task=task, credit=credit)
            has_groups = set(groups) <= set(distinct(of_arm, "attempts"))
            attempts = groups if has_groups else [1] * len(groups)
            success = [sweep.by_seed(of_arm, "success", attempts=g) for g in attempts]
            figures.bars(panel, groups, success, looks[credit], "share", (i, len(credits)))
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
