//! What a caller asks for when it makes a container: every choice of `run` and `create`, parsed and validated.
//!
//! Flags and wire formats end before this type; JSON on disk begins after it (see [`crate::config`]). Fields are
//! plain values in the kernel's units: bytes, billionths of a core, octal modes.

use std::path::PathBuf;

pub use monitor::log::Settings as LogOptions;
use serde::{Deserialize, Serialize};

/// Everything that `run` and `create` can be asked for. `Request::default()` with an image is a valid request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// An image's name or id, `rootfs:PATH`, `oci:PATH[:NAME]`, or `host:`.
    pub image: String,
    /// The container's name; none: one is made up.
    pub name: Option<String>,
    /// The command and its arguments; empty: the image's.
    pub command: Vec<String>,
    /// Replaces the image's entry point (and its command); an empty list clears it.
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=value` sets, `NAME` alone removes what the image sets. The caller has resolved its own variables.
    pub environment: Vec<String>,
    /// The directory the command starts in.
    pub working_directory: Option<String>,
    /// `user[:group]`, names or numbers.
    pub user: Option<String>,
    /// More groups, names or numbers.
    pub groups: Vec<String>,
    /// The host name; none: the first twelve characters of the id.
    pub hostname: Option<String>,
    /// The NIS domain name.
    pub domainname: Option<String>,
    /// Give the command a terminal (`-t`).
    pub terminal: bool,
    /// Keep stdin open although nobody is attached (`-i`).
    pub open_stdin: bool,
    /// Close stdin when the first attached client leaves (`-i` without `-d`).
    pub stdin_once: bool,
    /// Remove the container when it ends (`--rm`).
    pub auto_remove: bool,
    /// Put a tiny PID 1 in front of the command (`--init`).
    pub init: bool,
    /// Volumes, binds and tmpfs.
    pub mounts: Vec<Mount>,
    /// No writes to the root filesystem.
    pub read_only: bool,
    /// Size of /dev/shm in bytes; none: 64 MiB.
    pub shm_size: Option<u64>,
    /// Limits.
    pub resources: Resources,
    /// Per-process limits.
    pub ulimits: Vec<Ulimit>,
    /// How readily the kernel kills it for memory.
    pub oom_score_adjust: Option<i32>,
    /// Capabilities to add, with or without `CAP_`, or `ALL`.
    pub capabilities_add: Vec<String>,
    /// Capabilities to drop, or `ALL`.
    pub capabilities_drop: Vec<String>,
    /// Nearly everything that the host's root may do.
    pub privileged: bool,
    /// System call filter.
    pub seccomp: Seccomp,
    /// Programs cannot gain privileges by set-uid files.
    pub no_new_privileges: bool,
    /// `--security-opt` that this engine has no effect for, kept for `inspect` (`label=disable`, `apparmor=unconfined`).
    pub other_security_options: Vec<String>,
    /// Show /proc and /sys as they are (`--security-opt systempaths=unconfined`).
    pub unconfined_system_paths: bool,
    /// Device nodes of the host.
    pub devices: Vec<Device>,
    /// Extra rules `c 1:3 rwm` of the device cgroup.
    pub device_cgroup_rules: Vec<String>,
    /// Kernel settings of the container's namespaces.
    pub sysctls: Vec<(String, String)>,
    /// Signal that asks it to end; none: the image's, or SIGTERM.
    pub stop_signal: Option<String>,
    /// Seconds between that signal and SIGKILL; none: 10; negative: for ever.
    pub stop_timeout: Option<i64>,
    /// Its network.
    pub network: NetworkMode,
    /// Its process ids.
    pub pid: NamespaceMode,
    /// Its shared memory and queues.
    pub ipc: NamespaceMode,
    /// Its host name.
    pub uts: NamespaceMode,
    /// Its view of cgroups.
    pub cgroup_namespace: NamespaceMode,
    /// Its user ids.
    pub user_namespace: UserNamespaceMode,
    /// `--add-host` as `NAME:ADDRESS`; the address may be `host-gateway`.
    pub extra_hosts: Vec<String>,
    /// Name servers.
    pub dns: Vec<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// Resolver options.
    pub dns_options: Vec<String>,
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// Free annotations, handed to the OCI specification.
    pub annotations: Vec<(String, String)>,
    /// Ports it says it listens on, `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// `os/architecture[/variant]` that the image must be for.
    pub platform: Option<String>,
    /// Where its output is kept.
    pub log: LogOptions,
}

/// A volume, a directory or file of the host, or memory, in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What is mounted.
    pub source: MountSource,
    /// Where, an absolute path in the container.
    pub target: String,
    /// No writes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// Propagation of the bind: `private` and the others of mount(8); none: `rprivate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propagation: Option<String>,
    /// Do not bring along what is mounted below the source.
    #[serde(default, skip_serializing_if = "is_false")]
    pub non_recursive: bool,
    /// Do not fill an empty volume with what the image has at the target.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_copy: bool,
}

/// What a [`Mount`] mounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountSource {
    /// A path of the host. `create` makes a missing directory (`-v`), otherwise it is an error (`--mount`).
    Bind {
        /// The path, absolute.
        path: PathBuf,
        /// Make a directory if nothing is there.
        create: bool,
    },
    /// A named volume, made when missing.
    Volume(String),
    /// A volume of this container only; gets a name of 64 hex digits.
    Anonymous,
    /// Memory.
    Tmpfs {
        /// Bytes.
        size: Option<u64>,
        /// Permissions of its root directory.
        mode: Option<u32>,
        /// Further mount options as given to `--tmpfs` (`noexec`, `uid=..`).
        options: Vec<String>,
    },
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The node, or a directory of nodes, on the host.
    pub host: PathBuf,
    /// Where in the container.
    pub container: String,
    /// Letters of `rwm`.
    pub permissions: String,
}

/// Limits for the whole container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Memory in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Memory and swap together; -1: no limit of swap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swap: Option<i64>,
    /// Soft limit of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_reservation: Option<u64>,
    /// How readily it is swapped out, 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swappiness: Option<u64>,
    /// Wait instead of being killed when the memory is used up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_kill_disable: Option<bool>,
    /// Billionths of a core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nano_cpus: Option<u64>,
    /// Relative weight, 2 to 262144.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_shares: Option<u64>,
    /// Microseconds of a scheduling period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_period: Option<u64>,
    /// Microseconds of processor time in a period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<i64>,
    /// Processors, `0-1,3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_mems: Option<String>,
    /// Processes and threads; -1 or 0: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids_limit: Option<i64>,
    /// Relative weight of disk access, 10 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blkio_weight: Option<u16>,
}

/// One `--ulimit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// `nofile`, `core`...
    pub name: String,
    /// Soft limit; `u64::MAX`: none.
    pub soft: u64,
    /// Hard limit; `u64::MAX`: none.
    pub hard: u64,
}

/// Which system call filter a container gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seccomp {
    /// Docker's default profile.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// A profile in Docker's JSON, as read from a file.
    Profile(String),
}

/// What a container sees of networks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// A namespace of its own with a loopback device.
    #[default]
    Private,
    /// The same, asked for by name (`none`).
    None,
    /// The host's.
    Host,
    /// That of another container, by name or id; the full id once created.
    Container(String),
}

/// Whose namespace a container uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamespaceMode {
    /// Its own.
    #[default]
    Private,
    /// The host's.
    Host,
    /// That of another container, by name or id; the full id once created.
    Container(String),
}

/// Whose user ids a container uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserNamespaceMode {
    /// 65,536 ids of its own, unless something else that was asked for needs the host's
    /// (see [`crate::specification`] for the table).
    #[default]
    Automatic,
    /// 65,536 ids of its own; an error if something else needs the host's.
    Private,
    /// The host's.
    Host,
}

fn is_false(value: &bool) -> bool {
    !*value
}

impl Mount {
    /// A mount of this source with the defaults of everything else.
    pub fn at(source: MountSource, target: &str) -> Self {
        Self {
            source,
            target: target.to_owned(),
            read_only: false,
            propagation: None,
            non_recursive: false,
            no_copy: false,
        }
    }
}
