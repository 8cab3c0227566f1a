#include "cuda/stopwatch.h"

namespace tengen::cuda {

EventStopwatch::~EventStopwatch() {
    for (Event mark : marks_) driver().destroy_event(mark);
}

void EventStopwatch::mark() {
    Event made = nullptr;
    check(device_, "cuCtxSetCurrent", driver().set_context(context_));  // a step may have used another device
    check(device_, "cuEventCreate", driver().create_event(&made, 0));
    marks_.push_back(made);
    check(device_, "cuEventRecord", driver().record(made, stream_));
}

std::vector<double> EventStopwatch::seconds() {
    std::vector<double> found;
    if (marks_.empty()) return found;
    check(device_, "cuCtxSetCurrent", driver().set_context(context_));
    check(device_, "cuEventSynchronize", driver().synchronize_event(marks_.back()));
    for (size_t i = 1; i < marks_.size(); ++i) {
        float milliseconds = 0;
        check(device_, "cuEventElapsedTime", driver().elapsed(&milliseconds, marks_[i - 1], marks_[i]));
        found.push_back(1e-3 * milliseconds);
    }
    return found;
}

}  // namespace tengen::cuda
