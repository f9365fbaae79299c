//! A registry that lies: it has one small image, under every name, and one thing that it does wrong.
//!
//! ```text
//! /v2/                              200
//! /v2/<name>/manifests/<reference>  the manifest          ─┐ each as it is,
//! /v2/<name>/blobs/<digest>         its config, a layer   ─┘ or as the [`Lie`] wants it
//! ```
//! Endless bodies end with the connection: the client must be the one that has enough.

use super::http::{Request, Server, answer, head};
use super::orchard;
use crate::archive::{Layer, sha256};
use serde_json::json;
use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
/// More than any client takes in a document.
const HUGE: usize = 64 << 20;

/// What is wrong.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Lie {
    /// Nothing.
    Honest,
    /// The layer has the right length and other bytes.
    WrongLayer,
    /// So has the configuration.
    WrongConfig,
    /// `Docker-Content-Digest` is not the manifest's.
    WrongManifestDigest,
    /// What comes for the digest of a manifest is another one.
    OtherManifest,
    /// The layer is shorter than the manifest says, and its `Content-Length` agrees with it.
    ShortLayer,
    /// The connection always ends before `Content-Length` is reached, after the same bytes from the beginning.
    CutLayer,
    /// The layer never ends.
    EndlessLayer,
    /// The layer has more bytes than the manifest says, as announced.
    LongLayer,
    /// The manifest never ends.
    EndlessManifest,
    /// The manifest is huge, as announced.
    HugeManifest,
    /// A description, not one of JSON.
    Html,
    /// The layer is a page of HTML, with status 200.
    HtmlLayer,
    /// Half of the manifest, as announced.
    BrokenJson,
    /// Every request for a manifest ends so.
    Status(&'static str, &'static [(&'static str, &'static str)]),
    /// Every request for a layer ends so.
    LayerStatus(&'static str, &'static [(&'static str, &'static str)]),
    /// The first requests for anything end so, then all is well.
    AtFirst(usize, &'static str, &'static [(&'static str, &'static str)]),
    /// A manifest of the old kind.
    Schema1,
    /// A document that is a manifest and an index.
    Ambiguous,
    /// An index; for its entry comes the index again, which has another digest.
    IndexOnly,
    /// Blobs are elsewhere, at this address.
    Elsewhere(String),
    /// Blobs are at the place where they were asked for.
    RedirectLoop,
    /// Blobs are in a file of the client's.
    RedirectToFile,
    /// The layer comes in two halves, the second of which is said to begin elsewhere.
    BadContentRange,
    /// The first answer is cut, and the second ignores that only the rest was asked for.
    IgnoresRange,
    /// The layer comes in small pieces.
    SlowDrip,
    /// The layer is said to be found at a URL.
    Foreign,
    /// The config says that the layer, uncompressed, has another digest.
    WrongDiffId,
    /// The manifest names more layers than the config.
    MoreLayers,
    /// The manifest says a negative size.
    NegativeSize,
    /// The layer is a program.
    Artifact,
    /// A token is good for one request.
    ShortTokens,
    /// The manifest nests lists without end.
    DeepJson,
}

/// The registry.
pub(crate) struct Liar {
    server: Server,
    log: Arc<Mutex<Vec<Request>>>,
}

/// The image that it has.
struct Fake {
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
    media_type: &'static str,
    /// The token that was given and not used.
    token: Mutex<Option<String>>,
}

impl Liar {
    /// Serves until it is dropped.
    pub(crate) fn start(lie: Lie) -> Self {
        let fake = Fake::new(&lie);
        let log = Arc::new(Mutex::new(Vec::new()));
        let requests = Arc::clone(&log);
        let server = Server::start(move |request, socket| {
            let number = {
                let mut requests = requests.lock().unwrap();
                requests.push(request.clone());
                requests.len()
            };
            fake.answer(&lie, number, request, socket);
        });
        Self { server, log }
    }

    /// The address, as it stands in names of images.
    pub(crate) fn host(&self) -> String {
        self.server.host()
    }

    /// Every request so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }
}

impl Fake {
    fn new(lie: &Lie) -> Self {
        let layer = Layer::new().directory("etc").file("etc/noise", orchard::noise(1, 300_000)).bytes();
        let digest = |bytes: &[u8]| format!("sha256:{}", sha256(bytes));
        let diff_id = digest(if *lie == Lie::WrongDiffId { b"another" } else { &layer });
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = json!({
            "architecture": architecture, "os": "linux", "config": {"Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        });
        let config = config.to_string().into_bytes();
        let mut described = json!({"mediaType": LAYER, "digest": digest(&layer), "size": layer.len()});
        match lie {
            Lie::Foreign => {
                described["mediaType"] = "application/vnd.oci.image.layer.nondistributable.v1.tar".into();
                described["urls"] = json!(["http://127.0.0.1/layer"]);
            }
            Lie::NegativeSize => described["size"] = (-1).into(),
            _ => {}
        }
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "layers": [described.clone()],
            "config": {"mediaType": CONFIG, "digest": digest(&config), "size": config.len()},
        });
        let mut media_type = MANIFEST;
        match lie {
            Lie::MoreLayers => manifest["layers"] = json!([described.clone(), described]),
            Lie::Ambiguous => manifest["manifests"] = json!([described]),
            Lie::Artifact => {
                manifest["config"]["mediaType"] = "application/vnd.example.program.config.v1+json".into();
                manifest["layers"][0]["mediaType"] = "application/vnd.example.program.v1".into();
            }
            Lie::Schema1 => {
                let layers = json!([{"blobSum": described["digest"]}]);
                manifest = json!({"schemaVersion": 1, "name": "lie", "tag": "1", "fsLayers": layers, "history": []});
                media_type = SCHEMA1;
            }
            Lie::IndexOnly => {
                let platform = json!({"os": "linux", "architecture": architecture});
                let entry = json!({"mediaType": INDEX, "digest": digest(b"any"), "size": 300, "platform": platform});
                manifest = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
                media_type = INDEX;
            }
            _ => {}
        }
        let manifest = match lie {
            Lie::DeepJson => [vec![b'['; 100_000], vec![b']'; 100_000]].concat(),
            Lie::BrokenJson => manifest.to_string().into_bytes()[..200].to_vec(),
            _ => manifest.to_string().into_bytes(),
        };
        Self { layer, config, manifest, media_type, token: Mutex::default() }
    }

    fn answer(&self, lie: &Lie, number: usize, request: &Request, socket: &mut TcpStream) {
        if let Lie::AtFirst(count, status, headers) = lie
            && number <= *count
        {
            return answer(request, socket, status, headers, b"");
        }
        if *lie == Lie::ShortTokens && !self.admits(number, request, socket) {
            return;
        }
        match request.blob() {
            _ if request.path() == "/v2/" => answer(request, socket, "200 OK", &[], b"{}"),
            Some(digest) if digest.ends_with(&sha256(&self.config)) => self.answer_config(lie, request, socket),
            Some(digest) if digest.ends_with(&sha256(&self.layer)) => self.answer_layer(lie, number, request, socket),
            None if request.path().contains("/manifests/") => self.answer_manifest(lie, request, socket),
            _ => {
                let body = r#"{"errors": [{"code": "BLOB_UNKNOWN", "message": "blob unknown to registry"}]}"#;
                answer(request, socket, "404 Not Found", &[("Content-Type", "application/json")], body.as_bytes());
            }
        }
    }

    /// Gives a token, or takes it away; else asks for one.
    fn admits(&self, number: usize, request: &Request, socket: &mut TcpStream) -> bool {
        let mut given = self.token.lock().unwrap();
        if request.path() == "/token" {
            *given = Some(format!("token-{number}"));
            let body = json!({"token": *given, "expires_in": 300}).to_string();
            answer(request, socket, "200 OK", &[("Content-Type", "application/json")], body.as_bytes());
            return false;
        }
        let shown = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        if shown.is_some() && given.take().as_deref() == shown {
            return true;
        }
        let host = request.header("host").unwrap_or_default();
        let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"lie\",error=\"invalid_token\"");
        answer(request, socket, "401 Unauthorized", &[("WWW-Authenticate", &challenge)], b"");
        false
    }

    fn answer_manifest(&self, lie: &Lie, request: &Request, socket: &mut TcpStream) {
        let by_tag = !request.path().contains("sha256:");
        let mut digest = format!("sha256:{}", sha256(&self.manifest));
        let mut body = self.manifest.clone();
        match lie {
            Lie::Status(status, headers) => return answer(request, socket, status, headers, b"<b>no</b>"),
            Lie::Html => {
                let page = b"<!DOCTYPE html><html><body>please pay for the network</body></html>";
                return answer(request, socket, "200 OK", &[("Content-Type", "text/html; charset=utf-8")], page);
            }
            Lie::EndlessManifest if request.method == "GET" => {
                head(socket, "200 OK", &[("Content-Type", self.media_type)], None);
                return endless(socket, b"{\"schemaVersion\": 2, ", b"                                ");
            }
            Lie::HugeManifest => body.resize(HUGE, b' '),
            Lie::OtherManifest if !by_tag || request.method == "GET" => body.push(b' '),
            Lie::WrongManifestDigest => digest = format!("sha256:{}", sha256(b"another")),
            _ => {}
        }
        let headers = [("Content-Type", self.media_type), ("Docker-Content-Digest", &digest)];
        answer(request, socket, "200 OK", &headers, &body);
    }

    fn answer_config(&self, lie: &Lie, request: &Request, socket: &mut TcpStream) {
        let mut body = self.config.clone();
        if *lie == Lie::WrongConfig {
            *body.last_mut().unwrap() = b' ';
        }
        blob(request, socket, "200 OK", &body);
    }

    fn answer_layer(&self, lie: &Lie, number: usize, request: &Request, socket: &mut TcpStream) {
        let from =
            request.header("range").and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse().ok());
        let location = match lie {
            Lie::Elsewhere(host) => format!("http://{host}{}", request.target),
            Lie::RedirectLoop => format!("{}?{number}", request.path()),
            Lie::RedirectToFile => "file:///etc/passwd".to_owned(),
            _ => return self.answer_layer_here(lie, from, request, socket),
        };
        answer(request, socket, "307 Temporary Redirect", &[("Location", &location)], b"");
    }

    fn answer_layer_here(&self, lie: &Lie, from: Option<usize>, request: &Request, socket: &mut TcpStream) {
        let layer = &self.layer;
        match (lie, from) {
            (Lie::LayerStatus(status, headers), _) => answer(request, socket, status, headers, b"no"),
            (Lie::HtmlLayer, _) => {
                answer(request, socket, "200 OK", &[("Content-Type", "text/html")], b"<html>please pay</html>");
            }
            (Lie::WrongLayer, None) => {
                let mut body = layer.clone();
                body[layer.len() / 2] ^= 1;
                blob(request, socket, "200 OK", &body);
            }
            (Lie::ShortLayer, _) => blob(request, socket, "200 OK", &layer[..layer.len() - 1000]),
            (Lie::LongLayer, None) => blob(request, socket, "200 OK", &[layer, &layer[..5000]].concat()),
            (Lie::EndlessLayer, _) => {
                head(socket, "200 OK", &[("Content-Type", "application/octet-stream")], None);
                endless(socket, layer, &[0; 4096]);
            }
            (Lie::CutLayer, _) | (Lie::BadContentRange | Lie::IgnoresRange, None) => {
                head(socket, "200 OK", &[("Accept-Ranges", "bytes")], Some(layer.len() as u64));
                socket.write_all(&layer[..100_000]).ok();
            }
            (Lie::BadContentRange, Some(from)) => {
                let range = format!("bytes {}-{}/{}", from - 512, layer.len() - 1, layer.len());
                let headers = [("Content-Range", range.as_str())];
                answer(request, socket, "206 Partial Content", &headers, &layer[from - 512..]);
            }
            (Lie::SlowDrip, _) => {
                head(socket, "200 OK", &[], Some(layer.len() as u64));
                for piece in layer.chunks(layer.len() / 100) {
                    std::thread::sleep(Duration::from_millis(5));
                    socket.write_all(piece).ok();
                }
            }
            (Lie::IgnoresRange, Some(_)) | (_, None) => blob(request, socket, "200 OK", layer),
            (_, Some(from)) => {
                let range = format!("bytes {from}-{}/{}", layer.len() - 1, layer.len());
                answer(request, socket, "206 Partial Content", &[("Content-Range", &range)], &layer[from..]);
            }
        }
    }
}

fn blob(request: &Request, socket: &mut TcpStream, status: &str, body: &[u8]) {
    answer(request, socket, status, &[("Content-Type", "application/octet-stream")], body);
}

/// Writes until the client goes, or has had far more than anybody should take.
fn endless(socket: &mut TcpStream, first: &[u8], rest: &[u8]) {
    let mut written = first.len();
    let mut alive = socket.write_all(first).is_ok();
    while alive && written < 4 * HUGE {
        alive = socket.write_all(rest).is_ok();
        written += rest.len();
    }
}
