// Pinned host memory through which values go to a device, so that the user's array is free when the call returns and
// the host need not wait for the device.
#pragma once

#include <array>
#include <cstddef>
#include <mutex>

#include "cuda/driver.h"

namespace tengen::cuda {

class Staging {
  public:
    // The device's context must be the current one.
    void copy_in(const std::string& device, Stream stream, Address to, const std::byte* from, size_t bytes);

  private:
    // A part of the ring. It may be written again when `done`, recorded after its last copy, has passed.
    struct Part {
        std::byte* memory = nullptr;
        Event done = nullptr;
        bool recorded = false;
    };
    static constexpr size_t kPart = 1 << 20;
    static constexpr size_t kParts = 8;

    void open(const std::string& device);
    void next_part(const std::string& device, Stream stream);

    std::mutex mutex_;
    std::array<Part, kParts> parts_;
    size_t current_ = 0;
    size_t used_ = 0;  // bytes of the current part
};

// The way back: pinned memory to which a few bytes come while the host goes on.
class Answer {
  public:
    // Begins to copy, in the order of the stream. What was begun before is given up.
    void begin(const std::string& device, Stream stream, Address from, size_t bytes);
    // The bytes, if they are there by now, else null.
    const std::byte* find() const;

  private:
    static constexpr size_t kMost = 4096;

    std::byte* memory_ = nullptr;
    Event done_ = nullptr;
};

}  // namespace tengen::cuda
