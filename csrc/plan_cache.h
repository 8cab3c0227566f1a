// Keeps the Plans of (op, input descriptors). The least recently used ones leave first.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>
#include <vector>

#include "gradient.h"
#include "plan.h"

namespace tengen {

// An entry. It is reference-counted, because it may leave the cache while its Plan runs (a Host step can call
// anything).
struct CachedPlan {
    uint32_t refs = 0;
    size_t hash = 0;
    nb::object op;
    std::vector<const Descriptor*> descs;
    nb::object plan_object;
    const Plan* plan = nullptr;
    GradientRules rules;

    CachedPlan* chain = nullptr;  // next in the hash bucket
    CachedPlan* newer = nullptr;  // neighbours in order of use
    CachedPlan* older = nullptr;

    static void destroy(CachedPlan* entry) { delete entry; }
};

class PlanCache {
  public:
    static PlanCache& instance();

    // The entry for these inputs; calls the compile hook if there is none.
    Ref<CachedPlan> get(nb::handle op, const Operands& inputs);
    void clear();
    void set_limit(size_t limit);
    nb::dict info() const;

  private:
    PlanCache();
    CachedPlan* find(size_t hash, PyObject* op, const Operands& inputs) const;
    Ref<CachedPlan> compile(size_t hash, nb::handle op, const Operands& inputs);
    void insert(CachedPlan* entry);
    void evict_oldest();
    void rehash(size_t buckets);
    CachedPlan*& bucket(size_t hash) { return buckets_[hash & (buckets_.size() - 1)]; }
    void link_newest(CachedPlan* entry);
    static void unlink(CachedPlan* entry);

    std::vector<CachedPlan*> buckets_;
    CachedPlan ends_;  // closes the ring: ends_.older is the newest, ends_.newer the oldest
    size_t size_ = 0;
    size_t limit_ = 16384;
    size_t hits_ = 0;
    size_t misses_ = 0;
};

}  // namespace tengen
