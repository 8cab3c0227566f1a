// The Python module tengen._rt. Each part binds itself; only the order is decided here.
#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>

#include "apply.h"
#include "cuda/cuda_device.h"
#include "cuda/driver.h"
#include "hooks.h"
#include "host.h"
#include "interop.h"
#include "operators.h"
#include "pool.h"
#include "recording.h"
#include "tape.h"
#include "tensor_class.h"
#include "waits.h"

namespace tengen {

namespace {

void bind_memory(nb::module_& module) {
    module.def(
        "memory_stats",
        [](const std::string& device) {
            const MemoryStats stats = device_named(device).stats();
            nb::dict made;
            made["live"] = stats.live;
            made["peak"] = stats.peak;
            made["reserved"] = stats.reserved;
            return made;
        },
        nb::arg("device") = "cpu0",
        "Bytes in blocks handed out, the most of them since reset_peak, and bytes obtained from the system.");
    module.def(
        "memory_counts",
        [](const std::string& device) {
            const MemoryCounts counts = device_named(device).counts();
            nb::dict made;
            made["allocations"] = counts.allocations;
            made["mappings"] = counts.mappings;
            return made;
        },
        nb::arg("device") = "cpu0",
        "Blocks handed out, and pieces of memory obtained from the system, since the process began.");
    module.def(
        "reset_peak", [](const std::string& device) { device_named(device).reset_peak(); }, nb::arg("device") = "cpu0");
    module.def(
        "release_cached",
        [] {
            host_device().release_cached();
            for (Device* device : known_devices()) device->release_cached();
        },
        "Give free large blocks of all devices back to the system.");
}

// Code is text, or what Device::assemble gives.
std::string bytes_of(nb::handle code) {
    if (!nb::isinstance<nb::bytes>(code)) return nb::cast<std::string>(code);
    const auto bytes = nb::cast<nb::bytes>(code);
    return {bytes.c_str(), bytes.size()};
}

void bind_devices(nb::module_& module) {
    add_host_devices();
    cuda::add_devices();
    module.def("device_count", device_count, nb::arg("kind"), "How many devices there are of a kind, such as \"gpu\".");
    module.def("devices_begun", devices_begun, nb::arg("kind"),
               "Whether this process has begun to use them, so that those that it forks cannot.");
    module.def("device_fault", device_fault, nb::arg("kind"),
               "Why none of a kind can be used, although there may be some; else \"\".");
    module.def("device_exists", device_exists, nb::arg("device"));
    module.def(
        "set_best_kind", set_best_kind, nb::arg("kind"), nb::arg("tell").none() = nb::none(),
        "What \"xpu\" shall stand for, if there is one; it cannot change once a device has been looked up under that "
        "name. tell: is called with the reason if none can be used, although there may be some.");
    module.def("best_kind", best_kind, "What \"xpu\" stands for.");
    module.def(
        "device_properties",
        [](const std::string& device) {
            const DeviceProperties found = device_named(device).properties();
            nb::dict made;
            made["name"] = found.name;
            made["major"] = found.major;
            made["minor"] = found.minor;
            made["total_memory"] = found.memory;
            made["multi_processor_count"] = found.multiprocessors;
            made["threads"] = found.threads;
            made["shared"] = found.shared;
            return made;
        },
        nb::arg("device"), "What a device is. This does not begin to use it.");
    module.def(
        "load_kernel",
        [](const std::string& device, nb::handle code, const std::string& function) {
            Device& found = device_named(device);
            const std::string copy = bytes_of(code);
            nb::gil_scoped_release released;  // the driver may compile it
            return found.load(copy, function);
        },
        nb::arg("device"), nb::arg("code"), nb::arg("function") = "kernel",
        "What a DeviceLaunch on this device needs of a function in `code`; it stays until the process ends.");
    module.def(
        "assemble_kernel",
        [](const std::string& device, const std::string& code) {
            Device& found = device_named(device);
            std::string made;
            {
                nb::gil_scoped_release released;  // so that several threads may do this
                made = found.assemble(code);
            }
            return nb::bytes(made.data(), made.size());
        },
        nb::arg("device"), nb::arg("code"), "Code that load_kernel takes at once, from text that it must compile.");
    module.def(
        "device_memory",
        [](const std::string& device) {
            Device& found = device_named(device);
            return std::make_pair(found.properties().memory, found.free_memory());
        },
        nb::arg("device"), "(all, free) bytes of a device's memory.");
    module.def("driver_version", cuda::driver_version, "That of the CUDA driver, 12040 for 12.4; 0: there is none.");
}

}  // namespace

}  // namespace tengen

NB_MODULE(_rt, module) {
    using namespace tengen;
    module.attr("__doc__") = "The runtime of tengen: tensors, plans, tapes.";
    // Descriptors and cached plans live until the process ends, which nanobind would report as leaks.
    nb::set_leak_warnings(false);
    bind_devices(module);
    bind_descriptor(module);
    bind_interop(module);
    std::vector<PyType_Slot> operators = operator_slots();
    operators.push_back({0, nullptr});
    const nb::class_<Tensor> cls = bind_tensor(module, operators);
    bind_tensor_interop(cls);
    bind_plan(module);
    bind_waits(module);
    bind_hooks(module);
    bind_apply(module);
    bind_operators(module);
    bind_tape(module, cls);
    bind_recording(module);
    bind_memory(module);
    bind_pool(module);
}
