//! Fields of Docker's documents that may be null or left out. Docker renders templates over Go's types, where such a field
//! has an empty value of its type: templates that work there work here.

use serde_json::Value;

const LISTS: &[&str] = &[
    "Aliases",
    "Args",
    "Binds",
    "BlkioWeightDevice",
    "CapAdd",
    "CapDrop",
    "Cmd",
    "DNSNames",
    "DeviceCgroupRules",
    "DeviceRequests",
    "Devices",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "Entrypoint",
    "Env",
    "ExecIDs",
    "ExtraHosts",
    "GroupAdd",
    "Links",
    "MaskedPaths",
    "Mounts",
    "OnBuild",
    "ReadonlyPaths",
    "RepoDigests",
    "RepoTags",
    "SecurityOpt",
    "Shell",
    "Ulimits",
    "VolumesFrom",
    "Warnings",
];
const MAPS: &[&str] = &[
    "Annotations",
    "DriverOpts",
    "ExposedPorts",
    "Labels",
    "Options",
    "PortBindings",
    "Ports",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "Volumes",
];
const TEXTS: &[&str] =
    &["Container", "DockerVersion", "Domainname", "Parent", "StopSignal", "User", "Variant", "WorkingDir"];
const POINTERS: &[&str] =
    &["Health", "Healthcheck", "IPAMConfig", "Init", "MemorySwappiness", "OomKillDisable", "PidsLimit", "StopTimeout"];

/// Whether a document may leave the field out.
pub(super) fn is_known(name: &str) -> bool {
    is_map(name) || [LISTS, TEXTS, POINTERS].iter().any(|names| names.contains(&name))
}

/// Whether the field holds values by their names.
pub(super) fn is_map(name: &str) -> bool {
    MAPS.contains(&name)
}

/// How Go prints the field when it is empty.
pub(super) fn print(name: &str) -> Option<&'static str> {
    let shapes = [(LISTS, "[]"), (MAPS, "map[]"), (TEXTS, ""), (POINTERS, "<nil>")];
    shapes.iter().find(|(names, _)| names.contains(&name)).map(|(_, text)| *text)
}

/// What functions but `json` take for the field when it is empty.
pub(super) fn value(name: &str) -> Value {
    match print(name) {
        Some("[]") => Value::Array(Vec::new()),
        Some("map[]") => Value::Object(serde_json::Map::new()),
        Some("") => "".into(),
        _ => Value::Null,
    }
}
