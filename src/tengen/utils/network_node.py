"""The nodes of a network: values and ops of a Program whose edges can be changed.

A `VarNode` stands for a Value and an `OpNode` for a Node of `compiler.program`. Functions and operators that take tensors take a VarNode and
return another one. The ops are those of the op table; their classes here have MegEngine's names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any, ClassVar
from weakref import WeakSet

import numpy as np

from .._rt import Descriptor
from ..base import device as devices
from ..base.dtype import WEAK, canonical
from ..compiler.program import Builder, Node, Op, Type, Value, meaning
from ..core import Tensor, calls
from ..core.indexing import get_item
from ..jit.called import label

_numbers = count()


class NetworkNode:
    """A value or an op of a network."""


class VarNode(NetworkNode, Value):
    """A value of a network: the result of an op, or an input.

    owner: the op that computes it. shape, dtype: of its elements.
    """

    def __init__(self, owner: OpNode, index: int, type: Type, name: str | None = None):
        super().__init__(GRAPH, type, owner, index)
        self.id, self._name = next(_numbers), name
        self._users: WeakSet[OpNode] = WeakSet()

    @property
    def name(self) -> str:
        """Its name; if it was given none, one made from its op."""
        several = len(self.owner.outputs) > 1
        return self._name or (f"{self.owner.name}:{self.index}" if several else self.owner.name)

    @name.setter
    def name(self, name: str | None) -> None:
        self._name = name

    @property
    def owner(self) -> Any:
        """The op that computes it."""
        return self.node

    @property
    def users(self) -> list[OpNode]:
        """The ops that read it."""
        return sorted((op for op in self._users if self in op.inputs), key=lambda op: op.id)

    @property
    def var(self) -> VarNode:
        """The node itself, which functions of `comp_graph_tools` take in MegEngine."""
        return self

    @property
    def desc(self) -> Descriptor:
        """Its type, as of a tensor."""
        return Descriptor(self.dtype, self.shape, None, devices.canonical(devices.require(None)))

    @property
    def partial_shape(self) -> tuple[int, ...]:
        """The shape, which is always known here."""
        return self.shape

    def _is_watched(self) -> bool:
        return True  # what is done to it is recorded: an index is an op

    def __getitem__(self, index: Any) -> Any:
        return get_item(self, index)  # type: ignore[arg-type]

    def astype(self, dtype: Any) -> Any:
        """Convert the elements to another dtype."""
        return calls.astype(self, dtype)  # type: ignore[arg-type]

    def reshape(self, *shape: Any) -> Any:
        """Give the elements another shape."""
        return calls.reshape(self, shape)  # type: ignore[arg-type]

    def flatten(self, start_axis: int = 0, end_axis: int = -1) -> Any:
        """Merge the dims from `start_axis` to `end_axis`."""
        return calls.flatten(self, start_axis, end_axis)  # type: ignore[arg-type]

    def transpose(self, *pattern: Any) -> Any:
        """Permute the dims."""
        return calls.transpose(self, pattern or range(self.ndim)[::-1])  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"VarNode:{self.name}"


class OpNode(NetworkNode, Node):
    """An op of a network. op: of the op table, with its parameters; None for inputs and weights.

    inputs: a list of VarNodes, which can be replaced. outputs: VarNodes. type: the kind of op.
    """

    type: ClassVar[str] = ""
    op: Any
    inputs: Any
    outputs: Any

    def __init__(
        self, op: Op | None = None, inputs: Iterable[VarNode] = (), types: Sequence[Type] = (), name: str | None = None
    ):
        super().__init__(op, list(inputs), op)  # type: ignore[arg-type]
        self.id, self._name = next(_numbers), name
        self.priority: Any = 0
        self.outputs = tuple(VarNode(self, i, type) for i, type in enumerate(types))
        self.register()

    def register(self) -> None:
        """Register as a user of the inputs."""
        for var in self.inputs:
            var._users.add(self)

    @property
    def name(self) -> str:
        """Its name; if it was given none, one made from the op, its inputs and its number."""
        if self._name:
            return self._name
        inputs = ",".join(var._name or f"{var.owner.type}" for var in self.inputs)
        return f"{self.label}({inputs})[{self.id}]" if inputs else f"{self.label}[{self.id}]"

    @name.setter
    def name(self, name: str | None) -> None:
        self._name = name

    @property
    def _opr(self) -> OpNode:
        return self  # as `VarNode.var`

    @property
    def label(self) -> str:
        """The kind of computation."""
        return self.type if self.op is None else label(self.op)

    @property
    def opdef(self) -> Op | None:
        """The op."""
        return self.op

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the op."""
        return {} if self.op is None else {name: getattr(self.op, name) for name in type(self.op).parameters}

    def replace_inputs(self, replaced: dict[Any, Any]) -> None:
        """Replace some of its inputs."""
        if any(var in replaced for var in self.inputs):
            self.inputs[:] = [replaced.get(var, var) for var in self.inputs]
            self.register()

    def __repr__(self) -> str:
        mode = f":{self.label}" if self.type == "Elemwise" else ""
        return f"{self.name}{{{self.type}{mode}}}"


class Graph(Builder):
    """Makes nodes for operations on VarNodes. The nodes refer to each other, so there is no list of them."""

    def __init__(self) -> None:
        super().__init__(keep_composites=True)

    def record(self, op: Op, inputs: Sequence[Any]) -> tuple[Value, ...]:
        """The outputs of a new node; numbers, arrays and tensors among the inputs become constants."""
        values = [x if isinstance(x, Value) else self.operand(x) for x in inputs]
        op = meaning(op, values)
        return node_class(op, values)(op, values, op.infer(*(v.type for v in values))).outputs  # type: ignore[arg-type]

    def operand(self, x: Any) -> Value:
        """A VarNode for a number, an array or a tensor."""
        return self.constant(x) if isinstance(x, (bool, int, float)) else ImmutableTensor(x).outputs[0]


GRAPH = Graph()


class Host2DeviceCopy(OpNode):
    """An argument of the network."""

    type = "Host2DeviceCopy"

    def __init__(self, shape: Any = (), dtype: Any = "float32", name: str | None = None, device: Any = None):
        self.shape = tuple(int(extent) for extent in shape)
        super().__init__(types=[Type(dtype if dtype in WEAK else canonical(dtype), self.shape)], name=name)
        self.device = device

    @property
    def dtype(self) -> str:
        """The dtype of the argument."""
        return self.outputs[0].dtype


class ConstOpBase(OpNode):
    """A tensor in the network."""

    def __init__(self, data: Any = 0.0, name: str | None = None, device: Any = None):
        self._tensor = data if isinstance(data, Tensor) else Tensor(data)
        self.device = device
        super().__init__(types=[self._type], name=name)

    @property
    def _type(self) -> Type:
        return Type(self._tensor.desc.dtype, tuple(self._tensor.shape))

    @property
    def tensor(self) -> Tensor:
        """Its value."""
        return self._tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the value."""
        return self._type.shape

    @property
    def dtype(self) -> str:
        """Of the value."""
        return self._type.dtype

    def numpy(self) -> np.ndarray[Any, Any]:
        """The value as an array."""
        return self._tensor.numpy()

    def set_value(self, data: Any, device: Any = None) -> None:
        """Set its value. A value that is not a tensor gets the dtype of the old one."""
        self._tensor = data if isinstance(data, Tensor) else Tensor(data, dtype=self.dtype)
        self.outputs[0].retype(self._type)


class ImmutableTensor(ConstOpBase):
    """A weight of the network."""

    type = "ImmutableTensor"


class SharedDeviceTensor(ConstOpBase):
    """A weight of the network that programs make and then give other values."""

    type = "SharedDeviceTensor"


# -- classes of ops ----------------------------------------------------------------------------------------------

_KINDS: dict[str, type[OpNode]] = {}


def _kind(name: str, word: str, ops: str = "") -> type[OpNode]:
    """The class of nodes for ops of the op table with these names."""
    made = type(name, (OpNode,), {"type": word, "__module__": __name__, "__doc__": f"{word}, of the op table."})
    _KINDS.update(dict.fromkeys(ops.split() or [name], made))
    return made


AdaptivePoolingForward = _kind("AdaptivePoolingForward", "AdaptivePooling", "AdaptivePooling")
ArgsortForward = _kind("ArgsortForward", "Argsort", "ArgSort")
BatchConvBiasForward = _kind("BatchConvBiasForward", "BatchConvBias", "BatchConv2d")
BatchNormForward = _kind("BatchNormForward", "BatchNorm", "BatchNorm BatchNormInference")
Broadcast = _kind("Broadcast", "Broadcast")
Concat = _kind("Concat", "Concat", "Concatenate Join")
ConvolutionBackwardData = _kind(
    "ConvolutionBackwardData", "ConvTranspose", "ConvTranspose2d ConvTranspose3d ConvolutionBackwardData"
)
ConvolutionForward = _kind("ConvolutionForward", "Convolution", "Conv1d Conv2d Conv3d Convolution")
Copy = _kind("Copy", "Copy")
CvtColorForward = _kind("CvtColorForward", "CvtColor", "CvtColor")
DeformableConvForward = _kind("DeformableConvForward", "DeformableConv", "DeformableConv2d")
DeformablePSROIPoolingForward = _kind(
    "DeformablePSROIPoolingForward", "DeformablePSROIPooling", "DeformablePSROIPooling"
)
Dimshuffle = _kind("Dimshuffle", "Dimshuffle", "Transpose")
Dot = _kind("Dot", "Dot")
Elemwise = _kind("Elemwise", "Elemwise", "Elemwise Activation")
Eye = _kind("Eye", "Eye")
GroupLocalForward = _kind("GroupLocalForward", "GroupLocal", "LocalConv2d")
IndexingMultiAxisVec = _kind("IndexingMultiAxisVec", "IndexingMultiAxisVec", "Take TakeIndexed")
IndexingOneHot = _kind("IndexingOneHot", "IndexingOneHot")
IndexingSetMultiAxisVec = _kind("IndexingSetMultiAxisVec", "IndexingSetMultiAxisVec", "Put PutIndexed")
Linspace = _kind("Linspace", "Linspace")
MatrixInverse = _kind("MatrixInverse", "MatrixInverse", "MatrixInverse Inverse")
BatchedMatrixMul = _kind("BatchedMatrixMul", "BatchedMatmul", "BatchedMatrixMul")
MatrixMul = _kind("MatrixMul", "MatrixMul", "MatMul Product Linear")
PoolingForward = _kind("PoolingForward", "Pooling", "Pooling")
RNGOpr = _kind("RNGOpr", "RNG", "RandomBits Drawn Normal Uniform Permutation")
ROIAlignForward = _kind("ROIAlignForward", "ROIAlign", "ROIAlign")
ROIPoolingForward = _kind("ROIPoolingForward", "ROIPooling", "ROIPooling")
Reduce = _kind("Reduce", "Reduce", "Reduce Reduced Mean")
RemapForward = _kind("RemapForward", "Remap", "Remap")
Reshape = _kind("Reshape", "Reshape")
ResizeForward = _kind("ResizeForward", "Resize", "Interpolate")
SVD = _kind("SVD", "SVD")
SetSubtensor = _kind("SetSubtensor", "SetSubtensor")
SoftmaxForward = _kind("SoftmaxForward", "SoftmaxForward", "Softmax")
Subtensor = _kind("Subtensor", "Subtensor", "Subtensor Slice")
TopK = _kind("TopK", "TopK")
TypeCvt = _kind("TypeCvt", "TypeCvt")
WarpAffineForward = _kind("WarpAffineForward", "WarpAffine", "WarpAffine")
WarpPerspectiveForward = _kind("WarpPerspectiveForward", "WarpPerspective", "WarpPerspective")


def node_class(op: Op, inputs: Sequence[Value]) -> type[OpNode]:
    """The class of nodes for an op: one with MegEngine's name, or one with the op's own name."""
    name = type(op).__name__
    if name in ("MatMul", "Product") and max(v.ndim for v in inputs) > 2:
        return BatchedMatrixMul
    return _KINDS[name] if name in _KINDS else _kind(name, name)


def str_to_mge_class(classname: str) -> type[OpNode] | None:
    """The class of nodes with a name; None if there is none.

    >>> str_to_mge_class("Elemwise")
    <class 'tengen.utils.network_node.Elemwise'>
    """
    found = globals().get(classname)
    return found if isinstance(found, type) and issubclass(found, OpNode) else None
