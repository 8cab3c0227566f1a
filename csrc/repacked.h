// Copies of a storage's values in the layouts that kernels need, kept beside it. A weight that is used repeatedly is
// packed once. The copies are dropped when the values change or the storage is freed.
#pragma once

#include <memory>
#include <vector>

#include "storage.h"

namespace tengen {

// How a copy was made: by which kernel, from where in the storage, with which sizes and strides.
struct RepackedKey {
    const void* kernel;
    int64_t offset;
    const std::vector<int64_t>& params;
};

struct Repacked {
    const void* kernel;
    int64_t offset;
    std::vector<int64_t> params;
    Ref<Storage> data;  // none until the copy has been needed twice: most values are used once
    Repacked* next;

    // The entry of this key, or null.
    static Repacked* find(const Storage& storage, const RepackedKey& key);
    // Notes that `data` was made for this key; the second time it is kept.
    static void note(Storage& storage, const RepackedKey& key, const Ref<Storage>& data);
};

}  // namespace tengen
