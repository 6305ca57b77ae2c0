# `make demo` and `make test` do all the set-up themselves.
#
#   make demo [PHOTO=picture.jpg]   train, score, draw, export, check, segment
#   make test                       the whole test suite
#   make test-colab                 the same on the versions that Colab has
#   make parity                     compare with mmsegmentation in PyTorch
#   make lint                       format, lint and types

PYTHON ?= python3
PIP = -m pip install --quiet --disable-pip-version-check
PHOTO ?=

.PHONY: demo test test-colab parity lint format clean

demo: .venv/runtime
	.venv/bin/python -m training.demo $(if $(PHOTO),--photo "$(PHOTO)")

test: .venv/tests
	.venv/bin/python -m pytest

test-colab: .venv-colab/tests
	.venv-colab/bin/python -m pytest

# The peer writes checkpoints and logits, then this package reads them in an
# environment that has no PyTorch.
PARITY = build/parity/mmseg
parity: .venv/runtime .venv-mmseg/peer
	.venv-mmseg/bin/python tests/parity/mmseg/peer.py $(PARITY)
	.venv/bin/python tests/parity/mmseg/compare.py $(PARITY)
	rm -rf $(PARITY)

lint: .venv/tests
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

format: .venv/tests
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

# Stamps, so that the second call installs nothing.
.venv/runtime: requirements.txt setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP) -r requirements.txt
	.venv/bin/python $(PIP) --no-deps --editable .
	touch $@

.venv/tests: requirements-test.txt .venv/runtime
	.venv/bin/python $(PIP) -r requirements-test.txt
	touch $@

.venv-colab/tests: requirements-colab.txt setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv-colab
	.venv-colab/bin/python $(PIP) -r requirements-colab.txt
	.venv-colab/bin/python $(PIP) --no-deps --editable .
	touch $@

.venv-mmseg/peer: tests/parity/mmseg/requirements.txt
	$(PYTHON) -m venv .venv-mmseg
	.venv-mmseg/bin/python $(PIP) -r tests/parity/mmseg/requirements.txt
	touch $@

clean:
	rm -rf .venv .venv-colab .venv-mmseg demo build
