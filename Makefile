# `make demo` and `make test` do all the set-up themselves.
#
#   make demo [PHOTO=picture.jpg]   train, score, draw, export, check, segment
#   make test                       the whole test suite
#   make test-colab                 what notebooks use, on Colab's versions
#   make notebooks [UPDATE=1]       run them; UPDATE writes what they show
#   make slow                       50 runs killed at random moments; 100,000
#                                   requests and 10,000 damaged files, an hour
#   make parity [PICTURES=folder]   compare with mmsegmentation in PyTorch
#   make parity-tfa                 and with tensorflow-addons, SGD, OpenCV
#   make serve-check                NVIDIA Triton and nginx, the real servers
#   make wheel-check                build, install and use on every Python
#   make demo-page-check            the page of `keras-pspnet demo` in Chromium
#   make lint                       format, lint and types
#   make docs                       the documentation, as build/site
#   make hashes                     write the hashes beside the pins
#   make sbom                       what it runs on, as build/sbom.cdx.json
#   make audit                      known vulnerabilities of what is pinned

PYTHON ?= python3
PIP = -m pip install --quiet --disable-pip-version-check
# Nothing but files whose hashes are listed, to build with either: pip would
# fetch what an isolated build needs without asking for hashes. The lists are
# whole, and resolving them again would only let new releases interfere.
PINNED = $(PIP) --no-deps --require-hashes --no-build-isolation
SELF = $(PIP) --no-deps --no-build-isolation --editable .
# Lists with hashes; a peer's packages come from wherever they still are.
LISTS = $(wildcard requirements*.txt) tests/serving/requirements-triton.txt
PEERS = $(wildcard tests/parity/*/requirements.txt)
PHOTO ?=
UPDATE ?=
# Files of tests side by side: most of their time is tracing, on one core.
PYTEST = -m pytest -n auto --maxprocesses 4 --dist loadfile \
    --no-loadscope-reorder

.PHONY: demo test test-colab notebooks slow parity parity-tfa serve-check
.PHONY: wheel-check demo-page-check lint format docs hashes sbom audit
.PHONY: environments clean

demo: .venv/runtime
	.venv/bin/python -m training.demo $(if $(PHOTO),--photo "$(PHOTO)")

test: .venv/tests
	.venv/bin/python $(PYTEST)

# What calls TensorFlow and Keras: the rest is plain Python, and tested above.
COLAB = augment batch_norm decode dropout exports fitting inference layers \
    losses metrics model optimizers pipeline plots pretrained resnet sampling \
    segmentation trainer warmup
test-colab: .venv-colab/tests
	.venv-colab/bin/python $(PYTEST) $(COLAB:%=tests/test_%.py) \
	    -m "not (beam or resume or multiworker or replicas)"

# Each in a kernel of its own, from top to bottom, without any network.
notebooks: .venv-colab/tests
	.venv-colab/bin/python $(PYTEST) tests/notebooks $(if $(UPDATE),--update)

slow: .venv/tests .venv-triton/server
	.venv/bin/python tests/killed_runs.py
	.venv/bin/python -m pytest tests/serving -q --slow -k "flipped or clients"

# The peer writes checkpoints and logits, predictions, scores; this package
# reads them in an environment that has no PyTorch. PICTURES is a folder of
# images/ and masks/ of the aerial model's classes, used beside drawn pictures.
# CASES names some of the networks; without it, all are compared.
PARITY = build/parity
PEER = .venv-mmseg/bin/python tests/parity/mmseg
OURS = .venv/bin/python tests/parity/mmseg
PICTURES ?=
CASES ?=
# Threads that wait busily wait long on a machine that others use as well.
parity: export OMP_WAIT_POLICY = PASSIVE
parity: .venv/runtime .venv-mmseg/peer parity-tfa
	rm -rf $(PARITY)
	$(PEER)/peer.py $(PARITY)/logits $(CASES)
	$(OURS)/compare.py $(PARITY)/logits
	$(OURS)/metric_cases.py $(PARITY)/scores
	$(PEER)/metric.py $(PARITY)/scores
	$(OURS)/protocol_pictures.py $(PARITY)/protocol $(if $(PICTURES),"$(PICTURES)")
	$(PEER)/protocol_peer.py $(PARITY)/protocol
	$(OURS)/protocol_compare.py $(PARITY)/protocol
	rm -rf $(PARITY)

# Augmentation and optimiser beside tensorflow-addons, PyTorch and OpenCV.
parity-tfa: .venv/runtime .venv-mmseg/peer .venv-tfa/peer
	rm -rf $(PARITY)-tfa
	.venv-tfa/bin/python tests/parity/tfa/tfa_peer.py $(PARITY)-tfa
	.venv-mmseg/bin/python tests/parity/tfa/torch_peer.py $(PARITY)-tfa
	.venv/bin/python tests/parity/tfa/compare.py $(PARITY)-tfa
	rm -rf $(PARITY)-tfa

# Python 3.11 with a shared libpython, which Triton's backend loads.
serve-check: .venv/tests .venv-triton/server .nginx/server
	.venv/bin/python -m pytest -q tests/serving tests/test_archives.py \
	    tests/test_supply_chain.py

# The newest of everything that setup.cfg allows, as users get it. A Python that
# cannot be had is named; with REQUIRE_ALL=1 it is an error, and every extra is
# installed too. What to publish is left in build/dist.
REQUIRE_ALL ?=
wheel-check: .venv/runtime .venv-wheel/tools
	.venv-wheel/bin/cffconvert --validate
	.venv-wheel/bin/python .ci/build_dist.py build/dist
	.venv/bin/python .ci/wheel_check.py build/dist \
	    $(if $(REQUIRE_ALL),--require-all)

# Screenshots are written to build/page.
demo-page-check: .venv-demo/page .chromium/driver
	.venv-demo/bin/python -m pytest -q tests/page

lint: .venv/tests
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

format: .venv/tests
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

# Sources are read, not run: TensorFlow is not needed. The theme's word on its
# own end, which CONTRIBUTING.md has too, would hide warnings.
docs: export NO_MKDOCS_2_WARNING = 1
docs: .venv-docs/tools
	.venv-docs/bin/python docs/tools/stage.py build/pages
	.venv-docs/bin/mkdocs build --strict --quiet
	.venv-docs/bin/python docs/tools/check.py build/site
	@echo "Written to build/site; open build/site/index.html"

# With the oldest tool there is: the lists are what the others come from.
hashes:
	$(PYTHON) .ci/hashes.py $(LISTS)

# The standard's own schema has the last word about its form.
sbom: .venv/runtime .venv-supply/tools
	mkdir -p build
	.venv/bin/python .ci/sbom.py requirements.txt build/sbom.cdx.json
	.venv-supply/bin/python .ci/check_sbom.py build/sbom.cdx.json

# Ends with 1 if something is known, with 75 if nobody could be asked.
audit: .venv-supply/tools
	.venv-supply/bin/python .ci/audit.py $(LISTS) --peers $(PEERS)

# All that is installed for a run of everything. With `make -j2`: unpacking is
# work for one core.
environments: .venv/tests .venv-colab/tests .venv-demo/page .venv-docs/tools \
    .venv-mmseg/peer .venv-tfa/peer .venv-triton/server .venv-wheel/tools \
    .chromium/driver .nginx/server

# Stamps, so that the second call installs nothing.
.venv/runtime: requirements.txt requirements-build.txt setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PINNED) -r requirements.txt
	.venv/bin/python $(SELF)
	touch $@

# Beam's limits on Pillow and protobuf are older than the pins beside it.
.venv/tests: requirements-test.txt requirements-beam.txt .venv/runtime
	.venv/bin/python $(PINNED) -r requirements-test.txt
	.venv/bin/python $(PINNED) -r requirements-beam.txt
	touch $@

# Gradio, and the Pillow that it allows, before all that is in .venv.
PURELIB = -c "import sysconfig; print(sysconfig.get_path('purelib'))"
.venv-demo/page: requirements-demo.txt .venv/tests
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/python $(PINNED) -r requirements-demo.txt
	.venv/bin/python $(PURELIB) | sed "s/.*/import site; site.addsitedir('&')/" > .venv-demo/base.pth
	mv .venv-demo/base.pth "$$(.venv-demo/bin/python $(PURELIB))"
	touch $@

.venv-colab/tests: requirements-colab.txt requirements-beam.txt \
    requirements-build.txt setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv-colab
	.venv-colab/bin/python $(PINNED) -r requirements-build.txt
	.venv-colab/bin/python $(PINNED) -r requirements-colab.txt
	.venv-colab/bin/python $(PINNED) -r requirements-beam.txt
	.venv-colab/bin/python $(SELF)
	touch $@

.venv-mmseg/peer: tests/parity/mmseg/requirements.txt
	$(PYTHON) -m venv .venv-mmseg
	.venv-mmseg/bin/python $(PIP) -r tests/parity/mmseg/requirements.txt
	touch $@

.venv-tfa/peer: tests/parity/tfa/requirements.txt
	$(PYTHON) -m venv .venv-tfa
	.venv-tfa/bin/python $(PIP) -r tests/parity/tfa/requirements.txt
	touch $@

.venv-triton/server: tests/serving/requirements-triton.txt \
    requirements-build.txt
	$(PYTHON) -m venv .venv-triton
	.venv-triton/bin/python $(PINNED) -r tests/serving/requirements-triton.txt
	touch $@

.venv-supply/tools: requirements-supply.txt
	$(PYTHON) -m venv .venv-supply
	.venv-supply/bin/python $(PINNED) -r requirements-supply.txt
	touch $@

.venv-docs/tools: requirements-docs.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python $(PINNED) -r requirements-docs.txt
	touch $@

# The first brings what builds those that come as source alone.
.venv-wheel/tools: requirements-wheel.txt requirements-build.txt
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/python $(PINNED) -r requirements-build.txt
	.venv-wheel/bin/python $(PINNED) -r requirements-wheel.txt
	touch $@

# Debian's package with its libraries, unpacked and not installed: that needs no
# rights. No stamp and no failure where it cannot be: the tests then say so.
.nginx/server:
	rm -rf .nginx && mkdir .nginx
	@PATH="$$PATH:/usr/sbin"; command -v nginx || { cd .nginx && \
	    apt-get download nginx $$(apt-cache depends nginx | awk \
	        '$$1 == "Depends:" && $$2 ~ /^z?lib/ && $$2 != "libc6" {print $$2}') && \
	    printf '%s\n' *.deb | xargs -I{} dpkg -x {} . && touch server; } || \
	    echo "There is no nginx, and no package of it to be fetched."

# Likewise the browser, its driver, and of their libraries those not there.
.chromium/driver:
	rm -rf .chromium && mkdir .chromium
	@{ command -v chromium && command -v chromedriver; } || { \
	    cd .chromium && apt-get download $$(apt-get install --simulate \
	        --no-install-recommends chromium chromium-driver | \
	        awk '$$1 == "Inst" {print $$2}') && \
	    printf '%s\n' *.deb | xargs -I{} dpkg -x {} . && touch driver; } || \
	    echo "There is no Chromium with its driver, and no package of them."

clean:
	rm -rf .venv .venv-colab .venv-demo .venv-docs .venv-mmseg .venv-supply \
	    .venv-tfa .venv-triton .venv-wheel .chromium .nginx demo build
