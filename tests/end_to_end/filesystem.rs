//! Files: what containers share, what they keep to themselves, and how files get in and out.

use crate::harness::{IMAGE, Skep, retry, sh};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The disk that a tree really takes, in bytes. What vanishes meanwhile (the trash is being emptied) is not there.
fn disk(directory: &Path) -> u64 {
    let kilobytes = sh(&format!("(du -sk {} 2> /dev/null || true) | cut -f1", directory.display()));
    kilobytes.parse::<u64>().unwrap() * 1024
}

#[test]
fn fifty_containers_add_little_disk() {
    let skep = Skep::with_image();
    let before = disk(&skep.root());
    let ids: Vec<_> = (0..50).map(|_| skep.sleeper(&["--network", "none"])).collect();
    let added = disk(&skep.root()) - before;
    assert!(added < 5_000_000, "fifty containers add {added} bytes");
    skep.ok(["exec", &ids[7], "sh", "-c", "echo mine > /note"]);
    assert_eq!(skep.run(["exec", &ids[8], "cat", "/note"]).code, 1);
    let mut remove = vec!["rm", "-f"];
    remove.extend(ids.iter().map(String::as_str));
    skep.ok(remove);
    // Nobody waits for the disk: the trash is emptied after the command.
    retry(|| match disk(&skep.root()) as i64 - before as i64 {
        left if left < 200_000 => Ok(()),
        left => Err(format!("{left} bytes stay after the removal")),
    });
}

#[test]
fn diff_tells_what_changed() {
    let skep = Skep::with_image();
    let script = "echo x > /new; rm /etc/group; echo y >> /etc/passwd; mkdir /home/nest; chmod 700 /root";
    skep.ok(["run", "--name", "changed", IMAGE, "sh", "-c", script]);
    let diff = skep.ok(["diff", "changed"]);
    let mut lines: Vec<_> = diff.lines().collect();
    lines.sort_unstable();
    let expected = ["A /home/nest", "A /new", "C /etc", "C /etc/passwd", "C /home", "C /root", "D /etc/group"];
    assert_eq!(lines, expected);
    skep.ok(["create", "--name", "untouched", IMAGE]);
    assert_eq!(skep.ok(["diff", "untouched"]), "");
}

#[test]
fn cp_both_ways_and_as_streams() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&["--name", "box"]);
    fs::write(skep.file("in"), "nectar").unwrap();
    let path = |name: &str| skep.file(name).to_str().unwrap().to_owned();
    skep.ok(["cp", &path("in"), "box:/tmp/out"]);
    assert_eq!(skep.ok(["exec", &id, "sh", "-c", "cat /tmp/out; stat -c ' %u' /tmp/out"]), "nectar 0");
    skep.ok(["exec", &id, "sh", "-c", "mkdir -p /srv/a/b; echo deep > /srv/a/b/c; ln -s b /srv/a/link"]);
    skep.ok(["cp", "box:/srv/a", &path("copied")]);
    assert_eq!(fs::read_to_string(skep.file("copied").join("b/c")).unwrap(), "deep\n");
    assert_eq!(fs::read_link(skep.file("copied").join("link")).unwrap(), Path::new("b"));
    assert_eq!(fs::metadata(skep.file("copied")).unwrap().uid(), 0);
    fs::create_dir(skep.file("into")).unwrap();
    skep.ok(["cp", "box:/srv/a/.", &path("into")]);
    assert!(skep.file("into").join("b/c").exists());
    let tar = skep.run(["cp", "box:/srv/a", "-"]);
    assert_eq!(tar.code, 0);
    let sent = skep.feed(&tar.raw, ["cp", "-", "box:/tmp"]);
    assert_eq!(sent.code, 0, "{sent:#?}");
    assert_eq!(skep.ok(["exec", &id, "cat", "/tmp/a/b/c"]), "deep");
    skep.ok(["cp", "box:/", &path("everything")]);
    assert!(skep.file("everything").join("srv/a/b/c").exists());
    assert_eq!(fs::read_dir(skep.file("everything").join("proc")).unwrap().count(), 0, "the kernel's views stay out");
    skep.run(["cp", "box:/no/such", &path("x")]).assert_one_line_error(1, &["/no/such"]);
    skep.run(["cp", &path("absent"), "box:/tmp"]).assert_one_line_error(1, &["absent"]);
    skep.ok(["stop", "-t", "0", "box"]);
    skep.ok(["cp", "box:/tmp/out", &path("stopped")]);
    assert_eq!(fs::read_to_string(skep.file("stopped")).unwrap(), "nectar");
    skep.ok(["cp", &path("in"), "box:/tmp/while-stopped"]);
    skep.ok(["start", "box"]);
    assert_eq!(skep.ok(["exec", &id, "cat", "/tmp/while-stopped"]), "nectar");
}

#[test]
fn cp_follows_no_link_out_of_the_container() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&[]);
    fs::write(skep.file("secret"), "of the host").unwrap();
    let secret = skep.file("secret").to_str().unwrap().to_owned();
    skep.ok(["exec", &id, "sh", "-c", &format!("ln -s {secret} /leak; ln -s / /outside; ln -s /etc /tmp/etc")]);
    let target = skep.file("target").to_str().unwrap().to_owned();
    let output = skep.run(["cp", "-L", &format!("{id}:/leak"), &target]);
    assert_ne!(output.code, 0, "{output:#?}");
    let name = format!("skep-escape-{}", std::process::id());
    skep.ok(["cp", &secret, &format!("{id}:/outside/tmp/etc/{name}")]);
    assert!(!Path::new("/etc").join(&name).exists());
    assert_eq!(skep.ok(["exec", &id, "cat", &format!("/etc/{name}")]), "of the host");
}

#[test]
fn commit_makes_an_image_of_the_changes() {
    let skep = Skep::with_image();
    skep.ok(["run", "--name", "base", IMAGE, "sh", "-c", "echo honey > /pot; rm /etc/group; mkdir /cell"]);
    let changes = ["-c", "CMD [\"cat\", \"/pot\"]", "-a", "a bee", "-m", "filled"];
    let id = skep.ok([&["commit"][..], &changes, &["base", "comb:1"]].concat());
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(skep.ok(["run", "--rm", "comb:1"]), "honey");
    assert_eq!(skep.run(["run", "--rm", "comb:1", "ls", "/etc/group"]).code, 1);
    assert_eq!(skep.ok(["history", "-q", "comb:1"]).lines().count(), 2);
    assert_eq!(skep.ok(["inspect", "--format", "{{.Author}} {{.Comment}}", "comb:1"]), "a bee filled");
    let running = skep.sleeper(&["--name", "alive"]);
    skep.ok(["exec", &running, "sh", "-c", "echo live > /live"]);
    skep.ok(["commit", "alive", "comb:2"]);
    assert_eq!(skep.ok(["run", "--rm", "comb:2", "cat", "/live"]), "live");
}

#[test]
fn export_is_the_merged_tree_with_its_own_ids() {
    let skep = Skep::with_image();
    skep.ok(["run", "--name", "changed", IMAGE, "sh", "-c", "echo x > /new; chown 1000:1000 /new; rm -r /home"]);
    let tar = skep.file("export.tar");
    skep.ok(["export", "-o", tar.to_str().unwrap(), "changed"]);
    let listing = sh(&format!("tar --numeric-owner -tvf {}", tar.display()));
    let line = |name: &str| listing.lines().find(|line| line.ends_with(&format!(" {name}"))).map(str::to_owned);
    assert!(line("new").unwrap().contains("1000/1000"), "{listing}");
    assert!(line("etc/passwd").unwrap().contains("0/0"), "{listing}");
    assert!(!listing.contains(" home/"), "{listing}");
}

#[test]
fn binds_keep_the_ids_that_users_expect() {
    let skep = Skep::with_image();
    let shared = skep.file("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("given"), "by the host").unwrap();
    let bind = format!("{}:/mnt", shared.display());
    let script =
        "cat /mnt/given; stat -c ' %u' /mnt/given; touch /mnt/by-root; touch /mnt/by-bee; chown bee /mnt/by-bee";
    assert_eq!(skep.ok(["run", "--rm", "-v", &bind, IMAGE, "sh", "-c", script]), "by the host 0");
    assert_eq!(fs::metadata(shared.join("by-root")).unwrap().uid(), 0, "root inside writes as who started it");
    assert_eq!(fs::metadata(shared.join("by-bee")).unwrap().uid(), 1000);
    let read_only = format!("{bind}:ro");
    assert_eq!(skep.run(["run", "--rm", "-v", &read_only, IMAGE, "touch", "/mnt/x"]).code, 1);
    let mount = format!("type=bind,source={},target=/mnt,readonly", shared.display());
    assert_eq!(skep.run(["run", "--rm", "--mount", &mount, IMAGE, "touch", "/mnt/x"]).code, 1);
    let absent = format!("type=bind,source={}/absent,target=/mnt", shared.display());
    skep.run(["run", "--rm", "--mount", &absent, IMAGE, "true"]).assert_one_line_error(125, &["absent"]);
    let file = format!("{}/given:/etc/motd", shared.display());
    assert_eq!(skep.ok(["run", "--rm", "-v", &file, IMAGE, "cat", "/etc/motd"]), "by the host");
}

#[test]
fn named_volumes_outlive_containers() {
    let skep = Skep::with_image();
    skep.ok(["run", "--rm", "-v", "store:/data", IMAGE, "sh", "-c", "echo kept > /data/file; chown 1000 /data/file"]);
    assert_eq!(
        skep.ok(["run", "--rm", "-v", "store:/data", IMAGE, "sh", "-c", "cat /data/file; stat -c %u /data/file"]),
        "kept\n1000"
    );
    assert_eq!(fs::metadata(skep.root().join("volumes/store/_data/file")).unwrap().uid(), 1000);
    // A new volume starts with what the image has at that place.
    assert_eq!(skep.ok(["run", "--rm", "-v", "copied:/etc", IMAGE, "cat", "/etc/group"]).lines().count(), 3);
    assert_eq!(
        skep.ok(["run", "--rm", "-v", "/anonymous", IMAGE, "sh", "-c", "touch /anonymous/x; ls /anonymous"]),
        "x"
    );
}

#[test]
fn temporary_file_systems_and_read_only_roots() {
    let skep = Skep::with_image();
    let run = |options: &[&str], script: &str| {
        skep.ok([&["run", "--rm"][..], options, &[IMAGE, "sh", "-c", script]].concat())
    };
    assert_eq!(
        run(
            &["--tmpfs", "/scratch:size=1m,mode=700"],
            "stat -f -c %T /scratch; stat -c %a /scratch; df -k /scratch | awk 'END{print $2}'"
        ),
        "tmpfs\n700\n1024"
    );
    assert_eq!(
        run(&["--mount", "type=tmpfs,target=/scratch,tmpfs-size=2m"], "df -k /scratch | awk 'END{print $2}'"),
        "2048"
    );
    assert_eq!(
        run(&["--read-only"], "touch /x 2>/dev/null || echo refused; touch /dev/shm/x && echo fine"),
        "refused\nfine"
    );
    assert_eq!(run(&["--read-only", "--tmpfs", "/tmp"], "touch /tmp/x && echo fine"), "fine");
}

#[test]
fn files_of_many_owners_can_be_made_and_survive() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&[]);
    skep.ok(["exec", &id, "sh", "-c", "touch /a /b; chown 65535:65535 /a; chown 33:44 /b; chmod 4755 /b"]);
    skep.ok(["restart", "-t", "0", &id]);
    assert_eq!(skep.ok(["exec", &id, "stat", "-c", "%u:%g %a", "/a", "/b"]), "65535:65535 644\n33:44 4755");
    let upper = skep.root().join("containers").join(&id).join("layer/upper/b");
    let metadata = fs::metadata(upper).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (33, 44), "nothing is shifted on disk");
}
