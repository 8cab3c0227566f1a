#include "device.h"

#include <nanobind/stl/string.h>

#include <algorithm>
#include <cctype>
#include <unordered_map>

namespace tengen {

namespace nb = nanobind;

namespace {

constexpr size_t kKindLength = 3;  // of "cpu", "gpu" and "xpu"

struct Registry {
    std::vector<DeviceKind> kinds;
    std::string wanted = "cpu", best;  // what "xpu" shall stand for, and does; empty: nobody has asked
    nb::object tell = nb::none();
    std::unordered_map<std::string, Device*> by_name;
};

Registry& registry() {
    static Registry& registry = *new Registry;  // devices outlive static destructors, as tensors may
    return registry;
}

const DeviceKind* kind_named(const std::string& name) {
    for (const DeviceKind& kind : registry().kinds) {
        if (kind.name == name) return &kind;
    }
    return nullptr;
}

const DeviceKind* find_kind(const std::string& name) { return kind_named(name == "xpu" ? best_kind() : name); }

// `kind`, if there is one that can be used.
std::string usable(const std::string& kind) {
    const DeviceKind* found = kind_named(kind);
    return found && found->fault().empty() && found->device(0) ? kind : "cpu";
}

size_t number_of(const std::string& name) {
    const bool given = name.size() > kKindLength && std::isdigit(static_cast<unsigned char>(name[kKindLength]));
    return given ? std::stoul(name.substr(kKindLength)) : 0;
}

Device* find_device(const std::string& name) {
    const DeviceKind* kind = find_kind(name.substr(0, kKindLength));
    return kind ? kind->device(number_of(name)) : nullptr;
}

}  // namespace

void Device::begin_copy_out(const std::byte*, size_t) {}  // nothing is left to wait for

uintptr_t Device::load(const std::string&, const std::string&) { throw std::runtime_error(name + " loads no kernels"); }

std::string Device::assemble(const std::string&) { throw std::runtime_error(name + " assembles no kernels"); }

void add_device_kind(const DeviceKind& kind) { registry().kinds.push_back(kind); }

size_t device_count(const std::string& kind) {
    const DeviceKind* found = kind_named(kind);
    return found ? found->count() : 0;
}

bool devices_begun(const std::string& kind) {
    const DeviceKind* found = kind_named(kind);
    return found && found->begun();
}

std::string device_fault(const std::string& kind) {
    const DeviceKind* found = kind_named(kind);
    return found ? found->fault() : "";
}

void set_best_kind(const std::string& kind, const nb::object& tell) {
    Registry& here = registry();
    here.tell = tell;
    for (const auto& [name, device] : here.by_name) {
        if (!name.starts_with("xpu")) continue;
        if (usable(kind) == here.best) break;
        throw std::runtime_error("what xpux stands for cannot change any more: tensors are on " + name);
    }
    if (kind != here.wanted) here.best.clear();
    here.wanted = kind;
}

std::string best_kind() {
    Registry& here = registry();
    if (here.best.empty()) {
        here.best = usable(here.wanted);
        const std::string fault = here.best == here.wanted ? "" : device_fault(here.wanted);
        if (!fault.empty() && !here.tell.is_none()) here.tell(fault);
    }
    return here.best;
}

bool device_exists(const std::string& name) { return registry().by_name.contains(name) || find_device(name); }

Device& device_named(const std::string& name) {
    auto& known = registry().by_name;
    if (auto found = known.find(name); found != known.end()) return *found->second;
    Device* device = find_device(name);
    if (!device) throw nb::value_error(("no driver for device '" + name + "'").c_str());
    return *known.emplace(name, device).first->second;
}

Device* device_of_dlpack(int dlpack, int number) {
    for (const DeviceKind& kind : registry().kinds) {
        if (kind.dlpack != dlpack || number < 0) continue;
        const std::string name = kind.name + std::to_string(number);
        return device_exists(name) ? &device_named(name) : nullptr;
    }
    return nullptr;
}

std::vector<Device*> known_devices() {
    std::vector<Device*> found;
    for (const auto& [name, device] : registry().by_name) {
        if (std::find(found.begin(), found.end(), device) == found.end()) found.push_back(device);
    }
    return found;
}

}  // namespace tengen
