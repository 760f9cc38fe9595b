//! Casts in the kernel programs: calls of a function whose number only the running
//! kernel knows. Pure.

use bailiwick_collector_ebpf::CAST_MARK;

/// `call` of a function of the kernel; its number is the immediate.
const CALL: [u8; 4] = [0x85, 0x20, 0, 0];
/// `r0 = 0`, whose immediate is the number: such a cast answers null.
const NULL: [u8; 8] = [0xb7, 0, 0, 0, 0, 0, 0, 0];
const INSTRUCTION: usize = 8;

/// The object with every cast calling this function; without one, a cast answers
/// null. Instructions lie at multiples of their size.
pub(super) fn written(object: &[u8], function: Option<u32>) -> Vec<u8> {
    let mut mark = [0; INSTRUCTION];
    mark[..4].copy_from_slice(&CALL);
    mark[4..].copy_from_slice(&CAST_MARK.to_le_bytes());
    let cast = function.map_or(NULL, |number| {
        let mut call = mark;
        call[4..].copy_from_slice(&number.to_le_bytes());
        call
    });
    let mut object = object.to_vec();
    for instruction in object.chunks_exact_mut(INSTRUCTION).filter(|bytes| **bytes == mark) {
        instruction.copy_from_slice(&cast);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: kernels before 5.10, and those of 64-bit Arm before 6.0, take programs
    /// that go on as another only if they call no function of their own.
    #[test]
    fn no_program_calls_a_function() {
        /// `call` of an instruction of the same object.
        const OWN: [u8; 4] = [0x85, 0x10, 0, 0];
        let object = include_bytes!("../../../collector-ebpf/bailiwick.bpf.o");
        let (instructions, _) = object.as_chunks::<INSTRUCTION>();
        assert!(instructions.iter().any(|bytes| bytes.starts_with(&CALL)), "instructions lie elsewhere");
        let calls = instructions.iter().filter(|bytes| bytes.starts_with(&OWN)).count();
        assert_eq!(calls, 0, "memset and its like are functions too: see `clear` in collector-ebpf");
    }

    #[test]
    fn casts_alone_are_written() {
        let mark = [0x85, 0x20, 0, 0, 0xca, 0x11, 0xa1, 0x7b];
        let object = [&[1; 8][..], &mark, &mark[..4], &mark, &[7; 3]].concat();
        let called = written(&object, Some(0x0102));
        assert_eq!(called[8..16], [0x85, 0x20, 0, 0, 2, 1, 0, 0]);
        // One that lies elsewhere is none.
        assert_eq!((&called[..8], &called[16..]), (&object[..8], &object[16..]));
        assert_eq!(written(&object, None)[8..16], NULL);
    }
}
