#include "allocator.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <iterator>
#include <new>
#include <thread>
#include <utility>

namespace tengen {

namespace {

constexpr size_t kAlign = 64;
constexpr size_t kFine = 1024;      // up to here classes are kAlign apart, above it four per doubling
constexpr size_t kLarge = 1 << 20;  // from here on blocks are cut from regions
constexpr size_t kChunk = 2 << 20;
constexpr size_t kHugePage = 2 << 20;
constexpr size_t kRegion = 32 << 20;       // at least; pages are only taken when they are touched
constexpr size_t kStep = 64 << 10;         // of the size of large blocks
constexpr size_t kCacheFloor = 256 << 20;  // free large blocks are not trimmed below this
constexpr size_t kPeakDecay = 1 << 12;     // after this many large requests, most of a peak is forgotten

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

OutOfMemory::OutOfMemory(size_t bytes, size_t live, const std::string& purpose)
    : bytes(bytes),
      live(live),
      text_("out of memory: " + purpose + " needs " + std::to_string(bytes) + " bytes; tensors hold " +
            std::to_string(live) + " bytes, and the system gives no more") {}

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
    // Large blocks are reused for requests of other sizes too.
    return bytes < kLarge ? round_up(quarter_steps(bytes), kAlign) : round_up(bytes, kStep);
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
    if (block >= kLarge) return release_large(memory);
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
    ++large_requests_;
    const size_t live = stats_.live + block;
    recent_peak_ = std::max(live, recent_peak_ - (recent_peak_ - std::min(recent_peak_, live)) / kPeakDecay);
    auto found = free_spans_.lower_bound({block, UINT64_MAX, nullptr});
    if (found == free_spans_.end()) {
        // A training step goes up to its peak and down again, and needs the same blocks next time. But a program whose
        // shapes keep changing must not keep everything it ever had.
        const size_t limit = std::max(kCacheFloor, recent_peak_ + recent_peak_ / 2);
        if (live + free_large_bytes_ > limit) drop_large(limit > live ? limit - live : 0);
        const size_t size = std::max(round_up(block, kHugePage), kRegion);
        char* start = static_cast<char*>(map(size));
        found = free_spans_.insert({size, large_requests_, start}).first;
        spans_.emplace(start, Span{size, found, {}});
        free_large_bytes_ += size;
    }
    auto [size, since, start] = *found;
    if (size > block) {
        const auto rest = free_spans_.insert({size - block, since, start + block}).first;
        spans_.emplace(start + block, Span{size - block, rest, {}});
    }
    free_large_bytes_ -= block;
    Span& span = spans_.find(start)->second;
    span.size = block;
    span.waiting = free_spans_.extract(found);
    span.free = free_spans_.end();
    return start;
}

void Allocator::release_large(void* memory) noexcept {
    auto here = spans_.find(static_cast<char*>(memory));
    free_large_bytes_ += here->second.size;
    auto node = std::move(here->second.waiting);
    auto absorb = [&](Spans::iterator low, Spans::iterator high) {
        Span& span = low->second;
        if (low->first + span.size != high->first) return false;
        span.size += high->second.size;
        spans_.erase(high);
        return true;
    };
    if (auto next = std::next(here); next != spans_.end() && next->second.free != free_spans_.end()) {
        const auto entry = next->second.free;
        if (absorb(here, next)) free_spans_.erase(entry);
    }
    if (here != spans_.begin()) {
        auto previous = std::prev(here);
        const auto entry = previous->second.free;
        if (entry != free_spans_.end() && absorb(previous, here)) {
            free_spans_.erase(entry);
            here = previous;
        }
    }
    node.value() = {here->second.size, large_requests_, here->first};
    here->second.free = free_spans_.insert(std::move(node)).position;
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
    while (free_large_bytes_ > keep) {
        const auto oldest = std::min_element(free_spans_.begin(), free_spans_.end(),
                                             [](const FreeSpan& a, const FreeSpan& b) { return a.since < b.since; });
        auto node = free_spans_.extract(oldest);
        auto& [size, since, start] = node.value();
        const size_t gone = std::min(size, round_up(free_large_bytes_ - keep, kHugePage));
        size -= gone;
        munmap(start + size, gone);
        free_large_bytes_ -= gone;
        stats_.reserved -= gone;
        const auto span = spans_.find(start);
        if (size) {
            span->second.size = size;
            span->second.free = free_spans_.insert(std::move(node)).position;
        } else {
            spans_.erase(span);
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
