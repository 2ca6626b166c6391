/* Has btvirt start on kernels without AF_ALG, which containers often have: LD_PRELOAD=libalg.so. It opens a socket for
 * each of its ciphers at its start, and needs one only for LE_Encrypt and to resolve addresses, which fail here. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT int socket(int domain, int type, int protocol)
{
    if (domain == AF_ALG)
        return open("/dev/null", O_RDWR | O_CLOEXEC);
    return syscall(SYS_socket, domain, type, protocol);
}

EXPORT int bind(int fd, const struct sockaddr *address, socklen_t length)
{
    if (address->sa_family == AF_ALG)
        return 0;
    return syscall(SYS_bind, fd, address, length);
}
