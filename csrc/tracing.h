// What the runtime tells a traced function that is running, and values that such a function has not computed yet.
#pragma once

#include <nanobind/nanobind.h>

#include "small_array.h"
#include "tensor.h"

namespace tengen {

struct Operand;
using Operands = SmallArray<Operand, 8>;
using Results = SmallArray<Value, 2>;

// Recording derives from it: so what lies below, tensors and tapes, need not know what a recording does.
class Tracing {
  public:
    // The one that this thread's operations belong to, or null.
    static Tracing* current();

    // Takes the place of the `execute` of apply.h while a call lasts.
    virtual void execute(nb::handle op, Operands& inputs, Results& results) = 0;
    // Computes all pending values that somebody still holds.
    virtual void flush() = 0;
    // The handle is about to get another value, which may be pending.
    virtual void touch(nb::handle handle) = 0;
    // The tensor, or a new one of the same value, without a place on tapes if `detached`: what a handle may take over.
    virtual nb::object handed_over(nb::handle tensor, bool detached) = 0;
    // A handle that the call has made.
    virtual void made(nb::handle handle) = 0;
    // The user's own gradient is on a tape.
    virtual void has_function() = 0;
    // Python is about to read the value of a tensor.
    virtual void read(Tensor& tensor) = 0;
    // Python reads or sets the gradient of a tensor.
    virtual void grad_read(nb::handle handle, bool none) = 0;
    virtual void grad_written(nb::handle handle) = 0;
    // The slot of a tensor's value in the running call, or -1.
    virtual int64_t slot_of(const Value& value) const = 0;

    // Makes it the one that this thread's operations belong to; the one before.
    static Tracing* exchange(Tracing* next);

  protected:
    virtual ~Tracing() = default;
};

// The owner of a pending value's storage, which has no data.
struct Pending {
    nb::object keep;  // the Python object of `tracing`; none once the call is over
    Tracing* tracing;
    Value result;
};
Ref<Storage> make_pending(nb::handle keep, Tracing& tracing);
Pending& behind(const Storage& storage);

inline bool is_pending(const Value& value) { return value.storage && !value.storage->data; }
// Computes a pending value; does nothing for others. Throws if it cannot be computed any more.
void settle(Value& value);
// The same, unless the running call of a traced function may leave it pending.
void settle_for_use(Value& value);
// The same for a tensor that Python is about to read, which a running traced function has to know.
void settle_for_reading(Tensor& tensor);

}  // namespace tengen
