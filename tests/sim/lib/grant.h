/* What the two halves of libxengnttab.so.1 have in common: handles, and the regions mapped through them. */
#ifndef SIM_GRANT_H
#define SIM_GRANT_H

#include "world.h"

#include <xengnttab.h>

struct region {
    struct region *next;
    void *address;
    uint32_t count;
    uint32_t ids[]; /* references of a shared region, mappings of a mapped one; one a page */
};

struct xengntdev_handle {
    int file; /* no operation of ours needs it: for callers of xengnttab_fd */
    pid_t opened_by;
    pthread_mutex_t lock; /* of the list */
    struct region *regions;
};

struct xengntdev_handle *handle_open(void);
/* release: ends the pages of every region still there. A program may have unmapped those with munmap, so we do not. */
int handle_close(struct xengntdev_handle *handle, void (*release)(const uint32_t *ids, uint32_t count));

struct region *region_new(uint32_t count);
/* Maps the pages of the region in order at one address, and puts it on the handle's list. */
int region_map(struct xengntdev_handle *handle, struct region *region, int prot, uint64_t (*page)(uint32_t id));
/* The region that begins at address and has count pages, off the list and not mapped any more; or NULL, EINVAL. */
struct region *region_unmap(struct xengntdev_handle *handle, const void *address, uint32_t count);

#endif
