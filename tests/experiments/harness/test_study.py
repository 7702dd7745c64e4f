"""A study keeps every cell it measured, resumes where it stopped, and never mixes settings."""

import json

import pytest

from agentic_rl.config import ConfigError
from agentic_rl.records.lock import Lock
from experiments.harness import outcome, study
from experiments.reports import report
from tests.experiments.toy_study import MEASURED, Toy


@pytest.fixture(autouse=True)
def nothing_measured_before():
    MEASURED.clear()


def test_records_are_kept_drawn_and_judged(study_folder, capsys):
    assert study.run(Toy(), ["--out", str(study_folder)]) == 0
    kept = report.read_csv(study_folder / "results.csv")
    assert [(r["number"], r["way"], r["square"]) for r in kept] == [
        (n, w, float(n * n)) for n in (1, 2, 3) for w in "ab"
    ]
    page = (study_folder / "table.md").read_text()
    assert Toy.claim in page and "| supported |" in page
    assert "`python -m experiments.studies.toy`" in page
    assert {p.name for p in study_folder.iterdir()} == {
        "results.csv",
        "made_by.json",
        "table.md",
        "toy.png",
        "toy.svg",
    }
    assert "1/3 | number 1 | square 1 |" in capsys.readouterr().out


def test_a_stopped_study_goes_on_after_the_last_finished_cell(study_folder):
    with pytest.raises(KeyboardInterrupt):
        study.measure(Toy(stop_at=2), study_folder)
    assert MEASURED == [1]
    settings = json.loads((study_folder / "made_by.json").read_text())
    settings["settings"]["stop_at"] = 0
    (study_folder / "made_by.json").write_text(json.dumps(settings))
    study.measure(Toy(), study_folder)
    assert MEASURED == [1, 2, 3]
    assert len(json.loads((study_folder / "made_by.json").read_text())["by"]) == 2


def test_a_second_process_with_the_same_folder_is_refused(study_folder):
    with Lock(study_folder), pytest.raises(ConfigError, match=f"already writes in {study_folder}"):
        study.run(Toy(), ["--out", str(study_folder)])
    assert MEASURED == [] and list(study_folder.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", bytes(100), b'{"settings": 3, "by": []}', b'{"settings": {}}']
)
def test_a_damaged_made_by_json_is_reported_and_left_alone(study_folder, content):
    study.run(Toy(), ["--out", str(study_folder)])
    (study_folder / "made_by.json").write_bytes(content)
    for arguments in (["--out", str(study_folder)], ["--out", str(study_folder), "--no-measure"]):
        with pytest.raises(ConfigError, match="made_by.json is damaged"):
            study.run(Toy(), arguments)
    assert (study_folder / "made_by.json").read_bytes() == content


def test_a_complete_study_measures_nothing_again(study_folder):
    for _ in range(2):
        study.run(Toy(), ["--out", str(study_folder)])
    assert MEASURED == [1, 2, 3]


def test_results_of_other_flags_are_not_mixed(study_folder):
    study.run(Toy(), ["--out", str(study_folder)])
    before = (study_folder / "results.csv").read_bytes()
    with pytest.raises(ConfigError, match="other numbers: name another --out, or remove it"):
        study.run(Toy(), ["--out", str(study_folder), "--numbers", "1", "2"])
    assert (study_folder / "results.csv").read_bytes() == before


def test_no_measure_without_results_says_what_to_do(study_folder):
    with pytest.raises(ConfigError, match="leave out --no-measure"):
        study.run(Toy(), ["--out", str(study_folder), "--no-measure"])


def test_quick_is_tiny_and_has_its_own_folder(study_folder, monkeypatch):
    monkeypatch.chdir(study_folder.parent)
    study.run(Toy(), ["--quick"])
    assert MEASURED == [7] and (study_folder.parent / "runs" / "toy_quick" / "results.csv").exists()


def test_quick_keeps_flags_that_are_given_and_is_part_of_the_command(study_folder):
    study.run(Toy(), ["--quick", "--numbers", "8", "9", "--out", str(study_folder)])
    assert (
        MEASURED == [8, 9]
        and "`python -m experiments.studies.toy --quick --numbers 8 9`"
        in (study_folder / "table.md").read_text()
    )
    with pytest.raises(ConfigError, match="other quick"):
        study.run(Toy(), ["--numbers", "8", "9", "--out", str(study_folder)])


def test_a_study_without_verdicts_says_so(study_folder, monkeypatch, capsys):
    monkeypatch.setattr(Toy, "verdicts", lambda self, records: [])
    assert study.run(Toy(), ["--out", str(study_folder)]) == 0
    assert (
        outcome.NO_RULE in capsys.readouterr().out
        and outcome.NO_RULE in (study_folder / "table.md").read_text()
    )


def test_flags_may_be_added_to_a_study_but_not_removed(study_folder):
    study.run(Toy(), ["--out", str(study_folder)])
    made = json.loads((study_folder / "made_by.json").read_text())
    del made["settings"]["stop_at"]
    (study_folder / "made_by.json").write_text(json.dumps(made))
    assert study.run(Toy(), ["--out", str(study_folder)]) == 0 and MEASURED == [1, 2, 3]
    made["settings"]["speed"] = 3
    (study_folder / "made_by.json").write_text(json.dumps(made))
    with pytest.raises(ConfigError, match="measured with speed, which toy no longer has"):
        study.run(Toy(), ["--out", str(study_folder), "--no-measure"])


def test_the_page_states_the_command_with_its_flags(study_folder):
    study.run(Toy(), ["--out", str(study_folder), "--numbers", "4", "5", "--seeds", "3"])
    assert (
        "`python -m experiments.studies.toy --seeds 3 --numbers 4 5`"
        in (study_folder / "table.md").read_text()
    )


def test_no_measure_takes_the_flags_of_the_results(study_folder, capsys):
    study.run(Toy(), ["--out", str(study_folder), "--numbers", "4", "5"])
    capsys.readouterr()
    assert study.run(Toy(), ["--out", str(study_folder), "--no-measure", "--numbers", "1"]) == 0
    assert (
        "square" in capsys.readouterr().out
        and "--numbers 4 5`" in (study_folder / "table.md").read_text()
        and MEASURED == [4, 5]
    )


def test_no_measure_of_an_unfinished_study_says_how_to_finish(study_folder):
    with pytest.raises(KeyboardInterrupt):
        study.measure(Toy(stop_at=3), study_folder)
    with pytest.raises(
        ConfigError, match="^2 of 3 cells are measured in .*without --no-measure goes on.$"
    ):
        study.run(Toy(), ["--out", str(study_folder), "--no-measure"])


def test_help_shows_the_outcome_of_the_committed_results(study_folder, monkeypatch, capsys):
    monkeypatch.setattr(study, "RESULTS", study_folder)
    study.run(Toy(), ["--out", str(study_folder / "toy"), "--numbers", "4", "5"])
    capsys.readouterr()
    with pytest.raises(SystemExit):
        study.run(Toy(), ["--help"])
    shown = capsys.readouterr().out
    assert shown.startswith("Outcome: of 1 claims 1 are supported, 0 falsified and 0 inconclusive.")
    assert "  supported: Squares are positive." in shown and "--numbers 4 5`: " in shown
    assert "Squares numbers." in shown


def test_a_study_without_results_has_no_outcome(tmp_path):
    assert outcome.describe_outcome(Toy(), tmp_path).startswith(
        "No outcome yet. There are no results"
    )
