"""The page on the tasks says what they and the results say now."""

from dataclasses import fields
from pathlib import Path

from agentic_rl import envs
from agentic_rl.config import named
from agentic_rl.envs.key_door import KeyDoor
from experiments import report, task_notes

HERE = Path(__file__).parents[1]


def results():
    path = HERE / "results" / "task_notes" / "results.csv"
    return report.read_csv(path) if path.exists() else []


def test_the_committed_page_is_current():
    page = (HERE / "docs" / "tasks.md").read_text(encoding="utf-8")
    assert page == task_notes.page(named(envs), results()), "Run `python -m experiments.task_notes` and commit docs/tasks.md."


def test_every_task_shows_a_literal_episode_and_its_knobs():
    for name, cls in named(envs).items():
        note = task_notes.note(name, cls)
        assert "success, return" in note, f"{name} shows no episode"
        assert all(f"`{field}`" in note for field in (f.name for f in fields(cls)))


def test_a_line_holds_the_means_of_what_was_measured():
    measured = [{"task": "key_door", "who": "sft", "seed": s, "success": x} for s, x in enumerate((0.4, 0.5, 0.6))]
    line = task_notes.line("key_door", KeyDoor(), measured)
    assert (line["SFT"], line["random"], line["tokens"]) == ("0.500 [0.252, 0.748]", "–", "2 + 10 x (4 + 1)")


def test_a_knob_is_explained_by_the_comment_in_its_source():
    knobs = {knob["knob"]: knob for knob in task_notes.fields(KeyDoor)}
    assert knobs["`hide_inventory`"] == {"knob": "`hide_inventory`", "default": False, "": "observations do not show the keys in hand"}
