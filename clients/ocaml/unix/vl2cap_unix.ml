(* SPDX-License-Identifier: MIT *)
(** The adapter of a Linux guest, over Xen's libraries: [Vl2cap_unix.open_], and so on. *)

module Adapter = Vl2cap.Make (Io_page) (Xs_protocol) (Mirage_sleep) (Xen_os)
include Adapter

(* The sockets by which devices are claimed, with their adapters. *)
let claims : (t * Unix.file_descr) list ref = ref []

(* FNV-1a, 64 bits. *)
let hash text =
  let add hash octet = Int64.(mul (logxor hash (of_int (Char.code octet))) 0x100000001b3L) in
  String.fold_left add 0xcbf29ce484222325L text

(* Two programs would take a device from each other without end. The name is that of the libraries in C and Python, too,
   and ends with the process; the hash tells the stores of a simulated Xen apart. *)
let claim device =
  let store = hash (Option.value (Sys.getenv_opt "XENSTORED_PATH") ~default:"") in
  let socket = Unix.socket ~cloexec:true PF_UNIX SOCK_DGRAM 0 in
  match Unix.bind socket (ADDR_UNIX (Printf.sprintf "\000usbbtd/%016Lx/vl2cap/%d" store device)) with
  | () -> socket
  | exception Unix.Unix_error _ ->
      Unix.close socket;
      failwith (Printf.sprintf "device/vl2cap/%d is in use by another program of this guest" device)

(** Fails with [Failure], which says why, if another program has the device, or there is no Xen. *)
let open_ ?(device = 0) () =
  let open Lwt.Infix in
  Lwt.catch
    (fun () ->
      let socket = claim device in
      Lwt.catch
        (fun () -> Adapter.open_ ~device ())
        (fun exn ->
          Unix.close socket;
          Lwt.fail exn)
      >|= fun adapter ->
      claims := (adapter, socket) :: !claims;
      adapter)
    (function
      | Unix.Unix_error (error, call, _) ->
          Lwt.fail_with (Printf.sprintf "there is no Xen here, or it is not for us: %s: %s" call (Unix.error_message error))
      | exn -> Lwt.fail exn)

let disconnect adapter =
  Lwt.finalize
    (fun () -> Adapter.disconnect adapter)
    (fun () ->
      let ours, others = List.partition (fun (other, _) -> other == adapter) !claims in
      List.iter (fun (_, socket) -> Unix.close socket) ours;
      claims := others;
      Lwt.return_unit)
