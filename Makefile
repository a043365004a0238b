# make demo    a venv with rushlight, then the main job: a CNN on real digits
# make test    a venv with the development dependencies, then lint, types and the full test run
# make native  the native kernels, built in place (after a change in native/)
# make bench   rushlight against torch, side by side
PYTHON ?= python3
# EXTRAS=dev,nvrtc adds NVIDIA's run-time compiler (90 MB), with which the tests compile every CUDA kernel; no GPU is needed.
EXTRAS ?= dev
# The test files that also run with the tensors on `cuda`: on a stand-in for CuPy where there is no GPU.
ON_DEVICE = $(addprefix tests/test_,$(addsuffix .py,elementwise shape reduction indexing functional conv optim autograd linalg rnn transformer \
	nn_module nn_modules view_inplace_sequences checkpoint))

.PHONY: demo test native bench

demo: .venv/demo
	.venv/bin/rushlight run examples/digits.py --output demo-output

test: .venv/dev
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/python -m pytest -n auto
	.venv/bin/python -m pytest -n auto --device cuda $(ON_DEVICE)

native: .venv/dev
	.venv/bin/cmake -S . -B build/native -G Ninja -DRUSHLIGHT_IN_PLACE=ON -DRUSHLIGHT_LEVELS="$(LEVELS)" -DPython_EXECUTABLE=.venv/bin/python
	.venv/bin/cmake --build build/native

bench: .venv/dev
	.venv/bin/python -m bench --update-readme

.venv/demo: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check '.[examples]'
	touch $@

.venv/dev: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -e '.[$(EXTRAS)]'
	touch $@
