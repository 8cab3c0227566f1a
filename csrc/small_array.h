// A fixed-size array whose first few elements live on the stack, for the per-call lists of the hot path.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace tengen {

template <class T, size_t Inline>
class SmallArray {
  public:
    SmallArray() = default;
    explicit SmallArray(size_t size) { reset(size); }
    SmallArray(const SmallArray&) = delete;
    SmallArray& operator=(const SmallArray&) = delete;
    ~SmallArray() { release(); }

    // Drops the elements and makes `size` value-initialised ones.
    void reset(size_t size) {
        release();
        if (size > Inline) data_ = static_cast<T*>(::operator new(size * sizeof(T), std::align_val_t(alignof(T))));
        std::uninitialized_value_construct_n(data_, size);
        size_ = size;
    }

    size_t size() const { return size_; }
    T* data() { return data_; }
    T* begin() { return data_; }
    T* end() { return data_ + size_; }
    const T* begin() const { return data_; }
    const T* end() const { return data_ + size_; }
    T& operator[](size_t i) { return data_[i]; }
    const T& operator[](size_t i) const { return data_[i]; }

  private:
    T* local() { return reinterpret_cast<T*>(bytes_); }

    void release() {
        std::destroy_n(data_, size_);
        if (data_ != local()) ::operator delete(data_, std::align_val_t(alignof(T)));
        data_ = local();
        size_ = 0;
    }

    alignas(T) std::byte bytes_[Inline * sizeof(T)];
    T* data_ = local();
    size_t size_ = 0;
};

}  // namespace tengen
