#include "device.h"

#include <nanobind/nanobind.h>

#include <algorithm>
#include <unordered_map>

namespace tengen {

namespace nb = nanobind;

namespace {

constexpr size_t kKindLength = 3;  // of "cpu", "gpu" and "xpu"

struct Registry {
    std::vector<DeviceKind> kinds;
    std::string best = "cpu";
    std::unordered_map<std::string, Device*> by_name;
};

Registry& registry() {
    static Registry& registry = *new Registry;  // devices outlive static destructors, as tensors may
    return registry;
}

const DeviceKind* find_kind(const std::string& name) {
    const std::string& wanted = name == "xpu" ? registry().best : name;
    for (const DeviceKind& kind : registry().kinds) {
        if (kind.name == wanted) return &kind;
    }
    return nullptr;
}

}  // namespace

void Device::begin_copy_out(const std::byte*, size_t) {}  // nothing is left to wait for

uintptr_t Device::load(const std::string&, const std::string&) { throw std::runtime_error(name + " loads no kernels"); }

std::string Device::assemble(const std::string&) { throw std::runtime_error(name + " assembles no kernels"); }

void add_device_kind(const DeviceKind& kind) { registry().kinds.push_back(kind); }

size_t device_count(const std::string& kind) {
    const DeviceKind* found = find_kind(kind);
    return found ? found->count() : 0;
}

void set_best_kind(const std::string& kind) {
    if (kind == registry().best) return;
    for (const auto& [name, device] : registry().by_name) {
        if (name.starts_with("xpu")) {
            throw std::runtime_error("what xpux stands for cannot change any more: tensors are on " + name);
        }
    }
    registry().best = kind;
}

Device& device_named(const std::string& name) {
    auto& known = registry().by_name;
    if (auto found = known.find(name); found != known.end()) return *found->second;
    const DeviceKind* kind = find_kind(name.substr(0, kKindLength));
    const size_t number = name.size() > kKindLength && std::isdigit(static_cast<unsigned char>(name[kKindLength]))
                              ? std::stoul(name.substr(kKindLength))
                              : 0;
    if (!kind || number >= kind->count()) throw nb::value_error(("no driver for device '" + name + "'").c_str());
    return *known.emplace(name, &kind->device(number)).first->second;
}

Device* device_of_dlpack(int dlpack, int number) {
    for (const DeviceKind& kind : registry().kinds) {
        if (kind.dlpack == dlpack && static_cast<size_t>(number) < kind.count()) {
            return &device_named(kind.name + std::to_string(number));
        }
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
