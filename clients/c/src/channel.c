/* SPDX-License-Identifier: MIT */
/* Channels and listeners. */

#include "internal.h"

#include <string.h>

#define DEFAULT_MTU 2048u

static uint8_t transport_of(const struct vl2cap_address *address)
{
    return address->type == VL2CAP_BREDR ? VL2CAP_TRANSPORT_BREDR : VL2CAP_TRANSPORT_LE;
}

/* A PSM has an odd low octet and an even high one (Vol 3, Part A, 4.2); an SPSM is 0x0001 to 0x00FF (4.22). */
static bool psm_is_legal(uint8_t transport, uint16_t psm)
{
    return transport == VL2CAP_TRANSPORT_LE ? psm >= 1 && psm <= 0xff : (psm & 0x0101) == 0x0001;
}

/* What a channel of this kind may answer. Returns VL2CAP_EINVAL or VL2CAP_EOPNOTSUPP if there can be none. */
static int expect(struct vl2cap *device, uint8_t transport, uint16_t psm, uint16_t mtu, uint8_t security,
                  struct expected *expected)
{
    uint32_t largest = data_ring_longest(device->max_order), least = transport == VL2CAP_TRANSPORT_LE ? 23 : 48;

    if (!device->told)
        return failure_note(device, VL2CAP_GONE, "not connected to the driver domain now");
    if (device->info.max_mtu < largest)
        largest = device->info.max_mtu;
    if (mtu == 0)
        mtu = (uint16_t)(DEFAULT_MTU < largest ? DEFAULT_MTU : largest);
    if (mtu < least || mtu > largest)
        return failure_note(device, VL2CAP_EINVAL, "an MTU of %u: it is %u to %u here", (unsigned)mtu, (unsigned)least,
                            (unsigned)largest);
    if (security > VL2CAP_SECURITY_SC)
        return failure_note(device, VL2CAP_EINVAL, "a level of security of %u: it is 0 to 4", (unsigned)security);
    if (security && !(device->info.features & VL2CAP_KNOWS_SECURITY))
        return failure_note(device, VL2CAP_EOPNOTSUPP, "usbbtd in the driver domain is too old for levels of security");
    *expected = (struct expected){.transport = transport, .security = security, .psm = psm, .mtu = mtu};
    return 0;
}

/* ATT's, and those that were assigned or may yet be: "Fixed channels" of docs/l2capif.md. */
static int check_cid(struct vl2cap *device, uint8_t transport, uint16_t cid)
{
    if (transport != VL2CAP_TRANSPORT_LE)
        return failure_note(device, VL2CAP_EINVAL, "fixed channels are those of LE");
    if (cid == VL2CAP_CID_ATT || (cid >= 0x0020 && cid <= 0x003e))
        return 0;
    return failure_note(device, VL2CAP_EINVAL, "CID 0x%04x is none that a guest may have: that is 0x0004, or 0x0020 to 0x003e",
                        (unsigned)cid);
}

static int check_psm(struct vl2cap *device, uint8_t transport, uint16_t psm)
{
    if (psm_is_legal(transport, psm))
        return 0;
    if (transport == VL2CAP_TRANSPORT_LE)
        return failure_note(device, VL2CAP_EINVAL, "SPSM 0x%04x is not legal: it is 0x0001 to 0x00ff", (unsigned)psm);
    return failure_note(device, VL2CAP_EINVAL, "PSM 0x%04x is not legal: it must be odd, and have an even upper octet",
                        (unsigned)psm);
}

int vl2cap_connect(struct vl2cap *device, const struct vl2cap_connect *to, struct vl2cap_object **channel)
{
    struct making making = {.request = {.cmd = L2CAPIF_CMD_CONNECT}, .nonblocking = to->nonblocking};
    struct l2capif_connect *connect = &making.request.u.connect;
    uint8_t transport = transport_of(&to->peer);
    int error;

    *channel = NULL;
    if (to->peer.type > VL2CAP_LE_RANDOM || !is_reserved(to->reserved))
        return failure_note(device, VL2CAP_EINVAL, "the type of the address, or what is reserved, is not legal");
    error = to->fixed ? check_cid(device, transport, to->psm) : check_psm(device, transport, to->psm);
    if (error)
        return error;
    error = expect(device, transport, to->psm, to->mtu, to->security, &making.expected);
    if (error)
        return error;
    if (to->fixed && !(device->info.features & VL2CAP_KNOWS_FIXED))
        return failure_note(device, VL2CAP_EOPNOTSUPP, "usbbtd in the driver domain is too old for fixed channels");
    if (to->fixed)
        making.request.flags = L2CAPIF_CONNECT_FIXED;
    making.order = stream_order(device, making.expected.mtu);
    memcpy(connect->addr, to->peer.octets, sizeof(connect->addr));
    connect->addr_type = to->peer.type;
    connect->security = to->security;
    connect->psm = to->psm;
    connect->mtu = making.expected.mtu;
    connect->timeout_ms = to->timeout_ms;
    return object_make(device, &making, channel);
}

int vl2cap_listen(struct vl2cap *device, const struct vl2cap_listen *on, struct vl2cap_object **listener)
{
    struct making making = {.request = {.cmd = L2CAPIF_CMD_LISTEN}, .nonblocking = on->nonblocking};
    struct l2capif_listen *listen = &making.request.u.listen;
    int error;

    *listener = NULL;
    if (on->transport > VL2CAP_TRANSPORT_LE || !is_reserved(on->reserved))
        return failure_note(device, VL2CAP_EINVAL, "the transport, or what is reserved, is not legal");
    if ((error = check_psm(device, on->transport, on->psm)) ||
        (error = expect(device, on->transport, on->psm, on->mtu, on->security, &making.expected)))
        return error;
    listen->psm = on->psm;
    listen->mtu = making.expected.mtu;
    listen->backlog = on->backlog;
    listen->transport = on->transport;
    listen->security = on->security;
    return object_make(device, &making, listener);
}

/* Asks for the next peer, unless that was done already. */
static int ask_for_peer(struct vl2cap_object *listener)
{
    struct making making = {.request = {.cmd = L2CAPIF_CMD_ACCEPT}, .nonblocking = true};

    if (listener->accepting)
        return 0;
    making.expected = listener->expected;
    making.order = stream_order(listener->device, listener->expected.mtu);
    making.request.u.accept.listener = listener->request.id;
    return object_make(listener->device, &making, &listener->accepting);
}

/* 0 if a peer may come; an error; VL2CAP_NOT_YET while LISTEN has no answer. */
static int may_accept(struct vl2cap_object *listener)
{
    if (listener->request.cmd != L2CAPIF_CMD_LISTEN)
        return failure_note(listener->device, VL2CAP_EOPNOTSUPP, "this object is no listener");
    if (listener->state == FAILED)
        return failure_of(listener);
    return listener->state == OPEN ? ask_for_peer(listener) : VL2CAP_NOT_YET;
}

static int try_accept(void *argument, bool arm)
{
    struct vl2cap_object *listener = argument;
    int error = may_accept(listener);

    (void)arm;              /* responses always bring an event */
    if (error)
        return error;
    if (listener->accepting->state == FAILED)
        return failure_of(listener->accepting);
    if (listener->accepting->state == OPEN)
        return 0;
    listener->unseen = false;
    return VL2CAP_NOT_YET;
}

int vl2cap_accept(struct vl2cap_object *listener, struct vl2cap_object **channel, int timeout_ms)
{
    int error = device_wait(listener->device, try_accept, listener, timeout_ms);

    *channel = NULL;
    if (error == VL2CAP_NOT_YET || !listener->accepting)
        return error;
    if (error)
        vl2cap_release(listener->accepting, 0);
    else
        *channel = listener->accepting;
    listener->accepting = NULL;
    listener->unseen = true;    /* the next peer is asked for by the next call */
    return error;
}

short channel_poll_listener(struct vl2cap_object *listener)
{
    struct vl2cap_failure failure = listener->device->failure;
    int result = try_accept(listener, true);

    listener->device->failure = failure;        /* vl2cap_accept() says it again */
    return result == VL2CAP_NOT_YET ? 0 : VL2CAP_POLLIN;
}

static bool is_channel(const struct vl2cap_object *object)
{
    return object->request.cmd == L2CAPIF_CMD_CONNECT || object->request.cmd == L2CAPIF_CMD_ACCEPT;
}

int vl2cap_channel(const struct vl2cap_object *object, struct vl2cap_channel *channel)
{
    const struct l2capif_channel_rsp *response = &object->response.u.channel;

    if (!is_channel(object))
        return failure_note(object->device, VL2CAP_EOPNOTSUPP, "this object is no channel");
    if (object->state != OPEN)
        return object->state == FAILED ? failure_of(object) : VL2CAP_NOT_YET;
    memset(channel, 0, sizeof(*channel));
    memcpy(channel->peer.octets, response->addr, sizeof(response->addr));
    channel->peer.type = response->addr_type;
    channel->psm = response->psm;
    channel->tx_mtu = response->tx_mtu;
    channel->rx_mtu = response->rx_mtu;
    channel->security = response->security;
    return 0;
}

int vl2cap_send(struct vl2cap_object *channel, const void *sdu, size_t length, int timeout_ms)
{
    if (!is_channel(channel))
        return failure_note(channel->device, VL2CAP_EOPNOTSUPP, "this object is no channel");
    return stream_send(channel, sdu, length, timeout_ms);
}

int vl2cap_recv(struct vl2cap_object *channel, void *sdu, size_t size, int timeout_ms)
{
    if (!is_channel(channel))
        return failure_note(channel->device, VL2CAP_EOPNOTSUPP, "this object is no channel");
    return stream_receive(channel, sdu, size, channel->expected.mtu, timeout_ms);
}
