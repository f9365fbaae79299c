//! `restore`: a container made again from the files of a checkpoint.
//!
//! ```text
//!   bundle, flags, directory of images, what is external      nothing is made yet
//!   state directory, locked; config.json; control group       from here on a failure undoes all
//!   private mounts (crate::checkpoint::stage), CRIU            the mounts go with it
//!     "setup-namespaces"   prestart, createRuntime hooks
//!     "orphan-pts-master"  the master of the terminal
//!     "pre-resume"         compared with the bundle (crate::checkpoint::verify), or killed
//!   state.json, pid file                                       the container exists, and runs
//! ```
//! CRIU makes the first process our child, so that the foreground learns its end as `run` does.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use failure::{Error, Kind, Result};
use oci_spec::runtime::LinuxNamespaceType;
use runtime::cgroup::{self, Cgroup};
use runtime::{ContainerId, Running, hooks};

use super::external::{self, External, Joined};
use super::message::Message;
use super::options::{self, Options, RESTORE_LOG};
use super::service::{self, Moment, Request, Service};
use super::stage::Stage;
use super::{descriptors, image, verify};
use crate::bundle::{self, Bundle};
use crate::command::Command;
use crate::commands::create;
use crate::commands::run::stay;
use crate::console::Console;
use crate::directory::{Root, container_id};
use crate::flags::{Flag, Order, Words};
use crate::global::Global;
use crate::make::{self, Made, Terminal, Undo, Way};
use crate::signals::Signals;

pub(crate) static COMMAND: Command = Command {
    name: "restore",
    about: "restore a container from a previous checkpoint",
    usage: "<container-id>",
    description: "Makes a container from the files of a checkpoint and from a bundle, which must be that of the container that\n\
                  was checkpointed: what the checkpoint has beyond the bundle is refused.",
    flags: &[
        create::CONSOLE_SOCKET,
        options::IMAGE_PATH,
        options::WORK_PATH,
        options::TCP_ESTABLISHED,
        options::EXT_UNIX_SK,
        options::SHELL_JOB,
        options::FILE_LOCKS,
        options::MANAGE_CGROUPS,
        create::BUNDLE,
        Flag::plain(&["detach", "d"], "detach from the container's process"),
        create::PID_FILE,
        Flag::plain(&["no-subreaper"], "accepted for compatibility: this program is never a subreaper"),
        Flag::plain(&["no-pivot"], "accepted for compatibility: criu enters the root file system"),
        options::EMPTY_NS,
        options::AUTO_DEDUP,
        options::LAZY_PAGES,
        Flag::value(&["lsm-profile"], "LSM profile to be used during restore (TYPE:NAME)"),
        Flag::value(&["lsm-mount-context"], "LSM mount context to be used during restore"),
    ],
    order: Order::Mixed,
    words: (1, 1),
    run,
};

fn run(global: &Global, words: &Words) -> Result<u8> {
    if words.has("detach") {
        restore(global, words, Way::Detached)?;
        return Ok(0);
    }
    let signals = Signals::block()?;
    let (container, running) = restore(global, words, Way::Foreground)?.into_parts();
    stay(global, container, &running, &signals, false)
}

/// What is decided before anything is made.
struct Prepared {
    id: ContainerId,
    options: Options,
    bundle: Bundle,
    group: cgroup::Path,
    joined: Vec<Joined>,
    streams: Vec<String>,
    images: OwnedFd,
    files: PathBuf,
    pid_file: Option<PathBuf>,
    security: [Option<String>; 2],
}

fn restore(global: &Global, words: &Words, way: Way) -> Result<Made> {
    let (prepared, terminal) = prepare(global, words, way)?;
    let root = Root::make(&global.root)?;
    let directory = root.claim(&prepared.id, |cut_off| make::end_cut_off(global, cut_off))?;
    let undo = Undo { root: Some((root, directory)) };
    undo.directory()?.write_config(&prepared.bundle.text)?;
    let group = make_group(&prepared)?;
    let made = resurrect(global, &prepared, terminal, &group.0).and_then(|running| {
        let Prepared { bundle, group: path, pid_file, .. } = &prepared;
        let of = (running.identity, runtime::AfterStart::default());
        let record = make::record(bundle, of, path)?;
        undo.directory()?.write_record(&record)?;
        if let Some(path) = pid_file {
            make::write_pid_file(path, record.process.pid)?;
        }
        Ok((record, running))
    });
    let (record, running) = made?;
    group.keep();
    make::finish(undo, record, running)
}

fn prepare(global: &Global, words: &Words, way: Way) -> Result<(Prepared, Terminal)> {
    let id = container_id(&words.rest[0])?;
    let options = Options::read(words)?;
    let pid_file = words.value("pid-file").filter(|path| !path.is_empty()).map(make::absolute).transpose()?;
    let images = image::open(&options.images)?;
    let streams = descriptors::kept(images.as_fd())?;
    descriptors::check(&streams)?;
    let socket = words.value("console-socket").filter(|path| !path.is_empty()).map(make::absolute).transpose()?;
    let bundle = Bundle::read(words.value("bundle"))?;
    bundle.enter()?;
    let socket = socket.as_deref().and_then(Path::to_str);
    let terminal = Terminal::read(&bundle.spec, socket, way)?;
    let group = make::cgroup_path(global, &bundle.spec, &id)?;
    let joined = external::namespaces(&bundle.spec)?;
    let files = bundle.root()?;
    let text = |name| words.value(name).filter(|text| !text.is_empty()).map(str::to_owned);
    let security = [text("lsm-profile"), text("lsm-mount-context")];
    Ok((Prepared { id, options, bundle, group, joined, streams, images, files, pid_file, security }, terminal))
}

/// The group with the bundle's limits, ended with all that is in it unless it is kept.
struct Guard(Cgroup, bool);

impl Guard {
    fn keep(mut self) {
        self.1 = true;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.1 {
            // What failed first is what is told.
            let _ = self.0.kill_all().and_then(|()| self.0.remove());
        }
    }
}

fn make_group(prepared: &Prepared) -> Result<Guard> {
    let linux = prepared.bundle.spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().clone()).unwrap_or_default();
    let group = Cgroup::create(&prepared.group, &resources, &[cgroup::Controller::Devices])?;
    Ok(Guard(group, false))
}

/// CRIU's part: the processes, stopped, compared, and let go.
fn resurrect(global: &Global, prepared: &Prepared, terminal: Terminal, group: &Cgroup) -> Result<Running> {
    let place = global.root.join(prepared.id.as_ref());
    let mounts = external::mounts(&prepared.bundle.spec, &prepared.bundle.path, group)?;
    // The log is in the private mounts, and gone with them, unless it was asked for.
    let kept = prepared.options.work.as_deref();
    kept.map(image::make).transpose()?;
    let stage = Stage::enter(&place, &prepared.files)?;
    // Opened in there: CRIU works in it, and mounts.
    let work = kept.map_or_else(|| stage.work(), image::open)?;
    let (message, held) = describe(prepared, &mounts, &stage, &work, group)?;
    let service = Service::start(&global.criu);
    // The mounts are CRIU's from now on.
    drop(stage);
    let mut host = Host { prepared, group, console: terminal.console, terminal: None, pid: 0 };
    let asked = service?.ask(Request::Restore, &message, |moment| host.at(moment));
    drop(held);
    let pid = asked.map_err(|failed| refused(prepared, failed, &work))?;
    let identity = runtime::ProcessIdentity::of(pid)?;
    Ok(Running { identity, pidfd: identity.open()?, terminal: host.terminal })
}

fn describe(
    prepared: &Prepared,
    mounts: &[External],
    stage: &Stage,
    work: &OwnedFd,
    group: &Cgroup,
) -> Result<(Message, Vec<OwnedFd>)> {
    let mut message = prepared.options.message(&prepared.images, work, RESTORE_LOG)?;
    // Notifications, our child, the master of a terminal.
    message.number(12, 1).number(26, 1).number(50, 1);
    message.bytes(13, stage.root().display().to_string().as_bytes());
    external::bring_in(mounts, stage, &mut message);
    for (name, path) in groups(group) {
        let mut root = Message::default();
        if !name.is_empty() {
            root.bytes(1, name.as_bytes());
        }
        root.bytes(2, path.as_bytes());
        message.part(25, &root);
    }
    for (field, text) in [53, 63].into_iter().zip(&prepared.security) {
        if let Some(text) = text {
            message.bytes(field, text.as_bytes());
        }
    }
    let mut held = descriptors::inherit(&prepared.streams, &mut message)?;
    if !prepared.options.empty_network() {
        held.extend(external::bring_in_namespaces(&prepared.joined, &mut message)?);
    }
    Ok((message, held))
}

/// Where the processes go: the controllers of each hierarchy as the kernel lists them, and the path of the group in it.
fn groups(group: &Cgroup) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for (controller, directory) in group.directories() {
        let below = directory.strip_prefix("/sys/fs/cgroup/").unwrap_or_default();
        if controller.is_empty() {
            return vec![(String::new(), format!("/{below}"))];
        }
        let (hierarchy, path) = below.split_once('/').unwrap_or((below, ""));
        let place = (hierarchy.to_owned(), format!("/{path}"));
        if !found.contains(&place) {
            found.push(place);
        }
    }
    found
}

fn refused(prepared: &Prepared, failed: Error, work: &OwnedFd) -> Error {
    let id = &prepared.id;
    // What we refused is told as it is.
    if failed.kind() != Kind::Internal {
        return failed;
    }
    let log = prepared.options.work.as_ref().map(|work| format!("; its log is `{}`", work.join(RESTORE_LOG).display()));
    match service::reason(work.as_fd(), RESTORE_LOG) {
        Some(reason) => {
            Error::internal(format!("criu cannot restore container `{id}`: {reason}{}", log.unwrap_or_default()))
        }
        None => Error::internal(format!("cannot restore container `{id}`")).with_source(failed),
    }
}

/// The host's side while CRIU works.
struct Host<'a> {
    prepared: &'a Prepared,
    group: &'a Cgroup,
    console: Option<Console>,
    terminal: Option<OwnedFd>,
    pid: i32,
}

impl Host<'_> {
    /// What is to be done at a moment; if it fails, no process is left.
    fn at(&mut self, moment: Moment) -> Result<()> {
        // It is told once or twice, and not with each moment.
        if moment.pid > 0 {
            self.pid = moment.pid;
        }
        self.done_at(moment).inspect_err(|_| self.kill())
    }

    fn done_at(&mut self, moment: Moment) -> Result<()> {
        match (moment.name.as_str(), moment.descriptor) {
            ("setup-namespaces", _) => self.run_hooks(),
            ("orphan-pts-master", Some(master)) => match self.console.take() {
                Some(console) => console.send(&master),
                None => {
                    self.terminal = Some(master);
                    Ok(())
                }
            },
            ("pre-resume", _) => {
                let spec = &self.prepared.bundle.spec;
                verify::check(self.pid, spec, self.group)
            }
            _ => Ok(()),
        }
    }

    fn run_hooks(&self) -> Result<()> {
        let spec = &self.prepared.bundle.spec;
        let Some(hooks) = spec.hooks() else { return Ok(()) };
        let state = hooks::State {
            oci_version: spec.version().clone(),
            id: self.prepared.id.to_string(),
            status: "creating",
            pid: self.pid,
            bundle: self.prepared.bundle.path.clone(),
            annotations: spec.annotations().clone().unwrap_or_default(),
        };
        hooks::run(hooks.prestart().as_deref().unwrap_or_default(), &state)?;
        hooks::run(hooks.create_runtime().as_deref().unwrap_or_default(), &state)
    }

    /// All of them, before CRIU lets them run.
    fn kill(&self) {
        let _ = self.group.kill_all();
        let own = bundle::has_own(&self.prepared.bundle.spec, LinuxNamespaceType::Pid);
        if own && let Some(pid) = rustix::process::Pid::from_raw(self.pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}
