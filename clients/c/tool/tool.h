/* SPDX-License-Identifier: MIT */
/* The command vl2cap: what its files share. */

#ifndef VL2CAP_TOOL_H
#define VL2CAP_TOOL_H

#include "vl2cap.h"

/* Exit statuses, which are those of usbbt-guest. */
enum status {
    DONE = 0,
    REFUSED = 1,            /* by the peer or the driver domain                                                  */
    USAGE = 2,
    NO_ADAPTER = 3,
    CANNOT_WRITE = 74,
    INTERRUPTED = 130       /* by ^C                                                                             */
};

#define LARGEST_SDU 65535u

struct arguments {
    const char *command;
    struct vl2cap_address peer;
    uint16_t psm;
    bool has_psm;
    uint32_t device;
    uint32_t wait_ms, timeout_ms, linger_ms, interval_ms, seconds_ms;
    uint16_t mtu, size;
    bool has_size;
    uint32_t count;
    uint8_t transport, security;
    bool active, raw, echo, quiet, fixed;
};

/* arguments.c: returns false after it has said what is wrong. */
bool parse_arguments(char **argv, struct arguments *arguments);

/* Prints what --help or --version ask for, wherever they are. Returns whether there was one. */
bool print_what_is_asked(char *const *argv);

/* The commands. They return a status. */
int command_info(struct vl2cap *device, const struct arguments *arguments);
int command_scan(struct vl2cap *device, const struct arguments *arguments);
int command_connect(struct vl2cap *device, const struct arguments *arguments);
int command_listen(struct vl2cap *device, const struct arguments *arguments);
int command_ping(struct vl2cap *device, const struct arguments *arguments);

/* Says something on standard error. */
#ifdef __GNUC__
__attribute__((format(printf, 1, 2)))
#endif
void tell(const char *format, ...);

/* Says why the last call failed, and returns the status for that: INTERRUPTED after ^C. */
int tell_failure(const struct vl2cap *device);

/* Flushes standard output. Returns DONE, CANNOT_WRITE, or INTERRUPTED. */
int flush_output(void);

int open_channel(struct vl2cap *device, const struct arguments *arguments, struct vl2cap_object **channel);

/* The system: system_posix.c, or another's. */

/* From now on ^C makes calls that wait return, and interrupted() true; what is read and written are octets; and to write to
 * who does not read fails. Opens nothing as standard input or output that is something else. */
void prepare_system(void);
bool interrupted(void);

uint64_t now_us(void);
void sleep_us(uint64_t us);

/* Waits until the device has something to do, for `timeout_ms` at most (-1: no limit), or, with `input`, until standard
 * input has something or has ended. Returns whether it has. */
bool wait_for_input(struct vl2cap *device, bool input, int timeout_ms);

/* Reads what standard input has. Returns how many octets, 0 at its end. */
size_t read_input(void *octets, size_t size);

#endif
