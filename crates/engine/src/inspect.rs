//! `inspect`: a container in Docker's JSON shape.
//!
//! The names and the kinds of values are those of Docker's Engine API (`GET /containers/{id}/json`, v1.51), because
//! programs read them: a list that is empty is `[]` or `null` just where Docker says so, a moment that never was is
//! `0001-01-01T00:00:00Z`. What this engine does not have, such as link-local addresses, is there and empty.

use failure::Result;
use jiff::Timestamp;
use monitor::state::{Observed, State};
use runtime::ContainerId;
use serde_json::{Map, Value, json};

use crate::Home;
use crate::config::{ConfigBase, ConfigMount, ContainerConfig};
use crate::request::{Device, MountSource, NamespaceMode, NetworkMode, Seccomp, Ulimit, UserNamespaceMode};

/// What Docker writes for a moment that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";
/// Bytes of /dev/shm when nobody says otherwise.
const SHM_SIZE: u64 = 64 << 20;

/// The container as Docker's API would show it. With `size`, its layers are measured.
///
/// # Errors
/// A container that is gone.
pub fn inspect(home: &Home, id: &ContainerId, size: bool) -> Result<Value> {
    let config = ContainerConfig::read(home, id)?;
    let (state, observed) = crate::state::observe(home, id)?;
    let directory = home.container(id);
    let file = |name: &str| directory.join(name).display().to_string();
    let arguments = config.process.arguments();
    let mut value = json!({
        "Id": id.as_ref(),
        "Created": config.created.to_string(),
        "Path": arguments.first().cloned().unwrap_or_default(),
        "Args": arguments.get(1..).unwrap_or_default(),
        "State": state_object(&state, observed),
        "Image": config.image.id.clone().unwrap_or_else(|| config.image.reference.clone()),
        "ResolvConfPath": file("resolv.conf"),
        "HostnamePath": file("hostname"),
        "HostsPath": file("hosts"),
        "LogPath": crate::state::log_directory(home, id).join("container.log").display().to_string(),
        "Name": format!("/{}", config.name),
        "RestartCount": state.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": null,
        "HostConfig": host_config(&config),
        "GraphDriver": graph_driver(home, &config),
        "Mounts": config.mounts.iter().map(|mount| mount_object(home, mount)).collect::<Vec<_>>(),
        "Config": config_object(&config),
        "NetworkSettings": network_settings(&config),
    });
    if size && let Some(object) = value.as_object_mut() {
        let (written, all) = crate::list::sizes(home, &config)?;
        object.insert("SizeRw".into(), written.into());
        object.insert("SizeRootFs".into(), all.into());
    }
    Ok(value)
}

fn state_object(state: &State, observed: Observed) -> Value {
    let status = observed.status();
    let running = observed.is_running();
    json!({
        "Status": status.word(),
        "Running": running,
        "Paused": status == monitor::state::Status::Paused,
        "Restarting": status == monitor::state::Status::Restarting,
        "OOMKilled": state.oom_killed,
        "Dead": status == monitor::state::Status::Dead,
        "Pid": if running { state.identity.map_or(0, |identity| identity.pid) } else { 0 },
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": moment(state.started_at),
        "FinishedAt": moment(if running { None } else { state.finished_at }),
    })
}

fn moment(time: Option<Timestamp>) -> String {
    time.map_or_else(|| NEVER.to_owned(), |time| time.to_string())
}

/// Docker's `HostConfig`: what was asked of the host.
fn host_config(config: &ContainerConfig) -> Value {
    let security = &config.security;
    let resources = &config.resources;
    let masked = !(security.privileged || security.unconfined_system_paths);
    let mut object = json!({
        "Binds": null_if_empty(binds(config)),
        "ContainerIDFile": "",
        "LogConfig": { "Type": config.log.driver_name(), "Config": config.log.options().into_iter().collect::<std::collections::BTreeMap<_, _>>() },
        "NetworkMode": network_mode(&config.namespaces.network),
        "PortBindings": {},
        "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 },
        "AutoRemove": config.auto_remove,
        "VolumeDriver": "",
        "VolumesFrom": null,
        "ConsoleSize": [0, 0],
        "Annotations": config.annotations,
        "CapAdd": null_if_empty(security.capabilities_add.clone()),
        "CapDrop": null_if_empty(security.capabilities_drop.clone()),
        "CgroupnsMode": namespace_mode(&config.namespaces.cgroup, "private"),
        "Dns": config.host.dns,
        "DnsOptions": config.host.dns_options,
        "DnsSearch": config.host.dns_search,
        "ExtraHosts": null_if_empty(config.host.extra_hosts.clone()),
        "GroupAdd": null_if_empty(config.process.groups.clone()),
        "IpcMode": namespace_mode(&config.namespaces.ipc, "private"),
        "Cgroup": "",
        "Links": null,
        "OomScoreAdj": config.oom_score_adjust.unwrap_or(0),
        "PidMode": namespace_mode(&config.namespaces.pid, ""),
        "Privileged": security.privileged,
        "PublishAllPorts": false,
        "ReadonlyRootfs": security.read_only,
        "SecurityOpt": null_if_empty(security_options(config)),
        "UTSMode": namespace_mode(&config.namespaces.uts, ""),
        "UsernsMode": if config.namespaces.user == UserNamespaceMode::Host { "host" } else { "" },
        "ShmSize": config.shm_size.unwrap_or(SHM_SIZE),
        "Runtime": "skep",
        "Isolation": "",
        "Init": config.init,
        "Sysctls": security.sysctls.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "Tmpfs": tmpfs(config),
        "Mounts": [],
        "MaskedPaths": if masked { json!(crate::specification::MASKED_PATHS) } else { Value::Null },
        "ReadonlyPaths": if masked { json!(crate::specification::READONLY_PATHS) } else { Value::Null },
    });
    let limits = json!({
        "CpuShares": resources.cpu_shares.unwrap_or(0),
        "Memory": resources.memory.unwrap_or(0),
        "NanoCpus": resources.nano_cpus.unwrap_or(0),
        "CgroupParent": "",
        "BlkioWeight": resources.blkio_weight.unwrap_or(0),
        "BlkioWeightDevice": [],
        "BlkioDeviceReadBps": [],
        "BlkioDeviceWriteBps": [],
        "BlkioDeviceReadIOps": [],
        "BlkioDeviceWriteIOps": [],
        "CpuPeriod": resources.cpu_period.unwrap_or(0),
        "CpuQuota": resources.cpu_quota.unwrap_or(0),
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": resources.cpuset_cpus.clone().unwrap_or_default(),
        "CpusetMems": resources.cpuset_mems.clone().unwrap_or_default(),
        "Devices": security.devices.iter().map(device_object).collect::<Vec<_>>(),
        "DeviceCgroupRules": null_if_empty(security.device_cgroup_rules.clone()),
        "DeviceRequests": null,
        "MemoryReservation": resources.memory_reservation.unwrap_or(0),
        "MemorySwap": resources.memory_swap.unwrap_or(0),
        "MemorySwappiness": resources.memory_swappiness,
        "OomKillDisable": resources.oom_kill_disable,
        "PidsLimit": resources.pids_limit,
        "Ulimits": config.ulimits.iter().map(ulimit_object).collect::<Vec<_>>(),
    });
    extend(&mut object, limits);
    object
}

fn extend(object: &mut Value, more: Value) {
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
}

/// Docker says `null` for these lists when nothing was given.
fn null_if_empty(list: Vec<String>) -> Value {
    if list.is_empty() { Value::Null } else { json!(list) }
}

/// Binds and named volumes in the form of `-v`.
fn binds(config: &ContainerConfig) -> Vec<String> {
    let form = |entry: &ConfigMount| {
        let source = match &entry.mount.source {
            MountSource::Bind { path, .. } => path.display().to_string(),
            MountSource::Volume(name) => name.clone(),
            MountSource::Anonymous | MountSource::Tmpfs { .. } => return None,
        };
        let mode = if entry.mount.read_only { ":ro" } else { "" };
        Some(format!("{source}:{}{mode}", entry.mount.target))
    };
    config.mounts.iter().filter_map(form).collect()
}

fn tmpfs(config: &ContainerConfig) -> Value {
    let mut found = Map::new();
    for entry in &config.mounts {
        if let MountSource::Tmpfs { size, mode, options } = &entry.mount.source {
            let mut words = options.clone();
            words.extend(size.map(|bytes| format!("size={bytes}")));
            words.extend(mode.map(|mode| format!("mode={mode:o}")));
            found.insert(entry.mount.target.clone(), words.join(",").into());
        }
    }
    if found.is_empty() { Value::Null } else { Value::Object(found) }
}

fn security_options(config: &ContainerConfig) -> Vec<String> {
    let security = &config.security;
    let mut options = security.other_options.clone();
    match &security.seccomp {
        Seccomp::Default => {}
        Seccomp::Unconfined => options.push("seccomp=unconfined".into()),
        Seccomp::Profile(text) => options.push(format!("seccomp={text}")),
    }
    if security.no_new_privileges {
        options.push("no-new-privileges".into());
    }
    if security.unconfined_system_paths {
        options.push("systempaths=unconfined".into());
    }
    options
}

fn device_object(device: &Device) -> Value {
    json!({
        "PathOnHost": device.host.display().to_string(),
        "PathInContainer": device.container,
        "CgroupPermissions": device.permissions,
    })
}

fn ulimit_object(limit: &Ulimit) -> Value {
    let number = |value: u64| i64::try_from(value).unwrap_or(-1);
    json!({ "Name": limit.name, "Hard": number(limit.hard), "Soft": number(limit.soft) })
}

fn namespace_mode(mode: &NamespaceMode, private: &str) -> String {
    match mode {
        NamespaceMode::Private => private.to_owned(),
        NamespaceMode::Host => "host".to_owned(),
        NamespaceMode::Container(id) => format!("container:{id}"),
    }
}

fn network_mode(mode: &NetworkMode) -> String {
    match mode {
        NetworkMode::Private | NetworkMode::None => "none".to_owned(),
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::Container(id) => format!("container:{id}"),
    }
}

/// Where the layers are. `MergedDir` is where Docker mounts them; here the mount is in the container's namespace only.
fn graph_driver(home: &Home, config: &ContainerConfig) -> Value {
    let layer = home.container(&config.id).join("layer");
    let lower = match &config.image.base {
        ConfigBase::Layers(chain) => {
            let path = |id: &String| {
                let name = id.rsplit(':').next().unwrap_or(id);
                home.root().join("layers").join(name).join("tree").display().to_string()
            };
            chain.iter().rev().map(path).collect::<Vec<_>>().join(":")
        }
        ConfigBase::Directory(path) => path.display().to_string(),
        ConfigBase::Host => "/".to_owned(),
    };
    json!({
        "Name": "overlay2",
        "Data": {
            "ID": config.id.as_ref(),
            "LowerDir": lower,
            "UpperDir": layer.join("upper").display().to_string(),
            "WorkDir": layer.join("work").display().to_string(),
        },
    })
}

fn mount_object(home: &Home, entry: &ConfigMount) -> Value {
    let mount = &entry.mount;
    let mut object = json!({
        "Type": "bind",
        "Source": "",
        "Destination": mount.target,
        "Mode": if mount.read_only { "ro" } else { "" },
        "RW": !mount.read_only,
        "Propagation": mount.propagation.clone().unwrap_or_else(|| "rprivate".to_owned()),
    });
    let details = match (&mount.source, &entry.volume) {
        (MountSource::Bind { path, .. }, _) => json!({ "Source": path.display().to_string() }),
        (MountSource::Tmpfs { .. }, _) => json!({ "Type": "tmpfs", "Propagation": "" }),
        (MountSource::Volume(name), None) | (_, Some(name)) => json!({
            "Type": "volume",
            "Name": name,
            "Source": home.volumes().join(name).join("_data").display().to_string(),
            "Driver": "local",
            "Propagation": "",
        }),
        (MountSource::Anonymous, None) => json!({ "Type": "volume" }),
    };
    extend(&mut object, details);
    object
}

/// Docker's `Config`: what runs.
fn config_object(config: &ContainerConfig) -> Value {
    let process = &config.process;
    let attached = !process.open_stdin || process.stdin_once;
    json!({
        "Hostname": config.host.hostname,
        "Domainname": config.host.domainname,
        "User": process.user,
        "AttachStdin": process.open_stdin && process.stdin_once,
        "AttachStdout": attached,
        "AttachStderr": attached,
        "ExposedPorts": set(&config.exposed_ports),
        "Tty": process.terminal,
        "OpenStdin": process.open_stdin,
        "StdinOnce": process.stdin_once,
        "Env": process.environment,
        "Cmd": null_if_empty(process.command.clone()),
        "Image": config.image.reference,
        "Volumes": null,
        "WorkingDir": process.working_directory,
        "Entrypoint": null_if_empty(process.entrypoint.clone()),
        "OnBuild": null,
        "Labels": config.labels,
        "StopSignal": config.stop_signal,
        "StopTimeout": config.stop_timeout,
    })
}

/// A set as JSON has it: an object of empty objects; `null` when it is empty.
fn set(names: &[String]) -> Value {
    if names.is_empty() {
        return Value::Null;
    }
    Value::Object(names.iter().map(|name| (name.clone(), json!({}))).collect())
}

/// A container without a network still has the fields that clients read.
fn network_settings(config: &ContainerConfig) -> Value {
    let endpoint = json!({
        "IPAMConfig": null,
        "Links": null,
        "Aliases": null,
        "MacAddress": "",
        "DriverOpts": null,
        "GwPriority": 0,
        "NetworkID": "",
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": null,
    });
    let networks = match &config.namespaces.network {
        NetworkMode::Container(_) => json!({}),
        mode => json!({ network_mode(mode): endpoint }),
    };
    json!({
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": "",
        "Ports": {},
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null,
        "EndpointID": "",
        "Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "MacAddress": "",
        "Networks": networks,
    })
}
