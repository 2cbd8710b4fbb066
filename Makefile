# `make bench`: from nothing to a table. `make check`: the quick gate, for every commit. `make test`: everything that CI runs.
# `make test-long`: tests that train or measure for minutes. `make test-runtimes`: what needs large installations of its own.
# `make gpu`: everything of a GPU machine, into docs/results (STEPS='sweep results' for some of it, TENSORRT=PYTHON where that
# has TensorRT). `make gpu-models`: ResNet-50, BERT and other models of libraries there. `make gpu-profiles`: their layers.
# PIP_ARGS adds to every pip install.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
GPU_VENV := .venv-gpu
RUNTIMES_VENV := .venv-runtimes
RUNTIMES_PYTHON := $(abspath $(RUNTIMES_VENV))/bin/python
CONVERTING := ncnn-cpu mnn-cpu
ONNX2TF_VENV := .venv-onnx2tf
# The first of these that runs: onnx2tf 2.6 needs Python 3.12 or later, and a version manager's command may exist and not run.
PYTHONS_ONNX2TF := python3.12 python3.13 python3.14 $(PYTHON) $(wildcard $(HOME)/.pyenv/versions/3.12.*/bin/python3.12)
PYTHON_ONNX2TF ?= $(firstword $(foreach name,$(PYTHONS_ONNX2TF),$(shell $(name) -c 'import sys; sys.version_info >= (3, 12) and print("$(name)")' 2> /dev/null)))
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt $(PIP_ARGS)
# pip would compile on one core, tests of other packages included. Files that Python cannot compile are templates.
COMPILE := $(BIN)/python -m compileall -q -j 0 -x /tests/ $(VENV)/lib > /dev/null || true

# Workers import the package in fresh processes, which is a fifth slower without bytecode.
unexport PYTHONDONTWRITEBYTECODE

PYTEST := $(BIN)/pytest -n 2
comma := ,
space := $(subst ,, )

.PHONY: bench gpu gpu-models gpu-profiles lint check test quick-tests all-tests test-runtimes test-long docs reference release-check format clean

bench: $(VENV)/.cpu
	$(BIN)/bench export
	$(BIN)/bench infer

# mypy computes on one core, beside the tests.
check: $(VENV)/.test .typing/onnxbench
	$(MAKE) --no-print-directory -j 2 lint quick-tests

test: $(VENV)/.test .typing/onnxbench
	$(MAKE) --no-print-directory -j 2 lint all-tests

quick-tests: $(VENV)/.test
	$(PYTEST) tests/unit tests/architecture

all-tests: $(VENV)/.test
	BENCH_REQUIRE=$${BENCH_REQUIRE-torch-cpu,ort-cpu,openvino-cpu,null,tensorrt-rtx,mlflow,wandb,tensorboard} $(PYTEST)

test-long: $(VENV)/.test $(VENV)/.docs
	$(PYTEST) -m long tests/integration

# The contract suite's stand-ins run these runtimes in an environment of their own, as `--python` does.
test-runtimes: export BENCH_PYTHON = $(subst $(space),$(comma),$(CONVERTING:%=%=$(RUNTIMES_PYTHON)) litert-cpu=$(abspath $(ONNX2TF_VENV))/bin/python)
test-runtimes: export BENCH_REQUIRE = torch-compile-cpu,litert-cpu,$(subst $(space),$(comma),$(CONVERTING))
test-runtimes: $(VENV)/.test $(VENV)/.ray $(RUNTIMES_VENV)/.runtimes $(ONNX2TF_VENV)/.onnx2tf
	$(PYTEST) -m runtimes tests/contract tests/integration

lint: $(VENV)/.test .typing/onnxbench
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

gpu-models: $(GPU_VENV)/.gpu
	$(GPU_VENV)/bin/python -m pip install --quiet -c constraints.txt $(PIP_ARGS) -e '.[torchvision,timm,hf]'
	$(GPU_VENV)/bin/python benchmarks/gpu_models.py $(STEPS)

gpu-profiles: $(GPU_VENV)/.gpu
	$(GPU_VENV)/bin/python -m pip install --quiet -c constraints.txt $(PIP_ARGS) -e '.[torchvision,hf]'
	$(GPU_VENV)/bin/python benchmarks/gpu_profiles.py $(STEPS)

gpu: $(GPU_VENV)/.gpu
	$(GPU_VENV)/bin/python benchmarks/gpu.py $(STEPS)

release-check: $(VENV)/.cpu
	$(BIN)/python .ci/release.py

docs: $(VENV)/.docs reference
	$(BIN)/mkdocs build --strict

reference: $(VENV)/.cpu
	$(BIN)/python docs/reference.py

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.cpu: pyproject.toml constraints.txt | $(VENV)
	$(PIP) -e '.[cpu,report]'
	$(COMPILE)
	touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(VENV)
	$(PIP) -e '.[cpu,test]'
	$(COMPILE)
	touch $(VENV)/.cpu $@

$(VENV)/.ray: $(VENV)/.test
	$(PIP) -e '.[ray]'
	touch $@

$(VENV)/.docs: $(VENV)/.test
	$(PIP) -e '.[docs]'
	$(COMPILE)
	touch $@

$(GPU_VENV)/.gpu: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(GPU_VENV)
	$(GPU_VENV)/bin/python -m pip install --quiet -c constraints.txt $(PIP_ARGS) -e '.[gpu,openvino]' pytest pytest-timeout
	touch $@

# The packages of onnx2tf are pinned to other versions than constraints.txt has. LiteRT's runtime is among them.
$(ONNX2TF_VENV)/.onnx2tf:
	@test -n "$(PYTHON_ONNX2TF)" || { echo 'onnx2tf needs Python 3.12 or later: make $(MAKECMDGOALS) PYTHON_ONNX2TF=PATH' >&2; exit 1; }
	$(PYTHON_ONNX2TF) -m venv $(ONNX2TF_VENV)
	$(ONNX2TF_VENV)/bin/python -m pip install --quiet $(PIP_ARGS) onnx2tf==2.6.9
	touch $@

$(RUNTIMES_VENV)/.runtimes: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(RUNTIMES_VENV)
	$(RUNTIMES_PYTHON) -m pip install --quiet -c constraints.txt $(PIP_ARGS) numpy ncnn mnn
	$(RUNTIMES_PYTHON) -m pip install --quiet -c constraints.txt $(PIP_ARGS) --no-deps pnnx
	touch $@

$(VENV):
	$(PYTHON) -m venv $(VENV)

.typing/onnxbench:
	mkdir -p .typing
	ln -sfn .. $@

clean:
	rm -rf $(VENV) $(GPU_VENV) $(RUNTIMES_VENV) $(ONNX2TF_VENV) .typing build *.egg-info artifacts runs
