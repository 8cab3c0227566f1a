// What the files that run kernels share: fibers.c schedules the threads of a block, checks.c looks at what they touch.
#pragma once
#include "double.h"

// Translated code reads the fields down to `image` (ptx.py knows their offsets), the rest belongs to fibers.c.
enum { TID = 0, NTID = 3, CTAID = 6, NCTAID = 9, LANE = 12, WARP_NUMBER = 13, DYNAMIC_BYTES = 14 };
enum { SHARED_SPACE, LOCAL_SPACE, PARAM_SPACE, GLOBAL_SPACE, GENERIC_SPACE };
typedef enum { FRESH, READY, RUNNING, AT_BARRIER, AT_COLLECTIVE, DONE } State;
enum { POSTED = 16 };

typedef struct {
    uint32_t to;
    uint64_t from;
    uint32_t bytes, given, group;
} AsyncCopy;

struct Thread {
    uint32_t special[16];
    uint64_t windows[3];  // where shared, local and param memory lie among generic addresses
    uint64_t image;       // where the variables of the module are
    char* local;
    uint32_t local_bytes;

    int number;
    State state;
    void* stack;
    void* stack_pointer;
    uint32_t line, kind, mask, posted[POSTED];  // of the barrier or collective at which it stands
    AsyncCopy* copy;                            // that have not been waited for
    uint32_t copies, room, groups;
};

// The launch that runs now: there is one at a time, under the lock.
typedef struct {
    Context* context;
    Function* function;
    const char* params;
    uint32_t shared_bytes;
    int threads, warps;
    Thread thread[MOST_THREADS];
    Thread* current;
    void* scheduler;
    CUresult failed;
    uint64_t number, run;                         // of the launch, and of the block of all launches
    uint32_t block, barriers;                     // the block in the grid, and the barriers that it has passed
    uint32_t warp_barriers[MOST_THREADS / WARP];  // and those of its warps
    bool watched;                                 // for races
    Span hot[64];                                 // where accesses went, by line of the text
} Launch;
extern Launch launch;
extern char shared_memory[SHARED_MOST];

void fault(CUresult code, const Thread* at, uint32_t line, const char* format, ...)
    __attribute__((format(printf, 4, 5)));
void leave_kernel(Thread* thread);
bool finish_collective(Thread** lanes, uint32_t mask);
void begin_checks(void);
void begin_races(const Shape* shape);
void begin_block_races(void);
bool note_shared(const Thread* thread, uint32_t first, uint32_t bytes, int how, uint32_t line);
bool note_global(const Thread* thread, uint64_t address, uint32_t bytes, int how, uint32_t line);
bool settle_doubts(void);
void mark_in_flight(uint32_t first, uint32_t bytes, int thread_or_none);
extern const char* const verbs[];
enum { READ, WRITE, UPDATE };
char* place(Thread* thread, uint64_t address, uint32_t bytes, uint32_t space, int how, uint32_t line);
