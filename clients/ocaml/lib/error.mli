(* SPDX-License-Identifier: MIT *)
(** What can go wrong, as values. No function of this library raises on what the driver domain or a peer does. *)

type level = [ `None | `Encrypted | `Authenticated | `Secure ]
(** How secure a link is: levels 0, 2, 3 and 4 of docs/l2capif.md. *)

type insecurity = {
  needed : level;  (** what the link has to be *)
  why : int;  (** L2CAPIF_WHY_*: what was missing *)
}

type closed =
  [ `Peer  (** the peer, or this end, has ended the channel in order *)
  | `Link_lost
  | `Not_read  (** this program did not read, on a channel without flow control *)
  | `Not_allowed  (** the driver domain does not allow it any more *)
  | `Not_secure  (** the link is not secure enough any more *)
  | `No_controller
  | `Broken of string  (** one of the ends broke the protocol *)
  | `Other of int  (** an error number that this version does not know *) ]

type t =
  [ `Disconnected  (** the driver domain's service is away: the adapter connects again by itself *)
  | `Closed of closed  (** the channel or scan has ended; what came before has been read *)
  | `Refused of int  (** by the peer, with this result of L2CAP *)
  | `Timeout of int  (** no answer, or no link; the HCI status, 0 where there is none *)
  | `Denied  (** the driver domain's policy does not allow it *)
  | `Not_secure of insecurity
  | `Limit  (** this guest has as many as the driver domain lets it have *)
  | `Too_often  (** this guest has connected too often in the last minute *)
  | `In_use  (** by this guest or another *)
  | `No_controller
  | `Not_supported  (** by the backend, or by the controller *)
  | `No_pages  (** the grant table of this guest is full, or it has no event channel left *)
  | `Invalid of string  (** an argument *)
  | `Errno of int  (** a Xen error number that this version does not know *) ]

type trouble =
  [ `No_device  (** this guest has no such device, or not any more *)
  | `Node of string * string option  (** a node of xenstore with a value that cannot be; [None]: it is not there *)
  | `Version of string  (** the backend speaks these versions of the protocol, and not ours *)
  | `Backend_closed
  | `Command_ring of string  (** the backend broke the protocol there *)
  | `State_written  (** somebody else has written into this end's state *)
  | `Events_void  (** after a resume *)
  | `No_pages  (** the grant table of this guest is full, or it has no event channel left *)
  | `Xen of string  (** what this guest's own part of Xen has refused *) ]
(** Why there is no connection to the driver domain. *)

val to_string : t -> string
val pp : Format.formatter -> t -> unit
val trouble_to_string : trouble -> string

(**/**)

val level_of_int : int -> level
val level_to_int : level -> int
val closed_of_errno : int -> closed

val of_failure : errno:int -> result:int -> status:int -> why:int -> needed:int -> t
(** Of a response with an error. *)
