/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t was_interrupted;

/* Again and again: the first signal may come right before a call begins to wait, which then knows nothing of it. */
static void interrupt(int number)
{
    (void)number;
    was_interrupted = 1;
    alarm(1);
}

/* What the program was started without can be neither read nor written. Without that, the next file that is opened, as
 * that of xenstore, would be standard input or output. */
static void replace_closed(void)
{
    static const int unusable[] = {O_WRONLY, O_RDONLY, O_RDONLY};

    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", unusable[fd]) != fd)
            _exit(CANNOT_WRITE);
}

void prepare_system(void)
{
    struct sigaction action = {.sa_handler = interrupt};    /* without SA_RESTART: what waits returns */
    struct sigaction hangup;

    replace_closed();
    signal(SIGPIPE, SIG_IGN);           /* the write fails, and the device is closed */
    if (!sigaction(SIGHUP, NULL, &hangup) && hangup.sa_handler != SIG_IGN)      /* nohup(1) */
        sigaction(SIGHUP, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
}

bool interrupted(void)
{
    return was_interrupted;
}

uint64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void sleep_us(uint64_t us)
{
    struct timespec time = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};

    nanosleep(&time, NULL);
}

bool wait_for_input(struct vl2cap *device, bool input, int timeout_ms)
{
    struct pollfd fds[2] = {{.fd = vl2cap_event(device), .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    int ours = vl2cap_timeout(device);

    if (ours >= 0 && (timeout_ms < 0 || ours < timeout_ms))
        timeout_ms = ours;
    return poll(fds, input ? 2 : 1, timeout_ms) > 0 && input && fds[1].revents;
}

size_t read_input(void *octets, size_t size)
{
    ssize_t got;

    do
        got = read(STDIN_FILENO, octets, size);
    while (got < 0 && errno == EINTR && !was_interrupted);
    return got < 0 ? 0 : (size_t)got;
}
