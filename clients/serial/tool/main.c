/*
 * vl2cap-serial: Bluetooth from the shell of a guest that has nothing but a serial port.
 *
 * Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 no line, nobody answers, or no controller, 130 interrupted.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <string.h>

#include "arguments.h"
#include "line.h"
#include "session.h"

#define FOREVER_MS   0x7FFFFFFFUL
#define QUIET_MS     3000UL     /* a wait that is longer than this is told     */
#define CHANNEL      1
#define LISTENER     2
#define ADVERTISER   3

/* What an error means, or 0 if that is not known. */
static const char *text_of(int error)
{
    switch (error) {
    case SESSION_LOST: return "the line has ended";
    case VLS_EPERM: return "the link is not secure enough";
    case VLS_EAGAIN: return "connected too often in the last minute";
    case VLS_EACCES: return "the driver domain does not allow it";
    case VLS_ENODEV: return "the Bluetooth controller, or usbbt-serial, has gone";
    case VLS_EINVAL: return "the PSM, the level, or a length is not legal";
    case VLS_EMFILE: return "the driver domain's limit for this guest is reached";
    case VLS_EBADMSG: return "the protocol was broken";
    case VLS_EOPNOTSUPP: return "the adapter, or the driver domain, cannot do that";
    case VLS_EADDRINUSE: return "in use already, by this guest or another";
    case VLS_ENOBUFS: return "this program did not read";
    case VLS_ENOTCONN: return "the peer disconnected";
    case VLS_ETIMEDOUT: return "no answer";
    case VLS_ECONNREFUSED: return "the peer refused";
    default: return 0;
    }
}

/* Says why a command has failed, and returns its exit status. */
static int fail(const char *what, int error)
{
    const char *text = text_of(error);

    if (error == SESSION_INTERRUPTED) {
        fputs("vl2cap-serial: interrupted\n", stderr);
        return 130;
    }
    if (text)
        fprintf(stderr, "vl2cap-serial: %s: %s\n", what, text);
    else
        fprintf(stderr, "vl2cap-serial: %s: error %d, for which this program has no words\n", what, error);
    return error == SESSION_LOST ? 3 : 1;
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
    if (ret != 0 && ret != SESSION_INTERRUPTED)
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
            return found;
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
    return ret == 0 || ret == SESSION_INTERRUPTED ? 0 : fail("connect", ret);
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
        if (ret == 0 || ret == SESSION_INTERRUPTED)
            return 0;
        ret = ret == VLS_ENODEV || ret == SESSION_LOST ? ret : 0;
    }
    return ret == SESSION_INTERRUPTED ? 0 : fail("listen", ret);
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

/* Why there is no controller yet: error is of session_info() or session_ready(). */
static void print_waited_for(int error)
{
    if (error == VLS_ENODEV)
        fputs("vl2cap-serial: the driver domain has no Bluetooth controller now", stderr);
    else if (session.refused)
        fprintf(stderr, "vl2cap-serial: usbbt-serial on %s speaks version %d of the protocol, and this program version %d",
                options.line, session.refused, VLS_VERSION);
    else if (session.sessions)
        fprintf(stderr, "vl2cap-serial: usbbt-serial on %s has stopped answering", options.line);
    else
        fprintf(stderr, "vl2cap-serial: nothing answers on %s: does usbbt-serial run there?", options.line);
}

/* Waits for a controller; for INFO, for an answer. Returns 0, or the exit status of a failure, which is said. */
static int wait_ready(int is_info)
{
    unsigned long ms = options.wait_s * 1000UL, first = ms < QUIET_MS ? ms : QUIET_MS;
    int ret = is_info ? session_info(first) : session_ready(first);

    if ((ret == VLS_ETIMEDOUT || ret == VLS_ENODEV) && !session.refused && ms > first) {
        print_waited_for(ret);
        fprintf(stderr, " Waiting up to %lu s.\n", (ms - first) / 1000UL);
        ret = is_info ? session_info(ms - first) : session_ready(ms - first);
    }
    if (ret == VLS_ETIMEDOUT || ret == VLS_ENODEV) {
        print_waited_for(ret);
        fputs("\n", stderr);
        return 3;
    }
    return ret ? fail(options.line, ret) : 0;
}

static int run(const char *command, const unsigned char *addr, unsigned long psm)
{
    int is_info = strcmp(command, "info") == 0;
    int status = wait_ready(is_info);

    if (status != 0)
        return status;
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
    int at, ret;
    unsigned char addr[6];
    unsigned long psm;

    for (at = 1; at < argc; at++)
        if (strcmp(argv[at], "-h") == 0 || strcmp(argv[at], "--help") == 0)
            return help();
    at = read_options(argc, argv);
    if (at < 0)
        return 2;
    if (at == argc)
        return misuse("a command is missing", "");
    ret = read_words(argv[at], argc - at - 1, argv + at + 1, addr, &psm);
    if (ret != 0)
        return ret;
    if (session_open(options.line, options.baud) != 0)
        return 3;
    ret = run(argv[at], addr, psm);
    session_close();
    return ret;
}
