#include "tensor_class.h"

#include <nanobind/stl/vector.h>
#include <structmember.h>

#include <algorithm>
#include <atomic>

#include "hooks.h"
#include "tracing.h"

namespace tengen {

namespace {

PyTypeObject* base_class = nullptr;    // tengen._rt.Tensor
PyTypeObject* result_class = nullptr;  // what set_tensor_class named; owns a reference

Value& checked(Tensor& tensor) {
    if (tensor.value.empty()) throw std::runtime_error("the tensor has no value yet");
    return tensor.value;
}

// -- type slots ----------------------------------------------------------------------------------------------

// A new handle is complete without __init__, so that copying and unpickling may go through __new__ alone.
PyObject* tensor_new(PyTypeObject* type, PyObject*, PyObject*) {
    return guarded([type] {
        nb::object made = nb::inst_alloc(nb::handle(reinterpret_cast<PyObject*>(type)));
        new (nb::inst_ptr<Tensor>(made)) Tensor;
        nb::inst_mark_ready(made);
        if (Tracing* tracing = Tracing::current()) [[unlikely]]
            tracing->made(made);
        return made.release().ptr();
    });
}

int tensor_init(PyObject*, PyObject*, PyObject*) { return 0; }

// Tensors compare element by element, so hashing goes by identity.
Py_hash_t tensor_hash(PyObject* self) {
    const auto address = reinterpret_cast<size_t>(self);
    const auto hash = static_cast<Py_hash_t>((address >> 4) | (address << (8 * sizeof(size_t) - 4)));
    return hash == -1 ? -2 : hash;
}

PyObject** attributes_of(PyObject* self) {
    return reinterpret_cast<PyObject**>(reinterpret_cast<char*>(self) + base_class->tp_dictoffset);
}

int tensor_traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(*attributes_of(self));
    Py_VISIT(nb::inst_ptr<Tensor>(self)->grad);
    return 0;
}

int tensor_clear(PyObject* self) {
    Py_CLEAR(*attributes_of(self));
    Py_CLEAR(nb::inst_ptr<Tensor>(self)->grad);
    return 0;
}

std::vector<PyType_Slot> tensor_slots(const std::vector<PyType_Slot>& operators) {
    std::vector<PyType_Slot> slots{
        {Py_tp_new, reinterpret_cast<void*>(tensor_new)},
        {Py_tp_init, reinterpret_cast<void*>(tensor_init)},
        {Py_tp_hash, reinterpret_cast<void*>(tensor_hash)},
        {Py_tp_traverse, reinterpret_cast<void*>(tensor_traverse)},
        {Py_tp_clear, reinterpret_cast<void*>(tensor_clear)},
    };
    slots.insert(slots.end(), operators.begin(), operators.end());
    return slots;
}

nb::object set_tensor_class(nb::handle cls) {
    if (!cls.is_type() || !PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(cls.ptr()), base_class)) {
        throw nb::type_error("set_tensor_class needs a subclass of tengen._rt.Tensor");
    }
    auto* before = reinterpret_cast<PyObject*>(result_class);
    result_class = reinterpret_cast<PyTypeObject*>(Py_NewRef(cls.ptr()));
    return nb::steal(before);
}

nb::object get_grad(nb::handle self) {
    const Tensor& tensor = *tensor_of(self.ptr());
    if (Tracing* tracing = Tracing::current()) tracing->grad_read(self, !tensor.grad);
    return tensor.grad ? nb::borrow(tensor.grad) : nb::none();
}

// How many gradients have been set, of all tensors.
std::atomic<uint64_t> grad_count = 0;

void set_grad(nb::handle handle, nb::handle grad) {
    if (Tracing* tracing = Tracing::current()) tracing->grad_written(handle);
    Tensor& self = *tensor_of(handle.ptr());
    self.grad_number = grad.is_none() ? 0 : ++grad_count;
    PyObject* fresh = grad.is_none() ? nullptr : nb::borrow(grad).release().ptr();
    PyObject* old =
        std::exchange(self.grad, fresh);  // the new one is put in place first: __del__ must see a consistent object
    Py_XDECREF(old);
}

}  // namespace

// -- between C++ and Python ----------------------------------------------------------------------------------

Tensor* tensor_of(PyObject* object) {
    PyTypeObject* type = Py_TYPE(object);
    if (type != result_class && !PyType_IsSubtype(type, base_class)) return nullptr;
    return nb::inst_ptr<Tensor>(object);
}

Value& value_of(nb::handle object) {
    Tensor* tensor = tensor_of(object.ptr());
    if (!tensor) {
        throw nb::type_error((std::string("expected a Tensor, got ") + Py_TYPE(object.ptr())->tp_name).c_str());
    }
    return checked(*tensor);
}

nb::object wrap(Value&& value) {
    nb::object made = nb::inst_alloc(nb::handle(reinterpret_cast<PyObject*>(result_class)));
    auto* tensor = new (nb::inst_ptr<Tensor>(made)) Tensor;
    tensor->value = std::move(value);
    nb::inst_mark_ready(made);
    if (Tracing* tracing = Tracing::current()) [[unlikely]]
        tracing->made(made);
    return made;
}

void take_value(nb::handle handle, nb::handle other) {
    nb::object source = nb::borrow(other);
    if (Tracing* tracing = Tracing::current()) {
        source = tracing->handed_over(other, false);
        tracing->touch(handle);
    }
    tensor_of(handle.ptr())->value = Value(value_of(source));
}

namespace {

// Another handle of the same value, with its place on gradient tapes unless `detached`.
nb::object another_handle(nb::handle tensor, bool detached) {
    Tracing* tracing = Tracing::current();
    const nb::object source = tracing ? tracing->handed_over(tensor, detached) : nb::borrow(tensor);
    if (!source.is(tensor)) return source;
    const Value& value = value_of(tensor);
    return wrap(detached ? Value{value.storage, value.offset, value.desc, {}, value.place} : Value(value));
}

nb::object view_of(Tensor& tensor, const Extents& starts, const Extents& steps, Extents shape, const Extents& runs) {
    settle(checked(tensor));  // what a trace has just given may not have its memory yet
    const Value& value = tensor.value;
    const Descriptor& desc = *value.desc;
    int64_t start = 0;
    for (size_t d = 0; d < starts.size(); ++d) start += starts[d] * desc.strides[d];
    Extents strides(runs.size());
    for (size_t d = 0; d < runs.size(); ++d) strides[d] = runs[d] < 0 ? 0 : desc.strides[runs[d]] * steps[runs[d]];
    const Descriptor* seen = intern(desc.dtype, std::move(shape), std::move(strides), desc.device);
    const int64_t offset = seen->size ? value.offset + start * static_cast<int64_t>(desc.itemsize()) : 0;
    return wrap(Value{value.storage, offset, seen, {}, {}});
}

}  // namespace

nb::class_<Tensor> bind_tensor(nb::module_& module, const std::vector<PyType_Slot>& operators) {
    const std::vector<PyType_Slot> slots = tensor_slots(operators);
    module.def("grads_set", [] { return grad_count.load(); }, "How many gradients have been set, of all tensors.");
    nb::class_<Tensor> cls(module, "Tensor", nb::dynamic_attr(), nb::is_weak_referenceable(),
                           nb::type_slots(slots.data()),
                           "A handle of one value. Python's tengen.Tensor derives from it.");
    cls.def_prop_ro("desc", [](Tensor& t) { return to_python(checked(t).desc); })
        .def_prop_ro("shape", [](Tensor& t) { return nb::borrow<nb::tuple>(checked(t).desc->shape_tuple); })
        .def_prop_ro("ndim", [](Tensor& t) { return checked(t).desc->ndim(); })
        .def_prop_ro("size", [](Tensor& t) { return checked(t).desc->size; })
        .def_prop_ro(
            "_grad_number", [](const Tensor& tensor) { return tensor.grad_number; },
            "Which of all gradients that were ever set it has, counted from 1; 0 for none.")
        .def_prop_rw("grad", get_grad, set_grad, nb::for_setter(nb::arg("grad").none()))
        .def("_reset", take_value, nb::arg("other"),
             "Take over the value of another tensor, with its place on gradient tapes.")
        .def(
            "_detach", [](nb::handle t) { return another_handle(t, true); },
            "A tensor of the same value that is on no gradient tape.")
        .def(
            "_alias", [](nb::handle t) { return another_handle(t, false); },
            "Another handle of the same value, with its place on gradient tapes.")
        .def("_view", view_of, nb::arg("starts"), nb::arg("steps"), nb::arg("shape"), nb::arg("runs"),
             "Some of its elements, without an operation: for values that neither a tape nor a trace follows. The "
             "first one is at "
             "`starts`; each dim of `shape` runs along the dim that `runs` names, in its step, or along none (-1). "
             "Nothing is checked.")
        .def("_data_ptr", [](Tensor& t) {
            checked(t);
            settle_for_reading(t);
            return reinterpret_cast<uintptr_t>(t.value.pointer());
        });

    base_class = reinterpret_cast<PyTypeObject*>(cls.ptr());
    result_class = base_class;
    Py_INCREF(result_class);
    module.def("set_tensor_class", set_tensor_class, nb::arg("cls"),
               "Name the class of results; returns the one before.");
    return cls;
}

}  // namespace tengen
