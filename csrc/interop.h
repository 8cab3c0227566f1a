// Exchange of values with NumPy and, through DLPack, with other frameworks.
#pragma once

#include <string>

#include "tensor.h"

namespace tengen {

// A NumPy array that shares the memory and keeps it alive (bfloat16 as uint16).
nb::object numpy_view(const Ref<Storage>& storage, int64_t offset, const Descriptor* desc, bool writable);
// A new value with a copy of a C-contiguous array.
Value copy_array(nb::handle array, DType dtype, const std::string& device, bool ahead = false);

void bind_interop(nb::module_& module);
// Binds _assign, _array, _to_dlpack and _from_dlpack.
void bind_tensor_interop(nb::class_<Tensor> cls);

}  // namespace tengen
