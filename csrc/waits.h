// The host waits for a device here: for values that it reads, and for Plans that ran while it went on and may have
// failed. All of this needs the GIL, and lets go of it while it waits.
#pragma once

#include <nanobind/nanobind.h>

#include <vector>

#include "device.h"
#include "tensor.h"

namespace tengen {

// A Plan that has been launched, and left a word other than 0 if it failed.
struct Check {
    nb::object error;  // called with the word and the inputs
    std::vector<Value> inputs;
};

// A zeroed word in the device's memory, to be given back or looked at later.
std::byte* status_word(Device& device);
void give_back(Device& device, const std::byte* word);
// The word is looked at when the host next waits for the device.
void check_later(Device& device, std::byte* word, Check check);
// Lets go of what checks hold whose Plans have ended by now. Does not wait.
void look(Device& device);
// How many of the references to it are those of checks. They look at it only to explain a failure, so its memory may be
// given away nevertheless.
size_t checks_of(Device& device, const Storage* storage);
int64_t read_status(Device& device, const std::byte* word);

// Memory of the device that holds a Python number with these bits. Kernels only read it.
Ref<Storage> number_on(Device& device, uint64_t bits);

// Waits for all that was run there; raises the failures of this thread's Plans.
void wait_for(Device& device);
// If asked for, whatever was run on a device is waited for at once.
bool waits_at_once();

// The value in the host's memory: itself, or a copy with the same strides.
Value fetched(const Value& value);
// The bytes that a value reaches, from one device to another. Both values have the same strides.
void transfer(const Value& from, const Value& to);

void bind_waits(nb::module_& module);

}  // namespace tengen
