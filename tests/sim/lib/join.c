/* How a process enters the world: once, by a connection that the daemon sees end when the process does. */
#define _GNU_SOURCE
#include "world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static pthread_mutex_t join_lock = PTHREAD_MUTEX_INITIALIZER;
static int connection = -1;

/* A child of fork() is no process of the world until it opens a handle of its own. */
static void forget(void)
{
    close(connection);
    connection = -1;
    sim_self.world = NULL;
}

bool sim_is_ours(pid_t opened_by)
{
    return opened_by == getpid();
}

static int receive_welcome(struct sim_welcome *welcome, int files[2])
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(2 * sizeof(int))];
    } control;
    struct iovec vector = {.iov_base = welcome, .iov_len = sizeof *welcome};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};

    if (recvmsg(connection, &message, MSG_CMSG_CLOEXEC) != sizeof *welcome) {
        errno = ECONNREFUSED;
        return -1;
    }
    if (welcome->error) {
        errno = welcome->error;
        return -1;
    }
    memcpy(files, CMSG_DATA(CMSG_FIRSTHDR(&message)), 2 * sizeof(int));
    return 0;
}

static int greet(const char *directory, uint32_t domid)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct sim_welcome welcome;
    int files[2];

    if (snprintf(address.sun_path, sizeof address.sun_path, "%s/hypervisor", directory) >=
        (int)sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (connect(connection, (struct sockaddr *)&address, sizeof address) ||
        send(connection, &domid, sizeof domid, MSG_NOSIGNAL) != sizeof domid || receive_welcome(&welcome, files))
        return -1;
    int result = sim_world_map(files[0], files[1]);
    close(files[0]);
    if (result)
        return -1;
    sim_self.process = welcome.process;
    sim_self.domain = sim_self.world->processes[welcome.process].domain;
    return 0;
}

static int join_locked(void)
{
    const char *directory = getenv("XENSIM_DIR");
    const char *domid = getenv("XENSIM_DOMID");
    static bool watching_forks;

    if (sim_self.world)
        return 0;
    if (!directory || !domid) {
        errno = ENOENT; /* as if there were no /dev/xen */
        return -1;
    }
    connection = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (connection < 0)
        return -1;
    if (greet(directory, (uint32_t)strtoul(domid, NULL, 10))) {
        int error = errno;
        close(connection);
        errno = error;
        return -1;
    }
    if (!watching_forks)
        pthread_atfork(NULL, NULL, forget);
    watching_forks = true;
    return 0;
}

int sim_join(void)
{
    pthread_mutex_lock(&join_lock);
    int result = join_locked();
    pthread_mutex_unlock(&join_lock);
    return result;
}
