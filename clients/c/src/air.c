/* SPDX-License-Identifier: MIT */
/* Scans, advertisements and echoes. */

#include "internal.h"

#include <string.h>

#define SCAN_ORDER 2u
#define REPORT_HEAD offsetof(struct l2capif_report, data)
#define SHORT_REPORT_HEAD offsetof(struct l2capif_scan_report, data)
#define SHORTENED_NAME 0x08     /* types of AD structures: Assigned Numbers, 2.3 */
#define COMPLETE_NAME 0x09

_Static_assert(VL2CAP_REPORT_DATA == L2CAPIF_EXTENDED_DATA_SIZE && VL2CAP_ECHO_DATA == L2CAPIF_ECHO_DATA_SIZE, "sizes");

static int need(struct vl2cap *device, uint32_t feature, const char *what)
{
    if (!device->told)
        return failure_note(device, VL2CAP_GONE, "not connected to the driver domain now");
    if (feature && !(device->info.features & feature))
        return failure_note(device, VL2CAP_EOPNOTSUPP, "usbbtd in the driver domain is too old for %s", what);
    return 0;
}

/* Scan ------------------------------------------------------------------------------------------------------------- */

int vl2cap_scan(struct vl2cap *device, const struct vl2cap_scan *how, struct vl2cap_object **scan)
{
    struct making making = {.request = {.cmd = L2CAPIF_CMD_SCAN}, .nonblocking = how->nonblocking};
    int error;

    *scan = NULL;
    if (how->transport > VL2CAP_TRANSPORT_LE || !is_reserved(how->reserved))
        return failure_note(device, VL2CAP_EINVAL, "the transport, or what is reserved, is not legal");
    error = need(device, how->transport == VL2CAP_TRANSPORT_BREDR ? VL2CAP_KNOWS_SCAN_EXTENDED : 0, "scans of BR/EDR");
    if (error)
        return error;
    making.order = SCAN_ORDER < device->max_order ? SCAN_ORDER : device->max_order;
    making.request.flags = (how->active ? L2CAPIF_SCAN_ACTIVE : 0) | (how->duplicates ? L2CAPIF_SCAN_DUPLICATES : 0);
    if (device->info.features & VL2CAP_KNOWS_SCAN_EXTENDED)
        making.request.flags |= L2CAPIF_SCAN_EXTENDED;
    making.request.u.scan.transport = how->transport;
    return object_make(device, &making, scan);
}

/* The message is in the report's own data, which have room for the longest of either form. Returns whether it is legal. */
static bool parse_extended(const struct l2capif_report *untrusted, size_t length, struct vl2cap_report *report)
{
    if (length < REPORT_HEAD || untrusted->data_length != length - REPORT_HEAD ||
        untrusted->addr_type > L2CAPIF_ADDR_LE_RANDOM || untrusted->source > L2CAPIF_REPORT_NAME)
        return false;
    memcpy(report->address.octets, untrusted->addr, sizeof(untrusted->addr));
    report->address.type = untrusted->addr_type;
    report->source = untrusted->source;
    report->rssi = untrusted->rssi;
    report->event_type = untrusted->event_type;
    report->class_of_device = (uint32_t)untrusted->class_of_device[0] | (uint32_t)untrusted->class_of_device[1] << 8 |
                              (uint32_t)untrusted->class_of_device[2] << 16;
    report->length = untrusted->data_length;
    memcpy(report->data, untrusted->data, report->length);
    return true;
}

static bool parse_short(const struct l2capif_scan_report *untrusted, size_t length, struct vl2cap_report *report)
{
    if (length < SHORT_REPORT_HEAD || length > sizeof(*untrusted) ||
        untrusted->data_length != length - SHORT_REPORT_HEAD || untrusted->addr_type > L2CAPIF_ADDR_LE_RANDOM)
        return false;
    memcpy(report->address.octets, untrusted->addr, sizeof(untrusted->addr));
    report->address.type = untrusted->addr_type;
    report->rssi = untrusted->rssi;
    report->event_type = untrusted->event_type;
    report->length = untrusted->data_length;
    memcpy(report->data, untrusted->data, report->length);
    return true;
}

int vl2cap_recv_report(struct vl2cap_object *scan, struct vl2cap_report *report, int timeout_ms)
{
    union {
        struct l2capif_report extended;
        struct l2capif_scan_report plain;
    } untrusted;
    int length;
    bool legal;

    if (scan->request.cmd != L2CAPIF_CMD_SCAN)
        return failure_note(scan->device, VL2CAP_EOPNOTSUPP, "this object is no scan");
    length = stream_receive(scan, &untrusted, sizeof(untrusted), sizeof(untrusted), timeout_ms);
    if (length < 0)
        return length;
    memset(report, 0, offsetof(struct vl2cap_report, data));
    if (scan->request.flags & L2CAPIF_SCAN_EXTENDED)
        legal = parse_extended(&untrusted.extended, (size_t)length, report);
    else
        legal = parse_short(&untrusted.plain, (size_t)length, report);
    return legal ? 0 : failure_note(scan->device, VL2CAP_EBADMSG, "the driver domain sent a malformed report");
}

int vl2cap_report_name(const struct vl2cap_report *report, char *name, size_t size)
{
    const uint8_t *found = report->source == VL2CAP_REPORT_NAME ? report->data : NULL;
    size_t length = found ? report->length : 0;

    if (size == 0)
        return 0;
    for (size_t at = 0; !found && at + 1 < report->length && report->data[at];) {
        size_t octets = report->data[at];
        uint8_t type = report->data[at + 1];

        if (at + 1 + octets > report->length)
            break;
        if (type == COMPLETE_NAME || (type == SHORTENED_NAME && !length)) {
            found = type == COMPLETE_NAME ? report->data + at + 2 : NULL;
            memcpy(name, report->data + at + 2, octets - 1 < size - 1 ? octets - 1 : size - 1);
            length = octets - 1;
        }
        at += 1 + octets;
    }
    length = length < size - 1 ? length : size - 1;
    if (found)
        memcpy(name, found, length);
    name[length] = '\0';
    return (int)length;
}

/* Advertise -------------------------------------------------------------------------------------------------------- */

int vl2cap_advertise(struct vl2cap *device, const struct vl2cap_advertise *what, struct vl2cap_object **advertisement)
{
    struct making making = {.request = {.cmd = L2CAPIF_CMD_ADVERTISE}, .nonblocking = what->nonblocking};
    bool extended = what->scan_length || what->length > L2CAPIF_ADVERTISE_DATA_SIZE;
    int error;

    *advertisement = NULL;
    if (what->length > VL2CAP_REPORT_DATA || what->scan_length > VL2CAP_REPORT_DATA)
        return failure_note(device, VL2CAP_EINVAL, "advertising data have %d octets at most", VL2CAP_REPORT_DATA);
    if ((what->interval_ms && (what->interval_ms < 20 || what->interval_ms > 10240)) || !is_reserved(what->reserved))
        return failure_note(device, VL2CAP_EINVAL, "the interval, which is 20 to 10240 ms, or what is reserved is not legal");
    error = need(device, extended ? VL2CAP_KNOWS_ADVERTISE_EXTENDED : 0, "so much advertising data");
    if (error)
        return error;
    making.request.flags = what->connectable ? L2CAPIF_ADVERTISE_CONNECTABLE : 0;
    if (extended) {
        making.request.flags |= L2CAPIF_ADVERTISE_EXTENDED;
        making.request.u.advertise_extended.interval_ms = what->interval_ms;
        making.request.u.advertise_extended.data_length = what->length;
        making.request.u.advertise_extended.scan_data_length = what->scan_length;
        making.lent[0] = what->data;
        making.lent[1] = what->scan_data;
        making.lent_size[0] = what->length;
        making.lent_size[1] = what->scan_length;
    } else {
        making.request.u.advertise.interval_ms = what->interval_ms;
        making.request.u.advertise.data_length = (uint8_t)what->length;
        if (what->length)
            memcpy(making.request.u.advertise.data, what->data, what->length);
    }
    return object_make(device, &making, advertisement);
}

/* Echo ------------------------------------------------------------------------------------------------------------- */

int vl2cap_echo(struct vl2cap *device, const struct vl2cap_echo *of, struct vl2cap_object **echo)
{
    struct making making = {
        .request = {.cmd = L2CAPIF_CMD_ECHO}, .over_when_answered = true, .nonblocking = of->nonblocking};
    int error;

    *echo = NULL;
    if (of->peer.type != VL2CAP_BREDR || of->length > VL2CAP_ECHO_DATA || !is_reserved(of->reserved))
        return failure_note(device, VL2CAP_EINVAL, "an echo is of a BR/EDR device, with %d octets at most", VL2CAP_ECHO_DATA);
    error = need(device, 0, "");
    if (error)
        return error;
    if (!device->knows_echo)
        return failure_note(device, VL2CAP_EOPNOTSUPP, "usbbtd in the driver domain is too old for echoes");
    memcpy(making.request.u.echo.addr, of->peer.octets, sizeof(of->peer.octets));
    making.request.u.echo.addr_type = L2CAPIF_ADDR_BREDR;
    making.request.u.echo.data_length = of->length;
    making.request.u.echo.timeout_ms = of->timeout_ms;
    memcpy(making.request.u.echo.data, of->data, of->length);
    return object_make(device, &making, echo);
}

int vl2cap_echo_result(const struct vl2cap_object *echo, uint8_t data[VL2CAP_ECHO_DATA])
{
    if (echo->request.cmd != L2CAPIF_CMD_ECHO)
        return failure_note(echo->device, VL2CAP_EOPNOTSUPP, "this object is no echo");
    if (echo->state != OPEN)
        return echo->state == FAILED ? failure_of(echo) : VL2CAP_NOT_YET;
    memcpy(data, echo->response.u.echo.data, VL2CAP_ECHO_DATA);
    return echo->response.u.echo.length;
}
