"""Builds the two cffi extensions, in API mode: the compiler checks every declaration against the headers.

``_layout`` holds the structures of usbif.h and l2capif.h, read out of the headers themselves, and our ring
operations; it needs no Xen library. ``_xen`` binds libxenstore, libxenevtchn and libxengnttab.
"""

import os
import re
import subprocess
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
L2CAPIF_H = HERE / "include" / "l2capif.h"
RINGOPS_H = HERE / "ringops.h"
XENOPS_H = HERE / "xenops.h"
XEN_TYPES = "typedef uint32_t grant_ref_t;\ntypedef uint32_t evtchn_port_t;\n"


def find_header(name: str) -> Path:
    """Returns where the C compiler finds a header. Raises FileNotFoundError, which names the package to install."""
    command = ["cc", "-E", "-M", "-include", name, "-x", "c", "/dev/null"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    paths = [word for word in found.stdout.split() if word.endswith(name)]
    if not paths:
        raise FileNotFoundError(f"the C compiler finds no <{name}>: install libxen-dev\n{found.stderr}")
    return Path(paths[0])


def without_comments(header: Path) -> str:
    return re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)


def without_directives(text: str) -> str:
    return re.sub(r"^\s*#.*(?:\\\n.*)*$", "", text, flags=re.MULTILINE)


def constants(text: str, prefix: str) -> dict[str, str]:
    return dict(re.findall(rf"^#define ({prefix.upper()}\w+)[ \t]+(\S.*?)[ \t]*$", text, flags=re.MULTILINE))


def declarations(header: Path, prefix: str) -> str:
    """Returns the cdef of a header: its structures and numeric constants whose names start with ``prefix``.

    The compiler fills in the constants, and the array sizes that are neither a number nor the name of one.
    """
    text = without_comments(header)
    defined = constants(text, prefix)
    structures = re.findall(
        rf"^struct {prefix}\w+ \{{.*?^\}};", without_directives(text), flags=re.DOTALL | re.MULTILINE
    )

    def array_size(match: re.Match[str]) -> str:
        size = match[1] if match[1].isdigit() else defined.get(match[1], "").strip("()")
        return f"[{size if size.isdigit() else '...'}]"

    body = re.sub(r"\[([^\]]+)\]", array_size, "\n".join(structures))
    return body + "".join(f"\n#define {name} ..." for name in defined) + "\n"


def everything(header: Path, prefix: str) -> str:
    """Returns the cdef of a header of ours, all of which is legal in a cdef, with its constants."""
    text = without_comments(header)
    return without_directives(text) + "".join(f"\n#define {name} ..." for name in constants(text, prefix)) + "\n"


layout = FFI()
layout.cdef(
    XEN_TYPES
    + declarations(find_header("xen/io/usbif.h"), "usbif_")
    + "#define USB_URB_RING_SIZE ...\n#define USB_CONN_RING_SIZE ...\n"
    + declarations(L2CAPIF_H, "l2capif_")
    + everything(RINGOPS_H, "ringops_")
)
layout.set_source(
    "usbbtd.abi._layout",
    '#include <stdint.h>\n#include <xen/io/usbif.h>\n#include "ringops.h"\n',
    sources=[os.path.relpath(HERE / "ringops.c")],
    include_dirs=[str(HERE), str(L2CAPIF_H.parent)],
    depends=[str(L2CAPIF_H), str(RINGOPS_H)],
    extra_compile_args=["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter"],
)

xen = FFI()
xen.cdef(
    XEN_TYPES
    + """
void free(void *);

struct xs_handle;
struct xs_permissions { unsigned int id; unsigned int perms; ...; };
#define XS_PERM_READ ...
#define XS_PERM_WRITE ...
struct xs_handle *xs_open(unsigned long flags);
void xs_close(struct xs_handle *);
int xs_fileno(struct xs_handle *);
char **xs_directory(struct xs_handle *, uint32_t transaction, const char *path, unsigned int *count);
void *xs_read(struct xs_handle *, uint32_t transaction, const char *path, unsigned int *length);
bool xs_write(struct xs_handle *, uint32_t transaction, const char *path, const void *data, unsigned int length);
bool xs_rm(struct xs_handle *, uint32_t transaction, const char *path);
struct xs_permissions *xs_get_permissions(struct xs_handle *, uint32_t transaction, const char *path,
                                          unsigned int *count);
bool xs_set_permissions(struct xs_handle *, uint32_t transaction, const char *path, struct xs_permissions *,
                        unsigned int count);
bool xs_watch(struct xs_handle *, const char *path, const char *token);
char **xs_check_watch(struct xs_handle *);
bool xs_unwatch(struct xs_handle *, const char *path, const char *token);
uint32_t xs_transaction_start(struct xs_handle *);
bool xs_transaction_end(struct xs_handle *, uint32_t transaction, bool abort);
char *xs_get_domain_path(struct xs_handle *, unsigned int domid);

typedef struct xenevtchn_handle xenevtchn_handle;
xenevtchn_handle *evtchn_open(void);
int xenevtchn_close(xenevtchn_handle *);
int xenevtchn_fd(xenevtchn_handle *);
int xenevtchn_notify(xenevtchn_handle *, evtchn_port_t port);
int xenevtchn_bind_unbound_port(xenevtchn_handle *, uint32_t domid);
int xenevtchn_bind_interdomain(xenevtchn_handle *, uint32_t domid, evtchn_port_t remote_port);
int xenevtchn_unbind(xenevtchn_handle *, evtchn_port_t port);
int evtchn_drain(xenevtchn_handle *, uint32_t *ports, uint32_t limit);
int evtchn_unmask(xenevtchn_handle *, const uint32_t *ports, uint32_t count);

typedef struct xengntdev_handle xengnttab_handle;
xengnttab_handle *gnttab_open(void);
int xengnttab_close(xengnttab_handle *);
void *xengnttab_map_domain_grant_refs(xengnttab_handle *, uint32_t count, uint32_t domid, uint32_t *refs, int prot);
int xengnttab_unmap(xengnttab_handle *, void *start, uint32_t count);
struct grant_segment { uint32_t ref, offset, length; };
int grant_copy(xengnttab_handle *, uint32_t domid, const struct grant_segment *, uint32_t count, char *buffer,
               int to_other, uint32_t *failed);

typedef struct xengntdev_handle xengntshr_handle;
xengntshr_handle *gntshr_open(void);
int xengntshr_close(xengntshr_handle *);
void *xengntshr_share_pages(xengntshr_handle *, uint32_t domid, int count, uint32_t *refs, int writable);
int xengntshr_unshare(xengntshr_handle *, void *start, uint32_t count);
"""
)
xen.set_source(
    "usbbtd.abi._xen",
    '#include <stdbool.h>\n#include <stdint.h>\n#include <stdlib.h>\n#include <xenstore.h>\n#include "xenops.h"\n',
    include_dirs=[str(HERE)],
    depends=[str(XENOPS_H)],
    libraries=["xenstore", "xenevtchn", "xengnttab"],
    extra_compile_args=["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter"],
)
