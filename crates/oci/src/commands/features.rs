//! `features`: what this runtime can do, as the specification's `features` structure.
//!
//! Everything in it is asked of the runtime's own tables and checks, so that it cannot say what is not so.

use failure::Result;
use runtime::{Features, seccomp::known};
use serde_json::{Value, json};

use crate::command::Command;
use crate::flags::{Order, Words};
use crate::global::Global;
use crate::{SPECIFICATION, output};

pub(crate) static COMMAND: Command = Command {
    name: "features",
    about: "show the enabled features",
    usage: "",
    description: "Prints the features of this runtime as JSON, in the form of the OCI runtime specification.",
    flags: &[],
    order: Order::Mixed,
    words: (0, 0),
    run,
};

/// The moments of the specification at which hooks run.
const HOOKS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

fn run(_: &Global, _: &Words) -> Result<u8> {
    output::json(&features())?;
    Ok(0)
}

fn features() -> Value {
    let features = Features::of_this_runtime();
    let (known_flags, supported_flags) = known::flags();
    let (modes, flags) = features.memory_policy;
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPECIFICATION,
        "hooks": HOOKS,
        "mountOptions": features.mount_options,
        "linux": {
            "namespaces": features.namespaces,
            "capabilities": features.capabilities,
            "cgroup": {"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true},
            "seccomp": {
                "enabled": true,
                "actions": known::ACTIONS,
                "operators": known::OPERATORS,
                "archs": known::architectures(),
                "knownFlags": known_flags,
                "supportedFlags": supported_flags,
            },
            "apparmor": {"enabled": features.apparmor},
            "selinux": {"enabled": features.selinux},
            "intelRdt": {"enabled": features.intel_rdt},
            "memoryPolicy": {"modes": modes, "flags": flags},
            "mountExtensions": {"idmap": {"enabled": true}},
            "netDevices": {"enabled": features.net_devices},
        },
        "annotations": {"org.skep.version": env!("CARGO_PKG_VERSION")},
        "potentiallyUnsafeConfigAnnotations": [],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_that_of_the_specification() {
        let features: oci_spec::runtime::Features = serde_json::from_value(features()).unwrap();
        assert_eq!(features.oci_version_max(), SPECIFICATION);
        assert!(features.linux().as_ref().unwrap().seccomp().as_ref().unwrap().enabled().unwrap());
    }
}
