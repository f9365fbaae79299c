//! Device rules: v1's allow and deny lists, and for v2 a BPF program that says the same.
//!
//! Rules are an ordered list; a later one has precedence. A request names a device and one or more accesses (read, write,
//! make a node). The program walks the rules from the last to the first, with the accesses that are not granted yet:
//!
//! ```text
//!   rest = requested
//!   for each rule from the last:  if the device matches
//!       allow: rest &= !accesses;  if rest == 0 -> granted
//!       deny:  if rest & accesses  -> refused
//!   refused
//! ```
//! so that "allow read" after "deny all" grants reading only, and a request to read and write is refused. What no rule
//! names is refused; without any rules there is no program, and everything is granted.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType, LinuxResources};

use super::path::Rules;

mod list;

pub(super) use list::{Allowed, Changes, Line, allowed, changes, v1_lines};

/// The device rules of a specification, with what it need not say.
pub(super) fn specified(resources: &LinuxResources) -> Vec<LinuxDeviceCgroup> {
    effective(resources.devices().as_deref().unwrap_or_default(), Rules::Runtime)
}

/// The rules in force. A specification's are between "nothing" and what every container has, as runc has it: nodes can be
/// made, and `null`, `zero`, `full`, `random`, `urandom`, `tty`, `ptmx` and pseudo-terminals can be used.
pub(super) fn effective(rules: &[LinuxDeviceCgroup], by: Rules) -> Vec<LinuxDeviceCgroup> {
    if by == Rules::Engine {
        return rules.to_vec();
    }
    let rule = |allow, kind, major: Option<i64>, minor: Option<i64>, access: &str| {
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(allow).set_typ(Some(kind)).set_major(major).set_minor(minor);
        rule.set_access(Some(access.to_owned()));
        rule
    };
    let (block, character) = (LinuxDeviceType::B, LinuxDeviceType::C);
    let usual =
        [(1, Some(3)), (1, Some(5)), (1, Some(7)), (1, Some(8)), (1, Some(9)), (5, Some(0)), (5, Some(2)), (136, None)];
    let mut effective = vec![rule(false, LinuxDeviceType::A, None, None, "rwm")];
    effective.extend_from_slice(rules);
    effective.push(rule(true, character, None, None, "m"));
    effective.push(rule(true, block, None, None, "m"));
    effective.extend(usual.iter().map(|(major, minor)| rule(true, character, Some(*major), *minor, "rwm")));
    effective
}

/// The program for v2, for `BPF_PROG_TYPE_CGROUP_DEVICE`.
pub(super) fn program(rules: &[LinuxDeviceCgroup]) -> Vec<u64> {
    let mut code = vec![
        load(KIND, CONTEXT, 0),
        move_register(REST, KIND),
        immediate(ALU32 | AND | K, KIND, 0xffff),
        immediate(ALU32 | RSH | K, REST, 16),
        load(MAJOR, CONTEXT, 4),
        load(MINOR, CONTEXT, 8),
    ];
    for rule in rules.iter().rev() {
        code.extend(block(rule));
    }
    code.extend(give(0));
    code
}

/// The kernel's number of the kind, `Some(None)` for all kinds, `None` for a kind that is no device (a FIFO).
fn kind(rule: &LinuxDeviceCgroup) -> Option<Option<i32>> {
    match rule.typ() {
        None | Some(LinuxDeviceType::A) => Some(None),
        Some(LinuxDeviceType::B) => Some(Some(BPF_BLOCK)),
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(Some(BPF_CHARACTER)),
        Some(LinuxDeviceType::P) => None,
    }
}

/// The instructions of one rule. Each test that fails jumps behind the block.
fn block(rule: &LinuxDeviceCgroup) -> Vec<u64> {
    let Some(kind) = kind(rule) else { return Vec::new() };
    let accesses = accesses(rule.access().as_deref().unwrap_or("rwm"));
    let number = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok()).map(u32::cast_signed);
    let tests: Vec<(u8, i32)> = [(KIND, kind), (MAJOR, number(rule.major())), (MINOR, number(rule.minor()))]
        .into_iter()
        .filter_map(|(register, wanted)| Some((register, wanted?)))
        .collect();
    let verdict = if rule.allow() {
        let [set, exit] = give(1);
        vec![immediate(ALU32 | AND | K, REST, !accesses), jump(JNE, REST, 0, 2), set, exit]
    } else {
        let [set, exit] = give(0);
        // "Any of these bits" is one jump: over the one that leaves the block.
        vec![jump(JSET, REST, accesses, 1), jump(JA, 0, 0, 2), set, exit]
    };
    let mut code = Vec::new();
    for (index, (register, wanted)) in tests.iter().enumerate() {
        let behind = tests.len() - index - 1 + verdict.len();
        code.push(jump(JNE, *register, *wanted, behind as i16));
    }
    code.extend(verdict);
    code
}

/// The kernel's bits: make 1, read 2, write 4.
fn accesses(text: &str) -> i32 {
    let bit = |letter| match letter {
        'm' => 1,
        'r' => 2,
        'w' => 4,
        _ => 0,
    };
    text.chars().map(bit).fold(0, |bits, bit| bits | bit)
}

// The instruction set, as far as it is used. An instruction is opcode (8 bits), target register (4), source register (4),
// jump offset (16), immediate (32), from the lowest bit.

const EVERY_ACCESS: i32 = 7;
const BPF_BLOCK: i32 = 1;
const BPF_CHARACTER: i32 = 2;

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const REST: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

const LOAD_WORD: u8 = 0x61;
const ALU32: u8 = 0x04;
const ALU64: u8 = 0x07;
const K: u8 = 0x00;
const X: u8 = 0x08;
const AND: u8 = 0x50;
const RSH: u8 = 0x70;
const MOVE: u8 = 0xb0;
const JUMP: u8 = 0x05;
const JA: u8 = JUMP;
const JNE: u8 = JUMP | 0x50;
const JSET: u8 = JUMP | 0x40;
const EXIT: u8 = JUMP | 0x90;

const fn instruction(opcode: u8, target: u8, source: u8, offset: i16, value: i32) -> u64 {
    opcode as u64
        | (target as u64) << 8
        | (source as u64) << 12
        | (offset.cast_unsigned() as u64) << 16
        | (value.cast_unsigned() as u64) << 32
}

const fn load(target: u8, source: u8, offset: i16) -> u64 {
    instruction(LOAD_WORD, target, source, offset, 0)
}

const fn move_register(target: u8, source: u8) -> u64 {
    instruction(ALU64 | X | MOVE, target, source, 0, 0)
}

const fn immediate(opcode: u8, target: u8, value: i32) -> u64 {
    instruction(opcode, target, 0, 0, value)
}

const fn jump(opcode: u8, register: u8, value: i32, offset: i16) -> u64 {
    instruction(opcode, register, 0, offset, value)
}

/// Ends the program with a verdict.
const fn give(verdict: i32) -> [u64; 2] {
    [immediate(ALU64 | K | MOVE, RESULT, verdict), instruction(EXIT, 0, 0, 0, 0)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn rules(json: &str) -> Vec<LinuxDeviceCgroup> {
        serde_json::from_str(json).unwrap()
    }

    pub(super) const DEFAULT: &str = r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","access":"m"},
        {"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"},{"allow":false,"type":"c","major":1,"minor":3,"access":"w"}]"#;

    /// Runs the program as the kernel would.
    fn verdict(code: &[u64], kind: u32, access: u32, major: u32, minor: u32) -> u64 {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0_u64; 11];
        let mut at = 0;
        loop {
            let word = code[at];
            let (opcode, target, source) = (word as u8, (word >> 8 & 15) as usize, (word >> 12 & 15) as usize);
            let (offset, value) = ((word >> 16) as u16 as i16, (word >> 32) as u32);
            at += 1;
            let taken = match opcode {
                LOAD_WORD => {
                    registers[target] = u64::from(context[offset as usize / 4]);
                    false
                }
                o if o == (ALU64 | X | MOVE) => {
                    registers[target] = registers[source];
                    false
                }
                o if o == (ALU64 | K | MOVE) => {
                    registers[target] = u64::from(value);
                    false
                }
                o if o == (ALU32 | AND | K) => {
                    registers[target] = u64::from(registers[target] as u32 & value);
                    false
                }
                o if o == (ALU32 | RSH | K) => {
                    registers[target] = u64::from(registers[target] as u32 >> value);
                    false
                }
                JA => true,
                JNE => registers[target] as u32 != value,
                JSET => registers[target] as u32 & value != 0,
                EXIT => return registers[0],
                other => panic!("opcode {other:#x}"),
            };
            if taken {
                at = (at as i64 + i64::from(offset)) as usize;
            }
        }
    }

    #[test]
    fn later_rules_win_and_every_access_must_be_granted() {
        let code = program(&rules(DEFAULT));
        let (read, write, make, both) = (2, 4, 1, 6);
        assert_eq!(verdict(&code, 2, read, 1, 3), 1);
        assert_eq!(verdict(&code, 2, write, 1, 3), 0);
        assert_eq!(verdict(&code, 2, both, 1, 3), 0);
        assert_eq!(verdict(&code, 2, make, 9, 9), 1);
        assert_eq!(verdict(&code, 2, make | read, 9, 9), 0);
        assert_eq!(verdict(&code, 1, read, 1, 3), 0);
        assert_eq!(verdict(&program(&rules(r#"[{"allow":true}]"#)), 1, 7, 8, 0), 1);
    }

    /// What the rules say, one access at a time: the last rule that names it decides.
    fn model(rules: &[LinuxDeviceCgroup], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let matches = |rule: &LinuxDeviceCgroup, bit: u32| {
            let number =
                |wanted: Option<i64>, is: u32| wanted.is_none_or(|wanted| wanted < 0 || wanted == i64::from(is));
            let letter = match rule.typ() {
                None | Some(LinuxDeviceType::A) => true,
                Some(LinuxDeviceType::B) => kind == 1,
                Some(_) => kind == 2,
            };
            letter
                && number(rule.major(), major)
                && number(rule.minor(), minor)
                && accesses(rule.access().as_deref().unwrap_or("rwm")).cast_unsigned() & bit != 0
        };
        [1, 2, 4]
            .into_iter()
            .filter(|bit| access & bit != 0)
            .all(|bit| rules.iter().rev().find(|rule| matches(rule, bit)).is_some_and(LinuxDeviceCgroup::allow))
    }

    fn any_rule() -> impl Strategy<Value = LinuxDeviceCgroup> {
        let numbers = || prop_oneof![Just(None), Just(Some(-1_i64)), (0..3_i64).prop_map(Some)];
        let kinds = prop_oneof![Just(None), Just(Some("a")), Just(Some("b")), Just(Some("c")), Just(Some("u"))];
        let access = proptest::sample::select(vec!["r", "w", "m", "rw", "rm", "wm", "rwm"]);
        (any::<bool>(), kinds, numbers(), numbers(), proptest::option::of(access)).prop_map(
            |(allow, kind, major, minor, access)| {
                let rule =
                    serde_json::json!({"allow": allow, "type": kind, "major": major, "minor": minor, "access": access});
                serde_json::from_value(rule).unwrap()
            },
        )
    }

    proptest! {
        /// Over every request that the rules can tell apart.
        #[test]
        fn the_program_says_what_the_rules_say(rules in proptest::collection::vec(any_rule(), 0..8)) {
            let code = program(&rules);
            for (kind, access, major, minor) in requests() {
                let expected = u64::from(model(&rules, kind, access, major, minor));
                prop_assert_eq!(verdict(&code, kind, access, major, minor), expected, "{} {} {}:{}", kind, access, major, minor);
            }
        }

        /// v1's list says the same as the rules, or is refused.
        #[test]
        fn the_list_says_what_the_rules_say(rules in proptest::collection::vec(any_rule(), 1..8)) {
            if let Ok(lines) = v1_lines(&rules) {
                let list: Vec<LinuxDeviceCgroup> = lines.iter().map(rule_of).collect();
                for (kind, access, major, minor) in requests().filter(|(_, access, ..)| access.count_ones() == 1) {
                    prop_assert_eq!(model(&list, kind, access, major, minor), model(&rules, kind, access, major, minor));
                }
            }
        }
    }

    fn requests() -> impl Iterator<Item = (u32, u32, u32, u32)> {
        (0..2 * 8 * 4 * 4)
            .map(|n| (n % 2 + 1, n / 2 % 8, n / 16 % 4, n / 64 % 4))
            .filter(|(_, access, ..)| *access != 0)
    }

    fn rule_of((name, line): &Line) -> LinuxDeviceCgroup {
        let allow = *name == "devices.allow";
        if line == "a" {
            return serde_json::from_value(serde_json::json!({"allow": allow, "access": "rwm"})).unwrap();
        }
        let words: Vec<&str> = line.split([' ', ':']).collect();
        let number = |text: &str| text.parse::<i64>().ok();
        let rule = serde_json::json!({"allow": allow, "type": words[0], "major": number(words[1]),
            "minor": number(words[2]), "access": words[3]});
        serde_json::from_value(rule).unwrap()
    }

    #[test]
    fn the_specification_has_the_usual_devices() {
        let code = program(&effective(
            &rules(r#"[{"allow":true,"type":"c","major":10,"minor":229,"access":"rw"}]"#),
            Rules::Runtime,
        ));
        for (kind, access, major, minor, expected) in
            [(2, 6, 1, 3, 1), (2, 6, 136, 7, 1), (2, 6, 10, 229, 1), (1, 1, 8, 0, 1), (1, 2, 8, 0, 0), (2, 2, 1, 1, 0)]
        {
            assert_eq!(verdict(&code, kind, access, major, minor), expected, "{kind} {access} {major}:{minor}");
        }
        assert!(effective(&[], Rules::Engine).is_empty());
        assert_eq!(verdict(&program(&effective(&[], Rules::Runtime)), 1, 2, 8, 0), 0);
    }
}
