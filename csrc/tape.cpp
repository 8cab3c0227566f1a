#include "tape.h"

#include <algorithm>
#include <string>

#include "tensor_class.h"
#include "tracing.h"

namespace tengen {

namespace {

std::vector<Tape*>& active_tapes() {
    static auto& tapes = *new std::vector<Tape*>;
    return tapes;
}

Tape* find_active(uint64_t id) {
    for (Tape* tape : active_tapes()) {
        if (tape->id() == id) return tape;
    }
    return nullptr;
}

// The active tapes by number: hooks run Python, which may end or start tapes in the meantime.
void list_active(Tape::Ids& ids) {
    const auto& tapes = active_tapes();
    ids.reset(tapes.size());
    for (size_t i = 0; i < tapes.size(); ++i) ids[i] = tapes[i]->id();
}

Mask watched_inputs(uint64_t tape, const Operands& inputs) {
    Mask mask(inputs.size());
    for (size_t i = 0; i < inputs.size(); ++i) mask[i] = inputs[i].origin && inputs[i].origin->refs.find(tape) >= 0;
    return mask;
}

}  // namespace

// -- recording -----------------------------------------------------------------------------------------------

Tape::Tape(const Tape* beside) : level_(beside ? beside->level_ : id()) { set_active(true); }

Tape::~Tape() { std::erase(active_tapes(), this); }

void Tape::check_usable() const {
    if (running_) throw std::runtime_error("the tape is busy with its backward");
    if (spent_)
        throw std::runtime_error("the tape is spent: its backward freed what it held; clear it to use it again");
}

void Tape::set_active(bool active) {
    if (active) check_usable();
    if (active == active_) return;
    active_ = active;
    if (active) {
        active_tapes().push_back(this);
    } else {
        std::erase(active_tapes(), this);
    }
}

size_t Tape::watch(Value& value) {
    check_usable();
    if (!value.desc->floating()) {
        throw nb::type_error(
            ("only floating tensors can be watched, not " + std::string(info(value.desc->dtype).name)).c_str());
    }
    int64_t slot = value.refs.find(id());
    if (slot < 0) {
        slot = new_slot();
        value.refs.set(id(), slot);
    }
    watched_.push_back(slot);
    return watched_.size() - 1;
}

size_t Tape::assign_slots(const Mask& needs, const Operands& inputs, Results& outputs) {
    const size_t first = slots_.size();
    for (size_t i = 0; i < inputs.size(); ++i) slots_.push_back(needs[i] ? inputs[i].origin->refs.find(id()) : -1);
    for (Value& output : outputs) {
        const int64_t slot = output.desc->floating() ? new_slot() : -1;
        if (slot >= 0) output.refs.set(id(), slot);
        slots_.push_back(slot);
    }
    return first;
}

void Tape::push(Ref<GradientRule> rule, size_t slots, Operands& inputs, const Results& outputs) {
    const size_t first = saved_.size();
    for (size_t index : rule->saves()) {
        saved_.push_back(index < inputs.size() ? inputs[index].value() : outputs[index - inputs.size()]);
    }
    entries_.push_back({std::move(rule), {}, first, slots, inputs.size(), outputs.size()});
}

void Tape::push_custom(const std::vector<Value*>& inputs, const std::vector<Value*>& outputs, nb::object function) {
    entries_.push_back({{}, std::move(function), saved_.size(), slots_.size(), inputs.size(), outputs.size()});
    // All inputs first: a function may return one of its inputs, whose reference then changes.
    for (const Value* input : inputs) slots_.push_back(input ? input->refs.find(id()) : -1);
    for (Value* output : outputs) {
        const int64_t slot = output->desc->floating() ? new_slot() : -1;
        if (slot >= 0) output->refs.set(id(), slot);
        slots_.push_back(slot);
    }
}

void Tape::clear() {
    if (running_) throw std::runtime_error("the tape is busy with its backward");
    // Tensors that still refer to the old number are no longer on this tape.
    renew();
    spent_ = has_backward_ = false;
    slot_count_ = 0;
    slots_.clear();
    watched_.clear();
    saved_.clear();
    const std::vector<Entry> gone = std::move(entries_);  // freeing a user's function can run Python, so it comes last
    entries_.clear();
}

bool any_active_tape() { return !active_tapes().empty(); }

bool is_watched(const Value& value) {
    return std::any_of(active_tapes().begin(), active_tapes().end(),
                       [&](const Tape* tape) { return value.refs.find(tape->id()) >= 0; });
}

bool any_watched(const Operands& inputs) {
    return std::any_of(inputs.begin(), inputs.end(),
                       [](const Operand& input) { return input.origin && is_watched(*input.origin); });
}

void record_operation(nb::handle op, GradientRules& rules, Operands& inputs, Results& outputs) {
    struct Kept {
        uint64_t tape = 0;
        Ref<GradientRule> rule;
        size_t slots = 0;
    };
    Tape::Ids ids;
    list_active(ids);
    SmallArray<Kept, 4> recordings(ids.size());
    for (size_t i = 0; i < ids.size(); ++i) {
        const Mask needs = watched_inputs(ids[i], inputs);
        if (!has_any(needs)) continue;
        Ref<GradientRule> rule = rules.get(op, inputs, outputs, needs);
        Tape* tape = find_active(ids[i]);
        if (!tape || !rule->differentiable()) continue;
        const size_t slots = tape->assign_slots(needs, inputs, outputs);
        recordings[i] = {ids[i], std::move(rule), slots};
    }
    // The outputs may be saved only now that they are on every tape: for a second derivative, one tape differentiates
    // through what another one has saved.
    for (Kept& recording : recordings) {
        Tape* tape = recording.rule ? find_active(recording.tape) : nullptr;
        if (tape) tape->push(std::move(recording.rule), recording.slots, inputs, outputs);
    }
}

Tape::Hidden::Hidden(uint64_t level) {
    list_active(ids_);
    for (uint64_t& id : ids_) {
        Tape* tape = find_active(id);
        if (tape->level_ >= level) {
            tape->set_active(false);
        } else {
            tape->has_backward_ = true;
            id = 0;
        }
    }
}

// Python has run in the meantime: some may be gone, cleared, or spent by a backward.
Tape::Hidden::~Hidden() {
    for (uint64_t id : ids_) {
        auto* tape = static_cast<Tape*>(TapeNumber::find(id));
        if (tape && !tape->spent_ && !tape->running_) tape->set_active(true);
    }
}

// -- Python --------------------------------------------------------------------------------------------------

int Tape::traverse(visitproc visit, void* arg) const {
    for (const Entry& entry : entries_) Py_VISIT(entry.function.ptr());
    return 0;
}

namespace {

int tape_traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    return nb::inst_ready(self) ? nb::inst_ptr<Tape>(self)->traverse(visit, arg) : 0;
}

// Unreachable, so no backward of it is running.
int tape_clear(PyObject* self) {
    if (nb::inst_ready(self)) nb::inst_ptr<Tape>(self)->clear();
    return 0;
}

void record_function(const nb::sequence& inputs, const nb::sequence& outputs, nb::callable function) {
    std::vector<Value*> in, out;
    for (nb::handle input : inputs) in.push_back(tensor_of(input.ptr()) ? &value_of(input) : nullptr);
    for (nb::handle output : outputs) out.push_back(&value_of(output));
    if (Tracing* tracing = Tracing::current()) tracing->has_function();
    for (Tape* tape : active_tapes()) {
        const auto on_tape = [tape](const Value* value) { return value && value->refs.find(tape->id()) >= 0; };
        if (std::any_of(in.begin(), in.end(), on_tape)) tape->push_custom(in, out, function);
    }
}

// Calls a function whose operations are recorded only by tapes that were entered before the innermost one that watches
// one of `inputs`; by none, if no tape watches them.
nb::object call_unseen(const nb::sequence& inputs, const nb::callable& function, const nb::args& arguments) {
    uint64_t level = 0;
    for (nb::handle input : inputs) {
        for (const Tape* tape : active_tapes()) {
            if (tape->holds(value_of(input))) level = std::max(level, tape->level());
        }
    }
    const Tape::Hidden hidden(level);
    return function(*arguments);
}

}  // namespace

void bind_tape(nb::module_& module, nb::class_<Tensor> cls) {
    static const PyType_Slot slots[] = {{Py_tp_traverse, reinterpret_cast<void*>(tape_traverse)},
                                        {Py_tp_clear, reinterpret_cast<void*>(tape_clear)},
                                        {0, nullptr}};
    nb::class_<Tape>(module, "Tape", nb::type_slots(slots), nb::is_weak_referenceable(),
                     "Records operations on the tensors it watches while it is active, and differentiates them.")
        .def(nb::init<const Tape*>(), nb::arg("beside").none() = nb::none(),
             "One that begins to record. A backward is recorded by those tapes only that were there before; `beside`: "
             "this one is entered together with that tape, so that neither sees the other's backward.")
        .def(
            "watch", [](Tape& tape, nb::handle tensor) { return tape.watch(value_of(tensor)); }, nb::arg("tensor"),
            "Make a tensor a variable to differentiate by; returns its number in backward's list.")
        .def(
            "holds", [](const Tape& tape, nb::handle tensor) { return tape.holds(value_of(tensor)); },
            nb::arg("tensor"), "Whether a tensor comes from what is watched.")
        .def_prop_ro("has_backward", &Tape::has_backward, "Whether it has recorded a backward of another tape.")
        .def_prop_rw("active", &Tape::active, &Tape::set_active, "Whether operations are recorded.")
        .def("backward", &Tape::backward, nb::arg("ys"), nb::arg("dys"), nb::arg("retain") = false,
             nb::arg("ready") = nb::none(),
             "The gradients of sum(y * dy) by each watched tensor, None where nothing reached it. Frees what the tape "
             "holds "
             "as it goes, unless retain. ready(number of a watched tensor, gradient) is called once a gradient is "
             "final.")
        .def("clear", &Tape::clear, "Forget everything.");
    cls.def(
        "_is_watched", [](const nb::handle tensor) { return is_watched(value_of(tensor)); },
        "Whether an active tape has this value.");
    module.def("is_watching", any_active_tape, "Whether any tape is active.");
    module.def("unseen", call_unseen, nb::arg("inputs"), nb::arg("function"), nb::arg("arguments"),
               "unseen(inputs, function, *arguments): call a function whose operations stand on those tapes only that "
               "were there before the innermost one that watches one of the inputs.");
    module.def("record", record_function, nb::arg("inputs"), nb::arg("outputs"), nb::arg("function"),
               "Enter a computation whose gradient is function(*output gradients) -> gradients of the inputs.");
}

}  // namespace tengen
