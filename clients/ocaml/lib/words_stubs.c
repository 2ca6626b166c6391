/* SPDX-License-Identifier: MIT */
/*
 * 32-bit words of memory that another domain writes, too: each is loaded and
 * stored whole, once, in the order that words.mli promises. OCaml's Bigarray
 * promises none of that.
 */
#define CAML_NAME_SPACE

#include <stdint.h>

#include <caml/bigarray.h>
#include <caml/mlvalues.h>

static uint32_t *word(value page, intnat offset)
{
    return (uint32_t *)((char *)Caml_ba_data_val(page) + offset);
}

intnat vl2cap_load(value page, intnat offset)
{
    return __atomic_load_n(word(page, offset), __ATOMIC_ACQUIRE);
}

value vl2cap_store(value page, intnat offset, intnat number)
{
    __atomic_store_n(word(page, offset), (uint32_t)number, __ATOMIC_RELEASE);
    return Val_unit;
}

value vl2cap_full_barrier(value unit)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return unit;
}

/* The same for bytecode, where numbers are tagged. */

value vl2cap_load_bytecode(value page, value offset)
{
    return Val_long(vl2cap_load(page, Long_val(offset)));
}

value vl2cap_store_bytecode(value page, value offset, value number)
{
    return vl2cap_store(page, Long_val(offset), Long_val(number));
}
