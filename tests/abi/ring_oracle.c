/* SPDX-License-Identifier: MIT */
/* Both ends of three rings, made of the macros of Xen's ring.h and nothing else: what our ring has to be equal to. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define __XEN_INTERFACE_VERSION__ 0x00040300     /* from here on, ring.h leaves the barriers to us */
#define xen_mb()  __sync_synchronize()
#define xen_rmb() __sync_synchronize()
#define xen_wmb() __sync_synchronize()

#include <l2capif.h>
#include <xen/io/usbif.h>

#define ORACLE(name, request_t, response_t)                                             \
    static struct name##_front_ring name##_front;                                       \
    static struct name##_back_ring name##_back;                                         \
                                                                                        \
    void name##_start(void *page, uint32_t index)                                       \
    {                                                                                   \
        struct name##_sring *shared = page;                                             \
        XEN_FRONT_RING_INIT(&name##_front, shared, 4096);                               \
        if (index) {                                                                    \
            shared->req_prod = shared->rsp_prod = index;                                \
            shared->req_event = shared->rsp_event = index + 1;                          \
            FRONT_RING_ATTACH(&name##_front, shared, index, 4096);                      \
        }                                                                               \
        BACK_RING_ATTACH(&name##_back, shared, shared->rsp_prod, 4096);                 \
    }                                                                                   \
                                                                                        \
    int name##_free(void) { return RING_FREE_REQUESTS(&name##_front); }                 \
                                                                                        \
    int name##_put_requests(const request_t *requests, int count)                       \
    {                                                                                   \
        int notify;                                                                     \
        for (int i = 0; i < count; i++)                                                 \
            memcpy(RING_GET_REQUEST(&name##_front, name##_front.req_prod_pvt++), &requests[i], sizeof(*requests)); \
        RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&name##_front, notify);                     \
        return notify;                                                                  \
    }                                                                                   \
                                                                                        \
    int name##_take_requests(request_t *requests)                                       \
    {                                                                                   \
        int count = 0, more;                                                            \
        do {                                                                            \
            while (RING_HAS_UNCONSUMED_REQUESTS(&name##_back)) {                        \
                RING_COPY_REQUEST(&name##_back, name##_back.req_cons, &requests[count]); \
                name##_back.req_cons++, count++;                                        \
            }                                                                           \
            RING_FINAL_CHECK_FOR_REQUESTS(&name##_back, more);                          \
        } while (more);                                                                 \
        return count;                                                                   \
    }                                                                                   \
                                                                                        \
    int name##_put_responses(const response_t *responses, int count)                    \
    {                                                                                   \
        int notify;                                                                     \
        for (int i = 0; i < count; i++)                                                 \
            memcpy(RING_GET_RESPONSE(&name##_back, name##_back.rsp_prod_pvt++), &responses[i], sizeof(*responses)); \
        RING_PUSH_RESPONSES_AND_CHECK_NOTIFY(&name##_back, notify);                     \
        return notify;                                                                  \
    }                                                                                   \
                                                                                        \
    int name##_take_responses(response_t *responses)                                    \
    {                                                                                   \
        int count = 0, more;                                                            \
        do {                                                                            \
            while (RING_HAS_UNCONSUMED_RESPONSES(&name##_front)) {                      \
                RING_COPY_RESPONSE(&name##_front, name##_front.rsp_cons, &responses[count]); \
                name##_front.rsp_cons++, count++;                                       \
            }                                                                           \
            RING_FINAL_CHECK_FOR_RESPONSES(&name##_front, more);                        \
        } while (more);                                                                 \
        return count;                                                                   \
    }

ORACLE(l2capif, struct l2capif_request, struct l2capif_response)
ORACLE(usbif_urb, struct usbif_urb_request, struct usbif_urb_response)
ORACLE(usbif_conn, struct usbif_conn_request, struct usbif_conn_response)
