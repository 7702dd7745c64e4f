"""What README and docs show works: programs run, commands parse, files become choices."""

import importlib
import re
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from agentic_rl import credit
from experiments import reproduce, train
from experiments.cli import program_names
from experiments.harness import study
from tests.experiments.program_runs import sums_as_json_lines

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "benchmarks" / "README.md",
    ROOT / "results" / "README.md",
]
LINE = """
    grpo key_door --policy.context markov --policy.width 16 --policy.heads 2
    --updates 1 --chunk 1 --seeds 1 --eval-episodes 8
"""
START = r"(?:python -m experiments\.(?:\w+\.)?|agentic-rl (?:study )?)"


def programs():
    """Returns the blocks of Python."""
    return [
        text
        for page in PAGES
        for text in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    ]


def typed():
    """Returns what is to be typed: lines of blocks, and commands within sentences."""
    found = []
    for page in PAGES:
        text = re.sub(
            r"^```(?:python)?\n.*?^```",
            "",
            page.read_text().replace("\\\n", " "),
            flags=re.DOTALL | re.MULTILINE,
        )  # programs and episodes
        found += re.findall(
            r"^(?:    |\$ )?((?:python -m|agentic-rl|make|tensorboard)\s.*)$", text, re.MULTILINE
        )
        found += [
            " ".join(command.split())
            for command in re.findall(r"`((?:python -m|agentic-rl|make)\s[^`]*)`", text)
        ]
    return sorted({re.split(r"\s+#", command)[0].strip() for command in found})


def commands():
    """Returns program and arguments of each command of this package."""
    lines = [line for line in typed() if re.match(START, line) and not re.search(EXAMPLES, line)]
    return [
        (program.replace("-", "_"), words)
        for program, *words in (shlex.split(re.sub(f"^{START}", "", line)) for line in lines)
    ]


EXAMPLES = "backwards|careless_demos"  # files that the docs build; test_one_file.py runs them
STUDIES = reproduce.studies()
each_program = pytest.mark.parametrize(
    "program", programs(), ids=lambda program: program.strip().splitlines()[-1][:40]
)
SHOWN = [
    pytest.param(program, words, id=" ".join([program, *words])) for program, words in commands()
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of the kind that the programs ask for."""
    path = tmp_path_factory.mktemp("readme") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.parallel, "prepare", lambda devices: None)
        patch.setattr(train.console, "keep_compiled_programs", lambda: None)
        patch.setattr(train.interrupt, "stop_predicate", lambda sentence: lambda: False)
        assert train.main([*LINE.split(), "--run-dir", str(path)]) == 0
    return path


def played(program, run, capsys):
    """What a program prints when it is run."""
    capsys.readouterr()
    exec(re.sub(r"runs/[\w.-]+", str(run), program), {"__name__": "program"})
    return capsys.readouterr().out


def test_there_are_programs_and_commands():
    assert len(programs()) >= 3 and len(SHOWN) >= 20
    assert {
        "train",
        "watch",
        "evaluate",
        "compare",
        "inspect_episode",
        "credit_bench",
        "sl_vs_rl",
    } <= {program for program, _ in commands()}


@each_program
def test_every_program_imports_what_it_uses_and_nothing_else(program):
    words = [sys.executable, "-m", "ruff", "check", "--isolated", "--quiet", "--select", "F"]
    words += ["--ignore", "F722,F821", "-"]  # shapes in annotations are strings that are no types
    done = subprocess.run(words, input=program, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@each_program
def test_every_program_runs(program, run, capsys):
    out = played(program, run, capsys)
    if "testbed" in program:
        assert "(4, 8, 10, 1) exact, by enumeration of up to 5 states a turn" in out


def test_the_file_that_extends_it_becomes_a_choice(tmp_path, monkeypatch, capsys):
    (whole,) = [text for text in programs() if "def __call__" in text]
    (tmp_path / "median.py").write_text(whole)
    monkeypatch.setattr(credit, "__path__", [*credit.__path__, str(tmp_path)])
    (words,) = [words for program, words in commands() if "above_median" in words]
    try:
        assert train.main([*words, "--print-config"]) == 0
    finally:
        sys.modules.pop("agentic_rl.credit.median", None)
        vars(credit).pop("median", None)
    out = capsys.readouterr().out
    assert '"class": "agentic_rl.credit.median.AboveMedian"' in out and '"scale": 2.0' in out


@pytest.mark.parametrize(
    "program, words",
    [p for p in SHOWN if p.values[0] == "train" and "above_median" not in p.values[1]],
)
def test_every_training_command_parses(program, words, tmp_path, capsys):
    (tmp_path / "my_pairs.jsonl").write_text(sums_as_json_lines(40))
    stand_in = {
        "my_pairs.jsonl": str(tmp_path / "my_pairs.jsonl"),
        "<task>": "running_sum",
        "reasoning_gym:gcd": "reasoning_gym:gcd:40",
    }
    words = [stand_in.get(word, word) for word in words]
    if any("reasoning_gym" in word for word in words):
        pytest.importorskip("reasoning_gym")
    if "RUN_DIR" in words:
        assert words[0] == "--resume"
    elif "--help" in words:
        with pytest.raises(SystemExit, match="0"):
            train.main(words)
    else:
        assert train.main([*words, "--print-config"] if words else ["--help"]) == 0


@pytest.mark.parametrize("program, words", [p for p in SHOWN if p.values[0] != "train"])
def test_every_other_command_names_a_program_and_flags_that_it_has(program, words, capsys):
    flags = {word.split("=")[0] for word in words if word.startswith("--")}
    main = (
        partial(study.run, STUDIES[program])
        if program in STUDIES
        else importlib.import_module(program_names.module_of(program)).main
    )
    task = ["key_door"] * (program == "watch")  # whose flags are listed
    try:
        main([*task, "--help"])
    except SystemExit as end:
        assert not end.code
    assert flags <= set(re.findall(r"--[\w.-]+", capsys.readouterr().out))


def test_every_target_of_make_is_in_the_makefile():
    targets = {
        word
        for line in typed()
        if line.startswith("make ")
        for word in line.split()[1:]
        if "=" not in word
    }
    known = set(re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"compare", "test"} <= targets <= known


def test_the_readme_counts_verdicts_as_the_page_of_results_does():
    said, page = ((ROOT / name).read_text() for name in ("README.md", "results/README.md"))
    counts = re.search(r"of (\d+) claims (\d+) are supported, (\d+) falsified and (\d+)", page)
    form = r"Of (\d+) claims (\d+) are supported, (\d+) are falsified and (\d+) are inconclusive"
    assert re.search(form, said).groups() == counts.groups()
