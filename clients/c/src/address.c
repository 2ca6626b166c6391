/* SPDX-License-Identifier: MIT */
/* Bluetooth addresses as people write them. */

#include "internal.h"

#include <stdio.h>

static int hex_digit(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

int vl2cap_address_parse(const char *text, uint8_t type, struct vl2cap_address *address)
{
    struct vl2cap_address parsed = {.type = type};

    if (type > VL2CAP_LE_RANDOM)
        return VL2CAP_EINVAL;
    for (int i = 5; i >= 0; i--) {
        int high = hex_digit(text[0]), low = high < 0 ? -1 : hex_digit(text[1]);

        if (low < 0 || text[2] != (i ? ':' : '\0'))
            return VL2CAP_EINVAL;
        parsed.octets[i] = (uint8_t)(high << 4 | low);
        text += 3;
    }
    *address = parsed;
    return 0;
}

void vl2cap_address_format(const struct vl2cap_address *address, char text[VL2CAP_ADDRESS_TEXT])
{
    const uint8_t *octets = address->octets;

    snprintf(text, VL2CAP_ADDRESS_TEXT, "%02X:%02X:%02X:%02X:%02X:%02X", (unsigned)octets[5], (unsigned)octets[4],
             (unsigned)octets[3], (unsigned)octets[2], (unsigned)octets[1], (unsigned)octets[0]);
}
