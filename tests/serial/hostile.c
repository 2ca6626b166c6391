/*
 * A C client whose bridge says whatever standard input has: records of a length, 2 octets, and what comes over the line.
 * Each record is a life of its own. Built with sanitizers, which end it where the client does what it may not.
 */
#include <stdio.h>

#include "vl2cap_serial.h"

static void use(struct vls *v, unsigned int turn)
{
    static const unsigned char addr[6] = {1, 2, 3, 4, 5, 6}, sdu[VLS_MTU] = {0};
    unsigned char buffer[VLS_MTU];
    unsigned int id = turn % VLS_OBJECTS + 1;

    switch (turn % 11) {
    case 0: (void)vls_connect(v, id, addr, 0, 0x1001, 0, 0, 0); break;
    case 1: (void)vls_listen(v, id, 0, 0x1001, 2); break;
    case 2: (void)vls_accept(v, id, turn % 3 + 1); break;
    case 3: (void)vls_scan(v, id, 1, VLS_SCAN_ACTIVE); break;
    case 4: (void)vls_advertise(v, id, sdu, 31, 0); break;
    case 5: (void)vls_echo(v, id, addr, sdu, 36, 0); break;
    case 6: (void)vls_release(v, id); break;
    case 7: vls_ask_info(v); break;
    default: break;
    }
    for (id = 1; id <= VLS_OBJECTS; id++) {
        (void)vls_send(v, id, sdu, turn % (VLS_MTU + 2));
        (void)vls_recv(v, id, buffer, sizeof(buffer));
    }
}

static void live(const unsigned char *octets, unsigned int length)
{
    static struct vls v;
    unsigned char line[VLS_MAX_LINE];
    unsigned long now = 0xFFFFF000UL;
    unsigned int at, step = 1, turn = 0;

    vls_init(&v, 1);
    for (at = 0; at < length; at += step) {
        step = 1 + (octets[at] & 63U);
        if (step > length - at)
            step = length - at;
        vls_input(&v, octets + at, step, now);
        use(&v, turn++ * 7 + octets[at]);
        while (vls_output(&v, line, now) != 0)
            ;
        now = (now + vls_wait(&v, now)) & 0xFFFFFFFFUL;
    }
}

int main(void)
{
    static unsigned char record[65536];
    unsigned int lives = 0;
    int low, high;

    while ((low = getchar()) != EOF && (high = getchar()) != EOF) {
        unsigned int length = (unsigned int)low | (unsigned int)high << 8;

        if (fread(record, 1, length, stdin) != length)
            return 1;
        live(record, length);
        lives++;
    }
    printf("%u\n", lives);
    return 0;
}
