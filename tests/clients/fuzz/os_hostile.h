/* SPDX-License-Identifier: MIT */
/* An operating system for libvl2cap without Xen, whose backend does what a random generator says: os_hostile.c. */

#ifndef OS_HOSTILE_H
#define OS_HOSTILE_H

#include <stdbool.h>
#include <stdint.h>

/* Begins a world. `lies`: of 1000 things that the backend does, how many break a rule. `floods`: it always has a message. */
void hostile_begin(uint64_t seed, unsigned lies, bool floods);

/* A number below `limit`, or 0. */
uint32_t hostile_random(uint32_t limit);

/* Says what the library has left behind, and returns whether that is nothing. */
int hostile_is_clean(void);

#endif
