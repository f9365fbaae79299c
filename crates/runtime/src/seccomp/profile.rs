//! A profile: rules with conditions, from which the filter of one container is chosen.
//!
//! ```text
//!   Profile  --for_capabilities-->  LinuxSeccomp  --compile-->  instructions
//!   Docker's default or a file      what holds for this          what the kernel
//!   of the user, in Docker's JSON   container and machine        takes
//! ```
//! A rule holds if all of its `includes` do and none of its `excludes`: capabilities of the container, the machine's
//! architecture (by Docker's names), a least version of the kernel.
//!
//! ```json
//! { "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
//!   "archMap": [ { "architecture": "SCMP_ARCH_X86_64", "subArchitectures": [ "SCMP_ARCH_X86" ] } ],
//!   "syscalls": [ { "names": [ "ptrace" ], "action": "SCMP_ACT_ALLOW",
//!                   "args": [ { "index": 0, "value": 0, "valueTwo": 0, "op": "SCMP_CMP_EQ" } ],
//!                   "includes": { "caps": [ "CAP_SYS_PTRACE" ], "arches": [ "amd64" ], "minKernel": "4.8" },
//!                   "excludes": { } } ] }
//! ```

use std::path::{Path, PathBuf};

use failure::{Error, Result};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSyscall,
};
use serde::Deserialize;

use super::{Instruction, cache, check, compiler, docker};
use crate::capabilities::{self, Set};

/// Profiles that people write have some tens of kilobytes.
const LARGEST: usize = 1 << 20;

/// Docker's name of this machine's architecture.
const MACHINE: &str = if cfg!(target_arch = "x86_64") {
    "amd64"
} else if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    ""
};

/// The same in a filter.
const NATIVE: &str = if cfg!(target_arch = "x86_64") {
    "SCMP_ARCH_X86_64"
} else if cfg!(target_arch = "aarch64") {
    "SCMP_ARCH_AARCH64"
} else {
    ""
};

/// A profile, for any container.
#[derive(Clone, Debug)]
pub struct Profile(Source);

#[derive(Clone, Debug)]
enum Source {
    /// The default one, which costs nothing until its rules are needed.
    Docker,
    Written(Rules),
}

/// What a profile says.
#[derive(Clone, Debug)]
struct Rules {
    default_action: LinuxSeccompAction,
    default_errno: Option<u32>,
    architectures: Vec<Arch>,
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    /// Where a supervisor listens, and what it is told.
    listener: (Option<PathBuf>, Option<String>),
    rules: Vec<Rule>,
}

/// What to do with some calls, under some conditions.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) names: Names,
    pub(super) action: LinuxSeccompAction,
    pub(super) errno: Option<u32>,
    pub(super) arguments: Vec<LinuxSeccompArg>,
    pub(super) includes: Condition,
    pub(super) excludes: Condition,
}

/// The names of calls.
#[derive(Clone, Debug)]
pub(super) enum Names {
    /// Of a table: separated by single spaces.
    Table(&'static str),
    Written(Vec<String>),
}

/// A condition; what is not given is no condition.
#[derive(Clone, Debug, Default)]
pub(super) struct Condition {
    pub(super) capabilities: Set,
    /// A capability that this program does not know, and so no container has.
    pub(super) unknown_capability: bool,
    pub(super) architectures: Vec<String>,
    pub(super) kernel: Option<Kernel>,
}

/// A version of the kernel: major and minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kernel(pub(super) u16, pub(super) u16);

/// Docker's default profile.
#[must_use]
pub const fn docker_default() -> Profile {
    Profile(Source::Docker)
}

/// A profile in Docker's JSON form, as `--security-opt seccomp=FILE` names one.
///
/// # Errors
/// The text is no such profile, or asks for what cannot be done.
pub fn parse_docker_json(text: &[u8]) -> Result<Profile> {
    if text.len() > LARGEST {
        return Err(Error::invalid("the seccomp profile is larger than 1 MiB"));
    }
    let written: Written = serde_json::from_slice(text)
        .map_err(|cause| Error::invalid("the seccomp profile is not of Docker's JSON form").with_source(cause))?;
    let rules = written.into_rules()?;
    rules.check()?;
    Ok(Profile(Source::Written(rules)))
}

impl Profile {
    /// The filter of a container with these capabilities in its bounding set, on this machine.
    ///
    /// # Errors
    /// The kernel does not tell its version.
    pub fn for_capabilities(&self, capabilities: Set) -> Result<LinuxSeccomp> {
        let machine = Machine { capabilities, architecture: MACHINE, kernel: running_kernel()? };
        Ok(match &self.0 {
            Source::Docker => Rules::docker().on(&machine),
            Source::Written(rules) => rules.on(&machine),
        })
    }

    /// The program of that filter, as [`super::compile`] makes it; the default profile's is found in the cache without
    /// making the filter, which a start would else spend more time on than on loading it. Its flags are
    /// [`super::DEFAULT_FLAGS`], those of another profile [`super::flags`] of its filter.
    ///
    /// # Errors
    /// The profile asks for what cannot be expressed.
    pub fn compile(&self, capabilities: Set, cache: Option<&Path>) -> Result<Vec<Instruction>> {
        let (Source::Docker, Some(directory)) = (&self.0, cache) else {
            return super::compile(&self.for_capabilities(capabilities)?, cache);
        };
        let conditions = format!("{:x}-{}", capabilities.bits(), docker::kernel_conditions(running_kernel()?));
        let key = cache::builtin_key("docker", docker::DIGEST, &conditions);
        let program =
            cache::find_or_make(directory, &key, || compiler::compile(&self.for_capabilities(capabilities)?))?;
        Ok(program.instructions)
    }
}

impl Rules {
    /// Whatever container they are chosen for.
    fn check(&self) -> Result<()> {
        let mut all = self.on(&Machine { capabilities: Set::EMPTY, architecture: MACHINE, kernel: Kernel(0, 0) });
        all.set_syscalls(Some(self.rules.iter().map(Rule::to_oci).collect()));
        check::filter(&all)
    }

    fn docker() -> Self {
        Self {
            default_action: LinuxSeccompAction::ScmpActErrno,
            default_errno: Some(1),
            architectures: docker::architectures(),
            flags: None,
            listener: (None, None),
            rules: docker::rules(),
        }
    }

    fn on(&self, machine: &Machine<'_>) -> LinuxSeccomp {
        let holds = |rule: &&Rule| machine.has_all_of(&rule.includes) && !machine.has_any_of(&rule.excludes);
        let mut filter = LinuxSeccomp::default();
        filter
            .set_default_action(self.default_action)
            .set_default_errno_ret(self.default_errno)
            .set_architectures((!self.architectures.is_empty()).then(|| self.architectures.clone()))
            .set_flags(self.flags.clone())
            .set_listener_path(self.listener.0.clone())
            .set_listener_metadata(self.listener.1.clone())
            .set_syscalls(Some(self.rules.iter().filter(holds).map(Rule::to_oci).collect()));
        filter
    }
}

impl Rule {
    fn to_oci(&self) -> LinuxSyscall {
        let mut call = LinuxSyscall::default();
        let names = match &self.names {
            Names::Table(names) => names.split(' ').map(str::to_owned).collect(),
            Names::Written(names) => names.clone(),
        };
        call.set_names(names)
            .set_action(self.action)
            .set_errno_ret(self.errno)
            .set_args((!self.arguments.is_empty()).then(|| self.arguments.clone()));
        call
    }
}

/// What conditions are held against.
struct Machine<'a> {
    capabilities: Set,
    architecture: &'a str,
    kernel: Kernel,
}

impl Machine<'_> {
    fn has_all_of(&self, condition: &Condition) -> bool {
        let architectures = &condition.architectures;
        !condition.unknown_capability
            && self.capabilities.contains(condition.capabilities)
            && (architectures.is_empty() || architectures.iter().any(|name| name == self.architecture))
            && condition.kernel.is_none_or(|least| self.kernel >= least)
    }

    fn has_any_of(&self, condition: &Condition) -> bool {
        !self.capabilities.intersection(condition.capabilities).is_empty()
            || condition.architectures.iter().any(|name| name == self.architecture)
            || condition.kernel.is_some_and(|least| self.kernel >= least)
    }
}

fn running_kernel() -> Result<Kernel> {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    parse_release(&release).ok_or_else(|| Error::internal(format!("the kernel's release `{release}` has no version")))
}

/// `6.18.5-rc1` is 6.18.
fn parse_release(release: &str) -> Option<Kernel> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some(Kernel(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

// The JSON form. Names of Go's marshaller: a field may be missing, null or empty, with one meaning.

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<WrittenArchitecture>>,
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    listener_path: Option<String>,
    listener_metadata: Option<String>,
    #[serde(default)]
    syscalls: Option<Vec<WrittenRule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenArchitecture {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenRule {
    names: Option<Vec<String>>,
    /// Before 2016 a rule had one name.
    name: Option<String>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    args: Option<Vec<LinuxSeccompArg>>,
    includes: Option<WrittenCondition>,
    excludes: Option<WrittenCondition>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenCondition {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

impl Written {
    fn into_rules(self) -> Result<Rules> {
        let listed = self.architectures.unwrap_or_default();
        let mapped = self.arch_map.unwrap_or_default();
        if !listed.is_empty() && !mapped.is_empty() {
            return Err(wrong("has both `architectures` and `archMap`; use one"));
        }
        // Of a map, only the line of this machine counts: others may name what is unknown here.
        let of_map = mapped.into_iter().find(|entry| entry.architecture == NATIVE).map(|entry| {
            let mut all = vec![entry.architecture];
            all.extend(entry.sub_architectures.unwrap_or_default());
            all
        });
        let architectures = of_map.unwrap_or(listed).iter().map(|name| architecture(name)).collect::<Result<_>>()?;
        let rules = self.syscalls.unwrap_or_default().into_iter().map(WrittenRule::into_rule).collect::<Result<_>>()?;
        Ok(Rules {
            default_action: self.default_action,
            default_errno: self.default_errno_ret,
            architectures,
            flags: self.flags,
            listener: (self.listener_path.filter(|path| !path.is_empty()).map(PathBuf::from), self.listener_metadata),
            rules,
        })
    }
}

impl WrittenRule {
    fn into_rule(self) -> Result<Rule> {
        let (name, names) = (self.name.filter(|name| !name.is_empty()), self.names.unwrap_or_default());
        let names = match name {
            Some(_) if !names.is_empty() => return Err(wrong("has a rule with both `name` and `names`; use one")),
            Some(name) => vec![name],
            None => names,
        };
        Ok(Rule {
            names: Names::Written(names),
            action: self.action,
            errno: self.errno_ret,
            arguments: self.args.unwrap_or_default(),
            includes: self.includes.map_or_else(|| Ok(Condition::default()), WrittenCondition::into_condition)?,
            excludes: self.excludes.map_or_else(|| Ok(Condition::default()), WrittenCondition::into_condition)?,
        })
    }
}

impl WrittenCondition {
    fn into_condition(self) -> Result<Condition> {
        let mut condition = Condition { architectures: self.arches.unwrap_or_default(), ..Condition::default() };
        for name in self.caps.unwrap_or_default() {
            match capabilities::parse(&name) {
                Ok(capability) => condition.capabilities = condition.capabilities.union(capability),
                Err(_) => condition.unknown_capability = true,
            }
        }
        let least = self.min_kernel.filter(|version| !version.is_empty());
        condition.kernel = least.map(|version| kernel(&version)).transpose()?;
        Ok(condition)
    }
}

fn kernel(version: &str) -> Result<Kernel> {
    let parsed = version.split_once('.').and_then(|(major, minor)| Some(Kernel(small(major)?, small(minor)?)));
    let parsed = parsed.filter(|kernel| *kernel != Kernel(0, 0));
    parsed.ok_or_else(|| wrong(&format!("has `{}` for a kernel; write it as in `4.8`", version.escape_debug())))
}

fn small(digits: &str) -> Option<u16> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u8>().ok())?.map(u16::from)
}

fn architecture(name: &str) -> Result<Arch> {
    serde_json::from_value(serde_json::Value::from(name))
        .map_err(|_| wrong(&format!("names an unknown architecture `{}`", name.escape_debug())))
}

fn wrong(what: &str) -> Error {
    Error::invalid(format!("the seccomp profile {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(filter: &LinuxSeccomp) -> Vec<String> {
        filter.syscalls().iter().flatten().flat_map(|call| call.names().clone()).collect()
    }

    fn filter(json: &str, capabilities: &str, kernel: Kernel) -> Vec<String> {
        let capabilities = capabilities.split_whitespace().map(|name| capabilities::parse(name).unwrap());
        let capabilities = capabilities.fold(Set::EMPTY, Set::union);
        let Source::Written(rules) = parse_docker_json(json.as_bytes()).unwrap().0 else { unreachable!() };
        names(&rules.on(&Machine { capabilities, architecture: "amd64", kernel }))
    }

    #[test]
    fn conditions_choose_the_rules() {
        let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
            {"names":["always"],"action":"SCMP_ACT_ALLOW","args":null,"includes":{},"excludes":{}},
            {"names":["both"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN","CAP_BPF"]}},
            {"names":["without"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_SYS_ADMIN","CAP_NEW"]}},
            {"names":["future"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_NEW"]}},
            {"names":["here"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["arm64","amd64"]}},
            {"names":["there"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["arm64"]}},
            {"name":"old","action":"SCMP_ACT_ALLOW","excludes":{"minKernel":"4.8"}},
            {"name":"new","action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}}]}"#;
        assert_eq!(filter(json, "", Kernel(4, 8)), ["always", "without", "here", "new"]);
        assert_eq!(filter(json, "SYS_ADMIN", Kernel(4, 7)), ["always", "here", "old"]);
        assert_eq!(filter(json, "SYS_ADMIN BPF", Kernel(6, 0)), ["always", "both", "here", "new"]);
    }

    #[test]
    fn what_docker_refuses_is_refused() {
        let refused = |json: &str| parse_docker_json(json.as_bytes()).unwrap_err().to_string();
        for (json, expected) in [
            ("[]", "not of Docker's JSON form"),
            (r#"{"defaultAction":"SCMP_ACT_MAYBE"}"#, "not of Docker's JSON form"),
            (r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, "supervisor"),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"x","action":"SCMP_ACT_NOTIFY"}]}"#,
                "supervisor",
            ),
            (r#"{"defaultAction":"SCMP_ACT_ALLOW","defaultErrnoRet":1}"#, "takes none"),
            (r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerMetadata":"x"}"#, "without `listenerPath`"),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86"}]}"#,
                "both `architectures`",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_Z80"]}"#,
                "unknown architecture `SCMP_ARCH_Z80`",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"x","names":["y"],"action":"SCMP_ACT_ALLOW"}]}"#,
                "both `name`",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"x","action":"SCMP_ACT_LOG","includes":{"minKernel":"4"}}]}"#,
                "for a kernel",
            ),
        ] {
            let message = refused(json);
            assert!(message.contains(expected) && !message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn dockers_default_follows_the_capabilities() {
        let of = |set: Set| names(&docker_default().for_capabilities(set).unwrap());
        let (few, all) = (of(capabilities::docker_default()), of(Set::ALL));
        for name in ["mount", "bpf", "setns", "kcmp", "reboot", "init_module"] {
            assert!(!few.iter().any(|known| known == name), "{name}");
            assert!(all.iter().any(|known| known == name), "{name}");
        }
        assert!(few.iter().any(|name| name == "chroot") && few.iter().any(|name| name == "ptrace"));
        for name in ["io_uring_setup", "keyctl", "add_key", "userfaultfd", "kexec_load", "pivot_root"] {
            assert!(!all.iter().any(|known| known == name), "{name}");
        }
    }

    #[test]
    fn releases_have_versions() {
        assert_eq!(parse_release("6.18.44-fc-v595"), Some(Kernel(6, 18)));
        assert_eq!(parse_release("5.10-rc3"), Some(Kernel(5, 10)));
        assert_eq!(parse_release("six"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_docker_json(&text);
        }
    }
}
