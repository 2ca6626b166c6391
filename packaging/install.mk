# `make install` and `make deb`. Each part is what one kind of domain needs: the driver domain and dom0 with usbbt-common,
# guests with python3-usbbtd-guest.

DESTDIR ?=
prefix ?= /usr/local
library = $(prefix)/lib/usbbtd
# Of the API for guests. Where Python finds it by itself, all that it needs must be there, too: SHARED_LIBRARY=yes.
guest_library ?= $(prefix)/lib/usbbtd-guest
SHARED_LIBRARY ?=
# Where the distribution has Python packages, if what it mends is to be taken from there.
system_library ?=
unitdir ?= $(prefix)/lib/systemd/system
sysconfdir ?= /etc
# Not the .venv's: that goes with the tree.
interpreter ?= $(shell command -v $(PYTHON))

PARTS := usbbt-common usbbtd python3-usbbtd-guest usbbt-guest usbbt-toolstack
# Of clients/c, for guests without Python. Not of `make install`: a program that wants them has `make -C clients/c install`.
CLIENT_PARTS := libvl2cap0 libvl2cap-dev vl2cap
libdir ?= $(prefix)/lib
DEB_SYSTEM := build/stamps/deb-system
$(DEB_SYSTEM): SYSTEM_PACKAGES := chrpath debhelper dpkg-dev
COMMANDS := $(shell sed -n '/^\[project.scripts\]/,/^$$/s/ = .*//p' pyproject.toml)

# Files by name: guests and dom0 have what is called like their command, the driver domain has the rest.
GUEST_FILES := $(wildcard docs/man/usbbt-guest.* docs/man/usbbt-serial.* packaging/completions/usbbt-guest packaging/completions/usbbt-serial \
  systemd/*/*usbbt-guest.* systemd/usbbt-serial@.service)
TOOLSTACK_FILES := $(wildcard docs/man/usbbt-toolstack.* docs/man/xl-* packaging/completions/usbbt-toolstack systemd/usbbt-toolstack.*)
DAEMON_FILES := $(filter-out $(GUEST_FILES) $(TOOLSTACK_FILES),$(wildcard docs/man/* packaging/completions/* systemd/*.* systemd/*.d/* systemd/udev/*))

# (files, directory): which may be none
copy = $(if $(strip $(1)),install -D --mode=644 --target-directory=$(DESTDIR)$(strip $(2)) $(1),:)

# (files of a part): each to its place, units with the prefix of the commands.
define install_files
	@$(foreach section,1 5 7 8,$(call copy,$(filter docs/man/%.$(section),$(1)),$(prefix)/share/man/man$(section));)
	@$(call copy,$(filter packaging/completions/%,$(1)),$(prefix)/share/bash-completion/completions)
	@$(foreach directory,sysusers.d tmpfiles.d modules-load.d modprobe.d, \
	  $(call copy,$(filter systemd/$(directory)/%,$(1)),$(prefix)/lib/$(directory));)
	@$(call copy,$(filter systemd/udev/%,$(1)),$(prefix)/lib/udev/rules.d)
	@$(call copy,$(filter systemd/%.catalog,$(1)),$(prefix)/lib/systemd/catalog)
	@$(call copy,$(filter systemd/usbbtd-%.conf,$(1)),$(prefix)/share/usbbtd)
	@$(foreach unit,$(filter systemd/%.service,$(1)), \
	  $(call copy,$(unit),$(unitdir)); \
	  sed -i 's,/usr/bin/usbbt,$(prefix)/bin/usbbt,' $(DESTDIR)$(unitdir)/$(notdir $(unit));)
endef
# (commands of a part, the directory of their modules)
define install_commands
	@$(foreach command,$(1),$(BUNDLE) --library=$(2) --interpreter=$(interpreter) --command=$(prefix)/bin/$(command);)
endef
BUNDLE = $(BIN)/python packaging/bundle.py --tree=$(MODULES) $(if $(DESTDIR),--destdir=$(DESTDIR))

.PHONY: install
install: $(BUILT) ## everything below DESTDIR and prefix (/usr/local); parts: docs/install.md
	@for part in $(PARTS); do $(MAKE) install-$$part; done

.PHONY: $(PARTS:%=install-%)
install-usbbt-common: $(BUILT)
	@$(BUNDLE) --library=$(library) --part=usbbt-common

# After usbbt-common, which empties the directory first.
install-usbbtd: $(BUILT)
	@$(BUNDLE) --library=$(library) --part=usbbtd $(if $(system_library),--system=$(system_library))
	$(call install_commands,$(filter-out usbbt-guest usbbt-serial usbbt-toolstack,$(COMMANDS)),$(library))
	$(call install_files,$(DAEMON_FILES))
	@$(call copy,etc/usbbtd.toml,$(sysconfdir)/usbbtd)
	@$(call copy,$(wildcard etc/policy.d/*),$(sysconfdir)/usbbtd/policy.d)

install-python3-usbbtd-guest: $(BUILT)
	@$(BUNDLE) --library=$(guest_library) --part=python3-usbbtd-guest $(if $(SHARED_LIBRARY),--shared)

install-usbbt-guest: $(BUILT)
	$(call install_commands,usbbt-guest usbbt-serial,$(guest_library))
	$(call install_files,$(GUEST_FILES))

install-usbbt-toolstack: $(BUILT)
	$(call install_commands,usbbt-toolstack,$(library))
	$(call install_files,$(TOOLSTACK_FILES))

.PHONY: $(CLIENT_PARTS:%=install-%)
$(CLIENT_PARTS:%=install-%): $(SYSTEM)
	@$(MAKE) -C clients/c $@ OUT=$(CURDIR)/build/clients/c DESTDIR=$(DESTDIR) prefix=$(prefix) libdir=$(libdir)

# What opens Xen's devices to a guest's programs is usbbt-guest's, under names of its own: a guest may have both packages.
install-vl2cap: install-vl2cap-devices
.PHONY: install-vl2cap-devices
install-vl2cap-devices:
	@install -D --mode=644 systemd/modules-load.d/usbbt-guest.conf $(DESTDIR)$(prefix)/lib/modules-load.d/vl2cap.conf
	@install -D --mode=644 systemd/sysusers.d/usbbt-guest.conf $(DESTDIR)$(prefix)/lib/sysusers.d/vl2cap.conf
	@install -D --mode=644 systemd/udev/70-usbbt-guest.rules $(DESTDIR)$(prefix)/lib/udev/rules.d/70-vl2cap.rules

# In a copy of packaging/debian/, as debhelper leaves much behind. The version is pyproject.toml's, and the date that of the last change.
.PHONY: deb
deb: $(BUILT) $(DEB_SYSTEM) ## Debian packages for the three kinds of domain, in build/deb
	@rm -rf build/debian build/deb && mkdir -p build/debian build/deb && cp -r packaging/debian build/debian
	@sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | { read version; printf \
	  'usbbtd (%s) stable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- usbbtd <usbbtd@localhost>  %s\n' \
	  "$$version" "$$(git log -1 --format=%cD 2>/dev/null || date -R)"; } > build/debian/debian/changelog
	@cd build/debian && debian/rules binary TREE=$(CURDIR) > ../deb.log 2>&1 || { cat ../deb.log; exit 1; }
