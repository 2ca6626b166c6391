/* libxenevtchn.so.1: the calls of xenevtchn.h. Handles are files: FIFOs that give port numbers, as /dev/xen/evtchn does. */
#include "world.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <xenevtchn.h>

struct xenevtchn_handle {
    int file;
    uint32_t id;
    pid_t opened_by;
};

SIM_API xenevtchn_handle *xenevtchn_open(struct xentoollog_logger *logger, unsigned int flags)
{
    (void)logger;
    if (flags & ~(unsigned)XENEVTCHN_NO_CLOEXEC) {
        errno = EINVAL;
        return NULL;
    }
    if (sim_join())
        return NULL;
    xenevtchn_handle *handle = malloc(sizeof *handle);
    if (!handle)
        return NULL;
    handle->opened_by = getpid();
    handle->file = sim_handle_open(&handle->id);
    if (handle->file < 0) {
        free(handle);
        return NULL;
    }
    return handle;
}

/* A handle cannot outlive its process here: the new program would be another process of the world. */
SIM_API xenevtchn_handle *xenevtchn_fdopen(struct xentoollog_logger *logger, int file, unsigned flags)
{
    (void)logger;
    (void)file;
    (void)flags;
    errno = ENOSYS;
    return NULL;
}

SIM_API int xenevtchn_close(xenevtchn_handle *handle)
{
    if (!handle)
        return 0;
    if (sim_is_ours(handle->opened_by))
        sim_handle_close(handle->id);
    int result = close(handle->file);
    free(handle);
    return result;
}

SIM_API int xenevtchn_fd(xenevtchn_handle *handle)
{
    return handle->file;
}

SIM_API int xenevtchn_notify(xenevtchn_handle *handle, evtchn_port_t port)
{
    return sim_port_notify(handle->id, port);
}

SIM_API xenevtchn_port_or_error_t xenevtchn_bind_unbound_port(xenevtchn_handle *handle, uint32_t domid)
{
    return sim_port_allocate(handle->id, domid);
}

SIM_API xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle *handle, uint32_t domid,
                                                             evtchn_port_t remote_port)
{
    return sim_port_connect(handle->id, domid, remote_port);
}

SIM_API xenevtchn_port_or_error_t xenevtchn_bind_virq(xenevtchn_handle *handle, unsigned int virq)
{
    (void)handle;
    (void)virq;
    errno = ENOSYS;
    return -1;
}

SIM_API int xenevtchn_unbind(xenevtchn_handle *handle, evtchn_port_t port)
{
    return sim_port_unbind(handle->id, port);
}

SIM_API xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle *handle)
{
    evtchn_port_t port;

    if (sim_self.world->handles[handle->id].overflown) {
        errno = EFBIG;
        return -1;
    }
    return read(handle->file, &port, sizeof port) == sizeof port ? (int)port : -1;
}

SIM_API int xenevtchn_unmask(xenevtchn_handle *handle, evtchn_port_t port)
{
    sim_port_unmask(handle->id, port);
    return 0;
}

SIM_API int xenevtchn_restrict(xenevtchn_handle *handle, domid_t domid)
{
    (void)handle;
    (void)domid;
    errno = ENOSYS;
    return -1;
}
