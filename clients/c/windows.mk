# libvl2cap and the command vl2cap for Windows, by Debian's mingw-w64: `make windows` calls this for 64 and for 32 bits.
ARCH ?= x86_64
OUT ?= build/$(ARCH)
PROTOCOL ?= ../../usbbtd/abi/include
CC := $(ARCH)-w64-mingw32-gcc
CFLAGS ?= -O2
LDFLAGS ?= -s
# The interfaces of Windows 7, and a printf that knows C11's formats.
override CPPFLAGS += -D_WIN32_WINNT=0x0601 -D__USE_MINGW_ANSI_STDIO=1 -DL2CAPIF_WITHOUT_XEN -I$(PROTOCOL) -Iinclude
override CFLAGS += -std=c11 $(WARNINGS)
# The library of the compiler would be one file more to copy. Without a date of its own, a build gives the same file again.
override LDFLAGS += -static-libgcc -Wl,--major-subsystem-version,6,--minor-subsystem-version,1,--no-insert-timestamp

SOURCES := $(filter-out src/os_%.c,$(wildcard src/*.c)) src/os_windows.c
TOOL := $(filter-out tool/system_%.c,$(wildcard tool/*.c)) tool/system_windows.c
HEADERS := $(wildcard include/*.h src/*.h tool/*.h) $(PROTOCOL)/l2capif.h Makefile windows.mk

all: $(OUT)/vl2cap.dll $(OUT)/vl2cap.exe

# And what another program is linked with: libvl2cap.dll.a, or vl2cap.def of which other compilers make theirs.
$(OUT)/vl2cap.dll: $(SOURCES) $(HEADERS) | $(OUT)
	@$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -DVL2CAP_BUILD -shared -o $@ $(SOURCES) \
	  -Wl,--out-implib,$(OUT)/libvl2cap.dll.a,--output-def,$(OUT)/vl2cap.def

# The command has the library in it: one file to copy into a guest.
$(OUT)/vl2cap.exe: $(TOOL) $(SOURCES) $(HEADERS) | $(OUT)
	@$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -DVL2CAP_VERSION='"$(VERSION)"' -o $@ $(TOOL) $(SOURCES)

$(OUT):
	@mkdir -p $@

.PHONY: all
