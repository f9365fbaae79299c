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

/// Whether a filter keeps a process from saying what failed and ending: those calls are not allowed whatever their
/// arguments are.
pub(crate) fn mutes(program: &[Instruction]) -> bool {
    const ALLOW: u32 = 0x7fff_0000;
    const LOG: u32 = 0x7ffc_0000;
    let free = |number: libc::c_long| matches!(verdict(program, number as u32), Some(ALLOW | LOG));
    !(free(libc::SYS_sendmsg) && free(libc::SYS_exit_group))
}

/// What a program says to a call of this machine's own; none: that depends on its arguments.
fn verdict(program: &[Instruction], number: u32) -> Option<u32> {
    const NATIVE: u32 = if cfg!(target_arch = "aarch64") { 0xc000_00b7 } else { 0xc000_003e };
    let (mut at, mut loaded) = (0_usize, 0);
    loop {
        let instruction = Parts::of(*program.get(at)?);
        let Parts { code, operand, .. } = instruction;
        let holds = match code {
            RETURN => return Some(operand),
            LOAD => {
                loaded = match operand {
                    NUMBER => number,
                    ARCHITECTURE => NATIVE,
                    _ => return None,
                };
                false
            }
            JUMP_IF_EQUAL => loaded == operand,
            JUMP_IF_MORE => loaded > operand,
            JUMP_IF_AT_LEAST => loaded >= operand,
            JUMP => false,
            _ => return None,
        };
        at += 1 + match code {
            JUMP => operand as usize,
            _ if holds => instruction.if_true.into(),
            _ => instruction.if_false.into(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_that_forbid_to_speak_are_known() {
        let of = |json: &str| mutes(&crate::seccomp::compile(&serde_json::from_str(json).unwrap(), None).unwrap());
        let strict = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"action":"SCMP_ACT_ALLOW","names":["read""#;
        assert!(of(&format!("{strict}]}}]}}")));
        assert!(of(&format!(r#"{strict},"sendmsg"]}}]}}"#)));
        assert!(!of(&format!(r#"{strict},"sendmsg","exit_group"]}}]}}"#)));
        assert!(!of(r#"{"defaultAction":"SCMP_ACT_LOG"}"#));
        let on = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["sendmsg"],"action":"SCMP_ACT_ERRNO""#;
        assert!(of(&format!("{on}}}]}}")));
        assert!(of(&format!(r#"{on},"args":[{{"index":0,"value":3,"op":"SCMP_CMP_EQ"}}]}}]}}"#)));
        let docker = crate::seccomp::docker_default().compile(crate::capabilities::docker_default(), None).unwrap();
        assert!(!mutes(&docker));
    }
}
