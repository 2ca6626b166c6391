/* SPDX-License-Identifier: MIT */
/* vl2cap connect and vl2cap listen: standard input to a peer, and what it sends to standard output. */

#include "tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_SIZE (2 * LARGEST_SDU)
#define CLOSE_MS 1000
#define SDUS_A_TURN 64     /* that are printed before input and ^C are looked at */

struct conversation {
    struct vl2cap *device;
    const struct arguments *arguments;
    struct vl2cap_object *channel;
    uint16_t tx_mtu;
    uint64_t heard_us;                  /* when the last SDU came, or standard input ended */
    bool more;                          /* SDUs may be left to print */
    bool input_ended;
    size_t input_at, input_size;        /* octets in `input` that have not been sent: where, how many */
    uint8_t input[INPUT_SIZE];
    uint8_t sdu[LARGEST_SDU];
};

int open_channel(struct vl2cap *device, const struct arguments *arguments, struct vl2cap_object **channel)
{
    struct vl2cap_connect to = {.peer = arguments->peer,
                                .psm = arguments->psm,
                                .mtu = arguments->mtu,
                                .timeout_ms = arguments->timeout_ms ? arguments->timeout_ms : 1,
                                .security = arguments->security,
                                .fixed = arguments->fixed};
    int status;

    if (!vl2cap_connect(device, &to, channel))
        return DONE;
    status = tell_failure(device);
    /* What is no PSM may be an SPSM, or the CID of a fixed channel. */
    if (status == USAGE && arguments->transport == VL2CAP_TRANSPORT_BREDR &&
        (arguments->fixed || (arguments->psm <= 0xff && arguments->psm % 2 == 0)))
        tell("of an LE peer, say so: --le public or --le random");
    return status;
}

/* Prints SDUs that there are. Returns DONE, or a status and *ended. */
static int print_sdus(struct conversation *conversation, bool *ended)
{
    int length = 0, status;

    for (unsigned i = 0; i < SDUS_A_TURN; i++) {
        length = vl2cap_recv(conversation->channel, conversation->sdu, sizeof(conversation->sdu), 0);
        if (length < 0)
            break;
        conversation->heard_us = now_us();
        fwrite(conversation->sdu, 1, (size_t)length, stdout);
        if (!conversation->arguments->raw)
            putchar('\n');
    }
    status = flush_output();
    if (status)
        return status;
    conversation->more = length >= 0;
    *ended = length < 0 && length != VL2CAP_NOT_YET;
    if (*ended)
        tell_failure(conversation->device);
    return *ended && length != VL2CAP_ENOTCONN ? REFUSED : DONE;
}

/* Finds the next SDU in the input. Returns whether there is one; `used`: octets of the input that it takes. */
static bool next_sdu(const struct conversation *conversation, size_t *length, size_t *used)
{
    const uint8_t *input = conversation->input + conversation->input_at, *end;

    if (!conversation->input_size)
        return false;
    if (conversation->arguments->raw) {
        *length = conversation->input_size < conversation->tx_mtu ? conversation->input_size : conversation->tx_mtu;
        *used = *length;
        return true;
    }
    end = memchr(input, '\n', conversation->input_size);
    *length = end ? (size_t)(end - input) : conversation->input_size;
    *used = *length + (end ? 1 : 0);
    return end || conversation->input_ended || conversation->input_size == INPUT_SIZE;
}

/* Sends what is there of the input. Returns DONE or a status; *full: the way to the peer is. */
static int send_input(struct conversation *conversation, bool *full)
{
    size_t length, used;

    *full = false;
    while (next_sdu(conversation, &length, &used)) {
        int error = vl2cap_send(conversation->channel, conversation->input + conversation->input_at, length, 0);

        if (error == VL2CAP_NOT_YET) {
            *full = true;
            return DONE;
        }
        if (error)
            return error == VL2CAP_ENOTCONN ? DONE : tell_failure(conversation->device);
        conversation->input_at += used;
        conversation->input_size -= used;
    }
    return DONE;
}

static void take_input(struct conversation *conversation)
{
    size_t got;

    memmove(conversation->input, conversation->input + conversation->input_at, conversation->input_size);
    conversation->input_at = 0;
    got = read_input(conversation->input + conversation->input_size, INPUT_SIZE - conversation->input_size);
    conversation->input_size += got;
    if (!got) {
        conversation->input_ended = true;
        conversation->heard_us = now_us();
    }
}

static int converse(struct conversation *conversation)
{
    for (;;) {
        int left, status;
        bool ended, full;

        status = print_sdus(conversation, &ended);
        if (status || ended)
            return status;
        status = send_input(conversation, &full);
        if (status)
            return status;
        if (interrupted())
            return INTERRUPTED;
        left = conversation->more ? 0 : -1;
        if (conversation->input_ended && !full && !conversation->more) {
            uint64_t end = conversation->heard_us + (uint64_t)conversation->arguments->linger_ms * 1000, now = now_us();

            if (now >= end)
                return DONE;
            left = (int)((end - now + 999) / 1000);
        }
        if (wait_for_input(conversation->device, !conversation->input_ended && !full, left))
            take_input(conversation);
        if (vl2cap_process(conversation->device))
            return tell_failure(conversation->device);
    }
}

/* Sends everything back until the peer disconnects. */
static int echo(struct conversation *conversation)
{
    int result;

    do {
        result = vl2cap_recv(conversation->channel, conversation->sdu, sizeof(conversation->sdu), VL2CAP_FOREVER);
        if (result > conversation->tx_mtu)
            result = conversation->tx_mtu;
        if (result >= 0)
            result = vl2cap_send(conversation->channel, conversation->sdu, (size_t)result, VL2CAP_FOREVER);
        if (interrupted())              /* also when there is always something to send back */
            return INTERRUPTED;
    } while (result == 0 || result == VL2CAP_NOT_YET);
    tell_failure(conversation->device);
    return result == VL2CAP_ENOTCONN ? DONE : REFUSED;
}

static void take_channel(struct conversation *conversation, struct vl2cap_object *channel, struct vl2cap_channel *facts)
{
    conversation->channel = channel;
    vl2cap_channel(channel, facts);
    conversation->tx_mtu = facts->tx_mtu;
    conversation->heard_us = now_us();
}

static struct conversation *new_conversation(struct vl2cap *device, const struct arguments *arguments)
{
    struct conversation *conversation = calloc(1, sizeof(*conversation));

    if (!conversation) {
        tell("no memory");
        return NULL;
    }
    conversation->device = device;
    conversation->arguments = arguments;
    return conversation;
}

int command_connect(struct vl2cap *device, const struct arguments *arguments)
{
    struct conversation *conversation = new_conversation(device, arguments);
    char address[VL2CAP_ADDRESS_TEXT];
    struct vl2cap_object *channel;
    struct vl2cap_channel facts;
    int status;

    if (!conversation)
        return REFUSED;
    status = open_channel(device, arguments, &channel);
    if (!status) {
        take_channel(conversation, channel, &facts);
        vl2cap_address_format(&facts.peer, address);
        tell("connected: SDUs up to %u bytes to %s, %u from it", (unsigned)facts.tx_mtu, address, (unsigned)facts.rx_mtu);
        status = converse(conversation);
        vl2cap_release(channel, CLOSE_MS);
    }
    free(conversation);
    return status;
}

/* Makes LE peers come, while the program waits for one. Returns DONE or a status. */
static int advertise(struct vl2cap *device, struct vl2cap_object **advertisement)
{
    static const char data[] = "\x02\x01\x06\x07\x09vl2cap";   /* AD structures: flags, name */
    struct vl2cap_advertise what = {.data = data, .length = sizeof(data) - 1, .connectable = true};

    return vl2cap_advertise(device, &what, advertisement) ? tell_failure(device) : DONE;
}

static int serve_one(struct conversation *conversation, struct vl2cap_object *listener)
{
    const struct arguments *arguments = conversation->arguments;
    struct vl2cap_object *advertisement = NULL, *channel = NULL;
    char address[VL2CAP_ADDRESS_TEXT];
    struct vl2cap_channel facts;
    int error, status = DONE;

    tell("listening on %s 0x%04x", arguments->transport == VL2CAP_TRANSPORT_LE ? "SPSM" : "PSM", (unsigned)arguments->psm);
    if (arguments->transport == VL2CAP_TRANSPORT_LE)
        status = advertise(conversation->device, &advertisement);
    if (status)
        return status;
    do
        error = vl2cap_accept(listener, &channel, VL2CAP_FOREVER);
    while (error == VL2CAP_NOT_YET && !interrupted());
    vl2cap_release(advertisement, 0);
    if (error)
        return tell_failure(conversation->device);
    take_channel(conversation, channel, &facts);
    vl2cap_address_format(&facts.peer, address);
    tell("%s connected", address);
    status = arguments->echo ? echo(conversation) : converse(conversation);
    vl2cap_release(channel, CLOSE_MS);
    return status;
}

int command_listen(struct vl2cap *device, const struct arguments *arguments)
{
    struct vl2cap_listen on = {.psm = arguments->psm,
                               .mtu = arguments->mtu,
                               .backlog = 1,
                               .transport = arguments->transport,
                               .security = arguments->security};
    struct conversation *conversation = new_conversation(device, arguments);
    struct vl2cap_object *listener = NULL;
    int status = REFUSED;

    if (!conversation)
        return REFUSED;
    if (vl2cap_listen(device, &on, &listener))
        status = tell_failure(device);
    else
        do
            status = serve_one(conversation, listener);
        while (status == DONE && !conversation->input_ended);
    vl2cap_release(listener, 0);
    free(conversation);
    return status;
}
