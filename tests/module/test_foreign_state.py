"""What PyTorch has saved is refused with the way to load it, which works. Values were computed by PyTorch 2.13."""

from __future__ import annotations

import io

import numpy as np
import pytest

import tengen
import tengen.module as M
from tengen import Tensor
from tengen.base.errors import SerializationError, StateDictError


class ForeignTensor:
    """As torch.Tensor is seen from here."""

    def __init__(self, array: np.ndarray):
        self._array = array

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array.shape

    @property
    def dtype(self) -> str:
        return f"torch.{self._array.dtype}"

    def detach(self) -> ForeignTensor:
        return self

    def cpu(self) -> ForeignTensor:
        return self

    def numpy(self) -> np.ndarray:
        return self._array


ForeignTensor.__module__, ForeignTensor.__qualname__, ForeignTensor.__name__ = "torch", "Tensor", "Tensor"


def net() -> M.Module:
    made = M.Sequential(M.Conv2d(4, 2, 2, groups=2), M.BatchNorm2d(2))
    made.eval()
    return made


def state() -> dict[str, np.ndarray]:
    """As PyTorch has it for such a network: the weight of grouped convolutions, and biases, have other shapes."""
    return {
        "0.weight": np.arange(16, dtype=np.float32).reshape(2, 2, 2, 2),
        "0.bias": np.array([0.5, -1.0], np.float32),
        "1.weight": np.array([1.0, 2.0], np.float32),
        "1.bias": np.array([0.25, 0.0], np.float32),
        "1.running_mean": np.array([3.0, 4.0], np.float32),
        "1.running_var": np.array([4.0, 9.0], np.float32),
        "1.num_batches_tracked": np.array(7),
    }


def test_a_state_dict_of_foreign_tensors():
    given = {name: ForeignTensor(value) for name, value in state().items()}
    with pytest.raises(StateDictError) as caught:
        net().load_state_dict(given)
    said = str(caught.value)
    assert "0.bias: expected a NumPy array or a tensor, got torch.Tensor" in said
    assert "tengen.utils.weights.match(net, state)" in said


def test_one_of_arrays_is_known_by_its_names():
    with pytest.raises(StateDictError, match=r"tengen\.utils\.weights\.match\(net, state\)"):
        net().load_state_dict(state())


def test_another_function_that_gives_foreign_tensors():
    given = {name: ForeignTensor(value) for name, value in state().items()}
    with pytest.raises(StateDictError, match=r"tengen\.utils\.weights\.match"):
        net().load_state_dict(lambda name, tensor: given[name])


def test_a_checkpoint_says_where_its_state_dict_is():
    net = M.Linear(2, 2)
    checkpoint = {"epoch": 3, "net": net.state_dict(), "adam": {"state": {0: {}}, "param_groups": []}}
    with pytest.raises(StateDictError, match=r"has a state dict inside: give its part \['net'\]"):
        net.load_state_dict(checkpoint)
    net.load_state_dict(checkpoint["net"])


def test_other_state_dicts_get_no_such_advice():
    with pytest.raises(StateDictError) as caught:
        net().load_state_dict({"0.weight": 3})
    assert "PyTorch" not in str(caught.value)


def test_the_way_that_is_told_works():
    made = net()
    given = {name: ForeignTensor(value) for name, value in state().items()}
    tengen.utils.weights.match(made, given, strict=True, verbose=False)
    x = Tensor(np.arange(16, dtype=np.float32).reshape(1, 4, 2, 2))
    np.testing.assert_allclose(made(x).numpy().ravel(), [68.99991607666016, 729.9995727539062], rtol=1e-5)


@pytest.mark.parametrize("strict", [True, False])
def test_nothing_is_loaded_in_part(strict):
    made = net()
    before = made.state_dict()["0.weight"].copy()
    with pytest.raises(StateDictError):
        made.load_state_dict(state(), strict=strict)
    np.testing.assert_array_equal(made.state_dict()["0.weight"], before)


# -- files -------------------------------------------------------------------------------------------------------


def test_a_pickle_of_foreign_tensors():
    data = b"\x80\x04ctorch._utils\n_rebuild_tensor_v2\n."
    with pytest.raises(
        SerializationError, match=r"it holds torch\._utils\._rebuild_tensor_v2, .*; save it with torch\.save"
    ):
        tengen.load(io.BytesIO(data))
