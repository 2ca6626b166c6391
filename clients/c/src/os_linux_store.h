/* SPDX-License-Identifier: MIT */
/*
 * Xenstore over its socket or device, in the form of xen/io/xs_wire.h. libxenstore is not used: it starts a thread for
 * watches, and the static one, which has none, takes an event that comes before an answer for the answer.
 */

#ifndef VL2CAP_OS_LINUX_STORE_H
#define VL2CAP_OS_LINUX_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Results are 0 or more, or a negative number of enum vl2cap_error. */
struct store {
    int fd;
    int fired;          /* an eventfd: a watch has fired while an answer was waited for                          */
    uint32_t last_id;   /* of requests                                                                           */
};

/* Returns VL2CAP_NO_XEN if there is no xenstore. After a failure, too, store_close() is due. */
int store_open(struct store *store);
void store_close(struct store *store);

/* Where xenstore is, or would usually be; and how its file, or another device, is opened. Returns -1 and errno. */
const char *store_path(void);
int store_open_path(const char *path);

/* Reads a node. Returns its length; the value has a 0 behind it, and none in it. */
int store_read(struct store *store, const char *path, char *value, size_t size);
int store_write(struct store *store, const char *path, const char *value);
int store_watch(struct store *store, const char *path, const char *token);
int store_unwatch(struct store *store, const char *path, const char *token);

/* Takes all events that there are, when `fd` or `fired` can be read. Does not wait. */
int store_take_events(struct store *store);

#endif
