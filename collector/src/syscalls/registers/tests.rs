use bailiwick_collector_ebpf::calls::{CALLS, Program};
use bailiwick_collector_ebpf::{ADDRESS_MAX, File, text};
use proptest::prelude::*;

use super::super::arguments::{self, Names, Pairs, SocketNames};
use super::super::{names, sockets};
use super::*;

fn texts(pairs: &Pairs) -> Vec<(&'static str, String)> {
    pairs.iter().map(|(name, text)| (name, text.to_owned())).collect()
}

/// Everything that a row has of a call's arguments.
fn of_row(call: &decode::Call<'_>) -> String {
    let names = Names { path: Some("/a"), raw: Some("a"), target: Some("/b"), ..Names::default() };
    let told = texts(&arguments::of(call, 0, &names, Pairs::default()));
    let opening = opening::of(call).map(|opening| {
        let mode = if opening.makes() { opening.mode } else { 0 };
        (opening.flags, mode, opening.resolve)
    });
    format!("{told:?} {:?} {opening:?}", names::descriptor(call))
}

fn of_socket_row(socket: &decode::Socket) -> String {
    let names = SocketNames { typechar: "4", tuple: "a->b", ..SocketNames::default() };
    let told = texts(&arguments::of_socket(socket, &names, Pairs::default()));
    let fd = socket.args.first().map(|fd| names::small(*fd));
    // What a call made has no other descriptor.
    let fd = fd.filter(|_| !matches!(socket.call, id::SOCKET | id::ACCEPT | id::ACCEPT4));
    format!("{told:?} {fd:?} {:?}", sockets::told(socket, 0))
}

/// The arguments with others where they tell nothing.
fn mixed(args: [u64; 6], others: [u64; 6], telling: u8) -> [u64; 6] {
    std::array::from_fn(|at| if telling >> at & 1 == 1 { args[at] } else { others[at] })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Goal: what is left out of the comparison is in no row.
    #[test]
    fn rows_do_not_show_what_is_left_out(
        id in 1..CALLS.len(), ret in -40_i64..40, ino in 0_u64..2,
        args in any::<[u64; 6]>(), others in any::<[u64; 6]>(),
    ) {
        let program = CALLS[id].program;
        let id = u16::try_from(id).unwrap();
        let call = |args| decode::Call {
            ret, args, file: File { ino, ..File::default() }, weight: 1, call: id, texts: [&[]; text::COUNT],
        };
        let telling = of_call(&call(args));
        prop_assert_eq!(of_row(&call(args)), of_row(&call(mixed(args, others, telling))));
        if program == Program::Socket {
            let socket = |args| decode::Socket {
                ret, args, ino, family: 2, socket_type: 0, protocol: 0, local_port: 0, remote_port: 0,
                call: id, address_len: 0, local: [0; 16], remote: [0; 16], address: [0; ADDRESS_MAX],
            };
            let telling = of_socket(&socket(args));
            prop_assert_eq!(of_socket_row(&socket(args)), of_socket_row(&socket(mixed(args, others, telling))));
        }
    }
}
