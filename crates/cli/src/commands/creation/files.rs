//! The files it sees: volumes, binds, memory, devices.

use crate::exit::{Outcome, Stop};
use crate::values::{Parsed, bytes, device, mount, tmpfs, volume};
use clap::Args;
use engine::Request;
use engine::request::{Device, Mount};

#[derive(Debug, Args)]
#[command(next_help_heading = "Files")]
pub(super) struct Files {
    /// Mount a file, directory or volume: [SOURCE:]TARGET[:ro,..]
    #[arg(short, long, value_name = "VOLUME", value_parser = volume::volume)]
    volume: Vec<Mount>,
    /// The same in words: type=bind|volume|tmpfs,source=..,target=..[,readonly]
    #[arg(long, value_name = "MOUNT", value_parser = mount::mount)]
    mount: Vec<Mount>,
    /// Mount memory: TARGET[:size=64m,mode=1777,..]
    #[arg(long, value_name = "TMPFS", value_parser = tmpfs::tmpfs)]
    tmpfs: Vec<Mount>,
    /// Mount the root filesystem read-only
    #[arg(long)]
    read_only: bool,
    /// Size of /dev/shm [default: 64m]
    #[arg(long, value_name = "BYTES", value_parser = bytes::size)]
    shm_size: Option<u64>,
    /// Add a device of the host: HOST[:CONTAINER[:rwm]]
    #[arg(long, value_name = "DEVICE", value_parser = device::device)]
    device: Vec<Device>,
    /// Allow a kind of device: "c 1:3 rwm"
    #[arg(long, value_name = "RULE", value_parser = device::rule)]
    device_cgroup_rule: Vec<String>,
    /// Only "local" so far
    #[arg(long, hide = true, value_parser = driver)]
    volume_driver: Option<String>,
}

impl Files {
    pub(super) fn apply(self, request: &mut Request) -> Outcome<()> {
        request.mounts = [self.volume, self.mount, self.tmpfs].concat();
        for (at, mount) in request.mounts.iter().enumerate() {
            if request.mounts[..at].iter().any(|other| other.target == mount.target) {
                return Err(Stop::Usage(format!("duplicate mount point: {}", mount.target)));
            }
        }
        request.read_only = self.read_only;
        request.shm_size = self.shm_size;
        request.devices = self.device;
        request.device_cgroup_rules = self.device_cgroup_rule;
        Ok(())
    }
}

fn driver(text: &str) -> Parsed<String> {
    if matches!(text, "" | "local") {
        Ok(text.into())
    } else {
        Err(format!("volume driver `{text}` is not supported yet"))
    }
}
