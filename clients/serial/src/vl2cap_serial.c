/*
 * The client of docs/serial.md: see vl2cap_serial.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "vl2cap_serial.h"

#define NO_REPLY      0
#define LONGEST_REPEAT_MS (4 * VLS_REPEAT_MS)
#define OPEN_MS       1000UL    /* between two OPENs                           */
#define LOST_MS       30000UL
#define U32           0xFFFFFFFFUL

/* ------------------------------------------------------------------------------------------------------- octets -- */

static unsigned int get16(const unsigned char *at)
{
    return (unsigned int)at[0] | (unsigned int)at[1] << 8;
}

static unsigned long get32(const unsigned char *at)
{
    return (unsigned long)get16(at) | (unsigned long)get16(at + 2) << 16;
}

static void put16(unsigned char *at, unsigned int value)
{
    at[0] = (unsigned char)(value & 0xFF);
    at[1] = (unsigned char)(value >> 8 & 0xFF);
}

static void put32(unsigned char *at, unsigned long value)
{
    put16(at, (unsigned int)(value & 0xFFFF));
    put16(at + 2, (unsigned int)(value >> 16 & 0xFFFF));
}

/* An error number in 16 bits, of which -1 to -255 exist; anything else that is not 0 is VLS_EBADMSG. */
static int get_error(const unsigned char *at)
{
    unsigned int value = get16(at);

    if (value == 0)
        return 0;
    return value > 0xFF00 ? -(int)(0xFFFF - value) - 1 : VLS_EBADMSG;
}

/* CRC-32/ISO-HDLC, half an octet at a time. */
static unsigned long fcs_of(const unsigned char *octets, unsigned int length)
{
    static const unsigned long table[16] = {
        0x00000000UL, 0x1DB71064UL, 0x3B6E20C8UL, 0x26D930ACUL, 0x76DC4190UL, 0x6B6B51F4UL, 0x4DB26158UL, 0x5005713CUL,
        0xEDB88320UL, 0xF00F9344UL, 0xD6D6A3E8UL, 0xCB61B38CUL, 0x9B64C2B0UL, 0x86D3D2D4UL, 0xA00AE278UL, 0xBDBDF21CUL
    };
    unsigned long fcs = U32;
    unsigned int i;

    for (i = 0; i < length; i++) {
        fcs ^= octets[i];
        fcs = fcs >> 4 ^ table[fcs & 15];
        fcs = fcs >> 4 ^ table[fcs & 15];
    }
    return fcs ^ U32;
}

static unsigned int stuff(unsigned char *line, unsigned int at, unsigned int octet)
{
    if (octet == VLS_FLAG || octet == VLS_ESCAPE || octet == VLS_XON || octet == VLS_XOFF) {
        line[at++] = VLS_ESCAPE;
        octet ^= VLS_ESCAPED;
    }
    line[at++] = (unsigned char)octet;
    return at;
}

static unsigned int put_on_line(unsigned char *line, const unsigned char *content, unsigned int length)
{
    unsigned long fcs = fcs_of(content, length);
    unsigned int at = 0, i;

    line[at++] = VLS_FLAG;
    for (i = 0; i < length; i++)
        at = stuff(line, at, content[i]);
    for (i = 0; i < VLS_FCS_SIZE; i++)
        at = stuff(line, at, (unsigned int)(fcs >> 8 * i & 0xFF));
    line[at++] = VLS_FLAG;
    return at;
}

static void put_header(unsigned char *content, unsigned int kind, unsigned int session, unsigned int seq,
                       unsigned int ack, unsigned int id)
{
    content[0] = (unsigned char)kind;
    put16(content + 1, session);
    content[3] = (unsigned char)seq;
    content[4] = (unsigned char)ack;
    content[5] = (unsigned char)id;
}

/* ----------------------------------------------------------------------------------------------------- sessions -- */

static unsigned long after(unsigned long now, unsigned long ms)
{
    return (now + ms) & U32;
}

static int is_over(unsigned long now, unsigned long time)
{
    return ((now - time) & U32) < 0x80000000UL;
}

static void lose_objects(struct vls *v)
{
    unsigned int i;

    for (i = 0; i < VLS_OBJECTS; i++) {
        struct vls_object *o = &v->objects[i];

        if (o->state == VLS_ASKED || o->state == VLS_RELEASING) {
            o->ret = VLS_ENODEV;
            o->state = VLS_FREE;
        } else if (o->state == VLS_OPEN) {
            o->ret = VLS_ENODEV;
            o->state = VLS_ENDED;
        }
        o->lost = 1;
        o->release = o->owed = o->sending = 0;
    }
}

/* Forgets the session, and opens another one at the next vls_output(). */
static void begin(struct vls *v)
{
    lose_objects(v);
    v->session = 0;
    v->cookie = (v->cookie + 1) & U32;
    v->open_due = 1;
    v->has_due = 0;
    v->info_due = v->info_waits;
    v->reply = NO_REPLY;
    v->ahead = 0;
    v->base = v->expected = 0;
    v->tried = v->sent = v->waiting = 0;
    v->pause = VLS_REPEAT_MS;
}

/* Ends a session whose bridge breaks the rules, or has gone. */
static void break_off(struct vls *v)
{
    v->closing = v->session;
    v->close_due = 1;
    begin(v);
}

void vls_init(struct vls *v, unsigned long cookie)
{
    memset(v, 0, sizeof(*v));
    v->cookie = cookie & U32;
    v->info_ret = VLS_EAGAIN;
    begin(v);
}

void vls_close(struct vls *v)
{
    unsigned int session = v->session;

    begin(v);
    v->open_due = 0;
    v->closing = session;
    v->close_due = session != 0;
}

static void receive_opened(struct vls *v, unsigned int session, const unsigned char *payload, unsigned int length)
{
    if (length != 5 || get32(payload) != v->cookie || v->session != 0)
        return;
    if (session == 0 || payload[4] != VLS_VERSION) {
        v->refused = payload[4];
        return;
    }
    v->refused = 0;
    v->session = session;
    v->sessions++;
    v->open_due = v->has_due = 0;
}

/* ------------------------------------------------------------------------------------------------------ objects -- */

static struct vls_object *object(struct vls *v, unsigned int id)
{
    return id >= 1 && id <= VLS_OBJECTS ? &v->objects[id - 1] : 0;
}

static int is_stream(const struct vls_object *o)
{
    return o->command == VLS_CMD_CONNECT || o->command == VLS_CMD_ACCEPT || o->command == VLS_CMD_SCAN;
}

/* Returns 0 if the bridge broke a rule. */
static int receive_peer(struct vls_object *o, const unsigned char *body, unsigned int length, int ret)
{
    struct vls_peer *peer = &o->peer;
    unsigned int least;

    if (length != 20)
        return 0;
    memcpy(peer->addr, body, 6);
    peer->addr_type = body[6];
    peer->security = body[7];
    peer->psm = get16(body + 8);
    peer->tx_mtu = get16(body + 10);
    peer->rx_mtu = get16(body + 12);
    peer->result = get16(body + 14);
    peer->status = body[16];
    peer->why = body[17];
    peer->needed = body[18];
    o->credits = body[19];
    least = peer->addr_type == VLS_ADDR_BREDR ? 48 : 23;
    return ret != 0 || (peer->addr_type <= VLS_ADDR_LE_RANDOM && peer->tx_mtu >= least && peer->rx_mtu >= least &&
                        peer->rx_mtu <= VLS_MTU);
}

static void receive_info(struct vls *v, const unsigned char *body, unsigned int length, int ret)
{
    struct vls_info *info = &v->info;

    if (!v->info_waits)
        return;
    if (ret == 0 && length >= 25) {
        memcpy(info->addr, body, 6);
        info->addr_type = body[6];
        info->powered = body[7];
        info->features = get32(body + 8);
        info->max_channels = get16(body + 12);
        info->channels = get16(body + 14);
        info->max_mtu = get16(body + 16);
        memcpy(info->le_addr, body + 18, 6);
        info->le_type = body[24];
    } else if (ret == 0) {
        ret = VLS_EBADMSG;
    }
    v->info_waits = 0;
    v->info_ret = ret;
}

/* The answer to the request that has made an object. Returns 0 if the bridge broke a rule. */
static int receive_made(struct vls_object *o, const unsigned char *body, unsigned int length, int ret)
{
    unsigned int data;

    if (o->command == VLS_CMD_CONNECT || o->command == VLS_CMD_ACCEPT) {
        if (!receive_peer(o, body, length, ret))
            return 0;
    } else if (o->command == VLS_CMD_ECHO && ret == 0) {
        if (length < 4)
            return 0;
        data = length - 4;
        if (data > VLS_MAX_ECHO_SIZE)
            return 0;
        memcpy(o->in[0], body + 4, data);
        o->in_length[0] = data;
    }
    o->ret = ret;
    if (o->state == VLS_ASKED)
        o->state = ret == 0 && o->command != VLS_CMD_ECHO ? VLS_OPEN : VLS_FREE;
    return 1;
}

/* Returns 0 if the bridge broke a rule. */
static int receive_response(struct vls *v, unsigned int id, const unsigned char *payload, unsigned int length)
{
    struct vls_object *o = object(v, id);
    int ret;

    if (length < 4)
        return 0;
    ret = get_error(payload + 2);
    payload += 4;
    length -= 4;
    if (payload[-4] == VLS_CMD_INFO) {
        receive_info(v, payload, length, ret);
        return 1;
    }
    if (o == 0)
        return 0;
    if (payload[-4] == VLS_CMD_RELEASE) {
        /* A refusal of the RELEASE crossed an error, or the answer to an ECHO: the object is gone, too. */
        if (o->state != VLS_RELEASING || o->release)
            return 0;
        o->state = VLS_FREE;
        return 1;
    }
    if ((o->state != VLS_ASKED && o->state != VLS_RELEASING) || !o->asked || payload[-4] != o->command)
        return 0;
    return receive_made(o, payload, length, ret);
}

/* A part of an SDU. Returns 0 if the bridge broke a rule. */
static int receive_part(struct vls_object *o, const unsigned char *part, unsigned int length, int is_last)
{
    unsigned int most, slot;

    if (o == 0 || o->state != VLS_OPEN)
        return 1;   /* what was on its way when it was released */
    most = o->command == VLS_CMD_SCAN ? VLS_MTU : o->peer.rx_mtu;
    if (!is_stream(o) || o->count >= VLS_CREDITS || length > most - o->part)
        return 0;
    slot = (o->first + o->count) % VLS_CREDITS;
    memcpy(o->in[slot] + o->part, part, length);
    o->part += length;
    if (is_last) {
        o->in_length[slot] = o->part;
        o->part = 0;
        o->count++;
    }
    return 1;
}

/* Returns 0 if the bridge broke a rule. */
static int receive_credit(struct vls_object *o, const unsigned char *payload, unsigned int length)
{
    if (o == 0 || o->state != VLS_OPEN)
        return 1;
    if (length != 1 || payload[0] == 0 || o->credits + payload[0] > VLS_MAX_CREDITS)
        return 0;
    o->credits += payload[0];
    return 1;
}

/* Returns 0 if the bridge broke a rule. */
static int receive_end(struct vls_object *o, const unsigned char *payload, unsigned int length)
{
    if (o == 0 || o->state != VLS_OPEN)
        return 1;
    if (length != 2)
        return 0;
    o->ret = get_error(payload);
    if (o->ret == 0)
        o->ret = VLS_ENOTCONN;
    o->state = VLS_ENDED;
    return 1;
}

static int receive_numbered(struct vls *v, unsigned int kind, unsigned int id, const unsigned char *payload,
                            unsigned int length)
{
    switch (kind) {
    case VLS_KIND_RESPONSE:
        return receive_response(v, id, payload, length);
    case VLS_KIND_MORE:
    case VLS_KIND_LAST:
        return receive_part(object(v, id), payload, length, kind == VLS_KIND_LAST);
    case VLS_KIND_CREDIT:
        return receive_credit(object(v, id), payload, length);
    case VLS_KIND_END:
        return receive_end(object(v, id), payload, length);
    default:
        return 1;
    }
}

/* ------------------------------------------------------------------------------------------------ the other end -- */

static void receive_ack(struct vls *v, unsigned int ack, unsigned long now)
{
    unsigned int count = (ack - v->base) & 0xFF, i;

    if (count == 0 || count > v->tried)
        return;
    for (i = count; i < v->waiting; i++)
        v->window[i - count] = v->window[i];
    v->base = (unsigned char)ack;
    v->waiting -= count;
    v->tried -= count;
    v->sent = v->sent > count ? v->sent - count : 0;
    v->pause = VLS_REPEAT_MS;
    v->since = now;
    v->has_due = v->sent != 0;
    v->due = after(now, v->pause);
}

/* Tells whether this is the next frame, which is acknowledged then. */
static int receive_number(struct vls *v, unsigned int seq)
{
    unsigned int behind = (v->expected - seq) & 0xFF, ahead = v->ahead;

    if (behind == 0) {
        v->expected = (unsigned char)((v->expected + 1) & 0xFF);
        v->ahead = 0;
        v->reply = VLS_KIND_ACK;
        return 1;
    }
    if (behind <= VLS_WINDOW) {
        if (v->reply == NO_REPLY)
            v->reply = VLS_KIND_ACK;
    } else {
        v->ahead = (unsigned char)((seq - v->expected) & 0xFF);
        if (ahead == 0 || v->ahead <= ahead)    /* the first of these, or the first after they were sent again */
            v->reply = VLS_KIND_REPEAT;
    }
    return 0;
}

static void receive_frame(struct vls *v, unsigned long now)
{
    const unsigned char *f = v->frame;
    unsigned int length = v->got, kind, session;

    v->got = 0;
    if (length == 0)
        return;
    if (v->overlong || v->escaped || length < VLS_HEADER_SIZE + VLS_FCS_SIZE ||
        fcs_of(f, length - VLS_FCS_SIZE) != get32(f + length - VLS_FCS_SIZE)) {
        v->garbled++;
        return;
    }
    if (!(f[0] & VLS_FROM_BRIDGE))
        return;
    kind = f[0] & (VLS_FROM_BRIDGE - 1U);
    session = get16(f + 1);
    length -= VLS_HEADER_SIZE + VLS_FCS_SIZE;
    if (kind == VLS_KIND_OPENED) {
        receive_opened(v, session, f + VLS_HEADER_SIZE, length);
    } else if (v->session == 0) {
        return;
    } else if (kind == VLS_KIND_CLOSED) {
        if (session == 0 || session == v->session)
            begin(v);
    } else if (session == v->session) {
        receive_ack(v, f[4], now);
        if (kind == VLS_KIND_REPEAT)
            v->sent = 0;
        else if (kind >= VLS_FIRST_NUMBERED && receive_number(v, f[3]) &&
                 !receive_numbered(v, kind, f[5], f + VLS_HEADER_SIZE, length))
            break_off(v);
    }
}

void vls_input(struct vls *v, const unsigned char *octets, unsigned int length, unsigned long now)
{
    unsigned int i;

    for (i = 0; i < length; i++) {
        unsigned int octet = octets[i];

        if (octet == VLS_FLAG) {
            receive_frame(v, now);
            v->got = v->escaped = v->overlong = 0;
        } else if (octet == VLS_XON || octet == VLS_XOFF) {
            continue;
        } else if (octet == VLS_ESCAPE && !v->escaped) {
            v->escaped = 1;
        } else if (octet == VLS_ESCAPE || v->got == sizeof(v->frame)) {
            v->overlong = 1;
        } else {
            v->frame[v->got++] = (unsigned char)(v->escaped ? octet ^ VLS_ESCAPED : octet);
            v->escaped = 0;
        }
    }
}

/* ------------------------------------------------------------------------------------------------------- output -- */

static unsigned char *add(struct vls *v, unsigned int kind, unsigned int id, unsigned int length, unsigned long now)
{
    struct vls_frame *frame = &v->window[v->waiting];

    if (v->waiting == 0)
        v->since = now;
    put_header(frame->content, kind, v->session, (v->base + v->waiting) & 0xFF, 0, id);
    frame->length = VLS_HEADER_SIZE + length;
    v->waiting++;
    return frame->content + VLS_HEADER_SIZE;
}

static void add_request(struct vls *v, unsigned int id, unsigned int command, unsigned int flags,
                        const unsigned char *body, unsigned int length, unsigned long now)
{
    unsigned char *payload = add(v, VLS_KIND_REQUEST, id, 2 + length, now);

    payload[0] = (unsigned char)command;
    payload[1] = (unsigned char)flags;
    if (length)
        memcpy(payload + 2, body, length);
}

static void add_part(struct vls *v, struct vls_object *o, unsigned int id, unsigned long now)
{
    unsigned int length = o->out_length - o->out_offset, kind = VLS_KIND_LAST;

    if (length > VLS_MAX_PAYLOAD) {
        length = VLS_MAX_PAYLOAD;
        kind = VLS_KIND_MORE;
    }
    memcpy(add(v, kind, id, length, now), o->out + o->out_offset, length);
    o->out_offset += length;
    if (kind == VLS_KIND_LAST)
        o->sending = 0;
}

/* Adds the next frame of an object to the window. Returns 0 if it has none. */
static int add_of(struct vls *v, unsigned int id, unsigned long now)
{
    struct vls_object *o = &v->objects[id - 1];

    if (o->state == VLS_FREE)
        return 0;
    if (!o->asked) {
        add_request(v, id, o->command, o->flags, o->out, o->body_length, now);
        o->asked = 1;
    } else if (o->sending) {
        add_part(v, o, id, now);
    } else if (o->owed && o->state == VLS_OPEN) {
        *add(v, VLS_KIND_CREDIT, id, 1, now) = o->owed;
        o->owed = 0;
    } else if (o->release) {
        add_request(v, id, VLS_CMD_RELEASE, 0, 0, 0, now);
        o->release = 0;
    } else {
        return 0;
    }
    return 1;
}

static void fill_window(struct vls *v, unsigned long now)
{
    unsigned int idle = 0;

    if (v->info_due && v->waiting < VLS_WINDOW) {
        add_request(v, 0, VLS_CMD_INFO, 0, 0, 0, now);
        v->info_due = 0;
    }
    while (v->waiting < VLS_WINDOW && idle < VLS_OBJECTS) {
        v->turn = v->turn % VLS_OBJECTS + 1;
        idle = add_of(v, v->turn, now) ? 0 : idle + 1;
    }
}

static unsigned int say(struct vls *v, unsigned char *octets, unsigned int kind, unsigned int session)
{
    unsigned char content[VLS_HEADER_SIZE + 5];
    unsigned int length = VLS_HEADER_SIZE;

    put_header(content, kind, session, 0, v->expected, 0);
    if (kind == VLS_KIND_OPEN) {
        put32(content + VLS_HEADER_SIZE, v->cookie);
        content[VLS_HEADER_SIZE + 4] = VLS_VERSION;
        length += 5;
    }
    return put_on_line(octets, content, length);
}

static void look_at_time(struct vls *v, unsigned long now)
{
    if (v->session != 0 && v->waiting && is_over(now, after(v->since, LOST_MS))) {
        break_off(v);
    } else if (v->has_due && is_over(now, v->due)) {
        v->has_due = 0;
        v->sent = 0;
        v->pause = 2 * v->pause < LONGEST_REPEAT_MS ? 2 * v->pause : LONGEST_REPEAT_MS;
    }
}

unsigned int vls_output(struct vls *v, unsigned char *octets, unsigned long now)
{
    struct vls_frame *frame;
    unsigned int kind;

    look_at_time(v, now);
    if (v->close_due) {
        v->close_due = 0;
        return say(v, octets, VLS_KIND_CLOSED, v->closing);
    }
    if (v->session == 0) {
        if (!v->open_due || v->has_due)
            return 0;
        v->has_due = 1;
        v->due = after(now, OPEN_MS);
        return say(v, octets, VLS_KIND_OPEN, 0);
    }
    fill_window(v, now);
    if (v->sent < v->waiting) {
        frame = &v->window[v->sent++];
        frame->content[4] = v->expected;
        if (v->sent > v->tried)
            v->tried = v->sent;
        else
            v->repeated++;
        if (v->reply == VLS_KIND_ACK)
            v->reply = NO_REPLY;
        v->has_due = 1;
        v->due = after(now, v->pause);
        return put_on_line(octets, frame->content, frame->length);
    }
    kind = v->reply;
    v->reply = NO_REPLY;
    return kind == NO_REPLY ? 0 : say(v, octets, kind, v->session);
}

unsigned long vls_wait(const struct vls *v, unsigned long now)
{
    if (!v->has_due)
        return 1000;
    return is_over(now, v->due) ? 0 : (v->due - now) & U32;
}

/* -------------------------------------------------------------------------------------------- what programs call -- */

static unsigned char *ask(struct vls *v, unsigned int id, unsigned int command, unsigned int flags, unsigned int length)
{
    struct vls_object *o = &v->objects[id - 1];

    o->state = VLS_ASKED;
    o->ret = 0;
    memset(&o->peer, 0, sizeof(o->peer));
    o->credits = o->out_length = o->out_offset = o->first = o->count = o->part = 0;
    o->in_length[0] = 0;
    o->command = (unsigned char)command;
    o->flags = (unsigned char)flags;
    o->body_length = length;
    o->asked = o->sending = o->release = o->owed = o->lost = 0;
    return o->out;
}

static int check_free(struct vls *v, unsigned int id)
{
    const struct vls_object *o = object(v, id);

    if (o == 0)
        return VLS_EINVAL;
    return o->state == VLS_FREE ? 0 : VLS_EEXIST;
}

void vls_ask_info(struct vls *v)
{
    v->info_ret = VLS_EAGAIN;
    if (!v->info_waits)
        v->info_waits = v->info_due = 1;
}

int vls_connect(struct vls *v, unsigned int id, const unsigned char *addr, unsigned int addr_type, unsigned int psm,
                unsigned int security, unsigned int flags, unsigned long timeout_ms)
{
    unsigned char *body;
    int error = check_free(v, id);

    if (error)
        return error;
    if (addr_type > VLS_ADDR_LE_RANDOM || security > 4 || psm > 0xFFFF)
        return VLS_EINVAL;
    body = ask(v, id, VLS_CMD_CONNECT, flags, 17);
    memcpy(body, addr, 6);
    body[6] = (unsigned char)addr_type;
    body[7] = (unsigned char)security;
    put16(body + 8, psm);
    put16(body + 10, VLS_MTU);
    put32(body + 12, timeout_ms);
    body[16] = VLS_CREDITS;
    return 0;
}

int vls_listen(struct vls *v, unsigned int id, unsigned int transport, unsigned int psm, unsigned int security)
{
    unsigned char *body;
    int error = check_free(v, id);

    if (error)
        return error;
    if (transport > VLS_TRANSPORT_LE || security > 4 || psm > 0xFFFF)
        return VLS_EINVAL;
    body = ask(v, id, VLS_CMD_LISTEN, 0, 7);
    put16(body, psm);
    put16(body + 2, VLS_MTU);
    body[4] = 0;
    body[5] = (unsigned char)transport;
    body[6] = (unsigned char)security;
    return 0;
}

int vls_accept(struct vls *v, unsigned int id, unsigned int listener)
{
    unsigned char *body;
    int error = check_free(v, id);

    if (error)
        return error;
    if (object(v, listener) == 0)
        return VLS_EINVAL;
    body = ask(v, id, VLS_CMD_ACCEPT, 0, 2);
    body[0] = (unsigned char)listener;
    body[1] = VLS_CREDITS;
    return 0;
}

int vls_scan(struct vls *v, unsigned int id, unsigned int transport, unsigned int flags)
{
    unsigned char *body;
    int error = check_free(v, id);

    if (error)
        return error;
    if (transport > VLS_TRANSPORT_LE)
        return VLS_EINVAL;
    body = ask(v, id, VLS_CMD_SCAN, flags, 4);
    body[0] = (unsigned char)transport;
    body[1] = VLS_CREDITS;
    put16(body + 2, VLS_MTU);
    return 0;
}

int vls_advertise(struct vls *v, unsigned int id, const unsigned char *data, unsigned int length, unsigned int flags)
{
    unsigned char *body;
    int error = check_free(v, id);

    if (error)
        return error;
    if (length > VLS_MAX_AD_SIZE)
        return VLS_EINVAL;
    body = ask(v, id, VLS_CMD_ADVERTISE, flags, 4 + length);
    put16(body, 0);
    body[2] = (unsigned char)length;
    body[3] = 0;
    memcpy(body + 4, data, length);
    return 0;
}

int vls_echo(struct vls *v, unsigned int id, const unsigned char *addr, const unsigned char *data, unsigned int length,
             unsigned long timeout_ms)
{
    unsigned char *body;
    int error = check_free(v, id);

    if (error)
        return error;
    if (length > VLS_MAX_ECHO_SIZE)
        return VLS_EINVAL;
    body = ask(v, id, VLS_CMD_ECHO, 0, 12 + length);
    memcpy(body, addr, 6);
    body[6] = VLS_ADDR_BREDR;
    body[7] = (unsigned char)length;
    put32(body + 8, timeout_ms);
    memcpy(body + 12, data, length);
    return 0;
}

int vls_release(struct vls *v, unsigned int id)
{
    struct vls_object *o = object(v, id);

    if (o == 0 || o->state == VLS_FREE || o->state == VLS_RELEASING)
        return VLS_EINVAL;
    if (o->lost || !o->asked) {
        o->state = VLS_FREE;
        return 0;
    }
    o->state = VLS_RELEASING;
    o->release = 1;
    o->owed = 0;
    return 0;
}

int vls_send(struct vls *v, unsigned int id, const unsigned char *sdu, unsigned int length)
{
    struct vls_object *o = object(v, id);

    if (o == 0)
        return VLS_EINVAL;
    if (o->state == VLS_ENDED)
        return o->ret;
    if (o->state != VLS_OPEN || (o->command != VLS_CMD_CONNECT && o->command != VLS_CMD_ACCEPT) || length > VLS_MTU ||
        length > o->peer.tx_mtu)
        return VLS_EINVAL;
    if (o->sending || o->credits == 0)
        return VLS_EAGAIN;
    memcpy(o->out, sdu, length);
    o->out_length = length;
    o->out_offset = 0;
    o->sending = 1;
    o->credits--;
    return 0;
}

int vls_recv(struct vls *v, unsigned int id, unsigned char *sdu, unsigned int size)
{
    struct vls_object *o = object(v, id);
    unsigned int length;

    if (o == 0 || !is_stream(o) || (o->state != VLS_OPEN && o->state != VLS_ENDED))
        return VLS_EINVAL;
    if (o->count == 0)
        return o->state == VLS_OPEN ? VLS_EAGAIN : o->ret;
    length = o->in_length[o->first];
    if (length > size)
        return VLS_EINVAL;
    memcpy(sdu, o->in[o->first], length);
    o->first = (o->first + 1) % VLS_CREDITS;
    o->count--;
    if (o->state == VLS_OPEN)
        o->owed++;
    return (int)length;
}
