#include "apply.h"

#include <nanobind/stl/string.h>

#include "hooks.h"
#include "plan_cache.h"
#include "tape.h"
#include "tensor_class.h"
#include "tracing.h"

namespace tengen {

namespace {

nb::object wrap_all(Results& results) {
    if (results.size() == 1) return wrap(std::move(results[0]));
    nb::object tuple = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(results.size())));
    for (size_t i = 0; i < results.size(); ++i) {
        PyTuple_SET_ITEM(tuple.ptr(), static_cast<Py_ssize_t>(i), wrap(std::move(results[i])).release().ptr());
    }
    return tuple;
}

// False if an input is foreign.
bool bind_all(Operands& operands, PyObject* const* inputs) {
    for (size_t i = 0; i < operands.size(); ++i) {
        if (!operands[i].bind(inputs[i])) return false;
    }
    return true;
}

[[noreturn]] void reject_foreign(nb::handle op, PyObject* const* inputs, size_t count) {
    const std::string name = nb::hasattr(op, "name") ? nb::str(op.attr("name")).c_str() + std::string(": ") : "";
    for (size_t i = 0; i < count; ++i) {
        Operand probe;
        if (!probe.bind(inputs[i])) {
            if (PyLong_Check(inputs[i])) {
                PyErr_Format(PyExc_OverflowError, "%sinput %zu is an int beyond 64 bits", name.c_str(), i);
                throw nb::python_error();
            }
            throw nb::type_error((name + "input " + std::to_string(i) + " is a " + Py_TYPE(inputs[i])->tp_name +
                                  ", not a Tensor, bool, int or float")
                                     .c_str());
        }
    }
    throw nb::type_error("inputs that cannot be combined");
}

nb::object call_foreign(nb::handle op, PyObject* const* inputs, size_t count) {
    if (!hooks().foreign.is_valid()) return nb::borrow(Py_NotImplemented);
    nb::object tuple = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(count)));
    for (size_t i = 0; i < count; ++i) {
        PyTuple_SET_ITEM(tuple.ptr(), static_cast<Py_ssize_t>(i), Py_NewRef(inputs[i]));
    }
    return hooks().foreign(op, tuple);
}

// Gives each handle among the first inputs the output of the same index, and returns what apply would return.
nb::object take_over(PyObject* const* inputs, size_t count, Results& results) {
    auto output = [&](size_t i) {
        if (i >= count) return wrap(std::move(results[i]));
        if (Tracing* tracing = Tracing::current()) tracing->touch(inputs[i]);
        tensor_of(inputs[i])->value = std::move(results[i]);
        return nb::borrow(inputs[i]);
    };
    if (results.size() == 1) return output(0);
    nb::object tuple = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(results.size())));
    for (size_t i = 0; i < results.size(); ++i) {
        PyTuple_SET_ITEM(tuple.ptr(), static_cast<Py_ssize_t>(i), output(i).release().ptr());
    }
    return tuple;
}

nb::object reset_from(PyObject* const* inputs, size_t count, nb::object result) {
    if (count != 1 || !tensor_of(result.ptr())) return result;
    take_value(inputs[0], result);
    return nb::borrow(inputs[0]);
}

PyObject* apply_function(PyObject*, PyObject* const* args, Py_ssize_t count) {
    return guarded([&] {
        if (count < 1) throw nb::type_error("apply(op, *inputs) needs an op");
        nb::object result = apply(args[0], args + 1, static_cast<size_t>(count - 1));
        if (result.ptr() == Py_NotImplemented) reject_foreign(args[0], args + 1, static_cast<size_t>(count - 1));
        return result.release().ptr();
    });
}

PyObject* update_function(PyObject*, PyObject* const* args, Py_ssize_t count) {
    return guarded([&] {
        if (count < 2) throw nb::type_error("update(op, count, *inputs) needs an op and a count");
        const size_t targets = PyLong_AsSize_t(args[1]);
        if (PyErr_Occurred()) throw nb::python_error();
        nb::object result = update(args[0], targets, args + 2, static_cast<size_t>(count - 2));
        if (result.ptr() == Py_NotImplemented) reject_foreign(args[0], args + 2, static_cast<size_t>(count - 2));
        return result.release().ptr();
    });
}

nb::list profile(nb::handle op, const nb::args& inputs) {
    Operands operands(inputs.size());
    for (size_t i = 0; i < operands.size(); ++i) {
        if (!operands[i].bind(inputs[i].ptr())) throw nb::type_error("profile takes tensors and numbers");
    }
    const Ref<CachedPlan> cached = PlanCache::instance().get(op, operands);
    nb::list times;
    for (double seconds : time_plan(*cached->plan, operands)) times.append(seconds);
    return times;
}

// What this thread runs in place of ops: a mapping with a value for every op, or null. Owns a reference.
thread_local PyObject* substitutes = nullptr;
// The number of threads for which it is not null. If there are none, only this is checked.
size_t substituting = 0;

// What runs in place of `op`, kept alive by `keep`.
nb::handle chosen(nb::handle op, nb::object& keep) {
    if (!substituting || !substitutes) [[likely]]
        return op;
    keep = nb::steal(PyObject_GetItem(substitutes, op.ptr()));
    if (!keep.is_valid()) throw nb::python_error();
    return keep;
}

nb::object get_substitutes() { return substitutes ? nb::borrow(substitutes) : nb::none(); }

nb::object set_substitutes(nb::handle mapping) {
    nb::object before = substitutes ? nb::steal(substitutes) : nb::none();
    substituting -= substitutes ? 1 : 0;
    substitutes = mapping.is_none() ? nullptr : Py_NewRef(mapping.ptr());
    substituting += substitutes ? 1 : 0;
    return before;
}

// Plain C functions: nanobind's variadic arguments would build a tuple for each call.
PyMethodDef kFunctions[] = {
    {"apply", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(apply_function)), METH_FASTCALL,
     "apply(op, *inputs)\n--\n\nRun an op: a Tensor, or a tuple if it has several outputs. Inputs are Tensors, bools, "
     "ints and "
     "floats; others go to the foreign hook."},
    {"update", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(update_function)), METH_FASTCALL,
     "update(op, count, *inputs)\n--\n\nLike apply, but the first `count` inputs, which are Tensors, take over the "
     "outputs of the "
     "same index, in place where nobody else holds their memory."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

void execute(nb::handle op, Operands& inputs, size_t donate, Results& results) {
    if (Tracing* tracing = Tracing::current()) [[unlikely]] {
        tracing->execute(op, inputs, results);
        return;
    }
    const Ref<CachedPlan> cached = PlanCache::instance().get(op, inputs);
    const bool watched = any_active_tape() && any_watched(inputs);
    try {
        run_plan(*cached->plan, inputs, watched ? 0 : donate, results);
    } catch (const OutOfMemory& error) {
        if (hooks().memory.is_valid())
            hooks().memory(op, to_python(cached->descs), error.bytes, error.live, error.device);
        throw;
    }
    if (watched) record_operation(op, cached->rules, inputs, results);
}

nb::object apply(nb::handle op, PyObject* const* inputs, size_t count) {
    Operands operands(count);
    if (!bind_all(operands, inputs)) return call_foreign(op, inputs, count);
    Results results;
    nb::object keep;
    execute(chosen(op, keep), operands, 0, results);
    return wrap_all(results);
}

nb::object update(nb::handle op, size_t targets, PyObject* const* inputs, size_t count) {
    if (targets > count) throw nb::value_error("update has fewer inputs than targets");
    for (size_t i = 0; i < targets; ++i) value_of(inputs[i]);  // raises unless it is a Tensor
    Operands operands(count);
    if (!bind_all(operands, inputs)) return reset_from(inputs, targets, call_foreign(op, inputs, count));
    Results results;
    nb::object keep;
    execute(chosen(op, keep), operands, targets, results);
    if (results.size() < targets) throw nb::value_error("update has more targets than the op has outputs");
    return take_over(inputs, targets, results);
}

void bind_apply(nb::module_& module) {
    if (PyModule_AddFunctions(module.ptr(), kFunctions)) throw nb::python_error();
    module.def(
        "profile", profile, nb::arg("op"), nb::arg("inputs"),
        "profile(op, *inputs): run an op for nothing, and give the seconds that each step of its Plan took; launches "
        "that run together count for the first of them.");
    module.def(
        "set_substitutes", set_substitutes, nb::arg("mapping").none(),
        "Have apply, update and the operators run mapping[op] in place of each op, in this thread; None ends that. "
        "Returns the one before. What was recorded on tapes and in traces is run as it is.");
    module.def("substitutes", get_substitutes, "The mapping that set_substitutes was given, or None.");
    module.def("plan_cache_info", [] { return PlanCache::instance().info(); });
    module.def("plan_cache_clear", [] { PlanCache::instance().clear(); });
    module.def("plan_cache_limit", [](size_t limit) { PlanCache::instance().set_limit(limit); }, nb::arg("limit"));
}

}  // namespace tengen
