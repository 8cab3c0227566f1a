// Modules of PTX text, their functions, and launches.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "double.h"

// Made by Python: PTX text -> machine code. It calls double_add_* for what it finds, and returns a code of the driver.
typedef CUresult (*Compiler)(const char* text, Module* module, char* message, size_t room);
static Compiler compiler;
API void double_set_compiler(Compiler c) { compiler = c; }

// A program that a test starts calls no install(). If it is a Python program, the double lets it import the compiler.
static void import_compiler(void) {
    int (*ensure)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "PyGILState_Ensure");
    void (*release)(int) = (void (*)(int))dlsym(RTLD_DEFAULT, "PyGILState_Release");
    int (*run)(const char*) = (int (*)(const char*))dlsym(RTLD_DEFAULT, "PyRun_SimpleString");
    if (!ensure || !release || !run) return;
    int state = ensure();
    run("exec(\"\"\"\n"
        "import sys\n"
        "sys.path.append('" TESTS
        "')\n"
        "from double.library import double\n"
        "sys.path.remove('" TESTS
        "')\n"
        "double()\n"
        "\"\"\", {})\n");  // names of its own: two threads may be here, and the program has its own
    release(state);
}

API void double_add_function(Module* module, const char* name, Kernel code, int params, const uint32_t* offsets,
                             const uint32_t* bytes, const uint32_t* limits) {
    Function* f = calloc(1, sizeof *f);
    f->magic = FUNCTION_MAGIC;
    f->module = module;
    f->name = strdup(name);
    f->code = code;
    f->params = params;
    for (int i = 0; i < params && i < MOST_PARAMS; ++i) {
        f->offset[i] = offsets[i];
        f->bytes[i] = bytes[i];
        f->param_bytes = offsets[i] + bytes[i];
    }
    f->shared = limits[0];
    f->local = limits[1];
    f->threads = limits[2];
    memcpy(f->required, limits + 3, sizeof f->required);
    f->dynamic = SHARED_USUAL > f->shared ? SHARED_USUAL - f->shared : 0;
    f->next = module->functions;
    module->functions = f;
}

API void double_add_variable(Module* module, const char* name, uint64_t offset, uint64_t bytes) {
    Variable* v = calloc(1, sizeof *v);
    *v = (Variable){strdup(name), offset, bytes, module->variables};
    module->variables = v;
}

// The bytes of all variables of a module, in memory of its device.
API CUresult double_set_image(Module* module, const void* bytes, uint64_t count) {
    CUresult code = allocate(module->context, count, false, &module->image);
    if (!code) move_bytes(module->image, (uint64_t)bytes, count, "cuModuleLoadData");
    --counts.allocations;  // not an allocation of the program
    return code;
}

API const char* double_module_text(const Module* module) { return module->text; }

// A cubin of the double: a head that no text has, and the text.
static const char cubin_begins[8] =
    "\x7f"
    "ELFdbl";
static bool is_cubin(const void* image) { return memcmp(image, cubin_begins, 4) == 0; }

// -- modules ---------------------------------------------------------------------------------------------------------
// The compiler runs without the lock: it is Python, and a thread that has Python's lock may be waiting for ours.
static CUresult load(void** module, const void* image, char* message, size_t room) {
    Module* m = calloc(1, sizeof *m);
    m->magic = MODULE_MAGIC;
    m->context = current_context();
    m->text = strdup(is_cubin(image) ? (const char*)image + sizeof cubin_begins : image);
    if (!compiler) import_compiler();
    if (!compiler) {
        snprintf(message, room, "no compiler of PTX: call install() of tests/double/library.py");
        problem("cuModuleLoadData: %s", message);
        return INVALID_PTX;
    }
    CUresult code = compiler(m->text, m, message, room);
    if (code) {
        problem("cuModuleLoadData: %s", message);
        return code;
    }
    ENTER(ANYTIME);
    ++counts.modules;
    counts.compilations += !is_cubin(image);
    *module = m;
    return SUCCESS;
}

API CUresult cuModuleLoadData(void** module, const void* image) {
    {
        ENTER(CONTEXT);
    }
    char message[1024] = "";
    return load(module, image, message, sizeof message);
}

API CUresult cuModuleLoadDataEx(void** module, const void* image, unsigned count, const int* options, void** values) {
    {
        ENTER(CONTEXT);
    }
    enum { ERROR_LOG = 5, ERROR_LOG_BYTES = 6 };
    char message[1024] = "", *log = NULL;
    size_t room = 0;
    for (unsigned i = 0; i < count; ++i) {
        if (options[i] == ERROR_LOG) log = values[i];
        if (options[i] == ERROR_LOG_BYTES) room = (size_t)(uintptr_t)values[i];
    }
    CUresult code = load(module, image, message, sizeof message);
    if (log && room) snprintf(log, room, "%s", message);
    return code;
}

// -- linking: texts become a cubin, which the program may keep
// ---------------------------------------------------------
typedef struct {
    uint32_t magic;
    char* cubin;
    size_t bytes;
} Link;
enum { LINK_MAGIC = 0x1111, FROM_PTX = 1 };

API CUresult cuLinkCreate_v2(unsigned count, const int* options, void** values, void** link) {
    ENTER(CONTEXT);
    (void)count, (void)options, (void)values;
    Link* l = calloc(1, sizeof *l);
    l->magic = LINK_MAGIC;
    *link = l;
    return SUCCESS;
}

API CUresult cuLinkAddData_v2(void* link, int type, void* data, size_t bytes, const char* name, unsigned count,
                              const int* options, void** values) {
    ENTER(CONTEXT);
    (void)name, (void)count, (void)options, (void)values;
    Link* l = link;
    REQUIRE(valid(l, LINK_MAGIC), INVALID_HANDLE);
    REQUIRE(type == FROM_PTX && !l->cubin, INVALID_VALUE);
    l->bytes = sizeof cubin_begins + bytes + 1;
    l->cubin = calloc(1, l->bytes);
    memcpy(l->cubin, cubin_begins, sizeof cubin_begins);
    memcpy(l->cubin + sizeof cubin_begins, data, bytes);
    ++counts.compilations;
    return SUCCESS;
}

API CUresult cuLinkComplete(void* link, void** cubin, size_t* bytes) {
    ENTER(CONTEXT);
    Link* l = link;
    REQUIRE(valid(l, LINK_MAGIC) && l->cubin, INVALID_HANDLE);
    *cubin = l->cubin;
    *bytes = l->bytes;
    return SUCCESS;
}

// The cubin belongs to the link.
API CUresult cuLinkDestroy(void* link) {
    ENTER(CONTEXT);
    Link* l = link;
    REQUIRE(valid(l, LINK_MAGIC), INVALID_HANDLE);
    memset(l->cubin, POISON, l->bytes);
    free(l->cubin);
    l->magic = 0;
    return SUCCESS;
}

API CUresult cuModuleUnload(void* module) {
    ENTER(CONTEXT);
    Module* m = module;
    REQUIRE(valid(m, MODULE_MAGIC), INVALID_HANDLE);
    run_all(m->context);
    for (Function* f = m->functions; f; f = f->next) f->magic = 0;  // not freed, so that a later use is noticed
    m->magic = 0;
    --counts.modules;
    return SUCCESS;
}

API CUresult cuModuleGetFunction(void** function, void* module, const char* name) {
    ENTER(CONTEXT);
    Module* m = module;
    REQUIRE(valid(m, MODULE_MAGIC), INVALID_HANDLE);
    for (Function* f = m->functions; f; f = f->next)
        if (strcmp(f->name, name) == 0) return *function = f, SUCCESS;
    return NOT_FOUND;
}

API CUresult cuModuleGetGlobal_v2(CUdeviceptr* address, size_t* bytes, void* module, const char* name) {
    ENTER(CONTEXT);
    Module* m = module;
    REQUIRE(valid(m, MODULE_MAGIC), INVALID_HANDLE);
    for (Variable* v = m->variables; v; v = v->next)
        if (strcmp(v->name, name) == 0) {
            if (address) *address = m->image + v->offset;
            if (bytes) *bytes = v->bytes;
            return SUCCESS;
        }
    return NOT_FOUND;
}

// -- functions -------------------------------------------------------------------------------------------------------
enum {
    MAX_THREADS = 0,
    SHARED_BYTES = 1,
    CONST_BYTES = 2,
    LOCAL_BYTES = 3,
    REGISTERS = 4,
    PTX_VERSION = 5,
    BINARY_VERSION = 6,
    MAX_DYNAMIC = 8,
    CARVEOUT = 9
};

API CUresult cuFuncGetAttribute(int* value, int attribute, void* function) {
    ENTER(CONTEXT);
    Function* f = function;
    REQUIRE(valid(f, FUNCTION_MAGIC), INVALID_HANDLE);
    const int table[] = {(int)f->threads, (int)f->shared, 0, (int)f->local, 32, 90, 90, 0, (int)f->dynamic, -1};
    REQUIRE(attribute >= 0 && attribute <= CARVEOUT, INVALID_VALUE);
    *value = table[attribute];
    return SUCCESS;
}

API CUresult cuFuncSetAttribute(void* function, int attribute, int value) {
    ENTER(CONTEXT);
    Function* f = function;
    REQUIRE(valid(f, FUNCTION_MAGIC), INVALID_HANDLE);
    if (attribute == CARVEOUT) return SUCCESS;
    REQUIRE(attribute == MAX_DYNAMIC && value >= 0 && (uint32_t)value + f->shared <= SHARED_MOST, INVALID_VALUE);
    f->dynamic = (uint32_t)value;
    return SUCCESS;
}

API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void* function, int threads, size_t dynamic) {
    ENTER(CONTEXT);
    Function* f = function;
    REQUIRE(valid(f, FUNCTION_MAGIC), INVALID_HANDLE);
    REQUIRE(threads > 0, INVALID_VALUE);
    size_t shared = f->shared + dynamic + 1024;
    size_t by_shared = (228u << 10) / shared, by_threads = 2048u / (unsigned)threads;
    *blocks = (int)(by_shared < by_threads ? by_shared : by_threads);
    if (*blocks > 32) *blocks = 32;
    return SUCCESS;
}

// What is wrong with a launch, or NULL.
static const char* refusal(const Function* f, const Shape* shape) {
    const uint32_t *g = shape->grid, *b = shape->block;
    if (!g[0] || !g[1] || !g[2] || !b[0] || !b[1] || !b[2]) return "a dimension of 0";
    if (g[0] > 0x7fffffff || g[1] > 65535 || g[2] > 65535) return "a grid that is too large";
    if (b[0] > 1024 || b[1] > 1024 || b[2] > 64) return "a block that is too large";
    if ((uint64_t)b[0] * b[1] * b[2] > f->threads)
        return "more threads in a block than the kernel's .maxntid; without one, more than any kernel has registers "
               "for";
    if (f->required[0] && memcmp(b, f->required, sizeof f->required)) return "another block than .reqntid says";
    if (shape->shared > f->dynamic) return "more dynamic shared memory than the function has been allowed";
    return NULL;
}

// Parameters come one by one, or packed into a buffer as the text lays them out.
static CUresult gather_params(const Function* f, void** params, void** extra, char* packed) {
    enum { END = 0, BUFFER = 1, BUFFER_BYTES = 2 };
    const char* buffer = NULL;
    size_t bytes = 0;
    if (params && extra) return INVALID_VALUE;
    for (; extra && *extra != (void*)END; extra += 2) {
        if (*extra == (void*)BUFFER) buffer = extra[1];
        if (*extra == (void*)BUFFER_BYTES) bytes = *(size_t*)extra[1];
    }
    if (buffer) {
        REQUIRE(bytes == f->param_bytes, INVALID_VALUE);
        memcpy(packed, buffer, bytes);
        return SUCCESS;
    }
    REQUIRE(params || !f->params, INVALID_VALUE);
    for (int i = 0; i < f->params; ++i) {
        REQUIRE(params[i], INVALID_VALUE);
        memcpy(packed + f->offset[i], params[i], f->bytes[i]);
    }
    return SUCCESS;
}

API CUresult cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                            unsigned bz, unsigned shared, void* stream, void** params, void** extra) {
    ENTER(CONTEXT);
    Function* f = function;
    Stream* s = stream_of(stream);
    REQUIRE(valid(f, FUNCTION_MAGIC) && s, INVALID_HANDLE);
    if (s->context != f->module->context || s->context != current_context()) {
        problem("cuLaunchKernel: function `%s` of device %d, stream of device %d, current device %d", f->name,
                f->module->context->device, s->context->device, current_context()->device);
        return INVALID_HANDLE;
    }
    Shape shape = {{gx, gy, gz}, {bx, by, bz}, shared};
    const char* why = refusal(f, &shape);
    if (why) {
        problem("cuLaunchKernel of `%s`, grid (%u, %u, %u), block (%u, %u, %u), %u bytes of shared memory: %s", f->name,
                gx, gy, gz, bx, by, bz, shared, why);
        return INVALID_VALUE;
    }
    char* packed = calloc(1, PARAM_BYTES);
    CUresult code = gather_params(f, params, extra, packed);
    if (code) return free(packed), code;
    Operation* operation = put(s, LAUNCH, __func__);
    operation->function = f;
    operation->shape = shape;
    operation->params = packed;
    return SUCCESS;
}
