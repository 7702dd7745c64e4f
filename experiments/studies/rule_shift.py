"""Does supervised learning memorise the rule that it is shown, where RL keeps to the prompt?

    python -m experiments.studies.rule_shift
    python -m experiments.studies.rule_shift --arms sft rloo --updates 120 --seeds 10

Chu et al. (2501.17161) say that SFT memorises and RL generalises. Here the rule is which word asks
a tool and which word gives the answer, and every prompt says so. Policies that have learned a
little under two rules are trained further under one of them:

- `sft`: with its demonstrations.
- `rloo`: by its rewards.
- `sft_rloo`: with its demonstrations first, then by its rewards.
- `sft_rules`: with demonstrations of four rules.

The other of the two rules, in which both words have changed places, is never trained on again.
Measured is the success under both rules during training. The rules ask whether SFT unlearns the
shifted rule, whether RL keeps it, and whether early stopping or more rules help SFT. (Sizes were
chosen on other seeds, so that success at the start is neither near 0 nor near 1.)
"""

from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Annotated, Any, ClassVar

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from agentic_rl import algorithms, tokens
from agentic_rl.algorithms import Algorithm, swap
from agentic_rl.config import check, config
from agentic_rl.config.ranges import Count, Positive, Probability, Range
from agentic_rl.envs.tool_chase import ToolChase
from agentic_rl.envs.wrappers.renamed import Renamed
from agentic_rl.optimizer import Adam
from agentic_rl.policy.transformer import Policy
from agentic_rl.rollout.actors import Expert
from agentic_rl.types import Task
from experiments.cli import console
from experiments.cli.flags import look_up
from experiments.harness import study, training_study
from experiments.harness.training_study import Policies
from experiments.reports import sweep
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, distinct, select
from experiments.reports.verdicts import above_zero, near_zero

LOOKUP, CALC, ANSWER, FIX = tokens.LOOKUP, tokens.CALC, tokens.ANSWER, tokens.FIX
Word = Annotated[int, Range(0, tokens.VOCABULARY - 1)]
SHOWN, SHIFTED = (LOOKUP, ANSWER), (ANSWER, LOOKUP)
# further rules: each word appears once more in the role that it has in SHIFTED
MORE = ((CALC, FIX), (FIX, LOOKUP), (ANSWER, CALC))
ARMS = {
    "sft": "demonstrations under the rule shown",
    "sft_rules": "demonstrations under it and three others, none of them the shifted one",
    "rloo": "RL under the rule shown",
    "sft_rloo": "the same, behind sft",
}
FLUENT = 0.9  # success under the rule shown, at which one might stop
MARGIN = 0.05  # of success, that counts as nothing


@config
class Reworded(Renamed):
    """The task with other words for LOOKUP and ANSWER, as its prompt says.

    The words that these replace take over the meanings that have become free.
    """

    words: tuple[Word, Word] = SHOWN  # the words for LOOKUP and ANSWER

    @property
    def _new(self) -> np.ndarray:
        """The new name of each token."""
        name, verbs = np.arange(tokens.VOCABULARY), range(tokens.VERB, tokens.VOCABULARY)
        name[list(SHOWN)] = self.words
        others = [verb for verb in verbs if verb not in SHOWN]
        name[others] = [verb for verb in verbs if verb not in self.words]
        return name


def task_under(words: tuple[int, int]) -> Reworded:
    """Returns the task of one tool call and an answer, with these words for them."""
    return Reworded(ToolChase(depth=1, num_turns=3, failure=0.0), words=words)


@dataclass(frozen=True)
class RuleShift(training_study.TrainingStudy):
    """Does supervised learning memorise a rule, where RL keeps to what the prompt says?

    Measures success under a shifted rule.
    """

    arms: tuple[str, ...] = tuple(ARMS)
    seeds: Count = 10
    updates: Count = 60
    looks: Count = 6  # evaluations under both rules, evenly spaced over the updates
    clone_updates: Count = 150  # of cloning both rules at first
    # share of random actions in the demonstrations of both rules, so that there is more to learn
    noise: Probability = 0.5
    learning_rate: Positive = 1e-3  # of SFT
    # of RL, which at SFT's learning rate undid what was learned under the rule shown
    rl_learning_rate: Positive = 3e-4

    claim: ClassVar[str] = (
        "Chu et al. (2501.17161): SFT memorises, RL generalises. Under a shifted rule success "
        "falls by SFT (11.5 to 3.4% in cards, 80.8 to 1.3% in navigation) and rises by RL (to 15.0 "
        "and 91.8%); RL from an over-fitted clone does not repair it. Against it 2510.00237: with "
        "demonstrations of several rules, or stopped early, SFT generalises as well. Predicted: "
        "all of it."
    )
    headline: ClassVar[str] = "shifted"
    legend: ClassVar[dict[str, str]] = {
        "±": "half of Student's 95% interval over seeds",
        "shown, shifted": "success on unseen problems under the rule trained on, and under the "
        "other; update 0: before the arm",
    } | ARMS
    tiny: ClassVar[dict[str, Any]] = dict(
        arms=("sft", "sft_rules", "rloo"), updates=2, looks=2, clone_updates=1, problems=64, seeds=2
    )

    def __post_init__(self):
        super().__post_init__()
        for name in self.arms:
            look_up("arm", name, ARMS)
        check(
            {"sft", "rloo"} <= set(self.arms),
            "The claim compares sft with rloo: leave them in --arms.",
        )
        check(
            self.updates % self.looks == 0,
            f"looks must divide updates ({self.updates}), not {self.looks}.",
        )

    def cells(self) -> list[Record]:
        return [dict(arm=arm) for arm in self.arms]

    def records(self, cell: Record) -> list[Record]:
        start = clone_both_rules(self.policy_config, self.seeds, self.clone_updates, self.noise)
        if cell["arm"] == "sft_rloo":
            start = self.snapshots("sft", start)[-1]
        records = []
        for look, policies in enumerate([start, *self.snapshots(cell["arm"], start)]):
            success = {
                name: self.success(policies, words)
                for name, words in {"shown": SHOWN, "shifted": SHIFTED}.items()
            }
            update = look * self.updates // self.looks
            for record in training_study.records(success):
                records.append({"update": update} | record)
        return records

    def success(self, policies: Policies, words: tuple[int, int]) -> list[float]:
        """Returns each seed's success rate on unseen problems under a rule."""
        metrics = training_study.evaluate_policies(
            policies, task_under(words), self.policy_config, self.problems
        )
        return metrics["success"]

    def snapshots(self, arm: str, policies: Policies) -> list[Policies]:
        """Trains the policies as the arm says, and returns them as they are at each look."""
        task, algorithm, snapshots = self.task(arm), self.algorithm(arm), []
        for _ in range(self.looks):
            policies, _ = training_study.train_policies(
                policies, task, self.policy_config, algorithm, self.updates // self.looks
            )
            snapshots.append(policies)
        return snapshots

    def task(self, arm: str) -> Task:
        """Returns the task, or the mixture of tasks, that an arm trains on."""
        if arm == "sft_rules":
            return {str(i): task_under(words) for i, words in enumerate((SHOWN, *MORE))}
        return task_under(SHOWN)

    def algorithm(self, arm: str) -> Algorithm:
        """Returns an arm's algorithm, which takes 256 episodes per update."""
        if "rloo" in arm:
            optimizer = Adam(learning_rate=self.rl_learning_rate, warmup=0)
            return swap(algorithms.RLOO, optimizer=optimizer)
        return swap(algorithms.SFT, optimizer=Adam(learning_rate=self.learning_rate, warmup=0))

    def lines(self, records: list[Record]) -> list[Record]:
        lines = []
        for name in distinct(records, "arm"):
            for update in distinct(records, "update"):
                selected = select(records, arm=name, update=update)
                success = {
                    rule: sweep.cell(sweep.by_seed(selected, rule), ".2f")
                    for rule in ("shown", "shifted")
                }
                lines.append({"arm": name, "update": update} | success)
        return lines

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        panels = {
            "shown": "success under the rule shown",
            "shifted": "success under the shifted rule",
        }
        figure = sweep.figure(
            records, "update", panels, "arm", scale="linear", label="updates", same=True
        )
        return {"rule_shift": figure}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        end = {
            arm: sweep.by_seed(records, "shifted", arm=arm, update=self.updates)
            for arm in self.arms
        }
        start = sweep.by_seed(records, "shifted", arm="sft", update=0)
        verdicts = [
            above_zero(
                "SFT under one rule unlearns the other",
                WHAT.format("before sft minus after it"),
                start - end["sft"],
            ),
            above_zero(
                "RL does not",
                WHAT.format(f"after rloo minus before it, and {MARGIN}"),
                end["rloo"] - start + MARGIN,
            ),
            above_zero(
                "RL ends above SFT",
                WHAT.format("after rloo minus after sft"),
                end["rloo"] - end["sft"],
            ),
            above_zero(
                "SFT that stops in time has unlearned less",
                WHAT.format(
                    f"at the first look at which sft comes to {FLUENT} under the rule shown, "
                    "minus at the end"
                ),
                when_fluent(select(records, arm="sft")) - end["sft"],
            ),
        ]
        if "sft_rules" in end:
            verdicts.append(judge_four_rules(end))
        if "sft_rloo" in end:
            verdicts.append(judge_repair(records, end))
        return verdicts


WHAT = "success under the shifted rule, {}"


@cache
def clone_both_rules(policy_config: Policy, seeds: int, updates: int, noise: float) -> Policies:
    """Returns clones of noisy demonstrations under both rules."""
    algorithm = swap(
        algorithms.SFT,
        actor=Expert(noise=noise),
        optimizer=replace(training_study.CLONING, warmup=0),
    )
    start = training_study.fresh(policy_config, seeds)
    tasks = {"shown": task_under(SHOWN), "shifted": task_under(SHIFTED)}
    return training_study.train_policies(start, tasks, policy_config, algorithm, updates)[0]


# Rules


def when_fluent(records: list[Record]) -> Float[np.ndarray, " seeds"]:
    """Returns each seed's success under the shifted rule at the look at which one might stop.

    That is the first look with a success of FLUENT under the rule shown, or else the last look.
    """
    updates = sorted(distinct(records, "update"))
    shown, shifted = (
        np.array([sweep.by_seed(records, name, update=u) for u in updates])
        for name in ("shown", "shifted")
    )
    is_fluent = shown >= FLUENT
    look = np.where(is_fluent.any(0), is_fluent.argmax(0), len(updates) - 1)
    return np.take_along_axis(shifted, look[None], axis=0)[0]


def judge_four_rules(end: dict[str, Float[np.ndarray, " seeds"]]) -> Verdict:
    """Judges whether demonstrations of four rules close most of the gap between SFT and RL.

    Args: end: success under the shifted rule after each arm.
    """
    return above_zero(
        "Four rules close 70% of SFT's gap",
        WHAT.format("after sft_rules, minus 30% of it after sft and 70% of it after rloo"),
        end["sft_rules"] - 0.3 * end["sft"] - 0.7 * end["rloo"],
    )


def judge_repair(records: list[Record], end: dict[str, Float[np.ndarray, " seeds"]]) -> Verdict:
    """Judges whether RL after SFT leaves the success under the shifted rule as it is.

    Args: end: success under the shifted rule after each arm.
    """
    shown = sweep.by_seed(records, "shown", arm="sft_rloo", update=0).mean()
    return near_zero(
        "RL does not repair what SFT unlearned",
        WHAT.format("after sft_rloo minus after sft"),
        end["sft_rloo"] - end["sft"],
        MARGIN,
        f"it starts at {shown:.2f} under the rule shown, and learns from rewards for that alone",
    )


if __name__ == "__main__":
    console.main(partial(study.run, RuleShift()))
