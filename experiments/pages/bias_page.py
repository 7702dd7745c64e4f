"""Computes which estimators are unbiased, for which objective, and how biased the others are.

    python -m experiments.pages.bias_page      # writes docs/bias.md and results/bias/bias.csv

The computation is exact, by enumeration, and takes about a minute. The page shows every credit with
its defaults, with every aggregation and two kinds of rewards; then the variants and objectives that
matter; then two closed forms.
"""

from dataclasses import fields
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from agentic_rl.config import checked
from experiments.cli import console
from experiments.cli.flags import from_flags
from experiments.cli.tables import print_table
from experiments.ground_truth.enumeration import enumerate_task
from experiments.ground_truth.expected_update import update
from experiments.ground_truth.objectives import BETA, gradients
from experiments.pages import closed_forms
from experiments.pages.bias_cases import Case, cases
from experiments.reports import report
from experiments.reports.stats import Record, distinct, select

EXACT = 1e-8  # a relative error below this is rounding
# Columns, with their titles, that a table shows only if its lines differ in them.
OPTIONAL = {"rewards": "rewards", "beside": "with", "attempts": "attempts"}
INTRODUCTION = """# Which estimators are unbiased, and for which objective

Written by `python -m experiments.pages.bias_page`, with results/bias/bias.csv. Nothing here is
sampled. The task has two problems, two turns and two tokens a turn, and so 7 episodes of each
problem; all groups of attempts and all batches are enumerated
(`experiments/ground_truth/enumeration.py`). The policy is a small transformer in float64, and the
expected credit goes through the learner's own loss. The expected update is compared with the
gradient of an objective, mostly of J, the expected return.

- *error*: the distance of the two over the gradient's length. The unit of the update is such that
  the tokens' weights sum to an episode's mean length.
- *direction*: the same after the update is scaled to the best length. No learning rate repairs it.
- *cosine*: of the angle between the two.
- *verdict*: an update is unbiased, or wrong by a factor only, or biased, or nothing in expectation.
  An error below 1e-8 is rounding.

How large a bias is depends on the task and the policy, which were chosen so that biases show.
Unless a table says otherwise, there are 2 attempts, and one step is made on the batch of all
attempts at both problems.

## What it shows

- `EpisodeReturn`, `RewardToGo`, `LeaveOneOut` and `LeaveOneOutToGo` are unbiased for J with the
  aggregation `constant`. So are `GAE` and `TurnGAE` without whitening, if the values are exact
  or lambda is 1. `Centred` gives (G − 1)/G of the gradient, since an episode is part of its own
  baseline.
- With `token_mean` and `sequence_mean` all of these are biased, because an episode's length
  depends on its actions.
- `GroupRelative` (GRPO), for a reward of 0 or 1, gives exactly Σ c(p) ∇p over the problems,
  with p the chance of success and c a function of the number of attempts. For 2 and 3 attempts
  c is a constant. For more it prefers very easy and very hard problems, and with ever more
  attempts the update becomes the gradient of 2 arcsin √p.
- `SuccessOnly` is unbiased for the chance of success, whatever else is rewarded. `Imitation` of
  the policy's own actions gives nothing in expectation.
- A baseline that depends on the episode's own actions is a bias, which shrinks with more
  attempts. It may depend on its length (`LengthWeighted`), its probabilities (`OptimalToken`)
  or the states it visits (`Gigpo`). Whitening over a small batch is such a bias, too.
- `LengthAdaptiveGAE` and `BiLevelGAE` are biased even if the values are exact. The lambda of
  the first depends on the length of the episode, and the second's value at the end of a turn
  depends on the token that ended it.
- A discount in the reward to go gives the gradient neither of J nor of the discounted return,
  in which later turns count less (1906.07073).
- Shaping by a potential changes nothing in expectation at discount 1. The same progress in the
  credit does (`ProcessAdvantage`).
- A KL belongs into the reward, as k1: this gives the gradient of J − β KL(π‖ref). As a term of
  the loss k1 gives nothing in expectation. There k2 gives the gradient of KL(π‖ref) and k3 that
  of KL(ref‖π) in the visited states, as if no action decided which states come next
  (2506.09477).
"""
SECTIONS = {
    "objectives": """## Other objectives

With `turns` there are rewards in every turn, with `outcome` 1 for success at the end. c(p) is that
of the closed form below, with the credit's own eps and sample standard deviation.
""",
    "attempts": """## More attempts

The reward is 1 for success at the end. With more than 4 attempts, a batch holds one problem.
""",
    "values": """## Right and wrong values

There are rewards in every turn. A wrong value is off by a normal random number, which is the same
at each visit of a state. At alpha 0.05 lambda is 0 in episodes as short as these.
""",
    "steps": """## Steps, progress and shaping

There are rewards in every turn. The potential is arbitrary.
""",
    "kl": f"""## The KL from a reference

There are rewards in every turn, and β = {BETA}. *Visits fixed*: the KL in the states, each as
likely as it is now.
""",
}


@checked
class Command:
    """Compute all expectations, and write them as CSV and as a page."""

    out: str = "results/bias"  # folder of the numbers
    page: str = "docs/bias.md"  # the page to write


def main(arguments: list[str]) -> int:
    command = from_flags(Command, Command(), arguments)
    console.check_checkout(command.out, command.page)
    console.keep_compiled_programs()
    with jax.enable_x64(True):
        records = [record for case in cases() for record in measure(case)]
    report.write_csv(Path(command.out) / "bias.csv", records)
    report.write(Path(command.page), page(records))
    for name in distinct(records, "table"):
        print_table(lines(select(records, table=name)), name)
    print(f"wrote {command.page}")
    return 0


def measure(case: Case) -> list[Record]:
    """Returns a record for each objective of the case."""
    algorithm = case.algorithm
    beside = [describe(part) for part in (algorithm.reward, algorithm.kl) if fields(part)]
    if algorithm.credit.reads_value:
        mistake = algorithm.values.mistake
        beside.append(f"value off by {mistake}" if mistake else "exact value")
    about = dict(
        table=case.table,
        rewards=case.rewards,
        credit=describe(algorithm.credit),
        beside=", ".join(beside),
        attempts=algorithm.attempts,
        aggregation=algorithm.aggregation,
    )
    expected = update(enumerate_task(case.rewards), algorithm)
    return [
        about | {"objective": name} | compare(expected, gradients(case.rewards)[name])
        for name in case.objectives
    ]


def describe(part: Any) -> str:
    """Returns a config's class, with the fields that are not at their default.

    >>> from agentic_rl.credit.gae import GAE
    >>> describe(GAE(lambda_=0.5))
    'GAE(lambda=0.5)'
    """
    changed = [
        f"{f.name.rstrip('_')}={getattr(part, f.name)}"
        for f in fields(part)
        if getattr(part, f.name) != f.default
    ]
    return type(part).__name__ + (f"({', '.join(changed)})" if changed else "")


def compare(expected: Float[np.ndarray, " W"], truth: Float[np.ndarray, " W"]) -> Record:
    """Returns the relative error, the same at the best length, the angle's cosine, and a verdict.

    The cosine of an update that is nothing is 0.

    >>> compare(np.array([2.0, 0.0]), np.array([4.0, 0.0]))
    {'error': 0.5, 'direction': 0.0, 'cosine': 1.0, 'verdict': 'a factor of 0.5'}
    """
    size, length = np.linalg.norm(expected), np.linalg.norm(truth)
    if size < EXACT * length:
        return dict(error=1.0, direction=1.0, cosine=0.0, verdict="nothing")
    cosine = expected @ truth / size / length
    rescaled = cosine * length / size * expected
    error, direction = (np.linalg.norm(x - truth) / length for x in (expected, rescaled))
    factor = f"a factor of {size / length:.3g}" if cosine > 0 else "biased"
    verdict = "unbiased" if error < EXACT else factor if direction < EXACT else "biased"
    numbers = dict(error=error, direction=direction, cosine=cosine)
    rounded = {name: 0.0 if abs(x) < EXACT else float(f"{x:.6g}") for name, x in numbers.items()}
    return rounded | {"verdict": verdict}


def page(records: list[Record]) -> str:
    """Returns the page as Markdown."""
    parts = [INTRODUCTION, "## Every credit as it comes", ""]
    for rewards, title in (
        ("turns", "Rewards in every turn"),
        ("outcome", "1 for success at the end"),
    ):
        plain = select(records, table="defaults", rewards=rewards, aggregation="constant")
        parts += [f"{title}:", "", report.markdown(lines(plain)), ""]
    every = by_aggregation(select(records, table="defaults"))
    parts += ["The error of direction, by rewards and aggregation:", "", report.markdown(every), ""]
    for name, words in SECTIONS.items():
        parts += [words, report.markdown(lines(select(records, table=name))), ""]
    weights, pushes = (
        report.markdown(closed_forms.factors()),
        report.markdown(closed_forms.drifts()),
    )
    parts += [closed_forms.FACTOR, weights, "", closed_forms.LENGTH, pushes, ""]
    return "\n".join(parts)


def lines(records: list[Record]) -> list[Record]:
    """Returns the lines of a table: short numbers, and no optional column without differences."""
    shown = {name: title for name, title in OPTIONAL.items() if len(distinct(records, name)) > 1}
    table = []
    for record in records:
        line = {"credit": f"`{record['credit']}`"}
        line |= {title: record[name] for name, title in shown.items()}
        line |= {name: record[name] for name in ("aggregation", "objective")}
        line |= {name: short(record[name]) for name in ("error", "direction", "cosine")}
        table.append(line | {"verdict": record["verdict"]})
    return table


def by_aggregation(records: list[Record]) -> list[Record]:
    """Returns the error of direction, with a column for each kind of rewards and aggregation."""
    table = {}
    for r in records:
        line = table.setdefault(r["credit"], {"credit": f"`{r['credit']}`"})
        line[f"{r['rewards']}: {r['aggregation']}"] = short(r["direction"])
    return list(table.values())


def short(x: float) -> str:
    """Returns a number with three digits, and a plain 0 for nothing.

    >>> short(0.0), short(0.12345), short(12.345), short(1.0)
    ('0', '0.123', '12.3', '1')
    """
    return f"{x:.3g}" if abs(x) >= 1 or not x else f"{x:.3f}"


if __name__ == "__main__":
    console.main(main)
