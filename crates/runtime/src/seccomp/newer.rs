//! System calls that are newer than the linked libseccomp.
//!
//! libseccomp knows the calls of its own year. What it does not know it cannot filter, and a filter that refuses by default
//! would answer EPERM for them, where programs wait for ENOSYS to fall back to an older call. So a few instructions are put
//! before libseccomp's:
//!
//! ```text
//!        number
//!        number &= !x32 bit                 only if the filter covers x32
//!        number > threshold ?  no -> libseccomp's program          (three instructions for almost every call)
//!        architecture is one of the filter's ?  no -> libseccomp's program
//!        number is a newer call that a rule names ?  yes -> its action
//!        number > the last call that any rule names ?  yes -> ENOSYS
//!        libseccomp's program
//! ```
//! From 424 on a call has the same number on all architectures (but MIPS and Alpha, which are left to libseccomp).

use oci_spec::runtime::Arch;

use super::Instruction;

/// Below it, numbers differ between architectures.
const COMMON: u32 = 424;
const X32_BIT: u32 = 0x4000_0000;
pub(super) const ENOSYS_ACTION: u32 = 0x0005_0000 | 38;

/// The calls since Linux 5.17 with common numbers.
const NUMBERS: &[(&str, u32)] = &[
    ("set_mempolicy_home_node", 450),
    ("cachestat", 451),
    ("fchmodat2", 452),
    ("map_shadow_stack", 453),
    ("futex_wake", 454),
    ("futex_wait", 455),
    ("futex_requeue", 456),
    ("statmount", 457),
    ("listmount", 458),
    ("lsm_get_self_attr", 459),
    ("lsm_set_self_attr", 460),
    ("lsm_list_modules", 461),
    ("mseal", 462),
    ("setxattrat", 463),
    ("getxattrat", 464),
    ("listxattrat", 465),
    ("removexattrat", 466),
    ("open_tree_attr", 467),
    ("file_getattr", 468),
    ("file_setattr", 469),
];

/// Calls that only this machine's architecture has.
#[cfg(target_arch = "x86_64")]
const NATIVE: &[(&str, u32)] = &[("uretprobe", 335)];
#[cfg(not(target_arch = "x86_64"))]
const NATIVE: &[(&str, u32)] = &[];

/// The common number of a call, if it is in the table.
pub(super) fn number(name: &str) -> Option<u32> {
    NUMBERS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// The number that a call has on this machine's architecture alone.
pub(super) fn native_number(name: &str) -> Option<u32> {
    NATIVE.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// What to put before libseccomp's program.
pub(super) struct Prologue<'a> {
    /// What the filter covers.
    pub(super) architectures: &'a [Arch],
    /// Newer calls that rules name, with their action as the kernel takes it.
    pub(super) calls: &'a [(u32, u32)],
    /// The last call that any rule names; `None` if calls beyond it are not to be answered with ENOSYS.
    pub(super) last: Option<u32>,
}

impl Prologue<'_> {
    /// The instructions; none if there is nothing to say.
    pub(super) fn instructions(&self) -> Vec<Instruction> {
        let last = self.last.map(|last| last.max(COMMON - 1));
        let first_call = self.calls.iter().map(|(number, _)| *number).min();
        let Some(first) = first_call.into_iter().chain(last.map(|last| last + 1)).min() else { return Vec::new() };
        let load = self.load_number();
        let rare = self.rare(last, &load);
        let mut code = load;
        // The offset of a jump is one byte; the table of calls is far shorter.
        code.push(jump(JUMP_IF_AT_LEAST, first, 0, rare.len() as u8));
        code.extend(rare);
        code
    }

    fn load_number(&self) -> Vec<Instruction> {
        let mut code = vec![statement(LOAD, NUMBER)];
        if self.architectures.contains(&Arch::ScmpArchX32) {
            code.push(statement(AND, !X32_BIT));
        }
        code
    }

    /// The part for numbers that are new.
    fn rare(&self, last: Option<u32>, load: &[Instruction]) -> Vec<Instruction> {
        let mut code = load.to_vec();
        for (number, action) in self.calls {
            code.push(jump(JUMP_IF_EQUAL, *number, 0, 1));
            code.push(statement(RETURN, *action));
        }
        if let Some(last) = last {
            code.push(jump(JUMP_IF_MORE, last, 0, 1));
            code.push(statement(RETURN, ENOSYS_ACTION));
        }
        let mut tests = vec![statement(LOAD, ARCHITECTURE)];
        let tokens = self.tokens();
        for (index, token) in tokens.iter().enumerate() {
            // Over the other tests and the jump that follows them.
            tests.push(jump(JUMP_IF_EQUAL, *token, (tokens.len() - index) as u8, 0));
        }
        tests.push(statement(JUMP, code.len() as u32));
        tests.extend(code);
        tests
    }

    /// The kernel's architectures with common numbers; x32 is the kernel's x86-64.
    fn tokens(&self) -> Vec<u32> {
        let mut tokens = Vec::new();
        for architecture in self.architectures {
            let token = match architecture {
                Arch::ScmpArchX32 => Arch::ScmpArchX86_64 as u32,
                Arch::ScmpArchX86
                | Arch::ScmpArchX86_64
                | Arch::ScmpArchArm
                | Arch::ScmpArchAarch64
                | Arch::ScmpArchRiscv64
                | Arch::ScmpArchS390
                | Arch::ScmpArchS390x
                | Arch::ScmpArchPpc64le
                | Arch::ScmpArchLoongarch64 => *architecture as u32,
                _ => continue,
            };
            if !tokens.contains(&token) {
                tokens.push(token);
            }
        }
        tokens
    }
}

// Classic BPF: code (16 bits), jump if true (8), jump if false (8), operand (32), from the lowest address.

const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_MORE: u16 = 0x25;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

fn statement(code: u16, operand: u32) -> Instruction {
    instruction(code, 0, 0, operand)
}

fn jump(code: u16, operand: u32, if_true: u8, if_false: u8) -> Instruction {
    instruction(code, if_true, if_false, operand)
}

/// A `struct sock_filter` as a word in the machine's byte order.
fn instruction(code: u16, if_true: u8, if_false: u8, operand: u32) -> Instruction {
    let (code, operand) = (code.to_ne_bytes(), operand.to_ne_bytes());
    Instruction::from_ne_bytes([code[0], code[1], if_true, if_false, operand[0], operand[1], operand[2], operand[3]])
}
