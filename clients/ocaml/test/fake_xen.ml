(* SPDX-License-Identifier: MIT *)
(* A Xen in this process: fills the signatures of vl2cap, and shows a test what a hypervisor sees. Nothing waits for the
   clock: time passes when nobody has anything else to do. *)

open Lwt.Infix

module Io_page = struct
  type t = Cstruct.buffer

  let to_cstruct = Cstruct.of_bigarray ?off:None ?len:None
end

module Xs_protocol = struct
  exception Enoent of string
  exception Eagain
end

exception Denied of string

module Make () = struct
  (* What is wrong with the guest, which a hypervisor would not have let pass. *)
  let faults : string list ref = ref []
  let fault text = faults := text :: !faults

  (* Time *)

  let now = ref 0L
  let sleepers : (int64 * unit Lwt.u) list ref = ref []

  module Sleep = struct
    let ns duration =
      let over, wake = Lwt.task () in
      let later (first, _) (second, _) = Int64.compare first second in
      sleepers := List.stable_sort later ((Int64.add !now duration, wake) :: !sleepers);
      over
  end

  let most_turns = 100_000

  (* Lets everybody do what can be done now. *)
  let settle () =
    let turns = ref 0 in
    while Lwt.paused_count () > 0 do
      incr turns;
      if !turns > most_turns then failwith "it never rests";
      Lwt.wakeup_paused ()
    done

  (* Goes on to when the next sleeper wakes. *)
  let pass_time () =
    match !sleepers with
    | [] -> ()
    | (time, wake) :: others ->
        now := time;
        sleepers := others;
        Lwt.wakeup wake ();
        settle ()

  (* Xenstore: who is denied something hears [Denied]. *)

  let nodes : (string, string) Hashtbl.t = Hashtbl.create 32
  let version = ref 0
  let changed = Lwt_condition.create ()
  let denies : (string -> bool) ref = ref (fun _ -> false)

  let change () =
    incr version;
    Lwt_condition.broadcast changed ()

  let set path value =
    Hashtbl.replace nodes path value;
    change ()

  let remove path =
    Hashtbl.remove nodes path;
    change ()

  module Xs = struct
    type client = unit
    type handle = unit

    let make () = Lwt.return_unit

    let call path f =
      Lwt.pause () >>= fun () -> if !denies path then Lwt.fail (Denied path) else Lwt.wrap f

    let read () path =
      call path (fun () ->
          match Hashtbl.find_opt nodes path with Some value -> value | None -> raise (Xs_protocol.Enoent path))

    let write () path value = call path (fun () -> set path value)
    let immediate () f = f ()

    let wait () f =
      let rec go () =
        let seen = !version in
        Lwt.catch
          (fun () -> f () >|= Option.some)
          (function Xs_protocol.Eagain -> Lwt.return_none | exn -> Lwt.fail exn)
        >>= function
        | Some result -> Lwt.return result
        | None -> (if !version <> seen then Lwt.return_unit else Lwt_condition.wait changed) >>= go
      in
      go ()
  end

  (* Event channels *)

  type port = { mutable bound : bool; mutable count : int; fired : unit Lwt_condition.t }

  let ports : (int, port) Hashtbl.t = Hashtbl.create 64
  let bound () = Hashtbl.fold (fun _ port count -> if port.bound then count + 1 else count) ports 0
  let most_ports = 4

  module Eventchn = struct
    type handle = unit
    type t = int

    let init () = ()
    let to_int number = number

    let bind_unbound_port () (_ : int) =
      if bound () >= most_ports then failwith "no port is left";
      let number = 1 + Hashtbl.length ports in
      Hashtbl.replace ports number { bound = true; count = 0; fired = Lwt_condition.create () };
      number

    let port number =
      let port = Hashtbl.find ports number in
      if not port.bound then failwith "the port is not bound";
      port

    let unmask () number = ignore (port number : port)
    let notify () number = try ignore (port number : port) with Failure text -> fault text; failwith text

    let unbind () number =
      match port number with
      | port -> port.bound <- false
      | exception Failure text ->
          fault text;
          failwith text
  end

  let fire number =
    match Hashtbl.find_opt ports number with
    | Some port when port.bound ->
        port.count <- port.count + 1;
        Lwt_condition.broadcast port.fired ()
    | Some _ | None -> ()

  module Activations = struct
    type event = int

    let program_start = min_int

    let rec after number event =
      let port = Hashtbl.find ports number in
      if port.count > event then Lwt.return port.count else Lwt_condition.wait port.fired >>= fun () -> after number event
  end

  (* Grants: pages that were taken back are filled with [taken_back], and nobody must touch them again. *)

  let page_size = 4096
  let most_pages = 120
  let taken_back = 0xa5
  let granted : (int, Cstruct.t) Hashtbl.t = Hashtbl.create 64
  let old_pages : Cstruct.t list ref = ref []
  let last_ref = ref 1000

  module Xen = struct
    module Gntref = struct
      type t = int

      let to_int32 = Int32.of_int
    end

    module Export = struct
      type t = { refs : int list; mapping : Io_page.t }

      let refs export = export.refs
      let mapping export = export.mapping

      let share_pages ~domid:(_ : int) ~count ~writable:(_ : bool) =
        if Hashtbl.length granted + count > most_pages then Error `Grant_table_full
        else begin
          let memory = Cstruct.create (page_size * count) in
          let grant number =
            incr last_ref;
            Hashtbl.replace granted !last_ref (Cstruct.sub memory (page_size * number) page_size);
            !last_ref
          in
          Ok { refs = List.init count grant; mapping = memory.Cstruct.buffer }
        end

      let take_back ref =
        match Hashtbl.find_opt granted ref with
        | None -> fault "a page is taken back twice"
        | Some page ->
            Hashtbl.remove granted ref;
            Cstruct.memset page taken_back;
            old_pages := page :: !old_pages

      let unshare ~release_refs:(_ : bool) export =
        List.iter take_back export.refs;
        Lwt.return_unit
    end
  end

  let check_old_pages () =
    let is_untouched page = Cstruct.to_string page = String.make page_size (Char.chr taken_back) in
    if not (List.for_all is_untouched !old_pages) then fault "a page was written after it was taken back"
end
