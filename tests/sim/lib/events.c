/*
 * Event channels. A port's signal word is the pending and mask bit of Xen plus the one-entry-a-port rule of
 * /dev/xen/evtchn: an unmasked port that is notified becomes masked and its number goes into the owner's FIFO; further
 * notifications only set SIM_PENDING; unmask delivers what came meanwhile.
 */
#define _GNU_SOURCE
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* The FIFOs that this process has written to, by handle. */
static struct {
    uint32_t number;
    int file; /* 0: none */
} fifos[SIM_HANDLES];
static pthread_mutex_t fifos_lock = PTHREAD_MUTEX_INITIALIZER;

static void fifo_path(char path[128], uint32_t number)
{
    snprintf(path, 128, "%s/evtchn.%u", sim_self.world->directory, number);
}

static void write_to_fifo(uint32_t index, uint32_t port)
{
    struct sim_handle *handle = &sim_self.world->handles[index];
    uint32_t number = handle->number;

    pthread_mutex_lock(&fifos_lock);
    if (!fifos[index].file || fifos[index].number != number) {
        char path[128];

        if (fifos[index].file)
            close(fifos[index].file);
        fifo_path(path, number);
        /* Not O_WRONLY: a reader that dies meanwhile must not raise SIGPIPE here. */
        fifos[index].file = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (fifos[index].file <= 0)
            fifos[index].file = 0; /* closed meanwhile */
        fifos[index].number = number;
    }
    if (fifos[index].file && write(fifos[index].file, &port, sizeof port) < 0 && errno == EAGAIN)
        handle->overflown = 1;
    pthread_mutex_unlock(&fifos_lock);
}

/* Of all who see a port without SIM_MASKED, the one that set SIM_PENDING calls this. */
static void ring(struct sim_port *port, uint32_t number)
{
    port->signal = SIM_MASKED;
    uint32_t owner = port->owner;
    if (owner != SIM_NONE)
        write_to_fifo(owner, number);
    port->ringing = SIM_NONE;
}

static void signal_port(struct sim_port *port, uint32_t number)
{
    atomic_store_explicit(&port->ringing, sim_self.process, memory_order_relaxed);
    if (atomic_fetch_or(&port->signal, SIM_PENDING) == 0)
        ring(port, number);
    else
        atomic_store_explicit(&port->ringing, SIM_NONE, memory_order_relaxed);
}

/* What the hypervisor does on EVTCHNOP_send. A port that is unbound drops it. */
void sim_port_send(struct sim_domain *domain, uint32_t port)
{
    uint64_t link = domain->ports[port].link;

    if (sim_link_state(link) == SIM_PORT_INTERDOMAIN) {
        struct sim_domain *other = &sim_self.world->domains[sim_link_domain(link)];

        signal_port(&other->ports[sim_link_port(link)], sim_link_port(link));
    }
}

static struct sim_domain *own_domain(void)
{
    return &sim_self.world->domains[sim_self.domain];
}

int sim_port_notify(uint32_t handle, uint32_t port)
{
    struct sim_domain *domain = own_domain();

    if (port >= SIM_PORTS) {
        errno = EINVAL;
        return -1;
    }
    if (domain->ports[port].owner != handle) {
        errno = ENOTCONN;
        return -1;
    }
    sim_port_send(domain, port);
    return 0;
}

void sim_port_unmask(uint32_t handle, uint32_t number)
{
    struct sim_port *port = &own_domain()->ports[number < SIM_PORTS ? number : 0];
    uint32_t masked = SIM_MASKED;

    /* As the driver does: a port that is not the caller's, or not masked, is no error. */
    if (port->owner != handle || !(port->signal & SIM_MASKED))
        return;
    if (!atomic_compare_exchange_strong(&port->signal, &masked, 0))
        ring(port, number);
}

int sim_handle_open(uint32_t *handle)
{
    struct sim_world *world = sim_self.world;
    uint32_t index = 0;
    char path[128];
    int file = -1;

    sim_lock();
    while (index < SIM_HANDLES && world->handles[index].process != SIM_NONE)
        index++;
    if (index == SIM_HANDLES) {
        errno = ENOMEM;
    } else {
        world->handles[index].number = world->next_handle_number++;
        world->handles[index].overflown = 0;
        fifo_path(path, world->handles[index].number);
        /* Open for writing too: without a writer it would be readable for ever. */
        if (mkfifo(path, 0600) == 0)
            file = open(path, O_RDWR | O_CLOEXEC);
        if (file >= 0)
            world->handles[index].process = sim_self.process;
    }
    sim_unlock();
    *handle = index;
    return file;
}

static void close_handle_locked(uint32_t index)
{
    struct sim_handle *handle = &sim_self.world->handles[index];
    struct sim_domain *domain = &sim_self.world->domains[sim_self.world->processes[handle->process].domain];
    char path[128];

    for (uint32_t port = 1; port < SIM_PORTS; port++)
        if (domain->ports[port].owner == index) {
            domain->ports[port].owner = SIM_NONE;
            sim_port_drop_locked(domain, port);
        }
    fifo_path(path, handle->number);
    unlink(path);
    handle->process = SIM_NONE;
}

void sim_handle_close(uint32_t handle)
{
    sim_lock();
    if (sim_self.world->handles[handle].process == sim_self.process) /* not after the domain was destroyed */
        close_handle_locked(handle);
    sim_unlock();
}

static int take_free_port_locked(struct sim_domain *domain, uint32_t handle)
{
    for (uint32_t number = 1; number < SIM_PORTS; number++) {
        struct sim_port *port = &domain->ports[number];

        if (sim_link_state(port->link) == SIM_PORT_FREE) {
            port->signal = 0;
            port->ringing = SIM_NONE;
            port->holds = 1;
            port->owner = handle;
            return (int)number;
        }
    }
    errno = ENOSPC;
    return -1;
}

int sim_port_allocate(uint32_t handle, uint32_t remote_domid)
{
    struct sim_domain *domain = own_domain();
    uint32_t peer = remote_domid == DOMID_SELF ? domain->id : (domid_t)remote_domid;

    sim_lock();
    int port = take_free_port_locked(domain, handle);
    if (port > 0)
        domain->ports[port].link = sim_link(SIM_PORT_UNBOUND, peer, 0);
    sim_unlock();
    return port;
}

static int connect_locked(uint32_t handle, uint32_t remote_domid, uint32_t remote_port)
{
    struct sim_world *world = sim_self.world;
    struct sim_domain *domain = own_domain();
    struct sim_domain *other = remote_domid == DOMID_SELF ? domain : sim_domain_find(remote_domid);

    if (!other) {
        errno = ESRCH;
        return -1;
    }
    if (remote_port >= SIM_PORTS || other->ports[remote_port].link != sim_link(SIM_PORT_UNBOUND, domain->id, 0)) {
        errno = EINVAL;
        return -1;
    }
    int port = take_free_port_locked(domain, handle);
    if (port < 0)
        return -1;
    domain->ports[port].link = sim_link(SIM_PORT_INTERDOMAIN, (uint32_t)(other - world->domains), remote_port);
    other->ports[remote_port].link = sim_link(SIM_PORT_INTERDOMAIN, sim_self.domain, (uint32_t)port);
    return port;
}

int sim_port_connect(uint32_t handle, uint32_t remote_domid, uint32_t remote_port)
{
    sim_lock();
    int port = connect_locked(handle, remote_domid, remote_port);
    sim_unlock();
    /* Xen: "We may have lost notifications on the remote unbound port", so it conservatively sets one here. */
    if (port > 0)
        signal_port(&own_domain()->ports[port], (uint32_t)port);
    return port;
}

int sim_port_unbind(uint32_t handle, uint32_t port)
{
    struct sim_domain *domain = own_domain();
    int result = 0;

    if (port >= SIM_PORTS) {
        errno = EINVAL;
        return -1;
    }
    sim_lock();
    if (domain->ports[port].owner == handle) {
        domain->ports[port].owner = SIM_NONE;
        sim_port_drop_locked(domain, port);
    } else {
        errno = ENOTCONN;
        result = -1;
    }
    sim_unlock();
    return result;
}

/* Linux counts the users of an event channel: one that an unmap notification needs outlives its handle. */
bool sim_port_hold_locked(struct sim_domain *domain, uint32_t port)
{
    if (port == 0 || port >= SIM_PORTS || sim_link_state(domain->ports[port].link) == SIM_PORT_FREE)
        return false;
    domain->ports[port].holds++;
    return true;
}

static void close_port_locked(struct sim_domain *domain, uint32_t number)
{
    uint64_t link = domain->ports[number].link;

    domain->ports[number].owner = SIM_NONE;
    domain->ports[number].link = sim_link(SIM_PORT_FREE, 0, 0);
    if (sim_link_state(link) == SIM_PORT_INTERDOMAIN) {
        struct sim_port *other = &sim_self.world->domains[sim_link_domain(link)].ports[sim_link_port(link)];

        if (other != &domain->ports[number])
            other->link = sim_link(SIM_PORT_UNBOUND, domain->id, 0);
    }
}

void sim_port_drop_locked(struct sim_domain *domain, uint32_t port)
{
    if (--domain->ports[port].holds == 0)
        close_port_locked(domain, port);
}

/* The other end of a port whose process died half way through a notification would stay masked for ever. */
static void finish_ringing(uint64_t link, uint32_t process)
{
    if (sim_link_state(link) != SIM_PORT_INTERDOMAIN)
        return;
    struct sim_port *other = &sim_self.world->domains[sim_link_domain(link)].ports[sim_link_port(link)];
    if (other->ringing == process && other->signal)
        ring(other, sim_link_port(link));
}

void sim_ports_leave_locked(uint32_t process)
{
    struct sim_world *world = sim_self.world;
    struct sim_domain *domain = &world->domains[world->processes[process].domain];

    for (uint32_t port = 1; port < SIM_PORTS; port++)
        if (domain->ports[port].owner != SIM_NONE && world->handles[domain->ports[port].owner].process == process)
            finish_ringing(domain->ports[port].link, process);
    for (uint32_t handle = 0; handle < SIM_HANDLES; handle++)
        if (world->handles[handle].process == process)
            close_handle_locked(handle);
}

void sim_ports_destroy_locked(struct sim_domain *domain)
{
    for (uint32_t port = 1; port < SIM_PORTS; port++)
        if (sim_link_state(domain->ports[port].link) != SIM_PORT_FREE)
            close_port_locked(domain, port);
}
