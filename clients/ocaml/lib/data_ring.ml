(* SPDX-License-Identifier: MIT *)

let page_size = 4096
let length_size = 4

(* Offsets in the page of indices: struct l2capif_data_intf. *)
let in_prod = 0
let in_cons_event = 4
let in_error = 8
let in_cons = 64
let in_prod_event = 68
let out_prod = 128
let out_cons_event = 132
let out_error = 136
let out_cons = 192
let out_prod_event = 196
let ring_order = 256
let ref_0 = 260

type t = {
  indices : Cstruct.t;
  input : Cstruct.t;
  output : Cstruct.t;
  size : int;  (** octets of each half: a power of two *)
  mutable received : int;  (** our cons *)
  mutable sent : int;  (** our prod *)
  mutable sent_consumed : int;  (** the backend's cons, checked *)
}

let half_size ~order = page_size lsl order / 2
let pages ~order = 1 + (1 lsl order)
let max_message ~order = half_size ~order - length_size

let create ?(start = 0) memory ~refs ~order =
  let size = half_size ~order in
  let indices = Cstruct.sub memory 0 page_size in
  Words.store indices ring_order order;
  List.iteri (fun number ref -> if number > 0 then Words.store indices (ref_0 + (4 * (number - 1))) ref) refs;
  List.iter (fun index -> Words.store indices index start) [ in_prod; in_cons; out_prod; out_cons ];
  Words.store indices in_prod_event (Words.wrap (start + 1));
  {
    indices;
    input = Cstruct.sub memory page_size size;
    output = Cstruct.sub memory (page_size + size) size;
    size;
    received = start;
    sent = start;
    sent_consumed = start;
  }

(* Octets are at their index modulo the size, and go round. *)

let copy_in ring index message =
  let length = Cstruct.length message in
  let offset = index land (ring.size - 1) in
  let first = min length (ring.size - offset) in
  Cstruct.blit message 0 ring.output offset first;
  Cstruct.blit message first ring.output 0 (length - first)

let copy_out ring index length =
  let copy = Cstruct.create_unsafe length in
  let offset = index land (ring.size - 1) in
  let first = min length (ring.size - offset) in
  Cstruct.blit ring.input offset copy 0 first;
  Cstruct.blit ring.input 0 copy first (length - first);
  copy

(* The backend's cons may move from where it was up to our prod, and nowhere else. *)
let load_consumed ring =
  let untrusted = Words.load ring.indices out_cons in
  if Words.distance ~from:untrusted ring.sent > Words.distance ~from:ring.sent_consumed ring.sent then
    Error (Printf.sprintf "the backend has consumed %d of %d octets" untrusted ring.sent)
  else begin
    ring.sent_consumed <- untrusted;
    Ok (ring.size - Words.distance ~from:untrusted ring.sent)
  end

let put ring message need =
  let length = Cstruct.length message and before = ring.sent in
  for octet = 0 to length_size - 1 do
    let offset = (before + octet) land (ring.size - 1) in
    Cstruct.set_uint8 ring.output offset ((length lsr (8 * octet)) land 0xff)
  done;
  copy_in ring (Words.wrap (before + length_size)) message;
  ring.sent <- Words.wrap (before + need);
  Words.store ring.indices out_prod ring.sent;
  (* The backend must see the index before we look whether it sleeps. *)
  Words.full_barrier ();
  `Written (Words.passed ~event:(Words.load ring.indices out_prod_event) ~before ~now:ring.sent)

let write ring message =
  let need = length_size + Cstruct.length message in
  Result.bind (load_consumed ring) (fun room ->
      if need <= room then Ok (put ring message need)
      else begin
        Words.store ring.indices out_cons_event (Words.wrap (ring.sent + need - ring.size));
        (* The backend may have made room just before the event was asked for. *)
        Words.full_barrier ();
        Result.map (fun room -> if need <= room then put ring message need else `Full) (load_consumed ring)
      end)

let load_available ring =
  let prod = Words.load ring.indices in_prod in
  if prod <> ring.received then Words.distance ~from:ring.received prod
  else begin
    Words.store ring.indices in_prod_event (Words.wrap (ring.received + 1));
    (* A message may have come just before the event was asked for. *)
    Words.full_barrier ();
    Words.distance ~from:ring.received (Words.load ring.indices in_prod)
  end

(* Splits a private copy into messages. Good ones before a bad one are given out first. *)
let split copy =
  let rec go messages rest =
    let available = Cstruct.length rest in
    if available = 0 then Ok (List.rev messages, rest)
    else
      let untrusted =
        if available < length_size then max_int
        else Int32.to_int (Cstruct.LE.get_uint32 rest 0) land 0xffff_ffff
      in
      if untrusted <= available - length_size then
        go (Cstruct.sub rest length_size untrusted :: messages) (Cstruct.shift rest (length_size + untrusted))
      else if messages <> [] then Ok (List.rev messages, rest)
      else Error (Printf.sprintf "a message that does not fit into %d octets" available)
  in
  go [] copy

let read ring =
  match load_available ring with
  | 0 -> Ok ([], false)
  | untrusted when untrusted > ring.size ->
      Error (Printf.sprintf "%d octets in a data ring of %d" untrusted ring.size)
  | available ->
      let give (messages, rest) =
        let before = ring.received in
        ring.received <- Words.wrap (before + available - Cstruct.length rest);
        Words.store ring.indices in_cons ring.received;
        Words.full_barrier ();
        (messages, Words.passed ~event:(Words.load ring.indices in_cons_event) ~before ~now:ring.received)
      in
      Result.map give (split (copy_out ring ring.received available))

let end_ ring errno = Words.store ring.indices out_error (Words.wrap (-errno))

(* The word is signed; a positive one is no error number, and still an end. *)
let error_number word = if word land 0x8000_0000 = 0 then word else Words.wrap (-word)
let ended ring = error_number (Words.load ring.indices in_error)

let error ring =
  let errno = ended ring in
  if Words.load ring.indices in_prod = ring.received then errno else 0
