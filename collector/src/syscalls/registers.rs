//! What a call's registers hold beside its arguments. Pure.
//!
//! A record has all six, but a call looks at as many as it has arguments, and at
//! some of these only now and then: `mode` where a file may be made. The others
//! are whatever was left in them, and an argument that is an address says where
//! its text lay, not which. Neither is part of a row, so neither may make two
//! records differ that would be the same row.

use bailiwick_collector_ebpf::calls::id;
use bailiwick_collector_ebpf::{Call, Header, Socket};

use super::decode::{self, Event};
use super::opening;

/// Where the arguments are in a record: the same for both kinds of call.
const ARGS_AT: usize = size_of::<Header>() + std::mem::offset_of!(Call, args);
const _: () = assert!(std::mem::offset_of!(Call, args) == std::mem::offset_of!(Socket, args));
const ALL: u8 = 0b11_1111;

/// The record with zeros where a register tells nothing, in `room`.
pub(super) fn without_rest<'a>(record: &[u8], event: &Event<'_>, room: &'a mut Vec<u8>) -> &'a [u8] {
    room.clear();
    room.extend_from_slice(record);
    let telling = telling(event);
    if let Some(args) = room.get_mut(ARGS_AT..).filter(|_| telling != ALL) {
        let silent = |(at, _): &(usize, &mut [u8])| telling >> at & 1 == 0;
        args.chunks_exact_mut(8).take(6).enumerate().filter(silent).for_each(|(_, arg)| arg.fill(0));
    }
    room
}

/// The arguments that rows are made of, a bit each.
fn telling(event: &Event<'_>) -> u8 {
    match event {
        Event::Call(call) => of_call(call),
        Event::Socket(socket) => of_socket(socket),
        _ => ALL,
    }
}

fn of_call(call: &decode::Call<'_>) -> u8 {
    let makes = opening::of(call).is_some_and(|opening| opening.makes());
    match call.call {
        id::OPEN => 0b010 | if makes { 0b100 } else { 0 },
        id::OPENAT => 0b0101 | if makes { 0b1000 } else { 0 },
        id::OPENAT2 | id::DUP => 0b001,
        id::OPEN_BY_HANDLE_AT => 0b101,
        id::CREAT => 0b010,
        id::DUP2 => 0b011,
        id::DUP3 => 0b111,
        id::EXECVE | id::RENAME | id::LINK | id::SYMLINK | id::UNLINK | id::RMDIR => 0,
        id::EXECVEAT => 0b1_0001,
        _ => ALL,
    }
}

fn of_socket(socket: &decode::Socket) -> u8 {
    match socket.call {
        id::SOCKET | id::DUP3 => 0b111,
        id::BIND | id::CONNECT | id::ACCEPT | id::SENDMSG | id::RECVMSG | id::DUP => 0b001,
        id::LISTEN | id::DUP2 => 0b011,
        id::ACCEPT4 => 0b1001,
        id::SENDTO | id::RECVFROM => 0b101,
        _ => ALL,
    }
}

#[cfg(test)]
mod tests;
