(* SPDX-License-Identifier: MIT *)
(* The backend's ends of both rings, written from docs/l2capif.md: honest, and trusting. *)

module Words = Vl2cap.Private.Words

let entry_size = 64

module Command = struct
  let req_prod, req_event, rsp_prod, rsp_event = (0, 4, 8, 12)

  type t = { page : Cstruct.t; mutable taken : int; mutable answered : int }

  let attach page =
    let index = Words.load page rsp_prod in
    { page; taken = index; answered = index }

  let slot index = 64 + (entry_size * (index land 31))

  (* Takes what there is, and asks for an event on the next. *)
  let take ring =
    let take_one () =
      let request = Cstruct.to_bytes (Cstruct.sub ring.page (slot ring.taken) entry_size) in
      ring.taken <- Words.wrap (ring.taken + 1);
      request
    in
    let ready = Words.distance ~from:ring.taken (Words.load ring.page req_prod) in
    (* There are more where the indices have been overwritten. *)
    let requests = List.init (min ready 32) (fun _ -> take_one ()) in
    Words.store ring.page req_event (Words.wrap (ring.taken + 1));
    requests

  (* Returns whether to notify. *)
  let put ring response =
    let before = ring.answered in
    Cstruct.blit_from_bytes response 0 ring.page (slot before) entry_size;
    ring.answered <- Words.wrap (before + 1);
    Words.store ring.page rsp_prod ring.answered;
    Words.full_barrier ();
    Words.passed ~event:(Words.load ring.page rsp_event) ~before ~now:ring.answered
end

module Data = struct
  let page_size = 4096

  (* Of the indices page. The backend produces into "in", and consumes from "out". *)
  let in_prod, in_cons_event, in_error, in_cons, in_prod_event = (0, 4, 8, 64, 68)
  let out_prod, out_cons_event, out_error, out_cons, out_prod_event = (128, 132, 136, 192, 196)
  let ring_order, ref_0 = (256, 260)
  let ours = [ in_prod; in_cons_event; in_error; out_cons; out_prod_event ]

  type t = {
    indices : Cstruct.t;
    pages : Cstruct.t array;
    size : int;  (** octets of a half *)
    mutable produced : int;
    mutable consumed : int;
  }

  (* [page]: the page that has a grant reference. *)
  let attach indices page =
    let order = Words.load indices ring_order in
    let pages = Array.init (1 lsl order) (fun number -> page (Words.load indices (ref_0 + (4 * number)))) in
    let produced = Words.load indices in_prod and consumed = Words.load indices out_cons in
    { indices; pages; size = page_size lsl order / 2; produced; consumed }

  let place ring ~half index =
    let offset = (half * ring.size) + (index land (ring.size - 1)) in
    (ring.pages.(offset / page_size), offset mod page_size)

  let set ring ~half index octet =
    let page, offset = place ring ~half index in
    Cstruct.set_uint8 page offset octet

  let get ring ~half index =
    let page, offset = place ring ~half index in
    Cstruct.get_uint8 page offset

  let length_octet length number = (length lsr (8 * number)) land 0xff

  (* Returns [None] if there is no room, after it has asked for an event; or whether to notify. *)
  let write ring message =
    let length = String.length message in
    let need = 4 + length and before = ring.produced in
    let room () = ring.size - Words.distance ~from:(Words.load ring.indices in_cons) ring.produced in
    let has_room =
      need <= room ()
      || begin
           Words.store ring.indices in_cons_event (Words.wrap (ring.produced + need - ring.size));
           Words.full_barrier ();
           need <= room ()
         end
    in
    if not has_room then None
    else begin
      for number = 0 to 3 do
        set ring ~half:0 (before + number) (length_octet length number)
      done;
      String.iteri (fun number octet -> set ring ~half:0 (before + 4 + number) (Char.code octet)) message;
      ring.produced <- Words.wrap (before + need);
      Words.store ring.indices in_prod ring.produced;
      Words.full_barrier ();
      Some (Words.passed ~event:(Words.load ring.indices in_prod_event) ~before ~now:ring.produced)
    end

  (* Takes the next message, and whether to notify; or asks for an event. *)
  let rec read ring =
    let octet number = get ring ~half:1 (ring.consumed + number) in
    if Words.load ring.indices out_prod = ring.consumed then begin
      Words.store ring.indices out_prod_event (Words.wrap (ring.consumed + 1));
      Words.full_barrier ();
      if Words.load ring.indices out_prod = ring.consumed then None else read ring
    end
    else begin
      let before = ring.consumed in
      let length = octet 0 lor (octet 1 lsl 8) lor (octet 2 lsl 16) lor (octet 3 lsl 24) in
      let message = String.init length (fun number -> Char.chr (octet (4 + number))) in
      ring.consumed <- Words.wrap (before + 4 + length);
      Words.store ring.indices out_cons ring.consumed;
      Words.full_barrier ();
      Some (message, Words.passed ~event:(Words.load ring.indices out_cons_event) ~before ~now:ring.consumed)
    end
end
