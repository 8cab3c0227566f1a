// The backward of a tape, which runs operations; tape.cpp records them.
#include <algorithm>
#include <string>

#include "apply.h"
#include "hooks.h"
#include "tape.h"
#include "tensor_class.h"
#include "tracing.h"

namespace tengen {

namespace {

// A gradient given by the user, which in a trace may come from outside.
nb::object handed_over(nb::handle gradient) {
    value_of(gradient);  // raises unless it is a Tensor
    Tracing* tracing = Tracing::current();
    return tracing ? tracing->handed_over(gradient, false) : nb::borrow(gradient);
}

}  // namespace

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
        const int64_t slot = output.refs.find(id());
        if (slot >= 0) accumulate(slot, Value(gradient));
    }
}

void Tape::propagate(const Entry& entry) {
    Mask present(entry.output_count);
    for (size_t i = 0; i < entry.output_count; ++i) {
        const int64_t slot = slots_[entry.slots + entry.input_count + i];
        present[i] = slot >= 0 && !gradients_[static_cast<size_t>(slot)].gradient.empty();
    }
    if (!has_any(present)) return;
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

}  // namespace tengen
