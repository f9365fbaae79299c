//! The walk: one arm for each kind of step.

use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};
use rustix::net::SocketFlags;
use rustix::process::DumpableBehavior;
use rustix::thread::UnshareFlags;
use sys::signal::{self, Set};

use crate::channel::{self, Message};
use crate::step::{SLOTS, Step};
use crate::supervised::{self, Witness};
use crate::{copy_up, credentials, hook, inside, masks, mounts, nodes, program, reaper, terminal, time};

/// Walks the steps in a process that was just cloned. Ends in the program, or in a report and the end of the process.
pub fn run(steps: &[Step<'_>], channel: BorrowedFd<'_>) -> ! {
    let mut child = Child {
        parent: channel,
        starter: None,
        slots: [const { None }; SLOTS],
        root_point: None,
        root: None,
        master: None,
        state: None,
        witness: None,
    };
    let (step, errno) = match child.prepare() {
        Err(errno) => (0, errno),
        Ok(()) => child.walk(steps),
    };
    if let Some(witness) = child.witness {
        witness.fail(step, errno);
    }
    // Nobody is left to tell if this fails.
    let _ = channel::send(child.channel(), Message::Failed { step, errno: errno.raw_os_error() }, None);
    sys::process::exit(125)
}

/// What the child holds on its way.
struct Child<'a> {
    parent: BorrowedFd<'a>,
    /// Who started it, once the parent has left.
    starter: Option<OwnedFd>,
    slots: [Option<OwnedFd>; SLOTS],
    /// Where in the host's tree the root is attached for hooks.
    root_point: Option<OwnedFd>,
    root: Option<OwnedFd>,
    master: Option<OwnedFd>,
    /// Who reports what fails, once there is a filter that may forbid it.
    witness: Option<&'static Witness>,
    /// The state that hooks read.
    state: Option<OwnedFd>,
}

impl Child<'_> {
    /// Away with what the caller had set for itself. Until exec nobody may look into this process: it is
    /// still the engine's image.
    fn prepare(&self) -> Result<()> {
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        signal::reset_actions();
        signal::set_mask(Set::EMPTY)?;
        rustix::process::umask(Mode::from_raw_mode(0o022));
        Ok(())
    }

    /// The first step that fails, and why; the last step never returns otherwise.
    fn walk(&mut self, steps: &[Step<'_>]) -> (u32, Errno) {
        let mut number = 0;
        for step in steps {
            if let Err(errno) = self.take(step, number) {
                return (number, errno);
            }
            number += 1;
        }
        (number, Errno::NOSYS)
    }

    fn take(&mut self, step: &Step<'_>, number: u32) -> Result<()> {
        match *step {
            Step::JoinCgroups(files) => join_cgroups(files),
            Step::NewNamespaces(kinds) => sys::namespace::unshare(UnshareFlags::from_bits_retain(kinds)),
            Step::LeaveKeyring => sys::keyring::leave_session_keyring(),
            Step::IsolateMounts => mounts::isolate(),
            Step::OpenRootPoint(path) => self.open_root_point(path),
            Step::RaiseLoopback => raise_loopback(),
            Step::SetHostName(name) => rustix::system::sethostname(name),
            Step::SetDomainName(name) => rustix::system::setdomainname(name),
            Step::AwaitMapping => self.await_message(Message::Mapped),
            Step::BecomeOwner { uid, gid, alone } => credentials::become_owner(uid, gid, alone),
            Step::MakeFileSystem { slot, file_system } => {
                mounts::make(file_system).and_then(|made| self.keep(slot, made))
            }
            Step::MakeMask { slot } => masks::make().and_then(|mask| self.keep(slot, mask)),
            Step::ReceiveMount { slot } => mounts::receive(self.channel()).and_then(|mount| self.keep(slot, mount)),
            Step::EnterRoot { slot, pivot } => self.enter_root(slot, pivot),
            Step::AttachRoot { slot } => self.attach_root(slot),
            Step::EnterAttachedRoot { pivot } => self.enter_attached_root(pivot),
            Step::ReceiveState => self.receive_state(),
            Step::AwaitHooks => {
                channel::send(self.channel(), Message::Mounted, None)?;
                self.await_message(Message::GoOn)
            }
            Step::RunHook(ref wanted) => hook::run(wanted, self.state.as_ref().ok_or(Errno::BADF)?),
            Step::ChangeRoot { slot } => self.change_root(slot),
            Step::ShareRoot(directory) => mounts::move_to_root(directory).and_then(|()| self.adopt_root()),
            Step::EnterTime { proc, offsets } => time::enter(proc, offsets),
            Step::AdoptRoot => self.adopt_root(),
            Step::Attach { slot, target } => mounts::attach(self.root()?, self.slot(slot)?, target),
            Step::AttachEntry { slot, name, target } => {
                masks::attach_entry(self.root()?, self.slot(slot)?, name, target)
            }
            Step::TakeOver { slot, what } => copy_up::take_over(self.root()?, self.slot(slot)?, what),
            Step::Remount(change) => mounts::remount(self.root()?, change),
            Step::MakeDevice(device) => nodes::make_device(self.root()?, device),
            Step::MakeLink { entry, points_to, replace } => nodes::make_link(self.root()?, entry, points_to, replace),
            Step::AttachCgroups { slot, names, links, attributes } => {
                mounts::attach_cgroups(self.channel(), self.slot(slot)?, names, links, attributes)
            }
            Step::SetKernelSetting { slot, path, value } => set_kernel_setting(self.slot(slot)?, path, value),
            Step::MaskPath { slot, path } => masks::cover(self.root()?, self.slot(slot)?, path),
            Step::PutMaskAway { slot } => masks::put_away(self.slot(slot)?),
            Step::ProtectPath(path) => mounts::protect(self.root()?, path),
            Step::MakeDirectory(path) => mounts::make_directory(self.root()?, path),
            Step::SetRootAttributes(attributes) => sys::mount::set_attributes(self.root()?, attributes),
            Step::SetRootPropagation { kind, recursive } => mounts::set_propagation(self.root()?, kind, recursive),
            Step::NewSession => rustix::process::setsid().map(drop),
            Step::OpenTerminal(ref terminal) => self.open_terminal(terminal),
            Step::SetStreams(streams) => set_streams(streams),
            Step::ChangeDirectory(path) => self.change_directory(path),
            Step::SetLimit { resource, limit } => rustix::process::setrlimit(resource, limit),
            Step::SetFileModeMask(mask) => {
                rustix::process::umask(Mode::from_raw_mode(mask));
                Ok(())
            }
            Step::SetPersonality(personality) => sys::schedule::set_personality(personality),
            Step::SetMemoryPolicy { mode, nodes } => sys::schedule::set_memory_policy(mode, nodes),
            Step::SetProcessors(processors) => sys::schedule::set_affinity(processors),
            Step::SetLabel { proc, file, value } => set_label(proc, file, value),
            Step::SetCredentials(ref credentials) => credentials::assume(credentials),
            Step::ForbidNewPrivileges => rustix::thread::set_no_new_privs(true),
            Step::ReportSettled => channel::send(self.channel(), Message::Settled, None),
            Step::ReportReady => self.report_ready(),
            Step::FindProgram(ref wanted) => program::find(wanted),
            Step::AwaitStart => self.await_message(Message::Start),
            Step::AcceptStart(listener) => self.accept_start(listener),
            Step::CloseDescriptors(first) => sys::process::close_on_exec_from(first),
            Step::LoadFilter { program, flags, supervisor: None, mutes: false } => sys::seccomp::load(program, flags),
            Step::LoadFilter { program, flags, supervisor, .. } => {
                self.witness = supervised::load(program, flags, supervisor, self.channel(), number)?;
                Ok(())
            }
            Step::Supervise(ref credentials) => {
                // It would stay behind with PID 1, and the program's process never had it.
                if let Some(witness) = self.witness.take() {
                    witness.dismiss();
                }
                reaper::supervise(credentials)
            }
            Step::Execute(ref program) => Err(program::execute(program)),
        }
    }

    fn slot(&self, number: u8) -> Result<&OwnedFd> {
        self.slots.get(usize::from(number)).and_then(Option::as_ref).ok_or(Errno::BADF)
    }

    fn keep(&mut self, number: u8, mount: OwnedFd) -> Result<()> {
        *self.slots.get_mut(usize::from(number)).ok_or(Errno::BADF)? = Some(mount);
        Ok(())
    }

    fn root(&self) -> Result<BorrowedFd<'_>> {
        self.root.as_ref().map(AsFd::as_fd).ok_or(Errno::BADF)
    }

    fn change_root(&mut self, slot: u8) -> Result<()> {
        let root = self.slots.get_mut(usize::from(slot)).and_then(Option::take).ok_or(Errno::BADF)?;
        mounts::move_to_root(root.as_fd())?;
        self.root = Some(root);
        Ok(())
    }

    fn adopt_root(&mut self) -> Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.root = Some(rustix::fs::open(c"/", flags, Mode::empty())?);
        Ok(())
    }

    fn take_slot(&mut self, slot: u8) -> Result<OwnedFd> {
        self.slots.get_mut(usize::from(slot)).and_then(Option::take).ok_or(Errno::BADF)
    }

    fn enter_root(&mut self, slot: u8, pivot: bool) -> Result<()> {
        let root = self.take_slot(slot)?;
        if pivot {
            mounts::attach_over_host(&root)?;
            mounts::pivot(root.as_fd())?;
        } else {
            mounts::change_root(root.as_fd())?;
        }
        self.root = Some(root);
        Ok(())
    }

    fn open_root_point(&mut self, path: &CStr) -> Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.root_point = Some(rustix::fs::open(path, flags, Mode::empty())?);
        Ok(())
    }

    fn attach_root(&mut self, slot: u8) -> Result<()> {
        let root = self.take_slot(slot)?;
        mounts::attach_at(&root, self.root_point.take().ok_or(Errno::BADF)?)?;
        self.root = Some(root);
        Ok(())
    }

    fn enter_attached_root(&self, pivot: bool) -> Result<()> {
        if pivot { mounts::pivot(self.root()?) } else { mounts::change_root(self.root()?) }
    }

    fn receive_state(&mut self) -> Result<()> {
        match channel::receive(self.channel())? {
            Some((Message::State, Some(state))) => self.state = Some(state),
            Some(_) => return Err(Errno::BADMSG),
            None => return Err(Errno::OWNERDEAD),
        }
        Ok(())
    }

    fn channel(&self) -> BorrowedFd<'_> {
        self.starter.as_ref().map_or(self.parent, AsFd::as_fd)
    }

    /// A starter that was killed before it said its word was none. The others wait their turn, and then find the socket
    /// closed.
    fn accept_start(&mut self, listener: BorrowedFd<'_>) -> Result<()> {
        self.await_message(Message::Left)?;
        loop {
            let starter = match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                starter => starter?,
            };
            if matches!(channel::receive(&starter), Ok(Some((Message::Start, None)))) {
                self.starter = Some(starter);
                return Ok(());
            }
        }
    }

    fn await_message(&self, expected: Message) -> Result<()> {
        match channel::receive(self.channel())? {
            Some((message, None)) if message == expected => Ok(()),
            Some(_) => Err(Errno::BADMSG),
            None => Err(Errno::OWNERDEAD),
        }
    }

    fn open_terminal(&mut self, terminal: &crate::step::Terminal) -> Result<()> {
        let devpts = terminal.slot.map(|slot| self.slot(slot)).transpose()?;
        self.master = Some(terminal::open(self.root()?, devpts, terminal)?);
        Ok(())
    }

    /// Resolved inside the root, and looked at from the outcome too: a working directory outside the root was an
    /// escape (CVE-2024-21626).
    fn change_directory(&self, path: &CStr) -> Result<()> {
        let directory = inside::look_up_directory(self.root()?, path)?;
        rustix::process::fchdir(&directory)?;
        let mut buffer = [0; 4096];
        match sys::process::current_directory(&mut buffer) {
            Ok(place) if place.first() == Some(&b'/') => Ok(()),
            // Deeper than a path can say is still inside.
            Err(Errno::RANGE | Errno::NAMETOOLONG) => Ok(()),
            _ => Err(Errno::XDEV),
        }
    }

    fn report_ready(&mut self) -> Result<()> {
        let master = self.master.take();
        channel::send(self.channel(), Message::Ready, master.as_ref().map(AsFd::as_fd))
    }
}

/// v1 groups take the number of a thread, and "0" for the one that writes.
fn join_cgroups(files: &[BorrowedFd<'_>]) -> Result<()> {
    files.iter().try_for_each(|file| rustix::io::write(file, b"0").map(drop))
}

fn raise_loopback() -> Result<()> {
    let (family, kind) = (rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM);
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    sys::network::bring_up(socket.as_fd(), c"lo")
}

/// Through the host's proc file system, by descriptor: whatever the container has at `/proc` is not asked.
fn set_label(proc: BorrowedFd<'_>, file: &CStr, value: &CStr) -> Result<()> {
    let file = time::open_own(proc, file, OFlags::WRONLY)?;
    rustix::io::write(file, value.to_bytes()).map(drop)
}

/// Through the container's own proc file system, by descriptor, before anything else can be mounted over it.
fn set_kernel_setting(proc: &OwnedFd, path: &CStr, value: &[u8]) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let file = rustix::fs::openat2(proc, path, flags, Mode::empty(), resolve)?;
    rustix::io::write(file, value).map(drop)
}

/// Makes these the descriptors 0 to 2. Each is first moved out of the way of the others.
pub(crate) fn set_streams(streams: [BorrowedFd<'_>; 3]) -> Result<()> {
    let [input, output, error] = streams.map(|stream| rustix::io::fcntl_dupfd_cloexec(stream, 3));
    let (input, output, error) = (input?, output?, error?);
    rustix::stdio::dup2_stdin(input)?;
    rustix::stdio::dup2_stdout(output)?;
    rustix::stdio::dup2_stderr(error)
}
