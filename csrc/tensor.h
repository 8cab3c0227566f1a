// A Value is what a tensor holds: storage, byte offset, descriptor, and its places on gradient tapes and in traces. A
// Tensor is the Python handle of one Value. Operations never change a Value that another handle can see.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>
#include <vector>

#include "descriptor.h"
#include "storage.h"

namespace tengen {

struct GradRef {
    uint64_t tape = 0;  // no tape has the number 0
    int64_t slot = -1;
};

// The slots of a value on gradient tapes. There is nearly always at most one tape, so one reference is kept inline.
class GradRefs {
  public:
    GradRefs() = default;
    GradRefs(GradRefs&&) noexcept = default;
    GradRefs& operator=(GradRefs&&) noexcept = default;
    GradRefs(const GradRefs& other)
        : first_(other.first_), more_(other.more_ ? std::make_unique<std::vector<GradRef>>(*other.more_) : nullptr) {}
    GradRefs& operator=(const GradRefs& other) { return *this = GradRefs(other); }

    // The slot on a tape, or -1.
    int64_t find(uint64_t tape) const {
        if (first_.tape == tape) return first_.slot;
        return more_ ? find_more(tape) : -1;
    }
    // Also forgets tapes that no longer exist.
    void set(uint64_t tape, int64_t slot);

  private:
    int64_t find_more(uint64_t tape) const;

    GradRef first_;
    std::unique_ptr<std::vector<GradRef>> more_;
};

// The place of a value in a call of a traced function: a slot, or ~i for the i-th number. No call has the number 0.
struct CallPlace {
    uint32_t call = 0;
    int32_t slot = 0;
};

struct Value {
    Ref<Storage> storage;
    int64_t offset = 0;  // bytes from the start of the storage to the element with index (0, 0, …)
    const Descriptor* desc = nullptr;
    GradRefs refs;
    CallPlace place;

    bool empty() const { return desc == nullptr; }
    std::byte* pointer() const { return storage->data + offset; }
};

struct Tensor {
    Value value;
    uint32_t made_in = 0;  // the call of a traced function that has made the handle, if one has
    PyObject* grad = nullptr;
    uint64_t grad_number = 0;  // its number among all gradients ever set; 0: there is none

    Tensor() = default;
    Tensor(const Tensor&) = delete;
    Tensor& operator=(const Tensor&) = delete;
    ~Tensor() { Py_CLEAR(grad); }
};

}  // namespace tengen
