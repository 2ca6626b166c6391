/* SPDX-License-Identifier: MIT */
/* Linux: /dev/xen, by libxenevtchn and libxengnttab, and xenstore. */

#define _GNU_SOURCE

#include "os.h"
#include "os_linux_store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <xenevtchn.h>
#include <xengnttab.h>
#include <xentoollog.h>

#define PORTS_AT_ONCE 64

struct os {
    struct store store;
    xenevtchn_handle *evtchn;
    xengntshr_handle *gntshr;
    int epoll, claim;
    char *watched[OS_WATCHES];
};

/* Xen's libraries print each failure; we return it. */
static void discard(struct xentoollog_logger *logger, xentoollog_level level, int errnoval, const char *context,
                    const char *format, va_list arguments)
{
    (void)logger, (void)level, (void)errnoval, (void)context, (void)format, (void)arguments;
}

static struct xentoollog_logger silent = {.vmessage = discard};

static int error_of(int error)
{
    switch (error) {
    case ENOENT:
    case EACCES:
        return VL2CAP_ENODEV;
    case ENOMEM:
    case ENOSPC:
        return VL2CAP_ENOMEM;
    case EINVAL:
        return VL2CAP_EINVAL;
    default:
        return VL2CAP_EIO;
    }
}

/* Open and close ----------------------------------------------------------------------------------------------------- */

/*
 * Two programs would take a device from each other without end. The name ends with the process, and is that of the
 * Python library, too; the hash (FNV-1a) tells the stores of a simulated Xen apart.
 */
static int claim_device(uint32_t device)
{
    const char *store = getenv("XENSTORED_PATH");
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    uint64_t hash = 0xcbf29ce484222325;
    int length, fd;

    for (; store && *store; store++)
        hash = (hash ^ (uint8_t)*store) * 0x100000001b3;
    length = snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "usbbtd/%016" PRIx64 "/vl2cap/%" PRIu32, hash, device);
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return VL2CAP_EIO;
    if (bind(fd, (struct sockaddr *)&name, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length))) {
        close(fd);
        return VL2CAP_EBUSY;
    }
    return fd;
}

static int add_to_epoll(struct os *os, int fd)
{
    struct epoll_event interest = {.events = EPOLLIN};

    return epoll_ctl(os->epoll, EPOLL_CTL_ADD, fd, &interest);
}

static int open_all(struct os *os, uint32_t device)
{
    int error;

    os->claim = claim_device(device);
    if (os->claim < 0)
        return os->claim;
    error = store_open(&os->store);
    if (error)
        return error;
    if (!(os->evtchn = xenevtchn_open(&silent, 0)) || !(os->gntshr = xengntshr_open(&silent, 0)))
        return errno == EMFILE || errno == ENFILE ? VL2CAP_EIO : VL2CAP_NO_XEN;
    os->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (os->epoll < 0 || add_to_epoll(os, os->store.fd) || add_to_epoll(os, os->store.fired) ||
        add_to_epoll(os, xenevtchn_fd(os->evtchn)) ||
        fcntl(xenevtchn_fd(os->evtchn), F_SETFL, O_RDWR | O_NONBLOCK))
        return VL2CAP_EIO;
    return 0;
}

int os_open(struct os **opened, uint32_t device)
{
    struct os *os = calloc(1, sizeof(*os));
    int error;

    if (!os)
        return VL2CAP_ENOMEM;
    os->epoll = os->claim = os->store.fd = os->store.fired = -1;
    error = open_all(os, device);
    if (error) {
        os_close(os);
        return error;
    }
    *opened = os;
    return 0;
}

void os_close(struct os *os)
{
    if (os->epoll >= 0)
        close(os->epoll);
    if (os->gntshr)
        xengntshr_close(os->gntshr);
    if (os->evtchn)
        xenevtchn_close(os->evtchn);
    store_close(&os->store);
    if (os->claim >= 0)
        close(os->claim);
    for (unsigned slot = 0; slot < OS_WATCHES; slot++)
        free(os->watched[slot]);
    free(os);
}

/* What helps against the error of a file. */
static const char *advice(const char *module, int error)
{
    if (error == EACCES || error == EPERM)
        return "root may open it, and the group usbbt-xen if the package vl2cap or usbbt-guest is installed";
    return module ? module : "this is no Xen guest, or its kernel has no support for Xen";
}

void os_explain(int error, char *text, size_t size)
{
    static const struct {
        const char *path, *module;
    } files[] = {{NULL, NULL},
                 {"/dev/xen/evtchn", "modprobe xen-evtchn"},
                 {"/dev/xen/gntalloc", "modprobe xen-gntalloc"}};

    for (size_t i = 0; error == VL2CAP_NO_XEN && i < sizeof(files) / sizeof(files[0]); i++) {
        const char *path = files[i].path ? files[i].path : store_path();
        int fd = store_open_path(path);

        if (fd < 0) {
            snprintf(text, size, "cannot open %s: %s: %s", path, strerror(errno), advice(files[i].module, errno));
            return;
        }
        close(fd);
    }
    snprintf(text, size, "%s", vl2cap_strerror(error));
}

/* Xenstore ----------------------------------------------------------------------------------------------------------- */

int os_read(struct os *os, const char *path, char *value, size_t size)
{
    return store_read(&os->store, path, value, size);
}

int os_write(struct os *os, const char *path, const char *value)
{
    return store_write(&os->store, path, value);
}

int os_watch(struct os *os, unsigned slot, const char *path)
{
    char token[2] = {(char)('0' + slot), '\0'};
    char *watched = path ? strdup(path) : NULL;

    if (path && !watched)
        return VL2CAP_ENOMEM;
    if (os->watched[slot]) {
        store_unwatch(&os->store, os->watched[slot], token);
        free(os->watched[slot]);
    }
    os->watched[slot] = watched;
    return path ? store_watch(&os->store, path, token) : 0;
}

/* Grants ------------------------------------------------------------------------------------------------------------- */

/*
 * libxengnttab lays the pages of one call side by side, which is right where the kernel's pages are Xen's. Where they are
 * larger each grant is the beginning of one page of the kernel, so that each page needs a call of its own.
 */
static unsigned pages_a_call(unsigned count)
{
    return sysconf(_SC_PAGESIZE) == (long)OS_PAGE_SIZE ? count : 1;
}

int os_share(struct os *os, uint32_t domid, struct os_page *pages, unsigned count)
{
    unsigned step = pages_a_call(count);
    uint32_t refs[OS_MOST_PAGES];

    for (unsigned i = 0; i < count; i += step) {
        uint8_t *memory = xengntshr_share_pages(os->gntshr, domid, (int)step, refs, 1);

        if (!memory) {
            int error = errno;

            os_unshare(os, pages, i);
            return error_of(error);
        }
        for (unsigned j = 0; j < step; j++)
            pages[i + j] = (struct os_page){memory + j * OS_PAGE_SIZE, refs[j]};
    }
    return 0;
}

void os_unshare(struct os *os, struct os_page *pages, unsigned count)
{
    unsigned step = pages_a_call(count);

    for (unsigned i = 0; i < count; i += step)
        xengntshr_unshare(os->gntshr, pages[i].memory, step);
}

/* Event channels ----------------------------------------------------------------------------------------------------- */

int os_evtchn_alloc(struct os *os, uint32_t domid, uint32_t *port)
{
    int allocated = xenevtchn_bind_unbound_port(os->evtchn, domid);

    if (allocated < 0)
        return error_of(errno);
    *port = (uint32_t)allocated;
    return 0;
}

void os_evtchn_close(struct os *os, uint32_t port)
{
    xenevtchn_unbind(os->evtchn, port);
}

int os_evtchn_notify(struct os *os, uint32_t port)
{
    return xenevtchn_notify(os->evtchn, port) < 0 ? error_of(errno) : 0;
}

/* The device itself gives many ports at once, and does not block; xenevtchn_pending() takes one. */
static int take_events(struct os *os)
{
    evtchn_port_t ports[PORTS_AT_ONCE];
    ssize_t size = read(xenevtchn_fd(os->evtchn), ports, sizeof(ports));

    if (size < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : VL2CAP_EIO;
    for (size_t i = 0; i < (size_t)size / sizeof(ports[0]); i++)
        xenevtchn_unmask(os->evtchn, ports[i]);
    return 0;
}

/* Not epoll_wait(), which also ends, as by a signal, when the process was stopped and goes on: signal(7). */
int os_wait(struct os *os, int timeout_ms)
{
    struct pollfd ready[] = {{.fd = os->store.fd, .events = POLLIN},
                             {.fd = os->store.fired, .events = POLLIN},
                             {.fd = xenevtchn_fd(os->evtchn), .events = POLLIN}};
    int events = 0, error = 0;

    if (poll(ready, 3, timeout_ms) < 0)
        return errno == EINTR ? OS_INTERRUPTED : VL2CAP_EIO;
    if (ready[0].revents || ready[1].revents)
        events |= OS_STORE;
    if (ready[2].revents)
        events |= OS_EVTCHN;
    if (events & OS_STORE)
        error = store_take_events(&os->store);
    if (!error && events & OS_EVTCHN)
        error = take_events(os);
    return error ? error : events;
}

vl2cap_event_t os_event(const struct os *os)
{
    return os->epoll;
}

uint64_t os_now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}
