/*
 * A program that knows only libxenvchan: the proof that the stand-ins do what it needs.
 *
 * vchan server|client DOMID PATH SIZE serve|sink|exchange BYTES|pingpong ROUNDS|stream BYTES
 * serve: echo what comes, byte by byte in order, until the other side closes.
 * exchange: send a generated stream of bytes, check that the same comes back.
 */
#include <libxenvchan.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static unsigned char generate(uint64_t position)
{
    return (unsigned char)((position * 2654435761u) >> 13);
}

static void serve(struct libxenvchan *channel)
{
    static char buffer[65536];
    int got;

    while ((got = libxenvchan_read(channel, buffer, sizeof buffer)) > 0)
        for (int sent = 0, put; sent < got; sent += put)
            if ((put = libxenvchan_write(channel, buffer + sent, (size_t)(got - sent))) <= 0)
                return;
}

static int exchange(struct libxenvchan *channel, uint64_t total)
{
    uint64_t sent = 0, received = 0;
    unsigned char buffer[3001];

    channel->blocking = 0;
    while (received < total) {
        size_t length = sizeof buffer < total - sent ? sizeof buffer : (size_t)(total - sent);
        int put = 0, got;

        for (size_t i = 0; i < length; i++)
            buffer[i] = generate(sent + i);
        if (length && (put = libxenvchan_write(channel, buffer, length)) < 0)
            return 3;
        sent += (uint64_t)put;
        if ((got = libxenvchan_read(channel, buffer, sizeof buffer)) < 0)
            return 4;
        for (int i = 0; i < got; i++)
            if (buffer[i] != generate(received + (uint64_t)i))
                return 5;
        received += (uint64_t)got;
        if (!put && !got && libxenvchan_wait(channel) < 0)
            return 6;
    }
    return 0;
}

static int pingpong(struct libxenvchan *channel, int rounds)
{
    char message[64] = {0};
    double start = now();

    for (int i = 0; i < rounds; i++)
        if (libxenvchan_send(channel, message, sizeof message) != sizeof message ||
            libxenvchan_recv(channel, message, sizeof message) != sizeof message)
            return 7;
    printf("%.2f\n", (now() - start) / rounds * 1e6);
    return 0;
}

static int stream(struct libxenvchan *channel, uint64_t total)
{
    static char buffer[65536];
    double start = now();

    for (uint64_t sent = 0; sent < total;) {
        int put = libxenvchan_write(channel, buffer, sizeof buffer);

        if (put < 0)
            return 8;
        sent += (uint64_t)put;
    }
    printf("%.0f\n", (double)total / (now() - start));
    return 0;
}

static void sink(struct libxenvchan *channel)
{
    static char buffer[65536];

    while (libxenvchan_read(channel, buffer, sizeof buffer) > 0)
        ;
}

int main(int argc, char **argv)
{
    if (argc < 6)
        return 64;
    int domid = atoi(argv[2]);
    size_t size = (size_t)atol(argv[4]);
    uint64_t count = argc > 6 ? strtoull(argv[6], NULL, 10) : 0;
    struct libxenvchan *channel = strcmp(argv[1], "server") ? libxenvchan_client_init(NULL, domid, argv[3])
                                                            : libxenvchan_server_init(NULL, domid, argv[3], size, size);
    int result = 0;

    if (!channel)
        return 2;
    channel->blocking = 1;
    printf("open\n");
    fflush(stdout);
    if (!strcmp(argv[5], "serve"))
        serve(channel);
    else if (!strcmp(argv[5], "sink"))
        sink(channel);
    else if (!strcmp(argv[5], "exchange"))
        result = exchange(channel, count);
    else if (!strcmp(argv[5], "pingpong"))
        result = pingpong(channel, (int)count);
    else if (!strcmp(argv[5], "stream"))
        result = stream(channel, count);
    printf("%d\n", libxenvchan_is_open(channel));
    libxenvchan_close(channel);
    return result;
}
