/* SPDX-License-Identifier: MIT */
/* The handshake: follows the states of both ends in xenstore, connects, closes, and connects again. */

#include "internal.h"

#include <stdio.h>
#include <string.h>

#define FIRST_PAUSE_US  100000u         /* after a fault: two ends that can never agree must not keep xenstored busy */
#define LAST_PAUSE_US   10000000u
#define STEPS_AT_ONCE   16u

enum watch { OWN, BACKEND };

/* The nodes ---------------------------------------------------------------------------------------------------------- */

static int read_own(struct vl2cap *device, const char *node, char *value, size_t size)
{
    char path[PATH_SIZE];

    snprintf(path, sizeof(path), "device/vl2cap/%u/%s", (unsigned)device->number, node);
    return os_read(device->os, path, value, size);
}

static int write_own(struct vl2cap *device, const char *node, uint32_t number)
{
    char path[PATH_SIZE], value[16];

    snprintf(path, sizeof(path), "device/vl2cap/%u/%s", (unsigned)device->number, node);
    snprintf(value, sizeof(value), "%u", (unsigned)number);
    return os_write(device->os, path, value);
}

static int read_backend(struct vl2cap *device, const char *node, char *value, size_t size)
{
    char path[PATH_SIZE + 32];

    snprintf(path, sizeof(path), "%s/%s", device->backend, node);
    return os_read(device->os, path, value, size);
}

/* A decimal number of 32 bits, and nothing else. */
static bool parse_number(const char *untrusted_text, uint32_t *number)
{
    uint64_t value = 0;
    size_t digits = 0;

    for (; untrusted_text[digits] >= '0' && untrusted_text[digits] <= '9' && digits < 10; digits++)
        value = value * 10 + (uint64_t)(untrusted_text[digits] - '0');
    *number = (uint32_t)value;
    return digits > 0 && !untrusted_text[digits] && value <= UINT32_MAX;
}

static unsigned backend_state(struct vl2cap *device)
{
    char untrusted_text[OS_VALUE_SIZE];
    uint32_t state;

    if (read_backend(device, "state", untrusted_text, sizeof(untrusted_text)) < 0 ||
        !parse_number(untrusted_text, &state) || state > CLOSED)
        return UNKNOWN;
    return state;
}

static bool backend_has(struct vl2cap *device, const char *node)
{
    char untrusted_text[OS_VALUE_SIZE];

    return read_backend(device, node, untrusted_text, sizeof(untrusted_text)) == 1 && untrusted_text[0] == '1';
}

/* What the device's directory names: the backend's directory and domain. */
static bool read_link(struct vl2cap *device, char backend[PATH_SIZE], uint32_t *domid)
{
    char text[OS_VALUE_SIZE];

    return read_own(device, "backend", backend, PATH_SIZE) > 0 && read_own(device, "backend-id", text, sizeof(text)) > 0 &&
           parse_number(text, domid);
}

/* A device that was made anew unseen by us names another backend, or, where we are past Initialising, says 1. */
static bool is_ours(struct vl2cap *device)
{
    char text[PATH_SIZE];
    uint32_t domid;

    if (device->state == INITIALISING)
        return read_link(device, text, &domid) && domid == device->backend_domid && !strcmp(text, device->backend);
    return read_own(device, "state", text, sizeof(text)) >= 0 && strcmp(text, "1") != 0;
}

/* The connection ----------------------------------------------------------------------------------------------------- */

static void lose(struct vl2cap *device)
{
    device->connected = device->told = false;
    device->info_id = 0;
    device->ask_at_us = 0;
    objects_lose(device);
}

/* The backend has let go of everything, or is gone. */
static void detach(struct vl2cap *device)
{
    lose(device);
    objects_let_go(device);
    if (device->offered) {
        if (device->port)
            os_evtchn_close(device->os, device->port);
        os_unshare(device->os, &device->page, 1);
    }
    device->port = 0;
    device->offered = false;
}

static void pause_after_fault(struct vl2cap *device, const char *reason)
{
    snprintf(device->trouble, sizeof(device->trouble), "%s", reason);
    device->closed_until_us = os_now_us() + device->pause_us;
    device->pause_us = device->pause_us < LAST_PAUSE_US / 2 ? 2 * device->pause_us : LAST_PAUSE_US;
}

static void write_state(struct vl2cap *device, enum xenbus_state state)
{
    device->cannot_write = write_own(device, "state", (uint32_t)state) < 0;
    if (device->cannot_write)
        pause_after_fault(device, "xenstore does not let this program write its state");
    device->state = state;
}

void handshake_break_off(struct vl2cap *device, const char *reason)
{
    lose(device);
    pause_after_fault(device, reason);
    write_state(device, CLOSING);       /* the pages stay shared until the backend is Closing, too */
}

/* Shares the command ring and says where it is. Returns why not. */
static const char *offer(struct vl2cap *device)
{
    char untrusted_text[OS_VALUE_SIZE];
    uint32_t order;

    if (read_backend(device, "versions", untrusted_text, sizeof(untrusted_text)) < 0)
        return "the backend names no versions";
    for (const char *word = untrusted_text; strcmp(word, "1") != 0 && strncmp(word, "1,", 2) != 0;) {
        word = strchr(word, ',');
        if (!word++)
            return "the backend does not speak version 1";
    }
    if (read_backend(device, "max-page-order", untrusted_text, sizeof(untrusted_text)) < 0 ||
        !parse_number(untrusted_text, &order) || order < L2CAPIF_MIN_RING_ORDER)
        return "the backend's max-page-order is no number above 0";
    device->max_order = order < L2CAPIF_MAX_RING_ORDER ? order : L2CAPIF_MAX_RING_ORDER;
    device->knows_info_wait = backend_has(device, "feature-info-wait");
    device->knows_echo = backend_has(device, "feature-echo");
    if (os_share(device->os, device->backend_domid, &device->page, 1))
        return "no page can be shared with the backend's domain";
    device->offered = true;
    if (os_evtchn_alloc(device->os, device->backend_domid, &device->port))
        return "no event channel for the backend's domain";
    command_ring_init(&device->ring, device->page.memory);
    if (write_own(device, "version", L2CAPIF_VERSION) < 0 || write_own(device, "ring-ref", device->page.ref) < 0 ||
        write_own(device, "event-channel", device->port) < 0)
        return "xenstore does not let this program write what it offers";
    return NULL;
}

static void receive_connected(struct vl2cap *device)
{
    write_state(device, CONNECTED);
    device->connected = true;
    device->pause_us = FIRST_PAUSE_US;
    device->trouble[0] = '\0';
    commands_ask_info(device);
}

/* The handshake ------------------------------------------------------------------------------------------------------ */

enum action { OFFER, ATTACH, DETACH };

#define BIT(state) (1u << (state))
#define NOT_YET_CONNECTED (BIT(INITIALISING) | BIT(INIT_WAIT))
#define LEAVING (BIT(CLOSING) | BIT(CLOSED) | BIT(UNKNOWN))

/* Our state, states of the backend, what to do, our state afterwards. In a case that is not here we wait. */
static const struct step {
    enum xenbus_state own;
    unsigned backend;
    enum action action;
    enum xenbus_state after;
} steps[] = {
    {INITIALISING, BIT(INIT_WAIT), OFFER, INITIALISED},
    {INITIALISED, BIT(CONNECTED), ATTACH, CONNECTED},
    {INITIALISED, LEAVING, DETACH, CLOSING},
    {CONNECTED, NOT_YET_CONNECTED | LEAVING, DETACH, CLOSING},  /* it was started again, and knows nothing of us */
    {CLOSING, NOT_YET_CONNECTED | LEAVING, DETACH, CLOSED},
    {CLOSED, NOT_YET_CONNECTED | BIT(CLOSED), DETACH, INITIALISING},
};

static const struct step *next_step(struct vl2cap *device)
{
    unsigned backend = backend_state(device);

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
        if (steps[i].own == device->state && steps[i].backend & BIT(backend))
            return &steps[i];
    return NULL;
}

/* Lets go of a device that is gone or was made anew, without writing to its directory. */
static void forget(struct vl2cap *device)
{
    detach(device);
    os_watch(device->os, BACKEND, NULL);
    if (!device->cannot_write)
        device->closed_until_us = 0;    /* a device that was made anew has no faults */
    device->state = UNKNOWN;
    device->backend[0] = '\0';
}

/* Takes up the device, if there is one, from where another program may have left it. Returns whether there is. */
static bool load(struct vl2cap *device)
{
    char path[PATH_SIZE + 8], text[OS_VALUE_SIZE];
    uint32_t own;

    if (!read_link(device, device->backend, &device->backend_domid)) {
        device->backend[0] = '\0';
        return false;
    }
    if (os_read(device->os, "domid", text, sizeof(text)) > 0 && parse_number(text, &own) && own == device->backend_domid) {
        snprintf(device->trouble, sizeof(device->trouble), "the backend is in this domain itself");
        return false;
    }
    snprintf(path, sizeof(path), "%s/state", device->backend);
    if (os_watch(device->os, BACKEND, path) < 0) {
        pause_after_fault(device, "xenstore does not let this program watch the backend");
        return false;
    }
    if (read_own(device, "state", text, sizeof(text)) == 1 && (text[0] == '1' || text[0] == '6'))
        device->state = text[0] == '1' ? INITIALISING : CLOSED;
    else
        write_state(device, CLOSING);
    return true;
}

/* Does one step. Returns whether there may be another. */
static bool advance(struct vl2cap *device)
{
    const struct step *step;
    const char *reason;

    if (device->state == UNKNOWN)
        return !device->leaving && os_now_us() >= device->closed_until_us && load(device);
    if (!is_ours(device)) {
        forget(device);
        return true;
    }
    if (device->state == CLOSED && (device->leaving || os_now_us() < device->closed_until_us))
        return false;
    step = next_step(device);
    if (!step)
        return false;
    switch (step->action) {
    case OFFER:
        reason = offer(device);
        if (reason) {
            detach(device);
            handshake_break_off(device, reason);
            return true;
        }
        if (!is_ours(device)) {         /* made anew while we wrote: what we wrote is there, and is closed */
            forget(device);
            return true;
        }
        write_state(device, INITIALISED);
        return true;
    case ATTACH:
        receive_connected(device);
        return true;
    default:
        detach(device);
        write_state(device, step->after);
        return true;
    }
}

void handshake_follow(struct vl2cap *device)
{
    unsigned steps_left = STEPS_AT_ONCE;

    while (steps_left && advance(device))
        steps_left--;
    device->again = steps_left == 0;
}

/* From first to last ------------------------------------------------------------------------------------------------- */

int handshake_begin(struct vl2cap *device)
{
    char path[PATH_SIZE];
    int error;

    device->pause_us = FIRST_PAUSE_US;
    snprintf(path, sizeof(path), "device/vl2cap/%u", (unsigned)device->number);
    error = os_watch(device->os, OWN, path);
    if (!error)
        handshake_follow(device);
    return error;
}

bool handshake_leave(struct vl2cap *device)
{
    device->leaving = true;
    lose(device);
    if ((device->state != INITIALISED && device->state != CONNECTED) || !is_ours(device))
        return device->state == CLOSING;
    write_state(device, CLOSING);
    return true;
}

void handshake_end(struct vl2cap *device)
{
    detach(device);
    if (device->state != UNKNOWN && device->state != CLOSED && is_ours(device))
        write_state(device, CLOSED);
}
