// Runs kernels on the CPU: the threads of a block are fibers of one thread of the host, which barriers and shuffles
// switch. A thread that ends without waiting hands its stack to the next one, so kernels without barriers need one.
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels.h"

Launch launch;
_Alignas(128) char shared_memory[SHARED_MOST];
static int order = -1;
static uint64_t seed = 1;

// 0 forward, 1 backward, 2 pseudo-random, 3 warp by warp, each as far as it can go.
API void double_set_order(int o) { order = o; }

// -- stacks ----------------------------------------------------------------------------------------------------------
static const size_t stack_bytes = 256 << 10, guard_bytes = 4096;
static void* spare[MOST_THREADS];
static int spares;

static void* take_stack(void) {
    if (spares) return spare[--spares];
    char* stack = mmap(NULL, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED) abort();
    mprotect(stack, guard_bytes, PROT_NONE);
    return stack;
}
static void give_back_stack(Thread* thread) {
    if (thread->stack) spare[spares++] = thread->stack;
    thread->stack = NULL;
}

static void begin(void) {
    launch.function->code(launch.current, launch.params);
    launch.current->state = DONE;
    leave_kernel(launch.current);
    abort();  // nobody comes back to a thread that is done
}

#if defined(__x86_64__) && !defined(DOUBLE_UCONTEXT)
// Only what a call preserves has to be kept.
void double_switch(void** from, void* to);
__asm__(
    ".text\n.globl double_switch\n.hidden double_switch\n.type double_switch,@function\ndouble_switch:\n"
    " push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n mov %rsp,(%rdi)\n mov %rsi,%rsp\n"
    " pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n ret\n"
    ".size double_switch,.-double_switch\n");
static void prepare(Thread* thread) {
    // Not all stacks at the same place of a page: they would push each other out of the cache.
    size_t shift = (size_t)(thread->number % 64) * 640;
    void** top = (void**)((char*)thread->stack + stack_bytes - shift - 72);
    top[0] = NULL;
    top[-1] = (void*)begin;  // `ret` goes there, with the stack as after a call
    thread->stack_pointer = top - 7;
}
static void switch_to(Thread* thread) { double_switch(&launch.scheduler, thread->stack_pointer); }
void leave_kernel(Thread* thread) { double_switch(&thread->stack_pointer, launch.scheduler); }
#else
#include <ucontext.h>
static ucontext_t scheduler, fibers[MOST_THREADS];
static void prepare(Thread* thread) {
    ucontext_t* fiber = &fibers[thread->number];
    getcontext(fiber);
    fiber->uc_stack.ss_sp = (char*)thread->stack + guard_bytes;
    fiber->uc_stack.ss_size = stack_bytes - guard_bytes;
    makecontext(fiber, begin, 0);
}
static void switch_to(Thread* thread) { swapcontext(&scheduler, &fibers[thread->number]); }
void leave_kernel(Thread* thread) { swapcontext(&fibers[thread->number], &scheduler); }
#endif

// -- faults ----------------------------------------------------------------------------------------------------------
static void quote(uint32_t line, char* text, size_t room) {
    const char* at = launch.function->module->text;
    for (uint32_t i = 1; i < line && at; ++i) at = (at = strchr(at, '\n')) ? at + 1 : NULL;
    while (at && (*at == ' ' || *at == '\t')) ++at;
    size_t n = at ? strcspn(at, "\n") : 0;
    snprintf(text, room, "%.*s", (int)(n < room - 1 ? n : room - 1), at ? at : "");
}

// Note a fault of the kernel; the launch fails with the code. Comes back: the caller leaves the kernel if it is in it.
void fault(CUresult code, const Thread* at, uint32_t line, const char* format, ...) {
    char what[600], text[120];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    quote(line, text, sizeof text);
    const uint32_t* s = at->special;
    if (!launch.failed)  // the first says why
        problem("kernel `%s`, block (%u, %u, %u), thread (%u, %u, %u), line %u `%s`: %s", launch.function->name,
                s[CTAID], s[CTAID + 1], s[CTAID + 2], s[TID], s[TID + 1], s[TID + 2], line, text, what);
    if (!launch.failed) launch.failed = code;
}

// -- what translated code calls --------------------------------------------------------------------------------------
API void double_barrier(Thread* thread, uint32_t line) {
    thread->state = AT_BARRIER;
    thread->line = line;
    leave_kernel(thread);
}

// Wait for the other lanes of the mask; what they post becomes each lane's result in `posted`.
API uint32_t* double_collective(Thread* thread, uint32_t kind, uint32_t mask, uint32_t line) {
    thread->state = AT_COLLECTIVE;
    thread->kind = kind;
    thread->mask = mask;
    thread->line = line;
    if (!(mask >> thread->special[LANE] & 1)) {
        fault(LAUNCH_FAILED, thread, line, "lane %u is not in its own mask 0x%x", thread->special[LANE], mask);
    }
    leave_kernel(thread);
    return thread->posted;
}

API uint32_t* double_posted(Thread* thread) { return thread->posted; }

API void double_trap(Thread* thread, uint32_t line) {
    fault(LAUNCH_FAILED, thread, line, "trap");
    leave_kernel(thread);
}

// -- scheduling ------------------------------------------------------------------------------------------------------
static bool resume(Thread* thread) {
    if (thread->state != FRESH && thread->state != READY) return false;
    if (thread->state == FRESH) {
        thread->stack = take_stack();
        prepare(thread);
    }
    thread->state = RUNNING;
    launch.current = thread;
    switch_to(thread);
    settle_doubts();
    if (thread->state == DONE) give_back_stack(thread);
    return true;
}

// Let the collectives of a warp go on whose lanes are all there.
static bool finish_collectives(int warp) {
    Thread* lanes[WARP];
    bool finished = false;
    int count = launch.threads - warp * WARP < WARP ? launch.threads - warp * WARP : WARP;
    for (int i = 0; i < count; ++i) lanes[i] = &launch.thread[warp * WARP + i];
    for (int i = 0; i < count && !launch.failed; ++i) {
        if (lanes[i]->state != AT_COLLECTIVE) continue;
        uint32_t mask = lanes[i]->mask;
        bool complete = true;
        for (int j = 0; j < WARP && !launch.failed; ++j) {
            if (!(mask >> j & 1)) continue;
            if (j >= count || lanes[j]->state == DONE)
                fault(LAUNCH_FAILED, lanes[i], lanes[i]->line, "lane %d of its mask 0x%x %s", j, mask,
                      j >= count ? "is not in the block" : "has ended");
            else if (lanes[j]->state != AT_COLLECTIVE)
                complete = false;
            else if (lanes[j]->line != lanes[i]->line || lanes[j]->mask != mask)
                fault(LAUNCH_FAILED, lanes[i], lanes[i]->line, "mask 0x%x: lane %d is at line %u with mask 0x%x", mask,
                      j, lanes[j]->line, lanes[j]->mask);
        }
        if (!complete || launch.failed) continue;
        finished |= finish_collective(lanes, mask);
        ++counts.collectives;
    }
    return finished;
}

// Each thread once, as far as it can go.
static bool run_each(void) {
    int n = launch.threads;
    bool any = false;
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    for (int k = 0; k < n && !launch.failed; ++k) {
        int i = order <= 0 ? k : order == 1 ? n - 1 - k : (int)(((uint64_t)k * 17 + (seed >> 33)) % (uint64_t)n);
        any |= resume(&launch.thread[i]);
    }
    if (order == 2 && n % 17 == 0)  // 17 is no step through all threads
        for (int i = 0; i < n && !launch.failed; ++i) any |= resume(&launch.thread[i]);
    for (int w = 0; w < launch.warps && !launch.failed; ++w) any |= finish_collectives(w);
    return any;
}

// Each warp, from a pseudo-random one on, until all its threads wait at a barrier or have ended.
static bool run_warps(void) {
    bool any = false;
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    for (int v = 0; v < launch.warps && !launch.failed; ++v) {
        int w = (int)(((uint64_t)v + (seed >> 33)) % (uint64_t)launch.warps);
        int end = (w + 1) * WARP < launch.threads ? (w + 1) * WARP : launch.threads;
        for (bool more = true; more && !launch.failed; any |= more) {
            more = false;
            for (int i = w * WARP; i < end && !launch.failed; ++i) more |= resume(&launch.thread[i]);
            if (!launch.failed) more |= finish_collectives(w);
        }
    }
    return any;
}

// All threads wait or have ended: let them pass the barrier, or say why they cannot. False when the block has ended.
static bool pass_barrier(void) {
    int done = 0, waiting = 0, stuck = -1;
    for (int i = 0; i < launch.threads; ++i) {
        const Thread* t = &launch.thread[i];
        done += t->state == DONE;
        waiting += t->state == AT_BARRIER;
        if (t->state != DONE && (stuck < 0 || t->state == AT_COLLECTIVE)) stuck = i;
    }
    if (done == launch.threads) return false;
    if (waiting < launch.threads) {
        const Thread* t = &launch.thread[stuck];
        fault(LAUNCH_FAILED, t, t->line,
              "the block of %d threads cannot go on: %d wait at a barrier, %d at an incomplete shuffle, %d have ended",
              launch.threads, waiting, launch.threads - waiting - done, done);
        return false;
    }
    for (int i = 0; i < launch.threads; ++i) {
        Thread *t = &launch.thread[i], *first = &launch.thread[i / WARP * WARP];
        if (t->line != first->line)
            fault(LAUNCH_FAILED, t, t->line, "threads of one warp wait at different barriers, at lines %u and %u",
                  first->line, t->line);
        t->state = READY;
    }
    ++launch.barriers;
    ++counts.barriers;
    return !launch.failed;
}

static void run_block(const uint32_t* block) {
    for (int i = 0; i < launch.threads; ++i) {
        Thread* t = &launch.thread[i];
        memcpy(t->special + CTAID, block, 3 * sizeof *block);
        t->state = FRESH;
        t->copies = t->groups = 0;
    }
    memset(shared_memory, POISON, launch.shared_bytes);
    begin_block_races();
    ++launch.run;
    launch.barriers = 0;
    memset(launch.warp_barriers, 0, sizeof launch.warp_barriers);
    do {
        while (!launch.failed && (order == 3 ? run_warps() : run_each())) continue;
    } while (!launch.failed && pass_barrier());
    for (int i = 0; launch.failed && i < launch.threads; ++i) give_back_stack(&launch.thread[i]);
}

static void number_threads(const Shape* shape) {
    const uint32_t* b = shape->block;
    launch.threads = (int)(b[0] * b[1] * b[2]);
    launch.warps = (launch.threads + WARP - 1) / WARP;
    for (int i = 0; i < launch.threads; ++i) {
        Thread* t = &launch.thread[i];
        uint32_t n = (uint32_t)i, tid[3] = {n % b[0], n / b[0] % b[1], n / b[0] / b[1]};
        memcpy(t->special + TID, tid, sizeof tid);
        memcpy(t->special + NTID, b, sizeof tid);
        memcpy(t->special + NCTAID, shape->grid, sizeof tid);
        t->special[LANE] = n % WARP;
        t->special[WARP_NUMBER] = n / WARP;
        t->special[DYNAMIC_BYTES] = shape->shared;
        t->number = i;
        t->image = launch.function->module->image;
    }
}

static void make_windows(void) {
    static uint64_t windows[3];  // one for each space: addresses that nothing else has
    const size_t bytes = 1 << 20;
    for (int i = 0; i < 3 && !windows[i]; ++i)
        windows[i] = (uint64_t)mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (int i = 0; i < MOST_THREADS; ++i) memcpy(launch.thread[i].windows, windows, sizeof windows);
}

CUresult run_kernel(Context* context, Function* function, const Shape* shape, const char* params) {
    if (order < 0) order = getenv("DOUBLE_ORDER") ? atoi(getenv("DOUBLE_ORDER")) : 0;
    if (!launch.thread[0].windows[0]) make_windows();
    launch.context = context;
    launch.function = function;
    launch.params = params;
    launch.shared_bytes = function->shared + shape->shared;
    launch.failed = SUCCESS;
    ++launch.number;
    begin_checks();
    begin_races(shape);
    number_threads(shape);
    uint32_t block[3];
    const uint32_t* grid = shape->grid;
    launch.block = 0;
    for (block[2] = 0; block[2] < grid[2]; ++block[2])
        for (block[1] = 0; block[1] < grid[1]; ++block[1])
            for (block[0] = 0; block[0] < grid[0] && !launch.failed; ++block[0], ++launch.block) run_block(block);
    counts.threads += (long)launch.threads * grid[0] * grid[1] * grid[2];
    return launch.failed;
}
