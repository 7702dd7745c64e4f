"""CSVs read back exactly; tables, figures and pages show what the records say."""

import itertools
import math
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from experiments.reports import comparison_figures, comparison_table, figures, report
from experiments.reports.display_names import words
from tests.experiments.reports.pages import PROVENANCE, Page

HOSTILE = "<script>alert('&\"')</script>"
ALGORITHMS = "sft sft_fresh dagger rft reinforce rloo grpo ppo".split()


def results(names=("warm_start", *ALGORITHMS), tasks=("running_sum",), accuracy=0.9):
    cells = itertools.product(tasks, names, (0, 1, 2), (1, 2, 4), ("sampled", "greedy"))
    return [
        {
            "task": task,
            "algorithm": name,
            "seed": seed,
            "horizon": h,
            "num_turns": 8 * h,
            "decisions": 8 * h,
            "mode": mode,
            "success": accuracy ** (8 * h) + 0.01 * seed,
            "per_turn": accuracy - 0.1 * (h > 1),
            "expert_labels": 1600,
            "env_steps": 10_000 + seed,
        }
        for task, name, seed, h, mode in cells
    ]


def curves(names=ALGORITHMS, lengths=(5, 5)):
    return [
        {
            "task": "running_sum",
            "algorithm": name,
            "seed": seed,
            "update": u,
            "env_steps": 100 * u * (name != "sft"),
            "generated_tokens": 90 * u,
            "expert_labels": 1600,
            "success": 0.1 * u + 0.02 * seed,
        }
        for name in names
        for seed, length in enumerate(lengths)
        for u in range(length)
    ]


def test_a_csv_reads_back_exactly(tmp_path):
    records = [
        {"task": 'a, "b"\r\nc', "seed": 0, "success": 0.1 + 0.2, "flops": 3e21, "note": ""},
        {"task": "ü", "seed": -7, "success": 1.0, "flops": math.inf, "note": "x"},
    ]
    report.write_csv(tmp_path / "new" / "r.csv", records)
    read = report.read_csv(tmp_path / "new" / "r.csv")
    assert read == records
    assert [[type(v) for v in r.values()] for r in read] == [
        [type(v) for v in r.values()] for r in records
    ]


def test_numpys_numbers_come_back_as_pythons(tmp_path):
    report.write_csv(
        tmp_path / "r.csv", [{"a": np.float32(0.1), "b": np.int64(3), "c": np.float64("nan")}]
    )
    (read,) = report.read_csv(tmp_path / "r.csv")
    assert (read["a"], read["b"]) == (float(np.float32(0.1)), 3) and math.isnan(read["c"])


def test_no_records_read_back_as_none(tmp_path):
    report.write_csv(tmp_path / "r.csv", [])
    assert report.read_csv(tmp_path / "r.csv") == []


@pytest.mark.parametrize(
    "bad", [[{"a": "1e5"}], [{"a": " 7 "}], [{"a": None}], [{"a": True}], [{"a": 1}, {"b": 1}]]
)
def test_values_that_would_not_read_back_are_refused(tmp_path, bad):
    path = tmp_path / "r.csv"
    report.write_csv(path, [{"a": 1}])
    with pytest.raises(ValueError, match="read back|columns"):
        report.write_csv(path, bad)
    assert report.read_csv(path) == [{"a": 1}]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "r.csv"
    report.write(path, "old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        report.write(path, "new")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["r.csv"]


def test_the_table_states_the_middle_of_the_seeds_and_its_interval():
    first = comparison_table.table(results(names=["grpo"]))[0]
    assert first["per turn"] == "0.900 [0.900, 0.900]"
    assert re.fullmatch(
        r"0\.44 \[0\.43, 0\.45\]", first["success 1x"]
    )  # .9⁸ = .430, plus .00, .01, .02 by seed
    assert first["4x"].startswith("0.04 ")  # .9³² = .034
    assert (first["expert labels"], first["env steps"]) == ("1,600", "10,001 [10,000, 10,002]")


def test_the_table_refuses_an_algorithm_that_lacks_a_seed():
    with pytest.raises(ValueError, match="one record for each"):
        comparison_table.table(results(names=["grpo"], tasks=("a", "b"))[1:])


def test_a_table_of_few_seeds_says_not_to_trust_its_intervals():
    assert "3 seeds" in comparison_table.note(results()) and "too narrow" in comparison_table.note(
        results()
    )


def test_a_table_prints_as_aligned_text_and_as_markdown():
    rows = [{"row": "a", "x": 1}, {"row": "long", "x": "p|q"}]
    assert report.text(rows) == "row   x\na     1\nlong  p|q"
    assert report.markdown(rows) == "| row | x |\n| --- | --- |\n| a | 1 |\n| long | p\\|q |"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.1, 0.2, "supported"),
        (-0.2, -0.1, "falsified"),
        (-0.1, 0.1, "inconclusive"),
        (math.nan, math.nan, "inconclusive"),
    ],
)
def test_an_outcome_follows_from_the_interval(low, high, expected):
    assert report.outcome(low, high) == expected


def page():
    parts = [HOSTILE, [{HOSTILE: HOSTILE}], report.Verdict(HOSTILE, HOSTILE, "supported", HOSTILE)]
    picture = report.Picture(
        comparison_figures.algorithm_table([{"algorithm": "sft", "acts": "expert"}]), HOSTILE
    )
    return Page(
        report.html(
            HOSTILE, PROVENANCE | {HOSTILE: HOSTILE}, [report.Section(HOSTILE, [*parts, picture])]
        )
    )


def test_the_page_escapes_everything():
    parsed = page()
    assert "script" not in parsed.tags
    title, contents, heading, paragraph, table, verdict, caption, provenance = (
        2,
        1,
        1,
        1,
        2,
        3,
        1,
        2,
    )
    assert (
        parsed.words.count(HOSTILE)
        == title + contents + heading + paragraph + table + verdict + caption + provenance
    )


def test_the_page_needs_no_other_file():
    parsed = page()
    sources = [a[name] for a in parsed.attributes for name in ("src", "href") if name in a]
    assert sources and all(s.startswith(("data:image/png;base64,", "#")) for s in sources)
    assert "link" not in parsed.tags
    image = next(a for a in parsed.attributes if "src" in a)
    assert image["alt"] == HOSTILE


def test_every_entry_of_the_contents_leads_to_a_section():
    parsed = page()
    links = {a["href"][1:] for a in parsed.attributes if "href" in a}
    assert links == {a["id"] for a in parsed.attributes if "id" in a} and len(links) == 2


@pytest.mark.parametrize("missing", PROVENANCE)
def test_a_page_that_hides_how_it_was_made_is_refused(missing):
    with pytest.raises(ValueError, match=missing):
        report.html("title", PROVENANCE | {missing: ""}, [])


def test_an_empty_table_is_refused():
    with pytest.raises(ValueError, match="at least one row"):
        report.html("title", PROVENANCE, [report.Section("s", [[]])])


def test_nine_algorithms_are_told_apart_with_and_without_colour():
    styles = figures.styles(["warm_start", *ALGORITHMS])
    assert (
        len({s["color"] for s in styles.values()})
        == len({s["marker"] for s in styles.values()})
        == 9
    )


def test_an_algorithm_looks_the_same_without_the_warm_start():
    assert figures.styles(ALGORITHMS)["ppo"] == figures.styles(["warm_start", *ALGORITHMS])["ppo"]


def test_curves_stop_at_the_last_update_that_every_seed_has():
    figure = comparison_figures.learning_curves(
        curves(names=["grpo"], lengths=(5, 3)), axes=["env_steps"]
    )
    (line,) = figure.axes[0].lines
    np.testing.assert_allclose(line.get_xydata(), [[0, 0.01], [100, 0.11], [200, 0.21]])


def test_an_algorithm_that_spends_nothing_is_one_point_at_its_end():
    figure = comparison_figures.learning_curves(
        curves(names=["sft"]), axes=["env_steps", "generated_tokens"]
    )
    lines = [panel.lines[0].get_xydata() for panel in figure.axes]
    np.testing.assert_allclose(lines[0], [[0, 0.41]])
    assert len(lines[1]) == 5


def test_the_legend_names_each_algorithm_once_above_the_panels():
    figure = comparison_figures.learning_curves(curves())
    figures.to_bytes(figure)
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == [
        *map(words, ALGORITHMS),
        "95% interval over 2 seeds",
    ]
    assert legend.get_window_extent().y0 >= max(
        panel.get_window_extent().y1 for panel in figure.axes
    )


def test_the_thin_curve_is_accuracy_to_the_power_of_turns():
    panel = comparison_figures.success_against_horizon(results(names=["grpo"])).axes[0]
    curve = panel.lines[1].get_xydata()
    np.testing.assert_allclose(curve[[0, -1]], [[8, 0.9**8], [32, 0.9**32]], rtol=1e-6)


def test_the_thin_curve_is_the_mean_over_seeds_of_each_seeds_own_power():
    records = results(names=["grpo"])
    for r in records:
        r["per_turn"] = 1.0 if r["seed"] == 0 else 0.5
    share, rest = 1 / len({r["seed"] for r in records}), 1 - 1 / len({r["seed"] for r in records})
    curve = comparison_figures.success_against_horizon(records).axes[0].lines[1].get_xydata()
    np.testing.assert_allclose(curve[0], [8, share + rest * 0.5**8], rtol=1e-6)


def test_the_horizon_figure_draws_the_asked_mode_only():
    records = results(names=["grpo"])
    for r in records:
        r["success"] = float(r["mode"] == "greedy")
    points = (
        comparison_figures.success_against_horizon(records, mode="greedy")
        .axes[0]
        .lines[0]
        .get_xydata()
    )
    np.testing.assert_array_equal(points, [[8, 1], [16, 1], [32, 1]])


def test_a_figure_is_redrawn_to_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        figures.save(
            comparison_figures.success_against_horizon(
                results(names=["sft", "grpo"], tasks=("a", "b"))
            ),
            tmp_path / name,
        )
    for kind in ("png", "svg"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_reports_can_be_made_where_jax_is_not_installed():
    check = (
        "import sys, experiments.reports.report; assert 'jax' not in sys.modules and "
        "'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
