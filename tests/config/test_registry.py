"""A broken file in a registry folder is left out with one sentence, and everything else works."""

import json
import sys

import pytest

from agentic_rl import credit, envs, values
from agentic_rl.config import ConfigError, from_json, named, to_json
from agentic_rl.config.registry import LeftOut
from experiments import reproduce, studies, train
from experiments.cli import console, flags

HEAD = "from agentic_rl.config import config\nfrom agentic_rl.credit.group import Group\n\n\n"
GOOD = HEAD + "@config\nclass AboveMedian(Group):\n    scale: float = 1.0\n"
BROKEN = {
    "no import": (
        "@config\nclass AboveMedian(Group):\n    pass\n",
        "NameError in line 1: name 'config' is not defined.",
    ),
    "no syntax": (
        HEAD + "class AboveMedian(Group)\n    pass\n",
        "SyntaxError in line 5: expected ':'.",
    ),
    "a package that is not there": (
        "import nothing_there\n" + GOOD,
        "ModuleNotFoundError in line 1: No module named 'nothing_there'.",
    ),
    "types that are strings": (
        "from __future__ import annotations\n" + GOOD,
        "TypeError in line 6: The types of AboveMedian's fields are",
    ),
    "a program that ends": ("import sys\nsys.exit(3)\n" + GOOD, "SystemExit in line 2: 3."),
    "an error without words": ("assert 1 == 2\n" + GOOD, "AssertionError in line 1."),
    "an error elsewhere": (
        "import json\njson.loads('x')\n" + GOOD,
        "JSONDecodeError in line 2: Expecting value",
    ),
    "no text": (b"\xff\xfe\x00 class AboveMedian", "SyntaxError"),
}

FAILING_STUDY = """
import dataclasses
from experiments.harness.study import Study


@dataclasses.dataclass(frozen=True)
class Other(Study):
    def __post_init__(self):
        raise KeyError('x')
"""


@pytest.fixture
def add_file(tmp_path, monkeypatch):
    """Returns a function that adds a file to a registry folder for the time of a test."""
    added = []

    def add_file(package, name, text):
        folder = tmp_path / package.__name__
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        added.append((package, name.removesuffix(".py")))
        if str(folder) not in package.__path__:
            monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])

    yield add_file
    for package, name in added:
        sys.modules.pop(f"{package.__name__}.{name}", None)
        vars(package).pop(name, None)


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_is_left_out_in_a_sentence_and_the_others_stay(add_file, what):
    text, reason = BROKEN[what]
    before = dict(named(credit))
    add_file(credit, "median.py", text)
    with pytest.warns(LeftOut) as warned:
        registry = named(credit)
    (sentence,) = {str(w.message) for w in warned}
    assert (
        sentence.startswith(f"agentic_rl/credit/median.py is left out: {reason}")
        and sentence.endswith(".")
        and "\n" not in sentence
    )
    assert registry == before


@pytest.mark.parametrize("name", ["median", "above_median"])
def test_asking_for_a_class_of_a_broken_file_says_why_it_is_missing(add_file, name):
    add_file(credit, "median.py", BROKEN["no import"][0])
    with (
        pytest.warns(LeftOut),
        pytest.raises(
            ConfigError,
            match=f"no credit called {name}, because .*median.py is left out: NameError in",
        ),
    ):
        flags.parse(train.Command, ["grpo", "running_sum", "--credit", name])


def test_a_file_without_faults_becomes_a_choice(add_file):
    add_file(credit, "median.py", GOOD)
    assert (
        flags.parse(
            train.Command, ["grpo", "running_sum", "--credit", "above_median"]
        ).run.algorithm.credit.scale
        == 1.0
    )


def test_a_name_that_two_files_define_stands_for_neither(add_file):
    for file in ("median.py", "median_copy.py"):
        add_file(credit, file, GOOD)
    with pytest.warns(
        LeftOut,
        match="above_median is left out: agentic_rl/credit/median.py and .*/median_copy.py both"
        " define it; rename",
    ):
        registry = named(credit)
    assert (
        "above_median" not in registry
        and "both define it" in registry.left_out["above_median"]
        and "leave_one_out" in registry
    )


def test_a_class_that_cannot_be_made_without_arguments_is_left_out(add_file):
    add_file(credit, "median.py", GOOD.replace(" = 1.0", ""))
    with pytest.warns(
        LeftOut,
        match="AboveMedian in agentic_rl/credit/median.py is left out: give its field scale a"
        " default.",
    ):
        assert "above_median" not in named(credit)


@pytest.mark.parametrize(
    "package, file", [(envs, "maze.py"), (values, "guess.py"), (studies, "my_study.py")]
)
def test_every_folder_that_is_a_registry_holds_when_a_file_breaks(add_file, package, file):
    def names():
        return reproduce.studies() if package is studies else named(package)

    before = set(names())
    add_file(package, file, "nonsense(\n")
    with pytest.warns(
        LeftOut,
        match=f"{package.__name__.replace('.', '/')}/{file} is left out: SyntaxError in line 1",
    ):
        assert set(names()) == before


def test_a_study_that_is_broken_or_cannot_be_made_is_named_when_asked_for(add_file):
    add_file(studies, "my_study.py", "nonsense(\n")
    add_file(studies, "other.py", FAILING_STUDY)
    for name in ("my_study", "other"):
        with (
            pytest.warns(LeftOut),
            pytest.raises(
                ConfigError,
                match=f"no study called {name}, because experiments/studies/{name}.py is left out",
            ),
        ):
            reproduce.main(["--only", name])


def test_a_run_of_a_class_whose_file_is_broken_now_says_so(add_file):
    add_file(credit, "median.py", GOOD)
    stored = json.loads(json.dumps(to_json(named(credit)["above_median"]())))
    del sys.modules["agentic_rl.credit.median"]
    add_file(credit, "median.py", BROKEN["no import"][0] + "# of another length than before\n")
    with pytest.raises(
        ConfigError,
        match="names a class of agentic_rl.credit.median, but agentic_rl/credit/median.py is left"
        " out: NameError",
    ):
        from_json(stored)


def test_the_command_line_shows_it_as_one_plain_line(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["program"])
    monkeypatch.setattr(
        console.warnings, "showwarning", console.warnings.showwarning
    )  # add_file back afterwards

    def program(arguments):
        for category in (LeftOut, RuntimeWarning):
            console.warnings.showwarning(category("It is said."), category, "file.py", 3)

    with pytest.raises(SystemExit):
        console.main(program)
    first, second = capsys.readouterr().err.splitlines()[:2]
    assert first == "warning: It is said." and second == "file.py:3: RuntimeWarning: It is said."
