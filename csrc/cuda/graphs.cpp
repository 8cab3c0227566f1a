#include "cuda/graphs.h"

#include <algorithm>

namespace tengen::cuda {

namespace {

bool calls_python(const Plan& plan) {
    return std::any_of(plan.steps.begin(), plan.steps.end(),
                       [](const Step& step) { return std::holds_alternative<Host>(step); });
}

bool is_like(const Graphs::Run& run, size_t first, const Slots& slots) {
    if (run.first != first || !std::equal(run.base.begin(), run.base.end(), slots.base.begin())) return false;
    for (size_t i = 0; i < run.filled.size(); ++i) {
        if (run.filled[i] != slots.buffers[i].filled) return false;
    }
    return true;
}

}  // namespace

Graphs::Graphs(const Plan& plan) : usable_(!calls_python(plan)) {}

Graphs::~Graphs() {
    for (const Run& run : runs_) {
        if (run.executable) driver().destroy_executable(run.executable);  // once it has run
    }
}

Graphs::Run* Graphs::find(size_t first, const Slots& slots) {
    for (auto run = runs_.begin(); run != runs_.end(); ++run) {
        if (!is_like(*run, first, slots)) continue;
        std::rotate(runs_.begin(), run, run + 1);
        return &runs_.front();
    }
    Run made{first, {slots.base.begin(), slots.base.begin() + slots.plan.status_slot()}, {}};
    for (const Slots::Buffer& buffer : slots.buffers) made.filled.push_back(buffer.filled);
    if (runs_.size() == kMostRuns) {
        if (runs_.back().executable) driver().destroy_executable(runs_.back().executable);
        runs_.pop_back();
    }
    runs_.insert(runs_.begin(), std::move(made));
    return nullptr;
}

}  // namespace tengen::cuda
