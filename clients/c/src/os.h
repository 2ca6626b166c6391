/* SPDX-License-Identifier: MIT */
/*
 * What the library needs of an operating system, and all that differs between them: os_linux.c, os_windows.c.
 *
 * A layer is used by one thread at a time, as the device that owns it. It may have a thread of its own where pages that
 * are shared end with the thread that shared them. Functions return 0 or more, or a negative number of enum vl2cap_error.
 *
 * Paths are relative to the guest's own home in xenstore (device/vl2cap/0/state), or absolute. Nothing here is a
 * transaction. Each write is one node, and other domains see the writes in their order.
 */

#ifndef VL2CAP_OS_H
#define VL2CAP_OS_H

#include <stddef.h>
#include <stdint.h>

#include "vl2cap.h"

/* Xen's pages, whatever those of the system are. */
#define OS_PAGE_SIZE 4096u

/* The longest value that is read or written, with its end. */
#define OS_VALUE_SIZE 256u

struct os;

/*
 * Opens xenstore, event channels and grants, and claims device/vl2cap/<device> for this process until os_close() or the
 * process's end. Returns VL2CAP_NO_XEN, VL2CAP_NO_DRIVER, VL2CAP_EBUSY if another process has the device, VL2CAP_ENOMEM.
 */
int os_open(struct os **os, uint32_t device);
void os_close(struct os *os);

/* Writes why os_open() has just returned `error`, cut to `size` with its end, by a look at the system. */
void os_explain(int error, char *text, size_t size);

/*
 * Reads a node into `value`, ended by a 0. Returns its length, or VL2CAP_ENODEV if there is no such node or it may not
 * be read, VL2CAP_EINVAL if it is longer or has a 0 in it, VL2CAP_EIO.
 */
int os_read(struct os *os, const char *path, char *value, size_t size);
int os_write(struct os *os, const char *path, const char *value);

/*
 * Watches a path and all below it, instead of what the slot watched before; NULL: nothing. The event comes once at first
 * and then after each change; it may come too often, and changes may be merged into one. Nothing says which slot it was.
 */
#define OS_WATCHES 2u
int os_watch(struct os *os, unsigned slot, const char *path);

#define OS_MOST_PAGES 65u   /* that are shared at once */

struct os_page {
    uint8_t *memory;    /* OS_PAGE_SIZE octets, of its own page of the system                                    */
    uint32_t ref;       /* grant reference                                                                       */
};

/*
 * Shares `count` pages of zeros, writable, with a domain. os_unshare() takes the same pages back, all at once; the
 * library calls it when the other domain has let go of them or went away, and then it never fails. Pages that a process
 * leaves behind stay granted as long as the other domain has them mapped, but for Windows, where a process cannot have that.
 */
int os_share(struct os *os, uint32_t domid, struct os_page *pages, unsigned count);
void os_unshare(struct os *os, struct os_page *pages, unsigned count);

/* Event channels. A new port is unbound, for that domain to bind to, and unmasked. */
int os_evtchn_alloc(struct os *os, uint32_t domid, uint32_t *port);
void os_evtchn_close(struct os *os, uint32_t port);
int os_evtchn_notify(struct os *os, uint32_t port);

enum os_events {
    OS_STORE = 1,       /* a watch has fired                                                                     */
    OS_EVTCHN = 2,      /* a port was notified; it is unmasked again                                             */
    OS_INTERRUPTED = 4  /* a signal came                                                                         */
};

/*
 * Waits until something has happened since it last returned, for `timeout_ms` at most (0: not at all, -1: no limit), and
 * takes it. Returns bits of enum os_events, 0 if the time is over, VL2CAP_EIO if the devices fail.
 */
int os_wait(struct os *os, int timeout_ms);

/* What os_wait() waits for: see vl2cap_event(). It stays signalled until os_wait() has taken what happened. */
vl2cap_event_t os_event(const struct os *os);

/* A clock that never goes back, and does not have to go on while the machine sleeps. */
uint64_t os_now_us(void);

#endif
