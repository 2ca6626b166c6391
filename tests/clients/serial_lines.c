/*
 * A guest's program over a serial line that obeys lines on its standard input: client.py says which there are. Of things
 * it has as many as a client has ids.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session.h"

#define MOST_WORDS 8
#define WAIT_MS    25000UL

static char text[3 * 65536 + 200];
static unsigned char octets[VLS_MTU + 1];

static const char *kind_of(int error, unsigned int id)
{
    if (error == VLS_ENODEV)
        return id && session.objects[id - 1].lost ? "bridge-gone" : "disconnected";
    switch (error) {
    case VLS_EBADMSG: return "broken";
    case VLS_ENOTCONN: return "closed";
    case VLS_ECONNREFUSED: return "refused";
    case VLS_ETIMEDOUT: return "timeout";
    case VLS_EACCES: return "denied";
    case VLS_EPERM: return "not-secure";
    case VLS_EMFILE: return "limit";
    case VLS_EAGAIN: return "too-often";
    case VLS_EADDRINUSE: return "in-use";
    case VLS_EOPNOTSUPP: return "not-supported";
    case VLS_EINVAL: return "invalid";
    default: return "errno";
    }
}

static void answer(int error, unsigned int id)
{
    if (error < 0)
        printf("error %s %d\n", kind_of(error, id), error);
    else
        puts("ok");
}

static unsigned int index_of(const char *word, const char *const *names)
{
    unsigned int index = 0;

    while (names[index] && strcmp(names[index], word) != 0)
        index++;
    return index;
}

static const char *const TYPES[] = {"bredr", "public", "random", 0};
static const char *const TRANSPORTS[] = {"bredr", "le", 0};
static const char *const LEVELS[] = {"none", "none", "encrypted", "authenticated", "secure", 0};
static const char *const SOURCES[] = {"advertising", "inquiry", "name", 0};

static const char *level_name(unsigned int level)
{
    return LEVELS[level < 4 ? level : 4];
}

static void print_address(const unsigned char *addr)
{
    printf(" %02X:%02X:%02X:%02X:%02X:%02X", addr[5], addr[4], addr[3], addr[2], addr[1], addr[0]);
}

static void print_octets(const unsigned char *data, unsigned int length)
{
    unsigned int i;

    putchar(' ');
    if (!length)
        putchar('-');
    for (i = 0; i < length; i++)
        printf("%02x", data[i]);
}

static void read_address(const char *word, unsigned char *addr)
{
    unsigned int o[6], i;

    if (sscanf(word, "%2x:%2x:%2x:%2x:%2x:%2x", &o[5], &o[4], &o[3], &o[2], &o[1], &o[0]) == 6)
        for (i = 0; i < 6; i++)
            addr[i] = (unsigned char)o[i];
}

/* How many octets there are, of which no more are kept than fit. */
static unsigned int read_octets(const char *word)
{
    unsigned int length = strcmp(word, "-") ? (unsigned int)(strlen(word) / 2) : 0, i, octet;

    for (i = 0; i < length && i < sizeof(octets) && sscanf(word + 2 * i, "%2x", &octet) == 1; i++)
        octets[i] = (unsigned char)octet;
    return length;
}

static unsigned int free_id(void)
{
    unsigned int id = 1;

    while (id < VLS_OBJECTS && session.objects[id - 1].state != VLS_FREE)
        id++;
    return id;
}

static unsigned int number(const char *word)
{
    return (unsigned int)strtoul(word, 0, 0);
}

/* ---------------------------------------------------------------------------------------------------- commands -- */

static void say_channel(unsigned int id, int ret)
{
    const struct vls_peer *peer = &session.objects[id - 1].peer;

    if (ret != 0) {
        answer(ret, 0);
        return;
    }
    printf("ok %u", id);
    print_address(peer->addr);
    printf(" %s %u %u %s\n", TYPES[peer->addr_type], peer->tx_mtu, peer->rx_mtu, level_name(peer->security));
}

static void say_made(unsigned int id, int ret)
{
    if (ret == 0)
        ret = session_answer(id);
    if (ret == 0)
        printf("ok %u\n", id);
    else
        answer(ret, 0);
}

static void tell_info(void)
{
    const struct vls_info *info = &session.info;
    int ret = session_info(WAIT_MS);

    if (ret != 0) {
        answer(ret, 0);
        return;
    }
    fputs("ok", stdout);
    print_address(info->addr);
    print_address(info->le_addr);
    printf(" %s %lu %u %u %u\n", info->powered ? "true" : "false", info->features, info->max_channels, info->channels,
           info->max_mtu);
}

static void echo(unsigned int id, unsigned int first, unsigned int last)
{
    static unsigned char sent[VLS_MTU];
    unsigned int size, i;
    int ret;

    for (size = first; size <= last; size++) {
        for (i = 0; i < size; i++)
            sent[i] = (unsigned char)((i + size) & 0xFF);
        ret = session_send(id, sent, size, WAIT_MS);
        if (ret == 0)
            ret = session_recv(id, octets, sizeof(octets), WAIT_MS);
        if (ret < 0) {
            answer(ret, id);
            return;
        }
        if (ret != (int)size || memcmp(sent, octets, size) != 0) {
            printf("error errno SDU of %u octets came back as another\n", size);
            return;
        }
    }
    printf("ok %u\n", last - first + 1);
}

static void tell_report(unsigned int id)
{
    int length = session_recv(id, octets, sizeof(octets), WAIT_MS);

    if (length < VLS_REPORT_SIZE) {
        answer(length < 0 ? length : VLS_EBADMSG, id);
        return;
    }
    fputs("ok", stdout);
    print_address(octets);
    printf(" %s %s %d", TYPES[octets[6]], SOURCES[octets[7]], (int)(signed char)octets[12]);
    print_octets(octets + VLS_REPORT_SIZE, (unsigned int)length - VLS_REPORT_SIZE);
    putchar('\n');
}

static void receive(unsigned int id)
{
    int length = session_recv(id, octets, sizeof(octets), WAIT_MS);

    if (length == VLS_EINVAL)
        length = VLS_ENOTCONN;  /* it was closed here */
    if (length < 0) {
        answer(length, id);
        return;
    }
    fputs("ok", stdout);
    print_octets(octets, (unsigned int)length);
    putchar('\n');
}

static void do_connect(char **words)
{
    unsigned char addr[6] = {0};
    unsigned int id = free_id();
    int ret;

    read_address(words[1], addr);
    ret = vls_connect(&session, id, addr, index_of(words[2], TYPES), number(words[3]), index_of(words[5], LEVELS), 0, 20000);
    say_channel(id, ret ? ret : session_answer(id));
}

/* Returns 0 at the end. */
static int obey(char **words)
{
    const char *command = words[0];
    unsigned int id = free_id(), thing = number(words[1]);
    int ret;

    if (strcmp(command, "quit") == 0) {
        session_close();
        puts("ok");
        return 0;
    }
    if (strcmp(command, "ready") == 0) {
        answer(session_ready(WAIT_MS), 0);
    } else if (strcmp(command, "info") == 0) {
        tell_info();
    } else if (strcmp(command, "connect") == 0) {
        do_connect(words);
    } else if (strcmp(command, "listen") == 0) {
        say_made(id, vls_listen(&session, id, index_of(words[1], TRANSPORTS), number(words[2]), index_of(words[4], LEVELS)));
    } else if (strcmp(command, "accept") == 0) {
        ret = vls_accept(&session, id, thing);
        say_channel(id, ret ? ret : session_answer(id));
    } else if (strcmp(command, "send") == 0) {
        answer(session_send(thing, octets, read_octets(words[2]), WAIT_MS), thing);
    } else if (strcmp(command, "recv") == 0) {
        receive(thing);
    } else if (strcmp(command, "echo") == 0) {
        echo(thing, number(words[2]), number(words[3]));
    } else if (strcmp(command, "scan") == 0) {
        say_made(id, vls_scan(&session, id, index_of(words[1], TRANSPORTS), VLS_SCAN_ACTIVE));
    } else if (strcmp(command, "report") == 0) {
        tell_report(thing);
    } else if (strcmp(command, "advertise") == 0) {
        unsigned int length = read_octets(words[1]);

        say_made(id, vls_advertise(&session, id, octets, length, VLS_ADVERTISE_CONNECTABLE));
    } else if (strcmp(command, "close") == 0) {
        session_release(thing);
        puts("ok");
    } else {
        puts("error usage unknown");
    }
    return 1;
}

int main(int argc, char **argv)
{
    char *words[MOST_WORDS + 1], *word;
    static char nothing[] = "";
    unsigned int count;

    if (argc != 2 || session_open(argv[1], 0) != 0)
        return 2;
    setvbuf(stdout, 0, _IOLBF, 65536);
    while (fgets(text, sizeof(text), stdin)) {
        count = 0;
        for (word = strtok(text, " \n"); word && count < MOST_WORDS; word = strtok(0, " \n"))
            words[count++] = word;
        while (count <= MOST_WORDS)
            words[count++] = nothing;
        if (!obey(words))
            return 0;
        fflush(stdout);
    }
    return 0;
}
