/*
 * See session.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include <time.h>

#include "line.h"
#include "session.h"

#define ASK_AGAIN_MS 1000UL

struct vls session;

static int write_output(void)
{
    unsigned char octets[VLS_MAX_LINE];
    unsigned int count;

    while ((count = vls_output(&session, octets, line_now())) != 0)
        if (line_write(octets, count) != 0)
            return -1;
    return 0;
}

int session_open(const char *path, unsigned long baud)
{
    if (line_open(path, baud) != 0)
        return -1;
    vls_init(&session, (unsigned long)time(0) * 1000UL + line_now() % 1000UL);
    return 0;
}

void session_close(void)
{
    vls_close(&session);
    (void)write_output();
    line_close();
}

/* Why the line is not used any more. */
static int why_lost(void)
{
    return line_wait(0UL, 0) & LINE_INTERRUPT ? SESSION_INTERRUPTED : SESSION_LOST;
}

int session_turn(unsigned long ms, int with_input)
{
    unsigned char octets[512];
    unsigned long wait;
    int count, found;

    if (write_output() != 0)
        return why_lost();
    wait = vls_wait(&session, line_now());
    found = line_wait(wait < ms ? wait : ms, with_input);
    if (found & LINE_INTERRUPT)
        return SESSION_INTERRUPTED;
    if (found & LINE_READABLE) {
        count = line_read(octets, sizeof(octets));
        if (count < 0)
            return why_lost();
        vls_input(&session, octets, (unsigned int)count, line_now());
    }
    return write_output() != 0 ? why_lost() : found;
}

static int has_passed(unsigned long since, unsigned long ms)
{
    return ((line_now() - since) & 0xFFFFFFFFUL) >= ms;
}

int session_answer(unsigned int id)
{
    const struct vls_object *made = &session.objects[id - 1];
    int found;

    while (made->state == VLS_ASKED)
        if ((found = session_turn(1000UL, 0)) < 0)
            return found;
    return made->ret;
}

void session_release(unsigned int id)
{
    (void)vls_release(&session, id);
    while (session.objects[id - 1].state == VLS_RELEASING)
        if (session_turn(1000UL, 0) < 0)
            return;
}

int session_info(unsigned long ms)
{
    unsigned long since = line_now();
    int found;

    vls_ask_info(&session);
    while (session.info_ret == VLS_EAGAIN) {
        if (has_passed(since, ms))
            return VLS_ETIMEDOUT;
        if ((found = session_turn(100UL, 0)) < 0)
            return found;
    }
    return session.info_ret;
}

int session_ready(unsigned long ms)
{
    unsigned long since = line_now(), asked;
    int found, ret;

    for (;;) {
        asked = line_now();
        ret = session_info(ms);
        if (ret != 0 || session.info.powered)
            return ret;
        if (has_passed(since, ms))
            return VLS_ENODEV;
        while (!has_passed(asked, ASK_AGAIN_MS))
            if ((found = session_turn(100UL, 0)) < 0)
                return found;
    }
}

int session_send(unsigned int id, const unsigned char *sdu, unsigned int length, unsigned long ms)
{
    unsigned long since = line_now();
    int found, ret;

    while ((ret = vls_send(&session, id, sdu, length)) == VLS_EAGAIN) {
        if (has_passed(since, ms))
            return VLS_ETIMEDOUT;
        if ((found = session_turn(100UL, 0)) < 0)
            return found;
    }
    return ret;
}

int session_recv(unsigned int id, unsigned char *sdu, unsigned int size, unsigned long ms)
{
    unsigned long since = line_now();
    int found, ret;

    while ((ret = vls_recv(&session, id, sdu, size)) == VLS_EAGAIN) {
        if (has_passed(since, ms))
            return VLS_ETIMEDOUT;
        if ((found = session_turn(100UL, 0)) < 0)
            return found;
    }
    return ret;
}
