//! `skep login` and `skep logout`: what is kept where, with which registry's consent.

use crate::harness::registry::{Guard, Registry};
use crate::harness::scene::{Scene, finish};
use crate::harness::token::{PASSWORD, TokenServer, USER};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// `bee:honey`
const ENCODED: &str = "YmVlOmhvbmV5";

#[test]
fn an_account_is_kept_when_the_registry_takes_it() {
    let Some(scene) = Scene::new("login", &[]) else { return };
    let tokens = TokenServer::start(&scene.place);
    for (name, guard) in [("password", Guard::Password), ("token", Guard::Token(&tokens)), ("open", Guard::Nobody)] {
        let registry = Registry::start(&scene, name, &guard, false);
        let host = registry.host();
        let config = scene.home(".docker/config.json", "{\"psFormat\": \"table {{.ID}}\"}");
        let words = ["login", "-u", USER, "--password-stdin", &host];
        if name != "open" {
            let wrong = scene.feed("one", "wax\n", &words);
            wrong.assert_one_line_error(&["log in to", &host]);
            assert!(!wrong.stderr.contains("wax"), "{wrong:?}");
            assert!(!fs::read_to_string(&config).unwrap().contains(&host));
        }
        let ended = scene.feed("one", &format!("{PASSWORD}\n"), &words);
        assert_eq!((ended.code, ended.stdout.as_str()), (0, "Login Succeeded\n"), "{ended:?}");
        let warning = format!("WARNING! Your credentials are stored unencrypted in '{}'.", config.display());
        assert!(ended.stderr.contains(&warning), "{ended:?}");
        let text = fs::read_to_string(&config).unwrap();
        assert!(text.contains(ENCODED) && text.contains("psFormat"), "{text}");
        assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
        // Others read what was kept.
        if name != "open" {
            let login = ["skopeo", "list-tags", "--tls-verify=false", "--authfile"];
            let tags = scene
                .place
                .run(&[&login[..], &[&config.display().to_string(), &format!("docker://{host}/none")]].concat());
            assert!(!tags.text.contains("unauthorized") && !tags.text.contains("authentication"), "{tags:?}");
        }
        let again = scene.ok("one", &["login", &host]);
        assert_eq!(again, format!("Authenticating with existing credentials... [Username: {USER}]\nLogin Succeeded"));
        assert_eq!(scene.ok("one", &["logout", &host]), format!("Removing login credentials for {host}"));
        assert!(!fs::read_to_string(&config).unwrap().contains(ENCODED));
        assert_eq!(scene.ok("one", &["logout", &host]), format!("Not logged in to {host}"));
    }
}

#[test]
fn a_helper_keeps_the_account_instead_of_the_file() {
    let Some(scene) = Scene::new("helper", &[]) else { return };
    let registry = Registry::start(&scene, "registry", &Guard::Password, false);
    let host = registry.host();
    let config = scene.home(".docker/config.json", &format!("{{\"credHelpers\": {{\"{host}\": \"jar\"}}}}"));
    let words = ["login", "-u", USER, "-p", PASSWORD, &host];
    let ended = scene.skep("one", &words);
    assert!(ended.code == 1 && ended.stderr.contains("`docker-credential-jar`, which `"), "{ended:?}");

    let (bin, jar) = (scene.path("bin"), scene.path("jar"));
    let helper = format!("{bin}/docker-credential-jar");
    fs::create_dir_all(&bin).unwrap();
    let script = format!(
        "#!/bin/sh\ncase $1 in\nstore) cat >{jar};;\nget) cat {jar} || {{ echo credentials not found in native keychain; exit 1; }};;\n\
         erase) rm {jar};;\nesac 2>/dev/null\n"
    );
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let ended = scene.skep("one", &words);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "Login Succeeded\n"), "{ended:?}");
    assert_eq!(ended.stderr, "WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n");
    assert!(fs::read_to_string(&jar).unwrap().contains(PASSWORD));
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.contains("\"jar\"") && !text.contains(ENCODED) && !text.contains(PASSWORD), "{text}");
    assert!(scene.ok("one", &["login", &host]).ends_with("Login Succeeded"));
    scene.ok("one", &["logout", &host]);
    assert!(!Path::new(&jar).exists());
}

#[test]
fn mistakes_of_the_command_line_are_said_as_docker_says_them() {
    let Some(scene) = Scene::new("words", &[]) else { return };
    for (words, parts) in [
        (&["login", "--password-stdin", "a.net"][..], "Must provide --username with --password-stdin"),
        (&["login", "a.net"], "cannot perform an interactive login from a non-TTY device"),
        (&["login", "a.net", "b.net"], "unexpected argument `b.net`"),
        (&["login", "user:hunter2@a.net"], "is not a registry"),
        (&["logout", "a b"], "`a b` is not a registry"),
    ] {
        scene.fails("one", words, &[parts]);
    }
    let both = scene.skep("one", &["login", "-u", "x", "-p", "y", "--password-stdin", "a.net"]);
    assert!(
        both.code == 1 && both.stderr.contains("--password and --password-stdin are mutually exclusive"),
        "{both:?}"
    );
    let mut command = scene.command("one", &["login", "-u", "x", "--password-stdin", "127.0.0.1:1"]);
    command.env("DOCKER_CONFIG", scene.path("elsewhere"));
    let ended = finish(command);
    ended.assert_one_line_error(&["127.0.0.1:1"]);
    assert!(!Path::new(&scene.path("elsewhere")).exists(), "bad input changes nothing");
}

/// Types answers at a terminal of its own; prints what it showed, and whether it shows what is typed afterwards.
const TYPIST: &str = r#"
import os, pty, sys, termios
end, other = pty.openpty()
child = os.fork()
if child == 0:
    os.setsid()
    [os.dup2(other, fd) for fd in range(3)]
    os.execv(sys.argv[1], ["skep", "login", sys.argv[2]])
shown = b""
def until(text):
    global shown
    while text not in shown:
        shown += os.read(end, 1000)
for question, answer in [(b"Username: ", b"bee\n"), (b"Password: ", b"hox\x7fney\r")]:
    until(question)
    if question == b"Password: ":
        while termios.tcgetattr(end)[3] & termios.ECHO:
            pass
    os.write(end, answer)
until(b"Login Succeeded")
os.waitpid(child, 0)
print(shown.decode(), "shows again:", bool(termios.tcgetattr(end)[3] & termios.ECHO))
"#;

#[test]
fn a_password_is_typed_and_not_shown() {
    let Some(scene) = Scene::new("typed", &["python3"]) else { return };
    let registry = Registry::start(&scene, "registry", &Guard::Password, false);
    let skep = crate::place::binary().display().to_string();
    let shown = scene.tool(&["timeout", "60", "python3", "-c", TYPIST, &skep, &registry.host()]);
    assert!(shown.contains("Username: bee") && shown.contains("shows again: True"), "{shown}");
    assert!(!shown.contains("honey") && !shown.contains("hox"), "{shown}");
}
