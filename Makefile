# Short names for the README's commands.
PYTHON ?= python3

.venv/app: requirements.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -r requirements.txt
	touch $@

.venv/test: requirements.txt requirements-dev.txt requirements-onnx.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -r requirements-dev.txt
	touch $@

.PHONY: app test lint
app: .venv/app
	.venv/bin/python -m streamlit run app/main.py

test: .venv/test
	.venv/bin/python -m pytest

lint: .venv/test
	.venv/bin/ruff check . && .venv/bin/ruff format --check .
