/* SPDX-License-Identifier: MIT */
/* Waits for any of several objects. */

#include "internal.h"

struct polling {
    struct vl2cap_poll *objects;
    unsigned count;
};

static short poll_one(struct vl2cap_object *object, short events, bool arm)
{
    if (object->request.cmd == L2CAPIF_CMD_LISTEN)
        return (short)(events & channel_poll_listener(object));
    if (object->order)
        return stream_poll(object, events, arm);
    return object->state == OPEN || object->state == FAILED ? events : 0;
}

static int try_poll(void *argument, bool arm)
{
    struct polling *polling = argument;
    int ready = 0;

    for (unsigned i = 0; i < polling->count; i++) {
        struct vl2cap_poll *each = &polling->objects[i];

        each->revents = each->object ? poll_one(each->object, each->events, arm) : 0;
        ready += each->revents != 0;
    }
    return ready ? ready : VL2CAP_NOT_YET;
}

int vl2cap_poll(struct vl2cap *device, struct vl2cap_poll *objects, unsigned count, int timeout_ms)
{
    struct polling polling = {objects, count};

    return device_wait(device, try_poll, &polling, timeout_ms);
}
