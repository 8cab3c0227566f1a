#include "operators.h"

#include <array>
#include <string>
#include <string_view>

#include "apply.h"
#include "hooks.h"

namespace tengen {

namespace {

// Slots by their names in CPython. Power is not among them: it has a third argument.
#define TENGEN_UNARY(X) X(nb_negative) X(nb_absolute) X(nb_invert)
#define TENGEN_BINARY(X) \
    X(nb_add)            \
    X(nb_subtract)       \
    X(nb_multiply)       \
    X(nb_true_divide)    \
    X(nb_floor_divide) X(nb_remainder) X(nb_and) X(nb_or) X(nb_xor) X(nb_lshift) X(nb_rshift) X(nb_matrix_multiply)
#define TENGEN_INPLACE(X)      \
    X(nb_inplace_add)          \
    X(nb_inplace_subtract)     \
    X(nb_inplace_multiply)     \
    X(nb_inplace_true_divide)  \
    X(nb_inplace_floor_divide) \
    X(nb_inplace_remainder)    \
    X(nb_inplace_and)          \
    X(nb_inplace_or) X(nb_inplace_xor) X(nb_inplace_lshift) X(nb_inplace_rshift) X(nb_inplace_matrix_multiply)

enum Index : size_t {
#define TENGEN_NAME(slot) slot,
    // The comparisons first, in the order of CPython's Py_LT … Py_GE.
    lt,
    le,
    eq,
    ne,
    gt,
    ge,
    TENGEN_UNARY(TENGEN_NAME) TENGEN_BINARY(TENGEN_NAME) TENGEN_INPLACE(TENGEN_NAME) nb_power,
    nb_inplace_power,
#undef TENGEN_NAME
    kCount,
};

constexpr std::array<std::string_view, kCount> kNames{
#define TENGEN_NAME(slot) #slot,
    "lt",
    "le",
    "eq",
    "ne",
    "gt",
    "ge",
    TENGEN_UNARY(TENGEN_NAME) TENGEN_BINARY(TENGEN_NAME) TENGEN_INPLACE(TENGEN_NAME) "nb_power",
    "nb_inplace_power",
#undef TENGEN_NAME
};

static_assert(lt == Py_LT && le == Py_LE && eq == Py_EQ && ne == Py_NE && gt == Py_GT && ge == Py_GE);

PyObject* ops[kCount] = {};  // each with a reference

PyObject* not_implemented() { return Py_NewRef(Py_NotImplemented); }

// CPython then tries the other operand, and raises its usual TypeError if that fails too.
bool cannot(size_t index, PyObject* other) { return !ops[index] || other == Py_None; }

PyObject* binary(size_t index, PyObject* left, PyObject* right) {
    if (cannot(index, left) || cannot(index, right)) return not_implemented();
    return guarded([&] {
        PyObject* const operands[] = {left, right};
        return apply(ops[index], operands, 2).release().ptr();
    });
}

// The handle takes over the result. Without an op for it, CPython falls back to the ordinary operator.
PyObject* inplace(size_t index, PyObject* self, PyObject* other) {
    if (cannot(index, other)) return not_implemented();
    return guarded([&] {
        PyObject* const operands[] = {self, other};
        return update(ops[index], 1, operands, 2).release().ptr();
    });
}

template <size_t index>
PyObject* unary_slot(PyObject* self) {
    if (!ops[index]) {
        PyErr_Format(PyExc_TypeError, "bad operand type for %s: '%s'", kNames[index].data(), Py_TYPE(self)->tp_name);
        return nullptr;
    }
    return guarded([&] { return apply(ops[index], &self, 1).release().ptr(); });
}

template <size_t index>
PyObject* binary_slot(PyObject* left, PyObject* right) {
    return binary(index, left, right);
}

template <size_t index>
PyObject* inplace_slot(PyObject* self, PyObject* other) {
    return inplace(index, self, other);
}

PyObject* power_slot(PyObject* left, PyObject* right, PyObject* modulus) {
    return modulus == Py_None ? binary(nb_power, left, right) : not_implemented();
}

PyObject* inplace_power_slot(PyObject* self, PyObject* other, PyObject* modulus) {
    return modulus == Py_None ? inplace(nb_inplace_power, self, other) : not_implemented();
}

PyObject* compare_slot(PyObject* left, PyObject* right, int comparison) {
    return binary(static_cast<size_t>(comparison), left, right);
}

nb::object set_operator(std::string_view slot, nb::handle op) {
    for (size_t i = 0; i < kCount; ++i) {
        if (kNames[i] != slot) continue;
        nb::object before = ops[i] ? nb::steal(ops[i]) : nb::none();
        ops[i] = op.is_none() ? nullptr : Py_NewRef(op.ptr());
        return before;
    }
    throw nb::value_error(("no operator slot '" + std::string(slot) + "'").c_str());
}

}  // namespace

std::vector<PyType_Slot> operator_slots() {
    return {
#define TENGEN_SLOT(kind, slot) {Py_##slot, reinterpret_cast<void*>(kind##_slot<slot>)},
#define TENGEN_UNARY_SLOT(slot) TENGEN_SLOT(unary, slot)
#define TENGEN_BINARY_SLOT(slot) TENGEN_SLOT(binary, slot)
#define TENGEN_INPLACE_SLOT(slot) TENGEN_SLOT(inplace, slot)
        TENGEN_UNARY(TENGEN_UNARY_SLOT) TENGEN_BINARY(TENGEN_BINARY_SLOT)
            TENGEN_INPLACE(TENGEN_INPLACE_SLOT){Py_nb_power, reinterpret_cast<void*>(power_slot)},
        {Py_nb_inplace_power, reinterpret_cast<void*>(inplace_power_slot)},
        {Py_tp_richcompare, reinterpret_cast<void*>(compare_slot)},
    };
}

void bind_operators(nb::module_& module) {
    module.def(
        "set_operator", [](const char* slot, nb::handle op) { return set_operator(slot, op); }, nb::arg("slot"),
        nb::arg("op").none(),
        "Name the op behind a Python operator, such as nb_add or lt; None takes it away. Returns the one before.");
}

}  // namespace tengen
