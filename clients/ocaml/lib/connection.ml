(* SPDX-License-Identifier: MIT *)
(** One connection to the backend, from our offer to its end: requests, their answers, and what they make. *)

module Make (Io_page : S.IO_PAGE) (Xen_os : S.XEN_OS with type io_page := Io_page.t) = struct
  open Lwt.Syntax
  open Xen_os
  module Stream = Stream.Make (Io_page) (Xen_os)
  module Shared = Stream.Shared

  type t = {
    domid : int;
    max_order : int;
    info_wait : bool;  (** INFO can be answered when something changes *)
    page : Shared.t;
    ring : Command_ring.t;
    requests : Requests.t;
    fail : Error.trouble -> unit;
    mutable streams : Stream.t list;
    mutable closed : bool;
    mutable knows : int;  (** [features] of INFO, 0 before it is answered *)
  }

  let push connection =
    match Requests.take connection.requests (Command_ring.room connection.ring) with
    | [] -> ()
    | requests -> if Command_ring.put connection.ring requests then Shared.notify connection.page

  let receive connection =
    let each so_far response = Result.bind so_far (fun () -> Requests.receive connection.requests response) in
    Result.bind (Command_ring.take connection.ring) (List.fold_left each (Ok ()))

  let rec follow connection event =
    match receive connection with
    | Error reason ->
        connection.fail (`Command_ring reason);
        Lwt.return_unit
    | Ok () -> (
        push connection;
        let* event = Shared.after connection.page event in
        match event with
        | Some event -> follow connection event
        | None ->
            if not connection.closed then connection.fail `Events_void;
            Lwt.return_unit)

  (** [fail] is called with a reason when the backend breaks the protocol. *)
  let create ~domid ~max_order ~info_wait ~fail =
    let make (page : Shared.t) =
      {
        domid;
        max_order;
        info_wait;
        page;
        ring = Command_ring.create page.memory;
        requests = Requests.create ();
        fail;
        streams = [];
        closed = false;
        knows = 0;
      }
    in
    Result.map make (Shared.create ~domid ~pages:1)

  (** Begins to look for answers: the backend is connected. *)
  let start connection =
    Lwt.async (fun () ->
        Lwt.catch
          (fun () -> follow connection Activations.program_start)
          (fun exn ->
            connection.fail (`Xen (Printexc.to_string exn));
            Lwt.return_unit))

  let ring_ref connection = List.hd connection.page.Shared.refs
  let event_channel connection = connection.page.Shared.port

  (** Ends the connection, when the backend has let go of it. What came for channels can still be received. *)
  let close connection =
    if not connection.closed then begin
      connection.closed <- true;
      let streams = connection.streams in
      connection.streams <- [];
      List.iter
        (fun stream ->
          Stream.stop stream ~keep:true `Disconnected;
          Stream.close stream)
        streams;
      Shared.close connection.page;
      Requests.close connection.requests
    end

  let forget connection stream =
    connection.streams <- List.filter (fun other -> other != stream) connection.streams;
    Stream.close stream

  (** An object in the backend, with its data ring if it has one. *)
  type remote = {
    connection : t;
    id : int;
    stream : Stream.t option;
    mutable released : unit Lwt.t option;
  }

  (** Ends an object. The promise, which cannot be cancelled, resolves when the backend has let go of it. Idempotent. *)
  let release remote =
    match remote.released with
    | Some released -> released
    | None ->
        let released, resolve = Lwt.wait () in
        let connection = remote.connection in
        remote.released <- Some released;
        let let_go () =
          Option.iter (forget connection) remote.stream;
          Lwt.wakeup_later resolve ()
        in
        Option.iter (fun stream -> Stream.stop stream ~keep:false (`Closed `Peer)) remote.stream;
        if connection.closed then let_go ()
        else begin
          Requests.release connection.requests remote.id let_go;
          push connection
        end;
        released

  let check connection request =
    if connection.closed then Error `Disconnected
    else if Requests.full connection.requests then Error `Limit
    else Wire.check request

  (** Sends a request that makes no object. *)
  let ask connection request =
    match check connection request with
    | Error error -> Lwt.return_error error
    | Ok () ->
        let answer, resolve = Lwt.task () in
        let (_ : int) = Requests.send connection.requests request (Lwt.wakeup_later resolve) in
        push connection;
        answer

  (** Sends a request that makes an object, and waits for the answer. If that is an error, or the wait is cancelled,
      nothing of the object stays. *)
  let make connection stream request =
    match check connection request with
    | Error error ->
        Option.iter (forget connection) stream;
        Lwt.return_error error
    | Ok () ->
        let answer, resolve = Lwt.task () in
        let failed = ref false in
        let answered response =
          if Result.is_error response then begin
            (* The backend has nothing of it any more. *)
            failed := true;
            Option.iter (forget connection) stream
          end;
          Lwt.wakeup_later resolve response
        in
        let id = Requests.send connection.requests request answered in
        push connection;
        let remote = { connection; id; stream; released = None } in
        Lwt.catch
          (fun () ->
            let* response = answer in
            Lwt.return (Result.map (fun body -> (remote, body)) response))
          (fun exn ->
            if not !failed then ignore (release remote : unit Lwt.t);
            Lwt.fail exn)

  (** The same for an object with a data ring: [request] gets the grant reference and the port. *)
  let make_with_stream connection ~order request =
    if connection.closed then Lwt.return_error `Disconnected
    else
      match Stream.create ~domid:connection.domid ~order with
      | Error error -> Lwt.return_error error
      | Ok stream ->
          connection.streams <- stream :: connection.streams;
          make connection (Some stream) (request ~ref:(Stream.ref stream) ~port:(Stream.port stream))

  let messages_a_half = 4

  (** The order of the smallest ring that holds four messages each way, or the largest ring. *)
  let order connection ~mtu =
    let enough order = Data_ring.max_message ~order >= (messages_a_half * (mtu + 4)) - 4 in
    let rec go order = if order >= connection.max_order || enough order then order else go (order + 1) in
    let order = go Wire.min_ring_order in
    let largest = Data_ring.max_message ~order in
    if mtu <= largest then Ok order
    else Error (`Invalid (Printf.sprintf "an MTU of %d: the driver domain's rings take %d" mtu largest))
end
