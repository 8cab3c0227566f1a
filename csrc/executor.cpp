// The executor: binds the slots of a Plan to memory and runs its steps.
#include <chrono>
#include <cstring>
#include <stdexcept>

#include "interop.h"
#include "plan.h"
#include "pool.h"
#include "repacked.h"
#include "tensor_class.h"

namespace tengen {

namespace {

// Both in units of `work`; a core does about ten thousand per microsecond.
constexpr int64_t kPoolWork = 300'000;          // waking a worker costs microseconds
constexpr int64_t kReleaseGilWork = 1'000'000;  // taking the GIL back can cost a switch interval when others want it

// The memory behind an allocation slot.
struct Buffer {
    Ref<Storage> storage;
    int64_t offset = 0;
    bool filled = false;  // it already holds what the steps with its `skip_if` would write
};

bool is_joined(const std::variant<Launch, Host>& step) {
    const Launch* launch = std::get_if<Launch>(&step);
    return launch && launch->joined;
}

// Releases the GIL while it lives, unless the plan is too short to be worth it.
class ReleasedGil {
  public:
    explicit ReleasedGil(bool wanted) : wanted_(wanted) { release(); }
    ReleasedGil(const ReleasedGil&) = delete;
    ReleasedGil& operator=(const ReleasedGil&) = delete;
    ~ReleasedGil() { acquire(); }

    void release() {
        if (wanted_) state_ = PyEval_SaveThread();
    }
    void acquire() {
        if (state_) PyEval_RestoreThread(std::exchange(state_, nullptr));
    }

  private:
    bool wanted_;
    PyThreadState* state_ = nullptr;
};

class Execution {
  public:
    Execution(const Plan& plan, Operands& inputs)
        : plan_(plan), inputs_(inputs), buffers_(plan.allocations.size()), base_(plan.status_slot() + 1) {}

    void bind(size_t donate);
    // `clock`, if not null, is called with the number of each step that ended; steps that ran together end together.
    template <class Clock>
    void run(Clock&& clock);
    std::vector<double> run_timed();
    void collect(Results& results);

  private:
    void accept_donations(size_t donate);
    void find_layouts();
    void keep_layouts();
    RepackedKey key_of(const Layout& layout) const;
    bool may_keep(const Layout& layout) const;
    size_t launch(size_t first);
    void call(const Host& step);
    Value value_at(const Place& place);
    [[noreturn]] void raise_status();

    Buffer& buffer_of(size_t slot) { return buffers_[slot - plan_.input_count]; }
    bool is_filled(int64_t slot) { return slot >= 0 && buffer_of(static_cast<size_t>(slot)).filled; }

    const Plan& plan_;
    Operands& inputs_;
    SmallArray<Buffer, 4> buffers_;
    SmallArray<std::byte*, 16> base_;
    int64_t status_ = 0;
};

void Execution::accept_donations(size_t donate) {
    // If a plan can fail at any time, its inputs must not change.
    if (!plan_.error.is_none() && plan_.commit < 0) return;
    for (const Donation& donation : plan_.donations) {
        if (donation.input >= donate) continue;
        const Operand& input = inputs_[donation.input];
        const size_t index = donation.slot - plan_.input_count;
        // Two references are the handle's and the operand's. The same tensor given twice, a view, a NumPy array or a
        // tape would each be one more.
        if (!input.storage || input.storage->refs != 2 || !input.storage->block) continue;
        if (input.storage->bytes - static_cast<size_t>(input.offset) < plan_.allocations[index]) continue;
        if (input.storage->repacked) input.storage->drop_repacked();
        buffers_[index] = {input.storage, input.offset, true};
    }
}

RepackedKey Execution::key_of(const Layout& layout) const {
    const Launch& step = std::get<Launch>(plan_.steps[layout.step]);
    int64_t offset = inputs_[layout.input].offset;
    for (const Place& place : step.buffers) {
        if (place.slot == layout.input) offset += place.offset;
    }
    return {reinterpret_cast<const void*>(step.kernel), offset, step.params};
}

// Not if the values belong to a number, may be written from outside, or are overwritten by this very plan.
bool Execution::may_keep(const Layout& layout) const {
    const Ref<Storage>& storage = inputs_[layout.input].storage;
    if (!storage || !storage->block || storage->exported) return false;
    for (const Donation& donation : plan_.donations) {
        const Buffer& buffer = buffers_[donation.slot - plan_.input_count];
        if (buffer.filled && buffer.storage.get() == storage.get()) return false;
    }
    return true;
}

void Execution::find_layouts() {
    for (const Layout& layout : plan_.layouts) {
        if (!may_keep(layout) || !inputs_[layout.input].storage->repacked) continue;
        const Repacked* copy = Repacked::find(*inputs_[layout.input].storage, key_of(layout));
        if (copy && copy->data) buffer_of(layout.slot) = {copy->data, 0, true};
    }
}

void Execution::keep_layouts() {
    for (const Layout& layout : plan_.layouts) {
        const Buffer& buffer = buffer_of(layout.slot);
        if (!buffer.filled && may_keep(layout)) {
            Repacked::note(*inputs_[layout.input].storage, key_of(layout), buffer.storage);
        }
    }
}

void Execution::bind(size_t donate) {
    for (size_t i = 0; i < plan_.input_count; ++i) base_[i] = inputs_[i].pointer;
    if (donate && !plan_.donations.empty()) accept_donations(donate);
    if (!plan_.layouts.empty()) find_layouts();
    for (size_t i = 0; i < buffers_.size(); ++i) {
        Buffer& buffer = buffers_[i];
        if (!buffer.storage) buffer.storage = Storage::create(plan_.allocations[i]);
        base_[plan_.input_count + i] = buffer.storage->data + buffer.offset;
    }
    base_[plan_.status_slot()] = reinterpret_cast<std::byte*>(&status_);
}

// Runs the launch and those joined to it. Returns the number of the next step.
size_t Execution::launch(size_t first) {
    size_t next = first, pointer_count = 0;
    do {
        pointer_count += std::get<Launch>(plan_.steps[next++]).buffers.size();
    } while (next < plan_.steps.size() && is_joined(plan_.steps[next]));

    SmallArray<void*, 32> pointers(pointer_count);
    SmallArray<Job, 8> jobs(next - first);
    void** buffers = pointers.data();
    size_t count = 0;
    int64_t tiles = 0, work = 0;
    for (size_t i = first; i < next; ++i) {
        const Launch& step = std::get<Launch>(plan_.steps[i]);
        if (step.tiles == 0 || is_filled(step.skip_if)) continue;
        jobs[count++] = {step.kernel, buffers, step.params.data(), step.tiles, step.side};
        for (const Place& place : step.buffers) *buffers++ = base_[place.slot] + place.offset;
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

void Execution::call(const Host& step) {
    auto arrays = [this](const std::vector<Place>& places, bool writable) {
        nb::list list;
        for (const Place& place : places) {
            const Value value = value_at(place);
            list.append(numpy_view(value.storage, value.offset, value.desc, writable));
        }
        return list;
    };
    step.function(arrays(step.inputs, false), arrays(step.outputs, true));
}

template <class Clock>
void Execution::run(Clock&& clock) {
    ReleasedGil gil(plan_.work > kReleaseGilWork);
    for (size_t i = 0; i < plan_.steps.size();) {
        if (static_cast<int64_t>(i) == plan_.commit && status_) break;
        if (const Host* host = std::get_if<Host>(&plan_.steps[i])) {
            gil.acquire();
            call(*host);
            gil.release();
            ++i;
        } else {
            i = launch(i);
        }
        clock(i);
    }
    gil.acquire();
    if (status_) raise_status();
}

std::vector<double> Execution::run_timed() {
    std::vector<double> seconds(plan_.steps.size());
    size_t next = 0;
    auto start = std::chrono::steady_clock::now();
    run([&](size_t stop) {
        const auto now = std::chrono::steady_clock::now();
        seconds[std::exchange(next, stop)] = std::chrono::duration<double>(now - start).count();
        start = std::chrono::steady_clock::now();
    });
    return seconds;
}

void Execution::raise_status() {
    if (!plan_.error.is_none()) {
        nb::list given;
        for (Operand& input : inputs_) {
            input.materialize();
            given.append(wrap(Value{input.storage, input.offset, input.desc, {}, {}}));
        }
        plan_.error(status_, nb::tuple(given));
    }
    throw std::runtime_error("a kernel failed with status " + std::to_string(status_));
}

Value Execution::value_at(const Place& place) {
    if (place.slot < plan_.input_count) {
        Operand& input = inputs_[place.slot];
        input.materialize();
        return Value{input.storage, input.offset + place.offset, place.desc, {}, {}};
    }
    const Buffer& buffer = buffers_[place.slot - plan_.input_count];
    return Value{buffer.storage, buffer.offset + place.offset, place.desc, {}, {}};
}

void Execution::collect(Results& results) {
    if (!plan_.layouts.empty()) keep_layouts();
    results.reset(plan_.outputs.size());
    for (size_t i = 0; i < results.size(); ++i) results[i] = value_at(plan_.outputs[i]);
}

void check_limits(const Plan& plan, Operands& inputs) {
    for (size_t i = 0; i < plan.limits.size(); ++i) {
        const Limit& limit = plan.limits[i];
        const Operand& input = inputs[limit.input];
        if (input.desc != scalar_descriptors().integer) continue;
        int64_t number;
        std::memcpy(&number, input.pointer, sizeof number);
        if (number >= limit.low && number <= limit.high) continue;
        if (!plan.overflow.is_none()) plan.overflow(i, number);
        throw std::overflow_error("the number " + std::to_string(number) + " does not fit");
    }
}

}  // namespace

bool Operand::bind(PyObject* object) {
    if (Tensor* tensor = tensor_of(object)) {
        if (tensor->value.empty()) throw std::runtime_error("a tensor among the inputs has no value yet");
        bind(tensor->value);
        source = object;
        return true;
    }
    const ScalarDescriptors& scalars = scalar_descriptors();
    if (PyFloat_Check(object)) {
        number.real = PyFloat_AS_DOUBLE(object);
        desc = scalars.real;
    } else if (PyBool_Check(object)) {
        number.boolean = object == Py_True;
        desc = scalars.boolean;
    } else if (PyLong_Check(object)) {
        number.integer = PyLong_AsLongLong(object);
        if (number.integer == -1 && PyErr_Occurred()) {
            PyErr_Clear();
            return false;  // beyond 64 bits: foreign, like an array
        }
        desc = scalars.integer;
    } else {
        return false;
    }
    pointer = reinterpret_cast<std::byte*>(&number);
    source = object;
    return true;
}

void Operand::materialize() {
    if (storage) return;
    storage = Storage::create(desc->itemsize());
    std::memcpy(storage->data, pointer, desc->itemsize());
    pointer = storage->data;
}

Value Operand::value() {
    materialize();
    return Value{storage, offset, desc, origin ? origin->refs : GradRefs(), origin ? origin->place : place};
}

void run_plan(const Plan& plan, Operands& inputs, size_t donate, Results& results) {
    if (inputs.size() != plan.input_count) {
        throw std::runtime_error("the Plan takes " + std::to_string(plan.input_count) + " inputs, got " +
                                 std::to_string(inputs.size()));
    }
    if (!plan.limits.empty()) check_limits(plan, inputs);
    Execution execution(plan, inputs);
    execution.bind(donate);
    if (plan.profiled) {
        plan.seconds = execution.run_timed();
    } else {
        execution.run([](size_t) {});
    }
    execution.collect(results);
}

std::vector<double> time_plan(const Plan& plan, Operands& inputs) {
    Execution execution(plan, inputs);
    execution.bind(0);
    return execution.run_timed();
}

}  // namespace tengen
