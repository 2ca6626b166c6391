/* SPDX-License-Identifier: MIT */
/* The arguments of the command. */

#include "tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum command { INFO = 1, SCAN = 2, CONNECT = 4, LISTEN = 8, PING = 16, ALL = 31 };

enum option { DEVICE, WAIT, TIMEOUT, LE, SECURITY, MTU, RAW, LINGER, ECHO, ACTIVE, SECONDS, COUNT, SIZE, INTERVAL, QUIET, FIXED };

static const struct {
    const char *name;
    enum option option;
    unsigned commands;
    bool has_value;
} options[] = {
    {"--device", DEVICE, ALL, true},
    {"--wait", WAIT, ALL, true},
    {"--timeout", TIMEOUT, CONNECT | PING, true},
    {"--le", LE, CONNECT | PING, true},
    {"--le", LE, LISTEN, false},
    {"--security", SECURITY, CONNECT | LISTEN | PING, true},
    {"--mtu", MTU, CONNECT | LISTEN | PING, true},
    {"--raw", RAW, CONNECT | LISTEN, false},
    {"--linger", LINGER, CONNECT | LISTEN, true},
    {"--echo", ECHO, LISTEN, false},
    {"--fixed", FIXED, CONNECT | PING, false},
    {"--active", ACTIVE, SCAN, false},
    {"--seconds", SECONDS, SCAN, true},
    {"--count", COUNT, PING, true},
    {"--size", SIZE, PING, true},
    {"--interval", INTERVAL, PING, true},
    {"--quiet", QUIET, PING, false},
};

static const struct {
    const char *name;
    uint8_t level;
} levels[] = {
    {"none", VL2CAP_SECURITY_NONE},          {"encrypted", VL2CAP_SECURITY_ENCRYPTED},
    {"authenticated", VL2CAP_SECURITY_MITM}, {"mitm", VL2CAP_SECURITY_MITM},
    {"secure", VL2CAP_SECURITY_SC},          {"sc", VL2CAP_SECURITY_SC},
};

static const struct {
    const char *name;
    enum command command;
    const char *usage;
} commands[] = {
    {"info", INFO, ""},
    {"scan", SCAN, " [--seconds N] [--active]"},
    {"connect", CONNECT,
     " [--le TYPE] [--fixed] [--timeout S] [--security LEVEL] [--mtu BYTES] [--raw] [--linger S] ADDRESS PSM"},
    {"listen", LISTEN, " [--le] [--security LEVEL] [--echo] [--mtu BYTES] [--raw] [--linger S] PSM"},
    {"ping", PING,
     " [--le TYPE] [--fixed] [--timeout S] [--security LEVEL] [--mtu BYTES] [--count N] [--size BYTES]\n"
     "                   [--interval S] [--quiet] ADDRESS [PSM]"},
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Of the commands in a set. */
static void print_usage(FILE *file, unsigned of)
{
    const char *head = "usage:";

    for (size_t i = 0; i < COUNT_OF(commands); i++)
        if (commands[i].command & of) {
            fprintf(file, "%-6s vl2cap %s%s\n", head, commands[i].name, commands[i].usage);
            head = "";
        }
    fputs("All take --device N, --wait S, --help and --version. See vl2cap(1).\n", file);
}

bool print_what_is_asked(char *const *argv)
{
    while (*++argv) {
        if (!strcmp(*argv, "--version"))
            puts("vl2cap " VL2CAP_VERSION);
        else if (!strcmp(*argv, "--help"))
            print_usage(stdout, ALL);
        else
            continue;
        return true;
    }
    return false;
}

static bool parse_number(const char *name, const char *text, unsigned long lowest, unsigned long highest, unsigned long *number)
{
    char *end;

    *number = strtoul(text, &end, 0);
    if (*text >= '0' && *text <= '9' && !*end && *number >= lowest && *number <= highest)
        return true;
    tell("%s is %s: it must be a number from %lu to %lu", name, text, lowest, highest);
    return false;
}

static bool parse_seconds(const char *name, const char *text, uint32_t highest_s, uint32_t *ms)
{
    char *end;
    double seconds = strtod(text, &end);

    if (((*text >= '0' && *text <= '9') || *text == '.') && !*end && seconds >= 0 && seconds <= highest_s) {
        *ms = (uint32_t)(seconds * 1000 + 0.5);
        return true;
    }
    tell("%s is %s: it must be a number of seconds, at most %u", name, text, (unsigned)highest_s);
    return false;
}

static bool parse_level(const char *text, uint8_t *level)
{
    for (size_t i = 0; i < COUNT_OF(levels); i++)
        if (!strcmp(text, levels[i].name)) {
            *level = levels[i].level;
            return true;
        }
    tell("--security is %s: it must be none, encrypted, authenticated or mitm, secure or sc", text);
    return false;
}

static bool parse_le(const char *text, struct arguments *arguments)
{
    arguments->transport = VL2CAP_TRANSPORT_LE;
    if (!text)
        return true;
    arguments->peer.type = !strcmp(text, "public") ? VL2CAP_LE_PUBLIC : VL2CAP_LE_RANDOM;
    if (!strcmp(text, "public") || !strcmp(text, "random"))
        return true;
    tell("--le is %s: it must be public or random", text);
    return false;
}

static bool set_option(enum option option, const char *value, struct arguments *arguments)
{
    unsigned long number = 0;
    bool good = true;

    switch (option) {
    case DEVICE:
        good = parse_number("--device", value, 0, 0xffff, &number);
        arguments->device = (uint32_t)number;
        break;
    case WAIT:
        return parse_seconds("--wait", value, 86400, &arguments->wait_ms);
    case TIMEOUT:
        return parse_seconds("--timeout", value, 60, &arguments->timeout_ms);
    case LINGER:
        return parse_seconds("--linger", value, 86400, &arguments->linger_ms);
    case SECONDS:
        return parse_seconds("--seconds", value, 86400, &arguments->seconds_ms);
    case INTERVAL:
        return parse_seconds("--interval", value, 86400, &arguments->interval_ms);
    case LE:
        return parse_le(value, arguments);
    case SECURITY:
        return parse_level(value, &arguments->security);
    case MTU:
        good = parse_number("--mtu", value, 23, 0xffff, &number);
        arguments->mtu = (uint16_t)number;
        break;
    case SIZE:
        good = parse_number("--size", value, 0, 0xffff, &number);
        arguments->size = (uint16_t)number;
        arguments->has_size = true;
        break;
    case COUNT:
        good = parse_number("--count", value, 1, 1000000, &number);
        arguments->count = (uint32_t)number;
        break;
    case RAW:
        arguments->raw = true;
        break;
    case ECHO:
        arguments->echo = true;
        break;
    case ACTIVE:
        arguments->active = true;
        break;
    case QUIET:
        arguments->quiet = true;
        break;
    case FIXED:
        arguments->fixed = true;
        break;
    }
    return good;
}

static bool parse_option(enum command command, char ***argument, struct arguments *arguments)
{
    for (size_t i = 0; i < COUNT_OF(options); i++) {
        if (strcmp(**argument, options[i].name) != 0 || !(options[i].commands & (unsigned)command))
            continue;
        if (options[i].has_value && !*++*argument) {
            tell("%s needs a value", options[i].name);
            return false;
        }
        return set_option(options[i].option, options[i].has_value ? **argument : NULL, arguments);
    }
    tell("there is no option %s of this command", **argument);
    print_usage(stderr, command);
    return false;
}

static bool set_words(enum command command, char *const *words, unsigned count, struct arguments *arguments)
{
    bool needs_peer = command & (CONNECT | PING), needs_psm = command & (CONNECT | LISTEN);
    unsigned least = (unsigned)needs_peer + needs_psm, most = (unsigned)needs_peer + (needs_psm || command == PING);
    unsigned long number;

    if (count < least || count > most) {
        if (count > most)
            tell("there is one word too many: %s", words[most]);
        else
            tell("%s is missing", count || !needs_peer ? "a PSM" : "an ADDRESS");
        print_usage(stderr, command);
        return false;
    }
    if (needs_peer && vl2cap_address_parse(*words++, arguments->peer.type, &arguments->peer)) {
        tell("%s is not a Bluetooth address: write it like C0:FF:EE:00:00:11", words[-1]);
        return false;
    }
    if (count < needs_peer + 1u)
        return true;
    if (!parse_number("PSM", *words, 0, 0xffff, &number))
        return false;
    arguments->psm = (uint16_t)number;
    arguments->has_psm = true;
    return true;
}

static bool complete(enum command command, struct arguments *arguments)
{
    uint16_t mtu = arguments->mtu ? arguments->mtu : 2048;

    if (command != PING)
        return true;
    if (!arguments->has_psm && arguments->transport == VL2CAP_TRANSPORT_LE) {
        tell("LE has no L2CAP echo: name an SPSM that echoes");
        return false;
    }
    if (!arguments->has_size)
        arguments->size = arguments->has_psm ? 64 : VL2CAP_ECHO_DATA;
    if (arguments->has_psm ? arguments->size > mtu : arguments->size > VL2CAP_ECHO_DATA) {
        tell("an echo of %u bytes; %u fit", (unsigned)arguments->size, arguments->has_psm ? mtu : VL2CAP_ECHO_DATA);
        return false;
    }
    return true;
}

/* Whether an option, of any command, has a value behind it. */
static bool takes_value(char *const *argument)
{
    for (size_t i = 0; i < COUNT_OF(options); i++)
        if (options[i].has_value && !strcmp(*argument, options[i].name))
            return options[i].option != LE || (argument[1] && (!strcmp(argument[1], "public") || !strcmp(argument[1], "random")));
    return false;
}

/* Returns the command, which may stand behind options, and where it stands; 0 after it has said what is wrong. */
static enum command find_command(char *const *argv, char *const **at)
{
    char *const *argument = argv + 1;

    while (*argument && !strncmp(*argument, "--", 2))
        argument += takes_value(argument) && argument[1] ? 2 : 1;
    *at = argument;
    for (size_t i = 0; *argument && i < COUNT_OF(commands); i++)
        if (!strcmp(*argument, commands[i].name))
            return commands[i].command;
    if (*argument)
        tell("there is no command %s", *argument);
    else
        tell("a command is missing");
    print_usage(stderr, ALL);
    return 0;
}

bool parse_arguments(char **argv, struct arguments *arguments)
{
    char *const *at;
    enum command command = find_command(argv, &at);
    char *words[3];
    unsigned count = 0;

    if (!command)
        return false;
    *arguments = (struct arguments){
        .wait_ms = 5000, .timeout_ms = 10000, .linger_ms = 1000, .seconds_ms = 5000, .count = 100, .command = *at};
    arguments->security = command == LISTEN ? VL2CAP_SECURITY_ENCRYPTED : VL2CAP_SECURITY_NONE;
    while (*++argv) {
        if (argv == at)
            continue;
        if (!strncmp(*argv, "--", 2)) {
            if (!parse_option(command, &argv, arguments))
                return false;
        } else if (count < COUNT_OF(words)) {
            words[count++] = *argv;
        }
    }
    return set_words(command, words, count, arguments) && complete(command, arguments);
}
