// A device is where values lie and Plans run. This is all that the runtime knows of one; each kind implements it: the
// host in host.cpp, NVIDIA's GPUs in cuda/.
#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "allocator.h"
#include "ref.h"

namespace tengen {

struct Plan;
struct Slots;
struct Storage;

struct DeviceProperties {
    std::string name;
    int major = 0, minor = 0;  // of the compute capability
    size_t memory = 0;         // bytes
    int multiprocessors = 0;
    int threads = 0;    // of a block, at most
    size_t shared = 0;  // bytes of shared memory that a block may have
};

// Seconds of what runs on a device, between the moments at which it came to each mark.
class Stopwatch {
  public:
    Stopwatch() = default;
    Stopwatch(const Stopwatch&) = delete;
    Stopwatch& operator=(const Stopwatch&) = delete;
    virtual ~Stopwatch() = default;

    virtual void mark() = 0;
    // One fewer than there are marks. Waits for the last one.
    virtual std::vector<double> seconds() = 0;
};

class Device {
  public:
    explicit Device(std::string name) : name(std::move(name)) {}
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;
    virtual ~Device() = default;

    const std::string name;  // such as "gpu0"

    // Whether its memory is the host's, and all that was run has ended at return.
    virtual bool is_host() const { return false; }

    // Throws OutOfMemory.
    virtual Ref<Storage> allocate(size_t bytes) = 0;
    virtual void release(Storage* storage) noexcept = 0;

    // Both in the order of what runs here. After copy_in, `from` may change. copy_out waits, and throws what has failed
    // meanwhile.
    virtual void copy_in(std::byte* to, const void* from, size_t bytes) = 0;
    virtual void copy_out(void* to, const std::byte* from, size_t bytes) = 0;
    // Begins to copy a few bytes to the host, in the order of what runs here; what was begun before is given up.
    virtual void begin_copy_out(const std::byte* from, size_t bytes);
    // What it copied, if that is there by now, else null.
    virtual const std::byte* copied_out() { return nullptr; }
    // A new Storage with these values, which something will use that runs later: they may come while other things run.
    virtual Ref<Storage> receive_ahead(const void* from, size_t bytes) = 0;
    // Returns when all that was run has ended; throws what has failed.
    virtual void wait() = 0;

    // Runs the step `first`, a launch, and the launches after it that it takes together. Returns the number of the next
    // step.
    virtual size_t launch(const Plan& plan, size_t first, Slots& slots) = 0;
    // What a DeviceLaunch needs of the function with this name in `code`; it stays until the process ends. The host has
    // none: its kernels are addresses.
    virtual uintptr_t load(const std::string& code, const std::string& function);
    // Code that `load` takes at once, from code that it must compile.
    virtual std::string assemble(const std::string& code);

    virtual std::unique_ptr<Stopwatch> stopwatch() = 0;

    // What DLPack calls it: a type and a number.
    virtual std::pair<int, int> dlpack() const = 0;
    // Waits for what other libraries have been doing there.
    virtual void wait_for_others() {}

    virtual DeviceProperties properties() { return {name}; }
    // Bytes of memory that nobody uses.
    virtual size_t free_memory() { return 0; }
    virtual MemoryStats stats() = 0;
    virtual MemoryCounts counts() = 0;
    virtual void reset_peak() = 0;
    virtual void release_cached() noexcept = 0;
};

// The devices of a kind, which have numbers from 0.
struct DeviceKind {
    std::string name;        // such as "gpu"
    int dlpack;              // what DLPack calls it
    size_t (*count)();       // leaves the process able to fork children that use them
    bool (*begun)();         // whether it no longer is, as it has begun to use them
    std::string (*fault)();  // why tengen can use none, although there may be some; empty: it can, or there is none
    Device* (*device)(size_t index);  // null: it is not there
};
void add_device_kind(const DeviceKind& kind);
size_t device_count(const std::string& kind);
bool devices_begun(const std::string& kind);
std::string device_fault(const std::string& kind);
bool device_exists(const std::string& name);
// What "xpu" shall stand for: this kind, if there is a usable one, else "cpu". It is looked up when it is first asked
// for, and cannot change once a device has been looked up under that name. `tell` is called with the reason if it is
// "cpu" because of a fault.
void set_best_kind(const std::string& kind, const nanobind::object& tell);
std::string best_kind();

// The device behind a name such as "gpu0", "gpux:0" or "xpux". Throws nb::value_error if there is none.
Device& device_named(const std::string& name);
// The one that DLPack calls so; null if there is none.
Device* device_of_dlpack(int kind, int number);
// All that have been looked up.
std::vector<Device*> known_devices();

}  // namespace tengen
