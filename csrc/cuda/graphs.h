// CUDA graphs of Plans: many launches by one call of the driver. What the launches of a Plan are given is the addresses
// of its slots, nothing else, so a graph that was captured in one run serves each run with the same addresses.
#pragma once

#include <vector>

#include "cuda/driver.h"
#include "slots.h"

namespace tengen::cuda {

// Addresses and numbers in the device's memory, for kernels that read them there.
using Arrays = std::vector<Ref<Storage>>;

// What a GPU remembers of the runs of one Plan.
class Graphs {
  public:
    // A run of the launches from step `first` on.
    struct Run {
        size_t first;
        std::vector<std::byte*> base;  // of the slots, without the status word
        std::vector<bool> filled;      // allocations
        Executable executable = nullptr;
        Arrays arrays = {};  // that its kernels read
    };

    explicit Graphs(const Plan& plan);
    Graphs(const Graphs&) = delete;
    Graphs& operator=(const Graphs&) = delete;
    ~Graphs();

    // False if launches have to be launched one by one.
    bool usable() const { return usable_; }
    void give_up() { usable_ = false; }

    // The last run that was like this one, or null; this one is remembered then. The latest few are.
    Run* find(size_t first, const Slots& slots);

    // The status word of the graphs, which always lies in the same place.
    Ref<Storage> word;

  private:
    static constexpr size_t kMostRuns = 4;

    bool usable_ = true;
    std::vector<Run> runs_;
};

// The graph of what `work` puts into the stream; null if the driver does not capture it. Nothing else may use the
// stream.
template <class Work>
Executable captured(Stream stream, Work&& work) {
    constexpr int kRelaxed = 2;  // CU_STREAM_CAPTURE_MODE_RELAXED: other threads may do anything meanwhile
    if (driver().begin_capture(stream, kRelaxed) != kSuccess) return nullptr;
    bool done = true;
    try {
        work();
    } catch (const std::runtime_error&) {
        done = false;
    }
    Graph graph = nullptr;
    Executable made = nullptr;
    if (driver().end_capture(stream, &graph) != kSuccess || !graph) return nullptr;
    if (done && driver().instantiate(&made, graph, 0) != kSuccess) made = nullptr;
    driver().destroy_graph(graph);
    return made;
}

}  // namespace tengen::cuda
