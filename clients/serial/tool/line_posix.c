/*
 * A serial line by termios: see line.h.
 *
 * SPDX-License-Identifier: MIT
 */
#define _XOPEN_SOURCE 600

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>
#include <sys/time.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "line.h"

static int line = -1;
static struct termios before;
static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

static speed_t speed_of(unsigned long baud)
{
    switch (baud) {
    case 1200: return B1200;
    case 2400: return B2400;
    case 4800: return B4800;
    case 9600: return B9600;
    case 19200: return B19200;
    case 38400: return B38400;
#ifdef B57600
    case 57600: return B57600;
#endif
#ifdef B115200
    case 115200: return B115200;
#endif
    default: return B0;
    }
}

static int make_raw(unsigned long baud)
{
    struct termios attributes;

    if (tcgetattr(line, &before) != 0)
        return -1;
    attributes = before;
    attributes.c_iflag = 0;
    attributes.c_oflag = 0;
    attributes.c_lflag = 0;
    attributes.c_cflag &= ~(tcflag_t)(CSIZE | PARENB | CSTOPB);
    attributes.c_cflag |= (tcflag_t)(CS8 | CREAD | CLOCAL);
    attributes.c_cc[VMIN] = 1;
    attributes.c_cc[VTIME] = 0;
    if (baud != 0 && (cfsetispeed(&attributes, speed_of(baud)) != 0 || cfsetospeed(&attributes, speed_of(baud)) != 0))
        return -1;
    return tcsetattr(line, TCSANOW, &attributes);
}

static void complain(const char *path)
{
    if (errno == ENOTTY)
        fprintf(stderr, "vl2cap-serial: %s is no serial port\n", path);
    else if (errno == EIO)
        fprintf(stderr, "vl2cap-serial: %s: this machine does not have that serial port\n", path);
    else
        fprintf(stderr, "vl2cap-serial: %s: %s\n", path, strerror(errno));
}

int line_open(const char *path, unsigned long baud)
{
    struct sigaction action;

    if (baud != 0 && speed_of(baud) == B0) {
        fprintf(stderr, "vl2cap-serial: a serial port has no rate of %lu baud here\n", baud);
        return -1;
    }
    line = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (line < 0 || make_raw(baud) != 0) {
        complain(path);
        line_close();
        return -1;
    }
    memset(&action, 0, sizeof(action));
    action.sa_handler = interrupt;
    sigaction(SIGINT, &action, 0);
    sigaction(SIGTERM, &action, 0);
    return 0;
}

void line_close(void)
{
    if (line < 0)
        return;
    (void)tcdrain(line);
    (void)tcsetattr(line, TCSANOW, &before);
    (void)close(line);
    line = -1;
}

int line_wait(unsigned long ms, int with_input)
{
    fd_set set;
    struct timeval time;
    int found = 0;

    time.tv_sec = (time_t)(ms / 1000);
    time.tv_usec = (suseconds_t)(ms % 1000 * 1000);
    FD_ZERO(&set);
    FD_SET(line, &set);
    if (with_input)
        FD_SET(STDIN_FILENO, &set);
    if (select(line + 1, &set, 0, 0, &time) > 0) {
        found |= FD_ISSET(line, &set) ? LINE_READABLE : 0;
        found |= with_input && FD_ISSET(STDIN_FILENO, &set) ? LINE_INPUT : 0;
    }
    return found | (interrupted ? LINE_INTERRUPT : 0);
}

static int read_some(int descriptor, unsigned char *octets, unsigned int size)
{
    ssize_t count = read(descriptor, octets, size);

    if (count > 0)
        return (int)count;
    return count < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

int line_read(unsigned char *octets, unsigned int size)
{
    return read_some(line, octets, size);
}

int line_input(unsigned char *octets, unsigned int size)
{
    return read_some(STDIN_FILENO, octets, size);
}

int line_write(const unsigned char *octets, unsigned int length)
{
    while (length) {
        ssize_t count = write(line, octets, length);
        fd_set set;

        if (count > 0) {
            octets += count;
            length -= (unsigned int)count;
        } else if (errno != EAGAIN && errno != EINTR) {
            return -1;
        } else if (interrupted) {
            return -1;
        } else {
            FD_ZERO(&set);
            FD_SET(line, &set);
            (void)select(line + 1, 0, &set, 0, 0);
        }
    }
    return 0;
}

unsigned long line_now(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return ((unsigned long)time.tv_sec * 1000UL + (unsigned long)time.tv_nsec / 1000000UL) & 0xFFFFFFFFUL;
}
