/* SPDX-License-Identifier: MIT */
/*
 * libvl2cap: Bluetooth L2CAP channels for programs in a Xen guest.
 *
 * The guest has a device of the class vl2cap, whose backend usbbtd serves in a driver domain. A program opens the
 * device, and makes objects through it: channels, listeners, scans, advertisements, agents, pairings and echoes.
 *
 *     struct vl2cap *device;
 *     struct vl2cap_object *channel;
 *     struct vl2cap_connect to = {.psm = 0x1001, .mtu = 1024};
 *
 *     vl2cap_address_parse("C0:FF:EE:00:00:11", VL2CAP_BREDR, &to.peer);
 *     if (!vl2cap_open(&device, NULL) && !vl2cap_wait_ready(device, 10000) && !vl2cap_connect(device, &to, &channel))
 *         vl2cap_send(channel, "one SDU", 7, VL2CAP_FOREVER);
 *
 * Calls return 0 or a length, or a negative number of enum vl2cap_error; vl2cap_failure() then says more.
 *
 * Calls that wait have `timeout_ms`: how long at most, 0 for not at all, VL2CAP_FOREVER for without limit. If it was not
 * long enough, or a signal came, they return VL2CAP_NOT_YET, nothing is lost, and they may be called again. While one
 * waits, the whole device is served. A program with an event loop of its own waits for vl2cap_event() instead, for
 * vl2cap_timeout() at most, calls vl2cap_process(), and then what it waits for with a timeout of 0, once or until it
 * returns VL2CAP_NOT_YET. The event comes for what is new; for what may be left, after a call that took something or one
 * that waited, vl2cap_timeout() is 0 until vl2cap_process(). What is not taken then is left on purpose, and neither comes
 * for it again. vl2cap_poll() with a timeout of 0 finds what objects have.
 *
 * The library has no threads, no global state and no signal handlers. A device and its objects belong to one thread at
 * a time. In structures that a program fills in, what it does not use is 0, so that later fields have a meaning.
 */

#ifndef VL2CAP_H
#define VL2CAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) && defined(VL2CAP_SHARED)
#define VL2CAP_API __declspec(dllimport)
#elif defined(_WIN32) && defined(VL2CAP_BUILD)
#define VL2CAP_API __declspec(dllexport)
#elif defined(__GNUC__)
#define VL2CAP_API __attribute__((visibility("default")))
#else
#define VL2CAP_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define VL2CAP_FOREVER (-1)

/* A device of this guest, and something made through it. */
struct vl2cap;
struct vl2cap_object;

/* What a program waits for: a descriptor that becomes readable, or on Windows a HANDLE that becomes signalled. */
#ifdef _WIN32
typedef void *vl2cap_event_t;
#else
typedef int vl2cap_event_t;
#endif

/*
 * Errors. Those above -4096 are Xen's numbers, which the backend gives, or the library in the same sense; on Linux they
 * are errno's. Backends may give others.
 */
enum vl2cap_error {
    VL2CAP_EPERM = -1,          /* the link is not as secure as it has to be: see `why` and `needed`             */
    VL2CAP_EIO = -5,            /* the operating system's part failed                                            */
    VL2CAP_EAGAIN = -11,        /* this guest has connected too often in the last minute                         */
    VL2CAP_ENOMEM = -12,
    VL2CAP_EACCES = -13,        /* the driver domain's policy does not allow it                                  */
    VL2CAP_EFAULT = -14,        /* the driver domain cannot map our pages                                        */
    VL2CAP_EBUSY = -16,         /* another program of this guest has the device                                  */
    VL2CAP_ENODEV = -19,        /* the driver domain has no Bluetooth controller now                             */
    VL2CAP_EINVAL = -22,        /* an argument is not legal                                                      */
    VL2CAP_EMFILE = -24,        /* a limit of this guest is reached                                              */
    VL2CAP_EBADMSG = -74,       /* the peer or the backend broke the protocol                                    */
    VL2CAP_EMSGSIZE = -90,      /* the SDU is longer than tx_mtu, or than the buffer, and stays where it is      */
    VL2CAP_EOPNOTSUPP = -95,    /* not known to this backend, or not possible with this controller or object     */
    VL2CAP_EADDRINUSE = -98,    /* the PSM or fixed channel is taken                                             */
    VL2CAP_ENOBUFS = -105,      /* the channel has ended, because this program did not read                      */
    VL2CAP_ENOTCONN = -107,     /* the channel has ended in order                                                */
    VL2CAP_ETIMEDOUT = -110,    /* the peer did not answer, or the link was lost: see `status`                   */
    VL2CAP_ECONNREFUSED = -111, /* the peer refused: see `result`                                                */
    VL2CAP_NOT_YET = -4096,     /* nothing within `timeout_ms`: call again                                       */
    VL2CAP_GONE = -4097,        /* the backend went away, or is not there yet: vl2cap_wait_ready()               */
    VL2CAP_NO_XEN = -4098,      /* no Xen here, or this program may not use its devices                          */
    VL2CAP_NO_DRIVER = -4099    /* Windows: xencontrol.dll of Xen's drivers is not there, or too old             */
};

/* How a call failed. */
struct vl2cap_failure {
    int error;                  /* enum vl2cap_error, or another number of the backend                           */
    uint16_t result;            /* VL2CAP_ECONNREFUSED: the peer's L2CAP result: Vol 3, Part A, 4.3 and 4.23     */
    uint8_t status;             /* VL2CAP_ETIMEDOUT: the HCI status, 0 if there is none                          */
    uint8_t why;                /* VL2CAP_EPERM: enum vl2cap_why                                                 */
    uint8_t needed;             /* VL2CAP_EPERM: the level that was needed                                       */
    char text[256];             /* for people, in one line: what was asked, and what is wrong                    */
};

/* The failure of the last call of this device, or of an object of it, that failed. Valid until the next. VL2CAP_NOT_YET
 * is no failure, but of vl2cap_wait_connected() and vl2cap_wait_ready(). */
VL2CAP_API const struct vl2cap_failure *vl2cap_failure(const struct vl2cap *device);

/* What a negative number says, also without a device, as when vl2cap_open() has failed. */
VL2CAP_API const char *vl2cap_strerror(int error);

/* ------------------------------------------------------------------------------------------------------ Addresses */

enum vl2cap_address_type {
    VL2CAP_BREDR = 0,
    VL2CAP_LE_PUBLIC = 1,
    VL2CAP_LE_RANDOM = 2
};

enum vl2cap_transport {
    VL2CAP_TRANSPORT_BREDR = 0,
    VL2CAP_TRANSPORT_LE = 1
};

struct vl2cap_address {
    uint8_t octets[6];          /* the least significant first, as in HCI                                        */
    uint8_t type;               /* enum vl2cap_address_type, which says the transport, too                       */
};

#define VL2CAP_ADDRESS_TEXT 18  /* octets of a text such as C0:FF:EE:00:00:11, with its end                      */

/* Returns VL2CAP_EINVAL if the text is no address, or the type is none. */
VL2CAP_API int vl2cap_address_parse(const char *text, uint8_t type, struct vl2cap_address *address);
VL2CAP_API void vl2cap_address_format(const struct vl2cap_address *address, char text[VL2CAP_ADDRESS_TEXT]);

/* --------------------------------------------------------------------------------------------------------- Device */

struct vl2cap_options {
    uint32_t device;            /* the number N of device/vl2cap/N                                               */
    uint32_t spin_us;           /* how long a call that waits looks itself before it sleeps, 1000 at most        */
    uint32_t reserved[4];
};

/*
 * Opens a device, and begins to connect to its backend. `options`: NULL for device 0.
 * Returns VL2CAP_NO_XEN, VL2CAP_NO_DRIVER, VL2CAP_EBUSY, VL2CAP_ENOMEM, VL2CAP_EINVAL, VL2CAP_EIO (too many open files).
 */
VL2CAP_API int vl2cap_open(struct vl2cap **device, const struct vl2cap_options *options);

/*
 * Writes why vl2cap_open() has returned `error`, for people, in one line that is cut to `size` with its end. On Linux it
 * looks for the file of Xen's that is missing or may not be opened, and names it with what helps.
 */
VL2CAP_API void vl2cap_explain_open(int error, char *text, size_t size);

/* Ends all objects and the connection, in order if the backend follows within 2 s. The objects are not valid any more. */
VL2CAP_API void vl2cap_close(struct vl2cap *device);

/*
 * Waits until the backend is connected; vl2cap_wait_ready() until its controller works, too.
 *
 * When the backend goes away, as when usbbtd is started again, the library connects again by itself. All objects have
 * failed then, with VL2CAP_GONE; the program releases them, waits here, and makes new ones.
 * Returns VL2CAP_NOT_YET; vl2cap_failure() says what is missing.
 */
VL2CAP_API int vl2cap_wait_connected(struct vl2cap *device, int timeout_ms);
VL2CAP_API int vl2cap_wait_ready(struct vl2cap *device, int timeout_ms);

/*
 * For the program's own loop: wait for the event, at most vl2cap_timeout() ms (-1: no limit), then vl2cap_process(), and
 * look at the objects. Ask for the timeout right before each wait: calls change it.
 */
VL2CAP_API vl2cap_event_t vl2cap_event(const struct vl2cap *device);
VL2CAP_API int vl2cap_timeout(const struct vl2cap *device);

/* Does what there is to do for the device, without waiting. Returns VL2CAP_EIO if the operating system fails. */
VL2CAP_API int vl2cap_process(struct vl2cap *device);

/* Bits of `features`. */
enum vl2cap_feature {
    VL2CAP_FEATURE_BREDR = 1 << 0,
    VL2CAP_FEATURE_LE = 1 << 1,
    VL2CAP_FEATURE_SCAN = 1 << 2,
    VL2CAP_FEATURE_ADVERTISE = 1 << 3,
    VL2CAP_FEATURE_AGENT = 1 << 4,              /* links can be made secure now                                  */
    VL2CAP_KNOWS_SECURITY = 1 << 16,            /* these: what the backend knows, with any controller            */
    VL2CAP_KNOWS_FIXED = 1 << 17,
    VL2CAP_KNOWS_AGENT = 1 << 18,
    VL2CAP_KNOWS_SCAN_EXTENDED = 1 << 19,
    VL2CAP_KNOWS_ADVERTISE_EXTENDED = 1 << 20
};

struct vl2cap_info {
    struct vl2cap_address address;      /* BR/EDR peers see it                                                   */
    struct vl2cap_address le_address;   /* LE peers see it; all zeros if there is none                           */
    bool powered;                       /* there is a controller, and it works                                   */
    uint32_t features;                  /* enum vl2cap_feature                                                   */
    uint32_t max_channels;              /* that this guest may have                                              */
    uint32_t channels;                  /* that it had when the backend last told                                */
    uint16_t max_mtu;
    uint32_t backend_domain;
    uint32_t reserved[4];
};

/* What the backend told last, which it does when something changes. Returns VL2CAP_GONE if it is not connected. */
VL2CAP_API int vl2cap_info(struct vl2cap *device, struct vl2cap_info *info);

/* -------------------------------------------------------------------------------------------------------- Objects */

/* Least levels of security: see docs/l2capif.md. */
enum vl2cap_security {
    VL2CAP_SECURITY_NONE = 0,
    VL2CAP_SECURITY_ENCRYPTED = 2,
    VL2CAP_SECURITY_MITM = 3,           /* and whoever paired made sure that nobody was in between               */
    VL2CAP_SECURITY_SC = 4              /* and by Secure Connections, with a key of 16 octets                    */
};

/* What was missing for a level. */
enum vl2cap_why {
    VL2CAP_WHY_UNKNOWN = 0,
    VL2CAP_WHY_NO_AGENT = 1,
    VL2CAP_WHY_KEY_MISSING = 2,
    VL2CAP_WHY_REFUSED_HERE = 3,
    VL2CAP_WHY_REFUSED_BY_PEER = 4,
    VL2CAP_WHY_NO_MATCH = 5,
    VL2CAP_WHY_NO_ANSWER = 6,
    VL2CAP_WHY_NO_MITM = 7,
    VL2CAP_WHY_NO_SC = 8,
    VL2CAP_WHY_KEY_SIZE = 9,
    VL2CAP_WHY_WEAKER = 10,
    VL2CAP_WHY_LOCKED_OUT = 11,
    VL2CAP_WHY_LINK_ENDED = 12,
    VL2CAP_WHY_NOT_SUPPORTED = 13
};

/* The words for enum vl2cap_why. */
VL2CAP_API const char *vl2cap_why_text(uint8_t why);

/*
 * What makes an object stores it in *object and waits until the backend has answered; with an error there is no object.
 * With `nonblocking` it returns 0 at once, and vl2cap_wait() has the answer.
 *
 * Returns VL2CAP_EINVAL for what is not legal, VL2CAP_GONE, VL2CAP_ENOMEM, VL2CAP_EMFILE, and what the backend answers.
 */

/* Waits for the answer of an object that was made with `nonblocking`. Returns 0, or how it failed; release it then. */
VL2CAP_API int vl2cap_wait(struct vl2cap_object *object, int timeout_ms);

/*
 * Ends an object of any kind, which is not valid any more. `linger_ms`: how long a channel waits until the peer has
 * taken what was sent, also if signals come; with 0 that may be lost. NULL is passed over.
 */
VL2CAP_API void vl2cap_release(struct vl2cap_object *object, int linger_ms);

/* A program's own word about an object, for loops that serve several. NULL until it is set. */
VL2CAP_API void vl2cap_set_user(struct vl2cap_object *object, void *user);
VL2CAP_API void *vl2cap_user(const struct vl2cap_object *object);

enum vl2cap_poll_events {
    VL2CAP_POLLIN = 1,      /* vl2cap_recv*(), vl2cap_accept() or a result has something, which may be an error  */
    VL2CAP_POLLOUT = 2      /* a channel is open and has room for an SDU of tx_mtu, or has ended                 */
};

struct vl2cap_poll {
    struct vl2cap_object *object;   /* NULL: passed over                                                         */
    short events;                   /* enum vl2cap_poll_events that are waited for                               */
    short revents;                  /* those that there are                                                      */
};

/* Waits until something is there for an object. Returns for how many, or VL2CAP_NOT_YET. */
VL2CAP_API int vl2cap_poll(struct vl2cap *device, struct vl2cap_poll *objects, unsigned count, int timeout_ms);

/* ------------------------------------------------------------------------------------------- Channels, listeners */

#define VL2CAP_CID_ATT 0x0004

struct vl2cap_connect {
    struct vl2cap_address peer;
    uint16_t psm;               /* PSM on BR/EDR, SPSM on LE                                                     */
    uint16_t mtu;               /* the longest SDU to receive; 0: 2048, or what fits in the largest ring         */
    uint32_t timeout_ms;        /* how long the backend tries, 60000 at most; 0: 20000                           */
    uint8_t security;           /* enum vl2cap_security                                                          */
    bool fixed;                 /* `psm` is the CID of a fixed channel of LE, such as VL2CAP_CID_ATT             */
    bool nonblocking;
    uint32_t reserved[4];
};

VL2CAP_API int vl2cap_connect(struct vl2cap *device, const struct vl2cap_connect *to, struct vl2cap_object **channel);

struct vl2cap_listen {
    uint16_t psm;
    uint16_t mtu;               /* as in vl2cap_connect                                                          */
    uint16_t backlog;           /* peers that may wait for vl2cap_accept(); 0: the backend's limit               */
    uint8_t transport;          /* enum vl2cap_transport                                                         */
    uint8_t security;           /* least level of a peer's link                                                  */
    bool nonblocking;
    uint32_t reserved[4];
};

VL2CAP_API int vl2cap_listen(struct vl2cap *device, const struct vl2cap_listen *on, struct vl2cap_object **listener);

/* Waits for the next peer of a listener. */
VL2CAP_API int vl2cap_accept(struct vl2cap_object *listener, struct vl2cap_object **channel, int timeout_ms);

struct vl2cap_channel {
    struct vl2cap_address peer;
    uint16_t psm;               /* or CID                                                                        */
    uint16_t tx_mtu;            /* the longest SDU that may be sent                                              */
    uint16_t rx_mtu;            /* the longest SDU that can come                                                 */
    uint8_t security;           /* the level that the link had when the channel opened                           */
    uint32_t reserved[2];
};

/* The facts of an open channel. Returns VL2CAP_EOPNOTSUPP if the object is none. */
VL2CAP_API int vl2cap_channel(const struct vl2cap_object *object, struct vl2cap_channel *channel);

/*
 * Sends one SDU, which may have 0 octets: waits while the way to the peer is full. Returns 0 when it is on its way.
 * Returns VL2CAP_EMSGSIZE, or why the channel has ended.
 */
VL2CAP_API int vl2cap_send(struct vl2cap_object *channel, const void *sdu, size_t length, int timeout_ms);

/* Receives one SDU, and returns its length; when none is left, why the channel has ended. */
VL2CAP_API int vl2cap_recv(struct vl2cap_object *channel, void *sdu, size_t size, int timeout_ms);

/*
 * Sends nothing more: the peer gets what was sent, then the channel ends, both ways, with VL2CAP_ENOTCONN. L2CAP has no
 * half-closed channels, so a program that wants an answer receives it before. Returns 0.
 */
VL2CAP_API int vl2cap_shutdown(struct vl2cap_object *channel);

/* --------------------------------------------------------------------------------------------- Scan and advertise */

struct vl2cap_scan {
    uint8_t transport;          /* enum vl2cap_transport; BR/EDR needs VL2CAP_KNOWS_SCAN_EXTENDED                */
    bool active;                /* ask for scan responses, or for names                                          */
    bool duplicates;            /* report a device each time                                                     */
    bool nonblocking;
    uint32_t reserved[4];
};

VL2CAP_API int vl2cap_scan(struct vl2cap *device, const struct vl2cap_scan *how, struct vl2cap_object **scan);

#define VL2CAP_RSSI_UNKNOWN 127
#define VL2CAP_REPORT_DATA 1650

enum vl2cap_report_source {
    VL2CAP_REPORT_ADVERTISING = 0,      /* LE: AD structures                                                     */
    VL2CAP_REPORT_INQUIRY = 1,          /* BR/EDR: EIR, which are AD structures, too                             */
    VL2CAP_REPORT_NAME = 2              /* BR/EDR: the device's name                                             */
};

struct vl2cap_report {
    struct vl2cap_address address;
    uint8_t source;                     /* enum vl2cap_report_source: what `data` is                             */
    int8_t rssi;                        /* dBm                                                                   */
    uint16_t event_type;                /* LE: as in HCI LE Advertising Report: Vol 4, Part E, 7.7.65.2          */
    uint32_t class_of_device;           /* BR/EDR                                                                */
    uint16_t length;                    /* octets of `data`                                                      */
    uint8_t data[VL2CAP_REPORT_DATA];
};

/* Receives one report of a scan. Returns 0. */
VL2CAP_API int vl2cap_recv_report(struct vl2cap_object *scan, struct vl2cap_report *report, int timeout_ms);

/* Copies the name in a report, cut to `size` with its end, UTF-8 as it came. Returns its length, 0 if there is none. */
VL2CAP_API int vl2cap_report_name(const struct vl2cap_report *report, char *name, size_t size);

struct vl2cap_advertise {
    const void *data;                   /* AD structures: Vol 3, Part C, 11                                      */
    const void *scan_data;              /* more of them, for who asks                                            */
    uint16_t length, scan_length;       /* 31 can always be sent; up to VL2CAP_REPORT_DATA with Bluetooth 5      */
    uint16_t interval_ms;               /* 20 to 10240; 0: 100                                                   */
    bool connectable;
    bool nonblocking;
    uint32_t reserved[4];
};

VL2CAP_API int vl2cap_advertise(struct vl2cap *device, const struct vl2cap_advertise *what,
                                struct vl2cap_object **advertisement);

/* -------------------------------------------------------------------------------------------------------- Pairing */

enum vl2cap_io_capability {
    VL2CAP_IO_DISPLAY_ONLY = 0,
    VL2CAP_IO_DISPLAY_YES_NO = 1,
    VL2CAP_IO_KEYBOARD_ONLY = 2,
    VL2CAP_IO_NONE = 3,
    VL2CAP_IO_KEYBOARD_DISPLAY = 4
};

struct vl2cap_agent {
    uint8_t io_capability;      /* what the user can do: enum vl2cap_io_capability                               */
    bool nonblocking;
    uint32_t reserved[4];
};

/*
 * Makes this program one that can pair. While it has an agent, channels and vl2cap_pair() may cause prompts; so that
 * they can be answered, make those objects with `nonblocking`, and vl2cap_poll() them with the agent.
 */
VL2CAP_API int vl2cap_agent(struct vl2cap *device, const struct vl2cap_agent *who, struct vl2cap_object **agent);

enum vl2cap_prompt_kind {
    VL2CAP_PROMPT_WITHDRAWN = 0,        /* the prompt `number` is over: `why`                                    */
    VL2CAP_PROMPT_CONSENT = 1,          /* may this peer, which began, pair?                                     */
    VL2CAP_PROMPT_CONFIRM = 2,          /* does the peer show the same six digits, `value`?                      */
    VL2CAP_PROMPT_DISPLAY = 3,          /* the six digits `value` have to be entered at the peer: no answer      */
    VL2CAP_PROMPT_ENTER_PASSKEY = 4,    /* which six digits does the peer show? `value` of the answer            */
    VL2CAP_PROMPT_ENTER_PIN = 5         /* which PIN does an old peer expect? `pin` of the answer                */
};

struct vl2cap_prompt {
    struct vl2cap_address peer;
    uint32_t number;
    uint32_t value;                     /* 0 to 999999                                                           */
    uint32_t timeout_ms;                /* for how long an answer counts                                         */
    uint8_t kind;                       /* enum vl2cap_prompt_kind                                               */
    uint8_t why;                        /* enum vl2cap_why, of one that is withdrawn                             */
};

struct vl2cap_answer {
    uint32_t number;                    /* the prompt's                                                          */
    uint32_t value;
    bool accept;                        /* false refuses                                                         */
    uint8_t pin_length;                 /* 1 to 16                                                               */
    uint8_t pin[16];
};

/* Receives one prompt. Returns 0. */
VL2CAP_API int vl2cap_recv_prompt(struct vl2cap_object *agent, struct vl2cap_prompt *prompt, int timeout_ms);
VL2CAP_API int vl2cap_send_answer(struct vl2cap_object *agent, const struct vl2cap_answer *answer, int timeout_ms);

struct vl2cap_pair {
    struct vl2cap_address peer;
    uint32_t timeout_ms;                /* 120000 at most; 0: 60000                                              */
    uint8_t security;                   /* the least level to reach; below 2 counts as 2                         */
    uint8_t oob_length;                 /* octets of `oob`: 0, 16 of legacy pairing, 32 of Secure Connections    */
    uint8_t oob[32];                    /* what came from an LE peer in another way                              */
    bool nonblocking;
    uint32_t reserved[4];
};

VL2CAP_API int vl2cap_pair(struct vl2cap *device, const struct vl2cap_pair *with, struct vl2cap_object **pairing);

struct vl2cap_paired {
    uint8_t security;                   /* the level that the link has now                                       */
    uint8_t key_size;                   /* octets; 0: not known                                                  */
    bool bonded;                        /* the driver domain keeps the key                                       */
};

/* What came of a pairing. Returns VL2CAP_NOT_YET if it is not over. */
VL2CAP_API int vl2cap_pair_result(const struct vl2cap_object *pairing, struct vl2cap_paired *paired);

/* ----------------------------------------------------------------------------------------------------------- Echo */

#define VL2CAP_ECHO_DATA 36

struct vl2cap_echo {
    struct vl2cap_address peer;         /* BR/EDR                                                                */
    uint32_t timeout_ms;                /* 60000 at most; 0: 20000                                               */
    uint8_t length;
    uint8_t data[VL2CAP_ECHO_DATA];
    bool nonblocking;
    uint32_t reserved[4];
};

/* Asks a BR/EDR device for its L2CAP echo, which every one has. */
VL2CAP_API int vl2cap_echo(struct vl2cap *device, const struct vl2cap_echo *of, struct vl2cap_object **echo);

/* Copies up to VL2CAP_ECHO_DATA octets of what the device answered with. Returns the whole length of its answer. */
VL2CAP_API int vl2cap_echo_result(const struct vl2cap_object *echo, uint8_t data[VL2CAP_ECHO_DATA]);

#ifdef __cplusplus
}
#endif

#endif
