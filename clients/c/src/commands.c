/* SPDX-License-Identifier: MIT */
/* Requests, as far as the command ring has room for them, and responses, which are checked against them. */

#include "internal.h"

#include <string.h>

#define ASK_AGAIN_US 200000u    /* between two INFOs to a backend that does not tell changes by itself */
#define LAST_ERROR 4095

static const uint16_t minimum_mtu[] = {[L2CAPIF_TRANSPORT_BREDR] = 48, [L2CAPIF_TRANSPORT_LE] = 23};

static bool in_use(const struct vl2cap *device, uint32_t id)
{
    if (id == 0 || id == device->info_id)
        return true;
    for (const struct vl2cap_object *object = device->objects; object; object = object->next)
        if (object->request.id == id || object->release_id == id)
            return true;
    return false;
}

uint32_t commands_new_id(struct vl2cap *device)
{
    do
        device->last_id++;
    while (in_use(device, device->last_id));
    return device->last_id;
}

/* Sending ---------------------------------------------------------------------------------------------------------- */

static void put(struct vl2cap *device, const struct l2capif_request *request, bool *notify)
{
    if (command_ring_put(&device->ring, request) == RING_NOTIFY)
        *notify = true;
}

static bool is_held(const struct vl2cap_object *object)
{
    return object->state == ASKED || (object->state == OPEN && !object->over_when_answered);
}

/* Returns whether a RELEASE has no answer: what it ends counts towards this guest's limits until then. */
static bool send_releases(struct vl2cap *device, bool *notify)
{
    bool unanswered = false;

    for (struct vl2cap_object *object = device->objects; object; object = object->next) {
        if (object->released && !object->release_id && is_held(object)) {
            struct l2capif_request request = {.cmd = L2CAPIF_CMD_RELEASE, .id = object->request.id};

            if (!command_ring_room(&device->ring)) {
                device->to_send = true;
                return true;
            }
            request.req_id = object->release_id = commands_new_id(device);
            put(device, &request, notify);
        }
        unanswered = unanswered || object->release_id;
    }
    return unanswered;
}

void commands_send(struct vl2cap *device)
{
    bool notify = false, wait;

    if (!device->connected || !device->to_send)
        return;
    device->to_send = false;
    wait = send_releases(device, &notify);
    for (struct vl2cap_object *object = device->objects; object; object = object->next) {
        if (object->state != QUEUED)
            continue;
        if (wait || !command_ring_room(&device->ring)) {
            device->to_send = true;
            break;
        }
        object->state = ASKED;
        put(device, &object->request, &notify);
    }
    if (notify)
        os_evtchn_notify(device->os, device->port);
}

void commands_ask_info(struct vl2cap *device)
{
    struct l2capif_request request = {.cmd = L2CAPIF_CMD_INFO};
    bool notify = false;

    device->ask_at_us = 0;
    if (!command_ring_room(&device->ring)) {
        device->ask_at_us = os_now_us() + ASK_AGAIN_US;
        return;
    }
    if (device->told && device->knows_info_wait) {
        request.flags = L2CAPIF_INFO_WAIT;
        request.u.info.generation = device->generation;
    }
    request.req_id = device->info_id = commands_new_id(device);
    put(device, &request, &notify);
    if (notify)
        os_evtchn_notify(device->os, device->port);
}

/* Receiving -------------------------------------------------------------------------------------------------------- */

static bool reaches(uint8_t level, uint8_t least)
{
    return level <= L2CAPIF_SECURITY_SC && (least < L2CAPIF_SECURITY_ENCRYPTED || level >= least);
}

static bool channel_is_legal(const struct l2capif_channel_rsp *channel, const struct expected *expected)
{
    uint8_t transport = channel->addr_type == L2CAPIF_ADDR_BREDR ? L2CAPIF_TRANSPORT_BREDR : L2CAPIF_TRANSPORT_LE;

    return channel->addr_type <= L2CAPIF_ADDR_LE_RANDOM && transport == expected->transport &&
           channel->psm == expected->psm && reaches(channel->security, expected->security) &&
           channel->tx_mtu >= minimum_mtu[transport] && channel->rx_mtu >= minimum_mtu[transport] &&
           channel->rx_mtu <= expected->mtu;
}

static bool is_channel_request(const struct vl2cap_object *object)
{
    return object->request.cmd == L2CAPIF_CMD_CONNECT || object->request.cmd == L2CAPIF_CMD_ACCEPT;
}

static bool body_is_legal(const struct vl2cap_object *object, const struct l2capif_response *response)
{
    switch (object->request.cmd) {
    case L2CAPIF_CMD_CONNECT:
    case L2CAPIF_CMD_ACCEPT:
        return channel_is_legal(&response->u.channel, &object->expected);
    case L2CAPIF_CMD_PAIR:
        return reaches(response->u.pair.security, object->expected.security);
    default:
        return true;
    }
}

static bool receive_info(struct vl2cap *device, const struct l2capif_response *response)
{
    const struct l2capif_info_rsp *untrusted = &response->u.info;
    struct vl2cap_info *info = &device->info;

    if (response->cmd != L2CAPIF_CMD_INFO || response->id != 0)
        return false;
    device->info_id = 0;
    if (response->ret) {
        device->ask_at_us = os_now_us() + ASK_AGAIN_US;
        return true;
    }
    if (untrusted->addr_type > L2CAPIF_ADDR_LE_RANDOM || untrusted->le_addr_type > L2CAPIF_ADDR_LE_RANDOM ||
        untrusted->powered > 1)
        return false;
    memset(info, 0, sizeof(*info));
    memcpy(info->address.octets, untrusted->addr, sizeof(untrusted->addr));
    info->address.type = untrusted->addr_type;
    memcpy(info->le_address.octets, untrusted->le_addr, sizeof(untrusted->le_addr));
    info->le_address.type = untrusted->le_addr_type;
    info->powered = untrusted->powered;
    info->features = untrusted->features;
    info->max_channels = untrusted->max_channels;
    info->channels = untrusted->channels;
    info->max_mtu = untrusted->max_mtu;
    info->backend_domain = device->backend_domid;
    device->generation = untrusted->generation;
    device->told = true;
    /* Not in here: a backend that answers at once must not keep us. */
    device->ask_at_us = os_now_us() + (device->knows_info_wait ? 0 : ASK_AGAIN_US);
    return true;
}

static bool receive_answer(struct vl2cap_object *object, const struct l2capif_response *response)
{
    if (response->cmd != object->request.cmd || response->id != object->request.id ||
        (response->ret == 0 && !body_is_legal(object, response)))
        return false;
    object->response = *response;
    if (response->ret) {
        object->state = FAILED;
        object->error = response->ret;
    } else {
        object->state = OPEN;
        object->unseen = object->order != 0;        /* what has come with the answer has had its event */
    }
    if (is_channel_request(object) && object->order &&
        object->response.u.channel.tx_mtu > data_ring_longest(object->order))
        object->response.u.channel.tx_mtu = (uint16_t)data_ring_longest(object->order);
    if (object->state == FAILED || !object->order)
        object_unshare(object);        /* the ring that is not wanted, or the page that was lent */
    if (object->released && !object->release_id && !is_held(object))
        object_free(object);
    return true;
}

static bool receive_released(struct vl2cap_object *object, const struct l2capif_response *response)
{
    if (response->cmd != L2CAPIF_CMD_RELEASE || response->id != object->request.id || object->state == ASKED)
        return false;           /* the request that it ends is answered first */
    object->device->to_send = true;
    object_free(object);
    return true;
}

static bool receive_response(struct vl2cap *device, const struct l2capif_response *response)
{
    if (response->ret > 0 || response->ret < -LAST_ERROR)
        return false;
    if (device->info_id && response->req_id == device->info_id)
        return receive_info(device, response);
    for (struct vl2cap_object *object = device->objects; object; object = object->next) {
        if (object->state == ASKED && object->request.req_id == response->req_id)
            return receive_answer(object, response);
        if (object->release_id && object->release_id == response->req_id)
            return receive_released(object, response);
    }
    return false;
}

void commands_receive(struct vl2cap *device)
{
    while (device->connected) {
        struct l2capif_response response;

        switch (command_ring_take(&device->ring, &response)) {
        case RING_DONE:
            if (!receive_response(device, &response))
                handshake_break_off(device, "the backend's answer fits no request of ours");
            break;
        case RING_EMPTY:
            commands_send(device);
            return;
        default:
            handshake_break_off(device, "the backend's index of the command ring cannot be");
        }
    }
}
