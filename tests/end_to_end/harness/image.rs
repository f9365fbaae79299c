//! The image that most tests use: Debian's static busybox with its applets as links, and the few files a user expects.

use super::{Archive, Layer};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbee:x:1000:1000:a bee:/home/bee:/bin/sh\n";
const GROUP: &str = "root:x:0:\nbee:x:1000:\nhoney:x:2000:bee\n";

/// The layer of the image.
pub(crate) fn busybox_layer() -> Layer {
    let program = std::fs::read("/bin/busybox").expect("`/bin/busybox` is missing: apt-get install busybox-static");
    let mut layer = Layer::new();
    for directory in ["bin", "dev", "etc", "home", "home/bee", "proc", "root", "sys", "tmp", "usr", "usr/bin", "var"] {
        layer = layer.directory(directory);
    }
    layer = layer.file("etc/passwd", PASSWD).file("etc/group", GROUP).program("bin/busybox", program);
    let applets = Command::new("/bin/busybox").arg("--list").output().unwrap();
    for applet in String::from_utf8(applets.stdout).unwrap().lines().filter(|applet| *applet != "busybox") {
        layer = layer.symlink(&format!("bin/{applet}"), "busybox");
    }
    layer
}

/// The image as a docker-archive named `busybox:latest`, written once.
pub(crate) fn busybox_archive() -> PathBuf {
    static ARCHIVE: OnceLock<PathBuf> = OnceLock::new();
    let write = || {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("busybox.tar");
        let unfinished = path.with_extension(std::process::id().to_string());
        let config = serde_json::json!({"Cmd": ["sh"], "Env": ["PATH=/bin:/usr/bin", "FLOWER=clover"]});
        Archive::new("busybox:latest").layer(&busybox_layer()).config(config).write(unfinished.clone());
        std::fs::rename(unfinished, &path).unwrap();
        path
    };
    ARCHIVE.get_or_init(write).clone()
}
