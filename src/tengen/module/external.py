"""Programs of other runtimes as layers: of accelerators that tengen does not have, so each call says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..functional.external import (
    atlas_runtime_opr,
    cambricon_runtime_opr,
    extern_opr_subgraph,
    magicmind_runtime_opr,
    tensorrt_runtime_opr,
)
from .module import Module

__all__ = [
    "AtlasRuntimeSubgraph", "CambriconRuntimeSubgraph", "ExternOprSubgraph", "MagicMindRuntimeSubgraph", "TensorrtRuntimeSubgraph",
]  # fmt: skip


class _Subgraph(Module):
    """A program of another runtime. data: its bytes."""

    def __init__(self, data: bytes, **kwargs: Any):
        super().__init__(**kwargs)
        self._data = data

    @property
    def data(self) -> bytes:
        """The bytes of the program."""
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        self._data = value.tobytes() if hasattr(value, "tobytes") else bytes(value)


class TensorrtRuntimeSubgraph(_Subgraph):
    """A TensorRT engine; its calls raise NotImplementedError.

    Args:
        data: the engine.
        kwargs: `name`.

    >>> from tengen.module import external
    >>> external.TensorrtRuntimeSubgraph(b"").name
    """

    def forward(self, *inputs: Any) -> Any:
        return tensorrt_runtime_opr(inputs, data=self._data)


class CambriconRuntimeSubgraph(_Subgraph):
    """A Cambricon model; its calls raise NotImplementedError.

    Args:
        data, symbol, tensor_dim_mutable: the model, the function in it, and whether its shapes may change.
        kwargs: `name`.

    >>> from tengen.module import external
    >>> external.CambriconRuntimeSubgraph(b"", "f", False).name
    """

    def __init__(self, data: bytes, symbol: str, tensor_dim_mutable: bool, **kwargs: Any):
        super().__init__(data, **kwargs)
        self.symbol, self.tensor_dim_mutable = symbol, tensor_dim_mutable

    def forward(self, *inputs: Any) -> Any:
        return cambricon_runtime_opr(inputs, self._data, self.symbol, self.tensor_dim_mutable)


class AtlasRuntimeSubgraph(_Subgraph):
    """An Atlas model; its calls raise NotImplementedError.

    Args:
        data: the model.
        kwargs: `name`.

    >>> from tengen.module import external
    >>> external.AtlasRuntimeSubgraph(b"").name
    """

    def forward(self, *inputs: Any) -> Any:
        return atlas_runtime_opr(inputs, data=self._data)


class MagicMindRuntimeSubgraph(_Subgraph):
    """A MagicMind model; its calls raise NotImplementedError.

    Args:
        data: the model.
        kwargs: `name`.

    >>> from tengen.module import external
    >>> external.MagicMindRuntimeSubgraph(b"").name
    """

    def forward(self, *inputs: Any) -> Any:
        return magicmind_runtime_opr(inputs, data=self._data)


class ExternOprSubgraph(_Subgraph):
    """What a C++ loader of the user's makes of bytes; its calls raise NotImplementedError.

    Args:
        output_shapes, output_dtypes: of the results.
        dump_name, dump_data: the loader, and what it gets.
        kwargs: `name`.

    >>> from tengen.module import external
    >>> external.ExternOprSubgraph([(1,)], "loader", b"").name
    'loader'
    """

    def __init__(
        self,
        output_shapes: Sequence[tuple[int, ...]],
        dump_name: str,
        dump_data: bytes,
        output_dtypes: Any = None,
        **kwargs: Any,
    ):
        super().__init__(dump_data, **kwargs)
        self.output_shapes, self.dump_name, self.output_dtypes = output_shapes, dump_name, output_dtypes

    @property
    def name(self) -> str:
        """What the loader is called."""
        return self.dump_name

    @name.setter
    def name(self, value: str | None) -> None:
        if value is not None:
            self.dump_name = value

    def forward(self, *inputs: Any) -> Any:
        return extern_opr_subgraph(inputs, self.output_shapes, self.dump_name, self._data, self.output_dtypes)
