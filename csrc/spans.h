// Large blocks of an allocator: spans cut from regions. A block takes the smallest free span that holds it, and free
// spans are joined with free neighbours. Nothing is written into the memory, so it may be that of any device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>

namespace tengen {

class Spans {
  public:
    // A new free region. `apart`: it is never joined with the one before it.
    void add(char* start, size_t size, bool apart);
    // A block of that many bytes, or null if no free span holds it.
    char* take(size_t bytes);
    void give_back(char* start) noexcept;
    // Forgets up to `bytes` at the end of the free span that has been unused for longest, or all of it if it is
    // smaller. There must be one.
    struct Piece {
        char* start;
        size_t size;
    };
    Piece drop(size_t bytes) noexcept;
    // Forgets a whole region; false if any of it is handed out.
    bool drop_region(char* start, size_t size) noexcept;

    size_t free_bytes() const { return free_bytes_; }

  private:
    struct FreeSpan {
        size_t size;
        uint64_t since;  // the number of the request before which it became free
        char* start;
    };
    // By size; among equals the most recently used comes first, because parts of it may be in a cache.
    struct Order {
        bool operator()(const FreeSpan& a, const FreeSpan& b) const {
            if (a.size != b.size) return a.size < b.size;
            return a.since != b.since ? a.since > b.since : a.start < b.start;
        }
    };
    using FreeSpans = std::set<FreeSpan, Order>;
    struct Span {
        size_t size;
        bool apart;
        FreeSpans::iterator free;      // end() while it is handed out
        FreeSpans::node_type waiting;  // its entry at that time, so that giving it back never allocates
    };
    using Places = std::map<char*, Span>;

    bool absorb(Places::iterator low, Places::iterator high);

    Places spans_;  // handed out or free, by place
    FreeSpans free_;
    size_t free_bytes_ = 0;
    uint64_t requests_ = 0;
};

}  // namespace tengen
