# make demo    a venv with rushlight, then the main job: a CNN on real digits
# make test    a venv with the development dependencies, then lint, types and the full test run
# make native  the native kernels, built in place (after a change in native/)
# make bench   rushlight against torch, side by side
PYTHON ?= python3

.PHONY: demo test native bench

demo: .venv/demo
	.venv/bin/rushlight run examples/digits.py --output demo-output

test: .venv/dev
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/python -m pytest -n auto

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
	.venv/bin/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@
