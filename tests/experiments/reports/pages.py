"""A page of results as a browser reads it, and how it was made."""

from html.parser import HTMLParser

PROVENANCE = {
    "command": "python -m x",
    "commit": "abc",
    "versions": "numpy",
    "seeds": "0, 1",
    "budget": "10 steps",
}


class Page(HTMLParser):
    """Collects the tags, ids, links and image sources of a page, in order."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append(dict(attrs))

    def handle_data(self, data):
        self.words += data
