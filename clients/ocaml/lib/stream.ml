(* SPDX-License-Identifier: MIT *)
(** Messages both ways through a data ring that is shared with the backend.

    There is no fiber of its own: who waits for a message, or for room, reads or writes the ring itself. *)

module Make (Io_page : S.IO_PAGE) (Xen_os : S.XEN_OS with type io_page := Io_page.t) = struct
  open Lwt.Syntax
  open Xen_os
  module Shared = Shared.Make (Io_page) (Xen_os)

  type t = {
    shared : Shared.t;
    ring : Data_ring.t;
    max_message : int;
    inbox : Cstruct.t Queue.t;  (** read from the ring, and not taken yet *)
    readers : Lwt_mutex.t;
    writers : Lwt_mutex.t;
    mutable read_event : Activations.event;  (** the last that the reader has seen *)
    mutable write_event : Activations.event;
    mutable over : Error.t option;  (** why the ring is not touched any more *)
    mutable has_sent : bool;
  }

  let create ~domid ~order =
    let make (shared : Shared.t) =
      {
        shared;
        ring = Data_ring.create shared.memory ~refs:shared.refs ~order;
        max_message = Data_ring.max_message ~order;
        inbox = Queue.create ();
        readers = Lwt_mutex.create ();
        writers = Lwt_mutex.create ();
        read_event = Activations.program_start;
        write_event = Activations.program_start;
        over = None;
        has_sent = false;
      }
    in
    Result.map make (Shared.create ~domid ~pages:(Data_ring.pages ~order))

  let ref stream = List.hd stream.shared.Shared.refs
  let port stream = stream.shared.Shared.port

  let set_over stream error =
    if stream.over = None then begin
      stream.over <- Some error;
      Shared.stop stream.shared
    end

  let broken stream reason = set_over stream (`Closed (`Broken reason))

  (** Reads the ring into the inbox; [true] if something came. *)
  let fill stream =
    match Data_ring.read stream.ring with
    | Error reason ->
        broken stream reason;
        false
    | Ok (messages, notify) ->
        if notify then Shared.notify stream.shared;
        List.iter (fun message -> Queue.push message stream.inbox) messages;
        messages <> []

  let closed errno : Error.t = `Closed (Error.closed_of_errno errno)

  let rec receive_locked stream =
    match (Queue.take_opt stream.inbox, stream.over) with
    | Some message, _ -> Lwt.return_ok message
    | None, Some error -> Lwt.return_error error
    | None, None when fill stream -> receive_locked stream
    | None, None -> (
        match Data_ring.error stream.ring with
        | 0 ->
            let* event = Shared.after stream.shared stream.read_event in
            seen_by_reader stream event;
            receive_locked stream
        | errno ->
            set_over stream (closed errno);
            receive_locked stream)

  and seen_by_reader stream = function
    | Some event -> stream.read_event <- event
    | None -> set_over stream `Disconnected

  let receive stream = Lwt_mutex.with_lock stream.readers (fun () -> receive_locked stream)

  let rec send_locked stream message =
    match stream.over with
    | Some error -> Lwt.return_error error
    | None -> (
        match Data_ring.ended stream.ring with
        | 0 -> write stream message
        | errno -> Lwt.return_error (closed errno))

  and write stream message =
    match Data_ring.write stream.ring message with
    | Error reason ->
        broken stream reason;
        send_locked stream message
    | Ok (`Written notify) ->
        stream.has_sent <- true;
        if notify then Shared.notify stream.shared;
        Lwt.return_ok ()
    | Ok `Full ->
        let* event = Shared.after stream.shared stream.write_event in
        (match event with
        | Some event -> stream.write_event <- event
        | None -> set_over stream `Disconnected);
        send_locked stream message

  let send stream message =
    if Cstruct.length message > stream.max_message then
      Lwt.return_error (`Invalid (Printf.sprintf "%d octets: the ring takes %d" (Cstruct.length message) stream.max_message))
    else Lwt_mutex.with_lock stream.writers (fun () -> send_locked stream message)

  (** Ends our direction, and waits until the backend has sent everything on. What still comes is dropped. Other fibers
      run in between, as who sends without end keeps this one. *)
  let finish stream =
    let rec drain event =
      Queue.clear stream.inbox;
      if stream.over <> None then Lwt.return_unit
      else if fill stream then
        let* () = Lwt.pause () in
        drain event
      else if stream.over <> None || Data_ring.error stream.ring <> 0 then Lwt.return_unit
      else
        let* event = Shared.after stream.shared event in
        match event with Some event -> drain event | None -> Lwt.return_unit
    in
    if stream.over <> None || (not stream.has_sent) || Data_ring.ended stream.ring <> 0 then Lwt.return_unit
    else begin
      Data_ring.end_ stream.ring 107;
      Shared.notify stream.shared;
      drain Activations.program_start
    end

  (** Ends the stream for the program. What came until now can still be received if [keep]. The pages stay shared. *)
  let stop stream ~keep error =
    if keep && stream.over = None then ignore (fill stream : bool);
    if not keep then Queue.clear stream.inbox;
    set_over stream error

  (** Gives the pages back, once the backend has let go of them. Idempotent. *)
  let close stream =
    set_over stream `Disconnected;
    Shared.close stream.shared
end
