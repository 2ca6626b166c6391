/*
 * L2CAP channels over a serial line, for programs that have nothing else: docs/serial.md, which this header belongs to.
 *
 * C89; no memory is allocated, nothing is read or written, and no clock looked at: the program moves octets between
 * its line and vls_input() and vls_output(), and says what time it is. All that is remembered is in a struct vls.
 * int may have 16 bits.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef VL2CAP_SERIAL_H
#define VL2CAP_SERIAL_H

/* ------------------------------------------------------------------------------------------------- the protocol -- */

#define VLS_VERSION         1
#define VLS_WINDOW          4       /* frames without an acknowledgement       */
#define VLS_HEADER_SIZE     6
#define VLS_MAX_PAYLOAD     240
#define VLS_FCS_SIZE        4
#define VLS_MAX_CREDITS     255

#define VLS_FLAG            0x7E
#define VLS_ESCAPE          0x7D
#define VLS_ESCAPED         0x20    /* an octet after VLS_ESCAPE is XOR this   */
#define VLS_XON             0x11
#define VLS_XOFF            0x13

#define VLS_FROM_BRIDGE     0x80    /* in the kinds of frames from the bridge  */
#define VLS_FIRST_NUMBERED  0x10
#define VLS_KIND_OPEN       0x01
#define VLS_KIND_OPENED     0x02
#define VLS_KIND_CLOSED     0x03
#define VLS_KIND_ACK        0x04
#define VLS_KIND_REPEAT     0x05
#define VLS_KIND_NOTHING    0x10
#define VLS_KIND_REQUEST    0x11
#define VLS_KIND_RESPONSE   0x12
#define VLS_KIND_MORE       0x13
#define VLS_KIND_LAST       0x14
#define VLS_KIND_CREDIT     0x15
#define VLS_KIND_END        0x16

#define VLS_CMD_INFO        0
#define VLS_CMD_CONNECT     1
#define VLS_CMD_LISTEN      2
#define VLS_CMD_ACCEPT      3
#define VLS_CMD_RELEASE     4
#define VLS_CMD_SCAN        5
#define VLS_CMD_ADVERTISE   6
#define VLS_CMD_ECHO        8

#define VLS_CONNECT_FIXED   0x01
#define VLS_SCAN_ACTIVE     0x01
#define VLS_SCAN_DUPLICATES 0x02
#define VLS_ADVERTISE_CONNECTABLE 0x01

#define VLS_FEATURE_BREDR     0x01
#define VLS_FEATURE_LE        0x02
#define VLS_FEATURE_SCAN      0x04
#define VLS_FEATURE_ADVERTISE 0x08
#define VLS_FEATURE_AGENT     0x10
#define VLS_FEATURE_ECHO      0x20

#define VLS_ADDR_BREDR      0
#define VLS_ADDR_LE_PUBLIC  1
#define VLS_ADDR_LE_RANDOM  2
#define VLS_TRANSPORT_BREDR 0
#define VLS_TRANSPORT_LE    1
#define VLS_MAX_AD_SIZE     31
#define VLS_MAX_ECHO_SIZE   36
#define VLS_REPORT_SIZE     20      /* before the data of a report             */

/* Errors: negative, those of Xen, which are Linux's. */
#define VLS_EPERM           (-1)
#define VLS_EAGAIN          (-11)   /* also of vls_send(), vls_recv(): later   */
#define VLS_EACCES          (-13)
#define VLS_EEXIST          (-17)
#define VLS_ENODEV          (-19)   /* also: the session is over               */
#define VLS_EINVAL          (-22)
#define VLS_EMFILE          (-24)
#define VLS_EBADMSG         (-74)
#define VLS_EOPNOTSUPP      (-95)
#define VLS_EADDRINUSE      (-98)
#define VLS_ENOBUFS         (-105)
#define VLS_ENOTCONN        (-107)
#define VLS_ETIMEDOUT       (-110)
#define VLS_ECONNREFUSED    (-111)

/* ---------------------------------------------------------------------------------------------------- the client -- */

/* A program may choose these, as long as its own files and vl2cap_serial.c agree. */
#ifndef VLS_OBJECTS
#define VLS_OBJECTS         4       /* ids are 1 to this                       */
#endif
#ifndef VLS_MTU
#define VLS_MTU             1024    /* octets of the longest SDU, at least 80  */
#endif
#ifndef VLS_CREDITS
#define VLS_CREDITS         2       /* SDUs of a channel that wait to be read  */
#endif
#ifndef VLS_REPEAT_MS
#define VLS_REPEAT_MS       500UL   /* four times that below 38,400 baud       */
#endif

#define VLS_MAX_CONTENT     (VLS_HEADER_SIZE + VLS_MAX_PAYLOAD)
#define VLS_MAX_LINE        (2 * (VLS_MAX_CONTENT + VLS_FCS_SIZE) + 2)

/* The states of an object. */
#define VLS_FREE            0       /* after an error in its request, ret says which */
#define VLS_ASKED           1       /* its request has no response yet         */
#define VLS_OPEN            2
#define VLS_ENDED           3       /* by itself, ret says why; it is to be released */
#define VLS_RELEASING       4

struct vls_info {
    unsigned char addr[6], addr_type, powered;
    unsigned long features;
    unsigned int max_channels, channels, max_mtu;
    unsigned char le_addr[6], le_type;
};

struct vls_peer {
    unsigned char addr[6], addr_type, security;
    unsigned int psm, tx_mtu, rx_mtu;
    unsigned int result;            /* L2CAP's, with VLS_ECONNREFUSED          */
    unsigned char status, why, needed;
};

/* A channel, listener, scan, advertisement or echo. A program reads state, ret, peer, and of an echo
 * in_length[0] octets of in[0]; the rest is the client's. */
struct vls_object {
    int state;
    int ret;
    struct vls_peer peer;           /* of a channel                            */
    unsigned int credits;           /* SDUs that the bridge takes              */
    unsigned int out_length, out_offset, body_length;
    unsigned int first, count, part;
    unsigned int in_length[VLS_CREDITS];
    unsigned char command, flags, asked, sending, release, owed, lost;
    unsigned char in[VLS_CREDITS][VLS_MTU];
    unsigned char out[VLS_MTU];     /* a request's body, then an SDU           */
};

struct vls_frame {
    unsigned int length;
    unsigned char content[VLS_MAX_CONTENT];
};

struct vls {
    unsigned int session;           /* 0: none; one is being opened            */
    unsigned int sessions;          /* how many there have been                */
    int refused;                    /* the version that the bridge speaks, if it is another */
    int info_ret;                   /* of vls_ask_info(): VLS_EAGAIN until there is an answer */
    struct vls_info info;
    unsigned long garbled, repeated; /* frames                                 */
    struct vls_object objects[VLS_OBJECTS];

    unsigned long cookie, due, since, pause; /* milliseconds                   */
    unsigned char has_due, open_due, close_due, info_due, info_waits, reply, ahead;
    unsigned char base, expected;
    unsigned int tried, sent, waiting, turn; /* frames of the window           */
    unsigned int closing;           /* the session that is to be closed        */
    struct vls_frame window[VLS_WINDOW];
    unsigned int got;               /* octets of the frame that is coming      */
    unsigned char escaped, overlong;
    unsigned char frame[VLS_MAX_CONTENT + VLS_FCS_SIZE];
};

/* cookie: another one at each start, if the program can: the time. */
void vls_init(struct vls *v, unsigned long cookie);

/* Takes octets from the line. now: milliseconds of any clock; it may wrap at 2^32. */
void vls_input(struct vls *v, const unsigned char *octets, unsigned int length, unsigned long now);

/* Puts the next octets for the line into octets[VLS_MAX_LINE]: returns how many, 0 if there are none now. It is called
 * until it returns 0, and again after vls_input(), after any call below, and after vls_wait() milliseconds. */
unsigned int vls_output(struct vls *v, unsigned char *octets, unsigned long now);
unsigned long vls_wait(const struct vls *v, unsigned long now);

/* Asks what the adapter is: info_ret is VLS_EAGAIN until info is there. */
void vls_ask_info(struct vls *v);

/* Requests: each makes an object, which is VLS_ASKED then. Return 0, or VLS_EEXIST, VLS_EINVAL. id: 1 to VLS_OBJECTS. */
int vls_connect(struct vls *v, unsigned int id, const unsigned char *addr, unsigned int addr_type, unsigned int psm,
                unsigned int security, unsigned int flags, unsigned long timeout_ms);
int vls_listen(struct vls *v, unsigned int id, unsigned int transport, unsigned int psm, unsigned int security);
int vls_accept(struct vls *v, unsigned int id, unsigned int listener);
int vls_scan(struct vls *v, unsigned int id, unsigned int transport, unsigned int flags);
int vls_advertise(struct vls *v, unsigned int id, const unsigned char *data, unsigned int length, unsigned int flags);
int vls_echo(struct vls *v, unsigned int id, const unsigned char *addr, const unsigned char *data, unsigned int length,
             unsigned long timeout_ms);

/* Ends an object, after what was sent: it is VLS_FREE when that is done. Returns 0, or VLS_EINVAL. */
int vls_release(struct vls *v, unsigned int id);

/* Sends an SDU: 0; VLS_EAGAIN if the one before is not on its way yet; VLS_EINVAL if it is longer than tx_mtu or VLS_MTU;
 * or why the channel has ended. */
int vls_send(struct vls *v, unsigned int id, const unsigned char *sdu, unsigned int length);

/* Copies the next SDU, or report, and returns its length; VLS_EAGAIN if there is none; why the channel has ended; or
 * VLS_EINVAL if it does not fit into size octets. */
int vls_recv(struct vls *v, unsigned int id, unsigned char *sdu, unsigned int size);

/* Ends the session: vls_output() says so to the bridge, once. */
void vls_close(struct vls *v);

#endif
