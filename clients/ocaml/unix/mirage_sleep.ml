(* SPDX-License-Identifier: MIT *)

let ns nanoseconds = Lwt_unix.sleep (Int64.to_float nanoseconds *. 1e-9)
