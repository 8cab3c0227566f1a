#include "spans.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace tengen {

void Spans::add(char* start, size_t size, bool apart) {
    const auto entry = free_.insert({size, requests_, start}).first;
    spans_.emplace(start, Span{size, apart, entry, {}});
    free_bytes_ += size;
}

char* Spans::take(size_t bytes) {
    ++requests_;
    const auto found = free_.lower_bound({bytes, UINT64_MAX, nullptr});
    if (found == free_.end()) return nullptr;
    auto [size, since, start] = *found;
    if (size > bytes) {
        const auto rest = free_.insert({size - bytes, since, start + bytes}).first;
        spans_.emplace(start + bytes, Span{size - bytes, false, rest, {}});
    }
    free_bytes_ -= bytes;
    Span& span = spans_.find(start)->second;
    span.size = bytes;
    span.waiting = free_.extract(found);
    span.free = free_.end();
    return start;
}

// Joins two neighbours in one span, if they touch.
bool Spans::absorb(Places::iterator low, Places::iterator high) {
    Span& span = low->second;
    if (low->first + span.size != high->first || high->second.apart) return false;
    span.size += high->second.size;
    spans_.erase(high);
    return true;
}

void Spans::give_back(char* start) noexcept {
    auto here = spans_.find(start);
    free_bytes_ += here->second.size;
    auto node = std::move(here->second.waiting);
    if (auto next = std::next(here); next != spans_.end() && next->second.free != free_.end()) {
        const auto entry = next->second.free;
        if (absorb(here, next)) free_.erase(entry);
    }
    if (here != spans_.begin()) {
        auto previous = std::prev(here);
        const auto entry = previous->second.free;
        if (entry != free_.end() && absorb(previous, here)) {
            free_.erase(entry);
            here = previous;
        }
    }
    node.value() = {here->second.size, requests_, here->first};
    here->second.free = free_.insert(std::move(node)).position;
}

Spans::Piece Spans::drop(size_t bytes) noexcept {
    const auto oldest = std::min_element(free_.begin(), free_.end(),
                                         [](const FreeSpan& a, const FreeSpan& b) { return a.since < b.since; });
    auto node = free_.extract(oldest);
    auto& [size, since, start] = node.value();
    const size_t gone = std::min(size, bytes);
    size -= gone;
    const Piece piece{start + size, gone};
    free_bytes_ -= gone;
    const auto span = spans_.find(start);
    if (size) {
        span->second.size = size;
        span->second.free = free_.insert(std::move(node)).position;
    } else {
        spans_.erase(span);
    }
    return piece;
}

bool Spans::drop_region(char* start, size_t size) noexcept {
    const auto found = spans_.find(start);
    if (found == spans_.end() || found->second.free == free_.end() || found->second.size != size) return false;
    free_.erase(found->second.free);
    spans_.erase(found);
    free_bytes_ -= size;
    return true;
}

}  // namespace tengen
