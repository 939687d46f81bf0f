# Everything that is done with this project from the command line; `make help` lists it.

VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run test coverage test-fast fuzz chaos bench check texts lock format services clean

help:  ## show this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1	\2/p' $(MAKEFILE_LIST) | expand -t 20

run: $(VENV)/run.stamp  ## the service on port 8000, with nothing else to start (Ctrl-C stops it)
	@exec $(BIN)/python -m service

test: $(VENV)/dev.stamp services  ## all tests (REQUIRE_SERVICES=1: fail where a program is missing)
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

coverage: $(VENV)/dev.stamp services  ## all tests but those of growth, measured: fails below the floor of pyproject.toml
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 4 --dist loadfile -k "not growth"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

test-fast: $(VENV)/dev.stamp  ## the tests that need no server
	$(BIN)/python -m pytest -n 4 --dist loadfile tests/unit

fuzz: $(VENV)/dev.stamp  ## the downloads against damaged answers, for minutes
	$(BIN)/python -m pytest --hypothesis-profile=minutes --timeout 3600 tests/unit/fetch/test_fuzz.py

chaos: $(VENV)/dev.stamp services  ## disasters at random, MINUTES=5 of them (SEED=: as before, EMBEDDED=1: without servers)
	$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),5) $(if $(SEED),--seed $(SEED)) \
		$(if $(EMBEDDED),--embedded)

bench: $(VENV)/dev.stamp services  ## compare its speed with that of its rivals (BENCH="small big": these rows)
	@$(BIN)/python -m bench $(BENCH)

check: $(VENV)/dev.stamp  ## lint, format, types, imports, generated texts, and words
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m devtools.texts --check
	$(BIN)/python -m devtools.words

texts: $(VENV)/dev.stamp  ## write the tables of the documentation from the code
	$(BIN)/python -m devtools.texts

lock: | $(BIN)/pip  ## compile requirements/*.in, with the hashes of every file that pip may install
	$(call pip,uv==0.13.9)
	cd requirements && $(compile) run.in -o ../requirements.txt
	cd requirements && $(compile) dev.in -o ../requirements-dev.txt

pip = $(BIN)/python -m pip install --quiet --disable-pip-version-check $(1)
compile = ../$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command "make lock"

format: $(VENV)/dev.stamp  ## format the code, and mend what the linter can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Keep apt from asking, from complaining that it cannot, and from starting the servers that it installs
# (SYSTEMD_OFFLINE: by systemctl).
quietly = export DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes RUNLEVEL=1 SYSTEMD_OFFLINE=1

# Install Debian's packages $(2), whose program is $(1), if we may.
install = test -x $(1) || ! command -v apt-get >/dev/null || test "$$(id -u)" != 0 || \
	{ echo "installing $(2)"; $(quietly); \
	apt-get -qq update && apt-get -qq install -y --no-install-recommends $(2) >/dev/null; }

services:  # for the tests, which start their own; Ubuntu's chromium is a snap, which will not do
	@$(call install,/usr/lib/rabbitmq/bin/rabbitmq-server,rabbitmq-server)
	@$(call install,/usr/bin/promtool,prometheus)  # for the alerting rules
	@$(call install,/usr/bin/curl,curl)  # its library is mongod's, too
	@$(call install,/usr/bin/wget,wget)
	@$(call install,/usr/bin/jq,jq)
	@! grep -q '^ID=debian$$' /etc/os-release || { $(call install,/usr/bin/chromium,chromium); }
	@$(call install,/usr/sbin/nginx,nginx)
	@$(call install,/usr/bin/caddy,caddy)
	@$(call install,/usr/bin/systemd-analyze,systemd)

clean:  ## remove what the targets above have made, but not the data
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# A stamp is as old as the last installation from its file.
$(VENV)/run.stamp: requirements.txt | $(BIN)/pip
	$(call pip,--require-hashes -r $<)
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt requirements.txt | $(BIN)/pip
	$(call pip,--require-hashes -r $<)
	@touch $@ $(VENV)/run.stamp

$(BIN)/pip:
	@for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	$$python -c 'import ensurepip' 2>/dev/null || { \
	package=$$($$python -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
	test "$$(id -u)" = 0 || { echo "Python's venv is missing: sudo apt install $$package" >&2; exit 1; }; \
	$(quietly) && apt-get -qq update && apt-get -qq install -y --no-install-recommends $$package >/dev/null; }; \
	exec $$python -m venv $(VENV); done; \
	echo "Python 3.11 or later is needed: sudo apt install python3 python3-venv" >&2; exit 1
