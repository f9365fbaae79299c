//! Filters: what their programs say (run here, without the kernel), and what the kernel makes of them (as root, in a thread
//! that loads the filter and starts a program under it).

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::cognitive_complexity,
    reason = "a test stops where it fails"
)]

use std::process::Command;

use runtime::capabilities::{self, Set};
use runtime::seccomp::{self, Instruction};

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const KILL: u32 = 0;
const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const X32: u32 = 0x4000_0000;

/// What the program says to a call.
fn verdict(program: &[Instruction], architecture: u32, number: u32, arguments: &[u64]) -> u32 {
    let word = |offset: u32| match offset {
        0 => number,
        4 => architecture,
        offset => {
            let argument = arguments.get((offset as usize - 16) / 8).copied().unwrap_or(0);
            if offset % 8 == 0 { argument as u32 } else { (argument >> 32) as u32 }
        }
    };
    let (mut at, mut value) = (0, 0_u32);
    loop {
        let bytes = program[at].to_ne_bytes();
        let code = u16::from_ne_bytes([bytes[0], bytes[1]]);
        let operand = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        at += 1;
        let jump = |holds: bool| usize::from(if holds { bytes[2] } else { bytes[3] });
        match code {
            0x20 => value = word(operand),
            0x54 => value &= operand,
            0x05 => at += operand as usize,
            0x15 => at += jump(value == operand),
            0x25 => at += jump(value > operand),
            0x35 => at += jump(value >= operand),
            0x45 => at += jump(value & operand != 0),
            0x06 => return operand,
            other => panic!("instruction {other:#x}"),
        }
    }
}

fn docker(capabilities: Set) -> Vec<Instruction> {
    seccomp::compile(&seccomp::docker_default().for_capabilities(capabilities).unwrap(), None).unwrap()
}

fn user(json: &str) -> Vec<Instruction> {
    let profile = seccomp::parse_docker_json(json.as_bytes()).unwrap();
    seccomp::compile(&profile.for_capabilities(Set::EMPTY).unwrap(), None).unwrap()
}

#[test]
#[cfg(target_arch = "x86_64")]
fn verdicts_of_the_default() {
    let program = docker(capabilities::docker_default());
    let native = |number, arguments: &[u64]| verdict(&program, X86_64, number, arguments);
    assert_eq!(native(0, &[]), ALLOW, "read");
    assert_eq!(native(161, &[]), ALLOW, "chroot, by the capability");
    assert_eq!(native(165, &[]), EPERM, "mount");
    assert_eq!(native(250, &[]), EPERM, "keyctl");
    assert_eq!(native(425, &[]), EPERM, "io_uring_setup");
    assert_eq!(native(335, &[]), ALLOW, "uretprobe, which libseccomp does not know");
    assert_eq!(native(452, &[]), ALLOW, "fchmodat2");
    assert_eq!(native(462, &[]), ALLOW, "mseal");
    assert_eq!(native(459, &[]), EPERM, "lsm_get_self_attr");
    assert_eq!(native(467, &[]), ENOSYS, "open_tree_attr");
    assert_eq!(native(5000, &[]), ENOSYS, "a call of the future");
    assert_eq!(native(435, &[]), ENOSYS, "clone3");
    assert_eq!(native(56, &[0x11]), ALLOW, "clone of a process");
    assert_eq!(native(56, &[0x1000_0011]), EPERM, "clone of a user namespace");

    assert_eq!(verdict(&program, I386, 3, &[]), ALLOW, "read of 32 bits");
    assert_eq!(verdict(&program, I386, 21, &[]), EPERM, "mount of 32 bits");
    assert_eq!(verdict(&program, I386, 102, &[]), ALLOW, "socketcall");
    assert_eq!(verdict(&program, I386, 452, &[]), ALLOW);
    assert_eq!(verdict(&program, I386, 335, &[]), ALLOW, "pselect6 is 308 and 335 is rt_tgsigqueueinfo");
    assert_eq!(verdict(&program, I386, 5000, &[]), ENOSYS);
    assert_eq!(verdict(&program, X86_64, X32, &[]), ALLOW, "read of x32");
    assert_eq!(verdict(&program, X86_64, X32 | 165, &[]), EPERM, "mount of x32");
    assert_eq!(verdict(&program, X86_64, X32 | 520, &[]), ALLOW, "execve of x32");
    assert_eq!(verdict(&program, X86_64, X32 | 511, &[]), ENOSYS);
    assert_eq!(verdict(&program, X86_64, X32 | 548, &[]), ENOSYS);
    assert_eq!(verdict(&program, X86_64, X32 | 462, &[]), ALLOW);
    assert_eq!(verdict(&program, X86_64, X32 | 5000, &[]), ENOSYS);
    assert_eq!(verdict(&program, 0xc000_00b7, 63, &[]), KILL, "another architecture");
    assert_eq!(verdict(&program, 0xc000_00b7, 5000, &[]), KILL, "another architecture");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn sockets_are_of_known_families() {
    let program = docker(capabilities::docker_default());
    let refused = [0, 12, 19, 20, 23, 25, 34, 37, 38, 40, 46];
    for (architecture, number) in [(X86_64, 41), (X86_64, X32 | 41), (I386, 359)] {
        for family in 0..47 {
            let expected = if refused.contains(&family) { EPERM } else { ALLOW };
            assert_eq!(verdict(&program, architecture, number, &[family, 1, 0]), expected, "{number} {family}");
            // Only the 64-bit call has an upper half to look at; the kernel ignores it.
            let upper = if (architecture, number) == (X86_64, 41) { EPERM } else { expected };
            assert_eq!(verdict(&program, architecture, number, &[family | 1 << 32, 1, 0]), upper, "{number} {family}");
        }
    }
}

/// Docker's own profile, if this machine has one, against our table. An older one differs in known ways.
#[test]
#[cfg(target_arch = "x86_64")]
fn verdicts_are_those_of_dockers_file() {
    let places = [
        std::env::var("SKEP_TEST_DOCKER_PROFILE").unwrap_or_default(),
        "/usr/share/gocode/src/github.com/docker/docker/profiles/seccomp/default.json".to_owned(),
    ];
    let Some(text) = places.iter().find_map(|place| std::fs::read(place).ok()) else {
        eprintln!("skipped: no profile of Docker (package golang-github-docker-docker-dev) on this machine");
        return;
    };
    let oracle = seccomp::parse_docker_json(&text).unwrap();
    // io_uring, socket, process_vm_*, pkey_*, name_to_handle_at, set_mempolicy_home_node, the calls since 5.17, uretprobe.
    let changed = |number: u32| matches!(number & !X32, 41 | 303 | 310 | 311 | 329..=331 | 335 | 425..=427 | 450..);
    let sets = [
        "",
        "SYS_ADMIN",
        "SYS_PTRACE",
        "SYS_NICE",
        "SYS_TIME",
        "DAC_READ_SEARCH",
        "SYSLOG",
        "SYS_MODULE",
        "SYS_BOOT",
        "SYS_CHROOT",
        "SYS_RAWIO",
        "SYS_PACCT",
        "SYS_TTY_CONFIG",
        "ALL",
    ];
    for name in sets {
        let set = if name.is_empty() { Set::EMPTY } else { capabilities::parse(name).unwrap() };
        let theirs = seccomp::compile(&oracle.for_capabilities(set).unwrap(), None).unwrap();
        let ours = docker(set);
        for number in (0..450).chain(X32..X32 + 550).filter(|number| !changed(*number)) {
            for arguments in [[0, 0, 0], [u64::MAX; 3], [0x1000_0000, 0, 0], [0x2_0000, 0, 9]] {
                let (ours, theirs) =
                    (verdict(&ours, X86_64, number, &arguments), verdict(&theirs, X86_64, number, &arguments));
                assert_eq!(ours, theirs, "call {number} with {arguments:x?} and `{name}`");
            }
        }
        // The same calls have other numbers here: those of a change are left out by name.
        let changed = [341, 347, 348, 359, 380, 381, 382, 425, 426, 427];
        for number in (0..450).filter(|number| !changed.contains(number)) {
            let (ours, theirs) = (verdict(&ours, I386, number, &[0; 3]), verdict(&theirs, I386, number, &[0; 3]));
            let clock_settime64 = number == 404;
            assert!(ours == theirs || clock_settime64, "32-bit call {number} with `{name}`: {ours:x} {theirs:x}");
        }
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn users_profiles_of_all_forms() {
    let program = user(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],"syscalls":[
        {"names":["mkdir","no_such_call"],"action":"SCMP_ACT_ERRNO","errnoRet":13},
        {"name":"mseal","action":"SCMP_ACT_KILL_PROCESS"},
        {"names":["kill"],"action":"SCMP_ACT_TRAP"},{"names":["tkill"],"action":"SCMP_ACT_LOG"},
        {"names":["ptrace"],"action":"SCMP_ACT_TRACE","errnoRet":7},{"names":["sync"],"action":"SCMP_ACT_KILL"},
        {"names":["lseek"],"action":"SCMP_ACT_ERRNO","args":[{"index":1,"value":5,"op":"SCMP_CMP_GT"},{"index":2,"value":1,"op":"SCMP_CMP_NE"}]},
        {"names":["dup2"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":3,"op":"SCMP_CMP_EQ"},{"index":0,"value":4,"op":"SCMP_CMP_EQ"}]},
        {"names":["umask"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":7,"valueTwo":2,"op":"SCMP_CMP_MASKED_EQ"}]}]}"#,
    );
    let says = |number, arguments: &[u64]| verdict(&program, X86_64, number, arguments);
    assert_eq!(says(83, &[]), 0x0005_000d);
    assert_eq!(says(462, &[]), 0x8000_0000);
    assert_eq!(says(62, &[]), 0x0003_0000);
    assert_eq!(says(200, &[]), 0x7ffc_0000);
    assert_eq!(says(101, &[]), 0x7ff0_0007);
    assert_eq!(says(162, &[]), KILL);
    assert_eq!((says(8, &[0, 6, 0]), says(8, &[0, 6, 1]), says(8, &[0, 5, 0])), (EPERM, ALLOW, ALLOW));
    assert_eq!((says(33, &[3]), says(33, &[4]), says(33, &[5])), (EPERM, EPERM, ALLOW));
    assert_eq!((says(95, &[0o22]), says(95, &[0o25])), (EPERM, ALLOW));
    assert_eq!(says(5000, &[]), ALLOW);
    assert_eq!(verdict(&program, I386, 1, &[]), KILL);

    let strict =
        user(r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}"#);
    assert_eq!(verdict(&strict, X86_64, 1, &[]), EPERM);
    assert_eq!(verdict(&strict, X86_64, 423, &[]), EPERM);
    assert_eq!(verdict(&strict, X86_64, 424, &[]), ENOSYS, "newer than all that the profile names");

    let conditional = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["file_setattr"],"action":"SCMP_ACT_ALLOW",
        "args":[{"index":0,"value":3,"op":"SCMP_CMP_EQ"}]}]}"#;
    let filter = seccomp::parse_docker_json(conditional.as_bytes()).unwrap().for_capabilities(Set::EMPTY).unwrap();
    assert!(seccomp::compile(&filter, None).unwrap_err().to_string().contains("`file_setattr`"));
}

#[test]
fn a_cached_program_is_the_same_and_a_broken_one_is_replaced() {
    let directory = std::env::temp_dir().join(format!("skep-test-seccomp-{}", std::process::id()));
    let filter = seccomp::docker_default().for_capabilities(Set::EMPTY).unwrap();
    let compiled = seccomp::compile(&filter, None).unwrap();
    assert_eq!(seccomp::compile(&filter, Some(&directory)).unwrap(), compiled);
    let files: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    let whole = std::fs::read(&files[0]).unwrap();
    for broken in [&whole[..whole.len() - 8], b"", b"nonsense"] {
        std::fs::write(&files[0], broken).unwrap();
        assert_eq!(seccomp::compile(&filter, Some(&directory)).unwrap(), compiled);
        assert_eq!(std::fs::read(&files[0]).unwrap(), whole);
    }
    // The default profile is found by a name of its own, and its program is the same.
    for _ in 0..2 {
        assert_eq!(seccomp::docker_default().compile(Set::EMPTY, Some(&directory)).unwrap(), compiled);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 2);
    }
    assert_ne!(seccomp::docker_default().compile(Set::ALL, Some(&directory)).unwrap(), compiled);
    assert_eq!(seccomp::flags(&filter), seccomp::DEFAULT_FLAGS);
    // A directory that cannot be written is no failure.
    let nowhere = files[0].join("below-a-file");
    assert_eq!(seccomp::compile(&filter, Some(&nowhere)).unwrap(), compiled);
    std::fs::remove_dir_all(&directory).unwrap();
}

/// Runs a line of Perl (which Debian always has) under a filter, as a process of a thread that has it.
fn under(program: Vec<Instruction>, script: &str) -> String {
    let script = format!("sub try {{ my $r = syscall(shift, @_); print $r < 0 ? $!+0 : 'ok', ' ' }} {script}");
    let output = std::thread::spawn(move || {
        sys::seccomp::load(&program, 4).unwrap();
        Command::new("perl").args(["-e", &script]).output().unwrap()
    });
    let output = output.join().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_kernel_agrees() {
    const EPERM: i32 = 1;
    const EBADF: i32 = 9;
    const EFAULT: i32 = 14;
    const ENOSYS: i32 = 38;
    // mount, unshare, keyctl, clone3, a call of the future, fchmodat of no name, AF_ALG plain and with a bit that the
    // kernel ignores, getpid, and a personality that changes the layout of memory.
    let script = "try(165,0,0,0,0,0); try(272,0x10000000); try(250,0,-3,0); try(435,0,0); try(999); try(268,-1,0,0);
        try(41,38,5,0); try(41,(1<<32)|38,5,0); try(39); try(135,0x40000)";
    let expected = format!("{EPERM} {EPERM} {EPERM} {ENOSYS} {ENOSYS} {EFAULT} {EPERM} {EPERM} ok {EPERM}");
    assert_eq!(under(docker(capabilities::docker_default()), script), expected);

    let all = under(docker(Set::ALL), "try(165,0,0,0,0,0); try(435,0,0); try(250,0,-3,0); try(41,38,5,0); try(3,-1)");
    assert_eq!(all, format!("{EFAULT} 22 {EPERM} {EPERM} {EBADF}"));
}
