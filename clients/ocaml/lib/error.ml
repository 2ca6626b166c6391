(* SPDX-License-Identifier: MIT *)

type level = [ `None | `Encrypted | `Authenticated | `Secure ]
type insecurity = { needed : level; why : int }

type closed =
  [ `Peer
  | `Link_lost
  | `Not_read
  | `Not_allowed
  | `Not_secure
  | `No_controller
  | `Broken of string
  | `Other of int ]

type t =
  [ `Disconnected
  | `Closed of closed
  | `Refused of int
  | `Timeout of int
  | `Denied
  | `Not_secure of insecurity
  | `Limit
  | `Too_often
  | `In_use
  | `No_controller
  | `Not_supported
  | `No_pages
  | `Invalid of string
  | `Errno of int ]

type trouble =
  [ `No_device
  | `Node of string * string option
  | `Version of string
  | `Backend_closed
  | `Command_ring of string
  | `State_written
  | `Events_void
  | `No_pages
  | `Xen of string ]

let level_of_int = function 2 -> `Encrypted | 3 -> `Authenticated | 4 -> `Secure | _ -> `None
let level_to_int = function `None -> 0 | `Encrypted -> 2 | `Authenticated -> 3 | `Secure -> 4

let level_name = function
  | `None -> "more secure"
  | `Encrypted -> "encrypted"
  | `Authenticated -> "encrypted and authenticated"
  | `Secure -> "secured by Secure Connections"

(* By L2CAPIF_WHY_*. *)
let missing =
  [|
    "what was missing is not known"; "there is no key that is good enough, and no agent"; "the peer has no key, or another one";
    "the agent's answer was no"; "the peer does not pair now"; "the passkey or PIN was wrong"; "nobody answered in time";
    "there is no way to authenticate"; "one side has no Secure Connections"; "the key is too short";
    "the pairing would be weaker than the bond"; "too many pairings failed"; "the link ended"; "one side cannot do it";
  |] [@@ocamlformat "disable"]

let closed_of_errno = function
  | 1 -> `Not_secure
  | 13 -> `Not_allowed
  | 19 -> `No_controller
  | 74 -> `Broken "the driver domain says that the peer or this guest broke the protocol"
  | 105 -> `Not_read
  | 107 -> `Peer
  | 110 -> `Link_lost
  | other -> `Other other

let of_failure ~errno ~result ~status ~why ~needed : t =
  match errno with
  | 1 -> `Not_secure { needed = level_of_int needed; why }
  | 11 -> `Too_often
  | 13 -> `Denied
  | 19 -> `No_controller
  | 24 -> `Limit
  | 95 -> `Not_supported
  | 98 -> `In_use
  | 107 -> `Closed `Peer
  | 110 -> `Timeout status
  | 111 -> `Refused result
  | other -> `Errno other

let closed_to_string = function
  | `Peer -> "it was disconnected"
  | `Link_lost -> "the link was lost"
  | `Not_read -> "this program did not read"
  | `Not_allowed -> "the driver domain does not allow it any more"
  | `Not_secure -> "the link is not secure enough any more"
  | `No_controller -> "the Bluetooth controller is gone"
  | `Broken how -> how
  | `Other number -> Printf.sprintf "error %d" number

let no_pages = "this guest has no page or event channel left to share"

let to_string = function
  | `Disconnected -> "the driver domain's service went away"
  | `Closed closed -> "closed: " ^ closed_to_string closed
  | `Refused result -> Printf.sprintf "the peer refused: L2CAP result 0x%04x" result
  | `Timeout 0 -> "no answer"
  | `Timeout status -> Printf.sprintf "no answer: HCI status 0x%02x" status
  | `Denied -> "the driver domain does not allow it"
  | `Not_secure { needed; why } ->
      let words = if why < Array.length missing then missing.(why) else missing.(0) in
      Printf.sprintf "the link has to be %s: %s" (level_name needed) words
  | `Limit -> "the driver domain's limit for this guest is reached"
  | `Too_often -> "this guest has connected too often in the last minute"
  | `In_use -> "in use already, by this guest or another"
  | `No_controller -> "the driver domain has no Bluetooth controller now"
  | `Not_supported -> "the adapter cannot do that"
  | `No_pages -> no_pages
  | `Invalid what -> what
  | `Errno number -> Printf.sprintf "Xen's error %d" number

let trouble_to_string = function
  | `No_device -> "this guest has no such device"
  | `Node (name, None) -> Printf.sprintf "the node %s is not there" name
  | `Node (name, Some value) -> Printf.sprintf "the node %s is %S, which cannot be" name value
  | `Version versions -> Printf.sprintf "the backend speaks the versions %S, and not 1" versions
  | `Backend_closed -> "the backend has closed the connection"
  | `Command_ring how -> "the backend broke the protocol of the command ring: " ^ how
  | `State_written -> "somebody else has written into this end's state"
  | `Events_void -> "the event channels are void"
  | `No_pages -> no_pages
  | `Xen what -> what

let pp formatter error = Format.pp_print_string formatter (to_string error)
