#include "hooks.h"

#include <string>

namespace tengen {

namespace {

// Installs the given hooks (an Ellipsis is not one) and returns all hooks that were installed before.
nb::dict set_hooks(nb::handle compile, nb::handle gradient, nb::handle backward, nb::handle foreign,
                   nb::handle accumulate, nb::handle memory, nb::handle traceback) {
    nb::dict before;
    auto exchange = [&before](const char* name, nb::object& hook, nb::handle given) {
        before[name] = hook.is_valid() ? hook : nb::none();
        if (!given.is(Py_Ellipsis)) hook = given.is_none() ? nb::object() : nb::borrow(given);
    };
    exchange("compile", hooks().compile, compile);
    exchange("gradient", hooks().gradient, gradient);
    exchange("backward", hooks().backward, backward);
    exchange("foreign", hooks().foreign, foreign);
    exchange("accumulate", hooks().accumulate, accumulate);
    exchange("memory", hooks().memory, memory);
    exchange("traceback", hooks().traceback, traceback);
    return before;
}

}  // namespace

Hooks& hooks() {
    static Hooks& hooks = *new Hooks;  // Python objects, which must not be destroyed after Python
    return hooks;
}

void shorten_traceback() noexcept {
    PyObject* hook = hooks().traceback.ptr();
    if (!hook) return;
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    PyObject* shown = PyObject_CallFunctionObjArgs(hook, error, traceback ? traceback : Py_None, nullptr);
    if (shown) {
        Py_XDECREF(traceback);
        PyErr_Restore(type, error, shown == Py_None ? nullptr : shown);
        if (shown == Py_None) Py_DECREF(shown);
        return;
    }
    // Ctrl-C, for instance: it replaces the error and shows it as its context.
    if (traceback) PyException_SetTraceback(error, traceback);
    PyObject *new_type, *interruption, *new_traceback;
    PyErr_Fetch(&new_type, &interruption, &new_traceback);
    PyErr_NormalizeException(&new_type, &interruption, &new_traceback);
    if (interruption == error) {
        Py_DECREF(error);
    } else {
        PyException_SetContext(interruption, error);
    }
    PyErr_Restore(new_type, interruption, new_traceback);
    Py_DECREF(type);
    Py_XDECREF(traceback);
}

nb::object& require(nb::object& hook, const char* name) {
    if (!hook.is_valid()) throw std::runtime_error(std::string("the runtime's hook '") + name + "' is not installed");
    return hook;
}

nb::tuple to_python(const std::vector<const Descriptor*>& descs) {
    nb::object tuple = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(descs.size())));
    for (size_t i = 0; i < descs.size(); ++i) {
        PyTuple_SET_ITEM(tuple.ptr(), static_cast<Py_ssize_t>(i), Py_NewRef(descs[i]->self));
    }
    return nb::borrow<nb::tuple>(tuple);
}

void bind_hooks(nb::module_& module) {
    module.def(
        "set_hooks", set_hooks, nb::kw_only(), nb::arg("compile").none() = nb::ellipsis(),
        nb::arg("gradient").none() = nb::ellipsis(), nb::arg("backward").none() = nb::ellipsis(),
        nb::arg("foreign").none() = nb::ellipsis(), nb::arg("accumulate").none() = nb::ellipsis(),
        nb::arg("memory").none() = nb::ellipsis(), nb::arg("traceback").none() = nb::ellipsis(),
        "Install the Python side of compilation and differentiation. Hooks that are not given stay, None takes one "
        "away. Returns what was installed before.");
}

}  // namespace tengen
