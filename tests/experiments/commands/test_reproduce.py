"""All studies are found, and one page says what came out of those that have results."""

import inspect
import os
import re
import signal
import time

import pytest

from agentic_rl.config import ConfigError
from experiments import reproduce
from experiments.harness import study
from tests.experiments.toy_study import Toy


def test_every_study_is_found_by_its_module():
    found = reproduce.studies()
    assert {
        "credit_bench",
        "agents_of_2023",
        "vine_budget",
    } <= found.keys() and "study" not in found
    assert all(
        one.claim and one.headline and one.tiny and inspect.getdoc(type(one)).endswith(".")
        for one in found.values()
    )


def test_the_page_shows_verdicts_figures_and_where_they_come_from(
    study_folder, monkeypatch, capsys
):
    monkeypatch.setattr(reproduce, "studies", lambda: {"toy": Toy(), "absent": Toy()})
    study.run(Toy(), ["--out", str(study_folder / "toy"), "--numbers", "4", "5"])
    assert reproduce.main(["--no-measure", "--out", str(study_folder)]) == 0
    page, table = ((study_folder / name).read_text() for name in ("index.html", "README.md"))
    assert (
        "<strong>supported</strong>: Squares are positive." in page
        and 'alt="Squares numbers. (toy)"' in page
    )
    assert "python -m experiments.studies.toy --numbers 4 5" in page and "absent" not in page
    assert set(re.findall(r'href="#(s\d+)"', page)) == set(re.findall(r'id="(s\d+)"', page))
    assert (
        page.index("of 1 claims 1 are supported")
        < page.index("<img")
        < page.index("<nav>")
        < page.index('class="verdict supported"')
    )
    assert '<a href="#s1">toy</a>: Squares are positive.' in page
    assert (
        "| toy | 1 | 0 | 0 |" in table
        and "## Supported (1)" in table
        and "| toy | Squares are positive. | Seen. |" in table
    )


@pytest.mark.parametrize("jobs", [1, 2])
def test_after_a_study_that_fails_none_begins(monkeypatch, tmp_path, capsys, jobs):
    names, began = [f"study{i}" for i in range(9)], []
    monkeypatch.setattr(reproduce, "studies", lambda: dict.fromkeys(names, Toy()))
    monkeypatch.setattr(
        reproduce,
        "measure",
        lambda name, command, folder, place: (
            began.append(name),
            time.sleep(0.1),
            (130, "it says why\n"),
        )[-1],
    )
    assert reproduce.main(["--jobs", str(jobs), "--out", str(tmp_path)]) == 130
    said = capsys.readouterr().out
    assert len(began) <= jobs and "== 1/9 study0" in said and "it says why" in said


def test_interrupted_none_begins_any_more(monkeypatch, tmp_path):
    began = []

    def interrupted(name, command, folder, place):
        began.append(name)
        os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C does
        time.sleep(0.3)
        return 0, ""

    monkeypatch.setattr(reproduce, "studies", lambda: {f"study{i}": Toy() for i in range(4)})
    monkeypatch.setattr(reproduce, "measure", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            reproduce.main(["--out", str(tmp_path)])
    finally:
        signal.signal(signal.SIGINT, before)
    assert began == ["study0"]


def test_a_study_runs_in_its_own_process_and_returns_its_output(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.executable", "echo")
    code, said = reproduce.measure("toy", reproduce.Command(quick=True, jobs=2), tmp_path)
    assert (
        code == 0
        and said.startswith("-P -c ")
        and said.endswith(f" toy --quick --out {tmp_path / 'toy'}\n")
    )
    assert reproduce.measure("toy", reproduce.Command(), tmp_path) == (0, "")


def test_mistakes_get_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match="no study called vine_bugdet .did you mean vine_budget"):
        reproduce.main(["--only", "vine_bugdet"])
    with pytest.raises(ConfigError, match="jobs must be 1 or more, not 0"):
        reproduce.main(["--jobs", "0"])
    with pytest.raises(ConfigError, match="no results in .*: leave out --no-measure"):
        reproduce.main(["--no-measure", "--out", str(tmp_path)])
