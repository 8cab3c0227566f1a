// The waist: every operation passes `execute`, which finds the Plan of (op, descriptors) and runs it.
#pragma once

#include <nanobind/nanobind.h>

#include <vector>

#include "plan.h"

namespace tengen {

// What Python installs; see docs/architecture/runtime.md for their contracts.
struct Hooks {
    nb::object compile, gradient, backward, foreign, accumulate, memory, traceback;
};
Hooks& hooks();
// Throws std::runtime_error if the hook is not installed.
nb::object& require(nb::object& hook, const char* name);

// Runs `op`, records it on the active tapes that watch an input, and returns its outputs. Those of the first `donate`
// inputs that nothing else holds may be overwritten, if no tape watches any input.
void execute(nb::handle op, Operands& inputs, size_t donate, Results& results);

// `execute` for Python objects: returns a Tensor or a tuple of Tensors, or the result of the foreign hook
// (NotImplemented if there is no hook).
nb::object apply(nb::handle op, PyObject* const* inputs, size_t count);
// The first `targets` inputs, which must be Tensors, take over the outputs of the same index.
nb::object update(nb::handle op, size_t targets, PyObject* const* inputs, size_t count);

nb::tuple to_python(const std::vector<const Descriptor*>& descs);

void bind_apply(nb::module_& module);

}  // namespace tengen
