/*
 * A guest's program over libvl2cap that obeys lines on its standard input: client.py says which there are.
 * Portable C11, as the library is.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#endif

#include "vl2cap.h"

#define LARGEST_SDU 65536
#define MOST_ON_ITS_WAY 32768 /* octets */
#define MOST_THINGS 100
#define MOST_WORDS 8

static struct vl2cap *device;
static struct vl2cap_object *things[MOST_THINGS + 1]; /* from 1; NULL: closed */
static unsigned count;
static char line[2 * LARGEST_SDU + 200];
static uint8_t octets[LARGEST_SDU];

static const char *kind_of(int error)
{
    switch (error) {
    case VL2CAP_GONE:
        return "disconnected";
    case VL2CAP_EBADMSG:
        return "broken";
    case VL2CAP_ENOTCONN:
        return "closed";
    case VL2CAP_ECONNREFUSED:
        return "refused";
    case VL2CAP_ETIMEDOUT:
        return "timeout";
    case VL2CAP_EACCES:
        return "denied";
    case VL2CAP_EPERM:
        return "not-secure";
    case VL2CAP_EMFILE:
        return "limit";
    case VL2CAP_EAGAIN:
        return "too-often";
    case VL2CAP_EADDRINUSE:
        return "in-use";
    case VL2CAP_ENODEV:
        return "no-controller";
    case VL2CAP_EOPNOTSUPP:
        return "not-supported";
    case VL2CAP_EINVAL:
    case VL2CAP_EMSGSIZE:
        return "invalid";
    default:
        return "errno";
    }
}

static void fail(int error)
{
    printf("error %s %s\n", kind_of(error), vl2cap_failure(device)->text);
}

static void usage(const char *what)
{
    printf("error usage %s\n", what);
}

static void answer(int error)
{
    if (error < 0)
        fail(error);
    else
        puts("ok");
}

/* -------------------------------------------------------------------------------------------------------- Words */

static unsigned index_of(const char *word, const char *const *names)
{
    unsigned index = 0;

    while (names[index] && strcmp(names[index], word) != 0)
        index++;
    return index;
}

static const char *const TYPES[] = {"bredr", "public", "random", NULL};
static const char *const TRANSPORTS[] = {"bredr", "le", NULL};
static const char *const LEVELS[] = {"none", "none", "encrypted", "authenticated", "secure", NULL};
static const char *const SOURCES[] = {"advertising", "inquiry", "name", NULL};

static void print_address(const struct vl2cap_address *address)
{
    char text[VL2CAP_ADDRESS_TEXT];

    vl2cap_address_format(address, text);
    printf(" %s", text);
}

static void print_octets(const uint8_t *data, size_t length)
{
    putchar(' ');
    if (!length)
        putchar('-');
    for (size_t i = 0; i < length; i++)
        printf("%02x", data[i]);
}

static size_t read_octets(const char *word)
{
    size_t length = strcmp(word, "-") ? strlen(word) / 2 : 0;
    unsigned octet;

    for (size_t i = 0; i < length && i < sizeof octets && sscanf(word + 2 * i, "%2x", &octet) == 1; i++)
        octets[i] = (uint8_t)octet;
    return length;
}

static uint16_t read_u16(const char *word, bool *fits)
{
    unsigned long number = strtoul(word, NULL, 0);

    *fits = *fits && number <= UINT16_MAX;
    return (uint16_t)number;
}

/* -------------------------------------------------------------------------------------------------------- Things */

static struct vl2cap_object **find(const char *word)
{
    unsigned number = (unsigned)strtoul(word, NULL, 10);

    return number && number <= count ? &things[number] : NULL;
}

static bool add(struct vl2cap_object *made)
{
    if (count == MOST_THINGS) {
        vl2cap_release(made, 0);
        return false;
    }
    things[++count] = made;
    printf("ok %u", count);
    return true;
}

/* What a call made is passed by its place, as the call may come after the arguments beside it. */
static void answer_thing(int error, struct vl2cap_object *const *made)
{
    if (error)
        fail(error);
    else if (add(*made))
        putchar('\n');
    else
        usage("too many things");
}

static void answer_channel(int error, struct vl2cap_object *const *made)
{
    struct vl2cap_channel channel;

    if (error || (error = vl2cap_channel(*made, &channel))) {
        fail(error);
        return;
    }
    if (!add(*made)) {
        usage("too many things");
        return;
    }
    print_address(&channel.peer);
    printf(" %s %u %u %s\n", TYPES[channel.peer.type], channel.tx_mtu, channel.rx_mtu, LEVELS[channel.security]);
}

/* ------------------------------------------------------------------------------------------------------ Commands */

static void tell_info(void)
{
    struct vl2cap_info info;
    int error = vl2cap_info(device, &info);

    if (error) {
        fail(error);
        return;
    }
    printf("ok");
    print_address(&info.address);
    print_address(&info.le_address);
    printf(" %s %lu %lu %lu %u\n", info.powered ? "true" : "false", (unsigned long)info.features,
           (unsigned long)info.max_channels, (unsigned long)info.channels, info.max_mtu);
}

static void connect_to(char **words)
{
    struct vl2cap_connect to = {.security = (uint8_t)index_of(words[5], LEVELS)};
    struct vl2cap_object *channel = NULL;
    bool fits = true;

    to.psm = read_u16(words[3], &fits);
    to.mtu = read_u16(words[4], &fits);
    if (!fits)
        printf("error invalid PSM or MTU\n");
    else if (vl2cap_address_parse(words[1], (uint8_t)index_of(words[2], TYPES), &to.peer))
        printf("error invalid %s %s\n", words[1], words[2]);
    else
        answer_channel(vl2cap_connect(device, &to, &channel), &channel);
}

static void listen_on(char **words)
{
    struct vl2cap_listen on = {.transport = (uint8_t)index_of(words[1], TRANSPORTS),
                               .security = (uint8_t)index_of(words[4], LEVELS)};
    struct vl2cap_object *listener = NULL;
    bool fits = true;

    on.psm = read_u16(words[2], &fits);
    on.mtu = read_u16(words[3], &fits);
    if (!fits)
        printf("error invalid PSM or MTU\n");
    else
        answer_thing(vl2cap_listen(device, &on, &listener), &listener);
}

static void receive(struct vl2cap_object *channel)
{
    int length = vl2cap_recv(channel, octets, sizeof octets, VL2CAP_FOREVER);

    if (length < 0) {
        fail(length);
        return;
    }
    printf("ok");
    print_octets(octets, (size_t)length);
    putchar('\n');
}

static void fill(uint8_t *sdu, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        sdu[i] = (uint8_t)(size + i);
}

/*
 * Sends what there is room for, takes what has come, and waits only if there was neither. BR/EDR has no flow control: so
 * no more may be on its way than the driver domain keeps of what this program has not read.
 */
static void echo(struct vl2cap_object *channel, unsigned first, unsigned last)
{
    static uint8_t sdu[LARGEST_SDU];
    unsigned sent = first, echoed = first;
    size_t on_its_way = 0;
    int error = 0;

    while (echoed <= last && !error) {
        struct vl2cap_poll poll = {.object = channel, .events = VL2CAP_POLLIN};
        int length;

        while (sent <= last && !error && on_its_way < MOST_ON_ITS_WAY) {
            fill(sdu, sent);
            error = vl2cap_send(channel, sdu, sent, 0);
            if (!error)
                on_its_way += sent++;
        }
        if (error && error != VL2CAP_NOT_YET)
            break;
        while ((length = vl2cap_recv(channel, octets, sizeof octets, 0)) >= 0) {
            fill(sdu, echoed);
            if ((unsigned)length != echoed || memcmp(sdu, octets, echoed) != 0) {
                printf("error invalid %d octets came back for %u\n", length, echoed);
                return;
            }
            on_its_way -= echoed++;
        }
        if (length != VL2CAP_NOT_YET) {
            error = length;
            break;
        }
        if (sent <= last && on_its_way < MOST_ON_ITS_WAY)
            poll.events |= VL2CAP_POLLOUT;
        error = echoed <= last ? vl2cap_poll(device, &poll, 1, VL2CAP_FOREVER) : 0;
        error = error < 0 ? error : 0;
    }
    if (error)
        fail(error);
    else
        printf("ok %u\n", last + 1 - first);
}

static void scan(const char *transport)
{
    struct vl2cap_scan how = {.transport = (uint8_t)index_of(transport, TRANSPORTS), .active = true};
    struct vl2cap_object *made = NULL;

    answer_thing(vl2cap_scan(device, &how, &made), &made);
}

static void report(struct vl2cap_object *of)
{
    static struct vl2cap_report found;
    int error = vl2cap_recv_report(of, &found, VL2CAP_FOREVER);

    if (error) {
        fail(error);
        return;
    }
    printf("ok");
    print_address(&found.address);
    printf(" %s %s %d", TYPES[found.address.type], SOURCES[found.source], found.rssi);
    print_octets(found.data, found.length);
    putchar('\n');
}

static void advertise(const char *data)
{
    struct vl2cap_advertise what = {.data = octets, .length = (uint16_t)read_octets(data), .connectable = true};
    struct vl2cap_object *made = NULL;

    answer_thing(vl2cap_advertise(device, &what, &made), &made);
}

static void obey_thing(char **words, unsigned given)
{
    struct vl2cap_object **thing = find(words[1]), *accepted = NULL;

    if (!thing) {
        usage("there is no such thing");
    } else if (!*thing) {
        printf("error closed it was closed\n");
    } else if (!strcmp(words[0], "accept")) {
        int error = vl2cap_accept(*thing, &accepted, VL2CAP_FOREVER);

        answer_channel(error, &accepted);
    } else if (!strcmp(words[0], "send") && given == 3) {
        size_t length = read_octets(words[2]);

        answer(vl2cap_send(*thing, octets, length, VL2CAP_FOREVER));
    } else if (!strcmp(words[0], "recv")) {
        receive(*thing);
    } else if (!strcmp(words[0], "report")) {
        report(*thing);
    } else if (!strcmp(words[0], "echo") && given == 4) {
        echo(*thing, (unsigned)strtoul(words[2], NULL, 10), (unsigned)strtoul(words[3], NULL, 10));
    } else if (!strcmp(words[0], "close")) {
        vl2cap_release(*thing, 5000);
        *thing = NULL;
        puts("ok");
    } else {
        usage(words[0]);
    }
}

static void obey(char **words, unsigned given)
{
    if (given == 1 && !strcmp(words[0], "ready"))
        answer(vl2cap_wait_ready(device, VL2CAP_FOREVER));
    else if (given == 1 && !strcmp(words[0], "info"))
        tell_info();
    else if (given == 1 && !strcmp(words[0], "trouble"))
        printf("ok %s\n", vl2cap_failure(device)->text);
    else if (given == 6 && !strcmp(words[0], "connect"))
        connect_to(words);
    else if (given == 5 && !strcmp(words[0], "listen"))
        listen_on(words);
    else if (given == 2 && !strcmp(words[0], "scan"))
        scan(words[1]);
    else if (given == 2 && !strcmp(words[0], "advertise"))
        advertise(words[1]);
    else if (given >= 2)
        obey_thing(words, given);
    else
        usage(words[0]);
}

static unsigned split(char *words[MOST_WORDS])
{
    unsigned given = 0;

    for (char *word = strtok(line, " \r\n"); word && given < MOST_WORDS; word = strtok(NULL, " \r\n"))
        words[given++] = word;
    return given;
}

int main(void)
{
    char *words[MOST_WORDS];
    int error = vl2cap_open(&device, NULL);

#ifdef _WIN32
    _setmode(_fileno(stdout), _O_BINARY);
#endif
    if (error) {
        fprintf(stderr, "%s\n", vl2cap_strerror(error));
        return 1;
    }
    while (fgets(line, sizeof line, stdin)) {
        unsigned given = split(words);

        if (given == 1 && !strcmp(words[0], "quit"))
            break;
        if (given)
            obey(words, given);
        fflush(stdout);
    }
    vl2cap_close(device);
    puts("ok");
    return 0;
}
