#include "plan_cache.h"

#include "hooks.h"

namespace tengen {

namespace {

size_t hash_key(PyObject* op, const Operands& inputs) {
    constexpr size_t kMultiplier = 0x9E3779B97F4A7C15u;
    size_t hash = (reinterpret_cast<size_t>(op) >> 4) * kMultiplier;
    for (const Operand& input : inputs) {
        hash = (hash ^ (hash >> 32) ^ (reinterpret_cast<size_t>(input.desc) >> 4)) * kMultiplier;
    }
    return hash ^ (hash >> 32);
}

bool same_descs(const std::vector<const Descriptor*>& descs, const Operands& inputs) {
    if (descs.size() != inputs.size()) return false;
    for (size_t i = 0; i < descs.size(); ++i) {
        if (descs[i] != inputs[i].desc) return false;
    }
    return true;
}

}  // namespace

PlanCache& PlanCache::instance() {
    static PlanCache& cache = *new PlanCache;  // holds Python objects, so it must not be destroyed after Python
    return cache;
}

PlanCache::PlanCache() : buckets_(1024) { ends_.newer = ends_.older = &ends_; }

Ref<CachedPlan> PlanCache::get(nb::handle op, const Operands& inputs) {
    const size_t hash = hash_key(op.ptr(), inputs);
    CachedPlan* found = find(hash, op.ptr(), inputs);
    if (!found) {
        ++misses_;
        return compile(hash, op, inputs);
    }
    ++hits_;
    if (ends_.older != found) {
        unlink(found);
        link_newest(found);
    }
    return Ref(found);
}

CachedPlan* PlanCache::find(size_t hash, PyObject* op, const Operands& inputs) const {
    CachedPlan* entry = buckets_[hash & (buckets_.size() - 1)];
    while (entry && !(entry->hash == hash && entry->op.ptr() == op && same_descs(entry->descs, inputs))) {
        entry = entry->chain;
    }
    return entry;
}

Ref<CachedPlan> PlanCache::compile(size_t hash, nb::handle op, const Operands& inputs) {
    Ref<CachedPlan> entry(new CachedPlan);
    entry->hash = hash;
    entry->op = nb::borrow(op);
    for (const Operand& input : inputs) entry->descs.push_back(input.desc);
    entry->plan_object = require(hooks().compile, "compile")(op, to_python(entry->descs));
    if (!nb::isinstance<Plan>(entry->plan_object)) throw nb::type_error("the compile hook must return a Plan");
    entry->plan = nb::inst_ptr<Plan>(entry->plan_object);
    // The hook ran Python: it, or another thread in the meantime, may have compiled the same Plan.
    if (CachedPlan* other = find(hash, op.ptr(), inputs)) return Ref(other);
    insert(entry.get());
    return entry;
}

void PlanCache::insert(CachedPlan* entry) {
    if (limit_ == 0) return;
    while (size_ >= limit_) evict_oldest();
    if (size_ >= buckets_.size()) rehash(2 * buckets_.size());
    ++entry->refs;  // the cache's own
    entry->chain = std::exchange(bucket(entry->hash), entry);
    link_newest(entry);
    ++size_;
}

void PlanCache::evict_oldest() {
    CachedPlan* entry = ends_.newer;
    CachedPlan** link = &bucket(entry->hash);
    while (*link != entry) link = &(*link)->chain;
    *link = entry->chain;
    unlink(entry);
    --size_;
    Ref<CachedPlan> last(entry);  // takes over the cache's reference; freeing it may run Python, so it goes last
    --entry->refs;
}

void PlanCache::rehash(size_t buckets) {
    buckets_.assign(buckets, nullptr);
    for (CachedPlan* entry = ends_.older; entry != &ends_; entry = entry->older) {
        entry->chain = std::exchange(bucket(entry->hash), entry);
    }
}

void PlanCache::link_newest(CachedPlan* entry) {
    entry->newer = &ends_;
    entry->older = ends_.older;
    ends_.older->newer = entry;
    ends_.older = entry;
}

void PlanCache::unlink(CachedPlan* entry) {
    entry->newer->older = entry->older;
    entry->older->newer = entry->newer;
}

void PlanCache::clear() {
    while (size_) evict_oldest();
}

void PlanCache::set_limit(size_t limit) {
    limit_ = limit;
    while (size_ > limit_) evict_oldest();
}

nb::dict PlanCache::info() const {
    nb::dict info;
    info["size"] = size_;
    info["limit"] = limit_;
    info["hits"] = hits_;
    info["misses"] = misses_;
    return info;
}

}  // namespace tengen
