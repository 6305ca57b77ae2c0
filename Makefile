# `make demo` and `make test` set up all that they need; `make help` lists the rest.

PYTHON ?= python3
PHOTO ?=
UPDATE ?=
IMAGES ?=
CASES ?=
REQUIRE_ALL ?=

# uv takes a third of pip's time, and environments share its unpacked packages.
UV = .venv-uv/bin/uv
INSTALL = $(UV) pip install --quiet
# Only files whose hashes are listed. An isolated build would fetch its
# requirements without hashes, and the lists are complete without resolving.
PINNED = --no-deps --require-hashes --no-build-isolation
SELF = --no-deps --no-build-isolation --editable .
# $(call venv,FOLDER,LIST): an environment of requirements/LIST.txt.
define venv
$(PYTHON) -m venv $(1)
$(INSTALL) --python $(1) $(PINNED) -r requirements/build.txt
$(INSTALL) --python $(1) $(PINNED) -r requirements/$(2).txt
endef
# Test files run side by side: most of their time is tracing, on one core.
PYTEST = -m pytest -n auto --maxprocesses 4 --dist loadfile \
    --no-loadscope-reorder

# Comparisons besides the one with mmsegmentation's networks.
COMPARED = annotations geotiff losses mediapipe openvino paddle tfa

.PHONY: help demo test test-colab notebooks slow parity $(COMPARED:%=parity-%) \
    serve-check wheel-check demo-page-check litert-gpu-check lint format docs \
    lock sbom audit environments clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' Makefile | expand -t 20

demo: .venv/runtime  ## train, score, draw, export and segment [PHOTO=image.jpg]
	.venv/bin/python -m training.demo $(if $(PHOTO),--photo "$(PHOTO)")

test: .venv/tests  ## run the whole suite
	.venv/bin/python $(PYTEST)

# What older TensorFlow, NumPy, Pillow and protobuf may change; the rest is
# tested above, and `make notebooks` runs in the same environment.
COLAB = models/test_pspnet.py models/test_saved_configs.py test_metrics.py \
    test_optimizers.py data/test_images.py data/test_pipeline.py \
    inference/test_segment.py export/test_exports.py \
    pretrained/test_pretrained.py utils/test_keras_private.py
test-colab: .venv-colab/tests  ## the tests of what notebooks use, on Colab's versions
	.venv-colab/bin/python $(PYTEST) $(COLAB:%=tests/%) \
	    -m "not (long or beam or resume or multiworker or replicas)"

# Each notebook runs in its own kernel without any network.
notebooks: .venv-colab/tests  ## run the notebooks; UPDATE=1 writes their outputs
	.venv-colab/bin/python $(PYTEST) tests/notebooks $(if $(UPDATE),--update)

slow: .venv/tests .venv-triton/server  ## more networks, 50 killed runs, 100,000 requests, 10,000 corrupt files: an hour
	RANDOM_KILLS=50 .venv/bin/python $(PYTEST) --slow -m slow
	.venv/bin/python -m pytest tests/serving -q --slow \
	    -k "damaged or flipped or clients"

# The peer writes checkpoints, logits, predictions and scores; this package
# reads them in an environment without PyTorch. IMAGES is a folder of images/
# and masks/ of the aerial model's classes; CASES names some of the networks.
PARITY = build/parity
PEER = .venv-mmseg/bin/python tests/parity/mmseg
OURS = .venv/bin/python tests/parity/mmseg
# Threads that wait busily are slow on a machine that others use as well.
parity: export OMP_WAIT_POLICY = PASSIVE
parity: .venv/runtime .venv-mmseg/peer $(COMPARED:%=parity-%)  ## all comparisons with other software [CASES= IMAGES=]
	rm -rf $(PARITY)
	$(PEER)/peer.py $(PARITY)/logits $(filter-out paddleseg%,$(CASES))
	$(OURS)/compare.py $(PARITY)/logits
	$(OURS)/metric_cases.py $(PARITY)/scores
	$(PEER)/metric.py $(PARITY)/scores
	$(OURS)/protocol_images.py $(PARITY)/protocol $(if $(IMAGES),"$(IMAGES)")
	$(PEER)/protocol_peer.py $(PARITY)/protocol
	$(OURS)/protocol_compare.py $(PARITY)/protocol
	rm -rf $(PARITY)

parity-tfa: .venv/runtime .venv-mmseg/peer .venv-tfa/peer  ## compare with tensorflow-addons, torch's SGD and OpenCV
	rm -rf $(PARITY)-tfa
	.venv-tfa/bin/python tests/parity/tfa/tfa_peer.py $(PARITY)-tfa
	.venv-mmseg/bin/python tests/parity/tfa/torch_peer.py $(PARITY)-tfa
	.venv/bin/python tests/parity/tfa/compare.py $(PARITY)-tfa
	rm -rf $(PARITY)-tfa

parity-losses: .venv/runtime .venv-mmseg/peer  ## compare losses and gradients with mmsegmentation and smp
	rm -rf $(PARITY)-losses
	.venv-mmseg/bin/python tests/parity/losses/torch_peer.py $(PARITY)-losses
	.venv/bin/python tests/parity/losses/compare.py $(PARITY)-losses
	rm -rf $(PARITY)-losses

parity-paddle: export OMP_WAIT_POLICY = PASSIVE
parity-paddle: .venv/runtime .venv-paddle/peer  ## compare PaddleSeg's PSPNets and protocol with PaddleSeg
	rm -rf $(PARITY)-paddle
	.venv-paddle/bin/python tests/parity/paddle/peer.py $(PARITY)-paddle \
	    $(filter paddleseg%,$(CASES))
	$(OURS)/compare.py $(PARITY)-paddle
	rm -rf $(PARITY)-paddle
	.venv-paddle/bin/python tests/parity/paddle/protocol_peer.py $(PARITY)-paddle
	$(OURS)/protocol_compare.py $(PARITY)-paddle
	rm -rf $(PARITY)-paddle

parity-annotations: .venv/runtime .venv-annotations/peer  ## compare with converters of annotation tools
	rm -rf $(PARITY)-annotations
	.venv-annotations/bin/python tests/parity/annotations/peer.py $(PARITY)-annotations
	.venv/bin/python tests/parity/annotations/compare.py $(PARITY)-annotations
	rm -rf $(PARITY)-annotations

parity-geotiff: .venv/runtime .venv-geotiff/peer  ## compare GeoTIFF masks and outlines with rasterio
	rm -rf $(PARITY)-geotiff
	.venv-geotiff/bin/python tests/parity/geotiff/peer.py write $(PARITY)-geotiff
	.venv/bin/python tests/parity/geotiff/segment.py $(PARITY)-geotiff
	.venv-geotiff/bin/python tests/parity/geotiff/peer.py check $(PARITY)-geotiff
	rm -rf $(PARITY)-geotiff

parity-openvino: .venv/tests .venv-openvino/peer  ## run ONNX files in OpenVINO
	rm -rf $(PARITY)-openvino
	.venv/bin/python tests/parity/openvino/export.py $(PARITY)-openvino
	.venv-openvino/bin/python tests/parity/openvino/peer.py $(PARITY)-openvino
	rm -rf $(PARITY)-openvino

parity-mediapipe: .venv/tests .venv-mediapipe/peer  ## run LiteRT files in MediaPipe's ImageSegmenter
	rm -rf $(PARITY)-mediapipe
	.venv/bin/python tests/parity/mediapipe/export.py $(PARITY)-mediapipe
	.venv-mediapipe/bin/python tests/parity/mediapipe/peer.py $(PARITY)-mediapipe
	rm -rf $(PARITY)-mediapipe

serve-check: .venv/tests .venv-triton/server .nginx/server  ## test with the real Triton and nginx
	.venv/bin/python -m pytest -q tests/serving tests/convert/test_archives.py \
	    tests/repository/test_supply_chain.py

wheel-check: .venv/runtime .venv-wheel/tools  ## build, install and use the wheel on every Python
	.venv-wheel/bin/cffconvert --validate
	rm -rf build/dist
	.venv-wheel/bin/python -m build --no-isolation --outdir build/dist .
	.venv-wheel/bin/twine check --strict build/dist/*
	.ci/wheel_check build/dist $(if $(REQUIRE_ALL),--require-all)

demo-page-check: .venv-demo/page .chromium/driver  ## test the page of `keras-pspnet demo` in Chromium
	.venv-demo/bin/python -m pytest -q tests/page

# SwiftShader and the loader of Vulkan's drivers come with Chromium.
litert-gpu-check: .venv/tests .chromium/driver  ## run LiteRT's GPU accelerator on a software driver
	.venv/bin/python tests/litert_gpu/check.py \
	    $$(ls -d .chromium/usr/lib/chromium || echo /usr/lib/chromium)

lint: .venv/tests  ## check format, lint, types and spelling
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/codespell

format: .venv/tests  ## format the code, fix what ruff can
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

# The sources are parsed, not imported. The theme's notice about its own
# end of life would hide warnings.
docs: export NO_MKDOCS_2_WARNING = 1
docs: .venv-docs/tools  ## build the documentation in build/site
	.venv-docs/bin/python docs/tools/stage.py build/pages
	.venv-docs/bin/mkdocs build --strict --quiet
	.venv-docs/bin/python docs/tools/check.py build/site
	@echo "Written to build/site; open build/site/index.html"

# Existing pins stay unless UPGRADE=1. `overrides.in` lifts the caps that Beam
# puts on packages it runs well with.
LOCK = $(UV) pip compile --quiet --universal --generate-hashes \
    --python-version 3.11 --no-annotate --no-header $(if $(UPGRADE),--upgrade)
EXTRAS = --extra tiff --extra litert --extra onnx --extra sbd --extra serving --extra tfds \
    --override requirements/overrides.in
lock: $(UV)  ## write requirements/*.txt; UPGRADE=1 takes new releases
	for list in build docs supply uv wheel; do \
	    $(LOCK) requirements/$$list.in -o requirements/$$list.txt || exit; done
	$(LOCK) setup.cfg requirements/build.in -o requirements/runtime.txt
	$(LOCK) setup.cfg requirements/build.in requirements/test.in --extra beam --extra hub \
	    $(EXTRAS) -c requirements/runtime.txt -o requirements/test.txt
	$(LOCK) setup.cfg requirements/build.in requirements/colab.in $(EXTRAS) \
	    -o requirements/colab.txt
	$(LOCK) setup.cfg requirements/build.in requirements/demo.in \
	    --extra demo -o requirements/demo.txt
	$(LOCK) --no-universal requirements/build.in requirements/triton.in \
	    -o requirements/triton.txt

# Of an environment that holds the package and nothing else.
sbom: $(UV) .venv-supply/tools  ## write the bill of materials, build/sbom.cdx.json
	$(UV) venv --quiet --clear build/sbom
	$(INSTALL) --python build/sbom \
	    --require-hashes -r requirements/runtime.txt
	$(INSTALL) --python build/sbom --no-deps .
	.venv-supply/bin/cyclonedx-py environment build/sbom/bin/python \
	    --output-reproducible -o build/sbom.cdx.json

# --strict also fails where the service does not know a release.
audit: .venv-supply/tools  ## check all pins for known vulnerabilities
	for list in requirements/*[a-z].txt; do .venv-supply/bin/pip-audit --strict \
	    --disable-pip --progress-spinner off -r $$list || exit; done

# With `make -j2`: unpacking is work for one core.
environments: .venv/tests .venv-colab/tests .venv-demo/page .venv-docs/tools \
    .venv-annotations/peer .venv-geotiff/peer .venv-mmseg/peer \
    .venv-mediapipe/peer .venv-openvino/peer .venv-paddle/peer .venv-tfa/peer \
    .venv-triton/server .venv-wheel/tools .chromium/driver .nginx/server  ## all that .ci/run installs

.venv-uv/bin/uv: requirements/uv.txt
	$(PYTHON) -m venv .venv-uv
	.venv-uv/bin/python -m pip install --quiet $(PINNED) -r $<
	touch $@

# Stamps, so that the second call installs nothing. uv's own date does not count.
.venv/runtime: requirements/runtime.txt requirements/build.txt setup.cfg pyproject.toml | $(UV)
	$(call venv,.venv,runtime)
	$(INSTALL) --python .venv $(SELF)
	touch $@

.venv/tests: requirements/test.txt .venv/runtime
	$(INSTALL) --python .venv $(PINNED) -r requirements/test.txt
	touch $@

# Its own environment: Gradio caps Pillow below the version tested elsewhere.
.venv-demo/page: requirements/demo.txt setup.cfg pyproject.toml | $(UV)
	$(call venv,.venv-demo,demo)
	$(INSTALL) --python .venv-demo $(SELF)
	touch $@

.venv-colab/tests: requirements/colab.txt setup.cfg pyproject.toml | $(UV)
	$(call venv,.venv-colab,colab)
	$(INSTALL) --python .venv-colab $(SELF)
	touch $@

# Peers' packages come from wherever they still are: without hashes.
.venv-tfa/peer .venv-geotiff/peer .venv-mediapipe/peer .venv-openvino/peer: \
    .venv-%/peer: tests/parity/%/requirements.txt | $(UV)
	$(PYTHON) -m venv .venv-$*
	$(INSTALL) --python .venv-$* -r $<
	touch $@

# Of some of these a file or a folder is run: without what the rest needs. pip
# also searches PIP_FIND_LINKS for builds; uv needs the option.
FOUND = $(if $(PIP_FIND_LINKS),--find-links $(PIP_FIND_LINKS))
.venv-annotations/peer .venv-mmseg/peer .venv-paddle/peer: .venv-%/peer: tests/parity/%/requirements.txt | $(UV)
	$(PYTHON) -m venv .venv-$*
	$(INSTALL) --python .venv-$* --no-deps $(FOUND) -r $<
	touch $@

.venv-triton/server: requirements/triton.txt | $(UV)
	$(call venv,.venv-triton,triton)
	touch $@

.venv-docs/tools .venv-supply/tools .venv-wheel/tools: .venv-%/tools: requirements/%.txt | $(UV)
	$(call venv,.venv-$*,$*)
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

clean:  ## remove environments and everything built
	rm -rf .venv .venv-* .chromium .nginx demo build
