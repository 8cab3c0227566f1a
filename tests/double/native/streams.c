// Streams, events and copies. A call only notes what shall be done; it is done when somebody waits for it.
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "double.h"

static uint64_t operations;

double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// -- operations ------------------------------------------------------------------------------------------------------
void hold(Record* record) { ++record->holders; }
void drop(Record* record) {
    if (record && --record->holders == 0) free(record);
}

void free_operation(Operation* operation) {
    drop(operation->record);
    free(operation->params);
    free(operation);
}

Operation* copy_operation(const Operation* operation) {
    Operation* copy = malloc(sizeof *copy);
    *copy = *operation;
    copy->next = NULL;
    if (copy->record) hold(copy->record);
    if (operation->params) {
        copy->params = malloc(PARAM_BYTES);
        memcpy(copy->params, operation->params, PARAM_BYTES);
    }
    return copy;
}

// A new operation at the end of a stream, or of what is captured from it.
Operation* put(Stream* stream, Kind kind, const char* name) {
    Operation* operation = calloc(1, sizeof *operation);
    operation->kind = kind;
    operation->name = name;
    operation->number = ++operations;
    Capture* capture = stream->capture;
    Operation*** last = capture ? &capture->last : &stream->last;
    if (capture) ++capture->count;
    if (capture && kind != RECORD && kind != WAIT) stream->captured = capture->count;
    operation->captured_in = stream;
    **last = operation;
    *last = &operation->next;
    return operation;
}

// Whether a copy that has not run yet writes (or reads) some of these bytes of the host.
static bool awaited(uint64_t address, uint64_t bytes, bool write) {
    for (int i = 0; i < MOST_DEVICES; ++i)
        for (const Stream* s = contexts[i].streams; s; s = s->next)
            for (const Operation* o = s->first; o; o = o->next) {
                uint64_t other = write ? o->to : o->from;
                if (o->kind == COPY && other < address + bytes && address < other + o->bytes) return true;
            }
    return false;
}

// What happens to the memory of the host when a copy is accepted: its source must stay as it is until the copy has
// run, and its target is undefined until then. Unless another copy is in front that writes the source or reads the
// target, which is allowed.
static CUresult settle(Operation* operation) {
    if (operation->kind != COPY) return SUCCESS;
    uint64_t to = operation->to, from = operation->from, bytes = operation->bytes;
    if (!is_device_address(from)) {
        operation->from_host = true;
        operation->steady = !awaited(from, bytes, true);
        if (!host_hash(from, bytes, &operation->hash)) return INVALID_VALUE;
    }
    if (!is_device_address(to) && !awaited(to, bytes, false) && !poison_host(to, bytes)) return INVALID_VALUE;
    return SUCCESS;
}

// Put an operation of a graph into a stream.
CUresult schedule(Stream* stream, Operation* operation) {
    CUresult code = settle(operation);
    if (code) return free_operation(operation), code;
    operation->number = ++operations;
    *stream->last = operation;
    stream->last = &operation->next;
    return SUCCESS;
}

static void fault(Context* context) {
    if (!context->lost) context->lost = ILLEGAL_ADDRESS;
}

static void run_copy(Context* context, const Operation* operation) {
    uint64_t hash = 0;
    ++counts.copies;
    if (operation->from_host) {
        Allocation* allocation;
        bool gone = !find_pinned(operation->from, &allocation) && allocation &&
                    operation->from - allocation->base < allocation->bytes;
        if (gone || !host_hash(operation->from, operation->bytes, &hash)) {
            problem("%s: its source, memory of the host, was freed before the copy had run", operation->name);
            return fault(context);
        }
        if (operation->steady && hash != operation->hash)
            problem("%s: the %llu bytes of the host at 0x%llx changed after the call and before the copy had run",
                    operation->name, (unsigned long long)operation->bytes, (unsigned long long)operation->from);
    }
    if (!move_bytes(operation->to, operation->from, operation->bytes, operation->name)) fault(context);
}

static void run_free(Context* context, const Operation* operation) {
    Context* owner;
    Allocation* allocation;
    if (find_device_memory(operation->to, &owner, &allocation)) return release(owner, allocation);
    problem("%s: the memory at 0x%llx was freed twice", operation->name, (unsigned long long)operation->to);
    fault(context);
}

static void run(Stream* stream, Operation* operation) {
    Context* context = stream->context;
    ++counts.operations;
    if (operation->kind == WAIT) {
        run_until(operation->record->stream, operation->record->number);
    } else if (operation->kind == RECORD) {
        operation->record->done = true;
        operation->record->seconds = now();
    } else if (operation->kind == FREE) {
        run_free(context, operation);
    } else if (context->lost) {
        return;  // the device does nothing any more
    } else if (operation->kind == COPY) {
        run_copy(context, operation);
    } else if (operation->kind == FILL) {
        if (!fill_bytes(operation->to, operation->value, operation->width, operation->bytes, operation->name))
            fault(context);
    } else {
        CUresult code = planned_failure("kernel");
        ++counts.launches;
        if (!code) code = run_kernel(context, operation->function, &operation->shape, operation->params);
        if (code) context->lost = code;
    }
}

static void step(Stream* stream) {
    Operation* operation = stream->first;
    stream->first = operation->next;
    if (!stream->first) stream->last = &stream->first;
    Stream* legacy = stream->context->streams;
    // The legacy stream and the blocking ones wait for each other.
    if (stream == legacy) {
        for (Stream* s = legacy->next; s; s = s->next)
            if (s->blocking) run_until(s, operation->number - 1);
    } else if (stream->blocking) {
        run_until(legacy, operation->number - 1);
    }
    run(stream, operation);
    free_operation(operation);
}

void run_until(Stream* stream, uint64_t number) {
    while (stream->first && stream->first->number <= number) step(stream);
}

static bool others_first;
// Before a stream that is waited for, run all others: the other end of what a device may do.
API void double_set_others_first(int on) { others_first = on; }

static void wait_for(Stream* stream, uint64_t number) {
    ++counts.waits;
    for (int i = 0; others_first && i < MOST_DEVICES; ++i)
        for (Stream* s = contexts[i].streams; s; s = s->next)
            if (s != stream) run_until(s, UINT64_MAX);
    run_until(stream, number);
}

void run_all(Context* context) {
    ++counts.waits;
    for (Stream* s = context->streams; s; s = s->next) run_until(s, UINT64_MAX);
}

// All that a device was given has run, as on a fast one: nobody waits for it.
API CUresult double_run(int device) {
    ENTER(INITIALIZED);
    for (Stream* s = contexts[device].streams; s; s = s->next) run_until(s, UINT64_MAX);
    return SUCCESS;
}

// -- streams ---------------------------------------------------------------------------------------------------------
Stream* make_stream(Context* context, bool blocking) {
    Stream* stream = calloc(1, sizeof *stream);
    stream->magic = STREAM_MAGIC;
    stream->context = context;
    stream->blocking = blocking;
    stream->last = &stream->first;
    Stream** last = &context->streams;
    while (*last) last = &(*last)->next;
    *last = stream;
    return stream;
}

// The stream of a handle, or NULL. The handles 0 and 1 are the legacy stream of the current context.
Stream* stream_of(void* handle) {
    if ((uintptr_t)handle <= 1) return current_context()->streams;
    Stream* stream = handle;
    return valid(stream, STREAM_MAGIC) && !stream->dead ? stream : NULL;
}

API CUresult cuStreamCreateWithPriority(void** stream, unsigned flags, int priority) {
    ENTER(CONTEXT);
    (void)priority;
    REQUIRE(flags <= 1, INVALID_VALUE);
    *stream = make_stream(current_context(), flags == 0);
    ++counts.streams;
    return SUCCESS;
}
API CUresult cuStreamCreate(void** stream, unsigned flags) { return cuStreamCreateWithPriority(stream, flags, 0); }

// What is in the stream will still be done.
API CUresult cuStreamDestroy_v2(void* stream) {
    ENTER(INITIALIZED);
    Stream* s = stream;
    REQUIRE(valid(s, STREAM_MAGIC) && !s->dead, INVALID_HANDLE);
    s->dead = true;
    --counts.streams;
    return SUCCESS;
}

API CUresult cuStreamSynchronize(void* stream) {
    ENTER(CONTEXT);
    Stream* s = stream_of(stream);
    REQUIRE(s, INVALID_HANDLE);
    if (s->capture) return s->capture->broken = true, CAPTURE_UNSUPPORTED;
    wait_for(s, UINT64_MAX);
    return s->context->lost;
}

API CUresult cuCtxSynchronize(void) {
    ENTER(CONTEXT);
    if (break_captures(current_context())) return CAPTURE_UNSUPPORTED;
    run_all(current_context());
    return current_context()->lost;
}

// Asking lets the stream do one thing, so that a loop of questions ends.
API CUresult cuStreamQuery(void* stream) {
    ENTER(CONTEXT);
    Stream* s = stream_of(stream);
    REQUIRE(s, INVALID_HANDLE);
    if (s->capture) return s->capture->broken = true, CAPTURE_UNSUPPORTED;
    if (!s->first) return s->context->lost;
    step(s);
    return s->context->lost ? s->context->lost : NOT_READY;
}

// -- events ----------------------------------------------------------------------------------------------------------
typedef struct {
    uint32_t magic;
    Context* context;
    bool timed;
    Record* record;
} Event;

API CUresult cuEventCreate(void** event, unsigned flags) {
    ENTER(CONTEXT);
    enum { DISABLE_TIMING = 2, INTERPROCESS = 4 };
    REQUIRE(flags < 8 && (!(flags & INTERPROCESS) || flags & DISABLE_TIMING), INVALID_VALUE);
    Event* e = calloc(1, sizeof *e);
    *e = (Event){EVENT_MAGIC, current_context(), !(flags & DISABLE_TIMING), NULL};
    *event = e;
    ++counts.events;
    return SUCCESS;
}

API CUresult cuEventDestroy_v2(void* event) {
    ENTER(INITIALIZED);
    Event* e = event;
    REQUIRE(valid(e, EVENT_MAGIC), INVALID_HANDLE);
    drop(e->record);
    e->magic = 0;  // not freed, so that a later use is noticed
    --counts.events;
    return SUCCESS;
}

API CUresult cuEventRecord(void* event, void* stream) {
    ENTER(CONTEXT);
    Event* e = event;
    Stream* s = stream_of(stream);
    REQUIRE(valid(e, EVENT_MAGIC) && s && s->context == e->context, INVALID_HANDLE);
    drop(e->record);
    Record* record = e->record = calloc(1, sizeof *record);
    hold(record);
    record->stream = s;
    Operation* operation = put(s, RECORD, __func__);
    record->number = operation->number;
    operation->record = record;
    hold(record);
    record->capture = s->capture;
    if (s->capture) record->position = s->capture->count;
    return SUCCESS;
}

API CUresult cuStreamWaitEvent(void* stream, void* event, unsigned flags) {
    ENTER(CONTEXT);
    Event* e = event;
    Stream* s = stream_of(stream);
    REQUIRE(valid(e, EVENT_MAGIC) && s, INVALID_HANDLE);
    REQUIRE(flags == 0, INVALID_VALUE);
    Record* record = e->record;
    if (!record) return SUCCESS;
    if (record->capture) {  // joins the capture, or comes back to it
        if (s->capture && s->capture != record->capture) return CAPTURE_MERGE;
        if (s == record->capture->origin)
            record->stream->joined = record->position;
        else if (!s->capture)
            s->captured = s->joined = record->position;
        s->capture = record->capture;
    } else {
        if (s->capture) return s->capture->broken = true, CAPTURE_UNSUPPORTED;
        if (record->done) return SUCCESS;
    }
    Operation* operation = put(s, WAIT, __func__);
    operation->record = record;
    hold(record);
    return SUCCESS;
}

API CUresult cuEventSynchronize(void* event) {
    ENTER(CONTEXT);
    Event* e = event;
    REQUIRE(valid(e, EVENT_MAGIC), INVALID_HANDLE);
    if (!e->record) return SUCCESS;
    if (e->record->capture) return e->record->capture->broken = true, CAPTURED_EVENT;
    wait_for(e->record->stream, e->record->number);
    return e->context->lost;
}

API CUresult cuEventQuery(void* event) {
    ENTER(CONTEXT);
    Event* e = event;
    REQUIRE(valid(e, EVENT_MAGIC), INVALID_HANDLE);
    if (!e->record) return SUCCESS;
    if (e->record->capture) return e->record->capture->broken = true, CAPTURED_EVENT;
    if (e->record->done) return e->context->lost;
    step(e->record->stream);
    return e->context->lost ? e->context->lost : NOT_READY;
}

API CUresult cuEventElapsedTime(float* milliseconds, void* begin, void* end) {
    ENTER(CONTEXT);
    Event *a = begin, *b = end;
    REQUIRE(valid(a, EVENT_MAGIC) && valid(b, EVENT_MAGIC), INVALID_HANDLE);
    REQUIRE(a->timed && b->timed && a->record && b->record, INVALID_HANDLE);
    if (!a->record->done || !b->record->done) return NOT_READY;
    *milliseconds = (float)(1e3 * (b->record->seconds - a->record->seconds));
    return SUCCESS;
}
API CUresult cuEventElapsedTime_v2(float* milliseconds, void* begin, void* end) {
    return cuEventElapsedTime(milliseconds, begin, end);
}

// -- copies ----------------------------------------------------------------------------------------------------------
// Whether an address may take part in a copy at the time of the call.
static bool may_copy(uint64_t address, uint64_t bytes, bool device, const char* name) {
    Context* owner;
    Allocation* allocation;
    bool found = find_device_memory(address, &owner, &allocation);
    if (!device && !is_device_address(address)) return true;
    if (device && found && bytes <= allocation->bytes - (address - allocation->base)) return true;
    char text[200];
    describe_address(address, bytes, text, sizeof text);
    problem("%s of %llu bytes: %s memory expected, but the address is %s", name, (unsigned long long)bytes,
            device ? "live device" : "host", text);
    return false;
}

enum { HOST, DEVICE, EITHER };
static CUresult copy(uint64_t to, int to_kind, uint64_t from, int from_kind, uint64_t bytes, void* stream,
                     const char* name) {
    Stream* s = stream_of(stream);
    REQUIRE(s, INVALID_HANDLE);
    if (!bytes) return SUCCESS;
    if (to_kind == EITHER) to_kind = is_device_address(to) ? DEVICE : HOST;
    if (from_kind == EITHER) from_kind = is_device_address(from) ? DEVICE : HOST;
    REQUIRE(may_copy(to, bytes, to_kind == DEVICE, name) && may_copy(from, bytes, from_kind == DEVICE, name),
            INVALID_VALUE);
    Operation draft = {.kind = COPY, .to = to, .from = from, .bytes = bytes};
    CUresult code = s->capture ? SUCCESS : settle(&draft);
    if (code) return code;
    Operation* operation = put(s, COPY, name);
    operation->to = to;
    operation->from = from;
    operation->bytes = bytes;
    operation->from_host = draft.from_host;
    operation->steady = draft.steady;
    operation->hash = draft.hash;
    return SUCCESS;
}

// The copies that return when they are done.
static CUresult copy_now(uint64_t to, int to_kind, uint64_t from, int from_kind, uint64_t bytes, const char* name) {
    if (break_captures(current_context())) return CAPTURE_UNSUPPORTED;
    CUresult code = copy(to, to_kind, from, from_kind, bytes, NULL, name);
    if (code) return code;
    wait_for(stream_of(NULL), UINT64_MAX);
    return current_context()->lost;
}

API CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes) {
    ENTER(CONTEXT);
    return copy_now(to, DEVICE, (uint64_t)from, HOST, bytes, __func__);
}
API CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes) {
    ENTER(CONTEXT);
    return copy_now((uint64_t)to, HOST, from, DEVICE, bytes, __func__);
}
API CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    ENTER(CONTEXT);
    return copy_now(to, DEVICE, from, DEVICE, bytes, __func__);
}
API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, void* stream) {
    ENTER(CONTEXT);
    return copy(to, DEVICE, (uint64_t)from, HOST, bytes, stream, __func__);
}
API CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, void* stream) {
    ENTER(CONTEXT);
    return copy((uint64_t)to, HOST, from, DEVICE, bytes, stream, __func__);
}
API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, void* stream) {
    ENTER(CONTEXT);
    return copy(to, DEVICE, from, DEVICE, bytes, stream, __func__);
}
API CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, void* stream) {
    ENTER(CONTEXT);
    return copy(to, EITHER, from, EITHER, bytes, stream, __func__);
}

static bool on(uint64_t address, const Context* context) {
    Context* owner;
    Allocation* allocation;
    return find_device_memory(address, &owner, &allocation) && owner == context;
}
API CUresult cuMemcpyPeerAsync(CUdeviceptr to, void* to_context, CUdeviceptr from, void* from_context, size_t bytes,
                               void* stream) {
    ENTER(CONTEXT);
    if (!on(to, to_context) || !on(from, from_context)) {
        problem("%s: an address is not of the device that the call names", __func__);
        return INVALID_VALUE;
    }
    return copy(to, DEVICE, from, DEVICE, bytes, stream, __func__);
}

static CUresult fill(CUdeviceptr to, uint32_t value, int width, size_t count, void* stream, const char* name) {
    Stream* s = stream_of(stream);
    REQUIRE(s, INVALID_HANDLE);
    if (!count) return SUCCESS;
    REQUIRE(to % (uint64_t)width == 0 && may_copy(to, count * (uint64_t)width, true, name), INVALID_VALUE);
    Operation* operation = put(s, FILL, name);
    operation->to = to;
    operation->value = value;
    operation->width = width;
    operation->bytes = count;
    return SUCCESS;
}
API CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, void* stream) {
    ENTER(CONTEXT);
    return fill(to, value, 1, count, stream, __func__);
}
API CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t count, void* stream) {
    ENTER(CONTEXT);
    return fill(to, value, 2, count, stream, __func__);
}
API CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, void* stream) {
    ENTER(CONTEXT);
    return fill(to, value, 4, count, stream, __func__);
}
