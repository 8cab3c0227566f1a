// Copies of a storage's values in the layouts that kernels want, kept beside it. A weight that is used again and again
// is packed once; the copies go when the values change or the storage does.
#pragma once

#include <memory>
#include <vector>

#include "storage.h"

namespace tengen {

// Says how a copy was made: by which kernel, from where in the storage, with which sizes and strides.
struct RepackedKey {
    const void* kernel;
    int64_t offset;
    const std::vector<int64_t>& params;
};

struct Repacked {
    const void* kernel;
    int64_t offset;
    std::vector<int64_t> params;
    Ref<Storage> data;  // none until the copy has been wanted twice: most values are used once
    Repacked* next;

    // The entry of this key, or null.
    static Repacked* find(const Storage& storage, const RepackedKey& key);
    // Notes that `data` was made for this key; the second time it is kept.
    static void note(Storage& storage, const RepackedKey& key, const Ref<Storage>& data);
};

}  // namespace tengen
