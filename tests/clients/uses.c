/* SPDX-License-Identifier: MIT */
/*
 * What programs use libvl2cap for, one use a run:
 *
 *     uses echo TYPE ADDRESS PSM COUNT SIZE    echoes COUNT SDUs of SIZE octets, several at a time
 *     uses loop TYPE ADDRESS PSM COUNT SIZE    the same in a loop of the program's own, with timeouts of 0
 *     uses turns TYPE ADDRESS PSM COUNT SIZE   the same, and takes one SDU a wake-up
 *     uses unseen TYPE ADDRESS PSM             is woken for what came for one channel while it waited at another
 *     uses unread TYPE ADDRESS PSM             is told when the service goes, and then reads what came before
 *     uses stale                               is in no call until a line comes, and looks whether it is ready then
 *     uses att ADDRESS                         exchanges MTUs with an LE peer by the Attribute Protocol
 *     uses advertise COUNT                     advertises COUNT octets of data
 *     uses agent TYPE ADDRESS LEVEL            pairs; says yes to all that is asked, 424242 for a passkey
 *     uses refused                             says when it tries again a device whose state it may not write
 *     uses limits                              makes more of everything than there may be, and what is not legal
 *
 * Prints what it does, and ends with 1 and a message if it is not as it should be. TYPE: 0 BR/EDR, 1 LE public, 2 random.
 */

#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <windows.h>
#else
#include <poll.h>
#endif

#include <vl2cap.h>

#define WINDOW 8u
#define TIMEOUT_MS 20000
#define LARGEST 65535u

static struct vl2cap *device;
static uint8_t expected[LARGEST], received[LARGEST];

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "uses: %s: %s\n", what, device ? vl2cap_failure(device)->text : "no device");
    vl2cap_close(device);
    exit(1);
}

static void check(int result, const char *what)
{
    if (result < 0)
        fail(what);
}

static void say(const char *what)
{
    puts(what);
    fflush(stdout);
}

static struct vl2cap_address address_of(const char *type, const char *text)
{
    struct vl2cap_address address;

    if (vl2cap_address_parse(text, (uint8_t)atoi(type), &address))
        fail("the address");
    return address;
}

static struct vl2cap_object *connect_to(char **argv, uint16_t mtu)
{
    struct vl2cap_connect to = {.psm = (uint16_t)strtoul(argv[2], NULL, 0), .mtu = mtu};
    struct vl2cap_object *channel;

    to.peer = address_of(argv[0], argv[1]);
    check(vl2cap_connect(device, &to, &channel), "connect");
    return channel;
}

static void fill(uint32_t number, size_t size)
{
    for (size_t i = 0; i < size; i++)
        expected[i] = (uint8_t)(number * 31 + i * 7 + (i >> 8));
}

/* Returns a length of `size` or a little below, as the sizes of a stream are not all the same. */
static size_t size_of(uint32_t number, size_t size)
{
    return size - (size > 3 ? number % 3 : 0);
}

struct stream {
    struct vl2cap_object *channel;
    uint32_t count, sent, echoed;
    size_t size;
};

/* Sends what there is room for. Returns whether that was anything. */
static bool send_some(struct stream *stream)
{
    uint32_t before = stream->sent;

    while (stream->sent < stream->count && stream->sent - stream->echoed < WINDOW) {
        int error;

        fill(stream->sent, stream->size);
        error = vl2cap_send(stream->channel, expected, size_of(stream->sent, stream->size), 0);
        if (error == VL2CAP_NOT_YET)
            break;
        check(error, "send");
        stream->sent++;
    }
    return stream->sent != before;
}

/* Takes one echo. Returns whether there was one. */
static bool take(struct stream *stream, int timeout_ms)
{
    int length = vl2cap_recv(stream->channel, received, sizeof(received), timeout_ms);

    if (length == VL2CAP_NOT_YET)
        return false;
    check(length, "recv");
    fill(stream->echoed, stream->size);
    if ((size_t)length != size_of(stream->echoed, stream->size) || memcmp(received, expected, (size_t)length) != 0)
        fail("an echo is not what was sent");
    stream->echoed++;
    return true;
}

static struct stream new_stream(char **argv)
{
    struct stream stream = {.count = (uint32_t)atoi(argv[3]), .size = (size_t)atoi(argv[4])};

    stream.channel = connect_to(argv, (uint16_t)(stream.size > 48 ? stream.size : 48));
    return stream;
}

static void run_echo(char **argv)
{
    struct stream stream = new_stream(argv);

    while (stream.echoed < stream.count) {
        send_some(&stream);
        if (!take(&stream, TIMEOUT_MS))
            fail("no echo");
    }
    vl2cap_release(stream.channel, 1000);
    say("echoed");
}

/* Waits as vl2cap_event() says. Returns false if nothing has happened for too long. */
static bool wait_for_event(void)
{
    int timeout_ms = vl2cap_timeout(device);
    int at_most = timeout_ms < 0 || timeout_ms > TIMEOUT_MS ? TIMEOUT_MS : timeout_ms;

#ifdef _WIN32
    if (WaitForSingleObject(vl2cap_event(device), (DWORD)at_most) == WAIT_OBJECT_0)
#else
    if (poll(&(struct pollfd){.fd = vl2cap_event(device), .events = POLLIN}, 1, at_most) > 0)
#endif
        return true;
    return at_most == timeout_ms;
}

static void run_loop(char **argv)
{
    struct stream stream = new_stream(argv);

    while (stream.echoed < stream.count) {
        if (send_some(&stream) | take(&stream, 0))
            continue;
        if (!wait_for_event())
            fail("nothing happens");
        check(vl2cap_process(device), "process");
    }
    vl2cap_release(stream.channel, 1000);
    say("echoed");
}

static void run_turns(char **argv)
{
    struct stream stream = new_stream(argv);

    while (stream.echoed < stream.count) {
        send_some(&stream);
        if (!wait_for_event())
            fail("nothing happens");
        check(vl2cap_process(device), "process");
        take(&stream, 0);
    }
    vl2cap_release(stream.channel, 1000);
    say("echoed");
}

static void run_unseen(char **argv)
{
    struct vl2cap_object *channel = connect_to(argv, 2048), *other = connect_to(argv, 2048);

    check(vl2cap_send(channel, "unseen", 6, TIMEOUT_MS), "send");
    check(vl2cap_poll(device, &(struct vl2cap_poll){channel, VL2CAP_POLLIN, 0}, 1, TIMEOUT_MS), "poll");
    check(vl2cap_send(other, "other", 5, TIMEOUT_MS), "send");
    check(vl2cap_recv(other, received, sizeof(received), TIMEOUT_MS), "recv");
    printf("after a call that waited: %d\n", vl2cap_timeout(device));
    check(vl2cap_process(device), "process");
    printf("left on purpose: %d\n", vl2cap_timeout(device));
    check(vl2cap_recv(channel, received, sizeof(received), 0), "recv");
    printf("one taken: %d\n", vl2cap_timeout(device));
    printf("no more: %d\n", vl2cap_recv(channel, received, sizeof(received), 0));
    printf("all taken: %d\n", vl2cap_timeout(device));
    vl2cap_release(channel, 1000);
    vl2cap_release(other, 1000);
}

/* Waits at another channel until the service goes, and then counts what is left to be read. */
static void run_unread(char **argv)
{
    struct vl2cap_object *channel = connect_to(argv, 2048), *other = connect_to(argv, 2048);
    unsigned count = 0;
    int length;

    check(vl2cap_send(channel, "unread", 6, TIMEOUT_MS), "send");
    if (vl2cap_poll(device, &(struct vl2cap_poll){channel, VL2CAP_POLLIN, 0}, 1, TIMEOUT_MS) != 1)
        fail("no echo");
    say("waiting");
    if (vl2cap_recv(other, received, sizeof(received), TIMEOUT_MS) != VL2CAP_GONE)
        fail("the service does not go");
    while ((length = vl2cap_recv(channel, received, sizeof(received), 0)) >= 0)
        printf("%.*s\n", length, (const char *)received), count++;
    printf("%u SDU, then %d\n", count, length);
    vl2cap_release(channel, 1000);
    vl2cap_release(other, 1000);
}

static void run_stale(char **argv)
{
    (void)argv;
    say("ready");
    getchar();
    printf("then %d\n", vl2cap_wait_ready(device, 0));
}

static void run_att(char **argv)
{
    static const uint8_t request[] = {0x02, 0x80, 0x00};    /* Exchange MTU Request: Vol 3, Part F, 3.4.2.1 */
    struct vl2cap_connect to = {.psm = VL2CAP_CID_ATT, .mtu = 517, .fixed = true};
    struct vl2cap_object *channel;
    struct vl2cap_channel facts;

    to.peer = address_of("2", argv[0]);
    check(vl2cap_connect(device, &to, &channel), "connect");
    check(vl2cap_channel(channel, &facts), "channel");
    check(vl2cap_send(channel, request, sizeof(request), TIMEOUT_MS), "send");
    if (vl2cap_recv(channel, received, sizeof(received), TIMEOUT_MS) != 3 || received[0] != 0x03)
        fail("no Exchange MTU Response");
    printf("CID %u, the peer's MTU %u\n", (unsigned)facts.psm, received[1] + 256u * received[2]);
    vl2cap_release(channel, 1000);
}

static void run_advertise(char **argv)
{
    struct vl2cap_advertise what = {.data = expected, .length = (uint16_t)atoi(argv[0]), .scan_data = "\x02\x09x"};
    struct vl2cap_object *advertisement;

    what.scan_length = what.length > 31 ? 0 : 3;
    check(vl2cap_advertise(device, &what, &advertisement), "advertise");
    vl2cap_release(advertisement, 0);
    say("advertised");
}

/* Answers what an agent is asked. Returns whether that was all for now. */
static void answer(struct vl2cap_object *agent)
{
    struct vl2cap_prompt prompt;
    int error;

    while ((error = vl2cap_recv_prompt(agent, &prompt, 0)) == 0) {
        struct vl2cap_answer yes = {.number = prompt.number, .accept = true};

        printf("prompt %u of kind %u, %06u\n", (unsigned)prompt.number, (unsigned)prompt.kind, (unsigned)prompt.value);
        fflush(stdout);
        if (prompt.kind == VL2CAP_PROMPT_ENTER_PASSKEY)
            yes.value = 424242;
        if (prompt.kind != VL2CAP_PROMPT_DISPLAY && prompt.kind != VL2CAP_PROMPT_WITHDRAWN)
            check(vl2cap_send_answer(agent, &yes, TIMEOUT_MS), "answer");
    }
    if (error != VL2CAP_NOT_YET)
        fail("prompt");
}

static void run_agent(char **argv)
{
    struct vl2cap_agent who = {.io_capability = VL2CAP_IO_KEYBOARD_DISPLAY};
    struct vl2cap_pair with = {.nonblocking = true};
    struct vl2cap_poll objects[2] = {{.events = VL2CAP_POLLIN}, {.events = VL2CAP_POLLIN}};
    struct vl2cap_paired paired;

    with.peer = address_of(argv[0], argv[1]);
    with.security = (uint8_t)atoi(argv[2]);
    check(vl2cap_agent(device, &who, &objects[0].object), "agent");
    check(vl2cap_pair(device, &with, &objects[1].object), "pair");
    for (;;) {
        check(vl2cap_poll(device, objects, 2, TIMEOUT_MS), "poll");
        if (objects[0].revents)
            answer(objects[0].object);
        if (objects[1].revents)
            break;
    }
    check(vl2cap_pair_result(objects[1].object, &paired), "result");
    printf("paired: level %u, a key of %u octets%s\n", (unsigned)paired.security, (unsigned)paired.key_size,
           paired.bonded ? ", bonded" : "");
    vl2cap_release(objects[1].object, 0);
    vl2cap_release(objects[0].object, 0);
}

static void run_limits(char **argv)
{
    struct vl2cap_connect to = {.psm = 0x1001, .mtu = 48};
    struct vl2cap_object *channels[9], *none;
    uint8_t data[VL2CAP_ECHO_DATA];
    struct vl2cap_report report;

    (void)argv;
    to.peer = address_of("0", "C0:FF:EE:00:00:01");
    for (int i = 0; i < 8; i++)
        check(vl2cap_connect(device, &to, &channels[i]), "connect");
    printf("one more: %d\n", vl2cap_connect(device, &to, &channels[8]));
    vl2cap_release(channels[7], 0);
    printf("after a release: %d\n", vl2cap_connect(device, &to, &channels[7]));
    printf("an SDU that is too long: %d\n", vl2cap_send(channels[0], expected, 4097, TIMEOUT_MS));
    check(vl2cap_send(channels[0], expected, 48, TIMEOUT_MS), "send");
    printf("a buffer that is too small: %d\n", vl2cap_recv(channels[0], received, 47, TIMEOUT_MS));
    printf("the same SDU: %d\n", vl2cap_recv(channels[0], received, 48, TIMEOUT_MS));
    printf("no more: %d\n", vl2cap_recv(channels[0], received, 48, 1));
    printf("what is no echo: %d\n", vl2cap_echo_result(channels[0], data));
    printf("what is no scan: %d\n", vl2cap_recv_report(channels[0], &report, 0));
    printf("what is no listener: %d\n", vl2cap_accept(channels[0], &none, 0));
    to.reserved[1] = 1;
    printf("what is reserved: %d\n", vl2cap_connect(device, &to, &none));
    printf("shut down: %d\n", vl2cap_shutdown(channels[1]));
    printf("and then sent: %d\n", vl2cap_send(channels[1], expected, 1, TIMEOUT_MS));
    printf("and received: %d\n", vl2cap_recv(channels[1], received, 48, TIMEOUT_MS));
    printf("which says: %s\n", vl2cap_failure(device)->text);
    for (int i = 0; i < 4; i++)
        vl2cap_release(channels[i], 0);     /* vl2cap_close() ends the others */
}

static void run_refused(char **argv)
{
    (void)argv;
    check(vl2cap_process(device), "process");
    say(vl2cap_timeout(device) > 0 ? "later" : "at once");
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int arguments;
        void (*run)(char **argv);
    } uses[] = {{"echo", 5, run_echo},           {"loop", 5, run_loop},   {"turns", 5, run_turns}, {"unseen", 3, run_unseen},
                {"unread", 3, run_unread},       {"stale", 0, run_stale}, {"att", 1, run_att},     {"agent", 3, run_agent},
                {"advertise", 1, run_advertise}, {"limits", 0, run_limits}, {"refused", 0, run_refused}};

    for (size_t i = 0; argc > 1 && i < sizeof(uses) / sizeof(uses[0]); i++) {
        if (strcmp(argv[1], uses[i].name) != 0 || argc != 2 + uses[i].arguments)
            continue;
        if (vl2cap_open(&device, NULL))
            fail("open");
        if (uses[i].run != run_refused)
            check(vl2cap_wait_ready(device, TIMEOUT_MS), "ready");
        uses[i].run(argv + 2);
        vl2cap_close(device);
        return 0;
    }
    fputs("uses: see its source\n", stderr);
    return 2;
}
