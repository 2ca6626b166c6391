(* SPDX-License-Identifier: MIT *)
(** Follows one device for its whole life: waits for it, connects, closes, and connects again.

    Uses no transactions: nodes are written one by one, [state] last, after a look whether the device is still ours. *)

module Make
    (Io_page : S.IO_PAGE)
    (Xs_protocol : S.XS_PROTOCOL)
    (Sleep : S.SLEEP)
    (Xen_os : S.XEN_OS with type io_page := Io_page.t) =
struct
  open Lwt.Syntax
  open Xen_os
  module Connection = Connection.Make (Io_page) (Xen_os)

  (* States of Xenbus. *)
  let initialising = 1
  let init_wait = 2
  let initialised = 3
  let connected = 4
  let closing = 5
  let closed = 6
  let version = "1"

  (* DOMID_FIRST_RESERVED of Xen's xen.h. *)
  let first_reserved_domid = 0x7ff0

  exception Made_anew
  (** Our directory is gone, or another device's. *)

  exception Fault of Error.trouble
  (** The other end, or somebody else, does not keep to the protocol. *)

  type device = { path : string;  (** the backend's directory *) domid : int; mutable state : int  (** ours *) }

  type t = {
    xs : Xs.client;
    path : string;  (** device/vl2cap/N *)
    on_connected : Connection.t -> unit;
    on_disconnected : unit -> unit;
    changed : unit Lwt_condition.t;
    mutable changes : int;
    mutable connection : Connection.t option;
    mutable fault : Error.trouble option;  (** of this connection *)
    mutable trouble : Error.trouble option;  (** why there is no connection *)
    mutable pause : float;  (** in seconds, before the next attempt after a fault *)
    mutable stopping : bool;
    mutable followed : bool;  (** that the watch goes on *)
  }

  let first_pause = 0.1
  let last_pause = 10.0

  let parse_number text =
    let digits = String.length text in
    let is_number = digits > 0 && digits <= 10 && String.for_all (function '0' .. '9' -> true | _ -> false) text in
    if is_number then int_of_string_opt ("0u" ^ text) else None

  (* Nothing where the node cannot be read, and 0, Unknown, for what is no state. *)
  let parse_state = Option.map (fun text -> Option.value (parse_number text) ~default:0)

  let is_leaving = function None -> true | Some state -> state = closing || state = closed || state = 0
  let is_new state = state = Some initialising || state = Some init_wait

  let read_node handle path =
    Lwt.catch
      (fun () -> Lwt.map Option.some (Xs.read handle path))
      (function Xs_protocol.Enoent _ -> Lwt.return_none | exn -> Lwt.fail exn)

  (* A node of the backend that cannot be read is as good as none. *)
  let read_other handle path =
    Lwt.catch
      (fun () -> read_node handle path)
      (function Xs_protocol.Eagain -> Lwt.fail Xs_protocol.Eagain | _ -> Lwt.return_none)

  type look = { own : string option; backend : string option; other : string option }

  let look_with t handle =
    let* own = read_node handle (t.path ^ "/state") in
    let* backend = read_node handle (t.path ^ "/backend") in
    let+ other =
      match backend with None -> Lwt.return_none | Some path -> read_other handle (path ^ "/state")
    in
    { own; backend; other }

  let look t = Xs.immediate t.xs (look_with t)

  let wake t =
    t.changes <- t.changes + 1;
    Lwt_condition.broadcast t.changed ()

  (* Looks whether a device's nodes have changed, for ever. A wait of Xs is never cancelled: the client of mirage-xen
     fails outside of it then. *)
  let rec follow t last =
    let difference handle =
      let* now = look_with t handle in
      if now = last && t.followed then Lwt.fail Xs_protocol.Eagain else Lwt.return now
    in
    let* now =
      Lwt.catch
        (fun () -> Lwt.map Option.some (Xs.wait t.xs difference))
        (fun (_ : exn) -> Lwt.map (fun () -> None) (Sleep.ns 1_000_000_000L))
    in
    wake t;
    if t.followed then follow t (Option.value now ~default:last) else Lwt.return_unit

  let wait_change t seen = if t.changes <> seen then Lwt.return_unit else Lwt_condition.wait t.changed

  (* Whether this is still the device that we know: one that was made anew is Initialising. *)
  let is_ours (device : device) now =
    now.backend = Some device.path
    && now.own <> None
    && (device.state = initialising || now.own <> Some (string_of_int initialising))

  (** Waits until [wanted] returns something for the backend's state. *)
  let rec until t device wanted =
    let seen = t.changes in
    let* now = look t in
    if not (is_ours device now) then Lwt.fail Made_anew
    else
      match wanted (parse_state now.other) with
      | Some result -> Lwt.return result
      | None when now.own <> Some (string_of_int device.state) && device.state <> closing ->
          Lwt.fail (Fault `State_written)
      | None ->
          let* () = wait_change t seen in
          until t device wanted

  let write t node value = Xs.immediate t.xs (fun handle -> Xs.write handle (t.path ^ "/" ^ node) value)

  (* What the toolstack has removed must not come back because we write into it. *)
  let write_state t (device : device) state =
    let* now = look t in
    if not (is_ours device now) then Lwt.fail Made_anew
    else
      let+ () = write t "state" (string_of_int state) in
      device.state <- state

  let detach t =
    match t.connection with
    | None -> ()
    | Some connection ->
        t.connection <- None;
        Connection.close connection;
        t.on_disconnected ()

  let fail t reason =
    if t.fault = None then t.fault <- Some reason;
    wake t

  let read_backend t (device : device) node = Xs.immediate t.xs (fun handle -> read_other handle (device.path ^ "/" ^ node))

  let parse_u32 text =
    match Option.bind text parse_number with Some number when number <= 0xffff_ffff -> Some number | _ -> None

  let new_connection t (device : device) =
    let* versions = read_backend t device "versions" in
    let* untrusted_order = read_backend t device "max-page-order" in
    let* info_wait = read_backend t device "feature-info-wait" in
    let speaks_ours versions = List.mem version (String.split_on_char ',' versions) in
    match (versions, parse_u32 untrusted_order) with
    | None, _ -> Lwt.fail (Fault (`Node ("versions", None)))
    | Some versions, _ when not (speaks_ours versions) -> Lwt.fail (Fault (`Version versions))
    | _, Some order when order >= Wire.min_ring_order -> (
        let max_order = min order Wire.max_ring_order in
        let info_wait = info_wait = Some "1" in
        match Connection.create ~domid:device.domid ~max_order ~info_wait ~fail:(fail t) with
        | Ok connection -> Lwt.return connection
        | Error `No_pages -> Lwt.fail (Fault `No_pages))
    | _ -> Lwt.fail (Fault (`Node ("max-page-order", untrusted_order)))

  (** The backend's directory and domain. *)
  let read_link t : (string * int, Error.trouble) result Lwt.t =
    let* backend = Xs.immediate t.xs (fun handle -> read_node handle (t.path ^ "/backend")) in
    let+ domid = Xs.immediate t.xs (fun handle -> read_node handle (t.path ^ "/backend-id")) in
    match (backend, parse_u32 domid) with
    | None, _ -> Error `No_device
    | Some path, Some domid when domid < first_reserved_domid -> Ok (path, domid)
    | Some _, _ -> Error (`Node ("backend-id", domid))

  (** Offers our ring, and returns when the connection has ended; the caller closes. *)
  let offer t (device : device) =
    t.fault <- None;
    let wanted other =
      if t.stopping then Some false else if other = Some init_wait then Some true else None
    in
    let* there = until t device wanted in
    if not there then Lwt.return_unit
    else
      let* connection = new_connection t device in
      t.connection <- Some connection;
      let* () = write t "version" version in
      let* () = write t "ring-ref" (string_of_int (Connection.ring_ref connection)) in
      let* () = write t "event-channel" (string_of_int (Connection.event_channel connection)) in
      let* () = write_state t device initialised in
      (* Without a transaction the device may have been made anew in between. *)
      let* link = read_link t in
      if link <> Ok (device.path, device.domid) then Lwt.return_unit
      else
        let ended other =
          if t.stopping || t.fault <> None || is_leaving other then Some false
          else if other = Some connected then Some true
          else None
        in
        let* up = until t device ended in
        if not up then Lwt.return_unit
        else
          let* () = write_state t device connected in
          t.pause <- first_pause;
          t.trouble <- None;
          Connection.start connection;
          t.on_connected connection;
          until t device (fun other ->
              if t.stopping || t.fault <> None || is_leaving other || is_new other then Some () else None)

  (** Closes the connection: our pages stay until the backend has let go of them. *)
  let close t device =
    let* () = write_state t device closing in
    let* () = until t device (fun other -> if is_leaving other || is_new other then Some () else None) in
    detach t;
    (* The watch ends with the change that this makes. *)
    if t.stopping then t.followed <- false;
    write_state t device closed

  let rest t =
    let pause = t.pause in
    t.pause <- min last_pause (2.0 *. pause);
    Sleep.ns (Int64.of_float (pause *. 1e9))

  (** Connects and closes, until we are to stop. *)
  let rec serve t (device : device) =
    let* () =
      if device.state = closed then begin
        let* () = if t.fault <> None then rest t else Lwt.return_unit in
        let free other = if t.stopping || other = Some closed || is_new other then Some () else None in
        let* () = until t device free in
        if t.stopping then Lwt.return_unit else write_state t device initialising
      end
      else Lwt.return_unit
    in
    if t.stopping && device.state = closed then Lwt.return_unit
    else
      let* () =
        Lwt.catch
          (fun () -> offer t device)
          (function
            | Fault reason ->
                fail t reason;
                Lwt.return_unit
            | exn -> Lwt.fail exn)
      in
      if not t.stopping then t.trouble <- Some (Option.value t.fault ~default:`Backend_closed);
      let* () = close t device in
      let* link = read_link t in
      if link = Ok (device.path, device.domid) then serve t device else Lwt.fail Made_anew

  (** Waits for a device, and serves it until it is made anew, or we stop. *)
  let rec wait_device t =
    let seen = t.changes in
    let* link = read_link t in
    match link with
    | _ when t.stopping -> Lwt.return_none
    | Ok link -> Lwt.return_some link
    | Error trouble ->
        t.trouble <- Some trouble;
        let* () = wait_change t seen in
        let+ link = wait_device t in
        t.trouble <- None;
        link

  let adopt t (path, domid) =
    let* now = look t in
    let device = { path; domid; state = initialising } in
    match now.own with
    | Some "1" ->
        detach t;
        serve t device
    | Some "6" ->
        detach t;
        device.state <- closed;
        serve t device
    | _ ->
        (* From a life before. *)
        device.state <- closing;
        let* () = write t "state" (string_of_int closing) in
        let* () = close t device in
        serve t device

  let rec run t =
    let serve_device () =
      let* link = wait_device t in
      match link with None -> Lwt.return_unit | Some link -> adopt t link
    in
    let* () =
      Lwt.catch serve_device (function
        | Made_anew ->
            detach t;
            Lwt.return_unit
        | exn ->
            (* Xenstore has refused something: our nodes say where to go on. *)
            t.trouble <- Some (`Xen (Printexc.to_string exn));
            rest t)
    in
    if t.stopping then Lwt.return_unit else run t

  let start ~device ~on_connected ~on_disconnected =
    let+ xs = Xs.make () in
    let t =
      {
        xs;
        path = Printf.sprintf "device/vl2cap/%d" device;
        on_connected;
        on_disconnected;
        changed = Lwt_condition.create ();
        changes = 0;
        connection = None;
        fault = None;
        trouble = None;
        pause = first_pause;
        stopping = false;
        followed = true;
      }
    in
    Lwt.async (fun () -> follow t { own = None; backend = None; other = None });
    t

  let stop t =
    t.stopping <- true;
    wake t
end
