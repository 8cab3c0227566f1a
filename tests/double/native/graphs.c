// Graphs: what a stream was asked to do while it was captured, to be done again by one call.
#include <stdlib.h>

#include "double.h"

enum { MOST_STREAMS = 16 };
typedef struct {
    uint32_t magic;
    bool executable;
    Stream* origin;
    Operation* first;
    Stream *captured[MOST_STREAMS],
        *own[MOST_STREAMS];  // streams that joined the capture, and those that do their work
    int streams;
} Graph;

enum { RELAXED = 2 };
static Capture* active;  // of those, the double allows one at a time
static int active_mode;

// Whether a call that no capture may contain came while one is active. The capture is of no use then.
bool break_captures(Context* context) {
    if (!active || active_mode == RELAXED || active->origin->context != context) return false;
    active->broken = true;
    return true;
}

API CUresult cuStreamBeginCapture_v2(void* stream, int mode) {
    ENTER(CONTEXT);
    Stream* s = stream_of(stream);
    REQUIRE(s, INVALID_HANDLE);
    REQUIRE(mode >= 0 && mode <= RELAXED, INVALID_VALUE);
    if (s == s->context->streams) return CAPTURE_UNSUPPORTED;  // the legacy stream cannot be captured
    if (active) {
        problem("cuStreamBeginCapture_v2: another capture is active; the double allows one at a time");
        return CAPTURE_UNSUPPORTED;
    }
    active = s->capture = calloc(1, sizeof *active);
    active->origin = s;
    active->last = &active->first;
    active_mode = mode;
    return SUCCESS;
}

API CUresult cuStreamIsCapturing(void* stream, int* status) {
    ENTER(CONTEXT);
    Stream* s = stream_of(stream);
    REQUIRE(s, INVALID_HANDLE);
    *status = !s->capture ? 0 : s->capture->broken ? 2 : 1;
    return SUCCESS;
}

static void free_operations(Operation* first) {
    while (first) {
        Operation* next = first->next;
        free_operation(first);
        first = next;
    }
}

API CUresult cuStreamEndCapture(void* stream, void** graph) {
    ENTER(CONTEXT);
    Stream* s = stream_of(stream);
    *graph = NULL;
    REQUIRE(s && s->capture, INVALID_HANDLE);
    Capture* capture = s->capture;
    if (capture->origin != s) return CAPTURE_UNMATCHED;
    bool unjoined = false;
    for (int i = 0; i < MOST_DEVICES; ++i)
        for (Stream* t = contexts[i].streams; t; t = t->next)
            if (t->capture == capture) {
                unjoined |= t != s && t->captured > t->joined;
                t->capture = NULL;
            }
    active = NULL;
    Operation* first = capture->first;
    CUresult code = capture->broken ? CAPTURE_INVALIDATED : unjoined ? CAPTURE_UNJOINED : SUCCESS;
    // The capture stays, for events that were recorded in it point to it.
    capture->first = NULL;
    if (code) return free_operations(first), code;
    Graph* g = malloc(sizeof *g);
    *g = (Graph){.magic = GRAPH_MAGIC, .origin = s, .first = first};
    *graph = g;
    ++counts.graphs;
    return SUCCESS;
}

API CUresult cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long flags) {
    ENTER(CONTEXT);
    (void)flags;
    Graph* g = graph;
    REQUIRE(valid(g, GRAPH_MAGIC) && !g->executable, INVALID_VALUE);
    Graph* e = malloc(sizeof *e);
    *e = (Graph){.magic = GRAPH_MAGIC, .executable = true, .origin = g->origin};
    Operation** last = &e->first;
    for (Operation* o = g->first; o; o = o->next, last = &(*last)->next) *last = copy_operation(o);
    *executable = e;
    ++counts.graphs;
    return SUCCESS;
}

// Which stream does what was captured from a stream: the one in which the graph is launched, or one of the graph's own.
static Stream* stream_for(Graph* e, Stream* captured, Stream* launched) {
    if (captured == e->origin) return launched;
    for (int i = 0; i < e->streams; ++i)
        if (e->captured[i] == captured) return e->own[i];
    if (e->streams == MOST_STREAMS) return NULL;
    Stream* own = make_stream(captured->context, false);
    own->dead = true;  // nobody has its handle
    e->captured[e->streams] = captured;
    return e->own[e->streams++] = own;
}

// An operation of a graph for one launch: its events are others each time.
static Operation* renewed(const Operation* operation, Stream* stream) {
    Operation* copy = copy_operation(operation);
    Record* captured = copy->record;
    if (!captured) return copy;
    if (copy->kind == RECORD) {
        captured->now = calloc(1, sizeof *captured->now);
        captured->now->stream = stream;
    }
    copy->record = captured->now;
    hold(copy->record);
    drop(captured);
    return copy;
}

API CUresult cuGraphLaunch(void* executable, void* stream) {
    ENTER(CONTEXT);
    Graph* e = executable;
    Stream* s = stream_of(stream);
    REQUIRE(valid(e, GRAPH_MAGIC) && e->executable, INVALID_VALUE);
    REQUIRE(s && s->context == e->origin->context, INVALID_HANDLE);
    REQUIRE(!s->capture, NOT_SUPPORTED);
    ++counts.graph_launches;
    for (Operation* o = e->first; o; o = o->next) {
        Stream* target = stream_for(e, o->captured_in, s);
        REQUIRE(target, NOT_SUPPORTED);
        Operation* operation = renewed(o, target);
        CUresult code = schedule(target, operation);
        if (code) return code;
        if (operation->kind == RECORD) operation->record->number = operation->number;
    }
    return SUCCESS;
}

static CUresult destroy(void* graph, bool executable) {
    Graph* g = graph;
    REQUIRE(valid(g, GRAPH_MAGIC) && g->executable == executable, INVALID_VALUE);
    free_operations(g->first);
    g->magic = 0;  // not freed, so that a later use is noticed
    --counts.graphs;
    return SUCCESS;
}
API CUresult cuGraphDestroy(void* graph) {
    ENTER(INITIALIZED);
    return destroy(graph, false);
}
API CUresult cuGraphExecDestroy(void* executable) {
    ENTER(INITIALIZED);
    return destroy(executable, true);
}
