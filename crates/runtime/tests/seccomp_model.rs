//! Any filter says what it was written to say: compiled programs, run here without the kernel, against a model of the
//! specification's words. The model knows nothing of libseccomp, of trees or of ranges:
//!
//! ```text
//!   a call that a rule names, all of whose conditions hold    the rule's action
//!   values for one argument, several                          any of them is enough, as with runc
//!   beyond all calls that the rules name, from 424 on         ENOSYS, unless the default lets through
//!   any other call of a covered architecture                  the default action
//!   another architecture                                      the thread is killed
//! ```
//! On architectures of 32 bits only the lower half of an argument counts.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]
#![cfg(target_arch = "x86_64")]

use libseccomp::{ScmpArch, ScmpSyscall};
use oci_spec::runtime::LinuxSeccomp;
use proptest::prelude::*;
use runtime::seccomp::{self, Instruction};
use serde_json::json;

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const X32: u32 = 0x4000_0000;
const KILL: u32 = 0;
const ENOSYS: u32 = 0x0005_0026;
/// Those that have the same meaning and one number on each of the three.
const NAMES: [&str; 20] = [
    "read",
    "write",
    "openat",
    "mkdir",
    "chmod",
    "dup2",
    "lseek",
    "umask",
    "ptrace",
    "kill",
    "clone",
    "personality",
    "prctl",
    "fcntl",
    "getpid",
    "uname",
    "sync",
    "mseal",
    "io_uring_setup",
    "no_such_call",
];
const PLAIN: [&str; 7] = ["KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP", "NOTIFY", "LOG", "ALLOW"];
const ARCHITECTURES: [&str; 3] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"];
const OPERATORS: [&str; 7] = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];

#[derive(Clone, Debug)]
struct Condition {
    index: usize,
    value: u64,
    second: u64,
    operator: usize,
}

#[derive(Clone, Debug)]
struct Rule {
    name: usize,
    action: (&'static str, Option<u32>),
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug)]
struct Filter {
    default: (&'static str, Option<u32>),
    architectures: Vec<&'static str>,
    rules: Vec<Rule>,
}

impl Condition {
    fn holds(&self, arguments: [u64; 6], mask: u64) -> bool {
        let (is, value, second) = (arguments[self.index] & mask, self.value & mask, self.second & mask);
        match OPERATORS[self.operator] {
            "NE" => is != value,
            "LT" => is < value,
            "LE" => is <= value,
            "EQ" => is == value,
            "GE" => is >= value,
            "GT" => is > value,
            _ => is & value == second,
        }
    }
}

/// The kernel's number of an action.
fn number((action, errno): (&str, Option<u32>)) -> u32 {
    let errno = errno.unwrap_or(1);
    match action {
        "KILL" | "KILL_THREAD" => 0,
        "KILL_PROCESS" => 0x8000_0000,
        "TRAP" => 0x0003_0000,
        "ERRNO" => 0x0005_0000 | errno,
        "NOTIFY" => 0x7fc0_0000,
        "TRACE" => 0x7ff0_0000 | errno,
        "LOG" => 0x7ffc_0000,
        "ALLOW" => 0x7fff_0000,
        other => panic!("{other}"),
    }
}

/// The number of a call on an architecture, by libseccomp and for what it is too old for.
fn call(name: &str, architecture: u32, x32: bool) -> Option<u32> {
    if name == "mseal" {
        return Some(462 | if x32 { X32 } else { 0 });
    }
    let architecture = match (architecture, x32) {
        (I386, _) => ScmpArch::X86,
        (_, true) => ScmpArch::X32,
        _ => ScmpArch::X8664,
    };
    let found = ScmpSyscall::from_name_by_arch(name, architecture).ok()?;
    u32::try_from(i32::from(found)).ok()
}

impl Filter {
    fn oci(&self) -> LinuxSeccomp {
        let action = |action: &str| format!("SCMP_ACT_{action}");
        let rules: Vec<_> = self.rules.iter().map(|rule| {
            let conditions: Vec<_> = rule.conditions.iter().map(|one| {
                let operator = format!("SCMP_CMP_{}", OPERATORS[one.operator]);
                json!({"index": one.index, "value": one.value, "valueTwo": one.second, "op": operator})
            }).collect();
            json!({"names": [NAMES[rule.name]], "action": action(rule.action.0), "errnoRet": rule.action.1, "args": conditions})
        }).collect();
        let json = json!({"defaultAction": action(self.default.0), "defaultErrnoRet": self.default.1,
            "architectures": self.architectures, "listenerPath": "/run/x", "syscalls": rules});
        serde_json::from_value(json).unwrap()
    }

    fn says(&self, architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let x32 = architecture == X86_64 && number & X32 != 0;
        let covered = match architecture {
            X86_64 => !x32 || self.architectures.contains(&"SCMP_ARCH_X32"),
            _ => self.architectures.contains(&"SCMP_ARCH_X86"),
        };
        if !covered {
            return KILL;
        }
        let mask = if architecture == X86_64 && !x32 { u64::MAX } else { u64::from(u32::MAX) };
        let last = self.rules.iter().filter_map(|rule| call(NAMES[rule.name], X86_64, false)).max().unwrap_or(0);
        for rule in &self.rules {
            if call(NAMES[rule.name], architecture, x32) != Some(number) {
                continue;
            }
            let conditions = &rule.conditions;
            let repeated = is_repeated(conditions);
            let mut holding = conditions.iter().map(|one| one.holds(arguments, mask));
            if if repeated { holding.any(|holds| holds) } else { holding.all(|holds| holds) } {
                return self::number(rule.action);
            }
        }
        let lets_through = matches!(self.default.0, "ALLOW" | "LOG" | "TRACE" | "NOTIFY");
        let own = x32 && (512..548).contains(&(number & !X32));
        if !lets_through && !own && number & !X32 > last.max(423) { ENOSYS } else { self::number(self.default) }
    }
}

/// What a program says to a call.
fn verdict(program: &[Instruction], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let word = |offset: u32| match offset {
        0 => number,
        4 => architecture,
        offset => {
            let argument = arguments[(offset as usize - 16) / 8];
            if offset % 8 == 0 { argument as u32 } else { (argument >> 32) as u32 }
        }
    };
    let (mut at, mut value) = (0, 0_u32);
    loop {
        let bytes = program[at].to_ne_bytes();
        let operand = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        at += 1;
        let jump = |holds: bool| usize::from(if holds { bytes[2] } else { bytes[3] });
        match u16::from_ne_bytes([bytes[0], bytes[1]]) {
            0x20 => value = word(operand),
            0x54 => value &= operand,
            0x05 => at += operand as usize,
            0x15 => at += jump(value == operand),
            0x25 => at += jump(value > operand),
            0x35 => at += jump(value >= operand),
            0x45 => at += jump(value & operand != 0),
            0x06 => return operand,
            other => panic!("instruction {other:#x}"),
        }
    }
}

fn action() -> impl Strategy<Value = (&'static str, Option<u32>)> {
    prop_oneof![
        3 => proptest::sample::select(&PLAIN[..]).prop_map(|action| (action, None)),
        2 => (proptest::sample::select(&["ERRNO", "TRACE"][..]), proptest::option::of(0_u32..4096)),
    ]
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..4, any::<u64>(), (0_u32..64).prop_map(|bit| 1 << bit), Just(u64::MAX), Just(u64::from(u32::MAX))]
}

fn condition() -> impl Strategy<Value = Condition> {
    (0_usize..6, value(), value(), 0..OPERATORS.len()).prop_map(|(index, value, second, operator)| {
        // A value outside the mask is never there.
        let second = if OPERATORS[operator] == "MASKED_EQ" { second & value } else { second };
        Condition { index, value, second, operator }
    })
}

fn filter() -> impl Strategy<Value = Filter> {
    let rule = (action(), proptest::collection::vec(condition(), 0..4));
    let rules = proptest::collection::btree_map(0..NAMES.len(), rule, 0..NAMES.len());
    (action(), proptest::sample::subsequence(&ARCHITECTURES[..], 0..=3), rules).prop_map(
        |(default, architectures, rules)| {
            let rules = rules.into_iter().map(|(name, (action, conditions))| {
                // Conditions on what libseccomp is too old for are refused.
                let conditions = if NAMES[name] == "mseal" { Vec::new() } else { alternatives(conditions) };
                Rule { name, action, conditions }
            });
            Filter { default, architectures, rules: rules.collect() }
        },
    )
}

/// Several conditions on one argument: values to choose from. Where ranges overlap, libseccomp takes one of them alone, here
/// as with runc.
fn alternatives(mut conditions: Vec<Condition>) -> Vec<Condition> {
    if is_repeated(&conditions) {
        conditions.iter_mut().for_each(|one| one.operator = 3);
    }
    conditions
}

fn is_repeated(conditions: &[Condition]) -> bool {
    let same = |at: usize| conditions[..at].iter().any(|one| one.index == conditions[at].index);
    (1..conditions.len()).any(same)
}

/// Arguments at the borders of what a filter asks for.
fn arguments(filter: &Filter, seed: u64) -> Vec<[u64; 6]> {
    let mut all = vec![[0; 6], [u64::MAX; 6], [seed; 6], std::array::from_fn(|at| seed.rotate_left(at as u32 * 11))];
    for one in filter.rules.iter().flat_map(|rule| &rule.conditions) {
        for value in [one.value.wrapping_sub(1), one.value, one.value.wrapping_add(1), one.value ^ 1 << 32, one.second]
        {
            let mut arguments = all[all.len() / 2];
            arguments[one.index] = value;
            all.push(arguments);
        }
    }
    for rule in &filter.rules {
        let mut arguments = [seed; 6];
        rule.conditions
            .iter()
            .for_each(|one| arguments[one.index] = if one.operator == 6 { one.second } else { one.value });
        all.push(arguments);
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_program_says_what_its_filter_says(filter in filter(), seed in any::<u64>()) {
        let program = seccomp::compile(&filter.oci(), None).unwrap();
        let arguments = arguments(&filter, seed);
        for (architecture, bit) in [(X86_64, 0), (X86_64, X32), (I386, 0)] {
            let named = filter.rules.iter().filter_map(|rule| call(NAMES[rule.name], architecture, bit != 0));
            let named: Vec<u32> = named.collect();
            let near = named.iter().flat_map(|number| [number - 1.min(*number), *number, number + 1]);
            for number in near.chain([bit, bit | 423, bit | 424, bit | 463, bit | 5000]) {
                for arguments in &arguments {
                    let says = verdict(&program, architecture, number, *arguments);
                    let expected = filter.says(architecture, number, *arguments);
                    prop_assert_eq!(says, expected, "call {:#x} of {:#x} with {:x?}", number, architecture, arguments);
                }
            }
        }
        prop_assert_eq!(verdict(&program, 0xc000_00b7, 0, [0; 6]), KILL);
    }
}
