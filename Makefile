# `make bench`: from nothing to a table. `make test`: the whole gate. PIP_ARGS adds to every pip install.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(PIP_ARGS)

.PHONY: bench test format clean

bench: $(VENV)/.cpu
	$(BIN)/bench export
	$(BIN)/bench infer

test: $(VENV)/.test .typing/onnxbench
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	BENCH_REQUIRE=$${BENCH_REQUIRE-torch-cpu,ort-cpu,openvino-cpu,null,tensorrt-rtx} $(BIN)/pytest

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.cpu: pyproject.toml constraints.txt | $(VENV)
	$(PIP) -e '.[cpu]'
	touch $@

$(VENV)/.test: $(VENV)/.cpu
	$(PIP) -e '.[cpu,test]'
	touch $@

$(VENV):
	$(PYTHON) -m venv $(VENV)

.typing/onnxbench:
	mkdir -p .typing
	ln -sfn .. $@

clean:
	rm -rf $(VENV) .typing build *.egg-info artifacts runs
