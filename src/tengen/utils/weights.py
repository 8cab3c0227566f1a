"""Loads weights from other programs into networks with different names and shapes, and writes them to files."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from ..base.errors import StateDictError, some
from ..core import Tensor
from ..core.ops.recurrent import GATES
from ..formats.safetensors import save_safetensors
from ..logger import get_logger
from ..module import Module, MultiHeadAttention
from ..module.module import _leaves
from ..module.rnn import RNNBase
from ..module.state import load_state
from .table import table

__all__ = ["Match", "match", "save_safetensors"]

# Where checkpoints keep the state dict, and what state dicts hold besides values that a network computes with.
_INSIDE = ("state_dict", "model_state_dict", "model", "net", "params")
_BESIDE = ("num_batches_tracked", "position_ids")
_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")  # of a recurrent layer, in the order in which it has them
_KINDS = ("weight", "bias", "running_mean", "running_var")
_LEAVES = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


class Match:
    """The result of `match`; it prints as a table.

    rows: (name in the network, name in the state dict, shape there, "same name", "by name" or "by order").
    missing: names in the network for which nothing was found. unused: names in the state dict that were not used.
    """

    def __init__(self, shapes: dict[str, tuple[int, ...]], given: dict[str, tuple[int, ...]]):
        self.rows: list[tuple[str, str, tuple[int, ...], str]] = []
        self.missing: list[str] = []
        self.unused: list[str] = []
        self.shapes, self.given = shapes, given  # by name: in the network, in the state dict
        self.values: dict[str, np.ndarray[Any, Any]] = {}  # by name in the network, with the shapes there

    def __str__(self) -> str:
        lines = [
            (name, source, _change(shape, self.shapes[name]), how)
            for name, source, shape, how in self.rows
            if how != "same name" or shape != self.shapes[name]
        ]
        said = table(("in the network", "in the state dict", "shape", "found"), lines) if lines else ""
        kept = len(self.rows) - len(lines)
        parts = [said, f"{len(self.rows)} loaded" + (f", of which {kept} have the same name and shape" if kept else "")]
        parts += [f"missing in the state dict: {', '.join(self.missing)}"] if self.missing else []
        parts += [f"not used: {', '.join(self.unused)}"] if self.unused else []
        return "\n".join(filter(None, parts))

    def load(self, net: Module) -> None:
        """Give the network the values that were found."""
        tensors = [row for row in net._named_state("") if row[0] in self.values]
        load_state(tensors, self.values, strict=True, owner=type(net).__name__)

    def left_over(self) -> str:
        """The names without a partner on the other side, with shapes; a line for each side."""
        sides = ("missing in the state dict", self.missing, self.shapes), ("not used", self.unused, self.given)
        return "\n".join(
            f"{what}: {some([f'{name} {shapes[name]}' for name in names])}" for what, names, shapes in sides if names
        )


def match(
    net: Module,
    state: Mapping[str, Any],
    rename: Mapping[str, str] | None = None,
    strict: bool = False,
    verbose: bool = True,
    by_order: bool = True,
) -> Match:
    """Load a state dict that was made for another implementation of the same network, such as PyTorch's.

    Names that are equal apart from case and underscores are matched, even behind a prefix ("module.") that most have. The remaining layers
    are matched in the order in which both sides define them, where shapes allow it, so that as many as possible are matched and names are
    as similar as possible. Shapes may differ by dimensions of 1, as biases (C,) and (1, C, 1, 1) do, or as grouped weights (out, in, …) and
    (groups, out, in, …) do. Nothing is transposed. The weights of an LSTM, RNN or MultiheadAttention of PyTorch become one parameter, as they
    are here.

    Args:
        net: gets the values.
        state: tensors or arrays by name, of tengen, NumPy or PyTorch; or a checkpoint that holds them under "state_dict" or "model".
        rename: regular expressions, with replacements, that are applied first to names in the state dict.
        strict: raise StateDictError if something is missing, before anything is loaded.
        verbose: print the result as a table.
        by_order: also match layers whose names differ.

    Raises StateDictError if nothing fits.

    >>> net = M.Sequential(M.Conv2d(4, 2, 1, groups=2), M.Linear(2, 2))
    >>> theirs = {"conv.weight": np.ones((2, 2, 1, 1)), "conv.bias": np.ones(2), "fc.weight": np.eye(2), "fc.bias": np.ones(2)}
    >>> found = match(net, theirs)
    in the network  in the state dict  shape                           found
    --------------  -----------------  ------------------------------  --------
    0.weight        conv.weight        (2, 2, 1, 1) → (2, 1, 2, 1, 1)  by order
    0.bias          conv.bias          (2,) → (1, 2, 1, 1)             by order
    1.weight        fc.weight          (2, 2)                          by order
    1.bias          fc.bias            (2,)                            by order
    4 loaded
    """
    found = partners(net, state, rename, by_order)
    if not found.rows or (strict and found.missing):
        raise StateDictError(
            f"the state dict does not fit {type(net).__name__}; nothing was loaded\n{found.left_over()}"
        )
    found.load(net)
    if verbose:
        print(found)
    elif found.missing:
        get_logger(__name__).warning("match: missing in the state dict: %s", some(found.missing))
    return found


def partners(net: Module, state: Mapping[str, Any], rename: Mapping[str, str] | None, by_order: bool) -> Match:
    """What `match` would load; nothing is loaded yet."""
    raw = {name: _array(name, value) for name, value in inside(state).items() if hasattr(value, "shape")}
    given = _packed(raw)
    if any(isinstance(module, MultiHeadAttention) for module in net.modules()):
        given = _packed_attention(given)
    renamed = {_renamed(name, rename): name for name in given}
    wanted = dict(_in_order(net))
    if given.keys() != raw.keys():  # the cells of recurrent layers are not used, and have no part of their own
        cells = {
            id(p)
            for rnn in net.modules()
            if isinstance(rnn, RNNBase)
            for row in rnn.cells
            for c in row
            for p in c.parameters()
        }
        wanted = {name: tensor for name, tensor in wanted.items() if id(tensor) not in cells}
    shapes = {name: given[source].shape for name, source in renamed.items()}
    pairs = dict(_same_names(wanted, shapes))
    left = [name for name in wanted if name not in pairs]
    free = [name for name in shapes if name not in {source for source, _ in pairs.values()}]
    if by_order:
        pairs |= _aligned(left, free, wanted, shapes)
    found = Match(
        {name: tuple(tensor.shape) for name, tensor in wanted.items()},
        {name: array.shape for name, array in given.items()},
    )
    for name in wanted:
        if name in pairs:
            source, how = pairs[name]
            found.rows.append((name, renamed[source], shapes[source], how))
        else:
            found.missing.append(name)
    used = {source for _, source, _, _ in found.rows}
    found.unused = [name for name in given if name not in used and name.rpartition(".")[2] not in _BESIDE]
    found.values = {name: given[source].reshape(found.shapes[name]) for name, source, _, _ in found.rows}
    return found


def inside(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state dict itself, which may be part of a checkpoint."""
    if not isinstance(state, Mapping):
        raise TypeError(f"a state dict must be a dict of tensors or arrays by name, got {type(state).__name__}")
    for name in _INSIDE:
        if isinstance(state.get(name), Mapping):
            return inside(state[name])
    return state


def _array(name: str, value: Any) -> np.ndarray[Any, Any]:
    if isinstance(value, Tensor):
        return value.numpy()
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value)
    if type(value).__module__.partition(".")[0] == "torch":
        value = value.detach().cpu()
        return (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
    raise TypeError(f"{name}: expected a tensor or an array, got {type(value).__name__}")


_RECURRENT = re.compile(r"(.*?)(weight_ih|weight_hh|bias_ih|bias_hh)_l(\d+)(_reverse)?")


def _packed(given: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """The state dict with one array for each LSTM and RNN of PyTorch, as `_flatten_weights` has it; the order of gates is the same."""
    layers: dict[str, list[tuple[int, bool, int, str]]] = {}
    for name in given:
        if part := _RECURRENT.fullmatch(name):
            number = _PARTS.index(part[2])
            layers.setdefault(part[1], []).append((int(part[3]), part[4] is not None, number, name))
    packed = dict(given)
    for prefix, parts in layers.items():
        rows, size = given[f"{prefix}weight_hh_l0"].shape if f"{prefix}weight_hh_l0" in given else (0, 1)
        if rows in [gates * size for gates in GATES.values()] and f"{prefix}weight_hr_l0" not in given:
            whole = np.concatenate([packed.pop(name).ravel() for *_, name in sorted(parts)])
            packed[f"{prefix}_flatten_weights"] = whole.reshape(rows, -1)
    return packed


def _packed_attention(given: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """The state dict with one array for each MultiheadAttention of PyTorch, as `io_weight_bias` has it."""
    packed = dict(given)
    for result in [name for name in given if name.endswith("out_proj.weight")]:
        prefix = result.removesuffix("out_proj.weight")
        names = [f"{prefix}in_proj_weight"]
        if names[0] not in given:  # PyTorch keeps three where keys or values have other sizes than queries
            names = [f"{prefix}{part}_proj_weight" for part in "qkv"]
        if any(name not in given for name in names):
            continue
        weights = np.split(packed.pop(names[0]), 3) if len(names) == 1 else [packed.pop(name) for name in names]
        # Products are x @ weight here, and x @ weight.T in PyTorch.
        parts = [weight.T.ravel() for weight in (*weights, packed.pop(result))]
        parts += [packed.pop(name) for name in (f"{prefix}in_proj_bias", f"{prefix}out_proj.bias") if name in given]
        packed[f"{prefix}io_weight_bias"] = np.concatenate(parts).reshape(1, -1)
    return packed


def _renamed(name: str, rules: Mapping[str, str] | None) -> str:
    for pattern, text in (rules or {}).items():
        name = re.sub(pattern, text, name)
    return name


def _in_order(net: Module) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a network with their names in its state dict, in the order in which they were defined."""
    names: dict[int, list[tuple[str, Tensor]]] = {}
    for name, tensor, _ in net._named_state(""):
        names.setdefault(id(tensor), []).append((name, tensor))
    waiting: list[Any] = [net]
    entered: set[int] = set()
    while waiting:
        leaf = waiting.pop()
        if isinstance(leaf, Tensor):
            yield from names.pop(id(leaf), ())
        elif id(leaf) not in entered:
            entered.add(id(leaf))
            inside = [inner for key, value in vars(leaf).items() for _, inner in _leaves(key, value)]
            waiting += reversed(inside)


# -- which belong together -------------------------------------------------------------------------------------


def _fits(have: tuple[int, ...], want: tuple[int, ...]) -> bool:
    """Whether a value of one shape can be reshaped to the other."""
    if have == want:
        return True
    if len(want) == len(have) + 1 and len(have) > 2 and want[0] * want[1] == have[0] and want[2:] == have[1:]:
        return True
    return [extent for extent in have if extent != 1] == [extent for extent in want if extent != 1]


def _plain(name: str) -> str:
    """A name in lower case with dots between its parts; the last part is the name used here."""
    start, dot, leaf = name.rpartition(".")
    return (start + dot).lower().replace("_", ".") + _LEAVES.get(leaf, leaf)


def _same_names(
    wanted: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[tuple[str, tuple[str, str]]]:
    """Match equal names, where one side may have a prefix that the other lacks."""
    ours = {name: _plain(name) for name in wanted}
    theirs = {name: _plain(name) for name in shapes}
    tried = [("", ""), *((prefix, "") for prefix in _prefixes(theirs.values()))]
    tried += (("", prefix) for prefix in _prefixes(ours.values()))
    best: dict[str, str] = {}
    for prefix, own in tried:
        by_name = {name.removeprefix(prefix): source for source, name in theirs.items()}
        found = {name: by_name.get(plain.removeprefix(own)) for name, plain in ours.items()}
        good = {
            name: source
            for name, source in found.items()
            if source and _fits(shapes[source], tuple(wanted[name].shape))
        }
        enough = min(len(wanted), len(shapes)) / 2 if prefix or own else 1
        if len(good) > len(best) and len(good) >= enough:
            best = good
    for name, source in best.items():
        yield name, (source, "same name" if name.endswith(source) or source.endswith(name) else "by name")


def _prefixes(names: Iterable[str]) -> list[str]:
    """Possible prefixes of names: their first part, and their first two."""
    parts = [name.split(".") for name in names]
    found = Counter(".".join(part[:count]) + "." for count in (1, 2) for part in parts if len(part) > count)
    return [prefix for prefix, _ in found.most_common(8)]


class _Group(NamedTuple):
    """The tensors of one layer: their names by kind, such as "weight" and "bias"."""

    parent: str
    members: dict[str, str]

    @property
    def words(self) -> Counter[str]:
        """The words in the names."""
        return Counter(word for name in self.members.values() for word in re.split(r"[._]", _plain(name)))


def _groups(names: Iterable[str]) -> list[_Group]:
    """Group consecutive names of the same layer; a name of an unusual kind is alone."""
    found: list[_Group] = []
    for name in names:
        parent, _, leaf = _plain(name).rpartition(".")
        kind = next((kind for kind in _KINDS if leaf.endswith(kind)), "")
        if found and kind and found[-1].parent == parent and "" not in found[-1].members:
            found[-1].members.setdefault(kind, name)
        else:
            found.append(_Group(parent, {kind: name}))
    return found


def _aligned(
    left: Sequence[str], free: Sequence[str], wanted: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[str, str]]:
    """Align layers of both sides in order, so that the most tensors are matched, and then names are most similar.

    Source: Needleman and Wunsch 1970.
    """
    ours, theirs = _groups(left), _groups(name for name in free if name.rpartition(".")[2] not in _BESIDE)
    worth = np.full((len(ours), len(theirs)), -math.inf)
    for (i, a), (j, b) in product(enumerate(ours), enumerate(theirs)):
        if a.members.keys() == b.members.keys() and all(
            _fits(shapes[b.members[kind]], tuple(wanted[name].shape)) for kind, name in a.members.items()
        ):
            worth[i, j] = len(a.members) * _likeness(a.words, b.words)
    pairs = _best_in_order(worth)
    pairs |= _mutually_best(worth, pairs, [len(group.members) for group in ours])
    return {
        name: (theirs[j].members[kind], how) for i, (j, how) in pairs.items() for kind, name in ours[i].members.items()
    }


def _likeness(ours: Counter[str], theirs: Counter[str]) -> float:
    """The score of a match between names with these words: from 1 to 2."""
    return 1 + 2 * (ours & theirs).total() / (ours.total() + theirs.total())


def _best_in_order(worth: np.ndarray[Any, Any]) -> dict[int, tuple[int, str]]:
    """The pairs (row, column), both increasing, with the largest sum."""
    rows, columns = worth.shape
    best = np.zeros((rows + 1, columns + 1))
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            best[i, j] = max(best[i + 1, j + 1] + worth[i, j], best[i + 1, j], best[i, j + 1])
    found, i, j = {}, 0, 0
    while i < rows and j < columns:
        if best[i, j] == best[i + 1, j]:
            i += 1
        elif best[i, j] == best[i, j + 1]:
            j += 1
        else:
            found[i] = j, "by order"
            i, j = i + 1, j + 1
    return found


def _mutually_best(
    worth: np.ndarray[Any, Any], found: Mapping[int, tuple[int, str]], sizes: Sequence[int]
) -> dict[int, tuple[int, str]]:
    """Pairs out of order in which each is the most similar to the other, and half of the name is the same."""
    left = worth.copy()
    left[list(found)] = left[:, [j for j, _ in found.values()]] = -math.inf
    more = {}
    for i, j in np.argwhere(left >= 1.5 * np.array(sizes).reshape(-1, 1)).tolist():
        if left[i, j] > max(
            np.delete(left[i], j).max(initial=-math.inf), np.delete(left[:, j], i).max(initial=-math.inf)
        ):
            more[i] = j, "by name"
    return more


def _change(have: tuple[int, ...], want: tuple[int, ...]) -> str:
    return f"{have}" if have == want else f"{have} → {want}"
