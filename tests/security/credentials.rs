//! Who a process is: the whole matrix of users, privileges and namespaces, read back from `/proc/self/status`.
//!
//! What is expected is computed here from the flags alone, by Docker's rules, and not asked of the engine:
//! a bounding set from the flags; permitted and effective the same for root and empty for others; inheritable and
//! ambient always empty (CVE-2022-24769); ids and groups from the image's files; the filter unless privileged.

use crate::harness::{IMAGE, Skep, process_status};
use std::collections::BTreeMap;

const DOCKER: u64 = 0xa804_25fb;
const NET_BIND_SERVICE: u64 = 1 << 10;
const SYS_ADMIN: u64 = 1 << 21;

/// `-u`, and what it means in the image: uid, gid, all groups.
const USERS: [(&str, u32, u32, &[u32]); 6] = [
    ("", 0, 0, &[0]),
    ("bee", 1000, 1000, &[1000, 2000]),
    ("1000", 1000, 1000, &[1000, 2000]),
    ("bee:honey", 1000, 2000, &[2000]),
    ("0:2000", 0, 2000, &[2000]),
    ("4711", 4711, 0, &[0]),
];

struct Privilege {
    flags: &'static [&'static str],
    bounding: fn(u64) -> u64,
    filtered: bool,
    host_ids: bool,
}

const PRIVILEGES: [Privilege; 6] = [
    Privilege { flags: &[], bounding: |_| DOCKER, filtered: true, host_ids: false },
    Privilege { flags: &["--cap-drop", "ALL"], bounding: |_| 0, filtered: true, host_ids: false },
    Privilege {
        flags: &["--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE"],
        bounding: |_| NET_BIND_SERVICE,
        filtered: true,
        host_ids: false,
    },
    Privilege { flags: &["--cap-add", "SYS_ADMIN"], bounding: |_| DOCKER | SYS_ADMIN, filtered: true, host_ids: false },
    Privilege { flags: &["--cap-add", "ALL"], bounding: |all| all, filtered: true, host_ids: false },
    Privilege { flags: &["--privileged"], bounding: |all| all, filtered: false, host_ids: true },
];

/// What the kernel says of a process.
struct Status(BTreeMap<String, String>);

impl Status {
    fn parse(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        Self(lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    }

    fn set(&self, name: &str) -> u64 {
        u64::from_str_radix(&self.0[name], 16).unwrap()
    }

    fn ids(&self, name: &str) -> Vec<u32> {
        self.0[name].split_whitespace().map(|id| id.parse().unwrap()).collect()
    }

    #[track_caller]
    fn assert(&self, user: (u32, u32, &[u32]), bounding: u64, filtered: bool, no_new_privileges: bool, of: &str) {
        let (uid, gid, groups) = user;
        let held = if uid == 0 { bounding } else { 0 };
        let sets = ["CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"].map(|name| self.set(name));
        assert_eq!(sets, [bounding, held, held, 0, 0], "{of}: {:?}", self.0);
        assert_eq!((self.ids("Uid"), self.ids("Gid")), (vec![uid; 4], vec![gid; 4]), "{of}");
        let (mut seen, mut wanted) = (self.ids("Groups"), groups.to_vec());
        seen.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(seen, wanted, "{of}: supplementary groups");
        assert_eq!(self.0["Seccomp"], if filtered { "2" } else { "0" }, "{of}");
        assert_eq!(self.0["NoNewPrivs"], if no_new_privileges { "1" } else { "0" }, "{of}");
    }
}

/// All that there are: with ids of its own a container begins with every capability over what is its own, with the
/// host's with those that this machine leaves to its root.
fn all(host_ids: bool) -> u64 {
    let own = u64::from_str_radix(&process_status(std::process::id() as i32, "CapBnd"), 16).unwrap();
    let last: u32 = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap().trim().parse().unwrap();
    if host_ids { own } else { (1 << (last + 1)) - 1 }
}

#[test]
fn the_matrix_of_run() {
    let skep = Skep::with_image();
    let mut cells = 0;
    for (number, privilege) in PRIVILEGES.iter().enumerate() {
        for (column, (user, uid, gid, groups)) in USERS.iter().enumerate() {
            let host = (number + column) % 2 == 0;
            let no_new_privileges = (number + column / 2) % 2 == 0;
            let mut words = vec!["run", "--rm"];
            words.extend(privilege.flags);
            words.extend(["-u", *user].into_iter().filter(|_| !user.is_empty()));
            words.extend(if host { &["--userns", "host"][..] } else { &[] });
            words.extend(if no_new_privileges { &["--security-opt", "no-new-privileges"][..] } else { &[] });
            let of = words.join(" ");
            words.extend([IMAGE, "cat", "/proc/self/status", "/proc/self/uid_map"]);
            let output = skep.ok(words);
            let status = Status::parse(&output);
            let all = all(host || privilege.host_ids);
            let bounding = (privilege.bounding)(all) & all;
            status.assert((*uid, *gid, groups), bounding, privilege.filtered, no_new_privileges, &of);
            let map: Vec<_> = output.lines().last().unwrap().split_whitespace().collect();
            assert_eq!(map[1] == "0", host || privilege.host_ids, "{of}: {map:?}");
            cells += 1;
        }
    }
    println!("cells: {cells}");
}

#[test]
fn the_matrix_of_exec() {
    let skep = Skep::with_image();
    let mut cells = 0;
    for privilege in &PRIVILEGES {
        let all = all(privilege.host_ids);
        let id = skep.sleeper(&[privilege.flags, &["-u", "bee"]].concat());
        for (user, uid, gid, groups) in &USERS {
            for raised in [false, true] {
                let mut words = vec!["exec"];
                words.extend(if raised { &["--privileged"][..] } else { &[] });
                // Without `-u` it is the container's user.
                words.extend(["-u", if user.is_empty() { "root" } else { *user }]);
                let of = format!("{} in {:?}", words.join(" "), privilege.flags);
                words.extend([&id, "cat", "/proc/self/status"]);
                let status = Status::parse(&skep.ok(words));
                let bounding = if raised { all } else { (privilege.bounding)(all) & all };
                // A process that is let out of the filter is so by the container's flags, not by exec's.
                status.assert((*uid, *gid, groups), bounding, status.0["Seccomp"] == "2", false, &of);
                assert!(raised || (status.0["Seccomp"] == "2") == privilege.filtered, "{of}");
                cells += 1;
            }
        }
        let own = Status::parse(&skep.ok(["exec", &id, "cat", "/proc/self/status"]));
        let bounding = (privilege.bounding)(all) & all;
        own.assert((1000, 1000, &[1000, 2000]), bounding, privilege.filtered, false, "exec without a user");
        skep.ok(["rm", "-f", &id]);
    }
    println!("cells: {cells}");
}

/// A group that denies something must not be lost on the way (CVE-2022-2989), nor another one be gained.
#[test]
fn groups_that_deny_are_kept() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&[]);
    skep.ok(["exec", &id, "sh", "-c", "echo secret > /tmp/f; chown 0:honey /tmp/f; chmod 604 /tmp/f"]);
    assert_eq!(skep.run(["exec", "-u", "4711", &id, "head", "-n", "1", "/tmp/f"]).stdout, "secret\n");
    assert_ne!(skep.run(["exec", "-u", "bee", &id, "head", "-n", "1", "/tmp/f"]).stdout, "secret\n", "bee is in honey");
}
