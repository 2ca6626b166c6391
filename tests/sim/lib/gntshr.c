/* libxengnttab.so.1, the granter's half: as /dev/xen/gntalloc. */
#include "grant.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

SIM_API xengntshr_handle *xengntshr_open(struct xentoollog_logger *logger, unsigned open_flags)
{
    (void)logger;
    (void)open_flags;
    return handle_open();
}

SIM_API int xengntshr_close(xengntshr_handle *handle)
{
    return handle_close(handle, sim_pages_unshare);
}

SIM_API int xengntshr_fd(xengntshr_handle *handle)
{
    return handle->file;
}

static void *share(xengntshr_handle *handle, uint32_t domid, int count, uint32_t *refs, bool writable,
                   uint32_t notify_offset, evtchn_port_t notify_port)
{
    struct region *region = region_new((uint32_t)count);

    if (!region)
        return NULL;
    if (sim_pages_share(domid, region->count, region->ids, !writable))
        goto fail;
    /* Only the one-page call notifies: an offset beyond its page means none, as in the real library. */
    if (sim_share_notify(region->ids[0], notify_offset < SIM_PAGE_SIZE ? (int32_t)notify_offset : -1, notify_port) ||
        region_map(handle, region, PROT_READ | PROT_WRITE, sim_share_page)) {
        int error = errno;
        sim_pages_unshare(region->ids, region->count);
        errno = error;
        goto fail;
    }
    for (uint32_t i = 0; i < region->count; i++)
        refs[i] = region->ids[i];
    return region->address;
fail:
    free(region);
    return NULL;
}

SIM_API void *xengntshr_share_pages(xengntshr_handle *handle, uint32_t domid, int count, uint32_t *refs, int writable)
{
    return share(handle, domid, count, refs, writable, UINT32_MAX, SIM_NONE);
}

SIM_API void *xengntshr_share_page_notify(xengntshr_handle *handle, uint32_t domid, uint32_t *ref, int writable,
                                          uint32_t notify_offset, evtchn_port_t notify_port)
{
    return share(handle, domid, 1, ref, writable, notify_offset, notify_port);
}

SIM_API int xengntshr_unshare(xengntshr_handle *handle, void *start_address, uint32_t count)
{
    struct region *region = region_unmap(handle, start_address, count);

    if (!region)
        return -1;
    sim_pages_unshare(region->ids, region->count);
    free(region);
    return 0;
}
