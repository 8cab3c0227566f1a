"""Programs of other runtimes as functions: of accelerators that tengen does not have, so each call says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

__all__ = [
    "atlas_runtime_opr", "cambricon_runtime_opr", "extern_opr_subgraph", "magicmind_runtime_opr", "tensorrt_runtime_opr",
]  # fmt: skip


def _refuse(op: str, needs: str) -> NoReturn:
    raise NotImplementedError(
        f"{op}: it needs {needs}, which tengen does not have; load an ONNX model or a network of tengen's instead"
    )


def tensorrt_runtime_opr(inputs: Any, *, data: bytes | None = None) -> Any:
    """Run a TensorRT engine, which needs a GPU.

    Args:
        inputs: tensors.
        data: the engine.

    Returns: nothing: it always raises.

    Raises:
        NotImplementedError: always.
    """
    _refuse("tensorrt_runtime_opr", "TensorRT and a GPU")


def cambricon_runtime_opr(inputs: Any, data: bytes, symbol: str, tensor_dim_mutable: bool) -> Any:
    """Run a Cambricon model, which needs its accelerator.

    Args:
        inputs: tensors.
        data, symbol, tensor_dim_mutable: the model, the function in it, and whether its shapes may change.

    Returns: nothing: it always raises.

    Raises:
        NotImplementedError: always.
    """
    _refuse("cambricon_runtime_opr", "a Cambricon accelerator")


def atlas_runtime_opr(inputs: Any, data: bytes) -> Any:
    """Run an Atlas model, which needs its accelerator.

    Args:
        inputs: tensors.
        data: the model.

    Returns: nothing: it always raises.

    Raises:
        NotImplementedError: always.
    """
    _refuse("atlas_runtime_opr", "an Atlas accelerator")


def magicmind_runtime_opr(inputs: Any, data: bytes) -> Any:
    """Run a MagicMind model, which needs its accelerator.

    Args:
        inputs: tensors.
        data: the model.

    Returns: nothing: it always raises.

    Raises:
        NotImplementedError: always.
    """
    _refuse("magicmind_runtime_opr", "a Cambricon accelerator")


def extern_opr_subgraph(
    inputs: Any, output_shapes: Sequence[tuple[int, ...]], dump_name: str, dump_data: bytes, output_dtypes: Any
) -> Any:
    """Run what a loader of the user's makes of `dump_data`; such loaders are C++ libraries for MegEngine.

    Args:
        inputs: tensors.
        output_shapes, output_dtypes: of the results.
        dump_name, dump_data: the loader, and what it gets.

    Returns: nothing: it always raises.

    Raises:
        NotImplementedError: always.
    """
    _refuse("extern_opr_subgraph", f"a C++ loader of MegEngine's for {dump_name!r}")
