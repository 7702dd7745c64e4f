"""Reads the page of an episode that `inspect_episode` writes."""

import re
from html.parser import HTMLParser

import jax
import numpy as np
import pytest

CELL = re.compile(r"turn (\d+), token (\d+), (\w+): ([\w ]+) ([-+.\de]+)(?: ± ([.\de-]+))?")


class Page(HTMLParser):
    """The tags, attributes and words of a page; it must close what it opens."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.words, self.open = [], [], "", []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append(dict(attrs))
        self.open += [tag] if tag not in ("meta", "br") else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data

    @property
    def titles(self):
        return [attributes["title"] for attributes in self.attributes if "title" in attributes]

    def cells(self):
        """Returns {(measure, turn, place): (token, number, error)}, counted from 0."""
        found = [CELL.fullmatch(title) for title in self.titles]
        return {
            (m[4], int(m[1]) - 1, int(m[2]) - 1): (m[3], float(m[5]), float(m[6] or 0))
            for m in found
            if m
        }


def one(tree, n=0, g=0):
    """Returns a single episode of a batch."""
    return jax.tree.map(lambda x: np.asarray(x)[n, g], tree)


def close(number):
    """Returns a number to compare with one that is written with three digits."""
    return pytest.approx(float(number), rel=6e-3, abs=2e-6)
