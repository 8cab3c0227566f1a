#include "tape.h"

#include <algorithm>
#include <string>

#include "apply.h"
#include "recording.h"

namespace tengen {

namespace {

uint64_t last_id = 0;

std::vector<Tape*>& existing_tapes() {
    static auto& tapes = *new std::vector<Tape*>;
    return tapes;
}

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

using TapeIds = SmallArray<uint64_t, 4>;

// The active tapes by number: hooks run Python, which may end or start tapes in the meantime.
void list_active(TapeIds& ids) {
    const auto& tapes = active_tapes();
    ids.reset(tapes.size());
    for (size_t i = 0; i < tapes.size(); ++i) ids[i] = tapes[i]->id();
}

Mask watched_inputs(uint64_t tape, const Operands& inputs) {
    Mask mask(inputs.size());
    for (size_t i = 0; i < inputs.size(); ++i) mask[i] = inputs[i].origin && inputs[i].origin->refs.find(tape) >= 0;
    return mask;
}

// A gradient given by the user, which in a trace may come from outside.
nb::object handed_over(nb::handle gradient) {
    value_of(gradient);  // raises unless it is a Tensor
    Recording* recording = Recording::current();
    return recording ? recording->handed_over(gradient, false) : nb::borrow(gradient);
}

bool any(const Mask& mask) { return std::find(mask.begin(), mask.end(), 1) != mask.end(); }

}  // namespace

// -- recording -----------------------------------------------------------------------------------------------

Tape::Tape(const Tape* beside) : id_(++last_id), level_(beside ? beside->level_ : id_) {
    existing_tapes().push_back(this);
    set_active(true);
}

Tape::~Tape() {
    std::erase(active_tapes(), this);
    std::erase(existing_tapes(), this);
}

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
    int64_t slot = value.refs.find(id_);
    if (slot < 0) {
        slot = new_slot();
        value.refs.set(id_, slot);
    }
    watched_.push_back(slot);
    return watched_.size() - 1;
}

size_t Tape::assign_slots(const Mask& needs, const Operands& inputs, Results& outputs) {
    const size_t first = slots_.size();
    for (size_t i = 0; i < inputs.size(); ++i) slots_.push_back(needs[i] ? inputs[i].origin->refs.find(id_) : -1);
    for (Value& output : outputs) {
        const int64_t slot = output.desc->floating() ? new_slot() : -1;
        if (slot >= 0) output.refs.set(id_, slot);
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
    for (const Value* input : inputs) slots_.push_back(input ? input->refs.find(id_) : -1);
    for (Value* output : outputs) {
        const int64_t slot = output->desc->floating() ? new_slot() : -1;
        if (slot >= 0) output->refs.set(id_, slot);
        slots_.push_back(slot);
    }
}

void Tape::clear() {
    if (running_) throw std::runtime_error("the tape is busy with its backward");
    // Tensors that still refer to the old number are no longer on this tape.
    id_ = ++last_id;
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

bool tape_exists(uint64_t id) {
    return std::any_of(existing_tapes().begin(), existing_tapes().end(),
                       [id](const Tape* tape) { return tape->id() == id; });
}

void record_operation(nb::handle op, GradientRules& rules, Operands& inputs, Results& outputs) {
    struct Kept {
        uint64_t tape = 0;
        Ref<GradientRule> rule;
        size_t slots = 0;
    };
    TapeIds ids;
    list_active(ids);
    SmallArray<Kept, 4> recordings(ids.size());
    for (size_t i = 0; i < ids.size(); ++i) {
        const Mask needs = watched_inputs(ids[i], inputs);
        if (!any(needs)) continue;
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

class Tape::Hidden {
  public:
    explicit Hidden(uint64_t level) {
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
    Hidden(const Hidden&) = delete;
    Hidden& operator=(const Hidden&) = delete;
    // Python has run in the meantime: some may be gone, cleared, or spent by a backward.
    ~Hidden() {
        for (uint64_t id : ids_) {
            for (Tape* tape : existing_tapes()) {
                if (tape->id_ == id && !tape->spent_ && !tape->running_) tape->set_active(true);
            }
        }
    }

  private:
    TapeIds ids_;
};

// -- backward ------------------------------------------------------------------------------------------------

class Tape::Run {
  public:
    Run(Tape& tape, bool retain) : tape_(usable(tape)), retain_(retain), hidden_(tape.level_) {
        tape.running_ = true;
        tape.gradients_.resize(static_cast<size_t>(tape.slot_count_));
        for (int64_t slot : tape.watched_) tape.gradients_[static_cast<size_t>(slot)].watched = true;
    }
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;
    ~Run() {
        tape_.running_ = false;
        tape_.gradients_.clear();
        tape_.spent_ = !retain_;
    }

  private:
    static Tape& usable(Tape& tape) {
        tape.check_usable();
        return tape;
    }

    Tape& tape_;
    bool retain_;
    Hidden hidden_;  // goes last: the tape records again if it is not spent
};

nb::list Tape::backward(const nb::sequence& ys, const nb::sequence& dys, bool retain, nb::handle ready) {
    Run run(*this, retain);
    seed(ys, dys);
    const std::vector<std::pair<size_t, size_t>> order =
        ready.is_none() ? std::vector<std::pair<size_t, size_t>>() : final_after();
    auto next = order.begin();
    for (; next != order.end() && next->first == entries_.size(); ++next) announce(next->second, ready);
    for (size_t i = entries_.size(); i-- > 0;) {
        propagate(entries_[i]);
        for (; next != order.end() && next->first == i; ++next) announce(next->second, ready);
        if (!retain) {
            // Activations are freed as the gradients pass them, so their memory serves the gradients that follow.
            saved_.erase(saved_.begin() + static_cast<std::ptrdiff_t>(entries_[i].saved), saved_.end());
            entries_.pop_back();
        }
        if (PyErr_CheckSignals()) throw nb::python_error();  // a long replay must not keep Ctrl-C waiting
    }
    return collect();
}

void Tape::seed(const nb::sequence& ys, const nb::sequence& dys) {
    if (nb::len(ys) != nb::len(dys)) throw nb::value_error("backward needs one gradient for each output");
    for (size_t i = 0; i < nb::len(ys); ++i) {
        const nb::object y = ys[i], dy = handed_over(dys[i]);
        const Value& output = value_of(y);
        const Value& gradient = value_of(dy);
        if (output.desc->shape != gradient.desc->shape) {
            throw nb::value_error(("the gradient of an output of shape " +
                                   std::string(nb::str(nb::handle(output.desc->shape_tuple)).c_str()) + " has shape " +
                                   nb::str(nb::handle(gradient.desc->shape_tuple)).c_str())
                                      .c_str());
        }
        const int64_t slot = output.refs.find(id_);
        if (slot >= 0) accumulate(slot, Value(gradient));
    }
}

void Tape::propagate(const Entry& entry) {
    Mask present(entry.output_count);
    for (size_t i = 0; i < entry.output_count; ++i) {
        const int64_t slot = slots_[entry.slots + entry.input_count + i];
        present[i] = slot >= 0 && !gradients_[static_cast<size_t>(slot)].gradient.empty();
    }
    if (!any(present)) return;
    if (entry.rule) {
        propagate_rule(entry, present);
    } else {
        propagate_custom(entry, present);
    }
}

void Tape::propagate_rule(const Entry& entry, const Mask& present) {
    const BackwardCall& call = entry.rule->backward(present);
    Results results;
    if (!call.op.is_none()) {
        Operands operands(call.arguments.size());
        for (size_t i = 0; i < operands.size(); ++i) {
            const auto [is_gradient, index] = call.arguments[i];
            if (is_gradient) {
                operands[i].bind(
                    gradients_[static_cast<size_t>(slots_[entry.slots + entry.input_count + index])].gradient);
            } else {
                operands[i].bind(saved_[entry.saved + index]);
            }
        }
        execute(call.op, operands, 0, results);
        if (results.size() != call.results.size()) {
            throw std::runtime_error("a backward op gave " + std::to_string(results.size()) +
                                     " gradients where its hook said " + std::to_string(call.results.size()));
        }
    }
    drop_output_gradients(entry);
    for (size_t i = 0; i < results.size(); ++i)
        accumulate(slots_[entry.slots + call.results[i]], std::move(results[i]));
}

void Tape::propagate_custom(const Entry& entry, const Mask& present) {
    nb::list arguments;
    for (size_t i = 0; i < entry.output_count; ++i) {
        const int64_t slot = slots_[entry.slots + entry.input_count + i];
        arguments.append(present[i] ? wrap(Value(gradients_[static_cast<size_t>(slot)].gradient)) : nb::none());
    }
    drop_output_gradients(entry);
    nb::object answer = entry.function(*arguments);
    const bool single = answer.is_none() || tensor_of(answer.ptr());
    const nb::tuple gradients = single ? nb::make_tuple(answer) : nb::tuple(answer);
    if (nb::len(gradients) != entry.input_count) {
        throw nb::value_error(("a gradient function returned " + std::to_string(nb::len(gradients)) +
                               " gradients for " + std::to_string(entry.input_count) + " inputs")
                                  .c_str());
    }
    for (size_t i = 0; i < entry.input_count; ++i) {
        if (!gradients[i].is_none()) {
            accumulate(slots_[entry.slots + i], Value(value_of(handed_over(gradients[i]))));
        }
    }
}

void Tape::accumulate(int64_t slot, Value&& gradient) {
    if (slot < 0) return;
    Value& sum = gradients_[static_cast<size_t>(slot)].gradient;
    if (sum.empty()) {
        sum = std::move(gradient);
        return;
    }
    Results results;
    {
        Operands operands(2);
        operands[0].bind(sum);
        operands[1].bind(gradient);
        execute(require(hooks().accumulate, "accumulate"), operands, 1, results);
    }
    if (results.size() != 1) throw std::runtime_error("the accumulate op must give one output");
    sum = std::move(results[0]);
}

void Tape::drop_output_gradients(const Entry& entry) {
    for (size_t i = 0; i < entry.output_count; ++i) {
        const int64_t slot = slots_[entry.slots + entry.input_count + i];
        if (slot >= 0 && !gradients_[static_cast<size_t>(slot)].watched)
            gradients_[static_cast<size_t>(slot)].gradient = {};
    }
}

std::vector<std::pair<size_t, size_t>> Tape::final_after() const {
    std::vector<size_t> first_use(static_cast<size_t>(slot_count_), entries_.size());
    for (size_t i = entries_.size(); i-- > 0;) {
        for (size_t k = 0; k < entries_[i].input_count; ++k) {
            const int64_t slot = slots_[entries_[i].slots + k];
            if (slot >= 0) first_use[static_cast<size_t>(slot)] = i;
        }
    }
    std::vector<std::pair<size_t, size_t>> order;
    for (size_t w = 0; w < watched_.size(); ++w) order.emplace_back(first_use[static_cast<size_t>(watched_[w])], w);
    std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
    return order;
}

void Tape::announce(size_t watched, nb::handle ready) {
    const Value& gradient = gradients_[static_cast<size_t>(watched_[watched])].gradient;
    if (!gradient.empty()) ready(watched, wrap(Value(gradient)));
}

nb::list Tape::collect() {
    nb::list found;
    for (int64_t slot : watched_) {
        const Value& gradient = gradients_[static_cast<size_t>(slot)].gradient;
        found.append(gradient.empty() ? nb::none() : wrap(Value(gradient)));
    }
    return found;
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
    if (Recording* recording = Recording::current()) recording->has_function();
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

void bind_tape(nb::module_& module) {
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
    module.def("is_watching", any_active_tape, "Whether any tape is active.");
    module.def("unseen", call_unseen, nb::arg("inputs"), nb::arg("function"), nb::arg("arguments"),
               "unseen(inputs, function, *arguments): call a function whose operations stand on those tapes only that "
               "were there before the innermost one that watches one of the inputs.");
    module.def("record", record_function, nb::arg("inputs"), nb::arg("outputs"), nb::arg("function"),
               "Enter a computation whose gradient is function(*output gradients) -> gradients of the inputs.");
}

}  // namespace tengen
