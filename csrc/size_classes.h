// The sizes of blocks that allocators hand out: small ones come in classes, large ones in steps.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>

namespace tengen {

inline constexpr size_t kAlign = 64;
inline constexpr size_t kFine = 1024;      // up to here classes are kAlign apart, above it four per doubling
inline constexpr size_t kLarge = 1 << 20;  // from here on blocks are cut from regions
inline constexpr size_t kChunk = 2 << 20;  // small ones are carved from pieces of this size
inline constexpr size_t kStep = 64 << 10;  // of the size of large blocks
inline constexpr size_t kClasses = 55;

constexpr size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

// Rounded up to four steps per power of two, so at most a fifth of a block is unused.
constexpr size_t quarter_steps(size_t bytes) { return round_up(bytes, std::bit_floor(bytes - 1) / 4); }

// The size that a request for `bytes` really gets.
constexpr size_t block_size(size_t bytes) {
    if (bytes <= kFine) return std::max(round_up(bytes, kAlign), kAlign);
    // Large blocks are reused for requests of other sizes too.
    return bytes < kLarge ? round_up(quarter_steps(bytes), kAlign) : round_up(bytes, kStep);
}

constexpr size_t class_of(size_t block) {
    if (block <= kFine) return block / kAlign - 1;
    const size_t doubling = std::bit_width(block - 1) - 11;  // 0 for (1024, 2048]
    const size_t base = kFine << doubling;
    return kFine / kAlign + 4 * doubling + (block - base) / (base / 4) - 1;
}

static_assert(class_of(kFine) == 15 && class_of(1280) == 16 && class_of(2048) == 19);
static_assert(class_of(block_size(kLarge - 1)) < kClasses || block_size(kLarge - 1) == kLarge);

}  // namespace tengen
