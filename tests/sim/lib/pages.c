/* Grants: gntalloc's side (share), gntdev's side (map), and what Xen checks between them. */
#define _GNU_SOURCE
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static uint32_t slot_of(const struct sim_domain *domain)
{
    return (uint32_t)(domain - sim_self.world->domains);
}

static uint64_t page_of(uint32_t slot, uint32_t ref)
{
    return (uint64_t)slot * SIM_REFS + ref;
}

static struct sim_domain *own_domain(void)
{
    return &sim_self.world->domains[sim_self.domain];
}

uint64_t sim_share_page(uint32_t ref)
{
    return page_of(sim_self.domain, ref);
}

uint64_t sim_mapping_page(uint32_t mapping)
{
    return page_of(sim_self.world->mappings[mapping].domain, sim_self.world->mappings[mapping].ref);
}

/* What both drivers do when a page goes. The offset is within the page, and the file never shrinks. */
static void clear_byte(struct sim_unmap_notify *notify, uint64_t page)
{
    if (notify->byte >= 0)
        (void)!pwrite(sim_self.pages, "", 1, (off_t)(page * SIM_PAGE_SIZE) + notify->byte);
    notify->byte = -1;
}

/* domain: whose port it is */
static void send_event_locked(struct sim_unmap_notify *notify, struct sim_domain *domain)
{
    if (notify->port == SIM_NONE)
        return;
    sim_port_send(domain, notify->port);
    sim_port_drop_locked(domain, notify->port);
    notify->port = SIM_NONE;
}

static int set_notify_locked(struct sim_unmap_notify *notify, int32_t byte, uint32_t port)
{
    struct sim_domain *domain = own_domain();

    if (port != SIM_NONE && !sim_port_hold_locked(domain, port)) {
        errno = EINVAL;
        return -1;
    }
    if (notify->port != SIM_NONE)
        sim_port_drop_locked(domain, notify->port);
    notify->byte = byte;
    notify->port = port;
    return 0;
}

static void free_grant_locked(struct sim_domain *domain, uint32_t ref)
{
    domain->grants[ref].state = SIM_GRANT_FREE;
    /* Gives the memory back, and the next user of the page finds zeros. */
    fallocate(sim_self.pages, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
              (off_t)(page_of(slot_of(domain), ref) * SIM_PAGE_SIZE), SIM_PAGE_SIZE);
}

static void end_grant_locked(struct sim_domain *domain, uint32_t ref)
{
    struct sim_grant *grant = &domain->grants[ref];

    clear_byte(&grant->notify, page_of(slot_of(domain), ref));
    send_event_locked(&grant->notify, domain);
    grant->process = SIM_NONE;
    if (grant->mappings)
        grant->state = SIM_GRANT_LINGERING;
    else
        free_grant_locked(domain, ref);
}

int sim_pages_share(uint32_t domid, uint32_t count, uint32_t *refs, bool readonly)
{
    struct sim_domain *domain = own_domain();
    uint32_t found = 0;

    if (count == 0) {
        errno = EINVAL;
        return -1;
    }
    sim_lock();
    if (count <= SIM_GRANTS)
        for (uint32_t ref = SIM_FIRST_REF; ref < SIM_REFS && found < count; ref++)
            if (domain->grants[ref].state == SIM_GRANT_FREE)
                refs[found++] = ref;
    if (found == count)
        for (uint32_t i = 0; i < count; i++)
            domain->grants[refs[i]] = (struct sim_grant){
                .state = SIM_GRANT_SHARED,
                .readonly = readonly,
                .peer = (domid_t)domid,
                .process = sim_self.process,
                .notify = {.port = SIM_NONE, .byte = -1},
            };
    sim_unlock();
    if (found == count)
        return 0;
    errno = ENOSPC;
    return -1;
}

void sim_pages_unshare(const uint32_t *refs, uint32_t count)
{
    sim_lock();
    for (uint32_t i = 0; i < count; i++)
        if (own_domain()->grants[refs[i]].process == sim_self.process) /* not after the domain was destroyed */
            end_grant_locked(own_domain(), refs[i]);
    sim_unlock();
}

int sim_share_notify(uint32_t ref, int32_t byte, uint32_t port)
{
    sim_lock();
    int result = set_notify_locked(&own_domain()->grants[ref].notify, byte, port);
    sim_unlock();
    return result;
}

/* The grant that the caller's domain may use, or NULL and the GNTST_ status that Xen gives. */
static struct sim_grant *find_grant_locked(uint32_t domid, uint32_t ref, bool writing, int16_t *status)
{
    struct sim_domain *domain = sim_domain_find(domid);

    *status = GNTST_okay;
    if (!domain)
        *status = GNTST_bad_domain;
    else if (ref >= SIM_REFS)
        *status = GNTST_bad_gntref;
    else if (domain->grants[ref].state == SIM_GRANT_FREE || domain->grants[ref].peer != own_domain()->id ||
             (writing && domain->grants[ref].readonly))
        *status = GNTST_general_error;
    return *status == GNTST_okay ? &domain->grants[ref] : NULL;
}

int16_t sim_copy_page_locked(uint32_t domid, uint32_t ref, bool writing, uint64_t *page)
{
    int16_t status;

    if (find_grant_locked(domid, ref, writing, &status))
        *page = page_of(slot_of(sim_domain_find(domid)), ref);
    return status;
}

static uint32_t take_free_mapping_locked(struct sim_world *world, uint32_t *next)
{
    for (; *next < SIM_MAPPINGS; (*next)++) {
        if (*next == world->mappings_used) {
            world->mappings[*next].process = SIM_NONE;
            world->mappings_used++;
        }
        if (world->mappings[*next].process == SIM_NONE)
            return (*next)++;
    }
    return SIM_NONE;
}

static void end_mapping_locked(uint32_t index)
{
    struct sim_world *world = sim_self.world;
    struct sim_mapping *mapping = &world->mappings[index];
    struct sim_domain *granter = &world->domains[mapping->domain];
    struct sim_domain *mapper = &world->domains[world->processes[mapping->process].domain];
    struct sim_grant *grant = &granter->grants[mapping->ref];

    clear_byte(&mapping->notify, page_of(mapping->domain, mapping->ref));
    mapping->process = SIM_NONE;
    if (--grant->mappings == 0 && grant->state == SIM_GRANT_LINGERING)
        free_grant_locked(granter, mapping->ref);
    send_event_locked(&mapping->notify, mapper); /* last: whoever wakes up finds the page released */
    sim_domain_settle_locked(granter);
}

static int map_locked(uint32_t count, const uint32_t *domids, uint32_t domids_stride, const uint32_t *refs, bool writable,
                      uint32_t *mappings)
{
    struct sim_world *world = sim_self.world;
    uint32_t next = 0, done;
    int16_t status = GNTST_okay;

    for (done = 0; done < count; done++) {
        struct sim_grant *grant = find_grant_locked(domids[done * domids_stride], refs[done], writable, &status);
        uint32_t index = grant ? take_free_mapping_locked(world, &next) : SIM_NONE;

        if (index == SIM_NONE)
            break;
        mappings[done] = index;
        world->mappings[index] = (struct sim_mapping){
            .process = sim_self.process,
            .domain = slot_of(sim_domain_find(domids[done * domids_stride])),
            .ref = refs[done],
            .notify = {.port = SIM_NONE, .byte = -1},
        };
        grant->mappings++;
    }
    if (done == count)
        return 0;
    while (done--)
        end_mapping_locked(mappings[done]);
    errno = status == GNTST_okay ? ENOMEM : EINVAL; /* gntdev's mmap says EINVAL for every status of Xen's */
    return -1;
}

int sim_pages_map(uint32_t count, const uint32_t *domids, uint32_t domids_stride, const uint32_t *refs, bool writable,
                  uint32_t *mappings)
{
    sim_lock();
    int result = map_locked(count, domids, domids_stride, refs, writable, mappings);
    sim_unlock();
    return result;
}

void sim_pages_unmap(const uint32_t *mappings, uint32_t count)
{
    sim_lock();
    for (uint32_t i = 0; i < count; i++)
        if (sim_self.world->mappings[mappings[i]].process == sim_self.process)
            end_mapping_locked(mappings[i]);
    sim_unlock();
}

int sim_mapping_notify(uint32_t mapping, int32_t byte, uint32_t port)
{
    sim_lock();
    int result = set_notify_locked(&sim_self.world->mappings[mapping].notify, byte, port);
    sim_unlock();
    return result;
}

void sim_pages_leave_locked(uint32_t process)
{
    struct sim_world *world = sim_self.world;
    struct sim_domain *domain = &world->domains[world->processes[process].domain];

    for (uint32_t i = 0; i < world->mappings_used; i++)
        if (world->mappings[i].process == process)
            end_mapping_locked(i);
    for (uint32_t ref = SIM_FIRST_REF; ref < SIM_REFS; ref++)
        if (domain->grants[ref].state == SIM_GRANT_SHARED && domain->grants[ref].process == process)
            end_grant_locked(domain, ref);
}

void sim_domain_settle_locked(struct sim_domain *domain)
{
    if (domain->state != SIM_DOMAIN_DYING)
        return;
    for (uint32_t ref = SIM_FIRST_REF; ref < SIM_REFS; ref++)
        if (domain->grants[ref].state != SIM_GRANT_FREE)
            return;
    domain->state = SIM_DOMAIN_FREE;
}
