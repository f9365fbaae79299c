//! Flags of `docker run` that are known and not supported: each is refused in words, none is ignored.

const NETWORKS: &str = "networks with addresses come in a later version; `--network host` shares the host's";
const DISKS: &str = "limits of single disks come in a later version";
const HEALTH: &str = "health checks come in a later version";
const WINDOWS: &str = "it is for Windows only";

/// Why a flag is refused, as a line; none if Docker has no such flag either.
pub(crate) fn why(flag: &str) -> Option<String> {
    let reason = match flag {
        "-p" | "--publish" | "-P" | "--publish-all" | "--ip" | "--ip6" | "--mac-address" | "--network-alias"
        | "--net-alias" | "--link" | "--link-local-ip" => NETWORKS,
        "--blkio-weight-device"
        | "--device-read-bps"
        | "--device-read-iops"
        | "--device-write-bps"
        | "--device-write-iops"
        | "--storage-opt" => DISKS,
        "--health-cmd"
        | "--health-interval"
        | "--health-retries"
        | "--health-start-interval"
        | "--health-start-period"
        | "--health-timeout" => HEALTH,
        "--cpu-count" | "--cpu-percent" | "--io-maxbandwidth" | "--io-maxiops" => WINDOWS,
        "--cpu-rt-period" | "--cpu-rt-runtime" => "real-time scheduling of groups is not in common kernels",
        "--cgroup-parent" => "every container has its group below /skep",
        "--gpus" => "give the devices with --device",
        "--kernel-memory" => "the kernel has no such limit any more",
        "--runtime" => "this engine is its own runtime",
        "--use-api-socket" => "this engine has no socket",
        "--volumes-from" => "give the volumes with -v",
        _ => return None,
    };
    Some(format!("{flag} is not supported: {reason}"))
}
