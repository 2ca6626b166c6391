/* Preloaded: the calls by which a file gets onto the disk, told to whoever listens, and cut off at the one that is asked for.
 *
 * A write can end before it, or in its middle. What is told, a line each: open FD FLAGS NAME, write FD OCTETS-IN-HEX,
 * fsync FD, rename OLD NEW, unlink NAME. A call that is missing here changes files in a way that the listener does not know of: it
 * compares, in the end, what it has heard with what is there.
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CUT 77

static int listener = -1;
static int steps = -1; /* until the end; negative: there is none */

void power_loss_after(int more, int fd)
{
    steps = more;
    listener = fd;
}

static int due(void)
{
    return steps >= 0 && steps-- == 0;
}

static void tell(const char *text, int length)
{
    if (listener >= 0 && syscall(SYS_write, listener, text, length) != length)
        _exit(1);
}

int openat64(int directory, const char *name, int flags, ...)
{
    char line[4200];
    va_list more;
    int mode = 0, fd;

    if (flags & O_CREAT) {
        va_start(more, flags);
        mode = va_arg(more, int);
        va_end(more);
    }
    if (due())
        _exit(CUT);
    fd = syscall(SYS_openat, directory, name, flags, mode);
    if (fd >= 0)
        tell(line, snprintf(line, sizeof line, "open %d %d %s\n", fd, flags, name));
    return fd;
}

ssize_t write(int fd, const void *data, size_t size)
{
    char line[1 << 14];
    const unsigned char *octets = data;
    ssize_t written;
    int length;

    if (due())
        _exit(CUT);
    if (due())
        _exit(syscall(SYS_write, fd, data, size / 2) < 0 ? 1 : CUT);
    written = syscall(SYS_write, fd, data, size);
    length = snprintf(line, sizeof line, "write %d ", fd);
    for (ssize_t i = 0; i < written && length < (int)sizeof line - 3; i++)
        length += snprintf(line + length, 3, "%02x", octets[i]);
    line[length++] = '\n';
    tell(line, length);
    return written;
}

int fsync(int fd)
{
    char line[40];
    int result;

    if (due())
        _exit(CUT);
    result = syscall(SYS_fsync, fd);
    tell(line, snprintf(line, sizeof line, "fsync %d\n", fd));
    return result;
}

int renameat(int old_directory, const char *old, int new_directory, const char *new)
{
    char line[8400];
    int result;

    if (due())
        _exit(CUT);
    result = syscall(SYS_renameat2, old_directory, old, new_directory, new, 0);
    if (result == 0)
        tell(line, snprintf(line, sizeof line, "rename %s %s\n", old, new));
    return result;
}

int unlinkat(int directory, const char *name, int flags)
{
    char line[4200];
    int result;

    if (due())
        _exit(CUT);
    result = syscall(SYS_unlinkat, directory, name, flags);
    if (result == 0)
        tell(line, snprintf(line, sizeof line, "unlink %s\n", name));
    return result;
}
