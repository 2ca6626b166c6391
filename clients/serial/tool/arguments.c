/*
 * See arguments.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "vl2cap_serial.h"

#ifndef DEFAULT_LINE
#define DEFAULT_LINE "/dev/ttyS0"
#endif

struct options options = {DEFAULT_LINE, 0, 30, 5, 10, 64, VLS_ADDR_BREDR, 0, 0};

int help(void)
{
    fputs("usage: vl2cap-serial [OPTION]... COMMAND\n"
          "  info                     what the adapter is and can do\n"
          "  scan                     devices that are there: -r or -p on LE, otherwise BR/EDR\n"
          "  connect ADDRESS PSM      lines of standard input to a peer, and what it sends to standard output\n"
          "  listen PSM               takes peers, one at a time, until ^C\n"
          "  ping ADDRESS [PSM]       round trips: the echo of BR/EDR, or a PSM that echoes\n", stdout);
    fputs("options:\n"
          "  -l LINE  serial port (" DEFAULT_LINE ")\n"
          "  -b BAUD  its rate (as it is)                -w S     wait so long for a controller (30)\n"
          "  -r, -p   on LE, a random or public address  -s LEVEL 0 to 4, of security (0)\n"
          "  -e       listen: send everything back       -t S     scan: so long (5)\n"
          "  -n COUNT ping: so many (10)                 -z SIZE  ping: octets (64)\n"
          "  -h       this text\n", stdout);
    return 0;
}

int misuse(const char *what, const char *word)
{
    fprintf(stderr, "vl2cap-serial: %s%s%s\nvl2cap-serial -h says what it takes.\n", what, *word ? ": " : "", word);
    return 2;
}

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

int read_options(int argc, char **argv)
{
    int at;
    unsigned long level;

    for (at = 1; at < argc && argv[at][0] == '-'; at++) {
        const char *value = at + 1 < argc ? argv[at + 1] : "";
        char letter = argv[at][1];
        int ok = 0;

        if (letter == '\0' || argv[at][2] != '\0' || !strchr("rpelbswtnz", letter)) {
            (void)misuse("unknown option", argv[at]);
            return -1;
        }
        if (letter == 'r' || letter == 'p') {
            options.addr_type = letter == 'r' ? VLS_ADDR_LE_RANDOM : VLS_ADDR_LE_PUBLIC;
            continue;
        }
        if (letter == 'e') {
            options.echo = 1;
            continue;
        }
        if (*value == '\0') {
            (void)misuse("a value is missing after", argv[at]);
            return -1;
        }
        switch (letter) {
        case 'l': options.line = value; break;
        case 'b': ok = read_number(value, 115200UL, &options.baud); break;
        case 's': ok = read_number(value, 4UL, &level); options.level = (unsigned int)level; break;
        case 'w': ok = read_number(value, 86400UL, &options.wait_s); break;
        case 't': ok = read_number(value, 86400UL, &options.seconds); break;
        case 'n': ok = read_number(value, 1000000UL, &options.count); break;
        default: ok = read_number(value, (unsigned long)VLS_MTU, &options.size); break;
        }
        if (ok != 0) {
            (void)misuse("not a number, or too large a one", value);
            return -1;
        }
        at++;
    }
    return at;
}

int read_words(const char *command, int count, char **words, unsigned char *addr, unsigned long *psm)
{
    int has_addr = strcmp(command, "connect") == 0 || strcmp(command, "ping") == 0, i;
    int has_psm = has_addr || strcmp(command, "listen") == 0;

    if (!has_psm && strcmp(command, "info") != 0 && strcmp(command, "scan") != 0)
        return misuse("unknown command", command);
    for (i = 0; i < count; i++)
        if (words[i][0] == '-')
            return misuse("options stand before the command", words[i]);
    if (count > has_addr + has_psm)
        return misuse("one word too many", words[has_addr + has_psm]);
    if (has_addr) {
        if (count == 0)
            return misuse("the peer's address is missing, such as C0:FF:EE:00:00:13", "");
        if (read_address(words[0], addr) != 0)
            return misuse("not a Bluetooth address, such as C0:FF:EE:00:00:13", words[0]);
    }
    *psm = 0;
    if (count < has_addr + has_psm)
        return strcmp(command, "ping") == 0 ? 0 : misuse("the PSM is missing", "");
    if (has_psm && read_number(words[has_addr], 0xFFFFUL, psm) != 0)
        return misuse("not a PSM, which is a number up to 0xFFFF", words[has_addr]);
    return 0;
}
