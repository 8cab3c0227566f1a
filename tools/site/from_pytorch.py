"""The table of PyTorch's names: read from the pytorch.txt that errors read too, written as a page of the site, and run by tests/test_site_pytorch.py.

Both calls of a row run on the same values: PyTorch's where record_pytorch.py is run with it, which writes down what they gave, and
tengen's in the tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).resolve().parent
TABLE = HERE.parents[1] / "src" / "tengen" / "base" / "pytorch.txt"
VALUES: dict[str, Any] = {
    "x": np.array([[0.5, -1.25, 2.0], [-0.75, 1.5, 0.25]], np.float32),
    "y": np.array([[1.5, 0.75, 0.5], [2.0, 1.25, 0.4]], np.float32),
    "u": np.array([[0.5, 0.25, 0.125], [0.875, 0.75, 0.4]], np.float32),
    "v": np.array([3.0, 1.0, 2.0], np.float32),
    "s": np.array([[4.0, 1.0, 0.5], [1.0, 3.0, 0.25], [0.0, -1.0, 2.0]], np.float32),
    "i": np.array([[0, 2, 1], [1, 0, 2]]),
    "k": np.array([1, 0]),
    "m": np.array([[True, False, True], [False, False, True]]),
    "img": np.sin(np.arange(512, dtype=np.float32)).reshape(2, 4, 8, 8),
    "seq": np.cos(np.arange(40, dtype=np.float32)).reshape(2, 5, 4),
    "w": np.sin(np.arange(216, dtype=np.float32) * 3).reshape(6, 4, 3, 3),
    "z": np.array([1 + 2j, -0.5j], np.complex64),
}
ARRAY = np.array([1.0, 2.0], np.float32)


class Row(NamedTuple):
    """A line of the table. ours is "-" where nothing corresponds; note names an entry of NOTES or is empty."""

    section: str
    theirs: str
    ours: str
    note: str
    differs: bool  # the results, as the note says


def rows() -> list[Row]:
    """All lines, in order."""
    found, section = [], ""
    for line in TABLE.read_text(encoding="utf-8").split("\n"):
        if line.startswith("## "):
            section = line[3:]
        elif " | " in line and not line.startswith("#"):
            theirs, ours, note, *_ = [*map(str.strip, line.split(" | ")), ""]
            found.append(Row(section, theirs, ours, note.lstrip("~"), note.startswith("~")))
    return found


def notes() -> dict[str, dict[str, str]]:
    """Name of a note or section → its text, by language."""
    found: dict[str, dict[str, str]] = {}
    for line in (HERE / "pytorch_notes.txt").read_text(encoding="utf-8").strip().split("\n"):
        name, english, chinese = line.split(" | ")
        found[name] = {"en": english, "zh": chinese}
    return found


HEADS = {
    "en": """# PyTorch's names

{count} calls of PyTorch, and what they are called here. Where nothing stands in the last column, the tests have found the same result for both, with
the same values as arguments, but for integers of 32 bits in place of 64.

`torch`, `nn` = `torch.nn` and `optim` = `torch.optim` are PyTorch's; `F` = `tengen.functional`, `M` = `tengen.module`,
`optimizer` = `tengen.optimizer` and `np` = NumPy. `x`, `y` and other single letters are tensors. The errors know many of these names too: ask for
`x.unsqueeze`, and they tell you.
""",
    "zh": """# PyTorch 名称对照表

PyTorch 的 {count} 个调用，以及它们在这里的写法。最后一列为空时，测试已经确认：参数的值相同，两边的结果也相同，只是整数为 32 位而不是 64 位。

`torch`、`nn` = `torch.nn`、`optim` = `torch.optim` 属于 PyTorch；`F` = `tengen.functional`，`M` = `tengen.module`，
`optimizer` = `tengen.optimizer`，`np` = NumPy。`x`、`y` 等单个字母是张量。错误信息也知道其中许多名称：写 `x.unsqueeze`，它会告诉您改用什么。
""",
}
COLUMNS = {"en": "what differs", "zh": "有何不同"}


def page(language: str) -> str:
    """The table in a language."""
    texts, table = notes(), rows()
    parts, section = [HEADS[language].format(count=len(table))], ""
    for row in table:
        if row.section != section:
            section = row.section
            title = texts[f"# {section}"][language]
            parts.append(
                f"\n## {title} {{ #{section} }}\n\n| PyTorch | tengen | {COLUMNS[language]} |\n|---|---|---|\n"
            )
        note = texts[row.note][language] if row.note else ""
        ours = f"`{row.ours}`" if row.ours != "-" else "–"
        parts.append(f"| `{row.theirs}` | {ours} | {note} |\n")
    return "".join(parts)


def result(code: str, names: dict[str, Any]) -> Any:
    """What a call gives; of a statement, the tensor that it changes."""
    try:
        call = compile(code, code, "eval")
    except SyntaxError:
        exec(code, names)
        return names["x"]
    value = eval(call, names)
    return names["x"] if value is None else value  # an initializer, which changes it


def described(value: Any) -> Any:
    """A result as JSON holds it, the same for both libraries: numbers and their kind, or how many parameters a layer has."""
    if isinstance(value, tuple | list):
        return [described(part) for part in value]
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int | float):
        return round(float(value), 4)
    if isinstance(value, type):
        return "class"
    if hasattr(value, "named_parameters"):
        return {"parameters": sum(int(np.prod(tuple(p.shape))) for p in value.parameters())}
    if hasattr(value, "detach"):
        value = value.detach()
        text = str(value.dtype)
        value = value.astype("float32") if "bfloat16" in text and hasattr(value, "astype") else value
        value = (
            value.float() if "bfloat16" in text and hasattr(value, "float") and not hasattr(value, "astype") else value
        )
        value = value.numpy()
    if isinstance(value, np.ndarray | np.generic):
        kind = {"u": "i"}.get(value.dtype.kind, value.dtype.kind)
        parts = [value.real, value.imag] if kind == "c" else [value]
        flat = [np.round(part.astype(np.float64), 4).ravel().tolist() for part in parts]
        return {"kind": kind, "shape": list(value.shape), "values": flat}
    return "object"
