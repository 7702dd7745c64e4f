"""Which programs there are, and in which module each is found; nothing heavy is imported for that."""

from pathlib import Path

COMMANDS = (
    "train",
    "evaluate",
    "compare",
    "watch",
    "inspect_episode",
    "sl_vs_rl",
    "reproduce",
)  # in the order of their use
PAGES = ("bias_page", "tasks_page", "algorithms_page")  # programs that write a page of docs/
RENAMED = {
    "inspect": "inspect_episode",
    "bias": "bias_page",
    "task_notes": "tasks_page",
    "variants": "algorithms_page",
}  # since 1.0
FOLDER = Path(__file__).parents[1]


def module_of(name: str) -> str:
    """Returns the module of a program.

    >>> module_of("train"), module_of("bias_page"), module_of("half_life")
    ('experiments.train', 'experiments.pages.bias_page', 'experiments.studies.half_life')
    """
    folder = "" if name in COMMANDS else "pages." if name in PAGES else "studies."
    return f"experiments.{folder}{name}"


def studies() -> list[str]:
    """Returns the names of the studies: of the files that end with the run of one."""
    return sorted(
        file.stem
        for file in (FOLDER / "studies").glob("*.py")
        if "\n    console.main(partial(study.run, " in file.read_text("utf-8")
    )
