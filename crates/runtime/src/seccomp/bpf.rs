//! Classic BPF, as far as system call filters use it: one register, loads from the call's data, forward jumps, returns.
//!
//! ```text
//! struct sock_filter { code: u16, if_true: u8, if_false: u8, operand: u32 }     as one word in the machine's byte order
//! struct seccomp_data { number: u32, architecture: u32, pointer: u64, arguments: [u64; 6] }
//! ```

use super::Instruction;

/// Offsets in the call's data.
pub(super) const NUMBER: u32 = 0;
pub(super) const ARCHITECTURE: u32 = 4;
/// Where the arguments begin.
pub(super) const ARGUMENTS: u32 = 16;

pub(super) const LOAD: u16 = 0x20;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_IF_EQUAL: u16 = 0x15;
pub(super) const JUMP_IF_MORE: u16 = 0x25;
pub(super) const JUMP_IF_AT_LEAST: u16 = 0x35;
pub(super) const JUMP_IF_ANY: u16 = 0x45;
pub(super) const RETURN: u16 = 0x06;

/// An instruction, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) code: u16,
    pub(super) if_true: u8,
    pub(super) if_false: u8,
    pub(super) operand: u32,
}

impl Parts {
    pub(super) const fn new(code: u16, operand: u32) -> Self {
        Self { code, if_true: 0, if_false: 0, operand }
    }

    pub(super) fn of(instruction: Instruction) -> Self {
        let [code0, code1, if_true, if_false, operand @ ..] = instruction.to_ne_bytes();
        Self { code: u16::from_ne_bytes([code0, code1]), if_true, if_false, operand: u32::from_ne_bytes(operand) }
    }

    pub(super) fn join(self) -> Instruction {
        let (code, operand) = (self.code.to_ne_bytes(), self.operand.to_ne_bytes());
        let [code, operand] = [[code[0], code[1], self.if_true, self.if_false], operand];
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&code);
        bytes[4..].copy_from_slice(&operand);
        Instruction::from_ne_bytes(bytes)
    }

    pub(super) const fn is_conditional(self) -> bool {
        matches!(self.code, JUMP_IF_EQUAL | JUMP_IF_MORE | JUMP_IF_AT_LEAST | JUMP_IF_ANY)
    }

    /// The offsets that may come next, from the following instruction.
    pub(super) fn successors(self) -> Vec<usize> {
        match self.code {
            RETURN => Vec::new(),
            JUMP => vec![self.operand as usize],
            _ if self.is_conditional() => vec![self.if_true.into(), self.if_false.into()],
            _ => vec![0],
        }
    }
}
