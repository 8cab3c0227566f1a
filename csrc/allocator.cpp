#include "allocator.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <new>
#include <thread>
#include <utility>

namespace tengen {

namespace {

constexpr size_t kHugePage = 2 << 20;
constexpr size_t kRegion = 32 << 20;       // at least; pages are only taken when they are touched
constexpr size_t kCacheFloor = 256 << 20;  // free large blocks are not trimmed below this
constexpr size_t kPeakDecay = 1 << 12;     // after this many large requests, most of a peak is forgotten

}  // namespace

OutOfMemory::OutOfMemory(size_t bytes, size_t live, const std::string& purpose, const std::string& device)
    : bytes(bytes),
      live(live),
      device(device),
      text_("out of memory" + (device.empty() ? "" : " on " + device) + ": " + purpose + " needs " +
            std::to_string(bytes) + " bytes; tensors hold " + std::to_string(live) + " bytes" +
            (device.empty() ? ", and the system gives no more" : " there, and the driver gives no more")) {}

class Allocator::Guard {
  public:
    explicit Guard(Allocator& owner) : flag_(owner.busy_) {
        while (flag_.test_and_set(std::memory_order_acquire)) std::this_thread::yield();
    }
    ~Guard() { flag_.clear(std::memory_order_release); }

  private:
    std::atomic_flag& flag_;
};

Allocator& Allocator::instance() {
    static Allocator& allocator = *new Allocator;  // never destroyed: tensors may outlive static destructors
    return allocator;
}

void* Allocator::allocate(size_t block) {
    Guard guard(*this);
    void* memory;
    try {
        memory = block < kLarge ? allocate_small(block) : allocate_large(block);
    } catch (const std::bad_alloc&) {
        throw OutOfMemory(block, stats_.live, "a tensor");
    }
    ++counts_.allocations;
    stats_.live += block;
    stats_.peak = std::max(stats_.peak, stats_.live);
    return memory;
}

void Allocator::release(void* memory, size_t block) noexcept {
    Guard guard(*this);
    stats_.live -= block;
    if (block >= kLarge) return large_.give_back(static_cast<char*>(memory));
    FreeBlock*& head = free_small_[class_of(block)];
    head = new (memory) FreeBlock{head};
}

void* Allocator::allocate_small(size_t block) {
    FreeBlock*& head = free_small_[class_of(block)];
    if (FreeBlock* found = head) {
        head = found->next;
        return found;
    }
    refill(block);
    chunk_left_ -= block;
    return std::exchange(chunk_, chunk_ + block);
}

// Makes the current chunk hold at least `block` bytes. What is left of the old chunk becomes free blocks.
void Allocator::refill(size_t block) {
    if (chunk_left_ >= block) return;
    void* fresh = map(kChunk);
    while (chunk_left_ >= kAlign) {
        size_t piece = std::min(std::bit_floor(chunk_left_), kLarge / 2);
        FreeBlock*& head = free_small_[class_of(piece)];
        head = new (chunk_) FreeBlock{head};
        chunk_ += piece;
        chunk_left_ -= piece;
    }
    chunk_ = static_cast<char*>(fresh);
    chunk_left_ = kChunk;
}

void* Allocator::allocate_large(size_t block) {
    const size_t live = stats_.live + block;
    recent_peak_ = std::max(live, recent_peak_ - (recent_peak_ - std::min(recent_peak_, live)) / kPeakDecay);
    if (char* start = large_.take(block)) return start;
    // A training step goes up to its peak and down again, and needs the same blocks next time. But a program whose
    // shapes keep changing must not keep everything it ever had.
    const size_t limit = std::max(kCacheFloor, recent_peak_ + recent_peak_ / 2);
    if (live + large_.free_bytes() > limit) drop_large(limit > live ? limit - live : 0);
    const size_t size = std::max(round_up(block, kHugePage), kRegion);
    large_.add(static_cast<char*>(map(size)), size, false);
    return large_.take(block);
}

// New pages, at a huge-page boundary if a huge page fits.
void* Allocator::map(size_t bytes) {
    const size_t slack = bytes >= kHugePage ? kHugePage : 0;
    auto obtain = [&] {
        return mmap(nullptr, bytes + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    };
    void* raw = obtain();
    if (raw == MAP_FAILED) {
        drop_large(0);
        raw = obtain();
        if (raw == MAP_FAILED) throw std::bad_alloc();
    }
    char* start = static_cast<char*>(raw);
    if (slack) {
        char* aligned = reinterpret_cast<char*>(round_up(reinterpret_cast<size_t>(start), kHugePage));
        const size_t before = aligned - start, after = slack - before;
        if (before) munmap(start, before);
        if (after) munmap(aligned + bytes, after);
        start = aligned;
#ifdef MADV_HUGEPAGE
        madvise(start, bytes, MADV_HUGEPAGE);  // only a hint: without huge pages everything works, but slower
#endif
    }
    ++counts_.mappings;
    stats_.reserved += bytes;
    return start;
}

// Gives free spans back, least recently used ones first, until at most `keep` bytes of them are left.
void Allocator::drop_large(size_t keep) noexcept {
    while (large_.free_bytes() > keep) {
        const auto [start, size] = large_.drop(round_up(large_.free_bytes() - keep, kHugePage));
        munmap(start, size);
        stats_.reserved -= size;
    }
}

MemoryStats Allocator::stats() {
    Guard guard(*this);
    return stats_;
}

MemoryCounts Allocator::counts() {
    Guard guard(*this);
    return counts_;
}

void Allocator::reset_peak() {
    Guard guard(*this);
    stats_.peak = stats_.live;
}

void Allocator::release_cached() noexcept {
    Guard guard(*this);
    drop_large(0);
}

}  // namespace tengen
