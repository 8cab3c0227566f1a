// What the slots of a Plan are bound to in one run.
#pragma once

#include "plan.h"

namespace tengen {

struct Slots {
    // The memory behind an allocation slot.
    struct Buffer {
        Ref<Storage> storage;
        int64_t offset = 0;
        bool filled = false;  // it already holds what the steps with its `skip_if` would write
    };

    Slots(const Plan& plan, Operands& inputs)
        : plan(plan), inputs(inputs), buffers(plan.allocations.size()), base(plan.status_slot() + 1) {}

    Buffer& buffer_of(size_t slot) { return buffers[slot - plan.input_count]; }
    const Buffer& buffer_of(size_t slot) const { return buffers[slot - plan.input_count]; }
    bool is_filled(int64_t slot) const { return slot >= 0 && buffer_of(static_cast<size_t>(slot)).filled; }

    const Plan& plan;
    Operands& inputs;
    SmallArray<Buffer, 4> buffers;
    SmallArray<std::byte*, 16> base;  // the address of each slot
    bool timed = false;               // each step runs by itself, but for launches that are joined
};

}  // namespace tengen
