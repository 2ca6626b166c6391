/*
 * vl2cap-serial: Bluetooth from the shell of a guest that has nothing but a serial port.
 *
 * Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 no line, nobody answers, or no controller.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "line.h"
#include "session.h"

#ifndef DEFAULT_LINE
#define DEFAULT_LINE "/dev/ttyS0"
#endif
#define FOREVER_MS   0x7FFFFFFFUL
#define CHANNEL      1
#define LISTENER     2
#define ADVERTISER   3

static struct {
    const char *line;
    unsigned long baud, wait_s, seconds, count, size;
    unsigned int addr_type, level;
    int echo;
} options = {DEFAULT_LINE, 0, 30, 5, 10, 64, VLS_ADDR_BREDR, 0, 0};

static int usage(void)
{
    fputs("usage: vl2cap-serial [OPTION]... COMMAND\n"
          "  info                     what the adapter is and can do\n"
          "  scan                     devices that are there: -r or -p on LE, otherwise BR/EDR\n"
          "  connect ADDRESS PSM      lines of standard input to a peer, and what it sends to standard output\n"
          "  listen PSM               takes peers, one at a time, until ^C\n"
          "  ping ADDRESS [PSM]       round trips: the echo of BR/EDR, or a PSM that echoes\n", stderr);
    fputs("options:\n"
          "  -l LINE  serial port (" DEFAULT_LINE ")      -b BAUD  its rate (as it is)\n"
          "  -r, -p   on LE, a random or public address  -s LEVEL 0 to 4, of security (0)\n"
          "  -e       listen: send everything back       -w S     wait so long for a controller (30)\n"
          "  -t S     scan: so long (5)                  -n COUNT ping: so many (10)\n"
          "  -z SIZE  ping: octets (64)\n", stderr);
    return 2;
}

static const char *text_of(int error)
{
    switch (error) {
    case SESSION_LOST: return "the line has ended, or was left";
    case VLS_EPERM: return "the link is not secure enough";
    case VLS_EAGAIN: return "connected too often";
    case VLS_EACCES: return "the driver domain does not allow it";
    case VLS_EEXIST: return "the id is in use";
    case VLS_ENODEV: return "no controller, or the bridge has gone";
    case VLS_EINVAL: return "not valid";
    case VLS_EMFILE: return "a limit is reached";
    case VLS_EBADMSG: return "the protocol was broken";
    case VLS_EOPNOTSUPP: return "not supported";
    case VLS_EADDRINUSE: return "in use already";
    case VLS_ENOBUFS: return "this program did not read";
    case VLS_ENOTCONN: return "the peer disconnected";
    case VLS_ETIMEDOUT: return "no answer";
    case VLS_ECONNREFUSED: return "the peer refused";
    default: return "failed";
    }
}

static int fail(const char *what, int error)
{
    fprintf(stderr, "vl2cap-serial: %s: %s (%d)\n", what, text_of(error), error);
    return 1;
}

/* ------------------------------------------------------------------------------------------------------- words -- */

static int read_address(const char *text, unsigned char *addr)
{
    unsigned int octets[6], i;
    char rest;

    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", &octets[5], &octets[4], &octets[3], &octets[2], &octets[1], &octets[0],
               &rest) != 6)
        return -1;
    for (i = 0; i < 6; i++)
        addr[i] = (unsigned char)octets[i];
    return 0;
}

static int read_number(const char *text, unsigned long most, unsigned long *number)
{
    char *end;

    *number = strtoul(text, &end, 0);
    return *text >= '0' && *text <= '9' && *end == '\0' && *number <= most ? 0 : -1;
}

static void print_address(const unsigned char *addr)
{
    static const char digits[] = "0123456789ABCDEF";    /* not every libc knows %X */
    unsigned int i;

    for (i = 6; i-- > 0;)
        printf("%c%c%s", digits[addr[i] >> 4], digits[addr[i] & 15], i ? ":" : "");
}

/* ---------------------------------------------------------------------------------------------------- commands -- */

static int show_info(void)
{
    static const char *const names[] = {"BR/EDR", "LE", "scan", "advertise", "pair", "echo"};
    const struct vls_info *info = &session.info;
    unsigned int bit;

    if (info->powered) {
        fputs("address    ", stdout);
        print_address(info->addr);
        if (info->le_type) {
            fputs("\non LE      ", stdout);
            print_address(info->le_addr);
        }
        fputs("\ncan       ", stdout);
        for (bit = 0; bit < 6; bit++)
            if (info->features & 1UL << bit)
                printf(" %s", names[bit]);
        putchar('\n');
    }
    printf("controller %s\nchannels   %u of %u\nMTU        up to %u, here %u\n", info->powered ? "up" : "down",
           info->channels, info->max_channels, info->max_mtu, (unsigned int)VLS_MTU);
    return 0;
}

/* The name among the AD structures of a report, of which the last octets may be missing; letters are made safe. */
static void print_name(const unsigned char *data, unsigned int length)
{
    unsigned int at = 0, size, i;

    while (at + 1 < length && (size = data[at]) != 0) {
        if (data[at + 1] == 0x08 || data[at + 1] == 0x09)
            for (i = at + 2; i <= at + size && i < length; i++)
                putchar(data[i] >= 0x20 && data[i] < 0x7F ? data[i] : '?');
        at += size + 1;
    }
}

static int scan(void)
{
    static const char *const types[] = {"BR/EDR", "public", "random", "?"};
    unsigned char report[VLS_MTU];
    unsigned long since = line_now();
    unsigned int transport = options.addr_type == VLS_ADDR_BREDR ? VLS_TRANSPORT_BREDR : VLS_TRANSPORT_LE;
    int length, ret;

    (void)vls_scan(&session, CHANNEL, transport, VLS_SCAN_ACTIVE);
    ret = session_answer(CHANNEL);
    while (ret == 0 && ((line_now() - since) & 0xFFFFFFFFUL) < options.seconds * 1000) {
        length = session_recv(CHANNEL, report, sizeof(report), 100UL);
        if (length == VLS_ETIMEDOUT)
            continue;
        if (length < 0) {
            ret = length;
        } else if (length >= VLS_REPORT_SIZE) {
            print_address(report);
            printf("  %-6s  %4d  ", types[report[6] > 3 ? 3 : report[6]], (int)(signed char)report[12]);
            print_name(report + VLS_REPORT_SIZE, (unsigned int)length - VLS_REPORT_SIZE);
            putchar('\n');
            fflush(stdout);
        }
    }
    if (ret != 0 && ret != SESSION_LOST)
        return fail("scan", ret);
    session_release(CHANNEL);
    return 0;
}

static void print_sdus(void)
{
    unsigned char sdu[VLS_MTU];
    int length;

    while ((length = vls_recv(&session, CHANNEL, sdu, sizeof(sdu))) >= 0) {
        fwrite(sdu, 1, (size_t)length, stdout);
        putchar('\n');
        fflush(stdout);
    }
}

/* Lines of standard input are SDUs. Returns why it has ended, 0 if standard input has. */
static int converse(void)
{
    unsigned char sdu[VLS_MTU + 1];
    unsigned int length = 0, most = session.objects[CHANNEL - 1].peer.tx_mtu, i;
    int found, count, ret = 0;

    most = most < VLS_MTU ? most : VLS_MTU;
    for (;;) {
        print_sdus();
        if (session.objects[CHANNEL - 1].state != VLS_OPEN)
            return session.objects[CHANNEL - 1].ret;
        found = session_turn(1000UL, 1);
        if (found < 0)
            return SESSION_LOST;
        if (!(found & LINE_INPUT))
            continue;
        count = line_input(sdu + length, 1);
        if (count == 0)
            continue;
        if (count > 0 && sdu[length] != '\n' && ++length <= most)
            continue;
        if (length > most)
            return VLS_EINVAL;
        if (count > 0 || length)
            while ((ret = session_send(CHANNEL, sdu, length, 100UL)) == VLS_ETIMEDOUT)
                print_sdus();
        length = 0;
        if (ret != 0)
            return ret;
        if (count < 0) {
            for (i = 0; i < 10 && session_turn(100UL, 0) >= 0; i++)
                print_sdus();
            return 0;
        }
    }
}

static int connect_to(const unsigned char *addr, unsigned long psm)
{
    int ret = vls_connect(&session, CHANNEL, addr, options.addr_type, (unsigned int)psm, options.level, 0, 0UL);

    return ret != 0 ? ret : session_answer(CHANNEL);
}

static int connect_and_converse(const unsigned char *addr, unsigned long psm)
{
    int ret = connect_to(addr, psm);

    if (ret != 0)
        return fail("connect", ret);
    fprintf(stderr, "vl2cap-serial: connected: SDUs up to %u octets to the peer, %u from it\n",
            session.objects[CHANNEL - 1].peer.tx_mtu, session.objects[CHANNEL - 1].peer.rx_mtu);
    ret = converse();
    session_release(CHANNEL);
    return ret == 0 || ret == SESSION_LOST ? 0 : fail("connect", ret);
}

static int echo_all(void)
{
    unsigned char sdu[VLS_MTU];
    int length, ret;

    for (;;) {
        length = session_recv(CHANNEL, sdu, sizeof(sdu), FOREVER_MS);
        if (length < 0)
            return length;
        ret = session_send(CHANNEL, sdu, (unsigned int)length, FOREVER_MS);
        if (ret != 0)
            return ret;
    }
}

static int listen_on(unsigned long psm)
{
    static const unsigned char flags[] = {2, 1, 6};
    unsigned int transport = options.addr_type == VLS_ADDR_BREDR ? VLS_TRANSPORT_BREDR : VLS_TRANSPORT_LE;
    int ret;

    (void)vls_listen(&session, LISTENER, transport, (unsigned int)psm, options.level);
    ret = session_answer(LISTENER);
    if (ret == 0 && transport == VLS_TRANSPORT_LE) {
        (void)vls_advertise(&session, ADVERTISER, flags, sizeof(flags), VLS_ADVERTISE_CONNECTABLE);
        ret = session_answer(ADVERTISER);
    }
    while (ret == 0) {
        fprintf(stderr, "vl2cap-serial: listening\n");
        (void)vls_accept(&session, CHANNEL, LISTENER);
        ret = session_answer(CHANNEL);
        if (ret != 0)
            break;
        print_address(session.objects[CHANNEL - 1].peer.addr);
        puts(" connected");
        fflush(stdout);
        ret = options.echo ? echo_all() : converse();
        session_release(CHANNEL);
        if (ret == 0 || ret == SESSION_LOST)
            return 0;
        ret = ret == VLS_ENODEV ? ret : 0;
    }
    return ret == SESSION_LOST ? 0 : fail("listen", ret);
}

static int ping_once(const unsigned char *addr, unsigned long psm, unsigned int size, unsigned char *sdu)
{
    int ret;

    if (psm == 0) {
        (void)vls_echo(&session, CHANNEL, addr, sdu, size > VLS_MAX_ECHO_SIZE ? VLS_MAX_ECHO_SIZE : size, 0UL);
        return session_answer(CHANNEL);
    }
    ret = session_send(CHANNEL, sdu, size, 20000UL);
    if (ret != 0)
        return ret;
    ret = session_recv(CHANNEL, sdu, VLS_MTU, 20000UL);
    return ret < 0 ? ret : ret == (int)size ? 0 : VLS_EBADMSG;
}

static int ping(const unsigned char *addr, unsigned long psm)
{
    unsigned char sdu[VLS_MTU];
    unsigned long i, began, took;
    int ret = psm ? connect_to(addr, psm) : 0;

    for (i = 0; i < options.count && ret == 0; i++) {
        memset(sdu, (int)(i & 0xFF), sizeof(sdu));
        began = line_now();
        ret = ping_once(addr, psm, (unsigned int)options.size, sdu);
        took = (line_now() - began) & 0xFFFFFFFFUL;
        if (ret == 0)
            printf("%lu: %lu ms\n", i + 1, took);
    }
    printf("%lu of %lu came back\n", ret == 0 ? i : i ? i - 1 : 0, options.count);
    if (psm)
        session_release(CHANNEL);
    return ret == 0 ? 0 : fail("ping", ret);
}

/* -------------------------------------------------------------------------------------------------------- main -- */

static int read_options(int argc, char **argv)
{
    int at;
    unsigned long level;

    for (at = 1; at < argc && argv[at][0] == '-'; at++) {
        const char *value = at + 1 < argc ? argv[at + 1] : "";
        int ok = 0;

        if (argv[at][1] == '\0' || argv[at][2] != '\0')
            return -1;
        switch (argv[at][1]) {
        case 'r': options.addr_type = VLS_ADDR_LE_RANDOM; continue;
        case 'p': options.addr_type = VLS_ADDR_LE_PUBLIC; continue;
        case 'e': options.echo = 1; continue;
        case 'l': options.line = value; break;
        case 'b': ok = read_number(value, 115200UL, &options.baud); break;
        case 's': ok = read_number(value, 4UL, &level); options.level = (unsigned int)level; break;
        case 'w': ok = read_number(value, 86400UL, &options.wait_s); break;
        case 't': ok = read_number(value, 86400UL, &options.seconds); break;
        case 'n': ok = read_number(value, 1000000UL, &options.count); break;
        case 'z': ok = read_number(value, (unsigned long)VLS_MTU, &options.size); break;
        default: return -1;
        }
        if (ok != 0 || *value == '\0')
            return -1;
        at++;
    }
    return at;
}

static int run(const char *command, const unsigned char *addr, unsigned long psm)
{
    int is_info = strcmp(command, "info") == 0;
    int ret = is_info ? session_info(options.wait_s * 1000) : session_ready(options.wait_s * 1000);

    if (ret != 0) {
        (void)fail(session.refused ? "the bridge speaks another version" : options.line, ret);
        return 3;
    }
    if (is_info)
        return show_info();
    if (strcmp(command, "scan") == 0)
        return scan();
    if (strcmp(command, "connect") == 0)
        return connect_and_converse(addr, psm);
    if (strcmp(command, "listen") == 0)
        return listen_on(psm);
    return ping(addr, psm);
}

int main(int argc, char **argv)
{
    int at = read_options(argc, argv), left = argc - at, has_addr, ret;
    unsigned char addr[6];
    unsigned long psm = 0;
    const char *command;

    if (at < 0 || left < 1)
        return usage();
    command = argv[at];
    has_addr = strcmp(command, "connect") == 0 || strcmp(command, "ping") == 0;
    if (strcmp(command, "info") == 0 || strcmp(command, "scan") == 0) {
        if (left != 1)
            return usage();
    } else if (!has_addr && strcmp(command, "listen") != 0) {
        return usage();
    } else if (has_addr && (left < 2 || read_address(argv[at + 1], addr) != 0)) {
        return usage();
    } else if (has_addr && left == 2 && strcmp(command, "ping") == 0) {
        psm = 0;
    } else if (left != (has_addr ? 3 : 2) || read_number(argv[argc - 1], 0xFFFFUL, &psm) != 0) {
        return usage();
    }
    if (session_open(options.line, options.baud) != 0)
        return 3;
    ret = run(command, addr, psm);
    session_close();
    return ret;
}
