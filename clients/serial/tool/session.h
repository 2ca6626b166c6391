/*
 * Calls that wait, over a line and the client: what the command and other small programs are made of.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SESSION_H
#define SESSION_H

#include "vl2cap_serial.h"

/* Why a call has ended early, besides VLS_E*: below, "lost" means either. */
#define SESSION_LOST        (-1000)     /* the line has ended                  */
#define SESSION_INTERRUPTED (-1001)     /* ^C, or SIGTERM                      */

extern struct vls session;

/* Opens the line, and begins. Returns 0, or -1 with a message printed. */
int session_open(const char *path, unsigned long baud);
/* Ends the session, and the line. */
void session_close(void);

/* Moves octets until something has come, for ms at most. Returns LINE_* bits, or lost. */
int session_turn(unsigned long ms, int with_input);

/* Waits for what an object was asked for: its ret, or lost. */
int session_answer(unsigned int id);
/* Releases an object, and waits for that. */
void session_release(unsigned int id);
/* Asks for INFO and waits: its ret, VLS_ETIMEDOUT after ms, or lost. */
int session_info(unsigned long ms);
/* Waits until the controller is powered: 0, VLS_ENODEV after ms, VLS_ETIMEDOUT if nobody answers, or lost. */
int session_ready(unsigned long ms);
/* As vls_send() and vls_recv(), but these wait: VLS_ETIMEDOUT after ms. */
int session_send(unsigned int id, const unsigned char *sdu, unsigned int length, unsigned long ms);
int session_recv(unsigned int id, unsigned char *sdu, unsigned int size, unsigned long ms);

#endif
