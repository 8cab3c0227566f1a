// What translated code asks before it touches memory: bounds, and races on shared memory. And copies by cp.async.
#include <stdio.h>
#include <stdlib.h>
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

static bool race(Thread* thread, uint32_t line, uint32_t byte, int how, int other, const char* did) {
    char who[32] = "several others";
    if (other != SEVERAL) {
        const uint32_t* s = launch.thread[other - 1].special;
        snprintf(who, sizeof who, "thread (%u, %u, %u)", s[TID], s[TID + 1], s[TID + 2]);
    }
    fault(LAUNCH_FAILED, thread, line,
          "race on byte %u of shared memory: this thread %s it, %s %s, and no barrier is between", byte, verbs[how],
          who, did);
    return false;
}

// Bytes that a cp.async has been told to write and may write at any time: number of the thread + 1.
static int16_t in_flight[SHARED_MOST];

static bool note_shared(Thread* thread, uint32_t first, uint32_t bytes, int how, uint32_t line) {
    int16_t me = (int16_t)(thread->number + 1), warp = (int16_t)(thread->number / WARP + 1);
    uint32_t warp_epoch = launch.warp_epoch[warp - 1];
    for (uint32_t byte = first; byte < first + bytes; ++byte) {
        Touch* t = &touched[byte];
        if (in_flight[byte]) {
            fault(LAUNCH_FAILED, thread, line,
                  "%s byte %u of shared memory, which a cp.async of thread %d still writes", verbs[how], byte,
                  in_flight[byte] - 1);
            return false;
        }
        if (t->epoch != launch.epoch) *t = (Touch){.epoch = launch.epoch};
        bool other_wrote = t->writer && t->writer != me && !(how == UPDATE && t->atomic);
        bool wrote_before = (t->writer - 1) / WARP + 1 == warp && t->writer_epoch < warp_epoch;
        if (other_wrote && !wrote_before) return race(thread, line, byte, how, t->writer, "wrote");
        bool other_read = how != READ && t->reader && t->reader != me;
        bool read_before = t->reader_warp == warp && t->reader_epoch < warp_epoch;
        if (other_read && !read_before) return race(thread, line, byte, how, t->reader, "read");
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
    return true;
}

// -- addresses -------------------------------------------------------------------------------------------------------
void begin_checks(void) { memset(launch.hot, 0, sizeof launch.hot); }

static char* misplaced(Thread* thread, uint64_t address, uint32_t bytes, int how, uint32_t line, const char* where,
                       uint64_t room) {
    fault(ILLEGAL_ADDRESS, thread, line, "%s %u bytes at %lld of the %llu bytes of %s memory", verbs[how], bytes,
          (long long)address, (unsigned long long)room, where);
    return NULL;
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
    return NULL;
}

// Where the bytes of an address are; NULL after a fault.
char* place(Thread* thread, uint64_t address, uint32_t bytes, uint32_t space, int how, uint32_t line) {
    uint32_t step = bytes & -bytes;
    if (address % step) {
        fault(MISALIGNED_ADDRESS, thread, line, "%s %u bytes at 0x%llx, which is no multiple of %u", verbs[how], bytes,
              (unsigned long long)address, step);
        return NULL;
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
    if (space == GLOBAL_SPACE) return global_place(thread, address, bytes, how, line);
    uint64_t room = space == SHARED_SPACE  ? launch.shared_bytes
                    : space == LOCAL_SPACE ? thread->local_bytes
                                           : launch.function->param_bytes;
    const char* name = space == SHARED_SPACE ? "shared" : space == LOCAL_SPACE ? "local" : "parameter";
    if (address >= room || bytes > room - address) return misplaced(thread, address, bytes, how, line, name, room);
    if (space == LOCAL_SPACE) return thread->local + address;
    if (space == PARAM_SPACE) return (char*)launch.params + address;
    return note_shared(thread, (uint32_t)address, bytes, how, line) ? shared_memory + address : NULL;
}

// For translated code. `what` is the number of bytes, the space (<< 8) and how it is touched (<< 16).
API char* double_place(Thread* thread, uint64_t address, uint32_t what, uint32_t line) {
    char* found = place(thread, address, what & 255, what >> 8 & 255, (int)(what >> 16), line);
    if (!found) leave_kernel(thread);
    return found;
}

// -- cp.async: copies to shared memory that may happen at any time until they are waited for ------------------------
void begin_block_checks(void) { memset(in_flight, 0, launch.shared_bytes * sizeof *in_flight); }

// `bytes` to write, of which the first `given` are read; the rest is zero. The double copies when somebody waits.
API void double_copy_async(Thread* thread, uint64_t to, uint64_t from, uint32_t bytes, uint32_t given, uint32_t line) {
    if (given > bytes) fault(LAUNCH_FAILED, thread, line, "%u bytes to copy into %u", given, bytes);
    if (given && from % bytes) fault(MISALIGNED_ADDRESS, thread, line, "reads at no multiple of %u bytes", bytes);
    if (launch.failed || (given && !global_place(thread, from, given, READ, line)) ||
        !place(thread, to, bytes, SHARED_SPACE, WRITE, line))
        return leave_kernel(thread);
    if (thread->copies == thread->room) {
        thread->room = thread->room ? 2 * thread->room : 8;
        thread->copy = realloc(thread->copy, thread->room * sizeof *thread->copy);
    }
    thread->copy[thread->copies++] = (AsyncCopy){(uint32_t)to, from, bytes, given, thread->groups};
    for (uint32_t i = 0; i < bytes; ++i) in_flight[to + i] = (int16_t)(thread->number + 1);
}

API void double_commit_copies(Thread* thread) { ++thread->groups; }

// Finish all groups of copies but the last `most`. (uint32_t)-1: finish everything.
API void double_wait_copies(Thread* thread, uint32_t most, uint32_t line) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < thread->copies; ++i) {
        AsyncCopy c = thread->copy[i];
        bool committed = c.group < thread->groups;
        if (most != (uint32_t)-1 && !(committed && thread->groups - c.group > most)) {
            thread->copy[kept++] = c;
            continue;
        }
        memset(&in_flight[c.to], 0, c.bytes * sizeof *in_flight);
        char* target = place(thread, c.to, c.bytes, SHARED_SPACE, WRITE, line);
        const char* source = c.given ? global_place(thread, c.from, c.given, READ, line) : target;
        if (!target || !source) return leave_kernel(thread);
        memset(target, 0, c.bytes);
        if (c.given) memcpy(target, source, c.given);
    }
    thread->copies = kept;
}
