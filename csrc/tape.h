// A Tape records what is computed from the tensors that it watches, and computes their gradients from that.
#pragma once

#include <nanobind/nanobind.h>

#include <vector>

#include "gradient.h"
#include "plan_cache.h"
#include "tape_number.h"
#include "tensor.h"

namespace tengen {

class Tape final : public TapeNumber {
  public:
    // One that is entered after all others, or together with `beside`.
    explicit Tape(const Tape* beside);
    Tape(const Tape&) = delete;
    Tape& operator=(const Tape&) = delete;
    ~Tape();

    // The order of entry: a tape's backward is recorded only by tapes of lower levels, which were entered before it.
    uint64_t level() const { return level_; }
    bool active() const { return active_; }
    bool has_backward() const { return has_backward_; }
    void set_active(bool active);

    // Makes a tensor a variable to differentiate by. Returns its number among them.
    size_t watch(Value& value);
    // Whether a value depends on something watched.
    bool holds(const Value& value) const { return value.refs.find(id()) >= 0; }
    // Gradients of sum(y * dy) by each watched tensor. Unless `retain`, the tape is spent then and must be cleared.
    // `ready`, if not None, is called with (number of the watched tensor, gradient) as soon as a gradient is final.
    nb::list backward(const nb::sequence& ys, const nb::sequence& dys, bool retain, nb::handle ready);
    void clear();

    // A slot for each floating output, entered in the output's references, and -1 for the others. The slots' place in
    // the tape's list of slots.
    size_t assign_slots(const Mask& needs, const Operands& inputs, Results& outputs);
    void push(Ref<GradientRule> rule, size_t slots, Operands& inputs, const Results& outputs);
    void push_custom(const std::vector<Value*>& inputs, const std::vector<Value*>& outputs, nb::object function);

    int traverse(visitproc visit, void* arg) const;

    using Ids = SmallArray<uint64_t, 4>;

    // While it lives, the tapes of this and of higher levels record nothing.
    class Hidden {
      public:
        explicit Hidden(uint64_t level);
        Hidden(const Hidden&) = delete;
        Hidden& operator=(const Hidden&) = delete;
        ~Hidden();

      private:
        Ids ids_;
    };

  private:
    // One operation: an op with its rule, or a user's function. `slots` are those of the inputs (-1: needs no
    // gradient), then those of the outputs.
    struct Entry {
        Ref<GradientRule> rule;
        nb::object function;
        size_t saved;
        size_t slots;
        size_t input_count;
        size_t output_count;
    };
    struct Slot {
        Value gradient;
        bool watched = false;
    };
    class Run;  // the state of a backward

    int64_t new_slot() { return slot_count_++; }
    void check_usable() const;
    void seed(const nb::sequence& ys, const nb::sequence& dys);
    void propagate(const Entry& entry);
    void propagate_rule(const Entry& entry, const Mask& present);
    void propagate_custom(const Entry& entry, const Mask& present);
    void accumulate(int64_t slot, Value&& gradient);
    void drop_output_gradients(const Entry& entry);
    // Numbers of the watched tensors, by the entry after whose backward their gradients are final, the last entry
    // first. Those that no entry uses are final at the start and have the key entries_.size().
    std::vector<std::pair<size_t, size_t>> final_after() const;
    void announce(size_t watched, nb::handle ready);
    nb::list collect();

    uint64_t level_;
    bool active_ = false;
    bool running_ = false;
    bool spent_ = false;
    bool has_backward_ = false;
    std::vector<Entry> entries_;
    std::vector<Value> saved_;    // of all entries, in order
    std::vector<int64_t> slots_;  // of all entries, in order
    int64_t slot_count_ = 0;
    std::vector<Slot> gradients_;  // by slot; only while a backward runs
    std::vector<int64_t> watched_;
};

// Whether any tape records at all: the only check for an unwatched operation.
bool any_active_tape();
bool is_watched(const Value& value);
bool any_watched(const Operands& inputs);
// Enters an executed operation on every active tape that watches one of its inputs.
void record_operation(nb::handle op, GradientRules& rules, Operands& inputs, Results& outputs);

// Also binds Tensor's _is_watched.
void bind_tape(nb::module_& module, nb::class_<Tensor> cls);

}  // namespace tengen
