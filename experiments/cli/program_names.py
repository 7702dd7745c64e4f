"""The names of the programs and the modules that hold them, without importing anything heavy."""

from pathlib import Path

# The commands, in the order of their use.
COMMANDS = (
    "train",
    "evaluate",
    "compare",
    "watch",
    "inspect_episode",
    "sl_vs_rl",
    "reproduce",
)
PAGES = ("bias_page", "tasks_page", "algorithms_page")  # each writes a page of docs/
# Names that programs had in older versions.
RENAMED = {
    "inspect": "inspect_episode",
    "bias": "bias_page",
    "task_notes": "tasks_page",
    "variants": "algorithms_page",
}
FOLDER = Path(__file__).parents[1]


def module_of(name: str) -> str:
    """Returns the module of a program.

    >>> module_of("train"), module_of("bias_page"), module_of("half_life")
    ('experiments.train', 'experiments.pages.bias_page', 'experiments.studies.half_life')
    """
    folder = "" if name in COMMANDS else "pages." if name in PAGES else "studies."
    return f"experiments.{folder}{name}"


def studies() -> list[str]:
    """Returns the names of the studies, which are the files that end by running one."""
    ending = "\n    console.main(partial(study.run, "
    files = (FOLDER / "studies").glob("*.py")
    return sorted(file.stem for file in files if ending in file.read_text("utf-8"))
