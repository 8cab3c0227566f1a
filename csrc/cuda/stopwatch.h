// Times of a GPU, by events in its stream: the host waits only when it wants to know them.
#pragma once

#include <string>
#include <vector>

#include "cuda/driver.h"
#include "device.h"

namespace tengen::cuda {

class EventStopwatch final : public Stopwatch {
  public:
    EventStopwatch(std::string device, Context context, Stream stream)
        : device_(std::move(device)), context_(context), stream_(stream) {}
    ~EventStopwatch() override;

    void mark() override;
    std::vector<double> seconds() override;

  private:
    const std::string device_;
    const Context context_;
    const Stream stream_;
    std::vector<Event> marks_;
};

}  // namespace tengen::cuda
