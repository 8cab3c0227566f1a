// The host as a device: its memory is the Allocator's, its kernels are machine code that the thread pool runs.
#pragma once

#include "device.h"

namespace tengen {

Device& host_device();
void add_host_devices();

}  // namespace tengen
