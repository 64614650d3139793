"""Whether a site holds together: ``python docs/check.py FOLDER`` prints what does not.

All links, anchors and pictures of its pages lead somewhere within the folder, wherever that is
put, and no page loads anything from another host. Links to other hosts, which load nothing, are not
followed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADING = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "image": ("href", "xlink:href"),
    "img": ("src",),
    "input": ("src",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src",),
    "track": ("src",),
    "use": ("href", "xlink:href"),
    "video": ("src", "poster"),
}
"""Attributes whose values are loaded with the page."""
_LINKS_ONLY = frozenset(
    {"author", "canonical", "help", "index", "license", "next", "prev", "search"}
)
"""What a ``link`` may be that loads nothing."""
_IN_STYLES = re.compile(r"url\(\s*[\"']?([^\"')]*)|@import\s+[\"']([^\"']*)")
_COMMENTS = re.compile(r"/\*.*?\*/|(?<![:\\\"'])//[^\n]*", re.DOTALL)
_HOSTS = re.compile(r"[\"'`](?:(?:https?|wss?):)?//[\w.-]+\.[a-z]{2,}[^\"'`]*")
_NAMES = re.compile(r"http://www\.w3\.org/[\w/.#-]*")
"""Of languages: nothing is loaded by these."""


class Page(HTMLParser):
    """What a page has: ids, where its links lead, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.scripts: list[str] = []
        self._within = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        """Take in an element."""
        self._within = tag
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given and tag != "meta"}
        if tag in ("a", "area") and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and not _LINKS_ONLY.issuperset(given.get("rel", "").lower().split()):
            self.loads.append(given.get("href", ""))
        elif tag == "link":
            self.links.append(given.get("href", ""))
        self.loads += [given[name] for name in _LOADING.get(tag, ()) if given.get(name)]
        for name in ("srcset", "imagesrcset"):
            self.loads += [
                part.split()[0] for part in given.get(name, "").split(",") if part.strip()
            ]
        self.loads += in_styles(given.get("style", ""))
        self.scripts += [value for name, value in given.items() if name.startswith("on")]
        if tag == "meta" and given.get("http-equiv", "").lower() == "refresh":
            self.loads += given.get("content", "").partition("=")[2:]

    def handle_data(self, data: str) -> None:
        """Take in a text: that of styles and scripts."""
        if self._within == "style":
            self.loads += in_styles(data)
        elif self._within == "script":
            self.scripts.append(data)

    def handle_endtag(self, tag: str) -> None:
        """Leave an element."""
        self._within = ""


def in_styles(text: str) -> list[str]:
    """Return what a style sheet loads."""
    found = _IN_STYLES.findall(re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL))
    return [url or imported for url, imported in found]


def in_script(text: str) -> list[str]:
    """Return the addresses of hosts that a script has in its texts, comments left out."""
    return _HOSTS.findall(_NAMES.sub("", _COMMENTS.sub("", text)))


def findings(folder: Path) -> Iterator[str]:
    """Yield what does not hold, each in a line."""
    folder = folder.resolve()
    pages = {path: Page(path.read_text("utf-8")) for path in sorted(folder.rglob("*.html"))}
    if not pages:
        yield f"{folder.name}: no pages"
    for path, page in pages.items():
        at = path.relative_to(folder)
        for url in page.loads:
            if why := _unloadable(url, path, folder):
                yield f"{at}: loads {url!r}: {why}"
        for script in page.scripts:
            yield from (f"{at}: a script names {url}" for url in in_script(script))
        for url in page.links:
            if why := _broken(url, path, folder, pages):
                yield f"{at}: links to {url!r}: {why}"
    for path in sorted(folder.rglob("*.css")):
        for url in in_styles(path.read_text("utf-8")):
            if why := _unloadable(url, path, folder):
                yield f"{path.relative_to(folder)}: loads {url!r}: {why}"
    for path in sorted(folder.rglob("*.js")):
        for url in in_script(path.read_text("utf-8")):
            yield f"{path.relative_to(folder)}: names {url}"


def _unloadable(url: str, path: Path, folder: Path) -> str:
    """Return why a page or style sheet may not load something, empty if it may."""
    parts = urlsplit(url)
    if parts.scheme == "data":
        return ""
    if parts.scheme or parts.netloc:
        return "it is elsewhere"
    return _missing(parts.path, path, folder) if parts.path else ""


def _broken(url: str, path: Path, folder: Path, pages: dict[Path, Page]) -> str:
    """Return why a link does not lead anywhere, empty if it does, or leads to another host."""
    parts = urlsplit(url)
    if parts.scheme in ("http", "https", "mailto"):
        return ""
    if parts.scheme or parts.netloc:
        return "it is no link"
    if parts.path and (why := _missing(parts.path, path, folder)):
        return why
    target = _target(parts.path, path) if parts.path else path
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].ids:
        return "no such anchor"
    return ""


def _missing(to: str, path: Path, folder: Path) -> str:
    if to.startswith("/"):
        return "it depends on where the site is"
    target = _target(to, path)
    if not target.is_relative_to(folder):
        return "it is outside of the site"
    return "" if target.is_file() else "no such file"


def _target(to: str, path: Path) -> Path:
    target = (path.parent / unquote(to)).resolve()
    return target / "index.html" if target.is_dir() else target


if __name__ == "__main__":
    found = list(findings(Path(sys.argv[1])))
    sys.stderr.writelines(f"{line}\n" for line in found)
    sys.exit(1 if found else 0)
