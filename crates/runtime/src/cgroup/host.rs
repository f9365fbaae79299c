//! What this machine has: one cgroup v2 tree, or v1 hierarchies.
//!
//! ```text
//!   /sys/fs/cgroup is cgroup2                       -> v2: one tree, all controllers
//!   /sys/fs/cgroup is a tmpfs of mounts:            -> v1
//!       memory/ cpu/ cpuacct/ pids/ ...                  each controller mounted apart, or
//!       cpu,cpuacct/   cpu -> cpu,cpuacct                several in one hierarchy, with links for names
//!       unified/                                         perhaps a v2 tree beside them ("hybrid"): not used, because
//!                                                        it has none of the controllers that v1 took
//! ```
//! One statfs tells which. A v1 controller is found by its usual path: one stat, whose device number is that of the
//! hierarchy, so that controllers mounted together are seen to be one. Only a controller that is not at its usual path
//! costs a look into mountinfo.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

use failure::{Error, Result};
use rustix::fs::{Dir, FileType, Mode, OFlags};

use super::{Controller, file};

/// Where everybody mounts control groups.
pub(super) const ROOT: &str = "/sys/fs/cgroup";

const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;

/// Which of the two interfaces this machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// One v1 hierarchy and those of the wanted controllers that are in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// Where it is mounted.
    pub(super) root: String,
    pub(super) controllers: Vec<Controller>,
}

/// Which interface this machine has; asked once.
pub(super) fn version() -> Result<Version> {
    static VERSION: OnceLock<Option<Version>> = OnceLock::new();
    let found = VERSION.get_or_init(|| match rustix::fs::statfs(ROOT) {
        #[allow(clippy::unnecessary_cast, reason = "the type differs between architectures")]
        Ok(filesystem) if filesystem.f_type as u64 == CGROUP2_SUPER_MAGIC => Some(Version::V2),
        Ok(_) => Some(Version::V1),
        Err(_) => None,
    });
    found.ok_or_else(|| Error::unsupported(format!("no control groups at `{ROOT}`; mount them first")))
}

/// The kernel's version, as far as it says what limits there are.
pub(super) fn kernel() -> (u32, u32) {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map_while(|number| number.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// The v1 hierarchies that hold these controllers, in their order. Controllers that are nowhere are left out.
pub(super) fn hierarchies(wanted: &[Controller]) -> Vec<Hierarchy> {
    let outside = device(ROOT);
    let located = wanted.iter().filter_map(|controller| {
        let usual = format!("{ROOT}/{}", controller.name());
        match device(&usual) {
            Some(device) if Some(device) != outside => Some((*controller, usual, device)),
            _ => {
                let root = mounted_elsewhere(*controller)?;
                let device = device(&root)?;
                Some((*controller, root, device))
            }
        }
    });
    group(located)
}

/// The names of the directories in a group: its child groups. A group that is gone has none.
pub(super) fn children(directory: &str) -> Vec<String> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(directory, flags, Mode::empty()).map(|opened| children_of(opened.as_fd())).unwrap_or_default()
}

/// As [`children`], of an open directory.
pub(super) fn children_of(directory: BorrowedFd<'_>) -> Vec<String> {
    let Ok(entries) = Dir::read_from(directory) else { return Vec::new() };
    entries
        .filter_map(std::result::Result::ok)
        .filter(|entry| entry.file_type() == FileType::Directory)
        .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned))
        .filter(|name| name != "." && name != "..")
        .collect()
}

/// Puts controllers of the same device together.
fn group(located: impl Iterator<Item = (Controller, String, u64)>) -> Vec<Hierarchy> {
    let mut found: Vec<(u64, Hierarchy)> = Vec::new();
    for (controller, root, device) in located {
        match found.iter_mut().find(|(known, _)| *known == device) {
            Some((_, hierarchy)) => hierarchy.controllers.push(controller),
            None => found.push((device, Hierarchy { root, controllers: vec![controller] })),
        }
    }
    found.into_iter().map(|(_, hierarchy)| hierarchy).collect()
}

fn device(path: &str) -> Option<u64> {
    rustix::fs::stat(path).ok().map(|found| found.st_dev)
}

/// Where mountinfo says that a controller is, which some systems mount under other names.
fn mounted_elsewhere(controller: Controller) -> Option<String> {
    find_mount(mounts(), controller.label()).map(|(_, point)| point)
}

/// A process's group from `/proc/<pid>/cgroup` by the label of its hierarchy; v2's label is empty. A group outside of
/// this process's cgroup namespace is none.
pub(super) fn own_group<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let group = text.lines().find_map(|line| {
        let (number, rest) = line.split_once(':')?;
        let (labels, group) = rest.split_once(':')?;
        let found = if label.is_empty() { number == "0" } else { labels.split(',').any(|known| known == label) };
        found.then_some(group)
    })?;
    (!group.starts_with("/..")).then_some(group)
}

/// A group as a path below the mount point of its hierarchy: in a container, a part of the hierarchy may be mounted alone.
pub(super) fn group_below_mount(controller: Controller, group: &str) -> String {
    let mounted = find_mount(mounts(), controller.label());
    let root = mounted.as_ref().map_or("/", |(root, _)| root.as_str());
    match group.strip_prefix(root) {
        Some(rest) if root != "/" && (rest.is_empty() || rest.starts_with('/')) => {
            if rest.is_empty() {
                "/".to_owned()
            } else {
                rest.to_owned()
            }
        }
        _ => group.to_owned(),
    }
}

fn mounts() -> &'static str {
    static MOUNTS: OnceLock<String> = OnceLock::new();
    MOUNTS.get_or_init(|| file::read("/proc/self/mountinfo").unwrap_or_default())
}

/// `36 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer`: the root and the point, if the super
/// options name the controller. Points with escaped characters are left out.
fn find_mount(mountinfo: &str, controller: &str) -> Option<(String, String)> {
    mountinfo.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut filesystem = filesystem.split(' ');
        if filesystem.next()? != "cgroup" || !filesystem.nth(1)?.split(',').any(|option| option == controller) {
            return None;
        }
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (!point.contains('\\')).then(|| (root.to_owned(), point.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_of_one_device_are_one_hierarchy() {
        let located = [
            (Controller::Memory, "/sys/fs/cgroup/memory".to_owned(), 7),
            (Controller::Cpu, "/sys/fs/cgroup/cpu".to_owned(), 8),
            (Controller::Cpuacct, "/sys/fs/cgroup/cpuacct".to_owned(), 8),
        ];
        let grouped = group(located.into_iter());
        assert_eq!(grouped.len(), 2);
        assert_eq!(grouped[1].controllers, [Controller::Cpu, Controller::Cpuacct]);
        assert_eq!(grouped[1].root, "/sys/fs/cgroup/cpu");
    }

    #[test]
    fn a_controller_is_found_in_mountinfo() {
        let text = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
            32 31 0:29 / /cg/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        assert_eq!(find_mount(text, "cpuacct"), Some(("/".into(), "/cg/cpu,cpuacct".into())));
        assert_eq!(find_mount(text, "memory"), None);
    }

    #[test]
    fn the_own_group_is_found_by_its_label() {
        let text = "9:name=systemd:/init\n4:cpu,cpuacct:/a/b\n3:pids:/../x\n0::/user.slice/session.scope\n";
        assert_eq!(own_group(text, "cpuacct"), Some("/a/b"));
        assert_eq!(own_group(text, "name=systemd"), Some("/init"));
        assert_eq!(own_group(text, ""), Some("/user.slice/session.scope"));
        assert_eq!((own_group(text, "pids"), own_group(text, "memory")), (None, None));
    }
}
