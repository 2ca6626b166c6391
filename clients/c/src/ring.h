/* SPDX-License-Identifier: MIT */
/*
 * The frontend's end of both rings of vl2cap, in memory that the backend shares: docs/l2capif.md. Nothing here calls
 * anything, waits, or notifies: the caller does.
 *
 * The backend may write whatever it likes at any time. Its indices and lengths are loaded once each, checked, and then
 * used; our own are kept here and never read back.
 */

#ifndef VL2CAP_RING_H
#define VL2CAP_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <l2capif.h>

#include "os.h"

#define RING_PAGES (1u + (1u << L2CAPIF_MAX_RING_ORDER))

/* What became of a call. */
enum ring_result {
    RING_DONE,          /* and the backend does not want to be notified                                          */
    RING_NOTIFY,        /* done; the backend has to be notified                                                  */
    RING_EMPTY,         /* there is no message, or no room                                                       */
    RING_TOO_LONG,      /* the next message is longer than the buffer                                            */
    RING_BROKEN         /* the backend broke the protocol: the ring may not be touched any more                  */
};

/* The command ring. */
struct command_ring {
    volatile struct l2capif_ring_page *page;
    uint32_t req_prod, rsp_cons;
    bool armed;         /* rsp_event asks for a notification of the next response                                */
};

void command_ring_init(struct command_ring *ring, void *page);
unsigned command_ring_room(const struct command_ring *ring);

/* RING_DONE or RING_NOTIFY. There has to be room. */
enum ring_result command_ring_put(struct command_ring *ring, const struct l2capif_request *request);

/* RING_DONE, RING_BROKEN, or RING_EMPTY: the next response then brings a notification. */
enum ring_result command_ring_take(struct command_ring *ring, struct l2capif_response *response);

/* A data ring. */
struct data_ring {
    volatile struct l2capif_data_intf *indices;
    uint8_t *in[RING_PAGES / 2], *out[RING_PAGES / 2];  /* the pages of both halves                              */
    uint32_t size;      /* octets of a half                                                                      */
    uint32_t received;  /* our cons of `in`                                                                      */
    uint32_t produced;  /* the prod of `in` that was loaded last                                                 */
    uint32_t sent;      /* our prod of `out`                                                                     */
    uint32_t consumed;  /* the cons of `out` that was loaded last                                                */
};

/* Makes a ring in 1 + 2^order pages of zeros, ready for the request. */
void data_ring_init(struct data_ring *ring, const struct os_page *pages, unsigned order);

/* The longest message that a ring of this order takes, in octets. */
uint32_t data_ring_longest(unsigned order);

/*
 * Sends or receives one message. If there is no room, or no message, and `arm` is set, the change of that brings a
 * notification; without, nothing is asked of the backend, which is cheaper for who looks again at once. A message that is
 * received into NULL is dropped.
 */
enum ring_result data_ring_send(struct data_ring *ring, const void *message, uint32_t length, bool arm);
enum ring_result data_ring_receive(struct data_ring *ring, void *message, uint32_t size, uint32_t *length, bool arm);

/* Whether there is room for a message, or a message: RING_DONE, RING_EMPTY, RING_BROKEN. `arm`: as above. */
enum ring_result data_ring_room(struct data_ring *ring, uint32_t length, bool arm);
enum ring_result data_ring_ready(struct data_ring *ring, bool arm);

/* The error with which the backend has ended its half, 0 if it has not. Messages may be left. */
int32_t data_ring_error(const struct data_ring *ring);

/* Ends our half; the backend has to be notified. */
void data_ring_end(struct data_ring *ring, int32_t error);

/* Goes on reading in a copy of the indices page and of `in`, which `memory` has room for. */
size_t data_ring_copy_size(const struct data_ring *ring);
void data_ring_move(struct data_ring *ring, uint8_t *memory);

#endif
