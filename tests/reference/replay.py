"""Programs of the public API and what they give, in a form that two frameworks can be compared by.

A program is a few lines of Python whose last line is an expression. `programs/*.txt` hold programs separated by blank
lines; `recorded/*.json` hold what the reference implementation gave for each. This file imports neither framework:
`names_of` gives a program the modules of the one that is asked for. It must run under Python 3.10 with NumPy 1.23 too.
"""

from __future__ import annotations

import ast
import copy
import importlib
import io
import json
import math
import operator
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
FAMILIES = sorted(path.stem for path in (HERE / "programs").glob("*.txt"))

# Tolerances (relative, absolute) of a comparison, by dtype name. The two sides sum in different orders.
TOLERANCES = {"float16": (2e-3, 1e-3), "float32": (2e-5, 2e-6)}


def programs(family: str) -> list[str]:
    """The programs of one family, in order; lines that begin with `#` in column 0 are remarks."""
    text = (HERE / "programs" / f"{family}.txt").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    blocks = "\n".join(lines).split("\n\n")
    return [block.strip("\n") for block in blocks if block.strip()]


def recorded(name: str) -> Any:
    """The content of `recorded/<name>.json`."""
    return json.loads((HERE / "recorded" / f"{name}.json").read_text())


def names_of(framework: str) -> dict[str, Any]:
    """The names that a program may use, from the framework with that import name."""
    root = importlib.import_module(framework)
    modules = {
        "F": "functional",
        "M": "module",
        "init": "module.init",
        "optim": "optimizer",
        "autodiff": "autodiff",
        "rand": "random",
        "D": "data",
        "T": "data.transform",
    }
    names = {short: importlib.import_module(f"{framework}.{full}") for short, full in modules.items()}
    names.update(mge=root, tensor=root.tensor, Tensor=root.Tensor, Parameter=root.Parameter)
    names.update(GradManager=names["autodiff"].GradManager, Function=names["autodiff"].Function)
    names.update(np=np, nan=math.nan, inf=math.inf, OrderedDict=OrderedDict)
    names.update(copy=copy, operator=operator, pickle=pickle, Parts=Parts)
    if framework == "tengen":
        importlib.import_module("tengen.compat.megengine")
    # What programs take from inside of MegEngine has no other name than that.
    inner = {"core2": "core._imperative_rt.core2", "builtin": "core.ops.builtin", "utils": "core.tensor.utils"}
    names.update({short: importlib.import_module(f"megengine.{full}") for short, full in inner.items()})
    names["dist"] = importlib.import_module("megengine.distributed")
    names["dt"] = importlib.import_module("megengine.core.tensor.dtype")
    names["Q"] = importlib.import_module("megengine.quantization")
    names["QU"] = importlib.import_module("megengine.quantization.utils")
    names["jit"] = importlib.import_module("megengine.jit")
    for short, full in {"net": "network", "nodes": "network_node", "graphs": "comp_graph_tools"}.items():
        names[short] = importlib.import_module(f"megengine.utils.{full}")
    names["io"] = io
    names["tuples"] = importlib.import_module("megengine.utils.tuple_function")
    return names


class Parts(list):
    """What a program gives when it checks many tensors at once: `Parts(f(x) for x in ...)`; recorded as a list."""


def evaluate(program: str, names: dict[str, Any]) -> Any:
    """Runs a program in a fresh copy of `names` and returns the value of its last line."""
    tree = ast.parse(program)
    last = tree.body.pop()
    if not isinstance(last, ast.Expr):
        raise SyntaxError(f"the last line of a program must be an expression:\n{program}")
    scope = dict(names)
    exec(compile(tree, "<program>", "exec"), scope)
    return eval(compile(ast.Expression(last.value), "<program>", "eval"), scope)


def outcome(program: str, names: dict[str, Any]) -> Any:
    """The encoded value of a program, or `{"raises": name of the exception}`."""
    try:
        return encode(evaluate(program, names), names)
    except Exception as error:
        return {"raises": type(error).__name__}


def encode(value: Any, names: dict[str, Any]) -> Any:
    """A value as JSON keeps it: dtype, shape and numbers of a tensor; containers; the text of anything else."""
    if isinstance(value, names["Tensor"]):
        kind = "Parameter" if isinstance(value, names["Parameter"]) else "Tensor"
        return {kind: _array(value.numpy()), "dtype": np.dtype(value.dtype).name}
    if isinstance(value, np.ndarray):
        return {"ndarray": _array(value), "dtype": value.dtype.name}
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, (float, np.generic)):
        return _number(value.item() if isinstance(value, np.generic) else value)
    if isinstance(value, tuple):
        return {"tuple": [encode(item, names) for item in value]}
    if isinstance(value, list):
        return [encode(item, names) for item in value]
    if isinstance(value, dict):
        return {"dict": [[key, encode(item, names)] for key, item in value.items()]}
    return {"type": value.__name__} if isinstance(value, type) else {"text": str(value)}


def _array(array: np.ndarray) -> dict[str, Any]:
    return {"shape": list(array.shape), "values": [_number(x) for x in array.ravel().tolist()]}


def _number(x: Any) -> Any:
    return float(f"{x:.9g}") if isinstance(x, float) else x


def difference(
    found: Any, expected: Any, dtype: str = "float32", tolerances: dict[str, tuple[float, float]] = TOLERANCES
) -> str | None:
    """Where two encoded values differ, in words; None where they agree up to the tolerance of the dtype."""
    if isinstance(expected, dict) and isinstance(found, dict):
        if list(found) != list(expected):
            return f"got {_short(found)}, expected {_short(expected)}"
        dtype = expected.get("dtype", dtype)
        pairs = [(f".{key}", found[key], expected[key]) for key in expected]
    elif isinstance(expected, list) and isinstance(found, list):
        if len(found) != len(expected):
            return f"got {_short(found)}, expected {_short(expected)}"
        pairs = [(f"[{i}]", *pair) for i, pair in enumerate(zip(found, expected, strict=True))]
    else:
        return (
            None
            if _same(found, expected, tolerances.get(dtype, tolerances["float32"]))
            else f"got {_short(found)}, expected {_short(expected)}"
        )
    for where, left, right in pairs:
        text = difference(left, right, dtype, tolerances)
        if text is not None:
            return f"{where}{'' if text.startswith(('.', '[')) else ': '}{text}"
    return None


def _same(found: Any, expected: Any, tolerance: tuple[float, float]) -> bool:
    if type(found) is not type(expected):
        return False
    if not isinstance(expected, float) or not math.isfinite(expected) or not math.isfinite(found):
        return found == expected or (found != found and expected != expected)
    relative, absolute = tolerance
    return abs(found - expected) <= absolute + relative * abs(expected)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 300 else text[:300] + " …"
