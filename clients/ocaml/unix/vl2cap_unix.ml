(* SPDX-License-Identifier: MIT *)
(** The adapter of a Linux guest, over Xen's libraries: [Vl2cap_unix.open_], and so on. *)

include Vl2cap.Make (Io_page) (Xs_protocol) (Mirage_sleep) (Xen_os)
