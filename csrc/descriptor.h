// Descriptors describe values: dtype, shape, strides in elements, device.
//
// They are interned and immortal, so that the Plan cache can compare pointers and Python sees one object for each.
#pragma once

#include <nanobind/nanobind.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "dtype.h"

namespace tengen {

namespace nb = nanobind;

struct Descriptor {
    DType dtype;
    bool contiguous;
    std::vector<int64_t> shape;
    std::vector<int64_t> strides;
    std::string device;
    int64_t size;
    // Kept because Python asks for them all the time. Never released, like the descriptor itself.
    PyObject* self;
    PyObject* shape_tuple;
    PyObject* strides_tuple;

    size_t ndim() const { return shape.size(); }
    size_t itemsize() const { return info(dtype).itemsize; }
    int64_t bytes() const { return size * static_cast<int64_t>(itemsize()); }
    bool floating() const { return info(dtype).floating; }
    // The first byte that a value reaches, and one past the last, counted from its first element.
    std::pair<int64_t, int64_t> byte_range() const;
};

using Extents = std::vector<int64_t>;

// Throws nb::value_error for an unknown dtype or an invalid shape.
DType parse_dtype(std::string_view name);
const Descriptor* intern(DType dtype, Extents shape, std::optional<Extents> strides = std::nullopt,
                         std::string device = "cpu0");

// The descriptors of Python's bool, int and float.
struct ScalarDescriptors {
    const Descriptor* boolean;
    const Descriptor* integer;
    const Descriptor* real;
};
const ScalarDescriptors& scalar_descriptors();

inline nb::object to_python(const Descriptor* desc) { return nb::borrow(desc->self); }
const Descriptor* descriptor_of(nb::handle object);  // throws nb::type_error

void bind_descriptor(nb::module_& module);

}  // namespace tengen
