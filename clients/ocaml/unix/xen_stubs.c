/* SPDX-License-Identifier: MIT */
/* Xen's libraries for Linux as xen_os.ml wants them. Failures raise Unix_error. */
#define CAML_NAME_SPACE

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <caml/alloc.h>
#include <caml/bigarray.h>
#include <caml/memory.h>
#include <caml/mlvalues.h>
#include <caml/unixsupport.h>

#include <xenevtchn.h>
#include <xengnttab.h>
#include <xenstore.h>

#define MOST_PAGES 65

/* One handle of each for the program; Unix_error where there is no Xen. */

static struct xs_handle *xs(void)
{
    static struct xs_handle *handle;

    if (!handle && !(handle = xs_open(0)))
        uerror("xs_open", Nothing);
    return handle;
}

static xenevtchn_handle *evtchn(void)
{
    static xenevtchn_handle *handle;

    if (!handle && !(handle = xenevtchn_open(NULL, 0)))
        uerror("xenevtchn_open", Nothing);
    return handle;
}

static xengntshr_handle *gntshr(void)
{
    static xengntshr_handle *handle;

    if (!handle && !(handle = xengntshr_open(NULL, 0)))
        uerror("xengntshr_open", Nothing);
    return handle;
}

/* Xenstore ------------------------------------------------------------------------------------------------------ */

value vl2cap_xs_fileno(value unit)
{
    (void)unit;
    return Val_int(xs_fileno(xs()));
}

value vl2cap_xs_read(value path)
{
    CAMLparam1(path);
    unsigned int length;
    char *found = xs_read(xs(), XBT_NULL, String_val(path), &length);
    value result;

    if (!found)
        uerror("xs_read", path);
    result = caml_alloc_initialized_string(length, found);
    free(found);
    CAMLreturn(result);
}

value vl2cap_xs_write(value path, value content)
{
    if (!xs_write(xs(), XBT_NULL, String_val(path), String_val(content), caml_string_length(content)))
        uerror("xs_write", path);
    return Val_unit;
}

value vl2cap_xs_watch(value path, value token)
{
    if (!xs_watch(xs(), String_val(path), String_val(token)))
        uerror("xs_watch", path);
    return Val_unit;
}

value vl2cap_xs_unwatch(value path, value token)
{
    if (!xs_unwatch(xs(), String_val(path), String_val(token)))
        uerror("xs_unwatch", path);
    return Val_unit;
}

/* The token of a watch that has fired, "" if none has. */
value vl2cap_xs_check_watch(value unit)
{
    char **fired = xs_check_watch(xs());
    value token;

    (void)unit;
    if (!fired) {
        if (errno != EAGAIN)
            uerror("xs_check_watch", Nothing);
        return caml_copy_string("");
    }
    token = caml_copy_string(fired[XS_WATCH_TOKEN]);
    free(fired);
    return token;
}

/* Event channels ------------------------------------------------------------------------------------------------ */

value vl2cap_evtchn_fd(value unit)
{
    (void)unit;
    return Val_int(xenevtchn_fd(evtchn()));
}

value vl2cap_evtchn_bind_unbound_port(value domid)
{
    xenevtchn_port_or_error_t port = xenevtchn_bind_unbound_port(evtchn(), Int_val(domid));

    if (port < 0)
        uerror("xenevtchn_bind_unbound_port", Nothing);
    return Val_int(port);
}

value vl2cap_evtchn_unmask(value port)
{
    if (xenevtchn_unmask(evtchn(), Int_val(port)))
        uerror("xenevtchn_unmask", Nothing);
    return Val_unit;
}

value vl2cap_evtchn_notify(value port)
{
    if (xenevtchn_notify(evtchn(), Int_val(port)))
        uerror("xenevtchn_notify", Nothing);
    return Val_unit;
}

value vl2cap_evtchn_unbind(value port)
{
    if (xenevtchn_unbind(evtchn(), Int_val(port)))
        uerror("xenevtchn_unbind", Nothing);
    return Val_unit;
}

value vl2cap_evtchn_pending(value unit)
{
    xenevtchn_port_or_error_t port = xenevtchn_pending(evtchn());

    (void)unit;
    if (port < 0)
        uerror("xenevtchn_pending", Nothing);
    return Val_int(port);
}

/* Grants -------------------------------------------------------------------------------------------------------- */

/* Returns (the references, the memory). */
value vl2cap_gntshr_share(value domid, value count, value writable)
{
    CAMLparam0();
    CAMLlocal3(result, numbers, memory);
    uint32_t refs[MOST_PAGES];
    int pages = Int_val(count);
    void *shared;

    if (pages < 1 || pages > MOST_PAGES)
        unix_error(EINVAL, "xengntshr_share_pages", Nothing);
    shared = xengntshr_share_pages(gntshr(), Int_val(domid), pages, refs, Bool_val(writable));
    if (!shared)
        uerror("xengntshr_share_pages", Nothing);
    numbers = caml_alloc_tuple(pages);
    for (int i = 0; i < pages; i++)
        Store_field(numbers, i, Val_long(refs[i]));
    memory = caml_ba_alloc_dims(CAML_BA_UINT8 | CAML_BA_C_LAYOUT | CAML_BA_EXTERNAL, 1, shared, (intnat)pages * 4096);
    result = caml_alloc_tuple(2);
    Store_field(result, 0, numbers);
    Store_field(result, 1, memory);
    CAMLreturn(result);
}

/* Whoever uses the memory later ends with a segmentation fault, and not with somebody else's memory. */
value vl2cap_gntshr_unshare(value memory)
{
    struct caml_ba_array *array = Caml_ba_array_val(memory);
    void *shared = array->data;
    uint32_t pages = array->dim[0] / 4096;

    array->data = NULL;
    array->dim[0] = 0;
    if (shared && xengntshr_unshare(gntshr(), shared, pages))
        uerror("xengntshr_unshare", Nothing);
    return Val_unit;
}
