"""The documentation site: entries of the API reference, both languages in step, links, diagrams. `make docs` builds it."""

from __future__ import annotations

import inspect
import json
import re
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType

import chinese
import diagrams
import pytest
import reference
import settings
from public_areas import AREAS

import tengen

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "docs" / "site"
PAGES = sorted(path.relative_to(SITE / "en").as_posix() for path in (SITE / "en").rglob("*.md"))
FENCED = re.compile(r"^```.*?^```$", flags=re.MULTILINE | re.DOTALL)
INVENTORY = json.loads((ROOT / "tests" / "reference" / "inventory.json").read_text(encoding="utf-8"))


def read(language: str, page: str) -> str:
    """A page of the site, or one of the repository that the site has too."""
    if page not in settings.INSIDE:
        return (SITE / language / page).read_text(encoding="utf-8")
    return (ROOT / page).with_suffix(".zh.md" if language == "zh" else ".md").read_text(encoding="utf-8")


# -- the API reference


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return reference.pages()


def test_every_public_name_has_an_entry(made):
    """Those of MegEngine's inventory, and those that tengen's own modules list."""
    there = {id(entry.value) for entry in reference.entries()}
    named = {(entry.module, entry.name) for entry in reference.entries()}
    distributed = {entry.name for entry in reference.entries() if entry.area == "distributed"}
    missing = []
    for module, names in INVENTORY.items():
        if module.startswith("tengen.core.ops"):  # MegEngine's operators, which only its own programs make
            continue
        place = import_module(module)
        for name in names:
            value = getattr(place, name, None)
            known = id(value) in there or (module, name) in named or inspect.ismodule(value) or value is None
            if not known and name not in distributed and (inspect.isclass(value) or inspect.isroutine(value)):
                missing.append(f"{module}.{name}")
    assert missing == []
    text = "".join(made.values())
    assert [entry.anchor for entry in reference.entries() if f"{{ #{entry.anchor} }}" not in text] == []
    assert len(named) > 700


# Modules that list names for each other or for programs of MegEngine, not for users of tengen.
OWN = """tengen.base tengen.compat tengen.compiler tengen.core tengen.jit.onnx tengen.quantization.observer tengen.examples
tengen.traced_module.pytree tengen.traced_module.utils""".split()
GIVEN = {path for paths in reference.GIVEN.values() for path in paths.split()}


def modules_with_a_list() -> list[ModuleType]:
    """The public modules that say what is public in them."""
    names = [name for _, name, _ in walk_packages(tengen.__path__, "tengen.") if name.split(".")[-1] != "__main__"]
    public = [name for name in names if not any(f"{name}.".startswith(f"{own}.") for own in OWN)]
    return [module for module in map(import_module, public) if hasattr(module, "__all__")]


def test_all_lists_of_public_names_are_covered():
    there = {id(entry.value) for entry in reference.entries()}
    named = {(entry.module, entry.name) for entry in reference.entries()}
    modules = modules_with_a_list()
    assert len(modules) > 60
    missing = [
        f"{module.__name__}.{name}"
        for module in modules
        for name in module.__all__
        if not inspect.ismodule(value := getattr(module, name))
        if id(value) not in there and (module.__name__, name) not in named
    ]
    assert missing == []


def test_every_entry_is_a_public_name(made):
    """A heading for each entry and for nothing else; an entry is in `__all__` of its module, where that has one."""
    headings = [
        name for page in made.values() for name in re.findall(r"^### .* \{ #(\S+) \}$", page, flags=re.MULTILINE)
    ]
    assert sorted(headings) == sorted(entry.anchor for entry in reference.entries())
    unlisted = [
        f"{entry.module}.{entry.name}"
        for entry in reference.entries()
        if entry.name not in getattr(import_module(entry.module), "__all__", [entry.name])
    ]
    assert set(unlisted) <= GIVEN


def classes_given(value: object) -> set[type]:
    """tengen's own classes in the annotation of what a function or a property returns."""
    function = inspect.unwrap(getattr(value, "fget", None) or getattr(value, "__func__", value))
    names = re.findall(r"[A-Za-z_]\w*", str(getattr(function, "__annotations__", {}).get("return", "")))
    found = {getattr(function, "__globals__", {}).get(name) for name in names}
    return {kind for kind in found if inspect.isclass(kind) and kind.__module__.startswith("tengen")}


def test_classes_that_users_are_given_have_an_entry():
    """What these give in turn, such as an op of the compiler, is inside tengen."""
    names = {entry.value.__name__ for entry in reference.entries() if inspect.isclass(entry.value)}
    missing = []
    for entry in [entry for entry in reference.entries() if f"{entry.module}.{entry.name}" not in GIVEN]:
        members = vars(entry.value).items() if inspect.isclass(entry.value) else [("", entry.value)]
        for name, member in members:
            if name.startswith("_") or not (inspect.isroutine(member) or isinstance(member, property)):
                continue
            unknown = [kind.__name__ for kind in classes_given(member) if kind.__name__ not in names]
            missing += [(entry.name, name, kind) for kind in unknown if not kind.startswith("_")]
    assert missing == []


def test_all_areas_have_a_page():
    covered = {module for modules in reference.AREAS.values() for module in modules.split()}
    assert {f"tengen.{area}" for area in AREAS} - covered == set()


def test_entries_lead_to_their_lines(made):
    links = re.findall(r"\]\(\.\./source/([^)#]+)\.html#L(\d+)\)", made["functional.md"])
    assert len(links) > 140
    for path, line in links:
        code = (ROOT / path).read_text(encoding="utf-8").split("\n")[int(line) - 1]
        assert code.lstrip().startswith(("def ", "class ", "@")), f"{path}:{line}"


def test_an_entry_has_what_the_docstring_has(made):
    page = made["functional.md"]
    entry = page[page.index("### softmax {") :].split("\n### ")[1 if page.startswith("### softmax") else 0]
    for part in ("tengen.functional.softmax(", "**Arguments**", "**Returns**", "```pycon", "[Source]"):
        assert part in entry, part
    assert "\n**Raises**" in page
    assert "Args:" not in page


def test_names_of_markup_are_text():
    assert reference.escape("a_b * `c_d` <e>") == r"a\_b \* `c_d` &lt;e&gt;"
    assert "TENGEN_NUM_THREADS" in reference.pages()["settings.md"]


# -- both languages


def test_both_languages_have_the_same_pages():
    chinese = sorted(path.relative_to(SITE / "zh").as_posix() for path in (SITE / "zh").rglob("*.md"))
    assert chinese == PAGES
    assert set(PAGES) == settings.listed()


def structure(text: str) -> list[object]:
    """The headings by level, code, tables and lists by length, links without order."""
    return [
        FENCED.findall(text),
        [len(mark) for mark in re.findall(r"^(#+) ", FENCED.sub("", text), flags=re.MULTILINE)],
        len(re.findall(r"^\|", text, flags=re.MULTILINE)),
        len(re.findall(r"^(?:- |\d\. )", text, flags=re.MULTILINE)),
        sorted(link.partition("#")[0].replace(".zh.md", ".md") for link in re.findall(r"\]\(([^)\s]+)\)", text)),
    ]


@pytest.mark.parametrize("page", [*PAGES, *settings.INSIDE])
def test_both_languages_are_in_step(page):
    english, chinese = (read(language, page) for language in ("en", "zh"))
    assert structure(english) == structure(chinese)
    assert re.search(r"[\u4e00-\u9fff]", chinese)


def test_chinese_pages_lead_to_chinese_ones():
    """Where there is one; the first line of the README leads to the same page in English."""
    twins = [*ROOT.glob("*.zh.md"), *(path for place in ("docs", "src") for path in (ROOT / place).rglob("*.zh.md"))]
    assert len(twins) >= 12
    wrong = []
    for path in twins:
        for link in re.findall(r"\]\((?!https?:)([^)#\s]+\.md)", FENCED.sub("", path.read_text(encoding="utf-8"))):
            target = (path.parent / link).resolve()
            assert target.is_file(), (path, link)
            if target.with_suffix("").suffix != ".zh" and target.with_suffix(".zh.md").is_file():
                wrong.append((path.name, link))
    assert wrong == [("README.zh.md", "README.md")]


def test_lines_of_chinese_are_put_together():
    assert chinese.joined("卷积的偏置\n是 `(C,)`，\n`match` 见下。\n\n- 一、\n- 二\n  三，\n  [四](x.md)") == (
        "卷积的偏置是 `(C,)`，`match` 见下。\n\n- 一、\n- 二三，[四](x.md)"
    )
    english = "One line,\nanother.\n\n1. first\n2. second"
    assert chinese.joined(english) == english


def anchors(text: str) -> set[str]:
    """Of the headings of a page, as the site makes them."""
    found = set(re.findall(r"\{ #([^ ]+) \}", text))
    for title in re.findall(r"^#+ (.+)$", FENCED.sub("", text), flags=re.MULTILINE):
        plain = re.sub(r"[^\w\s-]", "", re.sub(r"\s*\{ #.*", "", title).lower()).strip()
        found.add(re.sub(r"[-\s]+", "-", plain))
    return found


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page, language):
    made = set(PAGES) | {f"reference/{area}.md" for area in [*reference.AREAS, "index"]} | {"pytorch_names.md"}
    made |= {f"inside/{name}.md" for name in inside()}
    made |= {f"assets/{path.name}" for path in (ROOT / "docs" / "pictures").iterdir()}
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", FENCED.sub("", read(language, page))):
        path, _, anchor = link.partition("#")
        place = (Path("/") / page).parent.joinpath(path).resolve().relative_to("/").as_posix()
        assert place in made, link
        if anchor and place in PAGES:
            assert anchor in anchors(read(language, place)), link


def inside() -> set[str]:
    return {Path(page).stem for item in settings.NAV if isinstance(item, dict) for page in next(iter(item.values()))}


# -- diagrams


def test_diagrams_of_the_pages_are_drawn():
    blocks = [
        block[len("```mermaid") : -3]
        for path in sorted((ROOT / "docs").rglob("*.md"))
        for block in FENCED.findall(path.read_text(encoding="utf-8"))
        if block.startswith("```mermaid")
    ]
    assert len(blocks) >= 5
    for block in blocks:
        drawing, it = diagrams.svg(block), diagrams.read(block)
        assert drawing.count("<rect") == len(it.labels)
        assert drawing.count('class="line"') == len(it.arrows)


def test_arrows_have_their_labels():
    it = diagrams.read('flowchart LR\n a["one<br/>two"] -- "yes" --> b & c --> d{"which?"}')
    assert it.labels["a"] == ["one", "two"]
    assert it.arrows == [("a", "b", "yes"), ("a", "c", "yes"), ("b", "d", ""), ("c", "d", "")]
    assert it.questions == {"d"}
    with pytest.raises(ValueError, match="does not know"):
        diagrams.read("flowchart LR\n a ==> b")
