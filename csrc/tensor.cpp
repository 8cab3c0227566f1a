#include "tensor.h"

#include "tape_number.h"

namespace tengen {

int64_t GradRefs::find_more(uint64_t tape) const {
    for (const GradRef& ref : *more_) {
        if (ref.tape == tape) return ref.slot;
    }
    return -1;
}

void GradRefs::set(uint64_t tape, int64_t slot) {
    if (first_.tape == tape || !TapeNumber::find(first_.tape)) {
        first_ = {tape, slot};
        if (more_) std::erase_if(*more_, [tape](const GradRef& ref) { return ref.tape == tape; });
        return;
    }
    if (!more_) more_ = std::make_unique<std::vector<GradRef>>();
    std::erase_if(*more_, [tape](const GradRef& ref) { return ref.tape == tape || !TapeNumber::find(ref.tape); });
    more_->push_back({tape, slot});
}

}  // namespace tengen
