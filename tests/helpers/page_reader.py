"""A page as a parser sees it: whether it is well-formed, and what it holds."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "img", "br", "wbr", "hr", "link", "input"}


class ReadPage(HTMLParser):
    """Counts tags, gathers links, sources and words; an element that is not closed in order fails."""

    def __init__(self, content: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(content)
        self.close()
        assert self._open == [], self._open
        assert len(self.ids) == len(set(self.ids)), Counter(self.ids).most_common(3)
        anchors = [address[1:] for address in self.links if address.startswith("#")]
        assert set(anchors) <= set(self.ids)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        for name, value in attrs:
            self.attributes.add(name)
            for kind, found in (("id", self.ids), ("href", self.links), ("src", self.sources)):
                if name == kind:
                    found.append(value)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag):
        assert self._open, f"</{tag}> closes nothing"
        assert self._open[-1] == tag, f"</{tag}> closes <{self._open[-1]}>"
        self._open.pop()

    def handle_data(self, data):
        if not self._open or self._open[-1] not in ("style", "script"):
            self.words += data


def read_page(path: Path) -> ReadPage:
    """Parse a page; an assertion fails where it is not well-formed or an id stands twice."""
    return ReadPage(path.read_text(encoding="utf-8"))
