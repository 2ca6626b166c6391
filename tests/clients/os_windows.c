/*
 * Uses os_windows.c as the library does, with a peer in the domain that is its argument: test_os_windows.py.
 * Says on standard output what it has done, and waits for a line on standard input before it goes on.
 */
#include <windows.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os.h"

#define CHECK(condition)                                                                                               \
    do                                                                                                                 \
        if (!(condition)) {                                                                                            \
            printf("line %d: not %s\n", __LINE__, #condition);                                                         \
            exit(1);                                                                                                   \
        }                                                                                                              \
    while (0)

#define MOST 33u
#define SETS 20u

static struct os *os;
static uint32_t domid, port;
static struct os_page page;

static void step(const char *done)
{
    char line[8];

    printf("%s\n", done);
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        exit(1);
}

/* Whose end is not that of what it has shared. */
static DWORD WINAPI open_and_share(void *argument)
{
    (void)argument;
    CHECK(os_open(&os, 0) == 0);
    CHECK(os_share(os, domid, &page, 1) == 0);
    CHECK(os_evtchn_alloc(os, domid, &port) == 0);
    return 0;
}

static void run_thread(LPTHREAD_START_ROUTINE function)
{
    HANDLE thread = CreateThread(NULL, 0, function, NULL, 0, NULL);

    CHECK(WaitForSingleObject(thread, 20000) == WAIT_OBJECT_0);
    CloseHandle(thread);
}

static void write_number(const char *path, uint32_t number)
{
    char value[16];

    snprintf(value, sizeof value, "%lu", (unsigned long)number);
    CHECK(os_write(os, path, value) == 0);
}

static void wait_value(const char *path, const char *wanted)
{
    char value[OS_VALUE_SIZE];

    while (os_read(os, path, value, sizeof value) < 0 || strcmp(value, wanted) != 0)
        while (!(os_wait(os, 20000) & OS_STORE))
            ;
}

static void exchange_with_peer(void)
{
    char value[OS_VALUE_SIZE];

    CHECK(os_watch(os, 0, "data/go") == 0);
    CHECK(os_wait(os, 20000) & OS_STORE); /* the first comes at once */
    CHECK(WaitForSingleObject(os_event(os), 0) == WAIT_TIMEOUT);
    memcpy(page.memory, "from Windows", 13);
    write_number("data/ref", page.ref);
    write_number("data/port", port);
    wait_value("data/go", "read");
    CHECK(!strcmp((char *)page.memory, "from Linux"));
    page.memory[0] = '.';
    CHECK(os_evtchn_notify(os, port) == 0);
    while (strcmp((char *)page.memory, "notified") != 0) /* by the peer, which writes nothing into the store */
        CHECK(os_wait(os, 20000) & OS_EVTCHN);
    CHECK(os_watch(os, 0, NULL) == 0);
    CHECK(os_read(os, "data/go", value, 4) == VL2CAP_EINVAL);
    CHECK(os_read(os, "data/go", value, 5) == 4);
    CHECK(os_read(os, "data/none", value, sizeof value) == VL2CAP_ENODEV);
    CHECK(os_read(os, "/local/domain/0/name", value, sizeof value) == VL2CAP_ENODEV);
    CHECK(os_write(os, "/local/domain/0/name", "mine") == VL2CAP_ENODEV);
    while (os_wait(os, 1)) /* until nothing happens any more */
        ;
}

static void share_and_unshare_in_any_order(void)
{
    static struct os_page sets[SETS][MOST];

    for (unsigned round = 0; round < 10; round++) {
        for (unsigned i = 0; i < SETS; i++) {
            unsigned count = 1 + (round + 7 * i) % MOST;

            CHECK(os_share(os, domid, sets[i], count) == 0);
            for (unsigned each = 0; each < count; each++)
                for (unsigned octet = 0; octet < OS_PAGE_SIZE; octet++)
                    CHECK(sets[i][each].memory[octet] == 0);
            memset(sets[i][0].memory, 0xff, count * OS_PAGE_SIZE);
        }
        for (unsigned i = 0; i < SETS; i++) {
            unsigned other = (i * 13 + round) % SETS;

            os_unshare(os, sets[other], 1 + (round + 7 * other) % MOST);
        }
    }
}

int main(int count, char **arguments)
{
    struct os *other;
    int error;

    if (count < 2)
        return 2;
    domid = (uint32_t)atoi(arguments[1]);
    error = os_open(&os, 1);
    if (error) {
        printf("os_open: %d\n", error);
        return 0;
    }
    os_close(os);
    run_thread(open_and_share);
    step("the thread has ended");
    exchange_with_peer();
    CHECK(os_open(&other, 0) == VL2CAP_EBUSY);
    CHECK(os_open(&other, 1) == 0);
    os_close(other);
    share_and_unshare_in_any_order();
    step("shared and unshared");
    os_unshare(os, &page, 1);
    os_evtchn_close(os, port);
    step("all given back");
    CHECK(os_share(os, domid, &page, 1) == 0);
    os_close(os);
    CHECK(os_open(&os, 0) == 0);
    step("opened again");
    CHECK(os_share(os, domid, &page, 1) == 0);
    step("shared again");
    return 0;
}
