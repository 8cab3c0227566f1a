#include "cuda/driver.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <utility>

namespace tengen::cuda {

namespace {

constexpr const char* kLibrary = "libcuda.so.1";

constexpr const char* kLeastVersion = "11.4";  // which has all of the functions
constexpr std::pair kLeastCapability(7, 5);
constexpr Result kStubLibrary = 34, kNoDevice = 100;

// What the driver says of a failure, "CUDA_ERROR_INVALID_VALUE: invalid argument".
std::string explained(const Driver& driver, Result result) {
    const char *name = nullptr, *text = nullptr;
    driver.error_name(result, &name);
    driver.error_text(result, &text);
    return (name ? name : "CUDA error " + std::to_string(result)) + (text ? std::string(": ") + text : "");
}

// 12.4 for 12040.
std::string spelled(int version) { return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10); }

// Empty, or why this is no driver that tengen can use.
std::string find_functions(void* library, Driver& made, const std::string& path) {
    std::string missing;
    auto find = [&](const char* name) {
        void* found = dlsym(library, name);
        if (!found && missing.empty()) missing = name;
        return found;
    };
#define TENGEN_FIND(member, symbol, arguments) made.member = reinterpret_cast<decltype(made.member)>(find(#symbol));
    TENGEN_CUDA_FUNCTIONS(TENGEN_FIND)
#undef TENGEN_FIND
    if (missing.empty()) return "";
    const bool old = made.driver_version && made.driver_version(&made.version) == kSuccess;
    return path + " is no CUDA driver that tengen can use: it has no " + missing +
           (old ? "; it is that of CUDA " + spelled(made.version) + ", and tengen needs that of " + kLeastVersion +
                      " or later"
                : "");
}

// Its functions, without a call that would begin to use CUDA.
Driver load() {
    const char* named = std::getenv("TENGEN_CUDA_LIBRARY");
    const bool asked = named && *named;
    const std::string path = asked ? named : kLibrary;
    Driver made, none;
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        if (asked) throw std::runtime_error("TENGEN_CUDA_LIBRARY: " + std::string(dlerror()));
        return none;
    }
    none.fault = find_functions(library, made, path);
    if (none.fault.empty()) {
        made.driver_version(&made.version);
        return made;
    }
    if (asked) throw std::runtime_error(none.fault);
    return none;  // such a driver serves other programs
}

const Driver& loaded() {
    static const Driver& loaded = *new Driver(load());
    return loaded;
}

// A child process has the memory of this one, but not its connection to the driver, which cannot be made twice.
std::atomic<bool> begun = false, in_child = false;

std::string fault_of(const Driver& made, DeviceId id) {
    int major = 0, minor = 0;
    std::array<char, 256> name{};
    const bool known = made.attribute(&major, kMajor, id) == kSuccess && made.attribute(&minor, kMinor, id) == kSuccess;
    if (!known || std::pair(major, minor) >= kLeastCapability) return "";
    made.device_name(name.data(), name.size(), id);
    return std::string("gpu0 (") + name.data() + ") has compute capability " + std::to_string(major) + "." +
           std::to_string(minor) + ", and tengen makes kernels for " + std::to_string(kLeastCapability.first) + "." +
           std::to_string(kLeastCapability.second) + " and later; CUDA_VISIBLE_DEVICES chooses another GPU";
}

Driver begin() {
    Driver made = loaded();
    if (!made.init) return made;
    static const int watched = pthread_atfork(nullptr, nullptr, [] { in_child = begun.load(); });
    static_cast<void>(watched);
    begun = true;
    Result result = made.init(0);
    if (result == kSuccess) result = made.device_count(&made.count);
    if (result != kSuccess) made.count = 0;
    // A machine without a GPU may well have the library, which then says so.
    if (result != kSuccess && result != kNoDevice && result != kStubLibrary) {
        made.fault = "the CUDA driver cannot be used: cuInit failed with " + explained(made, result);
    }
    DeviceId id = 0;
    if (made.count && made.device(&id, 0) == kSuccess) made.fault = fault_of(made, id);
    return made;
}

// What a child process finds, which may do what this one must not.
int count_in_child() {
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) return driver().count;
    const pid_t child = fork();
    if (child == 0) {
        const int count = driver().count;
        _exit(write(ends[1], &count, sizeof count) == sizeof count ? 0 : 1);
    }
    close(ends[1]);
    int found = 0;
    ssize_t bytes = -1;
    if (child > 0) {
        do bytes = read(ends[0], &found, sizeof found);
        while (bytes < 0 && errno == EINTR);
        while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
        }
    }
    close(ends[0]);
    return bytes == sizeof found ? found : driver().count;
}

}  // namespace

CudaError::CudaError(const std::string& where, const char* call, Result result)
    : std::runtime_error(where + ": " + call + " failed with " + explained(driver(), result)), result(result) {}

const Driver& driver() {
    static const Driver& driver = *new Driver(begin());
    return driver;
}

int count_devices() {
    if (begun) return driver().count;
    if (!loaded().init) return 0;
    static const int found = count_in_child();
    return found;
}

bool has_begun() { return begun && driver().count; }

bool is_forked() { return in_child; }

int driver_version() { return loaded().version; }

}  // namespace tengen::cuda
