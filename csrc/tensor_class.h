// Tensors as Python has them: the class, and what goes to and fro.
#pragma once

#include <nanobind/nanobind.h>

#include <vector>

#include "tensor.h"

namespace tengen {

// The Tensor behind a Python object, or null if it is not a Tensor.
Tensor* tensor_of(PyObject* object);
// For arguments: throws nb::type_error, or std::runtime_error for a tensor without a value.
Value& value_of(nb::handle object);
// A new tensor of the class that set_tensor_class named.
nb::object wrap(Value&& value);
// The tensor `handle` takes over the value of `other`, with its place on gradient tapes.
void take_value(nb::handle handle, nb::handle other);

// `operators` are type slots to give to the class, ended by {0, nullptr}.
nb::class_<Tensor> bind_tensor(nb::module_& module, const std::vector<PyType_Slot>& operators);

}  // namespace tengen
