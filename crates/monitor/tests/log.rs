//! Logs on a real disk: rotation, long lines, bytes that are no text, tails, following, crashes, a full disk.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::Write as _;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use monitor::log::Stream::{Stderr, Stdout};
use monitor::log::{Driver, Query, Reader, Settings, Stream, Writer};
use support::{Scratch, eventually, logged};

fn writer(scratch: &Scratch, max_size: Option<u64>, max_files: u32) -> Writer {
    Writer::new(&scratch.log(), &Settings { driver: Driver::JsonFile, max_size, max_files })
}

/// All that a query gives, both streams in one.
fn read(log: &Path, query: Query) -> String {
    let mut text = Vec::new();
    let each = |record: monitor::log::Record<'_>| {
        text.extend_from_slice(record.bytes);
        ControlFlow::Continue(())
    };
    Reader::open(log).unwrap().read(query, each).unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn records_are_dockers_json() {
    let scratch = Scratch::new();
    writer(&scratch, None, 3).write(Stdout, b"one \"1\"\ntwo");
    let text = std::fs::read_to_string(scratch.log().join("container.log")).unwrap();
    let records: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((records[0]["log"].as_str(), records[1]["log"].as_str()), (Some("one \"1\"\n"), Some("two")));
    assert_eq!(records[0]["stream"], "stdout");
    assert!(records[0]["time"].as_str().unwrap().parse::<Timestamp>().is_ok());
}

#[test]
fn nothing_said_is_no_file_and_no_driver_keeps_nothing() {
    let scratch = Scratch::new();
    assert_eq!(read(&scratch.log(), Query::default()), "");
    let mut none = Writer::new(&scratch.log(), &Settings { driver: Driver::None, ..Settings::default() });
    none.write(Stdout, b"x\n");
    assert!(!scratch.log().exists());
}

#[test]
fn rotation_keeps_order_and_bounds() {
    for files in [1, 2, 3, 5] {
        let scratch = Scratch::new();
        let mut writer = writer(&scratch, Some(2000), files);
        for number in 0..500 {
            writer.write(Stdout, format!("line {number}\n").as_bytes());
        }
        let sizes: Vec<u64> =
            std::fs::read_dir(scratch.log()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).collect();
        assert_eq!(sizes.len(), files as usize);
        assert!(sizes.iter().all(|size| *size <= 2000), "{sizes:?}");
        let text = read(&scratch.log(), Query::default());
        let lines: Vec<&str> = text.lines().collect();
        let first = 500 - lines.len();
        assert!(lines.len() > 15 * (files as usize - 1));
        assert!(lines.iter().enumerate().all(|(index, line)| *line == format!("line {}", first + index)), "{text}");
    }
}

#[test]
fn a_long_line_comes_out_whole() {
    let scratch = Scratch::new();
    let mut writer = writer(&scratch, Some(4 << 20), 10);
    let line: Vec<u8> = (0..10_000_000_u32).map(|number| b'a' + (number % 23) as u8).collect();
    for chunk in line.chunks(32 * 1024) {
        writer.write(Stdout, chunk);
        writer.write(Stderr, b"between\n");
    }
    writer.write(Stdout, b"\nnext\n");
    let text = read(&scratch.log(), Query { tail: Some(1), ..Query::default() });
    assert_eq!(text, "next\n");
    let text = read(&scratch.log(), Query { without_stderr: true, ..Query::default() });
    assert_eq!(text.len(), 10_000_001 + 5);
    assert!(text.as_bytes()[..10_000_000] == line[..]);
    // Lines of one stream that come after a long line's beginning count too, so the tail needs the way back to it.
    let text = read(&scratch.log(), Query { tail: Some(2), ..Query::default() });
    assert!(text.contains("next\n") && (text.len() == 10_000_001 + 5 || text == "between\nnext\n"), "{}", text.len());
}

#[test]
fn bytes_that_are_no_text_come_back() {
    let scratch = Scratch::new();
    let mut writer = writer(&scratch, None, 3);
    let mut all = Vec::new();
    let mut seed = 1_u32;
    for length in 0..400_usize {
        let chunk: Vec<u8> = (0..length * 7 % 300)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 24) as u8
            })
            .collect();
        writer.write(Stdout, &chunk);
        all.extend_from_slice(&chunk);
    }
    writer.finish();
    assert!(logged(&scratch.log(), Stdout) == all);
}

#[test]
fn cut_characters_are_joined() {
    let scratch = Scratch::new();
    let mut writer = writer(&scratch, None, 3);
    let text = "grüße 𝄞 €\n".repeat(20);
    for byte in text.as_bytes() {
        writer.write(Stdout, &[*byte]);
    }
    assert_eq!(read(&scratch.log(), Query::default()), text);
    let file = std::fs::read_to_string(scratch.log().join("container.log")).unwrap();
    assert!(!file.contains("raw") && !file.contains('\u{fffd}'));
}

/// The last lines, by the definition: each stream's lines in the order of their last pieces, the last N of them.
fn naive_tail(chunks: &[(Stream, String)], lines: usize) -> Vec<String> {
    let mut open = [(0, String::new()), (0, String::new())];
    let mut all = Vec::new();
    for (index, (stream, piece)) in chunks.iter().enumerate() {
        let line = &mut open[*stream as usize];
        line.0 = index;
        line.1.push_str(piece);
        if piece.ends_with('\n') {
            all.push(std::mem::take(line));
        }
    }
    all.extend(open.into_iter().filter(|(_, line)| !line.is_empty()));
    all.sort();
    all.split_off(all.len().saturating_sub(lines)).into_iter().map(|(_, line)| line).collect()
}

#[test]
fn tails_are_whole_lines_over_all_files() {
    let mut seed = 42_u32;
    let mut random = |most: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) % most
    };
    for round in 0..30 {
        let scratch = Scratch::new();
        let mut writer = writer(&scratch, Some(1500), 1000);
        let mut chunks = Vec::new();
        for number in 0..200 {
            let stream = if random(3) == 0 { Stderr } else { Stdout };
            let end = if random(2) == 0 { "\n" } else { "" };
            let text = format!("{number}{stream:?}{}{end}", "x".repeat(random(40) as usize));
            writer.write(stream, text.as_bytes());
            chunks.push((stream, text));
        }
        for lines in [0, 1, 2, 5, 50, 1000] {
            let text = read(&scratch.log(), Query { tail: Some(lines as u64), ..Query::default() });
            let mut expect = naive_tail(&chunks, lines);
            // The order of lines within each other is a matter of taste; their content is not.
            let length = expect.iter().map(String::len).sum::<usize>();
            assert_eq!(text.len(), length, "round {round}, {lines} lines:\n{text}\n--\n{}", expect.concat());
            expect.retain(|line| !text.contains(line.as_str()));
            assert_eq!(expect, Vec::<String>::new(), "round {round}, {lines} lines");
        }
    }
}

#[test]
fn since_and_until_cut() {
    let scratch = Scratch::new();
    let mut writer = writer(&scratch, None, 3);
    let mut times = Vec::new();
    for number in 0..5 {
        writer.write(Stdout, format!("{number}\n").as_bytes());
        std::thread::sleep(Duration::from_millis(3));
        times.push(Timestamp::now());
        std::thread::sleep(Duration::from_millis(3));
    }
    let query = Query { since: Some(times[1]), until: Some(times[3]), ..Query::default() };
    assert_eq!(read(&scratch.log(), query), "2\n3\n");
    let query = Query { since: Some(times[4]), ..Query::default() };
    assert_eq!(read(&scratch.log(), query), "");
}

#[test]
fn following_survives_rotation_and_ends() {
    let scratch = Scratch::new();
    let (end, our_end) = std::io::pipe().unwrap();
    let log = scratch.log();
    std::fs::create_dir(&log).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let collected = Arc::clone(&seen);
    let reader = std::thread::spawn(move || {
        let query = Query { follow: Some(OwnedFd::from(end)), ..Query::default() };
        let each = |record: monitor::log::Record<'_>| {
            collected.lock().unwrap().extend_from_slice(record.bytes);
            ControlFlow::Continue(())
        };
        Reader::open(&log).unwrap().read(query, each).unwrap();
    });
    std::thread::sleep(Duration::from_millis(50));
    let mut writer = writer(&scratch, Some(40_000), 3);
    let mut expect = String::new();
    for number in 0..3000 {
        let line = format!("line {number}\n");
        expect.push_str(&line);
        writer.write(Stdout, line.as_bytes());
        if number % 100 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    writer.write(Stdout, b"prompt> ");
    expect.push_str("prompt> ");
    eventually("all is seen", || seen.lock().unwrap().len() == expect.len());
    writer.write(Stderr, b"aside\n");
    eventually("nothing is kept back for ever", || seen.lock().unwrap().ends_with(b"aside\n"));
    writer.write(Stdout, b"the end");
    drop(our_end);
    reader.join().unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(String::from_utf8_lossy(&seen), format!("{expect}aside\nthe end"));
}

#[test]
fn following_stops_when_told() {
    let scratch = Scratch::new();
    writer(&scratch, None, 3).write(Stdout, b"a\nb\n");
    let (end, _our_end) = std::io::pipe().unwrap();
    let query = Query { follow: Some(end.into()), tail: Some(2), ..Query::default() };
    let mut count = 0;
    let each = |_: monitor::log::Record<'_>| {
        count += 1;
        if count == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    Reader::open(&scratch.log()).unwrap().read(query, each).unwrap();
    let (end, _our_end) = std::io::pipe().unwrap();
    let until = Timestamp::now() + Duration::from_millis(100);
    let query = Query { follow: Some(end.into()), until: Some(until), ..Query::default() };
    assert_eq!(read(&scratch.log(), query), "a\nb\n");
}

#[test]
fn a_torn_record_is_left_out_and_ended() {
    let scratch = Scratch::new();
    writer(&scratch, None, 3).write(Stdout, b"before\n");
    let path = scratch.log().join("container.log");
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(br#"{"log":"torn by a cra"#).unwrap();
    assert_eq!(read(&scratch.log(), Query::default()), "before\n");
    assert_eq!(read(&scratch.log(), Query { tail: Some(1), ..Query::default() }), "before\n");
    writer(&scratch, None, 3).write(Stdout, b"after\n");
    assert_eq!(read(&scratch.log(), Query::default()), "before\nafter\n");
    assert_eq!(read(&scratch.log(), Query { tail: Some(1), ..Query::default() }), "after\n");
}

/// A filesystem of 100 kB.
struct SmallDisk(Scratch);

impl SmallDisk {
    fn new() -> Self {
        let scratch = Scratch::new();
        let flags = rustix::mount::MountFlags::NODEV | rustix::mount::MountFlags::NOSUID;
        rustix::mount::mount("none", &scratch.0, "tmpfs", flags, c"size=100k").unwrap();
        Self(scratch)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk_loses_records_and_says_so() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let disk = SmallDisk::new();
    let mut writer = writer(&disk.0, None, 3);
    writer.write(Stdout, b"first\n");
    let ballast = disk.0.0.join("ballast");
    let _ = std::fs::write(&ballast, vec![1; 1 << 20]);
    for _ in 0..200 {
        writer.write(Stdout, &[b"lost ".repeat(20), b"\n".to_vec()].concat());
    }
    std::fs::remove_file(&ballast).unwrap();
    writer.write(Stdout, b"last\n");
    let text = read(&disk.0.log(), Query::default());
    assert!(text.starts_with("first\n") && text.ends_with("last\n"), "{text}");
    assert!(text.contains("bytes of this log are lost"), "{text}");
    let file = std::fs::read_to_string(disk.0.log().join("container.log")).unwrap();
    assert!(file.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{file}");
}
