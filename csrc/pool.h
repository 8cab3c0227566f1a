// Owns the worker threads, which share the tiles of one kernel launch, or of several independent ones, at a time.
#pragma once

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "plan.h"

namespace tengen {

// The cores that this process may use: its affinity mask and its cgroup's quota.
int available_cores();

// The tiles of one kernel launch.
struct Job {
    Kernel kernel;
    void** buffers;
    const int64_t* params;
    int64_t tiles;
    bool side;  // its tiles follow those of the job before it, as if both were one

    // Set by the pool: the tiles of jobs that are shared out as one, and how many of them come before this job's.
    int64_t together = 0;
    int64_t before = 0;

    void run(int64_t begin, int64_t end) const { kernel(buffers, params, begin, end); }
};

class ThreadPool {
  public:
    // One for each process: after a fork the child gets a fresh one, because threads are not inherited.
    static ThreadPool& instance();

    // Runs all tiles of all jobs, in any order, and returns when they are done. The caller works too; it works alone if
    // another thread is using the pool.
    void run(Job* jobs, size_t count);

    int threads() const { return threads_; }
    // The number of threads that work on a launch, including the caller.
    void resize(int threads);
    // Ends the workers; the next launch starts them again.
    void stop();

  private:
    explicit ThreadPool(int threads) : threads_(threads) {}
    void start();
    void halt();
    void serve(int thread);
    void work(int thread);
    // Gives each thread its part of the tiles.
    void share_out(Job* jobs, size_t count);

    static std::atomic<ThreadPool*> current_;
    static void renew_after_fork();

    std::mutex owner_;  // held by the thread whose launch is running
    std::vector<std::thread> workers_;
    std::atomic<int> threads_;

    // The tiles that a thread does first. When none are left, it helps the others.
    struct alignas(64) Share {
        std::atomic<int64_t> next{0};
        int64_t end = 0;
    };

    // The jobs, and how their tiles are shared. Every launch shares them in the same way, because what a kernel reads
    // is often still in the caches of the core that wrote it: a thread's share is the same fraction of each launch.
    // Written only while `open_` is false and no worker is inside.
    const Job* jobs_ = nullptr;
    int64_t grain_ = 1;
    std::vector<Share> shares_;

    // A worker counts itself in before it looks at `open_`, and the owner closes before it looks at `inside_` (both
    // sequentially consistent): so a worker that wakes late either finds the launch closed or is waited for.
    alignas(64) std::atomic<int> inside_{0};
    std::atomic<bool> open_{false};
    alignas(64) std::atomic<unsigned> epoch_{0};  // changes with every launch; idle workers sleep on it
    std::atomic<bool> stopping_{false};
};

void bind_pool(nb::module_& module);

}  // namespace tengen
