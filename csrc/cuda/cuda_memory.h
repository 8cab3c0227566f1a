// Memory of one GPU. Blocks are cut from regions that the driver gives, in size classes and spans like those of the
// host's allocator, but nothing is written into free memory. A block that was released may be handed out at once, while
// kernels that use it still run: what uses it next runs after them, on the same stream.
//
// With TENGEN_GPU_CACHE=0 each block is one of the driver's, of exactly the bytes asked for: slow, but tools that look
// for accesses out of bounds (compute-sanitizer, tests/double) then see where a tensor ends.
#pragma once

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "allocator.h"

namespace tengen::cuda {

class Memory {
  public:
    explicit Memory(std::string device);

    // At least that many bytes. The device's context must be the current one, here and in release_cached. Throws
    // OutOfMemory.
    char* allocate(size_t block);
    void release(char* memory, size_t block) noexcept;
    // Waits for all that runs on the device.
    void release_cached() noexcept;

    // The size that a request really gets: a multiple of what a warp reads at once.
    size_t block_of(size_t bytes) const {
        return cached_ ? block_size(round_up(bytes, kUnit)) : std::max(bytes, size_t{1});
    }

    MemoryStats stats();
    MemoryCounts counts();
    void reset_peak();

  private:
    static constexpr size_t kUnit = 256;

    char* allocate_small(size_t block);
    char* allocate_span(size_t bytes);
    char* obtain(size_t bytes);
    void drop_regions() noexcept;
    void free_released() noexcept;

    const std::string device_;
    const bool cached_;
    std::mutex mutex_;
    // Heaps: the lowest address is handed out first, so a loop of steps gets the same addresses again and again, in
    // whatever order it releases them. Then its Plans run as graphs.
    std::array<std::vector<char*>, kClasses> free_small_;
    char* chunk_ = nullptr;
    size_t chunk_left_ = 0;
    Spans large_;
    std::map<char*, size_t> regions_;
    std::vector<std::pair<char*, size_t>> released_;  // without a cache: until the context is the current one again
    MemoryStats stats_;
    MemoryCounts counts_;
};

}  // namespace tengen::cuda
