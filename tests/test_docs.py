"""The documents: every example in them that shows its output is run, in both languages alike; their links lead somewhere."""

import doctest
import re
from pathlib import Path

import pytest

from tests.support import cuda_standin

CUDA = doctest.register_optionflag("CUDA")
DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
NEEDS = {"onnx.md": "onnx", "tutorials/digits.md": "sklearn"}          # packages of extras that a page's examples import
WITH_EXAMPLES = [name for name in PAGES if ">>> " in (DOCS / name).read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples(name, tmp_path, monkeypatch):
    """In a folder of their own, where they may leave files; those for cuda run on the stand-in."""
    monkeypatch.chdir(tmp_path)
    if name.removeprefix("zh/") in NEEDS:
        pytest.importorskip(NEEDS[name.removeprefix("zh/")])
    with cuda_standin.cuda():
        result = doctest.testfile(str(DOCS / name), module_relative=False, optionflags=doctest.ELLIPSIS, encoding="utf-8")
    assert result.attempted > 1
    assert result.failed == 0


def test_the_guide_has_its_examples():
    assert {"guide.md", "zh/guide.md"} <= set(WITH_EXAMPLES)
    assert len(doctest.DocTestParser().get_examples((DOCS / "guide.md").read_text(encoding="utf-8"))) > 50


@pytest.mark.parametrize("name", [name for name in PAGES if name.startswith("zh/")])
def test_both_languages_have_the_same_examples(name):
    examples = []
    for page in (name, name.removeprefix("zh/")):
        found = doctest.DocTestParser().get_examples((DOCS / page).read_text(encoding="utf-8"))
        examples.append([(e.source.split("#")[0].rstrip(), e.want) for e in found])
    assert examples[0] == examples[1]


def anchors(path):
    """The names of a document's headings in links."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [DOCS / name for name in PAGES] + [DOCS.parent / name for name in ("README.md", "README.zh.md", "CONTRIBUTING.md", "CHANGELOG.md")],
                         ids=lambda path: str(path.relative_to(DOCS.parent)))
def test_links(path):
    """Every link to a file of this repository finds it, and its heading."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http:", "https:", "mailto:")):
            name, _, anchor = target.partition("#")
            file = (path.parent / name).resolve() if name else path
            assert file.exists(), target
            assert not anchor or anchor in anchors(file), target
