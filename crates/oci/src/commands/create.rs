//! `create`: a container that waits for its `start`.
//!
//! Its process is made whole, up to its program, and left waiting on a socket in the state directory; see [`crate::make`].

use failure::Result;

use crate::command::Command;
use crate::flags::{Flag, Order, Words};
use crate::global::Global;
use crate::make::{self, Way};

pub(crate) static COMMAND: Command = Command {
    name: "create",
    about: "create a container",
    usage: "<container-id>",
    description: "Creates a container from a bundle: a directory with a specification named \"config.json\" and, usually,\n\
                  a root file system. Its process waits just before its program until `start`.",
    flags: &[BUNDLE, CONSOLE_SOCKET, PID_FILE, NO_PIVOT, NO_NEW_KEYRING, PRESERVE_FDS],
    order: Order::Mixed,
    words: (1, 1),
    run,
};

pub(crate) const BUNDLE: Flag =
    Flag::value(&["bundle", "b"], "path to the root of the bundle directory, defaults to the current directory");
pub(crate) const CONSOLE_SOCKET: Flag = Flag::value(
    &["console-socket"],
    "path to an AF_UNIX socket which will receive a descriptor of the master end of the console's pseudoterminal",
);
pub(crate) const PID_FILE: Flag = Flag::value(&["pid-file"], "specify the file to write the process id to");
pub(crate) const NO_PIVOT: Flag = Flag::plain(
    &["no-pivot"],
    "do not use pivot_root to enter the root file system; only for a host whose own root is a ramdisk",
);
pub(crate) const NO_NEW_KEYRING: Flag =
    Flag::plain(&["no-new-keyring"], "do not create a new session keyring for the container; it inherits the caller's");
pub(crate) const PRESERVE_FDS: Flag =
    Flag::value(&["preserve-fds"], "pass N additional descriptors to the container (stdio + $LISTEN_FDS + N in total)");

fn run(global: &Global, words: &Words) -> Result<u8> {
    make::make(global, words, Way::Create)?;
    Ok(0)
}
