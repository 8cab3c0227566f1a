// A Recording keeps the operations of one call of a traced function and runs them late. An operation gives values that
// are not computed yet (pending). When one of them is read, or when the call ends, all operations since the last such
// point are compiled to one Plan and run. Later calls are checked against the first and need no compilation.
//
// Values have places: slots, numbered in the order in which a call first meets them. Values from outside the function
// have slots as well.
#pragma once

#include <nanobind/nanobind.h>

#include <deque>
#include <memory>
#include <vector>

#include "gradient.h"
#include "plan.h"
#include "tracing.h"

namespace tengen {

class Recording final : public Tracing {
  public:
    // `owner` has the methods that Python adds to this; see docs/architecture/around.md. `closed`: the function may not
    // run at later uses of the recording, so everything that handles get must be the result of an operation, and the
    // owner is told which tensors the call has made.
    Recording(nb::object owner, bool closed) : owner_(std::move(owner)), closed_(closed) {}
    Recording(const Recording&) = delete;
    Recording& operator=(const Recording&) = delete;
    ~Recording() override;

    // A call begins; its first slots are these tensors.
    void begin(const nb::sequence& tensors);
    // Until resume, operations run at once.
    void pause();
    void resume();
    // Runs what is pending. Once the first call has ended, later calls must have exactly its operations.
    void end();
    // Ends the call without running anything: tensors get back their old values.
    void drop();
    // The call has failed: runs what is pending, so that tensors hold what they would hold without tracing.
    void abandon();

    void execute(nb::handle op, Operands& inputs, Results& results) override;
    void flush() override;
    void touch(nb::handle handle) override;
    nb::object handed_over(nb::handle tensor, bool detached) override;
    void made(nb::handle handle) override;
    void has_function() override;
    void read(Tensor& tensor) override;
    void grad_read(nb::handle handle, bool none) override;
    void grad_written(nb::handle handle) override;
    int64_t slot_of(const Value& value) const override { return in_call(value) ? value.place.slot : -1; }
    // Whether the running call has made the handle.
    bool has_made(const Tensor& tensor) const { return call_ && tensor.made_in == call_; }

    int traverse(visitproc visit, void* arg) const;
    void drop_owner() { owner_ = nb::none(); }

  private:
    struct Entry {
        nb::object op;
        std::vector<int64_t> inputs;  // slots, or ~i for the i-th number
        size_t first_output;
        size_t output_count;
        GradientRules rules;
    };
    // The operations from `start` to before `stop`, compiled for a set of their values that are needed.
    struct Segment {
        size_t start, stop;
        std::vector<int64_t> wanted;
        nb::object op;
        std::vector<int64_t> inputs, outputs;  // inputs like those of an entry; outputs are slots
        size_t donate;                         // the memory of this many first inputs may become that of the outputs
    };
    struct Slot {
        const Descriptor* desc;
        Value value;           // of one that was not computed since the last flush, if an operation needs it
        Ref<Storage> pending;  // of one that was
    };
    struct Touched {
        nb::object handle;
        int64_t slot;  // of the value before, if an operation has taken that; else -1
        Value before;  // if it has not
    };

    bool in_call(const Value& value) const { return call_ && value.place.call == call_; }
    bool known() const { return next_ < entries_.size(); }
    int64_t take(Operand& input, int64_t expected);
    bool is_known(size_t slot, PyObject* source);
    int64_t add_slot(const Descriptor* desc);
    const Entry& record(nb::handle op, std::vector<int64_t> inputs, const Operands& operands);
    [[noreturn]] void mismatch(nb::handle op);
    std::vector<int64_t> wanted() const;
    bool has_effect() const;
    const Segment& segment(std::vector<int64_t> wanted);
    void run(const Segment& segment);
    void restore();
    // Operations of this thread run at once from now on, if they have belonged to this.
    void leave();
    void forget();

    nb::object owner_;
    std::deque<Entry> entries_;
    std::vector<const Descriptor*> descs_;  // of all slots
    std::vector<const Descriptor*> number_descs_;
    std::vector<std::unique_ptr<Segment>> segments_;
    std::vector<PyObject*> sources_;  // the tensors from outside that the owner has, by slots; of closed recordings
    bool closed_;
    bool complete_ = false;  // the first call has ended

    // of the running call
    uint32_t call_ = 0;  // its number; no call has the number 0
    bool busy_ = false;
    size_t next_ = 0;   // the next entry
    size_t start_ = 0;  // the first entry that has not run
    std::vector<Slot> slots_;
    std::vector<Operand> numbers_;
    std::vector<Touched> touched_;
};

void bind_recording(nb::module_& module);

}  // namespace tengen
