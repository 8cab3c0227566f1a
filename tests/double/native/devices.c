// Devices, their primary contexts, and which of them is current in a thread.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "double.h"

Context contexts[MOST_DEVICES];
static int device_count = 2;
#ifndef DRIVER_VERSION
#define DRIVER_VERSION 13000
#endif
#ifndef CAPABILITY_MAJOR
#define CAPABILITY_MAJOR 9
#endif
static int driver_version = DRIVER_VERSION;
static __thread Context* stack[16];
static __thread int depth = 0;  // of the stack; the current context is on top

Context* current_context(void) { return depth ? stack[depth - 1] : NULL; }

static bool is_device(CUdevice device) { return device >= 0 && device < device_count; }

// -- what a test sets ------------------------------------------------------------------------------------------------
// Before cuInit. 0 devices: cuInit fails as it does on a machine without a GPU.
API void double_set_devices(int count) { device_count = count < MOST_DEVICES ? count : MOST_DEVICES; }
API void double_set_version(int version) { driver_version = version; }
API void double_set_memory(int device, uint64_t bytes) { contexts[device].limit = bytes; }
API uint64_t double_used_memory(int device) { return contexts[device].used; }
// From now on every call on this device fails, as after a fault of the hardware. 0: the device works again.
API void double_lose(int device, CUresult code) { contexts[device].lost = code; }

API void double_forget_failures(void) {
    __attribute__((cleanup(leave), unused)) int entered = enter();
    forget_failures();
    for (int i = 0; i < MOST_DEVICES; ++i) contexts[i].lost = SUCCESS;
}

// -- devices ---------------------------------------------------------------------------------------------------------
API CUresult cuInit(unsigned flags) {
    ENTER(ANYTIME);
    REQUIRE(flags == 0, INVALID_VALUE);
    const char* count = getenv("DOUBLE_DEVICES");
    if (count && !initialized) double_set_devices(atoi(count));
    if (device_count <= 0) return NO_DEVICE;
    for (int i = 0; !initialized && i < device_count; ++i) {
        contexts[i].device = i;
        if (!contexts[i].limit) contexts[i].limit = 8ull << 30;
        reserve_memory(&contexts[i]);
        make_stream(&contexts[i], true);  // the legacy stream
    }
    watch_the_host();
    initialized = true;
    return SUCCESS;
}

API CUresult cuDriverGetVersion(int* version) {
    ENTER(ANYTIME);
    *version = driver_version;
    return SUCCESS;
}

API CUresult cuDeviceGetCount(int* count) {
    ENTER(INITIALIZED);
    *count = device_count;
    return SUCCESS;
}

API CUresult cuDeviceGet(CUdevice* device, int ordinal) {
    ENTER(INITIALIZED);
    REQUIRE(is_device(ordinal), INVALID_DEVICE);
    *device = ordinal;
    return SUCCESS;
}

API CUresult cuDeviceGetName(char* name, int room, CUdevice device) {
    ENTER(INITIALIZED);
    REQUIRE(is_device(device), INVALID_DEVICE);
    snprintf(name, (size_t)room, "test double %d", device);
    return SUCCESS;
}

API CUresult cuDeviceGetUuid_v2(unsigned char* uuid, CUdevice device) {
    ENTER(INITIALIZED);
    REQUIRE(is_device(device), INVALID_DEVICE);
    memset(uuid, 0xD0 + device, 16);
    return SUCCESS;
}

API CUresult cuDeviceGetPCIBusId(char* id, int room, CUdevice device) {
    ENTER(INITIALIZED);
    REQUIRE(is_device(device), INVALID_DEVICE);
    snprintf(id, (size_t)room, "0000:%02x:00.0", device + 1);
    return SUCCESS;
}

API CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
    ENTER(INITIALIZED);
    REQUIRE(is_device(device), INVALID_DEVICE);
    *bytes = contexts[device].limit;
    return SUCCESS;
}

// An H200 in little: what is not here, the double refuses.
static const int attributes[][2] = {
    {1, MOST_THREADS},  // MAX_THREADS_PER_BLOCK
    {2, 1024},          // MAX_BLOCK_DIM_X
    {3, 1024},          // MAX_BLOCK_DIM_Y
    {4, 64},            // MAX_BLOCK_DIM_Z
    {5, 0x7fffffff},    // MAX_GRID_DIM_X
    {6, 65535},         // MAX_GRID_DIM_Y
    {7, 65535},         // MAX_GRID_DIM_Z
    {8, SHARED_USUAL},  // MAX_SHARED_MEMORY_PER_BLOCK
    {9, 65536},         // TOTAL_CONSTANT_MEMORY
    {10, WARP},         // WARP_SIZE
    {12, 65536},        // MAX_REGISTERS_PER_BLOCK
    {13, 1980000},      // CLOCK_RATE
    {14, 512},          // TEXTURE_ALIGNMENT
    {16, 132},          // MULTIPROCESSOR_COUNT
    {17, 0},            // KERNEL_EXEC_TIMEOUT
    {18, 0},            // INTEGRATED
    {19, 1},            // CAN_MAP_HOST_MEMORY
    {20, 0},            // COMPUTE_MODE
    {31, 1},            // CONCURRENT_KERNELS
    {32, 1},            // ECC_ENABLED
    {36, 3201000},      // MEMORY_CLOCK_RATE
    {37, 6144},         // GLOBAL_MEMORY_BUS_WIDTH
    {38, 50 << 20},     // L2_CACHE_SIZE
    {39, 2048},         // MAX_THREADS_PER_MULTIPROCESSOR
    {40, 3},            // ASYNC_ENGINE_COUNT
    {41, 1},            // UNIFIED_ADDRESSING
    {75, CAPABILITY_MAJOR},
    {76, 0},            // COMPUTE_CAPABILITY_MINOR
    {78, 1},            // STREAM_PRIORITIES_SUPPORTED
    {81, 228 << 10},    // MAX_SHARED_MEMORY_PER_MULTIPROCESSOR
    {82, 65536},        // MAX_REGISTERS_PER_MULTIPROCESSOR
    {83, 0},            // MANAGED_MEMORY
    {88, 0},            // PAGEABLE_MEMORY_ACCESS
    {95, 1},            // COOPERATIVE_LAUNCH
    {97, SHARED_MOST},  // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
    {106, 32},          // MAX_BLOCKS_PER_MULTIPROCESSOR
    {111, 1 << 10},     // RESERVED_SHARED_MEMORY_PER_BLOCK
    {115, 1},           // MEMORY_POOLS_SUPPORTED
};

API CUresult cuDeviceGetAttribute(int* value, int attribute, CUdevice device) {
    ENTER(INITIALIZED);
    REQUIRE(is_device(device), INVALID_DEVICE);
    if (attribute == 33) return *value = device + 1, SUCCESS;            // PCI_BUS_ID
    if (attribute == 34 || attribute == 50) return *value = 0, SUCCESS;  // PCI_DEVICE_ID, PCI_DOMAIN_ID
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; ++i)
        if (attributes[i][0] == attribute) return *value = attributes[i][1], SUCCESS;
    problem("cuDeviceGetAttribute: the double has no attribute %d; add it to devices.c", attribute);
    return INVALID_VALUE;
}

API CUresult cuDeviceCanAccessPeer(int* can, CUdevice device, CUdevice peer) {
    ENTER(INITIALIZED);
    REQUIRE(is_device(device) && is_device(peer), INVALID_DEVICE);
    *can = device != peer;
    return SUCCESS;
}

// -- contexts --------------------------------------------------------------------------------------------------------
API CUresult cuDevicePrimaryCtxRetain(void** context, CUdevice device) {
    ENTER(INITIALIZED);
    REQUIRE(is_device(device), INVALID_DEVICE);
    ++contexts[device].retained;
    *context = &contexts[device];
    return contexts[device].lost;
}

API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
    ENTER(INITIALIZED);
    REQUIRE(is_device(device), INVALID_DEVICE);
    REQUIRE(contexts[device].retained, INVALID_CONTEXT);
    if (--contexts[device].retained == 0) run_all(&contexts[device]);
    return SUCCESS;
}

API CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned* flags, int* active) {
    ENTER(INITIALIZED);
    REQUIRE(is_device(device), INVALID_DEVICE);
    *flags = 0;
    *active = contexts[device].retained > 0;
    return SUCCESS;
}

API CUresult cuCtxSetCurrent(void* context) {
    ENTER(INITIALIZED);
    Context* c = context;
    REQUIRE(!c || c->retained, INVALID_CONTEXT);
    if (depth) --depth;
    if (c) stack[depth++] = c;
    return SUCCESS;
}

API CUresult cuCtxGetCurrent(void** context) {
    ENTER(INITIALIZED);
    *context = current_context();
    return SUCCESS;
}

API CUresult cuCtxPushCurrent_v2(void* context) {
    ENTER(INITIALIZED);
    Context* c = context;
    REQUIRE(c && c->retained, INVALID_CONTEXT);
    REQUIRE(depth < (int)(sizeof stack / sizeof *stack), INVALID_VALUE);
    stack[depth++] = c;
    return SUCCESS;
}

API CUresult cuCtxPopCurrent_v2(void** context) {
    ENTER(INITIALIZED);
    REQUIRE(depth, INVALID_CONTEXT);
    --depth;
    if (context) *context = stack[depth];
    return SUCCESS;
}

API CUresult cuCtxGetDevice(CUdevice* device) {
    ENTER(INITIALIZED);
    REQUIRE(current_context(), INVALID_CONTEXT);
    *device = current_context()->device;
    return SUCCESS;
}

API CUresult cuCtxEnablePeerAccess(void* peer, unsigned flags) {
    ENTER(CONTEXT);
    Context* c = peer;
    REQUIRE(c && c->retained && flags == 0, INVALID_VALUE);
    REQUIRE(c != current_context(), INVALID_DEVICE);
    unsigned bit = 1u << c->device;
    if (current_context()->peers & bit) return PEER_ACCESS_ALREADY_ENABLED;
    current_context()->peers |= bit;
    return SUCCESS;
}

API void double_forbid_peers(void) {
    for (int i = 0; i < MOST_DEVICES; ++i) contexts[i].peers = 0;
}

API CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    ENTER(CONTEXT);
    *least = 0;
    *greatest = -5;
    return SUCCESS;
}
