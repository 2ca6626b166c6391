/* SPDX-License-Identifier: MIT */
/* vl2cap: the Bluetooth adapter of a Xen guest, from the shell. See vl2cap(1). */

#include "tool.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void tell(const char *format, ...)
{
    va_list arguments;

    fputs("vl2cap: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

int tell_failure(const struct vl2cap *device)
{
    if (interrupted())
        return INTERRUPTED;
    tell("%s", vl2cap_failure(device)->text);
    return vl2cap_failure(device)->error == VL2CAP_EINVAL ? USAGE : REFUSED;
}

int flush_output(void)
{
    if (!fflush(stdout) && !ferror(stdout))
        return DONE;
    if (interrupted())
        return INTERRUPTED;
    tell("cannot write standard output");
    return CANNOT_WRITE;
}

static int run(struct vl2cap *device, const struct arguments *arguments)
{
    static const struct {
        const char *name;
        int (*run)(struct vl2cap *device, const struct arguments *arguments);
    } commands[] = {{"info", command_info},
                    {"scan", command_scan},
                    {"connect", command_connect},
                    {"listen", command_listen},
                    {"ping", command_ping}};
    bool powered = strcmp(arguments->command, "info") != 0;
    int error = powered ? vl2cap_wait_ready(device, (int)arguments->wait_ms)
                        : vl2cap_wait_connected(device, (int)arguments->wait_ms);

    if (error)
        return tell_failure(device) == INTERRUPTED ? INTERRUPTED : NO_ADAPTER;
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (!strcmp(arguments->command, commands[i].name))
            return commands[i].run(device, arguments);
    return USAGE;
}

int main(int argc, char **argv)
{
    struct vl2cap_options options = {0};
    struct arguments arguments;
    struct vl2cap *device;
    char text[256];
    int status, error;

    (void)argc;
    prepare_system();
    if (print_what_is_asked(argv))
        return flush_output();
    if (!parse_arguments(argv, &arguments))
        return USAGE;
    options.device = arguments.device;
    error = vl2cap_open(&device, &options);
    if (error) {
        vl2cap_explain_open(error, text, sizeof(text));
        tell("device/vl2cap/%u: %s", (unsigned)arguments.device, text);
        return NO_ADAPTER;
    }
    status = run(device, &arguments);
    vl2cap_close(device);
    return status == DONE ? flush_output() : status;
}
