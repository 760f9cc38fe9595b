//! What only the running kernel knows, written into the instructions of the kernel
//! programs: where its members are, and the number of the function that makes typed
//! pointers. Pure.

use bailiwick_collector_ebpf::{CAST_MARK, TOLD_MARK, told};

/// `call` of a function of the kernel; its number is the immediate.
const CALL: [u8; 4] = [0x85, 0x20, 0, 0];
/// `r0 = 0`, whose immediate is the number: such a cast answers null.
const NULL: [u8; 8] = [0xb7, 0, 0, 0, 0, 0, 0, 0];
/// `r_ = ` an immediate.
const MOVE: u8 = 0xb7;
/// Bits of an immediate that are a place among what is told.
const PLACE: u32 = 0x3ff;
const INSTRUCTION: usize = 8;

/// The object with every cast calling this function, and every told immediate as
/// `values` say by name. Without a function a cast answers null; the first name that
/// the programs ask for and nobody tells is the error. Instructions lie at multiples
/// of their size.
pub(super) fn written(
    object: &[u8],
    function: Option<u32>,
    values: &[(&str, u32)],
) -> Result<Vec<u8>, &'static str> {
    let tell = |name: &&str| values.iter().find(|value| value.0 == *name).map(|value| value.1);
    let by_place: Vec<Option<u32>> = told::NAMES.iter().map(tell).collect();
    let cast = function.map_or(NULL, |number| with_immediate(CALL, number));
    let mut object = object.to_vec();
    let (instructions, _) = object.as_chunks_mut::<INSTRUCTION>();
    for instruction in instructions {
        let [code, registers, 0, 0, immediate @ ..] = *instruction else { continue };
        let immediate = u32::from_le_bytes(immediate);
        if [code, registers] == CALL[..2] && immediate == CAST_MARK {
            *instruction = cast;
        } else if code == MOVE && immediate & !PLACE == TOLD_MARK {
            let place = (immediate & PLACE) as usize;
            let name = told::NAMES.get(place).copied().unwrap_or("something unknown");
            let value = by_place.get(place).copied().flatten().ok_or(name)?;
            *instruction = with_immediate([code, registers, 0, 0], value);
        }
    }
    Ok(object)
}

fn with_immediate(begin: [u8; 4], value: u32) -> [u8; INSTRUCTION] {
    let [a, b, c, d] = begin;
    let [e, f, g, h] = value.to_le_bytes();
    [a, b, c, d, e, f, g, h]
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
        let called = written(&object, Some(0x0102), &[]).unwrap();
        assert_eq!(called[8..16], [0x85, 0x20, 0, 0, 2, 1, 0, 0]);
        // One that lies elsewhere is none.
        assert_eq!((&called[..8], &called[16..]), (&object[..8], &object[16..]));
        assert_eq!(written(&object, None, &[]).unwrap()[8..16], NULL);
    }

    #[test]
    fn immediates_are_told_by_name() {
        let place = |name: &str| told::NAMES.iter().position(|told| *told == name).unwrap();
        let ask = |name| with_immediate([MOVE, 3, 0, 0], TOLD_MARK | u32::try_from(place(name)).unwrap());
        let other = with_immediate([0xb4, 3, 0, 0], TOLD_MARK);
        let object = [ask("TASK_PID"), other, ask("OWN_PID"), ask("TASK_PID")].concat();
        let values = [("OWN_PID", u32::MAX), ("TASK_PID", 0x0102)];
        let expected = [[MOVE, 3, 0, 0, 2, 1, 0, 0], other, [MOVE, 3, 0, 0, 255, 255, 255, 255]];
        let told = written(&object, None, &values).unwrap();
        assert_eq!((&told[..24], &told[24..]), (&expected.concat()[..], &expected[0][..]));
        assert_eq!(written(&object, None, &values[..1]), Err("TASK_PID"));
    }
}
