/* Domains and processes come and go: called by the hypervisor process only. */
#define _GNU_SOURCE
#include "world.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void initialise(struct sim_world *world, const char *directory)
{
    pthread_mutexattr_t attributes;

    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&world->lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
    strcpy(world->directory, directory);
    for (uint32_t i = 0; i < SIM_PROCESSES; i++)
        world->processes[i].domain = SIM_NONE;
    for (uint32_t i = 0; i < SIM_HANDLES; i++)
        world->handles[i].process = SIM_NONE;
}

int sim_world_create(const char *directory, int *world_file, int *pages_file)
{
    if (strlen(directory) >= sizeof sim_self.world->directory) {
        errno = ENAMETOOLONG;
        return -1;
    }
    *world_file = memfd_create("xensim-world", MFD_CLOEXEC);
    *pages_file = memfd_create("xensim-pages", MFD_CLOEXEC);
    if (*world_file < 0 || *pages_file < 0 || ftruncate(*world_file, sizeof(struct sim_world)) ||
        ftruncate(*pages_file, (off_t)SIM_DOMAINS * SIM_REFS * SIM_PAGE_SIZE) ||
        sim_world_map(*world_file, *pages_file))
        return -1;
    initialise(sim_self.world, directory);
    return 0;
}

int sim_domain_create(uint32_t domid)
{
    int result = -1;

    if (domid >= DOMID_FIRST_RESERVED) {
        errno = EINVAL;
        return -1;
    }
    sim_lock();
    errno = ENOSPC;
    if (sim_domain_find(domid))
        errno = EEXIST;
    else
        for (uint32_t d = 0; d < SIM_DOMAINS && result; d++) {
            struct sim_domain *domain = &sim_self.world->domains[d];

            if (domain->state != SIM_DOMAIN_FREE)
                continue;
            memset(domain, 0, sizeof *domain);
            for (uint32_t port = 0; port < SIM_PORTS; port++)
                domain->ports[port].owner = domain->ports[port].ringing = SIM_NONE;
            domain->id = (domid_t)domid;
            domain->state = SIM_DOMAIN_LIVE;
            result = 0;
        }
    sim_unlock();
    return result;
}

/* Its processes have left. */
int sim_domain_destroy(uint32_t domid)
{
    sim_lock();
    struct sim_domain *domain = sim_domain_find(domid);
    if (domain) {
        sim_ports_destroy_locked(domain);
        domain->state = SIM_DOMAIN_DYING;
        sim_domain_settle_locked(domain);
    }
    sim_unlock();
    errno = ESRCH;
    return domain ? 0 : -1;
}

int sim_process_enter(uint32_t domid)
{
    struct sim_world *world = sim_self.world;
    int process = -1;

    sim_lock();
    struct sim_domain *domain = sim_domain_find(domid);
    errno = domain ? ENOSPC : ESRCH;
    for (uint32_t i = 0; domain && i < SIM_PROCESSES && process < 0; i++)
        if (world->processes[i].domain == SIM_NONE) {
            world->processes[i].domain = (uint32_t)(domain - world->domains);
            process = (int)i;
        }
    sim_unlock();
    return process;
}

void sim_process_leave(uint32_t process)
{
    sim_lock();
    /* In the kernel's order: memory first, so that unmap notifications still find their ports. */
    sim_pages_leave_locked(process);
    sim_ports_leave_locked(process);
    sim_self.world->processes[process].domain = SIM_NONE;
    sim_unlock();
}

int sim_domain_statistics(uint32_t domid, uint32_t counts[SIM_COUNTS])
{
    struct sim_world *world = sim_self.world;

    memset(counts, 0, SIM_COUNTS * sizeof counts[0]);
    sim_lock();
    struct sim_domain *domain = sim_domain_find(domid);
    if (domain) {
        uint32_t slot = (uint32_t)(domain - world->domains);

        for (uint32_t ref = SIM_FIRST_REF; ref < SIM_REFS; ref++)
            counts[SIM_COUNT_SHARED] += domain->grants[ref].state != SIM_GRANT_FREE;
        for (uint32_t i = 0; i < world->mappings_used; i++)
            counts[SIM_COUNT_MAPPED] += world->mappings[i].process != SIM_NONE &&
                                        world->processes[world->mappings[i].process].domain == slot;
        for (uint32_t port = 1; port < SIM_PORTS; port++)
            counts[SIM_COUNT_PORTS] += sim_link_state(domain->ports[port].link) != SIM_PORT_FREE;
        for (uint32_t i = 0; i < SIM_HANDLES; i++)
            counts[SIM_COUNT_HANDLES] += world->handles[i].process != SIM_NONE &&
                                         world->processes[world->handles[i].process].domain == slot;
        for (uint32_t i = 0; i < SIM_PROCESSES; i++)
            counts[SIM_COUNT_PROCESSES] += world->processes[i].domain == slot;
    }
    sim_unlock();
    errno = ESRCH;
    return domain ? 0 : -1;
}
