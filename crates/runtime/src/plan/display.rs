//! Steps in words: for `--dry-run`, and behind "cannot" when one fails.

use std::fmt;

use super::Plan;
use super::action::{Action, Delivery};
use super::namespaces;
use sys::mount::Attributes;

impl fmt::Display for Plan {
    /// Numbered steps, one a line: first the parent's, then the child's.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut number = 0;
        let mut line = |formatter: &mut fmt::Formatter<'_>, text: &dyn fmt::Display| {
            number += 1;
            writeln!(formatter, "{number:3}  {text}")
        };
        line(formatter, &format_args!("make the cgroup `{}` with its limits", self.cgroup.as_str()))?;
        for join in self.namespaces.for_good.iter().chain(&self.namespaces.joins) {
            line(formatter, &format_args!("join the {} namespace `{}`", join.name(), join.path.display()))?;
        }
        let kinds = namespaces::names(self.namespaces.at_clone);
        line(formatter, &format_args!("clone a process with new namespaces: {kinds}"))?;
        if let Some(mapping) = &self.namespaces.mapping {
            line(
                formatter,
                &format_args!("map user ids {} and group ids {}", one_line(&mapping.users), one_line(&mapping.groups)),
            )?;
        }
        for interface in &self.interfaces {
            let (name, inside) = (&interface.name, &interface.inside);
            line(formatter, &format_args!("move the network device `{name}` into the container as `{inside}`"))?;
        }
        if let Some(shares) = &self.shares {
            line(formatter, shares)?;
        }
        if let Some(score) = self.oom_score_adjust {
            line(formatter, &format_args!("set the out-of-memory score adjustment to {score}"))?;
        }
        if !self.scheduling.is_empty() {
            line(formatter, &self.scheduling)?;
        }
        for action in &self.actions {
            match action {
                Action::Execute => line(formatter, &format_args!("execute {}", self.program))?,
                Action::SetCredentials => line(formatter, &format_args!("become {}", self.identity))?,
                action => line(formatter, action)?,
            }
        }
        Ok(())
    }
}

/// `0 268435456 65536` for a map of one line, with commas between lines.
fn one_line(map: &str) -> String {
    map.trim_end().replace('\n', ", ")
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JoinCgroups { path } => write!(formatter, "join the cgroup `{path}`"),
            Self::NewNamespaces(kinds) => write!(formatter, "make new namespaces: {}", namespaces::names(*kinds)),
            Self::LeaveKeyring => write!(formatter, "leave the session keyring"),
            Self::OpenRootPoint(path) => write!(formatter, "open the root directory `{}`", path.to_string_lossy()),
            Self::IsolateMounts => write!(formatter, "cut the mount namespace off from the host's"),
            Self::RaiseLoopback => write!(formatter, "set the loopback interface up"),
            Self::SetHostName(name) => write!(formatter, "set the host name `{name}`"),
            Self::SetDomainName(name) => write!(formatter, "set the domain name `{name}`"),
            Self::AwaitMapping => write!(formatter, "wait for the id maps"),
            Self::BecomeOwner { uid: 0, gid: 0, .. } => write!(formatter, "become root of the user namespace"),
            Self::BecomeOwner { uid, gid, .. } => {
                write!(formatter, "become user {uid} and group {gid} of the user namespace")
            }
            Self::ChangeRoot { .. } => write!(formatter, "make it the root, beside the tree of the others"),
            Self::ShareRoot(_) => write!(formatter, "go to the container's root"),
            Self::EnterTime { offsets, .. } => {
                write!(formatter, "enter the time namespace, with the clocks [{}]", one_line(offsets))
            }
            Self::MakeFileSystem { file_system, .. } => {
                write!(formatter, "make a file system of type {}", file_system.kind.to_string_lossy())?;
                options(formatter, file_system.options(), u64::from(file_system.attributes))
            }
            Self::MakeMask { .. } => write!(formatter, "make the cover of masked paths"),
            Self::Receive { delivery, .. } => write!(formatter, "take {delivery} from the parent"),
            Self::EnterRoot { .. } => write!(formatter, "make it the root, and leave the host's tree"),
            Self::AttachRoot { .. } => write!(formatter, "attach it where hooks find it"),
            Self::EnterAttachedRoot { .. } => write!(formatter, "make the root file system the root"),
            Self::ReceiveState { .. } => write!(formatter, "take the state for hooks from the parent"),
            Self::AwaitHooks => write!(formatter, "wait for the hooks of the host"),
            Self::RunHook(hook) => write!(formatter, "run the {} hook `{}`", hook.moment, hook.path.to_string_lossy()),
            Self::AdoptRoot => write!(formatter, "open the container's root"),
            Self::Attach { what, target, .. } => {
                write!(formatter, "mount {what} on `{}`", target.path.to_string_lossy())
            }
            Self::AttachEntry { what, target, .. } => {
                write!(formatter, "mount {what} on `{}`", target.path.to_string_lossy())
            }
            Self::TakeOver { what, .. } => {
                let place = what.path.to_string_lossy();
                if what.contents {
                    write!(formatter, "copy what is in `{place}` to what will cover it")
                } else {
                    write!(formatter, "take the mode of `{place}`")
                }
            }
            Self::Remount(change) => {
                write!(formatter, "change the mount on `{}`", change.path.to_string_lossy())?;
                let set = change.attributes.set | change.recursive.set;
                options(formatter, init::step::pairs(&change.options), set)
            }
            Self::MakeDevice { place, .. } => write!(formatter, "make the device `{}`", place.path.to_string_lossy()),
            Self::MakeLink { place, points_to, .. } => {
                let (path, points_to) = (place.path.to_string_lossy(), points_to.to_string_lossy());
                write!(formatter, "make the link `{path}` to `{points_to}`")
            }
            Self::AttachCgroups { .. } => write!(formatter, "mount the cgroup hierarchies"),
            Self::SetKernelSetting { name, value, .. } => write!(formatter, "set the kernel setting `{name}={value}`"),
            Self::MaskPath { path, .. } => write!(formatter, "mask `{}`", path.to_string_lossy()),
            Self::PutMaskAway { .. } => write!(formatter, "put the cover away"),
            Self::ProtectPath(path) => write!(formatter, "make `{}` read-only", path.to_string_lossy()),
            Self::MakeDirectory(path) => write!(formatter, "make the directory `{}`", path.to_string_lossy()),
            Self::SetRootAttributes(change) => write!(formatter, "make the root {}", attributes(*change)),
            Self::SetRootPropagation { kind, recursive } => {
                let word = super::options::propagation_name(*kind, *recursive);
                write!(formatter, "make the root {word}")
            }
            Self::NewSession => write!(formatter, "start a session"),
            Self::OpenStreams { .. } => write!(formatter, "open the terminal or the standard streams"),
            Self::ChangeDirectory(path) => {
                write!(formatter, "go to the working directory `{}`", path.to_string_lossy())
            }
            Self::SetLimit { name, limit, .. } => {
                let (soft, hard) = (Amount(limit.current), Amount(limit.maximum));
                write!(formatter, "limit {name} to {soft}, at most {hard}")
            }
            Self::SetFileModeMask(mask) => write!(formatter, "set the file mode mask {mask:03o}"),
            Self::SetPersonality { name, .. } => write!(formatter, "take the personality {name}"),
            Self::SetMemoryPolicy { name, .. } => write!(formatter, "set the memory policy {name}"),
            Self::SetProcessors(_) => write!(formatter, "choose the processors to run on"),
            Self::SetLabel { value, .. } => {
                write!(formatter, "label the program `{}`", value.to_string_lossy())
            }
            Self::SetCredentials => write!(formatter, "become the user of the process"),
            Self::ForbidNewPrivileges => write!(formatter, "forbid new privileges"),
            Self::ReportSettled => write!(formatter, "let the parent schedule it"),
            Self::ReportReady => write!(formatter, "report that all is ready"),
            Self::FindProgram => write!(formatter, "find the program"),
            Self::AwaitStart => write!(formatter, "wait for the start"),
            Self::AcceptStart(_) => write!(formatter, "wait for the start from the start socket"),
            Self::CloseDescriptors { first } => write!(formatter, "close all descriptors from {first} on"),
            Self::LoadFilter { program, .. } => {
                write!(formatter, "load a system call filter of {} instructions", program.len())
            }
            Self::Supervise => write!(formatter, "stay as PID 1, and go on as its child"),
            Self::Execute => write!(formatter, "execute the program"),
        }
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root { .. } => write!(formatter, "the root file system"),
            Self::FileSystem(own) => {
                write!(formatter, "a file system of type {}", own.file_system.kind.to_string_lossy())?;
                if own.idmap.is_some() {
                    write!(formatter, " with mapped ids")?;
                }
                options(formatter, own.file_system.options(), u64::from(own.file_system.attributes))
            }
            Self::Devices(devices) => write!(formatter, "a /dev with {} device nodes", devices.nodes.len()),
            Self::Bind(bind) => {
                write!(
                    formatter,
                    "`{}`{}",
                    bind.path.display(),
                    if bind.recursive { " and what is below" } else { "" }
                )?;
                if bind.idmap.is_some() {
                    write!(formatter, " with mapped ids")?;
                }
                let all = Attributes { set: bind.attributes.set | bind.recursive_attributes.set, ..bind.attributes };
                options(formatter, [].into_iter(), all.set)
            }
            Self::Foreign(file_system) => write!(formatter, "{}", file_system.kind.to_string_lossy()),
            Self::Cgroup(_) => write!(formatter, "its cgroup"),
        }
    }
}

/// Attributes and options in parentheses, or nothing.
fn options<'a>(
    formatter: &mut fmt::Formatter<'_>,
    options: impl Iterator<Item = (&'a std::ffi::CStr, &'a std::ffi::CStr)>,
    set: u64,
) -> fmt::Result {
    let mut words: Vec<String> = super::options::names(set).map(str::to_owned).collect();
    // A source that is no device is a word without meaning.
    for (name, value) in options.filter(|(name, value)| *name != c"source" || value.to_bytes().starts_with(b"/")) {
        let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
        words.push(if value.is_empty() { name.into_owned() } else { format!("{name}={value}") });
    }
    if words.is_empty() { Ok(()) } else { write!(formatter, " ({})", words.join(",")) }
}

fn attributes(change: Attributes) -> String {
    super::options::names(change.set).collect::<Vec<_>>().join(",")
}

/// A limit, or the word for none.
struct Amount(Option<u64>);

impl fmt::Display for Amount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(amount) => write!(formatter, "{amount}"),
            None => write!(formatter, "unlimited"),
        }
    }
}
