(* SPDX-License-Identifier: MIT *)
(** Memory that is shared, by the name that it has in a unikernel. *)

type t = Cstruct.buffer

let to_cstruct = Cstruct.of_bigarray ?off:None ?len:None
