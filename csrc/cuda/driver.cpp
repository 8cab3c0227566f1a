#include "cuda/driver.h"

#include <dlfcn.h>

#include <cstdlib>

namespace tengen::cuda {

namespace {

constexpr const char* kLibrary = "libcuda.so.1";

// What the driver says of a failure, "CUDA_ERROR_INVALID_VALUE: invalid argument".
std::string explained(Result result) {
    const char *name = nullptr, *text = nullptr;
    driver().error_name(result, &name);
    driver().error_text(result, &text);
    return (name ? name : "CUDA error " + std::to_string(result)) + (text ? std::string(": ") + text : "");
}

// Throws if a function is missing: then it is no CUDA driver, or an old one.
void find_functions(void* library, Driver& made, const std::string& path) {
    auto find = [&](const char* name) {
        void* found = dlsym(library, name);
        if (!found) throw std::runtime_error(path + " is no CUDA driver that tengen can use: it has no " + name);
        return found;
    };
#define TENGEN_FIND(member, symbol, arguments) made.member = reinterpret_cast<decltype(made.member)>(find(#symbol));
    TENGEN_CUDA_FUNCTIONS(TENGEN_FIND)
#undef TENGEN_FIND
}

Driver load() {
    const char* named = std::getenv("TENGEN_CUDA_LIBRARY");
    const bool asked = named && *named;
    const std::string path = asked ? named : kLibrary;
    Driver made;
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        if (asked) throw std::runtime_error("TENGEN_CUDA_LIBRARY: " + std::string(dlerror()));
        return made;
    }
    try {
        find_functions(library, made, path);
    } catch (const std::runtime_error&) {
        if (asked) throw;
        return Driver();  // such a driver serves other programs
    }
    // A machine without a GPU may well have the library, which then says so here.
    if (made.init(0) != kSuccess || made.device_count(&made.count) != kSuccess) made.count = 0;
    made.driver_version(&made.version);
    return made;
}

}  // namespace

CudaError::CudaError(const std::string& where, const char* call, Result result)
    : std::runtime_error(where + ": " + call + " failed with " + explained(result)), result(result) {}

const Driver& driver() {
    static const Driver& driver = *new Driver(load());
    return driver;
}

}  // namespace tengen::cuda
