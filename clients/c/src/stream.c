/* SPDX-License-Identifier: MIT */
/* Messages of data rings, in both directions, and their end. */

#include "internal.h"

#define MESSAGES_A_HALF 4u      /* of the longest, that a ring should hold each way */
#define LAST_ERROR 4095

unsigned stream_order(const struct vl2cap *device, uint32_t longest)
{
    unsigned order = L2CAPIF_MIN_RING_ORDER;

    if (longest > data_ring_longest(device->max_order))
        return 0;
    while (order < device->max_order &&
           data_ring_longest(order) + L2CAPIF_LENGTH_SIZE < MESSAGES_A_HALF * (longest + L2CAPIF_LENGTH_SIZE))
        order++;
    return order;
}

static void notify(struct vl2cap_object *object)
{
    if (object->port)
        os_evtchn_notify(object->device->os, object->port);
}

static const char *end_text(const struct vl2cap_object *object)
{
    switch (object->end) {
    case VL2CAP_EPERM:
        return "the link is not secure enough any more";
    case VL2CAP_EACCES:
        return "the driver domain does not allow it any more";
    case VL2CAP_ENOTCONN:
        return object->shut ? "it was shut down here" : "the peer disconnected";
    case VL2CAP_ETIMEDOUT:
        return "the link was lost";
    case VL2CAP_EBADMSG:
        return "the peer, this guest or the driver domain broke the protocol";
    default:
        return vl2cap_strerror(object->end);
    }
}

static int ended(struct vl2cap_object *object)
{
    return failure_note(object->device, object->end, "the channel has ended: %s", end_text(object));
}

static int broke(struct vl2cap_object *object)
{
    object->broken = true;
    if (!object->end)
        object->end = VL2CAP_EBADMSG;
    return ended(object);
}

/* Notes that the backend has ended its half, which it may have done with any number. Returns whether it has. */
static bool look_for_end(struct vl2cap_object *object)
{
    int32_t untrusted_error = object->end || object->broken ? 0 : data_ring_error(&object->ring);

    if (untrusted_error)
        object->end = untrusted_error < 0 && untrusted_error >= -LAST_ERROR ? (int)untrusted_error : VL2CAP_EBADMSG;
    return object->end != 0;
}

/* 0 if the ring can be used; why not, or VL2CAP_NOT_YET. */
static int usable(struct vl2cap_object *object)
{
    if (object->state == FAILED)
        return failure_of(object);
    if (object->order == 0)
        return failure_note(object->device, VL2CAP_EOPNOTSUPP, "this object has no messages");
    return object->state == OPEN ? 0 : VL2CAP_NOT_YET;
}

struct sending {
    struct vl2cap_object *object;
    const void *message;
    size_t length;
};

/* The longest message that may be sent: that a ring holds more is of no use. */
static uint32_t longest_to_send(const struct vl2cap_object *object)
{
    return object->request.cmd == L2CAPIF_CMD_AGENT ? sizeof(struct l2capif_answer) : object->response.u.channel.tx_mtu;
}

static int try_send(void *argument, bool arm)
{
    struct sending *sending = argument;
    struct vl2cap_object *object = sending->object;
    int error = usable(object);

    if (error)
        return error;
    if (look_for_end(object))
        return ended(object);
    if (object->shut)
        return failure_note(object->device, VL2CAP_ENOTCONN, "this end of the channel was shut down");
    if (sending->length > longest_to_send(object))
        return failure_note(object->device, VL2CAP_EMSGSIZE, "an SDU of %lu octets; the peer takes %u at most",
                            (unsigned long)sending->length, (unsigned)longest_to_send(object));
    switch (data_ring_send(&object->ring, sending->message, (uint32_t)sending->length, arm)) {
    case RING_NOTIFY:
        notify(object);
        object->has_sent = true;
        return 0;
    case RING_DONE:
        object->has_sent = true;
        return 0;
    case RING_EMPTY:
        return look_for_end(object) ? ended(object) : VL2CAP_NOT_YET;
    default:
        return broke(object);
    }
}

int stream_send(struct vl2cap_object *object, const void *message, size_t length, int timeout_ms)
{
    struct sending sending = {object, message, length};

    return device_wait(object->device, try_send, &sending, timeout_ms);
}

struct receiving {
    struct vl2cap_object *object;
    void *message;
    uint32_t size, longest;
};

static int try_receive(void *argument, bool arm)
{
    struct receiving *receiving = argument;
    struct vl2cap_object *object = receiving->object;
    uint32_t length = 0;
    int error = usable(object);

    if (error)
        return error;
    for (;;) {
        if (object->broken)
            return ended(object);
        switch (data_ring_receive(&object->ring, receiving->message, receiving->size, &length, arm)) {
        case RING_NOTIFY:
            notify(object);
            object->unseen = true;
            return (int)length;
        case RING_DONE:
            object->unseen = true;      /* of the next message an event comes only after there was none */
            return (int)length;
        case RING_TOO_LONG:
            if (length > receiving->longest)
                return broke(object);
            return failure_note(object->device, VL2CAP_EMSGSIZE, "a message of %u octets for a buffer of %u",
                          (unsigned)length, (unsigned)receiving->size);
        case RING_EMPTY:
            if (object->end)
                return ended(object);
            if (!look_for_end(object)) {
                object->unseen = object->unseen && !arm;
                return VL2CAP_NOT_YET;
            }
            break;              /* what came before the end may have been seen only now */
        default:
            return broke(object);
        }
    }
}

int stream_receive(struct vl2cap_object *object, void *message, size_t size, uint32_t longest, int timeout_ms)
{
    struct receiving receiving = {object, message, size < longest ? (uint32_t)size : longest, longest};

    return device_wait(object->device, try_receive, &receiving, timeout_ms);
}

short stream_poll(struct vl2cap_object *object, short events, bool arm)
{
    short found = 0;

    if (object->state != OPEN)
        return object->state == FAILED ? events : 0;
    if (object->broken)
        return events;
    if (events & VL2CAP_POLLIN && (data_ring_ready(&object->ring, arm) != RING_EMPTY || look_for_end(object)))
        found |= VL2CAP_POLLIN;
    else if (events & VL2CAP_POLLIN && arm)
        object->unseen = false;
    if (events & VL2CAP_POLLOUT &&
        (look_for_end(object) || object->shut ||
         data_ring_room(&object->ring, longest_to_send(object), arm) != RING_EMPTY))
        found |= VL2CAP_POLLOUT;
    return found;
}

struct dropping {
    struct receiving receiving;
    uint64_t until_us;
};

/* Who sends without end must not keep us beyond the time. */
static int try_drop(void *argument, bool arm)
{
    struct dropping *dropping = argument;
    int result;

    do
        result = try_receive(&dropping->receiving, arm);
    while (result >= 0 && os_now_us() < dropping->until_us);
    return result >= 0 ? VL2CAP_NOT_YET : result;
}

void stream_finish(struct vl2cap_object *object, int timeout_ms)
{
    struct vl2cap_failure failure = object->device->failure;
    struct dropping dropping = {{object, NULL, UINT32_MAX, UINT32_MAX}, UINT64_MAX};

    if (timeout_ms >= 0)
        dropping.until_us = os_now_us() + (uint64_t)timeout_ms * 1000;
    vl2cap_shutdown(object);
    device_wait_out(object->device, try_drop, &dropping, timeout_ms);
    object->device->failure = failure;      /* that it ends is none */
}

int vl2cap_shutdown(struct vl2cap_object *object)
{
    int error = usable(object);

    if (error)
        return error;
    if (look_for_end(object) || object->shut)
        return 0;
    object->shut = true;
    data_ring_end(&object->ring, VL2CAP_ENOTCONN);
    notify(object);
    return 0;
}
