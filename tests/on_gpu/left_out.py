"""Tests that do not run with a GPU as the default device. What a user sees of a GPU must not be among them."""

LEFT_OUT: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "they choose the device themselves, so `make test` runs the same",
        (
            "double/",
            "devices/",
            "test_devices.py",
            "test_on_gpu.py",
            "test_gpu_check.py",
            "base/test_gpu_*.py",
            "examples/test_digits_gpu.py",
        ),
    ),
    (
        "they are of kernels, Plans and machine code for CPUs; compiler/test_device_*.py choose a GPU themselves",
        ("compiler/", "runtime/"),
    ),
    (
        "several processes exchange memory of the host; GPUs do not exchange theirs yet",
        (
            "distributed/",
            "examples/test_digits_workers.py",
            "test_docstrings.py::test_examples[[]tengen.base.world.*",
            "test_docstrings.py::test_examples[[]tengen.distributed*",
            "test_docstrings.py::test_examples[[]tengen.functional.distributed.*",
        ),
    ),
    (
        "they are of the benchmarks, which measure CPUs",
        ("test_benchmarks.py", "test_api_benchmark.py", "test_scaling.py"),
    ),
    (
        "they read source, documents or names, and compute nothing",
        ("test_layers.py", "test_names.py", "test_site*.py", "test_packaging.py", "test_portability.py"),
    ),
    (
        "they say what xpux and the machine are without a GPU; devices/test_values.py says it for one with a GPU",
        (
            "base/test_device.py::test_names[[]xpu*",
            "base/test_device.py::test_what_the_machine_has",
            "core/test_tensor.py::test_devices",
            "reference/test_reference_calls.py::test_call[[]misc-[057]]",
            "reference/test_reference_calls.py::test_call[[]misc-10[78]]",
            "reference/test_reference_programs.py::test_program[[]compat-94]",
            "reference/test_reference_programs.py::test_program[[]tensor-71]",
            "test_docstrings.py::test_examples[[]tengen.base.device.Device]",
        ),
    ),
    (
        "NumPy takes and gives memory of CPUs only; devices/test_exchange.py has the exchange of a GPU's memory",
        (
            "core/test_dlpack.py::test_shapes_without_elements_and_without_dims",
            "core/test_dlpack.py::test_versions_and_devices",
            "core/test_dlpack.py::test_a_view_that_runs_backwards_is_exported_as_a_copy",
            "core/test_dlpack.py::test_either_side_may_go_first",
            "core/test_dlpack.py::test_a_refused_capsule_is_freed_by_its_owner_alone",
            "core/test_dlpack.py::test_inside_a_trace",
            "core/test_kept_layouts.py::test_memory_that_others_may_write_is_packed_each_time",
            "functional/test_complex.py::test_making_and_reading",
        ),
    ),
    (
        "they say which kernels of CPUs a trace has, or count what the host's allocator gives; functional/test_dot_product.py has the values",
        (
            "jit/test_attention.py",
            "jit/test_layouts.py::test_copies_in_networks",
            "jit/test_layouts.py::test_an_image_is_laid_out_once",
            "jit/test_statistics.py::test_launches_over_whole_activations",
            "jit/test_steady.py",
        ),
    ),
    (
        "a process that has used a GPU cannot go on with it after fork; base/test_gpu_processes.py has what it is told",
        ("compat/test_megengine.py::test_children_have_it_too",),
    ),
    (
        "it writes to the host's memory behind an operation's back, which a GPU does not read",
        ("utils/test_small.py::test_an_op_that_does_not",),
    ),
    (
        "they limit the memory of the host; devices/test_memory.py limits that of a GPU",
        (
            "core/test_out_of_memory.py::test_the_error_names_op_shape_bytes_and_what_is_live",
            "jit/test_loaded.py::test_a_small_file_that_asks_for_a_huge_table_takes_no_memory_to_load",
            "test_hostile_pickles.py::test_single_bits_raise_nothing_else",
        ),
    ),
    (
        "the last bit of a sum decides which of two 4-bit numbers the largest result becomes; the losses before it are those of the reference",
        ("programs/test_programs.py::test_program[[]qat-*",),
    ),
    (
        "ten epochs on all scans take the double ten minutes; the rest of the file trains on few, and quantization/ has eight bits",
        ("examples/test_digits.py::test_eight_bits_read_what_floats_read",),
    ),
)
"""Why, and which: a folder, a file, or `file::test`."""
