(* SPDX-License-Identifier: MIT *)
(** Xen's libraries for Linux behind the interface that mirage-xen has in a unikernel, as far as vl2cap wants it. *)

open Lwt.Infix

(* Reads what a descriptor has to say, for ever. *)
let rec follow descriptor receive =
  Lwt_unix.wait_read descriptor >>= fun () ->
  receive ();
  follow descriptor receive

let descriptor fileno = Lwt_unix.of_unix_file_descr ~blocking:true ~set_flags:false (fileno ())

module Xs = struct
  external fileno : unit -> Unix.file_descr = "vl2cap_xs_fileno"
  external xs_read : string -> string = "vl2cap_xs_read"
  external xs_write : string -> string -> unit = "vl2cap_xs_write"
  external xs_watch : string -> string -> unit = "vl2cap_xs_watch"
  external xs_unwatch : string -> string -> unit = "vl2cap_xs_unwatch"
  external xs_check_watch : unit -> string = "vl2cap_xs_check_watch"

  module Paths = Set.Make (String)

  type watch = { mutable fired : bool;  (** since it was looked *) changed : unit Lwt_condition.t }
  type client = { watches : (string, watch) Hashtbl.t;  (** by token *) mutable last : int }
  type handle = { mutable read_paths : Paths.t }

  let client = lazy { watches = Hashtbl.create 8; last = 0 }

  let rec receive () =
    match xs_check_watch () with
    | "" -> ()
    | token ->
        let fire watch =
          watch.fired <- true;
          Lwt_condition.broadcast watch.changed ()
        in
        Option.iter fire (Hashtbl.find_opt (Lazy.force client).watches token);
        receive ()

  let make () =
    if not (Lazy.is_val client) then begin
      let watched = descriptor fileno in
      let (_ : client) = Lazy.force client in
      Lwt.async (fun () -> follow watched receive)
    end;
    Lwt.return (Lazy.force client)

  (* In a unikernel another fiber may run during each call: here, too. *)
  let call f =
    Lwt.pause () >|= fun () ->
    try f () with
    | Unix.Unix_error (ENOENT, _, path) -> raise (Xs_protocol.Enoent path)
    | Unix.Unix_error (error, _, path) -> raise (Xs_protocol.Error (path ^ ": " ^ Unix.error_message error))

  let read handle path =
    handle.read_paths <- Paths.add path handle.read_paths;
    call (fun () -> xs_read path)

  let write (_ : handle) path content = call (fun () -> xs_write path content)
  let immediate (_ : client) f = f { read_paths = Paths.empty }

  let wait client f =
    client.last <- client.last + 1;
    let token = string_of_int client.last in
    let watch = { fired = false; changed = Lwt_condition.create () } in
    Hashtbl.replace client.watches token watch;
    let wait_fired () = if watch.fired then Lwt.return_unit else Lwt_condition.wait watch.changed in
    let rec go watched =
      let handle = { read_paths = Paths.empty } in
      (* What changes while the function looks makes it look again. *)
      watch.fired <- false;
      Lwt.catch
        (fun () -> f handle >|= Option.some)
        (function Xs_protocol.Eagain -> Lwt.return_none | exn -> forget watched; Lwt.fail exn)
      >>= function
      | Some result ->
          forget watched;
          Lwt.return result
      | None ->
          let wanted = handle.read_paths in
          if Paths.equal wanted watched then wait_fired () >>= fun () -> go watched
          else begin
            (* A new watch fires at once, so nothing is missed between the look and the watch. *)
            Paths.iter (fun path -> xs_unwatch path token) (Paths.diff watched wanted);
            Paths.iter (fun path -> xs_watch path token) (Paths.diff wanted watched);
            wait_fired () >>= fun () -> go wanted
          end
    and forget watched =
      Paths.iter (fun path -> xs_unwatch path token) watched;
      Hashtbl.remove client.watches token
    in
    go Paths.empty
end

module Eventchn = struct
  external bind : int -> int = "vl2cap_evtchn_bind_unbound_port"
  external stub_unmask : int -> unit = "vl2cap_evtchn_unmask"
  external stub_notify : int -> unit = "vl2cap_evtchn_notify"
  external stub_unbind : int -> unit = "vl2cap_evtchn_unbind"

  type handle = unit
  type t = int

  (* As mirage-xen has it, what fails raises Failure. *)
  let call f argument =
    try f argument with Unix.Unix_error (error, name, _) -> failwith (name ^ ": " ^ Unix.error_message error)

  let init () = ()
  let to_int port = port
  let bind_unbound_port () domid = call bind domid
  let unmask () port = call stub_unmask port
  let notify () port = call stub_notify port
  let unbind () port = call stub_unbind port
end

module Activations = struct
  external fd : unit -> Unix.file_descr = "vl2cap_evtchn_fd"
  external pending : unit -> int = "vl2cap_evtchn_pending"

  type event = int
  type port = { mutable count : event; fired : unit Lwt_condition.t }

  let program_start = min_int
  let ports : (int, port) Hashtbl.t = Hashtbl.create 64

  let port number =
    match Hashtbl.find_opt ports number with
    | Some port -> port
    | None ->
        let port = { count = program_start; fired = Lwt_condition.create () } in
        Hashtbl.replace ports number port;
        port

  let receive () =
    let number = pending () in
    let port = port number in
    port.count <- port.count + 1;
    Lwt_condition.broadcast port.fired ();
    (* The port may have been unbound meanwhile. *)
    try Eventchn.unmask () number with Failure _ -> ()

  let started = lazy (Lwt.async (fun () -> follow (descriptor fd) receive))

  let rec after channel event =
    Lazy.force started;
    let port = port channel in
    if port.count > event then Lwt.return port.count
    else Lwt_condition.wait port.fired >>= fun () -> after channel event
end

module Xen = struct
  module Gntref = struct
    type t = int

    let to_int32 = Int32.of_int
  end

  module Export = struct
    external share : int -> int -> bool -> int array * Io_page.t = "vl2cap_gntshr_share"
    external stub_unshare : Io_page.t -> unit = "vl2cap_gntshr_unshare"

    type t = { refs : Gntref.t list; mapping : Io_page.t }

    let refs export = export.refs
    let mapping export = export.mapping

    let share_pages ~domid ~count ~writable =
      match share domid count writable with
      | refs, mapping -> Ok { refs = Array.to_list refs; mapping }
      | exception Unix.Unix_error _ -> Error `Grant_table_full

    let unshare ~release_refs:(_ : bool) export = Lwt.wrap1 stub_unshare export.mapping
  end
end
