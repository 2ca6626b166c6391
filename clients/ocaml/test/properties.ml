(* SPDX-License-Identifier: MIT *)
(* What holds of the decoders and rings whatever the other end writes: properties.exe [FIRST-SEED] [SEEDS]. *)

open Vl2cap.Private
module Error = Vl2cap.Error
module Address = Vl2cap.Address
module Backend = Backend_rings

let check what is_so = if not is_so then failwith what
let below = Random.State.int
let u32 random = (below random 0x1_0000 lsl 16) lor below random 0x1_0000
let pick random list = List.nth list (below random (List.length list))
let octets random length = Bytes.init length (fun _ -> Char.chr (below random 256))
let kinds = [ `Bredr; `Le_public; `Le_random ]
let levels = [ `None; `Encrypted; `Authenticated; `Secure ]

(* A number that is near an edge, half of the time. *)
let word random = if Random.State.bool random then u32 random else Words.wrap (pick random [ 0; 1; -1; 1 lsl 31 ] + below random 3)

let address random =
  let digits = Printf.sprintf "%02X:%02x:00:FF:%02X:01" (below random 256) (below random 256) (below random 256) in
  match Address.of_string (pick random kinds) digits with Ok address -> address | Error _ -> failwith "an address"

let any_listen random : Wire.listen =
  let transport = pick random [ `Bredr; `Le ] in
  { transport; psm = below random 0x1_0000; mtu = below random 0x1_0000; backlog = 0; security = pick random levels }

let any_request random : Wire.request =
  let ref = u32 random and port = u32 random in
  match below random 7 with
  | 0 -> Info (if Random.State.bool random then None else Some (u32 random))
  | 1 ->
      let psm = below random 0x1_0000 and mtu = below random 0x1_0000 and timeout_ms = u32 random in
      Connect { ref; port; peer = address random; psm; mtu; security = pick random levels; timeout_ms }
  | 2 -> Listen (any_listen random)
  | 3 -> Accept { ref; port; listener = u32 random; of_ = any_listen random }
  | 4 -> Release
  | 5 -> Scan { ref; port; transport = `Le; active = true; duplicates = false; extended = Random.State.bool random }
  | _ -> Advertise { interval_ms = 0; connectable = true; data = Bytes.to_string (octets random (below random 32)) }

(* Octets that often are a legal response to what was asked, or nearly so. *)
let any_response random request ~req_id ~id =
  let response = octets random Wire.entry_size in
  let asked = Wire.pack ~req_id ~id request in
  let set_u16 = Bytes.set_uint16_le response in
  let usually f = if below random 8 > 0 then f () in
  usually (fun () -> Bytes.blit asked 0 response 0 12);
  if below random 8 = 0 then Bytes.set_uint8 response (below random 12) (below random 3);
  usually (fun () -> Bytes.set_int32_le response 12 (Int32.of_int (if Random.State.bool random then 0 else -below random 150)));
  let near number = max 0 (number + pick random [ -1; 0; 0; 0; 1 ]) land 0xffff in
  let channel transport psm mtu security =
    Bytes.set_uint8 response 22 (below random 4);
    usually (fun () -> Bytes.set_uint8 response 22 (match transport with `Bredr -> 0 | `Le -> 1 + below random 2));
    Bytes.set_uint8 response 23 (near (Error.level_to_int security));
    set_u16 24 (near psm);
    if mtu > 48 then set_u16 28 (near mtu)
  in
  (match request with
  | Info _ ->
      usually (fun () -> Bytes.set_uint8 response 22 (below random 3));
      usually (fun () -> Bytes.set_uint8 response 23 (below random 2));
      usually (fun () -> Bytes.set_uint8 response 48 (below random 3))
  | Connect { peer; psm; mtu; security; _ } -> channel (Address.transport peer) psm mtu security
  | Accept { of_ = { transport; psm; mtu; security; _ }; _ } -> channel transport psm mtu security
  | Listen _ | Release | Scan _ | Advertise _ -> ());
  response

let check_channel (channel : Wire.channel) ~transport ~psm ~mtu ~security =
  check "a channel to what was not asked" (channel.psm = psm && Address.transport channel.peer = transport);
  check "an rx_mtu above what was asked" (channel.rx_mtu <= mtu);
  check "MTUs below all" (min channel.rx_mtu channel.tx_mtu >= match transport with `Bredr -> 48 | `Le -> 23);
  check "a level below what was asked" (Error.level_to_int channel.security >= Error.level_to_int security)

let responses random =
  let request = any_request random and req_id = word random and id = word random in
  let response = any_response random request ~req_id ~id in
  let packed = Wire.pack ~req_id ~id request in
  check "a request with another number" (Wire.req_id packed = req_id && Bytes.length packed = Wire.entry_size);
  match (Wire.parse ~id request response, request) with
  | Error reason, _ -> check "no reason" (reason <> "")
  | Ok (Error error), _ -> check "an error without words" (Error.to_string error <> "")
  | Ok (Ok body), _ -> (
      check "a response to another request" (Bytes.sub response 4 8 = Bytes.sub packed 4 8);
      check "an error taken for success" (Bytes.get_int32_le response 12 = 0l);
      match (body, request) with
      | Info_body info, Info _ ->
          check "an LE address of BR/EDR" (Option.fold info.le_address ~none:true ~some:(fun it -> Address.transport it = `Le))
      | Channel_body channel, Connect { peer; psm; mtu; security; _ } ->
          check_channel channel ~transport:(Address.transport peer) ~psm ~mtu ~security
      | Channel_body channel, Accept { of_ = { transport; psm; mtu; security; _ }; _ } ->
          check_channel channel ~transport ~psm ~mtu ~security
      | Done, (Listen _ | Release | Scan _ | Advertise _) -> ()
      | _ -> failwith "the body of another command")

let reports random =
  let extended = Random.State.bool random in
  let size = if extended then 20 else 10 in
  let data = below random (if Random.State.bool random then 40 else 1700) in
  let message = octets random (if below random 8 = 0 then below random size else size + data) in
  if Bytes.length message >= size && below random 8 > 0 then begin
    Bytes.set_uint8 message 6 (below random 3);
    Bytes.set_uint8 message 7 (below random 3);
    let stated = max 0 (data - pick random [ 0; 0; 0; 1 ]) in
    if extended then Bytes.set_uint16_le message 10 stated else Bytes.set_uint8 message 9 (stated land 0xff)
  end;
  match Wire.parse_report ~extended (Cstruct.of_bytes message) with
  | Error reason -> check "no reason" (reason <> "")
  | Ok report ->
      let data = Bytes.sub_string message size (Bytes.length message - size) in
      let stated = if extended then Bytes.get_uint16_le message 10 else Bytes.get_uint8 message 9 in
      check "other data" (Cstruct.to_string report.data = data && String.length data = stated);
      check "more data than there may be" (String.length data <= if extended then 1650 else 31);
      check "an RSSI that cannot be" (Option.fold report.rssi ~none:true ~some:(fun dbm -> dbm >= -128 && dbm < 127))

let addresses random =
  let address = address random in
  check "another address" (Address.of_string (Address.kind address) (Address.to_string address) = Ok address);
  match Address.of_string `Bredr (Bytes.to_string (octets random (below random 20))) with
  | Ok _ -> failwith "octets for an address"
  | Error (`Invalid text) -> check "no reason" (text <> "")

(* Each request is answered once, whatever comes, and in whatever order. *)
let requests random =
  let book = Requests.create () in
  let answers = Hashtbl.create 16 and sent = ref [] and numbers = ref [] in
  let count number = Option.value (Hashtbl.find_opt answers number) ~default:0 in
  let answered number _ = Hashtbl.replace answers number (count number + 1) in
  let make () =
    let request = any_request random in
    let number = List.length !numbers in
    numbers := number :: !numbers;
    if request = Wire.Release then Requests.release book (1 + below random 20) (answered number)
    else ignore (Requests.send book request (answered number) : int)
  in
  let take () = sent := Requests.take book (below random 5) @ !sent in
  let receive () =
    let response = if !sent = [] then octets random Wire.entry_size else Bytes.copy (pick random !sent) in
    Bytes.set_int32_le response 12 (Int32.of_int (-below random 3));
    if below random 4 = 0 then Bytes.set_uint8 response (below random 16) (below random 256);
    match Requests.receive book response with Ok () -> () | Error reason -> check "no reason" (reason <> "")
  in
  for _ = 1 to 40 do
    (pick random [ make; take; receive ]) ()
  done;
  List.iter (fun number -> check "two answers" (count number <= 1)) !numbers;
  Requests.close book;
  List.iter (fun number -> check "not one answer" (count number = 1)) !numbers

let starts = [ 0; 0xffff_fff0; 0xffff_f000; 0x7fff_fffc ]

(* Responses come back in their order, and who sleeps is woken; also where the indices wrap. *)
let command_ring random =
  let page = Cstruct.create 4096 in
  let ring = Command_ring.create ~start:(pick random starts) page in
  let backend = Backend.Command.attach page in
  let waiting = Queue.create () and expected = Queue.create () in
  let frontend_sleeps = ref false and backend_sleeps = ref false in
  let put () =
    let requests = List.init (below random (Command_ring.room ring + 1)) (fun _ -> octets random Wire.entry_size) in
    List.iter (fun request -> Queue.push request expected) requests;
    let notify = Command_ring.put ring requests in
    check "the backend is not woken" (notify || not (!backend_sleeps && requests <> []));
    if notify then backend_sleeps := false
  in
  let serve () =
    List.iter (fun request -> Queue.push request waiting) (Backend.Command.take backend);
    backend_sleeps := true;
    for _ = 1 to below random (Queue.length waiting + 1) do
      let notify = Backend.Command.put backend (Queue.pop waiting) in
      check "the frontend would not be woken" (notify || not !frontend_sleeps);
      if notify then frontend_sleeps := false
    done
  in
  let take () =
    match Command_ring.take ring with
    | Error reason -> failwith reason
    | Ok responses ->
        frontend_sleeps := true;
        List.iter (fun response -> check "another response" (Bytes.equal response (Queue.pop expected))) responses
  in
  for _ = 1 to 60 do
    (pick random [ put; serve; take ]) ()
  done

let lying_command_ring random =
  let page = Cstruct.create 4096 in
  let ring = Command_ring.create ~start:(pick random starts) page in
  for _ = 1 to 20 do
    let room = Command_ring.room ring in
    check "a room that cannot be" (room >= 0 && room <= 32);
    ignore (Command_ring.put ring (List.init (below random (room + 1)) (fun _ -> octets random Wire.entry_size)) : bool);
    let near = Words.wrap (Words.load page 8 + below random 40 - 4) in
    Words.store page (pick random [ 4; 8 ]) (if Random.State.bool random then word random else near);
    let in_flight = 32 - Command_ring.room ring in
    match Command_ring.take ring with
    | Error reason -> check "no reason" (reason <> "")
    | Ok responses -> check "more responses than requests" (List.length responses <= in_flight)
  done

let new_data_ring random ~order =
  let memory = Cstruct.create (4096 * Data_ring.pages ~order) in
  let refs = List.init (Data_ring.pages ~order) (fun number -> 1000 + number) in
  let ring = Data_ring.create ~start:(pick random starts) memory ~refs ~order in
  let page ref = Cstruct.sub memory (4096 * (ref - 1000)) 4096 in
  (ring, Backend.Data.attach (page 1000) page)

(* Messages of all lengths come through both ways in their order, and who sleeps is woken; also where the indices wrap. *)
let data_ring random =
  let order = 1 + below random 2 in
  let ring, backend = new_data_ring random ~order in
  let most = Data_ring.max_message ~order in
  let length () = pick random [ 0; 1; below random 600; below random (most + 1); most ] in
  let outward = Queue.create () and inward = Queue.create () in
  let reader_sleeps = ref false and writer_sleeps = ref false in
  let backend_reader_sleeps = ref false and backend_writer_sleeps = ref false in
  let send () =
    let message = Bytes.to_string (octets random (length ())) in
    match Data_ring.write ring (Cstruct.of_string message) with
    | Error reason -> failwith reason
    | Ok `Full -> writer_sleeps := true
    | Ok (`Written notify) ->
        writer_sleeps := false;
        check "the backend is not woken by a message" (notify || not !backend_reader_sleeps);
        backend_reader_sleeps := false;
        Queue.push message outward
  in
  let receive () =
    match Data_ring.read ring with
    | Error reason -> failwith reason
    | Ok ([], _) ->
        check "a message is lost" (Queue.is_empty inward);
        reader_sleeps := true
    | Ok (messages, notify) ->
        List.iter (fun message -> check "another message" (Cstruct.to_string message = Queue.pop inward)) messages;
        check "the backend is not woken by room" (notify || not (!backend_writer_sleeps && Queue.is_empty inward));
        if notify then backend_writer_sleeps := false
  in
  let backend_send () =
    let message = Bytes.to_string (octets random (length ())) in
    match Backend.Data.write backend message with
    | None -> backend_writer_sleeps := true
    | Some notify ->
        backend_writer_sleeps := false;
        check "the frontend would not be woken by a message" (notify || not !reader_sleeps);
        reader_sleeps := false;
        Queue.push message inward
  in
  let backend_receive () =
    match Backend.Data.read backend with
    | None ->
        check "a message to the backend is lost" (Queue.is_empty outward);
        backend_reader_sleeps := true
    | Some (message, notify) ->
        check "another message to the backend" (message = Queue.pop outward);
        check "the frontend would not be woken by room" (notify || not (!writer_sleeps && Queue.is_empty outward));
        if notify then writer_sleeps := false
  in
  for _ = 1 to 60 do
    (pick random [ send; receive; backend_send; backend_receive ]) ()
  done;
  check "an end that is none" (Data_ring.ended ring = 0);
  Words.store backend.indices Backend.Data.in_error (Words.wrap (-107));
  let untaken = not (Queue.is_empty inward) in
  check "an end before the last message" (Data_ring.error ring = if untaken then 0 else 107)

let lying_data_ring random =
  let order = 1 + below random 2 in
  let ring, backend = new_data_ring random ~order in
  let most = Data_ring.max_message ~order in
  let load = Words.load backend.indices in
  let consumed_before = ref (load Backend.Data.out_cons) in
  for _ = 1 to 30 do
    let scribble () =
      let index = pick random Backend.Data.ours in
      let near = Words.wrap (load index + below random 60 - 20) in
      Words.store backend.indices index (if Random.State.bool random then word random else near)
    in
    let scribble_data () =
      let page = pick random (Array.to_list backend.pages) in
      Cstruct.set_uint8 page (below random 4096) (below random 3)
    in
    let read () =
      match Data_ring.read ring with
      | Error reason -> check "no reason" (reason <> "")
      | Ok ([], _) -> check "something is there, and is not read" (load Backend.Data.in_prod = load Backend.Data.in_cons)
      | Ok (messages, _) ->
          let octets = List.fold_left (fun sum message -> sum + 4 + Cstruct.length message) 0 messages in
          check "more than the ring holds" (octets <= backend.size)
    in
    let write () =
      let consumed = load Backend.Data.out_cons and sent = load Backend.Data.out_prod in
      let is_legal = Words.distance ~from:!consumed_before consumed <= Words.distance ~from:!consumed_before sent in
      match Data_ring.write ring (Cstruct.create (below random (most + 1))) with
      | Error reason -> check "no reason, or none for it" (reason <> "" && not is_legal)
      | Ok (`Full | `Written _) ->
          check "consumption that cannot be" is_legal;
          consumed_before := consumed
    in
    (pick random [ scribble; scribble_data; read; write ]) ();
    check "an end that is no number" (Data_ring.ended ring >= 0 && Data_ring.error ring >= 0)
  done

let often property random =
  for _ = 1 to 20 do
    property random
  done

let properties =
  [
    ("responses", often responses); ("reports", often reports); ("addresses", addresses); ("requests", requests);
    ("command ring", command_ring); ("lying command ring", lying_command_ring); ("data ring", data_ring);
    ("lying data ring", lying_data_ring);
  ] [@@ocamlformat "disable"]

let () =
  let argument number default = if Array.length Sys.argv > number then int_of_string Sys.argv.(number) else default in
  let first = argument 1 0 and seeds = argument 2 500 in
  let run seed (name, property) =
    try property (Random.State.make [| seed |])
    with exn ->
      Printf.eprintf "%s, seed %d: %s\n" name seed (Printexc.to_string exn);
      exit 1
  in
  for seed = first to first + seeds - 1 do
    List.iter (run seed) properties
  done;
  Printf.printf "%d properties held for %d seeds\n" (List.length properties) seeds
