#include "cuda/cuda_memory.h"

#include <cstdlib>
#include <functional>
#include <string_view>

#include "cuda/driver.h"

namespace tengen::cuda {

namespace {

constexpr size_t kRegion = 64 << 20;  // at least, if the device has so much left
constexpr size_t kPage = 2 << 20;     // the driver's memory comes in pages of this size

bool caches() {
    const char* setting = std::getenv("TENGEN_GPU_CACHE");
    return !setting || std::string_view(setting) != "0";
}

}  // namespace

Memory::Memory(std::string device) : device_(std::move(device)), cached_(caches()) {}

char* Memory::allocate(size_t block) {
    const std::lock_guard lock(mutex_);
    free_released();
    char* memory = !cached_ ? obtain(block) : block < kLarge ? allocate_small(block) : allocate_span(block);
    if (!memory) throw OutOfMemory(block, stats_.live, "a tensor", device_);
    ++counts_.allocations;
    stats_.live += block;
    stats_.peak = std::max(stats_.peak, stats_.live);
    return memory;
}

void Memory::release(char* memory, size_t block) noexcept {
    const std::lock_guard lock(mutex_);
    stats_.live -= block;
    if (!cached_) return released_.emplace_back(memory, block), void();
    if (block >= kLarge) return large_.give_back(memory);
    std::vector<char*>& free = free_small_[class_of(block)];
    free.push_back(memory);
    std::push_heap(free.begin(), free.end(), std::greater<>());
}

char* Memory::allocate_small(size_t block) {
    std::vector<char*>& free = free_small_[class_of(block)];
    if (!free.empty()) {
        std::pop_heap(free.begin(), free.end(), std::greater<>());
        char* found = free.back();
        free.pop_back();
        return found;
    }
    if (chunk_left_ < block) {
        char* fresh = allocate_span(kChunk);
        if (!fresh) return nullptr;
        chunk_ = fresh;  // what is left of the one before is lost: less than a block of one class
        chunk_left_ = kChunk;
    }
    chunk_left_ -= block;
    return std::exchange(chunk_, chunk_ + block);
}

// Null if the device has no memory left.
char* Memory::allocate_span(size_t bytes) {
    if (char* found = large_.take(bytes)) return found;
    const size_t least = round_up(bytes, kPage);
    for (size_t wanted : {std::max(least, kRegion), least, size_t{0}}) {
        if (!wanted) drop_regions();  // the last try, with all that the device can have
        const size_t size = wanted ? wanted : least;
        if (char* start = obtain(size)) {
            large_.add(start, size, true);
            regions_.emplace(start, size);
            return large_.take(bytes);
        }
    }
    return nullptr;
}

char* Memory::obtain(size_t bytes) {
    Address address = 0;
    const Result result = driver().allocate(&address, bytes);
    if (result == kOutOfMemory) return nullptr;
    check(device_, "cuMemAlloc", result);
    ++counts_.mappings;
    stats_.reserved += bytes;
    return reinterpret_cast<char*>(address);
}

// Regions that no block is in go back to the driver, which waits for what runs.
void Memory::drop_regions() noexcept {
    std::erase_if(regions_, [this](const auto& region) {
        const auto [start, size] = region;
        if (!large_.drop_region(start, size)) return false;
        driver().free(reinterpret_cast<Address>(start));
        stats_.reserved -= size;
        return true;
    });
}

void Memory::free_released() noexcept {
    for (const auto& [memory, size] : released_) {
        driver().free(reinterpret_cast<Address>(memory));
        stats_.reserved -= size;
    }
    released_.clear();
}

void Memory::release_cached() noexcept {
    const std::lock_guard lock(mutex_);
    free_released();
    drop_regions();
}

MemoryStats Memory::stats() {
    const std::lock_guard lock(mutex_);
    return stats_;
}

MemoryCounts Memory::counts() {
    const std::lock_guard lock(mutex_);
    return counts_;
}

void Memory::reset_peak() {
    const std::lock_guard lock(mutex_);
    stats_.peak = stats_.live;
}

}  // namespace tengen::cuda
