#include "recording.h"

#include <nanobind/stl/vector.h>

#include <algorithm>
#include <string>

#include "apply.h"
#include "hooks.h"
#include "tape.h"
#include "tensor_class.h"

namespace tengen {

namespace {

constexpr int64_t kOther = INT64_MIN;  // an input that no entry can have

uint32_t last_call = 0;

// Equal except for the strides, which no operation asks for before it runs.
bool alike(const Descriptor& a, const Descriptor& b) {
    return &a == &b || (a.dtype == b.dtype && a.shape == b.shape && a.device == b.device);
}

// The tensor or number that an operand was bound to; None for a value that the runtime keeps, as a tape does.
nb::handle source_of(const Operand& operand) { return operand.source ? operand.source : Py_None; }

nb::list to_list(const std::vector<int64_t>& numbers) {
    nb::list list;
    for (int64_t number : numbers) list.append(number);
    return list;
}

// Operations run at once while it lives.
class Suspended {
  public:
    Suspended() : before_(Tracing::exchange(nullptr)) {}
    Suspended(const Suspended&) = delete;
    Suspended& operator=(const Suspended&) = delete;
    ~Suspended() { Tracing::exchange(before_); }

  private:
    Tracing* before_;
};

class Busy {
  public:
    explicit Busy(bool& flag) : flag_(flag) { flag_ = true; }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;
    ~Busy() { flag_ = false; }

  private:
    bool& flag_;
};

}  // namespace

Recording::~Recording() { leave(); }

void Recording::leave() {
    if (current() == this) exchange(nullptr);
}

// -- a call --------------------------------------------------------------------------------------------------

void Recording::begin(const nb::sequence& tensors) {
    if (current()) throw std::runtime_error("a traced function is running already");
    if (call_) throw std::runtime_error("this traced function is running already, in another thread");
    call_ = ++last_call;
    next_ = start_ = 0;
    exchange(this);
    try {
        for (nb::handle tensor : tensors) {
            Operand input;
            input.bind(tensor.ptr());
            take(input, complete_ ? static_cast<int64_t>(slots_.size()) : -1);
        }
    } catch (...) {
        forget();
        throw;
    }
}

void Recording::pause() {
    if (!complete_) owner_.attr("paused")();
    flush();
    leave();
}

void Recording::resume() {
    if (!call_ || current()) return;
    exchange(this);
    call_ = ++last_call;  // every value used from here on comes from outside, whether or not what ran in the meantime
                          // has changed it
}

void Recording::end() {
    if (complete_ && known()) mismatch(nb::none());
    flush();
    complete_ = true;
    forget();
}

void Recording::drop() {
    restore();
    complete_ = true;
    forget();
}

void Recording::abandon() {
    try {
        flush();
    } catch (...) {
        forget();
        throw;
    }
    forget();
}

void Recording::forget() {
    leave();
    call_ = 0;
    for (Slot& slot : slots_) {
        if (slot.pending) behind(*slot.pending).keep = nb::object();
    }
    if (!complete_) {  // the next call is the first again
        entries_.clear();
        descs_.clear();
        number_descs_.clear();
        segments_.clear();
    }
    touched_.clear();
    numbers_.clear();
    slots_.clear();
}

// -- operations ----------------------------------------------------------------------------------------------

int64_t Recording::add_slot(const Descriptor* desc) {
    if (slots_.size() == descs_.size()) descs_.push_back(desc);
    slots_.push_back({descs_[slots_.size()], {}, {}});
    return static_cast<int64_t>(slots_.size()) - 1;
}

// Whether the owner was told that this tensor from outside is in this slot, and so has kept it alive since.
bool Recording::is_known(size_t slot, PyObject* source) {
    if (sources_.size() <= slot) sources_.resize(slot + 1);
    if (source && has_made(*tensor_of(source))) source = nullptr;  // it is freed, and its address may be reused
    const bool known = source && sources_[slot] == source;
    sources_[slot] = source;
    return known;
}

// How an entry's list of inputs names this input; `expected` is its name in the first call, if this is a later one.
// Differs from `expected` if the input does.
int64_t Recording::take(Operand& input, int64_t expected) {
    const bool replay = complete_;
    if (!input.origin) {
        const auto index = static_cast<int64_t>(numbers_.size());
        if (replay && (~index != expected || input.desc != number_descs_[numbers_.size()])) return kOther;
        numbers_.push_back(input);
        if (!replay) number_descs_.push_back(input.desc);
        if (!replay || closed_) {
            Suspended suspended;
            owner_.attr("number")(index, to_python(input.desc), source_of(input));
        }
        input.place = {call_, static_cast<int32_t>(~index)};
        return ~index;
    }
    if (in_call(*input.origin) && input.origin->place.slot < 0) return input.origin->place.slot;  // a tape kept it
    int64_t slot = slot_of(*input.origin);
    if (slot < 0) {
        if (is_pending(*input.origin)) settle(*input.origin);
        slot = static_cast<int64_t>(slots_.size());
        if (replay && (slot != expected || !alike(*input.desc, *descs_[slots_.size()]))) return kOther;
        add_slot(input.desc);
        input.origin->place = {call_, static_cast<int32_t>(slot)};
        if (!replay || (closed_ && !is_known(static_cast<size_t>(slot), input.source))) {
            Suspended suspended;
            owner_.attr("external")(slot, to_python(input.desc), source_of(input));
        }
    }
    Slot& known = slots_[static_cast<size_t>(slot)];
    if (known.value.empty() && !is_pending(*input.origin)) {
        known.value = Value{input.origin->storage, input.origin->offset, input.origin->desc, {}, {}};
    }
    return slot;
}

void Recording::execute(nb::handle op, Operands& inputs, Results& results) {
    const bool replay = complete_;
    if (replay) {
        if (!known() || !entries_[next_].op.is(op) || entries_[next_].inputs.size() != inputs.size()) mismatch(op);
    }
    std::vector<int64_t> taken(inputs.size());
    for (size_t i = 0; i < inputs.size(); ++i) {
        const int64_t expected = replay ? entries_[next_].inputs[i] : 0;
        taken[i] = take(inputs[i], expected);
        if (replay && taken[i] != expected) mismatch(op);
    }
    if (!replay) record(op, std::move(taken), inputs);
    Entry& entry = entries_[next_++];
    results.reset(entry.output_count);
    for (size_t i = 0; i < entry.output_count; ++i) {
        const int64_t slot = add_slot(nullptr);
        Slot& made = slots_[static_cast<size_t>(slot)];
        made.pending = make_pending(nb::find(*this), *this);
        results[i] = Value{made.pending, 0, made.desc, {}, {call_, static_cast<int32_t>(slot)}};
    }
    if (any_active_tape() && any_watched(inputs)) record_operation(op, entry.rules, inputs, results);
}

const Recording::Entry& Recording::record(nb::handle op, std::vector<int64_t> inputs, const Operands& operands) {
    std::vector<const Descriptor*> descs;
    for (const Operand& operand : operands) descs.push_back(operand.desc);
    Suspended suspended;
    nb::object outputs = owner_.attr("record")(op, to_list(inputs), tengen::to_python(descs));
    const size_t first = slots_.size();
    for (nb::handle output : outputs) descs_.push_back(descriptor_of(output));
    entries_.push_back({nb::borrow(op), std::move(inputs), first, descs_.size() - first, {}});
    return entries_.back();
}

void Recording::mismatch(nb::handle op) {
    Suspended suspended;
    owner_.attr("mismatch")(next_, op);
    throw std::runtime_error("a call of a traced function differs from its first");
}

void Recording::touch(nb::handle handle) {
    if (busy_) return;
    Tensor* tensor = tensor_of(handle.ptr());
    for (const Touched& known : touched_) {
        if (known.handle.is(handle)) return;
    }
    if (!complete_) owner_.attr("written")(handle);
    Value& value = tensor->value;
    if (!value.empty() && is_pending(value)) settle_for_use(value);  // an earlier part of the call may have computed it
    const int64_t slot = value.empty() ? -1 : slot_of(value);
    // A value that no operation has used since the last flush is referenced nowhere else.
    const bool alone = slot < 0 || (!is_pending(value) && slots_[static_cast<size_t>(slot)].value.empty());
    touched_.push_back({nb::borrow(handle), alone ? -1 : slot, alone ? value : Value{}});
}

nb::object Recording::handed_over(nb::handle tensor, bool detached) {
    const Value& value = value_of(tensor);
    if (!closed_) return nb::borrow(tensor);
    nb::object op;
    {
        Suspended suspended;
        op = owner_.attr("same")(to_python(value.desc), detached);
    }
    PyObject* const inputs[] = {tensor.ptr()};
    return apply(op, inputs, 1);
}

void Recording::made(nb::handle handle) {
    tensor_of(handle.ptr())->made_in = call_;
    if (!closed_ || complete_) return;
    Suspended suspended;
    owner_.attr("made")(handle);
}

void Recording::has_function() {
    if (complete_) return;
    Suspended suspended;
    owner_.attr("has_function")();
}

void Recording::read(Tensor& tensor) {
    if (complete_ && !closed_) return;
    const int64_t slot = slot_of(tensor.value);
    Suspended suspended;
    owner_.attr("read")(slot, nb::find(tensor));
}

void Recording::grad_read(nb::handle handle, bool none) {
    if (complete_) return;
    Suspended suspended;
    owner_.attr("grad_get")(handle, none);
}

void Recording::grad_written(nb::handle handle) {
    if (complete_) return;
    Suspended suspended;
    owner_.attr("grad_set")(handle);
}

// -- running -------------------------------------------------------------------------------------------------

std::vector<int64_t> Recording::wanted() const {
    std::vector<int64_t> found;
    if (start_ == next_) return found;
    for (size_t slot = entries_[start_].first_output; slot < slots_.size(); ++slot) {
        const Ref<Storage>& pending = slots_[slot].pending;
        if (pending && pending->refs > 1) found.push_back(static_cast<int64_t>(slot));
    }
    return found;
}

// Whether an operation since the last such point has an effect although nothing holds its values.
bool Recording::has_effect() const {
    return start_ != next_ && nb::cast<bool>(owner_.attr("has_effect")(start_, next_));
}

void Recording::flush() {
    if (busy_) throw std::runtime_error("a value is being computed by a traced function in another thread");
    std::vector<int64_t> values = wanted();
    if (!values.empty() || has_effect()) {
        Suspended suspended;
        Busy busy(busy_);
        try {
            run(segment(std::move(values)));
        } catch (...) {
            restore();
            throw;
        }
    }
    for (Slot& slot : slots_) {
        slot.value = {};
        if (slot.pending) behind(*slot.pending).keep = nb::object();
        slot.pending = {};
    }
    touched_.clear();
    start_ = next_;
}

const Recording::Segment& Recording::segment(std::vector<int64_t> wanted) {
    for (const auto& known : segments_) {
        if (known->start == start_ && known->stop == next_ && known->wanted == wanted) return *known;
    }
    nb::object answer = owner_.attr("segment")(start_, next_, to_list(wanted));
    auto made = std::make_unique<Segment>();
    made->start = start_;
    made->stop = next_;
    made->wanted = std::move(wanted);
    made->op = answer[0];
    made->inputs = nb::cast<std::vector<int64_t>>(answer[1]);
    made->outputs = nb::cast<std::vector<int64_t>>(answer[2]);
    made->donate = nb::cast<size_t>(answer[3]);
    segments_.push_back(std::move(made));
    return *segments_.back();
}

void Recording::run(const Segment& segment) {
    Operands operands(segment.inputs.size());
    for (size_t i = 0; i < operands.size(); ++i) {
        const int64_t input = segment.inputs[i];
        if (input < 0) {
            operands[i].bind_number(numbers_[static_cast<size_t>(~input)]);
        } else {
            operands[i].bind(slots_[static_cast<size_t>(input)].value);
        }
    }
    Results results;
    tengen::execute(segment.op, operands, segment.donate, results);
    if (results.size() != segment.outputs.size()) throw std::runtime_error("a segment gave too few or too many values");
    for (size_t i = 0; i < results.size(); ++i) {
        Ref<Storage>& pending = slots_[static_cast<size_t>(segment.outputs[i])].pending;
        behind(*pending).result = std::move(results[i]);
    }
}

// Handles whose new values will never be computed get back their old ones.
void Recording::restore() {
    for (Touched& touched : touched_) {
        Value& value = tensor_of(touched.handle.ptr())->value;
        if (!is_pending(value) || behind(*value.storage).result.desc) continue;
        if (touched.slot >= 0) {
            const Value& before = slots_[static_cast<size_t>(touched.slot)].value;
            if (!before.empty()) value = Value(before);
        } else {
            value = std::move(touched.before);
        }
    }
    touched_.clear();
}

// -- Python --------------------------------------------------------------------------------------------------

int Recording::traverse(visitproc visit, void* arg) const {
    Py_VISIT(owner_.ptr());
    for (const Touched& touched : touched_) Py_VISIT(touched.handle.ptr());
    return 0;
}

namespace {

int recording_traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    return nb::inst_ready(self) ? nb::inst_ptr<Recording>(self)->traverse(visit, arg) : 0;
}

int recording_clear(PyObject* self) {
    if (nb::inst_ready(self)) nb::inst_ptr<Recording>(self)->drop_owner();
    return 0;
}

}  // namespace

void bind_recording(nb::module_& module) {
    static const PyType_Slot slots[] = {{Py_tp_traverse, reinterpret_cast<void*>(recording_traverse)},
                                        {Py_tp_clear, reinterpret_cast<void*>(recording_clear)},
                                        {0, nullptr}};
    nb::class_<Recording>(module, "Recording", nb::type_slots(slots),
                          "The operations of a traced function, which run late and together.")
        .def(nb::init<nb::object, bool>(), nb::arg("owner"), nb::arg("closed") = false)
        .def("begin", &Recording::begin, nb::arg("tensors"),
             "Start a call with these tensors: until end() the operations of this thread belong to it.")
        .def("end", &Recording::end, "Run what is pending and end the call, which must have had all operations.")
        .def("drop", &Recording::drop, "End the call without running what is pending.")
        .def("abandon", &Recording::abandon, "Run what is pending and end a call that has failed.")
        .def("pause", &Recording::pause, "Run what is pending; operations run at once until resume().")
        .def("resume", &Recording::resume, "Operations belong to the call again.")
        .def(
            "slot",
            [](const Recording& recording, nb::handle tensor) {
                return recording.slot_of(tensor_of(tensor.ptr())->value);
            },
            nb::arg("tensor"), "The slot of the tensor's value in the call; -1 if it has none.")
        .def("has_made", &Recording::has_made, nb::arg("tensor"), "Whether the running call has made the tensor.");
    module.def(
        "recording",
        [] { return Tracing::current() ? nb::find(static_cast<Recording&>(*Tracing::current())) : nb::none(); },
        "The Recording that this thread's operations belong to, or None.");
}

}  // namespace tengen
