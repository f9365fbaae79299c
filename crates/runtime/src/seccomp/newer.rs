//! System calls that are newer than the linked libseccomp.
//!
//! libseccomp knows the calls of its own year. What it does not know it cannot filter, and a filter that refuses by default
//! would answer EPERM for them, where programs wait for ENOSYS to fall back to an older call. So a rule for a newer call that
//! this table knows is added to the verdicts, and a call beyond all that the rules name is answered with ENOSYS: who
//! wrote the rules cannot have meant it.
//!
//! From 424 on a call has the same number on all architectures (but MIPS and Alpha, which are left alone); x32 has them
//! with a bit set.

use oci_spec::runtime::Arch;

use super::condense::{Verdict, Verdicts};

/// Below it, numbers differ between architectures.
const COMMON: u32 = 424;
const X32_BIT: u32 = 0x4000_0000;
/// Old calls that x32 has in a form of its own, execve among them: libseccomp knows them all.
const X32_OWN: std::ops::RangeInclusive<u32> = 512..=547;
const ENOSYS: Verdict = Verdict::Return(0x0005_0000 | 38);

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

/// A call that libseccomp does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) number: u32,
    /// Whether only the machine's own architecture has it.
    pub(super) native: bool,
}

/// What the tables know of a call.
pub(super) fn find(name: &str) -> Option<Call> {
    let search = |table: &[(&str, u32)], native| {
        let found = table.iter().find(|(known, _)| *known == name);
        found.map(|(_, number)| Call { number: *number, native })
    };
    search(NUMBERS, false).or_else(|| search(NATIVE, true))
}

/// What rules say of newer calls.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// Calls with their action as the kernel takes it.
    pub(super) calls: Vec<(Call, u32)>,
    /// The last call that any rule names; `None` if calls beyond it are not to be answered with ENOSYS.
    pub(super) last: Option<u32>,
}

impl Rules {
    /// Adds them to the verdicts of an architecture of the kernel.
    pub(super) fn add_to(&self, verdicts: &mut Verdicts, token: u32, native: u32, has_x32: bool) {
        if !has_common_numbers(token) {
            return;
        }
        let x32 = (token == Arch::ScmpArchX86_64 as u32 && has_x32).then_some(X32_BIT);
        for (call, action) in self.calls.iter().filter(|(call, _)| !call.native || token == native) {
            let offsets = [Some(0), x32.filter(|_| !call.native)];
            for offset in offsets.into_iter().flatten() {
                verdicts.set(offset + call.number, offset + call.number, Verdict::Return(*action));
            }
        }
        if let Some(last) = self.last {
            let beyond = last.max(COMMON - 1) + 1;
            // Without x32, its numbers are left to libseccomp, as those of another architecture are.
            let end = if token == Arch::ScmpArchX86_64 as u32 { X32_BIT - 1 } else { u32::MAX };
            verdicts.set(beyond, end, ENOSYS);
            if let Some(bit) = x32 {
                if beyond < *X32_OWN.start() {
                    verdicts.set(bit + beyond, bit + X32_OWN.start() - 1, ENOSYS);
                }
                verdicts.set(bit + beyond.max(X32_OWN.end() + 1), u32::MAX, ENOSYS);
            }
        }
    }
}

fn has_common_numbers(token: u32) -> bool {
    [
        Arch::ScmpArchX86_64,
        Arch::ScmpArchX86,
        Arch::ScmpArchAarch64,
        Arch::ScmpArchArm,
        Arch::ScmpArchRiscv64,
        Arch::ScmpArchS390x,
        Arch::ScmpArchS390,
        Arch::ScmpArchPpc64le,
        Arch::ScmpArchLoongarch64,
    ]
    .into_iter()
    .any(|architecture| architecture as u32 == token)
}
