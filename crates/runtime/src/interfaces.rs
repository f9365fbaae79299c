//! Network interfaces that move from the host's network namespace into the container's, with their addresses.
//!
//! ```text
//!   here                                  in the container's namespace
//!   its permanent, global addresses
//!   move, with the new name ------------>  down, without addresses
//!                                          the addresses again; up
//! ```
//! Nothing brings it back: when the namespace ends, the kernel returns what is hardware, and removes what is virtual.

mod netlink;

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use failure::{Context as _, Error, Result};
use oci_spec::runtime::Linux;
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::LinkNameSpaceType;

use netlink::Netlink;

/// The kernel's limit on names, without the zero.
const LONGEST_NAME: usize = 15;

/// An interface to move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    /// Its name on the host.
    pub(crate) name: String,
    /// Its name in the container; with `%d` the kernel finds a number.
    pub(crate) inside: String,
}

/// The interfaces of a specification, which must be there. `own`: the container has a network namespace of its own.
pub(crate) fn read(linux: &Linux, own: bool) -> Result<Vec<Interface>> {
    let mut interfaces = Vec::new();
    for (name, device) in linux.net_devices().iter().flatten() {
        let inside = device.name().as_deref().filter(|inside| !inside.is_empty()).unwrap_or(name);
        check_name(name, false)?;
        check_name(inside, true)?;
        index_of(name)?;
        interfaces.push(Interface { name: name.clone(), inside: inside.to_owned() });
    }
    if !interfaces.is_empty() && !own {
        return Err(Error::invalid(
            "`linux.netDevices` need a network namespace of the container's own; add `network`",
        ));
    }
    interfaces.sort_by(|first, second| first.name.cmp(&second.name));
    let mut inside: Vec<_> = interfaces.iter().map(|interface| &interface.inside).collect();
    inside.sort();
    match inside.windows(2).find(|pair| pair.first() == pair.last() && pair.iter().all(|name| !name.contains('%'))) {
        Some(pair) => Err(Error::invalid(format!(
            "two network devices are to have the name `{}`",
            pair.first().map_or("", |name| name)
        ))),
        None => Ok(interfaces),
    }
}

/// What the kernel takes for a name.
fn check_name(name: &str, template: bool) -> Result<()> {
    let refuse = |reason: &str| Err(Error::invalid(format!("`{name}` is no name of a network device: {reason}")));
    if name.is_empty() || name.len() > LONGEST_NAME {
        return refuse("it has 1 to 15 bytes");
    }
    if name == "."
        || name == ".."
        || name == "lo"
        || name.bytes().any(|byte| b"/:\0".contains(&byte) || byte.is_ascii_whitespace())
    {
        return refuse("it is `lo`, or holds a blank, a slash or a colon");
    }
    match name.matches('%').count() {
        0 => Ok(()),
        1 if template && name.ends_with("%d") => Ok(()),
        _ => refuse("`%` is for `%d` at the end of a new name"),
    }
}

/// The number of an interface in this process's network namespace.
fn index_of(name: &str) -> Result<u32> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .context("cannot open a socket")?;
    rustix::net::netdevice::name_to_index(&socket, name)
        .with_context(|| format!("the network device `{name}` cannot be moved"))
}

/// Moves the interfaces into a network namespace.
pub(crate) fn give_to(interfaces: &[Interface], namespace: BorrowedFd<'_>) -> Result<()> {
    if interfaces.is_empty() {
        return Ok(());
    }
    let here = Netlink::open().context("cannot open a netlink socket")?;
    let there = visit(namespace, || Netlink::open().context("cannot open a netlink socket"))?;
    for interface in interfaces {
        give(interface, &here, &there, namespace).with_context(|| {
            format!("cannot move the network device `{}` into the container as `{}`", interface.name, interface.inside)
        })?;
    }
    Ok(())
}

fn give(interface: &Interface, here: &Netlink, there: &Netlink, namespace: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let index = here.index_of(&interface.name)?;
    let addresses = here.addresses(index)?;
    let template = interface.inside.contains('%');
    // The kernel looks only after the move, when there is no way back.
    if !template && there.index_of(&interface.inside).is_ok() {
        return Err(rustix::io::Errno::EXIST);
    }
    let before = there.indices()?;
    here.move_link(index, namespace, &interface.inside)?;
    // A number that is taken there becomes another one, and `%d` another name.
    let moved = if template {
        let after = there.indices()?;
        after.into_iter().find(|index| !before.contains(index)).ok_or(rustix::io::Errno::NODEV)?
    } else {
        there.index_of(&interface.inside)?
    };
    for address in &addresses {
        there.add_address(moved, address)?;
    }
    there.set_up(moved)
}

/// Does something in another network namespace.
fn visit<T>(namespace: BorrowedFd<'_>, action: impl FnOnce() -> Result<T>) -> Result<T> {
    let kind = Some(LinkNameSpaceType::Network);
    let home = open_own_namespace()?;
    rustix::thread::move_into_link_name_space(namespace, kind)
        .context("cannot visit the container's network namespace")?;
    let done = action();
    rustix::thread::move_into_link_name_space(home.as_fd(), kind)
        .context("cannot come back from the container's network namespace")?;
    done
}

/// Of the thread: it is that which moves.
fn open_own_namespace() -> Result<OwnedFd> {
    rustix::fs::open("/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .context("cannot open this process's net namespace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_kernel_takes() {
        for wrong in ["", "0123456789abcdef", "a b", "a/b", "a:b", "lo", ".", "..", "a%d", "%s"] {
            assert!(check_name(wrong, false).is_err(), "{wrong}");
        }
        for wrong in ["a%", "%d%d", "a%db", "%s"] {
            assert!(check_name(wrong, true).is_err(), "{wrong}");
        }
        assert!(check_name("eth%d", true).is_ok() && check_name("container_eth0", true).is_ok());
    }
}
