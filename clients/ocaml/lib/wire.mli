(* SPDX-License-Identifier: MIT *)
(** Requests, responses and reports as octets, as l2capif.h has them, and what of them is legal. *)

val entry_size : int
(** Octets of a request, and of a response. *)

val constants : (string * int) list
(** The constants of l2capif.h that are written down here, by their names without L2CAPIF_: for a test. *)

val min_ring_order : int
val max_ring_order : int
val advertise_data_size : int

(** Bits of {!type-info}'s [features]. *)

val knows_security : int
val knows_scan_extended : int

type listen = { transport : Address.transport; psm : int; mtu : int; backlog : int; security : Error.level }

(** [ref] and [port]: the grant reference and the event channel of a data ring. *)
type request =
  | Info of int option  (** with a generation: the answer comes when it is another *)
  | Connect of {
      ref : int;
      port : int;
      peer : Address.t;
      psm : int;
      mtu : int;
      security : Error.level;
      timeout_ms : int;
    }
  | Listen of listen
  | Accept of { ref : int; port : int; listener : int; of_ : listen }
  | Release
  | Scan of {
      ref : int;
      port : int;
      transport : Address.transport;
      active : bool;
      duplicates : bool;
      extended : bool;
    }
  | Advertise of { interval_ms : int; connectable : bool; data : string }

val check : request -> (unit, [> `Invalid of string ]) result
(** Whether each argument fits into its field. What is out of range otherwise is for the backend to refuse. *)

val pack : req_id:int -> id:int -> request -> bytes

type info = {
  address : Address.t option;  (** on BR/EDR; [None] while there is no controller *)
  le_address : Address.t option;  (** as LE peers see it; [None] without LE, and with an old backend *)
  powered : bool;  (** whether there is a controller that works *)
  features : int;  (** L2CAPIF_FEATURE_* and L2CAPIF_KNOWS_* *)
  max_channels : int;
  channels : int;
  max_mtu : int;
  generation : int;
}

type channel = { peer : Address.t; security : Error.level; psm : int; tx_mtu : int; rx_mtu : int }
type body = Info_body of info | Channel_body of channel | Done
type response = (body, Error.t) result

val req_id : bytes -> int

val parse : id:int -> request -> bytes -> (response, string) result
(** Reads the response to a request. [Error]: it breaks the protocol, and how. *)

type source = [ `Advertising | `Inquiry | `Name ]

type report = {
  device : Address.t;
  source : source;
  event_type : int;  (** on LE, as in HCI LE Advertising Report *)
  rssi : int option;  (** dBm *)
  class_of_device : int;  (** on BR/EDR *)
  data : Cstruct.t;  (** AD structures, or a name *)
}

val parse_report : extended:bool -> Cstruct.t -> (report, string) result
