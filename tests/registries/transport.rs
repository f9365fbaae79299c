//! Push and pull through every wall that a registry can have: none, a password, TLS, a token server.

use crate::harness::cutter::{Cutter, Loss};
use crate::harness::orchard;
use crate::harness::registry::{Guard, Registry};
use crate::harness::scene::{NAME, Scene};
use crate::harness::token::{PASSWORD, TokenServer, USER};
use crate::harness::tools::layers;

/// Logs a store's user in.
fn login(scene: &Scene, store: &str, host: &str) {
    let ended = scene.feed(store, PASSWORD, &["login", "-u", USER, "--password-stdin", host]);
    assert_eq!(ended.code, 0, "{ended:#?}");
}

/// One store pushes, another one pulls; both have what was loaded.
fn there_and_back(scene: &Scene, registry: &Registry, path: &str) {
    let image = format!("{}/{path}:1", registry.named());
    scene.ok("one", &["load", "-q", "-i", &scene.image("orchard:1", &[1, 2])]);
    scene.ok("one", &["tag", "orchard:1", &image]);
    scene.ok("one", &["push", "-q", &image]);
    scene.ok("two", &["pull", "-q", &image]);
    let tree = scene.archive_tree(&orchard::image("orchard:1", &[1, 2]));
    tree.assert_same(&scene.skep_tree("two", &image), path);
    let id = |store: &str| scene.ok(store, &["image", "inspect", "--format", "{{.Id}}", &image]);
    assert_eq!(id("one"), id("two"));
    let fetches = registry.fetches();
    assert!(fetches.len() >= 4 && fetches.values().all(|count| *count == 1), "{fetches:?}");
}

/// Requests of these methods since there were `before`.
fn requests(registry: &Registry, before: usize, methods: &[&str]) -> Vec<String> {
    let new = registry.accesses().into_iter().skip(before);
    let named = new.filter(|access| methods.contains(&access.method.as_str()));
    named.map(|access| format!("{} {} {}", access.method, access.target, access.status)).collect()
}

#[test]
fn an_open_registry() {
    let Some(scene) = Scene::new("plain", &[]) else { return };
    let registry = Registry::open(&scene, "registry");
    let image = format!("{}/team/orchard:1", registry.named());
    // Plain HTTP is what somebody has allowed.
    scene.fails("two", &["pull", "-q", &image], &[&registry.named(), "http"]);
    scene.allow_plain(&[&registry.named()]);
    scene.fails("two", &["pull", "-q", &image], &[&registry.named(), "no such tag"]);
    there_and_back(&scene, &registry, "team/orchard");
    let before = registry.accesses().len();
    scene.ok("two", &["pull", "-q", &image]);
    let again = requests(&registry, before, &["GET", "HEAD", "POST", "PUT", "PATCH"]);
    assert_eq!(again.len(), 1, "an unchanged image is one request: {again:?}");
    let before = registry.accesses().len();
    scene.ok("one", &["push", "-q", &image]);
    let again = requests(&registry, before, &["POST", "PATCH"]);
    assert_eq!(again, Vec::<String>::new(), "what is there is not sent again");
    // Another repository of the same registry gets the layers from the first.
    let copy = format!("{}/team/copy:1", registry.named());
    scene.ok("one", &["tag", "orchard:1", &copy]);
    let before = registry.accesses().len();
    scene.ok("one", &["push", "-q", &copy]);
    let sent = requests(&registry, before, &["POST"]);
    let mounted = sent.iter().filter(|request| request.contains("mount=") && request.ends_with(" 201")).count();
    assert!(mounted >= layers(&scene.manifest(&copy)).len(), "layers are mounted: {sent:?}");
    assert_eq!(scene.manifest(&copy), scene.manifest(&image));
}

#[test]
fn a_password() {
    let Some(scene) = Scene::new("password", &[]) else { return };
    let registry = Registry::start(&scene, "registry", &Guard::Password, false);
    let (host, image) = (registry.named(), format!("{}/orchard:1", registry.named()));
    scene.allow_plain(&[&host]);
    scene.fails("two", &["pull", "-q", &image], &[&host, "login"]);
    let wrong = scene.feed("one", "wax", &["login", "-u", USER, "--password-stdin", &host]);
    wrong.assert_one_line_error(&[&host]);
    scene.fails("two", &["pull", "-q", &image], &[&host, "login"]);
    login(&scene, "one", &host);
    there_and_back(&scene, &registry, "orchard");
    scene.ok("one", &["logout", &host]);
    scene.fails("two", &["pull", "-q", &format!("{host}/orchard:2")], &[&host, "login"]);
}

#[test]
fn tls_and_a_password() {
    let Some(scene) = Scene::new("tls", &[]) else { return };
    let registry = Registry::start(&scene, "registry", &Guard::Password, true);
    let (host, image) = (registry.named(), format!("{}/orchard:1", registry.named()));
    let authority = std::fs::read_to_string(registry.authority()).unwrap();
    scene.fails("two", &["pull", "-q", &image], &[&host, "certificate"]);
    // Each of the three places where other tools have an authority's certificate is as good.
    let hosts = format!("server = \"https://{host}\"\nca = \"{}\"\n", registry.authority());
    let containerd = format!("/etc/containerd/certs.d/{host}/hosts.toml");
    for (path, content) in [
        (format!("/etc/docker/certs.d/{host}/ca.crt"), &authority),
        (format!("/etc/containers/certs.d/{host}/ca.crt"), &authority),
        (containerd, &hosts),
    ] {
        scene.write(&path, content);
        scene.fails("two", &["pull", "-q", &image], &[&host, "login"]);
        std::fs::remove_file(scene.place.outside(&path)).unwrap();
    }
    scene.write(&format!("/etc/docker/certs.d/{host}/ca.crt"), &authority);
    login(&scene, "one", &host);
    there_and_back(&scene, &registry, "orchard");
}

#[test]
fn a_token_server() {
    let Some(scene) = Scene::new("tokens", &[]) else { return };
    let mut tokens = TokenServer::start(&scene.place);
    // A password that was given to one host goes to no other one in the clear.
    let sends_away = Registry::start(&scene, "sends-away", &Guard::Token(&tokens), false).named();
    tokens.name(NAME);
    let registry = Registry::start(&scene, "registry", &Guard::Token(&tokens), false);
    let host = registry.named();
    scene.allow_plain(&[&host, &sends_away]);
    let refused = scene.feed("one", PASSWORD, &["login", "-u", USER, "--password-stdin", &sends_away]);
    refused.assert_one_line_error(&[&sends_away, "token server"]);
    assert!(tokens.take_asked().iter().all(|asked| asked.user.is_none()));
    scene.fails("two", &["pull", "-q", &format!("{host}/secret/orchard:1")], &[&host]);
    login(&scene, "one", &host);
    tokens.take_asked();
    there_and_back(&scene, &registry, "secret/orchard");
    let asked = tokens.take_asked();
    assert!(asked.iter().all(|asked| asked.user.as_deref() == Some(USER)), "{asked:#?}");
    let scopes: Vec<&str> = asked.iter().flat_map(|asked| &asked.scopes).map(String::as_str).collect();
    assert!(scopes.contains(&"repository:secret/orchard:pull"), "a pull asks for no more: {scopes:?}");
    assert!(scopes.contains(&"repository:secret/orchard:pull,push"), "{scopes:?}");
    // A token is good for a whole command.
    assert!(asked.len() <= 6, "{asked:#?}");
    // What is public needs nobody's password.
    let public = format!("{host}/public/orchard:1");
    scene.ok("one", &["tag", "orchard:1", &public]);
    scene.ok("one", &["push", "-q", &public]);
    scene.ok("one", &["logout", &host]);
    tokens.take_asked();
    scene.ok("three", &["pull", "-q", &public]);
    let asked = tokens.take_asked();
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked.user.is_none()), "{asked:#?}");
    scene.fails("three", &["push", "-q", &public], &[&host]);
    scene.fails("three", &["pull", "-q", &format!("{host}/secret/orchard:1")], &[&host]);
}

#[test]
fn a_push_whose_requests_and_answers_get_lost() {
    use Loss::{Answer, Neither, Request};
    let Some(scene) = Scene::new("losses", &[]) else { return };
    let registry = Registry::open(&scene, "registry");
    let cutter = Cutter::start(registry.address, &[]);
    let image = format!("{}/orchard:1", cutter.host());
    scene.ok("one", &["load", "-q", "-i", &scene.image("orchard:1", &[1, 2])]);
    scene.ok("one", &["tag", "orchard:1", &image]);
    let losses = [Neither, Request, Neither, Neither, Neither, Answer, Neither, Neither, Neither];
    cutter.lose(losses.into_iter().cycle().take(36));
    scene.ok("one", &["push", "-q", &image]);
    let tree = scene.archive_tree(&orchard::image("orchard:1", &[1, 2]));
    let there = format!("{}/orchard:1", registry.host());
    scene.ok("two", &["pull", "-q", &there]);
    tree.assert_same(&scene.skep_tree("two", &there), "after losses");
}
