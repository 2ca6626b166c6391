(* SPDX-License-Identifier: MIT *)

type transport = [ `Bredr | `Le ]
type kind = [ `Bredr | `Le_public | `Le_random ]
type t = { kind : kind; octets : string  (** six, the least significant first *) }

let kind address = address.kind
let octets address = address.octets
let transport address = match address.kind with `Bredr -> `Bredr | `Le_public | `Le_random -> `Le
let address_type address = match address.kind with `Bredr -> 0 | `Le_public -> 1 | `Le_random -> 2

let of_octets address_type octets =
  match address_type with
  | 0 -> Some { kind = `Bredr; octets }
  | 1 -> Some { kind = `Le_public; octets }
  | 2 -> Some { kind = `Le_random; octets }
  | _ -> None

let of_string kind text =
  let is_digit = function '0' .. '9' | 'a' .. 'f' | 'A' .. 'F' -> true | _ -> false in
  let is_octet part = String.length part = 2 && is_digit part.[0] && is_digit part.[1] in
  match String.split_on_char ':' text with
  | parts when List.length parts = 6 && List.for_all is_octet parts ->
      let octet part = Char.chr (int_of_string ("0x" ^ part)) in
      let octets = List.rev_map octet parts |> List.to_seq |> String.of_seq in
      Ok { kind; octets }
  | _ -> Error (`Invalid (Printf.sprintf "%S is not an address as C0:FF:EE:00:00:01" text))

let to_string address =
  let octet number = Printf.sprintf "%02X" (Char.code address.octets.[number]) in
  String.concat ":" (List.map octet [ 5; 4; 3; 2; 1; 0 ])

let pp formatter address = Format.pp_print_string formatter (to_string address)
