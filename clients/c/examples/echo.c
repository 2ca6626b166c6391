/* SPDX-License-Identifier: MIT */
/* Sends everything back that comes on PSM 0x1001, to one peer after the other: cc echo.c -lvl2cap */

#include <stdio.h>
#include <vl2cap.h>

static int fail(const struct vl2cap *device)
{
    fprintf(stderr, "echo: %s\n", vl2cap_failure(device)->text);
    return 1;
}

int main(void)
{
    static unsigned char sdu[2048];
    struct vl2cap_listen on = {.psm = 0x1001, .mtu = sizeof(sdu), .transport = VL2CAP_TRANSPORT_BREDR};
    struct vl2cap_object *listener, *channel;
    struct vl2cap *device;
    int error = vl2cap_open(&device, NULL);

    if (error) {
        fprintf(stderr, "echo: %s\n", vl2cap_strerror(error));
        return 1;
    }
    for (;;) {      /* again when the driver domain's service was started again */
        if (vl2cap_wait_ready(device, VL2CAP_FOREVER) || vl2cap_listen(device, &on, &listener))
            return fail(device);
        while (!vl2cap_accept(listener, &channel, VL2CAP_FOREVER)) {
            int length;

            while ((length = vl2cap_recv(channel, sdu, sizeof(sdu), VL2CAP_FOREVER)) >= 0)
                if (vl2cap_send(channel, sdu, (size_t)length, VL2CAP_FOREVER))
                    break;
            vl2cap_release(channel, 0);
        }
        fail(device);
        vl2cap_release(listener, 0);
    }
}
