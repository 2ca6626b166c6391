/* SPDX-License-Identifier: MIT */
/******************************************************************************
 * l2capif.h
 *
 * Bluetooth L2CAP channels for Xen guests: device class "vl2cap".
 *
 * A backend in a driver domain owns a Bluetooth controller and offers L2CAP
 * channels to frontends in other domains. This header holds the layouts;
 * docs/l2capif.md is the specification: xenstore nodes, states, commands and
 * errors. Where the two differ, this header is right.
 *
 * All integers are little-endian. Bluetooth addresses are six octets, least
 * significant octet first, as in HCI (C0:FF:EE:00:00:01 is 01 00 00 ee ff c0).
 * Fields called `pad` and bits that are not defined must be zero.
 *
 * As with Xen's other public headers, the includer brings <stdint.h>, and the
 * barriers of ring.h where it uses ring.h's macros. With L2CAPIF_WITHOUT_XEN
 * defined no header of Xen is needed: all is here but the types and macros of
 * ring.h, instead of which there is struct l2capif_ring_page.
 */

#ifndef __XEN_PUBLIC_IO_L2CAPIF_H__
#define __XEN_PUBLIC_IO_L2CAPIF_H__

#ifdef L2CAPIF_WITHOUT_XEN
#include <stdint.h>
typedef uint32_t grant_ref_t;
typedef uint32_t evtchn_port_t;
#else
#include <xen/io/ring.h>
#include <xen/grant_table.h>
#include <xen/event_channel.h>
#endif

#define L2CAPIF_VERSION              1

/*
 * Commands
 * ========
 * The command ring is one page of 64-byte requests and responses. `req_id` is
 * the frontend's and comes back unchanged; responses may overtake each other.
 * `id` names an object (channel, listener, scan, advertisement, agent) in one
 * space of numbers chosen by the frontend; it is free again after RELEASE is
 * answered.
 */
#define L2CAPIF_CMD_INFO             0   /* what the adapter is and can do     */
#define L2CAPIF_CMD_CONNECT          1   /* open a channel to a peer           */
#define L2CAPIF_CMD_LISTEN           2   /* take a PSM or SPSM                 */
#define L2CAPIF_CMD_ACCEPT           3   /* wait for the listener's next peer  */
#define L2CAPIF_CMD_RELEASE          4   /* end any object                     */
#define L2CAPIF_CMD_SCAN             5   /* stream of reports on who is there  */
#define L2CAPIF_CMD_ADVERTISE        6   /* be found by, and connectable for, LE peers */
#define L2CAPIF_CMD_AGENT            7   /* stream of pairing prompts and answers */
#define L2CAPIF_CMD_ECHO             8   /* L2CAP echo of a BR/EDR peer        */
#define L2CAPIF_CMD_PAIR             9   /* pair with a peer                   */

/* Kind of a Bluetooth address; tells the transport too. */
#define L2CAPIF_ADDR_BREDR           0
#define L2CAPIF_ADDR_LE_PUBLIC       1
#define L2CAPIF_ADDR_LE_RANDOM       2

/* Transport of a listener or a scan. */
#define L2CAPIF_TRANSPORT_BREDR      0
#define L2CAPIF_TRANSPORT_LE         1

/* Security level of a link: Core spec Vol 3, Part C, 5.2.2.8 and 10.2.1. */
#define L2CAPIF_SECURITY_NONE        0   /* 1 is the same                      */
#define L2CAPIF_SECURITY_ENCRYPTED   2
#define L2CAPIF_SECURITY_MITM        3   /* and the key authenticated          */
#define L2CAPIF_SECURITY_SC          4   /* and by Secure Connections, 16 octets */

/* What an agent's user can do: Core spec Vol 3, Part H, 2.3.2. */
#define L2CAPIF_IO_DISPLAY_ONLY      0
#define L2CAPIF_IO_DISPLAY_YES_NO    1
#define L2CAPIF_IO_KEYBOARD_ONLY     2
#define L2CAPIF_IO_NONE              3   /* neither input nor output           */
#define L2CAPIF_IO_KEYBOARD_DISPLAY  4

/* `why` a link did not reach a level, or a prompt was withdrawn. */
#define L2CAPIF_WHY_UNKNOWN          0   /* not said; of a prompt: it is over  */
#define L2CAPIF_WHY_NO_AGENT         1   /* there is no key, and no agent may pair */
#define L2CAPIF_WHY_KEY_MISSING      2   /* the peer has no key, or another one */
#define L2CAPIF_WHY_REFUSED_HERE     3   /* the agent's answer was no          */
#define L2CAPIF_WHY_REFUSED_BY_PEER  4   /* the peer does not pair now         */
#define L2CAPIF_WHY_NO_MATCH         5   /* the passkey, PIN or a check is wrong */
#define L2CAPIF_WHY_NO_ANSWER        6   /* an agent or the peer took too long */
#define L2CAPIF_WHY_NO_MITM          7   /* no way to authenticate with these IO capabilities */
#define L2CAPIF_WHY_NO_SC            8   /* one side has no Secure Connections */
#define L2CAPIF_WHY_KEY_SIZE         9   /* the key is too short               */
#define L2CAPIF_WHY_WEAKER           10  /* less than the bond that there is   */
#define L2CAPIF_WHY_LOCKED_OUT       11  /* too many pairings failed: later    */
#define L2CAPIF_WHY_LINK_ENDED       12
#define L2CAPIF_WHY_NOT_SUPPORTED    13  /* one side cannot pair or encrypt    */

/* `features` in the response to INFO. */
#define L2CAPIF_FEATURE_BREDR        (1u << 0)
#define L2CAPIF_FEATURE_LE           (1u << 1)
#define L2CAPIF_FEATURE_SCAN         (1u << 2)
#define L2CAPIF_FEATURE_ADVERTISE    (1u << 3)
#define L2CAPIF_FEATURE_AGENT        (1u << 4)
/* The same field: what the backend knows, with any controller and without. */
#define L2CAPIF_KNOWS_SECURITY       (1u << 16)  /* levels above 0, and PAIR   */
#define L2CAPIF_KNOWS_FIXED          (1u << 17)  /* L2CAPIF_CONNECT_FIXED      */
#define L2CAPIF_KNOWS_AGENT          (1u << 18)  /* AGENT                      */
#define L2CAPIF_KNOWS_SCAN_EXTENDED  (1u << 19)  /* L2CAPIF_SCAN_EXTENDED      */
#define L2CAPIF_KNOWS_ADVERTISE_EXTENDED (1u << 20)

/* `flags` of requests. */
#define L2CAPIF_INFO_WAIT            (1u << 0)   /* answer when `generation` is another */
#define L2CAPIF_SCAN_ACTIVE          (1u << 0)   /* ask for scan responses     */
#define L2CAPIF_SCAN_DUPLICATES      (1u << 1)   /* report every advertisement */
#define L2CAPIF_SCAN_EXTENDED        (1u << 2)   /* in struct l2capif_report   */
#define L2CAPIF_CONNECT_FIXED        (1u << 0)   /* psm is the CID of a fixed channel */
#define L2CAPIF_ADVERTISE_CONNECTABLE (1u << 0)
#define L2CAPIF_ADVERTISE_EXTENDED   (1u << 1)   /* struct l2capif_advertise_extended */
#define L2CAPIF_PAIR_OOB             (1u << 0)   /* oob[] is the peer's        */
#define L2CAPIF_PAIR_OOB_TK          (1u << 1)   /* oob[] begins with a legacy TK */

#define L2CAPIF_ADVERTISE_DATA_SIZE  31
#define L2CAPIF_EXTENDED_DATA_SIZE   1650        /* Vol 4, Part E, 7.8.54      */
#define L2CAPIF_ECHO_DATA_SIZE       36
#define L2CAPIF_OOB_SIZE             32
#define L2CAPIF_PIN_SIZE             16

struct l2capif_info {
    uint32_t generation;        /* with L2CAPIF_INFO_WAIT: the last one seen   */
    uint8_t pad[44];
};

struct l2capif_connect {
    grant_ref_t ref;            /* page that holds struct l2capif_data_intf    */
    evtchn_port_t evtchn;       /* unbound port for the backend's domain       */
    uint8_t addr[6];
    uint8_t addr_type;          /* L2CAPIF_ADDR_*                              */
    uint8_t security;           /* L2CAPIF_SECURITY_*                          */
    uint16_t psm;               /* PSM (BR/EDR), SPSM (LE), or CID             */
    uint16_t mtu;               /* largest SDU that the frontend receives      */
    uint32_t timeout_ms;        /* 0: the backend's default                    */
    uint8_t pad[24];
};

struct l2capif_listen {
    uint16_t psm;
    uint16_t mtu;
    uint16_t backlog;           /* peers kept waiting for an ACCEPT            */
    uint8_t transport;          /* L2CAPIF_TRANSPORT_*                         */
    uint8_t security;           /* least level of a peer's link                */
    uint8_t pad[40];
};

struct l2capif_accept {
    grant_ref_t ref;
    evtchn_port_t evtchn;
    uint32_t listener;          /* id of the listener; `id` names the new channel */
    uint8_t pad[36];
};

struct l2capif_scan {
    grant_ref_t ref;
    evtchn_port_t evtchn;
    uint8_t transport;
    uint8_t pad[39];
};

struct l2capif_advertise {
    uint16_t interval_ms;       /* 20 to 10240; 0: the backend's default       */
    uint8_t data_length;        /* octets used of data[]                       */
    uint8_t data[L2CAPIF_ADVERTISE_DATA_SIZE];  /* AD structures, Vol 3, Part C, 11 */
    uint8_t pad[14];
};

/* ADVERTISE with L2CAPIF_ADVERTISE_EXTENDED */
struct l2capif_advertise_extended {
    grant_ref_t ref;            /* page with the data, then the scan response  */
    uint16_t interval_ms;
    uint16_t data_length;       /* up to L2CAPIF_EXTENDED_DATA_SIZE            */
    uint16_t scan_data_length;  /* likewise                                    */
    uint8_t pad[38];
};

struct l2capif_agent {
    grant_ref_t ref;
    evtchn_port_t evtchn;
    uint8_t io_capability;      /* L2CAPIF_IO_*                                */
    uint8_t pad[39];
};

struct l2capif_pair {
    uint8_t addr[6];
    uint8_t addr_type;
    uint8_t security;           /* least level to reach; 0: encrypted          */
    uint32_t timeout_ms;        /* 0: the backend's default                    */
    uint8_t oob[L2CAPIF_OOB_SIZE];      /* confirm and random value, or TK     */
    uint8_t pad[4];
};

struct l2capif_echo {
    uint8_t addr[6];
    uint8_t addr_type;          /* L2CAPIF_ADDR_BREDR                          */
    uint8_t data_length;        /* octets used of data[]                       */
    uint32_t timeout_ms;        /* 0: the backend's default                    */
    uint8_t data[L2CAPIF_ECHO_DATA_SIZE];
};

struct l2capif_request {
    uint32_t req_id;
    uint32_t cmd;               /* L2CAPIF_CMD_*                               */
    uint32_t id;
    uint32_t flags;
    union {
        struct l2capif_info info;
        struct l2capif_connect connect;
        struct l2capif_listen listen;
        struct l2capif_accept accept;
        struct l2capif_scan scan;
        struct l2capif_advertise advertise;
        struct l2capif_advertise_extended advertise_extended;
        struct l2capif_agent agent;
        struct l2capif_echo echo;
        struct l2capif_pair pair;
        uint8_t raw[48];
    } u;
};

struct l2capif_info_rsp {
    uint8_t addr[6];            /* the adapter's, on BR/EDR                    */
    uint8_t addr_type;
    uint8_t powered;            /* 1: the controller is up                     */
    uint32_t features;          /* L2CAPIF_FEATURE_* and L2CAPIF_KNOWS_*       */
    uint32_t max_channels;      /* this frontend's limit                       */
    uint32_t channels;          /* in use by this frontend                     */
    uint16_t max_mtu;           /* largest MTU that the backend accepts        */
    uint8_t le_addr[6];         /* the adapter's, as LE peers see it           */
    uint32_t generation;        /* of these facts; 0: the backend has none     */
    uint8_t le_addr_type;       /* 0 where there is no le_addr                 */
    uint8_t pad[15];
};

/* CONNECT and ACCEPT */
struct l2capif_channel_rsp {
    uint8_t addr[6];            /* the peer's                                  */
    uint8_t addr_type;
    uint8_t security;           /* level that the link has                     */
    uint16_t psm;
    uint16_t tx_mtu;            /* largest SDU that the frontend may send      */
    uint16_t rx_mtu;            /* largest SDU that it will receive            */
    uint16_t result;            /* the peer's L2CAP result, with -ECONNREFUSED */
    uint8_t status;             /* HCI status, with -ETIMEDOUT; 0: none        */
    uint8_t why;                /* L2CAPIF_WHY_*, with -EPERM                  */
    uint8_t needed;             /* the level that was needed, with -EPERM      */
    uint8_t pad[29];
};

struct l2capif_echo_rsp {
    uint16_t length;            /* octets that the peer answered with          */
    uint8_t status;             /* HCI status, with -ETIMEDOUT; 0: none        */
    uint8_t pad[9];
    uint8_t data[L2CAPIF_ECHO_DATA_SIZE];   /* the first of them               */
};

struct l2capif_pair_rsp {
    uint8_t security;           /* level that the link has                     */
    uint8_t key_size;           /* octets of the key; 0: not known             */
    uint8_t bonded;             /* 1: the backend keeps the key                */
    uint8_t status;             /* HCI status, with -ETIMEDOUT; 0: none        */
    uint8_t why;                /* L2CAPIF_WHY_*, with -EPERM                  */
    uint8_t needed;             /* the level that was needed, with -EPERM      */
    uint8_t pad[42];
};

struct l2capif_response {
    uint32_t req_id;
    uint32_t cmd;
    uint32_t id;
    int32_t ret;                /* 0, or the negative of a XEN_E* from xen/errno.h */
    union {
        struct l2capif_info_rsp info;
        struct l2capif_channel_rsp channel;
        struct l2capif_echo_rsp echo;
        struct l2capif_pair_rsp pair;
        uint8_t raw[48];
    } u;
};

#ifndef L2CAPIF_WITHOUT_XEN
DEFINE_RING_TYPES(l2capif, struct l2capif_request, struct l2capif_response);
#endif

#define L2CAPIF_RING_SLOTS           32

/* The page of the command ring, which is struct l2capif_sring of ring.h. */
struct l2capif_ring_page {
    uint32_t req_prod, req_event;
    uint32_t rsp_prod, rsp_event;
    uint8_t pad[48];
    union {
        struct l2capif_request req;
        struct l2capif_response rsp;
    } ring[L2CAPIF_RING_SLOTS];
};

/*
 * Data ring
 * =========
 * Channels, scans and agents carry whole messages: a uint32_t length, then that many
 * octets, with no padding; both wrap at the end of the half. A message becomes
 * visible in one step: `prod` moves past all of it or not at all, so that a
 * message and its length must fit in half of the data pages together.
 *
 * The frontend grants the page with the indices and 2^ring_order data pages.
 * The first half of the data pages is `in` (to the frontend), the second half
 * `out` (to the backend). Indices run freely and wrap at 2^32; the octet of
 * index i is at i modulo the size of the half.
 *
 * `prod_event` and `cons_event` hold notifications off, like rsp_event in
 * ring.h: who moves an index from `old` to `new` notifies only if
 * (uint32_t)(new - event) < (uint32_t)(new - old). A consumer with nothing left
 * to read sets prod_event to cons + 1, then looks at prod once more; a producer
 * that waits for space sets cons_event to the cons that frees enough, then
 * looks at cons once more.
 */
struct l2capif_producer {
    uint32_t prod;
    uint32_t cons_event;        /* producer wants an event when cons passes this */
    int32_t error;              /* not 0: no message follows; see the specification */
    uint8_t pad[52];
};

struct l2capif_consumer {
    uint32_t cons;
    uint32_t prod_event;        /* consumer wants an event when prod passes this */
    uint8_t pad[56];
};

struct l2capif_half {
    struct l2capif_producer producer;   /* written by the producer only        */
    struct l2capif_consumer consumer;   /* written by the consumer only        */
};

#define L2CAPIF_MIN_RING_ORDER       1
#define L2CAPIF_MAX_RING_ORDER       6

struct l2capif_data_intf {
    struct l2capif_half in;     /* backend produces                            */
    struct l2capif_half out;    /* frontend produces                           */
    uint32_t ring_order;        /* L2CAPIF_MIN_RING_ORDER to max-page-order    */
    grant_ref_t ref[1u << L2CAPIF_MAX_RING_ORDER];
};

#define L2CAPIF_LENGTH_SIZE          4

/* A message of a scan without L2CAPIF_SCAN_EXTENDED. */
struct l2capif_scan_report {
    uint8_t addr[6];
    uint8_t addr_type;
    int8_t rssi;                /* dBm; 127: not known                         */
    uint8_t event_type;         /* as in HCI LE Advertising Report             */
    uint8_t data_length;
    uint8_t data[L2CAPIF_ADVERTISE_DATA_SIZE];  /* only data_length octets are sent */
};

/* `source` of a report, which says what its data are. */
#define L2CAPIF_REPORT_ADVERTISING   0   /* LE: AD structures                  */
#define L2CAPIF_REPORT_INQUIRY       1   /* BR/EDR: EIR, AD structures too     */
#define L2CAPIF_REPORT_NAME          2   /* BR/EDR: a name that was asked for, UTF-8 */

/* A message of a scan with L2CAPIF_SCAN_EXTENDED. */
struct l2capif_report {
    uint8_t addr[6];
    uint8_t addr_type;
    uint8_t source;             /* L2CAPIF_REPORT_*                            */
    uint16_t event_type;        /* LE: as in HCI LE Advertising Report         */
    uint16_t data_length;
    int8_t rssi;                /* dBm; 127: not known                         */
    uint8_t class_of_device[3]; /* BR/EDR, least significant octet first       */
    uint8_t pad[4];
    uint8_t data[L2CAPIF_EXTENDED_DATA_SIZE];   /* only data_length octets are sent */
};

/* `kind` of a prompt: what the agent's user is asked, or shown. */
#define L2CAPIF_PROMPT_WITHDRAWN     0   /* the prompt `number` is over        */
#define L2CAPIF_PROMPT_CONSENT       1   /* may this peer pair?                */
#define L2CAPIF_PROMPT_CONFIRM       2   /* does the peer show `value`, too?   */
#define L2CAPIF_PROMPT_DISPLAY       3   /* `value` is to be entered at the peer */
#define L2CAPIF_PROMPT_ENTER_PASSKEY 4   /* which passkey does the peer show?  */
#define L2CAPIF_PROMPT_ENTER_PIN     5   /* which PIN does the peer expect?    */

/* A message of an agent, to the frontend. */
struct l2capif_prompt {
    uint32_t number;            /* of the prompt; not 0                        */
    uint32_t value;             /* passkey, 0 to 999999                        */
    uint32_t timeout_ms;        /* for how long an answer counts               */
    uint8_t addr[6];            /* the peer's                                  */
    uint8_t addr_type;
    uint8_t kind;               /* L2CAPIF_PROMPT_*                            */
    uint8_t why;                /* L2CAPIF_WHY_*, of one that was withdrawn    */
    uint8_t pad[11];
};

/* A message of an agent, to the backend. */
struct l2capif_answer {
    uint32_t number;            /* of the prompt                               */
    uint32_t value;             /* ENTER_PASSKEY: 0 to 999999                  */
    uint8_t accept;             /* 1: yes, 0: no                               */
    uint8_t pin_length;         /* ENTER_PIN: 1 to 16                          */
    uint8_t pin[L2CAPIF_PIN_SIZE];
    uint8_t pad[6];
};

#ifdef __cplusplus
#define L2CAPIF_ASSERT_SIZE(type, size) \
    static_assert(sizeof(struct type) == (size), #type " is not " #size " octets")
#else
#define L2CAPIF_ASSERT_SIZE(type, size) \
    _Static_assert(sizeof(struct type) == (size), #type " is not " #size " octets")
#endif

L2CAPIF_ASSERT_SIZE(l2capif_info, 48);
L2CAPIF_ASSERT_SIZE(l2capif_connect, 48);
L2CAPIF_ASSERT_SIZE(l2capif_listen, 48);
L2CAPIF_ASSERT_SIZE(l2capif_accept, 48);
L2CAPIF_ASSERT_SIZE(l2capif_scan, 48);
L2CAPIF_ASSERT_SIZE(l2capif_advertise, 48);
L2CAPIF_ASSERT_SIZE(l2capif_advertise_extended, 48);
L2CAPIF_ASSERT_SIZE(l2capif_agent, 48);
L2CAPIF_ASSERT_SIZE(l2capif_pair, 48);
L2CAPIF_ASSERT_SIZE(l2capif_echo, 48);
L2CAPIF_ASSERT_SIZE(l2capif_request, 64);
L2CAPIF_ASSERT_SIZE(l2capif_info_rsp, 48);
L2CAPIF_ASSERT_SIZE(l2capif_channel_rsp, 48);
L2CAPIF_ASSERT_SIZE(l2capif_echo_rsp, 48);
L2CAPIF_ASSERT_SIZE(l2capif_pair_rsp, 48);
L2CAPIF_ASSERT_SIZE(l2capif_response, 64);
L2CAPIF_ASSERT_SIZE(l2capif_ring_page, 2112);
L2CAPIF_ASSERT_SIZE(l2capif_producer, 64);
L2CAPIF_ASSERT_SIZE(l2capif_consumer, 64);
L2CAPIF_ASSERT_SIZE(l2capif_half, 128);
L2CAPIF_ASSERT_SIZE(l2capif_data_intf, 516);
L2CAPIF_ASSERT_SIZE(l2capif_scan_report, 41);
L2CAPIF_ASSERT_SIZE(l2capif_report, 1670);
L2CAPIF_ASSERT_SIZE(l2capif_prompt, 32);
L2CAPIF_ASSERT_SIZE(l2capif_answer, 32);

#endif /* __XEN_PUBLIC_IO_L2CAPIF_H__ */
