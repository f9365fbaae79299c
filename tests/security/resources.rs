//! Hostile clients, programs and images: what they send is bounded, and afterwards all is as it was.
//!
//! The monitor's memory and descriptors are read from the kernel before and after; commands run under a limit of their
//! address space, so that what would need gigabytes fails instead of passing slowly.

use crate::harness::{Archive, IMAGE, Layer, Output, Skep, busybox_layer, entries, process_status, retry};
use crate::witness::rounds;
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

/// Address space of a command that meets a hostile image: 1 GiB, of which the layers' workers may take all.
const LIMIT: &str = "ulimit -v 1048576; exec \"$SKEP\" \"$@\"";

fn limited(skep: &Skep, words: &[&str]) -> Output {
    let mut command = Command::new("bash");
    command.args(["-c", LIMIT, "skep"]).args(words);
    skep.environment(&mut command);
    let start = Instant::now();
    let output = skep.finish(command);
    assert!(start.elapsed() < Duration::from_secs(60), "{words:?} took {:?}", start.elapsed());
    assert!(output.code >= 0 && !output.stderr.contains("panicked"), "{output:#?}");
    output
}

fn monitor_of(skep: &Skep, id: &str) -> i32 {
    process_status(skep.pid(id), "PPid").parse().unwrap()
}

/// Memory of its own, in kB.
fn resident(pid: i32) -> u64 {
    process_status(pid, "RssAnon").split_whitespace().next().unwrap().parse().unwrap()
}

fn descriptors(pid: i32) -> usize {
    entries(format!("/proc/{pid}/fd").as_ref()).len()
}

#[test]
fn a_storm_of_execs_leaves_the_monitor_as_it_was() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&[]);
    let monitor = monitor_of(&skep, &id);
    skep.ok(["exec", &id, "true"]);
    let before = (resident(monitor), descriptors(monitor));
    let mut cut_off = Vec::new();
    for round in 0..rounds(60) {
        match round % 3 {
            0 => drop(skep.run(["exec", &id, "sh", "-c", "exit 3"])),
            1 => drop(skep.run(["exec", "-d", &id, "sleep", "0.2"])),
            // The client goes away in the middle.
            _ => {
                let mut child = skep.spawn(["exec", "-i", &id, "cat"]);
                child.stdin.as_mut().unwrap().write_all(&[b'x'; 4096]).ok();
                cut_off.push(child);
            }
        }
        if cut_off.len() > 8 {
            cut_off.drain(..).for_each(|mut child| {
                child.kill().unwrap();
                child.wait().unwrap();
            });
        }
    }
    for mut child in cut_off {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    retry(|| {
        match (
            resident(monitor),
            descriptors(monitor),
            skep.ok(["exec", &id, "sh", "-c", "ls -d /proc/[0-9]* | wc -l"]),
        ) {
            (memory, open, inside) if memory <= before.0 + 512 && open == before.1 && inside.trim() == "3" => Ok(()),
            seen => Err(format!("{before:?} became {seen:?}")),
        }
    });
}

#[test]
fn a_flood_of_output_and_of_sizes_is_bounded() {
    let skep = Skep::with_image();
    let id = skep.ok([
        "run",
        "-dt",
        "--log-opt",
        "max-size=1m",
        IMAGE,
        "sh",
        "-c",
        "while :; do head -c 1000000 /dev/zero; done",
    ]);
    let monitor = monitor_of(&skep, &id);
    let clients: Vec<_> = (0..8).map(|_| skep.spawn(["logs", "-f", &id])).collect();
    // Sizes of a terminal, as fast as they come: `stty` inside, and clients that come and go.
    for _ in 0..rounds(20) {
        skep.run(["exec", "-t", &id, "stty", "rows", "9999", "columns", "65535"]);
    }
    let memory = resident(monitor);
    assert!(memory < 4 * 1024, "the monitor has {memory} kB");
    for mut client in clients {
        client.kill().unwrap();
        client.wait().unwrap();
    }
    skep.ok(["rm", "-f", &id]);
}

#[test]
fn user_files_of_any_size() {
    let skep = Skep::new();
    let many = |line: &dyn Fn(usize) -> String, count| (0..count).map(line).collect::<String>();
    let files = [
        ("root:x:0:0::/:/bin/sh\n".repeat(900_000), "root:x:0:\n".to_owned()),
        (format!("bee:x:7:7::/:{}\n", "x".repeat(9_000_000)), "g:x:7:bee\n".to_owned()),
        ("bee:x:7:7::/:\n".to_owned(), many(&|number| format!("g{number}:x:{number}:bee\n"), 200_000)),
        ("bee:x:7:7::/:\n".to_owned(), format!("g:x:7:{}\n", "bee,".repeat(2_000_000))),
        ("\0".repeat(20_000_000), ":".repeat(20_000_000)),
    ];
    for (passwd, group) in files {
        let layer = busybox_layer().file("etc/passwd", passwd).file("etc/group", group);
        let archive = Archive::new("huge:1").layer(&layer).write(skep.file("huge.tar"));
        assert_eq!(limited(&skep, &["load", "-q", "-i", archive.to_str().unwrap()]).code, 0);
        let output = limited(&skep, &["run", "--rm", "-u", "bee", "huge:1", "id"]);
        if output.code != 0 {
            output.assert_one_line_error(output.code, &[]);
        }
        skep.ok(["rmi", "-f", "huge:1"]);
    }
}

#[test]
fn documents_of_any_depth_and_width() {
    let skep = Skep::new();
    let deep = |open: &str, close: &str, depth| format!("{}{}", open.repeat(depth), close.repeat(depth));
    let wide = |count: usize| (0..count).map(|number| format!("\"k{number}\":\"v\"")).collect::<Vec<_>>().join(",");
    let configs = [
        deep("[", "]", 200_000),
        deep("{\"a\":", "1}", 50_000),
        format!(
            "{{\"config\":{{\"Labels\":{{{}}}}},\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[]}}}}",
            wide(100_000)
        ),
        format!("{{\"config\":{{\"Env\":[{}]}}}}", vec!["\"A=b\""; 600_000].join(",")),
        format!("{{\"x\":\"{}\"}}", "y".repeat(20_000_000)),
        format!("{{\"history\":[{}]}}", vec!["{}"; 1_000_000].join(",")),
    ];
    for config in &configs {
        let manifest = "[{\"Config\":\"c.json\",\"RepoTags\":[\"deep:1\"],\"Layers\":[]}]";
        let bytes = Layer::new().file("c.json", config).file("manifest.json", manifest).bytes();
        std::fs::write(skep.file("deep.tar"), bytes).unwrap();
        let output = limited(&skep, &["load", "-i", skep.file("deep.tar").to_str().unwrap()]);
        if output.code != 0 {
            output.assert_one_line_error(1, &[]);
        }
    }
    for manifest in [
        deep("[", "]", 200_000),
        format!("[{{\"Config\":\"c.json\",\"Layers\":[{}]}}]", vec!["\"l\""; 200_000].join(",")),
        format!("[{{\"Config\":\"c.json\",\"RepoTags\":[{}],\"Layers\":[]}}]", vec!["\"a:1\""; 400_000].join(",")),
    ] {
        let bytes = Layer::new().file("c.json", "{}").file("manifest.json", &manifest).bytes();
        std::fs::write(skep.file("wide.tar"), bytes).unwrap();
        limited(&skep, &["load", "-i", skep.file("wide.tar").to_str().unwrap()]).assert_one_line_error(1, &[]);
    }
}

#[test]
fn images_that_want_very_much() {
    let skep = Skep::new();
    let volumes: serde_json::Map<_, _> =
        (0..2000).map(|number| (format!("/v/{number}"), serde_json::json!({}))).collect();
    let environment: Vec<_> = (0..5000).map(|number| format!("NAME{number}={}", "x".repeat(100))).collect();
    for config in [
        serde_json::json!({"Volumes": volumes}),
        serde_json::json!({"Env": environment}),
        serde_json::json!({"WorkingDir": "/a".repeat(2000), "User": "9".repeat(100_000)}),
        serde_json::json!({"Cmd": ["x".repeat(200_000)]}),
        serde_json::json!({"Entrypoint": vec!["y"; 100_000]}),
    ] {
        let archive = Archive::new("greedy:1").layer(&busybox_layer()).config(config).write(skep.file("greedy.tar"));
        let loaded = limited(&skep, &["load", "-q", "-i", archive.to_str().unwrap()]);
        if loaded.code == 0 {
            let output = limited(&skep, &["run", "--rm", "greedy:1", "true"]);
            if output.code != 0 {
                output.assert_one_line_error(output.code, &[]);
            }
            skep.ok(["rmi", "-f", "greedy:1"]);
        }
    }
}

#[test]
fn very_many_mounts() {
    let skep = Skep::with_image();
    for count in [100, 1500] {
        let mut words = vec!["run".to_owned(), "--rm".to_owned()];
        words.extend((0..count).flat_map(|number| ["--tmpfs".to_owned(), format!("/t/{number}")]));
        words.extend([IMAGE, "sh", "-c", "grep -c ' /t/' /proc/self/mounts"].map(str::to_owned));
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let output = limited(&skep, &words);
        match output.code {
            0 => assert_eq!(output.stdout.trim(), count.to_string()),
            code => output.assert_one_line_error(code, &[]),
        }
    }
}
