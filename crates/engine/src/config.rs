//! What a container is, for as long as it exists: `containers/<id>/config.json`.
//!
//! ```text
//! Request + the image's configuration --merge--> ContainerConfig --specification--> the OCI runtime's Spec
//! ```
//! Written once by `create`, replaced by rename when the container is renamed, read by everything else. It holds
//! what was decided, with nothing left to look up: full ids of other containers, names of volumes, the layers of the
//! root. What changes while it runs is in `state.json` (see [`monitor::state`]).
//!
//! Docker's rules of merging, all in [`merge`]: an entry point given replaces the image's and drops its command; the
//! user's variables come first and hide the image's; labels and ports are united; the image's volumes become anonymous
//! volumes unless something is mounted there.

use std::collections::BTreeMap;

use failure::{Context as _, Error, Result};
use jiff::Timestamp;
use oci_spec::image::ImageConfiguration;
use runtime::ContainerId;
use serde::{Deserialize, Serialize};

use crate::Home;
use crate::files;
use crate::request::{
    Device, LogOptions, Mount, MountSource, NamespaceMode, NetworkMode, Request, Resources, Seccomp, Ulimit,
    UserNamespaceMode,
};

/// The format's version. A reader refuses a newer one.
pub const VERSION: u32 = 1;

/// A container as it was decided.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// The format's version.
    pub version: u32,
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// When it was made.
    #[serde(with = "moment")]
    pub created: Timestamp,
    /// Where its root comes from.
    pub image: ImageSource,
    /// The claimed range of user ids (see [`crate::ids`]); none: it has the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<u32>,
    /// What runs in it.
    pub process: Process,
    /// Its identity among hosts.
    pub host: HostIdentity,
    /// What is mounted in it, in the order of mounting.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<ConfigMount>,
    /// What it may use.
    #[serde(default)]
    pub resources: Resources,
    /// Limits of each process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ulimits: Vec<Ulimit>,
    /// How readily the kernel kills it for memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_score_adjust: Option<i32>,
    /// Bytes of /dev/shm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<u64>,
    /// What it may do.
    #[serde(default)]
    pub security: Security,
    /// Whose namespaces it uses.
    #[serde(default)]
    pub namespaces: Namespaces,
    /// Labels, the image's included.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations for the OCI specification.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Ports it says it listens on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exposed_ports: Vec<String>,
    /// The signal that asks it to end.
    pub stop_signal: String,
    /// Seconds before SIGKILL; none: 10; negative: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// Removed when it ends.
    #[serde(default)]
    pub auto_remove: bool,
    /// A tiny PID 1 in front of the command.
    #[serde(default)]
    pub init: bool,
    /// Where its output is kept.
    #[serde(default)]
    pub log: LogOptions,
}

/// Where a root filesystem comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSource {
    /// The image as it was asked for.
    pub reference: String,
    /// The image's id, `sha256:...`; none for `rootfs:` and `host:`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The digest of its manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// The layers or the directory below the container's own.
    pub base: ConfigBase,
}

/// [`store::overlay::Base`] on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigBase {
    /// Chain ids of unpacked layers, bottom first.
    Layers(Vec<String>),
    /// A directory of the host.
    Directory(std::path::PathBuf),
    /// The host's own root.
    Host,
}

/// The first process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// What is put before the command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// The command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// `NAME=value`, without what the engine adds (`PATH`, `HOSTNAME`, `TERM`, `HOME`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<String>,
    /// Where it starts; empty: `/`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub working_directory: String,
    /// `user[:group]`; empty: root.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// More groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// It has a terminal.
    #[serde(default)]
    pub terminal: bool,
    /// Its stdin stays open.
    #[serde(default)]
    pub open_stdin: bool,
    /// Its stdin is closed when the first client leaves.
    #[serde(default)]
    pub stdin_once: bool,
}

impl Process {
    /// Entry point and command together.
    pub fn arguments(&self) -> Vec<String> {
        self.entrypoint.iter().chain(&self.command).cloned().collect()
    }
}

/// What makes /etc/hosts, /etc/resolv.conf and the host name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostIdentity {
    /// The host name.
    pub hostname: String,
    /// The NIS domain name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub domainname: String,
    /// `NAME:ADDRESS`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_hosts: Vec<String>,
    /// Name servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// Search domains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_search: Vec<String>,
    /// Resolver options.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_options: Vec<String>,
}

/// A mount as decided: a volume has its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigMount {
    /// What was asked for.
    #[serde(flatten)]
    pub mount: Mount,
    /// The volume's name, when it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
}

/// What a container may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    /// Nearly everything.
    pub privileged: bool,
    /// Capabilities to add.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities_add: Vec<String>,
    /// Capabilities to drop.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities_drop: Vec<String>,
    /// System call filter.
    pub seccomp: Seccomp,
    /// No privileges by set-uid files.
    pub no_new_privileges: bool,
    /// /proc and /sys as they are.
    pub unconfined_system_paths: bool,
    /// Kept for `inspect`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_options: Vec<String>,
    /// No writes to the root.
    pub read_only: bool,
    /// Device nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    /// Rules of the device cgroup.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_cgroup_rules: Vec<String>,
    /// Kernel settings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sysctls: Vec<(String, String)>,
}

/// Whose namespaces a container uses. `user` is decided: never [`UserNamespaceMode::Automatic`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespaces {
    /// Network.
    pub network: NetworkMode,
    /// Process ids.
    pub pid: NamespaceMode,
    /// Shared memory and queues.
    pub ipc: NamespaceMode,
    /// Host name.
    pub uts: NamespaceMode,
    /// Control groups.
    pub cgroup: NamespaceMode,
    /// User ids.
    pub user: UserNamespaceMode,
}

/// Makes the configuration of a new container: the request over the image's configuration. The name, the range and
/// the names of volumes are filled in as they are claimed.
///
/// # Errors
/// A request that names no command although the image has none, or that contradicts itself.
pub fn merge(
    request: Request,
    id: ContainerId,
    image: ImageSource,
    configuration: Option<&ImageConfiguration>,
) -> Result<ContainerConfig> {
    let defaults = ImageDefaults::of(configuration);
    let process = merge_process(&request, &defaults)?;
    let host = host_identity(&request, &id)?;
    let mounts = merge_mounts(request.mounts, &defaults)?;
    let mut labels: BTreeMap<String, String> = defaults.labels;
    labels.extend(request.labels);
    let mut exposed_ports = defaults.exposed_ports;
    exposed_ports.extend(request.exposed_ports);
    exposed_ports.sort();
    exposed_ports.dedup();
    let stop_signal = request.stop_signal.or(defaults.stop_signal).unwrap_or_else(|| "SIGTERM".to_owned());
    crate::signals::parse(&stop_signal)?;
    Ok(ContainerConfig {
        version: VERSION,
        id,
        name: String::new(),
        created: Timestamp::now(),
        image,
        range: None,
        process,
        host,
        mounts,
        resources: request.resources,
        ulimits: request.ulimits,
        oom_score_adjust: request.oom_score_adjust,
        // As Docker: 0 is the default.
        shm_size: request.shm_size.filter(|size| *size > 0),
        security: Security {
            privileged: request.privileged,
            capabilities_add: request.capabilities_add,
            capabilities_drop: request.capabilities_drop,
            seccomp: request.seccomp,
            no_new_privileges: request.no_new_privileges,
            unconfined_system_paths: request.unconfined_system_paths,
            other_options: request.other_security_options,
            read_only: request.read_only,
            devices: request.devices,
            device_cgroup_rules: request.device_cgroup_rules,
            sysctls: request.sysctls,
        },
        namespaces: Namespaces {
            network: request.network,
            pid: request.pid,
            ipc: request.ipc,
            uts: request.uts,
            cgroup: request.cgroup_namespace,
            user: request.user_namespace,
        },
        labels,
        annotations: request.annotations.into_iter().collect(),
        exposed_ports,
        stop_signal,
        stop_timeout: request.stop_timeout,
        auto_remove: request.auto_remove,
        init: request.init,
        log: request.log,
    })
}

impl ContainerConfig {
    /// Reads the configuration of a container.
    ///
    /// # Errors
    /// It is gone, or was written by a newer version.
    pub fn read(home: &Home, id: &ContainerId) -> Result<Self> {
        let path = home.container(id).join("config.json");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(crate::find::gone(id)),
            Err(error) => return Err(error).with_context(|| format!("read `{}`", path.display())),
        };
        let config: Self = serde_json::from_slice(&bytes).map_err(|error| {
            Error::internal(format!("`{}` is damaged; remove the container with `skep rm -f`", path.display()))
                .with_source(error)
        })?;
        if config.version > VERSION {
            return Err(Error::unsupported(format!(
                "container `{}` was made by a newer skep (format {}, this one knows {VERSION}); use that one",
                id.short(),
                config.version
            )));
        }
        Ok(config)
    }

    /// Writes it into the container's directory, which may still be the one it is being made in.
    pub(crate) fn write(&self, directory: &std::path::Path, fresh: bool) -> Result<()> {
        let bytes = serde_json::to_vec(self)
            .map_err(|error| Error::internal("write the container's configuration").with_source(error))?;
        let path = directory.join("config.json");
        if fresh { files::write_new(&path, &bytes) } else { files::replace(&path, &bytes) }
    }

    /// Whether it has a user namespace.
    pub fn has_user_namespace(&self) -> bool {
        self.range.is_some()
    }
}

/// A time as RFC 3339 text.
mod moment {
    use jiff::Timestamp;
    use serde::de::{Deserialize as _, Error as _};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// The chain ids of a base's layers.
pub(crate) fn chain_ids(layers: &[String]) -> Result<Vec<store::ChainId>> {
    layers.iter().map(|layer| store::Digest::parse(layer).map(store::ChainId)).collect()
}

/// What an image says about running it, in plain values.
#[derive(Default)]
struct ImageDefaults {
    entrypoint: Option<Vec<String>>,
    command: Option<Vec<String>>,
    environment: Vec<String>,
    working_directory: String,
    user: String,
    labels: BTreeMap<String, String>,
    exposed_ports: Vec<String>,
    volumes: Vec<String>,
    stop_signal: Option<String>,
}

impl ImageDefaults {
    fn of(configuration: Option<&ImageConfiguration>) -> Self {
        let Some(config) = configuration.and_then(|configuration| configuration.config().as_ref()) else {
            return Self::default();
        };
        let mut volumes: Vec<String> = config.volumes().clone().unwrap_or_default();
        volumes.sort();
        Self {
            entrypoint: config.entrypoint().clone().filter(|list| !list.is_empty()),
            command: config.cmd().clone(),
            environment: config.env().clone().unwrap_or_default(),
            working_directory: config.working_dir().clone().unwrap_or_default(),
            user: config.user().clone().unwrap_or_default(),
            labels: config.labels().clone().unwrap_or_default().into_iter().collect(),
            exposed_ports: config.exposed_ports().clone().unwrap_or_default(),
            volumes,
            stop_signal: config.stop_signal().clone().filter(|signal| !signal.is_empty()),
        }
    }
}

fn merge_process(request: &Request, defaults: &ImageDefaults) -> Result<Process> {
    let given = request.entrypoint.as_ref();
    let entrypoint = match given {
        Some(list) => list.iter().filter(|word| list.len() > 1 || !word.is_empty()).cloned().collect(),
        None => defaults.entrypoint.clone().unwrap_or_default(),
    };
    let command = if given.is_none() && request.command.is_empty() {
        defaults.command.clone().unwrap_or_default()
    } else {
        request.command.clone()
    };
    if entrypoint.is_empty() && command.is_empty() {
        return Err(Error::invalid(format!("no command: `{}` names none; put one after the image", request.image)));
    }
    Ok(Process {
        entrypoint,
        command,
        environment: merge_environment(&request.environment, &defaults.environment),
        working_directory: request.working_directory.clone().unwrap_or_else(|| defaults.working_directory.clone()),
        user: request.user.clone().unwrap_or_else(|| defaults.user.clone()),
        groups: request.groups.clone(),
        terminal: request.terminal,
        open_stdin: request.open_stdin,
        stdin_once: request.stdin_once,
    })
}

/// The user's variables, then those of the image that they do not hide. A name alone hides and is not kept.
fn merge_environment(given: &[String], image: &[String]) -> Vec<String> {
    let name = |entry: &String| entry.split('=').next().unwrap_or_default().to_owned();
    let mut merged: Vec<String> = Vec::with_capacity(given.len() + image.len());
    for entry in given {
        merged.retain(|earlier| name(earlier) != name(entry));
        merged.push(entry.clone());
    }
    let inherited = image.iter().filter(|entry| !given.iter().any(|own| name(own) == name(entry)));
    let inherited: Vec<String> = inherited.cloned().collect();
    merged.extend(inherited);
    merged.retain(|entry| entry.contains('='));
    merged
}

fn host_identity(request: &Request, id: &ContainerId) -> Result<HostIdentity> {
    let own_name = request.uts == NamespaceMode::Private;
    if !own_name && (request.hostname.is_some() || request.domainname.is_some()) {
        return Err(Error::invalid("a host name needs a UTS namespace of its own; leave out `--uts` or `--hostname`"));
    }
    if let Some(hostname) = &request.hostname
        && (hostname.is_empty() || hostname.len() > 64 || hostname.bytes().any(|byte| byte <= b' ' || byte == b'/'))
    {
        return Err(Error::invalid(format!("`{hostname}` is no host name; use up to 64 letters, digits, `-` and `.`")));
    }
    let shares_hosts_network = own_name && request.network == NetworkMode::Host;
    let hostname = match &request.hostname {
        Some(hostname) => hostname.clone(),
        None if !own_name || shares_hosts_network => host_name(),
        None => id.short().to_string(),
    };
    Ok(HostIdentity {
        hostname,
        domainname: request.domainname.clone().unwrap_or_default(),
        extra_hosts: request.extra_hosts.clone(),
        dns: request.dns.clone(),
        dns_search: request.dns_search.clone(),
        dns_options: request.dns_options.clone(),
    })
}

/// This machine's own name.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The request's mounts, then an anonymous volume for each of the image's that nothing covers.
fn merge_mounts(mounts: Vec<Mount>, defaults: &ImageDefaults) -> Result<Vec<ConfigMount>> {
    let mut all: Vec<ConfigMount> = Vec::with_capacity(mounts.len());
    for mut mount in mounts {
        mount.target = clean_target(&mount.target)?;
        if all.iter().any(|other| other.mount.target == mount.target) {
            return Err(Error::invalid(format!("two mounts at `{}`; keep one", mount.target)));
        }
        all.push(ConfigMount { mount, volume: None });
    }
    for target in &defaults.volumes {
        let target = clean_target(target)?;
        if !all.iter().any(|other| other.mount.target == target) {
            all.push(ConfigMount { mount: Mount::at(MountSource::Anonymous, &target), volume: None });
        }
    }
    // Parents before children, otherwise in the order given: a mount must not hide one below it.
    all.sort_by_key(|entry| entry.mount.target.split('/').count());
    Ok(all)
}

/// An absolute path without `.`, `..` and doubled slashes; not the root itself.
fn clean_target(target: &str) -> Result<String> {
    if !target.starts_with('/') {
        return Err(Error::invalid(format!(
            "the mount's target `{target}` is not an absolute path; begin it with `/`"
        )));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    if parts.is_empty() {
        return Err(Error::invalid("nothing can be mounted on `/` itself; choose a directory below it"));
    }
    Ok(format!("/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn image(config: serde_json::Value) -> ImageConfiguration {
        serde_json::from_value(json!({
            "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, "config": config,
        }))
        .unwrap()
    }

    fn merged(request: Request, configuration: &ImageConfiguration) -> Result<ContainerConfig> {
        let source = ImageSource { reference: "x".into(), id: None, manifest: None, base: ConfigBase::Host };
        merge(request, ContainerId::random(), source, Some(configuration))
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn entry_point_and_command_merge_as_dockers_do() {
        let both = image(json!({"Entrypoint": ["/entry"], "Cmd": ["a", "b"]}));
        let cases: [(Option<&str>, &str, &str); 5] = [
            (None, "", "/entry a b"),
            (None, "c", "/entry c"),
            (Some("/own"), "", "/own"),
            (Some("/own"), "c", "/own c"),
            (Some(""), "c d", "c d"),
        ];
        for (entrypoint, command, expected) in cases {
            let request = Request { entrypoint: entrypoint.map(words), command: words(command), ..Request::default() };
            assert_eq!(merged(request, &both).unwrap().process.arguments(), words(expected));
        }
        let cleared = Request { entrypoint: Some(vec![String::new()]), ..Request::default() };
        assert!(merged(cleared, &both).unwrap_err().message().starts_with("no command"));
    }

    #[test]
    fn the_users_variables_hide_the_images() {
        let given = ["A=1".to_owned(), "B".to_owned(), "A=2".to_owned()];
        let image = ["B=image".to_owned(), "A=image".to_owned(), "C=image".to_owned()];
        assert_eq!(merge_environment(&given, &image), ["A=2", "C=image"]);
    }

    #[test]
    fn an_images_volume_is_anonymous_unless_covered() {
        let image = image(json!({"Cmd": ["x"], "Volumes": {"/data": {}, "/cache/": {}}}));
        let bind = MountSource::Bind { path: "/host".into(), create: true };
        let request = Request { mounts: vec![Mount::at(bind, "/data//")], ..Request::default() };
        let config = merged(request, &image).unwrap();
        let targets: Vec<_> = config.mounts.iter().map(|entry| entry.mount.target.as_str()).collect();
        assert_eq!(targets, ["/data", "/cache"]);
        assert_eq!(config.mounts[1].mount.source, MountSource::Anonymous);
    }

    #[test]
    fn targets_are_cleaned() {
        assert_eq!(clean_target("/a/./b/../c/").unwrap(), "/a/c");
        assert!(clean_target("a").is_err());
        assert!(clean_target("/a/..").is_err());
    }

    #[test]
    fn a_configuration_survives_the_disk() {
        let config = merged(
            Request { labels: vec![("a".into(), "b".into())], command: words("x y"), ..Request::default() },
            &image(json!({"User": "daemon", "WorkingDir": "/srv", "StopSignal": "SIGQUIT", "Labels": {"c": "d"}})),
        )
        .unwrap();
        let text = serde_json::to_string(&config).unwrap();
        let back: ContainerConfig = serde_json::from_str(&text).unwrap();
        assert_eq!(back.process, config.process);
        assert_eq!(back.labels.len(), 2);
        assert_eq!((back.process.user.as_str(), back.stop_signal.as_str()), ("daemon", "SIGQUIT"));
    }
}
