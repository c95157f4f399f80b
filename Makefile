# bevel: everything a developer runs. `make demo` and `make test` set up what they need.

VENV   := .venv
PYTHON := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
NATIVE := $(shell find native -name '*.cpp' -o -name '*.h' -o -name CMakeLists.txt 2>/dev/null)

# Tests start some hundred processes: bytecode is kept, whatever the surroundings say. A file's tests share fixtures.
# Five at once keep two cores busy throughout, since tests wait for processes that start, stop or are looked at. Freed memory
# stays with a process where malloc is glibc's: clearing new pages took a seventh of a convolutional training step.
PYTEST_ENV  := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= \
  MALLOC_MMAP_THRESHOLD_=268435456 MALLOC_TRIM_THRESHOLD_=1073741824
PYTEST_ARGS := -q -n 5 --dist loadfile --no-loadscope-reorder
OLDEST      := .venv-oldest
BESIDE      := $(addprefix tests/test_,native.py packaging.py readme.py repository.py) # they are not of the library
AUDIT       := $(PYTHON) -m auditwheel repair --exclude 'libtorch*'

.PHONY: install demo docs test test-fast test-native test-nightly test-oldest test-wheel lint format bench bench-gpu wheel clean

install: $(STAMP)  ## create .venv with bevel and everything development needs, pinned

$(STAMP): pyproject.toml requirements/dev.in requirements/dev.txt $(NATIVE)
	test -x $(PYTHON) || python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements/dev.in -c requirements/dev.txt
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	touch $(STAMP)

demo: install  ## train eight activations on real digits, ten paired seeds each, and write a report
	$(VENV)/bin/bevel compare --dataset digits --epochs 10 --seeds 10 --out runs/demo \
	  --activations relu leaky_relu prelu gelu swish sau frelu smooth_frelu

docs: install  ## build the site into build/site, from the pages, the catalogs and the docstrings; no network
	OMP_NUM_THREADS=1 $(PYTHON) -m sphinx -b html -a -q -W --keep-going docs build/site

lint: install  ## ruff and mypy --strict
	$(VENV)/bin/ruff check src tests examples docs
	$(VENV)/bin/ruff format --check src tests examples docs
	$(VENV)/bin/mypy

test: lint  ## all checks; the fifty longest are named at the end
	$(PYTEST_ENV) $(PYTHON) -m pytest $(PYTEST_ARGS) --durations=50

test-fast: install  ## what starts no program, compiles nothing, runs no real network: under four minutes
	$(PYTEST_ENV) $(PYTHON) -m pytest $(PYTEST_ARGS) -m "not (process or compile or native or triton or network or slow)"

test-native: install  ## the native library's own test: as it is, under sanitizers, and NEON under qemu-aarch64
	$(PYTHON) -m pytest -q tests/test_native.py

test-nightly: install  ## all checks, with thirty kills and every table of the papers to its end
	$(PYTEST_ENV) $(PYTHON) -m pytest $(PYTEST_ARGS) --durations=50 --thorough

test-oldest: $(OLDEST)/.installed  ## the library's checks on the oldest torch that is promised (a download of 3 GB)
	$(PYTEST_ENV) $(OLDEST)/bin/python -m pytest $(PYTEST_ARGS) tests/laws tests/surgery tests/deploy tests/training \
	  tests/integration $(filter-out $(BESIDE),$(wildcard tests/test_*.py))

$(OLDEST)/.installed: requirements/oldest.txt pyproject.toml $(NATIVE)
	test -x $(OLDEST)/bin/python || python3 -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/oldest.txt
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	touch $(OLDEST)/.installed

test-wheel: wheel $(OLDEST)/.installed  ## the one wheel in clean environments with this torch and the oldest promised
	$(PYTHON) tests/check_wheel.py dist/bevel-*.whl $(abspath $(PYTHON) $(OLDEST)/bin/python)

format: install
	$(VENV)/bin/ruff check --fix src tests examples docs
	$(VENV)/bin/ruff format src tests examples docs

bench: install  ## measure on this machine (half an hour) and write docs/performance.md
	$(VENV)/bin/bevel bench --out docs/performance.csv --page docs/performance.md --notes docs/performance-notes.md

bench-gpu: OUT_DIR ?= docs
bench-gpu: DEADLINE ?= 575
bench-gpu:  ## with a GPU, torch and Triton: check and measure within DEADLINE seconds, write performance-gpu.* to OUT_DIR
	PYTHONPATH=src python3 -m bevel_lab.bench.gpu --out-dir $(OUT_DIR) --deadline $(DEADLINE) \
	  --notes docs/performance-gpu-notes.md

wheel: install  ## build the wheel into dist/; it has the operator, because torch is here; auditwheel names it on Linux
	rm -f dist/bevel-*.whl
	$(PYTHON) -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir dist .
	for built in dist/bevel-*-linux_*.whl; do if test -f $$built; then \
	  PATH="$(abspath $(VENV)/bin):$$PATH" $(AUDIT) --wheel-dir dist $$built && rm $$built || exit 1; fi; done

clean:
	rm -rf dist build runs docs/gallery docs/learn docs/reference docs/_made .pytest_cache .mypy_cache .ruff_cache .hypothesis
