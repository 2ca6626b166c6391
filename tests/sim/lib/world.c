/* The shared memory of the world, its lock, and what is put right after a process was killed inside it. */
#include "world.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

struct sim_self sim_self = {.process = SIM_NONE, .domain = SIM_NONE, .pages = -1};

int sim_world_map(int world_file, int pages_file)
{
    void *memory = mmap(NULL, sizeof(struct sim_world), PROT_READ | PROT_WRITE, MAP_SHARED, world_file, 0);

    if (memory == MAP_FAILED)
        return -1;
    sim_self.world = memory;
    sim_self.pages = pages_file;
    return 0;
}

/*
 * A killed process may have changed one of two things that belong together. Grants count their mappings, and two ports
 * point at each other: both are rebuilt from the side that was written first.
 */
static void repair(struct sim_world *world)
{
    for (uint32_t d = 0; d < SIM_DOMAINS; d++) {
        struct sim_domain *domain = &world->domains[d];

        if (domain->state == SIM_DOMAIN_FREE)
            continue;
        for (uint32_t ref = SIM_FIRST_REF; ref < SIM_REFS; ref++)
            domain->grants[ref].mappings = 0;
        for (uint32_t port = 1; port < SIM_PORTS; port++) {
            uint64_t link = domain->ports[port].link;
            struct sim_domain *other = &world->domains[sim_link_domain(link)];

            if (sim_link_state(link) == SIM_PORT_INTERDOMAIN &&
                other->ports[sim_link_port(link)].link != sim_link(SIM_PORT_INTERDOMAIN, d, port))
                domain->ports[port].link = sim_link(SIM_PORT_UNBOUND, other->id, 0);
        }
    }
    for (uint32_t i = 0; i < world->mappings_used; i++) {
        struct sim_mapping *mapping = &world->mappings[i];

        if (mapping->process != SIM_NONE)
            world->domains[mapping->domain].grants[mapping->ref].mappings++;
    }
}

void sim_lock(void)
{
    int error = pthread_mutex_lock(&sim_self.world->lock);

    if (error == EOWNERDEAD) {
        repair(sim_self.world);
        pthread_mutex_consistent(&sim_self.world->lock);
    } else if (error) {
        abort(); /* the shared memory is not a world any more */
    }
}

void sim_unlock(void)
{
    pthread_mutex_unlock(&sim_self.world->lock);
}

struct sim_domain *sim_domain_find(uint32_t domid)
{
    for (uint32_t d = 0; d < SIM_DOMAINS; d++) {
        struct sim_domain *domain = &sim_self.world->domains[d];

        if (domain->state == SIM_DOMAIN_LIVE && domain->id == domid)
            return domain;
    }
    return NULL;
}
