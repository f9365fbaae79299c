//! Compiled programs on disk.
//!
//! ```text
//! <directory>/<sha256 of the filter, the machine and the compiler, in hex>
//! <directory>/docker-<digest of the table>-<capabilities>-...          the default profile's
//!     8 bytes  "skepbpf2"
//!     8 bytes  number of instructions, in the machine's byte order
//!     8 bytes  number of calls that the filter names and nobody knows
//!     8 bytes  each instruction
//! ```
//! A file is written beside its place and renamed into it, and nothing in it is trusted by its name alone: one that
//! does not have this form is as good as none, and is replaced. The kernel verifies a program before it runs. Nothing is ever
//! removed: a machine has few profiles, and a file has some kilobytes.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use failure::Result;
use oci_spec::runtime::LinuxSeccomp;
use sha2::{Digest, Sha256};

use super::Instruction;
use super::compiler::LONGEST;

const MAGIC: [u8; 8] = *b"skepbpf2";
const HEADER: usize = 24;
const LARGEST: usize = HEADER + LONGEST * size_of::<Instruction>();
/// The default profile's program has half of this.
const USUAL: usize = 8192;
/// To be raised when the compiler in this crate makes other programs of the same filter.
pub(super) const COMPILER: u32 = 4;

/// A filter, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// What the kernel runs.
    pub(super) instructions: Vec<Instruction>,
    /// How many calls the filter names that nobody knows: kept, so that whoever finds none need not look for them again.
    pub(super) unknown: u64,
}

/// The name of a filter's program.
pub(super) fn key(filter: &LinuxSeccomp) -> String {
    let digest = Sha256::digest(description(filter));
    digest
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// The name of a program of a profile that is part of this binary, so that nothing needs to be digested at a start.
pub(super) fn builtin_key(name: &str, digest: u64, conditions: &str) -> String {
    let [major, minor, micro] = library_version();
    let (architecture, version) = (std::env::consts::ARCH, env!("CARGO_PKG_VERSION"));
    format!("{name}-{digest:016x}-{conditions}-{architecture}-{major}.{minor}.{micro}-{version}-{COMPILER}")
}

/// The program of this name, or the one that is made and put there.
pub(super) fn find_or_make(directory: &Path, key: &str, make: impl FnOnce() -> Result<Program>) -> Result<Program> {
    if let Some(program) = read(directory, key) {
        return Ok(program);
    }
    let program = make()?;
    // Without the cache the next start is slower, no more.
    let _ = write(directory, key, &program);
    Ok(program)
}

/// The program, if there is a sound one.
fn read(directory: &Path, key: &str) -> Option<Program> {
    let mut file = fs::File::open(directory.join(key)).ok()?;
    let mut bytes = vec![0; USUAL];
    let mut length = 0;
    loop {
        let count = file.read(&mut bytes[length..]).ok()?;
        length += count;
        // A file that is shorter than what was asked for is read whole by the first call.
        if count == 0 || length < bytes.len() {
            return parse(&bytes[..length]);
        }
        if length > LARGEST {
            return None;
        }
        bytes.resize(length * 2, 0);
    }
}

/// Puts a program in its place, whole or not at all.
fn write(directory: &Path, key: &str, program: &Program) -> std::io::Result<()> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    fs::create_dir_all(directory)?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let temporary = directory.join(format!(".{}-{number}", std::process::id()));
    let written = fs::write(&temporary, bytes(program)).and_then(|()| fs::rename(&temporary, directory.join(key)));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn parse(bytes: &[u8]) -> Option<Program> {
    let (words, rest) = bytes.as_chunks::<8>();
    let [magic, count, unknown, program @ ..] = words else { return None };
    let sound = rest.is_empty()
        && *magic == MAGIC
        && u64::from_ne_bytes(*count) == program.len() as u64
        && (1..=LONGEST).contains(&program.len());
    let instructions = || program.iter().map(|word| Instruction::from_ne_bytes(*word)).collect();
    sound.then(|| Program { instructions: instructions(), unknown: u64::from_ne_bytes(*unknown) })
}

fn bytes(program: &Program) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend((program.instructions.len() as u64).to_ne_bytes());
    bytes.extend(program.unknown.to_ne_bytes());
    bytes.extend(program.instructions.iter().flat_map(|word| word.to_ne_bytes()));
    bytes
}

fn library_version() -> [u32; 3] {
    libseccomp::ScmpVersion::current().map_or([0; 3], |version| [version.major, version.minor, version.micro])
}

/// All that decides what the program is. Every list has its length before it, so that no two filters have the same.
fn description(filter: &LinuxSeccomp) -> Vec<u8> {
    let mut text = Vec::with_capacity(8192);
    let number = |text: &mut Vec<u8>, number: u64| text.extend(number.to_le_bytes());
    let version = library_version();
    text.extend(std::env::consts::ARCH.as_bytes());
    for part in [COMPILER].into_iter().chain(version) {
        number(&mut text, part.into());
    }
    number(&mut text, filter.default_action().as_u32(filter.default_errno_ret()).into());
    let architectures = filter.architectures().as_deref().unwrap_or_default();
    number(&mut text, architectures.len() as u64);
    for architecture in architectures {
        number(&mut text, *architecture as u64);
    }
    for call in filter.syscalls().iter().flatten() {
        number(&mut text, call.names().len() as u64);
        for name in call.names() {
            number(&mut text, name.len() as u64);
            text.extend(name.as_bytes());
        }
        number(&mut text, call.action().as_u32(call.errno_ret()).into());
        let arguments = call.args().as_deref().unwrap_or_default();
        number(&mut text, arguments.len() as u64);
        for argument in arguments {
            let parts =
                [argument.index() as u64, argument.value(), argument.value_two().unwrap_or(0), argument.op() as u64];
            parts.into_iter().for_each(|part| number(&mut text, part));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capabilities::Set;
    use crate::seccomp::{docker_default, parse_docker_json};

    #[test]
    fn only_a_sound_file_is_a_program() {
        let bytes = |instructions: &[Instruction]| bytes(&Program { instructions: instructions.to_vec(), unknown: 3 });
        let whole = bytes(&[6 << 1, 0x7fff_0000_0000_0006]);
        assert_eq!(parse(&whole).map(|program| (program.instructions.len(), program.unknown)), Some((2, 3)));
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]), None, "{cut}");
        }
        assert_eq!(parse(&[&whole[..], &[0; 8]].concat()), None);
        assert_eq!(parse(&vec![0; whole.len()]), None);
        assert_eq!(parse(&bytes(&[])), None);
        assert_eq!(parse(&bytes(&vec![0; LONGEST + 1])), None);
    }

    #[test]
    fn every_difference_is_another_key() {
        let of = |json: &str| key(&parse_docker_json(json.as_bytes()).unwrap().for_capabilities(Set::EMPTY).unwrap());
        let keys = [
            r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#,
            r#"{"defaultAction":"SCMP_ACT_ERRNO"}"#,
            r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":2}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"]}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["ab","c"],"action":"SCMP_ACT_ERRNO"}]}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a","bc"],"action":"SCMP_ACT_ERRNO"}]}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a","bc"],"action":"SCMP_ACT_KILL"}]}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"action":"SCMP_ACT_ERRNO"},{"names":["bc"],"action":"SCMP_ACT_ERRNO"}]}"#,
        ];
        let keys: Vec<String> = keys.iter().map(|json| of(json)).collect();
        let unique: std::collections::HashSet<&String> = keys.iter().collect();
        assert_eq!(unique.len(), keys.len());
        assert!(keys[0].len() == 64);
        let docker = docker_default();
        assert_eq!(key(&docker.for_capabilities(Set::ALL).unwrap()), key(&docker.for_capabilities(Set::ALL).unwrap()));
        assert_ne!(
            key(&docker.for_capabilities(Set::ALL).unwrap()),
            key(&docker.for_capabilities(Set::EMPTY).unwrap())
        );
    }
}
