"""A page in HTML that shows one episode token by token, each number in a coloured cell."""

from html import escape

import numpy as np
from jaxtyping import Float

from agentic_rl import tokens
from agentic_rl.types import Environment, Trajectory
from experiments.reports import report

Measures = dict[str, Float[np.ndarray, "T A"]]

# Okabe and Ito's light colours (2008), on which black text is readable.
BLUE, ORANGE = (0x56, 0xB4, 0xE9), (0xE6, 0x9F, 0x00)
ROUNDING = 1e-6  # smaller numbers have no colour
CSS = """
.strips th,.strips td{text-align:center;padding:.3rem .5rem;border-bottom:.4rem solid #fff}
.strips td{color:#000} .strips small{display:block}
.strips thead th{white-space:normal;min-width:5rem;vertical-align:bottom;text-align:left}
.strips thead th{font-weight:400;font-size:.8rem}
.strips tr>:first-child{text-align:left}
.strips .first,.strips thead th{border-left:2px solid #999}
.legend span{padding:.2rem .6rem}
"""


def page(title: str, lines: list[str], body: str) -> str:
    """Returns a page that needs no other file.

    On a phone the strips scroll sideways.

    Args:
      title: the heading.
      lines: sentences, of which the first stands above the legend and the others below the body.
      body: HTML such as `strips` returns.
    """
    head = (
        '<meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{report.CSS}{CSS}</style>"
    )
    first, *others = (escape(line) for line in lines)
    items = "".join(f"<li>{line}</li>" for line in others)
    content = f"<h1>{escape(title)}</h1>\n<p>{first}</p>\n{legend()}\n{body}\n<ul>{items}</ul>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{content}</body></html>\n'


def legend() -> str:
    """Returns an explanation of the colours in HTML."""
    swatches = {"-largest": -1.0, "-half": -0.5, "0": 0.0, "+half": 0.5, "+largest": 1.0}
    spans = ""
    for name, x in swatches.items():
        style, about = f"background:{shade(x, 1.0)}", f"{x:+g} of the largest"
        spans += f'<span style="{style}" title="{about}">{name}</span>'
    sentence = (
        "Orange is below 0 and blue is above. Each strip has its own scale, which ends at its "
        "largest absolute number."
    )
    return f'<p class="legend">{spans}<br>{sentence}</p>'


def strips(
    task: Environment, episode: Trajectory, measures: Measures, errors: Measures | None = None
) -> str:
    """Returns a table in HTML with a strip for each measure, and a cell for each token.

    The page needs `CSS` and, once, `legend()`.

    Args:
      task: writes the turns as text.
      episode: arrays with axes [T, A].
      measures: a number for each token, by the name of its strip.
      errors: standard errors of the measures that have some.
    """
    errors = errors or {}
    turns = "".join(_turn(task, episode, t) for t in np.flatnonzero(episode.mask.any(-1)))
    rows = "\n".join(
        _strip(episode, name, x, errors.get(name, np.zeros_like(x))) for name, x in measures.items()
    )
    head = f"<thead><tr><td></td>{turns}</tr></thead>"
    table = f'<table class="strips">{head}<tbody>\n{rows}</tbody></table>'
    return f'<div class="scroll" tabindex="0">{table}</div>'


def _turn(task: Environment, episode: Trajectory, t: int) -> str:
    """Returns the heading of a turn: what was read and done, above its tokens."""
    # At this arrow no line is broken.
    text = task.render_turn(episode.observation[t], episode.action[t]).replace("->", "→")
    span = f'scope="colgroup" colspan="{episode.mask[t].sum()}"'
    return f"<th {span}><strong>turn {t + 1}</strong><br>{escape(text)}</th>"


def _strip(
    episode: Trajectory,
    name: str,
    measure: Float[np.ndarray, "T A"],
    error: Float[np.ndarray, "T A"],
) -> str:
    """Returns a line of the table: the tokens, each with its number."""
    most, cells = largest(measure, episode), ""
    for t, a in token_positions(episode):
        token = escape(tokens.text([episode.action[t, a]]))
        number = format_signed(measure[t, a], error[t, a])
        about = f"turn {t + 1}, token {a + 1}, {token}: {escape(name)} {number}"
        first = ' class="first"' if a == 0 else ""
        style = f'style="background:{shade(measure[t, a], most)}"'
        cells += f'<td{first} {style} title="{about}">{token}<small>{number}</small></td>'
    head = f'<th scope="row">{escape(name)}<small>largest {most:.3g}</small></th>'
    return f"<tr>{head}{cells}</tr>"


def token_positions(episode: Trajectory) -> list[tuple[int, int]]:
    """Returns the turn of each token of an episode, and its place in the action."""
    return [(int(t), int(a)) for t, a in np.argwhere(episode.mask)]


def largest(measure: Float[np.ndarray, "T A"], episode: Trajectory) -> float:
    """Returns the largest absolute number of the episode's tokens, without NaN."""
    return float(np.nan_to_num(np.abs(measure[episode.mask])).max(initial=0.0))


def format_signed(x: float, error: float = 0.0) -> str:
    """Returns a number with its sign and three digits, and its standard error if it has one.

    >>> format_signed(0.25), format_signed(-1 / 3, 0.01), format_signed(0.0)
    ('+0.25', '-0.333 ± 0.01', '0')
    """
    is_zero = abs(x) < ROUNDING
    return ("0" if is_zero else f"{x:+.3g}") + (f" ± {error:.2g}" if error else "")


def shade(x: float, most: float) -> str:
    """Returns the colour of a number: white at 0 or NaN, blue at `most`, orange at -`most`.

    >>> shade(0.0, 2.0), shade(2.0, 2.0), shade(-2.0, 2.0), shade(1.0, 2.0)
    ('#ffffff', '#56b4e9', '#e69f00', '#aadaf4')
    """
    strength = float(np.nan_to_num(abs(x))) / max(most, ROUNDING)
    colour = BLUE if x > 0 else ORANGE
    return "#" + "".join(f"{round(255 + strength * (channel - 255)):02x}" for channel in colour)
