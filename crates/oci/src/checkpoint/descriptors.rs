//! Standard streams: they were made outside the container, and are given anew when it is restored.
//!
//! ```text
//!   checkpoint   /proc/PID/fd/{0,1,2} --> keys, kept in the checkpoint as descriptors.json (runc's name and form)
//!                  "pipe:[17]"            a pipe: CRIU knows it as one whose other end is missing
//!                  "file[1c:4]"           a file in a mount that the container has not: told to CRIU as external
//!                  ""                     the container's own, such as its terminal
//!   restore      each key --> our own stream of that number
//! ```
//! The kept keys are somebody's input: what is not exactly of these forms counts for nothing, and a key leads to nothing but
//! the streams of whoever restores.

use std::fs;
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use failure::{Context as _, Error, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::fcntl_dupfd_cloexec;

use super::message::Message;
use super::options::descriptor;

const NAME: &str = "descriptors.json";
const STREAMS: usize = 3;
/// Above what CRIU's own standard streams and the service's socket take.
const FIRST: i32 = 32;
const LONGEST: u64 = 4096;

/// The keys of a process's streams.
pub(super) fn read(pid: i32) -> Result<Vec<String>> {
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).context("cannot read the container's mounts")?;
    let own = |mount: &str| mounts.lines().any(|line| line.split(' ').next() == Some(mount));
    Ok((0..STREAMS).map(|number| key(pid, number, own).unwrap_or_default()).collect())
}

fn key(pid: i32, number: usize, own: impl Fn(&str) -> bool) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let path = format!("/proc/{pid}/fd/{number}");
    let target = fs::read_link(&path).ok()?.to_string_lossy().into_owned();
    if target.starts_with("pipe:") {
        return Some(target);
    }
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
    let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().to_owned();
    if own(&mount) || !target.starts_with('/') {
        return None;
    }
    let inode = fs::metadata(&path).ok()?.ino();
    Some(format!("file[{:x}:{inode:x}]", mount.parse::<u32>().ok()?))
}

/// The files among them are told to CRIU.
pub(super) fn tell(keys: &[String], message: &mut Message) {
    for key in keys.iter().filter(|key| key.starts_with("file[")) {
        message.bytes(37, key.as_bytes());
    }
}

/// Keeps the keys in the checkpoint.
pub(super) fn keep(keys: &[String], images: &OwnedFd) -> Result<()> {
    let text = serde_json::to_vec(keys).map_err(|wrong| Error::internal(wrong.to_string()))?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(images, NAME, flags, Mode::from_raw_mode(0o600));
    let failed = || format!("cannot write `{NAME}`");
    std::io::Write::write_all(&mut fs::File::from(file.with_context(failed)?), &text).with_context(failed)
}

/// The keys of a checkpoint.
pub(super) fn kept(images: BorrowedFd<'_>) -> Result<Vec<String>> {
    let failed = || format!("cannot read `{NAME}` of the checkpoint");
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(images, NAME, flags, Mode::empty()).with_context(failed)?;
    let mut text = Vec::new();
    fs::File::from(file).take(LONGEST).read_to_end(&mut text).with_context(failed)?;
    parse(&text)
}

fn parse(text: &[u8]) -> Result<Vec<String>> {
    let wrong = || Error::invalid(format!("`{NAME}` of the checkpoint does not name the keys of three streams"));
    let keys: Vec<String> = serde_json::from_slice(text).map_err(|_| wrong())?;
    (keys.len() <= STREAMS).then_some(keys).ok_or_else(wrong)
}

/// Anything else, such as the path of a terminal, is the container's own.
fn is_key(key: &str) -> bool {
    let within = |start: &str| key.strip_prefix(start).and_then(|rest| rest.strip_suffix(']'));
    let hexadecimal = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match (within("pipe:["), within("file[")) {
        (Some(inode), _) => !inode.is_empty() && inode.bytes().all(|byte| byte.is_ascii_digit()),
        (_, Some(file)) => file.split_once(':').is_some_and(|(mount, inode)| hexadecimal(mount) && hexadecimal(inode)),
        _ => false,
    }
}

/// Whether our own streams can take the places of the keys: CRIU sets the position in what was a file.
pub(super) fn check(keys: &[String]) -> Result<()> {
    let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let streams = [("input", input.as_fd()), ("output", output.as_fd()), ("error", error.as_fd())];
    for (key, (name, stream)) in keys.iter().zip(streams) {
        if key.starts_with("file[") && rustix::fs::tell(stream).is_err() {
            return Err(Error::invalid(format!(
                "the standard {name} was a file at the checkpoint, and is none now; redirect it to a file"
            )));
        }
    }
    Ok(())
}

/// Hands our own streams to CRIU for the keys; what is returned must live until it was started.
pub(super) fn inherit(keys: &[String], message: &mut Message) -> Result<Vec<OwnedFd>> {
    let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let streams = [input.as_fd(), output.as_fd(), error.as_fd()];
    let mut held = Vec::new();
    for (key, stream) in keys.iter().zip(streams).filter(|(key, _)| is_key(key)) {
        let copy = fcntl_dupfd_cloexec(stream, FIRST).context("cannot pass on a standard stream")?;
        held.push(give(key, copy, message)?);
    }
    Ok(held)
}

/// A descriptor that takes the place of what the key names.
pub(super) fn give(key: &str, file: OwnedFd, message: &mut Message) -> Result<OwnedFd> {
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).context("cannot pass on a descriptor")?;
    let mut part = Message::default();
    part.bytes(1, key.as_bytes()).number(2, descriptor(&file)?);
    message.part(27, &part);
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_of_two_forms_and_nothing_else_counts() {
        for (key, good) in [
            ("pipe:[17]", true),
            ("file[1c:4f]", true),
            ("", false),
            ("/dev/pts/0", false),
            ("net[1]:extRootNetNS", false),
            ("extRootNetNS", false),
            ("pipe:[1", false),
            ("pipe:[]", false),
            ("file[x:1]", false),
            ("file[1]", false),
        ] {
            assert_eq!(is_key(key), good, "{key}");
        }
        assert!(parse(br#"["","","",""]"#).is_err() && parse(b"{}").is_err());
    }

    #[test]
    fn the_keys_of_a_process_are_one_for_each_stream() {
        assert_eq!(read(std::process::id() as i32).unwrap().len(), STREAMS);
    }
}
