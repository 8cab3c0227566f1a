"""Build the documentation site: `make docs`, or `python tools/site/build.py`, writes it to out/docs.

The pages of docs/site/en and docs/site/zh, the other pages of docs/, the API reference and the sources that they link to are laid side by side
in build/site; Zensical makes a site of each language. Nothing is fetched, and nothing that a reader's browser loads is elsewhere.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import chinese
import diagrams
import from_pytorch
import latex2mathml.converter
import reference
import settings
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound

ROOT = reference.ROOT
PAGES = ROOT / "docs" / "site"
STAGE = ROOT / "build" / "site"
OUT = ROOT / "out" / "docs"
LANGUAGES = ("en", "zh")
LINK = re.compile(r"(\[[^\]\n]*\]\()(?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")
FENCED = re.compile(r"^(```.*?^```)$", flags=re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"(?<![\[`\w])`((?:F|M|tengen|GradManager|trace)\b[\w.]*)(\(\))?`(?![\]`])")
PREFIXES = {"F": "tengen.functional", "M": "tengen.module"}


def main() -> int:
    """Build both languages. Returns an exit code."""
    shutil.rmtree(STAGE, ignore_errors=True)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.parent.mkdir(exist_ok=True)
    for language in LANGUAGES:
        folder = STAGE / language
        stage(language, folder / "pages")
        told = settings.config(language, ["index.md", *(f"{area}.md" for area in reference.AREAS)])
        (folder / "mkdocs.yml").write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
        command = [sys.executable, "-m", "zensical", "build", "--strict", "-f", str(folder / "mkdocs.yml")]
        if code := subprocess.run(command, cwd=folder, env=os.environ | {"NO_COLOR": "1"}, check=False).returncode:
            return code
        shutil.move(folder / "site", OUT if language == "en" else OUT / language)
    for language in LANGUAGES:
        finish(language)
    print(f"{sum(1 for _ in OUT.rglob('*.html'))} pages in {OUT.relative_to(ROOT)}/index.html")
    return 0


# -- what is laid in build/site


def stage(language: str, folder: Path) -> None:
    """All pages of one language."""
    shutil.copytree(PAGES / language, folder)
    for pictures in (PAGES / "assets", ROOT / "docs" / "pictures"):
        shutil.copytree(pictures, folder / "assets", dirs_exist_ok=True)
    for source, target in settings.INSIDE.items():
        text = (ROOT / source).with_suffix(".zh.md" if language == "zh" else ".md").read_text(encoding="utf-8")
        write(folder / target, included(text, ROOT / source, target))
    for name, text in reference.pages().items():
        write(folder / "reference" / name, text)
    write(folder / "pytorch_names.md", from_pytorch.page(language))
    for path in sorted(folder.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        place = path.relative_to(folder)
        if place.parts[0] != "reference":
            text = prepared(text, place)
        path.write_text(text, encoding="utf-8")
    sources(folder)


def write(path: Path, text: str) -> None:
    """Write a file, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def included(text: str, source: Path, target: str) -> str:
    """A page of docs/ whose links lead to pages of the site, or to the pages of sources."""

    def moved(match: re.Match[str]) -> str:
        path = os.path.relpath((source.parent / match[2]).resolve(), ROOT)
        place = settings.INSIDE.get(re.sub(r"\.zh\.md$", ".md", path)) or f"source/{path}.html"
        if (ROOT / path).is_dir():
            place = f"source/{path}/index.html"
        return f"{match[1]}{os.path.relpath(place, Path(target).parent)}{match[3] or ''})"

    return LINK.sub(moved, text)


def prepared(text: str, place: Path) -> str:
    """Diagrams drawn, and names of the API linked to their entries."""
    parts = FENCED.split(text)
    up = "../" * (len(place.parts) - 1)
    for i, part in enumerate(parts):
        if part.startswith("```mermaid"):
            parts[i] = diagrams.svg(part[len("```mermaid") : -3])
        elif not part.startswith("```"):
            lines = part.split("\n")
            parts[i] = chinese.joined(
                "\n".join(
                    line if line.startswith(("#", "|")) else NAMED.sub(lambda match: named(match, up), line)
                    for line in lines
                )
            )
    return "".join(parts)


def named(match: re.Match[str], up: str) -> str:
    """A link to the entry of a name, if it has one."""
    first, _, rest = match[1].partition(".")
    full = ".".join(filter(None, (PREFIXES.get(first, first), rest)))
    place = places().get(full)
    return f"[{match[0]}]({up}reference/{place})" if place else match[0]


def places() -> dict[str, str]:
    """Name → page and anchor of its entry; names of tengen.functional.nn and others that are elsewhere too lead there."""
    if not _PLACES:
        for entry in reference.entries():
            _PLACES[f"{entry.module}.{entry.name}"] = f"{entry.area}.md#{entry.anchor}"
            _PLACES.setdefault(f"tengen.functional.nn.{entry.name}", f"{entry.area}.md#{entry.anchor}")
            _PLACES.setdefault(entry.name, f"{entry.area}.md#{entry.anchor}")
    return _PLACES


_PLACES: dict[str, str] = {}


# -- the sources


def sources(folder: Path) -> None:
    """A page for each file and folder of the repository that a page links to."""
    wanted = set()
    for path in folder.rglob("*.md"):
        text = path.read_text(encoding="utf-8")
        wanted |= set(re.findall(r"\]\((?:\.\./)*source/([^)#\s]+)\.html", text))
    for name in sorted(wanted):
        path = ROOT / name
        if name.endswith("/index") and path.parent.is_dir():
            write(folder / "source" / f"{name}.html", folder_page(path.parent))
        else:
            write(folder / "source" / f"{name}.html", source_page(path))


def source_page(path: Path) -> str:
    """A file with line numbers; #L12 is its line 12."""
    text = path.read_text(encoding="utf-8")
    try:
        lexer = get_lexer_for_filename(path.name)
    except ClassNotFound:
        lexer = TextLexer()
    formatter = HtmlFormatter(linenos="inline", lineanchors="L", anchorlinenos=False, style="default")
    body = highlight(text, lexer, formatter).replace('name="L-', 'id="L').replace('id="L-', 'id="L')
    return bare_page(str(path.relative_to(ROOT)), body, formatter.get_style_defs(".highlight"))


def folder_page(folder: Path) -> str:
    """The names in a folder."""
    rows = "".join(
        f"<li>{html.escape(path.name)}</li>" for path in sorted(folder.iterdir()) if path.name[0] not in "._"
    )
    return bare_page(str(folder.relative_to(ROOT)), f"<ul>{rows}</ul>", "")


def bare_page(title: str, body: str, style: str) -> str:
    """A page that needs nothing but itself."""
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,"><style>
body {{ margin: 1rem; font: 14px/1.45 system-ui, sans-serif }} pre {{ overflow-x: auto }}
.linenos {{ color: #999; padding-right: 1em; user-select: none }} :target {{ background: #ffef9e }} {style}</style></head>
<body><h1 style="font-size:1.1rem">{html.escape(title)}</h1>{body}</body></html>"""


# -- what is done to the pages that Zensical made


def finish(language: str) -> None:
    """Links to the same page in the other language, mathematics as MathML, and no script from elsewhere."""
    base = OUT if language == "en" else OUT / language
    (base / "404.html").unlink(missing_ok=True)  # its links are those of a server whose root it is
    for path in base.rglob("*.html"):
        place = path.relative_to(base)
        if (language == "en" and place.parts[0] == "zh") or place.parts[0] == "source":
            continue
        text = path.read_text(encoding="utf-8")
        for other in LANGUAGES:
            target = (OUT if other == "en" else OUT / other) / place
            text = re.sub(rf'(href="?)[^">\s]*@{other}@', rf"\g<1>{os.path.relpath(target, path.parent)}", text)
        text = re.sub(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', mathml, text, flags=re.DOTALL)
        # Zensical's script would look for a sitemap beside each page that these name.
        text = re.sub(r"<link rel=\"?alternate[^>]*>", "", text)
        text = re.sub(r"(<a\b[^>]*?) hreflang=(?:\"[^\"]*\"|\w+)", r"\1", text)
        worker = os.path.relpath(base / "assets" / "worker.js", path.parent)
        text = text.replace("https://unpkg.com/iframe-worker/shim", worker)
        path.write_text(text, encoding="utf-8")


def mathml(match: re.Match[str]) -> str:
    """A formula as browsers draw it without a script."""
    return latex2mathml.converter.convert(html.unescape(match[3]), display="inline" if match[2] == "(" else "block")


if __name__ == "__main__":
    sys.exit(main())
