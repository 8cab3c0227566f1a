// The CUDA driver, by dlopen: neither building nor running tengen needs a toolkit. The library is libcuda.so.1, or what
// the environment variable TENGEN_CUDA_LIBRARY names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace tengen::cuda {

// What the driver's functions take and give, as its documentation has them.
using Result = int;
using DeviceId = int;
using Address = uint64_t;
using Context = struct ContextType*;
using Stream = struct StreamType*;
using Event = struct EventType*;
using Module = struct ModuleType*;
using Link = struct LinkType*;
using Graph = struct GraphType*;
using Executable = struct ExecutableType*;
using Function = struct FunctionType*;

enum : Result { kSuccess = 0, kOutOfMemory = 2, kNotReady = 600 };
enum { kMajor = 75, kMinor = 76 };  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR

// One row a function: its name in tengen, in the library, and its arguments.
#define TENGEN_CUDA_FUNCTIONS(X)                                                                                      \
    X(init, cuInit, (unsigned flags))                                                                                 \
    X(driver_version, cuDriverGetVersion, (int* version))                                                             \
    X(device_count, cuDeviceGetCount, (int* count))                                                                   \
    X(device, cuDeviceGet, (DeviceId * device, int index))                                                            \
    X(device_name, cuDeviceGetName, (char* name, int size, DeviceId device))                                          \
    X(total_memory, cuDeviceTotalMem_v2, (size_t* bytes, DeviceId device))                                            \
    X(attribute, cuDeviceGetAttribute, (int* value, int attribute, DeviceId device))                                  \
    X(retain_context, cuDevicePrimaryCtxRetain, (Context * context, DeviceId device))                                 \
    X(set_context, cuCtxSetCurrent, (Context context))                                                                \
    X(synchronize_context, cuCtxSynchronize, (void))                                                                  \
    X(allocate, cuMemAlloc_v2, (Address * address, size_t bytes))                                                     \
    X(free, cuMemFree_v2, (Address address))                                                                          \
    X(memory_info, cuMemGetInfo_v2, (size_t* free, size_t* total))                                                    \
    X(allocate_host, cuMemHostAlloc, (void** memory, size_t bytes, unsigned flags))                                   \
    X(copy_in, cuMemcpyHtoDAsync_v2, (Address to, const void* from, size_t bytes, Stream stream))                     \
    X(copy_out, cuMemcpyDtoHAsync_v2, (void* to, Address from, size_t bytes, Stream stream))                          \
    X(copy, cuMemcpyDtoDAsync_v2, (Address to, Address from, size_t bytes, Stream stream))                            \
    X(fill, cuMemsetD32Async, (Address to, unsigned value, size_t count, Stream stream))                              \
    X(create_stream, cuStreamCreate, (Stream * stream, unsigned flags))                                               \
    X(synchronize, cuStreamSynchronize, (Stream stream))                                                              \
    X(create_event, cuEventCreate, (Event * event, unsigned flags))                                                   \
    X(record, cuEventRecord, (Event event, Stream stream))                                                            \
    X(wait_event, cuStreamWaitEvent, (Stream stream, Event event, unsigned flags))                                    \
    X(synchronize_event, cuEventSynchronize, (Event event))                                                           \
    X(query_event, cuEventQuery, (Event event))                                                                       \
    X(destroy_event, cuEventDestroy_v2, (Event event))                                                                \
    X(elapsed, cuEventElapsedTime, (float* milliseconds, Event begin, Event end))                                     \
    X(begin_capture, cuStreamBeginCapture_v2, (Stream stream, int mode))                                              \
    X(end_capture, cuStreamEndCapture, (Stream stream, Graph * graph))                                                \
    X(destroy_graph, cuGraphDestroy, (Graph graph))                                                                   \
    X(instantiate, cuGraphInstantiateWithFlags, (Executable * made, Graph graph, unsigned long long flags))           \
    X(launch_graph, cuGraphLaunch, (Executable graph, Stream stream))                                                 \
    X(destroy_executable, cuGraphExecDestroy, (Executable graph))                                                     \
    X(load_module, cuModuleLoadDataEx,                                                                                \
      (Module * module, const void* image, unsigned count, int* options, void** values))                              \
    X(create_link, cuLinkCreate_v2, (unsigned count, int* options, void** values, Link* link))                        \
    X(add_to_link, cuLinkAddData_v2,                                                                                  \
      (Link link, int type, void* data, size_t bytes, const char* name, unsigned count, int* options, void** values)) \
    X(complete_link, cuLinkComplete, (Link link, void** code, size_t* bytes))                                         \
    X(destroy_link, cuLinkDestroy, (Link link))                                                                       \
    X(function, cuModuleGetFunction, (Function * function, Module module, const char* name))                          \
    X(set_attribute, cuFuncSetAttribute, (Function function, int attribute, int value))                               \
    X(launch, cuLaunchKernel,                                                                                         \
      (Function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,      \
       unsigned block_z, unsigned shared, Stream stream, void** parameters, void** extra))                            \
    X(error_name, cuGetErrorName, (Result result, const char** name))                                                 \
    X(error_text, cuGetErrorString, (Result result, const char** text))

struct Driver {
#define TENGEN_DECLARE(member, symbol, arguments) Result(*member) arguments = nullptr;
    TENGEN_CUDA_FUNCTIONS(TENGEN_DECLARE)
#undef TENGEN_DECLARE

    int count = 0;    // of devices
    int version = 0;  // 12040 is 12.4
    // Why "xpu" is not a GPU although there may be some; empty: it is, or there is none.
    std::string fault;
};

// A call of the driver that failed.
class CudaError : public std::runtime_error {
  public:
    CudaError(const std::string& where, const char* call, Result result);
    const Result result;
};

inline void check(const std::string& where, const char* call, Result result) {
    if (result != kSuccess) throw CudaError(where, call, result);
}

// Loaded when first asked for, and then this process has begun to use CUDA: children that it forks later cannot.
// Without a library or a device, `count` is 0. Throws std::runtime_error if TENGEN_CUDA_LIBRARY names something else
// than a CUDA driver.
const Driver& driver();
// How many devices it would find, and its version (12040 is 12.4; 0: there is none). Neither begins to use CUDA.
int count_devices();
int driver_version();
// Whether this process has begun to use CUDA, and there is a device; and whether the one that it was forked from had.
bool has_begun();
bool is_forked();

}  // namespace tengen::cuda
