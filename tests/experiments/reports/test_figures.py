"""Every figure of every study, drawn from the committed numbers, can be read."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection

from experiments import reproduce
from experiments.harness import outcome
from experiments.reports import comparison_figures, figures, report, sweep

RESULTS = Path(__file__).parents[3] / "results"
STUDIES = reproduce.studies()
SHARE, COSINE = (
    re.compile(r"success|share|chance of|pass@|in the\nright order"),
    re.compile("^cosine"),
)
# A difference, or no share at all.
OTHER = re.compile("minus|gain|lead|drop|effect|log odds|episodes until|interval over")
SAME = {  # the numbers of panels that show the same quantity
    "rule_shift": [(0, 1)],
    "delayed_reward": [(0, 1)],
    "vine_budget": [(1, 2)],
    "agents_of_2023": [(0, 1, 2)],
    "half_life": [(0, 1)],
    "spurious_reward": [(0, 1)],
    "horizon": [(0, 1, 2, 3)],
    "group_size": [(0, 1)],
}


def quantity(panel):
    """Returns what the y axis shows, in the words of the panel."""
    labels = [one.get_ylabel() for one in panel.get_shared_y_axes().get_siblings(panel)]
    supylabel = getattr(panel.figure, "_supylabel", None)
    return (
        next((label for label in labels if label), "")
        or (supylabel.get_text() if supylabel else "")
        or panel.get_title()
    )


def bounds(panel):
    """Where what the y axis shows can be."""
    if COSINE.search(quantity(panel)):
        return -1, 1
    return (
        (0, 1)
        if SHARE.search(quantity(panel)) and not OTHER.search(quantity(panel))
        else (-np.inf, np.inf)
    )


def intervals(panel):
    """Returns the heights of all corners of bands and ends of bars."""
    bands = [
        path.vertices[:, 1]
        for band in panel.collections
        if isinstance(band, PolyCollection)
        for path in band.get_paths()
    ]
    bars = [
        np.reshape(x, (-1, 2))[:, 1]
        for bar in panel.collections
        if isinstance(bar, LineCollection)
        for x in bar.get_segments()
    ]
    heights = np.concatenate([[], *bands, *bars])
    return heights[np.isfinite(heights)]


def labels(figure):
    """All tick labels that stand upright, of all panels; matplotlib keeps some beyond the
    limits, and does not draw them.
    """
    axes = [
        axis
        for panel in figure.axes
        if panel.get_visible() and panel.axison
        for axis in (panel.xaxis, panel.yaxis)
    ]
    ticks = [
        tick
        for axis in axes
        for tick in axis.get_major_ticks()
        if _between(tick.get_loc(), axis.get_view_interval())
    ]
    return [
        x
        for x in (tick.label1 for tick in ticks)
        if x.get_text() and x.get_visible() and not x.get_rotation()
    ]


def _between(place, ends):
    return min(ends) <= place <= max(ends)


def texts(figure):
    """Titles, labels and entries of legends."""
    found = [
        x
        for panel in figure.axes
        for x in (panel.title, panel._left_title, panel.xaxis.label, panel.yaxis.label)
    ]
    legends = [
        *figure.legends,
        *(panel.get_legend() for panel in figure.axes if panel.get_legend()),
    ]
    return [
        x for x in found + [x for legend in legends for x in legend.get_texts()] if x.get_text()
    ]


def off(panel):
    """Yields a sentence for each number outside its bounds or outside the panel."""
    (low, high), ends, (bottom, top), what = (
        bounds(panel),
        intervals(panel),
        panel.get_ylim(),
        quantity(panel),
    )
    if not len(ends):
        return
    if ends.min() < low - 1e-9 or ends.max() > high + 1e-9:
        yield f"an interval of {what!r} leaves [{low}, {high}]: {ends.min()} to {ends.max()}"
    if np.isfinite(high - low) and (
        bottom < low - 0.05 * (high - low) or top > high + 0.05 * (high - low)
    ):
        yield f"the axis of {what!r} leaves [{low}, {high}]"
    if panel.get_yscale() == "log" and (ends.min() < bottom or ends.max() > top):
        yield f"an interval of {what!r} runs off its log axis"


def crowded(figure):
    """Yields a sentence for each text that lies on another one or leaves the page."""
    for one, other in itertools.combinations(labels(figure), 2):
        if one.get_window_extent().padded(1.5).overlaps(other.get_window_extent().padded(1.5)):
            yield f"the ticks {one.get_text()!r} and {other.get_text()!r} touch"
    for text in texts(figure):
        box, page = text.get_window_extent(), figure.bbox
        if (
            box.x0 < page.x0 - 1
            or box.x1 > page.x1 + 1
            or box.y0 < page.y0 - 1
            or box.y1 > page.y1 + 1
        ):
            yield f"{text.get_text()!r} leaves the page"


def faults(figure, told=True):
    """Returns a sentence for each fault; `told`: one entry must explain the 95% intervals."""
    FigureCanvasAgg(figure).draw()
    found = [
        f"code in {x.get_text()!r}" for x in texts(figure) + labels(figure) if "_" in x.get_text()
    ]
    found += [sentence for panel in figure.axes for sentence in off(panel)] + list(crowded(figure))
    said, drawn = (
        sum("95% interval" in x.get_text() for x in texts(figure)),
        any(len(intervals(panel)) for panel in figure.axes),
    )
    return found + ["what the bands or bars are is not said once"] * (told and drawn and said != 1)


def drawn(name):
    """Returns the figures of a study, from the committed numbers."""
    return outcome.with_measured_flags(STUDIES[name], RESULTS / name).figures(
        report.read_csv(RESULTS / name / "results.csv")
    )


def limits(figure, panels):
    return {figure.axes[i].get_ylim() for i in panels}


UNTOLD = {
    "turn_reward",
    "credit_bench",
}  # lines across that are means, and the frames of colour bars


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "credit_bench")) for n in STUDIES]
)
def test_a_studys_figures_can_be_read(name):
    made = drawn(name)
    wrong = {
        file: found
        for file, figure in made.items()
        if (found := faults(figure, told=name not in UNTOLD))
    }
    assert not wrong, wrong
    assert {path.stem for path in (RESULTS / name).glob("*.png")} == set(made)
    for same in SAME.get(name, []):
        assert len(limits(made[name], same)) == 1, (
            "panels of the same quantity have different limits"
        )
    titles = {
        (i, panel.get_title())
        for figure in made.values()
        for i, panel in enumerate(figure.axes)
        if panel.get_title()
    }
    for i, title in titles if len(made) > 1 else ():
        same = [
            figure.axes[i]
            for figure in made.values()
            if len(figure.axes) > i and figure.axes[i].get_title() == title
        ]
        assert len({panel.get_ylim() for panel in same}) == 1, (
            f"{title!r} has other limits in another figure"
        )


@pytest.mark.parametrize("which", ["final_success", "learning_curves", "success_against_horizon"])
def test_the_comparisons_figures_can_be_read(which):
    file = "curves" if which == "learning_curves" else "results"
    records = [
        r
        for r in report.read_csv(RESULTS / "sl_vs_rl" / f"{file}.csv")
        if file == "results" or r["algorithm"] != "warm_start"
    ]
    assert faults(getattr(comparison_figures, which)(records)) == []


def seeds(*means):
    return [np.array([mean - 0.1, mean + 0.1]) for mean in means]


def test_an_interval_of_shares_is_cut_at_0_and_1_and_of_others_is_not():
    mean, low, high = figures.interval(seeds(0.1, 0.95), "share")
    np.testing.assert_allclose(mean, [0.1, 0.95])
    np.testing.assert_array_equal([low, high], [[0, 0], [1, 1]])
    assert (figures.interval(seeds(0.1))[1] < 0).all() and figures.interval(seeds(0.1), "cosine")[
        1
    ] > -1.01


def test_an_interval_of_ratios_is_that_of_their_logarithms():
    each = [np.array([1.0, 10.0, 100.0])]
    mean, low, high = figures.interval(each, "ratio")
    half = 4.302653 / np.sqrt(
        3
    )  # of log10: Student's quantile for 2 degrees of freedom, and a deviation of 1
    np.testing.assert_allclose(
        [mean[0], low[0], high[0]], [10, 10 ** (1 - half), 10 ** (1 + half)], rtol=1e-6
    )


def test_seeds_without_a_number_are_left_out():
    mean, low, high = figures.interval(
        [np.array([np.nan, 0.2, 0.4]), np.array([np.nan, np.nan])], "share"
    )
    assert mean[0] == pytest.approx(0.3) and np.isnan(mean[1]) and np.isnan([low[1], high[1]]).all()


def test_equal_lines_stand_side_by_side_and_bars_stay_in_their_panel():
    records = [
        dict(arm=arm, x=x, seed=s, success=0.5 + 0.1 * s)
        for arm in "abcdefg"
        for x in (0.0, 1.0)
        for s in (0, 1)
    ]
    figure = sweep.figure(
        records, "x", {"success": "success", "seed": "seed"}, "arm", scale="linear"
    )
    FigureCanvasAgg(figure).draw()
    panel, step = figure.axes[0], figures.STEP * figure.dpi / 72
    lines = [line for line in panel.lines if line.get_linestyle() != "None"]
    places = np.array([line.get_transform().transform(line.get_xydata())[:, 0] for line in lines])
    np.testing.assert_allclose(np.diff(places, axis=0), step, rtol=1e-6)
    assert step >= lines[0].get_markersize() * figure.dpi / 72
    assert panel.bbox.x0 < places.min() and places.max() < panel.bbox.x1
    assert [line.get_xdata().tolist() for line in lines] == [[0, 1]] * 7


def test_panels_get_equal_limits_and_shares_their_whole_axis():
    figure, panels = figures.page(1, 2, height=2)
    for panel, heights in zip(panels[0], ((0.2, 0.9), (0.5, 0.6))):
        panel.plot([0, 1], heights)
    figures.fit(panels[0], "share")
    assert limits(figure, (0, 1)) == {(-0.03, 1.03)}
    panels[0][0].set_ylim(0.9, 1.2)
    figures.fit(panels[0][:1], "share")
    assert panels[0][0].get_ylim() == (0.9, 1.03)


def test_a_legend_makes_the_figure_higher_and_not_the_panels_lower():
    heights = []
    for count in (1, 12):
        figure, panels = figures.page(1, 1, height=2)
        looks = {f"a name that is long, {i}": figures.styles(["a"])["a"] for i in range(count)}
        figures.legend(figure, figures.entries(looks))
        FigureCanvasAgg(figure).draw()
        heights.append(panels[0][0].get_window_extent().height)
        legend = figure.legends[0].get_window_extent()
        assert figure.bbox.x0 <= legend.x0 and legend.x1 <= figure.bbox.x1
    assert heights[1] > 0.9 * heights[0]
