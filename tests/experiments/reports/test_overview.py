"""Pages begin with the answer, and show verdicts sorted, counted and in colour."""

import itertools
import json
import re

import pytest

from agentic_rl.config import ConfigError
from experiments import sl_vs_rl
from experiments.reports import comparison_answer, overview, report
from tests.experiments.reports.pages import PROVENANCE, Page

KINDS = {"i": "inconclusive", "s": "supported", "f": "falsified"}


def lines(studies):
    """Returns verdicts of studies, given as a letter for each of a study's claims."""
    judged = [
        (study, i, KINDS[kind]) for study, kinds in studies.items() for i, kind in enumerate(kinds)
    ]
    return [
        {"study": study, "verdict": verdict, "claim": f"<{study} {i}>"}
        for study, i, verdict in judged
    ]


LINES = lines({"one_study": "isf", "other": "ii"})


def records(
    tasks=("running_sum", "key_door"),
    success=None,
    names=("warm_start", "sft", "rloo", "grpo", "dagger"),
):
    """Returns successes of two seeds around those given by (name, horizon, mode), else .5."""
    modes = ("sampled", "greedy")
    return [
        dict(
            task=task,
            algorithm=name,
            seed=seed,
            horizon=h,
            num_turns=8 * h,
            decisions=8.0 * h,
            mode=mode,
            per_turn=0.75,
            success=(success or {}).get((name, h, mode), 0.5) + 0.02 * seed - 0.01,
            env_steps=1000,
            expert_labels=90 if name == "dagger" else 10,
        )
        for task, name, seed, h, mode in itertools.product(tasks, names, (0, 1), (1, 2, 4), modes)
    ]


def test_verdicts_are_listed_in_colour_with_what_is_decided_first():
    parsed = Page(overview.verdict_list(LINES, {"one_study": "s1"}).html)
    boxes = [a["class"] for a in parsed.attributes if a.get("class", "").startswith("verdict")]
    assert boxes == [
        f"verdict {kind}"
        for kind in ("supported", "falsified", "inconclusive", "inconclusive", "inconclusive")
    ]
    assert (
        "script" not in parsed.tags
        and "<one_study 1>" in parsed.words
        and parsed.words.count("one study: ") == 3
    )
    assert [a["href"] for a in parsed.attributes if "href" in a] == ["#s1"] * 3


def test_a_filter_counts_each_kind_and_its_buttons_have_a_style():
    page = overview.verdict_list(LINES).html
    assert re.findall(r"(\w+) \((\d+)\)", page) == [
        ("all", "5"),
        ("supported", "1"),
        ("falsified", "1"),
        ("inconclusive", "3"),
    ]
    for kind in overview.COLORS:
        assert (
            f'class="only-{kind}"' in page
            and f".judged:has(.only-{kind}:checked) .verdict:not(.{kind})" in report.CSS
        )


def test_the_figure_of_counts_has_a_bar_for_each_kind_and_study():
    panel = overview.figure(LINES).axes[0]
    assert [x.get_text() for x in panel.get_yticklabels()] == ["one study", "other"]
    bars = sorted(
        (round(bar.get_y()), bar.get_x(), bar.get_width())
        for bar in panel.patches
        if bar.get_width()
    )
    assert bars == [(0, 0, 1), (0, 1, 1), (0, 2, 1), (1, 0, 2)]  # side by side
    assert [text.get_text() for text in panel.texts] == ["1", "1", "1", "2"]


def test_a_sentence_says_where_claims_hold_and_where_they_do_not():
    assert (
        overview.summarize_verdicts(LINES)
        == "Claims hold most often in one study (1 of 3). Some are falsified in one study."
    )
    assert overview.summarize_verdicts(LINES[3:]) == "No claim is supported. None is falsified."
    many = {
        "rare": "sss" + 7 * "i",
        "half": "si",
        "also_half": "ssif",
        "often": "ssi",
        "never": "f",
    }
    held = "Claims hold most often in often (2 of 3), also half (2 of 4), half (1 of 2)."
    assert (
        overview.summarize_verdicts(lines(many))
        == f"{held} Some are falsified in also half, never."
    )


def test_the_answer_comes_before_the_contents():
    page = report.html("title", PROVENANCE, [report.Section("s", ["below"])], ["The answer."])
    assert page.index("The answer.") < page.index("<nav>") < page.index("below")


def test_the_answer_is_made_from_the_records():
    found = comparison_answer.answer(
        records(
            success={
                ("sft", 1, "sampled"): 0.7,
                ("sft", 4, "sampled"): 0.2,
                ("grpo", 1, "sampled"): 0.9,
                ("dagger", 1, "sampled"): 0.99,
            }
        )
    )
    assert len(found) == 3
    assert (
        "70% of the episodes on running sum (20% at 4 times the length)" in found[0]
        and "key door" in found[0]
    )
    assert "from 50% to 90% on running sum (GRPO; 50% at 4 times the length)" in found[1]
    assert "99% and 99%, in the same order" in found[2] and "at least 80 labels more" in found[2]


def test_the_answer_is_about_the_compared_algorithms_only():
    assert len(comparison_answer.answer(records(names=("warm_start", "sft")))) == 1


def test_greedy_acting_is_explained_on_the_task_of_most_difference():
    other = records(tasks=("key_door",), success={("warm_start", 1, "greedy"): 0.6})
    said = comparison_answer.greedy(
        other + records(tasks=("running_sum",), success={("warm_start", 1, "greedy"): 0.8})
    )
    assert "pᵀ of the episodes" in said
    assert (
        "The warm start on running sum is right with a probability of 0.75 a turn, over 8 turns"
        in said
    )
    assert "sampled it succeeds in 50% of the episodes, greedy in 80%" in said


@pytest.fixture
def measured(tmp_path):
    """Returns a folder with results of a comparison."""
    curves = [
        dict(
            task=task,
            algorithm=name,
            seed=s,
            update=u,
            env_steps=9 * u,
            generated_tokens=9 * u,
            expert_labels=9,
            success=0.1 * u,
        )
        for task in ("running_sum", "key_door")
        for name in ("sft", "rloo", "grpo", "dagger")
        for s in (0, 1)
        for u in range(3)
    ]
    report.write_csv(tmp_path / "results.csv", records())
    report.write_csv(tmp_path / "curves.csv", curves)
    report.write(tmp_path / "made_by.json", json.dumps(PROVENANCE))
    return tmp_path


def test_the_comparison_is_written_again_without_measuring(measured):
    before = {p.name: p.read_bytes() for p in measured.iterdir()}
    assert sl_vs_rl.main(["--no-measure", "--out", str(measured)]) == 0
    assert {p.name: p.read_bytes() for p in measured.iterdir() if p.name in before} == before
    page = (measured / "report.html").read_text()
    assert (
        page.index("Cloning a few fixed demonstrations")
        < page.index("<img")
        < page.index("<nav>")
        < page.index('class="verdict')
    )
    pictures = {
        f"{name}.png"
        for name in ("final_success", "learning_curves", "success_against_horizon", "algorithms")
    }
    assert pictures | {"verdicts.csv", "report.html"} <= {p.name for p in measured.iterdir()}


def test_the_comparison_without_results_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="There are no results in .*: leave out --no-measure"):
        sl_vs_rl.main(["--no-measure", "--out", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []
