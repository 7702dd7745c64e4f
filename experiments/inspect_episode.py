"""One episode of a trained run, token by token, with credit and true advantage: `python -m experiments.inspect_episode RUN_DIR [flags]`.

    python -m experiments.inspect_episode runs/ppo-key_door
    python -m experiments.inspect_episode runs/ppo-key_door --problem 3 --episode 2 --html episode.html

The newest weights of the run's first seed play a group of attempts at one problem of the test split, and the run's own values and
credit are computed on it as in training. Attempt 0 at problem P is the episode P that `experiments.watch --policy RUN_DIR` shows.
"""

import sys
from html import escape
from pathlib import Path
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Bool, Float
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agentic_rl import algorithms, tokens
from agentic_rl.algorithms import Algorithm
from agentic_rl.config import check, checked
from agentic_rl.config.ranges import Count, Natural, NonNegative, Seed, Several
from agentic_rl.credit.returns import token_rewards
from agentic_rl.exact.true_advantage import Truth, true_advantage
from agentic_rl.policy import layout, transformer
from agentic_rl.policy.sampler import Sampler
from agentic_rl.rewards import Outcome
from agentic_rl.rng_streams import VALUES
from agentic_rl.rollout.actors import Expert
from agentic_rl.rollout.rollout import rollout
from agentic_rl.training.experience import make_batch
from agentic_rl.training.run import Run, load
from agentic_rl.types import Environment, Trajectory, parts
from agentic_rl.values import ValueContext
from experiments.cli import console, shell
from experiments.cli.flags import from_flags
from experiments.reports import report

Measures = dict[str, Float[np.ndarray, "T A"]]

BLUE, ORANGE = (
    (0x56, 0xB4, 0xE9),
    (0xE6, 0x9F, 0x00),
)  # Okabe and Ito's light ones (2008): black on them is readable
ROUNDING = 1e-6  # what is smaller everywhere has no colour
CSS = """
.strips th,.strips td{text-align:center;padding:.3rem .5rem;border-bottom:.4rem solid #fff}
.strips td{color:#000} .strips small{display:block}
.strips thead th{white-space:normal;min-width:5rem;vertical-align:bottom;text-align:left;font-weight:400;font-size:.8rem}
.strips tr>:first-child{text-align:left} .strips .first,.strips thead th{border-left:2px solid #999}
.legend span{padding:.2rem .6rem}
"""


@checked
class Command:
    """Show one episode token by token: reward, value, the run's own credit, and the true advantage."""

    run_dir: Annotated[
        tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN_DIR")
    ]  # as `train` printed it
    episode: Natural = 0  # which of the attempts
    problem: Seed = 0  # which problem of the test split
    seed: Seed = 0  # of the problems and the actions
    attempts: Count = 8  # episodes at the problem, which credits may compare
    temperature: NonNegative = 1.0  # of the episodes; 1: as trained, 0: greedy
    forks: Several = 1024  # episodes from each turn on, where the truth cannot be enumerated
    part: str = ""  # of a mixture: which of its tasks
    html: str = ""  # a file to write the page to

    def __post_init__(self):
        check(
            self.episode < self.attempts,
            f"--episode is 0 to {self.attempts - 1}, one of the --attempts, not {self.episode}.",
        )
        check(
            not (self.html and Path(self.html).is_dir()),
            f"--html names a file, and {self.html} is a folder.",
        )


class Group(NamedTuple):
    """The attempts at one problem, and what the run makes of them."""

    played: Trajectory  # [1, G, ...]
    reward: Float[Array, "1 G T A"]  # that is credited
    value: Float[Array, "1 G T A"]  # before each token, by the run's value source
    credit: Float[Array, "1 G T A"]
    kept: Bool[Array, "1 G"]  # would it be trained on?


def main(arguments: list[str]) -> int:
    check(bool(arguments), "Name the directory of a run, such as runs/ppo-key_door.")
    command = from_flags(Command, Command(tyro.MISSING), arguments)
    run, state = load(command.run_dir)
    task = task_of(run, command.part)
    algorithm = own(run.algorithm, command.attempts)
    console.keep_compiled_programs()
    params, reference = (
        jax.tree.map(lambda x: x[0], weights) for weights in (state.params, state.reference)
    )
    with Console(stderr=True).status("playing, crediting, and asking for the truth ..."):
        group = play(run.policy, task, algorithm, params, reference, command)
        chosen = jax.tree.map(lambda x: x[:, command.episode : command.episode + 1], group)
        truth = true_advantage(task, run.policy, params, chosen.played, forks=command.forks)
    episode = jax.tree.map(lambda x: jax.device_get(x)[0, 0], chosen.played)
    found, errors = (
        measures(algorithm, chosen, truth),
        {"true advantage": np.asarray(truth.error[0, 0])},
    )
    title = f"{Path(command.run_dir).resolve().name} after {int(state.step[0])} updates"
    lines = [
        describe_episode(task, group.played, command),
        *notes(run.algorithm, chosen, truth, command),
    ]
    show(title, table(task, episode, found, errors), lines)
    if command.html:
        lines += [f"Written by {shell.command('inspect', *arguments)}"]
        report.write(Path(command.html), page(title, lines, strips(task, episode, found, errors)))
        print(f"wrote {command.html}")
    return 0


def task_of(run: Run, part: str) -> Environment:
    """The run's task, or the part of a mixture that is asked for."""
    known = parts(run.task)
    choices = (
        f"one of: {', '.join(known)}"
        if "" not in known
        else "this run has a single task, so leave it out"
    )
    check(part in known, f"--part names a task of a mixture, not {part or 'nothing'}; {choices}.")
    return known[part]


def own(algorithm: Algorithm, attempts: int) -> Algorithm:
    """The algorithm on the policy's own actions; it is refused if it compares more attempts than there are."""
    for what in (algorithm.credit, algorithm.selection):
        sentence = f"{type(what).__name__} compares attempts at the same problem: set --attempts to {what.min_attempts} or more"
        check(attempts >= what.min_attempts, f"{sentence}, not {attempts}.")
    return algorithms.swap(algorithm, labels="own")


def play(
    policy_config: transformer.Policy,
    task: Environment,
    algorithm: Algorithm,
    params,
    reference,
    command: Command,
) -> Group:
    """The attempts at the problem, credited as a batch of the run."""
    key, problem = jax.random.key(command.seed), jnp.array([command.problem])

    def program(params, reference):
        sampler = Sampler(policy_config, params, command.temperature)
        played = rollout(task, sampler, key, problem, command.attempts, "test", keep_states=True)
        known = played
        if algorithm.reward.reads_reference:
            known = played._replace(
                reference_log_prob=log_prob(policy_config, task, reference, played)
            )
        credited = algorithm.reward(known)
        value, _ = algorithm.values(
            ValueContext(task, policy_config, params, problem, jax.random.fold_in(key, VALUES)),
            credited,
        )
        kept = algorithm.selection(known)
        credit = make_batch(algorithm, credited, value, kept).credit.reshape(played.mask.shape)
        return Group(played, token_rewards(credited), value.before, credit, kept)

    return jax.jit(program)(params, reference)


def log_prob(
    policy_config: transformer.Policy,
    task: Environment,
    params: transformer.Params,
    trajectory: Trajectory,
) -> Float[Array, "1 G T A"]:
    """Of the actions taken at one problem, by these weights."""
    token, valid = (x[0] for x in layout.tokens(trajectory))
    each = jax.nn.log_softmax(transformer.apply(policy_config, params, task.spec, token, valid)[0])
    return jnp.take_along_axis(each[None], trajectory.action[..., None], axis=-1)[..., 0]


def measures(algorithm: Algorithm, chosen: Group, truth: Truth) -> Measures:
    """What is told of each token of the episode, the only one of `chosen`."""
    found = {"reward": chosen.reward, "credit": chosen.credit, "true advantage": truth.advantage}
    found |= {"value": chosen.value} if algorithm.values.has_values else {}
    return {
        name: np.asarray(x[0, 0])
        for name, x in (found | {"true value": truth.value.before}).items()
    }


def describe_episode(task: Environment, played: Trajectory, command: Command) -> str:
    """The task, how the episode ended, and how all attempts did."""
    total = [round(float(x), 3) for x in played.reward[0].sum(-1)]
    outcome = f"{'success' if played.success[0, command.episode] else 'failure'}, return {total[command.episode]}"
    place = f"attempt {command.episode} at problem {command.problem} of the test split"
    return f"{task.render_prompt(np.asarray(played.prompt[0, 0]))} ({outcome}; {place}; returns of all attempts: {' '.join(map(str, total))})"


def notes(algorithm: Algorithm, chosen: Group, truth: Truth, command: Command) -> list[str]:
    """What to know about the numbers."""
    attempts = "these attempts" if command.attempts > 1 else "this attempt"
    said = [
        f"credit: {type(algorithm.credit).__name__}, computed on {attempts} alone;"
        " in training on a whole batch"
    ]
    if isinstance(algorithm.actor, Expert):
        said.append(
            "credit: the run trains on its expert's episodes; this one is the policy's own, credited as if it were trained on"
        )
    if algorithm.labels == "expert":
        said.append(
            "credit: the run trains on the expert's labels of these turns; here its own tokens are credited in their place"
        )
    if not chosen.kept.all():
        said.append(
            f"credit: 0, because {type(algorithm.selection).__name__} leaves this episode out"
        )
    if algorithm.values.has_values:
        said.append(f"value: before the token, by {type(algorithm.values).__name__}")
    said.append(
        f"true value: before the token; true advantage: what the token added to it; {truth.method}"
    )
    if truth.error.any():
        said.append(
            "true advantage: ± is its standard error; all that a turn's tokens added stands at the last of them"
        )
    if algorithm.reward != Outcome():
        said.append(
            f"reward and credit: with the rewards of {type(algorithm.reward).__name__}; the truth is about the task's own"
        )
    if command.temperature != 1:
        said.append(
            f"the episodes were drawn at temperature {command.temperature:g}; the truth is about the policy at 1"
        )
    return said


# Pictures of an episode


def token_positions(episode: Trajectory) -> list[tuple[int, int]]:
    """Turn and place of each token of an episode [T, A]."""
    return [(int(t), int(a)) for t, a in np.argwhere(episode.mask)]


def format_signed(x: float, error: float = 0.0) -> str:
    """Three digits and the sign; ± the standard error, if there is one.

    >>> signed(0.25), signed(-1 / 3, 0.01), signed(0.0)
    ('+0.25', '-0.333 ± 0.01', '0')
    """
    return (f"{x:+.3g}" if not abs(x) < ROUNDING else "0") + (f" ± {error:.2g}" if error else "")


def largest(measure: Float[np.ndarray, "T A"], episode: Trajectory) -> float:
    """The largest |x| of the episode's tokens, NaN aside."""
    return float(np.nan_to_num(np.abs(measure[episode.mask])).max(initial=0.0))


def shade(x: float, most: float) -> str:
    """The colour of a number: from white at 0 (or NaN) to blue at `most` and orange at -`most`.

    >>> shade(0.0, 2.0), shade(2.0, 2.0), shade(-2.0, 2.0), shade(1.0, 2.0)
    ('#ffffff', '#56b4e9', '#e69f00', '#aadaf4')
    """
    strength = float(np.nan_to_num(abs(x))) / max(most, ROUNDING)
    return "#" + "".join(
        f"{round(255 + strength * (c - 255)):02x}" for c in (BLUE if x > 0 else ORANGE)
    )


def strips(
    task: Environment, episode: Trajectory, measures: Measures, errors: Measures | None = None
) -> str:
    """A table in HTML: a strip of the episode's [T, A] tokens for each measure, coloured by it, under one another.

    `errors` are the standard errors of the measures that have some. The page needs `CSS` and, once, `legend()`.
    """
    turns = "".join(_turn(task, episode, t) for t in np.flatnonzero(episode.mask.any(-1)))
    rows = "\n".join(
        _strip(episode, name, x, (errors or {}).get(name, np.zeros_like(x)))
        for name, x in measures.items()
    )
    head = f"<thead><tr><td></td>{turns}</tr></thead>"
    return f'<div class="scroll" tabindex="0"><table class="strips">{head}<tbody>\n{rows}</tbody></table></div>'


def _turn(task: Environment, episode: Trajectory, t: int) -> str:
    """What was read and done in the turn, over its tokens."""
    said = escape(
        task.render_turn(episode.observation[t], episode.action[t]).replace("->", "→")
    )  # which no line break tears
    return f'<th scope="colgroup" colspan="{episode.mask[t].sum()}"><strong>turn {t + 1}</strong><br>{said}</th>'


def _strip(
    episode: Trajectory,
    name: str,
    measure: Float[np.ndarray, "T A"],
    error: Float[np.ndarray, "T A"],
) -> str:
    """The tokens, each with its number."""
    most, cells = largest(measure, episode), ""
    for t, a in token_positions(episode):
        word, number = (
            escape(tokens.text([episode.action[t, a]])),
            format_signed(measure[t, a], error[t, a]),
        )
        about = escape(f"turn {t + 1}, token {a + 1}, {word}: {name} {number}")
        begins = ' class="first"' if a == 0 else ""
        cells += f'<td{begins} style="background:{shade(measure[t, a], most)}" title="{about}">{word}<small>{number}</small></td>'
    return f'<tr><th scope="row">{escape(name)}<small>largest {most:.3g}</small></th>{cells}</tr>'


def legend() -> str:
    """What the colours say, in HTML."""
    swatches = {"-largest": -1.0, "-half": -0.5, "0": 0.0, "+half": 0.5, "+largest": 1.0}
    spans = "".join(
        f'<span style="background:{shade(x, 1.0)}" title="{x:+g} of the largest">{name}</span>'
        for name, x in swatches.items()
    )
    said = "Orange is below 0, blue above; each strip has its own scale, up to its largest number of either sign."
    return f'<p class="legend">{spans}<br>{said}</p>'


def page(title: str, lines: list[str], body: str) -> str:
    """A page that needs no other file: the lines, the first above what is drawn; it fits a phone, where strips scroll sideways."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
    first, *others = (escape(line) for line in lines)
    items = "".join(f"<li>{line}</li>" for line in others)
    text = f"<h1>{escape(title)}</h1>\n<p>{first}</p>\n{legend()}\n{body}\n<ul>{items}</ul>"
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{report.CSS}{CSS}</style></head>\n<body>{text}</body></html>\n'


def table(task: Environment, episode: Trajectory, measures: Measures, errors: Measures) -> Table:
    """A row for each of the episode's [T, A] tokens."""
    grid = Table("turn", "read -> done", "token", box=box.SIMPLE_HEAD)
    for name in measures:
        grid.add_column(name, justify="right")
    most = {name: largest(x, episode) for name, x in measures.items()}
    for t, a in token_positions(episode):
        turn = (
            (str(t + 1), task.render_turn(episode.observation[t], episode.action[t]))
            if a == 0
            else ("", "")
        )
        numbers = [
            _number(x[t, a], most[name], errors[name][t, a] if name in errors else 0.0)
            for name, x in measures.items()
        ]
        grid.add_row(*map(Text, (*turn, tokens.text([episode.action[t, a]]))), *numbers)
    return grid


def _number(x: float, most: float, error: float) -> Text:
    """A coloured cell; 0 has no colour."""
    return Text(format_signed(x, error), f"black on {shade(x, most)}" if x else "")


def show(title: str, grid: Table, lines: list[str]) -> None:
    """Prints the table and the lines; where there is no terminal to be as wide as, no line is broken."""
    screen = Console(width=None if sys.stdout.isatty() else 1000, highlight=False)
    screen.print(Text(title, "bold"), Text(lines[0]), grid, sep="\n")
    for line in lines[1:]:
        screen.print(Text(line))


if __name__ == "__main__":
    console.main(main)
