#include "gradient.h"

#include <nanobind/stl/vector.h>

#include <string>

#include "hooks.h"

namespace tengen {

namespace {

nb::tuple to_python(const Mask& mask) {
    nb::object tuple = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(mask.size())));
    for (size_t i = 0; i < mask.size(); ++i) {
        PyTuple_SET_ITEM(tuple.ptr(), static_cast<Py_ssize_t>(i), PyBool_FromLong(mask[i]));
    }
    return nb::borrow<nb::tuple>(tuple);
}

[[noreturn]] void reject(const std::string& problem) { throw nb::value_error(problem.c_str()); }

}  // namespace

GradientRule::GradientRule(nb::handle op, std::vector<const Descriptor*> inputs, std::vector<const Descriptor*> outputs,
                           Mask needs)
    : op_(nb::borrow(op)), inputs_(std::move(inputs)), outputs_(std::move(outputs)), needs_(std::move(needs)) {
    nb::object saves = require(hooks().gradient, "gradient")(op_, tengen::to_python(inputs_),
                                                             tengen::to_python(outputs_), to_python(needs_));
    if (saves.is_none()) return;
    differentiable_ = true;
    saves_ = nb::cast<std::vector<size_t>>(saves);
    for (size_t index : saves_) {
        if (index >= inputs_.size() + outputs_.size()) {
            reject("the gradient hook saves value " + std::to_string(index) + " of an operation with " +
                   std::to_string(inputs_.size()) + " inputs and " + std::to_string(outputs_.size()) + " outputs");
        }
    }
}

const BackwardCall& GradientRule::backward(const Mask& present) {
    for (const auto& call : calls_) {
        if (call->present == present) return *call;
    }
    calls_.push_back(ask(present));
    return *calls_.back();
}

std::unique_ptr<BackwardCall> GradientRule::ask(const Mask& present) const {
    auto call = std::make_unique<BackwardCall>();
    call->present = present;
    nb::object answer = require(hooks().backward, "backward")(
        op_, tengen::to_python(inputs_), tengen::to_python(outputs_), to_python(needs_), to_python(present));
    if (!nb::isinstance<nb::tuple>(answer) || nb::len(answer) != 3) {
        throw nb::type_error("the backward hook must return (op, args, results)");
    }
    call->op = answer[0];
    for (size_t index : nb::cast<std::vector<size_t>>(answer[1])) call->arguments.push_back(resolve(index, present));
    call->results = nb::cast<std::vector<size_t>>(answer[2]);
    for (size_t input : call->results) {
        if (input >= inputs_.size()) reject("the backward hook gives a gradient for input " + std::to_string(input));
    }
    return call;
}

BackwardCall::Argument GradientRule::resolve(size_t index, const Mask& present) const {
    const size_t values = inputs_.size() + outputs_.size();
    if (index >= values) {
        const size_t output = index - values;
        if (output >= present.size() || !present[output]) {
            reject("the backward hook uses the gradient of output " + std::to_string(output) + ", which is not there");
        }
        return {true, output};
    }
    for (size_t i = 0; i < saves_.size(); ++i) {
        if (saves_[i] == index) return {false, i};
    }
    reject("the backward hook uses value " + std::to_string(index) + ", which the gradient hook did not save");
}

Ref<GradientRule> GradientRules::get(nb::handle op, const Operands& inputs, const Results& outputs, const Mask& needs) {
    for (const Ref<GradientRule>& rule : rules_) {
        if (rule->needs() == needs) return rule;
    }
    std::vector<const Descriptor*> in, out;
    for (const Operand& input : inputs) in.push_back(input.desc);
    for (const Value& output : outputs) out.push_back(output.desc);
    Ref<GradientRule> rule(new GradientRule(op, std::move(in), std::move(out), needs));
    rules_.push_back(rule);
    return rule;
}

}  // namespace tengen
