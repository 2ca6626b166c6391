/* SPDX-License-Identifier: MIT */
/* What errors say. */

#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct name {
    int number;
    const char *text;
};

static const struct name errors[] = {
    {0, "no error"},
    {VL2CAP_EPERM, "the link is not as secure as it has to be"},
    {VL2CAP_EIO, "the operating system's event channels, grants or xenstore fail"},
    {VL2CAP_EAGAIN, "this guest has connected too often in the last minute"},
    {VL2CAP_ENOMEM, "no memory, pages or event channels are left"},
    {VL2CAP_EACCES, "the driver domain does not allow it"},
    {VL2CAP_EFAULT, "the driver domain cannot map this guest's pages"},
    {VL2CAP_EBUSY, "another program of this guest has the device"},
    {VL2CAP_ENODEV, "the driver domain has no Bluetooth controller now"},
    {VL2CAP_EINVAL, "an argument is not legal"},
    {VL2CAP_EMFILE, "the driver domain's limit for this guest is reached"},
    {VL2CAP_EBADMSG, "the protocol was broken"},
    {VL2CAP_EMSGSIZE, "the SDU is too long"},
    {VL2CAP_EOPNOTSUPP, "the adapter, the driver domain or this object cannot do that"},
    {VL2CAP_EADDRINUSE, "in use already, by this guest or another"},
    {VL2CAP_ENOBUFS, "this program did not read"},
    {VL2CAP_ENOTCONN, "ended"},
    {VL2CAP_ETIMEDOUT, "no answer"},
    {VL2CAP_ECONNREFUSED, "the peer refused"},
    {VL2CAP_NOT_YET, "not yet"},
    {VL2CAP_GONE, "the driver domain's service went away"},
    {VL2CAP_NO_XEN, "there is no Xen here, or this program may not use it: it takes /dev/xen, in Windows an administrator"},
    {VL2CAP_NO_DRIVER, "xencontrol.dll of Xen's drivers for Windows is not there, or too old"},
};

/* L2CAP results: Vol 3, Part A, 4.3 and, of LE, 4.23. */
static const struct name bredr_results[] = {
    {0x0002, "PSM not supported"},
    {0x0003, "security block"},
    {0x0004, "no resources available"},
    {0x0006, "invalid source CID"},
    {0x0007, "source CID already allocated"},
};
static const struct name le_results[] = {
    {0x0002, "SPSM not supported"},
    {0x0004, "no resources available"},
    {0x0005, "insufficient authentication"},
    {0x0006, "insufficient authorization"},
    {0x0007, "encryption key size too short"},
    {0x0008, "insufficient encryption"},
    {0x0009, "invalid source CID"},
    {0x000a, "source CID already allocated"},
    {0x000b, "unacceptable parameters"},
};

static const char *const reasons[] = {
    [VL2CAP_WHY_UNKNOWN] = "it is not said why",
    [VL2CAP_WHY_NO_AGENT] = "there is no key that is good enough, and no agent that may pair",
    [VL2CAP_WHY_KEY_MISSING] = "the peer has lost the key, or it is another one: pair again",
    [VL2CAP_WHY_REFUSED_HERE] = "the answer here was no",
    [VL2CAP_WHY_REFUSED_BY_PEER] = "the peer does not pair, or not now",
    [VL2CAP_WHY_NO_MATCH] = "the passkey or PIN is wrong, or somebody is in between",
    [VL2CAP_WHY_NO_ANSWER] = "nobody answered in time",
    [VL2CAP_WHY_NO_MITM] = "the two devices have no way to show and type, or compare, a number",
    [VL2CAP_WHY_NO_SC] = "the peer or the controller has no Secure Connections",
    [VL2CAP_WHY_KEY_SIZE] = "the key is too short",
    [VL2CAP_WHY_WEAKER] = "the new key would be weaker than the one that there is, which stays",
    [VL2CAP_WHY_LOCKED_OUT] = "too many pairings with this peer have failed: try later",
    [VL2CAP_WHY_LINK_ENDED] = "the link ended meanwhile",
    [VL2CAP_WHY_NOT_SUPPORTED] = "the peer or the controller cannot do that",
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *find(const struct name *names, size_t count, int number)
{
    for (size_t i = 0; i < count; i++)
        if (names[i].number == number)
            return names[i].text;
    return NULL;
}

const char *vl2cap_strerror(int error)
{
    const char *text = find(errors, COUNT(errors), error);

    return text ? text : "an error that this version of the library does not know";
}

const char *vl2cap_why_text(uint8_t why)
{
    return reasons[why < COUNT(reasons) ? why : VL2CAP_WHY_UNKNOWN];
}

const struct vl2cap_failure *vl2cap_failure(const struct vl2cap *device)
{
    return &device->failure;
}

int failure_note(struct vl2cap *device, int error, const char *format, ...)
{
    va_list arguments;

    memset(&device->failure, 0, sizeof(device->failure));
    device->failure.error = error;
    va_start(arguments, format);
    vsnprintf(device->failure.text, sizeof(device->failure.text), format, arguments);
    va_end(arguments);
    return error;
}

/* What was asked for ---------------------------------------------------------------------------------------------- */

static void describe_peer(const char *what, const uint8_t octets[6], uint8_t type, char *text, size_t size)
{
    struct vl2cap_address address = {.type = type};
    char peer[VL2CAP_ADDRESS_TEXT];

    memcpy(address.octets, octets, sizeof(address.octets));
    vl2cap_address_format(&address, peer);
    snprintf(text, size, "%s %s", what, peer);
}

static const char *number_name(const struct vl2cap_object *object)
{
    if (object->request.cmd == L2CAPIF_CMD_CONNECT && object->request.flags & L2CAPIF_CONNECT_FIXED)
        return "CID";
    return object->expected.transport == VL2CAP_TRANSPORT_LE ? "SPSM" : "PSM";
}

/* As in "connect to C0:FF:EE:00:00:11, PSM 0x1001". */
static void describe(const struct vl2cap_object *object, char *text, size_t size)
{
    const struct l2capif_request *request = &object->request;
    size_t used;

    switch (request->cmd) {
    case L2CAPIF_CMD_CONNECT:
        describe_peer("connect to", request->u.connect.addr, request->u.connect.addr_type, text, size);
        used = strlen(text);
        snprintf(text + used, size - used, ", %s 0x%04x", number_name(object),
                 (unsigned)request->u.connect.psm);
        break;
    case L2CAPIF_CMD_PAIR:
        describe_peer("pair with", request->u.pair.addr, request->u.pair.addr_type, text, size);
        break;
    case L2CAPIF_CMD_ECHO:
        describe_peer("echo of", request->u.echo.addr, request->u.echo.addr_type, text, size);
        break;
    case L2CAPIF_CMD_LISTEN:
    case L2CAPIF_CMD_ACCEPT:
        snprintf(text, size, "%s on %s 0x%04x", request->cmd == L2CAPIF_CMD_LISTEN ? "listen" : "accept",
                 number_name(object), (unsigned)object->expected.psm);
        break;
    case L2CAPIF_CMD_SCAN:
        snprintf(text, size, "scan");
        break;
    case L2CAPIF_CMD_ADVERTISE:
        snprintf(text, size, "advertise");
        break;
    default:
        snprintf(text, size, "agent");
    }
}

/* What the response of a request that makes a channel, a pairing or an echo says besides its error. */
static void read_reason(const struct vl2cap_object *object, struct vl2cap_failure *failure)
{
    switch (object->request.cmd) {
    case L2CAPIF_CMD_CONNECT:
    case L2CAPIF_CMD_ACCEPT:
        failure->result = object->response.u.channel.result;
        failure->status = object->response.u.channel.status;
        failure->why = object->response.u.channel.why;
        failure->needed = object->response.u.channel.needed;
        break;
    case L2CAPIF_CMD_PAIR:
        failure->status = object->response.u.pair.status;
        failure->why = object->response.u.pair.why;
        failure->needed = object->response.u.pair.needed;
        break;
    case L2CAPIF_CMD_ECHO:
        failure->status = object->response.u.echo.status;
        break;
    default:
        break;
    }
}

static void explain(const struct vl2cap_object *object, const struct vl2cap_failure *failure, char *text, size_t size)
{
    static const char *const levels[] = {"more secure", "more secure", "encrypted", "authenticated", "secure"};
    const char *result;

    switch (failure->error) {
    case VL2CAP_EPERM:
        snprintf(text, size, "the link has to be %s: %s", levels[failure->needed < COUNT(levels) ? failure->needed : 0],
                 vl2cap_why_text(failure->why));
        break;
    case VL2CAP_ECONNREFUSED:
        result = object->expected.transport == VL2CAP_TRANSPORT_LE
                     ? find(le_results, COUNT(le_results), failure->result)
                     : find(bredr_results, COUNT(bredr_results), failure->result);
        snprintf(text, size, "the peer refused: result 0x%04x%s%s", (unsigned)failure->result, result ? ", " : "",
                 result ? result : "");
        break;
    case VL2CAP_ETIMEDOUT:
        if (failure->status)
            snprintf(text, size, "no answer, HCI status 0x%02x", (unsigned)failure->status);
        else
            snprintf(text, size, "no answer");
        break;
    case VL2CAP_ENOTCONN:
        snprintf(text, size, "ended before it was answered");
        break;
    case VL2CAP_GONE:
        snprintf(text, size, "%s",
                 object->device->trouble[0] ? object->device->trouble : vl2cap_strerror(failure->error));
        break;
    default:
        snprintf(text, size, "%s", vl2cap_strerror(failure->error));
    }
}

int failure_of(const struct vl2cap_object *object)
{
    struct vl2cap_failure *failure = &object->device->failure;
    char what[80], why[160];

    memset(failure, 0, sizeof(*failure));
    failure->error = object->error;
    if (object->error == object->response.ret)
        read_reason(object, failure);
    describe(object, what, sizeof(what));
    explain(object, failure, why, sizeof(why));
    snprintf(failure->text, sizeof(failure->text), "%s: %s", what, why);
    return object->error;
}
