(* SPDX-License-Identifier: MIT *)

let entry_size = 64
let cmd_info = 0
let cmd_connect = 1
let cmd_listen = 2
let cmd_accept = 3
let cmd_release = 4
let cmd_scan = 5
let cmd_advertise = 6
let transport_bredr = 0
let transport_le = 1
let knows_security = 1 lsl 16
let knows_scan_extended = 1 lsl 19
let info_wait = 1
let scan_active = 1
let scan_duplicates = 2
let scan_extended = 4
let advertise_connectable = 1
let min_ring_order = 1
let max_ring_order = 6
let advertise_data_size = 31
let extended_data_size = 1650
let report_advertising = 0
let report_inquiry = 1
let report_name = 2

let constants =
  [
    ("CMD_INFO", cmd_info); ("CMD_CONNECT", cmd_connect); ("CMD_LISTEN", cmd_listen); ("CMD_ACCEPT", cmd_accept);
    ("CMD_RELEASE", cmd_release); ("CMD_SCAN", cmd_scan); ("CMD_ADVERTISE", cmd_advertise);
    ("TRANSPORT_BREDR", transport_bredr); ("TRANSPORT_LE", transport_le); ("KNOWS_SECURITY", knows_security);
    ("KNOWS_SCAN_EXTENDED", knows_scan_extended); ("INFO_WAIT", info_wait); ("SCAN_ACTIVE", scan_active);
    ("SCAN_DUPLICATES", scan_duplicates); ("SCAN_EXTENDED", scan_extended);
    ("ADVERTISE_CONNECTABLE", advertise_connectable); ("MIN_RING_ORDER", min_ring_order);
    ("MAX_RING_ORDER", max_ring_order); ("ADVERTISE_DATA_SIZE", advertise_data_size);
    ("EXTENDED_DATA_SIZE", extended_data_size); ("REPORT_ADVERTISING", report_advertising);
    ("REPORT_INQUIRY", report_inquiry); ("REPORT_NAME", report_name);
  ] [@@ocamlformat "disable"]

let largest_errno = 4095
let unknown_rssi = 127
let report_size = 10
let extended_report_size = 20

type listen = { transport : Address.transport; psm : int; mtu : int; backlog : int; security : Error.level }

type request =
  | Info of int option
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

let check request =
  let fits what number bits =
    if number lsr bits = 0 then Ok () else Error (`Invalid (Printf.sprintf "%d is no %s" number what))
  in
  let both first second = Result.bind first (fun () -> second) in
  match request with
  | Connect { psm; mtu; timeout_ms; _ } ->
      both (fits "PSM" psm 16) (both (fits "MTU" mtu 16) (fits "timeout in milliseconds" timeout_ms 32))
  | Listen { psm; mtu; backlog; _ } ->
      both (fits "PSM" psm 16) (both (fits "MTU" mtu 16) (fits "backlog" backlog 16))
  | Advertise { interval_ms; data; _ } ->
      let length = String.length data in
      both
        (fits "interval in milliseconds" interval_ms 16)
        (if length <= advertise_data_size then Ok ()
         else Error (`Invalid (Printf.sprintf "%d octets of advertising data" length)))
  | Info _ | Accept _ | Release | Scan _ -> Ok ()

(* Words are ints from 0 to 2^32 - 1. *)
let set_u32 octets offset number = Bytes.set_int32_le octets offset (Int32.of_int number)
let get_u32 octets offset = Int32.to_int (Bytes.get_int32_le octets offset) land 0xffff_ffff
let code_of_transport = function `Bredr -> transport_bredr | `Le -> transport_le

let command = function
  | Info _ -> cmd_info
  | Connect _ -> cmd_connect
  | Listen _ -> cmd_listen
  | Accept _ -> cmd_accept
  | Release -> cmd_release
  | Scan _ -> cmd_scan
  | Advertise _ -> cmd_advertise

let flags = function
  | Info (Some _) -> info_wait
  | Scan { active; duplicates; extended; _ } ->
      let flag is_set bit = if is_set then bit else 0 in
      flag active scan_active lor flag duplicates scan_duplicates lor flag extended scan_extended
  | Advertise { connectable = true; _ } -> advertise_connectable
  | Info None | Connect _ | Listen _ | Accept _ | Release | Advertise _ -> 0

let pack ~req_id ~id request =
  let octets = Bytes.make entry_size '\000' in
  let u8 = Bytes.set_uint8 octets and u16 = Bytes.set_uint16_le octets and u32 = set_u32 octets in
  let data_ring ref port =
    u32 16 ref;
    u32 20 port
  in
  u32 0 req_id;
  u32 4 (command request);
  u32 8 id;
  u32 12 (flags request);
  (match request with
  | Info generation -> u32 16 (Option.value generation ~default:0)
  | Connect { ref; port; peer; psm; mtu; security; timeout_ms } ->
      data_ring ref port;
      Bytes.blit_string (Address.octets peer) 0 octets 24 6;
      u8 30 (Address.address_type peer);
      u8 31 (Error.level_to_int security);
      u16 32 psm;
      u16 34 mtu;
      u32 36 timeout_ms
  | Listen { transport; psm; mtu; backlog; security } ->
      u16 16 psm;
      u16 18 mtu;
      u16 20 backlog;
      u8 22 (code_of_transport transport);
      u8 23 (Error.level_to_int security)
  | Accept { ref; port; listener; _ } ->
      data_ring ref port;
      u32 24 listener
  | Release -> ()
  | Scan { ref; port; transport; _ } ->
      data_ring ref port;
      u8 24 (code_of_transport transport)
  | Advertise { interval_ms; data; _ } ->
      u16 16 interval_ms;
      u8 18 (String.length data);
      Bytes.blit_string data 0 octets 19 (String.length data));
  octets

type info = {
  address : Address.t option;
  le_address : Address.t option;
  powered : bool;
  features : int;
  max_channels : int;
  channels : int;
  max_mtu : int;
  generation : int;
}

type channel = { peer : Address.t; security : Error.level; psm : int; tx_mtu : int; rx_mtu : int }
type body = Info_body of info | Channel_body of channel | Done
type response = (body, Error.t) result

let req_id octets = get_u32 octets 0

let address_at octets offset address_type =
  Address.of_octets (Bytes.get_uint8 octets address_type) (Bytes.sub_string octets offset 6)

let parse_info octets =
  let u16 = Bytes.get_uint16_le octets and u32 = get_u32 octets in
  match (address_at octets 16 22, address_at octets 38 48, Bytes.get_uint8 octets 23) with
  | Some address, Some le_address, ((0 | 1) as powered) ->
      let none = String.make 6 '\000' in
      Ok
        {
          address = (if Address.octets address = none then None else Some address);
          le_address = (if Address.transport le_address = `Le then Some le_address else None);
          powered = powered = 1;
          features = u32 24;
          max_channels = u32 28;
          channels = u32 32;
          max_mtu = u16 36;
          generation = u32 44;
        }
  | _ -> Error "INFO with an address type or a state that does not exist"

(* The smallest MTU of each transport: Core specification, Vol 3, Part A, 5.1 and 4.22. *)
let least_mtu = function `Bredr -> 48 | `Le -> 23

let parse_channel octets ~transport ~asked_psm ~asked_mtu ~asked_security =
  let u16 = Bytes.get_uint16_le octets in
  let level = Bytes.get_uint8 octets 23 and asked = Error.level_to_int asked_security in
  let psm = u16 24 and tx_mtu = u16 26 and rx_mtu = u16 28 in
  match address_at octets 16 22 with
  | None -> Error "a peer with an address type that does not exist"
  | Some peer when Address.transport peer <> transport -> Error "a peer on the other transport"
  | Some _ when psm <> asked_psm -> Error (Printf.sprintf "a channel to PSM 0x%04x" psm)
  | Some _ when level > 4 || (asked >= 2 && level < asked) -> Error (Printf.sprintf "a link of level %d" level)
  | Some _ when tx_mtu < least_mtu transport || rx_mtu < least_mtu transport || rx_mtu > asked_mtu ->
      Error (Printf.sprintf "MTUs of %d and %d" tx_mtu rx_mtu)
  | Some peer -> Ok { peer; security = Error.level_of_int level; psm; tx_mtu; rx_mtu }

let parse_body request octets =
  match request with
  | Info _ -> Result.map (fun info -> Info_body info) (parse_info octets)
  | Connect { peer; psm; mtu; security; _ } ->
      parse_channel octets ~transport:(Address.transport peer) ~asked_psm:psm ~asked_mtu:mtu ~asked_security:security
      |> Result.map (fun channel -> Channel_body channel)
  | Accept { of_ = { transport; psm; mtu; security; _ }; _ } ->
      parse_channel octets ~transport ~asked_psm:psm ~asked_mtu:mtu ~asked_security:security
      |> Result.map (fun channel -> Channel_body channel)
  | Listen _ | Release | Scan _ | Advertise _ -> Ok Done

let parse_failure request octets errno =
  match request with
  | Connect _ | Accept _ ->
      let u8 = Bytes.get_uint8 octets in
      Error.of_failure ~errno ~result:(Bytes.get_uint16_le octets 30) ~status:(u8 32) ~why:(u8 33) ~needed:(u8 34)
  | Info _ | Listen _ | Release | Scan _ | Advertise _ ->
      Error.of_failure ~errno ~result:0 ~status:0 ~why:0 ~needed:0

let parse ~id request octets =
  let cmd = get_u32 octets 4 and its_id = get_u32 octets 8 in
  let ret = Int32.to_int (Bytes.get_int32_le octets 12) in
  if (cmd, its_id) <> (command request, id) then
    Error (Printf.sprintf "a response of command %d and id %d to command %d and id %d" cmd its_id (command request) id)
  else if ret > 0 || ret < -largest_errno then Error (Printf.sprintf "a response with ret %d" ret)
  else if ret < 0 then Ok (Error (parse_failure request octets (-ret)))
  else Result.map (fun body -> Ok body) (parse_body request octets)

type source = [ `Advertising | `Inquiry | `Name ]

type report = {
  device : Address.t;
  source : source;
  event_type : int;
  rssi : int option;
  class_of_device : int;
  data : Cstruct.t;
}

let source_of_int number =
  if number = report_advertising then Some `Advertising
  else if number = report_inquiry then Some `Inquiry
  else if number = report_name then Some `Name
  else None

let rssi_of_octet octet =
  match if octet > 127 then octet - 256 else octet with
  | number when number = unknown_rssi -> None
  | number -> Some number

let parse_report ~extended message =
  let length = Cstruct.length message in
  let size, most =
    if extended then (extended_report_size, extended_data_size) else (report_size, advertise_data_size)
  in
  if length < size || length > size + most then Error (Printf.sprintf "a report of %d octets" length)
  else
    let u8 = Cstruct.get_uint8 message and u16 = Cstruct.LE.get_uint16 message in
    let source = if extended then source_of_int (u8 7) else Some `Advertising in
    let stated = if extended then u16 10 else u8 9 in
    match (Address.of_octets (u8 6) (Cstruct.to_string ~len:6 message), source) with
    | Some device, Some source when stated = length - size ->
        let event_type, rssi, class_of_device =
          if extended then (u16 8, u8 12, u16 13 lor (u8 15 lsl 16)) else (u8 8, u8 7, 0)
        in
        Ok
          {
            device;
            source;
            event_type;
            rssi = rssi_of_octet rssi;
            class_of_device;
            data = Cstruct.shift message size;
          }
    | _ -> Error "a report with an address type, source or length that cannot be"
