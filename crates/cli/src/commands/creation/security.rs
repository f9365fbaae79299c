//! Its walls: privileges, filters, namespaces.

use crate::exit::{Outcome, Stop};
use crate::values::{Parsed, namespace, security, sysctl};
use clap::Args;
use engine::Request;

#[derive(Debug, Args)]
#[command(next_help_heading = "Isolation")]
pub(super) struct Isolation {
    /// Nearly everything that the host's root may do
    #[arg(long)]
    privileged: bool,
    /// Add a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Drop a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// seccomp=FILE, seccomp=unconfined, no-new-privileges, systempaths=unconfined
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// Set a kernel setting of its namespaces
    #[arg(long, value_name = "NAME=VALUE", value_parser = sysctl::sysctl)]
    sysctl: Vec<(String, String)>,
    /// User namespace: private (its own 65,536 ids, the default) or host
    #[arg(long, value_name = "MODE")]
    userns: Option<String>,
    /// PID namespace: private, host or container:NAME
    #[arg(long, value_name = "MODE")]
    pid: Option<String>,
    /// IPC namespace: private, shareable, host or container:NAME
    #[arg(long, value_name = "MODE")]
    ipc: Option<String>,
    /// UTS namespace: private or host
    #[arg(long, value_name = "MODE")]
    uts: Option<String>,
    /// Cgroup namespace: private or host
    #[arg(long, value_name = "MODE")]
    cgroupns: Option<String>,
    /// Only "process" so far
    #[arg(long, hide = true, value_parser = technology)]
    isolation: Option<String>,
}

impl Isolation {
    pub(super) fn apply(self, request: &mut Request) -> Outcome<()> {
        let options = security::options(&self.security_opt)?;
        request.seccomp = options.seccomp;
        request.no_new_privileges = options.no_new_privileges;
        request.unconfined_system_paths = options.unconfined_system_paths;
        request.other_security_options = options.others;
        request.privileged = self.privileged;
        request.capabilities_add = self.cap_add;
        request.capabilities_drop = self.cap_drop;
        request.sysctls = self.sysctl;
        let text = |mode: &Option<String>| mode.clone().unwrap_or_default();
        request.user_namespace = namespace::user(&text(&self.userns)).map_err(Stop::Usage)?;
        request.pid = namespace::pid(&text(&self.pid)).map_err(Stop::Usage)?;
        request.ipc = namespace::ipc(&text(&self.ipc)).map_err(Stop::Usage)?;
        request.uts = namespace::uts(&text(&self.uts)).map_err(Stop::Usage)?;
        request.cgroup_namespace = namespace::cgroup(&text(&self.cgroupns)).map_err(Stop::Usage)?;
        Ok(())
    }
}

fn technology(text: &str) -> Parsed<String> {
    if matches!(text, "" | "default" | "process") {
        Ok(text.into())
    } else {
        Err(format!("isolation `{text}` is not supported yet"))
    }
}
