#include "interop.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "host.h"
#include "tensor_class.h"
#include "tracing.h"
#include "waits.h"

namespace tengen {

namespace {

constexpr char kNativeOrder = '=';
constexpr size_t kReleaseGilBytes = 1 << 20;  // copying fewer bytes takes less time than handing over the GIL

// The base of a NumPy array of ours: exports the bytes of a storage.
struct Buffer {
    Ref<Storage> storage;
    bool writable;
};

int export_bytes(PyObject* self, Py_buffer* view, int flags) {
    const Buffer* buffer = nb::inst_ptr<Buffer>(self);
    const Storage& storage = *buffer->storage;
    return PyBuffer_FillInfo(view, self, storage.data, static_cast<Py_ssize_t>(storage.bytes), !buffer->writable,
                             flags);
}

nb::object make_buffer(const Ref<Storage>& storage, bool writable) {
    return nb::cast(Buffer{storage, writable}, nb::rv_policy::move);
}

struct NumPy {
    nb::object array;
    std::array<nb::object, kDTypes.size()> dtypes;
};

// Loaded with the module, not on first use: an import can hand over the GIL, which a static initialiser must not do.
NumPy& numpy() {
    static NumPy& numpy = *new NumPy;  // Python objects, which must not be destroyed after Python
    return numpy;
}

void load_numpy() {
    nb::object module = nb::module_::import_("numpy");
    numpy().array = module.attr("ndarray");
    for (size_t i = 0; i < kDTypes.size(); ++i) numpy().dtypes[i] = module.attr("dtype")(kDTypes[i].numpy);
}

class BufferLock {
  public:
    explicit BufferLock(nb::handle object) {
        if (PyObject_GetBuffer(object.ptr(), &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)) throw nb::python_error();
    }
    BufferLock(const BufferLock&) = delete;
    BufferLock& operator=(const BufferLock&) = delete;
    ~BufferLock() { PyBuffer_Release(&view); }

    Py_buffer view;
};

void check_format(const Py_buffer& view, DType dtype) {
    const DTypeInfo& want = info(dtype);
    const std::string_view format = view.format ? view.format : "B";
    std::string_view code = format;
    if (code.size() > 1 && code[0] == kNativeOrder) code.remove_prefix(1);  // so NumPy says that it is not aligned
    const bool one = code.size() == 1 && want.buffer_codes.find(code) != std::string_view::npos;
    const bool same = one || code == want.buffer_codes;
    if (same && view.itemsize == want.itemsize) return;
    throw nb::type_error(("a tensor of " + std::string(want.name) + " is assigned from an array of native " +
                          want.numpy + ", not from one of format '" + std::string(format) + "'")
                             .c_str());
}

Device& device_of(const Storage& storage) { return storage.device ? *storage.device : host_device(); }

const Value& readable(Tensor& tensor) {
    if (tensor.value.empty()) throw std::runtime_error("the tensor has no value yet");
    settle_for_reading(tensor);
    return tensor.value;
}

// A capsule, or an object that __dlpack__ makes, from the value's memory.
nb::object to_dlpack(Tensor& tensor, const nb::kwargs& options) {
    const Value& value = readable(tensor);
    const Descriptor& desc = *value.desc;
    value.storage->exported = true;  // the consumer may write
    if (value.storage->repacked) value.storage->drop_repacked();
    const std::vector<size_t> shape(desc.shape.begin(), desc.shape.end());
    const nb::dlpack::dtype dtype{info(desc.dtype).dlpack_code, static_cast<uint8_t>(8 * desc.itemsize()), 1};
    Device& device = device_of(*value.storage);
    if (!device.is_host()) wait_for(device);  // the consumer has streams of its own
    const auto [kind, number] = device.dlpack();
    nb::ndarray<nb::array_api> array(value.pointer(), desc.ndim(), shape.data(), make_buffer(value.storage, true),
                                     desc.strides.data(), dtype, kind, number);
    return nb::cast(array).attr("__dlpack__")(**options);
}

DType from_dlpack_dtype(nb::dlpack::dtype dtype) {
    for (size_t i = 0; i < static_cast<size_t>(DType::WeakBool); ++i) {
        const DTypeInfo& row = kDTypes[i];
        if (row.dlpack_code == dtype.code && 8 * row.itemsize == dtype.bits && dtype.lanes == 1) {
            return static_cast<DType>(i);
        }
    }
    throw nb::type_error(("no tensor dtype for DLPack type code " + std::to_string(dtype.code) + " of " +
                          std::to_string(dtype.bits) + " bits")
                             .c_str());
}

using ForeignArray = nb::ndarray<nb::ro>;

ForeignArray take_foreign(nb::handle source) {
    const bool capsule = PyCapsule_CheckExact(source.ptr());
    if (capsule && !PyCapsule_IsValid(source.ptr(), "dltensor") &&
        !PyCapsule_IsValid(source.ptr(), "dltensor_versioned")) {
        const char* name = PyCapsule_GetName(source.ptr());
        if (PyErr_Occurred()) throw nb::python_error();
        throw nb::value_error(("the capsule '" + std::string(name ? name : "") +
                               "' holds no DLPack tensor, or it was taken already: each can be taken once")
                                  .c_str());
    }
    ForeignArray array;
    if (!nb::try_cast(source, array)) {
        throw nb::type_error((std::string("expected a DLPack capsule or an object with __dlpack__, got ") +
                              Py_TYPE(source.ptr())->tp_name)
                                 .c_str());
    }
    return array;
}

Device& device_behind(const ForeignArray& array) {
    if (Device* device = device_of_dlpack(array.device_type(), array.device_id())) return *device;
    throw nb::value_error(("the memory is that of a device with DLPack type " + std::to_string(array.device_type()) +
                           ", not a CPU's; copy it there first")
                              .c_str());
}

nb::object from_dlpack(nb::handle source) {
    const ForeignArray array = take_foreign(source);
    Extents shape(array.ndim()), strides(array.ndim());
    int64_t low = 0, high = 0;  // the elements that the strides reach, from the first one
    for (size_t d = 0; d < array.ndim(); ++d) {
        shape[d] = static_cast<int64_t>(array.shape(d));
        strides[d] = array.stride(d);
        const int64_t last = (shape[d] - 1) * strides[d];
        (last < 0 ? low : high) += last;
    }
    Device& device = device_behind(array);
    device.wait_for_others();
    const std::string place = device.is_host() ? "cpu0" : device.name + ":0";
    const Descriptor* desc = intern(from_dlpack_dtype(array.dtype()), shape, strides, place);
    const int64_t itemsize = static_cast<int64_t>(desc->itemsize());
    Value value;
    value.desc = desc;
    if (desc->size == 0) {  // its address may be null, which a storage's may not
        value.storage = device.allocate(0);
        return wrap(std::move(value));
    }
    auto* start = const_cast<std::byte*>(static_cast<const std::byte*>(array.data())) + low * itemsize;
    auto release = [](void* owner) { delete static_cast<ForeignArray*>(owner); };
    value.storage = Storage::adopt(start, static_cast<size_t>((high - low + 1) * itemsize), new ForeignArray(array),
                                   release, device.is_host() ? nullptr : &device);
    value.offset = -low * itemsize;
    return wrap(std::move(value));
}

// The descriptor of a view whose dim d is the dim order[d] of what `desc` describes.
const Descriptor* reordered(const Descriptor* desc, const std::vector<size_t>& order) {
    std::vector<bool> seen(desc->ndim());
    Extents shape, strides;
    for (const size_t d : order) {
        if (d >= seen.size() || seen[d]) break;
        seen[d] = true;
        shape.push_back(desc->shape[d]);
        strides.push_back(desc->strides[d]);
    }
    if (shape.size() != desc->ndim() || order.size() != desc->ndim()) {
        throw nb::value_error("the order of the dims must name each of them once");
    }
    return intern(desc->dtype, std::move(shape), std::move(strides), desc->device);
}

}  // namespace

nb::object numpy_view(const Ref<Storage>& storage, int64_t offset, const Descriptor* desc, bool writable) {
    const NumPy& np = numpy();
    nb::object strides = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(desc->ndim())));
    for (size_t d = 0; d < desc->ndim(); ++d) {
        const int64_t bytes = desc->strides[d] * static_cast<int64_t>(desc->itemsize());
        PyTuple_SET_ITEM(strides.ptr(), static_cast<Py_ssize_t>(d), PyLong_FromLongLong(bytes));
    }
    return np.array(nb::handle(desc->shape_tuple), np.dtypes[static_cast<size_t>(storage_of(desc->dtype))],
                    make_buffer(storage, writable), offset, strides);
}

Value copy_array(nb::handle array, DType dtype, const std::string& device, bool ahead) {
    Device& place = device_named(device);
    BufferLock lock(array);
    check_format(lock.view, dtype);
    const size_t bytes = static_cast<size_t>(lock.view.len);

    Value value;
    value.desc = intern(dtype, Extents(lock.view.shape, lock.view.shape + lock.view.ndim), std::nullopt, device);
    try {
        if (ahead && bytes >= kReleaseGilBytes) {
            nb::gil_scoped_release released;
            value.storage = place.receive_ahead(lock.view.buf, bytes);
        } else if (ahead) {
            value.storage = place.receive_ahead(lock.view.buf, bytes);
        }
        if (ahead) return value;
        value.storage = place.allocate(bytes);
    } catch (const OutOfMemory& error) {
        const std::string shape = nb::cast<std::string>(nb::str(nb::handle(value.desc->shape_tuple)));
        const std::string dtype_name(info(dtype).name);
        throw OutOfMemory(error.bytes, error.live, "a tensor of " + dtype_name + " and shape " + shape, error.device);
    }
    if (bytes >= kReleaseGilBytes) {
        nb::gil_scoped_release released;
        place.copy_in(value.storage->data, lock.view.buf, bytes);
    } else if (bytes) {
        place.copy_in(value.storage->data, lock.view.buf, bytes);
    }
    return value;
}

void bind_interop(nb::module_& module) {
    load_numpy();
    static const PyType_Slot slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(export_bytes)}, {0, nullptr}};
    nb::class_<Buffer>(module, "_Buffer", nb::type_slots(slots), "The bytes of a tensor's storage.");
}

void bind_tensor_interop(nb::class_<Tensor> cls) {
    cls.def(
           "_assign",
           [](nb::handle self, nb::handle array, const std::string& dtype, const std::string& device, bool ahead,
              const std::vector<size_t>& order) {
               Value value = copy_array(array, parse_dtype(dtype), device, ahead);
               if (!order.empty()) value.desc = reordered(value.desc, order);
               Value& mine = tensor_of(self.ptr())->value;
               if (mine.empty()) {
                   mine = std::move(value);
               } else {
                   take_value(self, wrap(std::move(value)));
               }
           },
           nb::arg("array"), nb::arg("dtype"), nb::arg("device") = "cpu0", nb::arg("ahead") = false,
           nb::arg("order") = std::vector<size_t>(),
           "Take a copy of a C-contiguous NumPy array (bfloat16 as uint16) as the value. ahead: it is used only later. "
           "order: which dim of the array each dim of the value is, unless they are the same.")
        .def(
            "_array",
            [](Tensor& self) {
                const Value value = fetched(readable(self));
                return numpy_view(value.storage, value.offset, value.desc, false);
            },
            "A read-only NumPy view of the value, or of a copy if it is not in the host's memory (bfloat16 as uint16).")
        .def(
            "_dlpack_device", [](nb::handle self) { return device_named(value_of(self).desc->device).dlpack(); },
            "The device that holds the value, as DLPack has it: a type and a number.")
        .def("_to_dlpack", to_dlpack, "A DLPack capsule that shares the value's memory; options as of __dlpack__.")
        .def_static("_from_dlpack", from_dlpack, nb::arg("array").none(),
                    "A tensor that shares the memory of a DLPack capsule, or of an object with __dlpack__.");
}

}  // namespace tengen
