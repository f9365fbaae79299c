//! What images take of the disk: every file counted once, as `system df`, `images --tree` and the files themselves say.

use crate::harness::{IMAGE, Skep};
use serde_json::Value;
use std::fs;

/// The bytes of all blobs, and of all unpacked layers.
fn on_disk(skep: &Skep) -> (u64, u64) {
    let files = fs::read_dir(skep.root().join("blobs/sha256")).unwrap();
    let blobs = files.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    let layers = fs::read_dir(skep.root().join("layers")).unwrap();
    let size = |path: std::path::PathBuf| -> u64 {
        let text = fs::read_to_string(path.join("size")).unwrap();
        text.lines().next().unwrap().parse().unwrap()
    };
    (blobs, layers.map(|entry| size(entry.unwrap().path())).sum())
}

/// Three significant digits, as Docker writes them.
fn close(shown: &str, bytes: u64) {
    let (number, unit) = shown.split_at(shown.find(|c: char| c.is_ascii_alphabetic()).unwrap());
    let factor = match unit {
        "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        other => panic!("{other}"),
    };
    let shown = number.parse::<f64>().unwrap() * factor;
    assert!((shown - bytes as f64).abs() <= bytes as f64 * 0.006 + 1.0, "{shown} is not {bytes}");
}

/// A second image on the first, of one more layer; and a volume.
fn scene() -> Skep {
    let skep = Skep::with_image();
    let id = skep.ok(["run", "-d", "--name", "maker", "-v", "data:/data", IMAGE, "sleep", "1000"]);
    let script = "head -c 500000 /dev/urandom > /own; head -c 20000 /dev/urandom > /data/file; mkdir /data/d; echo x > /data/d/x";
    skep.ok(["exec", &id, "sh", "-c", script]);
    skep.ok(["commit", &id, "child:1"]);
    skep.ok(["tag", "child:1", "child:2"]);
    skep
}

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_blob_and_layer_is_counted_once() {
    let skep = scene();
    let (blobs, layers) = on_disk(&skep);
    let text = skep.ok(["system", "df", "--format", "json"]);
    let short = rows(&text);
    let kinds: Vec<_> = short.iter().map(|row| row["Type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Images", "Containers", "Local Volumes", "Build Cache"]);
    let count = |at: usize| (short[at]["TotalCount"].as_str().unwrap(), short[at]["Active"].as_str().unwrap());
    assert_eq!((count(0), count(1), count(2), count(3)), (("2", "1"), ("1", "1"), ("1", "1"), ("0", "0")));
    close(short[0]["Size"].as_str().unwrap(), blobs + layers);
    close(short[1]["Size"].as_str().unwrap(), 500_000);
    close(short[2]["Size"].as_str().unwrap(), 20_002);
    assert_eq!(short[3]["Reclaimable"], "0B");

    let detail: Value = serde_json::from_str(&skep.ok(["system", "df", "-v", "--format", "json"])).unwrap();
    let images = detail["Images"].as_array().unwrap();
    assert_eq!(images.len(), 3, "a row a name");
    let image = |tag: &str| images.iter().find(|row| row["Tag"] == tag).unwrap();
    let (base, child) = (image("latest"), image("1"));
    assert_eq!((&base["Containers"], &child["Containers"]), (&"1".into(), &"0".into()));
    assert_eq!(base["SharedSize"], child["SharedSize"]);
    // What is shared once, and what each has alone, is all there is.
    let bytes = |row: &Value, field: &str| {
        let shown = row[field].as_str().unwrap();
        let (number, unit) = shown.split_at(shown.find(|c: char| c.is_ascii_alphabetic()).unwrap());
        number.parse::<f64>().unwrap()
            * if unit == "MB" {
                1e6
            } else if unit == "kB" {
                1e3
            } else {
                1.0
            }
    };
    let all = bytes(base, "SharedSize") + bytes(base, "UniqueSize") + bytes(child, "UniqueSize");
    assert!((all - (blobs + layers) as f64).abs() < all * 0.02, "{all} {}", blobs + layers);
    assert_eq!((&detail["Volumes"][0]["Name"], &detail["Volumes"][0]["Links"]), (&"data".into(), &"1".into()));

    skep.ok(["rm", "-f", "maker"]);
    let short = rows(&skep.ok(["system", "df", "--format", "json"]));
    assert!(short[0]["Reclaimable"].as_str().unwrap().ends_with("(100%)"), "{}", short[0]);
    assert_eq!(short[2]["Active"], "0");
    skep.ok(["rmi", "child:1", "child:2"]);
    let (blobs, layers) = on_disk(&skep);
    let short = rows(&skep.ok(["system", "df", "--format", "json"]));
    close(short[0]["Size"].as_str().unwrap(), blobs + layers);
}

#[test]
fn tables_look_like_dockers() {
    let skep = scene();
    let text = skep.ok(["system", "df"]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]);
    assert!(lines[3].starts_with("Local Volumes") && lines[4].starts_with("Build Cache"), "{text}");
    let text = skep.ok(["system", "df", "-v"]);
    for part in [
        "Images space usage:\n\nREPOSITORY",
        "UNIQUE SIZE",
        "Containers space usage:\n\nCONTAINER ID",
        "Local Volumes space usage:\n\nVOLUME NAME",
        "Build cache usage: 0B\n\nCACHE ID",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let named = skep.ok(["system", "df", "-v", "--format", "{{range .Volumes}}{{.Name}}={{.Links}}{{end}}"]);
    assert_eq!(named, "data=1");
    skep.ok(["rm", "-f", "maker"]);
}

#[test]
fn a_tree_has_names_and_platforms() {
    let skep = scene();
    let text = skep.ok(["images", "--tree"]);
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..4], ["IMAGE", "ID", "DISK", "USAGE"]);
    let names: Vec<_> = lines.iter().filter_map(|line| line.first().copied()).collect();
    let at = |name: &str| names.iter().position(|other| *other == name).unwrap();
    assert_eq!(at("child:2"), at("child:1") + 1, "names of one image, then its platform: {text}");
    assert_eq!(names[at("child:2") + 1], "└─");
    assert!(lines[at("busybox:latest")].ends_with(&["U"]), "{text}");
    let id = skep.ok(["images", "-q", "child:1"]);
    assert_eq!(lines[at("child:1")][1], id);
    skep.ok(["rm", "-f", "maker"]);
}

#[test]
fn images_are_filtered() {
    let skep = scene();
    skep.ok(["rm", "-f", "maker"]);
    let names = |filter: &str| skep.ok(["images", "--filter", filter, "--format", "{{.Repository}}:{{.Tag}}"]);
    // The base says that it is of 2024; the child is of now.
    assert_eq!(names("until=2025-01-01T00:00:00Z"), "busybox:latest");
    assert_eq!(names("until=24h"), "busybox:latest");
    assert_eq!(names("since=busybox"), "child:1\nchild:2");
    assert_eq!(names("before=child:1"), "busybox:latest");
    assert_eq!(names("reference=chi*:1"), "child:1");
    assert_eq!(names("dangling=true"), "");
    skep.ok(["tag", "busybox", "child:1"]);
    skep.ok(["tag", "busybox", "child:2"]);
    assert_eq!(names("dangling=true"), "<none>:<none>");
    assert_eq!(names("dangling=0").lines().count(), 3);
    let error = skep.fails(1, ["images", "--filter", "until=soon"]);
    assert!(error.contains("soon"), "{error}");
    skep.fails(1, ["images", "--filter", "size=1"]);
}
