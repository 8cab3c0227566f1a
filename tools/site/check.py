"""Look at each page of the site in a browser: `make test-docs`, or `python tools/site/check.py [PART OF A PATH...]` after `make docs`.

Each page is loaded from a server on this machine, wide and as narrow as a phone. It is a fault if the page or the console has an error, a request
fails or goes elsewhere, a page is wider than the window, or a link leads nowhere. The search is tried, from a server and from the disk.
Screenshots of some pages are in out/docs-pictures. The browser is Chromium: CHROMIUM names it, and by default it is on the PATH.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlparse

from playwright.sync_api import Browser, Page, sync_playwright
from playwright.sync_api import Error as PlaywrightError

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "out" / "docs"
PICTURES = ROOT / "out" / "docs-pictures"
SIZES = {"wide": (1300, 900), "phone": (390, 800)}
PATIENCE = 180_000  # milliseconds: the machine may be busy with something else
SHOWN = "index start course/gradients inside/index inside/kernels from_pytorch pytorch_names reference/functional reference/index performance".split()


class Quiet(SimpleHTTPRequestHandler):
    """A server that says nothing."""

    def log_message(self, *args: object) -> None:
        pass


def main() -> int:
    """Returns 1 if something is wrong."""
    browser_path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not browser_path:
        print(
            "no Chromium on the PATH: install it (Debian: apt-get install chromium), or set CHROMIUM", file=sys.stderr
        )
        return 1
    if not (SITE / "index.html").exists():
        print("there is no site in out/docs: make docs", file=sys.stderr)
        return 1
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=SITE))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}/"
    pages = sorted(path for path in SITE.rglob("*.html") if "source" not in path.parts)
    faults = links(pages)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        parts = sys.argv[1:] or [""]
        looked = [page for page in pages if any(part in page.relative_to(SITE).as_posix() for part in parts)]
        for size in SIZES:
            faults += seen(browser, size, base, looked)
        for start in (base, SITE.as_uri() + "/"):
            faults += searched(browser, start)
        browser.close()
    server.shutdown()
    print("\n".join(faults))
    print(f"{len(looked)} pages in {len(SIZES)} widths, links of {len(pages)}: {len(faults)} faults")
    return bool(faults)


def seen(browser: Browser, size: str, base: str, pages: list[Path]) -> list[str]:
    """The faults of all pages in one width."""
    width, height = SIZES[size]
    page, faults = browser.new_page(viewport={"width": width, "height": height}), []
    here = ""
    page.on(
        "console", lambda said: said.type in ("error", "warning") and faults.append(f"{here}: console: {said.text}")
    )
    page.on("pageerror", lambda error: faults.append(f"{here}: {error}"))
    page.on(
        "requestfailed",
        lambda request: "ABORTED" in str(request.failure) or faults.append(f"{here}: {request.url} failed"),
    )
    page.on(
        "request",
        lambda request: request.url.startswith((base, "data:", "blob:")) or faults.append(f"{here} asks {request.url}"),
    )
    for path in pages:
        here = f"{path.relative_to(SITE)} ({size})"
        try:
            answer = page.goto(base + path.relative_to(SITE).as_posix(), timeout=PATIENCE)
        except PlaywrightError as error:
            faults.append(f"{here}: {error.message}")
            continue
        if answer is None or not answer.ok:
            faults.append(f"{here}: not there")
        if (wide := page.evaluate("document.documentElement.scrollWidth")) > width:
            faults.append(f"{here}: {wide} px wide")
        faults += [f"{here}: {text}" for text in page.evaluate(BROKEN)]
        picture(page, path, size)
    page.close()
    return faults


# What readers would take for a mistake: markup that was not read, pictures that are not there, text that flows out of its box.
BROKEN = """() => {
    const found = [];
    for (const image of document.images) if (image.complete && !image.naturalWidth) found.push("no picture " + image.src);
    const text = document.querySelector("article")?.cloneNode(true);
    if (text) {
        text.querySelectorAll("pre, code, svg, math").forEach((part) => part.remove());
        const left = text.textContent.match(/\\]\\([^)]*\\)|\\{ ?[#.][^}]*\\}|```|\\*\\*[a-z]|@(en|zh)@/);
        if (left) found.push("markup is left: " + left[0]);
    } else found.push("no article");
    return found;
}"""


def picture(page: Page, path: Path, size: str) -> None:
    """A screenshot of the pages in SHOWN."""
    name = path.relative_to(SITE).with_suffix("").as_posix()
    if name.removeprefix("zh/") in SHOWN:
        PICTURES.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=PICTURES / f"{name.replace('/', '_')}_{size}.png")


def searched(browser: Browser, start: str) -> list[str]:
    """Whether the search finds a name of the API in both languages, and a Chinese word."""
    faults = []
    for folder, word in (("", "softmax"), ("zh/", "softmax"), ("zh/", "优化器")):
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        page.on("pageerror", lambda error, folder=folder: faults.append(f"search in {start}{folder}: {error}"))
        page.goto(f"{start}{folder}index.html", wait_until="networkidle", timeout=PATIENCE)
        try:
            opened(page)
            page.keyboard.type(word, delay=20)
            page.wait_for_function(FOUND, timeout=PATIENCE)
        except Exception:
            faults.append(f"search for {word} in {start}{folder}: nothing is found")
            PICTURES.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=PICTURES / "search.png")
        page.close()
    return faults


def opened(page: Page) -> None:
    """Open the search. Until the page listens to keys, which takes its time on a busy machine, a press is lost."""
    for _ in range(PATIENCE // 10_000):
        page.keyboard.press("Control+k")
        with contextlib.suppress(PlaywrightError):
            page.wait_for_function(OPEN, timeout=10_000)
            return
    raise PlaywrightError("the search does not open")


# The field for the word and the results stand in a shadow tree.
OPEN = "() => document.activeElement?.shadowRoot?.activeElement?.tagName === 'INPUT'"
# The links of results name the word.
FOUND = """() => [...document.querySelectorAll("*")].some(
    (part) => part.shadowRoot && [...part.shadowRoot.querySelectorAll("a")].some((link) => link.href.includes("h=")))"""
HREF = re.compile(r'<a\s[^>]*?href=(?:"([^"]*)"|([^\s>]+))')
IDENTIFIER = re.compile(r'\s(?:id|name)=(?:"([^"]*)"|([^\s>]+))')


def links(pages: list[Path]) -> list[str]:
    """Links that lead to no file, or to no place in it."""
    faults, known = [], {}

    def places(path: Path) -> set[str]:
        if path not in known:
            text = path.read_text(encoding="utf-8")
            known[path] = {a or b for a, b in IDENTIFIER.findall(text)}
        return known[path]

    for page in pages:
        for found in HREF.findall(page.read_text(encoding="utf-8")):
            target, anchor = urldefrag(urljoin(page.as_uri(), (found[0] or found[1]).replace("&amp;", "&")))
            url = urlparse(target)
            if url.scheme in ("http", "https", "mailto", "javascript"):
                if url.scheme.startswith("http"):
                    faults.append(f"{page.relative_to(SITE)} leads elsewhere: {target}")
                continue
            path = Path(unquote(url.path))
            path = path / "index.html" if path.is_dir() else path
            if not path.is_file():
                faults.append(f"{page.relative_to(SITE)}: no {target}")
            elif anchor and unquote(anchor) not in places(path) and not anchor.startswith("__"):
                faults.append(f"{page.relative_to(SITE)}: no {anchor} in {path.relative_to(SITE)}")
    return sorted(set(faults))


if __name__ == "__main__":
    sys.exit(main())
