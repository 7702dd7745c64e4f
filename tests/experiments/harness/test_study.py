"""A study keeps every cell that it measured, goes on where it was stopped, and never mixes what was measured differently."""

import json
from dataclasses import dataclass
from typing import ClassVar

import pytest
from matplotlib.figure import Figure

from agentic_rl.config import ConfigError
from agentic_rl.records.lock import Lock
from experiments.harness import study
from experiments.reports import report
from experiments.reports.report import Verdict

MEASURED = []


@dataclass(frozen=True)
class Toy(study.Study):
    """Squares numbers."""

    numbers: tuple[int, ...] = (1, 2, 3)
    stop_at: int = 0  # interrupted before this number

    claim: ClassVar[str] = "Squares are positive."
    headline: ClassVar[str] = "square"
    tiny: ClassVar[dict] = dict(numbers=(7,))

    def cells(self):
        return [dict(number=n) for n in self.numbers]

    def records(self, cell):
        if cell["number"] == self.stop_at:
            raise KeyboardInterrupt
        MEASURED.append(cell["number"])
        return [{"way": way, "square": float(cell["number"] ** 2)} for way in ("a", "b")]

    def lines(self, records):
        return [{"number": r["number"], "square": r["square"]} for r in records]

    def figures(self, records):
        return {"toy": Figure()}

    def verdicts(self, records):
        return [
            Verdict(
                self.claim,
                "All.",
                "supported" if all(r["square"] > 0 for r in records) else "falsified",
                "Seen.",
            )
        ]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder, and no change to how jax is set up in this process."""
    monkeypatch.setattr(study.parallel, "prepare", lambda devices: None)
    monkeypatch.setattr(study.console, "keep_compiled_programs", lambda: None)
    MEASURED.clear()
    return tmp_path / "out"


def test_what_is_measured_is_kept_drawn_and_judged(here, capsys):
    assert study.run(Toy(), ["--out", str(here)]) == 0
    kept = report.read_csv(here / "results.csv")
    assert [(r["number"], r["way"], r["square"]) for r in kept] == [
        (n, w, float(n * n)) for n in (1, 2, 3) for w in "ab"
    ]
    page = (here / "table.md").read_text()
    assert Toy.claim in page and "| supported |" in page and "`python -m experiments.toy`" in page
    assert {p.name for p in here.iterdir()} == {
        "results.csv",
        "made_by.json",
        "table.md",
        "toy.png",
        "toy.svg",
    }
    assert "1/3 | number 1 | square 1 |" in capsys.readouterr().out


def test_stopped_it_goes_on_behind_the_last_cell(here):
    with pytest.raises(KeyboardInterrupt):
        study.measure(Toy(stop_at=2), here)
    assert MEASURED == [1]
    settings = json.loads((here / "made_by.json").read_text())
    settings["settings"]["stop_at"] = 0
    (here / "made_by.json").write_text(json.dumps(settings))
    study.measure(Toy(), here)
    assert MEASURED == [1, 2, 3]
    assert len(json.loads((here / "made_by.json").read_text())["by"]) == 2


def test_a_second_process_with_the_same_folder_is_refused_and_measures_nothing(here):
    with Lock(here), pytest.raises(ConfigError, match=f"already writes in {here}"):
        study.run(Toy(), ["--out", str(here)])
    assert MEASURED == [] and list(here.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", bytes(100), b'{"settings": 3, "by": []}', b'{"settings": {}}']
)
def test_a_damaged_file_on_how_it_was_measured_is_one_sentence(here, content):
    study.run(Toy(), ["--out", str(here)])
    (here / "made_by.json").write_bytes(content)
    for arguments in (["--out", str(here)], ["--out", str(here), "--no-measure"]):
        with pytest.raises(ConfigError, match="made_by.json is damaged"):
            study.run(Toy(), arguments)
    assert (here / "made_by.json").read_bytes() == content


def test_once_complete_nothing_is_measured_again(here):
    for _ in range(2):
        study.run(Toy(), ["--out", str(here)])
    assert MEASURED == [1, 2, 3]


def test_other_flags_are_not_mixed_in(here):
    study.run(Toy(), ["--out", str(here)])
    before = (here / "results.csv").read_bytes()
    with pytest.raises(ConfigError, match="other numbers: name another --out, or remove it"):
        study.run(Toy(), ["--out", str(here), "--numbers", "1", "2"])
    assert (here / "results.csv").read_bytes() == before


def test_drawing_without_results_says_what_to_do(here):
    with pytest.raises(ConfigError, match="leave out --no-measure"):
        study.run(Toy(), ["--out", str(here), "--no-measure"])


def test_quick_is_tiny_and_kept_apart(here, monkeypatch):
    monkeypatch.chdir(here.parent)
    study.run(Toy(), ["--quick"])
    assert MEASURED == [7] and (here.parent / "runs" / "toy_quick" / "results.csv").exists()


def test_quick_leaves_other_flags_and_is_stated(here):
    study.run(Toy(), ["--quick", "--numbers", "8", "9", "--out", str(here)])
    assert (
        MEASURED == [8, 9]
        and "`python -m experiments.toy --quick --numbers 8 9`" in (here / "table.md").read_text()
    )
    with pytest.raises(ConfigError, match="other quick"):
        study.run(Toy(), ["--numbers", "8", "9", "--out", str(here)])


def test_without_a_rule_it_says_so(here, monkeypatch, capsys):
    monkeypatch.setattr(Toy, "verdicts", lambda self, records: [])
    assert study.run(Toy(), ["--out", str(here)]) == 0
    assert (
        study.NO_RULE in capsys.readouterr().out
        and study.NO_RULE in (here / "table.md").read_text()
    )


def test_flags_may_come_but_not_go(here):
    study.run(Toy(), ["--out", str(here)])
    made = json.loads((here / "made_by.json").read_text())
    del made["settings"]["stop_at"]
    (here / "made_by.json").write_text(json.dumps(made))
    assert study.run(Toy(), ["--out", str(here)]) == 0 and MEASURED == [1, 2, 3]
    made["settings"]["speed"] = 3
    (here / "made_by.json").write_text(json.dumps(made))
    with pytest.raises(ConfigError, match="measured with speed, which toy no longer has"):
        study.run(Toy(), ["--out", str(here), "--no-measure"])


def test_the_command_that_made_it_is_stated_with_its_flags(here):
    study.run(Toy(), ["--out", str(here), "--numbers", "4", "5", "--seeds", "3"])
    assert "`python -m experiments.toy --seeds 3 --numbers 4 5`" in (here / "table.md").read_text()


def test_drawing_again_takes_the_flags_that_were_measured_with(here, capsys):
    study.run(Toy(), ["--out", str(here), "--numbers", "4", "5"])
    capsys.readouterr()
    assert study.run(Toy(), ["--out", str(here), "--no-measure", "--numbers", "1"]) == 0
    assert (
        "square" in capsys.readouterr().out
        and "--numbers 4 5`" in (here / "table.md").read_text()
        and MEASURED == [4, 5]
    )


def test_drawing_what_is_not_finished_says_how_to_finish(here):
    with pytest.raises(KeyboardInterrupt):
        study.measure(Toy(stop_at=3), here)
    with pytest.raises(
        ConfigError, match="^2 of 3 cells are measured in .*without --no-measure goes on.$"
    ):
        study.run(Toy(), ["--out", str(here), "--no-measure"])
