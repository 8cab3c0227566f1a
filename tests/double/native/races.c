// Races: two threads touch a byte, one of them writes, and nothing orders the two. They are found whatever the order in
// which the threads happen to run, also where the result is right.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

const char* const verbs[] = {"reads", "writes", "updates"};

// -- which launches are watched ---------------------------------------------------------------------------------------
// All, unless DOUBLE_RACES says how many of those that are alike, as most steps of a training are: of one kernel, with
// the same grid and numbers, and the same equal ones among its addresses.
static uint64_t most_watched = UINT64_MAX;
enum { KINDS = 1 << 16 };
static struct {
    uint64_t digest, launches;
} kinds[KINDS];

static uint64_t mixed(uint64_t digest, uint64_t number) {
    uint64_t product = (digest ^ number) * 0x9E3779B97F4A7C15u;
    return product ^ product >> 29;
}

static uint64_t digest_of_launch(const Shape* shape) {
    uint64_t words[PARAM_BYTES / sizeof(uint64_t)] = {0}, digest = (uint64_t)launch.function->code;
    for (int i = 0; i < 3; ++i) digest = mixed(digest, (uint64_t)shape->grid[i] << 32 | shape->block[i]);
    digest = mixed(digest, shape->shared);
    memcpy(words, launch.params, launch.function->param_bytes);
    for (uint32_t i = 0; i * sizeof *words < launch.function->param_bytes; ++i) {
        uint64_t what = words[i];
        if (is_device_address(what))
            for (what = 0; words[what] != words[i]; ++what) continue;
        digest = mixed(digest, what);
    }
    return digest;
}

// 0: all.
API void double_watch_races(unsigned launches) {
    most_watched = launches ? launches : UINT64_MAX;
    memset(kinds, 0, sizeof kinds);
}

void begin_races(const Shape* shape) {
    static bool asked;
    const char* given = asked ? NULL : getenv("DOUBLE_RACES");
    asked = launch.watched = true;
    if (given) double_watch_races((unsigned)atoi(given));
    if (most_watched == UINT64_MAX) return;
    uint64_t digest = digest_of_launch(shape), at = digest % KINDS;
    if (kinds[at].digest != digest) kinds[at].launches = 0;  // another kind took its place: watched again
    kinds[at].digest = digest;
    launch.watched = kinds[at].launches++ < most_watched;
}

// Who did something, and after how many barriers of its block and of its warp.
typedef struct {
    uint32_t block, barrier, warp_barrier;
    int16_t thread, warp;
} Moment;
enum { SEVERAL = -1 };
static const uint32_t several_blocks = UINT32_MAX;

// What happened to a word of four bytes, or, once a part of it has been touched alone, to each of its bytes: then it is
// `split`. `run` says in which block of which launch (shared memory), or in which launch (global): what is older does
// not count. With several readers that nothing orders, `reader` has what they have in common.
typedef struct {
    uint64_t run;
    Moment writer, reader;
    bool written, read, atomic, split;
} Touch;
enum { WORD_BYTES = 4 };

static Moment moment_of(const Thread* thread) {
    int warp = thread->number / WARP;
    return (Moment){launch.block, launch.barriers, launch.warp_barriers[warp], (int16_t)thread->number, (int16_t)warp};
}

static bool ordered(const Moment* before, const Moment* after) {
    if (before->block != after->block) return false;
    return before->thread == after->thread || before->barrier < after->barrier ||
           (before->warp == after->warp && before->warp_barrier < after->warp_barrier);
}

static Moment merged(const Moment* old, const Moment* new) {
    Moment both = *new;
    if (old->block != new->block) both.block = several_blocks;
    if (old->thread != new->thread) both.thread = SEVERAL;
    if (old->warp != new->warp) both.warp = SEVERAL;
    return both;
}

enum { IN_GLOBAL_MEMORY = 1 };
static bool race(const Thread* thread, bool in_global, uint64_t byte, int how, const Moment* other, const char* did,
                 uint32_t line) {
    char where[200];
    snprintf(where, sizeof where, "byte %llu of shared memory", (unsigned long long)byte);
    if (in_global) describe_address(byte, 1, where, sizeof where);
    char who[80] = "threads of several blocks";
    if (other->block != several_blocks && other->thread == SEVERAL)
        snprintf(who, sizeof who, "several threads of block %u", other->block);
    else if (other->block != several_blocks)
        snprintf(who, sizeof who, "thread %d of block %u", other->thread, other->block);
    fault(LAUNCH_FAILED, thread, line, "race on %s: this thread %s it, %s %s it, and no barrier is between", where,
          verbs[how], who, did);
    return false;
}

// Threads may write the same place in global memory if all write the same, as those do that find the same error. What
// was there is kept until the store has been done.
static struct {
    const Thread* thread;
    uint64_t byte;
    const char* place;
    char was[WORD_BYTES];
    uint32_t bytes;
    Moment other;
    uint32_t line;
} doubts[16];
static int doubt_count;

static void doubt(const Thread* thread, uint64_t byte, uint32_t bytes, const Moment* other, uint32_t line) {
    Span span;
    if (doubt_count == sizeof doubts / sizeof *doubts || !span_for_kernel(launch.context, byte, bytes, &span)) return;
    const char* at = (const char*)(byte + span.offset);
    doubts[doubt_count].thread = thread;
    doubts[doubt_count].byte = byte;
    doubts[doubt_count].place = at;
    memcpy(doubts[doubt_count].was, at, bytes);
    doubts[doubt_count].bytes = bytes;
    doubts[doubt_count].other = *other;
    doubts[doubt_count++].line = line;
}

// When the store has been done. False, after a fault, if it changed what another thread had written.
bool settle_doubts(void) {
    if (!doubt_count) return true;
    bool fine = true;
    for (int i = 0; i < doubt_count; ++i)
        if (memcmp(doubts[i].place, doubts[i].was, doubts[i].bytes))
            fine = race(doubts[i].thread, IN_GLOBAL_MEMORY, doubts[i].byte, WRITE, &doubts[i].other,
                        "writes something else to", doubts[i].line);
    doubt_count = 0;
    return fine;
}

// Note that a thread touches a byte, or a word that begins there; false, after a fault, if that is a race.
static bool touch(Touch* t, const Thread* thread, bool in_global, uint64_t byte, uint32_t bytes, int how,
                  uint32_t line) {
    Moment me = moment_of(thread);
    if (t->written && in_global && how == WRITE && !t->atomic && !ordered(&t->writer, &me))
        doubt(thread, byte, bytes, &t->writer, line);
    else if (t->written && !(how == UPDATE && t->atomic) && !ordered(&t->writer, &me))
        return race(thread, in_global, byte, how, &t->writer, t->atomic ? "updates" : "writes", line);
    if (how != READ && t->read && !ordered(&t->reader, &me))
        return race(thread, in_global, byte, how, &t->reader, "reads", line);
    if (how == READ) {
        t->reader = t->read && !ordered(&t->reader, &me) ? merged(&t->reader, &me) : me;
        t->read = true;
    } else {
        // Updates are ordered with each other; for who only reads or writes, they are as several readers would be.
        t->writer = t->written && !ordered(&t->writer, &me) ? merged(&t->writer, &me) : me;
        t->written = true;
        t->atomic = how == UPDATE;
    }
    return true;
}

// The part of a word that an access reaches.
typedef struct {
    uint64_t low, high;
} Part;
static Part part_of(uint64_t word, uint64_t first, uint32_t bytes) {
    uint64_t end = first + bytes, word_end = word + WORD_BYTES;
    return (Part){first > word ? first : word, end < word_end ? end : word_end};
}

// -- shared memory ---------------------------------------------------------------------------------------------------
static Touch shared_words[SHARED_MOST / WORD_BYTES], shared_bytes[SHARED_MOST];
// Bytes that a cp.async has been told to write and may write at any time: number of the thread + 1.
static int16_t in_flight[SHARED_MOST];

void begin_block_races(void) { memset(in_flight, 0, launch.shared_bytes * sizeof *in_flight); }

void mark_in_flight(uint32_t first, uint32_t bytes, int thread_or_none) {
    for (uint32_t i = 0; i < bytes; ++i) in_flight[first + i] = (int16_t)(thread_or_none + 1);
}

bool note_shared(const Thread* thread, uint32_t first, uint32_t bytes, int how, uint32_t line) {
    for (uint32_t byte = first; byte < first + bytes; ++byte)
        if (in_flight[byte]) {
            fault(LAUNCH_FAILED, thread, line,
                  "%s byte %u of shared memory, which a cp.async of thread %d may still write", verbs[how], byte,
                  in_flight[byte] - 1);
            return false;
        }
    for (uint32_t word = first / WORD_BYTES * WORD_BYTES; word < first + bytes; word += WORD_BYTES) {
        Touch* t = &shared_words[word / WORD_BYTES];
        if (t->run != launch.run) *t = (Touch){.run = launch.run};
        Part part = part_of(word, first, bytes);
        if (part.high - part.low == WORD_BYTES && !t->split) {
            if (!touch(t, thread, false, word, WORD_BYTES, how, line)) return false;
            continue;
        }
        for (uint32_t i = 0; i < WORD_BYTES && !t->split; ++i) shared_bytes[word + i] = *t;
        t->split = true;
        for (uint64_t byte = part.low; byte < part.high; ++byte)
            if (!touch(&shared_bytes[byte], thread, false, byte, 1, how, line)) return false;
    }
    return true;
}

// -- global memory ---------------------------------------------------------------------------------------------------
// A table of the words that a launch has touched, by their addresses. It holds the first MOST_WATCHED bytes; a launch
// that touches more is a large one, and what is wrong with it is wrong with smaller ones too.
enum { MOST_WATCHED = 1 << 18 };
typedef struct {
    uint64_t key;  // twice the address, of a word plus 1
    Touch touch;
} Slot;
static Slot* table;
static uint64_t slots, used, watched, table_run;

// The slot of a key: its own, or a free one. Slots of older launches are free.
static Slot* slot_of(uint64_t key) {
    uint64_t at = key * 0x9E3779B97F4A7C15u >> 20;
    for (;; ++at) {
        Slot* s = &table[at & (slots - 1)];
        if (s->touch.run != launch.number || s->key == key) return s;
    }
}

static void grow(void) {
    Slot* old = table;
    uint64_t count = slots;
    slots = count ? 2 * count : 1 << 12;
    table = calloc(slots, sizeof *table);
    for (uint64_t i = 0; i < count; ++i)
        if (old[i].touch.run == launch.number) *slot_of(old[i].key) = old[i];
    free(old);
}

static Touch* touch_of(uint64_t key) {
    Slot* s = slot_of(key);
    if (s->touch.run != launch.number) {
        *s = (Slot){key, {.run = launch.number}};
        ++used;
    }
    return &s->touch;
}

static bool note_word(const Thread* thread, uint64_t word, Part part, int how, uint32_t line) {
    if (2 * (used + 1 + WORD_BYTES) >= slots) grow();  // not while pointers to slots are held
    uint64_t before = used;
    Touch* t = touch_of(2 * word + 1);
    if (used > before) watched += WORD_BYTES;
    if (part.high - part.low == WORD_BYTES && !t->split)
        return touch(t, thread, IN_GLOBAL_MEMORY, word, WORD_BYTES, how, line);
    for (uint64_t i = 0; i < WORD_BYTES && !t->split; ++i) *touch_of(2 * (word + i)) = *t;
    t->split = true;
    for (uint64_t byte = part.low; byte < part.high; ++byte)
        if (!touch(touch_of(2 * byte), thread, IN_GLOBAL_MEMORY, byte, 1, how, line)) return false;
    return true;
}

bool note_global(const Thread* thread, uint64_t address, uint32_t bytes, int how, uint32_t line) {
    if (table_run != launch.number) used = watched = 0;
    table_run = launch.number;
    uint64_t word = address / WORD_BYTES * WORD_BYTES;
    for (; word < address + bytes && watched < MOST_WATCHED; word += WORD_BYTES)
        if (!note_word(thread, word, part_of(word, address, bytes), how, line)) return false;
    return true;
}
