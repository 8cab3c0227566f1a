# make demo: train LeNet on handwritten digits.   make test: check and test everything.
# Each needs only Python (3.10 or newer) and a C++ compiler; PYTHON names the interpreter, ARGS goes to the demo or to pytest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NATIVE := CMakeLists.txt pyproject.toml $(wildcard csrc/*)

.PHONY: demo test check format clean

demo: $(VENV)/installed
	@$(BIN)/python -m tengen.examples.digits $(ARGS)

test: check
	$(BIN)/python -m pytest -q -n auto --maxprocesses 8 $(ARGS)

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror csrc/*.cpp csrc/*.h

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i csrc/*.cpp csrc/*.h

# The stamp is older than its prerequisites when the compiled part, or what must be installed, has changed.
$(VENV)/installed: $(NATIVE)
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 10) else "tengen needs Python 3.10 or newer: make PYTHON=...")'
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "Installing tengen in $(VENV) (the first time takes a few minutes) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[demo,dev]'
	@touch $@

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache out
