#include "cuda/ahead.h"

#include <algorithm>

namespace tengen::cuda {

namespace {

constexpr unsigned kNonBlocking = 1;    // CU_STREAM_NON_BLOCKING
constexpr unsigned kDisableTiming = 2;  // CU_EVENT_DISABLE_TIMING

}  // namespace

std::pair<char*, size_t> Ahead::receive(const std::byte* from, size_t bytes, Stream compute) {
    const std::lock_guard lock(mutex_);
    if (!stream_) {
        check(device_, "cuEventCreate", driver().create_event(&arrived_, kDisableTiming));
        check(device_, "cuStreamCreate", driver().create_stream(&stream_, kNonBlocking));
    }
    const size_t block = memory_.block_of(bytes);
    char* memory = memory_.allocate(block);
    try {
        wait_for_users(memory, block);
        staging_.copy_in(device_, stream_, reinterpret_cast<Address>(memory), from, bytes);
        check(device_, "cuEventRecord", driver().record(arrived_, stream_));
        check(device_, "cuStreamWaitEvent", driver().wait_event(compute, arrived_, 0));
    } catch (...) {
        memory_.release(memory, block);
        throw;
    }
    return {memory, block};
}

// The stream waits for all that reads what lay there before.
void Ahead::wait_for_users(const char* memory, size_t block) {
    for (const Released& one : released_) {
        if (one.memory >= memory + block || memory >= one.memory + one.block) continue;
        check(device_, "cuStreamWaitEvent", driver().wait_event(stream_, one.done, 0));
    }
}

void Ahead::release(char* memory, size_t block, Stream compute) noexcept {
    const std::lock_guard lock(mutex_);
    Event done = nullptr;
    if (compute && driver().create_event(&done, kDisableTiming) == kSuccess) {
        while (released_.size() >= kMostReleased) forget_oldest();
        driver().record(done, compute);
        released_.push_back({memory, block, done});
    }
    memory_.release(memory, block);
}

void Ahead::forget_oldest() noexcept {
    driver().synchronize_event(released_.front().done);
    driver().destroy_event(released_.front().done);
    released_.erase(released_.begin());
}

void Ahead::release_cached() noexcept {
    const std::lock_guard lock(mutex_);
    while (!released_.empty()) forget_oldest();
    memory_.release_cached();
}

}  // namespace tengen::cuda
