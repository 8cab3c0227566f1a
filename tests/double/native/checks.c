// What translated code asks before it touches memory: where the bytes of an address are, if it may touch them. And
// copies by cp.async.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

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
    bool inside = address - hot->low < hot->bytes && bytes <= hot->bytes - (address - hot->low);
    if (inside || span_for_kernel(launch.context, address, bytes, hot)) {
        if (launch.watched && !note_global(thread, address, bytes, how, line)) return NULL;
        return (char*)(address + hot->offset);
    }
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
    bool fine = !launch.watched || note_shared(thread, (uint32_t)address, bytes, how, line);
    return fine ? shared_memory + address : NULL;
}

// The usual answer, where no races are looked for: the access goes where that line went before. NULL: look closer.
static inline char* usual_place(uint64_t address, uint32_t bytes, uint32_t space, uint32_t line) {
    if (launch.watched || (address & ((bytes & -bytes) - 1))) return NULL;
    if (space == SHARED_SPACE)
        return address < launch.shared_bytes && bytes <= launch.shared_bytes - address ? shared_memory + address : NULL;
    const Span* hot = &launch.hot[line % 64];
    bool inside = address - hot->low < hot->bytes && bytes <= hot->bytes - (address - hot->low);
    return space == GLOBAL_SPACE && inside ? (char*)(address + hot->offset) : NULL;
}

// For translated code. `what` is the number of bytes, the space (<< 8) and how it is touched (<< 16).
API char* double_place(Thread* thread, uint64_t address, uint32_t what, uint32_t line) {
    uint32_t bytes = what & 255, space = what >> 8 & 255;
    char* found = usual_place(address, bytes, space, line);
    if (found) return found;
    found = !settle_doubts() ? NULL : place(thread, address, bytes, space, (int)(what >> 16), line);
    if (!found) leave_kernel(thread);
    return found;
}

// -- cp.async: copies to shared memory that may happen at any time until they are waited for ------------------------
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
    mark_in_flight((uint32_t)to, bytes, thread->number);
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
        mark_in_flight(c.to, c.bytes, -1);
        char* target = place(thread, c.to, c.bytes, SHARED_SPACE, WRITE, line);
        const char* source = c.given ? global_place(thread, c.from, c.given, READ, line) : target;
        if (!target || !source) return leave_kernel(thread);
        memset(target, 0, c.bytes);
        if (c.given) memcpy(target, source, c.given);
    }
    thread->copies = kept;
}
