//! From a filter to a program, with libseccomp.

use std::io::{Read, Seek, SeekFrom};

use failure::{Context, Error, Result};
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall};
use rustix::fs::MemfdFlags;

use super::newer::{self, Prologue};
use super::{Instruction, profile};

const EPERM: u32 = 1;
/// The kernel takes no longer program.
pub(super) const LONGEST: usize = 4096;
/// The rules of a call are found by bisection over the numbers, not one after the other: the kernel walks the whole program for
/// every number when it is loaded, to know which calls it need not ask about later.
const BINARY_TREE: u32 = 2;
/// The upper half of an action is what to do, the lower one an errno or a message.
const ACTION_MASK: u32 = 0xffff_0000;

/// Compiles a filter.
pub(super) fn compile(filter: &LinuxSeccomp) -> Result<Vec<Instruction>> {
    if filter.listener_path().is_some() {
        return Err(profile::no_supervisor());
    }
    let default = action(filter.default_action(), filter.default_errno_ret())?;
    let mut context = ScmpFilterContext::new(default).map_err(|cause| failed("start the filter", cause))?;
    context.set_ctl_optimize(BINARY_TREE).map_err(|cause| failed("set the form of the filter", cause))?;
    let architectures = architectures(filter);
    let calls = filter.syscalls().as_deref().unwrap_or_default();

    let mut build = Build { context, default, newer: Vec::new(), last: 0 };
    // Rules made so far are not copied to architectures that are added later, and these are for one alone.
    build.add_native_calls(calls)?;
    for architecture in &architectures {
        let added = build.context.add_arch(convert(*architecture)?);
        added.map_err(|cause| failed(&format!("cover `{architecture}`"), cause))?;
    }
    for call in calls {
        build.add(call)?;
    }
    build.finish(&architectures)
}

/// A filter in the making.
struct Build {
    context: ScmpFilterContext,
    default: ScmpAction,
    /// Calls that libseccomp does not know, with their action as the kernel takes it.
    newer: Vec<(u32, u32)>,
    last: u32,
}

impl Build {
    fn add_native_calls(&mut self, calls: &[LinuxSyscall]) -> Result<()> {
        for call in calls {
            let action = action(call.action(), call.errno_ret())?;
            for name in call.names() {
                let Some(number) = newer::native_number(name).filter(|_| ScmpSyscall::from_name(name).is_err()) else {
                    continue;
                };
                if action != self.default && call.args().as_deref().unwrap_or_default().is_empty() {
                    let added = self.context.add_rule(action, ScmpSyscall::from_raw_syscall(number.cast_signed()));
                    added.map_err(|cause| failed(&format!("add a rule for `{name}`"), cause))?;
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, call: &LinuxSyscall) -> Result<()> {
        let action = action(call.action(), call.errno_ret())?;
        let conditions = conditions(call.args().as_deref().unwrap_or_default())?;
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

    /// A call that neither libseccomp nor the table of newer ones knows is one that this kernel does not have either, or that
    /// the default action is for: Docker's profile names calls of many architectures, and is read by older engines.
    fn add_newer(&mut self, name: &str, call: &LinuxSyscall, action: ScmpAction) -> Result<()> {
        let Some(number) = newer::number(name) else { return Ok(()) };
        if !call.args().as_deref().unwrap_or_default().is_empty() {
            let reason = "conditions on it need a newer libseccomp";
            return Err(Error::unsupported(format!("the seccomp filter has a rule for `{name}`: {reason}")));
        }
        self.last = self.last.max(number);
        if action != self.default && !self.newer.iter().any(|(known, _)| *known == number) {
            self.newer.push((number, call.action().as_u32(call.errno_ret())));
        }
        Ok(())
    }

    fn finish(self, architectures: &[Arch]) -> Result<Vec<Instruction>> {
        // A filter that allows by default needs no answer for what is new.
        let allows = matches!(self.default, ScmpAction::Allow | ScmpAction::Log | ScmpAction::Trace(_));
        let native = [native()];
        let architectures = if architectures.is_empty() { &native } else { architectures };
        let prologue = Prologue { architectures, calls: &self.newer, last: (!allows).then_some(self.last) };
        let mut program = prologue.instructions();
        program.extend(export(&self.context)?);
        if program.len() > LONGEST {
            let reason = format!("it has {} instructions, the kernel takes {LONGEST}", program.len());
            return Err(Error::invalid(format!("the seccomp filter is too long: {reason}")));
        }
        Ok(program)
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

fn conditions(arguments: &[LinuxSeccompArg]) -> Result<Vec<(u32, ScmpArgCompare)>> {
    arguments.iter().map(condition).collect()
}

fn condition(argument: &LinuxSeccompArg) -> Result<(u32, ScmpArgCompare)> {
    let index = u32::try_from(argument.index()).ok().filter(|index| *index < 6).ok_or_else(|| {
        Error::invalid(format!("the seccomp filter has a condition on argument {}; a call has 6", argument.index()))
    })?;
    let (value, second) = (argument.value(), argument.value_two().unwrap_or(0));
    let (operator, value) = match argument.op() {
        LinuxSeccompOperator::ScmpCmpNe => (ScmpCompareOp::NotEqual, value),
        LinuxSeccompOperator::ScmpCmpLt => (ScmpCompareOp::Less, value),
        LinuxSeccompOperator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, value),
        LinuxSeccompOperator::ScmpCmpEq => (ScmpCompareOp::Equal, value),
        LinuxSeccompOperator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, value),
        LinuxSeccompOperator::ScmpCmpGt => (ScmpCompareOp::Greater, value),
        LinuxSeccompOperator::ScmpCmpMaskedEq => (ScmpCompareOp::MaskedEqual(value), second),
    };
    Ok((index, ScmpArgCompare::new(index, operator, value)))
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<ScmpAction> {
    let errno = errno.unwrap_or(EPERM);
    if errno & ACTION_MASK != 0 {
        return Err(Error::invalid(format!("the seccomp filter returns `{errno}`, which is no error number")));
    }
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => ScmpAction::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(errno.cast_signed()),
        LinuxSeccompAction::ScmpActTrace => ScmpAction::Trace(errno as u16),
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
        LinuxSeccompAction::ScmpActNotify => return Err(profile::no_supervisor()),
    })
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
    architecture.to_string().parse().map_err(|cause| failed(&format!("cover `{architecture}`"), cause))
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
