/* SPDX-License-Identifier: MIT */
/*
 * One end of a data ring by libvl2cap's own ring.c, blocking, to be set beside vchan.c: the same tasks and answers.
 *
 * c_ring_client DOMID, c_ring_server DOMID
 *
 * The client shares the pages and prints where they are, which the server gets on its standard input. The library has the
 * frontend's end alone; the server is compiled with a header in which the halves of the ring have each other's names.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <xenevtchn.h>
#include <xengnttab.h>

#include "os.h"
#include "ring.h"

#define RING_ORDER 5u /* 32 pages: 64 KiB each way */
#define ECHO 1u

struct task {
    uint32_t kind, count, size;
};

static struct data_ring ring;
static uint8_t buffer[32768];
static uint32_t port;

static void expect(int condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "c_ring: %s failed\n", what);
        exit(1);
    }
}

#ifdef SERVER

static xenevtchn_handle *evtchn;

static void open_ring(uint32_t domid)
{
    xengnttab_handle *gnttab = xengnttab_open(NULL, 0);
    uint32_t ref, remote, refs[1u << RING_ORDER], half = 1u << (RING_ORDER - 1);
    uint8_t *pages;

    expect(scanf("%u %u", &ref, &remote) == 2, "reading where the ring is");
    evtchn = xenevtchn_open(NULL, 0);
    expect(gnttab && evtchn, "opening Xen's devices");
    ring.indices = xengnttab_map_grant_ref(gnttab, domid, ref, PROT_READ | PROT_WRITE);
    expect(ring.indices && ring.indices->ring_order == RING_ORDER, "mapping the indices");
    for (uint32_t i = 0; i < 2 * half; i++)
        refs[i] = ring.indices->ref[i];
    pages = xengnttab_map_domain_grant_refs(gnttab, 2 * half, domid, refs, PROT_READ | PROT_WRITE);
    expect(pages != NULL, "mapping the ring");
    ring.size = half * OS_PAGE_SIZE;
    for (uint32_t i = 0; i < half; i++) {
        ring.out[i] = pages + i * OS_PAGE_SIZE;
        ring.in[i] = pages + (half + i) * OS_PAGE_SIZE;
    }
    ring.indices->in.consumer.prod_event = 1;
    port = (uint32_t)xenevtchn_bind_interdomain(evtchn, domid, remote);
    printf("open\n");
    fflush(stdout);
}

static void notify(void)
{
    expect(xenevtchn_notify(evtchn, port) == 0, "notify");
}

static void wait_for_other(void)
{
    xenevtchn_port_or_error_t pending = xenevtchn_pending(evtchn);

    expect(pending >= 0 && xenevtchn_unmask(evtchn, (evtchn_port_t)pending) == 0, "wait");
}

#else

static struct os *os;

static void open_ring(uint32_t domid)
{
    static struct os_page pages[RING_PAGES];

    expect(os_open(&os, 0) == 0 && os_share(os, domid, pages, 1 + (1u << RING_ORDER)) == 0, "sharing");
    data_ring_init(&ring, pages, RING_ORDER);
    expect(os_evtchn_alloc(os, domid, &port) == 0, "allocating a port");
    printf("%u %u\n", pages[0].ref, port);
    fflush(stdout);
}

static void notify(void)
{
    expect(os_evtchn_notify(os, port) == 0, "notify");
}

static void wait_for_other(void)
{
    expect(os_wait(os, -1) > 0, "wait");
}

#endif

static void send_message(const void *message, uint32_t size)
{
    enum ring_result result;

    while ((result = data_ring_send(&ring, message, size, true)) == RING_EMPTY)
        wait_for_other();
    expect(result != RING_BROKEN, "send");
    if (result == RING_NOTIFY)
        notify();
}

static uint32_t receive_message(void *message, uint32_t size)
{
    enum ring_result result;
    uint32_t length = 0;

    while ((result = data_ring_receive(&ring, message, size, &length, true)) == RING_EMPTY)
        wait_for_other();
    expect(result == RING_DONE || result == RING_NOTIFY, "recv");
    if (result == RING_NOTIFY)
        notify();
    return length;
}

static void serve(void)
{
    struct task task;

    for (;;) {
        expect(receive_message(&task, sizeof task) == sizeof task, "the task");
        for (uint32_t i = 0; i < task.count; i++) {
            receive_message(buffer, sizeof buffer);
            if (task.kind == ECHO)
                send_message(buffer, task.size);
        }
        if (task.kind != ECHO)
            send_message(buffer, 1);
    }
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void run(void)
{
    char kind[16];
    struct task task;

    while (scanf("%15s %u %u", kind, &task.count, &task.size) == 3 && task.size <= sizeof buffer) {
        double start = now();

        task.kind = strcmp(kind, "pingpong") ? 0 : ECHO;
        send_message(&task, sizeof task);
        for (uint32_t i = 0; i < task.count; i++) {
            send_message(buffer, task.size);
            if (task.kind == ECHO)
                expect(receive_message(buffer, sizeof buffer) == task.size, "the echo");
        }
        if (task.kind != ECHO)
            receive_message(buffer, sizeof buffer);
        printf("%.9f\n", now() - start);
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
#ifdef SERVER
    void (*const go_on)(void) = serve;
    (void)run;
#else
    void (*const go_on)(void) = run;
    (void)serve;
#endif
    if (argc != 2)
        return 64;
    open_ring((uint32_t)atoi(argv[1]));
    go_on();
    return 0;
}
