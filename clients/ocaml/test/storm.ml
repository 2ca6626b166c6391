(* SPDX-License-Identifier: MIT *)
(* A program that does all that an adapter can do, and a backend that does whatever comes to its mind: storm.exe
   [FIRST-SEED] [SEEDS]. Nothing may raise, and each call has to end. As soon as the backend is honest the program has to
   get on; what has ended leaves no page and no port behind, and when the adapter is closed nothing at all is left. *)

open Lwt.Syntax
module Backend = Backend_rings
module Words = Vl2cap.Private.Words
module Wire = Vl2cap.Private.Wire
module Address = Vl2cap.Address
module Error = Vl2cap.Error

let below = Random.State.int
let pick random list = List.nth list (below random (List.length list))
let one_in number random = below random number = 0
let frontend = "device/vl2cap/0"
let backend = "/local/domain/3/backend/vl2cap/7/0"

(* How many calls have ended, and how many of them in success. *)
let calls, successes = (ref 0, ref 0)

let garbage = [ ""; "0"; "-1"; "7"; "2,1"; "99999999999"; "4294967296"; "0x1"; " 1"; "four"; "\000"; String.make 4096 '9' ]

module Run (Seed : sig
  val random : Random.State.t
end)
() =
struct
  let random = Seed.random

  module Xen_os = Fake_xen.Make ()
  module Adapter = Vl2cap.Make (Fake_xen.Io_page) (Fake_xen.Xs_protocol) (Xen_os.Sleep) (Xen_os)

  (* The toolstack *)

  let attach () =
    Xen_os.set (frontend ^ "/backend") backend;
    Xen_os.set (frontend ^ "/backend-id") "3";
    Xen_os.set (frontend ^ "/state") "1";
    Xen_os.set (backend ^ "/state") "1"

  let detach () =
    List.iter (fun node -> Xen_os.remove (frontend ^ node)) [ "/backend"; "/backend-id"; "/state" ];
    Xen_os.remove (backend ^ "/state")

  (* The backend *)

  type channel = { ref : int; ring : Backend.Data.t; port : int }

  type link = {
    ring_ref : int;
    commands : Backend.Command.t;
    event_channel : int;
    mutable channels : (int * channel) list;  (** by id *)
    listeners : (int, int) Hashtbl.t;  (** by id: the transport's number *)
  }

  let link : link option ref = ref None
  let lies = ref true
  let refuses = ref true
  let lying number = !lies && one_in number random
  let node path = Hashtbl.find_opt Xen_os.nodes path
  let number path = Option.bind (node path) int_of_string_opt
  let page ref = Hashtbl.find Xen_os.granted ref

  let publish () =
    Xen_os.set (backend ^ "/versions") (if lying 6 then pick random garbage else "1,2");
    Xen_os.set (backend ^ "/max-page-order") (if lying 6 then pick random garbage else "3");
    Xen_os.set (backend ^ "/feature-info-wait") (if lying 2 then "0" else "1");
    Xen_os.set (backend ^ "/state") "2"

  let connect () =
    match (number (frontend ^ "/ring-ref"), number (frontend ^ "/event-channel")) with
    | Some ring_ref, Some event_channel when Hashtbl.mem Xen_os.granted ring_ref ->
        link := Some { ring_ref; commands = Backend.Command.attach (page ring_ref); event_channel; channels = []; listeners = Hashtbl.create 8 };
        Xen_os.set (backend ^ "/state") "4"
    | _ -> failwith "the frontend is Initialised without a ring"

  (* What the frontend has taken back is not looked at any more, though we have not let go of it. *)
  let forget () =
    let is_there ref = Hashtbl.mem Xen_os.granted ref in
    match !link with
    | Some it when is_there it.ring_ref -> it.channels <- List.filter (fun (_, it) -> is_there it.ref) it.channels
    | Some _ | None -> link := None

  let disconnect state =
    link := None;
    Xen_os.set (backend ^ "/state") state

  (* Follows the frontend's state, as a backend does. *)
  let follow () =
    match (node (frontend ^ "/state"), node (backend ^ "/state")) with
    | Some "1", Some ("1" | "6") -> publish ()
    | Some "3", Some "2" -> connect ()
    | Some "5", Some state when state <> "6" -> disconnect "6"
    | Some "6", Some state when state <> "6" && state <> "2" -> disconnect "6"
    | Some ("1" | "2" | "3" | "4" | "6"), Some state when not (List.mem state [ "1"; "2"; "4"; "6" ]) -> disconnect "6"
    | _ -> ()

  let notify port = if not (lying 8) then Xen_os.fire port

  let word octets offset = Int32.to_int (Bytes.get_int32_le octets offset)

  let response_to link request =
    let u8 = Bytes.set_uint8 and response = Bytes.make Backend.entry_size '\000' in
    Bytes.blit request 0 response 0 12;
    (match Bytes.get_uint8 request 4 with
    | 0 ->
        u8 response 23 1;
        Bytes.set_int32_le response 24 0x1f001fl;
        u8 response 48 2
    | 1 | 3 ->
        if Bytes.get_uint8 request 4 = 1 then Bytes.blit request 24 response 16 7
        else u8 response 22 (2 * Option.value (Hashtbl.find_opt link.listeners (word request 24)) ~default:0);
        let mtu = if Bytes.get_uint8 request 4 = 1 then Bytes.get_uint16_le request 34 else 672 in
        Bytes.blit request 32 response 24 2;
        Bytes.set_uint16_le response 26 600;
        Bytes.set_uint16_le response 28 mtu;
        u8 response 23 4;
        if mtu < 48 then Bytes.set_int32_le response 12 (-22l)
    | _ -> ());
    if !refuses && one_in 5 random then Bytes.set_int32_le response 12 (Int32.of_int (-pick random [ 1; 11; 13; 24; 98; 110; 111; 107; 777 ]));
    if lying 40 then u8 response (below random 30) (below random 256);
    response

  let open_channel link request =
    let id = word request 8 in
    match Bytes.get_uint8 request 4 with
    | 2 -> Hashtbl.replace link.listeners id (Bytes.get_uint8 request 22)
    | 1 | 3 | 5 ->
        let ref = word request 16 in
        link.channels <- (id, { ref; ring = Backend.Data.attach (page ref) page; port = word request 20 }) :: link.channels
    | 4 -> link.channels <- List.remove_assoc id link.channels
    | _ -> ()

  (* An INFO that waits, and now and then another request, is not answered. *)
  let is_left request = (Bytes.get_uint8 request 4 = 0 && Bytes.get_uint8 request 12 = 1) || lying 12

  let answer link =
    let each request =
      open_channel link request;
      if not (is_left request) then begin
        let response = response_to link request in
        if Bytes.get_int32_le response 12 <> 0l then
          link.channels <- List.remove_assoc (word request 8) link.channels;
        if Backend.Command.put link.commands response || lying 4 then notify link.event_channel
      end
    in
    List.iter each (Backend.Command.take link.commands)

  let scribble link =
    let any () = pick random [ 0; 1; 3; 8; 0x7fff_ffff; 0xffff_ffff; below random 0x3fff_ffff ] in
    if one_in 6 random then Words.store link.commands.page (pick random [ 4; 8 ]) (any ())
    else if link.channels <> [] then begin
      let _, channel = pick random link.channels in
      Words.store channel.ring.indices (pick random Backend.Data.ours) (any ());
      notify channel.port
    end

  let echo (_, { ring; port; _ }) =
    let rec go () =
      match Backend.Data.read ring with
      | None -> ()
      | Some (message, wake) ->
          if wake then notify port;
          (match Backend.Data.write ring message with Some true -> notify port | Some false | None -> ());
          go ()
    in
    (* Its own ends are wrong after it has lied. *)
    if Words.load ring.indices Backend.Data.out_cons = ring.consumed then go ()

  let chatter (_, { ring; port; _ }) =
    match Backend.Data.write ring (String.make (below random 60) 'x') with
    | Some _ -> notify port
    | None -> ()

  let misbehave () =
    if one_in 60 random then Xen_os.set (backend ^ "/state") (pick random ([ "1"; "2"; "3"; "4"; "5"; "6" ] @ garbage));
    if one_in 300 random then detach ();
    if one_in 100 random then attach ();
    if one_in 200 random then Xen_os.set (frontend ^ "/state") (pick random ([ "1"; "4"; "6" ] @ garbage));
    if one_in 200 random then Xen_os.set (frontend ^ "/backend-id") (pick random garbage);
    let node = frontend ^ pick random [ "/state"; "/backend"; "/version" ] in
    Xen_os.denies := if one_in 40 random then String.equal node else fun _ -> false

  let step () =
    if !lies then misbehave ();
    forget ();
    if not (lying 3) then follow ();
    match !link with
    | None -> ()
    | Some link ->
        answer link;
        if lying 20 then scribble link;
        List.iter echo link.channels;
        if !lies && link.channels <> [] && one_in 3 random then chatter (pick random link.channels)

  (* The program *)

  let unfinished = ref 0

  let goes_on = ref true

  (* Resolves when all calls are to be given up. *)
  let last_bell, ring_last_bell = Lwt.wait ()
  let peer kind = Result.get_ok (Address.of_string kind "C0:FF:EE:00:00:01")

  (* Calls, and now and then is not patient; nobody is after the last bell. *)
  let call : type result. (unit -> result Lwt.t) -> result option Lwt.t =
   fun f ->
    incr unfinished;
    let patience =
      if one_in 6 random then Xen_os.Sleep.ns (Int64.of_int (below random 1_000_000_000)) else fst (Lwt.task ())
    in
    let result = Lwt.map Option.some (f ()) in
    let* result = Lwt.pick [ result; Lwt.map (fun () -> None) (Lwt.choose [ patience; Lwt.protected last_bell ]) ] in
    decr unfinished;
    Lwt.return result

  let check result =
    incr calls;
    match result with
    | Some (Error error) -> if Error.to_string error = "" then failwith "an error without words"
    | Some (Ok _) -> incr successes
    | None -> ()

  let rec repeat count f = if count = 0 then Lwt.return_unit else Lwt.bind (f ()) (fun () -> repeat (count - 1) f)

  let use_channel channel =
    let send () =
      let* result = call (fun () -> Adapter.send channel (Cstruct.create (below random 700))) in
      check result;
      Lwt.return_unit
    and recv () =
      let* result = call (fun () -> Adapter.recv channel) in
      check result;
      (match result with
      | Some (Ok sdu) when Cstruct.length sdu > Adapter.rx_mtu channel -> failwith "an SDU beyond the MTU"
      | Some (Ok _ | Error _) | None -> ());
      Lwt.return_unit
    in
    let* () = Lwt.join [ repeat (below random 8) send; repeat (below random 4) recv ] in
    let* _ = call (fun () -> (if one_in 2 random then Adapter.abort else Adapter.close) channel) in
    Lwt.return_unit

  let use_scan scan =
    let* result = call (fun () -> Adapter.next scan) in
    check result;
    let* _ = call (fun () -> Adapter.close_scan scan) in
    Lwt.return_unit

  let use result f =
    check result;
    match result with Some (Ok thing) -> f thing | Some (Error _) | None -> Lwt.return_unit

  let do_something adapter () =
    let security = pick random [ `None; `None; `Encrypted ] in
    let* () = Xen_os.Sleep.ns (Int64.of_int (below random 300_000_000)) in
    let* _ = if one_in 2 random then call (fun () -> Adapter.wait_ready adapter) else Lwt.return_some () in
    match below random 6 with
    | _ when not !goes_on -> Lwt.return_unit
    | 0 ->
        let* result = call (fun () -> Adapter.info adapter) in
        use result (fun _ -> Lwt.return_unit)
    | 1 | 2 ->
        let kind, psm = pick random [ (`Bredr, 0x1001); (`Le_random, 0x80); (`Le_random, 0x1_0080) ] in
        let* result = call (fun () -> Adapter.connect adapter ~security ~mtu:(pick random [ 20; 48; 672; below random 9000 ]) (peer kind) psm) in
        use result use_channel
    | 3 ->
        let* result = call (fun () -> Adapter.listen adapter (pick random [ `Bredr; `Le ]) 0) in
        use result (fun listener ->
            let* result = call (fun () -> Adapter.accept listener) in
            let* () = use result use_channel in
            Lwt.map ignore (call (fun () -> Adapter.close_listener listener)))
    | 4 ->
        let* result = call (fun () -> Adapter.scan adapter (pick random [ `Bredr; `Le ])) in
        use result use_scan
    | _ ->
        let* result = call (fun () -> Adapter.advertise adapter (String.make (below random 40) '\001')) in
        use result (fun advertisement -> Lwt.map ignore (call (fun () -> Adapter.close_advertisement advertisement)))

  let rec program adapter () =
    if !goes_on then Lwt.bind (do_something adapter ()) (program adapter) else Lwt.return_unit

  let rec turns count =
    if count > 0 then begin
      step ();
      Xen_os.settle ();
      if one_in 2 random then Xen_os.pass_time ();
      turns (count - 1)
    end

  (* Goes on until something is so, with a backend that does what it should. *)
  let rec until what is_so count =
    if not (is_so ()) then
      if count = 0 then failwith what
      else begin
        turns 1;
        Xen_os.pass_time ();
        until what is_so (count - 1)
      end

  let resolved promise () = not (Lwt.is_sleeping promise)

  let echo_once adapter =
    let echoed =
      let* () = Adapter.wait_ready adapter in
      let open Lwt_result.Syntax in
      let* channel = Adapter.connect adapter ~mtu:1000 (peer `Bredr) 0x1001 in
      let* () = Adapter.send channel (Cstruct.of_string "hello") in
      let* sdu = Adapter.recv channel in
      Lwt.map Result.ok (Lwt.map (fun () -> Cstruct.to_string sdu) (Adapter.close channel))
    in
    until "it does not get on" (resolved echoed) 400;
    match Lwt.state echoed with
    | Return (Ok "hello") -> ()
    | Return (Error error) -> failwith ("no echo: " ^ Error.to_string error)
    | Return (Ok _) | Fail _ | Sleep -> failwith "another echo"

  (* Four fibers of a program do this and that, until they have to give it up. *)
  let play_round adapter count =
    goes_on := true;
    let programs = Lwt.join (List.init 4 (fun _ -> program adapter ())) in
    turns count;
    goes_on := false;
    programs

  let end_round programs =
    until "a call does not end" (fun () -> resolved programs () && !unfinished = 0) 1000;
    if Lwt.state programs <> Return () then failwith "a call has raised"

  let check_left ~pages ~ports =
    let left = Hashtbl.length Xen_os.granted and bound = Xen_os.bound () in
    if (left, bound) <> (pages, ports) then failwith (Printf.sprintf "%d pages and %d ports are left" left bound);
    Xen_os.check_old_pages ();
    match !Xen_os.faults with [] -> () | faults -> failwith (String.concat "; " faults)

  let be_honest () =
    lies := false;
    refuses := false;
    Xen_os.denies := fun _ -> false

  let go () =
    attach ();
    let opened = Adapter.open_ () in
    until "it does not open" (resolved opened) 10;
    let adapter = match Lwt.state opened with Return adapter -> adapter | Fail _ | Sleep -> failwith "no adapter" in
    let programs = play_round adapter 600 in
    (* Now the driver domain is started again with a backend that is as it should be: what was going on ends by itself. *)
    be_honest ();
    detach ();
    turns 3;
    disconnect "1";
    attach ();
    end_round programs;
    echo_once adapter;
    if Option.is_some (Adapter.trouble adapter) then failwith "there is trouble, though it is connected";
    (* What has ended leaves nothing behind but the command ring. *)
    refuses := true;
    let programs = play_round adapter 200 in
    Lwt.wakeup_later ring_last_bell ();
    be_honest ();
    end_round programs;
    turns 5;
    (match Adapter.trouble adapter with
    | None -> ()
    | Some trouble -> failwith ("it has lost an honest backend: " ^ Error.trouble_to_string trouble));
    check_left ~pages:1 ~ports:1;
    echo_once adapter;
    let gone = Adapter.disconnect adapter in
    until "it does not close" (resolved gone) 100;
    turns 20;
    check_left ~pages:0 ~ports:0
end

let run seed =
  let module Seeded =
    Run
      (struct
        let random = Random.State.make [| seed |]
      end)
      ()
  in
  Seeded.go ()

let () =
  let argument number default = if Array.length Sys.argv > number then int_of_string Sys.argv.(number) else default in
  let first = argument 1 0 and seeds = argument 2 50 in
  let report seed exn =
    Printf.eprintf "seed %d: %s\n%s" seed (Printexc.to_string exn) (Printexc.get_backtrace ());
    exit 1
  in
  for seed = first to first + seeds - 1 do
    (Lwt.async_exception_hook := fun exn -> report seed exn);
    try run seed with exn -> report seed exn
  done;
  Printf.printf "%d storms passed, with %d calls, of which %d did what was asked\n" seeds !calls !successes
