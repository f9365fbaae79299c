//! Names without a registry, where `registries.conf` gives them another meaning than Docker does.

use crate::harness::registry::Registry;
use crate::harness::scene::Scene;

#[test]
fn an_alias_is_pulled_once_and_found_again() {
    let Some(scene) = Scene::new("alias", &[]) else { return };
    let registry = Registry::open(&scene, "registry");
    let host = registry.host();
    scene.push("apple:1", &[1], &format!("{host}/team/app:1"));
    scene.write("/etc/containers/registries.conf", &format!("[aliases]\n\"apple\" = \"{host}/team/app\"\n"));
    let first = scene.skep("one", &["create", "apple:1", "true"]);
    assert_eq!(first.code, 0, "{first:#?}");
    let told = format!("Unable to find image '{host}/team/app:1' locally");
    assert!(first.stderr.contains(&told), "{first:#?}");
    let asked = registry.accesses().len();
    let second = scene.skep("one", &["create", "apple:1", "true"]);
    assert_eq!((second.code, second.stderr.as_str()), (0, ""), "{second:#?}");
    assert_eq!(registry.accesses().len(), asked, "what is here is not asked for");
    let images = scene.ok("one", &["ps", "-a", "--format", "{{.Image}}"]);
    assert_eq!(images, format!("{host}/team/app:1\n{host}/team/app:1"));
}

#[test]
fn a_name_that_can_be_several_is_none() {
    let Some(scene) = Scene::new("several", &[]) else { return };
    let search = "unqualified-search-registries = [\"docker.io\", \"quay.io\"]\n";
    scene.write("/etc/containers/registries.conf", search);
    let parts = ["`apple` can be docker.io/apple or quay.io/apple", "registries.conf", "write it in full"];
    scene.fails("one", &["pull", "apple"], &parts);
    scene.fails("one", &["create", "apple"], &parts);
    scene.write("/etc/containers/registries.conf", "[[registry]]\nlocation = \"http://a.net\"\n");
    scene.fails("one", &["pull", "apple"], &["`/etc/containers/registries.conf`, line 2: `http://a.net` is a URL"]);
}
