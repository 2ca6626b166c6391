/*
 * xencontrol.dll as programs in Wine find it: the user mode library of Xen's PV drivers for Windows, over the libraries
 * that stand in for Xen's in ../lib. It has what a frontend needs, and the manners of the real one:
 *
 *   - An event channel or a watch is an event object that is set. Nothing says which it was. The driver unmasks.
 *   - There are no transactions, and a value that is longer than the buffer is ERROR_INVALID_PARAMETER.
 *   - Pages are granted until the thread that has granted them ends. The request stays pending so long, and its OVERLAPPED
 *     is on the stack of XcGnttabPermitForeignAccess2, which returned long ago: the driver writes there in the end.
 */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <windef.h>
#include <winbase.h>

#include <xenevtchn.h>
#include <xengnttab.h>
#include <xenstore.h>

/* The real library has one, which may lie at any of these places of the stack: all of them are written to. */
#define PERHAPS 32

struct listener { /* an event channel or a watch */
    struct listener *next;
    HANDLE event;
    evtchn_port_t port; /* 0: a watch */
    char path[];
};

struct context {
    CRITICAL_SECTION lock; /* of what follows, but for the store's requests, which libxenstore serialises */
    struct listener *listeners;
    struct xs_handle *store;
    xenevtchn_handle *evtchn;
    xengntshr_handle *grants;
    int stop[2]; /* a pipe, which is closed */
    HANDLE pump;
};

struct grant {
    struct grant *next;
    struct context *context;
    void *address;
    ULONG pages;
    DWORD thread;
    OVERLAPPED *overlapped;
};

static CRITICAL_SECTION grants_lock;
static struct grant *granted;

static DWORD error_of(int number)
{
    switch (number) {
    case ENOENT:
        return ERROR_FILE_NOT_FOUND;
    case EACCES:
        return ERROR_ACCESS_DENIED;
    case EINVAL:
        return ERROR_INVALID_PARAMETER;
    case ENOMEM:
        return ERROR_NOT_ENOUGH_MEMORY;
    default:
        return ERROR_GEN_FAILURE;
    }
}

/* ------------------------------------------------------------------------------------------- Event channels, watches */

static void take_store_events(struct context *context)
{
    char **fired;

    while ((fired = xs_check_watch(context->store))) {
        struct listener *watch = (struct listener *)strtoull(fired[XS_WATCH_TOKEN], NULL, 16);

        for (struct listener *each = context->listeners; each; each = each->next)
            if (each == watch) /* still */
                SetEvent(each->event);
        free(fired);
    }
}

static void take_port_event(struct context *context)
{
    evtchn_port_t port = (evtchn_port_t)xenevtchn_pending(context->evtchn);

    for (struct listener *each = context->listeners; each; each = each->next)
        if (each->port == port) {
            SetEvent(each->event);
            xenevtchn_unmask(context->evtchn, port);
        }
}

static DWORD WINAPI pump(void *argument)
{
    struct context *context = argument;
    struct pollfd files[] = {{.fd = context->stop[0], .events = POLLIN},
                             {.fd = xs_fileno(context->store), .events = POLLIN},
                             {.fd = xenevtchn_fd(context->evtchn), .events = POLLIN}};

    while (!files[0].revents) {
        if (poll(files, 3, -1) < 0)
            continue;
        EnterCriticalSection(&context->lock);
        if (files[1].revents)
            take_store_events(context);
        if (files[2].revents)
            take_port_event(context);
        LeaveCriticalSection(&context->lock);
    }
    return 0;
}

static struct listener *listen_to(struct context *context, HANDLE event, evtchn_port_t port, const char *path)
{
    struct listener *made = malloc(sizeof *made + strlen(path) + 1);
    HANDLE process = GetCurrentProcess();

    DuplicateHandle(process, event, process, &made->event, 0, FALSE, DUPLICATE_SAME_ACCESS);
    made->port = port;
    strcpy(made->path, path);
    made->next = context->listeners;
    context->listeners = made;
    return made;
}

static bool forget(struct context *context, const struct listener *listener)
{
    for (struct listener **each = &context->listeners, *found; (found = *each); each = &found->next)
        if (found == listener) {
            *each = found->next;
            CloseHandle(found->event);
            free(found);
            return true;
        }
    return false;
}

static struct listener *find_port(struct context *context, evtchn_port_t port)
{
    struct listener *each = context->listeners;

    while (each && each->port != port)
        each = each->next;
    return each;
}

DWORD CDECL XcEvtchnOpenUnbound(struct context *context, USHORT domid, HANDLE event, BOOL mask, ULONG *port)
{
    EnterCriticalSection(&context->lock);
    int made = mask ? -1 : xenevtchn_bind_unbound_port(context->evtchn, domid);
    if (made >= 0)
        listen_to(context, event, *port = (evtchn_port_t)made, "");
    LeaveCriticalSection(&context->lock);
    return made < 0 ? ERROR_GEN_FAILURE : ERROR_SUCCESS;
}

DWORD CDECL XcEvtchnClose(struct context *context, ULONG port)
{
    EnterCriticalSection(&context->lock);
    bool found = forget(context, find_port(context, port));
    if (found)
        xenevtchn_unbind(context->evtchn, port);
    LeaveCriticalSection(&context->lock);
    return found ? ERROR_SUCCESS : ERROR_NOT_FOUND;
}

DWORD CDECL XcEvtchnNotify(struct context *context, ULONG port)
{
    EnterCriticalSection(&context->lock);
    bool found = find_port(context, port) && !xenevtchn_notify(context->evtchn, port);
    LeaveCriticalSection(&context->lock);
    return found ? ERROR_SUCCESS : ERROR_NOT_FOUND;
}

DWORD CDECL XcStoreAddWatch(struct context *context, const char *path, HANDLE event, void **handle)
{
    char token[20];

    EnterCriticalSection(&context->lock);
    struct listener *watch = listen_to(context, event, 0, path);
    LeaveCriticalSection(&context->lock);
    snprintf(token, sizeof token, "%llx", (unsigned long long)(uintptr_t)watch);
    *handle = watch;
    if (xs_watch(context->store, path, token))
        return ERROR_SUCCESS;
    DWORD error = error_of(errno);
    EnterCriticalSection(&context->lock);
    forget(context, watch);
    LeaveCriticalSection(&context->lock);
    return error;
}

DWORD CDECL XcStoreRemoveWatch(struct context *context, void *handle)
{
    struct listener *watch = handle;
    char token[20];

    snprintf(token, sizeof token, "%llx", (unsigned long long)(uintptr_t)watch);
    xs_unwatch(context->store, watch->path, token);
    EnterCriticalSection(&context->lock);
    forget(context, watch);
    LeaveCriticalSection(&context->lock);
    return ERROR_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------------------- Store */

DWORD CDECL XcStoreRead(struct context *context, const char *path, DWORD size, char *value)
{
    unsigned int length;
    char *read = xs_read(context->store, XBT_NULL, path, &length);

    if (!read)
        return error_of(errno);
    bool fits = strlen(read) < size;
    if (fits)
        strcpy(value, read);
    free(read);
    return fits ? ERROR_SUCCESS : ERROR_INVALID_PARAMETER;
}

DWORD CDECL XcStoreWrite(struct context *context, const char *path, const char *value)
{
    return xs_write(context->store, XBT_NULL, path, value, (unsigned int)strlen(value)) ? ERROR_SUCCESS : error_of(errno);
}

/* ------------------------------------------------------------------------------------------------------------ Grants */

static __attribute__((noinline)) DWORD permit(struct context *context, USHORT domid, ULONG pages, void **address,
                                              ULONG *refs, OVERLAPPED *overlapped)
{
    struct grant *grant = malloc(sizeof *grant);
    uint32_t given[1024];

    if (pages > sizeof given / sizeof given[0])
        return ERROR_INVALID_PARAMETER;
    EnterCriticalSection(&grants_lock);
    *address = xengntshr_share_pages(context->grants, domid, (int)pages, given, 1);
    if (*address) {
        for (ULONG i = 0; i < pages; i++)
            refs[i] = given[i];
        *grant = (struct grant){granted, context, *address, pages, GetCurrentThreadId(), overlapped};
        granted = grant;
    }
    LeaveCriticalSection(&grants_lock);
    return *address ? ERROR_SUCCESS : ERROR_GEN_FAILURE;
}

DWORD CDECL XcGnttabPermitForeignAccess2(struct context *context, USHORT domid, void *own_memory, ULONG pages,
                                         ULONG notify_offset, ULONG notify_port, int flags, void **address, ULONG *refs)
{
    OVERLAPPED overlapped[PERHAPS] = {0};

    (void)notify_offset;
    (void)notify_port;
    if (own_memory || flags || !pages)
        return ERROR_NOT_SUPPORTED;
    return permit(context, domid, pages, address, refs, overlapped);
}

/* The driver completes a request: ends the program if it is within what it uses of its stack. */
static __attribute__((noinline)) void write_overlapped(OVERLAPPED *overlapped)
{
    volatile char frames[2048] = {0}; /* as DeviceIoControl has them, in which the thread is */

    memset(overlapped, 0xA5, PERHAPS * sizeof *overlapped);
    for (size_t i = 0; i < sizeof frames; i++)
        if (frames[i])
            abort();
}

/* Ends the grants of a context at an address, of a context, or of a thread. Returns how many there were. */
static unsigned end_grants(const struct context *context, const void *address, DWORD thread)
{
    unsigned count = 0;

    EnterCriticalSection(&grants_lock);
    for (struct grant **each = &granted, *found; (found = *each);) {
        if ((context && found->context != context) || (address && found->address != address) ||
            (thread && found->thread != thread)) {
            each = &found->next;
            continue;
        }
        *each = found->next;
        xengntshr_unshare(found->context->grants, found->address, found->pages);
        if (!thread) /* a thread that has ended has no stack */
            write_overlapped(found->overlapped);
        free(found);
        count++;
    }
    LeaveCriticalSection(&grants_lock);
    return count;
}

DWORD CDECL XcGnttabRevokeForeignAccess(struct context *context, void *address)
{
    return end_grants(context, address, 0) ? ERROR_SUCCESS : ERROR_NOT_FOUND;
}

/* ------------------------------------------------------------------------------------------------ Opening and closing */

DWORD CDECL XcOpen(void *logger, struct context **context)
{
    struct context *made = calloc(1, sizeof *made);

    (void)logger;
    made->store = xs_open(0);
    made->evtchn = xenevtchn_open(NULL, 0);
    made->grants = xengntshr_open(NULL, 0);
    if (!made->store || !made->evtchn || !made->grants || pipe(made->stop))
        return ERROR_NO_MORE_ITEMS; /* there is no device of xeniface */
    InitializeCriticalSection(&made->lock);
    made->pump = CreateThread(NULL, 0, pump, made, 0, NULL);
    *context = made;
    return ERROR_SUCCESS;
}

void CDECL XcClose(struct context *context)
{
    close(context->stop[1]);
    WaitForSingleObject(context->pump, INFINITE);
    CloseHandle(context->pump);
    end_grants(context, NULL, 0);
    while (context->listeners)
        forget(context, context->listeners);
    xengntshr_close(context->grants);
    xenevtchn_close(context->evtchn);
    xs_close(context->store);
    close(context->stop[0]);
    free(context);
}

BOOL WINAPI DllMain(HINSTANCE instance, DWORD reason, void *reserved)
{
    (void)instance;
    (void)reserved;
    if (reason == DLL_PROCESS_ATTACH)
        InitializeCriticalSection(&grants_lock);
    else if (reason == DLL_THREAD_DETACH)
        end_grants(NULL, NULL, GetCurrentThreadId());
    return TRUE;
}
