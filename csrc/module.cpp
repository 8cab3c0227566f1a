// The Python module tengen._rt. Each part binds itself; only the order is decided here.
#include <nanobind/nanobind.h>

#include "allocator.h"
#include "apply.h"
#include "hooks.h"
#include "interop.h"
#include "operators.h"
#include "pool.h"
#include "recording.h"
#include "tape.h"
#include "tensor_class.h"

namespace tengen {

namespace {

void bind_memory(nb::module_& module) {
    module.def(
        "memory_stats",
        [] {
            const MemoryStats stats = Allocator::instance().stats();
            nb::dict made;
            made["live"] = stats.live;
            made["peak"] = stats.peak;
            made["reserved"] = stats.reserved;
            return made;
        },
        "Bytes in blocks handed out, the most of them since reset_peak, and bytes obtained from the system.");
    module.def(
        "memory_counts",
        [] {
            const MemoryCounts counts = Allocator::instance().counts();
            nb::dict made;
            made["allocations"] = counts.allocations;
            made["mappings"] = counts.mappings;
            return made;
        },
        "Blocks handed out, and pieces of memory obtained from the system, since the process began.");
    module.def("reset_peak", [] { Allocator::instance().reset_peak(); });
    module.def(
        "release_cached", [] { Allocator::instance().release_cached(); }, "Give free large blocks back to the system.");
}

}  // namespace

}  // namespace tengen

NB_MODULE(_rt, module) {
    using namespace tengen;
    module.attr("__doc__") = "The runtime of tengen: tensors, plans, tapes.";
    // Descriptors and cached plans live until the process ends, which nanobind would report as leaks.
    nb::set_leak_warnings(false);
    bind_descriptor(module);
    bind_interop(module);
    std::vector<PyType_Slot> operators = operator_slots();
    operators.push_back({0, nullptr});
    const nb::class_<Tensor> cls = bind_tensor(module, operators);
    bind_tensor_interop(cls);
    bind_plan(module);
    bind_hooks(module);
    bind_apply(module);
    bind_operators(module);
    bind_tape(module, cls);
    bind_recording(module);
    bind_memory(module);
    bind_pool(module);
}
