/* libxengnttab.so.1, the mapper's half: as /dev/xen/gntdev. */
#define _GNU_SOURCE
#include "grant.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

SIM_API xengnttab_handle *xengnttab_open(struct xentoollog_logger *logger, unsigned open_flags)
{
    (void)logger;
    (void)open_flags;
    return handle_open();
}

SIM_API int xengnttab_close(xengnttab_handle *handle)
{
    return handle_close(handle, sim_pages_unmap);
}

SIM_API int xengnttab_fd(xengnttab_handle *handle)
{
    return handle->file;
}

SIM_API int xengnttab_set_max_grants(xengnttab_handle *handle, uint32_t count)
{
    (void)handle;
    (void)count; /* Linux has no such limit any more, and the real library takes that for success */
    return 0;
}

static void *map(xengnttab_handle *handle, uint32_t count, const uint32_t *domids, uint32_t domids_stride,
                 const uint32_t *refs, int prot, uint32_t notify_offset, evtchn_port_t notify_port)
{
    bool writable = prot & PROT_WRITE;
    struct region *region;

    if (count == 0) {
        errno = EINVAL;
        return NULL;
    }
    region = region_new(count);
    if (!region)
        return NULL;
    if (sim_pages_map(count, domids, domids_stride, refs, writable, region->ids))
        goto fail;
    int32_t byte = notify_offset < SIM_PAGE_SIZE ? (int32_t)notify_offset : -1;
    errno = EINVAL;
    if ((byte >= 0 && !writable) || /* gntdev clears no byte of a page that it may not write */
        sim_mapping_notify(region->ids[0], byte, notify_port) || region_map(handle, region, prot, sim_mapping_page)) {
        int error = errno;
        sim_pages_unmap(region->ids, count);
        errno = error;
        goto fail;
    }
    return region->address;
fail:
    free(region);
    return NULL;
}

SIM_API void *xengnttab_map_grant_ref(xengnttab_handle *handle, uint32_t domid, uint32_t ref, int prot)
{
    return map(handle, 1, &domid, 0, &ref, prot, UINT32_MAX, SIM_NONE);
}

SIM_API void *xengnttab_map_grant_refs(xengnttab_handle *handle, uint32_t count, uint32_t *domids, uint32_t *refs,
                                       int prot)
{
    return map(handle, count, domids, 1, refs, prot, UINT32_MAX, SIM_NONE);
}

SIM_API void *xengnttab_map_domain_grant_refs(xengnttab_handle *handle, uint32_t count, uint32_t domid, uint32_t *refs,
                                              int prot)
{
    return map(handle, count, &domid, 0, refs, prot, UINT32_MAX, SIM_NONE);
}

SIM_API void *xengnttab_map_grant_ref_notify(xengnttab_handle *handle, uint32_t domid, uint32_t ref, int prot,
                                             uint32_t notify_offset, evtchn_port_t notify_port)
{
    return map(handle, 1, &domid, 0, &ref, prot, notify_offset, notify_port);
}

SIM_API int xengnttab_unmap(xengnttab_handle *handle, void *start_address, uint32_t count)
{
    struct region *region = region_unmap(handle, start_address, count);

    if (!region)
        return -1;
    sim_pages_unmap(region->ids, region->count);
    free(region);
    return 0;
}

/* One side of a segment; moves len bytes between it and local memory. By the file, so that a bad pointer is EFAULT. */
static int move(const union xengnttab_copy_ptr *side, void *local, uint16_t len, bool writing, int16_t *status)
{
    uint64_t page;
    off_t offset;

    *status = sim_copy_page_locked(side->foreign.domid, side->foreign.ref, writing, &page);
    if (*status != GNTST_okay)
        return 0;
    offset = (off_t)(page * SIM_PAGE_SIZE) + side->foreign.offset;
    ssize_t moved = writing ? pwrite(sim_self.pages, local, len, offset) : pread(sim_self.pages, local, len, offset);
    return moved == len ? 0 : -1;
}

static int copy_segment_locked(xengnttab_grant_copy_segment_t *segment)
{
    bool from_grant = segment->flags & GNTCOPY_source_gref, to_grant = segment->flags & GNTCOPY_dest_gref;
    char bounce[SIM_PAGE_SIZE];
    void *local = from_grant && to_grant ? bounce : from_grant ? segment->dest.virt : segment->source.virt;

    segment->status = GNTST_okay;
    if (from_grant && move(&segment->source, local, segment->len, false, &segment->status))
        return -1;
    if (to_grant && segment->status == GNTST_okay &&
        move(&segment->dest, local, segment->len, true, &segment->status))
        return -1;
    return 0;
}

static bool segment_is_valid(const xengnttab_grant_copy_segment_t *segment)
{
    bool from_grant = segment->flags & GNTCOPY_source_gref, to_grant = segment->flags & GNTCOPY_dest_gref;

    return (from_grant || to_grant) &&
           (!from_grant || segment->source.foreign.offset + segment->len <= (int)SIM_PAGE_SIZE) &&
           (!to_grant || segment->dest.foreign.offset + segment->len <= (int)SIM_PAGE_SIZE);
}

SIM_API int xengnttab_grant_copy(xengnttab_handle *handle, uint32_t count, xengnttab_grant_copy_segment_t *segments)
{
    (void)handle;
    int result = 0;

    sim_lock();
    for (uint32_t i = 0; i < count && result == 0; i++) {
        errno = EINVAL;
        result = segment_is_valid(&segments[i]) ? copy_segment_locked(&segments[i]) : -1;
    }
    sim_unlock();
    return result;
}

SIM_API int xengnttab_dmabuf_exp_from_refs(xengnttab_handle *handle, uint32_t domid, uint32_t flags, uint32_t count,
                                           const uint32_t *refs, uint32_t *file)
{
    (void)handle, (void)domid, (void)flags, (void)count, (void)refs, (void)file;
    errno = ENOSYS;
    return -1;
}

SIM_API int xengnttab_dmabuf_exp_wait_released(xengnttab_handle *handle, uint32_t file, uint32_t wait_to_ms)
{
    (void)handle, (void)file, (void)wait_to_ms;
    errno = ENOSYS;
    return -1;
}

SIM_API int xengnttab_dmabuf_imp_to_refs(xengnttab_handle *handle, uint32_t domid, uint32_t file, uint32_t count,
                                         uint32_t *refs)
{
    (void)handle, (void)domid, (void)file, (void)count, (void)refs;
    errno = ENOSYS;
    return -1;
}

SIM_API int xengnttab_dmabuf_imp_release(xengnttab_handle *handle, uint32_t file)
{
    (void)handle, (void)file;
    errno = ENOSYS;
    return -1;
}
