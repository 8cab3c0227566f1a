// What Python installs in the runtime, and how C++ reports to Python.
#pragma once

#include <nanobind/nanobind.h>

#include <vector>

#include "descriptor.h"

namespace tengen {

// What Python installs; see docs/architecture/runtime.md for their contracts.
struct Hooks {
    nb::object compile, gradient, backward, foreign, accumulate, memory, traceback;
};
Hooks& hooks();
// Throws std::runtime_error if the hook is not installed.
nb::object& require(nb::object& hook, const char* name);

nb::tuple to_python(const std::vector<const Descriptor*>& descs);

// Asks the hook `traceback` which part of its traceback the current exception should keep.
void shorten_traceback() noexcept;

// Calls `body`, whose exceptions become Python exceptions: for functions that CPython calls directly.
template <class Body>
PyObject* guarded(Body&& body) noexcept {
    try {
        return body();
    } catch (nb::python_error& error) {
        error.restore();
    } catch (const nb::builtin_exception& error) {
        const bool type = error.type() == nb::exception_type::type_error;
        PyErr_SetString(type ? PyExc_TypeError : PyExc_ValueError, error.what());
    } catch (const std::bad_alloc& error) {
        PyErr_SetString(PyExc_MemoryError, error.what());
    } catch (const std::exception& error) {
        PyErr_SetString(PyExc_RuntimeError, error.what());
    }
    shorten_traceback();
    return nullptr;
}

void bind_hooks(nb::module_& module);

}  // namespace tengen
