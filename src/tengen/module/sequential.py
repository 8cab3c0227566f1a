"""Sequential."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .module import Module

__all__ = ["Sequential"]

Layer = Callable[[Any], Any]


class Sequential(Module):
    """Layers called one after the other.

    It has a length, and takes indices and slices: `net[0]`, `net[1] = layer`, `del net[-1]`, and `net[:-1]`, which is a
    new Sequential over the same layers.

    Args:
        args: the layers, named "0", "1" and so on; or one dict with names of your own.
        name: any text, kept as `.name`.

    >>> M.Sequential(M.Linear(4, 8), M.ReLU(), M.Linear(8, 2))
    Sequential(
      (0): Linear(in_features=4, out_features=8, bias=True)
      (1): ReLU()
      (2): Linear(in_features=8, out_features=2, bias=True)
    )
    """

    def __init__(self, *args: Layer | Mapping[str, Layer], name: str | None = None):
        super().__init__(name)
        self.layer_keys: list[str] = []
        single = args[0] if len(args) == 1 else None
        layers = single if isinstance(single, Mapping) else {str(index): layer for index, layer in enumerate(args)}
        for key, layer in layers.items():
            if not callable(layer):
                raise TypeError(
                    f"layer {key!r} of Sequential must be a module or a function, got {type(layer).__name__}"
                )
            if key in self.__dict__ or hasattr(type(self), key):
                raise ValueError(f"{key!r} cannot be the name of a layer: Sequential has an attribute of that name")
            setattr(self, key, layer)
            self.layer_keys.append(key)

    @property
    def layer_values(self) -> list[Layer]:
        """The layers, in order."""
        return [getattr(self, key) for key in self.layer_keys]

    def __len__(self) -> int:
        return len(self.layer_keys)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layer_values)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Sequential(OrderedDict((key, getattr(self, key)) for key in self.layer_keys[index]))
        return getattr(self, self.layer_keys[index])

    def __setitem__(self, index: int | slice, layer: Layer | Iterable[Layer]) -> None:
        keys = self.layer_keys[index] if isinstance(index, slice) else [self.layer_keys[index]]
        layers = list(layer) if isinstance(index, slice) else [layer]  # type: ignore[arg-type]
        if len(keys) != len(layers):
            raise ValueError(f"{len(keys)} layers cannot be replaced by {len(layers)}")
        for key, new in zip(keys, layers, strict=True):
            if not callable(new):
                raise TypeError(f"a layer of Sequential must be a module or a function, got {type(new).__name__}")
            setattr(self, key, new)

    def __delitem__(self, index: int | slice) -> None:
        for key in self.layer_keys[index] if isinstance(index, slice) else [self.layer_keys[index]]:
            delattr(self, key)
            self.layer_keys.remove(key)

    def forward(self, inp: Any) -> Any:
        for layer in self.layer_values:
            inp = layer(inp)
        return inp
