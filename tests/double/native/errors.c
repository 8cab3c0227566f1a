// Calls and errors: the lock, who may call, failures that a test ordered, problems that it can read, names of codes.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "double.h"

static pthread_mutex_t mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static bool in_child;
bool initialized;
Counts counts;

int enter(void) {
    pthread_mutex_lock(&mutex);
    return 0;
}
void leave(int* entered) {
    (void)entered;
    pthread_mutex_unlock(&mutex);
}

// A child of fork has the parent's memory, but no device: the real driver works there only if the parent had not
// called cuInit.
static void forked(void) {
    mutex = (pthread_mutex_t)PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
    in_child = initialized;
}
__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, forked); }
bool lost_in_fork(void) { return in_child; }

// -- failures on demand ----------------------------------------------------------------------------------------------
typedef struct Failure {
    char function[48];
    long calls;
    CUresult code;
    struct Failure* next;
} Failure;
static Failure* failures;

// The `calls`-th call of a function from now on fails with `code`. The function "kernel" is the launch of a kernel as
// the device sees it: the launch is accepted, and fails later.
API void double_fail(const char* function, long calls, CUresult code) {
    __attribute__((cleanup(leave), unused)) int entered = enter();
    Failure* failure = calloc(1, sizeof *failure);
    snprintf(failure->function, sizeof failure->function, "%s", function);
    failure->calls = calls;
    failure->code = code;
    failure->next = failures;
    failures = failure;
}

CUresult planned_failure(const char* function) {
    CUresult code = SUCCESS;
    for (Failure** at = &failures; *at;) {
        Failure* failure = *at;
        if (strcmp(failure->function, function) == 0 && --failure->calls == 0) {
            code = failure->code;
            *at = failure->next;
            free(failure);
        } else {
            at = &failure->next;
        }
    }
    return code;
}

void forget_failures(void) {
    while (failures) {
        Failure* next = failures->next;
        free(failures);
        failures = next;
    }
}

CUresult admit(const char* function, Need need) {
    if (in_child) return NOT_INITIALIZED;
    CUresult code = planned_failure(function);
    if (code) return code;
    if (need != ANYTIME && !initialized) return NOT_INITIALIZED;
    if (need == CONTEXT) {
        if (!current_context()) return INVALID_CONTEXT;
        return current_context()->lost;
    }
    return SUCCESS;
}

// -- problems --------------------------------------------------------------------------------------------------------
static char* problems;
static size_t problem_bytes;

// Note what the program under test did wrong. A test reads it with double_problems.
void problem(const char* format, ...) {
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    fprintf(stderr, "double: %s\n", line);
    size_t more = strlen(line) + 2;
    problems = realloc(problems, problem_bytes + more);
    memcpy(problems + problem_bytes, line, more - 2);
    memcpy(problems + problem_bytes + more - 2, "\n", 2);
    problem_bytes += more - 1;
}

API const char* double_problems(void) { return problems ? problems : ""; }
API void double_forget_problems(void) {
    __attribute__((cleanup(leave), unused)) int entered = enter();
    free(problems);
    problems = NULL;
    problem_bytes = 0;
}

API long double_count(const char* what) {
    __attribute__((cleanup(leave), unused)) int entered = enter();
    const struct {
        const char* name;
        long number;
    } table[] = {{"launches", counts.launches},
                 {"threads", counts.threads},
                 {"barriers", counts.barriers},
                 {"collectives", counts.collectives},
                 {"copies", counts.copies},
                 {"waits", counts.waits},
                 {"operations", counts.operations},
                 {"allocations", counts.allocations},
                 {"pinned", counts.pinned},
                 {"streams", counts.streams},
                 {"events", counts.events},
                 {"modules", counts.modules},
                 {"graphs", counts.graphs},
                 {"compilations", counts.compilations},
                 {"graph launches", counts.graph_launches}};
    for (size_t i = 0; i < sizeof table / sizeof *table; ++i)
        if (strcmp(table[i].name, what) == 0) return table[i].number;
    return -1;
}

// -- names of codes --------------------------------------------------------------------------------------------------
static const struct {
    CUresult code;
    const char *name, *text;
} names[] = {
    {0, "CUDA_SUCCESS", "no error"},
    {1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {4, "CUDA_ERROR_DEINITIALIZED", "driver shutting down"},
    {46, "CUDA_ERROR_DEVICE_UNAVAILABLE", "CUDA-capable device(s) is/are busy or unavailable"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {200, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {209, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {214, "CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error encountered"},
    {217, "CUDA_ERROR_PEER_ACCESS_UNSUPPORTED", "peer access is not supported between these two devices"},
    {218, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."},
    {400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {500, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {600, "CUDA_ERROR_NOT_READY", "device not ready"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
    {702, "CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"},
    {704, "CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED", "peer access is already enabled"},
    {715, "CUDA_ERROR_ILLEGAL_INSTRUCTION", "an illegal instruction was encountered"},
    {716, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
    {719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {801, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {802, "CUDA_ERROR_SYSTEM_NOT_READY", "system not yet initialized"},
    {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "system has unsupported display driver / cuda driver combination"},
    {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
    {901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"},
    {902, "CUDA_ERROR_STREAM_CAPTURE_MERGE", "operation would result in a merge of separate capture sequences"},
    {903, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", "capture was not ended in the same stream as it began"},
    {904, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED", "capturing stream has unjoined work"},
    {907, "CUDA_ERROR_CAPTURED_EVENT", "operation not permitted on an event last recorded in a capturing stream"},
    {999, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

static CUresult look_up(CUresult code, const char** text, bool name) {
    for (size_t i = 0; i < sizeof names / sizeof *names; ++i)
        if (names[i].code == code) {
            *text = name ? names[i].name : names[i].text;
            return SUCCESS;
        }
    *text = NULL;
    return INVALID_VALUE;
}
API CUresult cuGetErrorName(CUresult code, const char** text) { return look_up(code, text, true); }
API CUresult cuGetErrorString(CUresult code, const char** text) { return look_up(code, text, false); }
