/*
 * What the command needs of an operating system: a serial line, standard input, a clock. line_posix.c is that for termios.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef LINE_H
#define LINE_H

/* Opens a serial port, raw, 8 bits without parity. baud: 0 leaves its rate. Returns 0, or -1 with a message printed. */
int line_open(const char *path, unsigned long baud);
void line_close(void);

#define LINE_READABLE  1
#define LINE_INPUT     2    /* standard input has something, or has ended      */
#define LINE_INTERRUPT 4    /* ^C, or SIGTERM                                  */

/* Waits until the line, or standard input if with_input, has something, for so long at most. Returns LINE_* bits. */
int line_wait(unsigned long ms, int with_input);

/* Reads what is there: how many octets, 0 if there are none, -1 if the line has ended. */
int line_read(unsigned char *octets, unsigned int size);

/* Writes all of it. Returns 0, or -1 if the line has ended, or was interrupted meanwhile. */
int line_write(const unsigned char *octets, unsigned int length);

/* Reads from standard input, once line_wait() has told LINE_INPUT: as line_read(). */
int line_input(unsigned char *octets, unsigned int size);

/* Milliseconds; they may wrap at 2^32. */
unsigned long line_now(void);

#endif
