"""``make docs``: the documentation as a website in build/website/site, English and Chinese, that asks nothing of the network when it is read.

    python tools/website             prepare the pages, build them with MkDocs (extra `docs`) without a warning, check every link
    python tools/website --pictures  draw the pictures of docs/pictures again; --check says whether they are as drawn
    python tools/website --no-reference   without the API reference and the source pages, which take the most time

MkDocs Material was chosen over Sphinx because the documents are Markdown already, its search needs no server, and it has both languages in one site.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import links
import pages
import pictures

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build" / "website"


def main() -> int:
    """0; 1 where a link leads nowhere, a page has a warning, or a picture is stale; 2 without MkDocs."""
    arguments = _arguments()
    if arguments.pictures:
        stale = pictures.draw_all(ROOT, check=arguments.check)
        print("\n".join(f"stale: {name}" for name in stale) or "the pictures are as drawn")
        return int(bool(stale) and arguments.check)
    if importlib.util.find_spec("mkdocs") is None:
        print("website: MkDocs is not installed: pip install 'rushlight[docs]'", file=sys.stderr)
        return 2
    shutil.rmtree(BUILD / "src", ignore_errors=True)
    shutil.rmtree(BUILD / "site", ignore_errors=True)
    pages.prepare(ROOT, BUILD / "src", reference=not arguments.no_reference)
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--config-file", str(ROOT / "mkdocs.yml")], cwd=ROOT,
                          capture_output=True, text=True)
    if done.returncode:
        print("\n".join(line for line in (done.stdout + done.stderr).splitlines() if line.strip()))
        return 1
    site = BUILD / "site"
    pages.write_sources(ROOT, site / "source", package=not arguments.no_reference)
    wrong = links.check(site)
    print("\n".join(wrong[:40]) if wrong else f"{len(list(site.rglob('*.html')))} pages in {site}, every link leads somewhere")
    return int(bool(wrong))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tools/website", description="Build the documentation as a website.")
    parser.add_argument("--pictures", action="store_true", help="draw docs/pictures again instead")
    parser.add_argument("--check", action="store_true", help="with --pictures: write nothing, exit with 1 where one is stale")
    parser.add_argument("--no-reference", action="store_true", help="leave out the API reference and the source pages")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
