//! Which system calls are effects, and how each may plausibly fail.
//!
//! An effect is a call that changes something others can see (a file, a mount, a process, a cgroup, a socket, a lock)
//! or the caller's own powers. The filter stops every call of the table; some are effects only with certain arguments,
//! which is looked at afterwards: an `openat` that creates or writes, a `write` into a file rather than a pipe, an
//! `ioctl` that changes a terminal or an interface.

use rustix::io::Errno;

/// One kind of call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) number: libc::c_long,
    pub(crate) name: &'static str,
    /// None: the kernel has no way to say that this failed, so that it is only a moment to be killed at.
    pub(crate) errno: Option<Errno>,
    /// The argument that is a path, for the report.
    pub(crate) path: Option<usize>,
    pub(crate) when: When,
}

/// When a call is an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Always,
    /// The argument with this number has a flag to write or to create.
    FlagsSay(usize),
    /// The structure behind the third argument has such a flag (`openat2`).
    HowSays,
    /// The first argument is a descriptor of a file, not of a pipe, a socket or a device.
    IntoFile,
    /// The argument with this number is given (`prlimit64` with a new limit; only looking never fails).
    Given(usize),
    /// The second argument is one of these requests.
    Requests(&'static [u64]),
}

/// The flags of an open that make it an effect.
pub(crate) const WRITES: u64 = (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC) as u64;

/// The row of a call.
pub(crate) fn find(number: i32) -> Option<&'static Call> {
    CALLS.iter().find(|call| call.number == libc::c_long::from(number))
}

const fn call(number: libc::c_long, name: &'static str, errno: Errno) -> Call {
    Call { number, name, errno: Some(errno), path: None, when: When::Always }
}

const fn at(number: libc::c_long, name: &'static str, errno: Errno, path: usize) -> Call {
    Call { number, name, errno: Some(errno), path: Some(path), when: When::Always }
}

const fn never_fails(number: libc::c_long, name: &'static str) -> Call {
    Call { number, name, errno: None, path: None, when: When::Always }
}

const TERMINALS_AND_INTERFACES: &[u64] =
    &[libc::TIOCSCTTY, libc::TIOCSWINSZ, libc::TIOCSPTLCK, libc::TIOCGPTPEER, libc::SIOCSIFFLAGS];

/// All of them, the more frequent first.
pub(crate) static CALLS: &[Call] = &[
    Call {
        number: libc::SYS_openat,
        name: "openat",
        errno: Some(Errno::NOSPC),
        path: Some(1),
        when: When::FlagsSay(2),
    },
    Call { number: libc::SYS_openat2, name: "openat2", errno: Some(Errno::NOSPC), path: Some(1), when: When::HowSays },
    Call { number: libc::SYS_write, name: "write", errno: Some(Errno::NOSPC), path: None, when: When::IntoFile },
    Call { number: libc::SYS_pwrite64, name: "pwrite64", errno: Some(Errno::NOSPC), path: None, when: When::IntoFile },
    Call { number: libc::SYS_writev, name: "writev", errno: Some(Errno::NOSPC), path: None, when: When::IntoFile },
    Call {
        number: libc::SYS_ioctl,
        name: "ioctl",
        errno: Some(Errno::IO),
        path: None,
        when: When::Requests(TERMINALS_AND_INTERFACES),
    },
    // Processes.
    call(libc::SYS_clone, "clone", Errno::AGAIN),
    call(libc::SYS_clone3, "clone3", Errno::AGAIN),
    at(libc::SYS_execve, "execve", Errno::NOMEM, 0),
    at(libc::SYS_execveat, "execveat", Errno::NOMEM, 1),
    call(libc::SYS_unshare, "unshare", Errno::NOSPC),
    call(libc::SYS_setns, "setns", Errno::PERM),
    call(libc::SYS_setsid, "setsid", Errno::PERM),
    call(libc::SYS_kill, "kill", Errno::PERM),
    call(libc::SYS_tgkill, "tgkill", Errno::PERM),
    call(libc::SYS_pidfd_open, "pidfd_open", Errno::MFILE),
    call(libc::SYS_pidfd_send_signal, "pidfd_send_signal", Errno::PERM),
    Call { number: libc::SYS_prlimit64, name: "prlimit64", errno: Some(Errno::PERM), path: None, when: When::Given(2) },
    call(libc::SYS_setpriority, "setpriority", Errno::PERM),
    call(libc::SYS_sched_setaffinity, "sched_setaffinity", Errno::INVAL),
    call(libc::SYS_sched_setattr, "sched_setattr", Errno::PERM),
    call(libc::SYS_ioprio_set, "ioprio_set", Errno::PERM),
    // Powers.
    call(libc::SYS_prctl, "prctl", Errno::PERM),
    call(libc::SYS_capset, "capset", Errno::PERM),
    call(libc::SYS_setuid, "setuid", Errno::AGAIN),
    call(libc::SYS_setgid, "setgid", Errno::AGAIN),
    call(libc::SYS_setresuid, "setresuid", Errno::AGAIN),
    call(libc::SYS_setresgid, "setresgid", Errno::AGAIN),
    call(libc::SYS_setgroups, "setgroups", Errno::NOMEM),
    never_fails(libc::SYS_setfsuid, "setfsuid"),
    never_fails(libc::SYS_setfsgid, "setfsgid"),
    call(libc::SYS_seccomp, "seccomp", Errno::NOMEM),
    call(libc::SYS_bpf, "bpf", Errno::NOMEM),
    call(libc::SYS_keyctl, "keyctl", Errno::DQUOT),
    never_fails(libc::SYS_umask, "umask"),
    at(libc::SYS_chdir, "chdir", Errno::IO, 0),
    call(libc::SYS_fchdir, "fchdir", Errno::IO),
    at(libc::SYS_chroot, "chroot", Errno::PERM, 0),
    // Names.
    at(libc::SYS_sethostname, "sethostname", Errno::PERM, 0),
    at(libc::SYS_setdomainname, "setdomainname", Errno::PERM, 0),
    // Mounts.
    at(libc::SYS_mount, "mount", Errno::NOSPC, 1),
    at(libc::SYS_umount2, "umount2", Errno::BUSY, 0),
    at(libc::SYS_pivot_root, "pivot_root", Errno::INVAL, 0),
    at(libc::SYS_fsopen, "fsopen", Errno::NOMEM, 0),
    at(libc::SYS_fsconfig, "fsconfig", Errno::NOMEM, 2),
    call(libc::SYS_fsmount, "fsmount", Errno::NOSPC),
    call(libc::SYS_move_mount, "move_mount", Errno::NOSPC),
    at(libc::SYS_open_tree, "open_tree", Errno::NOMEM, 1),
    at(libc::SYS_mount_setattr, "mount_setattr", Errno::PERM, 1),
    // Files.
    at(libc::SYS_mkdirat, "mkdirat", Errno::NOSPC, 1),
    at(libc::SYS_mknodat, "mknodat", Errno::NOSPC, 1),
    at(libc::SYS_symlinkat, "symlinkat", Errno::NOSPC, 2),
    at(libc::SYS_linkat, "linkat", Errno::NOSPC, 3),
    at(libc::SYS_unlinkat, "unlinkat", Errno::IO, 1),
    at(libc::SYS_renameat, "renameat", Errno::IO, 3),
    at(libc::SYS_renameat2, "renameat2", Errno::IO, 3),
    at(libc::SYS_truncate, "truncate", Errno::IO, 0),
    call(libc::SYS_ftruncate, "ftruncate", Errno::IO),
    call(libc::SYS_fallocate, "fallocate", Errno::NOSPC),
    call(libc::SYS_fsync, "fsync", Errno::IO),
    call(libc::SYS_fdatasync, "fdatasync", Errno::IO),
    call(libc::SYS_syncfs, "syncfs", Errno::IO),
    call(libc::SYS_fchown, "fchown", Errno::PERM),
    at(libc::SYS_fchownat, "fchownat", Errno::PERM, 1),
    call(libc::SYS_fchmod, "fchmod", Errno::PERM),
    at(libc::SYS_fchmodat, "fchmodat", Errno::PERM, 1),
    at(libc::SYS_utimensat, "utimensat", Errno::PERM, 1),
    at(libc::SYS_setxattr, "setxattr", Errno::NOSPC, 0),
    at(libc::SYS_lsetxattr, "lsetxattr", Errno::NOSPC, 0),
    call(libc::SYS_fsetxattr, "fsetxattr", Errno::NOSPC),
    call(libc::SYS_copy_file_range, "copy_file_range", Errno::NOSPC),
    call(libc::SYS_sendfile, "sendfile", Errno::NOSPC),
    at(libc::SYS_memfd_create, "memfd_create", Errno::NOMEM, 0),
    call(libc::SYS_flock, "flock", Errno::NOLCK),
    // Sockets and pipes.
    call(libc::SYS_socket, "socket", Errno::MFILE),
    call(libc::SYS_socketpair, "socketpair", Errno::MFILE),
    call(libc::SYS_pipe2, "pipe2", Errno::MFILE),
    call(libc::SYS_bind, "bind", Errno::NOSPC),
    call(libc::SYS_listen, "listen", Errno::ADDRINUSE),
    call(libc::SYS_connect, "connect", Errno::AGAIN),
    call(libc::SYS_sendmsg, "sendmsg", Errno::NOBUFS),
    call(libc::SYS_sendto, "sendto", Errno::NOBUFS),
    call(libc::SYS_eventfd2, "eventfd2", Errno::MFILE),
    call(libc::SYS_signalfd4, "signalfd4", Errno::MFILE),
    call(libc::SYS_epoll_create1, "epoll_create1", Errno::MFILE),
    call(libc::SYS_epoll_ctl, "epoll_ctl", Errno::NOMEM),
    // Only descriptors of this process, but what is not closed or not replaced may reach a container.
    call(libc::SYS_close_range, "close_range", Errno::NOMEM),
    call(libc::SYS_dup3, "dup3", Errno::MFILE),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_dup2, "dup2", Errno::MFILE),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_fork, "fork", Errno::AGAIN),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_vfork, "vfork", Errno::AGAIN),
    #[cfg(target_arch = "x86_64")]
    Call { number: libc::SYS_open, name: "open", errno: Some(Errno::NOSPC), path: Some(0), when: When::FlagsSay(1) },
    #[cfg(target_arch = "x86_64")]
    at(libc::SYS_mkdir, "mkdir", Errno::NOSPC, 0),
    #[cfg(target_arch = "x86_64")]
    at(libc::SYS_rmdir, "rmdir", Errno::IO, 0),
    #[cfg(target_arch = "x86_64")]
    at(libc::SYS_mknod, "mknod", Errno::NOSPC, 0),
    #[cfg(target_arch = "x86_64")]
    at(libc::SYS_symlink, "symlink", Errno::NOSPC, 1),
    #[cfg(target_arch = "x86_64")]
    at(libc::SYS_link, "link", Errno::NOSPC, 1),
    #[cfg(target_arch = "x86_64")]
    at(libc::SYS_unlink, "unlink", Errno::IO, 0),
    #[cfg(target_arch = "x86_64")]
    at(libc::SYS_rename, "rename", Errno::IO, 1),
    #[cfg(target_arch = "x86_64")]
    at(libc::SYS_chmod, "chmod", Errno::PERM, 0),
    #[cfg(target_arch = "x86_64")]
    at(libc::SYS_chown, "chown", Errno::PERM, 0),
    #[cfg(target_arch = "x86_64")]
    at(libc::SYS_lchown, "lchown", Errno::PERM, 0),
];

/// The filter: notifies of every call in the table, and lets all others go on.
pub(crate) fn filter() -> Vec<u64> {
    const LOAD: u64 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const JUMP_EQUAL: u64 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u64 = 0x06; // BPF_RET | BPF_K
    let instruction = |code: u64, if_true: usize, value: u64| code | (if_true as u64) << 16 | value << 32;
    let count = CALLS.len();
    assert!(count < 255, "a jump has eight bits");
    let jumps = CALLS.iter().zip(0..).map(|(call, index)| {
        let to_notify = count - index;
        instruction(JUMP_EQUAL, to_notify, call.number.cast_unsigned())
    });
    // The number is the first field of what the filter sees. One architecture: nothing here runs foreign programs.
    let ends = [libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_USER_NOTIF];
    let ends = ends.map(|action| instruction(RETURN, 0, u64::from(action)));
    [instruction(LOAD, 0, 0)].into_iter().chain(jumps).chain(ends).collect()
}
