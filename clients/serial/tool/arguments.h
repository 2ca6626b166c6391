/*
 * The words that the command is given.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef ARGUMENTS_H
#define ARGUMENTS_H

struct options {
    const char *line;
    unsigned long baud, wait_s, seconds, count, size;
    unsigned int addr_type, level;
    int echo;
};

extern struct options options;

/* Prints what the command takes, to standard output. Returns 0, its exit status. */
int help(void);
/* Says what is wrong with the arguments: which word, or "" if one is missing. Returns 2, the exit status. */
int misuse(const char *what, const char *word);

/* Reads the options: returns where the command is in argv, or -1 after misuse(). */
int read_options(int argc, char **argv);
/* Reads the words after the command: the peer's address, if it takes one, and the PSM, 0 if there is none. Returns 0, or
 * that of misuse(). */
int read_words(const char *command, int count, char **words, unsigned char *addr, unsigned long *psm);

#endif
