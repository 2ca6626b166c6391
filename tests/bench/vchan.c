/* SPDX-License-Identifier: MIT */
/*
 * Messages through libxenvchan, blocking, as its users have them: in front of each its length, which the receiver reads
 * first, since libxenvchan itself carries a stream of bytes.
 *
 * vchan server|client DOMID PATH RING_BYTES
 *
 * The server echoes or swallows. The client reads lines "pingpong COUNT SIZE" and "stream COUNT SIZE" and answers each
 * with the seconds that it took; a stream has ended when the other side has read all of it.
 */
#include <libxenvchan.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ECHO 1u

struct task {
    uint32_t kind, count, size;
};

static char buffer[sizeof(uint32_t) + 32768]; /* a message with its length in front */

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void expect(int condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "libxenvchan: %s failed\n", what);
        exit(1);
    }
}

static void send_message(struct libxenvchan *channel, uint32_t size)
{
    memcpy(buffer, &size, sizeof size);
    size += sizeof size;
    expect(libxenvchan_send(channel, buffer, size) == (int)size, "send");
}

/* Returns false when the other side has closed. */
static int receive_message(struct libxenvchan *channel)
{
    uint32_t size;

    if (libxenvchan_recv(channel, &size, sizeof size) != sizeof size)
        return 0;
    expect(size <= sizeof buffer - sizeof size, "the length");
    return libxenvchan_recv(channel, buffer + sizeof size, size) == (int)size;
}

static void serve(struct libxenvchan *channel)
{
    struct task task;

    while (libxenvchan_recv(channel, &task, sizeof task) == sizeof task) {
        for (uint32_t i = 0; i < task.count; i++) {
            expect(receive_message(channel), "recv");
            if (task.kind == ECHO)
                send_message(channel, task.size);
        }
        if (task.kind != ECHO)
            send_message(channel, 1);
    }
}

static void run(struct libxenvchan *channel)
{
    char kind[16];
    struct task task;

    while (scanf("%15s %u %u", kind, &task.count, &task.size) == 3 && task.size <= sizeof buffer - sizeof task.size) {
        double start = now();

        task.kind = strcmp(kind, "pingpong") ? 0 : ECHO;
        expect(libxenvchan_send(channel, &task, sizeof task) == sizeof task, "send");
        for (uint32_t i = 0; i < task.count; i++) {
            send_message(channel, task.size);
            if (task.kind == ECHO)
                expect(receive_message(channel), "recv");
        }
        if (task.kind != ECHO)
            expect(receive_message(channel), "recv");
        printf("%.9f\n", now() - start);
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 64;
    int server = !strcmp(argv[1], "server");
    int domid = atoi(argv[2]);
    size_t size = (size_t)atol(argv[4]);
    struct libxenvchan *channel = server ? libxenvchan_server_init(NULL, domid, argv[3], size, size)
                                         : libxenvchan_client_init(NULL, domid, argv[3]);

    expect(channel != NULL, "connecting");
    channel->blocking = 1;
    printf("open\n");
    fflush(stdout);
    if (server)
        serve(channel);
    else
        run(channel);
    libxenvchan_close(channel);
    return 0;
}
