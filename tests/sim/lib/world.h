/*
 * The world: what Xen and the kernels of all domains know, in memory that every process of every domain shares.
 *
 * Two anonymous files, made by the daemon and handed to each process over its control connection:
 *   world   struct sim_world below
 *   pages   every grantable page; page of reference R in domain slot D is number D * SIM_REFS + R
 *
 * One lock guards everything except what is _Atomic: notify, pending and unmask never take it. The lock is robust: who
 * takes it after a process was killed inside puts the derived fields right first (sim_repair).
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <xen/xen.h>
#include <xen/event_channel.h>
#include <xen/grant_table.h>

#define SIM_API __attribute__((visibility("default")))

#define SIM_PAGE_SIZE 4096u
#define SIM_DOMAINS 128u
#define SIM_PROCESSES 512u
#define SIM_HANDLES 1024u   /* open event channel handles */
#define SIM_PORTS 4096u     /* a domain; as Xen's 2-level ABI on 64 bits */
#define SIM_FIRST_REF 8u    /* Linux reserves the first eight references */
#define SIM_GRANTS 1024u    /* a domain; gntalloc's default limit */
#define SIM_REFS (SIM_FIRST_REF + SIM_GRANTS)
#define SIM_MAPPINGS 65536u /* pages mapped at one time, all domains together */
#define SIM_NONE UINT32_MAX

enum sim_port_state { SIM_PORT_FREE, SIM_PORT_UNBOUND, SIM_PORT_INTERDOMAIN };

#define SIM_PENDING 1u /* notified since it was masked */
#define SIM_MASKED 2u  /* in the owner's FIFO, or taken from it and not unmasked yet */

struct sim_port {
    _Atomic uint64_t link;    /* sim_link(): state and the other end, in one word for notify */
    _Atomic uint32_t signal;  /* SIM_PENDING | SIM_MASKED */
    _Atomic uint32_t owner;   /* handle; SIM_NONE when only held */
    _Atomic uint32_t ringing; /* process between setting SIM_PENDING and writing to the FIFO; SIM_NONE */
    uint32_t holds;           /* the owner and every unmap notification; the last one closes the port */
};

enum sim_grant_state {
    SIM_GRANT_FREE,
    SIM_GRANT_SHARED,
    SIM_GRANT_LINGERING /* given up by the granter while it is still mapped: freed by the last unmap */
};

struct sim_unmap_notify {
    uint32_t port; /* of the domain that asked; SIM_NONE */
    int32_t byte;  /* offset in the page; -1 */
};

struct sim_grant {
    uint8_t state;
    uint8_t readonly;
    domid_t peer;
    uint32_t process;  /* the granter */
    uint32_t mappings; /* derived: the number of sim_mapping that name this grant */
    struct sim_unmap_notify notify;
};

struct sim_mapping {
    uint32_t process; /* the mapper; SIM_NONE: free */
    uint32_t domain;  /* slot of the granter */
    uint32_t ref;
    struct sim_unmap_notify notify;
};

struct sim_process {
    uint32_t domain; /* slot; SIM_NONE: free */
};

struct sim_handle {
    uint32_t process;           /* SIM_NONE: free */
    uint32_t number;            /* never used twice: the name of its FIFO is evtchn.<number> */
    _Atomic uint32_t overflown; /* an event found the FIFO full: pending fails with EFBIG from then on */
};

enum sim_domain_state {
    SIM_DOMAIN_FREE,
    SIM_DOMAIN_LIVE,
    SIM_DOMAIN_DYING /* destroyed while others map its pages: Xen's zombie */
};

struct sim_domain {
    _Atomic uint32_t state;
    domid_t id;
    struct sim_port ports[SIM_PORTS]; /* port 0 is never given out */
    struct sim_grant grants[SIM_REFS];
};

struct sim_world {
    pthread_mutex_t lock;
    char directory[96]; /* FIFOs and sockets; bounded by sun_path */
    uint32_t next_handle_number;
    uint32_t mappings_used; /* no mapping at or above this index was ever taken */
    struct sim_process processes[SIM_PROCESSES];
    struct sim_handle handles[SIM_HANDLES];
    struct sim_mapping mappings[SIM_MAPPINGS];
    struct sim_domain domains[SIM_DOMAINS];
};

/* This process. */
struct sim_self {
    struct sim_world *world; /* NULL: not joined */
    uint32_t process;
    uint32_t domain; /* slot */
    int pages;       /* file of the pages */
};

SIM_API extern struct sim_self sim_self;

static inline uint64_t sim_link(enum sim_port_state state, uint32_t domain, uint32_t port)
{
    return (uint64_t)state << 48 | (uint64_t)domain << 32 | port;
}

static inline enum sim_port_state sim_link_state(uint64_t link) { return (enum sim_port_state)(link >> 48); }
/* UNBOUND: the domid that may bind. INTERDOMAIN: the other end's domain slot. */
static inline uint32_t sim_link_domain(uint64_t link) { return (uint32_t)(link >> 32) & 0xffff; }
static inline uint32_t sim_link_port(uint64_t link) { return (uint32_t)link; }

/*
 * Functions that return int give 0 or more, or -1 with errno, unless they say otherwise.
 * "_locked": the caller holds the lock.
 */

/* join.c: the client's side of the control connection */
SIM_API int sim_join(void);
SIM_API bool sim_is_ours(pid_t opened_by); /* false in a child that was forked after the handle was opened */

/* world.c */
int sim_world_map(int world_file, int pages_file);
SIM_API void sim_lock(void);
SIM_API void sim_unlock(void);
struct sim_domain *sim_domain_find(uint32_t domid); /* a live one; NULL */

/* events.c */
SIM_API int sim_handle_open(uint32_t *handle);      /* a new readable file */
SIM_API void sim_handle_close(uint32_t handle);     /* closes its ports; the file is the caller's */
SIM_API int sim_port_allocate(uint32_t handle, uint32_t remote_domid);
SIM_API int sim_port_connect(uint32_t handle, uint32_t remote_domid, uint32_t remote_port);
SIM_API int sim_port_unbind(uint32_t handle, uint32_t port);
SIM_API int sim_port_notify(uint32_t handle, uint32_t port);
SIM_API void sim_port_unmask(uint32_t handle, uint32_t port);
bool sim_port_hold_locked(struct sim_domain *domain, uint32_t port);
void sim_port_drop_locked(struct sim_domain *domain, uint32_t port);
void sim_port_send(struct sim_domain *domain, uint32_t port);
void sim_ports_leave_locked(uint32_t process);
void sim_ports_destroy_locked(struct sim_domain *domain);

/* pages.c */
SIM_API int sim_pages_share(uint32_t domid, uint32_t count, uint32_t *refs, bool readonly);
SIM_API void sim_pages_unshare(const uint32_t *refs, uint32_t count);
SIM_API int sim_share_notify(uint32_t ref, int32_t byte, uint32_t port);
SIM_API int sim_pages_map(uint32_t count, const uint32_t *domids, uint32_t domids_stride, const uint32_t *refs,
                          bool writable, uint32_t *mappings);
SIM_API void sim_pages_unmap(const uint32_t *mappings, uint32_t count);
SIM_API int sim_mapping_notify(uint32_t mapping, int32_t byte, uint32_t port);
SIM_API uint64_t sim_share_page(uint32_t ref);       /* page numbers, for mmap */
SIM_API uint64_t sim_mapping_page(uint32_t mapping);
/* Page a grant copy may touch now: 0 and *page, or a GNTST_ status. */
SIM_API int16_t sim_copy_page_locked(uint32_t domid, uint32_t ref, bool writing, uint64_t *page);
void sim_pages_leave_locked(uint32_t process);
void sim_domain_settle_locked(struct sim_domain *domain);

/* daemon.c: what only the hypervisor process calls */
SIM_API int sim_world_create(const char *directory, int *world_file, int *pages_file);
SIM_API int sim_domain_create(uint32_t domid);
SIM_API int sim_domain_destroy(uint32_t domid);
SIM_API int sim_process_enter(uint32_t domid);
SIM_API void sim_process_leave(uint32_t process);
enum { SIM_COUNT_SHARED, SIM_COUNT_MAPPED, SIM_COUNT_PORTS, SIM_COUNT_HANDLES, SIM_COUNT_PROCESSES, SIM_COUNTS };
SIM_API int sim_domain_statistics(uint32_t domid, uint32_t counts[SIM_COUNTS]);

/* The greeting on the control connection: the client sends its domid, the daemon answers with this and the two files. */
struct sim_welcome {
    int32_t error; /* an errno of ours; 0 */
    uint32_t process;
};

#endif
