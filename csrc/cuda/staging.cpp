#include "cuda/staging.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace tengen::cuda {

namespace {

constexpr unsigned kPortable = 1;       // CU_MEMHOSTALLOC_PORTABLE
constexpr unsigned kDisableTiming = 2;  // CU_EVENT_DISABLE_TIMING
constexpr size_t kAlign = 64;

}  // namespace

void Staging::copy_in(const std::string& device, Stream stream, Address to, const std::byte* from, size_t bytes) {
    const std::lock_guard lock(mutex_);
    if (!parts_[0].memory) open(device);
    while (bytes) {
        if (used_ >= kPart) next_part(device, stream);
        std::byte* const memory = parts_[current_].memory + used_;
        const size_t now = std::min(bytes, kPart - used_);
        std::memcpy(memory, from, now);
        check(device, "cuMemcpyHtoDAsync", driver().copy_in(to, memory, now, stream));
        used_ += (now + kAlign - 1) / kAlign * kAlign;
        to += now;
        from += now;
        bytes -= now;
    }
}

void Staging::open(const std::string& device) {
    void* memory = nullptr;
    check(device, "cuMemHostAlloc", driver().allocate_host(&memory, kParts * kPart, kPortable));
    for (size_t i = 0; i < kParts; ++i) {
        check(device, "cuEventCreate", driver().create_event(&parts_[i].done, kDisableTiming));
        parts_[i].memory = static_cast<std::byte*>(memory) + i * kPart;
    }
}

void Staging::next_part(const std::string& device, Stream stream) {
    check(device, "cuEventRecord", driver().record(parts_[current_].done, stream));
    parts_[current_].recorded = true;
    current_ = (current_ + 1) % kParts;
    used_ = 0;
    Part& part = parts_[current_];
    if (!part.recorded) return;
    check(device, "cuEventSynchronize", driver().synchronize_event(part.done));
    part.recorded = false;
}

void Answer::begin(const std::string& device, Stream stream, Address from, size_t bytes) {
    if (bytes > kMost) throw std::runtime_error("an answer of a device is too long");
    if (!done_) {
        void* memory = nullptr;
        check(device, "cuMemHostAlloc", driver().allocate_host(&memory, kMost, kPortable));
        memory_ = static_cast<std::byte*>(memory);
        check(device, "cuEventCreate", driver().create_event(&done_, kDisableTiming));
    }
    check(device, "cuMemcpyDtoHAsync", driver().copy_out(memory_, from, bytes, stream));
    check(device, "cuEventRecord", driver().record(done_, stream));
}

const std::byte* Answer::find() const {
    return done_ && driver().query_event(done_) == kSuccess ? memory_ : nullptr;  // a wait will say what has failed
}

}  // namespace tengen::cuda
