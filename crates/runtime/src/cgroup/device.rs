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

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

/// The writes of `devices.deny` and `devices.allow`: first everything is denied, then each rule in order.
pub(super) fn v1_lines(rules: &[LinuxDeviceCgroup]) -> Vec<(&'static str, String)> {
    let start = (!rules.is_empty()).then(|| ("devices.deny", "a".to_owned()));
    start.into_iter().chain(rules.iter().flat_map(lines)).collect()
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

/// A rule for all kinds is one line if it names every device and access, else two: v1 takes `a` for everything.
fn lines(rule: &LinuxDeviceCgroup) -> Vec<(&'static str, String)> {
    let name = if rule.allow() { "devices.allow" } else { "devices.deny" };
    let number = |number: Option<i64>| number.filter(|number| *number >= 0).map_or("*".to_owned(), |n| n.to_string());
    let (major, minor) = (number(rule.major()), number(rule.minor()));
    let text = rule.access().as_deref().unwrap_or("rwm");
    let every = major == "*" && minor == "*" && accesses(text) == EVERY_ACCESS;
    let letters = match kind(rule) {
        Some(None) if every => return vec![(name, "a".to_owned())],
        Some(None) => "bc",
        Some(Some(BPF_BLOCK)) => "b",
        Some(Some(_)) => "c",
        None => "",
    };
    letters.chars().map(|letter| (name, format!("{letter} {major}:{minor} {text}"))).collect()
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
    use super::*;

    fn rules(json: &str) -> Vec<LinuxDeviceCgroup> {
        serde_json::from_str(json).unwrap()
    }

    const DEFAULT: &str = r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","access":"m"},
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

    #[test]
    fn the_lines_of_v1() {
        let lines = v1_lines(&rules(DEFAULT));
        let text: Vec<String> = lines.iter().map(|(name, line)| format!("{name} {line}")).collect();
        assert_eq!(
            text,
            [
                "devices.deny a",
                "devices.deny a",
                "devices.allow c *:* m",
                "devices.allow c 1:3 rwm",
                "devices.deny c 1:3 w"
            ]
        );
        assert!(v1_lines(&[]).is_empty());
        let reading = v1_lines(&rules(r#"[{"allow":true,"access":"r"},{"allow":true,"type":"p"}]"#));
        assert_eq!(reading[1..], [("devices.allow", "b *:* r".to_owned()), ("devices.allow", "c *:* r".to_owned())]);
    }
}
