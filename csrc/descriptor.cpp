#include "descriptor.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <functional>
#include <unordered_map>

namespace tengen {

namespace {

struct Key {
    DType dtype;
    Extents shape;
    Extents strides;
    std::string device;
    bool operator==(const Key&) const = default;
};

struct KeyHash {
    size_t operator()(const Key& key) const {
        size_t h = std::hash<std::string>()(key.device) + static_cast<size_t>(key.dtype);
        auto mix = [&h](int64_t n) { h = (h ^ static_cast<size_t>(n)) * 0x9E3779B97F4A7C15u + (h >> 29); };
        for (int64_t n : key.shape) mix(n);
        for (int64_t n : key.strides) mix(n);
        return h;
    }
};

Extents row_major(const Extents& shape) {
    Extents strides(shape.size());
    int64_t step = 1;
    for (size_t d = shape.size(); d-- > 0;) {
        strides[d] = step;
        step *= std::max<int64_t>(shape[d], 1);
    }
    return strides;
}

int64_t count_elements(const Extents& shape) {
    int64_t size = 1;
    for (int64_t extent : shape) {
        if (extent < 0) throw nb::value_error("a shape cannot have a negative extent");
        // 2**58 elements of 16 bytes would still fit an int64 byte count.
        if (__builtin_mul_overflow(size, extent, &size) || size > (int64_t{1} << 58)) {
            throw nb::value_error("a shape with more than 2**58 elements");
        }
    }
    return size;
}

bool is_row_major(const Extents& shape, const Extents& strides) {
    const Extents want = row_major(shape);
    for (size_t d = 0; d < shape.size(); ++d) {
        if (shape[d] > 1 && strides[d] != want[d]) return false;
    }
    return true;
}

PyObject* immortal_tuple(const Extents& numbers) {
    nb::object tuple = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(numbers.size())));
    for (size_t i = 0; i < numbers.size(); ++i) {
        PyTuple_SET_ITEM(tuple.ptr(), static_cast<Py_ssize_t>(i), PyLong_FromLongLong(numbers[i]));
    }
    return tuple.release().ptr();
}

nb::object repr(const Descriptor& desc) {
    std::string text = "Descriptor('" + std::string(info(desc.dtype).name) + "', " +
                       nb::str(nb::repr(nb::handle(desc.shape_tuple))).c_str();
    if (!is_row_major(desc.shape, desc.strides)) {
        text += std::string(", strides=") + nb::str(nb::repr(nb::handle(desc.strides_tuple))).c_str();
    }
    if (desc.device != "cpu0") text += ", device='" + desc.device + "'";
    return nb::str((text + ")").c_str());
}

}  // namespace

// The dtype of a name such as "qint8(0.1)" that Python has made: equal dtypes have equal names. Nothing for any other
// name.
static std::optional<DType> parse_quantised(std::string_view name) {
    static auto& known = *new std::unordered_map<std::string, DType>;
    const size_t bracket = name.find('(');
    if (bracket == std::string_view::npos) return std::nullopt;
    const std::string whole(name);
    if (auto found = known.find(whole); found != known.end()) return found->second;
    for (const auto& [kind, storage] : kQuantisedKinds) {
        if (kind != name.substr(0, bracket)) continue;
        if (known.size() == kMostQuantised) {
            throw std::runtime_error("more than " + std::to_string(kMostQuantised) +
                                     " quantised dtypes in one process, the last one " + whole);
        }
        const auto dtype = static_cast<DType>(kDTypes.size() + known.size());
        auto* row = new Quantised{info(storage), storage};
        row->info.name = known.emplace(whole, dtype).first->first;
        quantised[known.size() - 1] = row;
        return dtype;
    }
    return std::nullopt;
}

DType parse_dtype(std::string_view name) {
    for (size_t i = 0; i < kDTypes.size(); ++i) {
        if (kDTypes[i].name == name) return static_cast<DType>(i);
    }
    if (auto found = parse_quantised(name)) return *found;
    throw nb::value_error(("unknown dtype '" + std::string(name) + "'").c_str());
}

std::pair<int64_t, int64_t> Descriptor::byte_range() const {
    if (size == 0) return {0, 0};
    int64_t low = 0, high = 0;
    for (size_t d = 0; d < ndim(); ++d) {
        const int64_t last = (shape[d] - 1) * strides[d];
        (last < 0 ? low : high) += last;
    }
    const auto item = static_cast<int64_t>(itemsize());
    return {low * item, (high + 1) * item};
}

const Descriptor* intern(DType dtype, Extents shape, std::optional<Extents> strides, std::string device) {
    static auto& table = *new std::unordered_map<Key, const Descriptor*, KeyHash>;
    const int64_t size = count_elements(shape);
    if (strides && strides->size() != shape.size()) throw nb::value_error("shape and strides differ in length");
    Key key{dtype, std::move(shape), {}, std::move(device)};
    key.strides = strides ? std::move(*strides) : row_major(key.shape);

    auto found = table.find(key);
    if (found != table.end()) return found->second;

    auto* desc = new Descriptor{dtype,
                                is_row_major(key.shape, key.strides),
                                key.shape,
                                key.strides,
                                key.device,
                                size,
                                nullptr,
                                immortal_tuple(key.shape),
                                immortal_tuple(key.strides)};
    desc->self = nb::cast(desc, nb::rv_policy::reference).release().ptr();
    table.emplace(std::move(key), desc);
    return desc;
}

const ScalarDescriptors& scalar_descriptors() {
    static const ScalarDescriptors made{intern(DType::WeakBool, {}), intern(DType::WeakInt, {}),
                                        intern(DType::WeakFloat, {})};
    return made;
}

const Descriptor* descriptor_of(nb::handle object) {
    const Descriptor* desc = nullptr;
    if (object.is_none() || !nb::try_cast(object, desc)) {
        throw nb::type_error(
            (std::string("expected a Descriptor, got ") + nb::type_name(object.type()).c_str()).c_str());
    }
    return desc;
}

void bind_descriptor(nb::module_& module) {
    auto make = [](const std::string& dtype, Extents shape, std::optional<Extents> strides, std::string device) {
        return to_python(intern(parse_dtype(dtype), std::move(shape), std::move(strides), std::move(device)));
    };
    nb::class_<Descriptor>(
        module, "Descriptor", nb::is_final(),
        "What a value is: dtype, shape, strides in elements, device. Equal ones are the same object.")
        .def(nb::new_(make), nb::arg("dtype"), nb::arg("shape"), nb::arg("strides") = nb::none(),
             nb::arg("device") = "cpu0")
        .def_prop_ro("dtype", [](const Descriptor& d) { return info(d.dtype).name.data(); })
        .def_prop_ro("shape", [](const Descriptor& d) { return nb::borrow<nb::tuple>(d.shape_tuple); })
        .def_prop_ro("strides", [](const Descriptor& d) { return nb::borrow<nb::tuple>(d.strides_tuple); })
        .def_prop_ro("device", [](const Descriptor& d) { return d.device; })
        .def_prop_ro("size", [](const Descriptor& d) { return d.size; })
        .def_prop_ro("ndim", [](const Descriptor& d) { return d.ndim(); })
        .def_prop_ro("itemsize", [](const Descriptor& d) { return d.itemsize(); })
        .def_prop_ro("is_contiguous", [](const Descriptor& d) { return d.contiguous; })
        .def("__repr__", repr)
        .def("__copy__", [](const Descriptor& d) { return to_python(&d); })
        .def("__deepcopy__", [](const Descriptor& d, nb::handle) { return to_python(&d); })
        .def("__reduce__", [](const Descriptor& d) {
            return nb::make_tuple(nb::handle(d.self).type(),
                                  nb::make_tuple(info(d.dtype).name.data(), nb::handle(d.shape_tuple),
                                                 nb::handle(d.strides_tuple), d.device));
        });
    scalar_descriptors();  // makes them while no other thread can
}

}  // namespace tengen
