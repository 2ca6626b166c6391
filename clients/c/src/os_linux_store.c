/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE

#include "os_linux_store.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <xen/io/xs_wire.h>

#include "os.h"

struct message {
    struct xsd_sockmsg head;
    char body[XENSTORE_PAYLOAD_MAX + 1];        /* and a 0 */
};

/* Open and close ----------------------------------------------------------------------------------------------------- */

static int open_socket(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(path) >= sizeof(name.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(name.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&name, sizeof(name))) {
        int error = errno;

        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

int store_open_path(const char *path)
{
    struct stat status;

    if (stat(path, &status))
        return -1;
    return S_ISSOCK(status.st_mode) ? open_socket(path) : open(path, O_RDWR | O_CLOEXEC);
}

/* The first that is there: one that may not be opened is what people have to know of. */
const char *store_path(void)
{
    static const char *const usual[] = {"/var/run/xenstored/socket", "/dev/xen/xenbus", "/proc/xen/xenbus"};
    const char *path = getenv("XENSTORED_PATH");

    for (size_t i = 0; !path && i < sizeof(usual) / sizeof(usual[0]); i++)
        if (!access(usual[i], F_OK))
            path = usual[i];
    return path ? path : "/dev/xen/xenbus";
}

int store_open(struct store *store)
{
    store->fd = store_open_path(store_path());
    if (store->fd < 0)
        return errno == EMFILE || errno == ENFILE ? VL2CAP_EIO : VL2CAP_NO_XEN;
    store->fired = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return store->fired < 0 ? VL2CAP_EIO : 0;
}

void store_close(struct store *store)
{
    if (store->fd >= 0)
        close(store->fd);
    if (store->fired >= 0)
        close(store->fired);
}

/* Messages ----------------------------------------------------------------------------------------------------------- */

static bool read_all(int fd, void *to, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t got = read(fd, (char *)to + done, size - done);

        if (got == 0 || (got < 0 && errno != EINTR))
            return false;
        done += got > 0 ? (size_t)got : 0;
    }
    return true;
}

static bool write_all(int fd, const void *from, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t put = send(fd, (const char *)from + done, size - done, MSG_NOSIGNAL);

        if (put < 0 && errno == ENOTSOCK)
            put = write(fd, (const char *)from + done, size - done);
        if (put < 0 && errno != EINTR)
            return false;
        done += put > 0 ? (size_t)put : 0;
    }
    return true;
}

static bool receive(struct store *store, struct message *message)
{
    if (!read_all(store->fd, &message->head, sizeof(message->head)) || message->head.len > XENSTORE_PAYLOAD_MAX ||
        !read_all(store->fd, message->body, message->head.len))
        return false;
    message->body[message->head.len] = '\0';
    return true;
}

static int error_of(const char *name)
{
    static const struct {
        const char *name;
        int error;
    } errors[] = {{"ENOENT", VL2CAP_ENODEV}, {"EACCES", VL2CAP_ENODEV}, {"EPERM", VL2CAP_ENODEV},
                  {"ENOMEM", VL2CAP_ENOMEM}, {"ENOSPC", VL2CAP_ENOMEM}, {"EQUOTA", VL2CAP_ENOMEM},
                  {"EINVAL", VL2CAP_EINVAL}};

    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        if (!strcmp(name, errors[i].name))
            return errors[i].error;
    return VL2CAP_EIO;
}

/* Asks, and waits for the answer, which takes the place of the request. */
static int talk(struct store *store, uint32_t type, struct message *message)
{
    uint32_t id = ++store->last_id;

    message->head.type = type;
    message->head.req_id = id;
    message->head.tx_id = 0;
    if (!write_all(store->fd, message, sizeof(message->head) + message->head.len))
        return VL2CAP_EIO;
    do {
        if (!receive(store, message))
            return VL2CAP_EIO;
        if (message->head.type == XS_WATCH_EVENT && eventfd_write(store->fired, 1))
            return VL2CAP_EIO;
    } while (message->head.type == XS_WATCH_EVENT || message->head.req_id != id);
    return message->head.type == XS_ERROR ? error_of(message->body) : 0;
}

/* Puts a text behind what is in the message. Returns whether there is room. */
static bool put(struct message *message, const char *text, size_t length)
{
    if (length > XENSTORE_PAYLOAD_MAX - message->head.len)
        return false;
    memcpy(message->body + message->head.len, text, length);
    message->head.len += (uint32_t)length;
    return true;
}

int store_read(struct store *store, const char *path, char *value, size_t size)
{
    struct message message = {.head.len = 0};
    int error = put(&message, path, strlen(path) + 1) ? talk(store, XS_READ, &message) : VL2CAP_EINVAL;

    if (error)
        return error;
    if (message.head.len >= size || strlen(message.body) != message.head.len)
        return VL2CAP_EINVAL;
    memcpy(value, message.body, message.head.len + 1);
    return (int)message.head.len;
}

int store_write(struct store *store, const char *path, const char *value)
{
    struct message message = {.head.len = 0};

    if (!put(&message, path, strlen(path) + 1) || !put(&message, value, strlen(value)))
        return VL2CAP_EINVAL;
    return talk(store, XS_WRITE, &message);
}

static int change_watch(struct store *store, uint32_t type, const char *path, const char *token)
{
    struct message message = {.head.len = 0};

    if (!put(&message, path, strlen(path) + 1) || !put(&message, token, strlen(token) + 1))
        return VL2CAP_EINVAL;
    return talk(store, type, &message);
}

int store_watch(struct store *store, const char *path, const char *token)
{
    return change_watch(store, XS_WATCH, path, token);
}

int store_unwatch(struct store *store, const char *path, const char *token)
{
    return change_watch(store, XS_UNWATCH, path, token);
}

/* With no request under way all that comes is events, each at once and whole. */
int store_take_events(struct store *store)
{
    struct pollfd fd = {.fd = store->fd, .events = POLLIN};
    struct message message;
    eventfd_t count;
    int ready;

    eventfd_read(store->fired, &count);
    while ((ready = poll(&fd, 1, 0)) > 0)
        if (!receive(store, &message))
            return VL2CAP_EIO;
    return ready < 0 && errno != EINTR ? VL2CAP_EIO : 0;
}
