// Values that come from the host while kernels run: batches for the next steps. They have a stream of their own, and
// memory of their own, because what the compute stream has let go of may still be read there.
#pragma once

#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "cuda/cuda_memory.h"
#include "cuda/driver.h"
#include "cuda/staging.h"

namespace tengen::cuda {

// The device's context must be the current one.
class Ahead {
  public:
    explicit Ahead(const std::string& device) : device_(device), memory_(device) {}

    // A block with these values, and its size. What is put into the stream `compute` from now on finds them there.
    std::pair<char*, size_t> receive(const std::byte* from, size_t bytes, Stream compute);
    // The block may be used again when what is in `compute` by now has run; null: at once.
    void release(char* memory, size_t block, Stream compute) noexcept;
    void release_cached() noexcept;

    Memory& memory() { return memory_; }

  private:
    struct Released {
        char* memory;
        size_t block;
        Event done;
    };
    static constexpr size_t kMostReleased = 64;

    void wait_for_users(const char* memory, size_t block);
    void forget_oldest() noexcept;

    const std::string device_;
    std::mutex mutex_;
    Stream stream_ = nullptr;
    Event arrived_ = nullptr;
    Memory memory_;
    Staging staging_;
    std::vector<Released> released_;  // blocks that may still be read, in this order
};

}  // namespace tengen::cuda
