"""A study keeps every cell that it measured, goes on where it was stopped, and never mixes what was measured differently."""

import json

import pytest

from agentic_rl.config import ConfigError
from agentic_rl.records.lock import Lock
from experiments.harness import study
from experiments.reports import report
from tests.experiments.toy_study import MEASURED, Toy


@pytest.fixture(autouse=True)
def nothing_measured_before():
    MEASURED.clear()


def test_what_is_measured_is_kept_drawn_and_judged(study_folder, capsys):
    assert study.run(Toy(), ["--out", str(study_folder)]) == 0
    kept = report.read_csv(study_folder / "results.csv")
    assert [(r["number"], r["way"], r["square"]) for r in kept] == [
        (n, w, float(n * n)) for n in (1, 2, 3) for w in "ab"
    ]
    page = (study_folder / "table.md").read_text()
    assert Toy.claim in page and "| supported |" in page and "`python -m experiments.toy`" in page
    assert {p.name for p in study_folder.iterdir()} == {
        "results.csv",
        "made_by.json",
        "table.md",
        "toy.png",
        "toy.svg",
    }
    assert "1/3 | number 1 | square 1 |" in capsys.readouterr().out


def test_stopped_it_goes_on_behind_the_last_cell(study_folder):
    with pytest.raises(KeyboardInterrupt):
        study.measure(Toy(stop_at=2), study_folder)
    assert MEASURED == [1]
    settings = json.loads((study_folder / "made_by.json").read_text())
    settings["settings"]["stop_at"] = 0
    (study_folder / "made_by.json").write_text(json.dumps(settings))
    study.measure(Toy(), study_folder)
    assert MEASURED == [1, 2, 3]
    assert len(json.loads((study_folder / "made_by.json").read_text())["by"]) == 2


def test_a_second_process_with_the_same_folder_is_refused_and_measures_nothing(study_folder):
    with Lock(study_folder), pytest.raises(ConfigError, match=f"already writes in {study_folder}"):
        study.run(Toy(), ["--out", str(study_folder)])
    assert MEASURED == [] and list(study_folder.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", bytes(100), b'{"settings": 3, "by": []}', b'{"settings": {}}']
)
def test_a_damaged_file_on_how_it_was_measured_is_one_sentence(study_folder, content):
    study.run(Toy(), ["--out", str(study_folder)])
    (study_folder / "made_by.json").write_bytes(content)
    for arguments in (["--out", str(study_folder)], ["--out", str(study_folder), "--no-measure"]):
        with pytest.raises(ConfigError, match="made_by.json is damaged"):
            study.run(Toy(), arguments)
    assert (study_folder / "made_by.json").read_bytes() == content


def test_once_complete_nothing_is_measured_again(study_folder):
    for _ in range(2):
        study.run(Toy(), ["--out", str(study_folder)])
    assert MEASURED == [1, 2, 3]


def test_other_flags_are_not_mixed_in(study_folder):
    study.run(Toy(), ["--out", str(study_folder)])
    before = (study_folder / "results.csv").read_bytes()
    with pytest.raises(ConfigError, match="other numbers: name another --out, or remove it"):
        study.run(Toy(), ["--out", str(study_folder), "--numbers", "1", "2"])
    assert (study_folder / "results.csv").read_bytes() == before


def test_drawing_without_results_says_what_to_do(study_folder):
    with pytest.raises(ConfigError, match="leave out --no-measure"):
        study.run(Toy(), ["--out", str(study_folder), "--no-measure"])


def test_quick_is_tiny_and_kept_apart(study_folder, monkeypatch):
    monkeypatch.chdir(study_folder.parent)
    study.run(Toy(), ["--quick"])
    assert MEASURED == [7] and (study_folder.parent / "runs" / "toy_quick" / "results.csv").exists()


def test_quick_leaves_other_flags_and_is_stated(study_folder):
    study.run(Toy(), ["--quick", "--numbers", "8", "9", "--out", str(study_folder)])
    assert (
        MEASURED == [8, 9]
        and "`python -m experiments.toy --quick --numbers 8 9`"
        in (study_folder / "table.md").read_text()
    )
    with pytest.raises(ConfigError, match="other quick"):
        study.run(Toy(), ["--numbers", "8", "9", "--out", str(study_folder)])


def test_without_a_rule_it_says_so(study_folder, monkeypatch, capsys):
    monkeypatch.setattr(Toy, "verdicts", lambda self, records: [])
    assert study.run(Toy(), ["--out", str(study_folder)]) == 0
    assert (
        study.NO_RULE in capsys.readouterr().out
        and study.NO_RULE in (study_folder / "table.md").read_text()
    )


def test_flags_may_come_but_not_go(study_folder):
    study.run(Toy(), ["--out", str(study_folder)])
    made = json.loads((study_folder / "made_by.json").read_text())
    del made["settings"]["stop_at"]
    (study_folder / "made_by.json").write_text(json.dumps(made))
    assert study.run(Toy(), ["--out", str(study_folder)]) == 0 and MEASURED == [1, 2, 3]
    made["settings"]["speed"] = 3
    (study_folder / "made_by.json").write_text(json.dumps(made))
    with pytest.raises(ConfigError, match="measured with speed, which toy no longer has"):
        study.run(Toy(), ["--out", str(study_folder), "--no-measure"])


def test_the_command_that_made_it_is_stated_with_its_flags(study_folder):
    study.run(Toy(), ["--out", str(study_folder), "--numbers", "4", "5", "--seeds", "3"])
    assert (
        "`python -m experiments.toy --seeds 3 --numbers 4 5`"
        in (study_folder / "table.md").read_text()
    )


def test_drawing_again_takes_the_flags_that_were_measured_with(study_folder, capsys):
    study.run(Toy(), ["--out", str(study_folder), "--numbers", "4", "5"])
    capsys.readouterr()
    assert study.run(Toy(), ["--out", str(study_folder), "--no-measure", "--numbers", "1"]) == 0
    assert (
        "square" in capsys.readouterr().out
        and "--numbers 4 5`" in (study_folder / "table.md").read_text()
        and MEASURED == [4, 5]
    )


def test_drawing_what_is_not_finished_says_how_to_finish(study_folder):
    with pytest.raises(KeyboardInterrupt):
        study.measure(Toy(stop_at=3), study_folder)
    with pytest.raises(
        ConfigError, match="^2 of 3 cells are measured in .*without --no-measure goes on.$"
    ):
        study.run(Toy(), ["--out", str(study_folder), "--no-measure"])
