(* SPDX-License-Identifier: MIT *)

type entry = { id : int; request : Wire.request; answered : Wire.response -> unit }

type t = {
  in_flight : (int, entry) Hashtbl.t;  (** by req_id *)
  objects : (int, unit) Hashtbl.t;  (** the ids that are in use *)
  queue : bytes Queue.t;
  mutable last : int;
}

let most_waiting = 256
let create () = { in_flight = Hashtbl.create 32; objects = Hashtbl.create 32; queue = Queue.create (); last = 0 }
let full requests = Queue.length requests.queue >= most_waiting

(* 0 is nobody's: INFO has it as its id. *)
let rec next_number requests =
  requests.last <- (if requests.last = 0xffff_ffff then 1 else requests.last + 1);
  let taken = Hashtbl.mem requests.objects requests.last || Hashtbl.mem requests.in_flight requests.last in
  if taken then next_number requests else requests.last

let enqueue requests req_id entry =
  Hashtbl.replace requests.in_flight req_id entry;
  Queue.push (Wire.pack ~req_id ~id:entry.id entry.request) requests.queue

let send requests request answered =
  let number = next_number requests in
  let id = match request with Wire.Info _ -> 0 | _ -> number in
  if id <> 0 then Hashtbl.replace requests.objects id ();
  enqueue requests number { id; request; answered };
  number

(* -EINVAL is no failure where the RELEASE crossed an error response. *)
let release requests id released =
  let answered (_ : Wire.response) = released () in
  enqueue requests (next_number requests) { id; request = Wire.Release; answered }

let take requests most =
  List.init (min most (Queue.length requests.queue)) (fun _ -> Queue.pop requests.queue)

let receive requests untrusted =
  let req_id = Wire.req_id untrusted in
  match Hashtbl.find_opt requests.in_flight req_id with
  | None -> Error (Printf.sprintf "a response to request %d, which is not in flight" req_id)
  | Some { id; request = Release; _ } when Hashtbl.mem requests.in_flight id ->
      Error (Printf.sprintf "the end of object %d before the response to its request" id)
  | Some { id; request; answered } ->
      let give response =
        Hashtbl.remove requests.in_flight req_id;
        if request = Wire.Release || Result.is_error response then Hashtbl.remove requests.objects id;
        answered response
      in
      Result.map give (Wire.parse ~id request untrusted)

let close requests =
  Queue.clear requests.queue;
  let entries = Hashtbl.fold (fun _ entry entries -> entry :: entries) requests.in_flight [] in
  Hashtbl.reset requests.in_flight;
  Hashtbl.reset requests.objects;
  List.iter (fun entry -> entry.answered (Error `Disconnected)) entries
