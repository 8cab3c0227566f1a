#include "repacked.h"

#include <utility>

namespace tengen {

namespace {

constexpr size_t kMostRepacked = 4;  // of one storage

}  // namespace

Repacked* Repacked::find(const Storage& storage, const RepackedKey& key) {
    for (Repacked* copy = storage.repacked; copy; copy = copy->next) {
        if (copy->kernel == key.kernel && copy->offset == key.offset && copy->params == key.params) return copy;
    }
    return nullptr;
}

void Repacked::note(Storage& storage, const RepackedKey& key, const Ref<Storage>& data) {
    if (Repacked* copy = find(storage, key)) {
        copy->data = data;
        return;
    }
    storage.repacked = new Repacked{key.kernel, key.offset, key.params, Ref<Storage>(), storage.repacked};
    Repacked* last = storage.repacked;
    for (size_t i = 1; i < kMostRepacked && last; ++i) last = last->next;
    if (last) delete std::exchange(last->next, nullptr);  // the oldest
}

void Storage::drop_repacked() {
    while (repacked) {
        const std::unique_ptr<Repacked> copy(repacked);
        repacked = copy->next;
    }
}

}  // namespace tengen
