"""The pages that MkDocs reads: docs/ in one folder per language, pictures inside the pages, the reference made from the docstrings."""

from __future__ import annotations

import inspect
import re
import shutil
from collections.abc import Iterator
from html import escape
from importlib import import_module
from pathlib import Path
from types import ModuleType

from rushlight.ops.registry import PLACES
from rushlight.signpost import NotFound, locate

# Namespaces of the reference, and what is said of them.
NAMESPACES = {
    "torch": "Functions of tensors", "torch.Tensor": "Methods and attributes of tensors", "torch.nn": "Layers",
    "torch.nn.functional": "Layers as functions", "torch.nn.init": "Initial values", "torch.nn.utils": "Clipping, pruning, parametrizations",
    "torch.optim": "Optimizers", "torch.optim.lr_scheduler": "Schedules", "torch.autograd": "Gradients", "torch.func": "Transforms of functions",
    "torch.linalg": "Linear algebra", "torch.fft": "Fourier transforms", "torch.special": "Special functions", "torch.sparse": "Sparse tensors",
    "torch.distributions": "Distributions", "torch.utils.data": "Data sets and loaders", "torch.utils.checkpoint": "Time for memory",
    "torch.amp": "Mixed precision", "torch.distributed": "Several processes", "torch.fx": "Models as graphs", "torch.profiler": "Profiles",
    "torch.signal.windows": "Windows", "torch.testing": "Comparing tensors", "torch.cuda": "The GPU", "torch.overrides": "Overrides",
    "torch.serialization": "Files", "torch.notebook": "Pictures, of rushlight alone",
}
_FROM_ROOT = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "README.md": "index.md"}


def prepare(root: Path, target: Path, reference: bool) -> None:
    """Write all pages to target/en and target/zh."""
    docs = root / "docs"
    for path in sorted(docs.rglob("*.md")):
        inside = path.relative_to(docs)
        chinese = inside.parts[0] == "zh"
        if inside.name == "README.md":
            continue
        _write(target / ("zh" if chinese else "en") / (inside.relative_to("zh") if chinese else inside), _page(path, docs, chinese))
    for name, page in _FROM_ROOT.items():
        if name != "README.md":
            _write(target / "en" / page, _page(root / name, docs, False, outside=True))
    shutil.copy(docs / "bench.json", target / "en" / "bench.json")
    _write(target / "en" / "stylesheets" / "own.css", _STYLE)
    names = NAMESPACES if reference else {}
    for namespace in names:
        page = _namespace(namespace)
        _write(target / "en" / "reference" / f"{namespace}.md", page)
        _write(target / "zh" / "reference" / f"{namespace}.md", page.replace('href="../../source/', 'href="../../../source/'))      # one folder deeper
    lines = [f"| [`{name}`]({name}.md) | {what} |" for name, what in names.items()] or ["| (this build leaves the reference out) | |"]
    _write(target / "en" / "reference" / "index.md", "# API reference\n\nMade from the docstrings. Names and arguments are PyTorch's; every entry leads to the "
           "lines that define it.\n\n| namespace | what is in it |\n| --- | --- |\n" + "\n".join(lines) + "\n")


_STYLE = """.md-typeset svg{display:block;margin:auto}
.md-typeset .picture{overflow-x:auto}@media(max-width:600px){.md-typeset .picture svg{min-width:620px}}
.md-typeset .entry{margin:1.4em 0 0}.md-typeset .entry>h3{margin:0 0 .2em;font-size:.85rem}
.md-typeset .entry code.signature{white-space:pre-wrap;display:block;padding:.5em .8em}
"""


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _page(path: Path, docs: Path, chinese: bool, outside: bool = False) -> str:
    """A document with its links as they are in the site, and its pictures as part of the page, so that they follow light and dark."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r" ?[(（]\[(?:中文|English)\]\([^)]*\)[)）]|^\[(?:中文版|English)\]\([^)]*\)\n", "", text, flags=re.M)       # the site has a switch
    text = re.sub(r"(?m)[ ]+# doctest: .*$", "", text)                       # said to the tests, not to readers
    text = re.sub(r"!\[[^\]]*\]\((?:\.\./)*(pictures/\w+\.svg)\)", lambda found: _picture(docs / found[1]), text)
    if outside:
        text = re.sub(r"\]\((?:docs/)(?:README\.md)?", lambda found: "](" + ("index.md" if "README" in found[0] else ""), text)
    folders = len(path.relative_to(docs).with_suffix("").parts) if not outside else 1      # the page is a folder: guide/index.html
    text = re.sub(r"\[([^\]]*)\]\((?:\.\./)+(examples/[\w./]+)\)",
                  lambda found: f'<a href="{"../" * folders}source/{found[2]}.html">{escape(found[1])}</a>', text)
    if chinese:                             # docs/zh becomes the top of the Chinese pages: links that leave it lose a step
        depth = len(path.relative_to(docs / "zh").parts) - 1
        text = re.sub(r"\]\(((?:\.\./)+)", lambda found: "](" + found[1][3 * (found[1].count("../") > depth):], text)
    for name, page in _FROM_ROOT.items():
        text = re.sub(rf"\]\((?:\.\./)?{re.escape(name)}", f"]({page}", text) if outside else text.replace(f"](../{name}", f"]({page}")
    return text.replace("](README.md", "](index.md")


def _picture(path: Path) -> str:
    """The picture's text without its background, in a block that Markdown leaves alone."""
    return f'<div class="picture">{re.sub(r"<style>.*?</style>", "", path.read_text(encoding="utf-8").strip())}</div>'


# --- reference --------------------------------------------------------------------------------------------------------------------------

def _namespace(namespace: str) -> str:
    """The page of a namespace: one entry per public name, in the order of the alphabet."""
    parts = [f"# {namespace}\n\n{NAMESPACES[namespace]}.\n"]
    for name in _names(namespace):
        try:
            value, place = locate(f"{namespace}.{name}".removeprefix("torch."))
        except NotFound:
            continue
        if not isinstance(value, ModuleType):
            parts.append(_entry(namespace, name, value, place))
    return "\n".join(parts)


def _names(namespace: str) -> list[str]:
    own = namespace.removeprefix("torch").removeprefix(".")
    if namespace == "torch":
        found = {place for op in PLACES.values() for place in op.places if "." not in place}
        import rushlight
        found |= {name for name in dir(rushlight) if not name.startswith("_") and inspect.isroutine(getattr(rushlight, name, None))}
    elif namespace == "torch.Tensor":
        from rushlight import Tensor
        found = {name for name in dir(Tensor) if not name.startswith("_")}
    else:
        module = import_module("rushlight." + own)
        found = set(getattr(module, "__all__", None) or [name for name in dir(module) if not name.startswith("_")])
        found = {name for name in found if str(getattr(getattr(module, name, None), "__module__", "")).startswith(("rushlight", "torch"))}
    return sorted(name for name in found if not name.startswith("_"))


def _entry(namespace: str, name: str, value: object, place: str) -> str:
    """A heading, the signature, the docstring's text, and where it is defined."""
    try:
        signature = str(inspect.signature(value)).replace("'", "")     # type: ignore[arg-type]
    except (TypeError, ValueError):
        signature = ""
    document = inspect.getdoc(value) or ""
    paragraphs = "".join(f"<p>{_inline(each)}</p>" for each in re.split(r"\n\s*\n", document) if each.strip())
    link = re.match(r"(src/[\w/.]+\.py):(\d+)", place)
    where = f'<p><small>defined in <a href="../../source/{link[1]}.html#L{link[2]}">{link[1]}:{link[2]}</a></small></p>' if link else ""
    kind = "class " if inspect.isclass(value) else ""
    return (f'<div class="entry" markdown="0"><h3 id="{escape(namespace)}.{escape(name)}">{escape(name)}</h3>'
            f'<code class="signature">{kind}{escape(namespace)}.{escape(name)}{escape(signature)}</code>{paragraphs}{where}</div>\n')


def _inline(text: str) -> str:
    """A paragraph of a docstring: escaped, with its marks of code."""
    return re.sub(r"``(.+?)``|`(.+?)`", lambda found: f"<code>{found[1] or found[2]}</code>", escape(" ".join(text.split()), quote=False))


# --- source -----------------------------------------------------------------------------------------------------------------------------

def write_sources(root: Path, target: Path, package: bool = True) -> None:
    """The examples, and every Python file of the package, as pages with numbered lines, for the links of documents and of the reference."""
    for path in (*sorted(path for path in (root / "examples").iterdir() if path.is_file()), *(_sources(root) if package else ())):
        inside = path.relative_to(root)
        lines = "".join(f'<a id="L{number}" href="#L{number}">{number:5}</a>  {escape(line)}\n'
                        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1))
        _write(target / f"{inside}.html", f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
               f'<title>{inside}</title><style>:root{{color-scheme:light dark}}body{{font:13px/1.5 monospace;margin:1rem}}'
               f'a{{color:#888;text-decoration:none;user-select:none}}a:target{{background:#d9480f;color:#fff}}</style>'
               f'<h1>{inside}</h1><pre>{lines}</pre></html>\n')


def _sources(root: Path) -> Iterator[Path]:
    yield from sorted((root / "src" / "rushlight").rglob("*.py"))
