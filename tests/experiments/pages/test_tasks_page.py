"""The page on tasks is current, settings follow their rule, and old numbers are marked."""

import dataclasses
from pathlib import Path

import pytest

from agentic_rl import envs
from agentic_rl.config import named
from agentic_rl.envs.key_door import KeyDoor
from agentic_rl.envs.micro import Memorize
from experiments.pages import task_settings, task_success, tasks_page
from experiments.pages.task_book import NO_TRAINING, Book
from experiments.pages.task_notes import fields
from experiments.pages.task_settings import HELD_OUT, RATES, Setting

HERE = Path(__file__).parents[3]
SETTING = Setting(40, 0, 3e-4, 60)
CURVE = {  # learning rate -> {updates: success, the same with every held-out seed}
    1e-4: {20: 0.5, 100: 0.6},
    3e-4: {20: 0.9, 100: 0.907},
    1e-3: {20: 0.2, 100: 0.905},
}


CLONES = {1000: 40, 1001: 20}  # held-out seed -> updates of cloning


def searched(name: str = "key_door", curve: dict = CURVE, clones: dict = CLONES) -> list[dict]:
    """Returns records of a search: of cloning for so many updates, and of GRPO after it."""
    cloned = [
        task_settings.record(name, seed, Setting(u, 0, 0.0, 0), 0.6 if u == clones[seed] else 0.1)
        for seed in clones
        for u in range(20, clones[seed] + 1, 20)
    ]
    warm = max(clones.values())
    return cloned + [
        task_settings.record(name, seed, Setting(warm, 0, rate, updates), success)
        for rate, successes in curve.items()
        for updates, success in successes.items()
        for seed in HELD_OUT
    ]


def book(tmp_path, search: list[dict] = (), **measured: dict[Setting, list[float]]) -> Book:
    """Returns a book on key_door with one success per seed, for each player and setting."""
    found = Book(tmp_path, list(search), [])
    for who, cells in measured.items():
        for setting, successes in cells.items():
            for seed, success in enumerate(successes):
                found.add("key_door", who, seed, setting, success)
    return found


def line(found: Book) -> dict:
    return tasks_page.line("key_door", KeyDoor(), found)


def test_the_committed_page_is_current():
    page = (HERE / "docs" / "tasks.md").read_text(encoding="utf-8")
    now = tasks_page.page(named(envs), Book.read(HERE / "results" / "tasks"))
    assert page == now, "Run `python -m experiments.pages.tasks_page` and commit docs/tasks.md."


def test_every_task_shows_a_literal_episode_and_its_knobs():
    for name, cls in named(envs).items():
        note = tasks_page.note(name, cls)
        assert "success, return" in note, f"{name} shows no episode"
        assert all(f"`{field}`" in note for field in (f.name for f in dataclasses.fields(cls)))


def test_a_knob_is_explained_by_the_comment_in_its_source():
    knobs = {knob["knob"]: knob for knob in fields(KeyDoor)}
    assert knobs["`hide_inventory`"] == {
        "knob": "`hide_inventory`",
        "default": False,
        "": "observations do not show the keys in hand",
    }


def test_of_settings_that_tie_the_shortest_is_chosen():
    assert task_settings.choose(searched(), "key_door") == Setting(
        40, 0, 3e-4, 20
    )  # .9, .907 and .905 are within .01


def test_a_setting_better_by_more_than_a_tie_is_chosen_though_longer():
    better = CURVE | {1e-3: {20: 0.2, 100: 0.93}}
    assert task_settings.choose(searched(curve=better), "key_door") == Setting(40, 0, 1e-3, 100)


def test_settings_are_judged_by_their_mean_over_the_held_out_seeds():
    records = [
        r | {"success": 0.1} if (r["learning_rate"], r["seed"]) == (3e-4, 1000) else r
        for r in searched()
    ]
    assert task_settings.choose(records, "key_door") == Setting(40, 0, 1e-3, 100)


def test_no_setting_is_chosen_while_runs_of_the_search_are_missing():
    some = [r for r in searched() if (r["seed"], r["learning_rate"]) != (1001, RATES[-1])]
    assert (
        task_settings.choose(some, "key_door") is None
        and task_settings.choose(searched(), "todo") is None
    )


def test_the_slowest_held_out_seed_decides_how_long_to_clone():
    assert task_settings.start(searched(clones={1000: 40, 1001: 60}))[1:] == (60, 0)


def test_where_fresh_demonstrations_fail_the_better_clone_is_the_start(
    monkeypatch,
):
    def clone(name, task, seed, num_demos, *rest):
        successes = [0.0, 0.0, 0.1] if num_demos == 0 else [0.1, 0.3, 0.2]
        return [
            task_settings.record(name, seed, Setting(20 * (i + 1), num_demos, 0.0, 0), y)
            for i, y in enumerate(successes)
        ]

    starts = []
    monkeypatch.setattr(task_settings, "cloning", clone)
    monkeypatch.setattr(
        task_settings, "reinforcing", lambda name, task, begin, *a: starts.append(begin) or []
    )
    found = list(task_settings.search("key_door", KeyDoor(), [], 64))
    assert len(found) == 4 and starts == [task_settings.Start(0.3, 40, task_settings.FEW)] * 2


def test_a_search_makes_only_the_runs_that_are_missing(monkeypatch):
    asked = []
    monkeypatch.setattr(task_settings, "cloning", lambda *a: pytest.fail("both clones are there"))
    monkeypatch.setattr(
        task_settings,
        "reinforcing",
        lambda name, task, begin, rates, seed, *a: (
            asked.append((begin.warm_updates, rates, seed)) or []
        ),
    )
    some = [
        r for r in searched() if (r["seed"], r["learning_rate"]) not in {(1000, 1e-3), (1001, 1e-4)}
    ]
    assert list(task_settings.search("key_door", KeyDoor(), some, 64)) == []
    assert asked == [(40, [1e-3], 1000), (40, [1e-4], 1001)]


def test_a_line_holds_the_setting_and_its_means(tmp_path):
    chosen = Setting(40, 0, 3e-4, 20)
    found = line(
        book(tmp_path, searched(), sft={chosen: [0.4, 0.5, 0.6]}, grpo={chosen: [0.9, 0.95, 1.0]})
    )
    assert (found["SFT"], found["random"], found["tokens"]) == (
        "0.500 [0.252, 0.748]",
        "–",
        "2 + 10 x (4 + 1)",
    )
    assert (found["SFT, then GRPO"], found["setting"]) == (
        "0.950 [0.826, 1.000]",
        "40, then 20 at 3e-4",
    )


@pytest.mark.parametrize("search", [[], searched()], ids=["no search", "another choice"])
def test_a_number_measured_with_another_setting_is_marked(tmp_path, search):
    found = book(
        tmp_path,
        search,
        grpo={SETTING: [0.4, 0.5, 0.6]},
        expert={NO_TRAINING: [1.0, 1.0]},
    )
    assert (
        line(found)["SFT, then GRPO"] == "0.500 [0.252, 0.748] †"
        and line(found)["setting"] == "40, then 60 at 3e-4"
    )
    assert line(found)["expert"] == "1.000 [1.000, 1.000]"
    assert "† Not measured" in tasks_page.page({"key_door": KeyDoor}, found)


def test_a_page_without_old_numbers_does_not_explain_the_mark(tmp_path):
    assert "†" not in tasks_page.page({"key_door": KeyDoor}, book(tmp_path, searched()))


def test_the_page_shows_at_which_rates_grpo_falls_behind_its_clone():
    row = "| key_door | 0.600 | 0.600 | 0.907 | 0.905 |"  # the clones, then the rates
    assert row in tasks_page.falls(searched()) and tasks_page.falls([]) == "" == tasks_page.falls(
        searched()[:4]
    )


def test_newcomer_numbers_are_marked_once_default_flags_change(tmp_path):
    _, today = task_success.newcomer("key_door")
    assert (
        line(book(tmp_path, default={today: [0.5, 0.5]}))["`train grpo`"] == "0.500 [0.500, 0.500]"
    )
    assert (
        line(book(tmp_path, default={today._replace(updates=1): [0.5, 0.5]}))["`train grpo`"]
        == "0.500 [0.500, 0.500] †"
    )


def test_old_numbers_stay_until_as_many_new_ones_are_there(tmp_path):
    chosen, search = Setting(40, 0, 3e-4, 20), searched()
    halfway = book(tmp_path, search, grpo={SETTING: [0.5, 0.5], chosen: [0.9]})
    assert line(halfway)["SFT, then GRPO"] == "0.500 [0.500, 0.500] †"
    halfway.add("key_door", "grpo", 1, chosen, 0.9)
    assert line(halfway)["SFT, then GRPO"] == "0.900 [0.900, 0.900]" and len(halfway.measured) == 2


def test_the_next_process_finds_the_measurements(tmp_path):
    before = book(tmp_path, grpo={SETTING: [0.5, 0.6]})
    before.add_search(searched())
    after = Book.read(tmp_path)
    assert (after.searched, after.measured) == (before.searched, before.measured)
    assert after.missing("key_door", "grpo", SETTING, seeds=4) == [2, 3]


@pytest.mark.slow
def test_an_interrupted_measurement_continues_after_the_last_run(tmp_path, monkeypatch):
    monkeypatch.setattr(task_settings, "LONGEST", 20)
    monkeypatch.setattr(task_settings, "LENGTH", 20)
    sizes, runs = dict(seeds=2, episodes=32), []
    left = [3]  # runs until the program is interrupted
    train = task_settings.train

    def trained(run, **words):
        if left[0] == len(runs):
            raise KeyboardInterrupt
        runs.append(run.seed)
        return train(run, **words)

    monkeypatch.setattr(task_settings, "train", trained)
    with pytest.raises(KeyboardInterrupt):
        task_success.measure_chosen("memorize", Memorize(), Book.read(tmp_path), **sizes)
    assert task_settings.choose(Book.read(tmp_path).searched, "memorize") is None
    left[0] = None
    task_success.measure_chosen("memorize", Memorize(), Book.read(tmp_path), **sizes)
    assert task_settings.choose(Book.read(tmp_path).searched, "memorize").updates <= 40
    assert len(runs) == 2 * len(HELD_OUT) + len(HELD_OUT) * len(
        RATES
    )  # fresh demonstrations and few; none was made twice


def test_the_page_shows_where_repeated_demonstrations_teach_more():
    few = [
        task_settings.record("key_door", seed, Setting(20, task_settings.FEW, 0.0, 0), y)
        for seed, y in zip(HELD_OUT, (0.7, 0.8))
    ]
    assert "| key_door | 0.600 after 40 updates | 0.750 after 20 updates |" in tasks_page.repeats(
        searched() + few
    )
    assert tasks_page.repeats(searched()) == ""
