//! Who we are, told to whom it concerns.

use std::sync::atomic::{AtomicUsize, Ordering};

use failure::Kind;
use registry::{Access, Credentials, Registries, Which};

use crate::server::{Asked, Reply, Server};
use crate::settings::Settings;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCUMENT: &str = r#"{"schemaVersion":2,"config":{}}"#;
/// `me:secret`
const BASIC: &str = "Basic bWU6c2VjcmV0";

/// A registry that wants a token for `token`'s name, which its own `/token` gives; `issue` answers that.
fn with_tokens(issue: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(move |asked| {
        if asked.path.starts_with("/token") {
            return issue(asked);
        }
        match asked.header("authorization") {
            Some("Bearer good") => Reply::document(DOCUMENT, MANIFEST),
            _ => {
                let host = asked.header("host").unwrap();
                let challenge = format!(
                    r#"Bearer realm="http://{host}/token",service="registry",scope="repository:team/app:pull""#
                );
                Reply::new(401, r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#)
                    .with("www-authenticate", challenge)
            }
        }
    })
}

#[test]
fn a_password_is_told_when_it_is_asked_for_and_then_remembered() {
    let server = Server::start(|asked| match asked.header("authorization") {
        Some(BASIC) => Reply::document(DOCUMENT, MANIFEST),
        _ => Reply::new(401, "").with("www-authenticate", "Basic realm=\"x\""),
    });
    let repository = Settings::of(&[&server]).known_as(&server, "me", "secret").repository(Access::Pull);
    repository.manifest(Which::Tag("1")).unwrap();
    repository.manifest(Which::Tag("1")).unwrap();
    let told: Vec<_> = server.asked().iter().map(|asked| asked.header("authorization").map(str::to_owned)).collect();
    assert_eq!(told, [None, Some(BASIC.to_owned()), Some(BASIC.to_owned())]);
}

#[test]
fn a_wrong_password_is_tried_once() {
    let server = Server::start(|_| {
        Reply::new(401, r#"{"errors":[{"code":"UNAUTHORIZED","message":"no"}]}"#)
            .with("www-authenticate", "Basic realm=x")
    });
    let repository = Settings::of(&[&server]).known_as(&server, "me", "secret").repository(Access::Pull);
    let error = repository.manifest(Which::Tag("1")).unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.to_string().ends_with("answers 401 UNAUTHORIZED: no; log in with `skep login`"), "{error}");
    assert_eq!(server.asked().len(), 2);
    let error = Settings::of(&[&server]).repository(Access::Pull).manifest(Which::Tag("1")).unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "and nothing is tried without one");
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn credentials_that_cannot_be_had_are_no_missing_image() {
    let server = Server::start(|_| Reply::new(401, "").with("www-authenticate", "Basic realm=x"));
    let repository = Settings { broken: true, ..Settings::of(&[&server]) }.repository(Access::Pull);
    assert_eq!(repository.head_manifest(Which::Tag("1")).unwrap_err().to_string(), "no such helper");
}

#[test]
fn a_token_is_asked_for_once_and_remembered() {
    let server = with_tokens(|_| Reply::new(200, r#"{"token":"good","expires_in":18446744073709551615}"#));
    let repository = Settings::of(&[&server]).repository(Access::Pull);
    repository.head_manifest(Which::Tag("1")).unwrap();
    repository.manifest(Which::Tag("1")).unwrap();
    assert_eq!(
        server.lines(),
        [
            "HEAD /v2/team/app/manifests/1",
            "GET /token?service=registry&scope=repository%3Ateam%2Fapp%3Apull",
            "HEAD /v2/team/app/manifests/1",
            "GET /v2/team/app/manifests/1",
        ]
    );
    assert!(server.asked()[1].header("authorization").is_none(), "anonymous");
}

#[test]
fn a_token_for_pushes_is_asked_for_with_our_password() {
    let server = with_tokens(|asked| match asked.header("authorization") {
        Some(BASIC) => Reply::new(200, r#"{"access_token":"good"}"#),
        _ => Reply::new(401, r#"{"details":"incorrect username or password"}"#),
    });
    let repository = Settings::of(&[&server]).known_as(&server, "me", "secret").repository(Access::Push);
    repository.manifest(Which::Tag("1")).unwrap();
    assert_eq!(server.lines()[1], "GET /token?service=registry&scope=repository%3Ateam%2Fapp%3Apull%2Cpush");
    let repository = Settings::of(&[&server]).known_as(&server, "me", "wrong").repository(Access::Push);
    let error = repository.manifest(Which::Tag("1")).unwrap_err();
    let expected = format!(
        "log in to {0}: http://{0} answers 401 incorrect username or password; log in with `skep login`",
        server.host
    );
    assert_eq!((error.kind(), error.to_string()), (Kind::Denied, expected));
}

#[test]
fn an_identity_token_is_exchanged() {
    let server = with_tokens(|asked| {
        assert_eq!(asked.method, "POST");
        let form = String::from_utf8(asked.body.clone()).unwrap();
        let expected = "grant_type=refresh_token&service=registry&client_id=skep&scope=repository%3Ateam%2Fapp%3Apull&\
                        refresh_token=a%2Fb";
        assert_eq!(form, expected);
        Reply::new(200, r#"{"access_token":"good","refresh_token":"a/b"}"#)
    });
    let mut settings = Settings::of(&[&server]);
    settings.credentials = vec![(server.host.clone(), Credentials::Identity("a/b".to_owned()))];
    settings.repository(Access::Pull).manifest(Which::Tag("1")).unwrap();
}

#[test]
fn an_identity_token_does_not_go_where_a_token_server_points() {
    let other = Server::start(|_| Reply::new(200, r#"{"access_token":"good"}"#));
    let to = format!("http://{}/token", other.host);
    let server = with_tokens(move |_| Reply::new(307, "").with("location", to.clone()));
    let mut settings = Settings::of(&[&server]);
    settings.credentials = vec![(server.host.clone(), Credentials::Identity("a/b".to_owned()))];
    let error = settings.repository(Access::Pull).manifest(Which::Tag("1")).unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(other.asked().is_empty());
}

#[test]
fn a_token_of_our_own_is_sent_as_it_is() {
    let server = with_tokens(|_| Reply::new(500, ""));
    let mut settings = Settings::of(&[&server]);
    settings.credentials = vec![(server.host.clone(), Credentials::Bearer("good".to_owned()))];
    settings.repository(Access::Pull).manifest(Which::Tag("1")).unwrap();
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn a_token_that_is_not_good_any_more_is_renewed() {
    let times = AtomicUsize::new(0);
    let server = Server::start(move |asked| {
        if asked.path.starts_with("/token") {
            return Reply::new(200, format!(r#"{{"token":"{}"}}"#, times.fetch_add(1, Ordering::Relaxed)));
        }
        let challenge = format!("Bearer realm=\"http://{}/token\"", asked.header("host").unwrap());
        // The first token is good for a HEAD alone.
        match (asked.header("authorization"), asked.method.as_str()) {
            (Some("Bearer 0"), "HEAD") | (Some("Bearer 1"), _) => Reply::document(DOCUMENT, MANIFEST),
            _ => Reply::new(401, "").with("www-authenticate", challenge),
        }
    });
    let repository = Settings::of(&[&server]).repository(Access::Pull);
    repository.head_manifest(Which::Tag("1")).unwrap();
    repository.manifest(Which::Tag("1")).unwrap();
    repository.manifest(Which::Tag("1")).unwrap();
    assert_eq!(server.asked().len(), 7);
}

#[test]
fn what_a_token_server_sends_must_be_a_token() {
    for (answer, expected) in [
        (r#"{"token":""}"#, "sends no token"),
        (r#"{"token":"a\r\nb"}"#, "sends no token"),
        ("{}", "sends no token"),
        ("<html>", "does not answer in JSON"),
    ] {
        let server = with_tokens(move |_| Reply::new(200, answer));
        let error = Settings::of(&[&server]).repository(Access::Pull).manifest(Which::Tag("1")).unwrap_err();
        assert!(error.to_string().ends_with(expected), "{error}");
    }
}

#[test]
fn a_host_without_tls_cannot_send_our_password_elsewhere() {
    let thief = Server::start(|_| Reply::new(200, r#"{"token":"good"}"#));
    // The same machine under another name.
    let realm = format!("http://localhost:{}/token", thief.host.rsplit_once(':').unwrap().1);
    let server = Server::start(move |_| {
        Reply::new(401, "").with("www-authenticate", format!("Bearer realm=\"{realm}\",service=x"))
    });
    let repository = Settings::of(&[&server]).known_as(&server, "me", "secret").repository(Access::Pull);
    let error = repository.manifest(Which::Tag("1")).unwrap_err();
    assert!(error.to_string().contains("refused, since our password would go there"), "{error}");
    assert!(thief.asked().is_empty());
    let error = Settings::of(&[&server]).repository(Access::Pull).manifest(Which::Tag("1")).unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(thief.asked()[0].header("authorization").is_none(), "who has no password can ask anywhere");
}

#[test]
fn credentials_are_tried_before_they_are_kept() {
    let server = with_tokens(|asked| match asked.header("authorization") {
        Some(BASIC) => Reply::new(200, r#"{"token":"good"}"#),
        _ => Reply::new(401, ""),
    });
    let settings = Settings::of(&[&server]);
    let endpoint = settings.endpoints[0].clone();
    let registries = Registries::new(settings);
    let password = |password: &str| Credentials::Password { user: "me".to_owned(), password: password.to_owned() };
    registries.verify(&endpoint, &password("secret")).unwrap();
    assert_eq!(
        server.lines(),
        ["GET /v2/", "GET /token?service=registry&scope=repository%3Ateam%2Fapp%3Apull", "GET /v2/"]
    );
    let registries = Registries::new(Settings::of(&[&server]));
    assert_eq!(registries.verify(&endpoint, &password("wrong")).unwrap_err().kind(), Kind::Denied);
    let page = Server::start(|_| Reply::new(200, "<html>").with("content-type", "text/html"));
    let endpoint = Settings::of(&[&page]).endpoints[0].clone();
    let error = registries.verify(&endpoint, &password("secret")).unwrap_err();
    assert!(error.to_string().ends_with("answers with a web page; is it a registry?"), "{error}");
}

#[test]
fn each_endpoint_is_told_who_we_are_there() {
    let wants = |server: &str| {
        let server = server.to_owned();
        move |asked: &Asked| match asked.header("authorization") {
            Some(told) if told == server => Reply::document(DOCUMENT, MANIFEST),
            Some(other) => panic!("told {other}"),
            None => Reply::new(401, "").with("www-authenticate", "Basic realm=x"),
        }
    };
    let mirror = Server::start(wants("Basic bWlycm9yOm0="));
    let host = Server::start(wants(BASIC));
    let settings = Settings::of(&[&mirror, &host]);
    let host_only = settings.clone().known_as(&host, "me", "secret");
    host_only.repository(Access::Pull).manifest(Which::Tag("1")).unwrap();
    assert_eq!((mirror.asked().len(), host.asked().len()), (1, 2));
    let both = settings.known_as(&mirror, "mirror", "m").known_as(&host, "me", "secret");
    both.repository(Access::Pull).manifest(Which::Tag("1")).unwrap();
    assert_eq!((mirror.asked().len(), host.asked().len()), (3, 2));
}
