(* SPDX-License-Identifier: MIT *)
(** The frontend's end of the command ring: one page of requests and responses, as Xen's ring.h has it. *)

type t

val create : ?start:int -> Cstruct.t -> t
(** Makes a ring of a page, which must not be shared yet. [start]: as if so many requests had been answered, for tests. *)

val room : t -> int
(** How many requests can be put now. *)

val put : t -> bytes list -> bool
(** Puts at most [room] requests. Returns whether to notify the backend. *)

val take : t -> (bytes list, string) result
(** Copies out all responses, and asks for an event on the next. [Error]: the backend's index is impossible. *)
