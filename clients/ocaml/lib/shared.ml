(* SPDX-License-Identifier: MIT *)
(** Pages and an event channel that are shared with the driver domain together. *)

module Make (Io_page : S.IO_PAGE) (Xen_os : S.XEN_OS with type io_page := Io_page.t) = struct
  open Xen_os
  open Lwt.Infix
  module Export = Xen.Export

  let handle = Eventchn.init ()

  type t = {
    memory : Cstruct.t;  (** zeroed *)
    refs : int list;  (** of the pages, in their order *)
    port : int;
    evtchn : Eventchn.t;
    export : Export.t;
    stopped : unit Lwt.t;  (** resolves when nobody is to wait for events any more *)
    stopper : unit Lwt.u;
    mutable closed : bool;
  }

  (* What is still mapped is taken back later: the backend unmaps it, or dies. *)
  let unshare export =
    Lwt.async (fun () ->
        Lwt.catch (fun () -> Export.unshare ~release_refs:true export) (fun (_ : exn) -> Lwt.return_unit))

  let create ~domid ~pages =
    match Export.share_pages ~domid ~count:pages ~writable:true with
    | Error `Grant_table_full -> Error `No_pages
    | exception Failure _ -> Error `No_pages
    | Ok export -> (
        match Eventchn.bind_unbound_port handle domid with
        | exception Failure _ ->
            unshare export;
            Error `No_pages
        | evtchn ->
            Eventchn.unmask handle evtchn;
            let memory = Io_page.to_cstruct (Export.mapping export) in
            Cstruct.memset memory 0;
            let number ref = Words.wrap (Int32.to_int (Xen.Gntref.to_int32 ref)) in
            let stopped, stopper = Lwt.wait () in
            let refs = List.map number (Export.refs export) and port = Eventchn.to_int evtchn in
            Ok { memory; refs; port; evtchn; export; stopped; stopper; closed = false })

  let notify shared =
    (* After a resume the port is void; who waits for events hears of that. *)
    try Eventchn.notify handle shared.evtchn with Failure _ -> ()

  (** Wakes who waits for events, for good. Idempotent. *)
  let stop shared = if Lwt.is_sleeping shared.stopped then Lwt.wakeup shared.stopper ()

  (** Gives everything back, once the backend has let go of it. Idempotent. *)
  let close shared =
    if not shared.closed then begin
      shared.closed <- true;
      (* Who waits for an event has to stop before the port is another's. *)
      stop shared;
      (try Eventchn.unbind handle shared.evtchn with Failure _ -> ());
      unshare shared.export
    end

  (** Waits for an event that is newer than [event]; [None] if it was stopped, or event channels are void: the pages may
      be gone then. *)
  let after shared event =
    let wait () = Activations.after shared.evtchn event >|= Option.some in
    let stopped () = shared.stopped >|= fun () -> None in
    if not (Lwt.is_sleeping shared.stopped) then Lwt.return_none
    else
      Lwt.catch
        (fun () -> Lwt.pick [ wait (); stopped () ])
        (function Lwt.Canceled -> Lwt.fail Lwt.Canceled | _ -> Lwt.return_none)
end
