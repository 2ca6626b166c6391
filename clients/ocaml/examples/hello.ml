(* SPDX-License-Identifier: MIT *)
open Lwt.Syntax

module Make (Bluetooth : Vl2cap.ADAPTER) = struct
  let print = function
    | Ok sdu -> print_endline (Cstruct.to_string sdu)
    | Error error -> prerr_endline (Vl2cap.Error.to_string error)

  let say_hello adapter peer =
    let open Lwt_result.Syntax in
    let* channel = Bluetooth.connect adapter ~security:`None peer 0x1001 in
    let* () = Bluetooth.send channel (Cstruct.of_string "hello") in
    let* answer = Bluetooth.recv channel in
    Lwt.map Result.ok (Lwt.map (fun () -> answer) (Bluetooth.close channel))

  let start () =
    match Vl2cap.Address.of_string `Bredr "C0:FF:EE:00:00:11" with
    | Error error -> Lwt.return (print (Error error))
    | Ok peer ->
        let* adapter = Bluetooth.open_ () in
        let* () = Bluetooth.wait_ready adapter in
        let* answer = say_hello adapter peer in
        print answer;
        Bluetooth.disconnect adapter
end
