/* SPDX-License-Identifier: MIT */
/* Agents and pairings. */

#include "internal.h"

#include <string.h>

#define AGENT_ORDER 1u
#define LAST_PASSKEY 999999u    /* Vol 3, Part H, 2.3.5.3 */

int vl2cap_agent(struct vl2cap *device, const struct vl2cap_agent *who, struct vl2cap_object **agent)
{
    struct making making = {
        .request = {.cmd = L2CAPIF_CMD_AGENT}, .order = AGENT_ORDER, .nonblocking = who->nonblocking};

    *agent = NULL;
    if (who->io_capability > VL2CAP_IO_KEYBOARD_DISPLAY || !is_reserved(who->reserved))
        return failure_note(device, VL2CAP_EINVAL, "the IO capability, or what is reserved, is not legal");
    if (device->told && !(device->info.features & VL2CAP_KNOWS_AGENT))
        return failure_note(device, VL2CAP_EOPNOTSUPP, "usbbtd in the driver domain is too old for agents");
    making.request.u.agent.io_capability = who->io_capability;
    return object_make(device, &making, agent);
}

int vl2cap_recv_prompt(struct vl2cap_object *agent, struct vl2cap_prompt *prompt, int timeout_ms)
{
    struct l2capif_prompt untrusted;
    int length;

    if (agent->request.cmd != L2CAPIF_CMD_AGENT)
        return failure_note(agent->device, VL2CAP_EOPNOTSUPP, "this object is no agent");
    length = stream_receive(agent, &untrusted, sizeof(untrusted), sizeof(untrusted), timeout_ms);
    if (length < 0)
        return length;
    if (length != sizeof(untrusted) || untrusted.number == 0 || untrusted.kind > L2CAPIF_PROMPT_ENTER_PIN ||
        untrusted.value > LAST_PASSKEY || untrusted.addr_type > L2CAPIF_ADDR_LE_RANDOM)
        return failure_note(agent->device, VL2CAP_EBADMSG, "the driver domain sent a malformed prompt");
    memset(prompt, 0, sizeof(*prompt));
    memcpy(prompt->peer.octets, untrusted.addr, sizeof(untrusted.addr));
    prompt->peer.type = untrusted.addr_type;
    prompt->number = untrusted.number;
    prompt->value = untrusted.value;
    prompt->timeout_ms = untrusted.timeout_ms;
    prompt->kind = untrusted.kind;
    prompt->why = untrusted.why;
    return 0;
}

int vl2cap_send_answer(struct vl2cap_object *agent, const struct vl2cap_answer *answer, int timeout_ms)
{
    struct l2capif_answer message = {.number = answer->number, .accept = answer->accept};

    if (agent->request.cmd != L2CAPIF_CMD_AGENT)
        return failure_note(agent->device, VL2CAP_EOPNOTSUPP, "this object is no agent");
    if (answer->value > LAST_PASSKEY || answer->pin_length > sizeof(answer->pin))
        return failure_note(agent->device, VL2CAP_EINVAL, "a passkey has six digits, and a PIN 1 to 16 octets");
    if (answer->accept) {
        message.value = answer->value;
        message.pin_length = answer->pin_length;
        memcpy(message.pin, answer->pin, answer->pin_length);
    }
    return stream_send(agent, &message, sizeof(message), timeout_ms);
}

int vl2cap_pair(struct vl2cap *device, const struct vl2cap_pair *with, struct vl2cap_object **pairing)
{
    struct making making = {
        .request = {.cmd = L2CAPIF_CMD_PAIR}, .over_when_answered = true, .nonblocking = with->nonblocking};
    struct l2capif_pair *pair = &making.request.u.pair;

    *pairing = NULL;
    if (with->peer.type > VL2CAP_LE_RANDOM || with->security > VL2CAP_SECURITY_SC || !is_reserved(with->reserved))
        return failure_note(device, VL2CAP_EINVAL, "the address, the level, or what is reserved is not legal");
    if (with->oob_length != 0 && with->oob_length != 16 && with->oob_length != sizeof(with->oob))
        return failure_note(device, VL2CAP_EINVAL, "out-of-band data have 16 or 32 octets");
    if (device->told && !(device->info.features & VL2CAP_KNOWS_SECURITY))
        return failure_note(device, VL2CAP_EOPNOTSUPP, "usbbtd in the driver domain is too old for pairing");
    if (with->oob_length)
        making.request.flags = with->oob_length == 16 ? L2CAPIF_PAIR_OOB_TK : L2CAPIF_PAIR_OOB;
    memcpy(pair->addr, with->peer.octets, sizeof(pair->addr));
    pair->addr_type = with->peer.type;
    pair->security = with->security;
    pair->timeout_ms = with->timeout_ms;
    memcpy(pair->oob, with->oob, with->oob_length);
    making.expected.security = with->security < VL2CAP_SECURITY_ENCRYPTED ? VL2CAP_SECURITY_ENCRYPTED : with->security;
    return object_make(device, &making, pairing);
}

int vl2cap_pair_result(const struct vl2cap_object *pairing, struct vl2cap_paired *paired)
{
    const struct l2capif_pair_rsp *response = &pairing->response.u.pair;

    if (pairing->request.cmd != L2CAPIF_CMD_PAIR)
        return failure_note(pairing->device, VL2CAP_EOPNOTSUPP, "this object is no pairing");
    if (pairing->state != OPEN)
        return pairing->state == FAILED ? failure_of(pairing) : VL2CAP_NOT_YET;
    paired->security = response->security;
    paired->key_size = response->key_size;
    paired->bonded = response->bonded != 0;
    return 0;
}
