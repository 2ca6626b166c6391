/* SPDX-License-Identifier: MIT */
/* vl2cap info and vl2cap scan. */

#include "tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_DEVICES 256u
#define NAME_SIZE 64u
#define NO_ADDRESS "00:00:00:00:00:00"      /* of a controller that was not there yet */

static const char *const types[] = {"bredr", "public", "random"};

int command_info(struct vl2cap *device, const struct arguments *arguments)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } features[] = {{VL2CAP_FEATURE_BREDR, "bredr"}, {VL2CAP_FEATURE_LE, "le"}, {VL2CAP_FEATURE_SCAN, "scan"},
                    {VL2CAP_FEATURE_ADVERTISE, "advertise"}, {VL2CAP_FEATURE_AGENT, "security"}};
    char address[VL2CAP_ADDRESS_TEXT];
    struct vl2cap_info info;
    const char *separator = "";

    (void)arguments;
    if (vl2cap_info(device, &info))
        return tell_failure(device);
    vl2cap_address_format(&info.address, address);
    if (info.powered || strcmp(address, NO_ADDRESS) != 0)
        printf("address    %s (%s)\n", address, types[info.address.type]);
    else
        puts("address    not known");
    vl2cap_address_format(&info.le_address, address);
    if (info.le_address.type != VL2CAP_BREDR)
        printf("on LE      %s (%s)\n", address, types[info.le_address.type]);
    printf("controller %s\ncan        ", info.powered ? "up" : "down, or not plugged in");
    for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++)
        if (info.features & features[i].bit) {
            printf("%s%s", separator, features[i].name);
            separator = ", ";
        }
    printf("\nchannels   %u of %u in use\nMTU        up to %u bytes\n", (unsigned)info.channels, (unsigned)info.max_channels,
           (unsigned)info.max_mtu);
    return DONE;
}

struct known {
    struct vl2cap_address address;
    bool connectable;
    char name[NAME_SIZE];
};

struct heard {
    struct known devices[MOST_DEVICES];
    unsigned count, reports;
};

/* Returns the octets of the character at `text`, 0 if it is no UTF-8 (RFC 3629, 4), which what was cut is not, either. */
static size_t decode(const unsigned char *text, uint32_t *character)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t octets = *text < 0x80 ? 1 : *text < 0xc0 ? 0 : *text < 0xe0 ? 2 : *text < 0xf0 ? 3 : *text < 0xf8 ? 4 : 0;

    *character = octets < 2 ? *text : *text & (0x7fu >> octets);
    for (size_t i = 1; i < octets; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        *character = *character << 6 | (text[i] & 0x3f);
    }
    return *character >= least[octets] && *character <= 0x10ffff && (*character & ~0x7ffu) != 0xd800 ? octets : 0;
}

/* Whether a terminal may act on a character: controls, C1 among them, ends of lines, and what turns the direction. */
static bool is_control(uint32_t character)
{
    return character < 0x20 || (character >= 0x7f && character < 0xa0) || (character >= 0x200e && character <= 0x200f) ||
           (character >= 0x2028 && character <= 0x202e) || (character >= 0x2066 && character <= 0x2069);
}

/* What a stranger calls itself must not move the cursor of a terminal. */
static void make_printable(char *name)
{
    const unsigned char *from = (const unsigned char *)name;

    while (*from) {
        uint32_t character;
        size_t octets = decode(from, &character);
        bool good = octets && !is_control(character);

        if (good)
            memmove(name, from, octets);
        else
            *name = '?';
        name += good ? octets : 1;
        from += octets ? octets : 1;
    }
    *name = '\0';
}

/* Returns the device if there is something new of it; NULL otherwise, or if there are too many. */
static const struct known *learn(struct heard *heard, const struct vl2cap_report *report)
{
    bool connectable = report->event_type <= 1;     /* ADV_IND, ADV_DIRECT_IND: Vol 4, Part E, 7.7.65.2 */
    char name[NAME_SIZE];
    struct known *known = heard->devices;

    while (known < heard->devices + heard->count && memcmp(&known->address, &report->address, sizeof(known->address)) != 0)
        known++;
    if (known == heard->devices + MOST_DEVICES)
        return NULL;
    vl2cap_report_name(report, name, sizeof(name));
    make_printable(name);
    if (known < heard->devices + heard->count && (known->connectable || !connectable) &&
        (!name[0] || !strcmp(name, known->name)))
        return NULL;
    heard->count += known == heard->devices + heard->count;
    known->address = report->address;
    known->connectable = known->connectable || connectable;
    if (name[0])
        memcpy(known->name, name, sizeof(name));
    return known;
}

static void print_row(const struct known *known, int8_t rssi)
{
    char address[VL2CAP_ADDRESS_TEXT], strength[8] = "?";

    vl2cap_address_format(&known->address, address);
    if (rssi != VL2CAP_RSSI_UNKNOWN)
        snprintf(strength, sizeof(strength), "%d", rssi);
    printf("%-17s  %-6s  %4s  %-*s%s%s\n", address, types[known->address.type], strength, known->name[0] ? 11 : 0,
           known->connectable ? "yes" : "no", known->name[0] ? "  " : "", known->name);
    fflush(stdout);
}

static int scan(struct vl2cap_object *scanning, uint32_t for_ms, struct heard *heard)
{
    uint64_t end = now_us() + (uint64_t)for_ms * 1000, now;

    while (!interrupted() && !ferror(stdout) && (now = now_us()) < end) {
        struct vl2cap_report report;
        const struct known *known;
        int error = vl2cap_recv_report(scanning, &report, (int)((end - now) / 1000) + 1);

        if (error == VL2CAP_NOT_YET)
            continue;
        if (error)
            return error;
        heard->reports++;
        known = learn(heard, &report);
        if (known)
            print_row(known, report.rssi);
    }
    return 0;
}

int command_scan(struct vl2cap *device, const struct arguments *arguments)
{
    struct vl2cap_scan how = {.transport = VL2CAP_TRANSPORT_LE, .active = arguments->active, .duplicates = true};
    struct heard *heard = calloc(1, sizeof(*heard));
    struct vl2cap_object *scanning;
    int status = DONE;

    if (!heard)
        return REFUSED;
    printf("%-17s  %-6s  %4s  %-11s  %s\n", "ADDRESS", "TYPE", "DBM", "CONNECTABLE", "NAME");
    fflush(stdout);
    if (vl2cap_scan(device, &how, &scanning))
        status = tell_failure(device);
    else if (scan(scanning, arguments->seconds_ms, heard))
        status = tell_failure(device);
    if (interrupted())
        status = INTERRUPTED;
    tell("%u device%s, %u report%s", heard->count, heard->count == 1 ? "" : "s", heard->reports,
         heard->reports == 1 ? "" : "s");
    vl2cap_release(scanning, 0);
    free(heard);
    return status;
}
