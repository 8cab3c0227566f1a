#include "host.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "pool.h"
#include "slots.h"

namespace tengen {

namespace {

// In units of `work`; a core does about ten thousand per microsecond. Waking a worker costs microseconds.
constexpr int64_t kPoolWork = 300'000;
constexpr int kDLCpu = 1;  // a DLDeviceType

bool is_joined(const Step& step) {
    const Launch* launch = std::get_if<Launch>(&step);
    return launch && launch->joined;
}

constexpr int64_t kPiece = 1 << 16;  // bytes: a few microseconds

// As a kernel: the addresses are to and from, the only number is how many bytes there are.
void copy_pieces(void** buffers, const int64_t* params, int64_t begin, int64_t end) {
    const int64_t first = begin * kPiece, last = std::min(end * kPiece, params[0]);
    std::memcpy(static_cast<std::byte*>(buffers[0]) + first, static_cast<const std::byte*>(buffers[1]) + first,
                static_cast<size_t>(last - first));
}

// Large values on all cores, like the launch of a kernel that reads and writes as much.
void copy(std::byte* to, const void* from, size_t size) {
    const int64_t bytes = static_cast<int64_t>(size);
    if (2 * bytes > kPoolWork) {
        void* buffers[] = {to, const_cast<void*>(from)};
        Job job{copy_pieces, buffers, &bytes, (bytes + kPiece - 1) / kPiece, false};
        ThreadPool::instance().run(&job, 1);
    } else if (bytes) {
        std::memcpy(to, from, size);
    }
}

class HostStopwatch final : public Stopwatch {
  public:
    void mark() override { marks_.push_back(Clock::now()); }
    std::vector<double> seconds() override {
        std::vector<double> found;
        for (size_t i = 1; i < marks_.size(); ++i) {
            found.push_back(std::chrono::duration<double>(marks_[i] - marks_[i - 1]).count());
        }
        return found;
    }

  private:
    using Clock = std::chrono::steady_clock;
    std::vector<Clock::time_point> marks_;
};

class HostDevice final : public Device {
  public:
    HostDevice() : Device("cpu0") {}

    bool is_host() const override { return true; }
    Ref<Storage> allocate(size_t bytes) override { return Storage::create(bytes); }
    void release(Storage* storage) noexcept override { Allocator::instance().release(storage, storage->block); }
    void copy_in(std::byte* to, const void* from, size_t bytes) override { copy(to, from, bytes); }
    Ref<Storage> receive_ahead(const void* from, size_t bytes) override {
        Ref<Storage> made = allocate(bytes);
        copy_in(made->data, from, bytes);
        return made;
    }
    void copy_out(void* to, const std::byte* from, size_t bytes) override {
        copy(static_cast<std::byte*>(to), from, bytes);
    }
    void wait() override {}
    std::pair<int, int> dlpack() const override { return {kDLCpu, 0}; }
    size_t launch(const Plan& plan, size_t first, Slots& slots) override;
    std::unique_ptr<Stopwatch> stopwatch() override { return std::make_unique<HostStopwatch>(); }
    MemoryStats stats() override { return Allocator::instance().stats(); }
    MemoryCounts counts() override { return Allocator::instance().counts(); }
    void reset_peak() override { Allocator::instance().reset_peak(); }
    void release_cached() noexcept override { Allocator::instance().release_cached(); }
};

size_t HostDevice::launch(const Plan& plan, size_t first, Slots& slots) {
    size_t next = first, pointer_count = 0;
    do {
        pointer_count += std::get<Launch>(plan.steps[next++]).buffers.size();
    } while (next < plan.steps.size() && is_joined(plan.steps[next]));

    SmallArray<void*, 32> pointers(pointer_count);
    SmallArray<Job, 8> jobs(next - first);
    void** buffers = pointers.data();
    std::byte* const* const base = slots.base.data();
    size_t count = 0;
    int64_t tiles = 0, work = 0;
    for (size_t i = first; i < next; ++i) {
        const Launch& step = std::get<Launch>(plan.steps[i]);
        if (step.tiles == 0 || slots.is_filled(step.skip_if)) continue;
        jobs[count++] = {step.kernel, buffers, step.params.data(), step.tiles, step.side};
        for (const Place& place : step.buffers) *buffers++ = base[place.slot] + place.offset;
        tiles += step.tiles;
        work += step.work;
    }
    if (tiles > 1 && work > kPoolWork) {
        ThreadPool::instance().run(jobs.data(), count);
    } else {
        for (size_t i = 0; i < count; ++i) jobs[i].run(0, jobs[i].tiles);
    }
    return next;
}

}  // namespace

Device& host_device() {
    static Device& host = *new HostDevice;  // outlives static destructors, as tensors may
    return host;
}

void add_host_devices() {
    // Any number names the host.
    add_device_kind({"cpu", kDLCpu, [] { return SIZE_MAX; }, [] { return false; }, [] { return std::string(); },
                     [](size_t) -> Device* { return &host_device(); }});
}

}  // namespace tengen
