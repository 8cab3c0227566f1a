#include "allocator.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <new>
#include <thread>
#include <utility>

namespace tengen {

namespace {

constexpr size_t kAlign = 64;
constexpr size_t kFine = 1024;      // up to here classes are kAlign apart, above four to a doubling
constexpr size_t kLarge = 1 << 20;  // from here on a block is mapped by itself
constexpr size_t kChunk = 2 << 20;
constexpr size_t kHugePage = 2 << 20;
constexpr size_t kPage = 4096;
constexpr size_t kCacheFloor = 256 << 20;  // free large blocks are not trimmed below this
constexpr size_t kPeakDecay = 1 << 12;     // large requests in which most of a peak is forgotten

constexpr size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

// Rounded up to four steps per power of two, so at most a fifth of a block is unused.
constexpr size_t quarter_steps(size_t bytes) { return round_up(bytes, std::bit_floor(bytes - 1) / 4); }

constexpr size_t class_of(size_t block) {
    if (block <= kFine) return block / kAlign - 1;
    const size_t doubling = std::bit_width(block - 1) - 11;  // 0 for (1024, 2048]
    const size_t base = kFine << doubling;
    return kFine / kAlign + 4 * doubling + (block - base) / (base / 4) - 1;
}

static_assert(class_of(kFine) == 15 && class_of(1280) == 16 && class_of(2048) == 19);

}  // namespace

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

size_t Allocator::block_size(size_t bytes) {
    if (bytes <= kFine) return std::max(round_up(bytes, kAlign), kAlign);
    return round_up(quarter_steps(bytes), bytes < kLarge ? kAlign : kPage);
}

void* Allocator::allocate(size_t block) {
    Guard guard(*this);
    void* memory = block < kLarge ? allocate_small(block) : allocate_large(block);
    ++counts_.allocations;
    stats_.live += block;
    stats_.peak = std::max(stats_.peak, stats_.live);
    return memory;
}

void Allocator::release(void* memory, size_t block) noexcept {
    Guard guard(*this);
    stats_.live -= block;
    FreeBlock*& head = block < kLarge ? free_small_[class_of(block)] : free_large_.find(block)->second.head;
    head = new (memory) FreeBlock{head};
    if (block >= kLarge) free_large_bytes_ += block;
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
    // Only an equal block is reused: sizes are already rounded to a quarter, so similar requests are equal.
    FreeList& list = free_large_[block];
    list.wanted = ++large_requests_;
    const size_t live = stats_.live + block;
    recent_peak_ = std::max(live, recent_peak_ - (recent_peak_ - std::min(recent_peak_, live)) / kPeakDecay);
    if (FreeBlock* found = list.head) {
        list.head = found->next;
        free_large_bytes_ -= block;
        return found;
    }
    // A step of training goes up to its peak and down again, and wants the same blocks the next time. But a program
    // whose shapes keep changing must not keep every size that it ever had.
    const size_t limit = std::max(kCacheFloor, recent_peak_ + recent_peak_ / 2);
    if (live + free_large_bytes_ > limit) drop_large(limit > live ? limit - live : 0);
    return map(block);
}

// New pages, at a huge-page boundary where a huge page fits.
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
        madvise(start, bytes, MADV_HUGEPAGE);  // advice only: without huge pages everything works, slower
#endif
    }
    ++counts_.mappings;
    stats_.reserved += bytes;
    return start;
}

// Gives free large blocks back, those of the sizes that were not wanted for longest first, until at most `keep` bytes
// of them are left.
void Allocator::drop_large(size_t keep) noexcept {
    while (free_large_bytes_ > keep) {
        auto oldest = free_large_.end();
        for (auto entry = free_large_.begin(); entry != free_large_.end(); ++entry) {
            if (!entry->second.head) continue;
            if (oldest == free_large_.end() || entry->second.wanted < oldest->second.wanted) oldest = entry;
        }
        auto& [size, list] = *oldest;
        while (list.head && free_large_bytes_ > keep) {
            munmap(std::exchange(list.head, list.head->next), size);
            free_large_bytes_ -= size;
            stats_.reserved -= size;
        }
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
