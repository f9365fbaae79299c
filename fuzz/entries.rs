//! What fuzzing calls: one function for each parser that reads a stranger's bytes, with what must hold of its answer.
//!
//! | target | reads | comes from |
//! |---|---|---|
//! | `config` | an OCI `config.json`, up to the finished plan | whoever calls the runtime |
//! | `archive` | a tar stream with all its extensions | images, `cp`, `import` |
//! | `reference` | image names and digests | the command line, annotations of layouts and archives |
//! | `manifest` | manifests, indexes, `manifest.json` of `docker save` | registries, archives, layouts |
//! | `image_config` | an image's configuration | registries, archives, layouts |
//! | `headers` | `WWW-Authenticate`, `Link`, `Location` | registries and token servers |
//! | `answers` | tokens, lists of tags, refusals, outlines of manifests | registries and token servers |
//! | `names` | answers of name servers, `resolv.conf` | whoever can send a datagram |
//! | `accounts` | `config.json` of Docker, `auth.json` of podman | files of the user |
//! | `hosts_toml` | containerd's `hosts.toml` | files of the machine |
//! | `registries_conf` | podman's `registries.conf` | files of the machine |
//! | `policy` | `policy.json`, and behind a zero a key, a signature's manifest, what was signed | files of the machine, registries |
//! | `user` | `USER` with the texts of passwd and group | images |
//! | `mount_options` | the option words of mounts, up to the plan | whoever calls the runtime |
//! | `cpu_list` | `0-3,8` | the command line, `config.json` |
//! | `seccomp` | a profile, up to the compiled filter | files of the user |
//!
//! Nothing here makes anything: a plan only opens what it names, and the names are replaced by harmless ones.
//! An error is a good answer if it is one line; a panic, an overflow, or minutes and gigabytes are not.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Mount, Spec};
use runtime::{ContainerId, Plan, Request, capabilities, cgroup, seccomp, users};
use store::{Digest, Reference};

/// What takes an input.
type Entry = fn(&[u8]);

/// All targets by name, for the test that runs the corpus.
pub(crate) const ALL: &[(&str, Entry)] = &[
    ("config", config),
    ("archive", archive),
    ("reference", reference),
    ("manifest", manifest),
    ("image_config", image_config),
    ("headers", headers),
    ("answers", answers),
    ("names", names),
    ("accounts", accounts),
    ("hosts_toml", hosts_toml),
    ("registries_conf", registries_conf),
    ("policy", policy),
    ("user", user),
    ("mount_options", mount_options),
    ("cpu_list", cpu_list),
    ("seccomp", seccomp),
];

/// A specification becomes a plan and its display, or a line.
pub(crate) fn config(bytes: &[u8]) {
    let Ok(mut spec) = serde_json::from_slice::<Spec>(bytes) else { return };
    make_harmless(&mut spec);
    plan(&spec);
}

/// An archive is read to its end, or refused: as it is, and with the sums of all blocks made right, since a mutation
/// would else rarely get beyond the sum.
pub(crate) fn archive(bytes: &[u8]) {
    const BLOCK: usize = 512;
    const SUM: std::ops::Range<usize> = 148..156;
    let mut repaired = bytes.to_vec();
    for block in repaired.chunks_exact_mut(BLOCK).filter(|block| block.iter().any(|byte| *byte != 0)) {
        block[SUM].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    for bytes in [bytes, &repaired] {
        if let Ok(entries) = store::read_whole_archive(bytes) {
            assert!(entries <= (bytes.len() / BLOCK) as u64, "each entry has a header of its own");
        }
    }
}

/// A name in full means the same when it is read again.
pub(crate) fn reference(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    match Reference::parse(text) {
        Ok(name) => {
            assert_eq!(Reference::parse(&name.full()).ok().as_ref(), Some(&name), "`{text}`");
            assert!(!name.path().contains("..") && !name.full().chars().any(char::is_control), "`{text}`");
            let _ = name.familiar_repository();
        }
        Err(error) => is_a_line(&error),
    }
    match Digest::parse(text) {
        Ok(digest) => assert_eq!(digest.to_string(), text),
        Err(error) => is_a_line(&error),
    }
}

/// One document is a manifest or an index and never both, or is refused.
pub(crate) fn manifest(bytes: &[u8]) {
    store::untrusted::manifest(bytes).iter().for_each(is_a_line);
}

/// A configuration keeps what is not understood, or is refused.
pub(crate) fn image_config(bytes: &[u8]) {
    store::untrusted::configuration(bytes).iter().for_each(is_a_line);
}

/// Nothing that a header says gets into the lines of the next request.
pub(crate) fn headers(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    registry::untrusted::headers(text).iter().for_each(is_a_line);
}

/// Whatever a registry answers, a refusal is shown in a few words.
pub(crate) fn answers(bytes: &[u8]) {
    registry::untrusted::answers(bytes);
}

/// An answer has addresses of the kind that was asked for, or is none.
pub(crate) fn names(bytes: &[u8]) {
    registry::untrusted::names(bytes);
}

/// The accounts of a file that hosts have; what is wrong with it names none of its values.
pub(crate) fn accounts(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    match registry::AccountFile::of_text(text) {
        Ok(file) => {
            for (host, repository) in [("registry.example:5000", "a/b"), ("docker.io", "library/a")] {
                let _ = file.account(host, repository).map(|found| found.is_ok());
            }
        }
        Err(error) => is_a_line(&error),
    }
}

/// A file with mistakes is refused with the line of the first.
pub(crate) fn hosts_toml(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Err(error) = registry::check_hosts_toml(Path::new("/etc/containerd/certs.d/a/hosts.toml"), text) {
        is_a_line(&error);
    }
}

/// The same, of rules that add up over several files.
pub(crate) fn registries_conf(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let mut rules = registry::Rules::default();
    for name in ["registries.conf", "registries.conf.d/a.conf"] {
        if let Err(error) = rules.add(&Path::new("/etc/containers").join(name), text) {
            is_a_line(&error);
        }
    }
}

/// A policy; behind a zero each, a key in PEM, the manifest of signatures, and what one of them covers.
pub(crate) fn policy(bytes: &[u8]) {
    let mut parts = bytes.split(|byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    if let Ok(text) = str::from_utf8(part())
        && let Err(error) = registry::Policy::parse(Path::new("/etc/containers/policy.json"), text)
    {
        is_a_line(&error);
    }
    let (key, manifest, payload) = (part(), part(), part());
    registry::untrusted::signatures(key, manifest, payload);
}

/// `USER` in the first line, then passwd and group with a zero between them. A number is never looked up as a name.
pub(crate) fn user(bytes: &[u8]) {
    let line = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let Ok(word) = str::from_utf8(&bytes[..line]) else { return };
    let files = &bytes[line..];
    let half = files.iter().position(|byte| *byte == 0).unwrap_or(files.len());
    let (passwd, group) = files.split_at(half);
    match users::resolve(word, passwd, group, &[]) {
        Ok(user) => {
            assert_eq!(user.additional_gids.first(), Some(&user.gid));
            assert!(user.additional_gids.iter().chain([&user.uid]).all(|id| *id <= i32::MAX as u32));
            let name = word.split(':').next().unwrap_or_default();
            if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
                assert_eq!(name.parse().ok(), Some(user.uid), "`{word}` was looked up");
            }
        }
        Err(error) => is_a_line(&error),
    }
}

/// Each line is a word of options, of a tmpfs and of a bind.
pub(crate) fn mount_options(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let words: Vec<String> = text.lines().map(str::to_owned).collect();
    for (kind, source) in [("tmpfs", "tmpfs"), ("bind", "/dev/null"), ("proc", "proc")] {
        let mut mount = Mount::default();
        mount.set_destination(PathBuf::from(if kind == "proc" { "/proc" } else { "/place" }));
        mount.set_typ(Some(kind.to_owned()));
        mount.set_source(Some(PathBuf::from(source)));
        mount.set_options(Some(words.clone()));
        let mut spec = Spec::default();
        spec.set_mounts(Some(vec![mount]));
        plan(&spec);
    }
}

/// What is wanted in the first line, what the machine has in the second.
pub(crate) fn cpu_list(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (wanted, available) = text.split_once('\n').unwrap_or((text, "0-3"));
    if let Err(error) = cgroup::check_list("cpuset-cpus", wanted, available) {
        is_a_line(&error);
    }
}

/// A profile is compiled for a container without and one with capabilities.
pub(crate) fn seccomp(bytes: &[u8]) {
    let profile = match seccomp::parse_docker_json(bytes) {
        Ok(profile) => profile,
        Err(error) => return is_a_line(&error),
    };
    for set in [capabilities::Set::default(), capabilities::docker_default()] {
        match profile.compile(set, None) {
            // The kernel's limit.
            Ok(program) => assert!(program.len() <= 4096, "{} instructions", program.len()),
            Err(error) => is_a_line(&error),
        }
    }
}

fn plan(spec: &Spec) {
    let (Ok(id), Ok(group)) = ("0".repeat(64).parse::<ContainerId>(), cgroup::Path::new("/skep/fuzz")) else {
        panic!("the fuzz target's own names are wrong")
    };
    let request = Request::new(&id, spec, &group);
    match Plan::new(&request) {
        Ok(plan) => drop(plan.to_string()),
        Err(error) => is_a_line(&error),
    }
}

/// Sources of binds and files of namespaces are opened by the plan: they become ones that are always there.
fn make_harmless(spec: &mut Spec) {
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    for mount in &mut mounts {
        if mount.source().as_ref().is_some_and(|source| source.is_absolute()) {
            mount.set_source(Some(PathBuf::from("/dev/null")));
        }
    }
    if spec.mounts().is_some() {
        spec.set_mounts(Some(mounts));
    }
    let Some(mut linux) = spec.linux().clone() else { return };
    let harmless = |namespace: &LinuxNamespace| {
        let mut namespace = namespace.clone();
        if namespace.path().is_some() {
            let name = if namespace.typ() == LinuxNamespaceType::Network { "net" } else { "uts" };
            namespace.set_path(Some(PathBuf::from(format!("/proc/self/ns/{name}"))));
        }
        namespace
    };
    let namespaces = linux.namespaces().as_ref().map(|all| all.iter().map(harmless).collect());
    linux.set_namespaces(namespaces);
    spec.set_linux(Some(linux));
}

fn is_a_line(error: &impl Display) {
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains('\n'), "not one line: {text:?}");
}
