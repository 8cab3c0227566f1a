// What the files of the test double share. README.md in the folder above says what the double is.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define API __attribute__((visibility("default")))

// -- the driver's types and the codes that the double returns (names in errors.c) ------------------------------------
typedef int CUresult;
typedef int CUdevice;
typedef uint64_t CUdeviceptr;
enum {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    INVALID_PTX = 218,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    NOT_READY = 600,
    ILLEGAL_ADDRESS = 700,
    PEER_ACCESS_ALREADY_ENABLED = 704,
    MISALIGNED_ADDRESS = 716,
    LAUNCH_FAILED = 719,
    NOT_SUPPORTED = 801,
    CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901,
    CAPTURE_MERGE = 902,
    CAPTURE_UNMATCHED = 903,
    CAPTURE_UNJOINED = 904,
    CAPTURED_EVENT = 907,
};

enum { MOST_DEVICES = 8, MOST_THREADS = 1024, WARP = 32, SHARED_USUAL = 48 << 10, SHARED_MOST = 227 << 10 };
enum { POISON = 0xA5, HOST_POISON = 0x5A };

// -- devices and memory ----------------------------------------------------------------------------------------------
typedef struct Stream Stream;
typedef struct Operation Operation;

// Addresses only grow, so the list is sorted, and what was freed keeps its place in it.
typedef struct {
    uint64_t base, bytes;
    bool live, pooled;
} Allocation;

typedef struct {
    Allocation* list;
    int count, room;
} Allocations;

// A device and its primary context. `window` is what device addresses look like: reserved, never accessible. The bytes
// of address a are at a + (shadow - window).
typedef struct Context {
    int device, retained;
    CUresult lost;  // the error after which every call fails
    uint64_t limit, used, top;
    uint64_t window;
    char* shadow;
    Allocations memory;
    Stream* streams;  // the first is the legacy stream, which has the handle 0
    unsigned peers;   // a bit for each device whose memory kernels may touch
} Context;

extern Context contexts[MOST_DEVICES];
Context* current_context(void);

// A stretch of memory that a kernel or a copy may touch: address a has its byte at a + offset.
typedef struct {
    uint64_t low, bytes, offset;
} Span;
bool find_device_memory(uint64_t address, Context** owner, Allocation** allocation);
bool find_pinned(uint64_t address, Allocation** allocation);
bool span_for_kernel(Context* context, uint64_t address, uint32_t bytes, Span* span);
void describe_address(uint64_t address, uint64_t bytes, char* text, size_t room);
CUresult allocate(Context* context, uint64_t bytes, bool pooled, CUdeviceptr* address);
void release(Context* owner, Allocation* allocation);
bool move_bytes(uint64_t to, uint64_t from, uint64_t bytes, const char* function);
bool fill_bytes(uint64_t to, uint32_t value, int width, uint64_t count, const char* function);
bool host_hash(uint64_t address, uint64_t bytes, uint64_t* hash);
bool poison_host(uint64_t address, uint64_t bytes);
bool is_device_address(uint64_t address);
void reserve_memory(Context* context);
void watch_the_host(void);

// -- functions
// ---------------------------------------------------------------------------------------------------------
typedef struct Thread Thread;
typedef void (*Kernel)(Thread* thread, const char* params);
enum { MOST_PARAMS = 64, PARAM_BYTES = 4096 };

typedef struct Variable {
    char* name;
    uint64_t offset, bytes;
    struct Variable* next;
} Variable;

typedef struct Module {
    uint32_t magic;
    Context* context;
    char* text;
    struct Function* functions;
    Variable* variables;
    CUdeviceptr image;  // where the variables are
    struct Module* next;
} Module;

typedef struct Function {
    uint32_t magic;
    Module* module;
    char* name;
    Kernel code;
    int params;
    uint32_t offset[MOST_PARAMS], bytes[MOST_PARAMS], param_bytes;
    uint32_t shared, local;  // bytes that the text declares
    uint32_t threads;        // most threads of a block
    uint32_t required[3];    // or exactly these, if not 0
    uint32_t dynamic;        // most bytes of dynamic shared memory
    struct Function* next;
} Function;

typedef struct {
    uint32_t grid[3], block[3], shared;
} Shape;

CUresult run_kernel(Context* context, Function* function, const Shape* shape, const char* params);

// -- streams
// -----------------------------------------------------------------------------------------------------------
typedef struct Capture Capture;
struct Stream {
    uint32_t magic;
    Context* context;
    bool blocking, dead;
    Operation *first, **last;
    Capture* capture;
    uint64_t captured, joined;  // how far the capture was at the last operation here, and when it was waited for
    Stream* next;
};

// One call of cuEventRecord. Streams that wait for it hold it, so the event may be recorded again.
typedef struct Record Record;
struct Record {
    int holders;
    bool done;
    Stream* stream;
    uint64_t number;
    double seconds;
    Capture* capture;
    uint64_t position;
    Record* now;  // of a captured one: its counterpart in the launch of the graph that is being scheduled
};

typedef enum { COPY, FILL, LAUNCH, RECORD, WAIT, FREE } Kind;
struct Operation {
    Kind kind;
    uint64_t number;  // of all operations, in the order of the calls
    const char* name;
    uint64_t to, from, bytes;
    uint32_t value;
    int width;
    bool from_host, steady;  // a copy reads memory of the host, which must not change until then
    uint64_t hash;           // of what it will read
    Function* function;
    Shape shape;
    char* params;
    Record* record;
    Stream* captured_in;
    Operation* next;
};

// A stream that is being captured, and those that joined it; operations in the order of the calls.
struct Capture {
    Stream* origin;
    Operation *first, **last;
    uint64_t count;
    bool broken;
};

Stream* stream_of(void* handle);
Operation* put(Stream* stream, Kind kind, const char* name);
CUresult schedule(Stream* stream, Operation* operation);
Operation* copy_operation(const Operation* operation);
void free_operation(Operation* operation);
void hold(Record* record);
void drop(Record* record);
void run_until(Stream* stream, uint64_t number);
void run_all(Context* context);
Stream* make_stream(Context* context, bool blocking);
bool break_captures(Context* context);
double now(void);

// -- calls, errors and what tests ask for
// --------------------------------------------------------------------------------
typedef enum { ANYTIME, INITIALIZED, CONTEXT } Need;
int enter(void);
void leave(int* entered);
CUresult admit(const char* function, Need need);
CUresult planned_failure(const char* function);
void problem(const char* format, ...) __attribute__((format(printf, 1, 2)));
bool lost_in_fork(void);
void forget_failures(void);
extern bool initialized;

// How every function of the driver begins: it takes the lock until it returns, and returns at once if it may not run.
#define ENTER(need)                                                 \
    __attribute__((cleanup(leave), unused)) int entered_ = enter(); \
    do {                                                            \
        CUresult refused_ = admit(__func__, need);                  \
        if (refused_) return refused_;                              \
    } while (0)
#define REQUIRE(condition, code)         \
    do {                                 \
        if (!(condition)) return (code); \
    } while (0)

enum {
    STREAM_MAGIC = 0x57EA,
    EVENT_MAGIC = 0xE7E7,
    MODULE_MAGIC = 0x30D0,
    FUNCTION_MAGIC = 0xF0F0,
    GRAPH_MAGIC = 0x6A6A
};
static inline bool valid(const void* handle, uint32_t magic) { return handle && *(const uint32_t*)handle == magic; }

typedef struct {
    long launches, threads, barriers, collectives, copies, waits, operations, compilations, graph_launches;
    long allocations, pinned, streams, events, modules, graphs;  // alive now
} Counts;
extern Counts counts;
