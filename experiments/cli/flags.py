"""Command lines of the form `<algorithm> <task> [flags]`.

The two names pick an algorithm and a task, and the fields of what they picked become the flags.
"""

import contextlib
import inspect
import io
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import tyro

from agentic_rl import algorithms, credit, envs, optimizer, presets, rewards, selection, values
from agentic_rl.config import ConfigError, check, named
from agentic_rl.losses import kl, surrogates
from agentic_rl.rollout.actors import Expert
from agentic_rl.training.run import Run, WarmStart
from experiments.cli import flag_errors, shell
from experiments.own_data import qa_data

# The parts of an algorithm that a flag swaps for another one by its name.
PARTS = {
    "credit": credit,
    "surrogate": surrogates,
    "values": values,
    "reward": rewards,
    "selection": selection,
    "kl": kl,
    "optimizer": optimizer,
}
# Short flags of the demonstrations, which belong to the algorithm's actor or to the warm start.
SHORT = {"--num-demos": "--{}.num-demos", "--expert-noise": "--{}.noise"}


def choices() -> str:
    """Returns the names that a command line may use, as text."""
    names = {
        "algorithms": algorithms.by_name(),
        "presets": presets.PRESETS,
        "tasks": named(envs),
    }
    names |= {f"--{part}": named(package) for part, package in PARTS.items()}
    return "\n".join(f"{kind:12} {' '.join(sorted(known))}" for kind, known in names.items())


def take(arguments: list[str], flag: str) -> tuple[str | None, list[str]]:
    """Returns the value after `flag`, None if it is not there, and the other arguments.

    >>> take(["grpo", "--credit", "gae", "--seeds", "2"], "--credit")
    ('gae', ['grpo', '--seeds', '2'])
    """
    split = []
    for argument in arguments:
        split += argument.split("=", 1) if argument.startswith(f"{flag}=") else [argument]
    if flag not in split:
        return None, arguments
    place = split.index(flag)
    check(place + 1 < len(split), f"{flag} needs a value.")
    return split[place + 1], split[:place] + split[place + 2 :]


def look_up(kind: str, name: str, known: dict[str, Any]) -> Any:
    """Returns what has this name.

    Raises: ConfigError with the nearest name and all others, if there is no such name.
    """
    reason = getattr(known, "left_out", {}).get(name)
    check(name in known or not reason, f"There is no {kind} called {name}, because {reason}")
    near = get_close_matches(name, known, 1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    check(
        name in known,
        f"There is no {kind} called {name}{hint}; choose one of: {', '.join(sorted(known))}.",
    )
    return known[name]


def algorithm_from(arguments: list[str]) -> tuple[algorithms.Algorithm, list[str]]:
    """Returns the algorithm that the first argument names, and the arguments that are left.

    Flags such as `--credit gae` swap its parts.
    Raises: ConfigError with the choices, if there is no such algorithm or part.
    """
    known = presets.PRESETS | algorithms.by_name()
    algorithm, rest = look_up("algorithm", arguments[0], known), arguments[1:]
    parts = {}
    for part, package in PARTS.items():
        name, rest = take(rest, f"--{part}")
        if name is not None:
            parts[part] = look_up(part, name, named(package))()
    return algorithms.swap(algorithm, **parts), rest


def task_from(arguments: list[str]) -> tuple[Any, list[str]]:
    """Returns the task that the first argument names, and the arguments that are left.

    Names that are joined by + are a mixture, which is returned as a dict of tasks.
    Raises: ConfigError with the choices, if there is no such task.
    """
    names = arguments[0].split("+")
    data, rest = take(arguments[1:], "--data")
    unknown, rest = take(rest, "--unknown-characters")
    check(
        data is not None or unknown is None,
        "--unknown-characters says how to read the characters of --data; give that, too.",
    )
    check(len(set(names)) == len(names), f"{arguments[0]} names a task twice; name each once.")
    tasks = {name: look_up("task", name, named(envs))() for name in names}
    if data is not None:
        check("dataset" in tasks, f"--data goes with the task dataset, not with {arguments[0]}.")
        tasks["dataset"] = qa_data.load(data, unknown or "refuse")
    elif "dataset" in tasks:
        print(qa_data.DEFAULT_NOTE, file=sys.stderr)
    return tasks if len(names) > 1 else tasks[names[0]], rest


def parse(command: type, arguments: list[str]) -> Any:
    """Returns the command that `<algorithm> <task> [flags]` describes.

    Args:
      command: a dataclass whose first field is a Run.
      arguments: the words of the command line.
    Raises: ConfigError, before anything is compiled, with what is wrong and what to do.
    """
    check(bool(arguments), f"Name an algorithm and a task.\n{choices()}")
    algorithm, rest = algorithm_from(arguments)
    check(bool(rest), f"Name a task, too.\n{choices()}")
    task, rest = task_from(rest)
    is_supervised = isinstance(algorithm.actor, Expert)
    demos_owner = "algorithm.actor" if is_supervised else "warm-start"
    rest = [_spell_out(argument, demos_owner) for argument in rest]
    has_checkpoint = any(argument.startswith("--warm-start.checkpoint") for argument in rest)
    clones = not is_supervised and not has_checkpoint
    warm_start = WarmStart(updates=30, num_demos=48) if clones else WarmStart()
    return from_flags(command, command(Run(task, algorithm, warm_start=warm_start)), rest)


def _spell_out(argument: str, owner: str) -> str:
    """Returns an argument with a short flag of the demonstrations replaced by its full name."""
    flag, equals, value = argument.partition("=")
    return SHORT[flag].format(owner) + equals + value if flag in SHORT else argument


def from_flags(command: type, default: Any, arguments: list[str]) -> Any:
    """Returns `default`, an instance of the dataclass `command`, changed by flags.

    Raises: ConfigError with one sentence for what tyro prints as a box.
    """
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            parsed, unknown = tyro.cli(
                command,
                default=default,
                args=arguments,
                return_unknown_args=True,
                config=(tyro.conf.SuppressFixed,),  # hides fields that no flag can set
                prog=shell.command(program_name(command)),
                description=shell.rewrite_commands(inspect.getdoc(command)),
            )
    except ConfigError as error:
        raise ConfigError(flag_errors.write_as_flag("", str(error), default)) from None
    except SystemExit as end:
        if not end.code:
            raise
        path, sentence = flag_errors.read_box(box.getvalue())
        raise ConfigError(flag_errors.write_as_flag(path, sentence, default)) from None
    if unknown:
        raise ConfigError(flag_errors.explain_unknown(unknown[0], default, PARTS))
    return parsed


def program_name(command: type) -> str:
    """Returns the name of the program that defines a command, which is the name of its file."""
    if command.__module__ == "__main__":
        return Path(sys.modules["__main__"].__file__).stem
    return command.__module__.rpartition(".")[2]
