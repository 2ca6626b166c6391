(* SPDX-License-Identifier: MIT *)
(** Addresses of Bluetooth devices. *)

type transport = [ `Bredr | `Le ]
type kind = [ `Bredr | `Le_public | `Le_random ]

type t
(** An address with its kind, which tells the transport, too. *)

val of_string : kind -> string -> (t, [> `Invalid of string ]) result
(** Reads an address as C0:FF:EE:00:00:01. *)

val to_string : t -> string
val kind : t -> kind
val transport : t -> transport
val pp : Format.formatter -> t -> unit

(**/**)

val of_octets : int -> string -> t option
(** [of_octets address_type octets]: as they are in requests. [None] if there is no such type. *)

val address_type : t -> int
val octets : t -> string
