// A Plan is the result of compiling a Program: a flat list of steps over numbered buffer slots. The executor runs it.
#pragma once

#include <nanobind/nanobind.h>

#include <array>
#include <memory>
#include <variant>
#include <vector>

#include "tensor.h"
#include "tracing.h"

namespace tengen {

using Kernel = void (*)(void** buffers, const int64_t* params, int64_t tile_begin, int64_t tile_end);

// A place in a slot; with `desc`, a value there.
struct Place {
    size_t slot;
    int64_t offset;
    const Descriptor* desc = nullptr;
};

struct Launch {
    Kernel kernel;
    std::vector<Place> buffers;
    std::vector<int64_t> params;
    int64_t tiles;
    int64_t work;     // about bytes moved plus arithmetic operations
    int64_t skip_if;  // the slot that makes this step unnecessary if it is filled already, or -1
    bool joined;      // may run at the same time as the launch before it
    bool side;        // one side of a whole; the launch before, to which it is joined, is another
};

// A launch on a device whose kernels run in a grid of blocks of threads.
struct DeviceLaunch {
    uintptr_t function;  // from Device::load
    std::vector<Place> buffers;
    std::vector<int64_t> params;
    std::array<uint32_t, 3> grid;
    std::array<uint32_t, 3> block;
    uint32_t shared;           // bytes of memory that a block asks for besides what the kernel declares
    int64_t skip_if;           // as that of a Launch
    bool from_memory = false;  // the kernel takes the addresses of two arrays, of addresses and of numbers
};

struct Host {
    nb::object function;
    std::vector<Place> inputs;
    std::vector<Place> outputs;
};

// Copies a value to where `to` is, on the device that its descriptor names, with the same strides.
struct Transfer {
    Place from;
    Place to;
};

using Step = std::variant<Launch, DeviceLaunch, Host, Transfer>;

struct Donation {
    size_t slot;
    size_t input;
};

// A slot that a single step fills from a single input, by changing its layout.
struct Layout {
    size_t slot;
    size_t input;
    size_t step;
};

// The range of a Python int among the inputs.
struct Limit {
    size_t input;
    int64_t low;
    int64_t high;
};

struct Plan {
    size_t input_count;
    std::vector<size_t> allocations;  // bytes of the slots after the inputs; one status slot follows them
    std::vector<Step> steps;
    std::vector<Place> outputs;
    std::vector<Donation> donations;
    std::vector<Layout> layouts;  // worth keeping beside the input
    int64_t work;
    nb::object keep;                   // whatever must live as long as the kernels
    nb::object error;                  // called with a non-zero status word and the inputs
    int64_t commit;                    // the first step that writes to donated memory; the status is checked before it
    std::vector<Limit> limits = {};    // of numbers; checked before each run
    nb::object overflow = nb::none();  // called with the number of a limit and the int outside it
    bool profiled = false;             // each run records its times
    mutable std::vector<double> seconds;      // of the steps of the last run; touched with the GIL held
    Device* device = nullptr;                 // that runs it
    std::vector<Device*> homes = {};          // of the allocations; none if all are the host's
    mutable std::shared_ptr<void> kept = {};  // what the device remembers of the runs; touched with the GIL held

    size_t status_slot() const { return input_count + allocations.size(); }
};

// One input of a Plan: a view of a tensor's value, or a Python number that is stored inline.
struct Operand {
    Ref<Storage> storage;  // none for a number
    int64_t offset = 0;
    const Descriptor* desc = nullptr;
    std::byte* pointer = nullptr;
    Value* origin = nullptr;     // none for a number
    CallPlace place;             // of a number
    PyObject* source = nullptr;  // the object that it was bound to, if any; not a reference
    union {
        bool boolean;
        int64_t integer;
        double real;
    } number{};

    void bind(Value& value) {
        if (!value.storage->data) [[unlikely]]
            settle_for_use(value);
        storage = value.storage;
        offset = value.offset;
        desc = value.desc;
        pointer = value.pointer();
        origin = &value;
    }
    void bind_number(const Operand& other) {
        desc = other.desc;
        number = other.number;
        pointer = reinterpret_cast<std::byte*>(&number);
    }
    // False if the object is neither a Tensor nor a bool, int or float.
    bool bind(PyObject* object);
    // A number moves to real storage; does nothing for a tensor.
    void materialize();
    // A value that shares the memory and, for a tensor, its place on the tapes.
    Value value();
};

// Runs the plan. Those of the first `donate` inputs that nothing else holds may be overwritten, even if the plan fails
// in one of the steps from `commit` on; with an `error` and no `commit` (-1), none is. Throws on failure; then there
// are no results.
void run_plan(const Plan& plan, Operands& inputs, size_t donate, Results& results);

// Runs the plan, keeps nothing, and returns the seconds of each step. Launches that run together count for the first of
// them.
std::vector<double> time_plan(const Plan& plan, Operands& inputs);

void bind_plan(nb::module_& module);

}  // namespace tengen
