//! From a container's configuration to the OCI runtime's specification: what the kernel is to be asked for.
//!
//! The defaults are Docker's: mounts, masked and read-only paths, capabilities, the seccomp profile. What differs is
//! the user namespace. Every container has one, unless it asked for what the kernel gives only to the owner of something
//! that is then not the container's. Such a request implies `--userns=host`:
//!
//! | request            | what the kernel refuses to a container with user ids of its own                        | then     |
//! |--------------------|-----------------------------------------------------------------------------------------|----------|
//! | `--privileged`     | device nodes, raw I/O, modules, time: what `privileged` is asked for                     | host ids |
//! | `--network host`   | ports below 1024, raw sockets (ping), changes of devices and routes                      | host ids |
//! | `--pid host`       | signals to, and a look into, processes of the host                                       | host ids |
//! | `--ipc host`       | segments and queues that belong to the host's users                                      | host ids |
//! | `--network`, `--pid`, `--ipc container:X` | changes of X's devices and routes, signals to X's processes       | own ids  |
//! | `--uts host`       | changes of the host's name: it can be read                                               | own ids  |
//! | `--cgroupns host`  | nothing: the view is mounted for it, read-only                                           | own ids  |
//! | `--cap-add`, `--device` | whatever needs the capability outside of the container's own namespaces             | own ids  |
//!
//! `--userns=private` keeps a user namespace beside each of these, with what the table says refused: the mounts that
//! only a namespace's owner may make (sysfs, proc, mqueue) are then made by the parent. A container with the host's ids is
//! kept apart by capabilities, seccomp and masked paths, as Docker's are by default.

mod devices;
mod limits;
mod mounts;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use failure::{Error, Result};
use oci_spec::runtime::{
    Linux, LinuxCapabilitiesBuilder, LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespace, LinuxNamespaceType,
    LinuxSeccomp, Process, Spec, User as SpecUser,
};
use runtime::capabilities::{self, Set};
use runtime::users::User;
use runtime::{ProcessIdentity, seccomp};

use crate::Home;
use crate::config::ContainerConfig;
use crate::ids;
use crate::request::{NamespaceMode, NetworkMode, Request, Seccomp, UserNamespaceMode};

pub(crate) use limits::{resources, rlimits};

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Files of the kernel that tell too much or do too much.
pub(crate) const MASKED_PATHS: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
pub(crate) const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What is known only when the container starts.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Who it runs as, looked up in its own files.
    pub(crate) user: Option<User>,
    /// The first processes of the containers whose namespaces are joined, by their ids.
    pub(crate) joined: HashMap<String, ProcessIdentity>,
}

/// Decides whose user ids a request gets: [`UserNamespaceMode::Automatic`] becomes one of the others.
pub(crate) fn decide_user_namespace(request: &Request) -> UserNamespaceMode {
    let needs_hosts = request.privileged
        || request.network == NetworkMode::Host
        || request.pid == NamespaceMode::Host
        || request.ipc == NamespaceMode::Host;
    match request.user_namespace {
        UserNamespaceMode::Automatic if needs_hosts => UserNamespaceMode::Host,
        UserNamespaceMode::Automatic => UserNamespaceMode::Private,
        asked => asked,
    }
}

/// Finds what is wrong with a configuration before anything is made.
pub(crate) fn validate(config: &ContainerConfig) -> Result<()> {
    capability_set(config)?;
    resources(config)?;
    rlimits(&config.ulimits)?;
    devices::devices(config)?;
    if let Seccomp::Profile(text) = &config.security.seccomp {
        seccomp::parse_docker_json(text.as_bytes())?;
    }
    Ok(())
}

/// The specification of a container.
pub(crate) fn specification(home: &Home, config: &ContainerConfig, facts: &Facts) -> Result<Spec> {
    let mut spec = Spec::default();
    spec.set_process(Some(process(config, facts)?));
    spec.set_mounts(Some(mounts::mounts(home, config)?));
    spec.set_linux(Some(linux(config, facts)?));
    let own_name = config.namespaces.uts == NamespaceMode::Private;
    spec.set_hostname(own_name.then(|| config.host.hostname.clone()));
    spec.set_domainname(Some(config.host.domainname.clone()).filter(|name| own_name && !name.is_empty()));
    spec.set_annotations(Some(config.annotations.clone().into_iter().collect()));
    let mut root = oci_spec::runtime::Root::default();
    root.set_readonly(Some(config.security.read_only));
    spec.set_root(Some(root));
    Ok(spec)
}

/// The capabilities that the configuration asks for.
pub(crate) fn capability_set(config: &ContainerConfig) -> Result<Set> {
    let security = &config.security;
    let base = if security.privileged { Set::ALL } else { capabilities::docker_default() };
    capabilities::adjust(base, &security.capabilities_add, &security.capabilities_drop)
}

/// The variables of a process: Docker's additions, then the container's own, which win.
pub(crate) fn environment(config: &ContainerConfig, terminal: bool, home: &str, extra: &[String]) -> Vec<String> {
    let mut variables = vec![PATH.to_owned(), format!("HOSTNAME={}", config.host.hostname)];
    if terminal {
        variables.push("TERM=xterm".to_owned());
    }
    for entry in config.process.environment.iter().chain(extra) {
        let name = entry.split('=').next().unwrap_or_default();
        let known = variables.iter_mut().find(|known| known.split('=').next() == Some(name));
        match known {
            Some(known) => known.clone_from(entry),
            None => variables.push(entry.clone()),
        }
    }
    if !variables.iter().any(|entry| entry.starts_with("HOME=")) {
        variables.push(format!("HOME={home}"));
    }
    // A name alone takes a variable away.
    variables.retain(|entry| entry.contains('='));
    variables
}

/// A specification's capabilities: all sets but inheritable and ambient, which stay empty.
pub(crate) fn oci_capabilities(set: Set) -> Result<oci_spec::runtime::LinuxCapabilities> {
    LinuxCapabilitiesBuilder::default()
        .bounding(set.to_oci())
        .effective(set.to_oci())
        .permitted(set.to_oci())
        .inheritable(Set::EMPTY.to_oci())
        .ambient(Set::EMPTY.to_oci())
        .build()
        .map_err(|error| Error::internal("describe the capabilities").with_source(error))
}

/// A specification's user.
pub(crate) fn oci_user(user: Option<&User>) -> SpecUser {
    let mut result = SpecUser::default();
    if let Some(user) = user {
        result.set_uid(user.uid);
        result.set_gid(user.gid);
        result.set_additional_gids(Some(user.additional_gids.clone()));
    }
    result
}

fn process(config: &ContainerConfig, facts: &Facts) -> Result<Process> {
    let own = &config.process;
    let home = facts.user.as_ref().map_or("/", |user| user.home.as_str());
    let mut process = Process::default();
    process.set_terminal(Some(own.terminal));
    process.set_console_size(None);
    process.set_user(oci_user(facts.user.as_ref()));
    process.set_args(Some(own.arguments()));
    process.set_env(Some(environment(config, own.terminal, home, &[])));
    process.set_cwd(PathBuf::from(working_directory(&own.working_directory)));
    process.set_capabilities(Some(oci_capabilities(capability_set(config)?)?));
    process.set_rlimits(Some(rlimits(&config.ulimits)?));
    process.set_no_new_privileges(Some(config.security.no_new_privileges));
    process.set_oom_score_adj(config.oom_score_adjust);
    process.set_apparmor_profile(None);
    Ok(process)
}

/// An absolute directory to start in.
pub(crate) fn working_directory(text: &str) -> String {
    match text {
        "" => "/".to_owned(),
        absolute if absolute.starts_with('/') => absolute.to_owned(),
        relative => format!("/{relative}"),
    }
}

fn linux(config: &ContainerConfig, facts: &Facts) -> Result<Linux> {
    let security = &config.security;
    let range = config.range.map(ids::first_id);
    let mut linux = Linux::default();
    linux.set_uid_mappings(range.map(mapping).transpose()?);
    linux.set_gid_mappings(range.map(mapping).transpose()?);
    linux.set_namespaces(Some(namespaces(config, facts)?));
    linux.set_devices(Some(devices::devices(config)?));
    linux.set_resources(Some(resources(config)?));
    linux.set_sysctl(Some(sysctls(config)));
    let open = security.privileged || security.unconfined_system_paths;
    let paths = |list: &[&str]| if open { Vec::new() } else { list.iter().map(|path| (*path).to_owned()).collect() };
    linux.set_masked_paths(Some(paths(&MASKED_PATHS)));
    linux.set_readonly_paths(Some(paths(&READONLY_PATHS)));
    linux.set_seccomp(given_filter(config)?);
    Ok(linux)
}

/// Kernel settings: Docker's, which let every user of the container listen on any port and ping, then those asked for.
fn sysctls(config: &ContainerConfig) -> HashMap<String, String> {
    let mut all = HashMap::new();
    if matches!(config.namespaces.network, NetworkMode::Private | NetworkMode::None) {
        let last_group = if config.has_user_namespace() { "65535" } else { "2147483647" };
        all.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        all.insert("net.ipv4.ping_group_range".to_owned(), format!("0 {last_group}"));
    }
    all.extend(config.security.sysctls.iter().cloned());
    all
}

/// What `exec` needs to know of a container: which namespaces it has, and the filter.
pub(crate) fn linux_of_exec(config: &ContainerConfig, privileged: bool) -> Result<Linux> {
    let mut linux = Linux::default();
    let asked = &config.namespaces;
    let host_network = asked.network == NetworkMode::Host;
    let kinds = [
        (LinuxNamespaceType::User, config.has_user_namespace()),
        (LinuxNamespaceType::Mount, true),
        (LinuxNamespaceType::Pid, asked.pid != NamespaceMode::Host),
        (LinuxNamespaceType::Network, !host_network),
        (LinuxNamespaceType::Ipc, asked.ipc != NamespaceMode::Host),
        (LinuxNamespaceType::Uts, asked.uts != NamespaceMode::Host),
        (LinuxNamespaceType::Cgroup, asked.cgroup != NamespaceMode::Host),
    ];
    let namespaces = kinds.into_iter().filter(|(_, has)| *has).map(|(kind, _)| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(kind);
        namespace
    });
    linux.set_namespaces(Some(namespaces.collect()));
    linux.set_uid_mappings(config.range.map(ids::first_id).map(mapping).transpose()?);
    linux.set_gid_mappings(config.range.map(ids::first_id).map(mapping).transpose()?);
    linux.set_seccomp(if privileged { None } else { given_filter(config)? });
    Ok(linux)
}

fn mapping(first: u32) -> Result<Vec<LinuxIdMapping>> {
    let mapping = LinuxIdMappingBuilder::default().container_id(0_u32).host_id(first).size(ids::SIZE).build();
    mapping.map(|mapping| vec![mapping]).map_err(|error| Error::internal("describe the user ids").with_source(error))
}

/// The filter of a profile that the user gave.
fn given_filter(config: &ContainerConfig) -> Result<Option<LinuxSeccomp>> {
    match &config.security.seccomp {
        Seccomp::Unconfined | Seccomp::Default => Ok(None),
        Seccomp::Profile(text) => {
            seccomp::parse_docker_json(text.as_bytes())?.for_capabilities(capability_set(config)?).map(Some)
        }
    }
}

/// The default filter's program, where it applies: found in the cache without describing the filter first.
pub(crate) fn default_filter(config: &ContainerConfig, cache: &Path) -> Result<Option<Vec<seccomp::Instruction>>> {
    if config.security.seccomp != Seccomp::Default || config.security.privileged {
        return Ok(None);
    }
    seccomp::docker_default().compile(capability_set(config)?, Some(cache)).map(Some)
}

/// The namespaces: new ones, and the joined ones by their files in /proc. The host's are not mentioned.
fn namespaces(config: &ContainerConfig, facts: &Facts) -> Result<Vec<LinuxNamespace>> {
    let asked = &config.namespaces;
    let network = match &asked.network {
        NetworkMode::Private | NetworkMode::None => NamespaceMode::Private,
        NetworkMode::Host => NamespaceMode::Host,
        NetworkMode::Container(id) => NamespaceMode::Container(id.clone()),
    };
    let user = if config.has_user_namespace() { NamespaceMode::Private } else { NamespaceMode::Host };
    let wanted = [
        (LinuxNamespaceType::User, "user", &user),
        (LinuxNamespaceType::Mount, "mnt", &NamespaceMode::Private),
        (LinuxNamespaceType::Pid, "pid", &asked.pid),
        (LinuxNamespaceType::Network, "net", &network),
        (LinuxNamespaceType::Ipc, "ipc", &asked.ipc),
        (LinuxNamespaceType::Uts, "uts", &asked.uts),
        (LinuxNamespaceType::Cgroup, "cgroup", &asked.cgroup),
    ];
    let mut list = Vec::with_capacity(wanted.len());
    for (kind, file, mode) in wanted {
        let path = match mode {
            NamespaceMode::Host => continue,
            NamespaceMode::Private => None,
            NamespaceMode::Container(id) => {
                let identity = facts.joined.get(id).ok_or_else(|| {
                    Error::internal(format!("the {file} namespace of container `{id}` was not looked up"))
                })?;
                Some(PathBuf::from(format!("/proc/{}/ns/{file}", identity.pid)))
            }
        };
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(kind);
        namespace.set_path(path);
        list.push(namespace);
    }
    Ok(list)
}

#[cfg(test)]
mod tests;
