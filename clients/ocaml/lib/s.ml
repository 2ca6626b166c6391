(* SPDX-License-Identifier: MIT *)
(** What a frontend needs of Xen, cut to the modules of mirage-xen 9.0.0, which fill it as they are.

    The names are those of the modules that fill each signature, and the words in them mean what they mean there. *)

(** Memory that can be shared: [Io_page] of the package io-page. *)
module type IO_PAGE = sig
  type t

  val to_cstruct : t -> Cstruct.t
end

(** What goes wrong in xenstore: [Xs_protocol] of the package xenstore. *)
module type XS_PROTOCOL = sig
  exception Enoent of string
  (** There is no such node. *)

  exception Eagain
  (** Raised in [Xs.wait]: what is waited for is not the case yet. *)
end

(** Pauses: [Mirage_sleep] of the package mirage-sleep. *)
module type SLEEP = sig
  val ns : int64 -> unit Lwt.t
end

(** [Xen_os.Xs] *)
module type XS = sig
  type client
  type handle

  val make : unit -> client Lwt.t
  val immediate : client -> (handle -> 'a Lwt.t) -> 'a Lwt.t

  val wait : client -> (handle -> 'a Lwt.t) -> 'a Lwt.t
  (** Calls the function until it does not fail with [Eagain]: again, whenever a node that it has read changes. *)

  val read : handle -> string -> string Lwt.t
  val write : handle -> string -> string -> unit Lwt.t
end

(** [Xen_os.Eventchn]. What fails raises [Failure]. *)
module type EVENTCHN = sig
  type handle
  type t

  val init : unit -> handle
  val to_int : t -> int
  val bind_unbound_port : handle -> int -> t
  val unmask : handle -> t -> unit
  val notify : handle -> t -> unit
  val unbind : handle -> t -> unit
end

(** [Xen_os], with its grants in [Xen_os.Xen]. *)
module type XEN_OS = sig
  type io_page

  module Xs : XS
  module Eventchn : EVENTCHN

  module Activations : sig
    type event

    val program_start : event

    val after : Eventchn.t -> event -> event Lwt.t
    (** Waits until there is a newer event than this one: none that comes between two calls is lost. *)
  end

  module Xen : sig
    module Gntref : sig
      type t

      val to_int32 : t -> int32
    end

    module Export : sig
      type t

      val refs : t -> Gntref.t list
      val mapping : t -> io_page

      val share_pages :
        domid:int -> count:int -> writable:bool -> (t, [> `Grant_table_full ]) result

      val unshare : release_refs:bool -> t -> unit Lwt.t
      (** Takes the pages back, as soon as the other domain does not map them any more. *)
    end
  end
end
