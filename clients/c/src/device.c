/* SPDX-License-Identifier: MIT */
/* A device: opens, serves and closes it, and waits for what calls wait for. */

#include "internal.h"

#include <stdlib.h>

#define GOODBYE_MS      2000            /* how long vl2cap_close() waits for the backend */
#define LONGEST_SPIN_US 1000u

/* Waiting ------------------------------------------------------------------------------------------------------------ */

static bool is_due(uint64_t at_us)
{
    return at_us && os_now_us() >= at_us;
}

/* How long the device itself may be left alone: ms, or -1 for without limit. */
static int time_left(const struct vl2cap *device)
{
    uint64_t at = device->state == CLOSED || device->state == UNKNOWN ? device->closed_until_us : 0, now;

    if (device->again)
        return 0;
    if (device->ask_at_us && (!at || device->ask_at_us < at))
        at = device->ask_at_us;
    if (!at)
        return -1;
    now = os_now_us();
    return at <= now ? 0 : (int)((at - now + 999) / 1000);
}

int vl2cap_timeout(const struct vl2cap *device)
{
    bool unseen = device->unseen;

    for (const struct vl2cap_object *object = device->objects; object && !unseen; object = object->next)
        unseen = object->unseen && !object->released;
    return unseen ? 0 : time_left(device);
}

/* Waits for something to happen, and does what it asks for. Returns os_wait()'s bits, or VL2CAP_EIO. */
static int serve(struct vl2cap *device, int timeout_ms)
{
    int ours = time_left(device);
    int events = os_wait(device->os, timeout_ms < 0 || (ours >= 0 && ours < timeout_ms) ? ours : timeout_ms);

    if (events < 0)
        return failure_note(device, events, "event channels or xenstore fail");
    if (events & OS_EVTCHN)
        commands_receive(device);
    if ((device->state == CLOSED || device->state == UNKNOWN) && is_due(device->closed_until_us)) {
        device->closed_until_us = 0;
        device->again = true;
    }
    if (events & OS_STORE || device->again)
        handshake_follow(device);
    if (device->connected && is_due(device->ask_at_us))
        commands_ask_info(device);
    return events;
}

int vl2cap_process(struct vl2cap *device)
{
    int events;

    device->unseen = false;     /* the program looks now; what it leaves again is left on purpose */
    for (struct vl2cap_object *object = device->objects; object; object = object->next)
        object->unseen = false;
    events = serve(device, 0);
    return events < 0 ? events : 0;
}

/* As serve(), within a call that waits: the loop of the program has still to learn of what it takes. */
static int serve_unseen(struct vl2cap *device, int timeout_ms)
{
    int events = serve(device, timeout_ms);

    device->unseen = device->unseen || (events > 0 && events & (OS_STORE | OS_EVTCHN));
    return events;
}

vl2cap_event_t vl2cap_event(const struct vl2cap *device)
{
    return os_event(device->os);
}

static int look_at_once(struct vl2cap *device, int (*attempt)(void *argument, bool arm), void *argument)
{
    uint64_t until = os_now_us() + device->spin_us;
    int result;

    do
        result = attempt(argument, false);
    while (result == VL2CAP_NOT_YET && os_now_us() < until);
    return result;
}

static int wait_for(struct vl2cap *device, int (*attempt)(void *argument, bool arm), void *argument, int timeout_ms,
                    bool through_signals)
{
    bool spins = device->spin_us && timeout_ms;
    int result = attempt(argument, !spins);
    uint64_t deadline, now;

    if (result != VL2CAP_NOT_YET || timeout_ms == 0)
        return result;
    deadline = timeout_ms < 0 ? UINT64_MAX : os_now_us() + (uint64_t)timeout_ms * 1000;
    for (;;) {
        if (spins && ((result = look_at_once(device, attempt, argument)) != VL2CAP_NOT_YET ||
                      (result = attempt(argument, true)) != VL2CAP_NOT_YET))
            return result;
        now = timeout_ms < 0 ? 0 : os_now_us();
        if (now >= deadline)
            return VL2CAP_NOT_YET;
        result = serve_unseen(device, timeout_ms < 0 ? -1 : (int)((deadline - now + 999) / 1000));
        if (result < 0)
            return result;
        if (result & OS_INTERRUPTED && !through_signals)
            return VL2CAP_NOT_YET;
        result = attempt(argument, !spins);
        if (result != VL2CAP_NOT_YET)
            return result;
    }
}

int device_wait(struct vl2cap *device, int (*attempt)(void *argument, bool arm), void *argument, int timeout_ms)
{
    return wait_for(device, attempt, argument, timeout_ms, false);
}

int device_wait_out(struct vl2cap *device, int (*attempt)(void *argument, bool arm), void *argument, int timeout_ms)
{
    return wait_for(device, attempt, argument, timeout_ms, timeout_ms >= 0);
}

/* Open and close ----------------------------------------------------------------------------------------------------- */

int vl2cap_open(struct vl2cap **opened, const struct vl2cap_options *options)
{
    static const struct vl2cap_options none;
    struct vl2cap *device;
    int error;

    *opened = NULL;
    options = options ? options : &none;
    if (options->spin_us > LONGEST_SPIN_US || !is_reserved(options->reserved))
        return VL2CAP_EINVAL;
    device = calloc(1, sizeof(*device));
    if (!device)
        return VL2CAP_ENOMEM;
    device->number = options->device;
    device->spin_us = options->spin_us;
    error = os_open(&device->os, device->number);
    if (error) {
        free(device);
        return error;
    }
    error = handshake_begin(device);
    if (error) {
        os_close(device->os);
        free(device);
        return error;
    }
    *opened = device;
    return 0;
}

void vl2cap_explain_open(int error, char *text, size_t size)
{
    os_explain(error, text, size);
}

static int try_left(void *argument, bool arm)
{
    const struct vl2cap *device = argument;

    (void)arm;              /* watches always bring an event */
    return device->state == CLOSED || device->state == UNKNOWN ? 0 : VL2CAP_NOT_YET;
}

void vl2cap_close(struct vl2cap *device)
{
    if (!device)
        return;
    for (struct vl2cap_object *object = device->objects; object; object = object->next)
        object->released = true;
    if (handshake_leave(device))
        device_wait_out(device, try_left, device, GOODBYE_MS);
    handshake_end(device);
    os_close(device->os);
    free(device);
}

/* What the adapter is ------------------------------------------------------------------------------------------------ */

static int what_is_missing(struct vl2cap *device)
{
    unsigned number = (unsigned)device->number;

    if (device->told)
        return failure_note(device, VL2CAP_NOT_YET, "the driver domain has no Bluetooth controller now");
    if (device->state == UNKNOWN && !device->trouble[0])
        return failure_note(device, VL2CAP_NOT_YET, "this guest has no device/vl2cap/%u: attach one to it in dom0", number);
    return failure_note(device, VL2CAP_NOT_YET,
                        "device/vl2cap/%u: the backend in domain %u does not answer: is usbbtd running there?%s%s%s", number,
                        (unsigned)device->backend_domid, device->trouble[0] ? " (last: " : "", device->trouble,
                        device->trouble[0] ? ")" : "");
}

static int try_connected(void *argument, bool arm)
{
    const struct vl2cap *device = argument;

    (void)arm;
    return device->told ? 0 : VL2CAP_NOT_YET;
}

static int try_ready(void *argument, bool arm)
{
    const struct vl2cap *device = argument;

    (void)arm;
    return device->told && device->info.powered ? 0 : VL2CAP_NOT_YET;
}

/* The backend may have gone, or told something else, since the program was in a call. */
static int wait_for_backend(struct vl2cap *device, int (*attempt)(void *argument, bool arm), int timeout_ms)
{
    int error = serve_unseen(device, 0);

    if (error >= 0)
        error = device_wait(device, attempt, device, timeout_ms);
    return error == VL2CAP_NOT_YET ? what_is_missing(device) : error;
}

int vl2cap_wait_connected(struct vl2cap *device, int timeout_ms)
{
    return wait_for_backend(device, try_connected, timeout_ms);
}

int vl2cap_wait_ready(struct vl2cap *device, int timeout_ms)
{
    return wait_for_backend(device, try_ready, timeout_ms);
}

int vl2cap_info(struct vl2cap *device, struct vl2cap_info *info)
{
    if (!device->told)
        return failure_note(device, VL2CAP_GONE, "not connected to the driver domain now");
    *info = device->info;
    return 0;
}
