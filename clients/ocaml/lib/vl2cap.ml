(* SPDX-License-Identifier: MIT *)

module S = S
module Address = Address
module Error = Error

type info = Wire.info = {
  address : Address.t option;
  le_address : Address.t option;
  powered : bool;
  features : int;
  max_channels : int;
  channels : int;
  max_mtu : int;
  generation : int;
}

type source = [ `Advertising | `Inquiry | `Name ]

type report = Wire.report = {
  device : Address.t;
  source : source;
  event_type : int;
  rssi : int option;
  class_of_device : int;
  data : Cstruct.t;
}

module type ADAPTER = sig
  type t
  type channel
  type listener
  type scan
  type advertisement
  type 'a answer = ('a, Error.t) result Lwt.t

  val open_ : ?device:int -> unit -> t Lwt.t
  val wait_ready : t -> unit Lwt.t
  val info : t -> info answer
  val trouble : t -> Error.trouble option
  val disconnect : t -> unit Lwt.t

  val connect :
    t -> ?security:Error.level -> ?mtu:int -> ?timeout_ms:int -> Address.t -> int -> channel answer

  val send : channel -> Cstruct.t -> unit answer
  val recv : channel -> Cstruct.t answer
  val close : channel -> unit Lwt.t
  val abort : channel -> unit Lwt.t
  val peer : channel -> Address.t
  val tx_mtu : channel -> int
  val rx_mtu : channel -> int
  val security : channel -> Error.level

  val listen :
    t -> ?security:Error.level -> ?mtu:int -> ?backlog:int -> Address.transport -> int -> listener answer

  val accept : listener -> channel answer
  val close_listener : listener -> unit Lwt.t
  val scan : t -> ?active:bool -> ?duplicates:bool -> Address.transport -> scan answer
  val next : scan -> report answer
  val close_scan : scan -> unit Lwt.t
  val advertise : t -> ?interval_ms:int -> ?connectable:bool -> string -> advertisement answer
  val close_advertisement : advertisement -> unit Lwt.t
end

module Private = struct
  module Words = Words
  module Wire = Wire
  module Requests = Requests
  module Command_ring = Command_ring
  module Data_ring = Data_ring
end

module Make
    (Io_page : S.IO_PAGE)
    (Xs_protocol : S.XS_PROTOCOL)
    (Sleep : S.SLEEP)
    (Xen_os : S.XEN_OS with type io_page := Io_page.t) =
struct
  open Lwt.Syntax
  module Frontend = Frontend.Make (Io_page) (Xs_protocol) (Sleep) (Xen_os)
  module Connection = Frontend.Connection
  module Stream = Connection.Stream

  type t = {
    mutable frontend : Frontend.t option;
    mutable connection : Connection.t option;
    mutable ready : bool;  (** connected, and the controller works *)
    became_ready : unit Lwt_condition.t;
    finished : unit Lwt.t;
    finish : unit Lwt.u;
  }

  type channel = { remote : Connection.remote; stream : Stream.t; facts : Wire.channel; tx_mtu : int }
  type listener = { listening : Connection.remote; listen : Wire.listen; order : int }
  type scan = { scanning : Connection.remote; reports : Stream.t; extended : bool }
  type advertisement = Connection.remote
  type 'a answer = ('a, Error.t) result Lwt.t

  let default_mtu = 672
  let linger_ns = 1_000_000_000L
  let ask_again_ns = 200_000_000L
  let goodbye_ns = 2_000_000_000L

  (* Readiness: one INFO is always with the backend, or about to be asked again. *)

  let receive_info adapter (connection : Connection.t) (info : info) =
    connection.knows <- info.features;
    adapter.ready <- info.powered;
    if info.powered then Lwt_condition.broadcast adapter.became_ready ()

  let rec follow_info adapter (connection : Connection.t) seen =
    let* response = Connection.ask connection (Wire.Info seen) in
    if connection.closed then Lwt.return_unit
    else
      match response with
      | Ok (Wire.Info_body info) when connection.info_wait ->
          receive_info adapter connection info;
          follow_info adapter connection (Some info.generation)
      | response ->
          (match response with Ok (Wire.Info_body info) -> receive_info adapter connection info | _ -> ());
          let* () = Sleep.ns ask_again_ns in
          follow_info adapter connection None

  let connected adapter connection =
    adapter.connection <- Some connection;
    Lwt.async (fun () -> follow_info adapter connection None)

  let disconnected adapter () =
    adapter.connection <- None;
    adapter.ready <- false

  let open_ ?(device = 0) () =
    let finished, finish = Lwt.wait () in
    let adapter =
      { frontend = None; connection = None; ready = false; became_ready = Lwt_condition.create (); finished; finish }
    in
    let+ frontend =
      Frontend.start ~device ~on_connected:(connected adapter) ~on_disconnected:(disconnected adapter)
    in
    adapter.frontend <- Some frontend;
    Lwt.async (fun () ->
        let+ () = Frontend.run frontend in
        Lwt.wakeup_later adapter.finish ());
    adapter

  let rec wait_ready adapter =
    if adapter.ready then Lwt.return_unit
    else
      let* () = Lwt_condition.wait adapter.became_ready in
      wait_ready adapter

  let trouble adapter = Option.bind adapter.frontend (fun (frontend : Frontend.t) -> frontend.trouble)

  let disconnect adapter =
    Option.iter Frontend.stop adapter.frontend;
    Lwt.choose [ adapter.finished; Sleep.ns goodbye_ns ]

  let with_connection adapter f =
    match adapter.connection with None -> Lwt.return_error `Disconnected | Some connection -> f connection

  let info adapter =
    with_connection adapter (fun connection ->
        let+ response = Connection.ask connection (Wire.Info None) in
        match response with
        | Ok (Wire.Info_body info) -> Ok info
        | Ok (Channel_body _ | Done) -> Error `Disconnected
        | Error error -> Error error)

  (* A level is asked for only where the backend knows levels. *)
  let check_security (connection : Connection.t) security =
    if security = `None || connection.knows land Wire.knows_security <> 0 then Ok () else Error `Not_supported

  (* Channels *)

  let channel = function
    | Error error -> Error error
    | Ok ({ Connection.stream = Some stream; _ } as remote, Wire.Channel_body facts) ->
        Ok { remote; stream; facts; tx_mtu = min facts.tx_mtu stream.Stream.max_message }
    | Ok (remote, _) ->
        ignore (Connection.release remote : unit Lwt.t);
        Error `Disconnected

  let connect adapter ?(security = `None) ?(mtu = default_mtu) ?(timeout_ms = 0) peer psm =
    with_connection adapter (fun connection ->
        let checked = Result.bind (check_security connection security) (fun () -> Connection.order connection ~mtu) in
        match checked with
        | Error error -> Lwt.return_error error
        | Ok order ->
            Connection.make_with_stream connection ~order (fun ~ref ~port ->
                Wire.Connect { ref; port; peer; psm; mtu; security; timeout_ms })
            |> Lwt.map channel)

  let send channel sdu =
    let length = Cstruct.length sdu in
    if length > channel.tx_mtu then
      Lwt.return_error (`Invalid (Printf.sprintf "an SDU of %d octets: the peer takes %d" length channel.tx_mtu))
    else Stream.send channel.stream sdu

  let recv channel =
    let+ message = Stream.receive channel.stream in
    match message with
    | Ok sdu when Cstruct.length sdu > channel.facts.rx_mtu ->
        let reason = Printf.sprintf "an SDU of %d octets where %d is the most" (Cstruct.length sdu) channel.facts.rx_mtu in
        Stream.broken channel.stream reason;
        Error (`Closed (`Broken reason))
    | Ok _ | Error _ -> message

  let abort channel = Connection.release channel.remote

  let close channel =
    let finish () =
      if channel.remote.released <> None then Lwt.return_unit
      else Lwt.pick [ Stream.finish channel.stream; Sleep.ns linger_ns ]
    in
    Lwt.finalize finish (fun () -> abort channel)

  let peer channel = channel.facts.peer
  let tx_mtu (channel : channel) = channel.tx_mtu
  let rx_mtu channel = channel.facts.rx_mtu
  let security channel = channel.facts.security

  (* Listeners *)

  let listen adapter ?(security = `None) ?(mtu = default_mtu) ?(backlog = 0) transport psm =
    with_connection adapter (fun connection ->
        let checked = Result.bind (check_security connection security) (fun () -> Connection.order connection ~mtu) in
        match checked with
        | Error error -> Lwt.return_error error
        | Ok order ->
            let listen = { Wire.transport; psm; mtu; backlog; security } in
            let+ response = Connection.make connection None (Wire.Listen listen) in
            Result.map (fun (listening, _) -> { listening; listen; order }) response)

  let accept { listening; listen; order } =
    if listening.released <> None then Lwt.return_error (`Closed `Peer)
    else
      Connection.make_with_stream listening.connection ~order (fun ~ref ~port ->
          Wire.Accept { ref; port; listener = listening.id; of_ = listen })
      |> Lwt.map channel

  let close_listener listener = Connection.release listener.listening

  (* Scans and advertisements *)

  let scan adapter ?(active = false) ?(duplicates = false) transport =
    with_connection adapter (fun connection ->
        let extended = connection.knows land Wire.knows_scan_extended <> 0 in
        if transport = `Bredr && not extended then Lwt.return_error `Not_supported
        else
          let request ~ref ~port = Wire.Scan { ref; port; transport; active; duplicates; extended } in
          let+ response = Connection.make_with_stream connection ~order:Wire.min_ring_order request in
          let make = function
            | { Connection.stream = Some reports; _ } as scanning, _ -> Ok { scanning; reports; extended }
            | { Connection.stream = None; _ }, _ -> Error `Disconnected
          in
          Result.bind response make)

  let next scan =
    let* message = Stream.receive scan.reports in
    match Result.map (Wire.parse_report ~extended:scan.extended) message with
    | Error error -> Lwt.return_error error
    | Ok (Ok report) -> Lwt.return_ok report
    | Ok (Error reason) ->
        Stream.broken scan.reports reason;
        Lwt.return_error (`Closed (`Broken reason))

  let close_scan scan = Connection.release scan.scanning

  let advertise adapter ?(interval_ms = 0) ?(connectable = true) data =
    with_connection adapter (fun connection ->
        let+ response = Connection.make connection None (Wire.Advertise { interval_ms; connectable; data }) in
        Result.map fst response)

  let close_advertisement advertisement = Connection.release advertisement
end
