"""The documentation's website: its pages as they are prepared, its pictures, its link checker; and, where `make docs` has built it, in Chromium.

Screenshots are kept in build/website/screenshots.
"""

import functools
import http.server
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "build" / "website" / "site"
SHOTS = ROOT / "build" / "website" / "screenshots"


@pytest.fixture
def website(monkeypatch):
    """The modules of tools/website."""
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "website"))
    import links
    import pages
    import pictures
    yield {"links": links, "pages": pages, "pictures": pictures}
    for name in ("links", "pages", "pictures"):
        sys.modules.pop(name, None)


def test_pictures_are_as_drawn(website):
    """`python tools/website --pictures` draws them again after a change of docs/bench.json or of the script."""
    assert website["pictures"].draw_all(ROOT, check=True) == []


def test_pages(website, tmp_path):
    """Both languages, pictures inside the pages, links as they are in the site, and no link from one language to the other."""
    website["pages"].prepare(ROOT, tmp_path, reference=False)
    english, chinese = tmp_path / "en", tmp_path / "zh"
    assert "<svg" in (english / "index.md").read_text() and "<svg" in (chinese / "index.md").read_text() and "<style>" not in (english / "index.md").read_text()
    for page in chinese.rglob("*.md"):
        assert (english / page.relative_to(chinese)).exists(), f"{page.name} has no English page"
    for page in tmp_path.rglob("*.md"):                   # `make docs` checks the built pages; this says it before
        text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.S)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            at = (page.parent / target).resolve()
            assert "://" in target or at.exists() or (english / at.relative_to(chinese)).exists(), f"{page}: {target}"
    assert "](zh/" not in (english / "guide.md").read_text() and "](docs/" not in (english / "contributing.md").read_text()
    assert "](link.md)" in (chinese / "commands.md").read_text()


def test_the_reference(website):
    page = website["pages"]._namespace("torch.fft")
    assert '<h3 id="torch.fft.rfft">rfft</h3>' in page and "source/src/rushlight/ops/fft.py.html#L" in page and "torch.fft.rfft(" in page
    entry = website["pages"]._entry("torch", "<x>", lambda a="<b>": None, "nowhere")
    assert "<x>" not in entry and "<b>" not in entry


def test_every_page_is_in_the_menu():
    menu = (ROOT / "mkdocs.yml").read_text()
    missing = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")
               if page.name != "README.md" and "zh" not in page.parts and f": {page.relative_to(ROOT / 'docs')}\n" not in menu]
    assert not missing


def test_links_are_checked(website, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "index.html").write_text('<h1 id="top">x</h1><a href="../b.html#there">good</a><a href="#top">good</a><a href="https://elsewhere.org">good</a>')
    (tmp_path / "b.html").write_text('<p id="there"></p><a href="a/">good</a>')
    assert website["links"].check(tmp_path) == []
    (tmp_path / "b.html").write_text('<a href="c.html">x</a><a href="a/#none">x</a><script src="https://cdn.org/x.js"></script>'
                                     '<link rel="stylesheet" href="//fonts.org/x.css">')
    (tmp_path / "x.css").write_text("@font-face{src:url(https://fonts.org/x.woff)}")
    assert [line.split(": ")[-1] for line in website["links"].check(tmp_path)] == [
        "there is no such place in the page", "there is no such page", "there is no such place in the page", "loaded from elsewhere", "loaded from elsewhere",
        "loaded from elsewhere"]


def test_without_mkdocs():
    """One clear line, and a status."""
    program = ROOT / "tools" / "website"
    if subprocess.run([sys.executable, "-c", "import mkdocs"], capture_output=True).returncode == 0:
        pytest.skip("MkDocs is installed here")
    done = subprocess.run([sys.executable, str(program), "--no-reference"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and done.stderr == "website: MkDocs is not installed: pip install 'rushlight[docs]'\n"


# --- in a browser -----------------------------------------------------------------------------------------------------------------------

class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address():
    if not (SITE / "index.html").exists():
        pytest.skip("the site is not built: make docs")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install 'rushlight[docs]'")
    chromium, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("there is no Chromium here: apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for each in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,900", "--hide-scrollbars",
                 "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"):
        options.add_argument(each)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    page = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    page.implicitly_wait(15)
    SHOTS.mkdir(parents=True, exist_ok=True)
    yield page
    page.quit()


def shot(browser, name):
    assert browser.save_screenshot(str(SHOTS / f"{name}.png"))


def words(browser):
    return browser.find_element("css selector", "article").text


def search(browser, text, wanted):
    """Type into the search field; the titles that are found, once one holds `wanted`."""
    browser.find_element("css selector", "[data-md-component=search-query]").send_keys(text)
    end, found = time.monotonic() + 30, []
    browser.implicitly_wait(0)
    while time.monotonic() < end:
        titles = browser.find_elements("css selector", ".md-search-result__item h1, .md-search-result__item h2")
        found = [each.get_attribute("textContent").replace("\u200b", "").strip() for each in titles]
        if any(wanted in each for each in found):
            browser.implicitly_wait(15)
            return found
        time.sleep(0.25)
    shot(browser, "search-failed")
    raise AssertionError(f"{text} found {found}")


def test_the_main_paths_in_english(browser, address):
    browser.get(address)
    assert "PyTorch's API without PyTorch's weight" in words(browser) and browser.find_elements("css selector", "article svg")
    shot(browser, "home")
    browser.find_element("link text", "Getting started").click()
    assert "Train a network" in words(browser)
    browser.find_element("partial link text", "coming from PyTorch").click()
    assert "What is not there" in words(browser)
    browser.find_element("css selector", ".md-tabs").find_element("partial link text", "Speed").click()
    assert len(browser.find_elements("css selector", "article svg rect")) > 10
    shot(browser, "speed")
    browser.find_element("css selector", ".md-tabs").find_element("partial link text", "Inside").click()
    pictures = browser.find_elements("css selector", "article .picture svg")
    assert [len(each.find_elements("tag name", "rect")) for each in pictures] == [9, 7]
    shot(browser, "inside")


def test_the_language_switch_and_chinese(browser, address):
    browser.get(address + "getting-started/")
    switch = next(each for each in browser.find_elements("css selector", ".md-select__link") if each.get_attribute("hreflang") == "zh")
    browser.get(switch.get_attribute("href"))
    assert "快速入门" in words(browser) and browser.current_url == address + "zh/getting-started/"
    shot(browser, "chinese")
    browser.find_element("partial link text", "从 PyTorch 过来").click()
    assert "什么没有" in words(browser)


def test_search_in_both_languages(browser, address):
    browser.get(address)
    search(browser, "Gaussian process", "A Gaussian process")
    shot(browser, "search")
    browser.get(address + "zh/")
    search(browser, "训练一个网络", "训练一个网络")
    shot(browser, "search-chinese")


def test_the_reference_leads_to_the_source(browser, address):
    if not (SITE / "source" / "src").exists():
        pytest.skip("the site was built with --no-reference")
    browser.get(address + "reference/torch.fft/")
    link = browser.find_element("css selector", "#torch\\.fft\\.rfft ~ p small a")
    browser.get(link.get_attribute("href"))
    line = browser.current_url.partition("#")[2]
    assert line.startswith("L") and browser.find_element("id", line)
    shot(browser, "source")


def test_dark_and_narrow(browser, address):
    """The dark scheme is another colour, and a phone's width needs no scrolling to the side."""
    browser.get(address)
    light = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    browser.execute_script("localStorage.clear()")
    browser.get(address)
    time.sleep(1)
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") != light
    shot(browser, "dark")
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 390, "height": 800, "deviceScaleFactor": 2, "mobile": True})
    browser.get(address + "speed/")
    shot(browser, "phone")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 400
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_nothing_was_asked_of_the_network(browser, address):
    """Of all that the pages above have loaded, nothing came from elsewhere."""
    import json
    browser.get(address + "zh/speed/")
    asked = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    addresses = {each["params"]["request"]["url"] for each in asked if each["method"] == "Network.requestWillBeSent"}
    assert len(addresses) > 5
    assert not [each for each in addresses if not each.startswith((address, "data:", "blob:", "chrome", "about:"))]
