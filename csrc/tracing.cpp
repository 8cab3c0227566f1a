#include "tracing.h"

#include <stdexcept>
#include <utility>

namespace tengen {

namespace {

thread_local Tracing* running = nullptr;

}  // namespace

Tracing* Tracing::current() { return running; }

Tracing* Tracing::exchange(Tracing* next) { return std::exchange(running, next); }

Pending& behind(const Storage& storage) { return *static_cast<Pending*>(storage.owner); }

Ref<Storage> make_pending(nb::handle keep, Tracing& tracing) {
    auto release = [](void* owner) { delete static_cast<Pending*>(owner); };
    return Storage::adopt(nullptr, 0, new Pending{nb::borrow(keep), &tracing, {}}, release);
}

void settle_for_use(Value& value) {
    const bool waits = running && running->slot_of(value) >= 0 && behind(*value.storage).keep.is_valid();
    if (!waits) settle(value);
}

void settle_for_reading(Tensor& tensor) {
    if (running) running->read(tensor);
    settle(tensor.value);
}

void settle(Value& value) {
    if (!is_pending(value)) return;
    const Ref<Storage> storage = value.storage;  // its owner lives as long as this
    Pending& pending = behind(*storage);
    if (pending.result.empty() && pending.keep.is_valid()) {
        const nb::object keep = pending.keep;  // the call may end meanwhile
        pending.tracing->flush();
    }
    if (pending.result.empty()) {
        throw std::runtime_error("this tensor was never computed, because the traced function that would have failed");
    }
    value.storage = pending.result.storage;
    value.offset = pending.result.offset;
    value.desc = pending.result.desc;
}

}  // namespace tengen
