# usbbtd: `make help` says what there is. Every target brings what it needs: system packages, .venv, extensions.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --no-builtin-rules
$(if $(word 2,$(CURDIR)),$(error make cannot work in a directory that has a space in its name: $(CURDIR)))

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

SYSTEM := build/stamps/system
$(SYSTEM): SYSTEM_PACKAGES := gcc groff-base libc6-dev libsystemd-dev libusb-1.0-0 libxen-dev pkg-config python3-dev \
  python3-venv systemd xenstore-utils
AIR_SYSTEM := build/stamps/air-system
$(AIR_SYSTEM): SYSTEM_PACKAGES := bluez-test-tools
XEN_SYSTEM := build/stamps/xen-system
$(XEN_SYSTEM): SYSTEM_PACKAGES := e2fsprogs fakeroot kmod qemu-system-x86
# Of some guests the tests need much that nothing else does: where it cannot be installed, they are not run.
MINGW_SYSTEM := build/stamps/mingw-system
$(MINGW_SYSTEM): SYSTEM_PACKAGES := gcc-mingw-w64-i686-win32 gcc-mingw-w64-x86-64-win32
OCAML_SYSTEM := build/stamps/ocaml-system
$(OCAML_SYSTEM): SYSTEM_PACKAGES := libcstruct-ocaml-dev liblwt-ocaml-dev ocaml ocaml-dune
WINE_SYSTEM := build/stamps/wine-system
$(WINE_SYSTEM): SYSTEM_PACKAGES := libwine-dev wine64 wine64-tools
DOS_SYSTEM := build/stamps/dos-system
$(DOS_SYSTEM): SYSTEM_PACKAGES := bcc dosbox elks-libc
I386_SYSTEM := build/stamps/i386-system
$(I386_SYSTEM): SYSTEM_PACKAGES := lib32asan8 lib32gcc-12-dev lib32ubsan1 libc6-dev-i386
POWERPC_SYSTEM := build/stamps/powerpc-system
$(POWERPC_SYSTEM): SYSTEM_PACKAGES := gcc-powerpc-linux-gnu libc6-dev-powerpc-cross qemu-user
GUEST_SYSTEMS := $(DOS_SYSTEM) $(I386_SYSTEM) $(MINGW_SYSTEM) $(OCAML_SYSTEM) $(POWERPC_SYSTEM) $(WINE_SYSTEM)
REQUIREMENTS := $(VENV)/stamp-requirements
PACKAGE := build/stamps/package
ABI_SOURCES := $(shell find usbbtd/abi -name '_*' -prune -o \( -name '*.[ch]' -o -name 'build.py' \) -print)

# What make starts and installs is usbbtd compiled, in a directory of its own: an edited source never has beside it what was
# compiled of it earlier. PURE=1 takes the sources themselves, as everything does that make does not start.
PURE ?=
COMPILED_TREE := build/compiled
MODULES := $(if $(PURE),.,$(COMPILED_TREE))
BUILT := $(if $(PURE),$(PACKAGE),compiled)
RUN := $(if $(PURE),,PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/$(COMPILED_TREE):$(CURDIR)) $(BIN)/python

# A machine with Xen keeps one processor busy, most of the time.
SHARED := -n 2 --dist loadfile --no-loadscope-reorder
CORES := hci l2cap l2capif security serial usb

.PHONY: help
help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: environment $(BUILT) ## the whole path on a simulated Xen: guests, usbbtd, a virtual dongle, remote peers
	@$(RUN) -m tests.demo

.PHONY: play
play: environment $(BUILT) ## the same world, kept alive, with a prompt in a guest: usbbt-guest, usbbtctl
	@$(RUN) -m tests.play

.PHONY: test
test: lint types test-cores $(AIR_SYSTEM) guest-systems xen-image deb ## lint, types and every test, those on real Xen among them
	@$(RUN) -m pytest $(SHARED)

.PHONY: test-cores
test-cores: environment ## the tests of the cores alone, uncompiled
	@$(BIN)/python -m pytest --quiet $(SHARED) $(CORES:%=tests/%)

.PHONY: test-sim
test-sim: environment $(BUILT) $(AIR_SYSTEM) guest-systems ## the tests on the simulation, which take some minutes; arguments for pytest: ARGS=; uncompiled: PURE=1
	@$(RUN) -m pytest --ignore tests/realxen $(ARGS)

# What runs for all, and sets CI, is not content with less.
.PHONY: guest-systems
guest-systems:
	@$(MAKE) --keep-going $(GUEST_SYSTEMS) || { [ -z "$(CI)" ] && \
	  echo "*** Without these packages, the tests of the guests that want them are not run." >&2; }

.PHONY: lint
lint: environment ## ruff and the import rules of ARCHITECTURE.md
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { $(BIN)/ruff format --check; exit 1; }
	@$(BIN)/lint-imports --no-cache > build/lint-imports.log || { cat build/lint-imports.log; exit 1; }

.PHONY: types
types: environment ## mypy --strict
	@$(BIN)/mypy --no-error-summary

.PHONY: bench
bench: environment $(BUILT) ## ours beside others; table, build/bench.json and .svg; some rows: ROWS="host ring path radio scale service"
	@$(RUN) -m tests.bench $(ROWS)

.PHONY: performance
performance: environment $(BUILT) ## all rows of the bench, into docs/performance.md and its picture
	@$(RUN) -m tests.bench --docs

.PHONY: catalog
catalog: environment ## the journal's catalog and docs/events.md, from the table of events
	@$(BIN)/python -m usbbtd.log.catalog catalog > systemd/usbbtd.catalog
	@$(BIN)/python -m usbbtd.log.catalog page > docs/events.md

.PHONY: xen-image
xen-image: environment $(BUILT) $(XEN_SYSTEM) ## a real Xen for QEMU, from Debian's packages, in ~/.cache/usbbtd: docs/testbed.md
	@$(RUN) -m tests.realxen.image

.PHONY: xen-shell
xen-shell: xen-image ## a running Xen with usbbtd, guests and a virtual dongle, and a prompt
	@$(RUN) -m tests.realxen.shell

.PHONY: xen-test
xen-test: xen-image deb ## the tests on real Xen alone
	@$(RUN) -m pytest $(SHARED) tests/realxen

.PHONY: xen-bench
xen-bench: xen-image ## our ring beside libxenvchan on real Xen; table and build/xen-bench.json
	@$(RUN) -m tests.realxen.bench

.PHONY: clients
clients: $(SYSTEM) ## libvl2cap and the command vl2cap, for guests without Python, in build/clients/c
	@$(MAKE) -C clients/c OUT=$(CURDIR)/build/clients/c
	@$(MAKE) -C clients/serial OUT=$(CURDIR)/build/clients/serial

.PHONY: windows
windows: $(MINGW_SYSTEM) ## vl2cap.exe and vl2cap.dll, for guests with Windows, in build/clients/windows
	@$(MAKE) -C clients/c windows OUT=$(CURDIR)/build/clients/windows

.PHONY: completions
completions: environment ## bash completion of the commands, in packaging/completions/
	@$(BIN)/python -m usbbtd.cli.completion packaging/completions

.PHONY: fuzz
fuzz: environment $(BUILT) ## every Hypothesis property, for long
	@$(RUN) -m pytest -q --hypothesis-profile=fuzz -m hypothesis

.PHONY: build
build: environment $(BUILT) ## .venv, the C extensions, the simulated Xen's libraries, and usbbtd compiled

.PHONY: environment
environment: $(PACKAGE) ## the same without what takes longest: compiling usbbtd
	@$(MAKE) --silent -C tests/sim/lib OUT=$(CURDIR)/build/sim/lib

include packaging/install.mk

.PHONY: clean
clean: ## what was built; .venv stays
	@rm -rf build .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info
	@rm -f usbbtd/abi/_*.so usbbtd/abi/_*.c usbbtd/abi/_*.o
	@find usbbtd tests packaging -name __pycache__ -type d -exec rm -rf {} +

.PHONY: lock
lock: $(REQUIREMENTS) ## resolve requirements.lock anew from pyproject.toml
	@PIP_CONFIG_FILE=/dev/null CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --upgrade --extra dev,service,toolstack \
	  --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links \
	  --no-emit-trusted-host --no-emit-options --output-file requirements.lock pyproject.toml

# Asks dpkg first, so that a machine that has everything needs neither root nor a network. Twice, as a package may vanish
# from the mirror between its index and the download. Nothing that is there is removed: gcc-powerpc-linux-gnu would have
# gcc-multilib go.
$(SYSTEM) $(AIR_SYSTEM) $(GUEST_SYSTEMS) $(XEN_SYSTEM) $(DEB_SYSTEM): Makefile packaging/install.mk
	@missing=$$(for package in $(SYSTEM_PACKAGES); do \
	  dpkg-query --show --showformat='$${db:Status-Status}' $$package 2>/dev/null | grep -qx installed || echo $$package; \
	done); \
	if [ -n "$$missing" ]; then \
	  as_root=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	  echo "Installing system packages:" $$missing; \
	  get() { $$as_root apt-get update -qq && \
	    $$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends --no-remove $$missing; }; \
	  get || get || { \
	    echo; echo "*** These system packages are missing and could not be installed:"; echo "***" $$missing; \
	    echo "*** As root: apt-get install" $$missing; exit 1; } >&2; \
	fi
	@mkdir -p $(@D) && touch $@

# setuptools first, of the locked version: systemd-python has no wheel and is built with it.
$(REQUIREMENTS): requirements.lock | $(SYSTEM)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "*** usbbtd needs Python 3.11 or later; set PYTHON=")'
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@echo "Installing requirements.lock into $(VENV)"
	@sed -n '/^setuptools==/,/[^\\]$$/p' requirements.lock | $(PIP_INSTALL) --require-hashes -r /dev/stdin
	@$(PIP_INSTALL) --require-hashes --use-pep517 --no-build-isolation -r requirements.lock
	@touch $@

$(PACKAGE): $(REQUIREMENTS) pyproject.toml setup.py $(ABI_SOURCES)
	@echo "Building the C extensions"
	@PYTHONWARNINGS=ignore $(PIP_INSTALL) --no-build-isolation --no-deps --editable .
	@mkdir -p $(@D) && touch $@

.PHONY: compiled
compiled: $(PACKAGE)
	@$(BIN)/python packaging/compile.py
