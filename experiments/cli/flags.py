"""Command lines: two names pick a row and a task, the fields of what they picked become flags."""

import contextlib
import dataclasses
import inspect
import io
import itertools
import re
import sys
from difflib import get_close_matches
from typing import Any

import tyro

from agentic_rl import algorithms, credit, envs, optimizer, presets, rewards, selection, values
from agentic_rl.config import ConfigError, check, named
from agentic_rl.losses import kl, surrogates
from agentic_rl.rollout.actors import Expert
from agentic_rl.training.run import Run, WarmStart
from experiments.cli import foreign_flags, shell
from experiments.own_data import qa_data

PARTS = {
    "credit": credit, "surrogate": surrogates, "values": values, "reward": rewards, "selection": selection, "kl": kl,
    "optimizer": optimizer,
}  # fmt: skip
WANTED = {
    "a whole number": r"invalid literal for int\(\) with base 10",
    "a number": "could not convert string to float",
}  # in Python's words
FIXED = (tyro.conf.SuppressFixed,)  # what no flag can say is not shown
SHORT = {
    "--num-demos": "--{}.num-demos",
    "--expert-noise": "--{}.noise",
}  # of the demonstrations, wherever they are used


def choices() -> str:
    """The names that a command line may use, as text."""
    lines = {
        "algorithms": algorithms.by_name(),
        "presets": presets.PRESETS,
        "tasks": named(envs),
    } | {f"--{part}": named(package) for part, package in PARTS.items()}
    return "\n".join(f"{what:12} {' '.join(sorted(names))}" for what, names in lines.items())


def take(arguments: list[str], flag: str) -> tuple[str | None, list[str]]:
    """The value that follows `flag` (None if it is not there), and the other arguments.

    >>> take(["grpo", "--credit", "gae", "--seeds", "2"], "--credit")
    ('gae', ['grpo', '--seeds', '2'])
    """
    joined = [
        part for a in arguments for part in (a.split("=", 1) if a.startswith(flag + "=") else [a])
    ]
    if flag not in joined:
        return None, arguments
    at = joined.index(flag)
    check(at + 1 < len(joined), f"{flag} needs a value.")
    return joined[at + 1], joined[:at] + joined[at + 2 :]


def look_up(kind: str, name: str, known: dict[str, Any]) -> Any:
    """What `name` names.

    Raises: ConfigError with the choices.
    """
    why = getattr(known, "left_out", {}).get(name)
    check(name in known or not why, f"There is no {kind} called {name}, because {why}")
    near = get_close_matches(name, known, 1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    check(
        name in known,
        f"There is no {kind} called {name}{hint}; choose one of: {', '.join(sorted(known))}.",
    )
    return known[name]


def algorithm_from(arguments: list[str]) -> tuple[algorithms.Algorithm, list[str]]:
    """The row that the first argument names, its parts swapped as asked, and the other arguments."""
    row, rest = (
        look_up("algorithm", arguments[0], presets.PRESETS | algorithms.by_name()),
        arguments[1:],
    )
    parts = {}
    for part, package in PARTS.items():
        name, rest = take(rest, f"--{part}")
        if name is not None:
            parts[part] = look_up(part, name, named(package))()
    return algorithms.swap(row, **parts), rest


def task_from(arguments: list[str]) -> tuple[Any, list[str]]:
    """The task that the first argument names, and the other arguments. Names joined by + are a mixture: a dict of tasks.

    Raises: ConfigError with the choices.
    """
    names, (data, rest) = arguments[0].split("+"), take(arguments[1:], "--data")
    unknown, rest = take(rest, "--unknown-characters")
    check(
        data is not None or unknown is None,
        "--unknown-characters says how to read the characters of --data; give that, too.",
    )
    check(len(set(names)) == len(names), f"{arguments[0]} names a task twice; name each once.")
    tasks = {n: look_up("task", n, named(envs))() for n in names}
    if data is not None:
        check("dataset" in tasks, f"--data goes with the task dataset, not with {arguments[0]}.")
        tasks["dataset"] = qa_data.load(data, unknown or "refuse")
    elif "dataset" in tasks:
        print(qa_data.DEFAULT, file=sys.stderr)
    return tasks if len(names) > 1 else tasks[names[0]], rest


def parse(command: type, arguments: list[str]) -> Any:
    """`command`, a dataclass whose first field is a `run`, from `<algorithm> <task> [flags]`.

    Raises: ConfigError, before anything is compiled, with what is wrong and what to do.
    """
    check(bool(arguments), f"Name an algorithm and a task.\n{choices()}")
    row, rest = algorithm_from(arguments)
    check(bool(rest), f"Name a task, too.\n{choices()}")
    task, rest = task_from(rest)
    supervised = isinstance(row.actor, Expert)
    rest = [_long(flag, "algorithm.actor" if supervised else "warm-start") for flag in rest]
    clones = not supervised and not any(flag.startswith("--warm-start.checkpoint") for flag in rest)
    warm = WarmStart(updates=30, num_demos=48) if clones else WarmStart()
    return from_flags(command, command(Run(task, row, warm_start=warm)), rest)


def _long(flag: str, owner: str) -> str:
    """The flag itself, or what a short one stands for: the demonstrations are the actor's, or else the warm start's."""
    name, equals, value = flag.partition("=")
    return SHORT[name].format(owner) + equals + value if name in SHORT else flag


def from_flags(command: type, default: Any, arguments: list[str]) -> Any:
    """`default` changed by flags; tyro's error box becomes one sentence.

    Raises: ConfigError.
    """
    box = io.StringIO()
    about = dict(
        prog=shell.command(_program(command)),
        description=shell.rewrite_commands(inspect.getdoc(command)),
    )
    try:
        with contextlib.redirect_stderr(box):
            parsed, unknown = tyro.cli(
                command,
                default=default,
                args=arguments,
                return_unknown_args=True,
                config=FIXED,
                **about,
            )
    except ConfigError as error:
        raise ConfigError(_with_flag("", str(error), default)) from None
    except SystemExit as end:
        if not end.code:
            raise
        raise ConfigError(_with_flag(*_sentence(box.getvalue()), default)) from None
    if unknown:
        raise ConfigError(_unknown(unknown[0], default))
    return parsed


def _program(command: type) -> str:
    """Returns the name of the program that a command belongs to: of its file."""
    spec = sys.modules["__main__"].__spec__
    module = spec.name if command.__module__ == "__main__" and spec else command.__module__
    return module.rpartition(".")[2]


def _sentence(box: str) -> tuple[str, str]:
    """The config that the first part of tyro's box is about ("" if it is a flag), and what it says.

    Below the box's title, parts are separated by rules, drawn as the terminal's encoding allows.
    """
    lines = [line.strip("│ ") for line in box.splitlines()[1:]]
    start = next((i for i, line in enumerate(lines) if re.search(r"\w", line)), 0)
    part = " ".join(itertools.takewhile(lambda line: re.search(r"\w", line), lines[start:]))
    path, sentence = re.fullmatch(r"(?:Error parsing (?:(?!-)(\S+): )?)?(.*?)\.?", part).groups("")
    for wanted, complaint in WANTED.items():
        sentence = re.sub(rf"^(\S+): {complaint}: (.*)$", rf"\1 must be {wanted}, not \2", sentence)
    return path, f"{sentence}."


def _with_flag(path: str, sentence: str, default: Any) -> str:
    """The sentence with its first word, if that is a field of the config at `path`, written as the flag that it is."""
    word, _, rest = sentence.partition(" ")
    places = [*path.split("."), word]
    ends = (
        flag_name(".".join(places[i:])) for i in range(len(places))
    )  # a path may begin with what no flag names
    flag = next((end for end in ends if end in _names(default)), None)
    return f"--{flag} {rest}" if flag else sentence


def _unknown(flag: str, default: Any) -> str:
    """Why there is no such flag, and where there is one."""
    names = _names(default)
    near = [
        f"did you mean {close}?"
        for close in get_close_matches(flag.split("=")[0], [f"--{name}" for name in names], 1)
    ]
    hint = foreign_flags.answer(flag, names) or _owners(flag)
    return f"There is no flag {flag} here" + (
        f"; {hint}." if hint else f" ({near[0]})." if near else "; --help lists all."
    )


def _owners(flag: str) -> str:
    """Which parts of an algorithm have a field of this name, as a clause; "" if none has."""
    name = flag.lstrip("-").split("=")[0].rsplit(".", 1)[-1].replace("-", "_").rstrip("_")
    owners = [
        f"--{part} {cls_name}" for part, package in PARTS.items() for cls_name, cls in named(package).items()
        if name in [f.name.rstrip("_") for f in dataclasses.fields(cls)]
    ]  # fmt: skip
    return f"{' and '.join(owners)} would have one" if owners else ""


def _names(config: Any, prefix: str = "") -> list[str]:
    """The flags of a config (or of a mixture of tasks) and of the configs in it."""
    names, is_mixture = [], isinstance(config, dict)
    for name in config if is_mixture else [f.name for f in dataclasses.fields(config)]:
        value, path = (
            config[name] if is_mixture else getattr(config, name),
            flag_name(f"{prefix}{name}"),
        )
        nested = dataclasses.is_dataclass(value) or isinstance(value, dict)
        names += _names(value, "" if name == "run" else f"{path}.") if nested else [path]
    return names


def flag_name(path: str) -> str:
    """A field's path as tyro writes its flag.

    >>> spelled("credit.turn_discount"), spelled("credit.lambda_")
    ('credit.turn-discount', 'credit.lambda_')
    """
    return re.sub(r"_(?=\w)", "-", path)
