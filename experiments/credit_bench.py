"""How near to the true advantage is each credit assignment, and how good is the gradient that it makes?

    python -m experiments.credit_bench                                   # about a quarter of an hour on 2 cores
    python -m experiments.credit_bench --tasks key_door --levels 0.5     # one cell
    python -m experiments.credit_bench --no-measure                      # only draws, from the results there are

A policy is cloned until it succeeds about as often as asked; its value head is then fitted to the rewards to go of its own episodes.
It plays batches at the same problems, and every credit as it comes (and forks, a greedy baseline, the exact values) is scored on these
against the exact advantage of every token and the exact gradient (experiments/testbed.py, experiments/quality.py). Nothing is trained.

Predictions made before running, judged by the rules below: RLOO's expected gradient is the true one; fine credit helps most where
success is rare (our own question); VinePPO's forks are not worth their episodes (2410.01679 says they are, per update); comparing
states that recur beats comparing episodes where they do (2505.10978).
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agentic_rl import algorithms, credit, envs, learner, parallel, policy
from agentic_rl.algorithms import REINFORCE, Algorithm, swap
from agentic_rl.config import check, named, snake_case
from agentic_rl.credit.gae import GAE
from agentic_rl.optimizer import Adam
from agentic_rl.policy import Policy
from agentic_rl.rollout import rollout
from agentic_rl.sampler import Sampler
from agentic_rl.values import NoValue
from agentic_rl.values.critic import Critic
from agentic_rl.values.exact import Exact
from agentic_rl.values.forks import Forks, Greedy
from experiments import console, figures, report, testbed
from experiments.flags import from_flags, look_up
from experiments.report import Verdict, outcome
from experiments.statistics import Record, distinct, select

MOST_UPDATES = 400  # of cloning, until the levels are reached
NORMAL = 1.96  # standard errors of a 95% interval
PANELS = {
    "pearson": ("correlation with the true advantage", -1, 1), "expected_cosine": ("cosine of a batch's gradient with the true", -1, 1),
    "snr": ("signal to noise of the gradient, dB", -20, 20), "snr_env": ("the same per environment step, dB", -20, 20),
}  # fmt: skip
TABLE = {
    "pearson": ".2f", "key_accuracy": ".2f", "leakage": ".2f", "bias_in_state": ".2f", "cosine_bias": ".2f", "expected_cosine": ".2f",
    "snr": "+.1f", "snr_env": "+.1f", "gain": "+.2f", "harm": ".2f",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Command:
    """Score every credit assignment against the true advantage."""

    tasks: tuple[str, ...] = ("chain_pit", "key_door", "graph_nav")
    levels: tuple[float, ...] = (0.05, 0.5, 0.95)  # success rates at which the cloning is stopped
    replicates: int = 32  # batches
    problems: int = 4
    attempts: int = 8
    seed: int = 0
    measure: bool = True  # --no-measure: only draw
    out: str = "results/credit_bench"

    def __post_init__(self):
        check(min(self.replicates, self.attempts) >= 2, "replicates and attempts must be 2 or more, to tell signal from noise.")
        check(self.problems >= 1, "problems must be 1 or more.")
        check(all(0 < level < 1 for level in self.levels), "levels are success rates between 0 and 1.")


def estimators() -> dict[str, Algorithm]:
    """Every credit as it comes, by name; those that read values take the critic's. Then other sources of values."""
    plain = {name: cls() for name, cls in named(credit).items() if not cls.tells_outcome}
    found = {name: (one, Critic() if one.reads_value else NoValue()) for name, one in plain.items()}
    difference, whole = GAE(lambda_=0.0, whiten=False), GAE(lambda_=1.0, whiten=False)
    found |= {"reward_to_go − greedy (ReMax)": (whole, Greedy()), "reward_to_go − critic": (whole, Critic())}
    found |= {f"{k} fork{'s' * (k > 1)} (VinePPO)": (difference, Forks(k)) for k in (1, 4)}
    found |= {"gae, exact values": (GAE(whiten=False), Exact(testbed.CAPACITY)), "oracle": (difference, Exact(testbed.CAPACITY))}
    return {name: swap(REINFORCE, credit=one, values=values) for name, (one, values) in found.items()}


def main(arguments: list[str]) -> int:
    command = from_flags(Command, Command(), arguments)
    tasks = {name: look_up("task", name, named(envs))() for name in command.tasks}
    path = Path(command.out) / "results.csv"
    if command.measure:
        parallel.prepare(1)
        console.keep_compiled_programs()
        records = [record for name, task in tasks.items() for record in measure(command, name, task)]
        report.write_csv(path, records)
    check(path.exists(), f"There are no results in {command.out}; leave out --no-measure.")
    show(report.read_csv(path), Path(command.out))
    return 0


def measure(command: Command, name: str, task: Any) -> list[Record]:
    """A record for each level and estimator."""
    size, shape, records = Policy(context="markov"), (command.replicates, command.problems, command.attempts), []
    for level, (success, params) in checkpoints(task, size, command.levels, command.seed).items():
        params = testbed.with_critic(task, size, params)
        bed = testbed.make(task, size, params, shape, command.seed)
        facts = dict(task=name, level=level, success=success, weights=policy.num_params(size), seed=command.seed)
        for estimator, row in estimators().items():
            records.append(facts | {"estimator": estimator} | testbed.score(bed, testbed.row(bed, row.credit, row.values)))
            print(f"{name} at {success:.2f}: {estimator}, cosine {records[-1]['expected_cosine']:+.2f}", flush=True)
        if level == command.levels[len(command.levels) // 2]:
            figures.save(episode(bed), Path(command.out) / f"episode_{name}")
    return records


def checkpoints(task: Any, size: Policy, levels: tuple[float, ...], seed: int) -> dict[float, tuple[float, Any]]:
    """For each level the success and the weights of the clone that came nearest to it."""
    row = swap(algorithms.SFT, problems=64, minibatches=1, optimizer=Adam(learning_rate=3e-4))
    setup = learner.setup(size, row, 1, 0)
    state = learner.init(row, policy.init(size, jax.random.key(seed)))
    update = parallel.launch(lambda state: learner.update(setup, task, row, jax.random.key(seed), state)[0], parallel.choose(1), "pmap")
    judge = jax.jit(lambda p: rollout(task, Sampler(size, p), jax.random.key(seed + 1), jnp.arange(512)).success.mean())
    found = dict.fromkeys(levels, (np.inf, None))
    for _ in range(MOST_UPDATES):
        success = float(judge(state.params))
        nearer = {level for level, (best, _) in found.items() if abs(success - level) < abs(best - level)}
        found |= {level: (success, jax.device_get(state.params)) for level in nearer}
        if success > max(levels) + 0.02:
            break
        state = update(state)
    return found


def show(records: list[Record], out: Path) -> None:
    """Prints, draws and writes everything that follows from the records."""
    for record in records:
        base = select(records, task=record["task"], level=record["level"], estimator="leave_one_out")[0]
        record["snr_env"] = testbed.quality.snr_env(record["snr"], record["env_steps"], base["env_steps"])
    for task in distinct(records, "task"):
        for level in distinct(records, "level"):
            some = select(records, task=task, level=level)
            console.show([line(r) for r in some], f"{task} at {some[0]['success']:.2f} success")
    judged = verdicts(records)
    console.show([v._asdict() for v in judged], "verdicts")
    tables = [f"## {t} at {at}\n\n{report.markdown([line(r) for r in select(records, task=t, level=at)])}\n" for t, at in cells(records)]
    report.write(out / "table.md", "\n".join([report.markdown([v._asdict() for v in judged]), "", *tables]))
    figures.save(heat_maps(records), out / "heat_maps")
    print(f"wrote results.csv, table.md and figures to {out}")


def cells(records: list[Record]) -> list[tuple[str, float]]:
    """Every task and level."""
    return list(dict.fromkeys((r["task"], r["level"]) for r in records))


def line(record: Record) -> Record:
    """An estimator's line of the table."""
    return {"credit": record["estimator"]} | {name.replace("_", " "): format(record[name], how) for name, how in TABLE.items()}


def verdicts(records: list[Record]) -> list[Verdict]:
    """Rules stated before the run; intervals are 95%, from jackknifed standard errors of decibels."""
    low, high = min(distinct(records, "level")), max(distinct(records, "level"))

    def gap(task, level, one, other, column="snr"):
        a, b = (select(records, task=task, level=level, estimator=name)[0] for name in (one, other))
        return a[column] - b[column], float(np.hypot(a["snr_se"], b["snr_se"]))

    def judged(claim, what, gaps):
        each = {name: outcome(x - NORMAL * se, x + NORMAL * se) for name, (x, se) in gaps.items()}
        kinds = set(each.values())
        said = "; ".join(f"{name} {x:+.1f} ± {NORMAL * se:.1f} dB" for name, (x, se) in gaps.items())
        rule = f"{what} lies above 0 everywhere (supported) or below 0 everywhere (falsified), by its 95% interval."
        return Verdict(claim, rule, kinds.pop() if len(kinds) == 1 else "inconclusive", said)

    tasks = distinct(records, "task")
    crossover = {}
    for task in tasks:
        (a, se_a), (b, se_b) = (gap(task, level, "oracle", "leave_one_out") for level in (low, high))
        crossover[task] = a - b, float(np.hypot(se_a, se_b))
    vine = {f"{t} at {at}": gap(t, at, "4 forks (VinePPO)", "leave_one_out", "snr_env") for t, at in cells(records)}
    recur = {f"{t} at {at}": gap(t, at, "gigpo", "centred") for t, at in cells(records) if t != "chain_pit"}
    off = {f"{t} at {at}": select(records, task=t, level=at, estimator="leave_one_out")[0] for t, at in cells(records)}
    inside = all(abs(r["cosine_bias"] - 1) < max(0.05, NORMAL * r["cosine_bias_se"]) for r in off.values())
    said = "; ".join(f"{name} {r['cosine_bias']:.3f} ± {NORMAL * r['cosine_bias_se']:.3f}" for name, r in off.items())
    rule = "cos(E g, g*) is within .05 of 1, or its 95% interval holds 1, in every cell; a test of the bench."
    return [
        Verdict("RLOO's expected gradient is the true one", rule, "supported" if inside else "falsified", said),
        judged(
            "Fine credit helps most where success is rare", f"The oracle's gain over RLOO in SNR at {low} minus that at {high}", crossover
        ),
        judged("Forks are worth their episodes", "The SNR per environment step of 4 forks minus RLOO's", vine),
        judged("Groups of recurring states beat groups of episodes", "GiGPO's SNR minus that of centred returns", recur),
    ]


def heat_maps(records: list[Record]) -> figures.Figure:
    """A panel for each of PANELS: estimators against tasks and levels."""
    with figures.matplotlib.rc_context(figures.STYLE | {"axes.grid": False}):
        names, columns = distinct(records, "estimator"), cells(records)
        figure = figures.Figure(figsize=(figures.WIDTH * 1.5, 0.25 * len(names) * 2 + 2.6), layout="constrained")
        panels = figure.subplots(2, 2, sharex=True, sharey=True)
        for panel, (column, (title, low, high)) in zip(panels.flat, PANELS.items(), strict=True):
            value = np.array([[select(records, task=t, level=at, estimator=n)[0][column] for t, at in columns] for n in names])
            image = panel.imshow(value, cmap="RdBu", vmin=low, vmax=high, aspect="auto")
            for (i, j), x in np.ndenumerate(value):
                text = "–" if np.isnan(x) else format(x, ".0f" if high > 1 else ".2f").replace("inf", "∞")
                dark = np.isfinite(x) and abs(x) > 0.7 * high
                panel.text(j, i, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")
            panel.set_title(title)
            panel.set_yticks(range(len(names)), names, fontsize=8)
            panel.set_xticks(range(len(columns)), [f"{t}\n{at:g}" for t, at in columns], fontsize=7)
            figure.colorbar(image, ax=panel, shrink=0.6)
        return figure


def episode(bed: testbed.Bed) -> figures.Figure:
    """The tokens of the longest episode that failed, coloured by each estimator's credit, beside the truth."""
    made, shape = bed.trajectory, bed.trajectory.mask.shape
    tokens = np.where(made.success, 0, np.asarray(made.mask).sum((3, 4)))
    r, n, g = np.unravel_index(tokens.argmax(), tokens.shape)
    one = lambda x: x.reshape(shape)[r, n, g].ravel()  # noqa: E731
    mask = one(bed.mask)
    names = {"true advantage": bed.truth}
    names |= {name: testbed.credits(bed, testbed.row(bed, row.credit, row.values))[0] for name, row in estimators().items()}
    rows = np.array([one(x)[mask] for x in names.values()])
    scaled = rows / np.maximum(np.abs(rows).max(1, keepdims=True), 1e-9)
    words = words_of(bed.task, made, (r, n, g))
    with figures.matplotlib.rc_context(figures.STYLE | {"axes.grid": False}):
        figure = figures.Figure(figsize=(figures.WIDTH * 1.5, 0.27 * len(names) + 2.2), layout="constrained")
        panel = figure.subplots()
        image = panel.imshow(scaled, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
        for (i, j), x in np.ndenumerate(rows):
            panel.text(j, i, f"{x:+.2f}", ha="center", va="center", fontsize=7, color="white" if abs(scaled[i, j]) > 0.7 else "black")
        panel.axhline(0.5, color="black", linewidth=1.5)
        panel.set_yticks(range(len(names)), names, fontsize=8)
        panel.set_xticks(range(len(words)), words, rotation=60, ha="right", fontsize=7)
        panel.set_title(f"One episode of {snake_case(type(bed.task).__name__)}: credit of each token (colour: share of the row's largest)")
        figure.colorbar(image, ax=panel, shrink=0.6)
        return figure


def words_of(task: Any, made: Any, index: tuple[int, int, int]) -> list[str]:
    """What was seen and written at each token of an episode."""
    at = jax.tree.map(lambda x: np.asarray(x[index]), (made.observation, made.action, made.mask))
    turns = [(o, a[m], m) for o, a, m in zip(*at) if m.any()]
    return [task.render_turn(o, a) if i == 0 else "" for o, a, m in turns for i in range(m.sum())]


if __name__ == "__main__":
    console.main(main)
