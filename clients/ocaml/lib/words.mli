(* SPDX-License-Identifier: MIT *)
(** 32-bit words in memory that another domain writes, too, and the order in which both ends see them.

    A word is an [int] from 0 to 2{^32} - 1. Offsets are in octets, and multiples of four; the caller keeps to the
    memory. *)

val load : Cstruct.t -> int -> int
(** Loads a word once. Nothing that the program reads or writes after it comes before it. *)

val store : Cstruct.t -> int -> int -> unit
(** Stores a word once. Nothing that the program reads or writes before it comes after it. *)

val full_barrier : unit -> unit
(** What is stored before it is visible before anything is loaded after it. *)

val wrap : int -> int
(** The number modulo 2{^32}. *)

val distance : from:int -> int -> int
(** How far an index is ahead of another, modulo 2{^32}. *)

val passed : event:int -> before:int -> now:int -> bool
(** Whether an index that moved has passed [event], so that who waits there is to be notified. *)
