"""The programs of this folder by name: `agentic-rl train grpo running_sum`, or `python -m experiments.train grpo running_sum`.

Names and what they do are read from the files, so that `agentic-rl --help` answers before anything heavy is imported.
"""

import ast
import os
import signal
import sys
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from pathlib import Path

from experiments.cli.program_names import COMMANDS, PAGES, RENAMED, module_of, studies

FOLDER = Path(__file__).parent


def main() -> None:
    """Runs the program that the command line names; without a name, or with --help, lists all.

    A mistake ends it with a sentence and exit code 2.
    """
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        show(overview())
        sys.exit(0 if words else 2)
    name, rest = words[0].replace("-", "_"), words[1:]
    name = RENAMED.get(name, name)
    if name == "study" and (not rest or rest[0] in ("-h", "--help")):
        show(listing("studies", studies()))
        sys.exit(0 if rest else 2)
    if name == "study":
        name, rest = rest[0].replace("-", "_"), rest[1:]
        run(name, rest, "study", studies())
    run(name, rest, "command", [*COMMANDS, *PAGES, *studies()])


def run(name: str, arguments: list[str], kind: str, known: list[str]) -> None:
    """Runs a program of this folder on its arguments, and exits as it does."""
    if name not in known:
        near = get_close_matches(name, known, 1)
        hint = (
            f"did you mean {near[0].replace('_', '-')}?"
            if near
            else f"agentic-rl {'study ' * (kind == 'study')}--help lists all."
        )
        print(f"error: There is no {kind} called {name.replace('_', '-')}; {hint}", file=sys.stderr)
        sys.exit(2)
    signal.signal(
        signal.SIGINT, leave
    )  # an extension that is interrupted while it is imported makes an error of its own of that
    from experiments.cli import console  # now, because it takes seconds

    main = program(name)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv[1:] = arguments
    console.main(main)


def leave(*_: object) -> None:
    """Ends the process of a program that has not begun."""
    print("stopped.", file=sys.stderr, flush=True)
    os._exit(130)


def program(name: str):
    """Returns the main function of a module of this folder: its own, or that of the study that it defines."""
    module = import_module(module_of(name))
    if hasattr(module, "main"):
        return module.main
    from experiments import reproduce
    from experiments.harness import study

    (one,) = [each for each in reproduce.own_studies(module) if study.name(each) == name]
    return partial(study.run, one)


def show(text: str) -> None:
    """Prints the text, quietly cut off where a reader such as `head` has seen enough."""
    if hasattr(signal, "SIGPIPE"):  # Windows has none
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    print(text)


def overview() -> str:
    """Returns what `agentic-rl --help` shows."""
    usage = "usage: agentic-rl COMMAND [arguments]; agentic-rl COMMAND --help tells more of one"
    study = f"  {'study NAME':13} One of {len(studies())} studies, each a question asked of many runs; agentic-rl study --help lists them."
    return f"{usage}\n\n{listing('commands', COMMANDS)}\n{study}"


def listing(title: str, names: list[str] | tuple[str, ...]) -> str:
    """Returns a line for each of the programs."""
    width = max(13, *map(len, names))
    return "\n".join(
        [f"{title}:", *(f"  {name.replace('_', '-'):{width}} {about(name)}" for name in names)]
    )


def about(name: str) -> str:
    """Returns what a program does, the first words of its file.

    >>> about("train")
    'Train one algorithm on one task.'
    """
    file = FOLDER.parent / f"{module_of(name).replace('.', '/')}.py"
    first = ast.get_docstring(ast.parse(file.read_text("utf-8"))).splitlines()[0].split(": `")[0]
    return first if first.endswith((".", "?")) else f"{first}."


if __name__ == "__main__":
    main()
