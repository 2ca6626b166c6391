/* SPDX-License-Identifier: MIT */
/*
 * A vl2cap frontend in plain C, written from docs/l2capif.md and l2capif.h alone.
 *
 *     c_frontend DEVID ADDRESS ADDR_TYPE PSM COUNT SIZE
 *
 * Connects as device/vl2cap/DEVID, opens a channel to the PSM of ADDRESS (C0:FF:EE:00:00:01; ADDR_TYPE as in
 * l2capif.h: 0 BR/EDR, 1 LE public, 2 LE random), sends COUNT SDUs of SIZE octets, and compares what an echoing peer
 * sends back octet by octet. Exit status 0: all came back.
 */

#define _POSIX_C_SOURCE 200809L
#define __XEN_INTERFACE_VERSION__ 0x00040700

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xenevtchn.h>
#include <xengnttab.h>
#include <xenstore.h>

#define xen_mb()  __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define xen_rmb() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define xen_wmb() __atomic_thread_fence(__ATOMIC_RELEASE)

#include "l2capif.h"

#define LOAD(word)         __atomic_load_n(&(word), __ATOMIC_RELAXED)
#define STORE(word, value) __atomic_store_n(&(word), (value), __ATOMIC_RELAXED)

#define PAGE_SIZE  4096u
#define TIMEOUT_MS 30000
#define WINDOW     16u          /* SDUs on their way at a time */

enum { GONE, INITIALISING, INIT_WAIT, INITIALISED, CONNECTED, CLOSING, CLOSED };
#define BIT(state) (1u << (state))

static struct xs_handle *xs;
static xenevtchn_handle *evtchn;
static xengntshr_handle *gntshr;
static char device_path[64];
static char *backend_path;
static uint32_t backend_domid;
static bool offered, connected;         /* since when our pages are the backend's too, until it is Closed */

static l2capif_front_ring_t ring;
static int ring_port;
static uint32_t last_req_id;

/* The data ring of the one channel. */
static struct l2capif_data_intf *indices;
static uint8_t *in_data, *out_data;
static uint32_t half_size, in_cons, out_prod;
static grant_ref_t indices_ref;
static int data_port;

static void close_device(void);

static _Noreturn void give_up(void)
{
    if (offered)
        close_device();
    exit(1);
}

#define fail(...) (fprintf(stderr, "c_frontend: " __VA_ARGS__), fputc('\n', stderr), give_up())

static char *read_node(const char *directory, const char *node)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", directory, node);
    return xs_read(xs, XBT_NULL, path, NULL);
}

static uint32_t read_number(const char *directory, const char *node, uint32_t if_absent)
{
    char *value = read_node(directory, node);
    uint32_t number = value ? (uint32_t)strtoul(value, NULL, 10) : if_absent;

    free(value);
    return number;
}

static void write_number(xs_transaction_t transaction, const char *node, uint32_t number)
{
    char path[128], value[16];

    snprintf(path, sizeof(path), "%s/%s", device_path, node);
    snprintf(value, sizeof(value), "%u", number);
    if (!xs_write(xs, transaction, path, value, (unsigned int)strlen(value)))
        fail("cannot write %s: %s", path, strerror(errno));
}

static uint32_t backend_state(void)
{
    return BIT(read_number(backend_path, "state", GONE) & 31);
}

/* Waits for something to happen: a change in xenstore, or an event on any of our ports. */
static void wait_event(const char *what)
{
    struct pollfd fds[2] = {{.fd = xs_fileno(xs), .events = POLLIN}, {.fd = xenevtchn_fd(evtchn), .events = POLLIN}};
    char **watch;

    if (poll(fds, 2, TIMEOUT_MS) <= 0)
        fail("waited %d s for %s", TIMEOUT_MS / 1000, what);
    while (fds[0].revents && (watch = xs_check_watch(xs)) != NULL)
        free(watch);
    if (fds[0].revents && connected && backend_state() != BIT(CONNECTED))
        fail("the backend has gone away");
    if (fds[1].revents && xenevtchn_unmask(evtchn, (evtchn_port_t)xenevtchn_pending(evtchn)) < 0)
        fail("event channel: %s", strerror(errno));
}

static void wait_backend(uint32_t states, const char *what)
{
    while (!(backend_state() & states))
        wait_event(what);
}

static void open_device(const char *devid)
{
    char watched[256];
    uint32_t state, ring_ref;
    void *page;

    snprintf(device_path, sizeof(device_path), "device/vl2cap/%s", devid);
    if (!(xs = xs_open(0)) || !(evtchn = xenevtchn_open(NULL, 0)) || !(gntshr = xengntshr_open(NULL, 0)))
        fail("cannot open %s: %s", !xs ? "xenstore" : !evtchn ? "event channels" : "grants", strerror(errno));
    backend_path = read_node(device_path, "backend");
    if (!backend_path)
        fail("there is no %s", device_path);
    backend_domid = read_number(device_path, "backend-id", 0);
    snprintf(watched, sizeof(watched), "%s/state", backend_path);
    if (!xs_watch(xs, watched, "backend"))
        fail("cannot watch %s: %s", watched, strerror(errno));
    state = read_number(device_path, "state", INITIALISING);
    if (state == INITIALISED || state == CONNECTED || state == CLOSING) {   /* from a life before */
        write_number(XBT_NULL, "state", CLOSING);
        wait_backend(BIT(CLOSING) | BIT(CLOSED), "the backend to close what was before");
        write_number(XBT_NULL, "state", CLOSED);
    }
    wait_backend(BIT(INITIALISING) | BIT(INIT_WAIT) | BIT(CLOSED), "the backend to be free");
    write_number(XBT_NULL, "state", INITIALISING);
    wait_backend(BIT(INIT_WAIT), "the backend");
    if (read_number(backend_path, "versions", 0) != L2CAPIF_VERSION)     /* the first of a list, while there is one */
        fail("the backend does not speak version %u", L2CAPIF_VERSION);
    page = xengntshr_share_pages(gntshr, backend_domid, 1, &ring_ref, 1);
    ring_port = xenevtchn_bind_unbound_port(evtchn, backend_domid);
    if (!page || ring_port < 0)
        fail("cannot share the command ring: %s", strerror(errno));
    memset(page, 0, PAGE_SIZE);
    XEN_FRONT_RING_INIT(&ring, (l2capif_sring_t *)page, PAGE_SIZE);
    offered = true;
    for (;;) {
        xs_transaction_t transaction = xs_transaction_start(xs);

        write_number(transaction, "version", L2CAPIF_VERSION);
        write_number(transaction, "ring-ref", ring_ref);
        write_number(transaction, "event-channel", (uint32_t)ring_port);
        write_number(transaction, "state", INITIALISED);
        if (xs_transaction_end(xs, transaction, false))
            break;
        if (errno != EAGAIN)
            fail("cannot write to %s: %s", device_path, strerror(errno));
    }
    wait_backend(BIT(CONNECTED) | BIT(CLOSING) | BIT(CLOSED), "the backend to connect");
    if (backend_state() != BIT(CONNECTED))
        fail("the backend did not connect");
    write_number(XBT_NULL, "state", CONNECTED);
    connected = true;
}

static void close_device(void)
{
    offered = connected = false;        /* should this fail, it is not tried again */
    write_number(XBT_NULL, "state", CLOSING);
    wait_backend(BIT(CLOSING) | BIT(CLOSED) | BIT(GONE), "the backend to close");
    if (indices)
        xengntshr_unshare(gntshr, indices, 1 + 2 * half_size / PAGE_SIZE);
    xengntshr_unshare(gntshr, ring.sring, 1);
    xengntshr_close(gntshr);
    xenevtchn_close(evtchn);            /* with all its ports */
    write_number(XBT_NULL, "state", CLOSED);
    xs_close(xs);
    free(backend_path);
}

/* Sends a request and waits for its response; there is never another one in flight. Returns the response's ret. */
static int32_t call(struct l2capif_request *request, struct l2capif_response *response)
{
    int notify, more;
    RING_IDX prod;

    request->req_id = ++last_req_id;
    *RING_GET_REQUEST(&ring, ring.req_prod_pvt) = *request;
    ring.req_prod_pvt++;
    RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&ring, notify);
    if (notify)
        xenevtchn_notify(evtchn, (evtchn_port_t)ring_port);
    for (more = 0; !more;) {
        RING_FINAL_CHECK_FOR_RESPONSES(&ring, more);
        if (!more)
            wait_event("a response");
    }
    prod = LOAD(ring.sring->rsp_prod);
    if (prod - ring.rsp_cons != 1)
        fail("the backend sent %u responses to one request", prod - ring.rsp_cons);
    xen_rmb();
    RING_COPY_RESPONSE(&ring, ring.rsp_cons, response);
    ring.rsp_cons++;
    if (response->req_id != request->req_id || response->cmd != request->cmd || response->id != request->id ||
        response->ret > 0)
        fail("the backend answered request %u with nonsense", request->req_id);
    return response->ret;
}

static void share_data_ring(uint32_t sdu_size)
{
    uint32_t max_order = read_number(backend_path, "max-page-order", 0), order = L2CAPIF_MIN_RING_ORDER;
    uint32_t refs[1 + (1u << L2CAPIF_MAX_RING_ORDER)];
    uint8_t *pages;

    if (max_order > L2CAPIF_MAX_RING_ORDER)
        max_order = L2CAPIF_MAX_RING_ORDER;
    while (order < max_order && (PAGE_SIZE << order) / 2 < 4 * (sdu_size + L2CAPIF_LENGTH_SIZE))
        order++;
    half_size = (PAGE_SIZE << order) / 2;
    pages = xengntshr_share_pages(gntshr, backend_domid, 1 + (1 << order), refs, 1);
    data_port = xenevtchn_bind_unbound_port(evtchn, backend_domid);
    if (!pages || data_port < 0)
        fail("cannot share a data ring: %s", strerror(errno));
    memset(pages, 0, PAGE_SIZE);
    indices = (struct l2capif_data_intf *)(void *)pages;
    indices_ref = refs[0];
    in_data = pages + PAGE_SIZE;
    out_data = in_data + half_size;
    indices->ring_order = order;
    memcpy(indices->ref, refs + 1, sizeof(refs[0]) << order);
    indices->in.consumer.prod_event = 1;
}

static bool passed(uint32_t event, uint32_t old, uint32_t new)
{
    return (uint32_t)(new - event) < (uint32_t)(new - old);
}

/* Copies into a half, or out of it, going round at its end. */
static void copy(uint8_t *half, uint32_t index, void *octets, uint32_t length, bool out)
{
    uint32_t offset = index & (half_size - 1), first = half_size - offset < length ? half_size - offset : length;

    memcpy(out ? octets : half + offset, out ? half + offset : octets, first);
    memcpy(out ? (uint8_t *)octets + first : half, out ? half : (uint8_t *)octets + first, length - first);
}

static bool space_for(uint32_t need)
{
    uint32_t used = out_prod - LOAD(indices->out.consumer.cons);

    if (used > half_size)
        fail("the backend consumed what was not there");
    return half_size - used >= need;
}

/* False: no space; a notification comes when there is. */
static bool send_sdu(void *sdu, uint32_t length)
{
    uint32_t need = L2CAPIF_LENGTH_SIZE + length, old = out_prod;

    if (!space_for(need)) {
        STORE(indices->out.producer.cons_event, out_prod + need - half_size);
        xen_mb();
        if (!space_for(need))
            return false;
    }
    xen_mb();
    copy(out_data, out_prod, &length, L2CAPIF_LENGTH_SIZE, false);   /* little-endian, as all machines with Xen */
    copy(out_data, out_prod + L2CAPIF_LENGTH_SIZE, sdu, length, false);
    xen_wmb();
    out_prod += need;
    STORE(indices->out.producer.prod, out_prod);
    xen_mb();
    if (passed(LOAD(indices->out.consumer.prod_event), old, out_prod))
        xenevtchn_notify(evtchn, (evtchn_port_t)data_port);
    return true;
}

/* The length of the SDU copied to `sdu`, which has room for `size`; -1: nothing there, a notification comes. */
static int64_t receive_sdu(uint8_t *sdu, uint32_t size)
{
    uint32_t prod = LOAD(indices->in.producer.prod), old = in_cons, length;

    if (prod == in_cons) {
        int32_t error;

        STORE(indices->in.consumer.prod_event, in_cons + 1);
        xen_mb();
        error = LOAD(indices->in.producer.error);
        xen_rmb();
        prod = LOAD(indices->in.producer.prod);
        if (prod == in_cons && error)
            fail("the channel has ended: error %d", error);
        if (prod == in_cons)
            return -1;
    }
    xen_rmb();
    if (prod - in_cons > half_size)
        fail("the backend's index cannot be");
    copy(in_data, in_cons, &length, L2CAPIF_LENGTH_SIZE, true);
    if (prod - in_cons < L2CAPIF_LENGTH_SIZE || length > prod - in_cons - L2CAPIF_LENGTH_SIZE || length > size)
        fail("the backend sent a message of %u octets", length);
    copy(in_data, in_cons + L2CAPIF_LENGTH_SIZE, sdu, length, true);
    xen_mb();
    in_cons += L2CAPIF_LENGTH_SIZE + length;
    STORE(indices->in.consumer.cons, in_cons);
    xen_mb();
    if (passed(LOAD(indices->in.producer.cons_event), old, in_cons))
        xenevtchn_notify(evtchn, (evtchn_port_t)data_port);
    return length;
}

static void fill(uint8_t *sdu, uint32_t size, uint32_t number)
{
    for (uint32_t i = 0; i < size; i++)
        sdu[i] = (uint8_t)(number * 31 + i * 7 + (i >> 8));
}

static void echo(uint32_t count, uint32_t size, uint32_t mtu)
{
    static uint8_t sdu[UINT16_MAX], received[UINT16_MAX];
    uint32_t sent = 0, echoed = 0;

    while (echoed < count) {
        int64_t length;

        for (; sent < count && sent - echoed < WINDOW; sent++) {
            fill(sdu, size, sent);
            if (!send_sdu(sdu, size))
                break;
        }
        length = receive_sdu(received, mtu);
        if (length < 0) {
            wait_event("an echo, or space");
            continue;
        }
        fill(sdu, size, echoed);
        if (length != size || memcmp(sdu, received, size))
            fail("echo %u of %u octets is not what was sent", echoed, (uint32_t)length);
        echoed++;
    }
}

int main(int argc, char **argv)
{
    struct l2capif_request info = {.cmd = L2CAPIF_CMD_INFO};
    struct l2capif_request connect = {.cmd = L2CAPIF_CMD_CONNECT, .id = 1};
    struct l2capif_request release = {.cmd = L2CAPIF_CMD_RELEASE, .id = 1};
    struct l2capif_response response;
    uint32_t count, size, mtu;
    uint8_t *addr = connect.u.connect.addr;

    if (argc != 7 || sscanf(argv[2], "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", addr + 5, addr + 4, addr + 3, addr + 2,
                            addr + 1, addr) != 6)
        fail("usage: c_frontend DEVID ADDRESS ADDR_TYPE PSM COUNT SIZE");
    count = (uint32_t)strtoul(argv[5], NULL, 0);
    size = (uint32_t)strtoul(argv[6], NULL, 0);

    open_device(argv[1]);
    if (call(&info, &response) || !response.u.info.powered)
        fail("no controller: %d", response.ret);
    mtu = size > 48 ? size : 48;
    if (mtu > response.u.info.max_mtu)
        fail("SDUs may have %u octets at most", response.u.info.max_mtu);
    share_data_ring(mtu);
    connect.u.connect.ref = indices_ref;
    connect.u.connect.evtchn = (evtchn_port_t)data_port;
    connect.u.connect.addr_type = (uint8_t)strtoul(argv[3], NULL, 0);
    connect.u.connect.psm = (uint16_t)strtoul(argv[4], NULL, 0);
    connect.u.connect.mtu = (uint16_t)mtu;
    if (call(&connect, &response))
        fail("CONNECT: error %d, L2CAP result 0x%04x, HCI status 0x%02x", response.ret, response.u.channel.result,
             response.u.channel.status);
    if (size > response.u.channel.tx_mtu)
        fail("the peer takes SDUs of %u octets at most", response.u.channel.tx_mtu);

    echo(count, size, mtu);
    if (call(&release, &response))
        fail("RELEASE: error %d", response.ret);
    close_device();
    printf("%u SDUs of %u octets echoed by %s\n", count, size, argv[2]);
    return 0;
}
