//! The limits of a specification as v1's files.
//!
//! What many kernels lack (weights of block devices, swap accounting) is marked, so that Docker's rules can leave it out
//! with a warning. Kernel memory cannot be limited any more since Linux 5.16: the file takes every value and does nothing.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork, LinuxResources};

use super::super::Controller;
use super::super::limits::{Absent, Bytes, Setting, Throttle, given, throttles};

/// The file that a kernel may have without honouring it.
pub(super) const KERNEL_MEMORY: &str = "memory.kmem.limit_in_bytes";

/// The limits as v1 has them.
pub(super) fn settings(resources: &LinuxResources) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Some(memory) = resources.memory() {
        memory_settings(memory, &mut settings);
    }
    if let Some(cpu) = resources.cpu() {
        cpu_settings(cpu, &mut settings);
    }
    if let Some(limit) = given(resources.pids().as_ref().map(oci_spec::runtime::LinuxPids::limit)) {
        let value = if limit > 0 { limit.to_string() } else { "max".to_owned() };
        let absent = if limit > 0 { Absent::Refuse } else { Absent::Ignore };
        settings.push(Setting::new(Controller::Pids, "pids.max", value, "pids limit", limit).when_absent(absent));
    }
    if let Some(io) = resources.block_io() {
        weight_settings(io, &mut settings);
    }
    for (option, device, kind) in throttles(resources) {
        let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
        settings.push(Setting::new(Controller::Blkio, throttle_file(kind), &value, option, &value));
    }
    for huge in resources.hugepage_limits().as_deref().unwrap_or_default() {
        let name = format!("hugetlb.{}.limit_in_bytes", huge.page_size());
        settings.push(Setting::new(Controller::Hugetlb, name, huge.limit(), "huge page limit", huge.limit()));
        // What is reserved and not used yet counts too, where the kernel (5.7) can tell.
        let name = format!("hugetlb.{}.rsvd.limit_in_bytes", huge.page_size());
        let reserved = Setting::new(Controller::Hugetlb, name, huge.limit(), "huge page limit", huge.limit());
        settings.push(reserved.when_absent(Absent::Ignore));
    }
    if let Some(network) = resources.network() {
        network_settings(network, &mut settings);
    }
    settings.extend(rdma(resources));
    settings
}

/// `mlx5_0 hca_handle=3 hca_object=10000`, the same on both interfaces.
pub(in super::super) fn rdma(resources: &LinuxResources) -> Vec<Setting> {
    let line = |(name, limit): (&String, &oci_spec::runtime::LinuxRdma)| {
        let part = |key, value: Option<u32>| value.map_or_else(String::new, |value| format!(" {key}={value}"));
        let (handles, objects) = (part("hca_handle", limit.hca_handles()), part("hca_object", limit.hca_objects()));
        let value = format!("{name}{handles}{objects}");
        Setting::new(Controller::Rdma, "rdma.max", &value, "rdma limit", &value)
    };
    let mut settings: Vec<Setting> = resources.rdma().iter().flatten().map(line).collect();
    settings.sort_by(|one, other| one.value.cmp(&other.value));
    settings
}

fn network_settings(network: &LinuxNetwork, settings: &mut Vec<Setting>) {
    if let Some(class) = network.class_id() {
        let asked = format!("{class:#x}");
        settings.push(Setting::new(Controller::NetCls, "net_cls.classid", class, "network class", asked));
    }
    for priority in network.priorities().as_deref().unwrap_or_default() {
        let value = format!("{} {}", priority.name(), priority.priority());
        settings.push(Setting::new(Controller::NetPrio, "net_prio.ifpriomap", &value, "network priority", &value));
    }
}

fn memory_settings(memory: &LinuxMemory, settings: &mut Vec<Setting>) {
    let mut push = |file: &'static str, value: i64, option, absent| {
        let absent = if value < 0 { Absent::Ignore } else { absent };
        settings.push(Setting::new(Controller::Memory, file, value, option, Bytes(value)).when_absent(absent));
    };
    let limit = given(memory.limit());
    if let Some(limit) = limit {
        push("memory.limit_in_bytes", limit, "memory limit", Absent::Refuse);
    }
    // Unlimited memory needs unlimited memory and swap.
    let swap = given(memory.swap()).or(limit.filter(|limit| *limit < 0));
    if let Some(swap) = swap {
        push("memory.memsw.limit_in_bytes", swap, "memory-swap limit", Absent::Warn);
    }
    if let Some(reservation) = given(memory.reservation()) {
        push("memory.soft_limit_in_bytes", reservation, "memory reservation", Absent::Warn);
    }
    if let Some(kernel) = given(memory.kernel()) {
        push(KERNEL_MEMORY, kernel, "kernel memory limit", Absent::Warn);
    }
    if let Some(kernel) = given(memory.kernel_tcp()) {
        push("memory.kmem.tcp.limit_in_bytes", kernel, "kernel TCP memory limit", Absent::Warn);
    }
    if let Some(swappiness) = memory.swappiness() {
        let setting =
            Setting::new(Controller::Memory, "memory.swappiness", swappiness, "memory swappiness", swappiness);
        settings.push(setting.when_absent(Absent::Warn));
    }
    if memory.disable_oom_killer() == Some(true) {
        let setting = Setting::new(Controller::Memory, "memory.oom_control", 1, "oom-kill-disable", true);
        settings.push(setting.when_absent(Absent::Warn));
    }
    if let Some(shared) = memory.use_hierarchy() {
        let setting =
            Setting::new(Controller::Memory, "memory.use_hierarchy", u8::from(shared), "useHierarchy", shared);
        settings.push(setting.when_absent(if shared { Absent::Ignore } else { Absent::Refuse }));
    }
}

fn cpu_settings(cpu: &LinuxCpu, settings: &mut Vec<Setting>) {
    let mut push = |controller, file: &'static str, value: Option<String>, option| {
        if let Some(value) = value {
            settings.push(Setting::new(controller, file, &value, option, &value));
        }
    };
    let number = |value: Option<u64>| value.filter(|value| *value != 0).map(|value| value.to_string());
    let text = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    push(Controller::Cpu, "cpu.shares", number(cpu.shares()), "cpu shares");
    push(Controller::Cpu, "cpu.cfs_period_us", number(cpu.period()), "cpu period");
    push(Controller::Cpu, "cpu.cfs_quota_us", given(cpu.quota()).map(|quota| quota.to_string()), "cpu quota");
    push(Controller::Cpu, "cpu.cfs_burst_us", cpu.burst().map(|burst| burst.to_string()), "cpu burst");
    push(Controller::Cpu, "cpu.idle", cpu.idle().map(|idle| idle.to_string()), "cpu idle");
    push(Controller::Cpu, "cpu.rt_period_us", number(cpu.realtime_period()), "cpu realtime period");
    let runtime = given(cpu.realtime_runtime()).map(|runtime| runtime.to_string());
    push(Controller::Cpu, "cpu.rt_runtime_us", runtime, "cpu realtime runtime");
    push(Controller::Cpuset, "cpuset.cpus", text(cpu.cpus()), "cpuset-cpus");
    push(Controller::Cpuset, "cpuset.mems", text(cpu.mems()), "cpuset-mems");
}

/// Weights are of the BFQ scheduler in newer kernels and of CFQ in older ones; many kernels have neither.
fn weight_settings(io: &LinuxBlockIo, settings: &mut Vec<Setting>) {
    if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
        let setting = Setting::new(Controller::Blkio, "blkio.bfq.weight", weight, "blkio weight", weight);
        settings.push(setting.or("blkio.weight", weight).when_absent(Absent::Warn));
    }
    if let Some(weight) = io.leaf_weight().filter(|weight| *weight != 0) {
        let setting = Setting::new(Controller::Blkio, "blkio.leaf_weight", weight, "blkio leaf weight", weight);
        settings.push(setting.when_absent(Absent::Warn));
    }
    for device in io.weight_device().as_deref().unwrap_or_default() {
        let of_device = |weight: u16| format!("{}:{} {weight}", device.major(), device.minor());
        if let Some(value) = device.weight().filter(|weight| *weight != 0).map(of_device) {
            let file = "blkio.bfq.weight_device";
            let setting = Setting::new(Controller::Blkio, file, &value, "blkio weight device", &value);
            settings.push(setting.or("blkio.weight_device", &value).when_absent(Absent::Warn));
        }
        if let Some(value) = device.leaf_weight().filter(|weight| *weight != 0).map(of_device) {
            let file = "blkio.leaf_weight_device";
            let setting = Setting::new(Controller::Blkio, file, &value, "blkio leaf weight device", &value);
            settings.push(setting.when_absent(Absent::Warn));
        }
    }
}

fn throttle_file(kind: Throttle) -> &'static str {
    match kind {
        Throttle::ReadBytes => "blkio.throttle.read_bps_device",
        Throttle::WriteBytes => "blkio.throttle.write_bps_device",
        Throttle::ReadOperations => "blkio.throttle.read_iops_device",
        Throttle::WriteOperations => "blkio.throttle.write_iops_device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(json: &str) -> Vec<String> {
        let settings = settings(&serde_json::from_str(json).unwrap());
        settings.iter().map(|setting| format!("{}={}", setting.file, setting.value)).collect()
    }

    #[test]
    fn limits_become_files() {
        let json = r#"{"memory":{"limit":67108864,"swap":134217728,"reservation":33554432,"swappiness":10},
            "cpu":{"shares":512,"quota":50000,"period":100000,"cpus":"0-1","mems":"0"},"pids":{"limit":20},
            "blockIO":{"weight":300,"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1048576}]}}"#;
        assert_eq!(
            written(json),
            [
                "memory.limit_in_bytes=67108864",
                "memory.memsw.limit_in_bytes=134217728",
                "memory.soft_limit_in_bytes=33554432",
                "memory.swappiness=10",
                "cpu.shares=512",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=50000",
                "cpuset.cpus=0-1",
                "cpuset.mems=0",
                "pids.max=20",
                "blkio.bfq.weight=300",
                "blkio.throttle.read_bps_device=8:0 1048576",
            ]
        );
    }

    #[test]
    fn unlimited_and_unset() {
        assert_eq!(
            written(r#"{"memory":{"limit":-1},"cpu":{"quota":-1,"shares":0,"period":0},"pids":{"limit":-1}}"#),
            ["memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes=-1", "cpu.cfs_quota_us=-1", "pids.max=max"]
        );
        let unset = r#"{"memory":{"limit":0,"swap":0},"cpu":{"cpus":""},"pids":{"limit":0}}"#;
        assert_eq!(written(unset), [""; 0]);
    }

    #[test]
    fn rarer_limits_become_files() {
        let json = r#"{"memory":{"kernel":1048576,"kernelTCP":2097152,"disableOOMKiller":true,"useHierarchy":true},
            "cpu":{"burst":1000,"idle":1,"realtimeRuntime":900,"realtimePeriod":1000},
            "blockIO":{"leafWeight":20,"weightDevice":[{"major":8,"minor":0,"weight":30,"leafWeight":40}]},
            "hugepageLimits":[{"pageSize":"2MB","limit":4096}],
            "network":{"classID":1048577,"priorities":[{"name":"eth0","priority":5}]},
            "rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10000},"b":{"hcaObjects":1}}}"#;
        assert_eq!(
            written(json),
            [
                "memory.kmem.limit_in_bytes=1048576",
                "memory.kmem.tcp.limit_in_bytes=2097152",
                "memory.oom_control=1",
                "memory.use_hierarchy=1",
                "cpu.cfs_burst_us=1000",
                "cpu.idle=1",
                "cpu.rt_period_us=1000",
                "cpu.rt_runtime_us=900",
                "blkio.leaf_weight=20",
                "blkio.bfq.weight_device=8:0 30",
                "blkio.leaf_weight_device=8:0 40",
                "hugetlb.2MB.limit_in_bytes=4096",
                "hugetlb.2MB.rsvd.limit_in_bytes=4096",
                "net_cls.classid=1048577",
                "net_prio.ifpriomap=eth0 5",
                "rdma.max=b hca_object=1",
                "rdma.max=mlx5_1 hca_handle=3 hca_object=10000",
            ]
        );
    }
}
