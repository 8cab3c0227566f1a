"""The pages of the API reference: an entry for each public name, made of its signature and its docstring.

They are made of the imported package rather than of its source, for some names come out of tables. What is public is what `__all__` of the
modules in AREAS names, the attributes of `tengen`, and the classes in GIVEN. An entry stands on the page of the first area that has the name.
"""

from __future__ import annotations

import functools
import inspect
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
# Page → the modules whose names are on it.
AREAS = {
    "tengen": "tengen",
    "functional": "tengen.functional",
    "functional_loss": "tengen.functional.loss",
    "functional_vision": "tengen.functional.vision",
    "functional_distributed": "tengen.functional.distributed",
    "functional_more": "tengen.functional.quantized tengen.functional.debug_param tengen.functional.external",
    "module": "tengen.module",
    "module_init": "tengen.module.init",
    "module_qat": "tengen.module.qat",
    "module_quantized": "tengen.module.quantized",
    "module_external": "tengen.module.external",
    "models": "tengen.models",
    "optimizer": "tengen.optimizer",
    "autodiff": "tengen.autodiff",
    "jit": "tengen.jit",
    "data": "tengen.data tengen.data.dataset",
    "transform": "tengen.data.transform",
    "random": "tengen.random",
    "amp": "tengen.amp",
    "quantization": "tengen.quantization tengen.quantization.utils",
    "distributed": "tengen.distributed tengen.distributed.checkpoint tengen.distributed.sharded tengen.distributed.ray",
    "hub": "tengen.hub",
    "traced_module": "tengen.traced_module tengen.traced_module.expr tengen.traced_module.node tengen.traced_module.filters"
    " tengen.traced_module.fake_quant",
    "utils": "tengen.utils tengen.utils.bn_fusion tengen.utils.comp_graph_tools tengen.utils.dlpack tengen.utils.hook"
    " tengen.utils.module_stats tengen.utils.naming tengen.utils.profiler tengen.utils.tensor_sanity_check"
    " tengen.utils.tuple_function tengen.utils.weights",
    "network": "tengen.utils.network",
    "settings": "tengen.config tengen.device tengen.dtype tengen.dtr tengen.logger",
    "array_api": "tengen.array_api tengen.array_api.linalg",
}
# Page → classes that no module lists, but functions and attributes on the page give to users.
GIVEN = {
    "jit": "tengen.jit.explain.Explanation tengen.jit.explain.PlanReport",
    "traced_module": "tengen.traced_module.graph.InternalGraph",
    "utils": "tengen.utils.summary.Summary tengen.utils.summary.SummaryRow tengen.utils.module_stats.stats"
    " tengen.utils.module_stats.total_stats",
    "network": "tengen.utils.network_node.OpNode tengen.utils.network_node.VarNode tengen.jit.frozen.Frozen",
    "settings": "tengen.base.device.Device tengen.base.dtype.DType tengen.base.dtype.QuantDType"
    " tengen.device.CudaDeviceProperty",
    "array_api": "tengen.array_api.searching.UniqueAll tengen.array_api.searching.UniqueCounts"
    " tengen.array_api.searching.UniqueInverse tengen.array_api.linalg.EighResult tengen.array_api.linalg.QRResult"
    " tengen.array_api.linalg.SlogdetResult tengen.array_api.linalg.SVDResult",
}


class Entry(NamedTuple):
    """A public name: where it stands, what it is."""

    area: str
    module: str
    name: str
    value: Any

    @property
    def anchor(self) -> str:
        """What follows the # in a link to it; two underscores would be markup."""
        return f"{self.module}.{self.name.strip('_')}"


def names_of(module: ModuleType) -> list[str]:
    """The public names of a module, modules aside."""
    listed = getattr(module, "__all__", None)
    if listed is None:
        listed = [
            name for name, value in vars(module).items() if not name.startswith("_") and belongs(module, name, value)
        ]
    return [name for name in listed if not inspect.ismodule(getattr(module, name))]


def belongs(module: ModuleType, name: str, value: Any) -> bool:
    """Whether a name of a module without `__all__` is public: tengen's own, and for modules below tengen made in them."""
    made_in = str(getattr(value, "__module__", ""))
    own = made_in.startswith("tengen") if module.__name__ == "tengen" else made_in == module.__name__
    return own and not name.startswith("explain_")


@functools.cache
def entries() -> tuple[Entry, ...]:
    """All public names, each once."""
    found: list[Entry] = []
    seen: set[Any] = set()
    for area, modules in AREAS.items():
        for path in modules.split():
            module = import_module(path)
            for name in sorted(names_of(module), key=str.lower):
                value = getattr(module, name)
                key = id(value) if inspect.isroutine(value) or inspect.isclass(value) else (path, name)
                if key not in seen:
                    seen.add(key)
                    found.append(Entry(area, path, name, value))
    for area, classes in GIVEN.items():
        for module, _, name in (path.rpartition(".") for path in classes.split()):
            found.append(Entry(area, module, name, getattr(import_module(module), name)))
    return tuple(found)


def pages() -> dict[str, str]:
    """File name → the Markdown of a page of the reference, the index among them."""
    made, rows = {}, []
    for area, modules in AREAS.items():
        here = [entry for entry in entries() if entry.area == area]
        given = GIVEN.get(area, "").split()
        title = area_title(area)
        parts = [f"# {title}\n"]
        for path in modules.split():
            listed = [entry for entry in here if entry.module == path and f"{path}.{entry.name}" not in given]
            if not listed:
                continue
            about = prose(inspect.cleandoc(import_module(path).__doc__ or ""))
            parts.append(
                f"\n{about}\n"
                if path == title or len(modules.split()) == 1
                else f"\n## {path} {{ #{path} }}\n\n{about}\n"
            )
            parts += [entry_text(entry) for entry in listed]
        if given:
            parts.append("\n## What these give { #given }\n")
            parts += [entry_text(entry) for entry in here if f"{entry.module}.{entry.name}" in given]
        made[f"{area}.md"] = "\n".join(parts)
        rows.append(f"- [`{title}`]({area}.md): {len(here)} names")
    made["index.md"] = INDEX + "\n".join(rows) + "\n\n" + alphabet()
    return made


INDEX = """# API reference

Every public name, with its arguments, the errors it raises and an example that the tests run. *Source* leads to the lines that
do it. The search field at the top finds names from any page.

"""


def area_title(area: str) -> str:
    """What a page is called."""
    return area if area == "settings" else AREAS[area].split()[0]


def alphabet() -> str:
    """Links to all names."""
    letters: dict[str, list[str]] = {}
    for entry in sorted(entries(), key=lambda entry: entry.name.lower()):
        link = f"[`{entry.name}`]({entry.area}.md#{entry.anchor})"
        letters.setdefault(entry.name.lstrip("_")[0].upper(), []).append(link)
    return "\n".join(f"## {letter}\n\n{' · '.join(links)}\n" for letter, links in sorted(letters.items()))


def entry_text(entry: Entry) -> str:
    """The part of a page that tells of one name."""
    value, path = entry.value, f"{entry.module}.{entry.name}"
    head = f"\n### {escape(entry.name)} {{ #{entry.anchor} }}\n"
    if inspect.isclass(value):
        return head + class_text(value, path)
    if callable(value) and not isinstance(value, type):
        return head + fence(signature(value, path)) + docstring(value) + source_link(value)
    return head + fence(f"{path} = {shown(entry)}") + setting_text(entry)


def shown(entry: Entry) -> str:
    """The value of a constant, or what a setting is by default."""
    knob = knob_of(entry)
    text = repr(knob.default if knob else entry.value)
    return text if len(text) < 100 and " at 0x" not in text else f"...  # {type(entry.value).__name__}"


def knob_of(entry: Entry) -> Any:
    """The row of the table of settings, if it is one."""
    if entry.module != "tengen.config":
        return None
    from tengen.base.config import KNOBS

    return next((knob for knob in KNOBS if knob.name == entry.name), None)


def setting_text(entry: Entry) -> str:
    """What a setting does and which environment variables set it."""
    knob = knob_of(entry)
    if not knob:
        return ""
    env = f" Environment variable: {', '.join(f'`{name}`' for name in knob.env)}." if knob.env else ""
    return f"\n{escape(knob.doc)}{env}\n"


def class_text(value: type, path: str) -> str:
    """A class: how it is made, what it says of itself, then its own methods and properties that have a docstring."""
    parts = []
    if not issubclass(value, BaseException):
        parts.append(fence(signature(value, path)))
    bases = [base.__name__ for base in value.__bases__ if base is not object and not base.__name__.startswith("_")]
    if bases:
        parts.append(f"\nA kind of {', '.join(f'`{base}`' for base in bases)}.\n")
    parts.append(docstring(value) + source_link(value))
    for name, member in sorted(vars(value).items()):
        inner = unwrapped(member)
        if name.startswith("_") or not getattr(inner, "__doc__", None) or type(member).__module__.endswith(".missing"):
            continue
        anchor = f"{path}.{name}".replace("__", "")
        title = f"\n#### {escape(value.__name__)}.{name} {{ #{anchor} }}\n"
        if isinstance(member, property | functools.cached_property):
            parts.append(title + docstring(member))
        elif inspect.isroutine(inner):
            parts.append(title + fence(signature(inner, name)) + docstring(inner))
    return "".join(parts)


def unwrapped(member: Any) -> Any:
    """The function in a static or class method."""
    return member.__func__ if isinstance(member, staticmethod | classmethod) else member


def fence(code: str) -> str:
    """A block of Python that is shown, not run."""
    return f"\n```{{ .python .signature }}\n{code}\n```\n"


def signature(value: Any, path: str) -> str:
    """How it is called; parameters on lines of their own where one line is too long."""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return f"{path}(...)"
    parameters = [p for p in found.parameters.values() if p.name != "self"]
    names = [
        re.sub(r"<[^<>]* at 0x\w+>|<(\w+)[^<>]*>", r"\1...", str(p)).replace("'", "") if "<" in str(p) else plain(p)
        for p in parameters
    ]
    stars = [i for i, p in enumerate(parameters) if p.kind is p.KEYWORD_ONLY]
    if stars and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        names.insert(stars[0], "*")
    slashes = [i for i, p in enumerate(parameters) if p.kind is p.POSITIONAL_ONLY]
    if slashes:
        names.insert(slashes[-1] + 1, "/")
    returns = (
        ""
        if inspect.isclass(value) or found.return_annotation in (found.empty, "None")
        else (f" -> {annotation(found.return_annotation)}")
    )
    line = f"{path}({', '.join(names)}){returns}"
    if len(line) <= 88:
        return line
    return f"{path}(\n" + "".join(f"    {name},\n" for name in names) + f"){returns}"


def annotation(kind: Any) -> str:
    """A type as the source spells it."""
    return kind if isinstance(kind, str) else inspect.formatannotation(kind)


def plain(parameter: inspect.Parameter) -> str:
    """A parameter, its annotation without quotes."""
    text = str(parameter.replace(annotation=parameter.empty))
    if parameter.annotation is parameter.empty:
        return text
    name, equals, default = text.partition("=")
    return f"{name}: {annotation(parameter.annotation)}" + (f" = {default}" if equals else "")


def source_link(value: Any) -> str:
    """A link to the page of its file, at its first line."""
    try:
        value = inspect.unwrap(value)
        file, line = inspect.getsourcefile(value), inspect.getsourcelines(value)[1]
    except (TypeError, OSError):
        return ""
    path = Path(file or "").resolve()
    if not path.is_relative_to(ROOT / "src"):
        return ""
    return f"\n[Source](../source/{path.relative_to(ROOT)}.html#L{line}){{ .source }}\n"


def docstring(value: Any) -> str:
    """The docstring as Markdown. A class has only its own."""
    doc = vars(value).get("__doc__") if inspect.isclass(value) else getattr(value, "__doc__", None)
    if inspect.isclass(value) and not doc:
        doc = getattr(vars(value).get("__init__"), "__doc__", None)
    return f"\n{prose(inspect.cleandoc(doc))}\n" if isinstance(doc, str) and doc else ""


SECTION = re.compile(r"^(Args|Raises|Attributes):$")


def prose(doc: str) -> str:
    """Markdown of a docstring: sections become lists, examples become blocks."""
    out: list[str] = []
    lines, at = doc.split("\n"), 0
    while at < len(lines):
        line = lines[at]
        if match := SECTION.match(line):
            block, at = indented(lines, at + 1)
            title = {"Args": "Arguments"}.get(match[1], match[1])
            out += ["", f"**{title}**", "", *items(block)]
        elif line.lstrip().startswith(">>>"):
            margin = len(line) - len(line.lstrip())
            block = []
            while at < len(lines) and lines[at].strip():
                block.append(lines[at][margin:])
                at += 1
            out += ["", "```pycon", *block, "```", ""]
        elif line.startswith("    ") and (not out or not out[-1].strip()):  # a formula or a drawing
            block, at = indented(lines, at)
            out += ["```text", *block, "```", ""]
        else:
            at += 1
            line = re.sub(r"^Returns: ", "**Returns** ", line)
            bullet = line.lstrip().startswith(("- ", "* "))
            if bullet and out and out[-1].strip() and not out[-1].lstrip().startswith("- "):
                out.append("")
            out.append(escape(line))
    return re.sub(r"\n```\n+```pycon\n", "\n", "\n".join(out)).strip("\n")


def indented(lines: list[str], at: int) -> tuple[list[str], int]:
    """The lines of a block that is four spaces in, without them, and where it ends."""
    block = []
    while at < len(lines) and (lines[at].startswith("    ") or not lines[at].strip()):
        block.append(lines[at][4:])
        at += 1
    while block and not block[-1].strip():
        block.pop()
    return block, at


def items(block: list[str]) -> list[str]:
    """A list of `name: what it is` lines, which may go on in lines that are further in."""
    out: list[str] = []
    for line in block:
        if match := re.match(r"^(\*{0,2}[\w.]+(?:, \*{0,2}[\w.]+)*): (.*)", line):
            out.append(f"- `{match[1]}`: {escape(match[2])}")
        else:
            out.append("    " + escape(line.strip()))
    return [*out, ""]


def escape(text: str) -> str:
    """Text in which only `code` is markup."""
    parts = re.split(r"(``.+?``|`[^`]+`)", text)
    for i in range(0, len(parts), 2):
        keep = re.split(r"(\*\*Returns\*\*)", parts[i])
        for j in range(0, len(keep), 2):
            keep[j] = re.sub(r"([*_\[\]$])", r"\\\1", keep[j]).replace("<", "&lt;").replace(">", "&gt;")
        parts[i] = "".join(keep)
    return "".join(parts)
