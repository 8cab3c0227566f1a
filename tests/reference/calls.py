"""Calls of the inventory's names with several argument sets each, and what they give: values, and gradients by all float operands.

`calls/*.txt` hold one name a line, with variations; README.md says how they are written. Like replay.py, this file imports
neither framework and runs under Python 3.10 too.
"""

from __future__ import annotations

import ast
import json
import random
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import replay

HERE = Path(__file__).resolve().parent
FAMILIES = sorted(path.stem for path in (HERE / "calls").glob("*.txt"))
INVENTORY: dict[str, dict[str, Any]] = json.loads((HERE / "inventory.json").read_text())
MOST = 24  # elements that are kept of a larger array

# What Tensor has for the reference's own ends, for graphs and quantisation.
TENSOR_INTERNALS = ("dmap_callback", "graph", "qparams", "requires_grad", "value_id", "var")

# What `~` stands for: the first operand of other dtypes and shapes, and what is no operand at all.
STANDARD = ('{0}, dtype="float16")', '{0}, dtype="int32")', "{1}()", "{1}(0, 3)", '"text"')


class Row(NamedTuple):
    """One call: its text, and why tengen differs from the reference ("" if it does not), with what is right if NumPy can say it."""

    text: str
    reason: str = ""
    right: str = ""


def rows(family: str) -> list[Row]:
    """All calls of one family."""
    found: list[Row] = []
    for line in (HERE / "calls" / f"{family}.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            line, _, remark = line.partition("##")
            reason, _, right = remark.partition("::")
            found += [Row(text, reason.strip(), right.strip()) for text in _texts(line)]
    return found


def _texts(line: str) -> list[str]:
    """A line's calls: as it is, and with each of its variations."""
    first, *variations = (part.strip() for part in line.split(";"))
    call, arrow, operands = (part.strip() for part in first.partition("->"))
    tail = f" -> {operands}" if arrow else ""
    found = [call + tail]
    for variation in variations:
        if variation == "~":
            found += [text + tail for text in _standard(call)]
        elif variation.startswith("->"):
            found.append(f"{call} {variation}")
        elif variation.startswith("("):
            found.append(call[: call.index("(")] + variation + tail)
        elif call.endswith("()"):
            found.append(call[:-1] + variation + ")" + tail)
        else:
            found.append(f"{call[:-1]}, {variation}){tail}")
    return found


def _standard(call: str) -> list[str]:
    operand = re.search(r"\b([XP])\(([^()]*)\)", call)
    assert operand is not None, call
    start, stop = operand.span()
    made = (text.format(f"{operand[1]}({operand[2]}", operand[1]) for text in STANDARD)
    return [call[:start] + text + call[stop:] for text in made]


# -- what rows may name


def operands(names: dict[str, Any]) -> dict[str, Any]:
    """`names` with what makes operands: X (of both signs), P (positive), I (indices below n), B (booleans), A (a NumPy array of bytes)."""
    tensor = names["tensor"]

    def spread(shape: tuple[int, ...], seed: int) -> Any:
        return np.random.RandomState(seed + 7 * len(shape)).uniform(-1, 1, shape)

    def x(*shape: int, dtype: str = "float32", seed: int = 0, scale: float = 1.0) -> Any:
        size = 10.0 if dtype.startswith(("int", "uint")) else scale
        return tensor((spread(shape, seed) * size).astype(dtype))

    def positive(*shape: int, dtype: str = "float32", seed: int = 0) -> Any:
        values = (spread(shape, seed) + 1.2) / 2
        return tensor((values * (9 if dtype.startswith(("int", "uint")) else 1)).astype(dtype))

    def index(n: int, *shape: int, seed: int = 0) -> Any:
        return tensor(np.random.RandomState(seed + 3).randint(0, n, shape).astype("int32"))

    def boolean(*shape: int, seed: int = 0) -> Any:
        return tensor(spread(shape, seed) > 0)

    def array(*shape: int, seed: int = 0) -> Any:
        return np.random.RandomState(seed).randint(0, 255, shape).astype("uint8")

    return {**names, "X": x, "P": positive, "I": index, "B": boolean, "A": array}


# -- what a row gives


def outcome(text: str, names: dict[str, Any]) -> Any:
    """The encoded result of a call, or `{"raises": name of the exception}`."""
    try:
        return encoded(text, names)
    except SyntaxError:
        raise
    except Exception as error:
        return {"raises": type(error).__name__}


def encoded(text: str, names: dict[str, Any]) -> Any:
    """The encoded result of a call: its value, and the gradients of a weighted sum of it."""
    np.random.seed(0)
    random.seed(0)
    names = operands(names)
    call, arrow, inputs = text.partition("->")
    function, arguments, keywords, parameters = _call(call.strip(), names)
    if arrow:
        made = function(*arguments, **keywords)
        function, arguments, keywords = made, eval(f"({inputs},)" if inputs.strip() else "()", names), {}
        if isinstance(made, names["M"].Module):
            parameters = _fill(made, names)
        elif hasattr(made, "apply"):
            function = made.apply
    watched = [x for x in [*_tensors([*arguments, *keywords.values()], names), *parameters] if _is_float(x)]
    value, gradients = _differentiated(function, arguments, keywords, watched, names)
    found: dict[str, Any] = {"value": _encode(value, names)}
    if any(g is not None for g in gradients):
        found["gradients"] = [_encode(g, names) for g in gradients]
    return found


def _call(text: str, names: dict[str, Any]) -> tuple[Any, list[Any], dict[str, Any], list[Any]]:
    tree = ast.parse(text, mode="eval").body

    def value(node: ast.expr) -> Any:
        return eval(compile(ast.Expression(node), "<call>", "eval"), names)

    if not isinstance(tree, ast.Call):
        return (lambda: value(tree)), [], {}, []
    arguments: list[Any] = []
    for node in tree.args:
        arguments += value(node.value) if isinstance(node, ast.Starred) else [value(node)]
    return value(tree.func), arguments, {str(k.arg): value(k.value) for k in tree.keywords}, []


def _fill(module: Any, names: dict[str, Any]) -> list[Any]:
    """Give the parameters of a module values that depend on their place only; the parameters."""
    parameters = [p for _, p in sorted(module.named_parameters(), key=lambda pair: pair[0])]
    for seed, p in enumerate(parameters):
        p.set_value(np.asarray(names["X"](*p.shape, seed=seed).numpy()))
    return parameters


def _tensors(values: Any, names: dict[str, Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if isinstance(value, names["Tensor"]):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += _tensors(value, names)
    return found


def _is_float(x: Any) -> bool:
    return np.dtype(x.dtype).kind == "f"


def _differentiated(function: Any, arguments: Any, keywords: Any, watched: list[Any], names: dict[str, Any]) -> Any:
    """The value of a call, and the gradients by the watched tensors; none where the framework has none."""
    if not watched or not callable(function):
        return function(*arguments, **keywords), []
    manager = names["GradManager"]()
    manager.attach(watched)
    with manager:
        value = function(*arguments, **keywords)
        parts = [y for y in _tensors([value], names) if _is_float(y) and y.size]
        try:
            loss = sum((y * _weights(y, names)).sum() for y in parts)
            if parts:
                manager.backward(loss)
        except Exception:
            return value, []
    return value, [x.grad for x in watched]


def _weights(y: Any, names: dict[str, Any]) -> Any:
    return names["tensor"](np.random.RandomState(5).uniform(0.5, 1.5, y.shape).astype(np.dtype(y.dtype)))


def _encode(value: Any, names: dict[str, Any]) -> Any:
    if isinstance(value, names["M"].Module):
        return {"module": [[key, list(x.shape)] for key, x in sorted(value.named_tensors(), key=lambda pair: pair[0])]}
    return _sampled(replay.encode(value, names))


def _sampled(found: Any) -> Any:
    """Of large arrays every n-th element only."""
    if isinstance(found, dict):
        if isinstance(found.get("values"), list):
            values = found["values"]
            step = -(-len(values) // MOST) if len(values) > 2 * MOST else 1
            kept = [float(f"{v:.7g}") if isinstance(v, float) else v for v in values[::step]]
            return {"shape": found["shape"], "values": kept}
        return {key: _sampled(value) for key, value in found.items()}
    return [_sampled(value) for value in found] if isinstance(found, list) else found


# -- the inventory


def called(text: str) -> set[str]:
    """The inventory's names that a row's text names, as "module.name" in tengen's paths."""
    short = {
        "F": "functional",
        "M": "module",
        "T": "data.transform",
        "D": "data",
        "optim": "optimizer",
        "rand": "random",
        "mge": "",
    }
    short |= {
        "init": "module.init",
        "dist": "distributed",
        "GradManager": "autodiff.GradManager",
        "Function": "autodiff.Function",
        "tensor": "tensor",
        "Tensor": "Tensor",
        "Parameter": "Parameter",
    }
    found: set[str] = set()
    for path in re.findall(r"(?<![\w.\"])[A-Za-z_]\w*(?:\.\w+)*", text):
        first, _, rest = path.partition(".")
        if first in short:
            full = ".".join(part for part in ("tengen", short[first], rest) if part)
            found |= {
                name
                for name in _prefixes(full)
                if name.rpartition(".")[2] in INVENTORY.get(name.rpartition(".")[0], {})
            }
    return found


def _prefixes(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:count]) for count in range(2, len(parts) + 1)]


def parameters(signature: str) -> list[str]:
    """The names in a signature's text, without `*args` and `**kwargs`."""
    text = re.sub(r"<[^>]*>", "None", signature).rpartition("->")[0] or re.sub(r"<[^>]*>", "None", signature)
    parts, depth = [""], 0
    for letter in text.strip()[1:-1]:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    names = (part.split(":")[0].split("=")[0].strip() for part in parts)
    return [name for name in names if name and not name.startswith("*")]


# -- comparison


GRADIENT_TOLERANCES = {"float16": (1e-2, 1e-3), "float32": (1e-4, 1e-5)}

# A name that does not exist is never the refusal that a call expects.
ACCIDENTS = (AttributeError, NameError, ImportError, SyntaxError)


def judge(row: Row, expected: Any, names: dict[str, Any]) -> str | None:
    """How what tengen gives differs from what was recorded, or from what is right where the reference is wrong; None if it does not."""
    try:
        found = encoded(row.text, names)
    except Exception as error:
        if row.reason and not row.right and not row.reason.startswith("the gradient"):
            return None
        if "raises" in expected and not row.right:
            return None if not isinstance(error, ACCIDENTS) else f"refused by accident: {error!r}"
        return f"raised {error!r}"
    if row.right:
        right = _sampled(replay.encode(eval(row.right, operands(names)), names))
        value = found["value"]
        value = {"ndarray": value["Tensor"], "dtype": right["dtype"]} if "Tensor" in value else value
        return replay.difference(value, right)
    if row.reason.startswith("the gradient") and "value" in expected:
        return replay.difference(found["value"], expected["value"])
    if row.reason or "dies" in expected:
        return None
    if "raises" in expected:
        return f"gave {json.dumps(found)[:200]}, the reference raised {expected['raises']}"
    gradients = found.pop("gradients", []), expected.get("gradients", [])
    difference = replay.difference(found, {"value": expected["value"]})
    if difference is None and gradients[1]:
        difference = _gradient_difference(*gradients)
    return difference


def _gradient_difference(found: list[Any], expected: list[Any]) -> str | None:
    """A gradient has the dtype of its tensor; that of float16 is float32 in the reference for some functions, and exacter."""
    if len(found) != len(expected):
        return f"got {len(found)} gradients, expected {len(expected)}"
    for number, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        if ours is None and isinstance(theirs, dict) and not any(theirs["Tensor"]["values"]):
            continue  # by places in an image that are rounded, for instance: none says the same as zeros
        if isinstance(ours, dict) and isinstance(theirs, dict) and ours["Tensor"]["shape"] == []:
            theirs = {**theirs, "Tensor": {**theirs["Tensor"], "shape": []}}  # the reference has none of 0 dims
        half = isinstance(ours, dict) and ours.get("dtype") == "float16"
        wanted = {**theirs, "dtype": "float16"} if half and isinstance(theirs, dict) else theirs
        # Sums of products that cancel: what is left has the rounding of the largest.
        text = replay.difference(ours, wanted, tolerances=GRADIENT_TOLERANCES)
        if text is not None:
            return f"gradient {number}{text}"
    return None
