// The Python constructors of Plan, Launch and Host; the executor is in executor.cpp.
#include "plan.h"

#include <nanobind/stl/array.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <string>

namespace tengen {

namespace {

using BufferPlaces = std::vector<std::pair<size_t, int64_t>>;
using TypedPlace = std::tuple<size_t, int64_t, nb::handle>;
using TypedPlaces = std::vector<TypedPlace>;

std::vector<Place> places(const BufferPlaces& given) {
    std::vector<Place> made;
    for (auto [slot, offset] : given) made.push_back({slot, offset});
    return made;
}

std::vector<Place> places(const TypedPlaces& given) {
    std::vector<Place> made;
    for (const auto& [slot, offset, desc] : given) made.push_back({slot, offset, descriptor_of(desc)});
    return made;
}

[[noreturn]] void reject(const std::string& problem) { throw nb::value_error(("Plan: " + problem).c_str()); }

// Slots must exist, and values must lie inside allocated ones: a wrong Plan should fail here, not by touching other
// memory.
class Checker {
  public:
    explicit Checker(const Plan& plan) : plan_(plan) {}

    void check() const {
        for (size_t bytes : plan_.allocations) {
            if (bytes > kMostBytes) reject("an allocation of " + std::to_string(bytes) + " bytes");
        }
        for (const auto& step : plan_.steps) {
            std::visit([this](const auto& one) { check_step(one); }, step);
        }
        for (const Place& place : plan_.outputs) check_value(place, "output");
        for (const Layout& layout : plan_.layouts) check_layout(layout);
        for (const Limit& limit : plan_.limits) {
            if (limit.input >= plan_.input_count) reject("limit of input " + std::to_string(limit.input));
        }
        for (const Donation& donation : plan_.donations) {
            if (donation.input >= plan_.input_count) reject("donation of input " + std::to_string(donation.input));
            check_allocation(donation.slot, "donation");
            for (const Place& place : plan_.outputs) {
                if (place.slot == donation.input) reject("an output lies in an input that may be overwritten");
            }
        }
    }

  private:
    static constexpr size_t kMostBytes = size_t{1} << 60;  // beyond, sizes would overflow when they are rounded up

    void check_step(const Launch& launch) const {
        if (!plan_.device->is_host()) reject("a Launch on " + plan_.device->name + ", which runs DeviceLaunches");
        check_launch(launch);
    }

    void check_step(const DeviceLaunch& launch) const {
        if (plan_.device->is_host()) reject("a DeviceLaunch on the host");
        check_launch(launch);
    }

    void check_step(const Host& step) const {
        for (const Place& place : step.inputs) check_value(place, "Host input");
        for (const Place& place : step.outputs) {
            check_value(place, "Host output");
            if (place.slot < plan_.input_count) reject("a Host step cannot write to an input");
        }
    }

    void check_step(const Transfer& step) const {
        check_value(step.from, "Transfer input");
        check_value(step.to, "Transfer output");
        if (step.to.slot < plan_.input_count) reject("a Transfer cannot write to an input");
        if (step.from.desc->byte_range() != step.to.desc->byte_range()) reject("a Transfer between different layouts");
    }

    template <class AnyLaunch>
    void check_launch(const AnyLaunch& launch) const {
        for (const Place& place : launch.buffers) {
            if (place.slot > plan_.status_slot()) reject("launch buffer in slot " + std::to_string(place.slot));
        }
        if (launch.skip_if < 0) return;
        check_allocation(static_cast<size_t>(launch.skip_if), "skip_if");
        for (const Donation& donation : plan_.donations) {
            if (static_cast<int64_t>(donation.slot) == launch.skip_if) check_skipped(launch, donation);
        }
    }

    // What a skipped step would write is there already, so the step can only be a copy of the donated input.
    template <class AnyLaunch>
    void check_skipped(const AnyLaunch& launch, const Donation& donation) const {
        for (const Place& place : launch.buffers) {
            const bool guard = place.slot == plan_.status_slot() && !plan_.device->is_host();
            if (place.slot != donation.slot && place.slot != donation.input && !guard) {
                reject("a step that is skipped for a donation touches slot " + std::to_string(place.slot));
            }
        }
    }

    void check_layout(const Layout& layout) const {
        if (layout.input >= plan_.input_count) reject("layout of input " + std::to_string(layout.input));
        check_allocation(layout.slot, "layout");
        const Launch* launch =
            layout.step < plan_.steps.size() ? std::get_if<Launch>(&plan_.steps[layout.step]) : nullptr;
        if (!launch || launch->skip_if != static_cast<int64_t>(layout.slot)) {
            reject("layout by step " + std::to_string(layout.step) + ", which is no launch that can be skipped for it");
        }
        for (const Place& place : launch->buffers) {
            if (place.slot != layout.slot && place.slot != layout.input) reject("a layout depends on other slots");
        }
    }

    void check_allocation(size_t slot, const std::string& what) const {
        if (slot < plan_.input_count || slot >= plan_.status_slot()) {
            reject(what + " names slot " + std::to_string(slot) + ", which is no allocation");
        }
    }

    void check_value(const Place& place, const std::string& what) const {
        if (place.slot < plan_.input_count) return;  // an input's extent is known only when it arrives
        check_allocation(place.slot, what);
        const auto [low, high] = place.desc->byte_range();
        const auto bytes = static_cast<int64_t>(plan_.allocations[place.slot - plan_.input_count]);
        if (place.offset + low < 0 || place.offset + high > bytes) {
            reject(what + " reaches outside slot " + std::to_string(place.slot));
        }
    }

    const Plan& plan_;
};

void init_launch(Launch* self, uintptr_t address, const BufferPlaces& buffers, std::vector<int64_t> params,
                 int64_t tiles, int64_t work, int64_t skip_if, bool joined, bool side) {
    if (!address) throw nb::value_error("Launch: the kernel's address is 0");
    if (tiles < 0) throw nb::value_error("Launch: a negative number of tiles");
    if (side && !joined) throw nb::value_error("Launch: a side that is not joined to another");
    new (self) Launch{
        reinterpret_cast<Kernel>(address), places(buffers), std::move(params), tiles, work, skip_if, joined, side};
}

void init_device_launch(DeviceLaunch* self, uintptr_t function, const BufferPlaces& buffers,
                        std::vector<int64_t> params, std::array<uint32_t, 3> grid, std::array<uint32_t, 3> block,
                        uint32_t shared, int64_t skip_if, bool from_memory) {
    if (!function) throw nb::value_error("DeviceLaunch: the function is 0");
    new (self) DeviceLaunch{function, places(buffers), std::move(params), grid, block, shared, skip_if, from_memory};
}

void init_transfer(Transfer* self, const TypedPlace& from, const TypedPlace& to) {
    const auto [from_slot, from_offset, from_desc] = from;
    const auto [to_slot, to_offset, to_desc] = to;
    new (self)
        Transfer{{from_slot, from_offset, descriptor_of(from_desc)}, {to_slot, to_offset, descriptor_of(to_desc)}};
}

Step step_of(nb::handle step) {
    if (nb::isinstance<Launch>(step)) return nb::cast<const Launch&>(step);
    if (nb::isinstance<DeviceLaunch>(step)) return nb::cast<const DeviceLaunch&>(step);
    if (nb::isinstance<Host>(step)) return nb::cast<const Host&>(step);
    if (nb::isinstance<Transfer>(step)) return nb::cast<const Transfer&>(step);
    throw nb::type_error("Plan: a step is a Launch, a DeviceLaunch, a Host or a Transfer");
}

// Each allocation is on the Plan's device, but for what a transfer fills. Empty if all are the host's.
std::vector<Device*> homes_of(const Plan& plan) {
    std::vector<Device*> homes(plan.allocations.size(), plan.device);
    for (const Step& step : plan.steps) {
        const Transfer* transfer = std::get_if<Transfer>(&step);
        if (!transfer || transfer->to.slot < plan.input_count || transfer->to.slot >= plan.status_slot()) continue;
        homes[transfer->to.slot - plan.input_count] = &device_named(transfer->to.desc->device);
    }
    if (std::all_of(homes.begin(), homes.end(), [](const Device* home) { return home->is_host(); })) return {};
    return homes;
}

void init_host(Host* self, nb::callable function, const TypedPlaces& inputs, const TypedPlaces& outputs) {
    new (self) Host{std::move(function), places(inputs), places(outputs)};
}

void init_plan(Plan* self, size_t inputs, std::vector<size_t> allocations, nb::iterable steps,
               const TypedPlaces& outputs, const std::vector<std::pair<size_t, size_t>>& donations, int64_t work,
               nb::object keep, nb::object error, const std::vector<std::tuple<size_t, size_t, size_t>>& layouts,
               int64_t commit, bool profiled, const std::vector<std::tuple<size_t, int64_t, int64_t>>& limits,
               nb::object overflow, const std::string& device) {
    Plan plan{inputs,          std::move(allocations), {},    places(outputs), {}, {}, work,
              std::move(keep), std::move(error),       commit};
    for (nb::handle step : steps) plan.steps.push_back(step_of(step));
    for (auto [slot, input] : donations) plan.donations.push_back({slot, input});
    for (auto [slot, input, step] : layouts) plan.layouts.push_back({slot, input, step});
    plan.profiled = profiled;
    for (auto [input, low, high] : limits) plan.limits.push_back({input, low, high});
    plan.overflow = std::move(overflow);
    plan.device = &device_named(device);
    plan.homes = homes_of(plan);
    Checker(plan).check();
    new (self) Plan(std::move(plan));
}

// A Plan's functions may refer, through their closures, to what holds the Plan.
int plan_traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    if (!nb::inst_ready(self)) return 0;
    const Plan& plan = *nb::inst_ptr<Plan>(self);
    Py_VISIT(plan.keep.ptr());
    Py_VISIT(plan.error.ptr());
    Py_VISIT(plan.overflow.ptr());
    for (const auto& step : plan.steps) {
        if (const Host* host = std::get_if<Host>(&step)) Py_VISIT(host->function.ptr());
    }
    return 0;
}

int plan_clear(PyObject* self) {
    if (!nb::inst_ready(self)) return 0;
    Plan& plan = *nb::inst_ptr<Plan>(self);
    // Nothing can run the Plan any more, but its fields must stay valid until they are destroyed.
    plan.keep = nb::none();
    plan.error = nb::none();
    plan.overflow = nb::none();
    plan.steps.clear();
    return 0;
}

}  // namespace

void bind_plan(nb::module_& module) {
    nb::class_<Launch>(module, "Launch", "A Plan's step that runs a kernel over its tiles.")
        .def("__init__", init_launch, nb::arg("address"), nb::arg("buffers"), nb::arg("params"), nb::arg("tiles"),
             nb::arg("work"), nb::arg("skip_if") = -1, nb::arg("joined") = false, nb::arg("side") = false)
        .def_prop_ro("tiles", [](const Launch& l) { return l.tiles; })
        .def_prop_ro("work", [](const Launch& l) { return l.work; });

    nb::class_<DeviceLaunch>(module, "DeviceLaunch", "A Plan's step that runs a kernel in a grid of blocks of threads.")
        .def("__init__", init_device_launch, nb::arg("function"), nb::arg("buffers"), nb::arg("params"),
             nb::arg("grid"), nb::arg("block"), nb::arg("shared") = 0, nb::arg("skip_if") = -1,
             nb::arg("from_memory") = false);

    nb::class_<Transfer>(module, "Transfer", "A Plan's step that copies a value to another device.")
        .def("__init__", init_transfer, nb::arg("source"), nb::arg("target"));

    nb::class_<Host>(module, "Host", "A Plan's step that calls Python: function(arrays, arrays to fill).")
        .def("__init__", init_host, nb::arg("function"), nb::arg("inputs"), nb::arg("outputs"));

    static const PyType_Slot slots[] = {{Py_tp_traverse, reinterpret_cast<void*>(plan_traverse)},
                                        {Py_tp_clear, reinterpret_cast<void*>(plan_clear)},
                                        {0, nullptr}};
    nb::class_<Plan>(module, "Plan", nb::type_slots(slots),
                     "Steps over buffer slots; see docs/architecture/runtime.md.")
        .def("__init__", init_plan, nb::arg("inputs"), nb::arg("allocations"), nb::arg("steps"), nb::arg("outputs"),
             nb::arg("donations") = nb::tuple(), nb::arg("work") = 0, nb::arg("keep") = nb::none(),
             nb::arg("error") = nb::none(), nb::arg("layouts") = nb::tuple(), nb::arg("commit") = -1,
             nb::arg("profiled") = false, nb::arg("limits") = nb::tuple(), nb::arg("overflow") = nb::none(),
             nb::arg("device") = "cpu0")
        .def(
            "take_seconds", [](const Plan& plan) { return std::exchange(plan.seconds, {}); },
            "Of each step of the last run since this was asked before, if the Plan is profiled; launches that ran "
            "together count "
            "for the first of them.");
}

}  // namespace tengen
