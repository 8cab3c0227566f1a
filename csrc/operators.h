// The type slots behind Python's operators on tensors, and the table of ops that they run.
#pragma once

#include <nanobind/nanobind.h>

#include <vector>

namespace tengen {

namespace nb = nanobind;

// Slots for the Tensor class, without the closing {0, nullptr}.
std::vector<PyType_Slot> operator_slots();
void bind_operators(nb::module_& module);

}  // namespace tengen
