// The executor: binds the slots of a Plan to memory and runs its steps.
#include <cstring>
#include <stdexcept>

#include "interop.h"
#include "repacked.h"
#include "slots.h"
#include "tensor_class.h"
#include "waits.h"

namespace tengen {

namespace {

// In units of `work`; a core does about ten thousand per microsecond. Taking the GIL back can cost a switch interval
// when others want it.
constexpr int64_t kReleaseGilWork = 1'000'000;

// Steps of a Plan on a device that pay for a look at what has ended before: its inputs go back then, so that a loop
// gives the next run the same addresses.
constexpr size_t kLeastLook = 4;

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
    Execution(const Plan& plan, Operands& inputs) : plan_(plan), inputs_(inputs), slots_(plan, inputs) {}
    Execution(const Execution&) = delete;
    Execution& operator=(const Execution&) = delete;
    ~Execution() {
        if (word_) give_back(*plan_.device, word_);
    }

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
    void bind_on_device();
    bool has_failed();
    void call(const Host& step);
    Value value_at(const Place& place);
    void finish();
    [[noreturn]] void raise_status();

    const Plan& plan_;
    Operands& inputs_;
    Slots slots_;
    int64_t status_ = 0;
    SmallArray<Ref<Storage>, 4> numbers_;  // on that device
    std::byte* word_ = nullptr;            // the status word on another device than the host, until a check has it
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
        if (!input.storage || !input.storage->block) continue;
        const size_t checks = plan_.device->is_host() ? 0 : checks_of(*plan_.device, input.storage.get());
        if (input.storage->refs != 2 + checks) continue;
        if (input.storage->device != (plan_.homes.empty() ? nullptr : plan_.homes[index])) continue;
        if (input.storage->bytes - static_cast<size_t>(input.offset) < plan_.allocations[index]) continue;
        if (input.storage->repacked) input.storage->drop_repacked();
        slots_.buffers[index] = {input.storage, input.offset, true};
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
        const Slots::Buffer& buffer = slots_.buffer_of(donation.slot);
        if (buffer.filled && buffer.storage.get() == storage.get()) return false;
    }
    return true;
}

void Execution::find_layouts() {
    for (const Layout& layout : plan_.layouts) {
        if (!may_keep(layout) || !inputs_[layout.input].storage->repacked) continue;
        const Repacked* copy = Repacked::find(*inputs_[layout.input].storage, key_of(layout));
        if (copy && copy->data) slots_.buffer_of(layout.slot) = {copy->data, 0, true};
    }
}

void Execution::keep_layouts() {
    for (const Layout& layout : plan_.layouts) {
        const Slots::Buffer& buffer = slots_.buffer_of(layout.slot);
        if (!buffer.filled && may_keep(layout)) {
            Repacked::note(*inputs_[layout.input].storage, key_of(layout), buffer.storage);
        }
    }
}

void Execution::bind(size_t donate) {
    for (size_t i = 0; i < plan_.input_count; ++i) slots_.base[i] = inputs_[i].pointer;
    if (donate && !plan_.donations.empty()) accept_donations(donate);
    if (!plan_.layouts.empty()) find_layouts();
    for (size_t i = 0; i < slots_.buffers.size(); ++i) {
        Slots::Buffer& buffer = slots_.buffers[i];
        if (!buffer.storage) {
            const size_t bytes = plan_.allocations[i];
            buffer.storage = plan_.homes.empty() ? Storage::create(bytes) : plan_.homes[i]->allocate(bytes);
        }
        slots_.base[plan_.input_count + i] = buffer.storage->data + buffer.offset;
    }
    slots_.base[plan_.status_slot()] = reinterpret_cast<std::byte*>(&status_);
    if (!plan_.device->is_host()) bind_on_device();
}

// On a device the status word and the numbers lie there too.
void Execution::bind_on_device() {
    if (!plan_.error.is_none()) slots_.base[plan_.status_slot()] = word_ = status_word(*plan_.device);
    numbers_.reset(plan_.input_count);
    for (size_t i = 0; i < plan_.input_count; ++i) {
        const Operand& input = inputs_[i];
        if (input.storage && input.storage->device) continue;
        if (!is_weak(input.desc->dtype)) throw std::runtime_error("an input is not on " + plan_.device->name);
        uint64_t bits = 0;
        std::memcpy(&bits, input.pointer, input.desc->itemsize());
        numbers_[i] = number_on(*plan_.device, bits);
        slots_.base[i] = numbers_[i]->data;
    }
}

// On a device kernels look at the status word themselves; the host waits for it only before it calls Python.
bool Execution::has_failed() {
    status_ = read_status(*plan_.device, word_);
    return status_;
}

void Execution::call(const Host& step) {
    nb::list given, made;
    std::vector<std::pair<Value, Value>> back;  // from the host to where it belongs
    for (const Place& place : step.inputs) {
        const Value value = fetched(value_at(place));
        given.append(numpy_view(value.storage, value.offset, value.desc, false));
    }
    for (const Place& place : step.outputs) {
        const Value value = value_at(place), here = fetched(value);
        made.append(numpy_view(here.storage, here.offset, here.desc, true));
        if (value.storage->device) back.emplace_back(here, value);
    }
    step.function(given, made);
    for (const auto& [from, to] : back) transfer(from, to);
}

template <class Clock>
void Execution::run(Clock&& clock) {
    ReleasedGil gil(plan_.device->is_host() && plan_.work > kReleaseGilWork);
    for (size_t i = 0; i < plan_.steps.size();) {
        if (static_cast<int64_t>(i) == plan_.commit && status_) break;
        const Step& step = plan_.steps[i];
        if (std::holds_alternative<Launch>(step) || std::holds_alternative<DeviceLaunch>(step)) [[likely]] {
            i = plan_.device->launch(plan_, i, slots_);
        } else {
            gil.acquire();
            if (const Host* host = std::get_if<Host>(&step)) {
                if (word_ && has_failed()) break;
                call(*host);
            } else {
                transfer(value_at(std::get<Transfer>(step).from), value_at(std::get<Transfer>(step).to));
            }
            gil.release();
            ++i;
        }
        clock(i);
    }
    gil.acquire();
    if (status_) raise_status();
    if (!plan_.device->is_host()) finish();
}

// On a device that may still be busy.
void Execution::finish() {
    if (word_) {
        Check check{plan_.error, {}};
        for (Operand& input : inputs_) check.inputs.push_back(input.value());
        check_later(*plan_.device, std::exchange(word_, nullptr), std::move(check));
        if (plan_.steps.size() >= kLeastLook) look(*plan_.device);
    }
    if (waits_at_once()) wait_for(*plan_.device);
}

std::vector<double> Execution::run_timed() {
    std::vector<size_t> begun;  // the first steps of what ran together
    const std::unique_ptr<Stopwatch> watch = plan_.device->stopwatch();
    slots_.timed = true;
    size_t next = 0;
    watch->mark();
    run([&](size_t stop) {
        watch->mark();
        begun.push_back(std::exchange(next, stop));
    });
    std::vector<double> taken, seconds(plan_.steps.size());
    {
        nb::gil_scoped_release released;
        taken = watch->seconds();
    }
    for (size_t i = 0; i < begun.size(); ++i) seconds[begun[i]] = taken[i];
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
    const Slots::Buffer& buffer = slots_.buffer_of(place.slot);
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
