//! `checkpoint`: a container's processes into files.
//!
//! ```text
//!   lock, status, configuration, what is external       nothing is made yet
//!   directory of images                                 left as it is if CRIU refuses; the processes go on
//!   CRIU: freeze, dump, kill                            --leave-running, --pre-dump: thaw instead
//!   control group, state directory away                 unless the container runs on
//! ```

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use failure::{Error, Kind, Result};

use super::external;
use super::message::Message;
use super::options::{self, DUMP_LOG, Options};
use super::service::{self, Request, Service};
use super::{descriptors, image};
use crate::command::Command;
use crate::container::{Container, Status};
use crate::flags::{Flag, Order, Words};
use crate::global::Global;
use crate::{bundle, destroy};

pub(crate) static COMMAND: Command = Command {
    name: "checkpoint",
    about: "checkpoint a running container",
    usage: "<container-id>",
    description: "Writes the processes of a container into files, by CRIU, and removes the container unless it is to run on.",
    flags: &[
        options::IMAGE_PATH,
        options::WORK_PATH,
        Flag::value(&["parent-path"], "path for previous checkpoint images (see --pre-dump), relative to --image-path"),
        Flag::plain(&["leave-running"], "leave the process running after checkpointing"),
        options::TCP_ESTABLISHED,
        Flag::plain(&["tcp-skip-in-flight"], "skip in-flight TCP connections"),
        options::EXT_UNIX_SK,
        options::SHELL_JOB,
        options::LAZY_PAGES,
        Flag::value(&["status-fd"], "criu writes \\0 to this descriptor once lazy-pages is ready"),
        Flag::value(&["page-server"], "ADDRESS:PORT of the page server"),
        options::FILE_LOCKS,
        Flag::plain(&["pre-dump"], "dump the container's memory only, and leave it running"),
        options::MANAGE_CGROUPS,
        options::EMPTY_NS,
        options::AUTO_DEDUP,
    ],
    order: Order::Mixed,
    words: (1, 1),
    run,
};

fn run(global: &Global, words: &Words) -> Result<u8> {
    let options = Options::read(words)?;
    let only = Only::read(words)?;
    let container = Container::find_and_lock(global, &words.rest[0])?;
    let status = container.status();
    if !matches!(status, Status::Running | Status::Paused) {
        return Err(Error::conflict(format!("Container cannot be checkpointed in {} state", status.name())));
    }
    let images = image::make(&options.images)?;
    let work = options.work.as_deref().map_or_else(|| image::open(&options.images), image::make)?;
    let mut message = options.message(&images, &work, DUMP_LOG)?;
    let streams = describe(&container, &mut message)?;
    only.tell(&mut message);
    descriptors::keep(&streams, &images)?;
    let request = if only.memory { Request::PreDump } else { Request::Dump };
    let asked = Service::start(&global.criu)?.ask(request, &message, |_| Ok(()));
    asked.map_err(|failed| refused(&container, failed, &work, options.work.as_ref().unwrap_or(&options.images)))?;
    if !only.runs_on {
        destroy::kill(&container)?;
        destroy::destroy(global, container)?;
    }
    Ok(0)
}

/// Tells CRIU of the container; the keys of its streams.
fn describe(container: &Container, message: &mut Message) -> Result<Vec<String>> {
    let record = container.record()?;
    let pid = record.process.pid;
    let text = container.directory.read_config()?;
    let spec = bundle::parse(&text.ok_or_else(|| Error::internal("the container's config.json is gone"))?)?;
    let joined = external::namespaces(&spec)?;
    let group = container.cgroup()?;
    message.number(2, u64::try_from(pid).unwrap_or_default()).bytes(13, record.rootfs.as_bytes());
    external::leave_out(&external::mounts(&spec, Path::new(&record.bundle), &group)?, pid, message)?;
    external::leave_out_namespaces(&joined, pid, message)?;
    // Of v1's other hierarchies the processes are in the root: CRIU would go through the groups of everybody.
    for (controller, _) in group.directories().iter().filter(|(name, _)| !name.is_empty()) {
        message.bytes(43, controller.as_bytes());
    }
    if let Some((_, freezer)) = group.directories().iter().find(|(name, _)| matches!(*name, "" | "freezer")) {
        message.bytes(44, freezer.as_bytes());
    }
    // A terminal's master is held outside.
    message.flag(50, true);
    let streams = descriptors::read(pid)?;
    descriptors::tell(&streams, message);
    Ok(streams)
}

fn refused(container: &Container, failed: Error, work: &OwnedFd, path: &Path) -> Error {
    let id = container.id();
    let log = path.join(DUMP_LOG);
    match service::reason(work.as_fd(), DUMP_LOG) {
        Some(reason) => Error::new(
            Kind::Internal,
            format!("criu cannot checkpoint container `{id}`, which goes on: {reason}; its log is `{}`", log.display()),
        ),
        None => Error::new(failed.kind(), format!("cannot checkpoint container `{id}`")).with_source(failed),
    }
}

/// What only this command is told.
struct Only {
    memory: bool,
    runs_on: bool,
    skip_in_flight: bool,
    parent: Option<String>,
    status: Option<u32>,
    page_server: Option<(String, u16)>,
}

impl Only {
    fn read(words: &Words) -> Result<Self> {
        let memory = words.has("pre-dump");
        let page_server = words.value("page-server").filter(|text| !text.is_empty()).map(server).transpose()?;
        if words.has("lazy-pages") && page_server.is_none() {
            return Err(Error::invalid("--lazy-pages needs a --page-server to send the pages to"));
        }
        let parent = words.value("parent-path").filter(|path| !path.is_empty()).map(str::to_owned);
        if parent.as_ref().is_some_and(|path| Path::new(path).is_absolute()) {
            return Err(Error::invalid("--parent-path must be relative to --image-path"));
        }
        Ok(Self {
            memory,
            runs_on: memory || words.has("leave-running"),
            skip_in_flight: words.has("tcp-skip-in-flight"),
            parent,
            status: words.number("status-fd")?.filter(|number| *number > 2),
            page_server,
        })
    }

    fn tell(&self, message: &mut Message) {
        // Memory is tracked from one dump to the next.
        message.flag(3, self.runs_on).flag(15, self.memory || self.parent.is_some()).flag(46, self.skip_in_flight);
        if let Some(parent) = &self.parent {
            message.bytes(14, parent.as_bytes());
        }
        if let Some(status) = self.status {
            message.number(49, u64::from(status));
        }
        if let Some((address, port)) = &self.page_server {
            let mut server = Message::default();
            server.bytes(1, address.as_bytes()).number(2, u64::from(*port));
            message.part(11, &server);
        }
    }
}

fn server(text: &str) -> Result<(String, u16)> {
    let parts = text.rsplit_once(':').filter(|(address, _)| !address.is_empty());
    let parsed = parts.and_then(|(address, port)| {
        Some((address.trim_start_matches('[').trim_end_matches(']').to_owned(), port.parse().ok()?))
    });
    parsed.ok_or_else(|| Error::invalid("use --page-server ADDRESS:PORT to specify the page server"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_servers_have_an_address_and_a_port() {
        assert_eq!(server("10.0.0.1:27").unwrap(), ("10.0.0.1".to_owned(), 27));
        assert_eq!(server("[::1]:27").unwrap(), ("::1".to_owned(), 27));
        for wrong in ["10.0.0.1", ":27", "a:b", "a:70000"] {
            assert!(server(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let read = |words: &[&str]| {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            Only::read(&Words::parse(COMMAND.flags, Order::Mixed, words).unwrap())
        };
        assert!(read(&["--lazy-pages", "x"]).is_err());
        assert!(read(&["--parent-path", "/abs", "x"]).is_err());
        let only = read(&["--pre-dump", "--parent-path=../a", "x"]).unwrap();
        assert!(only.memory && only.runs_on);
    }
}
