/* SPDX-License-Identifier: MIT */
/* What all objects have: the way from a request to the answer to RELEASE, and shared pages. */

#include "internal.h"

#include <stdlib.h>
#include <string.h>

/* Requests with a data ring have its reference and port in one place, wherever their other fields are. */
#define SAME_PLACE(request)                                                                                  \
    _Static_assert(offsetof(struct l2capif_##request, ref) == offsetof(struct l2capif_accept, ref) &&        \
                   offsetof(struct l2capif_##request, evtchn) == offsetof(struct l2capif_accept, evtchn),    \
                   #request)
SAME_PLACE(connect);
SAME_PLACE(scan);
SAME_PLACE(agent);
_Static_assert(RING_PAGES <= OS_MOST_PAGES, "pages");
_Static_assert(offsetof(struct l2capif_advertise_extended, ref) == offsetof(struct l2capif_accept, ref), "advertise");

/* Pages ------------------------------------------------------------------------------------------------------------ */

static int share(struct vl2cap_object *object, unsigned count)
{
    struct vl2cap *device = object->device;
    int error = os_share(device->os, device->backend_domid, object->pages, count);

    if (error)
        return failure_note(device, error, "%u pages cannot be shared with domain %u: are too many shared already?", count,
                      (unsigned)device->backend_domid);
    object->page_count = count;
    object->request.u.accept.ref = object->pages[0].ref;
    return 0;
}

static int share_ring(struct vl2cap_object *object)
{
    struct vl2cap *device = object->device;
    int error = share(object, 1 + (1u << object->order));

    if (!error) {
        data_ring_init(&object->ring, object->pages, object->order);
        error = os_evtchn_alloc(device->os, device->backend_domid, &object->port);
        if (error)
            failure_note(device, error, "no event channel for domain %u", (unsigned)device->backend_domid);
    }
    object->request.u.accept.evtchn = object->port;
    return error;
}

static int share_lent(struct vl2cap_object *object, const struct making *making)
{
    int error = share(object, 1);

    if (error)
        return error;
    if (making->lent_size[0])
        memcpy(object->pages[0].memory, making->lent[0], making->lent_size[0]);
    if (making->lent_size[1])
        memcpy(object->pages[0].memory + making->lent_size[0], making->lent[1], making->lent_size[1]);
    return 0;
}

void object_unshare(struct vl2cap_object *object)
{
    if (object->port)
        os_evtchn_close(object->device->os, object->port);
    object->port = 0;
    if (object->page_count)
        os_unshare(object->device->os, object->pages, object->page_count);
    object->page_count = 0;
}

/* Life ------------------------------------------------------------------------------------------------------------- */

void object_free(struct vl2cap_object *object)
{
    struct vl2cap_object **link = &object->device->objects;

    while (*link != object)
        link = &(*link)->next;
    *link = object->next;
    object_unshare(object);
    free(object->copy);
    free(object);
}

static void append(struct vl2cap_object *object)
{
    struct vl2cap_object **link = &object->device->objects;

    while (*link)
        link = &(*link)->next;
    *link = object;
}

bool is_reserved(const uint32_t reserved[4])
{
    return !(reserved[0] | reserved[1] | reserved[2] | reserved[3]);
}

int object_make(struct vl2cap *device, const struct making *making, struct vl2cap_object **made)
{
    struct vl2cap_object *object;
    int error = 0;

    *made = NULL;
    if (!device->told)
        return failure_note(device, VL2CAP_GONE, "not connected to the driver domain now");
    object = calloc(1, sizeof(*object));
    if (!object)
        return failure_note(device, VL2CAP_ENOMEM, "no memory");
    object->device = device;
    object->order = making->order;
    object->over_when_answered = making->over_when_answered;
    object->expected = making->expected;
    object->request = making->request;
    object->request.req_id = object->request.id = commands_new_id(device);
    append(object);
    if (object->order)
        error = share_ring(object);
    else if (making->lent_size[0] || making->lent_size[1])
        error = share_lent(object, making);
    if (error) {
        object_free(object);
        return error;
    }
    device->to_send = true;
    commands_send(device);
    if (!making->nonblocking && (error = vl2cap_wait(object, VL2CAP_FOREVER))) {
        vl2cap_release(object, 0);
        return error;
    }
    *made = object;
    return 0;
}

static int try_answered(void *argument, bool arm)
{
    struct vl2cap_object *object = argument;

    (void)arm;              /* responses always bring an event */
    switch (object->state) {
    case OPEN:
        return 0;
    case FAILED:
        return failure_of(object);
    default:
        return VL2CAP_NOT_YET;
    }
}

int vl2cap_wait(struct vl2cap_object *object, int timeout_ms)
{
    return device_wait(object->device, try_answered, object, timeout_ms);
}

void vl2cap_release(struct vl2cap_object *object, int linger_ms)
{
    if (!object)
        return;
    if (object->accepting)
        vl2cap_release(object->accepting, 0);
    object->accepting = NULL;
    if (object->state == OPEN && object->has_sent && linger_ms)
        stream_finish(object, linger_ms);
    object->released = true;
    if (object->device->connected &&
        (object->state == ASKED || (object->state == OPEN && !object->over_when_answered))) {
        object->device->to_send = true;
        commands_send(object->device);      /* the answer frees it */
    } else if (object->state == QUEUED || object->page_count == 0) {
        object_free(object);
    }                                       /* else the backend is being left, and may have the pages mapped */
}

void objects_lose(struct vl2cap *device)
{
    for (struct vl2cap_object *object = device->objects; object; object = object->next) {
        if (object->state == OPEN && object->over_when_answered)
            continue;
        if (object->state == OPEN && object->order) {
            object->end = object->end ? object->end : VL2CAP_GONE;
        } else if (object->state != FAILED) {
            object->state = FAILED;
            object->error = VL2CAP_GONE;
        }
    }
}

/* Keeps what the backend wrote before it went away for the program, which has not read it. */
static void keep_unread(struct vl2cap_object *object)
{
    if (object->broken || data_ring_ready(&object->ring, false) != RING_DONE)
        object->broken = true;
    else if ((object->copy = malloc(data_ring_copy_size(&object->ring))) != NULL)
        data_ring_move(&object->ring, object->copy);
    else
        object->broken = true;
}

void objects_let_go(struct vl2cap *device)
{
    for (struct vl2cap_object *object = device->objects, *next; object; object = next) {
        next = object->next;
        if (object->released) {
            object_free(object);
            continue;
        }
        if (object->state == OPEN && object->order && object->page_count)
            keep_unread(object);
        object_unshare(object);
    }
}

void vl2cap_set_user(struct vl2cap_object *object, void *user)
{
    object->user = user;
}

void *vl2cap_user(const struct vl2cap_object *object)
{
    return object->user;
}
