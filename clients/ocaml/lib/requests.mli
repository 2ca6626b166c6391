(* SPDX-License-Identifier: MIT *)
(** Requests without an answer, and those that wait for the ring; no input or output. *)

type t

val create : unit -> t

val full : t -> bool
(** Whether so many requests wait that no more should be made, but for RELEASEs. *)

val send : t -> Wire.request -> (Wire.response -> unit) -> int
(** Returns the request's number, which is also that of the object that it makes. The function gets the response, once. *)

val release : t -> int -> (unit -> unit) -> unit
(** Ends an object, also one whose request is not answered yet. The function is called when the backend has let go. *)

val take : t -> int -> bytes list
(** Hands over at most so many requests for the ring, in order. *)

val receive : t -> bytes -> (unit, string) result
(** Takes a response from the ring, and hands it out. [Error]: it breaks the protocol. *)

val close : t -> unit
(** Answers all requests with [`Disconnected]. *)
