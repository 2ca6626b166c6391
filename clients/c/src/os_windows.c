/* SPDX-License-Identifier: MIT */
/*
 * Windows, by the user mode library of Xen's PV drivers, xencontrol.dll, which talks to xeniface.
 *
 * That library ties pages to the thread that has shared them: they are taken back when it ends, whatever the other domain
 * does with them. And it leaves the OVERLAPPED of that request on its stack, where Windows writes when the pages are
 * taken back, long after the call has returned. So a layer has a thread of its own, which shares the pages and takes
 * them back. While it shares, it stands deeper in its stack than it ever does otherwise.
 *
 * Event channels and watches are event objects. Those of all channels are `event`, for which the program waits; that of
 * watches is the thread's, so that who wakes up knows whether to read xenstore.
 */

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os.h"

/* xencontrol.h of xeniface, as far as it is used. All return an error of Windows. */
struct xencontrol;
struct api {
    DWORD(__cdecl *open)(void *logger, struct xencontrol **xc);
    void(__cdecl *close)(struct xencontrol *xc);
    DWORD(__cdecl *evtchn_open_unbound)(struct xencontrol *xc, USHORT domid, HANDLE event, BOOL masked, ULONG *port);
    DWORD(__cdecl *evtchn_close)(struct xencontrol *xc, ULONG port);
    DWORD(__cdecl *evtchn_notify)(struct xencontrol *xc, ULONG port);
    DWORD(__cdecl *gnttab_permit)(struct xencontrol *xc, USHORT domid, void *own_memory, ULONG count, ULONG notify_offset,
                                  ULONG notify_port, int flags, void **memory, ULONG *refs);
    DWORD(__cdecl *gnttab_revoke)(struct xencontrol *xc, void *memory);
    DWORD(__cdecl *store_read)(struct xencontrol *xc, char *path, DWORD size, char *value);
    DWORD(__cdecl *store_write)(struct xencontrol *xc, char *path, char *value);
    DWORD(__cdecl *store_add_watch)(struct xencontrol *xc, char *path, HANDLE event, void **watch);
    DWORD(__cdecl *store_remove_watch)(struct xencontrol *xc, void *watch);
};

static const char *const names[] = {
    "XcOpen", "XcClose", "XcEvtchnOpenUnbound", "XcEvtchnClose", "XcEvtchnNotify", "XcGnttabPermitForeignAccess2",
    "XcGnttabRevokeForeignAccess", "XcStoreRead", "XcStoreWrite", "XcStoreAddWatch", "XcStoreRemoveWatch",
};
_Static_assert(sizeof(struct api) == sizeof names / sizeof names[0] * sizeof(FARPROC), "a name for each call");

#define STACK_ABOVE 65536u  /* octets between the frames of the thread's loop and those of sharing                */
#define STACK_SIZE  262144u

/* What the thread is asked for: to share if `count` is not 0, else to take back. */
struct order {
    uint32_t domid;
    unsigned count;
    void *memory;
    ULONG refs[OS_MOST_PAGES];
    DWORD error;
};

struct os {
    HMODULE library;
    struct api api;
    struct xencontrol *xc;          /* this thread's                                                                */
    struct xencontrol *sharing_xc;  /* the sharing thread's: requests that stay pending are made through it         */
    HANDLE claim;
    HANDLE event;                   /* manual: something has happened                                               */
    HANDLE store_event;             /* a watch has fired                                                            */
    volatile LONG store_fired;
    void *watches[OS_WATCHES];
    HANDLE thread, ordered, done;
    struct order *order;            /* NULL: the thread is to end                                                   */
};

/* ----------------------------------------------------------------------------------------------------- The thread */

static __declspec(noinline) void share_deep_down(struct os *os, struct order *order)
{
    volatile char above[STACK_ABOVE];

    above[0] = 0;
    order->error = os->api.gnttab_permit(os->sharing_xc, (USHORT)order->domid, NULL, order->count, 0, 0, 0,
                                         &order->memory, order->refs);
    above[1] = above[0]; /* the call is not the last, so that `above` is not given up before it */
}

static DWORD WINAPI run_thread(void *argument)
{
    struct os *os = argument;
    HANDLE events[2] = {os->ordered, os->store_event};

    for (;;) {
        struct order *order;

        if (WaitForMultipleObjects(2, events, FALSE, INFINITE) == WAIT_OBJECT_0 + 1) {
            InterlockedExchange(&os->store_fired, 1);
            SetEvent(os->event);
            continue;
        }
        order = os->order;
        if (!order)
            return 0;
        if (order->count)
            share_deep_down(os, order);
        else
            order->error = os->api.gnttab_revoke(os->sharing_xc, order->memory);
        SetEvent(os->done);
    }
}

static void give_order(struct os *os, struct order *order)
{
    os->order = order;
    SignalObjectAndWait(os->ordered, os->done, INFINITE, FALSE);
}

/* ----------------------------------------------------------------------------------------------- Opening, closing */

static bool load_library(struct os *os)
{
    FARPROC *call = (FARPROC *)(void *)&os->api;

    /* Not from the current directory, nor from PATH. */
    os->library = LoadLibraryExW(L"xencontrol.dll", NULL,
                                 LOAD_LIBRARY_SEARCH_APPLICATION_DIR | LOAD_LIBRARY_SEARCH_SYSTEM32);
    if (!os->library)
        return false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (!(call[i] = GetProcAddress(os->library, names[i])))
            return false;
    return true;
}

/* Others of this machine, in any session, find the name taken as long as the handle is open. */
static int claim(struct os *os, uint32_t device)
{
    wchar_t name[64];

    _snwprintf(name, sizeof name / sizeof name[0], L"Global\\usbbtd-vl2cap-%lu", (unsigned long)device);
    os->claim = CreateMutexW(NULL, FALSE, name);
    if (!os->claim)
        return GetLastError() == ERROR_ACCESS_DENIED ? VL2CAP_EBUSY : VL2CAP_ENOMEM;
    return GetLastError() == ERROR_ALREADY_EXISTS ? VL2CAP_EBUSY : 0;
}

static int open_all(struct os *os, uint32_t device)
{
    int error;

    if (!load_library(os))
        return VL2CAP_NO_DRIVER;
    if (os->api.open(NULL, &os->xc) || os->api.open(NULL, &os->sharing_xc))
        return VL2CAP_NO_XEN;
    if ((error = claim(os, device)))
        return error;
    os->event = CreateEventW(NULL, TRUE, FALSE, NULL);
    os->store_event = CreateEventW(NULL, FALSE, FALSE, NULL);
    os->ordered = CreateEventW(NULL, FALSE, FALSE, NULL);
    os->done = CreateEventW(NULL, FALSE, FALSE, NULL);
    if (!os->event || !os->store_event || !os->ordered || !os->done)
        return VL2CAP_ENOMEM;
    os->thread = CreateThread(NULL, STACK_SIZE, run_thread, os, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    return os->thread ? 0 : VL2CAP_ENOMEM;
}

void os_explain(int error, char *text, size_t size)
{
    snprintf(text, size, "%s", vl2cap_strerror(error));
}

int os_open(struct os **os, uint32_t device)
{
    struct os *made = calloc(1, sizeof *made);
    int error;

    if (!made)
        return VL2CAP_ENOMEM;
    error = open_all(made, device);
    if (error)
        os_close(made);
    else
        *os = made;
    return error;
}

static void close_handle(HANDLE handle)
{
    if (handle)
        CloseHandle(handle);
}

void os_close(struct os *os)
{
    for (unsigned slot = 0; slot < OS_WATCHES; slot++)
        if (os->watches[slot])
            os->api.store_remove_watch(os->xc, os->watches[slot]);
    if (os->thread) {
        os->order = NULL;
        SetEvent(os->ordered);
        WaitForSingleObject(os->thread, INFINITE);
    }
    if (os->sharing_xc)
        os->api.close(os->sharing_xc);
    if (os->xc)
        os->api.close(os->xc);
    close_handle(os->thread);
    close_handle(os->done);
    close_handle(os->ordered);
    close_handle(os->store_event);
    close_handle(os->event);
    close_handle(os->claim);
    if (os->library)
        FreeLibrary(os->library);
    free(os);
}

/* -------------------------------------------------------------------------------------------------------- Xenstore */

static int store_error(DWORD error)
{
    switch (error) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_ACCESS_DENIED:
        return VL2CAP_ENODEV;
    case ERROR_INVALID_PARAMETER: /* the value is longer than the buffer */
        return VL2CAP_EINVAL;
    default:
        return VL2CAP_EIO;
    }
}

/* The driver ends a value at its first 0, so that one with a 0 in it cannot be told. */
int os_read(struct os *os, const char *path, char *value, size_t size)
{
    DWORD error = os->api.store_read(os->xc, (char *)(uintptr_t)path, (DWORD)size, value);

    return error ? store_error(error) : (int)strnlen(value, size);
}

int os_write(struct os *os, const char *path, const char *value)
{
    DWORD error = os->api.store_write(os->xc, (char *)(uintptr_t)path, (char *)(uintptr_t)value);

    return error ? store_error(error) : 0;
}

int os_watch(struct os *os, unsigned slot, const char *path)
{
    DWORD error = 0;

    if (os->watches[slot])
        os->api.store_remove_watch(os->xc, os->watches[slot]);
    os->watches[slot] = NULL;
    if (path)
        error = os->api.store_add_watch(os->xc, (char *)(uintptr_t)path, os->store_event, &os->watches[slot]);
    return error ? store_error(error) : 0;
}

/* ----------------------------------------------------------------------------------------------------------- Pages */

/* Pages that a process leaves behind are not granted any more, even if the other domain has them mapped. */
int os_share(struct os *os, uint32_t domid, struct os_page *pages, unsigned count)
{
    struct order order = {.domid = domid, .count = count};

    if (!count || count > OS_MOST_PAGES)
        return VL2CAP_EINVAL;
    give_order(os, &order);
    if (order.error)
        return order.error == ERROR_NOT_ENOUGH_MEMORY || order.error == ERROR_OUTOFMEMORY ? VL2CAP_ENOMEM : VL2CAP_EIO;
    memset(order.memory, 0, (size_t)count * OS_PAGE_SIZE);
    for (unsigned i = 0; i < count; i++)
        pages[i] = (struct os_page){(uint8_t *)order.memory + (size_t)i * OS_PAGE_SIZE, order.refs[i]};
    return 0;
}

void os_unshare(struct os *os, struct os_page *pages, unsigned count)
{
    struct order order = {.memory = pages[0].memory};

    (void)count;
    give_order(os, &order);
}

/* -------------------------------------------------------------------------------------------------- Event channels */

int os_evtchn_alloc(struct os *os, uint32_t domid, uint32_t *port)
{
    ULONG allocated;

    if (os->api.evtchn_open_unbound(os->xc, (USHORT)domid, os->event, FALSE, &allocated))
        return VL2CAP_EIO;
    *port = allocated;
    return 0;
}

void os_evtchn_close(struct os *os, uint32_t port)
{
    os->api.evtchn_close(os->xc, port);
}

int os_evtchn_notify(struct os *os, uint32_t port)
{
    return os->api.evtchn_notify(os->xc, port) ? VL2CAP_EIO : 0;
}

/* --------------------------------------------------------------------------------------------------- Waiting, time */

int os_wait(struct os *os, int timeout_ms)
{
    DWORD result = WaitForSingleObjectEx(os->event, timeout_ms < 0 ? INFINITE : (DWORD)timeout_ms, TRUE);

    if (result == WAIT_IO_COMPLETION) /* an APC: what comes nearest to a signal */
        return OS_INTERRUPTED;
    if (result != WAIT_OBJECT_0)
        return result == WAIT_TIMEOUT ? 0 : VL2CAP_EIO;
    ResetEvent(os->event); /* first: what happens from now on sets it again */
    return OS_EVTCHN | (InterlockedExchange(&os->store_fired, 0) ? OS_STORE : 0);
}

vl2cap_event_t os_event(const struct os *os)
{
    return os->event;
}

uint64_t os_now_us(void)
{
    LARGE_INTEGER frequency, now;

    QueryPerformanceFrequency(&frequency);
    QueryPerformanceCounter(&now);
    return (uint64_t)(now.QuadPart / frequency.QuadPart * 1000000 +
                      now.QuadPart % frequency.QuadPart * 1000000 / frequency.QuadPart);
}
