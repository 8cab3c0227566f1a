// A Storage is one reference-counted piece of memory. Tensors, tapes and NumPy views share it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "device.h"

namespace tengen {

struct Repacked;

struct Storage {
    uint32_t refs = 0;
    bool exported = false;  // something outside may write to it
    size_t bytes = 0;
    std::byte* data = nullptr;
    size_t block = 0;                  // of the allocator; 0 for foreign memory
    Device* device = nullptr;          // whose memory it is; none: the host's
    void (*release)(void*) = nullptr;  // releases foreign memory
    void* owner = nullptr;
    Repacked* repacked = nullptr;  // the same values in other layouts

    // In the host's memory the header is in the first 64 bytes of the block, so a tensor costs one allocation.
    static constexpr size_t kHeader = 64;

    static Ref<Storage> create(size_t bytes) {
        const size_t block = block_size(bytes + kHeader);
        auto* memory = static_cast<std::byte*>(Allocator::instance().allocate(block));
        return Ref<Storage>(new (memory) Storage{0, false, bytes, memory + kHeader, block});
    }

    // Foreign memory, the host's unless a device is given. `release(owner)` is called when the last reference goes.
    static Ref<Storage> adopt(void* data, size_t bytes, void* owner, void (*release)(void*), Device* device = nullptr) {
        return Ref<Storage>(new Storage{0, false, bytes, static_cast<std::byte*>(data), 0, device, release, owner});
    }

    static void destroy(Storage* storage) {
        if (storage->repacked) storage->drop_repacked();
        if (storage->device && storage->block) [[unlikely]] {
            storage->device->release(storage);
            delete storage;
        } else if (storage->block) {
            Allocator::instance().release(storage, storage->block);
        } else {
            storage->release(storage->owner);
            delete storage;
        }
    }

    // Must be called before the values change.
    void drop_repacked();
};

static_assert(sizeof(Storage) <= Storage::kHeader);

}  // namespace tengen
