// NVIDIA's GPUs as devices: one context, which is the primary one, and one stream each. Nothing is opened before memory
// is asked for.
#pragma once

#include <cstddef>

namespace tengen::cuda {

// Makes "gpu" a kind of device.
void add_devices();

}  // namespace tengen::cuda
