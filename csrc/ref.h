// Owns the intrusive reference count shared by storages, cached plans and gradient rules.
//
// Counts are plain integers: every change happens while the GIL is held (the executor releases the GIL only around
// kernels, which never touch references), and an atomic count would cost more than the rest of a cache hit's
// bookkeeping.
#pragma once

#include <cstdint>
#include <utility>

namespace tengen {

template <class T>
class Ref {
  public:
    Ref() = default;
    explicit Ref(T* object) : object_(object) {
        if (object_) ++object_->refs;
    }
    Ref(const Ref& other) : Ref(other.object_) {}
    Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
    Ref& operator=(Ref other) noexcept {
        std::swap(object_, other.object_);
        return *this;
    }
    ~Ref() {
        if (object_ && --object_->refs == 0) T::destroy(object_);
    }

    T* get() const { return object_; }
    T* operator->() const { return object_; }
    T& operator*() const { return *object_; }
    explicit operator bool() const { return object_ != nullptr; }

  private:
    T* object_ = nullptr;
};

}  // namespace tengen
