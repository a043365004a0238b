"""Whether every link of a built site leads somewhere, and whether a page asks for anything from elsewhere when it is opened."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Attributes that a browser loads by itself; what a reader clicks may lead elsewhere.
_LOADED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("link", "href")}
_HARMLESS = {"canonical", "alternate", "prev", "next"}


class _Page(HTMLParser):
    """The links of a page, what it loads, and the places in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[tuple[str, bool]] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.ids.update(given[name] for name in ("id", "name") if name in given)
        for name in ("href", "src"):
            if name in given:
                loaded = (tag, name) in _LOADED and not (tag == "link" and given.get("rel", "") in _HARMLESS)
                self.links.append((given[name], loaded))


def check(site: Path) -> list[str]:
    """What is wrong with the links of a site, one line each."""
    found = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    wrong = []
    for path, page in found.items():
        for link, loaded in dict.fromkeys(page.links):
            problem = _problem(site, path, link, loaded, found)
            if problem:
                wrong.append(f"{path.relative_to(site)}: {link}: {problem}")
    for path in sorted(site.rglob("*.css")):
        wrong += [f"{path.relative_to(site)}: {address}: loaded from elsewhere"
                  for address in re.findall(r"url\(['\"]?(https?://[^)'\"]+)", path.read_text(encoding="utf-8"))]
    return wrong


def _problem(site: Path, path: Path, link: str, loaded: bool, found: dict[Path, _Page]) -> str:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return "loaded from elsewhere" if loaded and parts.scheme in ("http", "https", "") else ""
    target = path if not parts.path else (site / parts.path.lstrip("/") if parts.path.startswith("/") else path.parent / unquote(parts.path))
    target = target.resolve()
    if target.is_dir():
        target = target / "index.html"
    if not target.exists():
        return "there is no such page"
    if parts.fragment and target in found and unquote(parts.fragment) not in found[target].ids and parts.fragment != "__comments":
        return "there is no such place in the page"
    return ""
