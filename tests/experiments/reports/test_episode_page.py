"""The page of an episode is complete, and hides nothing behind a colour."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import tokens
from agentic_rl.rollout.actors import Random
from agentic_rl.rollout.rollout import rollout
from experiments import inspect_episode
from experiments.reports import episode_page
from tests.experiments.episode_html import Page, close, one
from tests.toys import Walk, compiled

HOSTILE = "<script>alert('&\"')</script>[red]x[/red]"


@pytest.fixture(scope="module")
def ragged():
    """Returns an episode with turns of several lengths, and a number for each of its tokens.

    Where there is no token, the number is enormous.
    """
    played = compiled(lambda: rollout(Walk(), Random(), jax.random.key(0), jnp.arange(16)))()
    lengths = np.asarray(played.mask.sum(-1))[:, 0]
    episode = one(played, n=int(np.argmax([len(set(x[x > 0])) + x.sum() / 100 for x in lengths])))
    assert 0 < episode.mask.sum() < episode.mask.size
    return episode, np.where(
        episode.mask, np.random.default_rng(0).normal(size=episode.mask.shape), 1e9
    )


def test_strips_stand_under_one_another_token_for_token(ragged):
    episode, x = ragged
    page = Page(
        episode_page.strips(
            Walk(), episode, {"first": x, "second": -x}, {"second": np.full_like(x, 0.5)}
        )
    )
    places = [(int(t), int(a)) for t, a in np.argwhere(episode.mask)]
    cells = page.cells()
    assert list(cells) == [(name, *place) for name in ("first", "second") for place in places]
    for place in places:
        (word, number, error), (same, opposite, other_error) = (
            cells["first", *place],
            cells["second", *place],
        )
        assert word == same == tokens.text(
            [episode.action[place]]
        ) and number == -opposite == close(x[place])
        assert (error, other_error) == (0.0, 0.5)
    spans = [
        int(attributes["colspan"]) for attributes in page.attributes if "colspan" in attributes
    ]
    assert spans == [n for n in episode.mask.sum(-1) if n] and page.tags.count("tr") == 3
    for t in np.flatnonzero(episode.mask.any(-1)):
        assert (
            Walk().render_turn(episode.observation[t], episode.action[t]).replace("->", "→")
            in page.words
        )


def test_the_largest_unmasked_number_has_the_strongest_colour(ragged):
    episode, x = ragged
    page = Page(episode_page.strips(Walk(), episode, {"credit": x}))
    colours = [a["style"].removeprefix("background:") for a in page.attributes if "style" in a]
    numbers = x[episode.mask]
    strongest = {1: "#56b4e9", -1: "#e69f00"}[int(np.sign(numbers[np.abs(numbers).argmax()]))]
    assert colours[np.abs(numbers).argmax()] == strongest and colours.count(strongest) == 1
    assert f"largest {np.abs(numbers).max():.3g}" in page.words
    for colour, number in zip(colours, numbers):
        red, _, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        assert np.sign(blue - red) == np.sign(number)


def test_every_number_stands_in_its_cell_with_its_sign(ragged):
    episode, x = ragged
    words = Page(episode_page.strips(Walk(), episode, {"credit": x})).words
    for number in x[episode.mask]:
        assert f"{'-' if number < 0 else '+'}{abs(number):.3g}" in words


def luminance(colour):
    """Returns the relative luminance of #rrggbb (WCAG 2)."""
    linear = [
        c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4
        for c in (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_is_readable_on_every_colour_and_more_is_darker():
    grid = np.linspace(0, 1, 21)
    for sign in (1, -1):
        light = [luminance(episode_page.shade(sign * x, 1.0)) for x in grid]
        assert all((y + 0.05) / (luminance("#000000") + 0.05) >= 7 for y in light)  # AAA
        assert all(a > b for a, b in zip(light, light[1:]))


def test_nothing_and_nan_have_no_colour():
    assert (
        episode_page.shade(0.0, 0.0)
        == episode_page.shade(float("nan"), 1.0)
        == episode_page.shade(0.0, 5.0)
        == "#ffffff"
    )
    assert episode_page.shade(1e-9, 1e-9) == "#ffffff"  # rounding


class Hostile(Walk):
    """A task whose words are code."""

    def render_prompt(self, prompt):
        return HOSTILE

    def render_turn(self, observation, action):
        return HOSTILE


def test_page_and_terminal_take_no_words_for_code(ragged, capsys):
    episode, x = ragged
    lines = [Hostile().render_prompt(episode.prompt), HOSTILE]
    page = Page(
        episode_page.page(HOSTILE, lines, episode_page.strips(Hostile(), episode, {HOSTILE: x}))
    )
    turns = int(episode.mask.any(-1).sum())
    assert "script" not in page.tags and page.words.count(HOSTILE) == 2 + 2 + turns + 1
    assert sum(HOSTILE in title for title in page.titles) == episode.mask.sum()
    inspect_episode.show(
        HOSTILE, inspect_episode.table(Hostile(), episode, {"credit": x}, {}), lines
    )
    assert capsys.readouterr().out.count(HOSTILE) == 3 + turns
