// Owns all memory that tensors live in: a caching allocator of 64-byte aligned blocks.
//
// Small blocks (below 1 MiB) come in size classes carved from chunks and return to a free list of their class. Large
// blocks are mapped one by one, on huge pages where the system grants them, and kept for reuse: fresh pages cost a
// fault and a clearing each, which for a training step that allocates the same sizes again and again is most of the
// price.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>

namespace tengen {

struct MemoryStats {
    size_t live = 0;      // bytes in blocks that are handed out
    size_t peak = 0;      // the largest `live` since the last reset
    size_t reserved = 0;  // bytes obtained from the system
};

// What has happened since the process began.
struct MemoryCounts {
    size_t allocations = 0;  // blocks handed out
    size_t mappings = 0;     // pieces of memory obtained from the system
};

class Allocator {
  public:
    static Allocator& instance();

    // What a request for `bytes` really gets.
    static size_t block_size(size_t bytes);

    // Throws std::bad_alloc when the system has no memory left, even after the cache was given back.
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

    static constexpr size_t kClasses = 55;

    std::atomic_flag busy_;
    FreeBlock* free_small_[kClasses] = {};
    // Free large blocks of one size, and when one of them was last wanted.
    struct FreeList {
        FreeBlock* head = nullptr;
        uint64_t wanted = 0;
    };

    std::map<size_t, FreeList> free_large_;  // by size; an entry once made stays, so releasing never allocates
    size_t free_large_bytes_ = 0;
    uint64_t large_requests_ = 0;
    size_t recent_peak_ = 0;  // of live bytes, which it falls back to over some thousands of large requests
    char* chunk_ = nullptr;
    size_t chunk_left_ = 0;
    MemoryStats stats_;
    MemoryCounts counts_;
};

}  // namespace tengen
