#include "pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

namespace tengen {

namespace {

constexpr auto kSpin = std::chrono::microseconds(50);  // about the cost of sleeping and waking
constexpr int64_t kGrains = 16;  // portions of tiles for each thread, so that a slow thread does not hold up the others

void pause_cpu() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Spins until `done()` or until sleeping is cheaper; returns done().
template <class Condition>
bool spin(Condition done) {
    const auto end = std::chrono::steady_clock::now() + kSpin;
    do {
        for (int i = 0; i < 32; ++i) {
            if (done()) return true;
            pause_cpu();
        }
    } while (std::chrono::steady_clock::now() < end);
    return done();
}

// The path of this process in a cgroup hierarchy: the one of `controller`, or the unified one for "".
std::string cgroup_path(const std::string& controller) {
    std::ifstream file("/proc/self/cgroup");
    for (std::string line; std::getline(file, line);) {  // number:controller,controller:path
        std::istringstream fields(line);
        std::string number, controllers, path;
        std::getline(fields, number, ':');
        std::getline(fields, controllers, ':');
        std::getline(fields, path);
        if (controllers.empty() && controller.empty()) return path;
        std::istringstream names(controllers);
        for (std::string name; std::getline(names, name, ',');) {
            if (name == controller) return path;
        }
    }
    return "";
}

// Cores' worth of time that a group's files grant, or infinity.
double group_quota_v2(const std::string& directory) {
    std::ifstream file(directory + "/cpu.max");
    std::string quota;
    double period = 0;
    if (!(file >> quota >> period) || quota == "max" || period <= 0) return HUGE_VAL;
    return std::strtod(quota.c_str(), nullptr) / period;
}

double group_quota_v1(const std::string& directory) {
    double quota = -1, period = 0;
    std::ifstream(directory + "/cpu.cfs_quota_us") >> quota;
    std::ifstream(directory + "/cpu.cfs_period_us") >> period;
    return quota > 0 && period > 0 ? quota / period : HUGE_VAL;
}

// A limit applies to everything below the group that sets it. Inside a container, the group is often mounted as the
// root.
template <class Quota>
double smallest_quota(const std::string& mount, std::string path, Quota quota) {
    double smallest = quota(mount);
    while (path.size() > 1) {
        smallest = std::min(smallest, quota(mount + path));
        path.resize(path.find_last_of('/'));
    }
    return smallest;
}

int initial_threads() {
    if (const char* text = std::getenv("TENGEN_NUM_THREADS")) {
        char* end = nullptr;
        const long threads = std::strtol(text, &end, 10);
        if (end == text || *end || threads < 1 || threads > 4096) {
            throw nb::value_error(
                (std::string("TENGEN_NUM_THREADS must be a positive number, not '") + text + "'").c_str());
        }
        return static_cast<int>(threads);
    }
    return available_cores();
}

// The first tile of the share of a thread.
int64_t cut(int64_t tiles, int thread, int threads) { return tiles * thread / threads; }

// Tiles of a job.
struct Part {
    int64_t first;
    int64_t tiles;
};

// Those that are in a thread's share.
Part part_of(const Job& job, int thread, int threads) {
    const int64_t begin = std::max<int64_t>(cut(job.together, thread, threads) - job.before, 0);
    const int64_t end = std::min(cut(job.together, thread + 1, threads) - job.before, job.tiles);
    return {begin, std::max<int64_t>(end - begin, 0)};
}

}  // namespace

int available_cores() {
    int cores = static_cast<int>(std::thread::hardware_concurrency());
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) cores = CPU_COUNT(&set);
    const double quota = std::min(smallest_quota("/sys/fs/cgroup", cgroup_path(""), group_quota_v2),
                                  smallest_quota("/sys/fs/cgroup/cpu", cgroup_path("cpu"), group_quota_v1));
    if (quota < cores) cores = static_cast<int>(std::ceil(quota));
#endif
    return std::max(cores, 1);
}

std::atomic<ThreadPool*> ThreadPool::current_{nullptr};

ThreadPool& ThreadPool::instance() {
    // Never destroyed: the process may end while a thread is inside run().
    static const bool made = [] {
        current_ = new ThreadPool(initial_threads());
        pthread_atfork(nullptr, nullptr, renew_after_fork);
        return true;
    }();
    (void)made;
    return *current_.load(std::memory_order_relaxed);
}

void ThreadPool::renew_after_fork() { current_ = new ThreadPool(current_.load()->threads_); }

void ThreadPool::share_out(Job* jobs, size_t count) {
    const int threads = static_cast<int>(shares_.size());
    int64_t tiles = 0;
    for (Share& share : shares_) share.end = 0;
    for (size_t first = 0, next = 0; first < count; first = next) {
        int64_t together = 0;
        do {
            jobs[next].before = together;
            together += jobs[next++].tiles;
        } while (next < count &&
                 (jobs[next].side || together < threads));  // otherwise one thread would get all of a few tiles
        for (size_t i = first; i < next; ++i) jobs[i].together = together;
        for (int i = 0; i < threads; ++i) shares_[i].end += cut(together, i + 1, threads) - cut(together, i, threads);
        tiles += together;
    }
    for (Share& share : shares_) share.next.store(0, std::memory_order_relaxed);
    grain_ = std::max<int64_t>(tiles / (threads * kGrains), 1);
    jobs_ = jobs;
}

void ThreadPool::run(Job* jobs, size_t count) {
    std::unique_lock lock(owner_, std::try_to_lock);
    const int threads = threads_;
    if (!lock || threads == 1) {
        for (size_t i = 0; i < count; ++i) jobs[i].run(0, jobs[i].tiles);
        return;
    }
    if (workers_.empty()) start();

    share_out(jobs, count);
    open_ = true;
    ++epoch_;
    epoch_.notify_all();

    work(0);
    open_ = false;
    if (!spin([this] { return inside_ == 0; })) {
        while (const int inside = inside_) inside_.wait(inside);
    }
}

void ThreadPool::work(int thread) {
    const int threads = static_cast<int>(shares_.size());
    for (int i = 0; i < threads; ++i) {
        const int owner = (thread + i) % threads;
        Share& share = shares_[owner];
        const Job* job = jobs_;
        Part part = part_of(*job, owner, threads);
        int64_t passed = 0;  // tiles of the share that are of jobs before
        for (;;) {
            int64_t begin = share.next.fetch_add(grain_, std::memory_order_relaxed);
            if (begin >= share.end) break;
            for (const int64_t end = std::min(begin + grain_, share.end); begin < end;) {
                while (begin >= passed + part.tiles) {
                    passed += part.tiles;
                    part = part_of(*++job, owner, threads);
                }
                const int64_t stop = std::min(end, passed + part.tiles);
                job->run(part.first + begin - passed, part.first + stop - passed);
                begin = stop;
            }
        }
    }
}

void ThreadPool::serve(int thread) {
    unsigned seen = 0;
    while (!stopping_) {
        if (!spin([&] { return epoch_ != seen; })) epoch_.wait(seen);
        seen = epoch_;
        ++inside_;
        if (open_) work(thread);
        if (--inside_ == 0) inside_.notify_one();
    }
}

void ThreadPool::start() {
    stopping_ = false;
    shares_ = std::vector<Share>(threads_);
    for (int i = 1; i < threads_; ++i) workers_.emplace_back([this, i] { serve(i); });
}

void ThreadPool::halt() {
    stopping_ = true;
    ++epoch_;
    epoch_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
}

void ThreadPool::resize(int threads) {
    std::lock_guard lock(owner_);
    halt();
    threads_ = threads;
}

void ThreadPool::stop() {
    std::lock_guard lock(owner_);
    halt();
}

void bind_pool(nb::module_& module) {
    ThreadPool::instance();  // reads the environment now, so that a bad setting fails at import
    module.def(
        "get_num_threads", [] { return ThreadPool::instance().threads(); },
        "The number of threads that kernels run on.");
    module.def(
        "set_num_threads",
        [](int threads) {
            if (threads < 1) throw nb::value_error("the number of threads must be at least 1");
            nb::gil_scoped_release released;  // another thread's launch may have to end first
            ThreadPool::instance().resize(threads);
        },
        nb::arg("threads"));
    nb::module_::import_("atexit").attr("register")(nb::cpp_function([] {
        nb::gil_scoped_release released;
        ThreadPool::instance().stop();
    }));
}

}  // namespace tengen
