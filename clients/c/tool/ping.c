/* SPDX-License-Identifier: MIT */
/* vl2cap ping: round trips by the L2CAP echo, which every BR/EDR device answers, or by a PSM that echoes. */

#include "tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pinging {
    struct vl2cap *device;
    const struct arguments *arguments;
    struct vl2cap_object *channel;      /* NULL: by the L2CAP echo */
    uint8_t sent[LARGEST_SDU], received[LARGEST_SDU];
};

/* Returns the length of the answer in `received`, or a negative number. */
static int ask_by_echo(struct pinging *pinging, uint16_t size)
{
    struct vl2cap_echo of = {.peer = pinging->arguments->peer, .timeout_ms = pinging->arguments->timeout_ms};
    struct vl2cap_object *echo;
    int length;

    of.length = (uint8_t)size;
    memcpy(of.data, pinging->sent, size);
    length = vl2cap_echo(pinging->device, &of, &echo);
    if (length)
        return length;
    length = vl2cap_echo_result(echo, pinging->received);
    vl2cap_release(echo, 0);
    return length;
}

static int ask_channel(struct pinging *pinging, uint16_t size)
{
    int timeout_ms = (int)pinging->arguments->timeout_ms;
    int error = vl2cap_send(pinging->channel, pinging->sent, size, timeout_ms);

    return error ? error : vl2cap_recv(pinging->channel, pinging->received, sizeof(pinging->received), timeout_ms);
}

static int tell_no_answer(const struct pinging *pinging, int error)
{
    if (error != VL2CAP_NOT_YET || interrupted())
        return tell_failure(pinging->device);
    tell("no echo within %.3g s: does that PSM echo?", pinging->arguments->timeout_ms / 1000.0);
    return REFUSED;
}

static int ping_once(struct pinging *pinging, uint32_t sequence, uint32_t *time_us)
{
    uint16_t size = pinging->arguments->size;
    char address[VL2CAP_ADDRESS_TEXT];
    uint64_t start;
    bool same;
    int length;

    memset(pinging->sent, '.', size);
    for (unsigned i = 0; i < 4 && i < size; i++)
        pinging->sent[i] = (uint8_t)(sequence >> 8 * i);
    start = now_us();
    length = pinging->channel ? ask_channel(pinging, size) : ask_by_echo(pinging, size);
    *time_us = (uint32_t)(now_us() - start);
    if (length < 0)
        return tell_no_answer(pinging, length);
    same = length == size && !memcmp(pinging->sent, pinging->received,
                                     size < VL2CAP_ECHO_DATA || pinging->channel ? size : VL2CAP_ECHO_DATA);
    if (!same && pinging->channel) {
        tell("that is no echo: sent %u bytes, got %d others", (unsigned)size, length);
        return REFUSED;
    }
    vl2cap_address_format(&pinging->arguments->peer, address);
    if (pinging->arguments->quiet)
        return DONE;
    printf("%d bytes from %s: %u µs%s\n", length, address, (unsigned)*time_us, same ? "" : " (not what was sent)");
    return flush_output();
}

static int compare(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;

    return (a > b) - (a < b);
}

static void print_summary(uint32_t *times_us, uint32_t count, uint16_t size)
{
    if (!count)
        return;
    qsort(times_us, count, sizeof(times_us[0]), compare);
    printf("ROUND TRIPS  BYTES  MIN µs  P50 µs  P99 µs  MAX µs\n%11u  %5u  %6u  %6u  %6u  %6u\n", (unsigned)count,
           (unsigned)size, (unsigned)times_us[0], (unsigned)times_us[count / 2],
           (unsigned)times_us[(uint64_t)count * 99 / 100], (unsigned)times_us[count - 1]);
}

static void wait_for_turn(uint64_t start_us, uint32_t interval_ms)
{
    uint64_t next = start_us + (uint64_t)interval_ms * 1000, now = now_us();

    if (now < next)
        sleep_us(next - now);
}

static int ping(struct pinging *pinging, uint32_t *times_us, uint32_t *count)
{
    int status = DONE;
    uint64_t start = 0;

    if (pinging->arguments->has_psm)
        status = open_channel(pinging->device, pinging->arguments, &pinging->channel);
    else if (ask_by_echo(pinging, 0) < 0)       /* makes the link; its time does not count */
        status = tell_failure(pinging->device);
    while (status == DONE && *count < pinging->arguments->count) {
        if (*count)
            wait_for_turn(start, pinging->arguments->interval_ms);
        if (interrupted())
            return INTERRUPTED;
        start = now_us();
        status = ping_once(pinging, *count, &times_us[*count]);
        *count += status == DONE;
    }
    return status;
}

int command_ping(struct vl2cap *device, const struct arguments *arguments)
{
    struct pinging *pinging = calloc(1, sizeof(*pinging));
    uint32_t *times_us = calloc(arguments->count, sizeof(*times_us));
    uint32_t count = 0;
    int status = REFUSED;

    if (pinging && times_us) {
        pinging->device = device;
        pinging->arguments = arguments;
        status = ping(pinging, times_us, &count);
        print_summary(times_us, count, arguments->size);
        vl2cap_release(pinging->channel, 1000);
    }
    free(pinging);
    free(times_us);
    return status;
}
