//! `create` and `run` up to where they differ: from a bundle to a process that waits for its start.
//!
//! ```text
//!   read the bundle, decide everything (Plan), connect the console socket     nothing is made yet
//!   state directory, locked; config.json                                      from here on a failure undoes all
//!   cgroup, process, hooks
//!   state.json                                                                the container exists
//!   create: the process is left to wait on its socket          run: it is started at once
//!   terminal to the console socket, pid file
//! ```

use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use failure::{Context as _, Error, Kind, Result};
use jiff::Timestamp;
use oci_spec::runtime::{Hooks, LinuxNamespaceType, Process, Spec};
use runtime::cgroup::{self, Cgroup, Driver};
use runtime::{AfterStart, ContainerId, DirectoryRoot, Launched, Plan, ProcessIdentity, Request, Running, Stdio};
use rustix::fs::{CWD, Mode, OFlags};

use crate::bundle::{self, Bundle};
use crate::console::Console;
use crate::container::Container;
use crate::directory::{self, Directory, Root, container_id};
use crate::flags::Words;
use crate::global::Global;
use crate::preserved::Preserved;
use crate::record::Record;
use crate::{destroy, words};

/// Who starts the container, and who waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Another command starts it.
    Create,
    /// It is started at once, and left alone.
    Detached,
    /// It is started at once, and this process stays until it ends.
    Foreground,
}

/// A container whose process was made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) root: Root,
    pub(crate) directory: Directory,
    pub(crate) record: Record,
    pub(crate) running: Running,
}

/// Makes a container from the words of `create` or `run`.
pub(crate) fn make(global: &Global, words: &Words, way: Way) -> Result<Made> {
    let id = container_id(&words.rest[0])?;
    let pid_file = words.value("pid-file").filter(|path| !path.is_empty()).map(absolute).transpose()?;
    let socket = words.value("console-socket").filter(|path| !path.is_empty()).map(absolute).transpose()?;
    let mut bundle = Bundle::read(words.value("bundle"))?;
    if !bundle::has_own(&bundle.spec, LinuxNamespaceType::User) {
        runtime::sealed::ensure()?;
    }
    // Not before: whoever is executed anew reads the same words, and paths among them start where they did.
    bundle.enter()?;
    let preserved = Preserved::read(words.number("preserve-fds")?)?;
    add_environment(&mut bundle.spec, &preserved.environment);
    let terminal = Terminal::read(&bundle.spec, socket.as_deref().and_then(Path::to_str), way)?;
    let group = cgroup_path(global, &bundle.spec, &id)?;
    let start = if way == Way::Create { Some(directory::start_socket()?) } else { None };
    let cache = Root::seccomp_cache(&global.root);
    let request = Request {
        bundle: Some(&bundle.path),
        start: start.as_ref().map(OwnedFd::as_fd),
        preserved: preserved.count,
        pivot: !words.has("no-pivot"),
        new_keyring: !words.has("no-new-keyring"),
        seccomp_cache: Some(&cache),
        ..Request::new(&id, &bundle.spec, &group)
    };
    let plan = Plan::new(&request)?;
    bundle.warnings.iter().chain(plan.warnings()).for_each(|line| global.log.warning(line));
    let files = DirectoryRoot::open(&bundle.root()?)?;
    let root = Root::make(&global.root)?;
    let directory = root.claim(&id, |cut_off| end_cut_off(global, cut_off))?;
    let undo = Undo { root: Some((root, directory)) };
    undo.directory()?.write_config(&bundle.text)?;
    if let Some(start) = &start {
        undo.directory()?.listen(start)?;
    }
    global.log.debug(|| format!("container `{id}`: launching"));
    let launched = runtime::launch(plan, &files, terminal.stdio()?)?;
    let record = record(&bundle, (launched.identity(), launched.after_start()), &group)?;
    undo.directory()?.write_record(&record)?;
    let running = go(launched, way, terminal.console, &record.program)?;
    let made = finish(undo, record, running)?;
    match pid_file.map(|path| write_pid_file(&path, made.record.process.pid)) {
        Some(Err(failed)) => {
            made.abandon(global);
            Err(failed)
        }
        _ => Ok(made),
    }
}

/// Leaves the process to wait, or starts it; hands its terminal over.
fn go(launched: Launched, way: Way, console: Option<Console>, program: &str) -> Result<Running> {
    let command = if way == Way::Create { "create" } else { "run" };
    if way == Way::Create {
        let terminal = launched.ready().map_err(|failed| words::not_started(command, program, failed))?;
        if let (Some(console), Some(terminal)) = (console, &terminal) {
            console.send(terminal)?;
        }
        return launched.leave();
    }
    let mut running = launched.start().map_err(|failed| words::not_started(command, program, failed))?;
    if let (Some(console), Some(terminal)) = (console, &running.terminal) {
        console.send(terminal).inspect_err(|_| words::end(&running))?;
        running.terminal = None;
    }
    Ok(running)
}

/// The container is there: nothing is undone any more.
pub(crate) fn finish(mut undo: Undo, record: Record, running: Running) -> Result<Made> {
    let (root, directory) = undo.root.take().ok_or_else(|| Error::internal("the container's directory is gone"))?;
    Ok(Made { root, directory, record, running })
}

impl Made {
    /// The container, locked, and its process.
    pub(crate) fn into_parts(self) -> (Container, Running) {
        (Container::made(self.root, self.directory, self.record), self.running)
    }

    /// Ends a container that was made but cannot be handed over.
    fn abandon(self, global: &Global) {
        let (container, _running) = self.into_parts();
        // What failed first is what is told.
        let _ = destroy::kill(&container).and_then(|()| destroy::destroy(global, container));
    }
}

/// A claimed directory, removed unless the container comes to be.
pub(crate) struct Undo {
    pub(crate) root: Option<(Root, Directory)>,
}

impl Undo {
    /// The directory while it can be undone.
    pub(crate) fn directory(&self) -> Result<&Directory> {
        let place = self.root.as_ref().map(|(_, directory)| directory);
        place.ok_or_else(|| Error::internal("the container's directory is gone"))
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some((root, directory)) = self.root.take() {
            // What failed first is what is told.
            let _ = root.remove(directory);
        }
    }
}

/// How long the process of a creation that was killed may take to notice.
const ENDS_BY_ITSELF: Duration = Duration::from_secs(5);

/// Ends what is left of a creation that was killed: its process ends by itself, its group stays.
pub(crate) fn end_cut_off(global: &Global, directory: &Directory) -> Result<()> {
    // Killed before the specification was kept, or while it was written: then there was no group yet either.
    let Some(spec) = directory.read_config()?.and_then(|text| bundle::parse(&text).ok()) else { return Ok(()) };
    let group = cgroup_path(global, &spec, &directory.id)?;
    let start = Instant::now();
    loop {
        match Cgroup::remove_at(&group) {
            // Not killed, because the group may be one that others live in, too.
            Err(failed) if failed.kind() == Kind::Busy && start.elapsed() < ENDS_BY_ITSELF => {}
            other => return other,
        }
    }
}

/// Where the container's control group lies.
pub(crate) fn cgroup_path(global: &Global, spec: &Spec, id: &ContainerId) -> Result<cgroup::Path> {
    let given = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
    let driver = if global.systemd_cgroup { Driver::Systemd } else { Driver::Cgroupfs };
    cgroup::Path::of_specification(given.map(PathBuf::as_path), id.as_ref(), driver)
}

fn add_environment(spec: &mut Spec, variables: &[String]) {
    if variables.is_empty() {
        return;
    }
    if let Some(process) = spec.process_mut() {
        let mut environment = process.env().clone().unwrap_or_default();
        environment.extend_from_slice(variables);
        process.set_env(Some(environment));
    }
}

/// What is written down of a container whose first process was made.
pub(crate) fn record(
    bundle: &Bundle,
    (process, after_start): (ProcessIdentity, AfterStart),
    group: &cgroup::Path,
) -> Result<Record> {
    let spec = &bundle.spec;
    Ok(Record {
        version: Record::VERSION,
        oci_version: spec.version().clone(),
        process,
        bundle: text(&bundle.path)?,
        rootfs: text(&bundle.root()?)?,
        created: Timestamp::now().to_string(),
        cgroup: group.clone(),
        after_start,
        program: program(spec.process().as_ref()),
        own_users: bundle::has_own(spec, LinuxNamespaceType::User),
        shares: spec.linux().as_ref().is_some_and(|linux| linux.intel_rdt().is_some()),
        own_processes: bundle::has_own(spec, LinuxNamespaceType::Pid),
        annotations: spec.annotations().clone().unwrap_or_default().into_iter().collect(),
        hooks: spec.hooks().as_ref().and_then(later_hooks),
    })
}

fn later_hooks(hooks: &Hooks) -> Option<Hooks> {
    let mut later = Hooks::default();
    later.set_poststart(hooks.poststart().clone()).set_poststop(hooks.poststop().clone());
    (later != Hooks::default()).then_some(later)
}

/// What is to be executed.
pub(crate) fn program(process: Option<&Process>) -> String {
    process.and_then(|process| process.args().as_ref()?.first().cloned()).unwrap_or_default()
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| Error::invalid(format!("`{}` is not UTF-8", path.display())))
}

/// The process's terminal, if it has one, and to whom it goes.
pub(crate) struct Terminal {
    has: bool,
    size: (u16, u16),
    /// Who takes it.
    pub(crate) console: Option<Console>,
}

impl Terminal {
    /// That of the first process.
    pub(crate) fn read(spec: &Spec, socket: Option<&str>, way: Way) -> Result<Self> {
        let process = spec.process().as_ref().ok_or_else(|| Error::invalid("config.json has no `process`"))?;
        Self::of(process, socket, way != Way::Foreground)
    }

    /// The rules of who must or must not give a console socket are runc's.
    pub(crate) fn of(process: &Process, socket: Option<&str>, detached: bool) -> Result<Self> {
        let has = process.terminal().unwrap_or(false);
        let socket = socket.filter(|socket| !socket.is_empty());
        match (has, detached, socket) {
            (true, true, None) => {
                return Err(Error::invalid(
                    "cannot allocate tty if skep-runtime will detach without setting console socket",
                ));
            }
            (false, _, Some(_)) | (_, false, Some(_)) => {
                return Err(Error::invalid(
                    "cannot use console socket if skep-runtime will not detach or allocate tty",
                ));
            }
            _ => {}
        }
        let console = socket.map(Console::connect).transpose()?;
        let given = process.console_size().map(|size| (narrow(size.height()), narrow(size.width())));
        let size = given.filter(|size| *size != (0, 0)).or_else(|| own_size(has && !detached)).unwrap_or_default();
        Ok(Self { has, size, console })
    }

    /// The streams for the process: its terminal, or ours.
    pub(crate) fn stdio(&self) -> Result<Stdio> {
        if self.has {
            let (rows, columns) = self.size;
            return Ok(Stdio::Terminal { rows, columns });
        }
        let copy =
            |file: std::os::fd::BorrowedFd<'_>| file.try_clone_to_owned().context("cannot pass on a standard stream");
        Ok(Stdio::Files {
            stdin: copy(std::io::stdin().as_fd())?,
            stdout: copy(std::io::stdout().as_fd())?,
            stderr: copy(std::io::stderr().as_fd())?,
        })
    }
}

fn narrow(size: u64) -> u16 {
    u16::try_from(size).unwrap_or(u16::MAX)
}

fn own_size(wanted: bool) -> Option<(u16, u16)> {
    let size = wanted.then(|| rustix::termios::tcgetwinsize(std::io::stdin()))?.ok()?;
    Some((size.ws_row, size.ws_col))
}

/// The path from where this process began.
pub(crate) fn absolute(path: &str) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot tell where `{path}` is"))
}

/// Written beside and renamed: who reads it sees a whole number or none.
pub(crate) fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let failed = || format!("cannot write the pid file `{}`", path.display());
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("pid");
    let beside = path.with_file_name(format!(".{name}"));
    // The directory may be everybody's: what lies there is not written to, be it a leftover or a link.
    let _ = rustix::fs::unlink(&beside);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(&beside, flags, Mode::from_raw_mode(0o644)).with_context(failed)?;
    std::fs::File::from(file).write_all(pid.to_string().as_bytes()).with_context(failed)?;
    rustix::fs::renameat(CWD, &beside, CWD, path).with_context(failed)
}
