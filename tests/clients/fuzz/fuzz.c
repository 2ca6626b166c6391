/* SPDX-License-Identifier: MIT */
/*
 * A program that calls everything of vl2cap.h in any order, with a backend that lies: os_hostile.c.
 *
 *     fuzz FIRST COUNT     COUNT worlds, from that of the seed FIRST on; each is the same every time
 *
 * Sanitizers end it where the library touches what it should not. Prints how often what happened, in words of a line each.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vl2cap.h>

#include "os_hostile.h"

#define CALLS 300u
#define MOST_OBJECTS 24u
#define LARGEST 3000u

enum count { CONNECTED, OPENED, SENT, RECEIVED, ACCEPTED, REPORTED, PROMPTED, PAIRED, ECHOED, LOST, BROKEN, FAILED, COUNTS };

static const char *const names[COUNTS] = {"connected", "opened",   "sent",   "received", "accepted", "reported",
                                          "prompted",  "paired",   "echoed", "lost",     "broken",   "failed"};
static unsigned long counts[COUNTS];
static char world[24];                  /* the seed, in what a failure prints */
static struct vl2cap *device;
static struct vl2cap_object *objects[MOST_OBJECTS];
static enum kind { CHANNEL, LISTENER, SCAN, ADVERTISEMENT, AGENT, PAIRING, ECHO, KINDS } kinds[MOST_OBJECTS];

static void wrong(const char *what, int result)
{
    fprintf(stderr, "world %s: %s: %d\n", world, what, result);
    abort();
}

/* Is called by the sanitizers before they print what they have found. */
void __asan_on_error(void);
void __asan_on_error(void)
{
    fprintf(stderr, "world %s\n", world);
}

/* Checks what a call returned, and counts it. */
static int note(enum count what, int result)
{
    const char *text = vl2cap_failure(device)->text;

    if (result >= 0) {
        counts[what]++;
        return result;
    }
    if (result < VL2CAP_NO_DRIVER)
        wrong("no error that there is", result);
    if (result == VL2CAP_NOT_YET)
        return result;
    if (!*text || !memchr(text, 0, sizeof(vl2cap_failure(device)->text)))
        wrong("a failure without a text", result);
    counts[result == VL2CAP_GONE ? LOST : result == VL2CAP_EBADMSG ? BROKEN : FAILED]++;
    return result;
}

static int any_timeout(void)
{
    return hostile_random(3) ? 0 : (int)hostile_random(300);
}

static struct vl2cap_address any_address(void)
{
    struct vl2cap_address address = {.type = (uint8_t)hostile_random(hostile_random(20) ? 3 : 5)};

    for (unsigned i = 0; i < sizeof(address.octets); i++)
        address.octets[i] = (uint8_t)hostile_random(256);
    return address;
}

static uint16_t any_psm(uint8_t type)
{
    if (!hostile_random(20))
        return (uint16_t)hostile_random(65536);
    return type == VL2CAP_BREDR ? 0x1001 : 0x0081;
}

static void make(struct vl2cap_object **place, enum kind kind)
{
    struct vl2cap_address peer = any_address();
    bool nonblocking = hostile_random(2) || hostile_random(4);
    int error = 0;

    switch (kind) {
    case CHANNEL:
        error = vl2cap_connect(device, &(struct vl2cap_connect){.peer = peer, .psm = any_psm(peer.type),
                                                                .mtu = (uint16_t)(hostile_random(2) ? 0 : hostile_random(3000)),
                                                                .security = (uint8_t)hostile_random(6),
                                                                .fixed = !hostile_random(5), .nonblocking = nonblocking},
                               place);
        break;
    case LISTENER:
        error = vl2cap_listen(device, &(struct vl2cap_listen){.psm = 0x1001, .mtu = 48, .nonblocking = nonblocking}, place);
        break;
    case SCAN:
        error = vl2cap_scan(device, &(struct vl2cap_scan){.transport = (uint8_t)hostile_random(3), .active = true,
                                                          .nonblocking = nonblocking}, place);
        break;
    case ADVERTISEMENT: {
        uint8_t data[1700] = {0};
        struct vl2cap_advertise what = {.data = data, .nonblocking = nonblocking};

        what.length = (uint16_t)hostile_random(sizeof(data));
        error = vl2cap_advertise(device, &what, place);
        break;
    }
    case AGENT:
        error = vl2cap_agent(device, &(struct vl2cap_agent){.io_capability = (uint8_t)hostile_random(6),
                                                            .nonblocking = nonblocking}, place);
        break;
    case PAIRING:
        error = vl2cap_pair(device, &(struct vl2cap_pair){.peer = peer, .security = (uint8_t)hostile_random(6),
                                                          .nonblocking = nonblocking}, place);
        break;
    default:
        error = vl2cap_echo(device, &(struct vl2cap_echo){.peer = peer, .length = (uint8_t)hostile_random(40),
                                                          .nonblocking = nonblocking}, place);
    }
    note(OPENED, error);
    if ((error == 0) != (*place != NULL))
        wrong("an object that there should not be, or no object", error);
}

/* Buffers are as long as is said, so that one octet more is noticed. */
static void exchange(struct vl2cap_object *object)
{
    size_t size = hostile_random(LARGEST);
    uint8_t *buffer = calloc(1, size + 1);
    int length;

    if (hostile_random(2)) {
        note(SENT, vl2cap_send(object, buffer, size, any_timeout()));
    } else {
        length = note(RECEIVED, vl2cap_recv(object, buffer, size, any_timeout()));
        if (length > (int)size)
            wrong("received more than there is room for", length);
    }
    free(buffer);
}

static void ask(struct vl2cap_object *object, enum kind kind)
{
    struct vl2cap_channel channel;
    struct vl2cap_report report;
    struct vl2cap_prompt prompt;
    struct vl2cap_paired paired;
    struct vl2cap_answer answer = {.accept = true};
    uint8_t data[VL2CAP_ECHO_DATA];
    char name[20];

    switch (kind) {
    case CHANNEL:
        if (vl2cap_channel(object, &channel) == 0 && channel.tx_mtu < 23)
            wrong("an MTU below all", channel.tx_mtu);
        exchange(object);
        break;
    case SCAN:
        if (note(REPORTED, vl2cap_recv_report(object, &report, any_timeout())) != 0)
            break;
        if (report.length > VL2CAP_REPORT_DATA)
            wrong("a report with too much data", report.length);
        vl2cap_report_name(&report, name, sizeof(name));
        break;
    case AGENT:
        if (note(PROMPTED, vl2cap_recv_prompt(object, &prompt, any_timeout())) != 0)
            break;
        answer.number = prompt.number;
        answer.pin_length = (uint8_t)hostile_random(20);
        vl2cap_send_answer(object, &answer, any_timeout());
        break;
    case PAIRING:
        note(PAIRED, vl2cap_pair_result(object, &paired));
        break;
    case ECHO:
        note(ECHOED, vl2cap_echo_result(object, data));
        break;
    default:
        vl2cap_wait(object, any_timeout());
    }
}

static void poll_all(void)
{
    struct vl2cap_poll polled[MOST_OBJECTS] = {{.object = NULL}};

    for (unsigned i = 0; i < MOST_OBJECTS; i++)
        polled[i] = (struct vl2cap_poll){objects[i], (short)(1 + hostile_random(3)), 0};
    vl2cap_poll(device, polled, MOST_OBJECTS, any_timeout());
}

static void accept_at(struct vl2cap_object *listener)
{
    unsigned place = hostile_random(MOST_OBJECTS);

    if (objects[place])
        return;
    if (note(ACCEPTED, vl2cap_accept(listener, &objects[place], any_timeout())) != 0 && objects[place])
        wrong("a channel after a failure", 0);
    kinds[place] = CHANNEL;
}

/* Calls mostly what an object of this kind is for. */
static void call(void)
{
    unsigned place = hostile_random(MOST_OBJECTS);
    struct vl2cap_object *object = objects[place];
    struct vl2cap_info info;

    if (vl2cap_info(device, &info) && hostile_random(4)) {
        note(CONNECTED, vl2cap_wait_connected(device, 20000));
    } else if (!object) {
        kinds[place] = (enum kind)hostile_random(hostile_random(2) ? KINDS : LISTENER + 1);
        make(&objects[place], kinds[place]);
    } else {
        switch (hostile_random(16)) {
        case 0:
            vl2cap_release(object, any_timeout());
            objects[place] = NULL;
            break;
        case 1:
            vl2cap_process(device);
            vl2cap_timeout(device);
            break;
        case 2:
            poll_all();
            break;
        case 3:
            ask(object, (enum kind)hostile_random(KINDS));
            break;
        case 4:
            if (!hostile_random(10))
                vl2cap_shutdown(object);
            break;
        default:
            if (kinds[place] == LISTENER)
                accept_at(object);
            else
                ask(object, kinds[place]);
        }
    }
}

static void run(uint64_t seed)
{
    struct vl2cap_options options = {.device = 0};

    hostile_begin(seed, seed % 4 == 0 ? 0 : (unsigned)(1u << seed % 7), seed % 5 == 0);
    options.spin_us = hostile_random(2) ? 0 : hostile_random(500);
    memset(objects, 0, sizeof(objects));
    if (vl2cap_open(&device, &options))
        return;
    note(CONNECTED, vl2cap_wait_connected(device, 5000));
    for (unsigned i = 0; i < CALLS; i++)
        call();
    vl2cap_close(device);
    if (!hostile_is_clean())
        wrong("something is left behind", 0);
}

int main(int argc, char **argv)
{
    uint64_t first = argc == 3 ? strtoull(argv[1], NULL, 0) : 0;
    uint64_t count = argc == 3 ? strtoull(argv[2], NULL, 0) : 0;

    if (!count)
        return 2;
    for (uint64_t seed = first; seed < first + count; seed++) {
        snprintf(world, sizeof(world), "%llu", (unsigned long long)seed);
        run(seed);
    }
    for (unsigned i = 0; i < COUNTS; i++)
        printf("%s %lu\n", names[i], counts[i]);
    return 0;
}
