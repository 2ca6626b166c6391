/* Handles and regions of both halves of libxengnttab. */
#include "grant.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct xengntdev_handle *handle_open(void)
{
    if (sim_join())
        return NULL;
    struct xengntdev_handle *handle = calloc(1, sizeof *handle);
    if (!handle)
        return NULL;
    handle->opened_by = getpid();
    handle->file = fcntl(sim_self.pages, F_DUPFD_CLOEXEC, 0);
    pthread_mutex_init(&handle->lock, NULL);
    if (handle->file < 0) {
        free(handle);
        return NULL;
    }
    return handle;
}

int handle_close(struct xengntdev_handle *handle, void (*release)(const uint32_t *ids, uint32_t count))
{
    if (!handle)
        return 0;
    while (handle->regions) {
        struct region *region = handle->regions;

        handle->regions = region->next;
        if (sim_is_ours(handle->opened_by))
            release(region->ids, region->count);
        free(region);
    }
    pthread_mutex_destroy(&handle->lock);
    int result = close(handle->file);
    free(handle);
    return result;
}

struct region *region_new(uint32_t count)
{
    struct region *region = count <= SIM_MAPPINGS ? malloc(sizeof *region + count * sizeof region->ids[0]) : NULL;

    if (region)
        region->count = count;
    else
        errno = ENOMEM;
    return region;
}

/* How many pages from first on follow each other in the file, so that one mmap does for them. */
static uint32_t run_length(const struct region *region, uint32_t first, uint64_t (*page)(uint32_t id))
{
    uint32_t length = 1;

    while (first + length < region->count &&
           page(region->ids[first + length]) == page(region->ids[first]) + length)
        length++;
    return length;
}

static void *map_run(void *address, uint32_t length, int prot, int fixed, uint64_t start)
{
    return mmap(address, (size_t)length * SIM_PAGE_SIZE, prot, MAP_SHARED | MAP_POPULATE | fixed, sim_self.pages,
                (off_t)(start * SIM_PAGE_SIZE));
}

static int map_pages(struct region *region, int prot, uint64_t (*page)(uint32_t id))
{
    size_t size = (size_t)region->count * SIM_PAGE_SIZE;
    uint32_t length = run_length(region, 0, page);

    if (length == region->count) {
        region->address = map_run(NULL, length, prot, 0, page(region->ids[0]));
        return region->address == MAP_FAILED ? -1 : 0;
    }
    region->address = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region->address == MAP_FAILED)
        return -1;
    for (uint32_t first = 0; first < region->count; first += length) {
        char *address = (char *)region->address + (size_t)first * SIM_PAGE_SIZE;

        length = run_length(region, first, page);
        if (map_run(address, length, prot, MAP_FIXED, page(region->ids[first])) == MAP_FAILED) {
            int error = errno;
            munmap(region->address, size);
            errno = error;
            return -1;
        }
    }
    return 0;
}

int region_map(struct xengntdev_handle *handle, struct region *region, int prot, uint64_t (*page)(uint32_t id))
{
    if (map_pages(region, prot, page))
        return -1;
    pthread_mutex_lock(&handle->lock);
    region->next = handle->regions;
    handle->regions = region;
    pthread_mutex_unlock(&handle->lock);
    return 0;
}

struct region *region_unmap(struct xengntdev_handle *handle, const void *address, uint32_t count)
{
    struct region *found;

    pthread_mutex_lock(&handle->lock);
    struct region **at = &handle->regions;
    while (*at && ((*at)->address != address || (*at)->count != count))
        at = &(*at)->next;
    found = *at;
    if (found)
        *at = found->next;
    pthread_mutex_unlock(&handle->lock);
    if (found)
        munmap(found->address, (size_t)count * SIM_PAGE_SIZE);
    else
        errno = EINVAL;
    return found;
}
