(* SPDX-License-Identifier: MIT *)
(* A guest's program that obeys lines on its standard input, one answer a line: "ok" and words, or "error", the kind of
   error, and a sentence. tests/clients/scenario.py says what the commands are. *)

open Lwt.Syntax
module Adapter = Vl2cap_unix

type thing =
  | Channel of Adapter.channel
  | Listener of Adapter.listener
  | Scan of Adapter.scan
  | Advertisement of Adapter.advertisement

exception Usage of string

let things : (int, thing) Hashtbl.t = Hashtbl.create 16

let add thing =
  let number = Hashtbl.length things + 1 in
  Hashtbl.replace things number thing;
  number

let find text =
  match Option.bind (int_of_string_opt text) (Hashtbl.find_opt things) with
  | Some thing -> thing
  | None -> raise (Usage ("there is no " ^ text))

let channel text = match find text with Channel channel -> channel | _ -> raise (Usage (text ^ " is no channel"))
let listener text = match find text with Listener listener -> listener | _ -> raise (Usage (text ^ " is no listener"))
let scan text = match find text with Scan scan -> scan | _ -> raise (Usage (text ^ " is no scan"))

let kind_of_error : Vl2cap.Error.t -> string = function
  | `Disconnected -> "disconnected"
  | `Closed (`Broken _) -> "broken"
  | `Closed _ -> "closed"
  | `Refused _ -> "refused"
  | `Timeout _ -> "timeout"
  | `Denied -> "denied"
  | `Not_secure _ -> "not-secure"
  | `Limit -> "limit"
  | `Too_often -> "too-often"
  | `In_use -> "in-use"
  | `No_controller -> "no-controller"
  | `Not_supported -> "not-supported"
  | `No_pages -> "no-pages"
  | `Invalid _ -> "invalid"
  | `Errno _ -> "errno"

let kind_of_trouble : Vl2cap.Error.trouble -> string = function
  | `No_device -> "no-device"
  | `Node _ -> "node"
  | `Version _ -> "version"
  | `Backend_closed -> "backend-closed"
  | `Command_ring _ -> "command-ring"
  | `State_written -> "state-written"
  | `Events_void -> "events-void"
  | `No_pages -> "no-pages"
  | `Xen _ -> "xen"

let failed error = Printf.sprintf "error %s %s" (kind_of_error error) (Vl2cap.Error.to_string error)
let answer show = Lwt.map (function Ok result -> String.trim ("ok " ^ show result) | Error error -> failed error)
let number text = try int_of_string text with Failure _ -> raise (Usage (text ^ " is no number"))

let transport = function
  | "bredr" -> `Bredr
  | "le" -> `Le
  | other -> raise (Usage (other ^ " is no transport"))

let kind = function
  | "bredr" -> `Bredr
  | "public" -> `Le_public
  | "random" -> `Le_random
  | other -> raise (Usage (other ^ " is no type of address"))

let kind_name address =
  match Vl2cap.Address.kind address with `Bredr -> "bredr" | `Le_public -> "public" | `Le_random -> "random"

let levels = [ ("none", `None); ("encrypted", `Encrypted); ("authenticated", `Authenticated); ("secure", `Secure) ]
let level text = try List.assoc text levels with Not_found -> raise (Usage (text ^ " is no level"))
let level_name level = fst (List.find (fun (_, other) -> other = level) levels)
let unhex text = if text = "-" then Cstruct.empty else Cstruct.of_hex text

let hex octets =
  let digits octet = Printf.sprintf "%02x" (Char.code octet) in
  if Cstruct.length octets = 0 then "-"
  else Cstruct.to_string octets |> String.to_seq |> Seq.map digits |> List.of_seq |> String.concat ""

let show_info (info : Vl2cap.info) =
  let address = function None -> "-" | Some address -> Vl2cap.Address.to_string address in
  Printf.sprintf "%s %s %b %d %d %d %d" (address info.address) (address info.le_address) info.powered info.features
    info.max_channels info.channels info.max_mtu

let show_channel channel =
  let peer = Adapter.peer channel in
  let text = Printf.sprintf "%d %s %s %d %d %s" in
  text
    (add (Channel channel))
    (Vl2cap.Address.to_string peer) (kind_name peer) (Adapter.tx_mtu channel) (Adapter.rx_mtu channel)
    (level_name (Adapter.security channel))

let show_report (report : Vl2cap.report) =
  let source = match report.source with `Advertising -> "advertising" | `Inquiry -> "inquiry" | `Name -> "name" in
  let rssi = match report.rssi with None -> "-" | Some dbm -> string_of_int dbm in
  Printf.sprintf "%s %s %s %s %s" (Vl2cap.Address.to_string report.device) (kind_name report.device) source rssi
    (hex report.data)

let pattern size = String.init size (fun index -> Char.chr ((size + index) land 0xff)) |> Cstruct.of_string

let most_on_its_way = 32768 (* octets *)

(* Sends an SDU of every size, and compares what comes back meanwhile. BR/EDR has no flow control: so no more may be on its
   way than the driver domain keeps of what this program has not read. *)
let echo channel first last =
  let open Lwt_result.Syntax in
  let on_its_way = ref 0 and received = Lwt_condition.create () in
  let rec send size =
    if size > last then Lwt.return_ok ()
    else if !on_its_way >= most_on_its_way then Lwt.bind (Lwt_condition.wait received) (fun () -> send size)
    else begin
      on_its_way := !on_its_way + size;
      let* () = Adapter.send channel (pattern size) in
      send (size + 1)
    end
  in
  let rec receive size =
    if size > last then Lwt.return_ok ()
    else
      let* sdu = Adapter.recv channel in
      on_its_way := !on_its_way - size;
      Lwt_condition.signal received ();
      if Cstruct.equal sdu (pattern size) then receive (size + 1)
      else Lwt.return_error (`Invalid (Printf.sprintf "%d octets came back for %d" (Cstruct.length sdu) size))
  in
  let sending = send first and receiving = receive first in
  let* () = receiving in
  let+ () = sending in
  last - first + 1

let release = function
  | Channel channel -> Adapter.close channel
  | Listener listener -> Adapter.close_listener listener
  | Scan scan -> Adapter.close_scan scan
  | Advertisement advertisement -> Adapter.close_advertisement advertisement

let nothing () = ""

let obey adapter = function
  | [ "ready" ] -> Lwt.map (fun () -> "ok") (Adapter.wait_ready adapter)
  | [ "info" ] -> answer show_info (Adapter.info adapter)
  | [ "connect"; address; type_; psm; mtu; security ] -> (
      match Vl2cap.Address.of_string (kind type_) address with
      | Error error -> Lwt.return (failed error)
      | Ok peer ->
          let opened = Adapter.connect adapter ~security:(level security) ~mtu:(number mtu) peer (number psm) in
          answer show_channel opened)
  | [ "listen"; on; psm; mtu; security ] ->
      let made = Adapter.listen adapter ~security:(level security) ~mtu:(number mtu) (transport on) (number psm) in
      answer (fun listener -> string_of_int (add (Listener listener))) made
  | [ "accept"; text ] -> answer show_channel (Adapter.accept (listener text))
  | [ "send"; text; data ] -> answer nothing (Adapter.send (channel text) (unhex data))
  | [ "recv"; text ] -> answer hex (Adapter.recv (channel text))
  | [ "echo"; text; first; last ] -> answer string_of_int (echo (channel text) (number first) (number last))
  | [ "scan"; on ] ->
      answer (fun scan -> string_of_int (add (Scan scan))) (Adapter.scan adapter ~active:true (transport on))
  | [ "report"; text ] -> answer show_report (Adapter.next (scan text))
  | [ "advertise"; data ] ->
      let made = Adapter.advertise adapter (Cstruct.to_string (unhex data)) in
      answer (fun advertisement -> string_of_int (add (Advertisement advertisement))) made
  | [ "close"; text ] -> Lwt.map (fun () -> "ok") (release (find text))
  | [ "trouble" ] ->
      let show trouble = kind_of_trouble trouble ^ " " ^ Vl2cap.Error.trouble_to_string trouble in
      Lwt.return ("ok " ^ Option.fold (Adapter.trouble adapter) ~none:"-" ~some:show)
  | [ "constants" ] ->
      let show (name, value) = Printf.sprintf "%s=%d" name value in
      Lwt.return ("ok " ^ String.concat " " (List.map show Vl2cap.Private.Wire.constants))
  | words -> raise (Usage (String.concat " " words))

let () =
  Lwt_main.run
    (let* adapter = Adapter.open_ () in
     let say line = Lwt_io.printl line in
     let rec go () =
       let* line = Lwt_io.read_line_opt Lwt_io.stdin in
       match Option.map (String.split_on_char ' ') line with
       | None | Some [ "quit" ] ->
           let* () = Adapter.disconnect adapter in
           say "ok"
       | Some words ->
           let* reply =
             Lwt.catch
               (fun () -> obey adapter words)
               (function Usage text -> Lwt.return ("error usage " ^ text) | exn -> Lwt.fail exn)
           in
           let* () = say reply in
           go ()
     in
     go ())
