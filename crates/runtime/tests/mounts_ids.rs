//! Mounts that show their files with other ids, with and without a user namespace of the container.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod harness;

use std::os::unix::fs::chown;
use std::path::Path;

use harness::{Container, in_mount_namespace};
use rustix::mount::MountFlags;
use serde_json::{Value, json};

fn map(inside: u32, outside: u32, size: u32) -> Value {
    json!([{"containerID": inside, "hostID": outside, "size": size}])
}

/// What a container sees of a file that belongs to 5:6 on the disk, with this mount of its directory.
fn owner(mut container: Container, mut mount: Value) -> Result<String, String> {
    let path = container.root.path.join("source");
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("file"), "").unwrap();
    chown(path.join("file"), Some(5), Some(6)).unwrap();
    mount["destination"] = json!("/data");
    mount["type"] = json!("bind");
    mount["source"] = json!(path);
    container.spec["mounts"].as_array_mut().unwrap().push(mount);
    container.spec["process"]["args"] = json!(["stat", "-c", "%u:%g", "/data/file"]);
    container.run().map(|ended| ended.output.trim_end().to_owned()).map_err(|failed| failed.to_string())
}

#[test]
fn maps_of_the_mount_without_a_user_namespace() {
    let mount = json!({"options": ["bind", "idmap"], "uidMappings": map(0, 1000, 10), "gidMappings": map(0, 2000, 10)});
    assert_eq!(owner(Container::with_host_ids(""), mount).unwrap(), "1005:2006");
}

#[test]
fn maps_without_a_word_are_used_too() {
    let mount = json!({"options": ["bind"], "uidMappings": map(0, 1000, 10), "gidMappings": map(0, 2000, 10)});
    assert_eq!(owner(Container::with_host_ids(""), mount).unwrap(), "1005:2006");
}

#[test]
fn ids_without_a_place_in_the_map_are_nobodys() {
    let mount = json!({"options": ["bind", "idmap"], "uidMappings": map(0, 1000, 3), "gidMappings": map(6, 6, 1)});
    assert_eq!(owner(Container::with_host_ids(""), mount).unwrap(), "65534:6");
}

#[test]
fn maps_of_the_mount_in_a_user_namespace() {
    let (uids, gids) = (map(5, harness::BASE + 77, 1), map(6, harness::BASE + 78, 1));
    let mount = json!({"options": ["bind", "idmap"], "uidMappings": uids, "gidMappings": gids});
    assert_eq!(owner(Container::new(""), mount).unwrap(), "77:78");
}

#[test]
fn the_map_of_the_container() {
    assert_eq!(owner(Container::new(""), json!({"options": ["bind"]})).unwrap(), "65534:65534");
    assert_eq!(owner(Container::new(""), json!({"options": ["bind", "idmap"]})).unwrap(), "5:6");
    let empty = json!({"options": ["rbind", "ridmap"], "uidMappings": [], "gidMappings": []});
    assert_eq!(owner(Container::new(""), empty).unwrap(), "5:6");
}

#[test]
fn what_cannot_be_mapped_is_refused() {
    let without = owner(Container::with_host_ids(""), json!({"options": ["bind", "idmap"]})).unwrap_err();
    assert!(without.contains("uidMappings"), "{without}");
    let half =
        owner(Container::new(""), json!({"options": ["bind", "idmap"], "uidMappings": map(0, 0, 1)})).unwrap_err();
    assert!(half.contains("both"), "{half}");
    let overlapping = json!([{"containerID": 0, "hostID": 0, "size": 9}, {"containerID": 5, "hostID": 50, "size": 9}]);
    let mount = json!({"options": ["bind"], "uidMappings": overlapping, "gidMappings": map(0, 0, 1)});
    let wrong = owner(Container::with_host_ids(""), mount).unwrap_err();
    assert!(wrong.contains("cannot map user ids"), "{wrong}");
    let mut container = Container::with_host_ids("true");
    container.spec["mounts"].as_array_mut().unwrap().push(json!({
        "destination": "/data", "type": "bind", "source": "/proc/sys", "options": ["bind", "idmap"],
        "uidMappings": map(0, 1000, 10), "gidMappings": map(0, 1000, 10),
    }));
    let proc = container.run().map(|ended| ended.output).unwrap_err().to_string();
    assert!(proc.contains("/proc/sys") && proc.contains("other ids"), "{proc}");
}

/// What is mounted below the source, in a mount namespace of its own.
fn below(reach: &'static str) -> Result<String, String> {
    let container = Container::with_host_ids("");
    let path = container.root.path.join("source/sub");
    std::fs::create_dir_all(&path).unwrap();
    in_mount_namespace(move || {
        rustix::mount::mount("tmpfs", &path, "tmpfs", MountFlags::empty(), None).unwrap();
        chown(&path, Some(7), Some(7)).unwrap();
        let mut container = container;
        let (uids, gids) = (map(0, 1000, 10), map(0, 2000, 10));
        container.spec["mounts"].as_array_mut().unwrap().push(json!({
            "destination": "/data", "type": "bind", "source": path.parent(), "options": ["rbind", reach],
            "uidMappings": uids, "gidMappings": gids,
        }));
        container.spec["process"]["args"] = json!(["stat", "-c", "%u:%g", "/data", "/data/sub"]);
        container.run().map(|ended| ended.output).map_err(|failed| failed.to_string())
    })
}

#[test]
fn ridmap_reaches_the_mounts_below() {
    assert_eq!(below("idmap").unwrap(), "1000:2000\n7:7\n");
    match below("ridmap") {
        Ok(text) => assert_eq!(text, "1000:2000\n1007:2007\n"),
        // Kernels before 6.3 cannot map a tmpfs, and nothing is mapped by halves.
        Err(failed) => assert!(failed.contains("other ids"), "{failed}"),
    }
}

#[test]
fn new_file_systems_can_be_mapped_where_the_kernel_can() {
    let mut container = Container::with_host_ids("stat -c %u:%g /data; echo x > /data/x");
    container.spec["mounts"].as_array_mut().unwrap().push(json!({
        "destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["idmap", "uid=5", "gid=6"],
        "uidMappings": map(0, 1000, 10), "gidMappings": map(0, 2000, 10),
    }));
    match container.run() {
        Ok(ended) => assert!(ended.output.starts_with("1005:2006\n")),
        // Kernels before 6.3.
        Err(failed) => assert!(failed.to_string().contains("other ids"), "{failed}"),
    }
    let mut container = Container::with_host_ids("true");
    container.spec["mounts"].as_array_mut().unwrap().push(json!({
        "destination": "/data", "type": "mqueue", "source": "mqueue", "options": ["idmap"],
        "uidMappings": map(0, 1000, 10), "gidMappings": map(0, 2000, 10),
    }));
    assert!(container.plan().unwrap_err().to_string().contains("mqueue"));
}

#[test]
fn many_mounts_share_the_namespaces_of_equal_maps() {
    let mut container = Container::with_host_ids("stat -c %u /m/19/file");
    let path = container.root.path.join("source");
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(Path::new(&path).join("file"), "").unwrap();
    for number in 0..20 {
        container.spec["mounts"].as_array_mut().unwrap().push(json!({
            "destination": format!("/m/{number}"), "type": "bind", "source": path, "options": ["bind", "idmap"],
            "uidMappings": map(0, 4000 + number % 2, 1), "gidMappings": map(0, 4000, 1),
        }));
    }
    assert_eq!(container.run().unwrap().output, "4001\n");
}
