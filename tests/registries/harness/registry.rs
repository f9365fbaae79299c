//! Debian's `docker-registry` on a free port, with a data directory, and its access log.
//!
//! It finds its port itself (port 0) and names it in its log, so that two tests never want the same one. Who may use it
//! is said by [`Guard`]; with TLS, its certificate is signed by an authority of the test's own.

use super::scene::{NAME, Scene};
use super::token::{ISSUER, SERVICE, TokenServer};
use crate::place::retry;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

/// `bee:honey`, as `htpasswd -B` writes it.
const PASSWORDS: &str = "bee:$2b$04$o4cn/iB5.iSqnASt/TPH0Ot9pUdP7DGUlRQUrRaEUUUqTCKMITeN2\n";

/// Who may use a registry.
pub(crate) enum Guard<'a> {
    /// Everybody.
    Nobody,
    /// The users of a password file.
    Password,
    /// Who has a token of this server.
    Token(&'a TokenServer),
}

/// A registry that runs until its scene ends.
pub(crate) struct Registry {
    pub(crate) address: SocketAddr,
    /// Its files, logs and certificates.
    directory: String,
}

/// A request that was answered, as the access log has it.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) status: u16,
}

impl Registry {
    /// An open registry without TLS.
    pub(crate) fn open(scene: &Scene, name: &str) -> Self {
        Self::start(scene, name, &Guard::Nobody, false)
    }

    /// Starts a registry whose files are in the scene's directory `name`.
    pub(crate) fn start(scene: &Scene, name: &str, guard: &Guard<'_>, tls: bool) -> Self {
        let directory = scene.path(name);
        fs::create_dir_all(format!("{directory}/data")).unwrap();
        fs::write(format!("{directory}/passwords"), PASSWORDS).unwrap();
        let mut http = json!({"addr": "127.0.0.1:0", "secret": "of no use"});
        if tls {
            make_certificates(scene, &directory);
            http["tls"] = json!({
                "certificate": format!("{directory}/server.crt"), "key": format!("{directory}/server.key"),
            });
        }
        let mut configuration = json!({
            "version": 0.1,
            "log": {"accesslog": {"disabled": false}, "level": "info"},
            "storage": {
                "filesystem": {"rootdirectory": format!("{directory}/data")}, "delete": {"enabled": true},
            },
            "http": http,
        });
        match guard {
            Guard::Nobody => {}
            Guard::Password => {
                let path = format!("{directory}/passwords");
                configuration["auth"] = json!({"htpasswd": {"realm": "the hive", "path": path}});
            }
            Guard::Token(server) => {
                configuration["auth"] = json!({"token": {
                    "realm": server.realm(), "service": SERVICE, "issuer": ISSUER,
                    "rootcertbundle": server.certificate,
                }});
            }
        }
        // JSON is YAML.
        let file = format!("{directory}/config.yml");
        fs::write(&file, configuration.to_string()).unwrap();
        scene.start(&["docker-registry", "serve", &file], &directory);
        let address = retry(|| {
            let log = fs::read_to_string(format!("{directory}/stderr")).unwrap();
            let found =
                log.split("listening on ").nth(1).and_then(|rest| rest.split([',', '"', ' ']).next()?.parse().ok());
            found.ok_or(log)
        });
        Self { address, directory }
    }

    /// The address, as it stands in names of images.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// The address by a name, which is not believed because it is this machine's own.
    pub(crate) fn named(&self) -> String {
        format!("{NAME}:{}", self.address.port())
    }

    /// The certificate of who signed the registry's.
    pub(crate) fn authority(&self) -> String {
        format!("{}/authority.crt", self.directory)
    }

    /// Every request so far.
    pub(crate) fn accesses(&self) -> Vec<Access> {
        let log = fs::read_to_string(format!("{}/stdout", self.directory)).unwrap();
        log.lines().filter_map(access).collect()
    }

    /// How often each blob was fetched whole or in part.
    pub(crate) fn fetches(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for access in self.accesses() {
            let digest = access.target.split("/blobs/").nth(1).filter(|digest| digest.starts_with("sha256:"));
            if let (Some(digest), "GET", 200 | 206) = (digest, access.method.as_str(), access.status) {
                *counts.entry(digest.to_owned()).or_default() += 1;
            }
        }
        counts
    }
}

/// A line of the access log: `127.0.0.1 - - [time] "GET /v2/ HTTP/1.1" 200 2 "" "agent"`.
fn access(line: &str) -> Option<Access> {
    let mut parts = line.split('"').skip(1);
    let mut request = parts.next()?.split(' ');
    let status = parts.next()?.split_whitespace().next()?.parse().ok()?;
    Some(Access { method: request.next()?.to_owned(), target: request.next()?.to_owned(), status })
}

/// An authority, and a server's certificate from it for the loopback.
fn make_certificates(scene: &Scene, directory: &str) {
    let script = r#"
cd "$0"
curve="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
openssl req -x509 $curve -keyout authority.key -out authority.crt -subj "/CN=an authority" -days 3650
openssl req $curve -keyout server.key -out server.csr -subj "/CN=a registry"
printf 'subjectAltName=IP:127.0.0.1,DNS:registry.test\n' >names
openssl x509 -req -in server.csr -CA authority.crt -CAkey authority.key -CAcreateserial -out server.crt \
    -days 3650 -extfile names
"#;
    scene.tool(&["bash", "-euc", script, directory]);
}
