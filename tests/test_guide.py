"""The guide's examples, in both languages, as doctests; those for cuda run on the stand-in."""

import doctest
import os

import pytest

from tests.support import cuda_standin

CUDA = doctest.register_optionflag("CUDA")
DOCS = os.path.join(os.path.dirname(__file__), "..", "docs")


@pytest.mark.parametrize("name", ["guide.md", "zh/guide.md"])
def test_guide(name):
    with cuda_standin.cuda():
        result = doctest.testfile(os.path.join(DOCS, name), module_relative=False,
                                  optionflags=doctest.ELLIPSIS, encoding="utf-8")
    assert result.attempted > 50
    assert result.failed == 0


def test_both_languages_have_the_same_examples():
    examples = []
    for name in ("guide.md", "zh/guide.md"):
        with open(os.path.join(DOCS, name), encoding="utf-8") as file:
            found = doctest.DocTestParser().get_examples(file.read())
        examples.append([(e.source.split("#")[0].rstrip(), e.want) for e in found])
    assert examples[0] == examples[1]
