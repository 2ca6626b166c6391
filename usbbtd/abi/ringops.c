/* SPDX-License-Identifier: MIT */
/* See ringops.h. Shared words are loaded and stored once each, never by the compiler's choice twice. */

#include "ringops.h"

#include <string.h>
#include <time.h>

#define LOAD(word)          __atomic_load_n(&(word), __ATOMIC_RELAXED)
#define STORE(word, value)  __atomic_store_n(&(word), (value), __ATOMIC_RELAXED)

/* What the other end wrote before its index is not read before that index: xen_rmb() after the load. */
#define LOAD_INDEX(word)    __atomic_load_n(&(word), __ATOMIC_ACQUIRE)

/* What we wrote or copied out comes before the index that hands it over: xen_wmb(), and xen_mb() for cons. */
#define PUBLISH_INDEX(word, value) __atomic_store_n(&(word), (value), __ATOMIC_RELEASE)

/* An index must be out before the event word is read, and an event word before the index: xen_mb(). */
#define FULL_BARRIER()      __atomic_thread_fence(__ATOMIC_SEQ_CST)

/* Did the move from `old` to `new` pass `event`? */
static int passed(uint32_t event, uint32_t old, uint32_t new)
{
    return (uint32_t)(new - event) < (uint32_t)(new - old);
}

static uint32_t power_of_two_below(uint32_t value)
{
    return value ? 1u << (31 - __builtin_clz(value)) : 0;
}

/* Request/response rings ---------------------------------------------------------------------------------------- */

static void ring_init(struct ring *ring, void *page, uint32_t request_size, uint32_t response_size, uint32_t index)
{
    ring->shared = page;
    ring->slots = (uint8_t *)page + sizeof(struct ring_header);
    ring->slot_size = request_size > response_size ? request_size : response_size;
    ring->slot_count = power_of_two_below((RINGOPS_PAGE_SIZE - sizeof(struct ring_header)) / ring->slot_size);
    ring->request_size = request_size;
    ring->response_size = response_size;
    ring->request_index = index;
    ring->response_index = index;
    ring->suspect = 0;
}

void ring_front_init(struct ring *ring, void *page, uint32_t request_size, uint32_t response_size)
{
    memset(page, 0, sizeof(struct ring_header));
    ring_init(ring, page, request_size, response_size, 0);
    STORE(ring->shared->req_event, 1);
    STORE(ring->shared->rsp_event, 1);
}

void ring_back_attach(struct ring *ring, void *page, uint32_t request_size, uint32_t response_size)
{
    ring_init(ring, page, request_size, response_size, LOAD_INDEX(((struct ring_header *)page)->rsp_prod));
}

static uint8_t *slot(struct ring *ring, uint32_t index)
{
    return ring->slots + (index & (ring->slot_count - 1)) * ring->slot_size;
}

static int put(struct ring *ring, const char *entries, uint32_t count, uint32_t size, uint32_t *index,
               uint32_t *shared_prod, uint32_t *shared_event)
{
    uint32_t old = *index, new = old + count;

    for (uint32_t i = 0; i < count; i++)
        memcpy(slot(ring, old + i), entries + i * size, size);
    *index = new;
    PUBLISH_INDEX(*shared_prod, new);
    FULL_BARRIER();
    return passed(LOAD(*shared_event), old, new);
}

int ring_put_requests(struct ring *ring, const char *entries, uint32_t count)
{
    if (count > ring->slot_count - (ring->request_index - ring->response_index))
        return RINGOPS_NO_ROOM;
    return put(ring, entries, count, ring->request_size, &ring->request_index, &ring->shared->req_prod,
               &ring->shared->req_event);
}

int ring_put_responses(struct ring *ring, const char *entries, uint32_t count)
{
    if (count > ring->request_index - ring->response_index)
        return RINGOPS_NO_ROOM;
    return put(ring, entries, count, ring->response_size, &ring->response_index, &ring->shared->rsp_prod,
               &ring->shared->rsp_event);
}

/* `most`: how far the other end's index can honestly be ahead of *index. Nothing is put meanwhile, so this ends. */
static int take(struct ring *ring, char *entries, uint32_t most, uint32_t size, uint32_t *index,
                uint32_t *shared_prod, uint32_t *shared_event)
{
    uint32_t start = *index, cons = start, armed = start;

    for (;;) {
        uint32_t untrusted_prod = LOAD_INDEX(*shared_prod);

        if ((uint32_t)(untrusted_prod - start) > most || (uint32_t)(untrusted_prod - start) < cons - start) {
            ring->suspect = untrusted_prod;
            return RINGOPS_BAD_INDEX;
        }
        if (cons == untrusted_prod) {
            if (armed == cons + 1)
                break;
            armed = cons + 1;
            STORE(*shared_event, armed);
            FULL_BARRIER();
            continue;       /* the entry that came just before the event was armed */
        }
        for (; cons != untrusted_prod; cons++)
            memcpy(entries + (cons - start) * size, slot(ring, cons), size);
    }
    *index = cons;
    return (int)(cons - start);
}

int ring_take_responses(struct ring *ring, char *entries)
{
    return take(ring, entries, ring->request_index - ring->response_index, ring->response_size,
                &ring->response_index, &ring->shared->rsp_prod, &ring->shared->rsp_event);
}

int ring_take_requests(struct ring *ring, char *entries)
{
    return take(ring, entries, ring->slot_count - (ring->request_index - ring->response_index), ring->request_size,
                &ring->request_index, &ring->shared->req_prod, &ring->shared->req_event);
}

/* Data rings ---------------------------------------------------------------------------------------------------- */

void data_ring_attach(struct data_ring *ring, struct l2capif_data_intf *indices, void *data,
                      uint32_t data_size, int frontend)
{
    uint8_t *in = data, *out = in + data_size / 2;

    ring->send = frontend ? &indices->out : &indices->in;
    ring->receive = frontend ? &indices->in : &indices->out;
    ring->send_data = frontend ? out : in;
    ring->receive_data = frontend ? in : out;
    ring->size = data_size / 2;
    ring->sent = LOAD(ring->send->producer.prod);
    ring->sent_consumed = ring->reported = LOAD_INDEX(ring->send->consumer.cons);
    ring->received = LOAD(ring->receive->consumer.cons);
    ring->suspect = 0;
    STORE(ring->receive->consumer.prod_event, ring->received + 1);
    FULL_BARRIER();
}

static void copy_in(struct data_ring *ring, uint32_t index, const char *from, uint32_t length)
{
    uint32_t offset = index & (ring->size - 1), first = ring->size - offset;

    if (first > length)
        first = length;
    memcpy(ring->send_data + offset, from, first);
    memcpy(ring->send_data, from + first, length - first);
}

static void copy_out(const struct data_ring *ring, uint32_t index, char *to, uint32_t length)
{
    uint32_t offset = index & (ring->size - 1), first = ring->size - offset;

    if (first > length)
        first = length;
    memcpy(to, ring->receive_data + offset, first);
    memcpy(to + first, ring->receive_data, length - first);
}

static uint32_t length_at(const struct data_ring *ring, uint32_t index)
{
    uint32_t length = 0;

    for (int i = 0; i < L2CAPIF_LENGTH_SIZE; i++)
        length |= (uint32_t)LOAD(ring->receive_data[(index + i) & (ring->size - 1)]) << 8 * i;
    return length;
}

/* Loads the other end's cons; it may move from where it was up to our prod, and nowhere else. */
static int load_consumed(struct data_ring *ring)
{
    uint32_t untrusted_cons = LOAD_INDEX(ring->send->consumer.cons);

    if ((uint32_t)(ring->sent - untrusted_cons) > (uint32_t)(ring->sent - ring->sent_consumed) ||
        (uint32_t)(ring->sent - ring->sent_consumed) > ring->size) {
        ring->suspect = untrusted_cons;
        return RINGOPS_BAD_INDEX;
    }
    ring->sent_consumed = untrusted_cons;
    return 0;
}

int data_ring_fitting(struct data_ring *ring, const uint32_t *lengths, uint32_t count)
{
    uint32_t fitting = 0, octets = 0, armed = 0;

    if (load_consumed(ring))
        return RINGOPS_BAD_INDEX;
    while (fitting < count) {
        uint32_t room = ring->size - (ring->sent - ring->sent_consumed) - octets, length = lengths[fitting];

        if (length > ring->size - L2CAPIF_LENGTH_SIZE) {
            ring->suspect = length;
            return RINGOPS_NO_ROOM;
        }
        length += L2CAPIF_LENGTH_SIZE;
        if (length <= room) {
            octets += length;
            fitting++;
            continue;
        }
        if (armed == octets + length)
            break;
        armed = octets + length;    /* cons may have moved before the event was there, so look at it once more */
        STORE(ring->send->producer.cons_event, ring->sent + armed - ring->size);
        FULL_BARRIER();
        if (load_consumed(ring))
            return RINGOPS_BAD_INDEX;
    }
    return (int)fitting;
}

int data_ring_write(struct data_ring *ring, const char *payload, const uint32_t *lengths, uint32_t count)
{
    int fitting = data_ring_fitting(ring, lengths, count);
    uint32_t old = ring->sent, prod = old;

    if (fitting < 0)
        return fitting;
    for (int i = 0; i < fitting; i++) {
        copy_in(ring, prod, (const char *)&lengths[i], L2CAPIF_LENGTH_SIZE);
        copy_in(ring, prod + L2CAPIF_LENGTH_SIZE, payload, lengths[i]);
        payload += lengths[i];
        prod += L2CAPIF_LENGTH_SIZE + lengths[i];
    }
    ring->sent = prod;
    PUBLISH_INDEX(ring->send->producer.prod, prod);
    FULL_BARRIER();
    return fitting << 1 | passed(LOAD(ring->send->consumer.prod_event), old, prod);
}

int data_ring_read(struct data_ring *ring, uint32_t limit, char *payload, uint32_t *lengths, uint32_t most)
{
    uint32_t untrusted_prod = LOAD_INDEX(ring->receive->producer.prod);
    uint32_t old = ring->received, cons = old, count = 0, copied = 0, available;

    if (untrusted_prod == cons) {
        STORE(ring->receive->consumer.prod_event, cons + 1);
        FULL_BARRIER();
        untrusted_prod = LOAD_INDEX(ring->receive->producer.prod);
    }
    available = untrusted_prod - cons;
    if (available > ring->size) {
        ring->suspect = untrusted_prod;
        return RINGOPS_BAD_INDEX;
    }
    while (available > 0 && count < most) {
        uint32_t length, untrusted_length = length_at(ring, cons);

        if (available < L2CAPIF_LENGTH_SIZE || untrusted_length > available - L2CAPIF_LENGTH_SIZE) {
            if (count > 0)
                break;      /* the good messages first */
            ring->suspect = untrusted_length;
            return RINGOPS_BAD_LENGTH;
        }
        length = untrusted_length;
        if (count > 0 && (copied > limit || length > limit - copied))
            break;
        copy_out(ring, cons + L2CAPIF_LENGTH_SIZE, payload + copied, length);
        lengths[count++] = length;
        copied += length;
        cons += L2CAPIF_LENGTH_SIZE + length;
        available -= L2CAPIF_LENGTH_SIZE + length;
    }
    if (count == 0)
        return 0;
    ring->received = cons;
    PUBLISH_INDEX(ring->receive->consumer.cons, cons);
    FULL_BARRIER();
    return (int)(count << 1) | passed(LOAD(ring->receive->producer.cons_event), old, cons);
}

int data_ring_consumed(struct data_ring *ring)
{
    uint32_t before = ring->reported;

    if (load_consumed(ring))
        return RINGOPS_BAD_INDEX;
    ring->reported = ring->sent_consumed;
    return (int)(ring->reported - before);
}

int data_ring_expect_consumed(struct data_ring *ring, uint32_t octets)
{
    STORE(ring->send->producer.cons_event, ring->reported + octets);
    FULL_BARRIER();
    if (load_consumed(ring))
        return RINGOPS_BAD_INDEX;
    return (uint32_t)(ring->sent_consumed - ring->reported) >= octets;
}

static uint64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Leaves the processor's other thread its turn. */
static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

int data_ring_spin(const struct data_ring *ring, int for_room, uint32_t nanoseconds)
{
    const uint32_t *index = for_room ? &ring->send->consumer.cons : &ring->receive->producer.prod;
    uint32_t seen = for_room ? ring->sent_consumed : ring->received;
    uint64_t end = 0;

    while (LOAD(*index) == seen) {
        uint64_t now = clock_ns();

        if (!end)
            end = now + nanoseconds;
        if (now >= end)
            return 0;
        relax();
    }
    return 1;
}

void data_ring_set_error(struct data_ring *ring, int32_t error)
{
    PUBLISH_INDEX(ring->send->producer.error, error);
}

int32_t data_ring_peer_error(const struct data_ring *ring)
{
    int32_t error = LOAD_INDEX(ring->receive->producer.error);

    return LOAD(ring->receive->producer.prod) == ring->received ? error : 0;
}
