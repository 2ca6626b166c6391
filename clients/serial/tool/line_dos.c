/*
 * A serial line under DOS, by the ports of its UART: see line.h. For bcc (-Md), whose assembler it uses; it knows no
 * prototypes, so a number that is passed as a long is written as one everywhere. The line is
 * COM1 to COM4; nothing is lost for good if the processor is too slow for it, as frames are repeated.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <string.h>

#include "line.h"

#define DATA          0     /* registers of an 8250 or 16550                   */
#define INTERRUPTS    1
#define FIFO          2
#define FORMAT        3
#define MODEM         4
#define STATUS        5
#define HAS_OCTET     0x01
#define TAKES_OCTET   0x20
#define FORMAT_8N1    0x03
#define RATE_ACCESS   0x80
#define MODEM_READY   0x03  /* DTR and RTS                                     */
#define FASTEST       115200UL
#define CTRL_C        3
#define CTRL_Z        26

static unsigned int base;
static int held = -1;       /* a key that line_wait() has found                */
static int is_interrupted;

/* Arguments are on the stack after the address of return; the result is in AX, of 32 bits in DX:AX. */
static int in_port(unsigned int port)
{
#asm
    mov bx, sp
    mov dx, [bx+2]
    in al, dx
    xor ah, ah
#endasm
}

static void out_port(unsigned int port, unsigned int octet)
{
#asm
    mov bx, sp
    mov dx, [bx+2]
    mov ax, [bx+4]
    out dx, al
#endasm
}

/* Ticks of 54.9 ms since midnight. */
static long ticks(void)
{
#asm
    xor ax, ax
    int 0x1A
    mov ax, dx
    mov dx, cx
#endasm
}

/* The key that is pressed, which is taken, or -1. */
static int key(void)
{
#asm
    mov ah, #1
    int 0x16
    mov ax, #-1
    jz no_key
    xor ax, ax
    int 0x16
    xor ah, ah
no_key:
#endasm
}

/* Counts on over midnight, if it is called once in a day. */
unsigned long line_now(void)
{
    static unsigned long before, days;
    unsigned long now = (unsigned long)ticks();

    if (now < before)
        days += 1573040UL;
    before = now;
    return (days + now) * 55UL;
}

int line_open(const char *path, unsigned long baud)
{
    static const unsigned int bases[4] = {0x3F8, 0x2F8, 0x3E8, 0x2E8};
    unsigned int divisor = (unsigned int)(FASTEST / (baud ? baud : FASTEST));

    if (strncmp(path, "COM", 3) != 0 || path[3] < '1' || path[3] > '4' || path[4] != '\0') {
        fprintf(stderr, "vl2cap-serial: %s is none of COM1 to COM4\n", path);
        return -1;
    }
    base = bases[path[3] - '1'];
    out_port(base + INTERRUPTS, 0);
    out_port(base + FORMAT, RATE_ACCESS);
    out_port(base + DATA, divisor & 0xFF);
    out_port(base + INTERRUPTS, divisor >> 8);
    out_port(base + FORMAT, FORMAT_8N1);
    out_port(base + FIFO, 0x07);
    out_port(base + MODEM, MODEM_READY);
    return 0;
}

void line_close(void)
{
}

int line_wait(unsigned long ms, int with_input)
{
    unsigned long since = line_now();
    int found = 0;

    do {
        if (in_port(base + STATUS) & HAS_OCTET)
            found |= LINE_READABLE;
        if (held < 0 && (held = key()) == CTRL_C) {
            held = -1;
            is_interrupted = 1;
        }
        if (with_input && held >= 0)
            found |= LINE_INPUT;
        if (is_interrupted)
            found |= LINE_INTERRUPT;
    } while (!found && line_now() - since < ms);
    return found;
}

int line_read(unsigned char *octets, unsigned int size)
{
    unsigned int count = 0, tries;

    /* At the slowest rate that DOS is used with here, 9600, an octet takes 1 ms: what follows at once is waited for. */
    while (count < size) {
        for (tries = 0; tries < 200 && !(in_port(base + STATUS) & HAS_OCTET); tries++)
            ;
        if (tries == 200)
            break;
        octets[count++] = (unsigned char)in_port(base + DATA);
    }
    return (int)count;
}

int line_write(const unsigned char *octets, unsigned int length)
{
    unsigned int i;

    for (i = 0; i < length; i++) {
        while (!(in_port(base + STATUS) & TAKES_OCTET))
            ;
        out_port(base + DATA, octets[i]);
    }
    return 0;
}

int line_input(unsigned char *octets, unsigned int size)
{
    if (held < 0 || size == 0)
        return 0;
    if (held == CTRL_Z)
        return -1;
    octets[0] = (unsigned char)(held == '\r' ? '\n' : held);
    putchar(octets[0]);
    fflush(stdout);
    held = -1;
    return 1;
}
