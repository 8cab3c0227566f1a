// The answers of the gradient and backward hooks, kept so that a repeated operation calls no Python for them.
#pragma once

#include <nanobind/nanobind.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "plan.h"

namespace tengen {

using Mask = std::vector<uint8_t>;  // one 0 or 1 for each input or output
inline bool has_any(const Mask& mask) { return std::find(mask.begin(), mask.end(), 1) != mask.end(); }

// How to compute the gradients of an op's inputs from the saved values and the output gradients that are present.
struct BackwardCall {
    // One argument: an output gradient, or one of the rule's saved values.
    struct Argument {
        bool is_gradient;
        size_t index;
    };

    Mask present;
    nb::object op;  // None if no gradient reaches any input
    std::vector<Argument> arguments;
    std::vector<size_t> results;  // the input that each output of `op` is the gradient of
};

// The gradient of an op for given descriptors, and given which inputs need one.
class GradientRule {
  public:
    GradientRule(nb::handle op, std::vector<const Descriptor*> inputs, std::vector<const Descriptor*> outputs,
                 Mask needs);

    bool differentiable() const { return differentiable_; }
    const Mask& needs() const { return needs_; }
    // Indices into inputs + outputs.
    const std::vector<size_t>& saves() const { return saves_; }
    size_t input_count() const { return inputs_.size(); }
    size_t output_count() const { return outputs_.size(); }
    const BackwardCall& backward(const Mask& present);

    uint32_t refs = 0;
    static void destroy(GradientRule* rule) { delete rule; }

  private:
    std::unique_ptr<BackwardCall> ask(const Mask& present) const;
    BackwardCall::Argument resolve(size_t index, const Mask& present) const;

    nb::object op_;
    std::vector<const Descriptor*> inputs_, outputs_;
    Mask needs_;
    bool differentiable_ = false;
    std::vector<size_t> saves_;
    std::vector<std::unique_ptr<BackwardCall>> calls_;  // in the order in which the patterns first appeared
};

// The rules of one op with its descriptors, one for each pattern of needs.
class GradientRules {
  public:
    Ref<GradientRule> get(nb::handle op, const Operands& inputs, const Results& outputs, const Mask& needs);

  private:
    std::vector<Ref<GradientRule>> rules_;
};

}  // namespace tengen
