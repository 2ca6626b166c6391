/* SPDX-License-Identifier: MIT */
/* What libxenevtchn and libxengnttab do one at a time, for a whole batch. */
#ifndef USBBTD_XENOPS_H
#define USBBTD_XENOPS_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <xenevtchn.h>
#include <xengnttab.h>
#include <xentoollog.h>

#define XENOPS_COPY_BATCH 64u

/*
 * Takes up to `limit` pending ports, each masked from now on. Returns their number, or -1 with errno.
 * Reads the device itself: xenevtchn_pending takes one port a call, and blocks when there is none.
 */
static int evtchn_drain(xenevtchn_handle *handle, uint32_t *ports, uint32_t limit)
{
    ssize_t size = read(xenevtchn_fd(handle), ports, limit * sizeof *ports);

    if (size < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    return (int)((size_t)size / sizeof *ports);
}

/* Returns 0, or -1 with errno of the last that failed. */
static int evtchn_unmask(xenevtchn_handle *handle, const uint32_t *ports, uint32_t count)
{
    int result = 0;

    for (uint32_t i = 0; i < count; i++)
        result |= xenevtchn_unmask(handle, ports[i]);
    return result;
}

struct grant_segment {
    uint32_t ref, offset, length;
};

/*
 * Copies between `buffer` and the segments of another domain's pages, in order. Returns 0, or -1 with errno; then
 * *failed is the segment that is wrong, or `count` when it is none of them.
 */
static int grant_copy(xengnttab_handle *handle, uint32_t domid, const struct grant_segment *segments, uint32_t count,
                      char *buffer, int to_other, uint32_t *failed)
{
    xengnttab_grant_copy_segment_t batch[XENOPS_COPY_BATCH];

    for (uint32_t done = 0; done < count;) {
        uint32_t size = 0;

        memset(batch, 0, sizeof(batch));
        for (; size < XENOPS_COPY_BATCH && done + size < count; size++) {
            const struct grant_segment *segment = &segments[done + size];
            union xengnttab_copy_ptr *near = to_other ? &batch[size].source : &batch[size].dest;
            union xengnttab_copy_ptr *far = to_other ? &batch[size].dest : &batch[size].source;

            if (segment->offset > 4096 || segment->length > 4096 - segment->offset) {
                *failed = done + size;
                errno = EINVAL;
                return -1;
            }
            near->virt = buffer;
            far->foreign.ref = segment->ref;
            far->foreign.offset = (uint16_t)segment->offset;
            far->foreign.domid = (uint16_t)domid;
            batch[size].len = (uint16_t)segment->length;
            batch[size].flags = to_other ? GNTCOPY_dest_gref : GNTCOPY_source_gref;
            buffer += segment->length;
        }
        *failed = count;
        if (xengnttab_grant_copy(handle, size, batch))
            return -1;
        for (uint32_t i = 0; i < size; i++) {
            if (batch[i].status != GNTST_okay) {
                *failed = done + i;
                errno = EFAULT;
                return -1;
            }
        }
        done += size;
    }
    return 0;
}

/* The libraries print each failure, and a guest can make as many as it likes; we raise an exception instead. */
static void discard_message(struct xentoollog_logger *logger, xentoollog_level level, int errnoval,
                            const char *context, const char *format, va_list arguments)
{
    (void)logger, (void)level, (void)errnoval, (void)context, (void)format, (void)arguments;
}

static struct xentoollog_logger silent_logger = { .vmessage = discard_message };

/* Not to block, should the event loop take the device for readable when it is not. */
static xenevtchn_handle *evtchn_open(void)
{
    xenevtchn_handle *handle = xenevtchn_open(&silent_logger, 0);

    if (handle)
        fcntl(xenevtchn_fd(handle), F_SETFL, O_RDWR | O_NONBLOCK);
    return handle;
}

static xengnttab_handle *gnttab_open(void)
{
    return xengnttab_open(&silent_logger, 0);
}

static xengntshr_handle *gntshr_open(void)
{
    return xengntshr_open(&silent_logger, 0);
}

#endif
