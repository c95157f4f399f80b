# bevel: everything a developer runs. `make demo` and `make test` set up what they need.

VENV   := .venv
PYTHON := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
NATIVE := $(shell find native -name '*.cpp' -o -name '*.h' -o -name CMakeLists.txt 2>/dev/null)

.PHONY: install demo test test-fast lint format bench bench-gpu test-native wheel clean

install: $(STAMP)  ## create .venv with bevel and everything development needs, pinned

$(STAMP): pyproject.toml requirements/dev.in requirements/dev.txt $(NATIVE)
	test -x $(PYTHON) || python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements/dev.in -c requirements/dev.txt
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	touch $(STAMP)

demo: install  ## train eight activations on real digits, ten paired seeds each, and write a report
	$(VENV)/bin/bevel compare --dataset digits --epochs 10 --seeds 10 --out runs/demo \
	  --activations relu leaky_relu prelu gelu swish sau frelu smooth_frelu

lint: install  ## ruff and mypy --strict
	$(VENV)/bin/ruff check src tests examples
	$(VENV)/bin/ruff format --check src tests examples
	$(VENV)/bin/mypy

test: lint  ## all checks
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n 2 --dist worksteal -q

test-fast: install  ## the core's checks for daily work, under three minutes
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n 2 --dist worksteal -q -m "not slow" tests/laws tests/test_*.py \
	  --deselect tests/test_readme.py::test_the_commands_of_the_readme_run

format: install
	$(VENV)/bin/ruff check --fix src tests examples
	$(VENV)/bin/ruff format src tests examples

bench: install  ## measure on this machine (fifteen minutes) and write docs/performance.md
	$(VENV)/bin/bevel bench --out docs/performance.csv --page docs/performance.md --notes docs/performance-notes.md

bench-gpu:  ## on a machine with a GPU, torch and Triton: check, measure (ten minutes), write docs/performance-gpu.md
	PYTHONPATH=src python3 -m bevel_lab.bench.gpu --check --out docs/performance-gpu.csv \
	  --page docs/performance-gpu.md --notes docs/performance-gpu-notes.md

test-native: install  ## the native library's own test: sanitizers, and NEON under qemu-aarch64
	$(PYTHON) -m pytest -q tests/test_native.py

wheel: install  ## build the wheel into dist/
	$(PYTHON) -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir dist .

clean:
	rm -rf dist build runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
