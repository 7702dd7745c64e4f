"""Runs a program by its name: `agentic-rl train grpo running_sum`.

Names, and what each program does, are read from the files, so that `agentic-rl --help` answers
before anything heavy is imported.
"""

import ast
import os
import signal
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from experiments.cli.program_names import COMMANDS, PAGES, RENAMED, module_of, studies

FOLDER = Path(__file__).parent
NAME_WIDTH = 15  # columns


def main() -> None:
    """Runs the program that the command line names; without a name, or with --help, lists all.

    A mistake ends it with a sentence and exit code 2.
    """
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        show(overview())
        sys.exit(0 if words else 2)
    name, rest = module_name(words[0]), words[1:]
    if name != "study":
        run(name, rest, "command", [*COMMANDS, *PAGES, *studies()])
    if not rest or rest[0] in ("-h", "--help"):
        show(list_programs("studies", studies()))
        sys.exit(0 if rest else 2)
    run(module_name(rest[0]), rest[1:], "study", studies())


def module_name(word: str) -> str:
    """Returns the module that a word of the command line means, also by an older name.

    >>> module_name("half-life"), module_name("inspect")
    ('half_life', 'inspect_episode')
    """
    name = word.replace("-", "_")
    return RENAMED.get(name, name)


def run(name: str, arguments: list[str], kind: str, known: list[str]) -> NoReturn:
    """Runs a program on its arguments, and exits as it does.

    Args:
      name: of the program's module.
      arguments: the words after the name.
      kind: "command" or "study", for a sentence about an unknown name.
      known: the names that there are.
    """
    if name not in known:
        print(f"error: {explain_unknown(name, kind, known)}", file=sys.stderr)
        sys.exit(2)
    # An extension that is interrupted during its import would raise an error of its own.
    signal.signal(signal.SIGINT, leave)
    from experiments.cli import console  # only now, because it takes seconds

    main = program(name)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv[1:] = arguments
    console.main(main)


def explain_unknown(name: str, kind: str, known: list[str]) -> str:
    """Returns a sentence about a name that there is not, with the nearest one that there is."""
    near = get_close_matches(name, known, 1)
    if near:
        hint = f"did you mean {near[0].replace('_', '-')}?"
    else:
        hint = f"agentic-rl {'study ' if kind == 'study' else ''}--help lists all."
    return f"There is no {kind} called {name.replace('_', '-')}; {hint}"


def leave(*_: object) -> NoReturn:
    """Ends the process of a program that has not begun."""
    print("stopped.", file=sys.stderr, flush=True)
    os._exit(130)


def program(name: str) -> Callable[[list[str]], int | None]:
    """Returns the main function of a program's module, or one that runs the study in it."""
    module = import_module(module_of(name))
    if hasattr(module, "main"):
        return module.main
    from experiments import reproduce
    from experiments.harness import study

    (one,) = [each for each in reproduce.own_studies(module) if study.name(each) == name]
    return partial(study.run, one)


def show(text: str) -> None:
    """Prints the text, and ends quietly if a reader such as `head` has seen enough."""
    if hasattr(signal, "SIGPIPE"):  # Windows has none
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    print(text)


def overview() -> str:
    """Returns what `agentic-rl --help` shows."""
    usage = "usage: agentic-rl COMMAND [arguments]; agentic-rl COMMAND --help tells more of one"
    study = (
        f"  {'study NAME':{NAME_WIDTH}} One of {len(studies())} studies, each a question asked of "
        "many runs; agentic-rl study --help lists them."
    )
    return f"{usage}\n\n{list_programs('commands', COMMANDS)}\n{study}"


def list_programs(title: str, names: Iterable[str]) -> str:
    """Returns the title, and a line for each of the programs."""
    width = max(NAME_WIDTH, *map(len, names))
    lines = [f"  {name.replace('_', '-'):{width}} {about(name)}" for name in names]
    return "\n".join([f"{title}:", *lines])


def about(name: str) -> str:
    """Returns what a program does, which are the first words of its file.

    >>> about("train")
    'Train one algorithm on one task.'
    """
    file = FOLDER.parent / f"{module_of(name).replace('.', '/')}.py"
    docstring = ast.get_docstring(ast.parse(file.read_text("utf-8")))
    sentence = docstring.splitlines()[0].split(": `")[0]
    return sentence if sentence.endswith((".", "?")) else f"{sentence}."


if __name__ == "__main__":
    main()
