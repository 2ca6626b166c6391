(* SPDX-License-Identifier: MIT *)
(** What goes wrong in xenstore, by the names that it has in a unikernel. *)

exception Enoent of string
exception Eagain
exception Error of string
