/* SPDX-License-Identifier: MIT */
/*
 * The backend answers requests, moves the indices of rings, writes messages and changes its nodes in xenstore, whenever
 * the library asks its operating system for anything. Mostly it keeps to the protocol, as otherwise it would never be
 * connected; the rest is random. Time goes on with each look at the clock, and each wait.
 */

#include "os_hostile.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <l2capif.h>

#include "os.h"

#define MOST_SHARED 4096u
#define MOST_PORTS 4096u
#define MOST_RINGS 256u
#define LONGEST 2100u                  /* message */
#define BACKEND "/local/domain/7/backend/vl2cap/3/0"
#define OWN "device/vl2cap/0/"

struct os {
    int unused;
};

static struct os the_only;
static bool is_open;
static uint64_t state, now_us;
static unsigned lies;
static bool floods;
static bool works;                      /* all that was asked for since our state is Closing */

static uint8_t *shared[MOST_SHARED];    /* by grant reference - 1 */
static bool ports[MOST_PORTS];          /* by port - 1 */
static unsigned own_state, backend_state;
static uint32_t ring_ref, consumed, produced;
static struct {
    uint32_t ref, cmd;                  /* of the indices page; and of the request                               */
} rings[MOST_RINGS];
static unsigned ring_count;

/* splitmix64 */
uint32_t hostile_random(uint32_t limit)
{
    uint64_t z = state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return limit ? (uint32_t)((z ^ z >> 31) % limit) : 0;
}

static bool lie(void)
{
    return hostile_random(1000) < lies;
}

static bool one_in(uint32_t count)
{
    return hostile_random(count) == 0;
}

static uint32_t any_word(void)
{
    static const uint32_t interesting[] = {0, 1, 3, 4, 0x7fffffff, 0x80000000, 0xfffffffc, 0xffffffff};

    return one_in(2) ? interesting[hostile_random(8)] : hostile_random(UINT32_MAX);
}

static void wrong(const char *what)
{
    fprintf(stderr, "the library %s\n", what);
    abort();
}

void hostile_begin(uint64_t seed, unsigned how_many, bool does_flood)
{
    state = seed;
    now_us = 1;
    lies = how_many;
    floods = does_flood;
    own_state = 1;
    backend_state = 2;
    ring_ref = 0;
    ring_count = 0;
}

int hostile_is_clean(void)
{
    unsigned pages = 0, open = 0;

    for (unsigned i = 0; i < MOST_SHARED; i++)
        pages += shared[i] != NULL;
    for (unsigned i = 0; i < MOST_PORTS; i++)
        open += ports[i];
    if (pages || open || is_open)
        fprintf(stderr, "left behind: %u pages, %u ports%s\n", pages, open, is_open ? ", and it is open" : "");
    return !pages && !open && !is_open;
}

/* The command ring ---------------------------------------------------------------------------------------------------- */

static uint8_t *page_of(uint32_t ref)
{
    return ref && ref <= MOST_SHARED ? shared[ref - 1] : NULL;
}

static void answer(const struct l2capif_request *request, struct l2capif_response *response)
{
    static const int errors[] = {-1, -11, -13, -14, -19, -22, -24, -95, -98, -107, -110, -111, -4095, -4096, 1};

    for (size_t i = 0; i < sizeof(response->u.raw); i++)
        response->u.raw[i] = one_in(4) ? (uint8_t)hostile_random(256) : 0;
    response->req_id = request->req_id;
    response->cmd = request->cmd;
    response->id = request->id;
    response->ret = one_in(8) ? errors[hostile_random(15)] : 0;
    switch (request->cmd) {
    case L2CAPIF_CMD_INFO:
        response->u.info.addr_type = 0;
        response->u.info.le_addr_type = 2;
        response->u.info.powered = 1;
        response->u.info.features = one_in(8) ? any_word() : 0xffffffff;
        response->u.info.max_mtu = one_in(4) ? (uint16_t)any_word() : 65532;
        break;
    case L2CAPIF_CMD_CONNECT:
        response->u.channel.addr_type = request->u.connect.addr_type;
        response->u.channel.security = 4;
        response->u.channel.psm = request->u.connect.psm;
        response->u.channel.tx_mtu = one_in(4) ? (uint16_t)any_word() : 2048;
        response->u.channel.rx_mtu = request->u.connect.mtu;
        break;
    case L2CAPIF_CMD_ACCEPT:
        response->u.channel.addr_type = (uint8_t)hostile_random(3);
        response->u.channel.security = 4;
        response->u.channel.psm = 0x1001;
        response->u.channel.tx_mtu = 100;
        response->u.channel.rx_mtu = 48;
        break;
    case L2CAPIF_CMD_PAIR:
        response->u.pair.security = 4;
        break;
    default:
        break;
    }
    if (lie())
        ((uint32_t *)(void *)response)[hostile_random(16)] = any_word();
}

static bool has_ring(const struct l2capif_request *request)
{
    return request->cmd == L2CAPIF_CMD_CONNECT || request->cmd == L2CAPIF_CMD_ACCEPT || request->cmd == L2CAPIF_CMD_SCAN ||
           request->cmd == L2CAPIF_CMD_AGENT;
}

static void serve_commands(struct l2capif_ring_page *page)
{
    while (consumed != page->req_prod && !one_in(4)) {
        struct l2capif_request request = page->ring[consumed++ % L2CAPIF_RING_SLOTS].req;

        if (has_ring(&request) && ring_count < MOST_RINGS && page_of(request.u.accept.ref)) {
            rings[ring_count].ref = request.u.accept.ref;
            rings[ring_count++].cmd = request.cmd;
        }
        answer(&request, &page->ring[produced++ % L2CAPIF_RING_SLOTS].rsp);
    }
    page->req_event = consumed + 1;
    page->rsp_prod = lie() ? any_word() : produced;
}

/* Data rings ---------------------------------------------------------------------------------------------------------- */

static void put_octet(struct l2capif_data_intf *indices, uint32_t half, uint32_t index, uint8_t octet)
{
    uint32_t offset = index & (half - 1);
    uint8_t *page = page_of(indices->ref[offset / OS_PAGE_SIZE]);

    if (page)
        page[offset % OS_PAGE_SIZE] = octet;
}

/* Fills in a message such as this kind of ring carries, most of the time, and returns its length. */
static uint32_t make_message(uint32_t cmd, uint8_t *octets)
{
    uint32_t length = one_in(2) ? hostile_random(100) : hostile_random(LONGEST);
    struct l2capif_report report = {.addr_type = 2};
    struct l2capif_prompt prompt = {.number = 1 + hostile_random(9), .kind = (uint8_t)hostile_random(7)};

    for (uint32_t i = 0; i < length; i++)
        octets[i] = (uint8_t)(one_in(3) ? hostile_random(20) : hostile_random(256));
    if (cmd == L2CAPIF_CMD_AGENT) {
        memcpy(octets, &prompt, sizeof(prompt));
        return one_in(8) ? length : sizeof(prompt);
    }
    if (cmd == L2CAPIF_CMD_SCAN && length >= offsetof(struct l2capif_report, data)) {
        report.data_length = (uint16_t)(length - offsetof(struct l2capif_report, data));
        memcpy(octets, &report, offsetof(struct l2capif_report, data));
    }
    return length;
}

static void serve_ring(struct l2capif_data_intf *indices, uint32_t cmd)
{
    uint8_t octets[LONGEST];
    uint32_t order = indices->ring_order, half, length = make_message(cmd, octets), used;

    if (order < L2CAPIF_MIN_RING_ORDER || order > L2CAPIF_MAX_RING_ORDER)
        wrong("has made a ring of no legal order");
    half = OS_PAGE_SIZE << (order - 1);
    used = indices->in.producer.prod - indices->in.consumer.cons;
    if (used <= half && half - used >= length + L2CAPIF_LENGTH_SIZE) {
        uint32_t at = indices->in.producer.prod, told = lie() ? any_word() : length;

        for (uint32_t i = 0; i < L2CAPIF_LENGTH_SIZE; i++)
            put_octet(indices, half, at + i, (uint8_t)(told >> 8 * i));
        for (uint32_t i = 0; i < length; i++)
            put_octet(indices, half, at + L2CAPIF_LENGTH_SIZE + i, octets[i]);
        indices->in.producer.prod = at + L2CAPIF_LENGTH_SIZE + length;
    }
    if (floods)
        indices->in.producer.cons_event = indices->in.consumer.cons + 1;
    indices->out.consumer.cons = indices->out.producer.prod;
    indices->out.consumer.prod_event = one_in(2) ? indices->out.producer.prod + 1 : any_word();
    if (lie())
        ((uint32_t *)(void *)indices)[hostile_random(192 / 4 + 16)] = any_word();
    if (one_in(200))
        indices->in.producer.error = one_in(2) ? -107 : (int32_t)any_word();
}

/* Xenstore ------------------------------------------------------------------------------------------------------------ */

static void follow(void)
{
    if (lie()) {
        backend_state = hostile_random(9);
    } else if (own_state == 3 && backend_state == 2 && ring_ref) {
        backend_state = 4;
        consumed = produced = 0;
    } else if (own_state == 5) {
        backend_state = 5;
    } else if ((own_state == 6 || own_state == 1) && backend_state >= 4) {
        backend_state = 2;
    }
    if (own_state != 3 && own_state != 4)
        ring_ref = ring_count = 0;
}

static void forget_ring(uint32_t ref)
{
    for (unsigned i = 0; i < ring_count; i++)
        if (rings[i].ref == ref)
            rings[i--] = rings[--ring_count];
}

static void act(void)
{
    follow();
    if (backend_state != 4 || !page_of(ring_ref))
        return;
    serve_commands((struct l2capif_ring_page *)(void *)page_of(ring_ref));
    for (unsigned i = 0; i < ring_count; i++)
        if (floods || one_in(2))
            serve_ring((struct l2capif_data_intf *)(void *)page_of(rings[i].ref), rings[i].cmd);
}

int os_read(struct os *os, const char *path, char *value, size_t size)
{
    char text[OS_VALUE_SIZE] = "";

    (void)os;
    if (lie()) {
        uint32_t length = hostile_random((uint32_t)size + 1);

        if (length == size)
            return one_in(2) ? VL2CAP_EINVAL : VL2CAP_EIO;
        for (uint32_t i = 0; i < length; i++)
            value[i] = one_in(2) ? (char)('0' + hostile_random(12)) : (char)(1 + hostile_random(255));
        value[length] = '\0';
        return (int)length;
    }
    if (!strcmp(path, OWN "backend"))
        strcpy(text, BACKEND);
    else if (!strcmp(path, OWN "backend-id"))
        strcpy(text, "7");
    else if (!strcmp(path, OWN "state"))
        snprintf(text, sizeof(text), "%u", own_state);
    else if (!strcmp(path, "domid"))
        strcpy(text, "3");
    else if (!strcmp(path, BACKEND "/state"))
        snprintf(text, sizeof(text), "%u", backend_state);
    else if (!strcmp(path, BACKEND "/versions"))
        strcpy(text, one_in(50) ? "2,3" : "1");
    else if (!strcmp(path, BACKEND "/max-page-order"))
        snprintf(text, sizeof(text), "%u", 1 + hostile_random(7));
    else if (!strncmp(path, BACKEND "/feature-", strlen(BACKEND "/feature-")))
        snprintf(text, sizeof(text), "%u", hostile_random(2));
    else
        return VL2CAP_ENODEV;
    if (strlen(text) >= size)
        return VL2CAP_EINVAL;
    strcpy(value, text);
    return (int)strlen(text);
}

int os_write(struct os *os, const char *path, const char *value)
{
    (void)os;
    if (strncmp(path, OWN, strlen(OWN)) != 0)
        wrong("writes where it may not");
    if (!strcmp(path, OWN "state")) {
        own_state = (unsigned)atoi(value);
        works = own_state == 5;
    }
    if (!strcmp(path, OWN "ring-ref"))
        ring_ref = (uint32_t)strtoul(value, NULL, 10);
    return one_in(200) ? VL2CAP_EIO : 0;
}

int os_watch(struct os *os, unsigned slot, const char *path)
{
    (void)os;
    (void)path;
    if (slot >= OS_WATCHES)
        wrong("watches too much");
    return 0;
}

/* The rest ------------------------------------------------------------------------------------------------------------ */

void os_explain(int error, char *text, size_t size)
{
    snprintf(text, size, "%d", error);
}

int os_open(struct os **os, uint32_t device)
{
    (void)device;
    if (is_open)
        wrong("opens it twice");
    is_open = true;
    *os = &the_only;
    return 0;
}

void os_close(struct os *os)
{
    (void)os;
    is_open = false;
}

int os_share(struct os *os, uint32_t domid, struct os_page *pages, unsigned count)
{
    unsigned done = 0;

    (void)os;
    (void)domid;
    if (count == 0 || count > OS_MOST_PAGES)
        wrong("shares no legal number of pages");
    if (one_in(100))
        return VL2CAP_ENOMEM;
    for (uint32_t i = 0; i < MOST_SHARED && done < count; i++)
        if (!shared[i]) {
            shared[i] = aligned_alloc(OS_PAGE_SIZE, OS_PAGE_SIZE);
            memset(shared[i], 0, OS_PAGE_SIZE);
            pages[done].ref = i + 1;
            pages[done++].memory = shared[i];
        }
    if (done < count)
        wrong("shares more pages than its objects can have");
    return 0;
}

void os_unshare(struct os *os, struct os_page *pages, unsigned count)
{
    (void)os;
    for (unsigned i = 0; i < count; i++) {
        if (!page_of(pages[i].ref) || page_of(pages[i].ref) != pages[i].memory)
            wrong("takes back what it does not share");
        if (pages[i].ref == ring_ref && own_state == 5 && backend_state == 4 && works && !lies)
            wrong("closes, and does not wait until the backend has let go");
        forget_ring(pages[i].ref);
        free(shared[pages[i].ref - 1]);
        shared[pages[i].ref - 1] = NULL;
    }
}

int os_evtchn_alloc(struct os *os, uint32_t domid, uint32_t *port)
{
    (void)os;
    (void)domid;
    if (one_in(100))
        return VL2CAP_ENOMEM;
    for (uint32_t i = 0; i < MOST_PORTS; i++)
        if (!ports[i]) {
            ports[i] = true;
            *port = i + 1;
            return 0;
        }
    wrong("has more ports than its objects can have");
    return VL2CAP_ENOMEM;
}

static void check_port(uint32_t port)
{
    if (port == 0 || port > MOST_PORTS || !ports[port - 1])
        wrong("uses a port that is not open");
}

void os_evtchn_close(struct os *os, uint32_t port)
{
    (void)os;
    check_port(port);
    ports[port - 1] = false;
}

int os_evtchn_notify(struct os *os, uint32_t port)
{
    (void)os;
    check_port(port);
    act();
    return 0;
}

int os_wait(struct os *os, int timeout_ms)
{
    (void)os;
    if (one_in(32))
        return OS_INTERRUPTED;
    now_us += timeout_ms < 0 ? 1000000 : 1 + hostile_random((uint32_t)timeout_ms * 1000 + 1);
    act();
    if (one_in(300)) {
        works = false;
        return VL2CAP_EIO;
    }
    return OS_STORE | OS_EVTCHN;
}

vl2cap_event_t os_event(const struct os *os)
{
    (void)os;
    return (vl2cap_event_t)0;
}

uint64_t os_now_us(void)
{
    now_us += 1 + hostile_random(50);
    return now_us;
}
