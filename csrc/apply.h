// The waist: every operation passes `execute`, which finds the Plan of (op, descriptors) and runs it.
#pragma once

#include <nanobind/nanobind.h>

#include "plan.h"

namespace tengen {

// Runs `op`, records it on the active tapes that watch an input, and returns its outputs. Those of the first `donate`
// inputs that nothing else holds may be overwritten, if no tape watches any input.
void execute(nb::handle op, Operands& inputs, size_t donate, Results& results);

// `execute` for Python objects: returns a Tensor or a tuple of Tensors, or the result of the foreign hook
// (NotImplemented if there is no hook).
nb::object apply(nb::handle op, PyObject* const* inputs, size_t count);
// The first `targets` inputs, which must be Tensors, take over the outputs of the same index.
nb::object update(nb::handle op, size_t targets, PyObject* const* inputs, size_t count);

void bind_apply(nb::module_& module);

}  // namespace tengen
