use super::*;
use crate::config::{ConfigBase, ImageSource, merge};
use crate::request::{Resources, Ulimit};

fn config(request: Request) -> ContainerConfig {
    let source = ImageSource { reference: "host:".into(), id: None, manifest: None, base: ConfigBase::Host };
    let request = Request { command: vec!["true".into()], ..request };
    let user = decide_user_namespace(&request);
    let mut config = merge(request, runtime::ContainerId::random(), source, None).unwrap();
    config.namespaces.user = user;
    config.range = (user == UserNamespaceMode::Private).then_some(3);
    config
}

#[test]
fn what_needs_the_hosts_ids_gets_them() {
    let needing = [
        Request { privileged: true, ..Request::default() },
        Request { network: NetworkMode::Host, ..Request::default() },
        Request { pid: NamespaceMode::Host, ..Request::default() },
        Request { ipc: NamespaceMode::Host, ..Request::default() },
    ];
    for request in needing {
        assert_eq!(decide_user_namespace(&request), UserNamespaceMode::Host);
        let insisting = Request { user_namespace: UserNamespaceMode::Private, ..request };
        assert_eq!(decide_user_namespace(&insisting), UserNamespaceMode::Private);
    }
    let plain = Request { uts: NamespaceMode::Host, ..Request::default() };
    assert_eq!(decide_user_namespace(&plain), UserNamespaceMode::Private);
}

#[test]
fn a_user_namespace_has_its_range_and_the_device_rules_too() {
    let config = config(Request::default());
    let linux = linux(&config, &Facts::default()).unwrap();
    let mapping = &linux.uid_mappings().as_ref().unwrap()[0];
    assert_eq!((mapping.container_id(), mapping.host_id(), mapping.size()), (0, ids::first_id(3), ids::SIZE));
    assert_eq!(linux.namespaces().as_ref().unwrap().len(), 7);
    // An image may bring nodes that nobody could make in there.
    let rules = linux.resources().as_ref().unwrap().devices().as_ref().unwrap();
    assert!(!rules[0].allow() && rules[0].major().is_none());
}

#[test]
fn the_hosts_namespaces_are_not_mentioned() {
    let config = config(Request { network: NetworkMode::Host, ..Request::default() });
    let list = namespaces(&config, &Facts::default()).unwrap();
    assert!(
        list.iter()
            .all(|namespace| { !matches!(namespace.typ(), LinuxNamespaceType::Network | LinuxNamespaceType::User) })
    );
    assert_eq!(list.len(), 5);
}

#[test]
fn the_containers_variables_win() {
    let mut config = config(Request { environment: vec!["PATH=/x".into(), "A=1".into()], ..Request::default() });
    config.host.hostname = "me".into();
    assert_eq!(
        environment(&config, true, "/root", &["A=2".into()]),
        ["PATH=/x", "HOSTNAME=me", "TERM=xterm", "A=2", "HOME=/root"]
    );
}

#[test]
fn limits_are_checked_before_anything_is_made() {
    let with = |resources| config(Request { resources, ..Request::default() });
    let wrong = [
        Resources { memory: Some(1 << 20), ..Resources::default() },
        Resources { memory_swap: Some(1 << 30), ..Resources::default() },
        Resources { memory: Some(64 << 20), memory_swap: Some(1 << 20), ..Resources::default() },
        Resources { memory: Some(64 << 20), memory_reservation: Some(65 << 20), ..Resources::default() },
        Resources { nano_cpus: Some(1), ..Resources::default() },
        Resources { nano_cpus: Some(10_000 * 1_000_000_000), ..Resources::default() },
    ];
    for resources in wrong {
        assert!(validate(&with(resources.clone())).is_err(), "{resources:?}");
    }
    let right = with(Resources { memory: Some(64 << 20), nano_cpus: Some(500_000_000), ..Resources::default() });
    let limits = resources(&right).unwrap();
    assert_eq!(limits.memory().unwrap().swap(), Some(128 << 20));
    assert_eq!(limits.cpu().as_ref().unwrap().quota(), Some(50_000));
}

#[test]
fn ulimits_are_checked() {
    let ulimit = |name: &str, soft, hard| vec![Ulimit { name: name.into(), soft, hard }];
    assert!(rlimits(&ulimit("nofile", 10, 20)).is_ok());
    assert!(rlimits(&ulimit("nofile", 30, 20)).is_err());
    assert!(rlimits(&ulimit("nonsense", 1, 2)).is_err());
}

#[test]
fn a_working_directory_is_absolute() {
    assert_eq!(working_directory(""), "/");
    assert_eq!(working_directory("srv"), "/srv");
    assert_eq!(working_directory("/srv"), "/srv");
}
