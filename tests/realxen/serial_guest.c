/*
 * The first and only process of a guest that has nothing but two serial ports: it runs the client's command over the
 * first, writes to the second, and turns the machine off.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define COMMAND "/vl2cap-serial"
#define LINE "/dev/ttyS0"
#define WAIT "300"

static void run(const char *const *arguments)
{
    int status = -1;
    pid_t child = fork();

    if (child == 0) {
        execv(COMMAND, (char *const *)arguments);
        _exit(127);
    }
    waitpid(child, &status, 0);
    printf("status %d\n", WEXITSTATUS(status));
    fflush(stdout);
}

int main(void)
{
    static const char *const scan[] = {COMMAND, "-l", LINE, "-w", WAIT, "-r", "-t", "15", "scan", NULL};
    static const char *const info[] = {COMMAND, "-l", LINE, "info", NULL};
    static const char *const echo[] = {COMMAND, "-l", LINE, "ping", PEER, NULL};
    static const char *const sdus[] = {COMMAND, "-l", LINE, "-z", "1000", "ping", PEER, PSM, NULL};
    static const char *const le[] = {COMMAND, "-l", LINE, "-z", "1000", "-r", "ping", LE_PEER, LE_PSM, NULL};
    int console;

    mkdir("/dev", 0755);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    console = open("/dev/ttyS1", O_RDWR);
    dup2(console, 0);
    dup2(console, 1);
    dup2(console, 2);
    run(scan);  /* the first waits until there is a controller */
    run(info);
    run(echo);
    run(sdus);
    run(le);
    puts("done");
    fflush(stdout);
    sleep(1);
    reboot(RB_POWER_OFF);
    return 0;
}
