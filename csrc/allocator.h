// Owns the memory of all tensors: a caching allocator of 64-byte aligned blocks.
//
// Small blocks (below 1 MiB) come in size classes carved from chunks and return to a free list of their class. Large
// blocks are cut from regions of huge pages, if the system grants them, and stay for reuse, because a fresh page costs
// a fault and must be cleared. Regions lie side by side in huge pages, with one fault for each page.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>

#include "size_classes.h"
#include "spans.h"

namespace tengen {

struct MemoryStats {
    size_t live = 0;      // bytes in blocks that are handed out
    size_t peak = 0;      // the largest `live` since the last reset
    size_t reserved = 0;  // bytes obtained from the system
};

// Counts since the process began.
struct MemoryCounts {
    size_t allocations = 0;  // blocks handed out
    size_t mappings = 0;     // pieces of memory obtained from the system
};

// Thrown when the system has no memory left, even after the cache was given back.
class OutOfMemory : public std::bad_alloc {
  public:
    // `live`: bytes that are handed out. `purpose`: what the bytes are for, such as "a tensor of float32 and shape (3,
    // 4)". `device`: whose memory it is, if not the host's.
    OutOfMemory(size_t bytes, size_t live, const std::string& purpose, const std::string& device = "");
    const char* what() const noexcept override { return text_.c_str(); }

    size_t bytes;
    size_t live;
    std::string device;

  private:
    std::string text_;
};

class Allocator {
  public:
    static Allocator& instance();

    // A block of a size that block_size gives. Throws OutOfMemory.
    void* allocate(size_t block);
    void release(void* memory, size_t block) noexcept;

    MemoryStats stats();
    MemoryCounts counts();
    void reset_peak();
    void release_cached() noexcept;

  private:
    struct FreeBlock {
        FreeBlock* next;
    };

    // Held for a few instructions only, so spinning beats the two system-library calls of a mutex.
    class Guard;

    void* allocate_small(size_t block);
    void* allocate_large(size_t block);
    void refill(size_t block);
    void* map(size_t bytes);
    void drop_large(size_t keep) noexcept;

    std::atomic_flag busy_;
    FreeBlock* free_small_[kClasses] = {};
    Spans large_;
    size_t recent_peak_ = 0;  // of live bytes; it decays to them over some thousands of large requests
    char* chunk_ = nullptr;
    size_t chunk_left_ = 0;
    MemoryStats stats_;
    MemoryCounts counts_;
};

}  // namespace tengen
