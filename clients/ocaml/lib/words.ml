(* SPDX-License-Identifier: MIT *)

external load_at : Cstruct.buffer -> (int[@untagged]) -> (int[@untagged])
  = "vl2cap_load_bytecode" "vl2cap_load"
  [@@noalloc]

external store_at : Cstruct.buffer -> (int[@untagged]) -> (int[@untagged]) -> unit
  = "vl2cap_store_bytecode" "vl2cap_store"
  [@@noalloc]

external full_barrier : unit -> unit = "vl2cap_full_barrier" [@@noalloc]

(* Indices are of 32 bits, and so are differences of two. *)
let () = assert (Sys.int_size > 33)

let load memory offset = load_at memory.Cstruct.buffer (memory.Cstruct.off + offset)
let store memory offset word = store_at memory.Cstruct.buffer (memory.Cstruct.off + offset) word
let wrap number = number land 0xffff_ffff
let distance ~from index = wrap (index - from)
let passed ~event ~before ~now = distance ~from:event now < distance ~from:before now
