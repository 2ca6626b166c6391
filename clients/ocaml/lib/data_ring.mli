(* SPDX-License-Identifier: MIT *)
(** The frontend's end of a data ring: whole messages both ways.

    The backend can write to the pages at any time: indices of our own are in private memory, those of the backend are
    loaded once and checked, and messages are copied out before their lengths are looked at. *)

type t

val pages : order:int -> int
(** Pages of a ring: that of the indices, and the data. *)

val max_message : order:int -> int
(** Octets of the longest message that fits. *)

val create : ?start:int -> Cstruct.t -> refs:int list -> order:int -> t
(** Makes a ring of zeroed pages, in the order of their grant references, before the backend knows them. [start]: as if so
    many octets had passed both ways, for tests. *)

val write : t -> Cstruct.t -> ([ `Written of bool | `Full ], string) result
(** Writes a message that is not longer than the longest. [`Written true]: the backend is to be notified. [`Full]: an
    event comes when it fits. [Error]: the backend's index is impossible. *)

val read : t -> (Cstruct.t list * bool, string) result
(** Takes all messages; and whether to notify the backend. With none, an event comes with the next. *)

val end_ : t -> int -> unit
(** Ends our direction with an error number; the backend is to be notified. *)

val ended : t -> int
(** The error number with which the backend has ended its direction, 0 while it has not; messages may be left. *)

val error : t -> int
(** The same, but 0 as long as messages are left. *)
