//! From a filter to a program: libseccomp translates the rules, and its program is made short.

use std::io::{Read, Seek, SeekFrom};

use failure::{Context, Error, Result};
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall};
use rustix::fs::MemfdFlags;

use super::Instruction;
use super::cache::Program;
use super::condense::{self, Verdicts};
use super::newer::{self, Rules};

const EPERM: u32 = 1;
/// The kernel takes no longer program.
pub(super) const LONGEST: usize = 4096;

/// Compiles a filter that was [checked](super::check).
pub(super) fn compile(filter: &LinuxSeccomp) -> Result<Program> {
    let default = action(filter.default_action(), filter.default_errno_ret());
    let mut context = ScmpFilterContext::new(default).map_err(|cause| failed("start the filter", cause))?;
    let architectures = architectures(filter);
    for architecture in &architectures {
        let added = context.add_arch(convert(*architecture)?);
        added.map_err(|cause| uncovered(*architecture, &cause.to_string()))?;
    }
    let mut build = Build { context, default, newer: Rules::default(), last: 0, unknown: 0 };
    for call in filter.syscalls().as_deref().unwrap_or_default() {
        build.add(call)?;
    }
    let unknown = build.unknown;
    Ok(Program { instructions: build.finish(&architectures)?, unknown })
}

/// The names that are left out, because neither libseccomp nor the table of newer calls knows them.
pub(super) fn unknown(filter: &LinuxSeccomp) -> Vec<String> {
    let names = filter.syscalls().iter().flatten().flat_map(LinuxSyscall::names);
    let unknown = names.filter(|name| ScmpSyscall::from_name(name).is_err() && newer::find(name).is_none());
    unknown.cloned().collect()
}

/// A filter in the making.
struct Build {
    context: ScmpFilterContext,
    default: ScmpAction,
    newer: Rules,
    /// The last call that a rule names.
    last: u32,
    /// How many names nobody knows.
    unknown: u64,
}

impl Build {
    fn add(&mut self, call: &LinuxSyscall) -> Result<()> {
        let action = action(call.action(), call.errno_ret());
        let conditions = conditions(call.args().as_deref().unwrap_or_default());
        for name in call.names() {
            let Ok(known) = ScmpSyscall::from_name(name) else {
                self.add_newer(name, call, action)?;
                continue;
            };
            // Calls of other architectures have negative numbers here.
            self.last = self.last.max(u32::try_from(known.as_raw_syscall()).unwrap_or(0));
            if action == self.default {
                continue;
            }
            let added = add_rules(&mut self.context, action, known, &conditions);
            added.map_err(|cause| failed(&format!("add a rule for `{name}`"), cause))?;
        }
        Ok(())
    }

    /// A call that neither libseccomp nor the table of newer ones knows is left to the default action: Docker's profile names
    /// calls of many architectures, and is read by older engines.
    fn add_newer(&mut self, name: &str, call: &LinuxSyscall, action: ScmpAction) -> Result<()> {
        let Some(newer) = newer::find(name) else {
            self.unknown += 1;
            return Ok(());
        };
        if !call.args().as_deref().unwrap_or_default().is_empty() {
            let reason = "conditions on it need a newer libseccomp";
            return Err(Error::unsupported(format!("the seccomp filter has a rule for `{name}`: {reason}")));
        }
        self.last = self.last.max(newer.number);
        if action != self.default {
            self.newer.calls.push((newer, call.action().as_u32(call.errno_ret())));
        }
        Ok(())
    }

    fn finish(mut self, architectures: &[Arch]) -> Result<Vec<Instruction>> {
        // A filter that allows by default needs no answer for what is new, and one that asks wants to be asked.
        let asks = matches!(self.default, ScmpAction::Trace(_) | ScmpAction::Notify);
        let allows = asks || matches!(self.default, ScmpAction::Allow | ScmpAction::Log);
        self.newer.last = (!allows).then_some(self.last);
        let long = export(&self.context)?;
        let has_x32 = architectures.contains(&Arch::ScmpArchX32);
        let mut known: Vec<(u32, Verdicts)> = Vec::new();
        for token in architectures.iter().map(|architecture| token(*architecture)) {
            if !known.iter().any(|(seen, _)| *seen == token) {
                let mut verdicts = condense::survey(&long, Some(token))?;
                self.newer.add_to(&mut verdicts, token, native() as u32, has_x32);
                known.push((token, verdicts));
            }
        }
        let others = condense::survey(&long, None)?
            .single()
            .ok_or_else(|| Error::internal("libseccomp's program knows an architecture that it was not told of"))?;
        let program = condense::write(&long, &known, others)?;
        if program.len() > LONGEST {
            let reason = format!("it has {} instructions, the kernel takes {LONGEST}", program.len());
            return Err(Error::invalid(format!("the seccomp filter is too long: {reason}")));
        }
        Ok(program)
    }
}

/// The kernel's name of an architecture: it has none for x32, which is the other way to call x86-64.
fn token(architecture: Arch) -> u32 {
    match architecture {
        Arch::ScmpArchX32 => Arch::ScmpArchX86_64 as u32,
        other => other as u32,
    }
}

/// Two conditions on one argument cannot be in one rule: as with runc, each condition is then a rule of its own.
fn add_rules(
    context: &mut ScmpFilterContext,
    action: ScmpAction,
    call: ScmpSyscall,
    conditions: &[(u32, ScmpArgCompare)],
) -> std::result::Result<(), libseccomp::error::SeccompError> {
    if conditions.is_empty() {
        return context.add_rule(action, call).map(drop);
    }
    let repeated =
        conditions.iter().enumerate().any(|(at, (index, _))| conditions[..at].iter().any(|(i, _)| i == index));
    let conditions: Vec<ScmpArgCompare> = conditions.iter().map(|(_, condition)| *condition).collect();
    if repeated {
        conditions.iter().try_for_each(|one| context.add_rule_conditional(action, call, &[*one]).map(drop))
    } else {
        context.add_rule_conditional(action, call, &conditions).map(drop)
    }
}

fn conditions(arguments: &[LinuxSeccompArg]) -> Vec<(u32, ScmpArgCompare)> {
    arguments.iter().map(condition).collect()
}

fn condition(argument: &LinuxSeccompArg) -> (u32, ScmpArgCompare) {
    let (index, value, second) = (argument.index() as u32, argument.value(), argument.value_two().unwrap_or(0));
    let (operator, value) = match argument.op() {
        LinuxSeccompOperator::ScmpCmpNe => (ScmpCompareOp::NotEqual, value),
        LinuxSeccompOperator::ScmpCmpLt => (ScmpCompareOp::Less, value),
        LinuxSeccompOperator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, value),
        LinuxSeccompOperator::ScmpCmpEq => (ScmpCompareOp::Equal, value),
        LinuxSeccompOperator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, value),
        LinuxSeccompOperator::ScmpCmpGt => (ScmpCompareOp::Greater, value),
        LinuxSeccompOperator::ScmpCmpMaskedEq => (ScmpCompareOp::MaskedEqual(value), second),
    };
    (index, ScmpArgCompare::new(index, operator, value))
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> ScmpAction {
    let errno = errno.unwrap_or(EPERM) as u16;
    match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => ScmpAction::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(errno.into()),
        LinuxSeccompAction::ScmpActTrace => ScmpAction::Trace(errno),
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
        LinuxSeccompAction::ScmpActNotify => ScmpAction::Notify,
    }
}

/// The filter's architectures; libseccomp covers the machine's own in any case.
fn architectures(filter: &LinuxSeccomp) -> Vec<Arch> {
    let native = native();
    let named = filter.architectures().iter().flatten();
    let mut all = vec![native];
    for architecture in named {
        if *architecture != Arch::ScmpArchNative && !all.contains(architecture) {
            all.push(*architecture);
        }
    }
    all
}

fn native() -> Arch {
    if cfg!(target_arch = "aarch64") { Arch::ScmpArchAarch64 } else { Arch::ScmpArchX86_64 }
}

fn convert(architecture: Arch) -> Result<ScmpArch> {
    architecture
        .to_string()
        .parse()
        .map_err(|cause: libseccomp::error::SeccompError| uncovered(architecture, &cause.to_string()))
}

/// One that this libseccomp does not know, or of another byte order than the machine's.
fn uncovered(architecture: Arch, cause: &str) -> Error {
    let line =
        format!("the seccomp filter covers `{architecture}`, which cannot be filtered on this machine; leave it out");
    Error::invalid(line).with_source(cause.to_owned())
}

/// libseccomp writes programs to descriptors only.
fn export(context: &ScmpFilterContext) -> Result<Vec<Instruction>> {
    let memory = rustix::fs::memfd_create(c"seccomp", MemfdFlags::CLOEXEC).context("make a file in memory")?;
    let mut memory = std::fs::File::from(memory);
    context.export_bpf(&memory).map_err(|cause| failed("write the filter", cause))?;
    let mut bytes = Vec::new();
    memory.seek(SeekFrom::Start(0)).context("read the filter")?;
    memory.read_to_end(&mut bytes).context("read the filter")?;
    let (words, rest) = bytes.as_chunks();
    if !rest.is_empty() {
        return Err(Error::internal("libseccomp wrote a filter of a strange length"));
    }
    Ok(words.iter().map(|word| Instruction::from_ne_bytes(*word)).collect())
}

fn failed(what: &str, cause: libseccomp::error::SeccompError) -> Error {
    Error::invalid(format!("compile the seccomp filter: {what}")).with_source(cause.to_string())
}
