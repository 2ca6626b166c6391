/* SPDX-License-Identifier: MIT */
/* What the files of the library share. */

#ifndef VL2CAP_INTERNAL_H
#define VL2CAP_INTERNAL_H

#include "os.h"
#include "ring.h"
#include "vl2cap.h"

#define PATH_SIZE 256u

/* States of both ends in xenstore: docs/l2capif.md. */
enum xenbus_state {
    UNKNOWN,            /* or there is none */
    INITIALISING,
    INIT_WAIT,
    INITIALISED,
    CONNECTED,
    CLOSING,
    CLOSED
};

/* What a successful CONNECT or ACCEPT may answer. */
struct expected {
    uint8_t transport, security;
    uint16_t psm, mtu;
};

enum object_state {
    QUEUED,             /* its request has not been sent                                                         */
    ASKED,              /* its request has no answer                                                             */
    OPEN,               /* its request was answered with 0                                                       */
    FAILED              /* it was not, or the backend is gone: `error`                                           */
};

struct vl2cap_object {
    struct vl2cap *device;
    struct vl2cap_object *next;         /* in device->objects, in the order in which they were made              */
    void *user;
    enum object_state state;
    int error;
    bool over_when_answered;            /* a pairing or an echo: there is nothing to release then                */
    bool released;                      /* the program has given it up; it is there until it is let go           */
    uint32_t release_id;                /* req_id of its RELEASE, 0 before that is sent                          */
    struct expected expected;
    struct l2capif_request request;     /* its req_id is its id, too                                             */
    struct l2capif_response response;
    struct vl2cap_object *accepting;    /* of a listener: the channel whose ACCEPT waits for vl2cap_accept()     */

    /* Of an object with a data ring. */
    unsigned order;                     /* of its ring, 0 if it has none                                         */
    unsigned page_count;                /* that are shared now                                                   */
    struct os_page pages[RING_PAGES];
    uint32_t port;
    struct data_ring ring;
    uint8_t *copy;                      /* what was left to read when the backend went away                      */
    int end;                            /* why the ring has ended, 0 if it has not                               */
    bool broken;                        /* the ring may not be touched any more                                  */
    bool has_sent, shut;                /* messages; and the end of our half                                     */
    bool unseen;                        /* something may be there that will bring no event                       */
};

struct vl2cap {
    struct os *os;
    uint32_t number;                    /* of device/vl2cap/<number>                                             */
    uint32_t spin_us;

    /* The device in xenstore. */
    enum xenbus_state state;            /* ours; UNKNOWN while there is no device                                */
    char backend[PATH_SIZE];            /* the backend's directory                                               */
    uint32_t backend_domid;
    uint64_t pause_us, closed_until_us; /* after a fault the device stays Closed, or is not looked at, for a while */
    bool cannot_write;                  /* our state, the last time                                              */
    bool again;                         /* device_follow() has more to do                                               */
    bool leaving;                       /* by vl2cap_close()                                                     */

    /* The connection, from our offer until the backend has let go of it. */
    bool offered;                       /* `page` is shared and `port` allocated                                 */
    bool connected;                     /* requests may be sent                                                  */
    struct os_page page;
    uint32_t port;
    struct command_ring ring;
    unsigned max_order;                 /* of data rings                                                         */
    bool knows_info_wait, knows_echo;   /* nodes of the backend                                                  */

    /* INFO. */
    uint32_t info_id;                   /* of the INFO that has no answer, 0 if none has                         */
    uint32_t generation;
    uint64_t ask_at_us;                 /* when a backend that does not tell by itself is asked again; 0: not    */
    bool told;                          /* `info` is this connection's                                           */
    struct vl2cap_info info;

    struct vl2cap_object *objects;
    uint32_t last_id;
    bool to_send;                       /* there is a request that has not been sent                             */
    bool unseen;                        /* a call that waited has taken events, which may be of any object       */

    struct vl2cap_failure failure;
    char trouble[128];                  /* why the last connection ended or could not be made; "": it did not    */
};

/* error.c: notes a failure, and returns it. */
#ifdef __GNUC__
__attribute__((format(printf, 3, 4)))
#endif
int failure_note(struct vl2cap *device, int error, const char *format, ...);

/* Notes why there is no object, as the response to its request says, and returns that error. */
int failure_of(const struct vl2cap_object *object);

/* handshake.c */
int handshake_begin(struct vl2cap *device);
void handshake_follow(struct vl2cap *device);                               /* xenstore has changed              */
void handshake_break_off(struct vl2cap *device, const char *reason);        /* the backend broke a rule          */
bool handshake_leave(struct vl2cap *device);    /* begins to close; returns whether the backend has to follow    */
void handshake_end(struct vl2cap *device);      /* lets go of everything, whatever the backend does              */

/* device.c */

/*
 * Calls `attempt` until it returns anything but VL2CAP_NOT_YET, and serves the device in between. `arm`: whether what is
 * waited for has to bring an event. Returns VL2CAP_NOT_YET when the time is over, or VL2CAP_EIO.
 */
int device_wait(struct vl2cap *device, int (*attempt)(void *argument, bool arm), void *argument, int timeout_ms);

/* The same, but a signal ends it only if the time has no limit: for what a program cannot call again. */
int device_wait_out(struct vl2cap *device, int (*attempt)(void *argument, bool arm), void *argument, int timeout_ms);

/* commands.c */
uint32_t commands_new_id(struct vl2cap *device);
void commands_send(struct vl2cap *device);
void commands_receive(struct vl2cap *device);
void commands_ask_info(struct vl2cap *device);

/* object.c */

/*
 * How to make an object. `request`: without what is filled in then: its ids, and the grant reference and port of a data
 * ring, if `order` is not 0, or of a page with `lent` in it, which is taken back with the answer.
 */
struct making {
    struct l2capif_request request;
    struct expected expected;
    unsigned order;
    const void *lent[2];
    size_t lent_size[2];
    bool over_when_answered, nonblocking;
};

/* Makes an object, and waits for the answer unless `nonblocking`. Returns 0, or the failure and no object. */
int object_make(struct vl2cap *device, const struct making *making, struct vl2cap_object **object);

/* Notes that requests have no answer any more, and that rings end, as the backend is gone. */
void objects_lose(struct vl2cap *device);

/* Takes all pages back, after the backend has let go of them, and frees the objects that the program has released. */
void objects_let_go(struct vl2cap *device);

/* Frees an object that the backend has let go of. */
void object_free(struct vl2cap_object *object);

/* Whether what a program has to leave 0 is 0. */
bool is_reserved(const uint32_t reserved[4]);

/* Takes the pages and the port of an object back. */
void object_unshare(struct vl2cap_object *object);

/* stream.c */

/* Sends or receives one message of a data ring. `longest`: what the backend may send at most. */
int stream_send(struct vl2cap_object *object, const void *message, size_t length, int timeout_ms);
int stream_receive(struct vl2cap_object *object, void *message, size_t size, uint32_t longest, int timeout_ms);

/* Bits of enum vl2cap_poll_events that there are, of those in `events`. */
short stream_poll(struct vl2cap_object *object, short events, bool arm);

/* Ends our half, and drops what comes, until the backend has sent everything on. */
void stream_finish(struct vl2cap_object *object, int timeout_ms);

/* channel.c: whether vl2cap_accept() of a listener has something; asks for the next peer if that was not done. */
short channel_poll_listener(struct vl2cap_object *listener);

/* The smallest order of a ring that holds four messages each way, or the backend's largest that holds one; 0: none. */
unsigned stream_order(const struct vl2cap *device, uint32_t longest);

#endif
