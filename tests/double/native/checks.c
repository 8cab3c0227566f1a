// What translated code asks before it touches memory, and what the lanes of a warp do together.
#include <stdio.h>
#include <string.h>

#include "kernels.h"

// -- races on shared memory ------------------------------------------------------------------------------------------
// Who touched a byte last. Two threads race if both touch it, one writes, and no barrier is between.
typedef struct {
    uint64_t epoch;
    int16_t writer, reader;  // number of the thread + 1; SEVERAL for readers of more than one warp
    int16_t reader_warp;
    bool atomic;
    uint32_t writer_epoch, reader_epoch;  // of their warps
} Touch;
enum { SEVERAL = -1 };
static Touch touched[SHARED_MOST];

static const char* const verbs[] = {"reads", "writes", "updates"};
enum { READ, WRITE, UPDATE };

static void race(Thread* thread, uint32_t line, uint32_t byte, int how, int other, const char* did) {
    char who[32] = "threads of several warps";
    if (other != SEVERAL) {
        const uint32_t* s = launch.thread[other - 1].special;
        snprintf(who, sizeof who, "thread (%u, %u, %u)", s[TID], s[TID + 1], s[TID + 2]);
    }
    fault(LAUNCH_FAILED, thread, line,
          "race on byte %u of shared memory: this thread %s it, %s %s, and no barrier is between", byte, verbs[how],
          who, did);
    leave_kernel(thread);
}

static void note_shared(Thread* thread, uint32_t first, uint32_t bytes, int how, uint32_t line) {
    int16_t me = (int16_t)(thread->number + 1), warp = (int16_t)(thread->number / WARP + 1);
    uint32_t warp_epoch = launch.warp_epoch[warp - 1];
    for (uint32_t byte = first; byte < first + bytes; ++byte) {
        Touch* t = &touched[byte];
        if (t->epoch != launch.epoch) *t = (Touch){.epoch = launch.epoch};
        bool other_wrote = t->writer && t->writer != me && !(how == UPDATE && t->atomic);
        bool wrote_before = (t->writer - 1) / WARP + 1 == warp && t->writer_epoch < warp_epoch;
        if (other_wrote && !wrote_before) race(thread, line, byte, how, t->writer, "wrote");
        bool other_read = how != READ && t->reader && t->reader != me;
        bool read_before = t->reader_warp == warp && t->reader_epoch < warp_epoch;
        if (other_read && !read_before)
            race(thread, line, byte, how, t->reader_warp == SEVERAL ? SEVERAL : t->reader, "read");
        if (how != READ) {
            t->writer = me;
            t->writer_epoch = warp_epoch;
            t->atomic = how == UPDATE;
        } else {
            // With readers of one warp, the last speaks for all: they were in one stretch between barriers of the warp.
            t->reader_warp = !t->reader || t->reader_warp == warp ? warp : SEVERAL;
            t->reader = t->reader && t->reader != me ? SEVERAL : me;
            t->reader_epoch = warp_epoch;
        }
    }
}

// -- addresses -------------------------------------------------------------------------------------------------------
void begin_checks(void) { memset(launch.hot, 0, sizeof launch.hot); }

static void misplaced(Thread* thread, uint64_t address, uint32_t bytes, int how, uint32_t line, const char* where,
                      uint64_t room) {
    fault(ILLEGAL_ADDRESS, thread, line, "%s %u bytes at %lld of the %llu bytes of %s memory", verbs[how], bytes,
          (long long)address, (unsigned long long)room, where);
    leave_kernel(thread);
}

static char* global_place(Thread* thread, uint64_t address, uint32_t bytes, int how, uint32_t line) {
    Span* hot = &launch.hot[line % 64];
    if (address - hot->low < hot->bytes && bytes <= hot->bytes - (address - hot->low))
        return (char*)(address + hot->offset);
    if (span_for_kernel(launch.context, address, bytes, hot)) return (char*)(address + hot->offset);
    char text[200];
    describe_address(address, bytes, text, sizeof text);
    fault(ILLEGAL_ADDRESS, thread, line, "device %d %s %u bytes at %s", launch.context->device, verbs[how], bytes,
          text);
    leave_kernel(thread);
    return NULL;
}

// Where the bytes of an address are. `what` is the number of bytes, the space (<< 8) and how it is touched (<< 16).
API char* double_place(Thread* thread, uint64_t address, uint32_t what, uint32_t line) {
    uint32_t bytes = what & 255, space = what >> 8 & 255, how = what >> 16;
    uint32_t step = bytes & -bytes;
    if (address % step) {
        fault(MISALIGNED_ADDRESS, thread, line, "%s %u bytes at 0x%llx, which is no multiple of %u", verbs[how], bytes,
              (unsigned long long)address, step);
        leave_kernel(thread);
    }
    if (space == GENERIC_SPACE) {
        space = GLOBAL_SPACE;
        for (uint32_t i = 0; i < 3; ++i)
            if (address - thread->windows[i] < 1 << 20) {
                address -= thread->windows[i];
                space = i;
                break;
            }
    }
    if (space == GLOBAL_SPACE) return global_place(thread, address, bytes, (int)how, line);
    uint64_t room = space == SHARED_SPACE  ? launch.shared_bytes
                    : space == LOCAL_SPACE ? thread->local_bytes
                                           : launch.function->param_bytes;
    const char* name = space == SHARED_SPACE ? "shared" : space == LOCAL_SPACE ? "local" : "parameter";
    if (address >= room || bytes > room - address) misplaced(thread, address, bytes, (int)how, line, name, room);
    if (space == LOCAL_SPACE) return thread->local + address;
    if (space == PARAM_SPACE) return (char*)launch.params + address;
    note_shared(thread, (uint32_t)address, bytes, (int)how, line);
    return shared_memory + address;
}

// -- what the lanes of a warp do together ----------------------------------------------------------------------------
enum { SHUFFLE_UP, SHUFFLE_DOWN, SHUFFLE_BFLY, SHUFFLE_IDX, WARP_BARRIER, VOTE };

// shfl.sync: posted[0] the value, [1] and [2] the operands b and c. Results: [0] the value, [1] whether it is another
// lane's. PTX ISA, section shfl.sync.
static void shuffle(Thread** lanes, uint32_t mask) {
    uint32_t value[WARP] = {0};
    for (uint32_t i = 0; i < WARP; ++i)
        if (mask >> i & 1) value[i] = lanes[i]->posted[0];
    for (uint32_t lane = 0; lane < WARP; ++lane) {
        if (!(mask >> lane & 1)) continue;
        Thread* t = lanes[lane];
        uint32_t b = t->posted[1] & 31, clamp = t->posted[2] & 31, segment = t->posted[2] >> 8 & 31;
        int most = (int)((lane & segment) | (clamp & ~segment)), least = (int)(lane & segment), from = (int)lane;
        bool in_range = false;
        if (t->kind == SHUFFLE_UP) from = (int)lane - (int)b, in_range = from >= most;
        if (t->kind == SHUFFLE_DOWN) from = (int)(lane + b), in_range = from <= most;
        if (t->kind == SHUFFLE_BFLY) from = (int)(lane ^ b), in_range = from <= most;
        if (t->kind == SHUFFLE_IDX) from = least | (int)(b & ~segment), in_range = from <= most;
        if (!in_range) from = (int)lane;
        if (!(mask >> from & 1))
            fault(LAUNCH_FAILED, t, t->line, "lane %u reads lane %d, which is not in the mask 0x%x", lane, from, mask);
        t->posted[0] = value[from & 31];
        t->posted[1] = in_range;
    }
}

// vote.sync: posted[0] the predicate. Result: [0] a bit for each lane in which it holds.
static void vote(Thread** lanes, uint32_t mask) {
    uint32_t ballot = 0;
    for (uint32_t i = 0; i < WARP; ++i)
        if (mask >> i & 1 && lanes[i]->posted[0]) ballot |= 1u << i;
    for (uint32_t i = 0; i < WARP; ++i)
        if (mask >> i & 1) lanes[i]->posted[0] = ballot;
}

bool finish_collective(Thread** lanes, int count, uint32_t mask) {
    int first = __builtin_ctz(mask);
    uint32_t kind = lanes[first]->kind;
    (void)count;
    if (kind == VOTE)
        vote(lanes, mask);
    else if (kind == WARP_BARRIER)
        ++launch.warp_epoch[lanes[first]->number / WARP];
    else
        shuffle(lanes, mask);
    for (uint32_t i = 0; i < WARP; ++i)
        if (mask >> i & 1) lanes[i]->state = READY;
    return true;
}
