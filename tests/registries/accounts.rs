//! `login` and `logout`: the password is checked, kept where other tools find it, and forgotten.

use crate::harness::registry::{Guard, Registry};
use crate::harness::scene::{Ended, Scene};
use crate::harness::token::{PASSWORD, TokenServer, USER};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A credential helper: keeps each server's record in a file, and a list of what it was asked.
const HELPER: &str = r#"#!/bin/sh
mkdir -p "$HOME/kept" && echo "$1" >>"$HOME/helper.log"
file() { echo "$HOME/kept/$(printf %s "$1" | tr -c 'a-zA-Z0-9.\n' _)"; }
case "$1" in
store) input=$(cat); server=$(printf %s "$input" | sed 's/.*"ServerURL": *"\([^"]*\)".*/\1/')
       printf %s "$input" >"$(file "$server")" ;;
get)   read -r server; cat "$(file "$server")" 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
erase) read -r server; rm -f "$(file "$server")" ;;
*)     echo '{}' ;;
esac
"#;

fn login(scene: &Scene, password: &str, host: &str) -> Ended {
    scene.feed("one", password, &["login", "-u", USER, "--password-stdin", host])
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_password_is_checked_and_kept_beside_what_others_wrote() {
    let Some(scene) = Scene::new("login", &[]) else { return };
    let registry = Registry::start(&scene, "registry", &Guard::Password, false);
    let host = registry.host();
    scene.allow_plain(&[&host]);
    let foreign = json!({"detachKeys": "ctrl-e,e", "auths": {"other.example.com": {"auth": "YTpi"}}, "plugins": {}});
    let path = scene.home(".docker/config.json", &foreign.to_string());
    login(&scene, "wax", &host).assert_one_line_error(&[&host]);
    assert_eq!(read(&path), foreign, "a refused password changes nothing");
    let ended = login(&scene, PASSWORD, &host);
    assert_eq!((ended.code, ended.stdout.trim()), (0, "Login Succeeded"), "{ended:#?}");
    let mut expected = foreign.clone();
    expected["auths"][&host] = json!({"auth": "YmVlOmhvbmV5"});
    assert_eq!(read(&path), expected);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // Other tools use it, and it is theirs to write.
    scene.push_with("orchard:1", &[], &format!("{host}/orchard:1"), &[]);
    scene.ok("one", &["pull", "-q", &format!("{host}/orchard:1")]);
    scene.ok("one", &["logout", &host]);
    assert_eq!(read(&path), foreign);
    let places = ["DOCKER_CONFIG", "REGISTRY_AUTH_FILE"];
    let other = scene.path("elsewhere");
    std::fs::create_dir(&other).unwrap();
    for (name, value) in places.iter().zip([other.clone(), format!("{other}/config.json")]) {
        let mut command = scene.command("two", &["pull", "-q", &format!("{host}/orchard:1")]);
        std::fs::write(format!("{other}/config.json"), json!({"auths": {&host: {"auth": "YmVlOmhvbmV5"}}}).to_string())
            .unwrap();
        let ended = crate::harness::scene::finish({
            command.env(name, value);
            command
        });
        assert_eq!(ended.code, 0, "{name}: {ended:#?}");
    }
}

#[test]
fn a_helper_keeps_what_the_file_should_not_have() {
    let Some(scene) = Scene::new("helper", &[]) else { return };
    let registry = Registry::start(&scene, "registry", &Guard::Password, false);
    let host = registry.host();
    scene.allow_plain(&[&host]);
    let program = scene.path("bin/docker-credential-comb");
    std::fs::write(&program, HELPER).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    for settings in [json!({"credsStore": "comb"}), json!({"credHelpers": {&host: "comb"}})] {
        let path = scene.home(".docker/config.json", &settings.to_string());
        scene.fails("one", &["pull", "-q", &format!("{host}/none:1")], &[&host, "login"]);
        let ended = login(&scene, PASSWORD, &host);
        assert_eq!(ended.code, 0, "{ended:#?}");
        assert!(!std::fs::read_to_string(&path).unwrap().contains("YmVlOmhvbmV5"), "the file has the password");
        scene.fails("one", &["pull", "-q", &format!("{host}/none:1")], &[&host, "no such tag"]);
        scene.ok("one", &["logout", &host]);
        let log = std::fs::read_to_string(scene.path("home/helper.log")).unwrap_or_default();
        for verb in ["get", "store", "erase"] {
            assert!(log.lines().any(|line| line == verb), "the helper was never asked to {verb}: {log}");
        }
        scene.fails("one", &["pull", "-q", &format!("{host}/none:1")], &[&host, "login"]);
    }
    scene.home(".docker/config.json", &json!({"credHelpers": {&host: "nowhere"}}).to_string());
    scene.fails("one", &["pull", "-q", &format!("{host}/none:1")], &["docker-credential-nowhere"]);
}

#[test]
fn a_token_server_is_asked_who_somebody_is() {
    let Some(scene) = Scene::new("who", &[]) else { return };
    let tokens = TokenServer::start(&scene.place);
    let registry = Registry::start(&scene, "registry", &Guard::Token(&tokens), false);
    let host = registry.host();
    scene.allow_plain(&[&host]);
    login(&scene, "wax", &host).assert_one_line_error(&[&host]);
    let ended = login(&scene, PASSWORD, &host);
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert!(tokens.take_asked().iter().any(|asked| asked.user.as_deref() == Some(USER)));
}
