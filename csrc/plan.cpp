// The Python constructors of Plan, Launch and Host; the executor is in executor.cpp.
#include "plan.h"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <string>

namespace tengen {

namespace {

using BufferPlaces = std::vector<std::pair<size_t, int64_t>>;
using TypedPlaces = std::vector<std::tuple<size_t, int64_t, nb::handle>>;

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

// The first byte that a value reaches, and one past the last, counted from its first element.
std::pair<int64_t, int64_t> byte_range(const Descriptor& desc) {
    if (desc.size == 0) return {0, 0};
    int64_t low = 0, high = 0;
    for (size_t d = 0; d < desc.ndim(); ++d) {
        const int64_t last = (desc.shape[d] - 1) * desc.strides[d];
        (last < 0 ? low : high) += last;
    }
    const auto itemsize = static_cast<int64_t>(desc.itemsize());
    return {low * itemsize, (high + 1) * itemsize};
}

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
            if (const Launch* launch = std::get_if<Launch>(&step)) {
                check_launch(*launch);
            } else {
                for (const Place& place : std::get<Host>(step).inputs) check_value(place, "Host input");
                for (const Place& place : std::get<Host>(step).outputs) {
                    check_value(place, "Host output");
                    if (place.slot < plan_.input_count) reject("a Host step cannot write to an input");
                }
            }
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

    void check_launch(const Launch& launch) const {
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
    void check_skipped(const Launch& launch, const Donation& donation) const {
        for (const Place& place : launch.buffers) {
            if (place.slot != donation.slot && place.slot != donation.input) {
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
        const auto [low, high] = byte_range(*place.desc);
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

void init_host(Host* self, nb::callable function, const TypedPlaces& inputs, const TypedPlaces& outputs) {
    new (self) Host{std::move(function), places(inputs), places(outputs)};
}

void init_plan(Plan* self, size_t inputs, std::vector<size_t> allocations, nb::iterable steps,
               const TypedPlaces& outputs, const std::vector<std::pair<size_t, size_t>>& donations, int64_t work,
               nb::object keep, nb::object error, const std::vector<std::tuple<size_t, size_t, size_t>>& layouts,
               int64_t commit, bool profiled, const std::vector<std::tuple<size_t, int64_t, int64_t>>& limits,
               nb::object overflow) {
    Plan plan{inputs,          std::move(allocations), {},    places(outputs), {}, {}, work,
              std::move(keep), std::move(error),       commit};
    for (nb::handle step : steps) {
        if (nb::isinstance<Launch>(step)) {
            plan.steps.emplace_back(nb::cast<const Launch&>(step));
        } else if (nb::isinstance<Host>(step)) {
            plan.steps.emplace_back(nb::cast<const Host&>(step));
        } else {
            throw nb::type_error("Plan: a step is a Launch or a Host");
        }
    }
    for (auto [slot, input] : donations) plan.donations.push_back({slot, input});
    for (auto [slot, input, step] : layouts) plan.layouts.push_back({slot, input, step});
    plan.profiled = profiled;
    for (auto [input, low, high] : limits) plan.limits.push_back({input, low, high});
    plan.overflow = std::move(overflow);
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
             nb::arg("profiled") = false, nb::arg("limits") = nb::tuple(), nb::arg("overflow") = nb::none())
        .def(
            "take_seconds", [](const Plan& plan) { return std::exchange(plan.seconds, {}); },
            "Of each step of the last run since this was asked before, if the Plan is profiled; launches that ran "
            "together count "
            "for the first of them.");
}

}  // namespace tengen
