(* SPDX-License-Identifier: MIT *)
(** Bluetooth L2CAP channels from a Xen driver domain: a frontend of the device class vl2cap.

    {[
      module Bluetooth = Vl2cap.Make (Io_page) (Xs_protocol) (Mirage_sleep) (Xen_os)
    ]}

    What the driver domain and peers do wrong is a value of {!Error.t}; wrong arguments are [`Invalid]. Promises may be
    cancelled: what they had begun is then taken back. *)

module S = S
module Address = Address
module Error = Error

type info = Wire.info = {
  address : Address.t option;  (** on BR/EDR; [None] while there is no controller *)
  le_address : Address.t option;  (** as LE peers see it; [None] without LE, and with an old backend *)
  powered : bool;  (** whether there is a controller that works *)
  features : int;  (** L2CAPIF_FEATURE_* and L2CAPIF_KNOWS_* of l2capif.h *)
  max_channels : int;  (** this guest's limit *)
  channels : int;  (** how many it has *)
  max_mtu : int;  (** in octets *)
  generation : int;  (** changes when something else but [channels] does *)
}

type source = [ `Advertising | `Inquiry | `Name ]

type report = Wire.report = {
  device : Address.t;
  source : source;  (** what [data] is: of an LE advertisement, of a BR/EDR inquiry, or a BR/EDR device's name *)
  event_type : int;  (** on LE, as in HCI LE Advertising Report *)
  rssi : int option;  (** in dBm *)
  class_of_device : int;  (** on BR/EDR *)
  data : Cstruct.t;  (** AD structures, or a name *)
}

module type ADAPTER = sig
  type t
  (** The adapter of one device, [device/vl2cap/N], connected or not: it connects again by itself. *)

  type channel
  type listener
  type scan
  type advertisement

  type 'a answer = ('a, Error.t) result Lwt.t

  val open_ : ?device:int -> unit -> t Lwt.t
  (** Begins to serve the device, 0 by default, whether it is there yet or not. A program has one adapter a device. *)

  val wait_ready : t -> unit Lwt.t
  (** Waits until the driver domain is connected and its controller works. For a time limit, use [Lwt.pick]. *)

  val info : t -> info answer
  (** Asks what the adapter is and can do now. *)

  val trouble : t -> Error.trouble option
  (** Why there is no connection, or why the last one ended; [None] while all is well, or nothing is known yet. *)

  val disconnect : t -> unit Lwt.t
  (** Closes the device in order, and all that it has; waits for that, but not for a backend that is dead. *)

  (** {2 Channels} *)

  val connect :
    t -> ?security:Error.level -> ?mtu:int -> ?timeout_ms:int -> Address.t -> int -> channel answer
  (** [connect adapter peer psm]: opens a channel to a PSM (BR/EDR) or SPSM (LE) of a peer. [security]: the least level
      that the link must have, [`None] by default. [mtu]: of the longest SDU that this program takes, 672 by default.
      [timeout_ms]: the driver domain's by default, 20 s. *)

  val send : channel -> Cstruct.t -> unit answer
  (** Sends one SDU, which may be empty; waits while the way to the peer is full. Returns when it is on its way. Its
      octets have been copied then. *)

  val recv : channel -> Cstruct.t answer
  (** Waits for the next SDU. What came before the end of a channel comes before [`Closed]. *)

  val close : channel -> unit Lwt.t
  (** Ends the channel: the peer gets what was sent, if it takes it within a second, and a disconnection. Idempotent. If it
      is cancelled, the channel ends at once. *)

  val abort : channel -> unit Lwt.t
  (** Ends the channel at once. Idempotent. *)

  val peer : channel -> Address.t
  val tx_mtu : channel -> int
  (** Octets of the longest SDU that may be sent. *)

  val rx_mtu : channel -> int
  val security : channel -> Error.level

  (** {2 Listeners} *)

  val listen :
    t -> ?security:Error.level -> ?mtu:int -> ?backlog:int -> Address.transport -> int -> listener answer
  (** [listen adapter transport psm]: takes a PSM, so that peers can connect to it. [security]: the least level of a
      peer's link. A listener ends with the connection to the driver domain. *)

  val accept : listener -> channel answer
  (** Waits for the next peer. Several may wait. *)

  val close_listener : listener -> unit Lwt.t
  (** Ends the listener; channels that were accepted go on. Idempotent. *)

  (** {2 Scans and advertisements} *)

  val scan : t -> ?active:bool -> ?duplicates:bool -> Address.transport -> scan answer
  (** Begins to look who is there. [active]: asks for scan responses, or names. [duplicates]: reports all, not only what
      is new. *)

  val next : scan -> report answer
  (** Waits for the next report. Those that are not read are dropped in the driver domain. *)

  val close_scan : scan -> unit Lwt.t

  val advertise : t -> ?interval_ms:int -> ?connectable:bool -> string -> advertisement answer
  (** Makes the adapter known to LE peers, with AD structures of 31 octets at most, and connectable by default. *)

  val close_advertisement : advertisement -> unit Lwt.t
end

(** The arguments are the modules of a unikernel on mirage-xen 9.0.0 that have these names. *)
module Make
    (Io_page : S.IO_PAGE)
    (Xs_protocol : S.XS_PROTOCOL)
    (Sleep : S.SLEEP)
    (Xen_os : S.XEN_OS with type io_page := Io_page.t) : ADAPTER

(**/**)

(** For tests: not a part of the interface. *)
module Private : sig
  module Words = Words
  module Wire = Wire
  module Requests = Requests
  module Command_ring = Command_ring
  module Data_ring = Data_ring
end
