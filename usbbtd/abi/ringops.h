/* SPDX-License-Identifier: MIT */
/*
 * The two kinds of shared ring, as one end sees them: the request/response
 * ring of Xen's ring.h, and the data ring of l2capif.h.
 *
 * The other end can write to the shared pages at any time. So indices of our
 * own live in private memory and are only ever published; indices of the other
 * end are loaded once, checked before they are masked, and kept; what the other
 * end produced is copied out once, and only the copy is looked at.
 *
 * Functions return a count, or one of the negative codes below; after a
 * negative code nothing was put or taken, and `suspect` holds the value that
 * was found wrong.
 */
#ifndef USBBTD_RINGOPS_H
#define USBBTD_RINGOPS_H

#include <stdint.h>

#include "l2capif.h"

#define RINGOPS_BAD_INDEX  (-1)     /* the other end's index is impossible           */
#define RINGOPS_BAD_LENGTH (-2)     /* a message is longer than what may be there    */
#define RINGOPS_NO_ROOM    (-3)     /* the caller puts more than there can be room for */

#define RINGOPS_PAGE_SIZE  4096u

struct ring_header {                /* the start of every struct <name>_sring        */
    uint32_t req_prod, req_event;
    uint32_t rsp_prod, rsp_event;
    uint8_t pad[48];
};

/* One end of a request/response ring. */
struct ring {
    struct ring_header *shared;
    uint8_t *slots;
    uint32_t slot_count, slot_size;
    uint32_t request_size, response_size;
    uint32_t request_index;         /* front: produced so far; back: consumed so far */
    uint32_t response_index;        /* front: consumed so far; back: produced so far */
    uint32_t suspect;
};

/* Front: initialises the shared page. Back: starts at the responses that the page says were given. */
void ring_front_init(struct ring *ring, void *page, uint32_t request_size, uint32_t response_size);
void ring_back_attach(struct ring *ring, void *page, uint32_t request_size, uint32_t response_size);

/* Puts all `count` entries, packed one after the other. Returns whether to notify, or RINGOPS_NO_ROOM. */
int ring_put_requests(struct ring *ring, const char *entries, uint32_t count);
int ring_put_responses(struct ring *ring, const char *entries, uint32_t count);

/* Copies out everything there is and asks for an event on the next. Returns the count, at most slot_count. */
int ring_take_responses(struct ring *ring, char *entries);
int ring_take_requests(struct ring *ring, char *entries);

/* One end of a data ring. */
struct data_ring {
    struct l2capif_half *send, *receive;
    uint8_t *send_data, *receive_data;
    uint32_t size;                  /* of a half, in octets: a power of two          */
    uint32_t sent;                  /* own prod                                      */
    uint32_t sent_consumed;         /* the other end's cons, checked                 */
    uint32_t reported;              /* the cons that data_ring_consumed told of      */
    uint32_t received;              /* own cons                                      */
    uint32_t suspect;
};

/* Takes up where the page says that this end has been, and arms the event for the first message. */
void data_ring_attach(struct data_ring *ring, struct l2capif_data_intf *indices, void *data,
                      uint32_t data_size, int frontend);

/*
 * Messages are packed one after the other, with their lengths beside them. Write and read return their number times
 * two, plus one when the other end is to be notified.
 *
 * fitting: how many of them there is room for, in order; arms cons_event for the first that has none.
 * write: puts those that there is room for, all in one step.
 * read: copies out at most `limit` octets or the first message, and at most `most` messages; with none there, arms
 * prod_event.
 */
int data_ring_fitting(struct data_ring *ring, const uint32_t *lengths, uint32_t count);
int data_ring_write(struct data_ring *ring, const char *payload, const uint32_t *lengths, uint32_t count);
int data_ring_read(struct data_ring *ring, uint32_t limit, char *payload, uint32_t *lengths, uint32_t most);

/* Octets, lengths included, that the other end has consumed since the last call. */
int data_ring_consumed(struct data_ring *ring);

/* Arms cons_event for `octets` more than data_ring_consumed told of. Returns whether they are consumed already. */
int data_ring_expect_consumed(struct data_ring *ring, uint32_t octets);

/*
 * Looks, without a pause, until there may be something to read or, with `for_room`, the other end may have consumed
 * something; for `nanoseconds` at most. Returns whether that is so. Takes and arms nothing.
 */
int data_ring_spin(const struct data_ring *ring, int for_room, uint32_t nanoseconds);

/* Errors, after which no message follows. The peer's is seen when its last message has been read. */
void data_ring_set_error(struct data_ring *ring, int32_t error);
int32_t data_ring_peer_error(const struct data_ring *ring);

#endif
