/* SPDX-License-Identifier: MIT */
#include "ring.h"

#include <stdatomic.h>
#include <string.h>

/* A volatile word is loaded and stored whole and once. The fences order it with what is copied. */
#define READ_BARRIER()  atomic_thread_fence(memory_order_acquire)
#define WRITE_BARRIER() atomic_thread_fence(memory_order_release)
#define FULL_BARRIER()  atomic_thread_fence(memory_order_seq_cst)

static bool passed(uint32_t event, uint32_t old, uint32_t new)
{
    return new - event < new - old;
}

/* Command ring -------------------------------------------------------------------------------------------------- */

void command_ring_init(struct command_ring *ring, void *page)
{
    memset(page, 0, OS_PAGE_SIZE);
    ring->page = page;
    ring->req_prod = 0;
    ring->rsp_cons = 0;
    ring->armed = true;
    ring->page->req_event = 1;
    ring->page->rsp_event = 1;
}

unsigned command_ring_room(const struct command_ring *ring)
{
    return L2CAPIF_RING_SLOTS - (ring->req_prod - ring->rsp_cons);
}

/* Word by word, so that nothing is loaded twice: the compiler may do that with memcpy. */
static void copy_words(volatile uint32_t *to, const volatile uint32_t *from, size_t size)
{
    for (size_t i = 0; i < size / sizeof(*to); i++)
        to[i] = from[i];
}

enum ring_result command_ring_put(struct command_ring *ring, const struct l2capif_request *request)
{
    uint32_t old = ring->req_prod;
    uint32_t words[sizeof(*request) / sizeof(uint32_t)];

    memcpy(words, request, sizeof(words));
    copy_words((volatile uint32_t *)&ring->page->ring[old % L2CAPIF_RING_SLOTS], words, sizeof(words));
    ring->req_prod = old + 1;
    WRITE_BARRIER();        /* the request before its index */
    ring->page->req_prod = ring->req_prod;
    FULL_BARRIER();         /* the index before the look at req_event */
    return passed(ring->page->req_event, old, ring->req_prod) ? RING_NOTIFY : RING_DONE;
}

enum ring_result command_ring_take(struct command_ring *ring, struct l2capif_response *response)
{
    uint32_t untrusted_prod = ring->page->rsp_prod;
    uint32_t words[sizeof(*response) / sizeof(uint32_t)];

    if (untrusted_prod == ring->rsp_cons) {
        if (ring->armed)
            return RING_EMPTY;
        ring->armed = true;
        ring->page->rsp_event = ring->rsp_cons + 1;
        FULL_BARRIER();     /* the event before the second look */
        untrusted_prod = ring->page->rsp_prod;
        if (untrusted_prod == ring->rsp_cons)
            return RING_EMPTY;
    }
    if (untrusted_prod - ring->rsp_cons > ring->req_prod - ring->rsp_cons)
        return RING_BROKEN;
    READ_BARRIER();         /* the index before the response */
    copy_words(words, (volatile uint32_t *)&ring->page->ring[ring->rsp_cons % L2CAPIF_RING_SLOTS], sizeof(words));
    memcpy(response, words, sizeof(words));
    ring->rsp_cons++;
    ring->armed = false;
    return RING_DONE;
}

/* Data ring ----------------------------------------------------------------------------------------------------- */

uint32_t data_ring_longest(unsigned order)
{
    return (OS_PAGE_SIZE << order) / 2 - L2CAPIF_LENGTH_SIZE;
}

void data_ring_init(struct data_ring *ring, const struct os_page *pages, unsigned order)
{
    uint32_t half = 1u << (order - 1);

    memset(ring, 0, sizeof(*ring));
    memset(pages[0].memory, 0, OS_PAGE_SIZE);
    ring->indices = (volatile struct l2capif_data_intf *)(void *)pages[0].memory;
    ring->size = half * OS_PAGE_SIZE;
    ring->indices->ring_order = order;
    for (uint32_t i = 0; i < half; i++) {
        ring->in[i] = pages[1 + i].memory;
        ring->out[i] = pages[1 + half + i].memory;
        ring->indices->ref[i] = pages[1 + i].ref;
        ring->indices->ref[half + i] = pages[1 + half + i].ref;
    }
    ring->indices->in.consumer.prod_event = 1;
}

/* The octets from `index` on that lie side by side, `length` at most. Pages of the two halves need not adjoin. */
static uint8_t *run_at(const struct data_ring *ring, uint8_t *const *pages, uint32_t index, uint32_t length,
                       uint32_t *run)
{
    uint32_t offset = index & (ring->size - 1), in_page = offset % OS_PAGE_SIZE;

    *run = length < OS_PAGE_SIZE - in_page ? length : OS_PAGE_SIZE - in_page;
    return pages[offset / OS_PAGE_SIZE] + in_page;
}

static void copy_in(struct data_ring *ring, uint32_t index, const uint8_t *from, uint32_t length)
{
    for (uint32_t run; length > 0; index += run, from += run, length -= run) {
        uint8_t *to = run_at(ring, ring->out, index, length, &run);

        memcpy(to, from, run);
    }
}

static void copy_out(const struct data_ring *ring, uint32_t index, uint8_t *to, uint32_t length)
{
    for (uint32_t run; length > 0; index += run, to += run, length -= run) {
        const uint8_t *from = run_at(ring, ring->in, index, length, &run);

        memcpy(to, from, run);
    }
}

/* Octet by octet: a length may lie across the end of a page, and is loaded once. */
static uint32_t length_at(const struct data_ring *ring, uint32_t index)
{
    uint32_t length = 0, run;

    for (unsigned i = 0; i < L2CAPIF_LENGTH_SIZE; i++) {
        const volatile uint8_t *octet = run_at(ring, ring->in, index + i, 1, &run);

        length |= (uint32_t)*octet << 8 * i;
    }
    return length;
}

/* Loads the backend's cons: it may move from where it was up to our prod, and nowhere else. */
static bool load_consumed(struct data_ring *ring)
{
    uint32_t untrusted_cons = ring->indices->out.consumer.cons;

    if (ring->sent - untrusted_cons > ring->sent - ring->consumed)
        return false;
    FULL_BARRIER();         /* the backend has read what is written over now */
    ring->consumed = untrusted_cons;
    return true;
}

/* Loads the backend's prod: it may move from where it was up to a whole half ahead of our cons. */
static bool load_produced(struct data_ring *ring)
{
    uint32_t untrusted_prod = ring->indices->in.producer.prod;

    if (untrusted_prod - ring->received > ring->size ||
        untrusted_prod - ring->received < ring->produced - ring->received)
        return false;
    READ_BARRIER();         /* the index before the octets */
    ring->produced = untrusted_prod;
    return true;
}

static bool has_room(const struct data_ring *ring, uint32_t need)
{
    return ring->size - (ring->sent - ring->consumed) >= need;
}

enum ring_result data_ring_room(struct data_ring *ring, uint32_t length, bool arm)
{
    uint32_t need = L2CAPIF_LENGTH_SIZE + length;

    if (has_room(ring, need))
        return RING_DONE;
    if (!load_consumed(ring))
        return RING_BROKEN;
    if (has_room(ring, need))
        return RING_DONE;
    if (!arm)
        return RING_EMPTY;
    ring->indices->out.producer.cons_event = ring->sent + need - ring->size;
    FULL_BARRIER();         /* the event before the second look at cons */
    if (!load_consumed(ring))
        return RING_BROKEN;
    return has_room(ring, need) ? RING_DONE : RING_EMPTY;
}

enum ring_result data_ring_send(struct data_ring *ring, const void *message, uint32_t length, bool arm)
{
    enum ring_result result = data_ring_room(ring, length, arm);
    uint32_t old = ring->sent;
    uint8_t prefix[L2CAPIF_LENGTH_SIZE];

    if (result != RING_DONE)
        return result;
    for (unsigned i = 0; i < L2CAPIF_LENGTH_SIZE; i++)
        prefix[i] = (uint8_t)(length >> 8 * i);
    copy_in(ring, old, prefix, L2CAPIF_LENGTH_SIZE);
    copy_in(ring, old + L2CAPIF_LENGTH_SIZE, message, length);
    ring->sent = old + L2CAPIF_LENGTH_SIZE + length;
    WRITE_BARRIER();        /* octets before prod */
    ring->indices->out.producer.prod = ring->sent;
    FULL_BARRIER();         /* prod before the look at prod_event */
    return passed(ring->indices->out.consumer.prod_event, old, ring->sent) ? RING_NOTIFY : RING_DONE;
}

enum ring_result data_ring_ready(struct data_ring *ring, bool arm)
{
    if (ring->produced == ring->received && !load_produced(ring))
        return RING_BROKEN;
    if (ring->produced == ring->received && arm) {
        ring->indices->in.consumer.prod_event = ring->received + 1;
        FULL_BARRIER();     /* the event before the second look at prod */
        if (!load_produced(ring))
            return RING_BROKEN;
    }
    return ring->produced == ring->received ? RING_EMPTY : RING_DONE;
}

enum ring_result data_ring_receive(struct data_ring *ring, void *message, uint32_t size, uint32_t *length, bool arm)
{
    enum ring_result result = data_ring_ready(ring, arm);
    uint32_t old = ring->received, available = ring->produced - old, untrusted_length;

    if (result != RING_DONE)
        return result;
    untrusted_length = available < L2CAPIF_LENGTH_SIZE ? UINT32_MAX : length_at(ring, old);
    if (available < L2CAPIF_LENGTH_SIZE || untrusted_length > available - L2CAPIF_LENGTH_SIZE)
        return RING_BROKEN;
    *length = untrusted_length;
    if (*length > size)
        return RING_TOO_LONG;
    if (message)
        copy_out(ring, old + L2CAPIF_LENGTH_SIZE, message, *length);
    ring->received = old + L2CAPIF_LENGTH_SIZE + *length;
    FULL_BARRIER();         /* octets are out before cons gives their place away */
    ring->indices->in.consumer.cons = ring->received;
    FULL_BARRIER();         /* cons before the look at cons_event */
    return passed(ring->indices->in.producer.cons_event, old, ring->received) ? RING_NOTIFY : RING_DONE;
}

int32_t data_ring_error(const struct data_ring *ring)
{
    int32_t untrusted_error = ring->indices->in.producer.error;

    READ_BARRIER();         /* the error before prod: all messages that came before it are seen */
    return untrusted_error;
}

void data_ring_end(struct data_ring *ring, int32_t error)
{
    WRITE_BARRIER();        /* prod before the error */
    ring->indices->out.producer.error = error;
}

size_t data_ring_copy_size(const struct data_ring *ring)
{
    return OS_PAGE_SIZE + ring->size;
}

void data_ring_move(struct data_ring *ring, uint8_t *memory)
{
    memcpy(memory, (const void *)(uintptr_t)ring->indices, OS_PAGE_SIZE);
    ring->indices = (volatile struct l2capif_data_intf *)(void *)memory;
    for (uint32_t i = 0; i < ring->size / OS_PAGE_SIZE; i++) {
        memcpy(memory + (1 + i) * OS_PAGE_SIZE, ring->in[i], OS_PAGE_SIZE);
        ring->in[i] = memory + (1 + i) * OS_PAGE_SIZE;
    }
}
