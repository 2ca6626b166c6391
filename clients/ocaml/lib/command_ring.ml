(* SPDX-License-Identifier: MIT *)

let header_size = 64
let slots = 32

(* Offsets of the words of the header. *)
let req_prod = 0
let req_event = 4
let rsp_prod = 8
let rsp_event = 12

type t = {
  page : Cstruct.t;
  mutable produced : int;  (** requests; modulo 2^32, as all indices *)
  mutable consumed : int;  (** responses *)
}

let create ?(start = 0) page =
  let next = Words.wrap (start + 1) in
  Cstruct.memset page 0;
  Words.store page req_prod start;
  Words.store page req_event next;
  Words.store page rsp_prod start;
  Words.store page rsp_event next;
  { page; produced = start; consumed = start }

let in_flight ring = Words.distance ~from:ring.consumed ring.produced
let room ring = slots - in_flight ring
let slot index = header_size + (Wire.entry_size * (index land (slots - 1)))

let put ring requests =
  let before = ring.produced in
  let put_one request =
    Cstruct.blit_from_bytes request 0 ring.page (slot ring.produced) Wire.entry_size;
    ring.produced <- Words.wrap (ring.produced + 1)
  in
  List.iter put_one requests;
  Words.store ring.page req_prod ring.produced;
  (* The backend must see the index before we look whether it sleeps. *)
  Words.full_barrier ();
  Words.passed ~event:(Words.load ring.page req_event) ~before ~now:ring.produced

let take ring =
  let most = in_flight ring and start = ring.consumed in
  let copy index =
    let octets = Bytes.create Wire.entry_size in
    Cstruct.blit_to_bytes ring.page (slot index) octets 0 Wire.entry_size;
    octets
  in
  (* [armed]: the index up to which an event was asked for. No request is put meanwhile, so this ends. *)
  let rec go taken armed =
    let untrusted = Words.distance ~from:start (Words.load ring.page rsp_prod) in
    let so_far = Words.distance ~from:start ring.consumed in
    if untrusted > most || untrusted < so_far then
      Error (Printf.sprintf "%d responses to %d requests on the command ring" untrusted most)
    else if untrusted > so_far then begin
      let octets = copy ring.consumed in
      ring.consumed <- Words.wrap (ring.consumed + 1);
      go (octets :: taken) armed
    end
    else
      let next = Words.wrap (ring.consumed + 1) in
      if armed = Some next then Ok (List.rev taken)
      else begin
        Words.store ring.page rsp_event next;
        (* A response may have come just before the event was asked for. *)
        Words.full_barrier ();
        go taken (Some next)
      end
  in
  go [] None
