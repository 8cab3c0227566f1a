#include "cuda/cuda_device.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>

#include "cuda/ahead.h"
#include "cuda/cuda_memory.h"
#include "cuda/driver.h"
#include "cuda/graphs.h"
#include "cuda/staging.h"
#include "cuda/stopwatch.h"
#include "slots.h"

namespace tengen::cuda {

namespace {

constexpr unsigned kNonBlocking = 1;          // CU_STREAM_NON_BLOCKING
constexpr int kMaxThreads = 1;                // CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK
constexpr int kMultiprocessors = 16;          // CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
constexpr int kSharedOptIn = 97;              // CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
constexpr int kDynamicShared = 8;             // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
constexpr uint32_t kFreeShared = 48 << 10;    // more than that a kernel must ask for
constexpr int kLogBuffer = 5, kLogBytes = 6;  // CU_JIT_ERROR_LOG_BUFFER, _SIZE_BYTES
constexpr size_t kMostLog = 4096;
constexpr int kFromText = 1;             // CU_JIT_INPUT_PTX
constexpr size_t kLeastAhead = 1 << 16;  // bytes: fewer are there as soon as they are sent
constexpr size_t kLeastOfGraph = 4;      // launches: fewer cost less than a graph of them
constexpr int kDLCuda = 2;               // a DLDeviceType

class CudaDevice final : public Device {
  public:
    explicit CudaDevice(int index)
        : Device("gpu" + std::to_string(index)), index_(index), memory_(name), ahead_(name) {}

    Ref<Storage> allocate(size_t bytes) override;
    void release(Storage* storage) noexcept override;
    void copy_in(std::byte* to, const void* from, size_t bytes) override;
    void copy_out(void* to, const std::byte* from, size_t bytes) override;
    void begin_copy_out(const std::byte* from, size_t bytes) override;
    const std::byte* copied_out() override;
    Ref<Storage> receive_ahead(const void* from, size_t bytes) override;
    void wait() override;
    size_t launch(const Plan& plan, size_t first, Slots& slots) override;
    uintptr_t load(const std::string& code, const std::string& function) override;
    std::string assemble(const std::string& code) override;

    std::unique_ptr<Stopwatch> stopwatch() override;

    std::pair<int, int> dlpack() const override { return {kDLCuda, index_}; }
    void wait_for_others() override;

    DeviceProperties properties() override;
    size_t free_memory() override;
    MemoryStats stats() override;
    MemoryCounts counts() override;
    void reset_peak() override;
    void release_cached() noexcept override;

  private:
    // Makes its context the current one of this thread; opens it the first time.
    void enter();
    void open();
    void check(const char* call, Result result) const { cuda::check(name, call, result); }
    // arrays: where to keep what the kernel reads; it must stay until the kernel has been launched, or its graph has.
    void launch_one(const DeviceLaunch& step, const Slots& slots, std::byte* const* base, Stream stream,
                    Arrays& arrays);
    Address array(const void* words, size_t bytes, Arrays& arrays);
    bool launch_graph(const Plan& plan, size_t first, size_t stop, const Slots& slots);
    Executable capture(const Plan& plan, size_t stop, const Slots& slots, std::byte* word, Graphs::Run& run);

    const int index_;
    std::mutex opening_;
    std::atomic<Context> context_ = nullptr;
    Stream stream_ = nullptr;
    Stream capturing_ = nullptr;  // in which nothing ever runs
    Memory memory_;
    Staging staging_;
    Answer answer_;
    Ahead ahead_;
};

void CudaDevice::open() {
    const std::lock_guard lock(opening_);
    if (context_.load()) return;
    DeviceId id = 0;
    Context context = nullptr;
    check("cuDeviceGet", driver().device(&id, index_));
    check("cuDevicePrimaryCtxRetain", driver().retain_context(&context, id));
    check("cuCtxSetCurrent", driver().set_context(context));
    check("cuStreamCreate", driver().create_stream(&stream_, kNonBlocking));
    check("cuStreamCreate", driver().create_stream(&capturing_, kNonBlocking));
    context_ = context;
}

void CudaDevice::enter() {
    if (is_forked()) {
        throw std::runtime_error(name +
                                 " cannot be used in this process: it was forked from one that had used a GPU already. "
                                 "Start it with the method 'spawn', or keep its work on the CPU: "
                                 "tengen.set_default_device('cpu0')");
    }
    if (!context_.load(std::memory_order_acquire)) open();
    // Each time: other libraries may have made another context the current one.
    check("cuCtxSetCurrent", driver().set_context(context_.load(std::memory_order_relaxed)));
}

Ref<Storage> CudaDevice::allocate(size_t bytes) {
    enter();
    const size_t block = memory_.block_of(bytes);
    char* memory = nullptr;
    try {
        memory = memory_.allocate(block);
    } catch (const OutOfMemory&) {
        ahead_.release_cached();  // the last try
        memory = memory_.allocate(block);
    }
    return Ref<Storage>(new Storage{0, false, bytes, reinterpret_cast<std::byte*>(memory), block, this});
}

Ref<Storage> CudaDevice::receive_ahead(const void* from, size_t bytes) {
    enter();
    if (bytes >= kLeastAhead) {
        try {
            const auto [memory, block] = ahead_.receive(static_cast<const std::byte*>(from), bytes, stream_);
            auto* data = reinterpret_cast<std::byte*>(memory);
            return Ref<Storage>(new Storage{0, false, bytes, data, block, this, nullptr, &ahead_});
        } catch (const OutOfMemory&) {  // there may be some where all other values are
        }
    }
    Ref<Storage> made = allocate(bytes);
    copy_in(made->data, from, bytes);
    return made;
}

void CudaDevice::release(Storage* storage) noexcept {
    char* const memory = reinterpret_cast<char*>(storage->data);
    if (storage->owner != &ahead_) return memory_.release(memory, storage->block);
    const bool usable = !is_forked() && driver().set_context(context_.load()) == kSuccess;
    ahead_.release(memory, storage->block, usable ? stream_ : nullptr);
}

void CudaDevice::copy_in(std::byte* to, const void* from, size_t bytes) {
    if (!bytes) return;
    enter();
    staging_.copy_in(name, stream_, reinterpret_cast<Address>(to), static_cast<const std::byte*>(from), bytes);
}

void CudaDevice::copy_out(void* to, const std::byte* from, size_t bytes) {
    enter();
    if (bytes) check("cuMemcpyDtoHAsync", driver().copy_out(to, reinterpret_cast<Address>(from), bytes, stream_));
    check("cuStreamSynchronize", driver().synchronize(stream_));
}

void CudaDevice::begin_copy_out(const std::byte* from, size_t bytes) {
    enter();
    answer_.begin(name, stream_, reinterpret_cast<Address>(from), bytes);
}

const std::byte* CudaDevice::copied_out() {
    enter();
    return answer_.find();
}

void CudaDevice::wait() {
    if (!context_.load()) return;  // nothing was run
    enter();
    check("cuStreamSynchronize", driver().synchronize(stream_));
}

void CudaDevice::wait_for_others() {
    enter();
    check("cuCtxSynchronize", driver().synchronize_context());
}

size_t CudaDevice::launch(const Plan& plan, size_t first, Slots& slots) {
    enter();
    size_t stop = first + 1;
    while (!slots.timed && stop < plan.steps.size() && std::holds_alternative<DeviceLaunch>(plan.steps[stop])) ++stop;
    if (launch_graph(plan, first, stop, slots)) return stop;
    Arrays arrays;
    for (size_t i = first; i < stop; ++i) {
        launch_one(std::get<DeviceLaunch>(plan.steps[i]), slots, slots.base.data(), stream_, arrays);
    }
    return stop;
}

// If these launches were launched with the same addresses before. False if they are still to be launched.
bool CudaDevice::launch_graph(const Plan& plan, size_t first, size_t stop, const Slots& slots) {
    if (stop - first < kLeastOfGraph) return false;
    if (!plan.kept) plan.kept = std::make_shared<Graphs>(plan);
    Graphs& graphs = *static_cast<Graphs*>(plan.kept.get());
    Graphs::Run* run = graphs.usable() ? graphs.find(first, slots) : nullptr;
    if (!run) return false;
    const bool checks = !plan.error.is_none();
    if (checks && !graphs.word) graphs.word = allocate(sizeof(int64_t));
    std::byte* const word = checks ? graphs.word->data : nullptr;
    if (!run->executable) run->executable = capture(plan, stop, slots, word, *run);
    if (!run->executable || driver().launch_graph(run->executable, stream_) != kSuccess) {
        graphs.give_up();
        return false;
    }
    if (checks) {
        const auto to = reinterpret_cast<Address>(slots.base[plan.status_slot()]);
        check("cuMemcpyDtoDAsync", driver().copy(to, reinterpret_cast<Address>(word), sizeof(int64_t), stream_));
    }
    return true;
}

// The status word is another one in each run, so a graph has its own, which it clears.
Executable CudaDevice::capture(const Plan& plan, size_t stop, const Slots& slots, std::byte* word, Graphs::Run& run) {
    std::vector<std::byte*> base(slots.base.begin(), slots.base.end());
    if (word) base[plan.status_slot()] = word;
    return captured(capturing_, [&] {
        if (word) {
            constexpr size_t kParts = sizeof(int64_t) / sizeof(uint32_t);
            check("cuMemsetD32Async", driver().fill(reinterpret_cast<Address>(word), 0, kParts, capturing_));
        }
        for (size_t i = run.first; i < stop; ++i) {
            launch_one(std::get<DeviceLaunch>(plan.steps[i]), slots, base.data(), capturing_, run.arrays);
        }
    });
}

// Sent in the order of what runs, not captured: a graph finds there what it was captured with.
Address CudaDevice::array(const void* words, size_t bytes, Arrays& arrays) {
    arrays.push_back(allocate(bytes));
    std::byte* const made = arrays.back()->data;
    copy_in(made, words, bytes);
    return reinterpret_cast<Address>(made);
}

void CudaDevice::launch_one(const DeviceLaunch& step, const Slots& slots, std::byte* const* base, Stream stream,
                            Arrays& arrays) {
    const bool empty = step.grid[0] == 0 || step.grid[1] == 0 || step.grid[2] == 0;
    if (empty || slots.is_filled(step.skip_if)) return;
    SmallArray<Address, 32> buffers(step.buffers.size() + 1);  // never of no bytes: the kernel takes it by value
    for (size_t i = 0; i < step.buffers.size(); ++i) {
        const Place& place = step.buffers[i];
        buffers[i] = reinterpret_cast<Address>(base[place.slot] + place.offset);
    }
    int64_t nothing = 0;
    void* params = step.params.empty() ? &nothing : const_cast<int64_t*>(step.params.data());
    std::array<Address, 2> places{};
    std::array<void*, 2> arguments{buffers.data(), params};
    if (step.from_memory) {
        places = {array(buffers.data(), (step.buffers.size() + 1) * sizeof(Address), arrays),
                  array(params, std::max<size_t>(step.params.size(), 1) * sizeof(int64_t), arrays)};
        arguments = {&places[0], &places[1]};
    }
    const auto function = reinterpret_cast<Function>(step.function);
    if (step.shared > kFreeShared) {
        check("cuFuncSetAttribute", driver().set_attribute(function, kDynamicShared, static_cast<int>(step.shared)));
    }
    check("cuLaunchKernel",
          driver().launch(function, step.grid[0], step.grid[1], step.grid[2], step.block[0], step.block[1],
                          step.block[2], step.shared, stream, arguments.data(), nullptr));
}

std::unique_ptr<Stopwatch> CudaDevice::stopwatch() {
    enter();
    return std::make_unique<EventStopwatch>(name, context_.load(), stream_);
}

// What the driver's compiler says of code that it refuses.
struct Log {
    std::array<char, kMostLog> text{};
    std::array<int, 2> options{kLogBuffer, kLogBytes};
    std::array<void*, 2> values{text.data(), reinterpret_cast<void*>(kMostLog)};

    void check(const std::string& where, const char* call, Result result) const {
        if (result == kSuccess) return;
        const CudaError error(where, call, result);
        throw std::runtime_error(error.what() + (text[0] ? "\n" + std::string(text.data()) : ""));
    }
};

uintptr_t CudaDevice::load(const std::string& code, const std::string& function) {
    enter();
    Log log;
    Module module = nullptr;
    log.check(name, "cuModuleLoadDataEx",
              driver().load_module(&module, code.c_str(), log.options.size(), log.options.data(), log.values.data()));
    Function found = nullptr;
    check("cuModuleGetFunction", driver().function(&found, module, function.c_str()));
    return reinterpret_cast<uintptr_t>(found);
}

std::string CudaDevice::assemble(const std::string& code) {
    enter();
    Log log;
    Link link = nullptr;
    check("cuLinkCreate", driver().create_link(log.options.size(), log.options.data(), log.values.data(), &link));
    const std::unique_ptr<LinkType, Result (*)(Link)> held(link, driver().destroy_link);
    log.check(name, "cuLinkAddData",
              driver().add_to_link(link, kFromText, const_cast<char*>(code.c_str()), code.size() + 1, "kernel", 0,
                                   nullptr, nullptr));
    void* made = nullptr;
    size_t bytes = 0;
    log.check(name, "cuLinkComplete", driver().complete_link(link, &made, &bytes));
    return {static_cast<const char*>(made), bytes};
}

DeviceProperties CudaDevice::properties() {
    DeviceId id = 0;
    check("cuDeviceGet", driver().device(&id, index_));
    std::array<char, 256> text{};
    check("cuDeviceGetName", driver().device_name(text.data(), text.size(), id));
    DeviceProperties found{text.data()};
    check("cuDeviceTotalMem", driver().total_memory(&found.memory, id));
    auto ask = [&](int attribute) {
        int value = 0;
        check("cuDeviceGetAttribute", driver().attribute(&value, attribute, id));
        return value;
    };
    found.major = ask(kMajor);
    found.minor = ask(kMinor);
    found.multiprocessors = ask(kMultiprocessors);
    found.threads = ask(kMaxThreads);
    found.shared = static_cast<size_t>(ask(kSharedOptIn));
    return found;
}

size_t CudaDevice::free_memory() {
    enter();
    size_t free = 0, total = 0;
    check("cuMemGetInfo", driver().memory_info(&free, &total));
    return free;
}

void CudaDevice::release_cached() noexcept {
    if (!context_.load() || is_forked() || driver().set_context(context_.load()) != kSuccess) return;
    memory_.release_cached();
    ahead_.release_cached();
}

MemoryStats CudaDevice::stats() {
    const MemoryStats own = memory_.stats(), other = ahead_.memory().stats();
    return {own.live + other.live, own.peak + other.peak, own.reserved + other.reserved};
}

MemoryCounts CudaDevice::counts() {
    const MemoryCounts own = memory_.counts(), other = ahead_.memory().counts();
    return {own.allocations + other.allocations, own.mappings + other.mappings};
}

void CudaDevice::reset_peak() {
    memory_.reset_peak();
    ahead_.memory().reset_peak();
}

Device* device(size_t index) {
    if (index >= static_cast<size_t>(driver().count)) return nullptr;
    static auto& devices = *new std::vector<std::unique_ptr<CudaDevice>>;  // outlive static destructors, as tensors may
    while (devices.size() <= index) devices.push_back(std::make_unique<CudaDevice>(static_cast<int>(devices.size())));
    return devices[index].get();
}

}  // namespace

void add_devices() {
    add_device_kind({"gpu", kDLCuda, [] { return static_cast<size_t>(count_devices()); }, has_begun,
                     [] { return driver().fault; }, device});
}

}  // namespace tengen::cuda
