//! Docker's default profile, by meaning.
//!
//! Everything is refused with EPERM but what is listed; a line of the table says under which condition its calls are
//! allowed. The facts are those of Docker 29 and later (`moby/profiles`): against older versions it
//! - refuses `io_uring`, which has been a source of holes;
//! - allows only families of sockets that are known and have their use: not `AF_ALG` (the kernel's cryptography, through
//!   which page caches were written), not `AF_VSOCK` (which knows no network namespaces);
//! - answers ENOSYS for `clone3`, so that programs fall back to `clone`, whose flags a filter can see.
//!
//! 32-bit programs make sockets through `socketcall`, whose arguments no filter can see: it stays allowed, as there.

use oci_spec::runtime::{Arch, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompOperator};

use super::profile::{Condition, Kernel, Names, Rule};
use crate::capabilities::{self, Set};

/// When a line of the table holds.
enum When {
    Always,
    /// On this kernel and later ones: ptrace could be used to get around a filter before 4.8.
    Since(u16, u16),
    /// On machines of this architecture, by Docker's name.
    On(&'static str),
    /// For containers that have the capability.
    With(&'static str),
}

use When::{Always, On, Since, With};

/// System calls that are allowed whatever their arguments are.
const ALLOWED: &[(When, &str)] = &[
    // Files and directories.
    (
        Always,
        "access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2",
    ),
    (
        Always,
        "fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat",
    ),
    (Always, "fcntl fcntl64 fdatasync flock fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64"),
    (
        Always,
        "futimesat getcwd getdents getdents64 inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl",
    ),
    (Always, "lchown lchown32 link linkat listmount _llseek lseek lstat lstat64 mkdir mkdirat mknod mknodat"),
    (
        Always,
        "name_to_handle_at newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2",
    ),
    (
        Always,
        "read readahead readlink readlinkat readv rename renameat renameat2 rmdir sendfile sendfile64 splice stat stat64",
    ),
    (
        Always,
        "statfs statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs tee truncate truncate64 umask",
    ),
    (Always, "unlink unlinkat utime utimensat utimensat_time64 utimes vmsplice write writev"),
    // Extended attributes.
    (
        Always,
        "fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat llistxattr",
    ),
    (Always, "lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat"),
    // Waiting for files.
    (
        Always,
        "epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd",
    ),
    (Always, "eventfd2 _newselect poll ppoll ppoll_time64 pselect6 pselect6_time64 select"),
    (
        Always,
        "io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioprio_get ioprio_set",
    ),
    // Memory.
    (
        Always,
        "brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall",
    ),
    (Always, "mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect"),
    (Always, "process_mrelease remap_file_pages"),
    // Processes and threads.
    (Always, "execve execveat exit exit_group fork futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake"),
    (
        Always,
        "get_robust_list get_thread_area getcpu getpgid getpgrp getpid getppid getpriority getrlimit getrusage getsid",
    ),
    (Always, "gettid kill pause pidfd_open pidfd_send_signal prctl prlimit64 restart_syscall rseq set_robust_list"),
    (
        Always,
        "set_thread_area set_tid_address setpgid setpriority setrlimit setsid tgkill tkill ugetrlimit uretprobe vfork",
    ),
    (Always, "wait4 waitid waitpid sysinfo uname times getrandom"),
    (
        Always,
        "sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler",
    ),
    (Always, "sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam"),
    (Always, "sched_setscheduler sched_yield"),
    (Since(4, 8), "process_vm_readv process_vm_writev ptrace"),
    // Who a process is.
    (
        Always,
        "capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32",
    ),
    (Always, "getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups"),
    (
        Always,
        "setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32",
    ),
    // What a process gives up.
    (Always, "landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp"),
    // Signals.
    (Always, "rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait"),
    (Always, "rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack signalfd signalfd4 sigprocmask sigreturn"),
    // Time. The clock is guarded by a capability.
    (
        Always,
        "adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64",
    ),
    (Always, "clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create"),
    (
        Always,
        "timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create",
    ),
    (Always, "timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64"),
    // Sockets that exist, and messages between processes.
    (
        Always,
        "accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64",
    ),
    (Always, "recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair"),
    (
        Always,
        "ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64",
    ),
    (
        Always,
        "mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget",
    ),
    // What only some processors have.
    (On("amd64"), "arch_prctl modify_ldt"),
    (On("arm64"), "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2"),
    // What a capability opens.
    (With("DAC_READ_SEARCH"), "open_by_handle_at"),
    (
        With("SYS_ADMIN"),
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr",
    ),
    (
        With("SYS_ADMIN"),
        "lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl",
    ),
    (With("SYS_ADMIN"), "quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare"),
    (With("SYS_BOOT"), "reboot"),
    (With("SYS_CHROOT"), "chroot"),
    (With("SYS_MODULE"), "delete_module finit_module init_module"),
    (With("SYS_PACCT"), "acct"),
    (With("SYS_PTRACE"), "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    (With("SYS_RAWIO"), "ioperm iopl"),
    (With("SYS_TIME"), "clock_settime clock_settime64 settimeofday stime"),
    (With("SYS_TTY_CONFIG"), "vhangup"),
    (With("SYS_NICE"), "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    (With("SYSLOG"), "syslog"),
    (With("BPF"), "bpf"),
    (With("PERFMON"), "perf_event_open"),
];

/// Families of sockets, as runs of numbers that start at a multiple of their length, a power of two: each is one comparison
/// under a mask. The upper half of the argument, which the kernel ignores, must be zero.
/// Left out: families whose code is gone from the kernel (`DECnet`, Econet, ATM SVC, `IrDA`, Wanpipe, ISDN, CAIF), 38 and 40.
const SOCKET_FAMILIES: &[(u64, u64)] = &[
    (1, 1),  // UNIX
    (2, 2),  // INET, AX25
    (4, 4),  // IPX, APPLETALK, NETROM, BRIDGE
    (8, 4),  // ATMPVC, X25, INET6, ROSE
    (13, 1), // NETBEUI
    (14, 2), // SECURITY, KEY
    (16, 2), // NETLINK, PACKET
    (18, 1), // ASH
    (21, 1), // RDS
    (22, 1), // SNA
    (24, 1), // PPPOX
    (26, 2), // LLC, IB
    (28, 4), // MPLS, CAN, TIPC, BLUETOOTH
    (32, 2), // IUCV, RXRPC
    (35, 1), // PHONET
    (36, 1), // IEEE802154
    (39, 1), // NFC
    (41, 1), // KCM
    (42, 2), // QIPCRTR, SMC
    (44, 2), // XDP, MCTP
];

/// The execution domains that a process may take: Linux, with and without the old layout of memory and `uname`; and
/// the question which one it has.
const PERSONALITIES: [u64; 5] = [0x0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The flags of clone that make a namespace: mount, cgroup, UTS, IPC, user, PID, network.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;

const ENOSYS: u32 = 38;

/// A digest of the tables, made when this is compiled: whoever changes them makes other programs. What the code below adds
/// to them (`clone` and `clone3`) counts by [`super::cache::COMPILER`].
pub(super) const DIGEST: u64 = digest();

/// The part of the kernel's version that rules depend on.
pub(super) fn kernel_conditions(kernel: Kernel) -> u64 {
    let conditions = ALLOWED.iter().filter_map(|(when, _)| match when {
        Since(major, minor) => Some(kernel >= Kernel(*major, *minor)),
        _ => None,
    });
    conditions.fold(0, |bits, holds| bits << 1 | u64::from(holds))
}

/// The architectures that a filter for this machine covers: its own, then those whose programs it runs as well.
pub(super) fn architectures() -> Vec<Arch> {
    if cfg!(target_arch = "x86_64") {
        vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32]
    } else if cfg!(target_arch = "aarch64") {
        vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm]
    } else {
        Vec::new()
    }
}

/// The rules of the profile.
pub(super) fn rules() -> Vec<Rule> {
    let mut rules: Vec<Rule> = ALLOWED.iter().map(|(when, names)| allow(when, names, Vec::new())).collect();
    let families = SOCKET_FAMILIES.iter().map(|(first, count)| masked(!(count - 1), *first));
    rules.extend(families.map(|family| allow(&Always, "socket", vec![family])));
    let personalities = PERSONALITIES.iter().map(|personality| masked(u64::MAX, *personality));
    rules.extend(personalities.map(|personality| allow(&Always, "personality", vec![personality])));

    let without_admin = || Condition { capabilities: capability("SYS_ADMIN"), ..Condition::default() };
    let plain_clone = allow(&Always, "clone", vec![masked(NAMESPACE_FLAGS, 0)]);
    rules.push(Rule { excludes: without_admin(), ..plain_clone });
    let no_clone3 = allow(&Always, "clone3", Vec::new());
    let action = LinuxSeccompAction::ScmpActErrno;
    rules.push(Rule { action, errno: Some(ENOSYS), excludes: without_admin(), ..no_clone3 });
    rules
}

fn allow(when: &When, names: &'static str, arguments: Vec<LinuxSeccompArg>) -> Rule {
    let includes = match when {
        Always => Condition::default(),
        Since(major, minor) => Condition { kernel: Some(Kernel(*major, *minor)), ..Condition::default() },
        On(architecture) => Condition { architectures: vec![(*architecture).to_owned()], ..Condition::default() },
        With(name) => Condition { capabilities: capability(name), ..Condition::default() },
    };
    Rule {
        names: Names::Table(names),
        action: LinuxSeccompAction::ScmpActAllow,
        errno: None,
        arguments,
        includes,
        excludes: Condition::default(),
    }
}

fn capability(name: &str) -> Set {
    capabilities::parse(name).unwrap_or_default()
}

/// FNV-1a over all tables.
const fn digest() -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut index = 0;
    while index < ALLOWED.len() {
        let (when, names) = &ALLOWED[index];
        hash = match when {
            Always => mix(hash, b"always"),
            Since(major, minor) => mix(mix(hash, &major.to_le_bytes()), &minor.to_le_bytes()),
            On(name) => mix(mix(hash, b"on"), name.as_bytes()),
            With(name) => mix(mix(hash, b"with"), name.as_bytes()),
        };
        hash = mix(hash, names.as_bytes());
        index += 1;
    }
    index = 0;
    while index < SOCKET_FAMILIES.len() {
        let (first, count) = SOCKET_FAMILIES[index];
        hash = mix(mix(hash, &first.to_le_bytes()), &count.to_le_bytes());
        index += 1;
    }
    index = 0;
    while index < PERSONALITIES.len() {
        hash = mix(hash, &PERSONALITIES[index].to_le_bytes());
        index += 1;
    }
    mix(hash, &NAMESPACE_FLAGS.to_le_bytes())
}

const fn mix(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        index += 1;
    }
    // The end of a part counts too.
    (hash ^ 0xff).wrapping_mul(0x0000_0100_0000_01b3)
}

/// "The first argument under the mask is this"; with all bits in the mask, plain equality.
#[expect(clippy::expect_used, reason = "every field has a default")]
fn masked(mask: u64, value: u64) -> LinuxSeccompArg {
    let argument = LinuxSeccompArgBuilder::default().index(0_usize);
    let argument = match mask {
        u64::MAX => argument.value(value).op(LinuxSeccompOperator::ScmpCmpEq),
        mask => argument.value(mask).value_two(value).op(LinuxSeccompOperator::ScmpCmpMaskedEq),
    };
    argument.build().expect("an argument without missing fields")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_once_under_its_condition() {
        let always: Vec<&str> =
            ALLOWED.iter().filter(|(when, _)| matches!(when, Always)).flat_map(|(_, names)| names.split(' ')).collect();
        let unique: std::collections::HashSet<&str> = always.iter().copied().collect();
        assert_eq!(always.len(), unique.len());
        assert!(ALLOWED.iter().all(|(_, names)| names.split(' ').all(|name| !name.is_empty())));
    }

    #[test]
    fn capabilities_of_the_table_exist() {
        for (when, _) in ALLOWED {
            if let With(name) = when {
                assert!(!capability(name).is_empty(), "{name}");
            }
        }
    }

    #[test]
    fn families_of_sockets_are_aligned_runs() {
        let refused = [0, 12, 19, 20, 23, 25, 34, 37, 38, 40, 46, 47, 1 << 32 | 38, 1 << 32 | 2];
        for (first, count) in SOCKET_FAMILIES {
            assert!(count.is_power_of_two() && first % count == 0, "{first}");
        }
        let allowed = |family: u64| SOCKET_FAMILIES.iter().any(|(first, count)| family & !(count - 1) == *first);
        for family in (0..48).chain(refused) {
            assert_eq!(allowed(family), !refused.contains(&family), "{family}");
        }
    }
}
